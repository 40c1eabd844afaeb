import { expect } from "bun:test";
import { fakeCudaTest } from "../../support/fake-cuda.ts";

fakeCudaTest(
  "ImageMemory.reserve() stays where it is for images that become larger by and by, and gives back what was made",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { Device } = await import("./src/cuda/device.ts");
    const { Stream } = await import("./src/cuda/stream.ts");
    const { ImageMemory } = await import("./src/tasks/image/image-memory.ts");
    using device = Device.open(0);
    using stream = Stream.create(device);
    using memory = new ImageMemory(device);
    const places = new Set();
    for (let byteLength = 1000; byteLength <= 1250; byteLength++) places.add(memory.reserve(byteLength));
    memory.download(1001, { stream });
    const target = new Uint8Array(1001);
    memory.read(target);
    console.log(JSON.stringify([places.size, target.length]));
  `);
    expect(JSON.parse(output)).toEqual([1, 1001]);
  },
);

fakeCudaTest(
  "ImageMemory.upload() takes frame, regions and tiles of a run to the device by one copy, of more runs and tiles as well",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { copyToHost } = await import("./src/cuda/copy.ts");
    const { Device } = await import("./src/cuda/device.ts");
    const { DeviceBuffer } = await import("./src/cuda/buffers.ts");
    const { PinnedBuffer } = await import("./src/cuda/buffers.ts");
    const { Stream } = await import("./src/cuda/stream.ts");
    const { cudaRuntime } = await import("./src/ffi/cuda-runtime.ts");
    const { placeTile } = await import("./src/image/geometry.ts");
    const { IMAGE_BYTES } = await import("./src/accelerators/tensorrt/preprocess.ts");
    const { FRAME_BYTES, ImageMemory, packTile, runBytes, TILE_BYTES } = await import("./src/tasks/image/image-memory.ts");
    using device = Device.open(0);
    using stream = Stream.create(device);
    using memory = new ImageMemory(device);
    const image = { format: "RGB", width: 40, height: 30, pixels: 4096, pitchBytes: 120 };
    const runtime = cudaRuntime();
    const { cudaMemcpyAsync } = runtime;
    let copies = 0;
    runtime.cudaMemcpyAsync = (...given) => (copies++, cudaMemcpyAsync(...given));
    const rounds = [[1, 2], [3, 2], [2, 5], [2, 3]].map(([runs, rows]) => {
      const table = memory.runs(runs, rows)[runs - 1];
      table.words[0] = rows;
      const tilesAt = (FRAME_BYTES + rows * IMAGE_BYTES) / 4;
      for (let row = 0; row < rows; row++) {
        const tile = { x: row, y: 10 * row, left: 1, top: 2, right: 3, bottom: 4 };
        packTile(table.words, tilesAt + (row * TILE_BYTES) / 4, tile);
        const region = placeTile([40, 30], row, row, [16, 8], "reflect");
        table.regions.set(row, image, region, { colour: "RGB", resize: "bilinear" });
      }
      using target = DeviceBuffer.create("u8", [runBytes(rows)], { device });
      const before = copies;
      memory.upload(target, table, { stream });
      const made = copies - before;
      using copy = PinnedBuffer.create("i32", [target.byteLength / 4], device);
      copyToHost(copy, target, { stream });
      const words = copy.data;
      const last = rows - 1;
      const place = (FRAME_BYTES + IMAGE_BYTES * last) / 4;
      return [made, words[0], words[tilesAt + 8 * last], words[tilesAt + 8 * last + 1], words[place], words[place + 6]];
    });
    console.log(JSON.stringify(rounds));
  `);
    expect(JSON.parse(output)).toEqual([
      [1, 2, 1, 10, 4096, 1],
      [1, 2, 1, 10, 4096, 1],
      [1, 5, 4, 40, 4096, 4],
      [1, 3, 2, 20, 4096, 2],
    ]);
  },
);

fakeCudaTest(
  "CudaImage shows a tile of the first image of a load to its guard, in either format",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { KernelLibrary } = await import("./src/accelerators/tensorrt/kernels.ts");
    const { setLogSink } = await import("./src/core/log.ts");
    const { DeviceBuffer } = await import("./src/cuda/buffers.ts");
    const { copyToDevice } = await import("./src/cuda/copy.ts");
    const { Device } = await import("./src/cuda/device.ts");
    const { Stream } = await import("./src/cuda/stream.ts");
    const { CudaImage } = await import("./src/tasks/image/cuda-image.ts");
    const { normalisation } = await import("./src/tasks/image/image-recognition.ts");
    const { ValueGuard } = await import("./src/tasks/value-guard.ts");

    const lines = [];
    setLogSink((level, text) => level === "warn" && lines.push(text));
    using device = Device.open(0);
    using stream = Stream.create(device);
    using kernels = KernelLibrary.create(device);
    const form = { name: "x", layout: "NCHW", channels: "RGB", dtype: "f32", ...normalisation("0-1") };
    const sides = { fixedWidth: 8, fixedHeight: 8, smallest: [8, 8], largest: [8, 8], multiple: 8, overlap: 0 };
    const spec = { input: form, output: form, scale: 1, fixedWidth: 8, fixedHeight: 8, fixedBatch: 2, tiling: sides };
    const shape = [2, 3, 8, 8];
    // Of the first row so many values are 100, and the second one is a tile that nobody looks at.
    const run = (vector, white, images = 1) => {
      using owned = new DisposableStack();
      const guard = ValueGuard.begin({ source: "toy" }, "image");
      const loaded = new CudaImage(spec, "reflect", guard).load({ device, kernels, rows: 2 }, owned);
      using work = loaded.createWork({ setup: { stream } });
      using input = DeviceBuffer.create("f32", shape, { device });
      using made = DeviceBuffer.create("f32", shape, { device }, vector);
      const values = new Float32Array(made.length).fill(100);
      const cells = made.length / 2;
      // Row-major: the first channel. Vectors of four: their fourth channel is none.
      for (let at = 0; at < cells; at++) values[at] = vector === 1 ? (at < white ? 100 : 0.5) : at % 4 === 3 || at < white ? 100 : 0.5;
      copyToDevice(made, values, { stream });
      using stages = work.createStages({ images: input, outputs: new Map([["x", made]]) }, { batch: 2, size: [8, 8] });
      for (let image = 0; image < images; image++) {
        const source = { width: 8, height: 8, format: "RGB", pitchBytes: 24, pixels: input.pointer };
        work.begin({ images: [source], deviceImages: [source], size: [8, 8], params: undefined }, { stream });
        work.enqueueCopyOut({ stream });
        work.read(stages);
      }
      return lines.splice(0);
    };
    console.log(JSON.stringify([run(1, 0), run(1, 96, 2), run(4, 0), run(4, 128)]));
    `);
    const half = expect.stringMatching(
      /^Implausible image of toy: 50 % of its values lie far outside 0 to 1; say what/,
    );
    expect(JSON.parse(output)).toEqual([[], [half], [], [half]]);
  },
);
