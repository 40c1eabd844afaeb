/** The bench's study of work on the host, with a stand-in for the engine: it finds what the detector finds. */

import { expect, test } from "bun:test";
import { HostReadTask, HostRun, type Stage } from "../../../bench/studies/host.ts";
import type { CudaTask } from "../../../src/accelerators/tensorrt/gpu-model.ts";
import { GpuSlot } from "../../../src/accelerators/tensorrt/gpu-slot.ts";
import { GpuStreams } from "../../../src/accelerators/tensorrt/gpu-streams.ts";
import type { TensorInfo } from "../../../src/core/tensor.ts";
import { type DeviceMemory, PinnedBuffer } from "../../../src/cuda/buffers.ts";
import { copyToDevice, copyToHost } from "../../../src/cuda/copy.ts";
import { Device } from "../../../src/cuda/device.ts";
import type { Stream } from "../../../src/cuda/stream.ts";
import type { DetectionBlock } from "../../../src/model/rows.ts";
import type { TaskModel } from "../../../src/runtime/task.ts";
import { DEFAULT_DETECT_TASK_OPTIONS } from "../../../src/tasks/detect/detect-task.ts";
import type { NmsOptions } from "../../../src/tasks/detect/nms.ts";
import type { Engine } from "../../../src/tensorrt/engine.ts";
import { DEFAULT_BACKEND_OPTIONS, loadCpu } from "../../support/backends.ts";
import { flatImage } from "../../support/flat-image.ts";
import { isGpuMissing } from "../../support/gpu.ts";
import { StandInEngine, standInModel } from "../../support/stand-in-engine.ts";
import { toyDetector } from "../../support/toy-detector.ts";

const IMAGES: TensorInfo = { name: "images", dtype: "f32", shape: [1, 3, 64, 64] };
const OUTPUT: TensorInfo = { name: "output0", dtype: "f32", shape: [1, 6, 84] };
const WHITE = flatImage(64, 64, 255);

test.skipIf(isGpuMissing).each([
  [false, false],
  [true, false],
  [true, true],
])(
  "page-locked %p, graph %p: the host's steps give the detector's boxes, and the GPU gets its tensor",
  async (isPinned, hasGraph) => {
    using owned = new DisposableStack();
    const cpu = await loadCpu(toyDetector(), DEFAULT_BACKEND_OPTIONS);
    owned.defer(() => cpu.close());
    const slot = owned.use(cpu.createSlot());
    const [expected] = await slot.run([WHITE], [64, 64], cpu.task.idleParams);
    const said = (await slot.readOutputs()).get("output0")!;

    const device = owned.use(Device.open());
    const source = owned.use(PinnedBuffer.create("f32", OUTPUT.shape, device));
    source.data.set(said.data as Float32Array);
    const received = owned.use(PinnedBuffer.create("f32", IMAGES.shape, device));
    const addresses = new Map<string, number>();
    const tensorOf = (info: TensorInfo): object => ({
      info,
      shape: info.shape,
      vector: 1,
      setAddress: (address: number) => addresses.set(info.name, address),
    });
    const memory = (name: string, byteLength: number): DeviceMemory =>
      ({ pointer: addresses.get(name)!, byteLength }) as DeviceMemory;
    let runs = 0;
    const context = {
      tensors: [tensorOf(IMAGES), tensorOf(OUTPUT)],
      tensor: () => tensorOf(IMAGES),
      enqueue: (stream: Stream) => {
        // The first run is on memory that nothing has written yet.
        if (runs++ > 0) copyToHost(received, memory("images", received.byteLength), { stream });
        copyToDevice(memory("output0", source.byteLength), source, { stream });
      },
      [Symbol.dispose]() {},
    };
    const engine = {
      source: "a stand-in",
      inputs: [IMAGES],
      outputs: [OUTPUT],
      metadata: cpu.model.metadata,
      createContext: () => Promise.resolve(context),
    } as unknown as Engine;
    using run = await HostRun.create(device, engine, { isPinned, hasGraph });
    const stages = new Set<Stage>();
    expect(run.detect(WHITE, (stage) => void stages.add(stage))).toBe(expected!.count);
    expect(expected!.count).toBeGreaterThan(1);
    expect([...received.data.subarray(0, 3)]).toEqual([1, 1, 1]);
    expect(stages.size).toBe(5);
  },
);

test.skipIf(isGpuMissing)(
  "pixels that the GPU pre-processes and outputs that the host reads give the same boxes",
  async () => {
    using owned = new DisposableStack();
    const cpu = await loadCpu(toyDetector(), DEFAULT_BACKEND_OPTIONS);
    owned.defer(() => cpu.close());
    const reference = owned.use(cpu.createSlot());
    const [expected] = await reference.run([WHITE], [64, 64], cpu.task.idleParams);
    const said = await reference.readOutputs();

    const device = owned.use(Device.open());
    const info = { ...cpu.model, inputs: [IMAGES], outputs: [OUTPUT] };
    const task = await new HostReadTask(DEFAULT_DETECT_TASK_OPTIONS).recognise({
      model: info,
      source: "a stand-in",
      described: () => Promise.resolve(info),
      rangeOf: () => undefined,
      outputsFor: () => Promise.resolve([OUTPUT]),
    });
    const engine = owned.use(new StandInEngine(device, [OUTPUT]));
    engine.give(said);
    const model = standInModel(engine, device, task as TaskModel<unknown, unknown, unknown>, 1, owned);
    const part = (await task.device.cuda!()) as CudaTask<NmsOptions, DetectionBlock>;
    const streams = owned.use(new GpuStreams(model.engine, device, "one", 1));
    const cuda = part.load(model, owned);
    const slot = owned.use(new GpuSlot({ ...model, cuda, streams, trace: undefined }, streams));
    const [found] = await slot.run([WHITE], [64, 64], cpu.task.idleParams);
    expect(found!.count).toBe(expected!.count);
    expect([...found!.boxes.subarray(0, found!.count * 4)]).toEqual([...expected!.boxes.subarray(0, found!.count * 4)]);
  },
);
