#!/bin/bash
# dracut's functions call these; they set and use its variables.
# shellcheck disable=SC2154

check() {
    require_binaries /usr/lib/dm-remap/activator || return 1
    [ -s "$dracutsysrootdir/etc/dmremaptab" ] || return 255
}

depends() {
    echo dm
}

installkernel() {
    hostonly='' instmods dm-remap-v4
}

install() {
    inst_simple /usr/lib/dm-remap/activator
    # As it stays until the next initramfs is made: what is wrong with a line, the activator says.
    mkdir -p "$initdir/etc"
    "$dracutsysrootdir/usr/lib/dm-remap/activator" tab --initramfs --tab "$dracutsysrootdir/etc/dmremaptab" \
        >"$initdir/etc/dmremaptab" || [ $? = 2 ] || return 1
    inst_rules 61-dm-remap.rules
    # With systemd in the initramfs its generator does the rest, without it udev's rule.
    if dracut_module_included systemd; then
        inst_simple "$systemdutildir/system-generators/dm-remap-generator"
        inst_simple "$systemdsystemunitdir/dm-remap.target"
        inst_simple "$systemdsystemunitdir/sysinit.target.wants/dm-remap.target"
    fi
}
