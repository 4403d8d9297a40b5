#!/bin/sh
# Holds the size budget of the sources: a Rust file has at most 500 lines before its tests, a main.rs 60.
# Files over 300 lines are named, because they are about to become a problem.
set -eu
cd "$(dirname "$0")/.."

find . -name target -prune -o -name '*.rs' -type f -print | sort | xargs awk '
    function judge() {
        if (!file) return
        limit = (file ~ /\/main\.rs$/) ? 60 : 500
        if (lines > limit) {
            printf "file-size: %s has %d lines before its tests, the limit is %d\n", file, lines, limit
            failed = 1
        } else if (lines > 300) {
            printf "file-size: %s has %d lines before its tests, 300 are the aim\n", file, lines
        }
    }
    FNR == 1 { judge(); file = FILENAME; lines = 0; tests = 0 }
    /^#\[cfg\(test\)\]$/ { tests = 1 }
    !tests { lines++ }
    END { judge(); exit failed }
' >&2
