import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Detector } from "../../src/api/detector.ts";
import { Model } from "../../src/api/model.ts";
import { OrientedDetector, PoseEstimator, Segmenter } from "../../src/api/object-model.ts";
import { ModelError, OptionError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { defineHead, type HeadDefinition } from "../../src/heads/own-head-options.ts";
import { imageOf } from "../../src/image/image.ts";
import { type FixedOutput, finalRows, fixedModel } from "../support/fixed-model.ts";
import { fileFolder } from "../support/folder.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { toyObb, toyPose, toySegmenter } from "../support/toy-objects.ts";

setDefaultTimeout(120_000);

const root = join(import.meta.dir, "../..");
const inFolder = fileFolder("heads");

const cpu = { backend: "cpu" } as const;
const white = imageOf(new Uint8Array(64 * 64 * 3).fill(255), { width: 64, height: 64 });

/** Rows of x, y, width, height, score, class, under a name that no built-in head knows. */
const rows: FixedOutput = {
  name: "things",
  shape: [1, 4, 6],
  values: [...[2, 4, 10, 12, 0.9, 1], ...[3, 4, 10, 12, 0.8, 1], ...[16, 16, 8, 8, 0.7, 0], ...[20, 2, 8, 8, 0.1, 0]],
};
const other: FixedOutput = { name: "spare", shape: [1, 3, 5], values: new Array<number>(15).fill(0) };
const things = fixedModel([rows, other]);

const cornerSize = defineHead({
  name: "corner-size",
  recognise({ outputs }) {
    const output = outputs.find(({ name }) => name === "things");
    return output && { reason: "an output things", plan: output.name, outputs: [output.name], labels: ["cat", "dog"] };
  },
  decode({ plan, values }, objects) {
    const data = values(plan);
    for (let at = 0; at < data.length; at += 6) {
      const [x = 0, y = 0, width = 0, height = 0, score = 0, classId = 0] = data.subarray(at, at + 6);
      objects.push(x, y, x + width, y + height, score, classId);
    }
  },
});

/** What a load or a call is refused with. */
async function refused(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => expect.unreachable(),
    (error: unknown) => error as Error,
  );
}

test("a head of one's own knows its model, and NMS, labels and the image are as for the built-in ones", async () => {
  await using detector = await Detector.load(things, { ...cpu, heads: [cornerSize] });
  expect(detector.recognition).toMatchObject({ head: "corner-size", reason: "an output things", unexplained: [] });
  const { detections } = await detector.detect(white);
  const found = detections.map(({ label, score, box }) => [label, Math.fround(score), ...box]);
  // The second overlaps the first by 0.82, and the last is below the threshold. An image is twice as large as the input.
  expect(found).toEqual([
    ["dog", Math.fround(0.9), 4, 8, 24, 32],
    ["cat", Math.fround(0.7), 32, 32, 48, 48],
  ]);
  expect((await detector.detect(white, { iou: 1, threshold: 0 })).detections).toHaveLength(4);
  await using any = await Model.load(things, { ...cpu, heads: [cornerSize] });
  expect([any.task, (any as Detector).recognition.head]).toEqual(["detect", "corner-size"]);
});

test("without `recognise` a head is for models of which the caller names it", async () => {
  const { recognise: _, ...unknowing } = cornerSize;
  const head: HeadDefinition = {
    ...unknowing,
    decode: ({ values }, objects) => objects.push(0, 0, 8, 8, values("things")[4]!, 0),
  };
  const error = await refused(Detector.load(things, { ...cpu, heads: [head] }));
  expect(error.message).toContain('if it has one of these heads, name it by `head: "corner-size"`');
  await using detector = await Detector.load(things, { ...cpu, heads: [head], head: "corner-size", labels: ["one"] });
  expect((await detector.detect(white)).detections.map(({ label, box }) => [label, ...box])).toEqual([
    ["one", 0, 0, 16, 16],
  ]);
});

