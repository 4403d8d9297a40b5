#!/bin/sh
# Runs `cargo deny check` with the given checks; without the program it says so and goes on, because
# building it takes longer than everything else.
set -eu
cd "$(dirname "$0")/.."

if ! command -v cargo-deny >/dev/null 2>&1; then
    printf 'deny: NOT CHECKED: %s\n' "$*" >&2
    printf 'hint: cargo install --locked cargo-deny\n' >&2
    exit 0
fi
exec cargo-deny --all-features --locked check --hide-inclusion-graph "$@"
