import { expect, test } from "bun:test";
import sharp from "sharp";
import { DepthEstimator, SemanticSegmenter } from "../../src/api/whole-image-models.ts";
import { Mask } from "../../src/tasks/segment/mask.ts";
import type { Rle } from "../../src/tasks/segment/mask-forms.ts";
import { maskOfClass } from "../../src/tasks/semantic/semantic-task.ts";
import { failureOf, ToyServer, WHITE_JPEG, white } from "../support/serving.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { toyMap } from "../support/toy-map.ts";
import { TOY_POINTS, toyColours, toyObb, toyPose, toySegmenter } from "../support/toy-objects.ts";

const HEADER = "Inference-Header-Content-Length";

/** Close to the numbers of a list, at any depth. */
function near(value: unknown): unknown {
  return Array.isArray(value) ? value.map(near) : typeof value === "number" ? expect.closeTo(value, 3) : value;
}

async function json<Answer = { readonly objects: never }>(answer: Promise<Response>): Promise<Answer> {
  const response = await answer;
  const body = await response.json();
  expect([response.status, body]).toEqual([200, body]);
  return body as Answer;
}

test("POST /detect gives masks as run lengths, as polygons, or not at all", async () => {
  await using toy = await ToyServer.serving(toySegmenter);
  const result = await json(toy.post("/detect", WHITE_JPEG));
  expect(result).toMatchObject({ task: "segment", width: 64, height: 64 });
  const found = result.objects as { label: string; box: number[]; mask: Rle }[];
  expect(found.map(({ label, box }) => [label, box])).toEqual([
    ["cat", near([8, 8, 40, 32])],
    ["dog", near([24, 40, 56, 56])],
  ] as never);
  const [cat, dog] = found.map(({ mask }) => Mask.fromRle(mask));
  expect([cat!.width, cat!.height, cat!.area, cat!.bounds.x]).toEqual([64, 64, 32 * 24, 8]);
  // Half of the dog's box has no pixel.
  expect([dog!.area, dog!.toBitmap()[41 * 64 + 31], dog!.toBitmap()[41 * 64 + 32]]).toEqual([8 * 16, 1, 0]);
  const polygons = (await json(toy.post("/detect?masks=polygon", WHITE_JPEG))).objects as { mask: object }[];
  const [first] = polygons;
  expect(first!.mask).toEqual({ size: [64, 64], polygons: [{ outer: expect.any(Array), holes: [] }] });
  const { polygons: rings } = first!.mask as { polygons: { outer: number[] }[] };
  expect(rings[0]!.outer.toSorted((a, b) => a - b)).toEqual([8, 8, 8, 8, 32, 32, 40, 40]);
  const bare = await json(toy.post("/detect?masks=none", WHITE_JPEG));
  expect(Object.keys((bare.objects as object[])[0]!)).toEqual(["label", "classId", "score", "box"]);
  expect(await failureOf(toy.post("/detect?masks=png", WHITE_JPEG))).toBe("400 invalid-option");
});

test("POST /detect gives key points and corners, and draws all of them", async () => {
  await using pose = await ToyServer.serving(toyPose);
  await using obb = await ToyServer.serving(toyObb);
  await using segmenter = await ToyServer.serving(toySegmenter);
  const people = await json(pose.post("/detect", WHITE_JPEG));
  expect(people).toMatchObject({ task: "pose", objects: [{ label: "person", keypoints: near([...TOY_POINTS]) }] });
  const turned = await json(obb.post("/detect", WHITE_JPEG));
  expect(turned).toMatchObject({ task: "obb", objects: [{ angle: near(Math.PI / 2) }, { angle: 0 }] });
  const [upright, square] = turned.objects as { corners: number[][] }[];
  expect(upright!.corners.toSorted((a, b) => a[0]! - b[0]! || a[1]! - b[1]!)).toEqual(
    near([
      [28, 20],
      [28, 44],
      [36, 20],
      [36, 44],
    ]) as number[][],
  );
  expect(square!.corners).toContainEqual(near([8, 8]) as number[]);
  for (const [server, x, y] of [
    [pose, 40, 36],
    [obb, 27, 34],
    [segmenter, 28, 46],
  ] as const) {
    const png = await white(64, 64).png().toBuffer();
    const response = await server.post("/detect?format=image", png as Buffer<ArrayBuffer>);
    const { data } = await sharp(await response.arrayBuffer())
      .raw()
      .toBuffer({ resolveWithObject: true });
    const at = (y * 64 + x) * 3;
    expect([...data.subarray(at, at + 3)]).not.toEqual([255, 255, 255]);
    expect([...data.subarray(0, 3)]).toEqual([255, 255, 255]);
  }
});

