/** @module An image through an image model, and tile by tile: `bun examples/06-super-resolution.ts MODEL IMAGE OUTPUT` */

import { encodeImage, ImageModel } from "bun-tensorrt";

const [path, source, output] = process.argv.slice(2);
if (path === undefined || source === undefined || output === undefined) {
  throw new Error("Usage: bun examples/06-super-resolution.ts MODEL.onnx IMAGE OUTPUT.png");
}

await using model = await ImageModel.load(path);
const { input, output: made, scale } = model.recognition;
console.log(`${input.channels} ${input.layout} in, ${made.channels} ${made.layout} out, ${scale} times as large`);
const { image, tiles, timing } = await model.transform(source);
await Bun.write(output, await encodeImage(image, { format: "png", alpha: "keep" }));
console.log(
  `${image.width}x${image.height} in ${tiles} tiles, ${timing.infer.toFixed(1)} of ${timing.total.toFixed(1)} ms`,
);
