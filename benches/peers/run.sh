#!/usr/bin/env bash
# Builds the contestants outside the tree, as far as they can be had here, and runs the comparison.
# Arguments go to the driver: ./run.sh --help.
set -euo pipefail
cd "$(dirname "$0")"

folder=${GATEFOLD_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/gatefold-peers}
mkdir -p "$folder"
export CARGO_TARGET_DIR=$folder/target

# A contestant that can't be had is listed as missing by the driver, and the others run.
if [ -z "${GATEFOLD_PEERS_PYTHON:-}" ]; then
    GATEFOLD_PEERS_PYTHON=$folder/venv/bin/python
    if [ ! -e "$folder/venv/complete" ]; then
        echo "run.sh: installing PyTorch and ONNX Runtime in $folder/venv" >&2
        if python3 -m venv "$folder/venv" >&2 &&
            "$GATEFOLD_PEERS_PYTHON" -m pip install --quiet numpy torch onnx onnxruntime >&2; then
            touch "$folder/venv/complete"
        else
            echo "run.sh: Python's contestants are incomplete" >&2
        fi
    fi
fi
export GATEFOLD_PEERS_PYTHON

cargo build --locked --release -p peers >&2
# Each by itself: one that doesn't build doesn't take the others along.
for contestant in candle burn; do
    if ! cargo build --locked --release -p "peers-$contestant" >&2; then
        echo "run.sh: $contestant doesn't build" >&2
        # An older one would be taken for it.
        rm -f "$CARGO_TARGET_DIR/release/peers-$contestant"
    fi
done

# Mesa complains on every start without it.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
    trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi

"$CARGO_TARGET_DIR/release/peers" "$@"
