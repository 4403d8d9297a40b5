#!/bin/sh
# Installs what building, testing and the demo need and this machine lacks. Says nothing when nothing is
# missing, starts no service, and may be interrupted at any point.
#
#   scripts/deps.sh          everything but the test runner
#   scripts/deps.sh test     and cargo-nextest, the Docker and the CNI plugins to compare with, and a containerd that calls ours, into the
#                            directory named by TOOLS
#   scripts/deps.sh bench    and what `make bench-control` counts with
#   scripts/deps.sh rivals   and whom `make bench-runtime` runs beside ours
#   scripts/deps.sh vm       the test runner, and a machine for `make vm-test`
#
# TWILL_DEPS=skip  look for the Rust toolchain only, and trust that the rest is there
set -eu

# Building: cc and headers for the C parts of crates (C++ for the fuzzer), libseccomp for the runtime, protoc and Google's
# .proto files for the etcd client, clang and libbpf's headers for the kernel's part of the data path.
BUILD="ca-certificates clang gcc g++ libbpf-dev libc6-dev pkg-config libseccomp-dev protobuf-compiler libprotobuf-dev"
# Running: etcd and its client, both engines of the firewall, the tools that the demo shows, an image's only content.
RUN="etcd-server etcd-client iptables nftables iproute2 iputils-ping busybox-static"
# Checking. podman and skopeo read our archives, and we read theirs.
# systemd boots hosts of its own, in which the packages are installed; dbus is what its tools ask there.
CHECK="shellcheck openssl procps systemd systemd-container dbus podman skopeo"
# Counting.
COUNT=
if [ "${1:-}" = bench ]; then COUNT=strace; fi
# Other runtimes; podman is there already, and Docker is unpacked.
RIVALS=
if [ "${1:-}" = rivals ]; then RIVALS=crun; fi
# Another kernel.
MACHINE=
if [ "${1:-}" = vm ]; then MACHINE="qemu-system-x86 kmod wireguard-tools"; fi
NEXTEST=0.9.143

POLICY=/usr/sbin/policy-rc.d
SAVED=$POLICY.before-twill
MARK="written by Twill's deps.sh"

say() { printf 'deps: %s\n' "$*" >&2; }
hint() { printf 'hint: %s\n' "$*" >&2; }
refuse() {
    say "$1"
    shift
    for way_out; do hint "$way_out"; done
    exit 1
}

# Is version $1 at least $2?
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

need_rust() {
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null 2>&1; then
        refuse "no Rust toolchain: cargo is not in PATH" \
            "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh   (see https://rustup.rs)" \
            "installed for another user? sudo env PATH=\"\$PATH\" make …"
    fi
    found=$(cargo --version 2>/dev/null | awk '{ print $2 }')
    if [ -z "$found" ]; then
        refuse "cargo is there but does not run: $(cargo --version 2>&1 | head -n 1)" "rustup default stable"
    fi
    if ! at_least "$found" "$wanted"; then
        refuse "Rust $found is too old: this source needs $wanted" "rustup update stable"
    fi
}

missing_packages() {
    for package; do
        state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || state=absent
        [ "$state" = installed ] || printf '%s ' "$package"
    done
}

# Until restore_policy, nothing that dpkg installs may start etcd or a service of podman; every other service is treated as before.
# Killed by force, this leaves a file that forbids etcd for ten minutes more (apt may still be at work) and
# nothing afterwards.
forbid_etcd() {
    restore_policy
    if [ -e "$POLICY" ]; then cp -p "$POLICY" "$SAVED"; fi
    cat >"$POLICY.new" <<SCRIPT
#!/bin/sh
# $MARK while it installs packages; safe to delete afterwards.
name=
for word; do case \$word in -*) ;; *) name=\$word && break ;; esac; done
case \$name in
etcd | etcd.service | podman*) if kill -0 $$ 2>/dev/null || [ -n "\$(find "\$0" -mmin -10)" ]; then exit 101; fi ;;
esac
if [ -x $SAVED ]; then exec $SAVED "\$@"; fi
exit 0
SCRIPT
    chmod 755 "$POLICY.new"
    mv "$POLICY.new" "$POLICY"
}

# Also heals what an earlier run, killed by force, left.
restore_policy() {
    rm -f "$POLICY.new"
    if [ -e "$POLICY" ] && ! grep -qF "$MARK" "$POLICY"; then rm -f "$SAVED"; fi
    if [ -e "$SAVED" ]; then
        mv "$SAVED" "$POLICY"
    elif [ -e "$POLICY" ] && grep -qF "$MARK" "$POLICY"; then
        rm -f "$POLICY"
    fi
}

# Debian enables etcd.service at installation. It would take port 2379 at the next boot.
disable_etcd() {
    if command -v systemctl >/dev/null 2>&1; then
        systemctl --quiet disable etcd.service 2>/dev/null || true
    elif command -v update-rc.d >/dev/null 2>&1; then
        update-rc.d etcd disable
    fi
}

clean_up() {
    restore_policy
    case " $missing " in *" etcd-server "*) disable_etcd >/dev/null 2>&1 ;; esac
    rm -f "$log"
}

apt() {
    # shellcheck disable=SC2086 # the list of packages is meant to be split
    DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >>"$log" 2>&1
}

# QEMU breaks tools of its own of another version, as backports have them, and apt would take those away.
also_qemu_utils() {
    case " $missing " in *" qemu-system-x86 "*) ;; *) return 0 ;; esac
    [ -z "$(missing_packages qemu-utils)" ] || return 0
    candidate=$(apt-cache policy qemu-system-x86 | sed -n 's/^ *Candidate: //p')
    missing="$missing qemu-utils=$candidate"
}

