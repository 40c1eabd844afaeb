import { expect, spyOn, test } from "bun:test";
import { CpuBackend } from "../../../src/accelerators/cpu/cpu-backend.ts";
import { type CudaTask, GpuGround, type GpuModel } from "../../../src/accelerators/tensorrt/gpu-model.ts";
import { GpuSlot } from "../../../src/accelerators/tensorrt/gpu-slot.ts";
import { GpuStreams, type StreamLayoutName } from "../../../src/accelerators/tensorrt/gpu-streams.ts";
import type { Tensor } from "../../../src/core/tensor.ts";
import { Module } from "../../../src/cuda/kernel.ts";
import type { DetectionBlock } from "../../../src/model/rows.ts";
import { DEFAULT_MACHINE_OPTIONS } from "../../../src/runtime/backend.ts";
import { MicroBatcher } from "../../../src/runtime/batcher.ts";
import { Pipeline } from "../../../src/runtime/pipeline.ts";
import type { TaskModel } from "../../../src/runtime/task.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask } from "../../../src/tasks/detect/detect-task.ts";
import { type NmsOptions, USUAL_SELECTION } from "../../../src/tasks/detect/nms.ts";
import type { DetectBackend } from "../../support/backends.ts";
import { flatImage } from "../../support/flat-image.ts";
import { isGpuMissing } from "../../support/gpu.ts";
import { StandInEngine, standInModel } from "../../support/stand-in-engine.ts";
import { toyDetector } from "../../support/toy-detector.ts";

const IMAGES = { name: "images", dtype: "f32", shape: [1, 3, 64, 64] } as const;
const WHITE = flatImage(96, 80, 255);
const IN_FLIGHT = 2;

/** What the toy detector says of a white image, and what is known of it. */
async function toy(): Promise<{ readonly said: ReadonlyMap<string, Tensor>; readonly model: DetectBackend["model"] }> {
  const cpu = await CpuBackend.load(
    toyDetector(),
    new DetectTask(DEFAULT_DETECT_TASK_OPTIONS),
    DEFAULT_MACHINE_OPTIONS,
  );
  using owned = new DisposableStack();
  owned.defer(() => cpu.close());
  const slot = owned.use(cpu.createSlot());
  await slot.run([WHITE], [64, 64], cpu.task.idleParams);
  // They lie in memory of the slot.
  const outputs = [...(await slot.readOutputs())].map(
    ([name, one]) => [name, { ...one, data: one.data.slice() }] as const,
  );
  return { said: new Map(outputs) as ReadonlyMap<string, Tensor>, model: cpu.model };
}

/** A backend with slots, streams and graphs of its own, on a stand-in for an engine. */
async function backendOf(
  { said, model }: Awaited<ReturnType<typeof toy>>,
  ground: GpuGround,
  kind: "quick" | "full",
  layout: StreamLayoutName,
): Promise<DetectBackend & { readonly stand: StandInEngine; readonly isClosed: () => boolean }> {
  using owned = new DisposableStack();
  const outputs = [...said].map(([name, { dtype, shape }]) => ({ name, dtype, shape: [1, ...shape.slice(1)] }));
  const info = { ...model, inputs: [IMAGES], outputs };
  const task = await new DetectTask(DEFAULT_DETECT_TASK_OPTIONS).recognise({
    model: info,
    source: "a stand-in",
    described: () => Promise.resolve(info),
    rangeOf: () => undefined,
    outputsFor: () => Promise.resolve(outputs),
  });
  owned.use(ground.hold("a test"));
  const { device, kernels, waits } = ground;
  const stand = owned.use(new StandInEngine(device, outputs));
  stand.give(said);
  const own = standInModel(stand, device, task as TaskModel<unknown, unknown, unknown>, 1, owned);
  const loaded = { ...own, kernels, waits };
  const part = (await task.device.cuda!()) as CudaTask<NmsOptions, DetectionBlock>;
  const streams = owned.use(new GpuStreams(loaded.engine, device, layout, IN_FLIGHT));
  const cuda = part.load(loaded, owned);
  const gpu: GpuModel<NmsOptions, DetectionBlock> = { ...loaded, cuda, streams, trace: undefined };
  const all = owned.move();
  return {
    ...{ kind: "gpu", engine: kind, description: kind, maxBatch: 1, inFlight: IN_FLIGHT, model: info, task, stand },
    createSlot: () => new GpuSlot(gpu, streams),
    // Refused while one of the slots is open.
    close: () => all.dispose(),
    isClosed: () => all.disposed,
  };
}

for (const layout of ["one", "split", "parallel"] as const) {
  test.skipIf(isGpuMissing)(
    `slots of a better engine take over between frames, with streams and graphs of their own (${layout})`,
    async () => {
      const known = await toy();
      const ground = GpuGround.open({ device: 0, jpeg: "cpu", wait: "poll" });
      const quick = await backendOf(known, ground, "quick", layout);
      const full = await backendOf(known, ground, "full", layout);
      const ready = Promise.withResolvers<void>();
      const improving = { ...quick, improve: () => ready.promise.then(() => full as DetectBackend) };
      const pipeline = new Pipeline(improving, { inFlight: IN_FLIGHT, batch: 1 });
      const selection: NmsOptions = { ...USUAL_SELECTION, classIds: undefined };
      const read = ({ output, width }: { readonly output: DetectionBlock; readonly width: number }) =>
        `${width} ${[...output.boxes.subarray(0, output.count * 4)]}`;
      const batcher = new MicroBatcher(pipeline, { wait: 0, read });
      const found: string[] = [];
      let isOver = false;
      const keepBusy = async (): Promise<void> => {
        while (!isOver) found.push(await batcher.submit(WHITE, selection).promise);
      };
      const busy = [keepBusy(), keepBusy(), keepBusy()];
      while (found.length < 12) await Bun.sleep(1);
      using loading = spyOn(Module, "load");
      ready.resolve();
      for (const end = performance.now() + 60_000; !quick.isClosed(); await Bun.sleep(1)) {
        if (performance.now() > end) throw new Error("The first engine was never closed");
      }
      const before = [quick.stand.runs, found.length, full.stand.runs] as const;
      while (found.length < before[1] + 12) await Bun.sleep(1);
      isOver = true;
      await Promise.all(busy);
      expect(new Set(found).size).toBe(1);
      expect(found[0]).toMatch(/^96 \d/);
      // Graphs are replayed without the stand-in's knowing: it was asked while they were made, in each slot, before frames came.
      expect([quick.stand.runs, full.stand.runs]).toEqual([before[0], before[2]]);
      expect(full.stand.runs).toBe(2 * IN_FLIGHT);
      // A driver that compiles a module holds frames up.
      expect(loading).not.toHaveBeenCalled();
      expect(pipeline.backend).toBe(full);
      await pipeline.close();
      expect([full.isClosed(), ground.closed]).toEqual([true, true]);
    },
  );
}