test("a head of one's own comes before a built-in one that fits as well; of several of one's own one is to be named", async () => {
  const mine = defineHead({
    name: "mine",
    recognise: () => ({}),
    decode: (_, objects) => objects.push(1, 1, 9, 9, 0.5, 1),
  });
  await using detector = await Detector.load(toyDetector(), { ...cpu, heads: [mine] });
  expect(detector.recognition.alternatives).toContain("yolo");
  expect((await detector.detect(white)).detections.map(({ label, box }) => [label, ...box])).toEqual([
    ["dog", 1, 1, 9, 9],
  ]);
  const heads = [mine, { ...mine, name: "mine-too" }];
  const error = await refused(Detector.load(toyDetector(), { ...cpu, heads }));
  expect(error.message).toContain('2 of the heads that were given, "mine", "mine-too", take it for their own');
  await using named = await Detector.load(toyDetector(), { ...cpu, heads, head: "mine-too" });
  expect(named.recognition.head).toBe("mine-too");
});

test("where none takes a model for its own the log says so, and it is read by a built-in head", async () => {
  const lines: string[] = [];
  const before = setLogSink((_, text) => lines.push(text));
  try {
    await using detector = await Detector.load(toyDetector(), { ...cpu, heads: [cornerSize] });
    expect(detector.recognition.head).toBe("yolo");
  } finally {
    setLogSink(before);
  }
  expect(lines.join("\n")).toContain('none of the heads that were given takes it for its own ("corner-size")');
});

test("what fails in a head is told with its name and the outputs, and the detector goes on", async () => {
  let isBroken = true;
  const decode: HeadDefinition["decode"] = (image, objects) => {
    if (isBroken) throw new TypeError("no such thing\nat all");
    cornerSize.decode(image as never, objects);
  };
  await using detector = await Detector.load(things, { ...cpu, heads: [{ ...cornerSize, decode }] });
  const error = await refused(detector.detect(white));
  expect(error).toBeInstanceOf(ModelError);
  expect(error.message).toBe(
    'Cannot decode an image by the head "corner-size": TypeError, no such thing; the outputs are things f32 [1, 4, 6]\n' +
      "Hint: `cause` has the error that its `decode` threw",
  );
  expect(error.cause).toBeInstanceOf(TypeError);
  isBroken = false;
  expect((await detector.detect(white)).detections).toHaveLength(2);
});

test("promises, classes that are none, unknown outputs and readings that lack something are refused by name", async () => {
  const decoding = async (decode: HeadDefinition["decode"]): Promise<string> => {
    await using detector = await Detector.load(things, { ...cpu, heads: [{ ...cornerSize, decode }] });
    return (await refused(detector.detect(white))).message;
  };
  expect(await decoding((async () => {}) as never)).toContain("decode gave a promise, and nothing waits for it");
  expect(await decoding((_, objects) => objects.push(0, 0, 9, 9, 0.9, 1.5))).toContain(
    "whole numbers from 0 on, got 1.5",
  );
  expect(await decoding(({ values }) => void values("thing"))).toContain('Cannot decode output "thing"');
  const reading = async (made: unknown, task?: HeadDefinition["task"]): Promise<string> => {
    const head: HeadDefinition = { ...cornerSize, task, recognise: () => made as never };
    return (await refused(Detector.load(things, { ...cpu, heads: [head], task: "detect" }))).message;
  };
  expect(await reading({ outputs: ["thing"] })).toContain(
    'the model has no output "thing"\nHint: its outputs are "things", "spare"',
  );
  expect(await reading({}, "pose")).toContain("its reading has no `keypoints`");
  expect(await reading({}, "segment")).toContain("its reading has no `masks`");
  expect(await reading(7)).toContain("its `recognise` gave no reading");
  const throwing: HeadDefinition = {
    ...cornerSize,
    recognise() {
      throw new RangeError("too odd");
    },
  };
  const error = await refused(Detector.load(things, { ...cpu, heads: [throwing] }));
  expect(error.message).toContain('Cannot recognise a model by the head "corner-size": RangeError, too odd');
});

