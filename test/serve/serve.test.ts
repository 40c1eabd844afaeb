import { expect, test } from "bun:test";
import { decodeImage } from "../../src/image/image-file.ts";
import type { ResultJson } from "../../src/tasks/detect/detection.ts";
import { failureOf, ToyServer, WHITE_JPEG, white } from "../support/serving.ts";
import { TOY_BOXES } from "../support/toy-detector.ts";

async function resultOf(answer: Promise<Response>): Promise<ResultJson> {
  const response = await answer;
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toContain("application/json");
  return (await response.json()) as ResultJson;
}

/** What a form's answer says of one file. */
type FileAnswer = { readonly file: string; readonly error?: { readonly code: string } } & ResultJson;

test("POST /detect answers an image with what detect --format json gives", async () => {
  await using toy = await ToyServer.open();
  const result = await resultOf(toy.post("/detect", WHITE_JPEG, { "content-type": "image/jpeg" }));
  expect(Object.keys(result)).toEqual(["width", "height", "detections", "dropped", "implausible", "timing"]);
  expect([result.width, result.height, result.dropped]).toEqual([64, 64, 0]);
  expect(result.detections.map(({ label }) => label)).toEqual(["cat", "dog", "dog"]);
  expect(result.detections[0]).toEqual({
    label: "cat",
    classId: 0,
    score: expect.closeTo(TOY_BOXES[0]!.score, 2),
    box: TOY_BOXES[0]!.box.map((side) => expect.closeTo(side, 1)),
  });
  expect(result.timing.total).toBeGreaterThan(0);
});

test("POST /detect takes images of any size and kind, with and without a declared type", async () => {
  await using toy = await ToyServer.open();
  const bodies = await Promise.all([
    white(1, 1).png().toBuffer(),
    white(33, 129).webp().toBuffer(),
    white(517, 3).gif().toBuffer(),
  ]);
  const types = ["application/octet-stream", "image/png", ""];
  for (const [at, body] of bodies.entries()) {
    const result = await resultOf(toy.post("/detect", body as Buffer<ArrayBuffer>, { "content-type": types[at]! }));
    expect([result.width, result.height]).toEqual(
      [
        [1, 1],
        [33, 129],
        [517, 3],
      ][at]!,
    );
  }
});

test("POST /detect takes options from the address", async () => {
  await using toy = await ToyServer.open();
  const labels = async (query: string): Promise<string> => {
    const { detections } = await resultOf(toy.post(`/detect?${query}`, WHITE_JPEG));
    return detections.map(({ label, score }) => `${label} ${score.toFixed(1)}`).join(", ");
  };
  expect(await labels("iou=0.8")).toBe("cat 0.9, cat 0.8, dog 0.7, dog 0.6");
  expect(await labels("iou=0.8&threshold=0.65")).toBe("cat 0.9, cat 0.8, dog 0.7");
  expect(await labels("iou=0.5&classAgnostic=true")).toBe("cat 0.9, dog 0.6");
  expect(await labels("classes=dog")).toBe("dog 0.7, dog 0.6");
  expect(await labels("classes=0&classes=dog&maxDetections=1")).toBe("cat 0.9");
  expect(await labels("classes=%22dog%22")).toBe("dog 0.7, dog 0.6");
  expect(await labels("classes=0,1&classAgnostic=0&format=json")).toBe("cat 0.9, dog 0.7, dog 0.6");
});

test("POST /detect takes slices from the address, as many as the server allows", async () => {
  await using toy = await ToyServer.open({ maxSlices: 3 });
  const wide = await white(112, 64).png().toBuffer();
  const boxes = async (query: string): Promise<number[][]> => {
    const response = await toy.post(`/detect?classes=cat&${query}`, wide);
    expect(response.status).toBe(200);
    const { detections } = (await response.json()) as { detections: { box: number[] }[] };
    return detections.map(({ box }) => box.map(Math.round));
  };
  const whole = await boxes("slice=false");
  expect(whole).toEqual(await boxes("iou=0.7"));
  const two = [
    [8, 8, 40, 40],
    [56, 8, 88, 40],
  ];
  expect(await boxes("slice=64&overlap=0.25&whole=false")).toEqual(two);
  expect(await boxes("slice=true&overlap=0.25&whole=0&sliceMerge=nms&sliceMetric=iou&sliceThreshold=0.9")).toEqual(two);
  expect((await boxes("slice=64x64&overlap=0.25&sliceEdges=drop")).length).toBeGreaterThan(0);
  for (const [query, text] of Object.entries({
    "slice=32&overlap=0": "has 8 slices of 32x32, and 3 are allowed",
    "slice=6.5": "a size such as 640 or 1280x720, or false",
    "slice=100000x64": 'Option "slice" must be a whole number',
    "overlap=0.95": 'Option "overlap" must be a number from 0 to 0.9, got 0.95',
    "slice=0&overlap=0.2": "left out where slice is false",
    "sliceMerge=max": 'Option "sliceMerge" must be one of nms, nmm, greedy-nmm',
    "sliceEdge=drop": 'Did you mean "sliceEdges"?',
  })) {
    const response = await toy.post(`/detect?${query}`, wide);
    expect([query, response.status]).toEqual([query, 400]);
    const { error } = (await response.json()) as { error: { message: string; hint: string } };
    expect([error.message, error.hint].join("\n")).toContain(text);
  }
});

