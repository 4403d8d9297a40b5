#!/bin/sh
# Does everything of agent/tests/drift HEALING_ROUNDS times, and prints as a table how long each took to be undone.
set -eu
export HEALING_ROUNDS="${HEALING_ROUNDS:-5}" REQUIRE_ROOT=1
said=$(mktemp)
trap 'rm -f "$said"' EXIT
# One after the other: no test takes time from another one.
cargo nextest run --locked --workspace --no-capture -E 'binary(drift) & test(endured)' >"$said" 2>&1 || {
    cat "$said"
    exit 1
}
echo "| somebody | backend | family | median, ms | worst, ms |"
echo "|---|---|---|---|---|"
grep '^| ' "$said"
