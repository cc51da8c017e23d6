#!/bin/busybox sh
# PID 1 of the nested machine. Ports: 1 and 2 carry the command's output, 3 how it ended.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /mod/*.ko; do insmod "$module" 2>/dev/null; done

# Their names begin with the number of the virtio device, whatever that is.
for _ in 1 2 3 4 5 6 7 8 9 10; do
	port=$(echo /dev/vport*p3)
	[ -c "$port" ] && break
	sleep 0.1
done
[ -c "$port" ] || poweroff -f
port=${port%3}
exec 3>"${port}3"

# The host ends the machine when it has read this.
finish() {
	echo "$*" >&3
	sleep 1000
}
die() {
	dmesg | tail -n 5 >/dev/console
	finish "failed $*"
}

mount -t virtiofs -o ro host /host || die "mount the host's root"
mount -t tmpfs -o size=75% top /top
mkdir /top/upper /top/work
mount -t overlay -o lowerdir=/host,upperdir=/top/upper,workdir=/top/work root /new || die "mount an overlay over the host's root"
mount -t devtmpfs dev /new/dev
mkdir -p /new/dev/pts /new/dev/shm /new/scratch
mount -t devpts pts /new/dev/pts
mount -t tmpfs shm /new/dev/shm
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
mount -t tmpfs -o size=75% run /new/run
mount -t ext4 /dev/vda /new/scratch || die "mount its own disk"
chmod 1777 /new/scratch
. /mounts
ip link set lo up
cp /job /new/run/job

# Pipes rather than the ports themselves, which only one process can have open. dd counts the bytes, so that the host
# knows when it has them all.
mkfifo /out /err
dd bs=64k if=/out of="${port}1" 2>/out.count &
out=$!
dd bs=64k if=/err of="${port}2" 2>/err.count &
err=$!
# Its root is that of a mount namespace: no process in a mere chroot may make user namespaces.
unshare -m sh -c 'cd /new && mount --move . / && exec chroot . /bin/sh /run/job' </dev/null >/out 2>/err 3>&-
status=$?
sync

# Something that the command left running may hold the pipes open: it gets a moment to end.
for _ in 1 2 3 4 5 6 7 8 9 10; do
	kill -0 $out 2>/dev/null || kill -0 $err 2>/dev/null || break
	sleep 0.2
done
count() {
	bytes=$(sed -n 's/^\([0-9]*\) bytes.*/\1/p' "$1")
	echo "${bytes:-0}"
}
finish "ended $status $(count /out.count) $(count /err.count)"
