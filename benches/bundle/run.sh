#!/usr/bin/env bash
# Runs the GPU tests, the benches and the comparison with PyTorch, in this order, and leaves all output
# in record/. A filter runs only what has it in its name: ./run.sh inference/4x2x1x1
set -uo pipefail
cd "$(dirname "$0")"
here=$PWD
filter=${1:-}

# What the binaries were built from.
set -a
. ./built
set +a
export GATEFOLD_GOLDEN=$here/golden
export GATEFOLD_BENCH_RECORD=$here/record
export GATEFOLD_PEERS_SCRIPT=$here/peers/python/contestant.py
export GATEFOLD_REQUIRE_GPU=1
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}
mkdir -p record

libraries=$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p 2>/dev/null || true)
has() { [[ $libraries == *"$1"* ]]; }
if ! has libvulkan.so.1; then
    export LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
# A container may have NVIDIA's driver and lack the file that leads the loader to it.
if [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && has libGLX_nvidia.so.0 &&
    ! compgen -G '/usr/share/vulkan/icd.d/nvidia*.json' >/dev/null &&
    ! compgen -G '/etc/vulkan/icd.d/nvidia*.json' >/dev/null; then
    library='{"library_path": "libGLX_nvidia.so.0", "api_version": "1.3.0"}'
    printf '{"file_format_version": "1.0.0", "ICD": %s}\n' "$library" >nvidia_icd.json
    export VK_DRIVER_FILES=$here/nvidia_icd.json
fi

failed=()
# part NAME COMMAND: runs a part, shows and keeps what it says.
part() {
    echo "== $1"
    "${@:2}" 2>&1 | tee "record/$1.log"
    [ "${PIPESTATUS[0]}" = 0 ] || failed+=("$1")
}

part gpu_tests bin/gpu_tests ${filter:+"$filter"}
for bench in sequence kernels streams; do
    part "$bench" "bin/$bench" --bench ${filter:+"$filter"}
done
if [ ! -x bin/peers ]; then
    echo "== PyTorch: skipped, this bundle was made without the comparison"
elif [ -n "$filter" ]; then
    echo "== PyTorch: skipped, since a filter was given"
elif ! "${GATEFOLD_PEERS_PYTHON:-python3}" -c 'import torch' 2>/dev/null; then
    echo "== PyTorch: skipped, ${GATEFOLD_PEERS_PYTHON:-python3} has no torch"
else
    part pytorch bin/peers --out record/peers.md \
        --peer pytorch --peer pytorch-cuda --peer pytorch-cuda-tf32 --peer pytorch-cuda-f16
fi

if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}; see record/"
    exit 1
fi
echo "all parts ran; the results lie in record/"
