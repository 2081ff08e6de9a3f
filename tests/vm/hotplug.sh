#!/bin/bash
# In the Debian of ci/rootfs: units follow the disks.  Each half of the device under /srv is
# pulled out under load and put back, the halves come in either order, its spare is copied.
# What went well is told.
set -euxo pipefail
exec 2>&1
unit=dm-remap@data.service
cd /run

# It tells its end whatever has happened.  What the kernel says meanwhile comes in one piece.
dmesg --console-level 1
end() {
    local status=$?
    dmesg --level emerg,alert,crit,err,warn
    dmesg --console-level 5
    echo "told: end $status"
}
trap end EXIT

# Where "!" would hide that it has succeeded.
fails() { if "$@"; then return 1; fi; }

# Of a disk, what the driver calls it.
bus() {
    local name
    name=$(readlink -f "/dev/disk/by-id/virtio-$1")
    basename "$(readlink -f "/sys/class/block/${name##*/}/device")"
}
declare -A at=([data]=$(bus data) [dataspare]=$(bus dataspare))
unplug() { echo "${at[$1]}" >/sys/bus/virtio/drivers/virtio_blk/unbind; }
plug() { echo "${at[$1]}" >/sys/bus/virtio/drivers/virtio_blk/bind; }

# Who tests this machine has the patience.
comes_up() {
    udevadm wait /dev/mapper/data
    until systemctl is-active --quiet $unit; do sleep 1; done
}

goes_down() {
    until [[ $(systemctl show --property ActiveState --value $unit) == @(inactive|failed) ]]; do sleep 1; done
    # By systemd, unless the writer was still there.
    if mountpoint -q /srv; then umount /srv; fi
}

# What is acknowledged is written down, until something fails or it is no longer mounted.
load() {
    local name
    for name in {1..100000}; do
        head -c 64K /dev/urandom >wrote
        dd if=wrote of=/srv/load/$name bs=64K conv=fsync status=none || break
        echo "$(sha256sum <wrote | cut -d' ' -f1)  /srv/load/$name" >>acknowledged
        [ $name != 8 ] || echo >under_way
    done
    # Who waits for that shall not wait for ever.
    [ $name -gt 8 ] || echo >under_way
}
mkfifo under_way

comes_up
mountpoint -q /srv
echo "told: mounted at boot"

for half in data dataspare; do
    mkdir /srv/load
    : >acknowledged
    { set +x; load; } 2>/dev/null &
    read -r <under_way
    [ "$(wc -l <acknowledged)" -ge 8 ]
    unplug $half
    wait $!
    goes_down
    echo "told: $half was pulled out"
    plug $half
    comes_up
    systemctl start srv.mount
    sha256sum --quiet --check acknowledged
    rm -r /srv/load
    echo "told: $half was put back, and everything is there"
done

for first in data dataspare; do
    systemctl stop $unit
    [ ! -e /dev/mapper/data ]
    unplug data
    unplug dataspare
    udevadm settle
    plug $first
    udevadm settle
    fails systemctl is-active --quiet $unit
    [ $first = data ] && plug dataspare || plug data
    comes_up
    echo "told: up with $first first"
done

dd if=/dev/disk/by-id/virtio-dataspare of=/var/tmp/copy bs=1M conv=sparse status=none
copy=$(losetup --find --show /var/tmp/copy)
udevadm settle
systemctl is-active --quiet $unit
echo "told: a copy of its spare does not take the device away"
systemctl stop $unit
fails systemctl start $unit
journalctl --unit $unit --output cat | grep "one is a copy of the other"
losetup --detach "$copy"
rm /var/tmp/copy
udevadm settle
systemctl start srv.mount
systemctl is-active --quiet $unit
echo "told: without the copy it is up again"
systemctl reset-failed