test("POST /classify answers for a classifier, and each model says which route is its own", async () => {
  await using toy = await ToyServer.serving(toyColours);
  const pixels = await sharp({ create: { width: 8, height: 8, channels: 3, background: "#ff0000" } })
    .png()
    .toBuffer();
  const { task, classes } = await json<{ task: string; classes: { label: string }[] }>(
    toy.post("/classify?top=2", pixels as Buffer<ArrayBuffer>),
  );
  expect([task, classes.length, classes[0]!.label]).toEqual(["classify", 2, "red"]);
  const form = new FormData();
  for (const name of ["a.png", "b.png"]) form.append("image", new File([pixels], name));
  const files = await json<{ file: string; classes: object[] }[]>(toy.post("/classify", form));
  expect(files.map(({ file, classes: found }) => [file, found.length])).toEqual([
    ["a.png", 3],
    ["b.png", 3],
  ]);
  const drawn = await toy.post("/classify?format=image", WHITE_JPEG);
  expect(drawn.headers.get("content-type")).toBe("image/jpeg");
  const wrong = await toy.post("/detect", WHITE_JPEG);
  expect(wrong.status).toBe(404);
  expect(await wrong.json()).toMatchObject({ error: { code: "wrong-task", hint: "send images to /classify" } });
  expect(await failureOf(toy.post("/classify?threshold=0.5", WHITE_JPEG))).toBe("400 invalid-option");
  await using detector = await ToyServer.open();
  expect(await failureOf(detector.post("/classify", WHITE_JPEG))).toBe("404 wrong-task");
});

/** A semantic model of three classes, and one of depth in metres. */
const toySemantic = toyMap({ classes: 3, size: [64, 32], metadata: { task: "semantic", names: "['a', 'b', 'c']" } });
const toyDepth = toyMap({ form: "depth-channel", size: [64, 32], metadata: { task: "depth" } });

/** A file in which every pixel is of another colour than its neighbours. */
async function coloured(width: number, height: number): Promise<Buffer<ArrayBuffer>> {
  const pixels = Uint8Array.from({ length: width * height * 3 }, (_, at) => (at * at * 37 + at * 11) % 256);
  return (await sharp(pixels, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer()) as Buffer<ArrayBuffer>;
}

interface SemanticAnswer {
  readonly areas: readonly { readonly classId: number; readonly pixels: number; readonly mask: Rle<string> }[];
}

test("POST /semantic gives the areas of each class, with the pixels of each as run lengths or polygons", async () => {
  await using toy = await ToyServer.serving(toySemantic);
  await using segmenter = await SemanticSegmenter.load(toySemantic, { backend: "cpu", threads: 1 });
  for (const image of [await coloured(37, 21), await coloured(1, 1), await coloured(64, 32), WHITE_JPEG]) {
    const expected = await segmenter.segment(image);
    const answer = await json<SemanticAnswer>(toy.post("/semantic", image));
    expect(answer).toMatchObject({ task: "semantic", width: expected.width, height: expected.height });
    expect(answer.areas.map(({ mask, ...area }) => area)).toEqual(
      expected.areas.map(({ share, ...area }) => ({ ...area, share: expect.closeTo(share, 5) })) as never,
    );
    for (const { classId, pixels, mask } of answer.areas) {
      expect(mask).toEqual(maskOfClass(expected, classId).toJSON());
      expect(Mask.fromRle(mask).area).toBe(pixels);
    }
  }
  const image = await coloured(5, 3);
  const [first] = (await json<{ areas: { mask: object }[] }>(toy.post("/semantic?masks=polygon", image))).areas;
  expect(first!.mask).toMatchObject({ size: [3, 5], polygons: [{ outer: expect.any(Array) }] });
  const [bare] = (await json<{ areas: object[] }>(toy.post("/semantic?masks=none", image))).areas;
  expect(Object.keys(bare!)).toEqual(["label", "classId", "pixels", "share"]);
  const drawn = await toy.post("/semantic?format=image", image);
  expect((await sharp(await drawn.arrayBuffer()).metadata()).width).toBe(5);
  expect(await failureOf(toy.post("/semantic?threshold=0.5", image))).toBe("400 invalid-option");
  const wrong = await (await toy.post("/detect", image)).json();
  expect(wrong).toMatchObject({ error: { message: "The model is a semantic segmentation model" } });
  expect(await json(toy.get("/model"))).toMatchObject({ task: "semantic", labels: ["a", "b", "c"] });
});

test("POST /depth gives the range, and the map where it is asked for", async () => {
  await using toy = await ToyServer.serving(toyDepth);
  await using estimator = await DepthEstimator.load(toyDepth, { backend: "cpu", threads: 1 });
  const image = await coloured(37, 21);
  const { depthMap, min, max } = await estimator.estimate(image);
  const range = { task: "depth", kind: "metric", min: near(min), max: near(max) };
  const plain = await json<object>(toy.post("/depth", image));
  expect(plain).toMatchObject(range);
  expect(plain).not.toHaveProperty("depthMap");
  const whole = await json<{ depthMap: { data: string } }>(toy.post("/depth?map=f32", image));
  expect(whole).toMatchObject({ ...range, depthMap: { dtype: "f32", shape: [21, 37] } });
  const bytes = Buffer.from(whole.depthMap.data, "base64");
  expect(Float32Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readFloatLE(at * 4))).toEqual(depthMap);
  const drawn = await toy.post("/depth?format=image", image);
  expect((await sharp(await drawn.arrayBuffer()).metadata()).height).toBe(21);
  expect(await json(toy.get("/model"))).toMatchObject({ task: "depth", labels: [] });
  for (const path of ["detection", "scene", "face"]) {
    const form = new FormData();
    form.append("image", new File([image], "a.png"));
    expect((await toy.post(`/v1/vision/${path}`, form)).status).toBe(403);
  }
});

