/** @module A built-in head written by hand, with the same results: `bun examples/16-head-by-hand.ts street.jpg` */

import { Detector, defineHead } from "bun-tensorrt";

/** YOLOv8 and 11: cx, cy, width, height and a probability a class, each of all anchors. */
const byHand = defineHead({
  name: "yolo-by-hand",
  recognise({ outputs: [output, ...others], labels, isNamed }) {
    const channels = output?.shape[1] ?? -1;
    if (output?.shape.length !== 3 || others.length > 0 || channels < 5) return undefined;
    // Models of pose and oriented boxes have more channels: the class names tell.
    if (!isNamed && labels?.length !== channels - 4) return undefined;
    return { plan: { output: output.name }, classes: channels - 4 };
  },
  decode({ plan, values, shape, threshold }, objects) {
    const [channels = 0, anchors = 0] = shape(plan.output);
    const data = values(plan.output);
    for (let anchor = 0; anchor < anchors; anchor++) {
      let score = threshold;
      let classId = -1;
      for (let channel = 4; channel < channels; channel++) {
        const value = data[channel * anchors + anchor]!;
        if (value < score || (value === score && classId >= 0)) continue;
        score = value;
        classId = channel - 4;
      }
      if (classId < 0) continue;
      const [cx, cy, width, height] = [0, 1, 2, 3].map((channel) => data[channel * anchors + anchor]!);
      objects.pushCentre(cx!, cy!, width!, height!, score, classId);
    }
  },
});

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("Usage: bun examples/16-head-by-hand.ts IMAGE");

await using builtIn = await Detector.load("yolo11n");
await using own = await Detector.load("yolo11n", { heads: [byHand] });
const wanted = (await builtIn.detect(path)).detections;
const found = (await own.detect(path)).detections;
console.log(`${builtIn.recognition.head}: ${wanted.length} objects, ${own.recognition.head}: ${found.length} objects`);
for (const [at, { label, score, box }] of found.entries()) {
  const most = Math.max(...box.map((side, index) => Math.abs(side - wanted[at]!.box[index]!)));
  console.log(
    `${label} ${score.toFixed(2)}, as the built-in one within ${most < 0.01 ? "0.01" : most.toFixed(2)} pixels`,
  );
}
