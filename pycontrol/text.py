"""Making foreign text safe to print.

Device names, serial numbers, labels and uevent values come from hardware and from
other programs.  A terminal obeys control characters in them, so they are never
printed raw.  rich's markup is no danger where, as in :mod:`pycontrol.cli.output`, text
reaches it only as ``rich.text.Text``.
"""

import unicodedata

# Cc control, Cf format (bidirectional overrides), Cs surrogates (undecodable bytes),
# Co private use, Cn unassigned, Zl and Zp line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def plain(value: object) -> str:
    """``value`` as one line of visible characters; everything else as an escape.

    The backslash is doubled, so that the result is unambiguous.
    """
    return "".join(_visible(char) for char in str(value))


def _visible(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        # os.fsdecode() carries an undecodable byte 0xNN as the surrogate U+DCNN.
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
