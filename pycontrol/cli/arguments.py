"""What a command is about: types of arguments, which a shell can complete."""

from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Items = list[CompletionItem[Any]]


class DeviceName(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """The name of one of our devices, be it there or not."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "Items":
        """Names there are; as paths if that is how the word begins."""
        from click.shell_completion import CompletionItem

        from pycontrol.service.nearby import remap_devices

        prefix = "/dev/mapper/" if incomplete.startswith("/") else ""
        names = (prefix + name for name in remap_devices())
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class BlockDevice(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """The path of a block device, or with ``images`` of a file that is an image of one."""

    name = "path"

    def __init__(self, *, images: bool = False) -> None:
        self.images = images

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "Items":
        """Devices by the names that the kernel gave them; files for what else it may be, as a link."""
        from click.shell_completion import CompletionItem

        from pycontrol.service.nearby import block_devices
        from pycontrol.sizes import human

        found: Items = [
            CompletionItem(path, help=human(size))
            for path, size in block_devices()
            if path.startswith(incomplete)
        ]
        if not found or (self.images and not incomplete.startswith("/dev/")):
            return [CompletionItem(incomplete, type="file")]
        return found


NAME: Final = DeviceName()
DEVICE: Final = BlockDevice()
DEVICE_OR_IMAGE: Final = BlockDevice(images=True)
