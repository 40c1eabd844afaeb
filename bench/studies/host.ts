/** @module Host: what it costs to do on the host what a GPU can do: one plan, and one step after another moved to the GPU. */

import { openBackends } from "../../src/accelerators/accelerator.ts";
import { openedEngine } from "../../src/accelerators/tensorrt/gpu-backend.ts";
import { createTensor, isDynamic, type Tensor } from "../../src/core/tensor.ts";
import { DeviceBuffer, PinnedBuffer } from "../../src/cuda/buffers.ts";
import { copyToDevice, copyToHost } from "../../src/cuda/copy.ts";
import { Device } from "../../src/cuda/device.ts";
import { Graph, type GraphExec, Stream } from "../../src/cuda/stream.ts";
import type { Region } from "../../src/image/geometry.ts";
import type { Image } from "../../src/image/image.ts";
import type { InputTensor, Preprocessor } from "../../src/image/preprocessor.ts";
import type { DetectionBlock } from "../../src/model/rows.ts";
import { DEFAULT_MACHINE_OPTIONS } from "../../src/runtime/backend.ts";
import { type HostTensors, type HostWork, inputShape, type OpenedModel } from "../../src/runtime/task.ts";
import { CudaHostTask } from "../../src/tasks/cuda-host-task.ts";
import {
  DEFAULT_DETECT_TASK_OPTIONS,
  type DetectModel,
  DetectTask,
  RecognisedDetector,
} from "../../src/tasks/detect/detect-task.ts";
import { HostDetect } from "../../src/tasks/detect/host-detect.ts";
import type { NmsOptions } from "../../src/tasks/detect/nms.ts";
import type { Engine, ExecutionContext } from "../../src/tensorrt/engine.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { planOf } from "../support/engines.ts";
import { keep } from "../support/keep.ts";
import { pageLocked } from "../support/page-locked.ts";
import { inRounds } from "../support/rounds.ts";
import { medianOf } from "../support/samples.ts";

const ROUNDS = 10;
const STAGES = [
  "pre-process on the host",
  "tensor to the GPU",
  "engine",
  "outputs to the host",
  "boxes on the host",
  "on the GPU in one launch",
] as const;
/** A part of a frame's time. */
export type Stage = (typeof STAGES)[number];

/** A way to run a frame; returns how many boxes it found. */
interface Rung {
  readonly id: string;
  readonly name: string;
  readonly samples: number[];
  readonly stages: Readonly<Record<Stage, number[]>>;
  readonly detect: (mark: (stage: Stage, ms: number) => void) => Promise<number>;
}

function rung(id: string, name: string, detect: Rung["detect"]): Rung {
  const stages = Object.fromEntries(STAGES.map((stage) => [stage, [] as number[]])) as Record<Stage, number[]>;
  return { id, name, samples: [], stages, detect };
}

/** What {@linkcode HostRun} does as most libraries do not. */
export interface HostRunOptions {
  readonly isPinned: boolean;
  readonly hasGraph: boolean;
}

/** The engine as a plain function: a tensor made on the host goes in, all outputs come back, and the host reads them. */
export class HostRun implements HostTensors, Disposable {
  readonly outputs: ReadonlyMap<string, Tensor>;
  readonly #stream: Stream;
  readonly #context: ExecutionContext;
  readonly #graph: GraphExec | undefined;
  readonly #work: HostWork<NmsOptions, DetectionBlock>;
  readonly #model: DetectModel;
  readonly #input: InputTensor;
  readonly #deviceInput: DeviceBuffer;
  /** What copies go from and to. */
  readonly #inputMemory: PinnedBuffer | ArrayBufferView;
  readonly #copies: readonly (readonly [to: PinnedBuffer | ArrayBufferView, from: DeviceBuffer])[];
  #owned: DisposableStack;
  #padded: Region | undefined;

