import time
def test_p(guest):
    g=guest
    for i in range(6):
        t=time.time()
        r=g.sh(f"mkfs.ext4 -q -F {g.main}; sync; dmesg | grep 'I/O error' | wc -l", check=False)
        print(r, time.time()-t, g.machine.main.counters(), g.machine.spare.counters())
        g.sh(f"blkdiscard -f {g.main}")
        if i==2:
            g.dmremapctl("create","mapped",g.main,g.spare,"--yes")
            g.sh("mkfs.ext4 -q -F /dev/mapper/mapped; mkdir -p /tmp/here; mount /dev/mapper/mapped /tmp/here")
            g.dmremapctl("remove","mapped","--deferred")
            g.sh("umount /tmp/here")
            g.sh(f"blkdiscard -f {g.main}; blkdiscard -f {g.spare}")
    print(g.run("dmesg").out[-1500:])
