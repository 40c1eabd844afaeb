import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { servedModel } from "../../src/api/model.ts";
import { createHandler } from "../../src/serve/detection-server.ts";
import { RawConnection, ToyServer, until, WHITE_JPEG } from "../support/serving.ts";
import { toyColours, toyPose } from "../support/toy-objects.ts";

/** Status, content type and body of the answer to a request, which is sent byte for byte. */
async function replay(server: URL, request: Uint8Array): Promise<{ status: number; type: string; json: unknown }> {
  const connection = await RawConnection.open(server);
  connection.send(request);
  const status = await connection.status();
  const head = connection.received.slice(0, connection.received.indexOf("\r\n\r\n") + 4);
  const length = Number(/^content-length: (\d+)/im.exec(head)![1]);
  await until(() => connection.received.length >= head.length + length);
  connection.cut();
  const type = /^content-type: (\S+)/im.exec(head)![1]!;
  return { status, type, json: JSON.parse(connection.received.slice(head.length)) };
}

/** Requests as these clients sent them: deepstack-python 0.9, deepstack-sdk 0.2.1, and Frigate's plugin by requests 2.34.2. */
function recorded(name: string): Buffer {
  return readFileSync(join(import.meta.dir, "deepstack", `${name}.http`));
}

const CAT = { label: "cat", confidence: 0.9, x_min: 8, y_min: 8, x_max: 40, y_max: 40 };
const DOG = { label: "dog", confidence: 0.7, x_min: 8, y_min: 8, x_max: 40, y_max: 40 };
const OTHER = { label: "dog", confidence: 0.6, x_min: 44, y_min: 20, x_max: 60, y_max: 52 };

for (const [name, predictions] of [
  ["deepstack-python", [CAT, DOG, OTHER]],
  ["deepstack-python-custom", [CAT, DOG, OTHER]],
  // It asks for 0.65.
  ["deepstack-sdk", [CAT, DOG]],
  ["frigate", [CAT, DOG, OTHER]],
] as const) {
  test(`${name}: its request is answered as DeepStack would`, async () => {
    await using toy = await ToyServer.open({ token: "secret" });
    const { status, type, json } = await replay(toy.server.url, recorded(name));
    expect([status, type]).toEqual([200, "application/json;charset=utf-8"]);
    expect(json).toEqual({
      success: true,
      predictions,
      count: predictions.length,
      inferenceMs: expect.any(Number),
      processMs: expect.any(Number),
      code: 200,
      duration: 0,
    });
    for (const [key, value] of Object.entries(json as object)) if (key.endsWith("Ms")) expect(value % 1).toBe(0);
    // The same request, with another token in it.
    const other = Buffer.from(recorded(name).toString("latin1").replace("secret", "SECRET"), "latin1");
    const refused = await replay(toy.server.url, other);
    expect(refused.status).toBe(401);
    expect(refused.json).toMatchObject({ success: false, error: "Incorrect api key", code: 401, duration: 0 });
  });
}

test("custom/list gives the names of models, to who has the key", async () => {
  await using toy = await ToyServer.open({ token: "secret" });
  const { json } = await replay(toy.server.url, recorded("list"));
  expect(json).toEqual({ success: true, models: ["toy"], code: 200 });
  const { status } = await toy.post("/v1/vision/custom/list", null);
  expect(status).toBe(401);
  const bearer = await toy.post("/v1/vision/custom/list", null, { authorization: "Bearer secret" });
  expect(bearer.status).toBe(200);
});

test("what the model is, and its name, is told to nobody without the key", async () => {
  await using toy = await ToyServer.open({ token: "secret" });
  const nowhere = await (await toy.get("/nowhere")).text();
  expect([nowhere.includes("toy"), nowhere.includes("/v2/models/NAME/infer")]).toEqual([false, true]);
  for (const path of ["custom/other", "scene", "face"]) {
    const refused = await toy.post(`/v1/vision/${path}`, formWith(undefined, { api_key: "another" }));
    const text = await refused.text();
    expect([path, refused.status, text.includes("toy"), text.includes("activated")]).toEqual([path, 401, false, false]);
    const { status } = await toy.post(`/v1/vision/${path}`, formWith(undefined, { api_key: "secret" }));
    expect([path, status]).toEqual([path, path === "custom/other" ? 404 : 403]);
  }
});

/** A form as a client of DeepStack makes it. */
function formWith(file: Blob | undefined, fields: Readonly<Record<string, string>> = {}): FormData {
  const form = new FormData();
  if (file !== undefined) form.append("image", file, "image");
  for (const [name, text] of Object.entries(fields)) form.append(name, text);
  return form;
}

const image = new Blob([WHITE_JPEG]);

