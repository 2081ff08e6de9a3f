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
    inst_multiple /usr/lib/dm-remap/activator /etc/dmremaptab
    inst_rules 61-dm-remap.rules
    # With systemd in the initramfs its generator does the rest, without it udev's rule.
    if dracut_module_included systemd; then
        inst_simple "$systemdutildir/system-generators/dm-remap-generator"
        inst_simple "$systemdsystemunitdir/dm-remap.target"
        inst_simple "$systemdsystemunitdir/sysinit.target.wants/dm-remap.target"
    fi
}
