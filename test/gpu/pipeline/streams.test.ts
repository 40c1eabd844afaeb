import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setLogSink } from "../../../src/core/log.ts";
import { PinnedBuffer } from "../../../src/cuda/buffers.ts";
import { Device } from "../../../src/cuda/device.ts";
import { type Image, imageOf } from "../../../src/image/image.ts";
import { decodeImage } from "../../../src/image/image-file.ts";

import type { FrameRecord } from "../../../src/runtime/backend.ts";
import { Pipeline } from "../../../src/runtime/pipeline.ts";
import {
  type BackendOptions,
  DEFAULT_BACKEND_OPTIONS,
  type DetectGpuBackend,
  type DetectSlot,
  loadGpu,
} from "../../support/backends.ts";
import { isGpuMissing, isSanitized, leastLost, SLOW_TEST_MS, times } from "../../support/gpu.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";

setDefaultTimeout(SLOW_TEST_MS);

const PLAN = ["engines", "yolov8n_640_fp16_trt10.6.0_sm90.plan"] as const;
const PHOTO = ["images", "photos", "street_1920x1080.jpg"] as const;
const HEADS = ["one", "split", "parallel"] as const;
const SIZE = [640, 640] as const;
/**
 * How far a time of the GPU may lie from where the host saw it. The clocks are compared by the shortest of five round trips, and on
 * a busy machine each of them may be interrupted.
 */
const APART_MS = 10;
/** How far two times of one clock may be off. */
const TICKS_MS = isSanitized ? 2 : 0.01;
/** No H200 takes more over its bus, which is PCIe 5.0 with 16 lanes. */
const BUS_BYTES_PER_MS = 64e6;
/** Kernels around the engine take some 0.03 ms, the engine 0.45. */
const LEAST_COMPUTE_MS = 0.1;
const all = { threshold: 0.1, iou: 0.7, maxDetections: 300, classAgnostic: false, classIds: undefined };

async function withBackend(
  options: Partial<BackendOptions>,
  work: (backend: DetectGpuBackend) => Promise<void>,
): Promise<void> {
  const backend = await loadGpu(sharedPath(...PLAN), {
    ...DEFAULT_BACKEND_OPTIONS,
    inFlight: 4,
    streams: "parallel",
    ...options,
  });
  try {
    await work(backend);
  } finally {
    backend.close();
  }
}

async function withSlots(
  backend: DetectGpuBackend,
  count: number,
  work: (slots: readonly DetectSlot[]) => Promise<void>,
): Promise<void> {
  using stack = new DisposableStack();
  const slots = Array.from({ length: count }, () => {
    const slot = backend.createSlot();
    stack.defer(() => slot.close());
    return slot;
  });
  await work(slots);
}

/** Images of many sizes, as windows into one photograph: their pitch is wider than their rows. */
async function pictures(): Promise<Image[]> {
  const photo = await decodeImage(await Bun.file(sharedPath(...PHOTO)).bytes());
  const window = (x: number, y: number, width: number, height: number): Image =>
    imageOf(photo.data.subarray(y * photo.pitchBytes + x * 3), { width, height, pitchBytes: photo.pitchBytes });
  return [photo, window(400, 200, 1000, 700), window(0, 0, 1, 1), window(7, 3, 333, 777), window(900, 100, 641, 479)];
}

async function rowsOf(slot: DetectSlot, image: Image): Promise<number[][]> {
  const [block] = await slot.run([image], SIZE, all);
  return Array.from({ length: block!.count }, (_, row) => [
    block!.classIds[row]!,
    block!.scores[row]!,
    ...block!.boxes.subarray(row * 4, row * 4 + 4),
  ]);
}

