"""What tests write, so that each can tell its own."""

import random

from harness import Guest


def pattern(seed: int, sectors: int) -> bytes:
    return random.Random(seed).randbytes(sectors * 512)


def write_pattern(guest: Guest, device: str, sector: int, seed: int, sectors: int) -> None:
    """One direct write of pattern(seed, sectors), made inside: the line to the guest is slow."""
    guest.python(
        """
        import base64, random
        from guest import directio
        device, sector, seed, size = args
        directio.write(device, sector, base64.b64encode(random.Random(seed).randbytes(size)).decode())
        """,
        *(device, sector, seed, sectors * 512),
    )
