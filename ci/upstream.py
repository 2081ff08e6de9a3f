"""Make the patches of ci/upstream: upstream.py LINUX PROJECT SERIES, all of them directories.

A small git repository holds those files of the kernel source that change. The files of
kernel/ keep their names; the pages of docs/ become reStructuredText.
"""

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

MD = Path("drivers/md")
DOCS = Path("Documentation/admin-guide/device-mapper")
PAGES = {"target.md": "dm-remap.rst", "on-disk-format.md": "dm-remap-format.rst"}
CHANGED = [MD / "Kconfig", MD / "Makefile", DOCS / "index.rst", Path("MAINTAINERS")]

KCONFIG = """\
config DM_REMAP
        tristate "Remap target (bad sectors live on a spare device)"
        depends on BLK_DEV_DM && TREE_SRCU
        select CRC32
        select DM_BUFIO
        help
          This device-mapper target keeps a disk with bad sectors in service.
          Logical blocks that fail are redirected to a spare device, which
          also holds the record of them, in redundant copies.

          To compile this code as a module, choose M here: the module will
          be called dm-remap-v4.

          If unsure, say N.

""".replace(" " * 8, "\t")

MAINTAINERS = """\
DEVICE-MAPPER REMAP TARGET
M:	{author}
L:	dm-devel@lists.linux.dev
S:	Maintained
F:	Documentation/admin-guide/device-mapper/dm-remap*
F:	drivers/md/dm-remap*

"""


@dataclass(frozen=True)
class Patch:
    title: str
    text: str
    files: tuple[str, ...]  # patterns; what an earlier patch has is not taken again


SERIES = [
    Patch(
        "dm-remap: add the on-disk format",
        """\
dm-remap-v4 redirects logical blocks that fail on one device to a spare
one. The record of that lies on the spare, in up to eight copies of which
any one is enough. This is the only code that knows the format: a header
and a log of records, made of 4 KiB blocks that validate themselves.

A commit rewrites the header and the tail of the log in two waves of
copies with a flush after each, so at any instant one wave is whole.
All that is written goes through dm-bufio.
""",
        ("drivers/md/dm-remap-v4-metadata*", "drivers/md/dm-remap-v4-readahead.*"),
    ),
    Patch(
        "dm-remap: add the map, the free space and the held sectors",
        """\
What the target keeps in memory: the remapped extents as a two-level
sorted array under RCU, read without a lock; the free extents of the
spare; and the ranges whose blocks are being moved, for which new bios
wait and of which earlier ones are waited for.
""",
        ("drivers/md/dm-remap-v4-map.*", "drivers/md/dm-remap-v4-space.*", "drivers/md/dm-remap-v4-hold.*"),
    ),
    Patch(
        "dm-remap: add the target",
        """\
The target passes every bio to the main device, as dm-linear does, until
one fails. A failed write is narrowed to the logical blocks that fail,
those are written to the spare, and the write is acknowledged when their
records are on stable storage. A failed read is narrowed likewise; what
cannot be read stays a medium error until it is written.

Nothing else is redirected: a disk's own firmware does the same until it
runs out of spare sectors, and this is for afterwards.
""",
        ("drivers/md/*",),
    ),
    Patch(
        "Documentation: device-mapper: describe dm-remap",
        """\
Describe the target for those who use it, its status, messages and events,
and the on-disk format with the argument why it survives a power cut.
""",
        ("Documentation/*",),
    ),
    Patch("MAINTAINERS: add an entry for dm-remap", "Add the files of the new target.\n", ("MAINTAINERS",)),
]


def insert_before(path: Path, line: str, text: str) -> None:
    old = path.read_text()
    assert f"\n{line}" in old, f"{path} has no line {line!r}"
    path.write_text(old.replace(f"\n{line}", f"\n{text}{line}", 1))


def objects(makefile: str) -> str:
    """The target's list of objects, from kernel/Makefile, as drivers/md/Makefile writes it."""
    found = re.search(r"^dm-remap-v4-y\s*:=((?:.*\\\n)*.*\n)", makefile, re.MULTILINE)
    assert found
    names = found[1].replace("\\", " ").split()
    rows = [" ".join(names[i : i + 3]) for i in range(0, len(names), 3)]
    return "dm-remap-v4-y\t+= " + " \\\n\t\t   ".join(rows) + "\n"


def page(source: Path) -> str:
    command = ["pandoc", "-f", "gfm", "-t", "rst", "--columns=75", str(source)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    for name, made in PAGES.items():
        text = re.sub(rf"`[^`<]*<{re.escape(name)}>`__", f":doc:`{Path(made).stem}`", text)
    # The pages of what is in user space stay there.
    text = re.sub(r"`([^`<]*) <[^`>]*\.md>`__", r"``\1``", text)
    text = text.replace("``kernel/", f"``{MD}/")
    return f".. SPDX-License-Identifier: GPL-2.0-only\n\n{text}"


def change(top: Path, project: Path, author: str) -> None:
    """Make all changes at once; the commits then pick from them by name."""
    for file in sorted((project / "kernel").glob("dm-remap-v4*.[ch]")):
        text = file.read_text()
        for source, made in PAGES.items():
            text = text.replace(f"docs/{source}", made)
        (top / MD / file.name).write_text(text)
    for source, made in PAGES.items():
        (top / DOCS / made).write_text(page(project / "docs" / source))
    makefile = (project / "kernel/Makefile").read_text()
    insert_before(top / MD / "Kconfig", "config DM_SWITCH", KCONFIG)
    insert_before(top / MD / "Makefile", "dm-zoned-y", objects(makefile))
    insert_before(
        top / MD / "Makefile", "obj-$(CONFIG_DM_SWITCH)", "obj-$(CONFIG_DM_REMAP)\t\t+= dm-remap-v4.o\n"
    )
    insert_before(top / DOCS / "index.rst", "    dm-service-time", "    dm-remap\n    dm-remap-format\n")
    insert_before(top / "MAINTAINERS", "DEVLINK\n", MAINTAINERS.format(author=author))


def main(linux: Path, project: Path, series: Path) -> None:
    name, email = os.environ["GIT_AUTHOR_NAME"], os.environ["GIT_AUTHOR_EMAIL"]
    os.environ |= {"GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email}
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)

        def git(*arguments: str) -> None:
            subprocess.run(["git", "-C", str(top), *arguments], check=True)

        git("init", "--quiet")
        for path in CHANGED:
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_bytes((linux / path).read_bytes())
        git("add", ".")
        git("commit", "--quiet", "--message=base")
        git("tag", "base")
        change(top, project, f"{name} <{email}>")
        for patch in SERIES:
            git("add", *patch.files)
            git("commit", "--quiet", "--signoff", f"--message={patch.title}", f"--message={patch.text}")
        git("format-patch", "--quiet", f"--output-directory={series}", "base")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
