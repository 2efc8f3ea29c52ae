#!/usr/bin/env bash
# Packs target/gatefold-bundle.tar.gz: the GPU tests, the benches and the comparison with PyTorch, for
# a Linux machine with a GPU and without a Rust toolchain. benches/record/README.md says how to use it.
set -euo pipefail
cd "$(dirname "$0")/.."

most=$((60 * 1000 * 1000)) # bytes of the packed bundle
target=${CARGO_TARGET_DIR:-target}
name=gatefold-bundle

# executable NAME CARGO-ARGUMENTS: builds a target and prints where its binary lies.
executable() {
    local built
    built=$(cargo "${@:2}" --locked --message-format=json-render-diagnostics |
        sed -n "s/.*\"name\":\"$1\".*\"executable\":\"\([^\"]*\)\".*/\1/p" | tail -n 1)
    [ -n "$built" ] || { echo "bundle.sh: cargo ${*:2} made no $1" >&2; exit 1; }
    printf '%s\n' "$built"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bundle=$work/$name
mkdir -p "$bundle"/{bin,lib,golden,peers}

for bench in sequence kernels streams; do
    strip -o "$bundle/bin/$bench" "$(executable "$bench" bench --no-run --bench "$bench")"
done
strip -o "$bundle/bin/gpu_tests" "$(executable gpu test --release --no-run --test gpu)"
cp tests/golden/*.safetensors "$bundle/golden"

# The comparison with PyTorch: its scripts, and the programs that ask them.
if [ -d benches/peers ]; then
    (cd benches/peers && find . -name target -prune -o -name '*.py' -print0 |
        xargs -0r cp --parents -t "$bundle/peers")
fi
if [ -f benches/peers/Cargo.toml ]; then
    for peer in peers peers-gatefold; do
        strip -o "$bundle/bin/$peer" "$(executable "$peer" build --release \
            --manifest-path benches/peers/Cargo.toml --target-dir "$target" --bin "$peer")"
    done
fi

# The machine may have a driver and no loader.
loader=$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p | sed -n 's/.*libvulkan\.so\.1 .*=> //p' | head -n 1)
[ -n "$loader" ] || { echo "bundle.sh: no libvulkan.so.1 here to pack (libvulkan1)" >&2; exit 1; }
cp -L "$loader" "$bundle/lib/libvulkan.so.1"

cp benches/bundle/run.sh benches/bundle/README.md "$bundle"
{
    printf 'GATEFOLD_COMMIT=%q\n' \
        "$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)"
    printf 'GATEFOLD_RUSTC=%q\n' "$(rustc --version)"
} >"$bundle/built"
{
    printf '\n## This bundle\n\n'
    sed 's/^/    /' "$bundle/built"
    glibc=$(objdump -T "$bundle"/bin/* "$bundle"/lib/* | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
    printf '\nIt runs on %s with glibc %s or newer.\n' "$(uname -m)" "${glibc#GLIBC_}"
} >>"$bundle/README.md"

packed=$target/$name.tar.gz
tar -C "$work" -czf "$packed" "$name"
size=$(wc -c <"$packed")
if [ "$size" -gt "$most" ]; then
    echo "bundle.sh: $packed has $size bytes, more than $most" >&2
    exit 1
fi
echo "$packed: $size bytes"
