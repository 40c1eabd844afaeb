/** @module Memory of a GPU: allocated, filled, copied there, on it and back: `bun examples/low-level/1-copy.ts` */

import { copyOnDevice, copyToDevice, copyToHost, Device, DeviceBuffer, PinnedBuffer, Stream } from "bun-tensorrt/cuda";

using device = Device.open(); // the first GPU that CUDA_VISIBLE_DEVICES leaves
const { freeBytes, totalBytes } = device.memory();
console.log(`${device.name}: ${(freeBytes / 2 ** 30).toFixed(1)} of ${(totalBytes / 2 ** 30).toFixed(1)} GiB free`);

using stream = Stream.create(device);
const shape = [1080, 1920, 3];
// Page-locked memory: the GPU copies it without the JS thread. From ordinary arrays a copy works as well, and waits.
using pixels = PinnedBuffer.create("u8", shape, device);
using original = DeviceBuffer.create("u8", shape, { stream });
using copy = DeviceBuffer.create("u8", shape, { stream });
pixels.data.fill(200);

copyToDevice(original, pixels, { stream }); // each returns at once: the stream keeps the order
copyOnDevice(copy, original, { stream });
const back = new Uint8Array(pixels.length);
copyToHost(back, copy, { stream }); // to an ordinary array: waits for all of it
console.log(`${back.length} bytes there and back, equal: ${back.every((value) => value === 200)}`);
