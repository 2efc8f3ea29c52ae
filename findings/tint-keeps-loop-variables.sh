#!/usr/bin/env bash
# npm webgpu 0.6.2 (Dawn for Node), over SwiftShader of Debian's chromium-common (seen with 156.0.8078.114).
#
# WGSL gives a `var` without an initializer its type's zero every time that its declaration is reached.
# Tint zeroes one that is declared inside a loop once, before the loop: the second round finds what the first
# has left. `for ... { var sum: f32; sum += 2.0; }` makes 2 4 6 8 instead of 2 2 2 2; arrays are the same.
# With an initializer (`= 0.0`, `= array<f32, 2>()`) it is 2 in every round. No error, no warning.
#
# Needs Debian or Ubuntu with apt, Node.js and npm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

apt-get -qq download chromium-common
dpkg-deb -x chromium-common_*.deb unpacked
npm install --silent --no-audit --no-fund webgpu@0.6.2
cat >loops.mjs <<'JAVASCRIPT'
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
const code = `
@group(0) @binding(0) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(1)
fn main() {
    for (var i = 0u; i < 4u; i++) {
        var sum: f32;
        sum += 2.0;
        out[i] = sum;
    }
    for (var i = 0u; i < 4u; i++) {
        var sums: array<f32, 2>;
        sums[i % 2u] += 2.0;
        out[4u + i] = sums[i % 2u];
    }
    for (var i = 0u; i < 4u; i++) {
        var sum = 0.0;
        sum += 2.0;
        out[8u + i] = sum;
    }
}`;
const gpu = create([]);
const adapter = await gpu.requestAdapter();
console.log(adapter.info.vendor, '-', adapter.info.description);
const device = await adapter.requestDevice();
const size = 4 * 12;
const buffer = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
const host = device.createBuffer({ size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
const compute = { module: device.createShaderModule({ code }), entryPoint: 'main' };
const pipeline = device.createComputePipeline({ layout: 'auto', compute });
const entries = [{ binding: 0, resource: { buffer } }];
const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
const encoder = device.createCommandEncoder();
const pass = encoder.beginComputePass();
pass.setPipeline(pipeline);
pass.setBindGroup(0, group);
pass.dispatchWorkgroups(1);
pass.end();
encoder.copyBufferToBuffer(buffer, 0, host, 0, size);
device.queue.submit([encoder.finish()]);
await host.mapAsync(GPUMapMode.READ);
const out = [...new Float32Array(host.getMappedRange())];
console.log('a number:', ...out.slice(0, 4), '- an array:', ...out.slice(4, 8));
console.log('with an initializer:', ...out.slice(8));
const same = out.join() === [2, 4, 6, 8, 2, 2, 4, 4, 2, 2, 2, 2].join();
console.log(same ? 'as before' : 'another result than before');
process.exit(same ? 0 : 1);
JAVASCRIPT
export XDG_RUNTIME_DIR="$folder"
export VK_DRIVER_FILES="$folder/unpacked/usr/lib/chromium/vk_swiftshader_icd.json"
export VK_ICD_FILENAMES="$VK_DRIVER_FILES"
node loops.mjs
