#!/usr/bin/env bash
# Fuzzes what reads and writes on the wire, guided by coverage: `ops/fuzz.sh [RUNS]`, ten million
# inputs for each target unless told otherwise. What breaks is written to fuzz/artifacts and told
# by the exit status; what was learnt stays in target/fuzz/corpus,
# what once broke lies in fuzz/seeds. Any stable compiler will do.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-10000000}
ops/install.sh
command -v g++ >/dev/null || {
    echo "fuzz.sh: libFuzzer is C++: apt-get install g++" >&2
    exit 1
}

host=$(rustc -vV | sed -n 's/^host: //p')
# Given a target by name, cargo leaves build scripts and macros without coverage.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
cargo build --release --locked --manifest-path fuzz/Cargo.toml --target "$host" --target-dir target/fuzz
for target in replies messages returned reports paths; do
    corpus=target/fuzz/corpus/$target
    mkdir -p "$corpus" "fuzz/artifacts/$target"
    "target/fuzz/$host/release/$target" -runs="$runs" -max_len=2048 -timeout=1 -malloc_limit_mb=100 \
        -dict="fuzz/$target.dict" \
        -artifact_prefix="fuzz/artifacts/$target/" "$corpus" "fuzz/seeds/$target"
done
