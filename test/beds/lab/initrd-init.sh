#!/bin/busybox sh
# Process 1 of the lab's guest until the root file system is there: the host's, read-only over 9p, below an overlay
# that takes all that is written. guest-init.sh goes on from there.
b=/bin/busybox
$b mkdir -p /proc /sys /dev /host /upper /new
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev

fail() {
  echo "@lab failed: $*"
  $b poweroff -f
  $b sleep 60 # never let process 1 return
}

for module in $($b cat /modules/order); do
  $b insmod "/modules/$module" || fail "insmod $module"
done
# cache=loose: nobody but the guest looks at the mount, and the host's files do not change while it runs.
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host || fail "mounting host over 9p"
$b mount -t tmpfs -o size=75% upper /upper
$b mkdir /upper/files /upper/work
$b mount -t overlay -o lowerdir=/host,upperdir=/upper/files,workdir=/upper/work root /new || fail "mounting the overlay"
for folder in proc sys dev; do $b mount --move "/$folder" "/new/$folder"; done
$b mount -t tmpfs run /new/run
$b cp /guest-init.sh /new/run/guest-init.sh
exec $b switch_root /new /bin/bash /run/guest-init.sh
