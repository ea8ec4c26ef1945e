#!/bin/busybox sh
# The first process of a guest: makes what programs expect of a system, runs the cases, and sends
# what came of them to the second serial port, as a gzipped tar.

/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys /dev /tmp /sbin /usr/bin /out
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up

# run NAME COMMAND [ARG]...   in a folder of that name
run() {
    mkdir "/out/$1"
    cd "/out/$1" || exit
    shift
    "$@" >stdout 2>stderr
    echo $? >status
    # For whoever reads the console of a guest that came to nothing.
    echo "$(cut -d ' ' -f 1 /proc/uptime) s: $* ended with $(cat status)"
}

. /cases

cd /out || exit
uname -r >kernel
stty -F /dev/ttyS1 raw
tar cz . >/dev/ttyS1
poweroff -f
