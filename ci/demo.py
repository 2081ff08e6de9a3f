"""A disk goes bad, keeps its data, loses its power, and still has its data.

`ci/demo` prepares everything and runs this. Every line that is printed was seen to be
true when it was printed; the first that is not ends the demonstration with exit code 1.
"""

import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import Guest, Machine
from rich.console import Console
from rich.panel import Panel

SEED = 2026
BAD_SECTORS = 400
console = Console(highlight=False)


def scene(title: str, text: str) -> None:
    console.print()
    console.rule(f"[bold]{title}", align="left")
    console.print(f"[dim]{text}[/dim]\n", soft_wrap=True)


def shown(guest: Guest, command: str, timeout: float = 120) -> str:
    """Run a command in the machine as a person would, and show both sides."""
    console.print(f"[bold green]#[/] [bold]{command}[/]")
    out = guest.sh(f"export COLUMNS=100; {command}", timeout=timeout).out
    if out.strip():
        console.print(out.rstrip(), markup=False, soft_wrap=True)
    return out


def sums(guest: Guest) -> str:
    return guest.sh("cd /mnt && find . -type f -print0 | sort -z | xargs -0 sha256sum").out


def demonstrate(box: Machine) -> None:
    scene("A disk and a spare", "A virtual machine with a 256 MiB disk and a blank 64 MiB spare.")
    guest = box.boot()
    console.print(f"Booted Linux {guest.run('uname', '-r').out.strip()} in {box.boot_seconds:.1f} s.")
    shown(guest, f"dmremapctl create safe {guest.main} {guest.spare} --yes")
    shown(guest, "mkfs.ext4 -q /dev/mapper/safe && mount /dev/mapper/safe /mnt && df -h /mnt")

    scene(
        "The disk goes bad",
        f"{BAD_SECTORS} sectors, strewn over the first 100 MiB, now refuse to be written.\n"
        "Linux alone would remount the file system read-only at the first of them.",
    )
    rng = random.Random(SEED)
    box.main.fail(rng.sample(range(2048, 100 * 2048), BAD_SECTORS), on="write")
    shown(guest, "cp -r /usr/lib/python3* /mnt && sync && du -sh /mnt", timeout=300)
    before = sums(guest)
    met = box.main.counters()["bad_writes"]
    files = len(before.splitlines())
    console.print(f"\nThe disk failed {met} writes. {files} files were written all the same:")
    shown(guest, "dmremapctl status safe")

    scene(
        "The power goes",
        "The machine dies at this instant, while a file is being written. Both disks lose what\n"
        "they had in their caches: of the writes after the last flush some are kept, some not.",
    )
    guest.start_sh("dd if=/dev/urandom of=/mnt/unfinished bs=64k count=400")
    cuts = box.power_cut(seed=SEED)
    for name, cut in cuts.items():
        console.print(
            f"  {name}: {cut.flushed} writes were flushed; of the later ones {cut.kept} survive, "
            f"{cut.torn} in part, {cut.lost} are lost"
        )

    scene("The power comes back", "The spare says what belongs where; create finds it and activates.")
    guest = box.boot()
    shown(guest, f"dmremapctl create safe {guest.main} {guest.spare} --yes")
    shown(guest, "mount /dev/mapper/safe /mnt && rm -f /mnt/unfinished")
    after = sums(guest)
    if after != before:
        raise SystemExit("Files differ after the power cut.")
    console.print(f"All {len(after.splitlines())} files are there, each with the SHA-256 it had before.")
    shown(guest, "umount /mnt && e2fsck -fn /dev/mapper/safe 2>&1 | tail -n 1")
    shown(guest, "dmremapctl remove safe")
    box.power_off()

    scene(
        "The spare, from outside",
        "No kernel module, no root, just the image of the spare and the offline inspector.",
    )
    image = str(box.spare.image)
    done = subprocess.run(
        [sys.executable, "-m", "pycontrol", "inspect", image, "--max", "8"], text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"dmremapctl inspect ended with {done.returncode}.")
    box.check_console()


def main() -> None:
    directory = Path(tempfile.mkdtemp(prefix="dm-remap-demo-"))
    box = Machine(directory)
    try:
        demonstrate(box)
    finally:
        box.close()
        shutil.rmtree(directory, ignore_errors=True)
    console.print()
    console.print(Panel("Nothing that was written was lost.", expand=False, border_style="green"))


if __name__ == "__main__":
    main()
