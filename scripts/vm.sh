#!/bin/sh
# Runs tests under Debian's kernel, in a machine of QEMU without any help of the processor: it has what this
# machine's own kernel may lack, wireguard among it, and nothing but cgroup2. The machine sees this one's root
# directory, which it cannot write; all that it writes is in its memory, and goes with it.
#
#   scripts/vm.sh [FILTER]      tests of that filter of nextest's; those of WireGuard otherwise
#
# VM_SECONDS  how long it may take (1800)
# VM_MEMORY   in MiB (3072)
set -eu

cd "$(dirname "$0")/.."
FILTER=${1:-binary(wireguard) | test(wireguard)}
VM=$PWD/target/vm
: "${VM_SECONDS:=1800}" "${VM_MEMORY:=3072}" "${CARGO:=cargo}"
# All that the machine needs before it sees a root directory; whatever else it needs it loads from there.
MODULES="virtio_pci 9pnet_virtio 9p overlay"

say() { printf 'vm: %s\n' "$*" >&2; }

case $PWD in /tmp/* | /var/tmp/* | /run/* | /dev/* | /var/lib/twill/*)
    say "$PWD is not seen in the machine, which has its own there: take a checkout somewhere else"
    exit 1
    ;;
esac

# Unpacked and not installed: this machine boots as before.
kernel() {
    package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    ROOT=$VM/$package
    RELEASE=${package#linux-image-}
    [ -e "$ROOT/complete" ] && return 0
    say "fetching $package"
    rm -rf "$ROOT"
    mkdir -p "$ROOT"
    (
        cd "$ROOT"
        apt-get download "$package" >/dev/null 2>&1 || { say "apt-get could not download $package"; exit 1; }
        dpkg-deb --extract ./*.deb . && rm ./*.deb
    )
    depmod --basedir "$ROOT" "$RELEASE"
    : >"$ROOT/complete"
}

# Finds the root directory and hands over to vm-init.sh, which is in it.
first_root() {
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    mkdir -p "$tree/bin" "$tree/modules" "$tree/new" "$tree/proc"
    cp "$(command -v busybox)" "$tree/bin/busybox"
    order=
    for module in $MODULES; do
        files=$(modprobe --dirname "$ROOT" --set-version "$RELEASE" --show-depends "$module" | sed -n 's/^insmod //p')
        for file in $files; do
            name=$(basename "$file")
            case " $order " in *" $name "*) ;; *) order="$order $name" && cp "$file" "$tree/modules/" ;; esac
        done
    done
    cat >"$tree/init" <<SCRIPT
#!/bin/busybox sh
for module in $order; do busybox insmod /modules/\$module || exit 1; done
busybox mkdir /below /memory
busybox mount -t tmpfs -o size=75% memory /memory
busybox mkdir /memory/upper /memory/work
busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro root /below &&
busybox mount -t overlay -o lowerdir=/below,upperdir=/memory/upper,workdir=/memory/work root /new &&
exec busybox switch_root /new /bin/sh $PWD/scripts/vm-init.sh $VM $ROOT $RELEASE
SCRIPT
    chmod 755 "$tree/init"
    ln -s busybox "$tree/bin/sh"
    (cd "$tree" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$VM/initramfs"
    rm -rf "$tree"
    trap - EXIT
}

# Everything is built here, the programs with their tests, and only run there: by paths, which are the same. The
# runner would ask each program there what tests it has, which takes long: a line each for program, directory, test.
tests() {
    "$CARGO" nextest list --locked --workspace --filterset "$FILTER" --color never --verbose \
        --message-format oneline >"$VM/list"
    # Those that the filter leaves out are in the list as well.
    sed -n '/(skipped)$/d; s/^[^ ]* \([^ ]*\) \[bin: \([^]]*\)\] \[cwd: \([^]]*\)\].*/\2 \3 \1/p' "$VM/list" >"$VM/tests"
    [ -s "$VM/tests" ] || { say "no test is $FILTER"; exit 1; }
}

mkdir -p "$VM"
kernel
first_root
tests
rm -f "$VM/exit"
say "booting $RELEASE for $(wc -l <"$VM/tests") tests"
timeout --signal KILL "$VM_SECONDS" qemu-system-x86_64 -M q35 -cpu max -accel tcg,thread=multi -smp 2 -m "$VM_MEMORY" \
    -nodefaults -no-user-config -no-reboot -display none -monitor none \
    -kernel "$ROOT/boot/vmlinuz-$RELEASE" -initrd "$VM/initramfs" \
    -append "console=ttyS0 quiet loglevel=3 panic=-1 systemd.unified_cgroup_hierarchy=1" \
    -chardev stdio,id=console,signal=off -serial chardev:console -serial "file:$VM/exit" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=root </dev/null &
machine=$!
# Whoever ends this script ends the machine.
trap 'kill "$machine" 2>/dev/null || :' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
wait "$machine" || {
    say "the machine did not come to an end within $VM_SECONDS seconds, or could not be run"
    exit 1
}
code=$(tr -d '\r\n' <"$VM/exit")
[ -n "$code" ] || say "the machine ended without a word about the tests"
exit "${code:-1}"