test("GET /model says the task, and of a pose model its points and the lines between them", async () => {
  await using pose = await ToyServer.serving(toyPose);
  const card = await json<{ keypoints: string[]; skeleton: [number, number][] }>(pose.get("/model"));
  expect(card).toMatchObject({ task: "pose", labels: ["person"] });
  const names = card.keypoints;
  expect([names.length, names[0], names[16]]).toEqual([17, "nose", "right_ankle"]);
  const lines = card.skeleton.map((line) => line.map((at) => names[at]).join(" "));
  expect([lines.length, lines[0]]).toEqual([19, "left_ankle left_knee"]);
  await using colours = await ToyServer.serving(toyColours);
  expect(await json(colours.get("/model"))).toMatchObject({ task: "classify", labels: ["red", "green", "blue"] });
});

interface OutputForm {
  readonly name: string;
  readonly datatype: string;
  readonly shape: number[];
}

interface InferAnswer {
  readonly outputs: (OutputForm & {
    readonly data?: (number | string)[];
    readonly parameters?: { readonly binary_data_size: number };
  })[];
}

/** Values of a tensor as a client reads them from the bytes behind the JSON. */
function valuesOf(datatype: string, bytes: Buffer): (number | string)[] {
  const values: (number | string)[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (datatype === "FP32") values.push(bytes.readFloatLE(at));
    else if (datatype === "INT64") values.push(Number(bytes.readBigInt64LE(at)));
    else values.push(bytes.toString("utf8", at + 4, at + 4 + bytes.readUInt32LE(at)));
    at += datatype === "FP32" ? 4 : datatype === "INT64" ? 8 : 4 + bytes.readUInt32LE(at);
  }
  return values;
}

const BOXES = ["boxes FP32 -1,4", "scores FP32 -1", "classes INT64 -1", "labels BYTES -1"];
const cases = [
  ["segment", toySegmenter, [...BOXES, "masks BYTES -1", "mask_sizes INT64 -1,2"], 2],
  ["pose", toyPose, [...BOXES, "keypoints FP32 -1,17,3"], 1],
  ["obb", toyObb, [...BOXES, "corners FP32 -1,4,2", "angles FP32 -1"], 2],
  ["classify", toyColours, BOXES.slice(1), 3],
  ["semantic", toySemantic, ["areas INT64 -1", "classes INT64 -1", "labels BYTES -1"], 1],
  ["depth", toyDepth, ["range FP32 2"], 2],
] as const;

