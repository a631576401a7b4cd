#!/bin/busybox sh
# First program of a guest: mounts the host's root read-only with memory over it, then hands over to the test script
# or to systemd, as the kernel's command line says (guest.run=, guest.modules=, and guest.root= for the checkout).
export PATH=/bin
/bin/busybox --install -s /bin
fail() { echo "guest: cannot $1"; poweroff -f; }
mount -t proc proc /proc || fail "mount /proc"
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "$module" || fail "load $module"; done </modules/order
for word in $(cat /proc/cmdline); do
    case $word in
        guest.run=*) run=${word#*=} ;;
        guest.root=*) root=${word#*=} ;;
        guest.modules=*) modules=${word#*=} ;;
    esac
done
options=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "ro,cache=loose,$options" root /lower || fail "mount the host's root"
mount -t tmpfs -o size=60% memory /memory || fail "make room in memory"
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work root /new || fail "put memory over it"
for name in proc sys dev; do mount -o move /$name /new/$name || fail "move /$name"; done
mkdir -p /new/dev/pts /new/dev/shm /new/usr/lib/modules /new/run /new/tmp /new/var/tmp
for name in run var/tmp dev/shm; do mount -t tmpfs -o mode=1777 memory "/new/$name" || fail "mount /$name"; done
chmod 755 /new/run
mount -t ext4 -o noatime /new/dev/vda /new/tmp || fail "mount the disk"
chmod 1777 /new/tmp
if [ ! -d "/new$root" ]; then # it lies where the guest has its own
    mkdir -p "/new$root" /memory/root /memory/work-root
    mount -t overlay -o "lowerdir=/lower$root,upperdir=/memory/root,workdir=/memory/work-root" root "/new$root" ||
        fail "find the checkout"
fi
mount -t devpts -o mode=620,ptmxmode=666 pts /new/dev/pts
mkdir /new/run/guest
mount -t 9p -o "rw,$options" results /new/run/guest || fail "mount the directory of results"
mkdir -p "/new/usr/lib/modules/$(uname -r)"
mount -o bind "/lower$modules" "/new/usr/lib/modules/$(uname -r)" || fail "find the modules"
hostname guest
ifconfig lo up
exec switch_root /new /bin/sh "$run"
