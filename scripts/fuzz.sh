#!/bin/sh
# Runs every fuzz target over its seed corpus and then for RUNS mutations (default 200000).
# Stable Rust is enough: these are the flags that `cargo fuzz --sanitizer none` passes.
set -eu
cd "$(dirname "$0")/../fuzz"
runs=${RUNS:-200000}
target=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
export CARGO_TARGET_DIR=../target/fuzz
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module $coverage -Ccodegen-units=1 -Cdebug-assertions" \
    cargo build --quiet --release --locked --target "$target"
for seeds in corpus/*/; do
    name=$(basename "$seeds")
    found=../target/fuzz/found/$name
    mkdir -p "$found"
    # What libFuzzer says of its progress matters only when it stopped at a failure.
    if ! "../target/fuzz/$target/release/$name" -runs="$runs" -seed=1 -max_total_time=60 \
        -artifact_prefix="$found/" "$found" "$seeds" >"$found.log" 2>&1; then
        tail -n 40 "$found.log" >&2
        echo "fuzz $name: failed; the input is in target/fuzz/found/$name" >&2
        exit 1
    fi
    echo "fuzz $name: $runs runs, no failure"
done