  private constructor(
    parts: {
      stream: Stream;
      context: ExecutionContext;
      work: HostWork<NmsOptions, DetectionBlock>;
      model: DetectModel;
    },
    device: Device,
    { isPinned, hasGraph }: HostRunOptions,
    owned: DisposableStack,
  ) {
    const { stream, context, work, model } = parts;
    this.#stream = stream;
    this.#context = context;
    this.#work = work;
    this.#model = model;
    this.#owned = owned;
    const memory = (tensor: Tensor): [Tensor, PinnedBuffer | ArrayBufferView] => {
      if (!isPinned) return [tensor, tensor.data];
      const pinned = owned.use(PinnedBuffer.create(tensor.dtype, tensor.shape, device));
      return [{ dtype: tensor.dtype, shape: tensor.shape, data: pinned.data }, pinned];
    };
    const outputs = new Map<string, Tensor>();
    const copies: [PinnedBuffer | ArrayBufferView, DeviceBuffer][] = [];
    let input: readonly [InputTensor, PinnedBuffer | ArrayBufferView, DeviceBuffer] | undefined;
    for (const tensor of context.tensors) {
      const { dtype, name } = tensor.info;
      if (tensor.vector !== 1) throw new Error(`Cannot run the engine: ${name} is not row-major`);
      const buffer = owned.use(DeviceBuffer.create(dtype, tensor.shape, { device }));
      tensor.setAddress(buffer.pointer);
      const [onHost, copied] = memory(createTensor(dtype, tensor.shape));
      if (name === model.input.name) input = [onHost as InputTensor, copied, buffer];
      else {
        outputs.set(name, onHost);
        copies.push([copied, buffer]);
      }
    }
    if (input === undefined) throw new Error(`Cannot run the engine: it has no input ${model.input.name}`);
    [this.#input, this.#inputMemory, this.#deviceInput] = input;
    this.outputs = outputs;
    this.#copies = copies;
    context.enqueue(stream);
    stream.synchronize();
    if (!hasGraph) return;
    using captured = Graph.capture("engine", () => context.enqueue(stream), { stream });
    this.#graph = owned.use(captured.instantiate());
  }

  /** @throws {ModelError} If the engine is none of a detector */
  static async create(device: Device, engine: Engine, options: HostRunOptions): Promise<HostRun> {
    using owned = new DisposableStack();
    const task = new DetectTask(DEFAULT_DETECT_TASK_OPTIONS);
    const model = await task.recognise(openedEngine(engine, engine.source));
    const work = (await model.host()).createWork();
    const stream = owned.use(Stream.create(device));
    const context = owned.use(await engine.createContext());
    const input = context.tensor(model.input.name);
    if (isDynamic(input.info.shape)) input.setShape(inputShape(model.input, 1, model.usualSize));
    const parts = { stream, context, work, model };
    const run = new HostRun(parts, device, options, owned);
    run.#owned = owned.move();
    return run;
  }

  fill(preprocessor: Preprocessor, image: Image, row: number, placement: Region): void {
    preprocessor.run(image, this.#input, row, placement, this.#padded);
    this.#padded = placement;
  }

  lend(): InputTensor {
    this.#padded = undefined;
    return this.#input;
  }

  /** One frame, each step waited for before the next, as libraries do that copy and infer by separate calls. */
  detect(image: Image, mark: (stage: Stage, ms: number) => void): number {
    const stream = this.#stream;
    const on = { stream };
    const work = this.#work;
    let started = performance.now();
    const step = (stage: Stage): void => {
      const now = performance.now();
      mark(stage, now - started);
      started = now;
    };
    work.begin([image], this.#model.usualSize);
    work.fill(this, 0, 0);
    step("pre-process on the host");
    copyToDevice(this.#deviceInput, this.#inputMemory, on);
    stream.synchronize();
    step("tensor to the GPU");
    if (this.#graph === undefined) this.#context.enqueue(stream);
    else this.#graph.launch(on);
    stream.synchronize();
    step("engine");
    for (const [to, from] of this.#copies) copyToHost(to, from, on);
    stream.synchronize();
    step("outputs to the host");
    work.finish(this, 0, 0, this.#model.idleParams);
    const boxes = work.end()[0]!.count;
    step("boxes on the host");
    return boxes;
  }

  [Symbol.dispose](): void {
    this.#stream.synchronize();
    this.#owned.dispose();
  }
}

/** Detection whose pixels are pre-processed on the GPU, and whose outputs are read on the host. */
export class HostReadTask extends DetectTask {
  override async recognise(opened: OpenedModel): Promise<DetectModel> {
    const { spec } = await super.recognise(opened);
    return new HostReadDetector(spec, opened, DEFAULT_DETECT_TASK_OPTIONS);
  }
}

class HostReadDetector extends RecognisedDetector {
  protected override cuda(): Promise<unknown> {
    return Promise.resolve(new CudaHostTask(this.spec.preprocessing, () => new HostDetect(this.spec, this.guard)));
  }
}

/** A frame through a slot of the library's own, with a task. */
async function slotRung(
  context: StudyContext,
  [id, name]: readonly [string, string],
  task: DetectTask,
  { frame, owned }: { readonly frame: Image; readonly owned: DisposableStack },
): Promise<Rung> {
  const wish = { ...DEFAULT_MACHINE_OPTIONS, backend: "gpu", inFlight: 1 } as const;
  const backend = (await openBackends(context.source!, task, wish, [0]))[0]!;
  owned.defer(() => backend.close());
  const slot = backend.createSlot();
  owned.defer(() => slot.close());
  const { usualSize: size, idleParams } = backend.task;
  return rung(id, name, async (mark) => {
    const [block] = await slot.run([frame], size, idleParams);
    mark("on the GPU in one launch", slot.timings.preprocess + slot.timings.infer);
    mark("boxes on the host", slot.timings.postprocess);
    return block!.count;
  });
}

async function measure(context: StudyContext, rungs: readonly Rung[]): Promise<Map<Rung, number>> {
  const boxes = new Map<Rung, number>();
  const perRound = context.options.isQuick ? 5 : 50;
  const some = async (one: Rung, count: number): Promise<void> => {
    for (let at = 0; at < count; at++) {
      const started = performance.now();
      boxes.set(one, await one.detect((stage, ms) => void one.stages[stage].push(ms)));
      one.samples.push(performance.now() - started);
    }
  };
  for (const one of rungs) await some(one, perRound);
  for (const { samples, stages } of rungs) for (const list of [samples, ...Object.values(stages)]) list.length = 0;
  await inRounds(
    rungs.map((one) => ({ run: () => some(one, perRound) })),
    ROUNDS,
    (round) => {
      context.progress(round / ROUNDS, `round ${round + 1} of ${ROUNDS}`);
      return !context.isOver() || round === 0;
    },
  );
  return boxes;
}

function conclude(output: StudyOutput, rungs: readonly Rung[], boxes: ReadonlyMap<Rung, number>): void {
  for (const { id, name, samples } of rungs) keep(output, id, name, "ms", samples);
  output.blocks.push(
    {
      kind: "stages",
      title: "From the host to the GPU, step by step",
      note: "Medians of one decoded frame to boxes on one plan, each step waited for. Every row has what the rows above it have, and one thing more.",
      unit: "ms",
      bars: rungs.map(({ name, stages }) => ({
        name,
        parts: STAGES.filter((stage) => stages[stage].length > 0).map((stage) => ({
          stage,
          value: medianOf(stages[stage]),
        })),
      })),
    },
    {
      kind: "table",
      title: "What each step brought",
      note: "Medians.",
      columns: ["", "p50 ms", "times as fast as the row above", "boxes"],
      rows: rungs.map((one, at) => {
        const before = rungs[at - 1];
        const gain = before === undefined ? null : medianOf(before.samples) / medianOf(one.samples);
        return [one.name, medianOf(one.samples), gain, boxes.get(one) ?? null];
      }),
    },
  );
  const [first, last] = [rungs[0]!, rungs.at(-1)!];
  const gain = medianOf(first.samples) / medianOf(last.samples);
  output.findings.push(`From "${first.name}" to "${last.name}": ${gain.toFixed(2)} times as fast.`);
}

/** Work on the host against work on the GPU. */
export const host: Study = {
  name: "host",
  title: "Host: what is not done on the GPU",
  question: "What do pageable copies, single launches, and pre- and post-processing on the host cost on the same plan?",
  needs: ["gpu", "model"],
  async run(context, output) {
    using owned = new DisposableStack();
    const device = owned.use(Device.open(0));
    const { image } = context.image;
    const frame = pageLocked(image, owned);
    const runtime = owned.use(await Runtime.create({ device }));
    const bytes = await planOf(context, device);
    const engine = owned.use(await runtime.deserialize(bytes, { source: context.source ?? "the engine" }));
    const rungs: Rung[] = [];
    for (const [id, name, options] of [
      ["host", "all on the host, ordinary memory, no graph", { isPinned: false, hasGraph: false }],
      ["pinned", "tensors in page-locked memory", { isPinned: true, hasGraph: false }],
      ["graph", "the engine as a CUDA graph", { isPinned: true, hasGraph: true }],
    ] as const) {
      const run = owned.use(await HostRun.create(device, engine, options));
      rungs.push(rung(id, name, (mark) => Promise.resolve(run.detect(image, mark))));
    }
    const where = { frame, owned };
    rungs.push(
      await slotRung(
        context,
        ["gpu-preprocess", "pre-processing on the GPU, the frame in page-locked memory"],
        new HostReadTask(DEFAULT_DETECT_TASK_OPTIONS),
        where,
      ),
      await slotRung(
        context,
        ["gpu", "decoding and NMS on the GPU, too"],
        new DetectTask(DEFAULT_DETECT_TASK_OPTIONS),
        where,
      ),
    );
    const boxes = await measure(context, rungs);
    conclude(output, rungs, boxes);
  },
};