test("a wrong number of class names is what is wrong, and no head", async () => {
  const head: HeadDefinition = { ...cornerSize, recognise: () => ({ classes: 2 }) };
  const labels = ["cat", "dog", "bird"];
  const error = await refused(Detector.load(things, { ...cpu, heads: [head], head: "corner-size", labels }));
  expect(error.message).toContain("it has 2 classes, got 3 class names");
});

test("definitions are checked: names, what is missing, and what is there already", async () => {
  expect(() => defineHead({ name: "My Head", decode() {} })).toThrow(OptionError);
  expect(() => defineHead({ name: "mine" } as never)).toThrow('Cannot define the head "mine"');
  const error = await refused(Detector.load(things, { ...cpu, heads: [{}] as never }));
  expect(error.message).toStartWith('Option "heads.0" must be a head, of `defineHead`, got an object');
  const taken = await refused(Detector.load(things, { ...cpu, heads: [{ ...cornerSize, name: "yolo" }] }));
  expect(taken.message).toStartWith('Cannot take the head "yolo": a built-in head has that name');
  const twice = await refused(Detector.load(things, { ...cpu, heads: [cornerSize, cornerSize] }));
  expect(twice.message).toContain("two of the heads have that name");
});

/** Ultralytics' raw grid by hand, with what comes with a box. */
function byHand(task: NonNullable<HeadDefinition["task"]>, classes: number, reading: object): HeadDefinition {
  return defineHead({
    name: "by-hand",
    task,
    recognise: () => ({ classes, ...reading }),
    decode({ values, shape, threshold }, objects) {
      const [channels = 0, anchors = 0] = shape("output0");
      const data = values("output0");
      for (let anchor = 0; anchor < anchors; anchor++) {
        const at = (channel: number): number => data[channel * anchors + anchor]!;
        const scores = Array.from({ length: classes }, (_, id) => at(4 + id));
        const score = Math.max(...scores);
        if (score < threshold) continue;
        const classId = scores.indexOf(score);
        if (task === "obb") objects.pushOriented(at(0), at(1), at(2), at(3), at(channels - 1), score, classId);
        else
          objects.pushCentre(
            at(0),
            at(1),
            at(2),
            at(3),
            score,
            classId,
            data,
            (4 + classes) * anchors + anchor,
            anchors,
          );
      }
    },
  });
}

/** The results as data, without the clock. */
function plain({ objects }: { readonly objects: readonly object[] }): unknown {
  return JSON.parse(JSON.stringify(objects));
}

test("points, turned boxes and masks come with the objects of one's own head as with those of a built-in one", async () => {
  const cases = [
    [PoseEstimator, toyPose, byHand("pose", 1, { keypoints: { count: 17, numbers: 3 } })],
    [OrientedDetector, toyObb, byHand("obb", 2, {})],
    [Segmenter, toySegmenter, byHand("segment", 2, { masks: { output: "output1", coefficients: 32 } })],
  ] as const;
  for (const [Facade, bytes, head] of cases) {
    await using builtIn = await Facade.load(bytes, cpu);
    await using own = await Facade.load(bytes, { ...cpu, heads: [head] });
    expect(own.recognition.head).toBe("by-hand");
    const wanted = plain(await builtIn.detect(white));
    expect(plain(await own.detect(white))).toEqual(wanted);
    expect((wanted as unknown[]).length).toBeGreaterThan(0);
    // Boxes only.
    await using detector = await Detector.load(bytes, { ...cpu, heads: [head], task: "detect" });
    await using boxes = await Detector.load(bytes, { ...cpu, task: "detect" });
    expect((await detector.detect(white)).detections).toEqual((await boxes.detect(white)).detections);
    const error = await refused(Detector.load(bytes, { ...cpu, heads: [head] }));
    expect(error.message).toContain(`its task is "${head.task}"`);
  }
});

