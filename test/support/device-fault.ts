/** @module A program that breaks its device while frames are in flight, and prints what they are told. Argument: a plan. */

import { CudaError } from "../../src/core/errors.ts";
import type { DevicePtr } from "../../src/core/units.ts";
import { Device } from "../../src/cuda/device.ts";
import { layOut, Module } from "../../src/cuda/kernel.ts";
import { Stream } from "../../src/cuda/stream.ts";
import { DEFAULT_BACKEND_OPTIONS, loadGpu } from "./backends.ts";
import { flatImage } from "./flat-image.ts";

const WRITE_PTX = `
.version 7.0
.target sm_75
.address_size 64
.visible .entry write(.param .u64 address)
{
  .reg .u64 %at;
  ld.param.u64 %at, [address];
  st.global.u64 [%at], %at;
  ret;
}
`;

const all = { threshold: 0.1, iou: 0.7, maxDetections: 300, classAgnostic: false, classIds: undefined };
const image = [flatImage(1920, 1080, 128)];

function codeOf(error: unknown): string {
  return error instanceof CudaError ? error.code : String(error);
}

const options = { ...DEFAULT_BACKEND_OPTIONS, streams: "split", inFlight: 4 } as const;
const backend = await loadGpu(process.argv[2]!, options);
const slots = Array.from({ length: 4 }, () => backend.createSlot());
for (const slot of slots) await slot.run(image, [640, 640], all);
const device = Device.open();
const stream = Stream.create(device);
const kernel = Module.load(device, new TextEncoder().encode(WRITE_PTX), { name: "write.ptx" }).kernel(
  "write",
  layOut([["address", "pointer"]]),
);
const args = kernel.createArguments();
args.setPointer(0, 8 as DevicePtr);
const running = slots.map((slot) => slot.run(image, [640, 640], all));
kernel.launch({ grid: [1, 1, 1], block: [1, 1, 1] }, args, { stream });
const next = (await Promise.allSettled(running)).map((outcome) =>
  outcome.status === "rejected" ? codeOf(outcome.reason) : "done",
);
for (const code of new Set(next)) console.log(`in flight: ${code}`);
for (const slot of slots)
  await slot.run(image, [640, 640], all).catch((error) => console.log(`next: ${codeOf(error)}`));
for (const owner of [...slots, backend]) {
  try {
    owner.close();
  } catch (error) {
    console.log(`close: ${error instanceof SuppressedError ? codeOf(error.error) : codeOf(error)}`);
  }
}
console.log("closed");
process.exit(0);
