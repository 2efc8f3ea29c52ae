#!/usr/bin/env bash
# Runs the GPU suite, or the tests that a filter names, as two processes with half of the tests each:
#     tests/in_parts.sh [FILTER AND OPTIONS OF THE TEST BINARY]
# What a part has printed is shown when it is done.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cargo test --locked --test gpu --no-run
for part in 1 2; do
    GATEFOLD_PART=$part/2 cargo test --locked --quiet --test gpu -- "$@" >"$out/$part" 2>&1 &
    parts[part]=$!
done
failed=0
for part in 1 2; do
    wait "${parts[part]}" || failed=1
    cat "$out/$part"
done
exit $failed
