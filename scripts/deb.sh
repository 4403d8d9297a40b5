#!/bin/sh
# Packs everything into one package for Debian: target/twill_VERSION_ARCHITECTURE.deb, whose name is printed.
#
#   scripts/deb.sh
#
# PROGRAMS_DIR    where the programs were built (target/release)
# DEB_VERSION     instead of the one in Cargo.toml, with the commit's date and hash if it is not tagged so:
#                 before that release if there is none yet, and after it if there is
# DEB_DIR         where the package goes (target)
# DEB_COMPRESS    how it is compressed (xz), in the words of `dpkg-deb -Z`
#
# One package: agent, runtime and plugin share one pool of addresses and one bridge on each host, in files
# whose form is theirs, so they have to be of one version. What is not used does nothing.
set -eu
cd "$(dirname "$0")/.."
umask 022

version=${DEB_VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)}
if [ -z "${DEB_VERSION:-}" ] && [ -e .git ] &&
    [ "$(git describe --tags --exact-match 2>/dev/null)" != "v$version" ]; then
    commit=$(TZ=UTC0 git log -1 --date=format-local:%Y%m%d%H%M%S --format=%cd.%h)
    mark='~'
    if git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null; then mark=+; fi
    version=$version${mark}git$commit
fi
architecture=$(dpkg --print-architecture)
out=${DEB_DIR:-target}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
mkdir -p "$out"
stage=$(mktemp -d "$out/deb.XXXXXX")
trap 'rm -rf "$stage"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
tree=$stage/tree
mkdir "$tree"
chmod 755 "$tree"

CNI_DIR=/usr/lib/cni ZSH_DIR=/usr/share/zsh/vendor-completions scripts/install.sh install "$(realpath "$tree")" /usr
mkdir -p "$tree/opt/cni/bin"
# Where containerd looks by itself.
ln -s /usr/lib/cni/twill-cni "$tree/opt/cni/bin/twill-cni"
programs="$tree/usr/sbin/twilld $tree/usr/bin/twillctl $tree/usr/bin/twill $tree/usr/lib/cni/twill-cni"
# shellcheck disable=SC2086 # the list of programs is meant to be split
strip --strip-unneeded $programs

doc=$tree/usr/share/doc/twill
rm -f "$doc/LICENSE"
cp packaging/debian/copyright "$doc/copyright"
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
gzip -9n "$tree"/usr/share/man/man8/*.8
# Not of the moment at which it was packed.
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0r touch -h -d "@$SOURCE_DATE_EPOCH"

# shellcheck disable=SC2086 # the list of programs is meant to be split
libc=$(objdump -T $programs | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
if [ -z "$libc" ]; then
    printf 'deb: objdump tells no version of libc\nhint: apt-get install binutils\n' >&2
    exit 1
fi
control=$tree/DEBIAN
mkdir "$control"
cat >"$control/control" <<END
Package: twill
Version: $version
Architecture: $architecture
Maintainer: The authors of Twill <twill@example.invalid>
Section: net
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f 1)
Depends: init-system-helpers (>= 1.54~), libc6 (>= ${libc#GLIBC_}), libgcc-s1, libseccomp2, iptables | nftables
Recommends: iproute2, kmod, procps
Suggests: etcd-server
Homepage: https://github.com/twill-net/twill
Description: network of containers on many hosts, and a runtime for them
 Gives every host a subnet of one container network, and carries the packets
 between the hosts. Reads and writes what flannel has in etcd, and speaks its
 wire formats.
 .
 The agent twilld, the administrator's tool twillctl, the container runtime
 twill and the CNI plugin twill-cni, with their units.
END
echo /etc/twill/twilld.env >"$control/conffiles"
for script in postinst prerm postrm; do install -m 755 "packaging/debian/$script" "$control/$script"; done
(cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$control/md5sums"

package=$out/twill_${version}_$architecture.deb
dpkg-deb --root-owner-group -Z"${DEB_COMPRESS:-xz}" --build "$tree" "$stage/twill.deb" >/dev/null
# One at a time, for whoever installs all that he finds.
if [ -z "${DEB_DIR:-}" ]; then rm -f "$out"/twill_*_"$architecture".deb; fi
mv "$stage/twill.deb" "$package"
echo "$package"
