#!/usr/bin/env bash
# Runs all tests: those of the workspace with nextest, then the examples in the
# documentation, which nextest does not run. The last line tells how many passed and
# failed in both, those before it which were skipped because something is missing here; with
# CI set such a test fails. Arguments go to nextest: `ops/test.sh -E 'test(heavy_)'`.
set -euo pipefail
cd "$(dirname "$0")/.."
ops/install.sh --tests
# Before ours is built: see there.
ops/version-before.sh

log=$(mktemp)
# Tests that lack what they need say so here: nextest shows nothing of those that pass.
SKIPPED_TESTS=$(mktemp)
export SKIPPED_TESTS
trap 'rm -f "$log" "$SKIPPED_TESTS"' EXIT
# The summaries are read back below, by their words.
export CARGO_TERM_COLOR=never

status=0
cargo nextest run --workspace --locked "$@" 2>&1 | tee "$log" || status=1
cargo test --doc --workspace --locked --quiet 2>&1 | tee -a "$log" || status=1

sort -u "$SKIPPED_TESTS"

# "Summary [ 4.2s] 40 tests run: 37 passed (1 slow), 1 failed, 1 timed out, 0 skipped" and
# "test result: ok. 3 passed; 0 failed; …".
awk '
    / tests? run: / || /^test result: / {
        for (i = 1; i < NF; i++) {
            if ($(i + 1) ~ /^passed/) passed += $i
            if ($(i + 1) ~ /^(failed|timed|exec)/) failed += $i
        }
    }
    END { printf "%d passed, %d failed\n", passed, failed }
' "$log"
exit "$status"
