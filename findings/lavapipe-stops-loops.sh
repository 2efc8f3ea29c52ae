#!/usr/bin/env bash
# mesa-vulkan-drivers 22.3.6-1+deb12u2 (Debian 12), the software Vulkan driver lavapipe, through the
# Python package wgpu 0.32.0.
#
# An invocation of a compute shader may run 65,535 loop iterations in all, those of its loops added up.
# After that every loop ends after one more round, without an error: numbers are wrong from there on.
# Six loops of 1000, 60000, 3000, 3000, 100 and 5 rounds count 1529 in the fourth. Mesa 25 counts all.
#
# Needs Debian 12 with apt, and Python 3.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

packages=(mesa-vulkan-drivers=22.3.6-1+deb12u2 libllvm15 libdrm2 libdrm-amdgpu1 libelf1 libexpat1
    libwayland-client0 libx11-xcb1 libxcb-dri3-0 libxcb-present0 libxcb-randr0 libxcb-shm0 libxcb-sync1
    libxcb-xfixes0 libxcb1 libxau6 libxdmcp6 libbsd0 libmd0 libxshmfence1 libz3-4 libedit2 libtinfo6
    libffi8 libxml2 libicu72 libvulkan1)
apt-get -qq download "${packages[@]}"
for package in *.deb; do dpkg-deb -x "$package" unpacked; done
libraries="$folder/unpacked/usr/lib/x86_64-linux-gnu"
sed "s|\"library_path\": *\"[^\"]*\"|\"library_path\": \"$libraries/libvulkan_lvp.so\"|" \
    unpacked/usr/share/vulkan/icd.d/lvp_icd.*.json >lavapipe.json

python3 -m venv env
env/bin/pip -q install --disable-pip-version-check wgpu==0.32.0
cat >loops.py <<'PYTHON'
import array
import sys

import wgpu

CODE = """
@group(0) @binding(0) var<storage, read_write> rounds: array<u32>;

@compute @workgroup_size(1)
fn main() {
    for (var loop_at = 0u; loop_at < arrayLength(&rounds); loop_at++) {
        let wanted = rounds[loop_at];
        var run = 0u;
        // Written so that nobody knows the sum without running the loop.
        for (var i = 0u; i < wanted; i++) { run += (i & 1u) + 1u - (i & 1u); }
        rounds[loop_at] = run;
    }
}
"""

adapters = wgpu.gpu.enumerate_adapters_sync()
adapter = next(a for a in adapters if "llvmpipe" in a.info["device"])
print(adapter.info["device"], "-", adapter.info["description"])
device = adapter.request_device_sync()
wanted = array.array("I", [1000, 60000, 3000, 3000, 100, 5])
usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC
buffer = device.create_buffer_with_data(data=wanted, usage=usage)
compute = {"module": device.create_shader_module(code=CODE), "entry_point": "main"}
pipeline = device.create_compute_pipeline(layout="auto", compute=compute)
bound = [{"binding": 0, "resource": {"buffer": buffer, "offset": 0, "size": buffer.size}}]
group = device.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=bound)
encoder = device.create_command_encoder()
work = encoder.begin_compute_pass()
work.set_pipeline(pipeline)
work.set_bind_group(0, group)
work.dispatch_workgroups(1)
work.end()
device.queue.submit([encoder.finish()])
run = array.array("I", bytes(device.queue.read_buffer(buffer)))
print("rounds wanted:", *wanted)
print("rounds run:   ", *run)
sys.exit(0 if list(run) == [1000, 60000, 3000, 1529, 100, 5] else "another result than before")
PYTHON
export XDG_RUNTIME_DIR="$folder" VK_DRIVER_FILES="$folder/lavapipe.json"
LD_LIBRARY_PATH="$libraries" env/bin/python loops.py
