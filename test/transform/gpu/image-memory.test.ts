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
  "ImageMemory.upload() takes frame, tiles and regions to the device, of more tiles as well",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { copyToHost } = await import("./src/cuda/copy.ts");
    const { Device } = await import("./src/cuda/device.ts");
    const { PinnedBuffer } = await import("./src/cuda/pinned-buffer.ts");
    const { Stream } = await import("./src/cuda/stream.ts");
    const { placeTile } = await import("./src/image/geometry.ts");
    const { IMAGE_BYTES } = await import("./src/accelerators/tensorrt/preprocess.ts");
    const { FRAME_BYTES, ImageMemory, packTile, TILE_BYTES } = await import("./src/tasks/image/image-memory.ts");
    using device = Device.open(0);
    using stream = Stream.create(device);
    using memory = new ImageMemory(device);
    const image = { format: "RGB", width: 40, height: 30, pixels: 4096, pitchBytes: 120 };
    const read = (source) => {
      using copy = PinnedBuffer.create("i32", [source.byteLength / 4], device);
      copyToHost(copy, source, { stream });
      return copy.data.slice();
    };
    const rounds = [2, 5, 3].map((rows) => {
      const { words, regions } = memory.tables(rows);
      words[0] = rows;
      for (let row = 0; row < rows; row++) {
        const tile = { x: row, y: 10 * row, left: 1, top: 2, right: 3, bottom: 4 };
        packTile(words, (FRAME_BYTES + row * TILE_BYTES) / 4, tile);
        const region = placeTile([40, 30], row, row, [16, 8], "reflect");
        regions.set(row, image, region, { colour: "RGB", resize: "bilinear" });
      }
      memory.upload(rows, { stream });
      const tiles = read(memory.tiles);
      const places = read(memory.regions);
      const last = rows - 1;
      const place = (IMAGE_BYTES / 4) * last;
      return [read(memory.frame)[0], tiles[8 * last], tiles[8 * last + 1], places[place], places[place + 6]];
    });
    console.log(JSON.stringify(rounds));
  `);
    expect(JSON.parse(output)).toEqual([
      [2, 1, 10, 4096, 1],
      [5, 4, 40, 4096, 4],
      [3, 2, 20, 4096, 2],
    ]);
  },
);