test("POST /detect refuses wrong options with 400, and says which", async () => {
  await using toy = await ToyServer.open();
  const wrong = {
    "treshold=0.5": 'Did you mean "threshold"?',
    "threshold=2": 'Option "threshold" must be a number from 0 to 1, got 2',
    "conf=0.5": 'Did you mean "threshold"?',
    "max_det=5": 'Did you mean "maxDetections"?',
    "threshold=": "a number",
    "iou=Infinity": "a number",
    "maxDetections=0": "a whole number from 1 to 100000",
    "classes=dgo": 'Did you mean "dog"?',
    "classes=%22dog": "a quoted name ends with a quote",
    "classAgnostic=maybe": "true or false",
    "format=xml": "json or image",
    "iou=0.5&iou=0.6": 'Option "iou" is given twice',
    "threshold=0.5&signal=1": "choose one of threshold, iou, ",
    "__proto__=1": "choose one of threshold, iou, ",
  };
  for (const [query, text] of Object.entries(wrong)) {
    const response = await toy.post(`/detect?${query}`, WHITE_JPEG);
    expect(response.status).toBe(400);
    const { error } = (await response.json()) as { error: { code: string; message: string; hint: string } };
    expect(error.code).toBe("invalid-option");
    expect([error.message, error.hint].join("\n")).toContain(text);
  }
});

test("POST /detect answers the files of a form in their order, a bad one beside the others", async () => {
  await using toy = await ToyServer.open();
  const form = new FormData();
  form.append("image", new File([WHITE_JPEG], "a.jpg", { type: "image/jpeg" }));
  form.append("image", new File(["no image"], "b.txt"));
  form.append("other", new File([WHITE_JPEG.subarray(0, 100)], "c.jpg"));
  form.append("other", new Blob([(await white(5, 7).png().toBuffer()) as Buffer<ArrayBuffer>]), "d.png");
  const files = (await (await toy.post("/detect?threshold=0.65", form)).json()) as FileAnswer[];
  expect(files.map(({ file }) => file)).toEqual(["a.jpg", "b.txt", "c.jpg", "d.png"]);
  expect(files.map(({ error }) => error?.code)).toEqual([undefined, "not-an-image", "not-an-image", undefined]);
  expect(files[0]!.detections).toHaveLength(2);
  expect([files[3]!.width, files[3]!.height]).toEqual([5, 7]);
});

test("POST /detect names a file of a form that has no name after its field", async () => {
  await using toy = await ToyServer.open();
  const head = '--X\r\nContent-Disposition: form-data; name="front"; filename=""\r\n\r\n';
  const form = Buffer.concat([Buffer.from(head), WHITE_JPEG, Buffer.from("\r\n--X--\r\n")]);
  const response = await toy.post("/detect", form, { "Content-Type": "multipart/form-data; boundary=X" });
  expect(((await response.json()) as { file: string }[]).map(({ file }) => file)).toEqual(["front"]);
});

test("POST /detect takes forms whose names stand without quotes, as .NET's HttpClient writes them", async () => {
  await using toy = await ToyServer.open();
  const part = (head: string, ...lines: readonly string[]): Buffer =>
    Buffer.concat([Buffer.from(["--a'b", head, ...lines, "", ""].join("\r\n")), WHITE_JPEG, Buffer.from("\r\n")]);
  const form = Buffer.concat([
    part(
      "Content-Type: image/jpeg",
      "Content-Disposition: form-data; name=front; filename=a.jpg; filename*=utf-8''a.jpg",
    ),
    part(`content-disposition:form-data;filename="b;c \\"d\\".jpg" ; name="x"`),
    part("Content-Disposition: form-data; name=only; filename*=UTF-8''%E2%82%AC.jpg"),
    part('Content-Disposition: form-data; name="x"; filename="grün.jpg"'),
    part("Content-Disposition: form-data; name=front; filename="),
    Buffer.from("--a'b--\r\nand nothing after it counts"),
  ]);
  const type = 'multipart/form-data; charset=utf-8; boundary="a\'b"';
  const files = (await (await toy.post("/detect", form, { "Content-Type": type })).json()) as FileAnswer[];
  expect(files.map(({ file }) => file)).toEqual(["a.jpg", 'b;c "d".jpg', "€.jpg", "grün.jpg", "front"]);
  expect(files.map(({ detections }) => detections?.length)).toEqual([3, 3, 3, 3, 3]);
});

