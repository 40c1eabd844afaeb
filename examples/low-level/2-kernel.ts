/** @module A kernel of one's own, from CUDA C++ to a launch, with libnvrtc: `bun examples/low-level/2-kernel.ts` */

import { compileCuda, copyToDevice, copyToHost, Device, DeviceBuffer, layOut, Module, Stream } from "bun-tensorrt/cuda";

const source = await Bun.file(new URL("brighten.cu", import.meta.url)).text();
const { ptx } = compileCuda(source, { name: "brighten.cu" }); // needs no GPU: keep the PTX, and ship only that
console.log(`${ptx.length > 0 ? "compiled" : "nothing"}: ${/\.visible \.entry \w+/.exec(ptx)?.[0]}`);

using device = Device.open();
using stream = Stream.create(device);
using module = Module.load(device, ptx, { name: "brighten.ptx" }); // the driver makes machine code of it, and caches that
const parameters = layOut([
  ["pixels", "pointer"],
  ["count", "u32"],
  ["amount", "i32"],
]);
const kernel = module.kernel("brighten", parameters);

const pixels = Uint8Array.from({ length: 1000 }, (_, at) => at % 256);
using buffer = DeviceBuffer.create("u8", [pixels.length], { stream });
copyToDevice(buffer, pixels, { stream });

// Made once: a launch copies the arguments, so that they may change right after it.
const args = kernel.createArguments();
args.setPointer(args.index("pixels"), buffer.pointer);
args.setU32(args.index("count"), pixels.length);
args.setI32(args.index("amount"), 100);
const config = { grid: [Math.ceil(pixels.length / 256), 1, 1], block: [256, 1, 1] } as const;
kernel.launch(config, args, { stream });

copyToHost(pixels, buffer, { stream });
console.log(`first ${pixels.slice(0, 3).join(" ")}, brightest ${Math.max(...pixels)}`);