for (const [task, model, forms, count] of cases) {
  test(`the Open Inference Protocol has the outputs of ${task}, in JSON and as bytes`, async () => {
    await using toy = await ToyServer.serving(model);
    const path = "/v2/models/toy";
    const formOf = ({ name, datatype, shape }: OutputForm): string => `${name} ${datatype} ${shape}`;
    const metadata = (await json<InferAnswer>(toy.get(path))).outputs.map(formOf);
    expect(metadata).toEqual([...forms]);

    const image = { name: "image", datatype: "BYTES", shape: [1], data: [WHITE_JPEG.toString("base64")] };
    const ask = async (more: object = {}): Promise<Response> =>
      toy.post(`${path}/infer`, JSON.stringify({ inputs: [image], ...more }));
    const { outputs } = await json<InferAnswer>(ask());
    const counted = forms.map((form) => form.replace("-1", String(count)));
    expect(outputs.map(formOf)).toEqual(counted);
    for (const { shape, data } of outputs) expect(data).toHaveLength(shape.reduce((product, side) => product * side));

    const response = await ask({ parameters: { binary_data_output: true } });
    const bytes = Buffer.from(await response.arrayBuffer());
    const length = Number(response.headers.get(HEADER));
    const head = JSON.parse(bytes.toString("utf8", 0, length)) as InferAnswer;
    expect(head.outputs.map(formOf)).toEqual(counted);
    let at = length;
    for (const [index, { datatype, parameters }] of head.outputs.entries()) {
      const end = at + parameters!.binary_data_size;
      const expected = outputs[index]!.data!.map((value) =>
        datatype === "FP32" ? Math.fround(value as number) : value,
      );
      expect(valuesOf(datatype, bytes.subarray(at, end))).toEqual(expected);
      at = end;
    }
    expect(at).toBe(bytes.length);

    if (["classify", "semantic", "depth"].includes(task)) return;
    const none = await json<InferAnswer>(ask({ parameters: { threshold: 1 } }));
    expect(none.outputs.map(formOf)).toEqual(forms.map((form) => form.replace("-1", "0")));
  });
}

test("the Open Inference Protocol's masks are COCO's run lengths", async () => {
  await using toy = await ToyServer.serving(toySegmenter);
  const image = { name: "image", datatype: "BYTES", shape: [1], data: [WHITE_JPEG.toString("base64")] };
  const body = JSON.stringify({ inputs: [image], outputs: [{ name: "masks" }, { name: "mask_sizes" }] });
  const { outputs } = await json<InferAnswer>(toy.post("/v2/models/toy/infer", body));
  const [counts, sizes] = outputs.map(({ data }) => data!);
  const { area } = Mask.fromRle({ counts: counts![0] as string, size: [sizes![0] as number, sizes![1] as number] });
  expect([counts!.length, sizes!.length, area]).toEqual([2, 4, 32 * 24]);
});

test("32 requests at once get the masks that each would get alone", async () => {
  await using toy = await ToyServer.serving(toySegmenter, { concurrency: 4 });
  const images = await Promise.all(
    Array.from({ length: 32 }, (_, at) =>
      white(64 + 2 * at, 64 + (at % 7))
        .png()
        .toBuffer(),
    ),
  );
  const objectsOf = async (image: Buffer): Promise<unknown> =>
    (await json(toy.post("/detect", image as Buffer<ArrayBuffer>))).objects;
  const together = await Promise.all(images.map(objectsOf));
  for (const [at, image] of images.entries()) expect(together[at]).toEqual(await objectsOf(image));
  const sizes = together.map((objects) => (objects as { mask: Rle }[])[0]!.mask.size);
  expect(sizes).toEqual(images.map((_, at) => [64 + (at % 7), 64 + 2 * at]));
});

const photograph = ["images", "photos", "bus.jpg"] as const;
const classifier = ["models", "tasks", "efficientnet_lite0_imagenet.onnx"] as const;
test.skipIf(isMissing(...photograph) || isMissing(...classifier))(
  "POST /classify says what a photograph is of, as the shared classifier does",
  async () => {
    await using server = await ToyServer.serving(sharedPath(...classifier));
    const { classes } = await json<{ classes: object[] }>(
      server.post("/classify?top=1", Bun.file(sharedPath(...photograph))),
    );
    // 654 is ImageNet's minibus.
    expect(classes).toMatchObject([{ classId: 654, score: expect.closeTo(0.59, 1) }]);
  },
);
