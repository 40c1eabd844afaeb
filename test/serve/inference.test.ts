import { expect, test } from "bun:test";
import manifest from "../../package.json" with { type: "json" };
import { ToyServer, WHITE_JPEG } from "../support/serving.ts";

const INFER = "/v2/models/toy/infer";
const HEADER = "Inference-Header-Content-Length";
const IMAGE = { name: "image", datatype: "BYTES", shape: [1] } as const;
/** What the toy finds in a white image. */
const FOUND = {
  boxes: [8, 8, 40, 40, 8, 8, 40, 40, 44, 20, 60, 52],
  classes: [0, 1, 1],
  labels: ["cat", "dog", "dog"],
};

interface OutputJson {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly data?: readonly (number | string)[];
  readonly parameters?: { readonly binary_data_size: number };
}

interface InferenceAnswer {
  readonly model_name: string;
  readonly model_version: string;
  readonly id?: string;
  readonly parameters: Readonly<Record<string, number>>;
  readonly outputs: readonly OutputJson[];
}

function inJson(extra: object = {}): string {
  return JSON.stringify({ inputs: [{ ...IMAGE, data: [WHITE_JPEG.toString("base64")] }], ...extra });
}

/** A request with its tensor behind the JSON. */
function inBytes(json: object, bytes: Uint8Array): { body: Uint8Array<ArrayBuffer>; headers: Record<string, string> } {
  const head = Buffer.from(JSON.stringify(json));
  return { body: Uint8Array.from([...head, ...bytes]), headers: { [HEADER]: String(head.length) } };
}