test("POST /detect refuses forms that are broken", async () => {
  await using toy = await ToyServer.open();
  const head = 'Content-Disposition: form-data; name="a"; filename="a.jpg"';
  const type = "multipart/form-data; boundary=X";
  for (const [form, expected] of [
    [`--X\r\n${head}\r\n\r\nbytes`, "400 bad-form"],
    [`--X\r\n${head}`, "400 bad-form"],
    [`--X\r\n${head}\r\n\r\nbytes\r\n--X`, "400 bad-form"],
    ["--X\r\nContent-Type: image/jpeg\r\n\r\nbytes\r\n--X--", "400 bad-form"],
    ["--X\r\n\r\nbytes\r\n--X--", "400 bad-form"],
    [`--X\n${head}\n\nbytes\n--X--`, "400 bad-form"],
    ["--X--", "400 no-image"],
    [`--X\r\n${head}\r\n\r\n\r\n--X--`, "422 not-an-image"],
    [`--X\r\n${head}\r\n\r\n--X--`, "400 bad-form"],
    [`for who reads no forms\r\n--X\r\n${head}\r\n\r\nbytes\r\n--X--`, "400 bad-form"],
    [`--X\r\nA: ${"b".repeat(2 ** 14)}\r\n${head}\r\n\r\nbytes\r\n--X--`, "400 bad-form"],
  ] as const) {
    expect([form, await failureOf(toy.post("/detect", form, { "Content-Type": type }))]).toEqual([form, expected]);
  }
});

test("POST /detect refuses a form without a good image as it refuses one image", async () => {
  await using toy = await ToyServer.open();
  const form = (...entries: readonly (readonly [string, string | File])[]): FormData => {
    const one = new FormData();
    for (const [name, value] of entries) one.append(name, value as string);
    return one;
  };
  expect(await failureOf(toy.post("/detect", form(["a", new File(["x"], "x.jpg")])))).toBe("422 not-an-image");
  expect(await failureOf(toy.post("/detect", form(["a", new File([], "x.jpg")])))).toBe("422 not-an-image");
  expect(await failureOf(toy.post("/detect", form()))).toBe("400 no-image");
  expect(await failureOf(toy.post("/detect", form(["threshold", "0.5"])))).toBe("400 not-a-file");
  const type = "multipart/form-data; boundary=x";
  expect(await failureOf(toy.post("/detect", "nothing of a form", { "content-type": type }))).toBe("400 bad-form");
  expect(await failureOf(toy.post("/detect", "a", { "content-type": "multipart/form-data" }))).toBe("400 bad-form");
});

test("POST /detect?format=image gives the image with its boxes, in its own format", async () => {
  await using toy = await ToyServer.open();
  const png = (await white(64, 64).png().toBuffer()) as Buffer<ArrayBuffer>;
  const response = await toy.post("/detect?format=image", png);
  expect(response.headers.get("content-type")).toBe("image/png");
  const { data } = await decodeImage(await response.bytes());
  // The left edge of the box at 8, 8 is painted, and the middle of it is not.
  expect([...data.subarray((30 * 64 + 8) * 3, (30 * 64 + 8) * 3 + 3)]).not.toEqual([255, 255, 255]);
  expect([...data.subarray((62 * 64 + 2) * 3, (62 * 64 + 2) * 3 + 3)]).toEqual([255, 255, 255]);
  expect((await toy.post("/detect?format=image", WHITE_JPEG)).headers.get("content-type")).toBe("image/jpeg");
  expect(await failureOf(toy.post("/detect?format=image", "x"))).toBe("422 not-an-image");
  const two = new FormData();
  for (const name of ["a", "b"]) two.append(name, new File([WHITE_JPEG], name));
  expect(await failureOf(toy.post("/detect?format=image", two))).toBe("400 too-many-images");
});

test("POST /detect tells bodies that are no image apart", async () => {
  await using toy = await ToyServer.open();
  expect(await failureOf(toy.post("/detect", ""))).toBe("400 no-image");
  expect(await failureOf(toy.post("/detect", null))).toBe("400 no-image");
  expect(await failureOf(toy.post("/detect", WHITE_JPEG.subarray(0, 150) as Buffer<ArrayBuffer>))).toBe(
    "422 not-an-image",
  );
  expect(await failureOf(toy.post("/detect", "%PDF-1.7", { "content-type": "image/jpeg" }))).toBe("422 not-an-image");
  for (const type of ["text/plain", "application/json", "video/mp4", "application/x-www-form-urlencoded"]) {
    expect(await failureOf(toy.post("/detect", WHITE_JPEG, { "content-type": type }))).toBe("415 not-an-image-type");
  }
  expect(await failureOf(toy.post("/detect", WHITE_JPEG, { "content-encoding": "gzip" }))).toBe("415 packed-body");
});

