import { describe, expect, test } from "bun:test";
import { DeviceBuffer } from "../../../src/cuda/buffers.ts";
import { layOut, Module } from "../../../src/cuda/kernel.ts";
import { Gpu, isOnCpu } from "../../support/gpu.ts";

const COUNT = 60;
const THREADS = 64;
const VALUES = Uint32Array.from({ length: COUNT }, (_, at) => at * 3 + 1);

/** Run a kernel of test/support/cpu-cuda/faults.cu so many times, each with a new target. @returns the targets */
function run(name: string, times: number, blocks: number): number[][] {
  using gpu = new Gpu();
  const module = gpu.own(Module.load(gpu.device, "", { name: "faults" }));
  const parameters = layOut([
    ["target", "pointer"],
    ["source", "pointer"],
    ["count", "i32"],
  ]);
  const kernel = module.kernel(name, parameters);
  const source = gpu.upload({ dtype: "u8", shape: [COUNT * 4], data: new Uint8Array(VALUES.buffer) });
  const args = kernel.createArguments();
  args.setPointer(1, source.pointer);
  args.setI32(2, COUNT);
  return Array.from({ length: times }, () => {
    const target = gpu.own(DeviceBuffer.create("u8", [COUNT * 4], { stream: gpu.stream }));
    args.setPointer(0, target.pointer);
    kernel.launch({ grid: [blocks, 1, 1], block: [THREADS, 1, 1] }, args, { stream: gpu.stream });
    return [...new Uint32Array(gpu.download(target).buffer)];
  });
}

/** Kernel, its blocks, and what the executor says of it, threads running forwards first. */
const FAULTS: readonly (readonly [name: string, blocks: number, found: string])[] = [
  [
    "reads_behind",
    1,
    "thread (60, 0, 0) of block (0, 0, 0) of fault_reads_behind reads 4 bytes 0 bytes behind a buffer of 240",
  ],
  ["reads_in_front", 1, "reads 4 bytes 4 bytes in front of a buffer of 240"],
  ["writes_behind", 1, "writes 4 bytes 0 bytes behind a buffer of 240"],
  ["misaligned", 1, "which is no multiple of that"],
  ["reads_unwritten", 1, "reads 4 bytes at byte 0 of a buffer of 240, which nothing has written"],
  ["leaves_out", 1, "byte 28 of a buffer of 240 is copied, and nothing has written it"],
  [
    "behind_shared",
    1,
    "thread (60, 0, 0) of block (0, 0, 0) of fault_behind_shared writes 4 bytes 0 bytes behind a shared variable of 240",
  ],
  ["unwritten_shared", 1, "reads 4 bytes at byte 20 of a shared variable, which nothing has written"],
  [
    "reads_too_early",
    1,
    "writes 4 bytes at byte 128 of a shared variable, which thread (31, 0, 0) has read with no barrier in between",
  ],
  [
    "writes_too_early",
    1,
    "reads 4 bytes at byte 0 of a shared variable, which thread (0, 0, 0) has written with no barrier in between",
  ],
  [
    "writes_twice",
    1,
    "writes 4 bytes at byte 0 of a shared variable, which thread (0, 0, 0) has written with no barrier in between",
  ],
  ["blocks_meet", 2, "writes 4 bytes at byte 0 of a buffer of 240, which another block has written in the same launch"],
  [
    "barriers_differ",
    1,
    "threads (0, 0, 0) and (32, 0, 0) of block (0, 0, 0) of fault_barriers_differ wait at different barriers",
  ],
  ["lane_absent", 1, "a vote or shuffle of warp 1 of block (0, 0, 0) of fault_lane_absent lacks thread (60, 0, 0)"],
];

describe.skipIf(!isOnCpu)("the executor of kernels on a CPU", () => {
  for (const [name, blocks, found] of FAULTS) {
    test(`finds what ${name.replaceAll("_", " ")}`, () => {
      expect(() => run(`fault_${name}`, 1, blocks)).toThrow(found);
    });
  }

  test("runs what has no fault, threads forwards and backwards", () => {
    const want = Array.from(VALUES, (_, at) => VALUES[at ^ 33] ?? 0);
    for (const got of run("fault_none", 4, 1)) expect(got).toEqual(want);
    const forwards = [...VALUES];
    const backwards = forwards.toReversed();
    expect(run("fault_keeps_order", 4, 1)).toEqual([forwards, backwards, backwards, forwards]);
  });
});
