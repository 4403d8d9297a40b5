#!/bin/sh
# Writes a small root file system, Debian's static busybox and nothing else, as a tar archive to stdout:
#
#   busybox-image.sh | twill import - busybox
set -eu

busybox=$(command -v busybox) || { echo "busybox-image: no busybox; apt-get install busybox-static" >&2; exit 1; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir "$root/bin" "$root/etc" "$root/root"
mkdir -m 1777 "$root/tmp"
cp "$busybox" "$root/bin/busybox"
"$busybox" --list | grep -vx busybox | while read -r tool; do ln -s busybox "$root/bin/$tool"; done
echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
echo root:x:0: >"$root/etc/group"
tar -C "$root" --owner=0 --group=0 --numeric-owner -c .
