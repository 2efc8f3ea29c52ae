#!/usr/bin/env bash
# Runs the GPU suite and `verify` on another Mesa than this machine's: llvmpipe as Debian has it now.
#
#   tests/drivers.sh              the newest Mesa 26 among Debian 13, its backports and unstable, in this order
#   tests/drivers.sh 25.0         the first of them whose version begins so
#   tests/drivers.sh 26 TEST...   other tests than `offered`, an argument each of `cargo test --test gpu --`
#
# Mesa and all that it needs, the C library too, are unpacked into target/drivers, where a second run finds them;
# nothing is installed. The loader of that C library then runs what this machine has built. It takes apt-get and
# a Debian mirror in its sources, or GATEFOLD_DEBIAN_MIRROR=URL, and 60 MB from there.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=${1:-26}
[ $# = 0 ] || shift
cache=$PWD/target/drivers
suites="trixie trixie-backports sid"

fail() {
    echo "tests/drivers.sh: $1" >&2
    exit 1
}

# Whether a version is one that is wanted.
matches() {
    [[ $1 == "$wanted" || $1 == "$wanted".* || $1 == "$wanted"-* ]]
}

# The mirror of Debian that apt uses here.
mirror() {
    if [ -n "${GATEFOLD_DEBIAN_MIRROR:-}" ]; then
        echo "$GATEFOLD_DEBIAN_MIRROR"
        return
    fi
    { grep -rhvE '^[[:space:]]*#' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null || true; } |
        { grep -oE 'https?://[^][:space:]]+/debian/?($|[[:space:]])' || true; } | head -n 1 | tr -d '[:space:]'
}

# apt for a suite: with lists and packages of its own, and as if nothing were installed.
apt_of() {
    local suite=$1 own=$cache/apt/$1
    shift
    "$@" -o Dir::Etc::SourceList="$own/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$own/lists" -o Dir::State::status="$own/status" \
        -o Dir::Cache="$own" -o Dir::Cache::archives="$own/archives" \
        -o APT::Install-Recommends=false -o Acquire::Languages=none \
        -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)"
}

# What a suite offers, newest first.
versions() {
    apt_of "$1" apt-cache madison mesa-vulkan-drivers | cut -d'|' -f2 | tr -d ' ' | uniq
}

# Fetches what a suite has.
update() {
    local own=$cache/apt/$1 keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$keys" ] || fail "$keys is missing: install debian-archive-keyring"
    mkdir -p "$own/lists/partial" "$own/archives/partial"
    : >"$own/status"
    echo "deb [signed-by=$keys] $2 ${1%-backports} main" >"$own/sources.list"
    [ "$1" = "${1%-backports}" ] || echo "deb [signed-by=$keys] $2 $1 main" >>"$own/sources.list"
    apt_of "$1" apt-get -q update >"$own/log" 2>&1 || {
        cat "$own/log" >&2
        fail "$1 can't be had from $2: is there a network?"
    }
}

# Unpacks a version of a suite into a folder.
unpack() {
    local suite=$1 version=$2 root=$3 own=$cache/apt/$1 package
    echo "tests/drivers.sh: fetching Mesa $version from $suite"
    apt_of "$suite" apt-get -qy --download-only install "mesa-vulkan-drivers=$version" libvulkan1 \
        -t "$suite" >"$own/log" 2>&1 || {
        cat "$own/log" >&2
        fail "Mesa $version can't be fetched"
    }
    rm -rf "$root" "$root.part"
    mkdir -p "$root.part"
    for package in "$own"/archives/*.deb; do
        dpkg-deb -x "$package" "$root.part"
    done
    rm -f "$own"/archives/*.deb
    mv "$root.part" "$root"
}

# A program that runs others with the loader, the libraries and the driver of a folder.
runner() {
    local root=$1 loader libraries
    loader=$(find "$root/usr/lib" -name 'ld-linux*.so.*' | head -n 1)
    [ -n "$loader" ] || fail "there is no loader in $root"
    libraries=$(dirname "$(find "$root/usr/lib" -name 'libvulkan_lvp.so' | head -n 1)")
    cat >"$root/run" <<RUN
#!/bin/sh
unset VK_ICD_FILENAMES VK_ADD_DRIVER_FILES
export VK_DRIVER_FILES='$root/usr/share/vulkan/icd.d/lvp.json' GATEFOLD_TEST_RUNNER='$root/run'
exec '$loader' --library-path '$libraries:$(dirname "$loader")' "\$@"
RUN
    chmod +x "$root/run"
    cat >"$root/usr/share/vulkan/icd.d/lvp.json" <<ICD
{"file_format_version": "1.0.0", "ICD": {"library_path": "$libraries/libvulkan_lvp.so", "api_version": "1.3.0"}}
ICD
}

# The folder of the Mesa that is wanted.
root=""
for found in "$cache"/mesa-*; do
    version=${found##*/mesa-}
    if [ -x "$found/run" ] && matches "$version"; then
        root=$found
        echo "tests/drivers.sh: Mesa $version is in target/drivers from before; remove it to look for a newer one"
        break
    fi
done
if [ -z "$root" ]; then
    [ "$(uname -s)" = Linux ] || fail "Mesa's llvmpipe is for Linux"
    for tool in apt-get apt-cache dpkg-deb; do
        command -v "$tool" >/dev/null || fail "$tool is missing: this takes a system of Debian's kind"
    done
    mirror=$(mirror)
    [ -n "$mirror" ] || fail "no mirror of Debian in apt's sources: set GATEFOLD_DEBIAN_MIRROR to one's URL"
    there=""
    for suite in $suites; do
        update "$suite" "$mirror"
        for version in $(versions "$suite"); do
            there+=" $suite has $version;"
            matches "$version" || continue
            root=$cache/mesa-$version
            unpack "$suite" "$version" "$root"
            runner "$root"
            break 2
        done
    done
    [ -n "$root" ] || fail "there is no Mesa $wanted:$there"
fi
version=${root##*/mesa-}

# Mesa complains on every start without it.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
    trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi

host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export GATEFOLD_DEVICE=llvmpipe GATEFOLD_REQUIRE_GPU=1
on_mesa() {
    env "CARGO_TARGET_${host}_RUNNER=$root/run" "$@"
}

# The driver is the one that was asked for, and everything is right.
expect_mesa() {
    grep -qF "Mesa ${version%%-*}" "$1" || fail "another driver than Mesa $version has run"
}

said=$root/said
cargo test --locked --test gpu --no-run
cargo build --locked --example verify
# A C library that is older than what this machine's programs ask for can't run them.
on_mesa cargo test --locked --quiet --test gpu -- --list >/dev/null ||
    fail "programs of this machine don't run with the C library beside Mesa $version"

if [ $# = 0 ]; then
    # Once on an adapter, whatever is offered.
    on_mesa cargo test --locked --test gpu -- faults::a_driver_without_memory
    set -- offered
fi
start=$SECONDS
on_mesa tests/in_parts.sh "$@" | tee "$said"
expect_mesa "$said"
suite=$((SECONDS - start))
passed=$(($(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$said" | paste -sd+)))

start=$SECONDS
on_mesa cargo run --locked --quiet --example verify | tee "$said"
expect_mesa "$said"
echo "tests/drivers.sh: Mesa $version: $passed tests in $suite s; $(tail -n 1 "$said"), $((SECONDS - start)) s in all"