test("GET /model, /healthz, /readyz and /metrics tell of the server", async () => {
  await using toy = await ToyServer.open();
  expect(await (await toy.get("/model")).json()).toEqual({
    name: "toy",
    task: "detect",
    head: "yolo",
    labels: ["cat", "dog"],
    backend: { kind: "cpu", description: expect.stringContaining("ONNX Runtime") },
    inputs: ["images: f32 [?, 3, 64, 64]"],
    outputs: ["output0: f32 [?, 6, 84]"],
  });
  expect(await (await toy.get("/healthz")).json()).toEqual({ status: "ok" });
  expect(await (await toy.get("/readyz")).json()).toEqual({ status: "ready" });
  await toy.post("/detect", WHITE_JPEG);
  await toy.post("/detect", WHITE_JPEG, { "content-type": "text/plain" });
  await toy.post("/detect?iou=2", WHITE_JPEG);
  const metrics = await toy.get("/metrics");
  expect(metrics.headers.get("content-type")).toContain("text/plain");
  const text = await metrics.text();
  expect(text).toMatch(/bun_tensorrt_http_requests_total\{route="detect",status="200"\} [1-9]/);
  expect(text).toMatch(/bun_tensorrt_http_requests_total\{route="detect",status="415"\} [1-9]/);
  expect(text).toMatch(/bun_tensorrt_errors_total\{code="invalid-option"\} [1-9]/);
  expect(text).toMatch(/bun_tensorrt_frames_total\{outcome="ok"\} [1-9]/);
  expect(text).toContain("bun_tensorrt_requests_waiting 0\n");
  expect(text).toContain("bun_tensorrt_frames_in_flight 0\n");
  for (const stage of ["receive", "decode", "preprocess", "infer", "postprocess", "serialise", "total"]) {
    expect(text).toMatch(new RegExp(`bun_tensorrt_stage_seconds_count\\{stage="${stage}"\\} [1-9]`));
  }
});

test("GET / is one page that loads nothing, and is not let to", async () => {
  await using toy = await ToyServer.open();
  const response = await toy.get("/");
  expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
  expect(response.headers.get("content-security-policy")).toContain("default-src 'none'; script-src 'sha256-");
  const page = await response.text();
  expect(page).toStartWith("<!doctype html>");
  expect(page).not.toMatch(/(src|href)="https?:|@import|url\(/);
});

test("an unknown address is 404, a wrong method 405 with Allow, HEAD as good as GET", async () => {
  await using toy = await ToyServer.open();
  for (const path of ["/nothing", "/detect/", "/v3", "/Healthz", "/..%2fdetect"]) {
    expect(await failureOf(toy.get(path))).toBe("404 no-such-route");
  }
  const wrong = await toy.get("/detect");
  expect(wrong.headers.get("allow")).toBe("POST");
  expect(await failureOf(Promise.resolve(wrong))).toBe("405 wrong-method");
  for (const method of ["POST", "DELETE", "OPTIONS", "PUT"]) {
    const response = await toy.get("/model", { method });
    expect(response.headers.get("allow")).toBe("GET, HEAD");
    expect(await failureOf(Promise.resolve(response))).toBe("405 wrong-method");
  }
  const head = await toy.get("/model", { method: "HEAD" });
  expect([head.status, await head.text()]).toEqual([200, ""]);
});

test("a failure of the detector itself is 500, and the client learns nothing of it", async () => {
  const detect = (): Promise<never> => Promise.reject(new Error("/secret/path is broken"));
  await using toy = await ToyServer.open({}, ({ labels, model, recognition, backend, backends }) => {
    return { labels, model, recognition, backend, backends, stalledMs: 0, detect };
  });
  const response = await toy.post("/detect", WHITE_JPEG);
  expect(response.status).toBe(500);
  const text = await response.text();
  expect(JSON.parse(text).error.code).toBe("internal");
  expect(text).not.toContain("secret");
});

test("a server with a base path answers below it, and its url says so", async () => {
  await using toy = await ToyServer.open({ basePath: "/vision" });
  expect(toy.server.url.pathname).toBe("/vision/");
  expect((await fetch(new URL("model", toy.server.url))).status).toBe(200);
  expect(await failureOf(toy.get("/model"))).toBe("404 no-such-route");
});
