#!/bin/sh
# Measures what a host feels of Twill, on a host of a lab on this machine, and prints one row a figure.
# Meant for comparing two states of the source on one machine; a busy machine shows in every row.
#
#   scripts/bench.sh          builds a lab, measures on its host, takes the lab down
set -eu
cd "$(dirname "$0")/.."

if [ "${1:-}" != measure ]; then
    # A lab is called by the number of the process that made it.
    ./lab up --hosts 1 --bare >/dev/null &
    lab=$!-0
    wait $!
    trap './lab down --lab "$lab" >/dev/null' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    ./lab enter --lab "$lab" node1 "$PWD/scripts/bench.sh" measure
    exit
fi

# From here on: on node1, where nothing runs but what we start.
children=
finish() {
    for child in $children; do
        if kill "$child"; then wait "$child" || true; fi
    done 2>/dev/null
}
trap finish EXIT

now() { date +%s%N; }

# One row: name, then the median, least and greatest of the microseconds on stdin, as milliseconds.
row() {
    sort -n | awk -v name="$1" '
        { us[NR] = $1 }
        END { printf "%-44s median %7.1f ms  least %7.1f  most %7.1f  n=%d\n",
              name, us[int((NR + 1) / 2)] / 1000, us[1] / 1000, us[NR] / 1000, NR }'
}

# time_each N COMMAND…: microseconds of each of N runs, one a line.
time_each() {
    left=$1
    shift
    while [ "$left" -gt 0 ]; do
        begin=$(now)
        "$@" >/dev/null </dev/null || { echo "bench: $* failed" >&2; exit 1; }
        end=$(now)
        echo $(((end - begin) / 1000))
        left=$((left - 1))
    done
}

agent_until_ready() {
    rm -f /run/flannel/subnet.env
    twilld --etcd-endpoints http://127.0.0.1:2379 2>/run/twilld.log &
    agent=$!
    children="$agent $etcd"
    while ! [ -e /run/flannel/subnet.env ]; do :; done
}

agent_starts() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        begin=$(now)
        agent_until_ready
        end=$(now)
        echo $(((end - begin) / 1000))
        kill "$agent"
        wait "$agent" || true
    done
}

memory() { awk '/^VmRSS:/ { printf "%.1f MiB", $2 / 1024 }' "/proc/$1/status"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

idle() {
    before=$(ticks "$2")
    sleep 10
    after=$(ticks "$2")
    printf '%-44s %s, %s ms of CPU in 10 idle seconds\n' "$1" "$(memory "$2")" $(((after - before) * 10))
}

cni() {
    command=$1 container=$2
    printf '{"cniVersion":"1.0.0","name":"twill","type":"twill-cni"}' |
        CNI_COMMAND=$command CNI_CONTAINERID=$container CNI_NETNS=/run/netns/$container CNI_IFNAME=eth0 \
            CNI_PATH=/ twill-cni
}

cni_all() {
    for n in $(seq 50); do time_each 1 cni "$1" "bench$n"; done
}

etcd --data-dir "$(mktemp -d)" >/run/etcd.log 2>&1 &
etcd=$!
children=$etcd
until etcdctl endpoint health >/dev/null 2>&1; do :; done
twillctl network init --network 10.88.0.0/16 >/dev/null
packaging/examples/busybox-image.sh | twill import - busybox >/dev/null

agent_starts | row "twilld, from its start to subnet.env"
agent_until_ready
idle twilld "$agent"

time_each 1 twill run --rm busybox true >/dev/null
time_each 20 twill run --rm busybox true | row "twill run --rm busybox true"
id=$(twill run -d --name bench busybox sleep 1000)
monitor=$(pgrep -f "monitor.*$id" | head -n 1)
idle "monitor of a container" "$monitor"
twill rm -f bench >/dev/null

for n in $(seq 50); do ip netns add "bench$n"; done
cni_all ADD | row "twill-cni ADD"
cni_all DEL | row "twill-cni DEL"
for n in $(seq 50); do ip netns del "bench$n"; done
