import { expect, test } from "bun:test";
import { RequestError } from "../../src/core/errors.ts";
import { checkJsonBounds } from "../../src/serve/inference.ts";
import { BodyBudget } from "../../src/serve/upload.ts";
import {
  failureOf,
  type HeldDetector,
  heldDetector,
  RawConnection,
  ToyServer,
  until,
  WHITE_JPEG,
} from "../support/serving.ts";

/** Milliseconds of processor time this process has taken: a busy machine adds none. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const JSON_HEADERS = { "content-type": "application/json" };

/** A form of many small parts. */
function formOf(
  parts: number,
  head = 'Content-Disposition: form-data; name="a"; filename="b"',
  boundary = "X",
): Buffer {
  return Buffer.from(`${`--${boundary}\r\n${head}\r\n\r\n\r\n`.repeat(parts)}--${boundary}--\r\n`);
}

test("a form of 500,000 parts is 413 behind the first too many", async () => {
  await using toy = await ToyServer.open();
  const body = formOf(500_000, "Content-Disposition: form-data; name=a; filename=b");
  const started = cpuMs();
  expect(await failureOf(toy.post("/detect", body, { "content-type": "multipart/form-data; boundary=X" }))).toBe(
    "413 too-many-files",
  );
  // 0.1 s; 3 s where all parts are read.
  expect(cpuMs() - started).toBeLessThan(1500);
});

test("a boundary over 70 characters, at which the parser would never end, is 400", async () => {
  await using toy = await ToyServer.open();
  for (const length of [71, 252, 508]) {
    const boundary = "b".repeat(length);
    const headers = { "content-type": `multipart/form-data; boundary=${boundary}` };
    expect(await failureOf(toy.post("/detect", formOf(2, undefined, boundary), headers))).toBe("400 bad-form");
  }
});

test("a form longer than a slice is the same in pieces", async () => {
  await using toy = await ToyServer.open();
  const form = new FormData();
  const large = Buffer.concat([WHITE_JPEG, Buffer.alloc(700_000, "\r\n--")]);
  for (const [name, file] of [
    ["a", WHITE_JPEG],
    ["b", large],
    ["c", WHITE_JPEG],
  ] as const) {
    form.append("image", new File([file], name));
  }
  const answers = (await (await toy.post("/detect", form)).json()) as { file: string; width: number }[];
  expect(answers.map(({ file, width }) => [file, width])).toEqual([
    ["a", 64],
    ["b", 64],
    ["c", 64],
  ]);
});

test("JSON of more than any image needs is 413 before it is parsed, and holds nobody up", async () => {
  await using toy = await ToyServer.open();
  const inputs = '"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"data":["AA=="]}]';
  const parameters = Array.from({ length: 400_000 }, (_, index) => `"p${index}":${index}`).join(",");
  const bombs = [
    `{${inputs},"parameters":{${parameters}}}`,
    `{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,1,3],"data":[${"0,".repeat(2 ** 23 + 1)}0]}]}`,
    `{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,1,3],"data":[${"{},".repeat(100_000)}{}]}]}`,
    `{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,1,3],"data":[${'"a",'.repeat(100_000)}"a"]}]}`,
    "[".repeat(1_000_000),
  ];
  const refused = bombs.map((bomb) => toy.post("/v2/models/toy/infer", bomb, JSON_HEADERS));
  const started = cpuMs();
  expect((await toy.post("/detect", WHITE_JPEG)).status).toBe(200);
  expect(cpuMs() - started).toBeLessThan(2000);
  for (const answer of refused) expect((await answer).status).toBe(413);
  const long = (text: string): string => `{${inputs},"parameters":{"classes":"${text}"}}`;
  const answer = await toy.post("/v2/models/toy/infer", long("a,".repeat(1_000_000)), JSON_HEADERS);
  expect([answer.status, (await answer.text()).length]).toEqual([400, expect.any(Number)]);
});

test("checkJsonBounds() lets through what a request needs, whatever stands in its texts", async () => {
  const check = (text: string): Promise<void> => checkJsonBounds(Buffer.from(text));
  await check(`{"a":"${'\\"[{,:'.repeat(100_000)}","b":[${"0,".repeat(2 ** 20)}0]}`);
  await check(`{"a":"${"\\\\".repeat(5)}","b":"${'\\\\\\"'.repeat(3000)},,"}`);
  await check("");
  for (const open of ['"', '{"a', '"\\', "[".repeat(16)]) await check(open);
  await expect(check("[".repeat(17))).rejects.toThrow("at most 16 lists within lists");
  await expect(check(`["a\\\\",${'"b",'.repeat(2001)}]`)).rejects.toThrow("at most 2000 texts and names");
});

test("BodyBudget: the largest that is not worked on gives way, and nothing that is released counts", () => {
  const budget = new BodyBudget(100);
  const gone: string[] = [];
  const hold = (name: string): ReturnType<BodyBudget["hold"]> => budget.hold(() => gone.push(name));
  const [pinned, large, small] = [hold("pinned"), hold("large"), hold("small")];
  pinned.add(45);
  pinned.isPinned = true;
  large.add(40);
  small.add(10);
  hold("new").add(10);
  expect([gone, budget.bytes]).toEqual([["large"], 65]);
  const greedy = hold("greedy");
  greedy.add(20);
  expect(() => greedy.add(30)).toThrow(RequestError);
  expect([gone, budget.bytes]).toEqual([["large"], 65]);
  for (const one of [large, greedy, small, pinned, pinned]) one.release();
  expect(budget.bytes).toBe(10);
});

test("where bodies fill the memory, the largest gets 429 and a small image its answer", async () => {
  let held: HeldDetector | undefined;
  const limits = { maxBodyBytes: 1_000_000, maxBodiesBytes: 2_000_000, concurrency: 1 };
  await using toy = await ToyServer.open(limits, (detector) => {
    held = heldDetector(detector);
    return held.detector;
  });
  const slow = await Promise.all([RawConnection.open(toy.server.url), RawConnection.open(toy.server.url)]);
  slow[0]!.post("/detect", { "Content-Length": 1_000_000 });
  slow[1]!.post("/detect", { "Content-Length": 999_999 });
  const first = toy.post("/detect", WHITE_JPEG);
  expect(await slow[0]!.status()).toBe(429);
  await until(() => held!.held() === 1);
  // One that waits for its turn gives way as well.
  const waiting = toy.post("/detect", Buffer.concat([WHITE_JPEG, Buffer.alloc(990_000)]));
  await Bun.sleep(50);
  const third = await RawConnection.open(toy.server.url);
  third.post("/detect", { "Content-Length": 900_000 });
  expect(await slow[1]!.status()).toBe(429);
  const second = toy.post("/detect", Buffer.concat([WHITE_JPEG, Buffer.alloc(500_000)]));
  expect(await failureOf(waiting)).toBe("429 busy");
  held!.release();
  for (const answer of [first, second]) expect((await answer).status).toBe(200);
  for (const connection of [...slow, third]) connection.cut();
});