install_packages() {
    log=$(mktemp)
    also_qemu_utils
    # The shell waits for apt before it runs these.
    trap 'clean_up' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    forbid_etcd
    say "installing from apt: $missing"
    # shellcheck disable=SC2086 # the list of packages is meant to be split
    if ! apt install --no-install-recommends --allow-downgrades $missing && ! {
        apt update && apt install --no-install-recommends --allow-downgrades $missing
    }; then
        tail -n 20 "$log" >&2
        refuse "apt-get could not install: $missing" "is the network there? then: apt-get update"
    fi
    clean_up
    trap - EXIT INT TERM HUP
}

need_packages() {
    # shellcheck disable=SC2086 # the lists are meant to be split
    set -- $BUILD $RUN $CHECK $COUNT $RIVALS $MACHINE
    if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
        refuse "this is not Debian, and other package managers are not known here" \
            "install what these Debian packages hold, then set TWILL_DEPS=skip: $*"
    fi
    missing=$(missing_packages "$@")
    missing=${missing% }
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        refuse "not root, and these packages are missing: $missing" \
            "sudo apt-get install --no-install-recommends $missing" \
            "etcd-server starts a service: sudo systemctl disable --now etcd"
    fi
    install_packages
}

need_nextest() {
    if cargo nextest --version >/dev/null 2>&1; then return 0; fi
    say "building cargo-nextest $NEXTEST into $TOOLS; once, some minutes"
    # It starts our tests and reads their output: no need to wait for an optimised build.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_TARGET_DIR="$TOOLS/build" cargo install --quiet --locked \
        --no-default-features --features default-no-update --root "$TOOLS" --version "$NEXTEST" cargo-nextest ||
        refuse "cargo could not build cargo-nextest $NEXTEST" "see https://nexte.st for a binary, and put it in PATH"
    rm -rf "$TOOLS/build"
}

# Unpacked, not installed: so no service starts, and no other engine has to make way. The list of differences is about
# the one of Debian 12; where there is another, the tests that compare say that they did not run.
DOCKER="docker.io containerd runc tini libdevmapper1.02.1"
docker_candidate() { apt-cache policy docker.io 2>/dev/null | sed -n 's/^ *Candidate: //p'; }
need_docker() {
    if [ -x "$TOOLS/docker/usr/sbin/dockerd" ]; then return 0; fi
    candidate=$(docker_candidate)
    # A machine that has all else may have no lists of packages.
    if [ -z "$candidate" ] && [ "$(id -u)" -eq 0 ] && apt-get -qq update >/dev/null 2>&1; then
        candidate=$(docker_candidate)
    fi
    case $candidate in
    20.10.*) ;;
    *) say "Docker is ${candidate:-not there} here: nothing will be compared with 20.10" && return 0 ;;
    esac
    say "unpacking Docker $candidate into $TOOLS/docker; once"
    rm -rf "$TOOLS/docker.new"
    mkdir -p "$TOOLS/docker.new"
    # shellcheck disable=SC2086 # the list of packages is meant to be split
    (cd "$TOOLS/docker.new" && apt-get -qq -o APT::Sandbox::User=root download $DOCKER && for package in *.deb; do
        dpkg-deb -x "$package" . && rm "$package"
    done) || refuse "apt-get could not fetch: $DOCKER" "is the network there? then: apt-get update"
    rm -rf "$TOOLS/docker"
    mv "$TOOLS/docker.new" "$TOOLS/docker"
}

# unpack NAME PACKAGE...: into TOOLS/NAME, whole or not at all. Answers whether they could be fetched.
unpack() {
    name=$1
    shift
    say "unpacking $* into $TOOLS/$name; once"
    rm -rf "$TOOLS/$name.new"
    mkdir -p "$TOOLS/$name.new"
    download "$name" "$@" 2>/dev/null || { apt-get -qq update >/dev/null 2>&1 && download "$name" "$@"; } || return 1
    rm -rf "${TOOLS:?}/$name"
    mv "$TOOLS/$name.new" "$TOOLS/$name"
}
download() {
    (cd "$TOOLS/$1.new" && shift && apt-get -qq -o APT::Sandbox::User=root download "$@" &&
        for package in *.deb; do dpkg-deb -x "$package" . && rm "$package"; done)
}

# The CNI plugins that the table of the specification is proven on; those that a host has installed are left alone.
need_plugins() {
    if [ -x "$TOOLS/cni/usr/lib/cni/bridge" ]; then return 0; fi
    unpack cni containernetworking-plugins ||
        say "apt-get could not fetch containernetworking-plugins: the table of CNI runs on ours alone"
}

# A containerd that calls our plugin, whichever Debian has. Not that of Docker: there is none of it where Debian has another Docker.
need_containerd() {
    if [ -x "$TOOLS/containerd/usr/bin/containerd" ]; then return 0; fi
    unpack containerd containerd runc || say "apt-get could not fetch containerd: our plugin is not called by it"
}

cd "$(dirname "$0")/.."
need_rust
if [ "${TWILL_DEPS:-}" != skip ]; then need_packages; fi
TOOLS=${TOOLS:-target/tools}
case ${1:-} in test | vm)
    PATH=$TOOLS/bin:$PATH
    need_nextest
    ;;
esac
case ${1:-} in test | rivals) if [ "${TWILL_DEPS:-}" != skip ]; then need_docker; fi ;; esac
case ${1:-} in
test)
    if [ "${TWILL_DEPS:-}" != skip ]; then
        need_plugins
        need_containerd
    fi
    ;;
esac