test("an object without the numbers that come with it is an error", async () => {
  const head: HeadDefinition = {
    ...byHand("pose", 1, { keypoints: { count: 17, numbers: 3 } }),
    decode: (_, objects) => objects.push(1, 1, 9, 9, 0.9, 0, [1, 2]),
  };
  await using estimator = await PoseEstimator.load(toyPose, { ...cpu, heads: [head] });
  expect((await refused(estimator.detect(white))).message).toContain("an object comes with 51 numbers, got 2");
});

test("half precision and integers are numbers as well, of each image of a batch", async () => {
  const half = fixedModel(
    [finalRows(6, [[4, 8, 16, 24, 0.75, 1]]), { name: "ids", shape: [1, 2], values: [0, 1], dtype: "i64" }],
    {
      dtype: "f16",
    },
  );
  const head = defineHead({
    name: "halves",
    recognise: () => ({ labels: ["a", "b"] }),
    decode({ values }, objects) {
      const row = values("output0");
      const ids = values("ids");
      objects.push(row[0]!, row[1]!, row[2]!, row[3]!, row[4]!, ids[1]!);
    },
  });
  await using detector = await Detector.load(half, { ...cpu, heads: [head] });
  const { detections } = await detector.detect(white);
  expect(detections.map(({ label, score, box }) => [label, score, ...box])).toEqual([["b", 0.75, 8, 16, 32, 48]]);
  const share = defineHead({
    name: "share",
    recognise: () => ({ classes: 2 }),
    decode: ({ index, values, shape }, objects) => {
      const [, anchors = 0] = shape("output0");
      objects.push(0, 0, 8 + index, 8, values("output0")[4 * anchors]!, 0);
    },
  });
  await using batched = await Detector.load(toyDetector(), { ...cpu, heads: [share], batch: 3 });
  const grey = imageOf(new Uint8Array(64 * 64 * 3).fill(127), { width: 64, height: 64 });
  const scores = (await batched.detectBatch([white, grey, white])).map((one) => one.detections[0]!.score.toFixed(3));
  expect(scores).toEqual(["0.900", "0.448", "0.900"]);
});

/** Run a command in a folder of its own, that has the package. @returns exit code, output, errors */
function cli(...args: readonly string[]): readonly [number, string, string] {
  const child = Bun.spawnSync([process.execPath, join(root, "src/cli/main.ts"), ...args], {
    cwd: inFolder(),
    stdout: "pipe",
    stderr: "pipe",
  });
  return [child.exitCode, child.stdout.toString(), child.stderr.toString()];
}