test("what DeepStack refuses is refused with its status and its words", async () => {
  await using toy = await ToyServer.open({ maxFiles: 4 });
  const many = formWith(image);
  for (let at = 0; at < 5; at++) many.append(`field${at}`, "");
  const two = formWith(image);
  two.append("image2", image, "image");
  const twice = formWith(image, { min_confidence: "0.4" });
  twice.append("min_confidence", "0.6");
  const repeated = new URLSearchParams([
    ["min_confidence", "0.4"],
    ["min_confidence", "0.6"],
  ]);
  for (const [path, form, status, error] of [
    ["detection", two, 400, "The form may hold one image, got 2"],
    ["detection", twice, 400, 'Option "min_confidence" is given twice'],
    ["detection", repeated, 400, 'Option "min_confidence" is given twice'],
    ["detection", formWith(undefined, { min_confidence: "0.5" }), 400, "No valid image file found"],
    ["detection", new URLSearchParams({ min_confidence: "0.5" }), 400, "No valid image file found"],
    ["detection", "text", 400, "No valid image file found"],
    ["detection", formWith(new Blob(["no image"])), 400, "invalid image file"],
    [
      "detection",
      formWith(image, { min_confidence: "45" }),
      400,
      'Option "min_confidence" must be a number from 0 to 1, got "45"',
    ],
    [
      "detection",
      formWith(image, { min_confidence: "high" }),
      400,
      'Option "min_confidence" must be a number from 0 to 1, got "high"',
    ],
    [
      "detection",
      formWith(image, { note: "x".repeat(2000) }),
      400,
      'The form cannot be read: field "note" is too long',
    ],
    ["detection", many, 413, "A form may have at most 4 files"],
    ["face", formWith(image), 403, "Face endpoints not activated"],
    ["scene", formWith(image), 403, "Scene endpoint not activated"],
    ["custom/plates", formWith(image), 404, 'There is no model "plates"'],
    ["face/recognize", formWith(image), 404, 'There is nothing at "/v1/vision/face/recognize"'],
  ] as const) {
    const response = await toy.post(`/v1/vision/${path}`, form);
    const json = (await response.json()) as { error: string; message: string };
    expect([path, response.status, json.error]).toEqual([path, status, error]);
    expect(json).toMatchObject({
      success: false,
      code: status,
      duration: 0,
      message: expect.stringContaining("Hint: "),
    });
  }
  const wrong = await toy.get("/v1/vision/detection");
  expect([wrong.status, await wrong.json()]).toMatchObject([405, { success: false }]);
});

test("an image that takes too long is DeepStack's 500", async () => {
  await using toy = await ToyServer.open({ timeoutMs: 20 }, ({ labels, model, recognition, backend, backends }) => {
    const detect = (): Promise<never> => new Promise(() => {});
    return { labels, model, recognition, backend, backends, stalledMs: 0, detect };
  });
  const response = await toy.post("/v1/vision/detection", formWith(image));
  expect([response.status, await response.json()]).toMatchObject([
    500,
    { success: false, error: "failed to process request before timeout" },
  ]);
});

test("empty fields are as good as none, and the model's own threshold holds where none is given", async () => {
  await using toy = await ToyServer.open();
  const response = await toy.post("/v1/vision/detection", formWith(image, { api_key: "", min_confidence: "" }));
  expect(await response.json()).toMatchObject({ predictions: [CAT, DOG, OTHER] });
  const none = await toy.post("/v1/vision/detection", formWith(image, { min_confidence: "1" }));
  expect(await none.json()).toMatchObject({ success: true, predictions: [], count: 0 });
});

test("a classifier answers for scenes, a model of faces for faces", async () => {
  await using colours = await ToyServer.serving(toyColours);
  const scene = (await (await colours.post("/v1/vision/scene", formWith(image))).json()) as { confidence: number };
  expect(scene).toMatchObject({ success: true, label: expect.stringMatching(/^(red|green|blue)$/) });
  expect(scene.confidence).toBeGreaterThan(0);
  const detection = await colours.post("/v1/vision/detection", formWith(image));
  expect([detection.status, await detection.json()]).toMatchObject([
    403,
    { error: "Detection endpoint not activated" },
  ]);

  await using faces = await servedModel.load(toyPose, { backend: "cpu", threads: 1, labels: ["face"] });
  await using handler = createHandler(faces);
  for (const path of ["face", "detection"]) {
    const request = new Request(`http://any.example/v1/vision/${path}`, { method: "POST", body: formWith(image) });
    const { predictions } = (await (await handler.fetch(request)).json()) as { predictions: object[] };
    expect(predictions).toHaveLength(1);
    expect(predictions[0]).toMatchObject({ confidence: expect.any(Number), x_min: expect.any(Number) });
  }
});
