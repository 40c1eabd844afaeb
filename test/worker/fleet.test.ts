import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { fileFolder } from "../support/folder.ts";
import { paintedJpeg } from "../support/images.ts";
import { isRedisMissing, RedisServer } from "../support/redis-server.ts";
import { toyDetector } from "../support/toy-detector.ts";
import {
  nameOf,
  poisonOf,
  produce,
  readAnswers,
  untilAllAnswered,
  untilAnswers,
  untilReaders,
  WorkerProcess,
  writeConfig,
} from "./fleet.ts";

const FRAMES = 5_000;
/** Memory a worker may gain over thousands of frames: what the collector leaves for later. */
const GROWTH_MIB = 32;

const path = fileFolder("fleet");
const model = path("toy.onnx");
writeFileSync(model, toyDetector());

/** Every frame must have an answer that fits it. @returns ids of answers that came twice */
async function checkAnswers(server: RedisServer, sent: ReadonlyMap<string, number>): Promise<string[]> {
  const answers = await readAnswers(server);
  const seen = new Set<string>();
  const duplicates: string[] = [];
  const wrong: string[] = [];
  for (const { id, entryId, objects, error } of answers) {
    if (seen.has(entryId)) duplicates.push(id);
    seen.add(entryId);
    const index = sent.get(entryId);
    // The confirmation of a frame may have been lost with the server; it was then sent again.
    if (index === undefined) continue;
    const poison = poisonOf(index);
    const name = poison === "garbage" ? "/" : nameOf(index);
    const isRight = poison === undefined ? error === "" && objects > 0 : error !== "" && objects === 0;
    if (id !== `${name}/${entryId}` || !isRight) wrong.push(`${id} ${objects} objects, ${poison ?? "good"}: ${error}`);
  }
  const lost = [...sent].filter(([entryId]) => !seen.has(entryId)).map(([, index]) => nameOf(index));
  expect({ lost, wrong }).toEqual({ lost: [], wrong: [] });
  return duplicates;
}

/** Three workers on their way, with a fifth of the frames answered. */
async function begun(server: RedisServer): Promise<{
  readonly killed: WorkerProcess;
  readonly stopped: WorkerProcess;
  readonly last: WorkerProcess;
  readonly producing: ReturnType<typeof produce>;
}> {
  const jpeg = await paintedJpeg(64, 48);
  const config = writeConfig(path(), server.url, model);
  const [killed, stopped, last] = [new WorkerProcess(config), new WorkerProcess(config), new WorkerProcess(config)];
  await untilReaders(server, 3);
  const producing = produce(server, FRAMES, jpeg);
  await untilAnswers(server, FRAMES * 0.2);
  last.leastMib();
  return { killed, stopped, last, producing };
}

async function pendingOf(server: RedisServer): Promise<{ pending: number; lag: number; consumers: string[] }> {
  using client = await server.client();
  const [group] = await client.send("XINFO", ["GROUPS", "frames"]);
  const consumers = await client.send("XINFO", ["CONSUMERS", "frames", "bun-tensorrt"]);
  return { pending: group.pending, lag: group.lag, consumers: consumers.map(({ name }: { name: string }) => name) };
}

test.skipIf(isRedisMissing)(
  "5,000 frames of 8 sources: one worker killed, one stopped, every frame answered, as redis-server is there",
  async () => {
    await using server = await RedisServer.start();
    const { killed, stopped, last, producing } = await begun(server);
    await untilAnswers(server, FRAMES * 0.3);
    killed.kill("SIGKILL");
    await untilAnswers(server, FRAMES * 0.6);
    const before = last.leastMib();
    stopped.kill("SIGTERM");
    const sent = await producing;
    await untilAllAnswered(server);
    const after = last.leastMib();
    expect(await stopped.ended()).toMatchObject({ code: 143 });
    last.kill("SIGTERM");
    const { code, log } = await last.ended();
    expect({ code, errors: log.split("\n").filter((line) => line.startsWith("error:")) }).toEqual({
      code: 143,
      errors: [],
    });

    const duplicates = await checkAnswers(server, sent);
    const { pending, lag, consumers } = await pendingOf(server);
    // The killed one stays in the list, the others have left it.
    expect({ pending, lag, consumers: consumers.length }).toEqual({ pending: 0, lag: 0, consumers: 1 });
    expect(after - before).toBeLessThan(GROWTH_MIB);
    const memory = `${before.toFixed(0)} to ${after.toFixed(0)} MiB`;
    console.log(`answered twice: ${duplicates.length === 0 ? "none" : duplicates.join(", ")}; memory ${memory}`);
  },
  300_000,
);

test.skipIf(isRedisMissing)(
  "5,000 frames with the server killed and started again midway: none lost, as redis-server is there",
  async () => {
    await using server = await RedisServer.start({ isDurable: true });
    const { killed, stopped, last, producing } = await begun(server);
    killed.kill("SIGKILL");
    await untilAnswers(server, FRAMES * 0.4);
    const before = last.leastMib();
    await server.kill();
    await Bun.sleep(500);
    await server.restart();
    await untilAnswers(server, FRAMES * 0.7);
    last.leastMib();
    stopped.kill("SIGTERM");
    const sent = await producing;
    await untilAllAnswered(server);
    const after = last.leastMib();
    expect(await stopped.ended()).toMatchObject({ code: 143 });
    last.kill("SIGTERM");
    const { log } = await last.ended();
    expect(log).toMatch(/connection (was lost|closed)|Trying again/i);

    const duplicates = await checkAnswers(server, sent);
    expect(await pendingOf(server)).toMatchObject({ pending: 0, lag: 0 });
    expect(after - before).toBeLessThan(GROWTH_MIB);
    const memory = `${before.toFixed(0)} to ${after.toFixed(0)} MiB`;
    console.log(`answered twice: ${duplicates.length === 0 ? "none" : duplicates.join(", ")}; memory ${memory}`);
  },
  300_000,
);
