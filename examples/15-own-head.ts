/**
 * @module A head of one's own, for a detector whose layout no built-in head reads: `bun examples/15-own-head.ts centres.onnx street.jpg`,
 * or `bunx bun-tensorrt detect street.jpg --model centres.onnx --head ./examples/15-own-head.ts`
 */

import { Detector, defineHead, type HeadDefinition } from "bun-tensorrt";

/** Probabilities by class of each cell that an object's centre is there, and how wide and high it would be. */
const centres: HeadDefinition = defineHead({
  name: "centres",
  summary: "outputs heat [N, classes, rows, columns] and size [N, 2, rows, columns]",
  recognise({ outputs }) {
    const heat = outputs.find(({ name, shape }) => name === "heat" && shape.length === 4);
    const size = outputs.find(({ name, shape }) => name === "size" && shape[1] === 2);
    if (heat === undefined || size === undefined) return undefined;
    return {
      reason: "outputs heat and size, of as many cells",
      classes: heat.shape[1],
      // Cells beside a peak mean the same object: NMS drops them.
      needsNms: true,
      preprocessing: { fit: "stretch" },
    };
  },
  decode({ values, shape, inputWidth, inputHeight, threshold }, objects) {
    const [classes = 0, rows = 0, columns = 0] = shape("heat");
    const heat = values("heat");
    const size = values("size");
    const cells = rows * columns;
    for (let classId = 0; classId < classes; classId++) {
      for (let cell = 0; cell < cells; cell++) {
        const score = heat[classId * cells + cell]!;
        if (score < threshold) continue;
        const x = (((cell % columns) + 0.5) / columns) * inputWidth;
        const y = ((Math.floor(cell / columns) + 0.5) / rows) * inputHeight;
        objects.pushCentre(x, y, size[cell]!, size[cells + cell]!, score, classId);
      }
    }
  },
});

export default centres;

if (import.meta.main) {
  const [model, path] = process.argv.slice(2);
  if (model === undefined || path === undefined) throw new Error("Usage: bun examples/15-own-head.ts MODEL IMAGE");
  await using detector = await Detector.load(model, { heads: [centres] });
  const { detections } = await detector.detect(path);
  for (const { label, score, box } of detections) {
    console.log(`${label} ${score.toFixed(2)} at ${box.map((side) => side.toFixed(0)).join(" ")}`);
  }
}
