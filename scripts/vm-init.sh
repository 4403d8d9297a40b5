#!/bin/sh
# The first and only program of the machine that vm.sh boots: makes a host of it, runs the tests, says how they
# ended and switches the machine off.
#
#   vm-init.sh DIRECTORY KERNEL RELEASE
set -u
VM=$1 KERNEL=$2 RELEASE=$3

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t tmpfs -o mode=1777 tmp /tmp
# Where labs are, and this machine may have some of its own.
mount -t tmpfs -o mode=1777 tmp /var/tmp
mount -t tmpfs lib /var/lib/twill 2>/dev/null || mkdir -p /var/lib/twill
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "/lib/modules/$RELEASE"
mount --bind "$KERNEL/lib/modules/$RELEASE" "/lib/modules/$RELEASE"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
export LANG=C.UTF-8 RUST_BACKTRACE=1 REQUIRE_ROOT=1 REQUIRE_WIREGUARD=1 TWILL_PATIENCE=6
# No kernel but this one has loaded anything before: what a host's start loads.
for module in tun vxlan veth bridge br_netfilter overlay nf_tables dummy; do modprobe "$module" || echo "no $module"; done
ip link set lo up
cd "$(dirname "$0")/.." || exit 1
echo "--- $(uname -sr), $(nproc) processors, $(sed 's/ .*//' /proc/uptime) s after the start"
code=0
# A process for each, because a network namespace belongs to a thread.
while read -r program directory test; do
    if cd "$directory" && CARGO_MANIFEST_DIR=$directory timeout 600 "$program" --exact "$test" --nocapture </dev/null >/tmp/said 2>&1; then
        verdict=PASS
    else
        verdict=FAIL code=1
    fi
    echo "    $verdict $(sed 's/ .*//' /proc/uptime) s $(basename "${program%-*}") $test"
    # A test that did not run says so.
    if [ $verdict = FAIL ]; then cat /tmp/said; else grep '^SKIPPED' /tmp/said; fi
done <"$VM/tests"
echo "--- ended with $code, $(sed 's/ .*//' /proc/uptime) s after the start"
echo "$code" >/dev/ttyS1
sync
echo o >/proc/sysrq-trigger
sleep 60
