#!/bin/sh
# Installs the programs and what belongs to them, or removes exactly that.
#
#   scripts/install.sh install|uninstall DESTDIR PREFIX
#
# CNI_DIR overrides where the CNI plugin goes (PREFIX/lib/cni); containerd of its own looks in /opt/cni/bin.
# ZSH_DIR is where zsh looks for completions, PROGRAMS_DIR where the programs were built (target/release).
# What an administrator may edit lies in /etc: it is not overwritten, and not removed once it was edited.
set -eu
cd "$(dirname "$0")/.."

verb=$1 root=$2 prefix=$3
cni=${CNI_DIR:-$prefix/lib/cni}
zsh=${ZSH_DIR:-$prefix/share/zsh/site-functions}
built=${PROGRAMS_DIR:-target/release}
doc=$prefix/share/doc/twill
generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT

# The one list: mode, source, target. `@` before a source: it is edited for PREFIX on the way.
files() {
    cat <<LIST
755 $built/twilld $prefix/sbin/twilld
755 $built/twillctl $prefix/bin/twillctl
755 $built/twill $prefix/bin/twill
755 $built/twill-cni $cni/twill-cni
755 packaging/subnet-hook $prefix/lib/twill/subnet-hook
644 @packaging/twilld.service $prefix/lib/systemd/system/twilld.service
644 @packaging/twill-network-sync.service $prefix/lib/systemd/system/twill-network-sync.service
644 @packaging/twill-restart.service $prefix/lib/systemd/system/twill-restart.service
644 packaging/sysctl.conf $prefix/lib/sysctl.d/50-twill.conf
644 packaging/modules.conf $prefix/lib/modules-load.d/twill.conf
644 packaging/examples/10-twill.conflist $doc/examples/10-twill.conflist
755 packaging/examples/busybox-image.sh $doc/examples/busybox-image.sh
644 packaging/examples/credentials.conf $doc/examples/credentials.conf
644 packaging/examples/docker.conf $doc/examples/docker.conf
644 packaging/examples/shortcut.conf $doc/examples/shortcut.conf
644 packaging/grafana-dashboard.json $doc/examples/grafana-dashboard.json
644 README.md $doc/README.md
644 LICENSE $doc/LICENSE
644 NOTICE $doc/NOTICE
LIST
    for page in $pages; do echo "644 $generated/$page $prefix/share/man/man8/$page"; done
    echo "644 $generated/twillctl.bash $prefix/share/bash-completion/completions/twillctl"
    echo "644 $generated/_twillctl $zsh/_twillctl"
    echo "644 $generated/twillctl.fish $prefix/share/fish/vendor_completions.d/twillctl.fish"
    echo "644 $generated/twill.bash $prefix/share/bash-completion/completions/twill"
    echo "644 $generated/_twill $zsh/_twill"
    echo "644 $generated/twill.fish $prefix/share/fish/vendor_completions.d/twill.fish"
}

fail() {
    printf 'install: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

put() {
    mode=$1 source=$2 target=$root$3
    mkdir -p "$(dirname "$target")"
    # A running program cannot be overwritten, but it can be replaced.
    case $source in
    @*) sed "s#/usr/\(s\?bin\|lib\)/#$prefix/\1/#" "${source#@}" >"$target.new" ;;
    *) cp "$source" "$target.new" ;;
    esac
    chmod "$mode" "$target.new"
    mv -f "$target.new" "$target"
}

put_configuration() {
    target=$root/etc/twill/twilld.env
    if [ -e "$target" ] && ! cmp -s packaging/twilld.env "$target"; then
        echo "install: $target was edited and stays as it is" >&2
    else
        put 644 packaging/twilld.env /etc/twill/twilld.env
    fi
}

remove_configuration() {
    target=$root/etc/twill/twilld.env
    if cmp -s packaging/twilld.env "$target"; then
        rm -f "$target"
    elif [ -e "$target" ]; then
        echo "uninstall: $target was edited and stays" >&2
    fi
    rmdir "$root/etc/twill" 2>/dev/null || true
}

# Empty directories of ours go; those of the system hold other files, or are left alone.
remove_directories() {
    for directory in "$doc/examples" "$doc" "$cni" "$prefix/lib/twill"; do rmdir "$root$directory" 2>/dev/null || true; done
}

case $verb in
install)
    for program in twilld twillctl twill twill-cni; do
        [ -x "$built/$program" ] || fail "$built/$program is not built" "make build"
    done
    [ -w "${root:-/}" ] || mkdir -p "${root:-/}" || fail "cannot write to ${root:-/}" "sudo make install"
    "$built/twillctl" generate "$generated"
    "$built/twill" generate "$generated"
    pages=$(cd "$generated" && echo *.8)
    files | while read -r mode source target; do put "$mode" "$source" "$target"; done
    put_configuration
    if [ -z "$root" ]; then
        echo "installed; next: edit /etc/twill/twilld.env, then" >&2
        echo "  systemctl daemon-reload && systemctl enable --now twilld twill-restart" >&2
    fi
    ;;
uninstall)
    pages=$(cd "$root$prefix/share/man/man8" 2>/dev/null && echo twill*.8)
    files | while read -r _ _ target; do rm -f "$root$target"; done
    remove_configuration
    remove_directories
    ;;
*) fail "$verb is neither install nor uninstall" "make help" ;;
esac
