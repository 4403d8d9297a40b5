#!/bin/sh
# Makes target/programs.tar: nginx, redis, MariaDB and HAProxy as Debian packages have them, unpacked into one
# tree with what they need. Nothing of it is installed on this machine, and none of its scripts is run.
#
# Does nothing when it is there already. With TWILL_DEPS=skip it has to be.
set -eu

PROGRAMS="nginx-light redis-server haproxy mariadb-server-core mariadb-client-core"
# What scripts of theirs call.
TOOLS="base-files dash coreutils sed grep libc-bin netbase"

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
if [ -e "$target/programs.tar" ] && [ "$(cat "$target/programs.list" 2>/dev/null)" = "$PROGRAMS $TOOLS" ]; then exit 0; fi
if [ "${TWILL_DEPS:-}" = skip ]; then
    printf 'programs: %s is not there, and TWILL_DEPS=skip says that nothing is fetched\n' "$target/programs.tar" >&2
    exit 1
fi
mkdir -p "$target"
# What a run that was killed left.
rm -rf "$target"/programs.tmp.*
place=$(cd "$(mktemp -d "$target/programs.tmp.XXXXXX")" && pwd)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$place/debs/partial" "$place/tree"
: >"$place/status"

# As on a machine where nothing is installed, so that all that they need is named.
# shellcheck disable=SC2086 # the lists are meant to be split
fetch() {
    apt-get -y -qq --download-only --no-install-recommends -o "Dir::State::status=$place/status" \
        -o "Dir::Cache::archives=$place/debs" -o Debug::NoLocking=1 -o APT::Sandbox::User=root \
        install $PROGRAMS $TOOLS </dev/null >"$place/log" 2>&1
}
fetch || { apt-get update -qq >/dev/null 2>&1 && fetch; } || {
    tail -n 20 "$place/log" >&2
    printf 'programs: apt-get could not fetch them\nhint: is the network there? then: apt-get update\n' >&2
    exit 1
}
for package in "$place"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$package" >"$place/package.tar"
    tar -x -C "$place/tree" --keep-directory-symlink --exclude './usr/share/doc' --exclude './usr/share/man' \
        --exclude './usr/share/locale' -f "$place/package.tar"
done
tar -C "$place/tree" -cf "$place/programs.tar" .
mv "$place/programs.tar" "$target/programs.tar"
printf '%s\n' "$PROGRAMS $TOOLS" >"$target/programs.list"