function withLength(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

async function answerOf(promise: Promise<Response>): Promise<InferenceAnswer> {
  const response = await promise;
  expect(response.headers.get("content-type")).toContain("application/json");
  const json = await response.json();
  expect([response.status, json]).toEqual([200, json]);
  return json as InferenceAnswer;
}

function dataOf(answer: InferenceAnswer, name: string): readonly (number | string)[] | undefined {
  return answer.outputs.find((one) => one.name === name)?.data;
}

test("GET /v2 and its children tell of server and model as the protocol wants", async () => {
  await using toy = await ToyServer.open();
  const get = async (path: string): Promise<unknown> => (await toy.get(path)).json();
  expect(await get("/v2")).toEqual({
    name: "bun-tensorrt",
    version: manifest.version,
    extensions: ["binary_tensor_data"],
  });
  expect(await get("/v2/health/live")).toEqual({ live: true });
  expect(await get("/v2/health/ready")).toEqual({ ready: true });
  for (const path of ["/v2/models/toy", "/v2/models/toy/versions/1"]) {
    expect(await get(`${path}/ready`)).toEqual({ name: "toy", ready: true });
    expect(await get(path)).toEqual({
      name: "toy",
      versions: ["1"],
      platform: "onnxruntime_onnx",
      inputs: [
        { name: "image", datatype: "BYTES", shape: [1] },
        { name: "pixels", datatype: "UINT8", shape: [-1, -1, 3] },
      ],
      outputs: [
        { name: "boxes", datatype: "FP32", shape: [-1, 4] },
        { name: "scores", datatype: "FP32", shape: [-1] },
        { name: "classes", datatype: "INT64", shape: [-1] },
        { name: "labels", datatype: "BYTES", shape: [-1] },
      ],
    });
  }
});

test("POST …/infer takes an image in JSON, and answers tensors in JSON", async () => {
  await using toy = await ToyServer.open();
  for (const path of [INFER, "/v2/models/toy/versions/1/infer"]) {
    const answer = await answerOf(toy.post(path, inJson({ id: "a-1" })));
    expect([answer.model_name, answer.model_version, answer.id]).toEqual(["toy", "1", "a-1"]);
    expect(answer.parameters).toEqual({
      width: 64,
      height: 64,
      total_ms: expect.any(Number),
      infer_ms: expect.any(Number),
    });
    expect(answer.outputs.map(({ name, datatype, shape }) => `${name} ${datatype} ${shape}`)).toEqual([
      "boxes FP32 3,4",
      "scores FP32 3",
      "classes INT64 3",
      "labels BYTES 3",
    ]);
    expect(dataOf(answer, "boxes")).toEqual(FOUND.boxes.map((side) => expect.closeTo(side, 1)));
    expect(dataOf(answer, "scores")).toEqual([0.9, 0.7, 0.6].map((score) => expect.closeTo(score, 2)));
    expect(dataOf(answer, "classes")).toEqual(FOUND.classes);
    expect(dataOf(answer, "labels")).toEqual(FOUND.labels);
  }
});

test("POST …/infer takes parameters as options, and gives the outputs that were asked for", async () => {
  await using toy = await ToyServer.open();
  const parameters = { threshold: 0.65, classes: "dog", classAgnostic: false };
  const outputs = [{ name: "labels" }, { name: "scores" }];
  const answer = await answerOf(toy.post(INFER, inJson({ parameters, outputs })));
  expect(answer.outputs.map(({ name }) => name)).toEqual(["scores", "labels"]);
  expect(dataOf(answer, "labels")).toEqual(["dog"]);
  expect("id" in answer).toBe(false);
  const none = await answerOf(toy.post(INFER, inJson({ parameters: { threshold: 1 } })));
  expect(none.outputs.map(({ shape }) => shape)).toEqual([[0, 4], [0], [0], [0]]);
});

test("POST …/infer takes slices as parameters", async () => {
  await using toy = await ToyServer.open();
  const data = [Array.from({ length: 64 * 112 * 3 }, () => 255)];
  const inputs = [{ name: "pixels", datatype: "UINT8", shape: [64, 112, 3], data }];
  const parameters = { classes: "cat", slice: 64, overlap: 0.25, whole: false };
  const answer = await answerOf(toy.post(INFER, inJson({ inputs, parameters })));
  expect(dataOf(answer, "labels")).toEqual(["cat", "cat"]);
  const whole = await answerOf(toy.post(INFER, inJson({ inputs, parameters: { classes: "cat", slice: false } })));
  expect(dataOf(whole, "labels")).toEqual(["cat"]);
});

test("POST …/infer leaves alone what Triton's clients say of scheduling and sequences", async () => {
  await using toy = await ToyServer.open();
  const parameters = { priority: 1, timeout: 1000, sequence_id: 7, sequence_start: true, sequence_end: false };
  expect(dataOf(await answerOf(toy.post(INFER, inJson({ parameters }))), "labels")).toEqual(FOUND.labels);
  const named = { sequence_id: "camera-1", classes: "dog" };
  expect(dataOf(await answerOf(toy.post(INFER, inJson({ parameters: named }))), "labels")).toEqual(["dog", "dog"]);
});

test("POST …/infer takes tensors as bytes behind the JSON, and answers so where it is asked to", async () => {
  await using toy = await ToyServer.open();
  const bytes = withLength(WHITE_JPEG);
  const input = { ...IMAGE, parameters: { binary_data_size: bytes.length } };
  const outputs = [
    { name: "boxes", parameters: { binary_data: true } },
    { name: "scores", parameters: { binary_data: false } },
    { name: "classes", parameters: { binary_data: true } },
    { name: "labels", parameters: { binary_data: true } },
  ];
  const { body, headers } = inBytes({ inputs: [input], outputs }, bytes);
  const response = await toy.post(INFER, body, headers);
  expect(response.headers.get("content-type")).toBe("application/octet-stream");
  const length = Number(response.headers.get(HEADER));
  const whole = Buffer.from(await response.bytes());
  const json = JSON.parse(whole.subarray(0, length).toString()) as InferenceAnswer;
  expect(json.outputs.map(({ parameters }) => parameters?.binary_data_size)).toEqual([48, undefined, 24, 21]);
  expect(json.outputs[1]!.data).toHaveLength(3);
  const rest = new Uint8Array(whole.subarray(length)).buffer;
  expect([...new Float32Array(rest, 0, 12)]).toEqual(FOUND.boxes.map((side) => expect.closeTo(side, 1)));
  expect([...new BigInt64Array(rest.slice(48, 72))]).toEqual(FOUND.classes.map(BigInt));
  const labels = Buffer.concat(FOUND.labels.map((label) => withLength(Buffer.from(label))));
  expect(Buffer.from(rest.slice(72))).toEqual(labels);
});

test("POST …/infer takes a whole body as the image, and answers in bytes", async () => {
  await using toy = await ToyServer.open();
  const response = await toy.post(INFER, WHITE_JPEG, { [HEADER]: "0" });
  const length = Number(response.headers.get(HEADER));
  const json = JSON.parse((await response.text()).slice(0, length)) as InferenceAnswer;
  expect(json.outputs.map(({ parameters }) => parameters?.binary_data_size)).toEqual([48, 12, 24, 21]);
});

test("POST …/infer takes RGB pixels, of any size, nested, flat or as bytes", async () => {
  await using toy = await ToyServer.open();
  const found = async (body: string | Uint8Array<ArrayBuffer>, headers = {}): Promise<unknown> => {
    const answer = await answerOf(toy.post(INFER, body, headers));
    return [answer.parameters.width, answer.parameters.height, dataOf(answer, "labels")];
  };
  const flat = (shape: readonly number[], value: number): object => {
    const data = new Array(shape.reduce((product, side) => product * side, 1)).fill(value);
    return { inputs: [{ name: "pixels", datatype: "UINT8", shape, data }] };
  };
  expect(await found(JSON.stringify(flat([7, 33, 3], 255)))).toEqual([33, 7, FOUND.labels]);
  expect(await found(JSON.stringify(flat([1, 1, 1, 3], 255)))).toEqual([1, 1, FOUND.labels]);
  expect(await found(JSON.stringify(flat([5, 5, 3], 0)))).toEqual([5, 5, []]);
  const nested = {
    name: "pixels",
    datatype: "UINT8",
    shape: [1, 2, 3],
    data: [
      [
        [255, 255, 255],
        [255, 255, 255],
      ],
    ],
  };
  expect(await found(JSON.stringify({ inputs: [nested] }))).toEqual([2, 1, FOUND.labels]);
  const shape = [3, 5, 3];
  const input = { name: "pixels", datatype: "UINT8", shape, parameters: { binary_data_size: 45 } };
  const { body, headers } = inBytes({ inputs: [input] }, new Uint8Array(45).fill(255));
  expect(await found(body, headers)).toEqual([5, 3, FOUND.labels]);
});

/** One pixel, in so many lists: as text, since no program writes the deepest by itself. */
function nestedPixels(depth: number): string {
  const data = `[${"[".repeat(depth)}1${"]".repeat(depth)},2,3]`;
  return `{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,1,3],"data":${data}}]}`;
}

test("POST …/infer reads pixels in JSON without holding up other requests for long", async () => {
  await using toy = await ToyServer.open({ maxBodyBytes: 2 ** 25 });
  const [height, width] = [1080, 1920];
  const head = `{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[${height},${width},3],"data":[`;
  const body = `${head}${"0,".repeat(height * width * 3 - 1)}0]}]}`;
  const secondsOf = ({ user, system }: NodeJS.CpuUsage): number => (user + system) / 1e6;
  const before = process.cpuUsage();
  JSON.parse(body);
  const parsing = secondsOf(process.cpuUsage(before));
  const start = process.cpuUsage();
  const response = await toy.post(INFER, body);
  const spent = secondsOf(process.cpuUsage(start));
  expect(response.status).toBe(200);
  // Two and a half times as long; eighteen where every element is checked by a schema, and copied one by one.
  expect(spent).toBeLessThan(8 * parsing);
}, 120_000);

test("POST …/infer refuses with the protocol's one text, and 404 for what is not there", async () => {
  await using toy = await ToyServer.open();
  const image = { ...IMAGE, data: [WHITE_JPEG.toString("base64")] };
  const pixels = { name: "pixels", datatype: "UINT8", shape: [1, 1, 3], data: [1, 2, 3] };
  const ofParameters = (json: string): string => `{"inputs": ${JSON.stringify([image])}, "parameters": ${json}}`;
  const cases: readonly (readonly [status: number, text: string, body: unknown, header?: string])[] = [
    [400, "The body is not JSON", "{"],
    [400, "The body is not JSON", ""],
    [400, 'Field "inputs" must be a list', {}],
    [400, 'Field "inputs" must be a list of at least 1', { inputs: [] }],
    [400, 'Field "inputs.0.shape.0" must be at least 0', { inputs: [{ ...image, shape: [-1] }] }],
    [400, "A request takes one input, got 2", { inputs: [image, pixels] }],
    [400, 'Input "images" is unknown', { inputs: [{ ...image, name: "images" }] }],
    [400, 'Input "image" is BYTES, got "FP32"', { inputs: [{ ...image, datatype: "FP32" }] }],
    [400, 'Input "image" must have one element', { inputs: [{ ...image, shape: [2] }] }],
    [400, 'Input "image" must have one element', { inputs: [{ ...image, data: ["AAAA", "AAAA"] }] }],
    [400, 'Input "image" has no data', { inputs: [IMAGE] }],
    [400, "must be [height, width, 3]", { inputs: [{ ...pixels, shape: [3] }] }],
    [400, "must be [height, width, 3]", { inputs: [{ ...pixels, shape: [0, 1, 3] }] }],
    [400, "must have 6 elements by its shape, got 3", { inputs: [{ ...pixels, shape: [1, 2, 3] }] }],
    [400, "whole numbers from 0 to 255, got 256", { inputs: [{ ...pixels, data: [1, 2, 256] }] }],
    [400, 'whole numbers from 0 to 255, got "1"', { inputs: [{ ...pixels, data: ["1", 2, 3] }] }],
    [400, "whole numbers from 0 to 255, got a list", nestedPixels(9)],
    [400, "whole numbers from 0 to 255, got null", { inputs: [{ ...pixels, data: [1, 2, null] }] }],
    [400, 'Input "image" must be base64 in JSON, got 5', { inputs: [{ ...image, data: [5] }] }],
    [400, 'Input "image" must be base64 in JSON, got null', { inputs: [{ ...image, data: [null] }] }],
    [413, "at most 16 lists within lists", nestedPixels(100_000)],
    [400, 'Field "inputs.0.data" must be a list', { inputs: [{ ...pixels, data: "AAAA" }] }],
    [400, 'Output "masks" is unknown', { inputs: [image], outputs: [{ name: "masks" }] }],
    [
      400,
      'Parameter "binary_data_output" must be true or false, got "yes"',
      { inputs: [image], parameters: { binary_data_output: "yes" } },
    ],
    [
      400,
      'Parameter "binary_data" of "scores" must be true or false, got 1',
      { inputs: [image], outputs: [{ name: "scores", parameters: { binary_data: 1 } }] },
    ],
    // Triton would answer with other tensors, or put them elsewhere.
    [
      400,
      'Parameter "classification" of "labels" is not supported',
      { inputs: [image], outputs: [{ name: "labels", parameters: { classification: 3 } }] },
    ],
    [
      400,
      'Parameter "shared_memory_region" of "image" is not supported',
      { inputs: [{ ...IMAGE, parameters: { shared_memory_region: "a" } }] },
    ],
    [400, 'Unknown option "__proto__". Hint: choose one of threshold', ofParameters('{"__proto__": 1}')],
    [400, 'Unknown option "__proto__"', ofParameters('{"iou": 0.5, "__proto__": {"threshold": 1}}')],
    [400, 'Unknown option "constructor"', ofParameters('{"constructor": 1}')],
    [400, 'Unknown option "toString"', ofParameters('{"toString": "x"}')],
    [400, 'Unknown option "treshold"', { inputs: [image], parameters: { treshold: 1 } }],
    [
      400,
      'Field "parameters.threshold" must be a text of at most 16384 characters, a number',
      { inputs: [image], parameters: { threshold: [] } },
    ],
    [400, 'Option "threshold" must be a number from 0 to 1, got 2', { inputs: [image], parameters: { threshold: 2 } }],
    // It is an option of /detect alone, and no hint may name it.
    [
      400,
      'Unknown option "format". Hint: choose one of threshold, iou, maxDetections, classes, classAgnostic',
      { inputs: [image], parameters: { format: "json" } },
    ],
    [400, `${HEADER} is "9999"`, { inputs: [image] }, "9999"],
    [400, `${HEADER} is "-1"`, { inputs: [image] }, "-1"],
    [422, "is not an image", { inputs: [{ ...image, data: [Buffer.from("text").toString("base64")] }] }],
    [422, "is empty", { inputs: [{ ...image, data: [""] }] }],
    [
      400,
      'must be base64 in JSON, got "!!". Hint: encode the image file as base64',
      { inputs: [{ ...image, data: ["!!"] }] },
    ],
    [400, 'got "street.jpg"', { inputs: [{ ...image, data: ["street.jpg"] }] }],
    [400, "without data: before it", { inputs: [{ ...image, data: [`data:image/jpeg;base64,${image.data[0]}`] }] }],
    // URL-safe base64 without padding is base64 as well.
    [422, "is not an image", { inputs: [{ ...image, data: [Buffer.from("text?>~").toString("base64url")] }] }],
  ];
  for (const [status, text, body, header] of cases) {
    const headers: Record<string, string> = header === undefined ? {} : { [HEADER]: header };
    const response = await toy.post(INFER, typeof body === "string" ? body : JSON.stringify(body), headers);
    const json = (await response.json()) as { error: string };
    expect([response.status, json.error]).toEqual([status, expect.stringContaining(text)]);
    expect(Object.keys(json)).toEqual(["error"]);
  }
  const wrongSize = { ...IMAGE, parameters: { binary_data_size: 3 } };
  for (const [bytes, text] of [
    [withLength(WHITE_JPEG), 'Input "image" has the binary_data_size 3, and'],
    [Buffer.from("abc"), "must be one element"],
  ] as const) {
    const { body, headers } = inBytes({ inputs: [wrongSize] }, bytes);
    expect(((await (await toy.post(INFER, body, headers)).json()) as { error: string }).error).toContain(text);
  }
  for (const path of ["/v2/models/other", "/v2/models/toy/versions/2", "/v2/nothing", "/v2/models/toy/stats"]) {
    const response = await toy.get(path);
    expect([path, response.status]).toEqual([path, 404]);
    expect(Object.keys((await response.json()) as object)).toEqual(["error"]);
  }
  expect((await toy.get(INFER)).status).toBe(405);
});