describe.skipIf(isGpuMissing || isMissing(...PLAN) || isMissing(...PHOTO))("streams of yolov8n", () => {
  test.each(HEADS)("layout %p gives the boxes of a single slot, with 1 to 8 frames in flight", async (streams) => {
    const images = await pictures();
    const expected: number[][][] = [];
    await withBackend({ inFlight: 1 }, (backend) =>
      withSlots(backend, 1, async ([slot]) => {
        for (const image of images) expected.push(await rowsOf(slot!, image));
      }),
    );
    expect(expected[0]!.length).toBeGreaterThan(3);
    for (const wait of ["auto", "poll", "off-thread"] as const) {
      await withBackend({ streams, wait, inFlight: 8 }, (backend) =>
        withSlots(backend, 8, async (slots) => {
          for (const inFlight of [1, 2, 4, 8]) {
            let next = 0;
            const run = async (slot: DetectSlot): Promise<void> => {
              for (let at = next++; at < times(40); at = next++) {
                expect(await rowsOf(slot, images[at % images.length]!)).toEqual(expected[at % images.length]!);
              }
            };
            await Promise.all(slots.slice(0, inFlight).map(run));
          }
        }),
      );
    }
  });

  test("more frames in flight than lanes give the boxes of a single slot, beside stages one by one", async () => {
    const images = await pictures();
    const expected: number[][][] = [];
    await withBackend({ inFlight: 1 }, (backend) =>
      withSlots(backend, 1, async ([slot]) => {
        for (const image of images) expected.push(await rowsOf(slot!, image));
      }),
    );
    await withBackend({ inFlight: 32 }, (backend) =>
      withSlots(backend, 32, async ([staged, ...others]) => {
        let next = 0;
        const run = async (slot: DetectSlot): Promise<void> => {
          for (let at = next++; at < times(600); at = next++) {
            expect(await rowsOf(slot, images[at % images.length]!)).toEqual(expected[at % images.length]!);
          }
        };
        const busy = others.map(run);
        for (let round = 0; round < 3; round++) {
          await staged!.preprocess([images[0]!], SIZE);
          await staged!.infer();
          const [block] = await staged!.postprocess(all);
          expect(block!.count).toBe(expected[0]!.length);
        }
        await Promise.all([...busy, run(staged!)]);
      }),
    );
  });

  test.each(HEADS)(
    "layout %p: the stages one by one give what detect() gives, beside frames in flight",
    async (streams) => {
      const [photo] = await pictures();
      await withBackend({ streams }, (backend) =>
        withSlots(backend, 3, async ([staged, ...others]) => {
          const expected = await rowsOf(staged!, photo!);
          let isOver = false;
          const busy = others.map(async (slot) => {
            while (!isOver) await rowsOf(slot, photo!);
          });
          for (let round = 0; round < 5; round++) {
            await staged!.preprocess([photo!], SIZE);
            await staged!.infer();
            const [block] = await staged!.postprocess(all);
            expect(block!.count).toBe(expected.length);
            expect(block!.scores[0]).toBe(expected[0]![1]!);
            expect((await staged!.readInput()).shape).toEqual([1, 3, 640, 640]);
          }
          isOver = true;
          await Promise.all(busy);
        }),
      );
    },
  );

  test.each(HEADS)("layout %p: a frame that fails half-way leaves its slot and the others usable", async (streams) => {
    const [photo] = await pictures();
    // Its pixels are on their way when its width is asked for again.
    const broken = new Proxy(photo!, {
      reads: 0,
      get(target: Image, name: keyof Image) {
        if (name === "width" && (this as { reads: number }).reads++ > 0) throw new Error("the image is gone");
        return target[name];
      },
    } as ProxyHandler<Image> & { reads: number });
    await withBackend({ streams }, (backend) =>
      withSlots(backend, 2, async ([first, second]) => {
        const expected = await rowsOf(second!, photo!);
        const failing = rowsOf(first!, broken);
        const other = rowsOf(second!, photo!);
        await expect(failing).rejects.toThrow("the image is gone");
        expect(await other).toEqual(expected);
        await expect(first!.run([photo!], [123, 123], all)).rejects.toThrow();
        expect(await rowsOf(first!, photo!)).toEqual(expected);
      }),
    );
  });

  test.each(HEADS)("layout %p: close() drains the frames that run", async (streams) => {
    const [photo] = await pictures();
    const backend = await loadGpu(sharedPath(...PLAN), { ...DEFAULT_BACKEND_OPTIONS, streams, inFlight: 4 });
    const pipeline = new Pipeline(backend, { inFlight: 4, batch: 1 });
    let count = 0;
    const running = Array.from({ length: 12 }, () =>
      pipeline.withSlot(async (slot) => {
        await rowsOf(slot, photo!);
        count += 1;
      }),
    );
    await pipeline.close();
    await Promise.all(running);
    expect(count).toBe(12);
  });

  test.each(HEADS)(
    "layout %p: graphs from the second frame of each slot on, and records that fit each other",
    async (streams) => {
      const [photo] = await pictures();
      const records: FrameRecord[] = [];
      await withBackend({ streams, trace: { frame: (record) => records.push(record) } }, (backend) =>
        withSlots(backend, 4, async (slots) => {
          await Promise.all(
            slots.map(async (slot) => {
              for (let at = 0; at < times(250); at++) await rowsOf(slot, photo!);
            }),
          );
        }),
      );
      expect(records.length).toBe(4 * times(250));
      expect(records.filter(({ isGraph }) => !isGraph).length).toBe(4);
      for (const record of records) {
        const { submittedMs, enqueuedMs, settledMs, copyInMs, computeMs, copyOutMs } = record;
        const marks = [...copyInMs, ...computeMs, ...copyOutMs];
        for (let at = 1; at < marks.length; at++) {
          expect(marks[at]! - marks[at - 1]!).toBeGreaterThanOrEqual(-TICKS_MS);
        }
        expect(copyOutMs[1] - copyInMs[0]).toBeLessThan(settledMs - submittedMs + TICKS_MS);
        expect(enqueuedMs).toBeGreaterThan(submittedMs);
        expect(copyInMs[0]).toBeGreaterThan(submittedMs - APART_MS);
        expect(copyOutMs[1]).toBeLessThan(settledMs + APART_MS);
      }
      const graphs = records.slice(-2 * times(250));
      // At 640x360 every third row is read; a frame that is copied ahead of others goes whole.
      const leastCopyMs = photo!.data.length / 3 / BUS_BYTES_PER_MS;
      for (const { copyInMs, computeMs } of graphs) {
        expect(copyInMs[1] - copyInMs[0]).toBeGreaterThan(leastCopyMs);
        expect(computeMs[1] - computeMs[0]).toBeGreaterThan(LEAST_COMPUTE_MS);
      }
      if (streams === "parallel") return;
      // A shared stream runs one batch at a time; where the clocks were compared anew in between, two may seem to overlap.
      const spans = graphs.map(({ computeMs }) => computeMs).toSorted((a, b) => a[0] - b[0]);
      const overlaps = spans.filter(([begin], at) => at > 0 && begin < spans[at - 1]![1] - TICKS_MS);
      expect(overlaps.length).toBeLessThan(spans.length / 10);
    },
  );

  test.each(HEADS)("layout %p: 2,000 frames leave the device's memory as it was", async (streams) => {
    const [photo] = await pictures();
    await withBackend({ streams }, (backend) =>
      withSlots(backend, 4, async (slots) => {
        using device = Device.open();
        const run = (frames: number): Promise<unknown> =>
          Promise.all(
            slots.map(async (slot) => {
              for (let at = 0; at < frames; at++) await slot.run([photo!], SIZE, all);
            }),
          );
        await run(10);
        // A sanitizer's own tables grow with the launches.
        const lost = await leastLost(device, isSanitized ? 2 ** 30 : 0, () => run(times(500)));
        expect(lost).toBeLessThanOrEqual(isSanitized ? 2 ** 30 : 0);
      }),
    );
  });

  test("zero copy gives the boxes of a copy, from mapped, page-locked and ordinary memory", async () => {
    const [photo] = await pictures();
    const expected: number[][][] = [];
    for (const zeroCopy of [false, true]) {
      await withBackend({ zeroCopy }, (backend) =>
        withSlots(backend, 1, async ([slot]) => {
          using device = Device.open();
          using mapped = PinnedBuffer.create("u8", [photo!.data.length + 5], device, { use: "mapped" });
          using pinned = PinnedBuffer.create("u8", [photo!.data.length], device);
          mapped.data.set(photo!.data, 5);
          pinned.data.set(photo!.data);
          for (const data of [mapped.data.subarray(5), pinned.data, photo!.data]) {
            const image = imageOf(data, { width: photo!.width, height: photo!.height, pitchBytes: photo!.pitchBytes });
            expected.push(await rowsOf(slot!, image), await rowsOf(slot!, image));
          }
        }),
      );
    }
    for (const rows of expected) expect(rows).toEqual(expected[0]!);
  });

  test('streams "auto" measures once, keeps the choice, and measures again where the file is broken', async () => {
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-streams-"));
    const former = process.env.BUN_TENSORRT_CACHE;
    process.env.BUN_TENSORRT_CACHE = folder;
    const lines: string[] = [];
    setLogSink((_, text) => lines.push(text));
    const measured = (): string[] => lines.filter((line) => line.startsWith("Streams: "));
    try {
      const chosen: unknown[] = [];
      const load = (): Promise<void> =>
        withBackend({ streams: "auto", inFlight: undefined }, async ({ streams, inFlight }) => {
          chosen.push({ streams, inFlight });
        });
      const started = performance.now();
      await load();
      expect(performance.now() - started).toBeLessThan(isSanitized ? 120_000 : 3000);
      expect(measured().length).toBe(1);
      await load();
      expect(measured().length).toBe(1);
      expect(chosen[1]).toEqual(chosen[0]);
      const file = readdirSync(join(folder, "engines")).find((name) => name.endsWith(".streams.json"))!;
      await Bun.write(join(folder, "engines", file), "{");
      await load();
      expect(measured().length).toBe(2);
      expect(lines.some((line) => line.includes("cannot be read"))).toBe(true);
    } finally {
      setLogSink(undefined);
      rmSync(folder, { recursive: true });
      if (former === undefined) delete process.env.BUN_TENSORRT_CACHE;
      else process.env.BUN_TENSORRT_CACHE = former;
    }
  });

  test("a fault of the device is reported by its name in each frame, and closing ends", async () => {
    const script = join(import.meta.dir, "../../support/device-fault.ts");
    const child = Bun.spawn([process.execPath, script, sharedPath(...PLAN)], { stdout: "pipe", stderr: "pipe" });
    const timer = setTimeout(() => child.kill(), SLOW_TEST_MS / 5);
    const output = await new Response(child.stdout).text();
    clearTimeout(timer);
    // A sanitizer makes a failed launch of it.
    expect(output).toMatch(/^in flight: cudaError(IllegalAddress|LaunchFailure)$/m);
    expect(output).toMatch(/^next: cudaError(IllegalAddress|LaunchFailure)$/m);
    expect(output).toContain("closed");
  });
});
