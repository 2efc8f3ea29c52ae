#!/usr/bin/env bash
# Runs the suites, on a GPU with what the adapter offers. Where this machine has no Vulkan driver it installs a software one (Debian,
# Ubuntu), and an adapter that is still missing is a failure, not a skipped test. Where a browser has brought
# SwiftShader, a second software driver, the GPU suite runs on that as well, with what the adapter offers.
set -euo pipefail
cd "$(dirname "$0")"

has_vulkan() {
    [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && return 0
    local libraries
    libraries=$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p) || return 1
    [[ $libraries == *libvulkan.so.1* ]] || return 1
    compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null ||
        compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null ||
        compgen -G '/usr/local/share/vulkan/icd.d/*.json' >/dev/null
}

install_vulkan() {
    if ! command -v apt-get >/dev/null; then
        echo "test.sh: no Vulkan driver here. Install the Vulkan loader and a driver, your GPU's or" >&2
        echo "Mesa's llvmpipe (mesa-vulkan-drivers, vulkan-swrast), and run ./test.sh again." >&2
        exit 1
    fi
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || {
            echo "test.sh: as root, run: apt-get install libvulkan1 mesa-vulkan-drivers" >&2
            exit 1
        }
        as_root=(sudo)
    fi
    echo "test.sh: no Vulkan driver here, installing mesa-vulkan-drivers"
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends libvulkan1 mesa-vulkan-drivers
}

# macOS and Windows bring a graphics API of their own.
if [ "$(uname -s)" = Linux ] && ! has_vulkan; then
    install_vulkan
fi

# Mesa complains on every start without it.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
    trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi

export GATEFOLD_REQUIRE_GPU=1
# With arguments somebody wants certain tests, once.
if [ $# != 0 ]; then
    cargo test --locked "$@"
    exit
fi

# What is not here is the routine's, .ci/run: the library's own few tests, those in its documentation and the
# examples, for which all of it or many more crates are compiled; and kernels with other vectors than this
# processor's widest.
cargo test --locked --test cpu --test gpu --test hostile --no-run
cargo test --locked --test cpu --test hostile -- --skip vectors::
# On a software driver most of the time is compiling shaders, one after the other: two processes have half of
# the tests each. Which ones are left to the routine: tests/gpu/main.rs.
GATEFOLD_SUITE=quick tests/in_parts.sh

# The description of SwiftShader for Vulkan loaders, where Chromium or Chrome is installed.
swiftshader() {
    local folder
    for folder in /usr/lib/chromium /usr/lib64/chromium-browser /usr/lib/chromium-browser \
        /opt/google/chrome; do
        [ ! -e "$folder/vk_swiftshader_icd.json" ] || { echo "$folder/vk_swiftshader_icd.json" && return; }
    done
}

if [ "$(uname -s)" = Linux ] && [ -n "$(swiftshader)" ]; then
    echo "test.sh: the GPU suite with what SwiftShader offers, $(swiftshader)"
    GATEFOLD_DEVICE=swiftshader VK_DRIVER_FILES=$(swiftshader) tests/in_parts.sh offered
fi
