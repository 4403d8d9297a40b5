#!/bin/sh
# Rewrites the table of twilld's options in docs/operations.md from what `twilld --help` says.
set -eu
cd "$(dirname "$0")/.."

program=${1:-target/debug/twilld}
page=docs/operations.md
new=$(mktemp)
trap 'rm -f "$new"' EXIT

table() {
    echo '| option | default | |'
    echo '|---|---|---|'
    COLUMNS=200 "$program" --help | awk '
        function row() {
            if (option) printf "| `%s` | %s | %s |\n", option, value ? "`" value "`" : "", text
            option = value = text = ""
        }
        /^ +(-[a-zA-Z], )?--/ { row(); sub(/^ +(-[a-zA-Z], )?/, ""); gsub(/\|/, "\\|"); option = $0; next }
        /\[default: / { sub(/.*\[default: /, ""); sub(/\]$/, ""); value = $0; next }
        /Possible values:/ { skip = 1; next }
        option && NF && !/^ +- / && !/^[A-Za-z]+:$/ { sub(/^ +/, ""); gsub(/\|/, "\\|"); text = text (text ? " " : "") $0 }
        END { row() }' | grep -vE '^\| .--(help|version)'
}

table=$(table)
awk -v table="$table" '
    /<!-- options of twilld -->/ { print; print ""; print table; print ""; skip = 1; next }
    /<!-- end -->/ { skip = 0 }
    !skip' "$page" >"$new"
cat "$new" >"$page"