test("on a command line --head names a file: its only head, one of several, or those that know the model", () => {
  mkdirSync(inFolder("node_modules"), { recursive: true });
  symlinkSync(root, inFolder("node_modules", "bun-tensorrt"));
  writeFileSync(inFolder("things.onnx"), things);
  writeFileSync(
    inFolder("my-head.ts"),
    `import { defineHead } from "bun-tensorrt";
export default defineHead({
  name: "mine",
  decode({ values }, objects) {
    const [x = 0, y = 0, width = 0, height = 0, score = 0] = values("things");
    objects.push(x, y, x + width, y + height, score, 0);
  },
});
`,
  );
  writeFileSync(
    inFolder("my-heads.ts"),
    `import { defineHead } from "bun-tensorrt";
export const never = defineHead({ name: "never", recognise: () => undefined, decode() {} });
export const always = defineHead({ name: "always", recognise: () => ({ reason: "always" }), decode() {} });
`,
  );
  const inspected = (head: string): unknown =>
    JSON.parse(cli("inspect", "things.onnx", "--json", "--head", head)[1]).recognition.head;
  expect(inspected("./my-head.ts")).toBe("mine");
  expect(inspected("my-heads.ts")).toBe("always");
  const [, , refusal] = cli("inspect", "things.onnx", "--head", "my-heads.ts:nevr");
  expect(refusal).toContain('--head "my-heads.ts" exports no head "nevr"\nHint: its heads are always, never');
  expect(cli("inspect", "things.onnx", "--head", "no.ts")[2]).toContain(
    '--head "no.ts" cannot be loaded, there is no such file',
  );
  const image = join(root, "docs/images/task-detect.jpg");
  const [code, output, errors] = cli(
    "detect",
    image,
    "--model",
    "things.onnx",
    "--head",
    "./my-head.ts",
    "--format",
    "json",
    "--backend",
    "cpu",
  );
  expect([code, errors]).toEqual([0, expect.stringMatching(/^warn: Assuming for .* COCO's 80 class names.*\n$/)]);
  expect(JSON.parse(output)[0].detections).toHaveLength(1);
});

test("examples/15-own-head.ts finds what a model of its layout says, by itself and from the command line", () => {
  const heat = new Array<number>(2 * 16).fill(0);
  heat[16 + 5] = 0.875;
  const size = Array.from({ length: 2 * 16 }, (_, at) => (at < 16 ? 16 : 8));
  const model = fixedModel([
    { name: "heat", shape: [1, 2, 4, 4], values: heat },
    { name: "size", shape: [1, 2, 4, 4], values: size },
  ]);
  const path = inFolder("centres.onnx");
  writeFileSync(path, model);
  const image = join(root, "docs/images/task-detect.jpg");
  const example = join(root, "examples/15-own-head.ts");
  const child = Bun.spawnSync([process.execPath, example, path, image], { stdout: "pipe", stderr: "pipe" });
  expect(child.stderr.toString()).toBe("");
  expect(child.stdout.toString()).toMatch(/^class 1 0\.88 at \d+ \d+ \d+ \d+\n$/);
  const [code, output] = cli(
    "detect",
    image,
    "--model",
    path,
    "--head",
    example,
    "--format",
    "json",
    "--backend",
    "cpu",
  );
  expect([code, JSON.parse(output)[0].detections.length]).toEqual([0, 1]);
  expect(readFileSync(example, "utf8")).toContain("--head ./examples/15-own-head.ts");
});

test("a reading that no head has, and a class beyond those it names, are refused", async () => {
  const loaded = async (reading: object, task?: HeadDefinition["task"]): Promise<Error> => {
    const head = defineHead({ ...cornerSize, task, recognise: () => reading });
    const facade = task === "pose" ? PoseEstimator : Detector;
    return refused(facade.load(things, { ...cpu, heads: [head] }));
  };
  const start = 'Cannot recognise a model by the head "corner-size": its reading is not one. ';
  for (const [reading, text, task] of [
    [{ needNms: false }, 'Unknown option "needNms". Did you mean "needsNms"?'],
    [{ preprocessing: { fitt: "stretch" } }, 'Unknown option "preprocessing.fitt". Did you mean "fit"?'],
    [{ preprocessing: { std: 0 } }, 'Option "preprocessing.std" must be a number other than 0'],
    [{ keypoints: { count: 2, stride: 3 } }, 'Option "keypoints.numbers" must be 2, x and y, or 3', "pose"],
    [{ classes: 0 }, 'Option "classes" must be a whole number from 1 on, got 0'],
    [{ sizeInputs: [{ name: "size", dtype: "i8", content: "ones" }] }, 'Option "sizeInputs.0.dtype" must be'],
  ] as const) {
    const error = await loaded(reading, task);
    expect(error).toBeInstanceOf(ModelError);
    expect(error.message).toContain(start + text);
  }
  for (const reading of [{ classes: 1 }, { labels: ["cat"] }]) {
    const head = defineHead({ ...cornerSize, recognise: () => ({ ...reading, plan: "things" }) });
    await using detector = await Detector.load(things, { ...cpu, heads: [head] });
    expect((await refused(detector.detect(white))).message).toContain("class ids of 1 classes are 0 to 0, got 1");
  }
});
