import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RedisClient } from "bun";
import { RedisError } from "../../../src/core/errors.ts";
import { setLogSink } from "../../../src/core/log.ts";
import type { Destination, StreamEntry } from "../../../src/worker/broker.ts";
import { RedisBroker, type RedisBrokerOptions } from "../../../src/worker/redis/redis-broker.ts";
import { RedisConnection, redisAddress } from "../../../src/worker/redis/redis-connection.ts";
import { anyRedis, isRedisMissing, isRedisUnreachable, RedisServer } from "../../support/redis-server.ts";
import { ScriptedRedis } from "../../support/scripted-redis.ts";

setDefaultTimeout(120_000);

const BYTES = Uint8Array.from({ length: 70_000 }, (_, at) => at % 256);

describe.skipIf(isRedisUnreachable)("with a Redis server, as redis-server or $REDIS_URL is there", () => {
  let redis: Awaited<ReturnType<typeof anyRedis>>;
  let client: RedisClient;
  const streams: string[] = [];

  beforeAll(async () => {
    redis = await anyRedis();
    client = new RedisClient(redis.url);
    await client.connect();
  });

  afterAll(async () => {
    if (streams.length > 0)
      await client.send(
        "DEL",
        streams.flatMap((name) => [name, `${name}:out`]),
      );
    client.close();
    await redis[Symbol.asyncDispose]();
  });

  /** A stream of its own for each test. */
  function newStream(): string {
    const name = `bun-tensorrt-test-${process.pid}-${streams.length}`;
    streams.push(name);
    return name;
  }

  /** A broker that leaves no connection behind. */
  async function opened(stream: string | readonly string[], options: Partial<RedisBrokerOptions> = {}) {
    const all: RedisBrokerOptions = {
      address: redisAddress(redis.url),
      streams: typeof stream === "string" ? [stream] : stream,
      group: "g",
      consumer: "one",
      start: "first",
      claimIdleMs: 60_000,
      timeoutMs: 3_000,
      ...options,
    };
    const broker = new RedisBroker(all);
    await broker.open();
    return Object.assign(broker, { options: all, [Symbol.asyncDispose]: () => broker.close() });
  }

  async function add(stream: string, data: string | Uint8Array = "x"): Promise<string> {
    return client.send("XADD", [stream, "*", "data", data as string]);
  }

  /** Let an hour pass for all frames of a stream that are not answered. Time itself would be short on a busy machine. */
  async function silence(stream: string): Promise<void> {
    const pending: [string, string, number, number][] = await client.send("XPENDING", [stream, "g", "-", "+", "99"]);
    for (const [id, consumer] of pending) {
      await client.send("XCLAIM", [stream, "g", consumer, "0", id, "IDLE", "3600000", "JUSTID"]);
    }
  }

  /** Cut all connections but the test's own, and wait until the broker knows. */
  async function cut(broker: RedisBroker): Promise<void> {
    await client.send("CLIENT", ["KILL", "TYPE", "normal", "SKIPME", "yes"]);
    while (broker.isConnected) await Bun.sleep(1);
    // The other one of its connections is told in the same moment, or shortly after.
    await Bun.sleep(20);
  }

  /** Wait until a read waits at the server. */
  async function untilBlocked(): Promise<void> {
    while (!/ flags=\w*b\w* .*cmd=xreadgroup/.test(await client.send("CLIENT", ["LIST"]))) await Bun.sleep(1);
  }

  function to(stream: string): Destination {
    return { stream: `${stream}:out`, maxLength: 1000, deletesEntry: false, isOurs: false };
  }

  test("read() gives every byte as it was written", async () => {
    const stream = newStream();
    const id = await add(stream, BYTES);
    await using broker = await opened(stream);
    // The first read of a connection looks for what the worker had before.
    expect(await broker.read({ count: 5, blockMs: 0 })).toEqual([]);
    const [entry] = await broker.read({ count: 5, blockMs: 0 });
    expect(entry).toMatchObject({ stream, id, deliveries: 1 });
    expect(Buffer.compare(entry!.fields.get("data")!, BYTES)).toBe(0);
    expect(await broker.read({ count: 5, blockMs: 5 })).toEqual([]);
  });

  test("answer() writes every byte and acknowledges, once", async () => {
    const stream = newStream();
    await add(stream);
    await using broker = await opened(stream);
    await using other = await opened(stream, { consumer: "two" });
    await broker.read({ count: 1, blockMs: 0 });
    const [entry] = await broker.read({ count: 1, blockMs: 0 });
    await silence(stream);
    const { entries } = await other.claim(1);
    // More than a socket takes at once.
    const many = Buffer.concat(Array.from({ length: 200 }, () => BYTES));
    const fields: [string, string | Uint8Array][] = [
      ["ä", BYTES],
      ["b", many],
      ["c", "€"],
    ];
    expect(await broker.answer(entry!, fields, to(stream))).toBe(true);
    expect(await other.answer(entries[0]!, [["a", "late"]], to(stream))).toBe(false);
    expect(await client.send("XLEN", [`${stream}:out`])).toBe(1);
    expect(await broker.lag()).toEqual([{ stream, unread: 0, pending: 0 }]);
    const script =
      "local e=redis.call('XRANGE',KEYS[1],'-','+')[1][2] for i=1,6 do e[i]=redis.sha1hex(e[i]) end return e";
    expect(await client.send("EVAL", [script, "1", `${stream}:out`])).toEqual(
      fields.flat().map((value) => new Bun.CryptoHasher("sha1").update(value).digest("hex")),
    );
  });

  test("answer() writes as many fields as the largest dead letter has", async () => {
    const stream = newStream();
    await add(stream);
    await using broker = await opened(stream);
    await broker.read({ count: 1, blockMs: 0 });
    const [entry] = await broker.read({ count: 1, blockMs: 0 });
    const fields = Array.from({ length: 1006 }, (_, at): [string, string] => [`field ${at}`, "x"]);
    expect(await broker.answer(entry!, fields, to(stream))).toBe(true);
  });

  test("answer() that cannot be written leaves the frame pending", async () => {
    const stream = newStream();
    await add(stream);
    await client.set(`${stream}:out`, "no stream");
    await using broker = await opened(stream);
    await broker.read({ count: 1, blockMs: 0 });
    const [entry] = await broker.read({ count: 1, blockMs: 0 });
    const failed: unknown = await broker.answer(entry!, [["a", "b"]], to(stream)).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(RedisError);
    expect((failed as RedisError).code).toBe("WRONGTYPE");
    expect(await broker.lag()).toEqual([{ stream, unread: 0, pending: 1 }]);
  });

  test("answer() trims what it writes to, and deletes the frame where it is told so", async () => {
    const stream = newStream();
    for (let at = 0; at < 400; at++) await add(stream);
    await using broker = await opened(stream);
    await broker.read({ count: 1, blockMs: 0 });
    const entries = await broker.read({ count: 400, blockMs: 0 });
    const destination = { ...to(stream), maxLength: 10, deletesEntry: true };
    await Promise.all(entries.map((entry) => broker.answer(entry, [["a", "b"]], destination)));
    // Whole nodes of the stream are trimmed: a hundred entries by default.
    expect(Number(await client.send("XLEN", [`${stream}:out`]))).toBeWithin(10, 211);
    expect(await client.send("XLEN", [stream])).toBe(0);
  });

  test("claim() takes over what a silent worker has, and counts the deliveries", async () => {
    const stream = newStream();
    const ids = [await add(stream), await add(stream), await add(stream)];
    await using broker = await opened(stream);
    await broker.read({ count: 1, blockMs: 0 });
    await broker.read({ count: 3, blockMs: 0 });
    await using other = await opened(stream, { consumer: "two" });
    expect((await other.claim(5)).entries).toEqual([]);
    await silence(stream);
    await broker.keep([{ stream, id: ids[0] } as StreamEntry]);
    const { entries } = await other.claim(5);
    expect(entries.map(({ id, deliveries }) => [id, deliveries])).toEqual([
      [ids[1]!, 2],
      [ids[2]!, 2],
    ]);
    await silence(stream);
    expect((await broker.claim(5)).entries.map(({ deliveries }) => deliveries)).toEqual([2, 3, 3]);
  });

  test("handBack() lets others claim at once", async () => {
    const stream = newStream();
    await add(stream);
    await using broker = await opened(stream, { claimIdleMs: 60_000 });
    await broker.read({ count: 1, blockMs: 0 });
    const entries = await broker.read({ count: 1, blockMs: 0 });
    await using other = await opened(stream, { consumer: "two", claimIdleMs: 60_000 });
    expect((await other.claim(5)).entries).toEqual([]);
    await broker.handBack(entries);
    expect((await other.claim(5)).entries).toHaveLength(1);
  });

  test("claim() tells of frames that were trimmed before anyone answered", async () => {
    const stream = newStream();
    await add(stream);
    await add(stream);
    await using broker = await opened(stream);
    await broker.read({ count: 1, blockMs: 0 });
    await broker.read({ count: 2, blockMs: 0 });
    await silence(stream);
    await client.send("XTRIM", [stream, "MAXLEN", "1"]);
    const { entries, lost } = await broker.claim(5);
    expect([entries.length, lost]).toEqual([1, 1]);
    await client.send("XTRIM", [stream, "MAXLEN", "0"]);
    await cut(broker);
    expect(await broker.read({ count: 5, blockMs: 0 })).toEqual([]);
    expect(await broker.claim(5)).toEqual({ entries: [], lost: 1 });
    expect((await broker.claim(5)).lost).toBe(0);
  });

  test("a broker whose connection was cut reads again what it had been given", async () => {
    const stream = newStream();
    await add(stream, BYTES);
    await using broker = await opened(stream);
    await broker.read({ count: 1, blockMs: 0 });
    await broker.read({ count: 1, blockMs: 0 });
    await cut(broker);
    const [entry] = await broker.read({ count: 1, blockMs: 0 });
    expect(entry).toMatchObject({ deliveries: 1, askedAt: undefined });
    expect(Buffer.compare(entry!.fields.get("data")!, BYTES)).toBe(0);
    expect(await broker.answer(entry!, [["a", "b"]], to(stream))).toBe(true);
    expect(broker.reconnects).toBeGreaterThanOrEqual(1);
  });

  test("a connection that is cut again and again counts as no delivery; a new process does", async () => {
    const stream = newStream();
    await add(stream);
    await using broker = await opened(stream, { claimIdleMs: 60_000 });
    await broker.read({ count: 1, blockMs: 0 });
    await broker.read({ count: 1, blockMs: 0 });
    for (let time = 0; time < 4; time++) {
      await cut(broker);
      const [entry] = await broker.read({ count: 1, blockMs: 0 });
      expect(entry).toMatchObject({ deliveries: 1 });
    }
    expect((await client.send("XPENDING", [stream, "g", "-", "+", "9"]))[0].at(-1)).toBe(1);
    // The same name in the group: a process that was started again.
    await using again = await opened(stream, { claimIdleMs: 60_000 });
    expect((await again.read({ count: 1, blockMs: 0 }))[0]).toMatchObject({ deliveries: 2 });
  });

  test("answer() writes what was trimmed while it was held, though everybody else has struck it off", async () => {
    const stream = newStream();
    await add(stream);
    await add(stream);
    await using broker = await opened(stream);
    await using other = await opened(stream, { consumer: "two", claimIdleMs: 60_000 });
    await broker.read({ count: 1, blockMs: 0 });
    const [entry] = await broker.read({ count: 1, blockMs: 0 });
    await client.send("XTRIM", [stream, "MAXLEN", "0"]);
    expect(await other.claim(5)).toEqual({ entries: [], lost: 1 });
    await broker.keep([entry!]);
    expect(await broker.answer(entry!, [["a", "b"]], to(stream))).toBe(true);
    expect(await client.send("XLEN", [`${stream}:out`])).toBe(1);
  });

  test("answer() writes what nobody else can have answered, though its consumer or group was deleted", async () => {
    const stream = newStream();
    for (let at = 0; at < 3; at++) await add(stream);
    await using broker = await opened(stream);
    await broker.read({ count: 1, blockMs: 0 });
    const [first, second, third] = await broker.read({ count: 3, blockMs: 0 });
    expect(first!.askedAt).toBeWithin(0, performance.now());
    await client.send("XGROUP", ["DELCONSUMER", stream, "g", "one"]);
    expect(await broker.answer(first!, [["a", "b"]], { ...to(stream), isOurs: true })).toBe(true);
    expect(await broker.answer(second!, [["a", "b"]], { ...to(stream), deletesEntry: true })).toBe(false);
    expect(await broker.answer(second!, [["a", "b"]], to(stream))).toBe(false);
    await client.send("XGROUP", ["DESTROY", stream, "g"]);
    // Whoever makes the group anew reads it again.
    expect(await broker.answer(second!, [["a", "b"]], to(stream))).toBe(false);
    await client.send("DEL", [stream]);
    expect(await broker.answer(third!, [["a", "b"]], { ...to(stream), deletesEntry: true, isOurs: true })).toBe(true);
    expect(await client.send("XLEN", [`${stream}:out`])).toBe(2);
    await broker.keep([first!, third!]);
    expect(await broker.acknowledge([first!, third!])).toBe(0);
  });

  test("answer() sends its script again to a server that has forgotten it", async () => {
    const stream = newStream();
    for (let at = 0; at < 3; at++) await add(stream);
    await using broker = await opened(stream);
    await broker.read({ count: 1, blockMs: 0 });
    for (const entry of await broker.read({ count: 3, blockMs: 0 })) {
      await client.send("SCRIPT", ["FLUSH"]);
      expect(await broker.answer(entry, [["a", BYTES]], to(stream))).toBe(true);
    }
    expect(await client.send("XLEN", [`${stream}:out`])).toBe(3);
  });

  test("lag() counts nothing that was trimmed unread", async () => {
    const stream = newStream();
    await using broker = await opened(stream);
    const unread = async (): Promise<number | undefined> => (await broker.lag())[0]?.unread;
    expect(await unread()).toBe(0);
    for (let at = 0; at < 10; at++) await add(stream);
    expect(await unread()).toBe(10);
    await broker.read({ count: 1, blockMs: 0 });
    await broker.read({ count: 3, blockMs: 0 });
    await client.send("XTRIM", [stream, "MAXLEN", "2"]);
    expect(await unread()).toBe(2);
    const entries = await broker.read({ count: 9, blockMs: 0 });
    expect(entries).toHaveLength(2);
    expect(await broker.lag()).toEqual([{ stream, unread: 0, pending: 5 }]);
    await add(stream);
    expect(await unread()).toBeWithin(1, 4);
  });

  test("answer() of a user who may not acknowledge writes nothing", async () => {
    const stream = newStream();
    await add(stream);
    await client.send("ACL", ["SETUSER", "reader", "on", ">secret", "~*", "&*", "+@all", "-xack"]);
    try {
      const address = redisAddress(redis.url.replace("//", "//reader:secret@"));
      await using broker = await opened(stream, { address });
      await broker.read({ count: 1, blockMs: 0 });
      const [entry] = await broker.read({ count: 1, blockMs: 0 });
      await expect(broker.answer(entry!, [["a", "b"]], to(stream))).rejects.toThrow(/permission|can't run/);
      expect(await client.send("EXISTS", [`${stream}:out`])).toBe(0);
    } finally {
      await client.send("ACL", ["DELUSER", "reader"]);
    }
  });

  test("claim() finds one silent frame behind hundreds that are worked on", async () => {
    const stream = newStream();
    for (let at = 0; at < 300; at++) await add(stream);
    await using broker = await opened(stream);
    await broker.read({ count: 1, blockMs: 0 });
    const entries = await broker.read({ count: 300, blockMs: 0 });
    await using other = await opened(stream, { consumer: "two", claimIdleMs: 60_000 });
    await broker.handBack([entries.at(-1)!]);
    expect((await other.claim(1)).entries.map(({ id }) => id)).toEqual([entries.at(-1)!.id]);
  });

  test("a key that holds no stream is left out, named, and keeps none of the others from being read", async () => {
    const names = [newStream(), newStream(), newStream()];
    const [first, , third] = names;
    await using broker = await opened(names);
    for (const _ of names) await broker.read({ count: 3, blockMs: 0 });
    await client.send("DEL", [names[1]!]);
    await client.set(names[1]!, "no stream");
    await add(first!);
    await add(third!);
    const log: string[] = [];
    setLogSink((level, text) => log.push(`${level}: ${text}`));
    try {
      expect(await broker.read({ count: 3, blockMs: 0 })).toEqual([]);
      const found = await broker.read({ count: 3, blockMs: 0 });
      expect(found.map(({ stream }) => stream)).toEqual([first!, third!]);
      for (const name of [first!, third!]) await silence(name);
      expect((await broker.claim(9)).entries).toHaveLength(2);
      expect((await broker.lag()).map(({ stream }) => stream)).toEqual([first!, third!]);
      expect(log).toEqual([`error: Skipped "${names[1]}" for 5 s: its key holds a string, not a stream`]);
    } finally {
      setLogSink(undefined);
    }
    const alone = new RedisBroker({ ...broker.options, streams: [names[1]!] });
    await expect(alone.open()).rejects.toThrow(`read "${names[1]}": its key holds no stream`);
    await alone.close();
  });

  test("a read that waits is cut off with the connection, and ended by wake()", async () => {
    const stream = newStream();
    await using broker = await opened(stream);
    await broker.read({ count: 1, blockMs: 0 });
    const waiting = broker.read({ count: 1, blockMs: 2_500 });
    await untilBlocked();
    const started = performance.now();
    await broker.wake();
    expect(await waiting).toEqual([]);
    expect(performance.now() - started).toBeLessThan(2_400);
    const lost = broker.read({ count: 1, blockMs: 2_500 }).catch((error: unknown) => error);
    await untilBlocked();
    await client.send("CLIENT", ["KILL", "TYPE", "normal", "SKIPME", "yes"]);
    expect(await lost).toBeInstanceOf(RedisError);
  });

  test("close() leaves no connection behind, not even one that was being made", async () => {
    const stream = newStream();
    const broker = await opened(stream, { consumer: "closing" });
    await cut(broker);
    const connections = async (): Promise<number> => (await client.send("CLIENT", ["LIST"])).trim().split("\n").length;
    const before = await connections();
    const late = broker.acknowledge([{ stream, id: "1-0" } as StreamEntry]).catch((error: unknown) => error);
    await broker.close();
    expect(await late).toBeInstanceOf(RedisError);
    while ((await connections()) !== before) await Bun.sleep(5);
    await expect(broker.keep([{ stream, id: "1-0" } as StreamEntry])).rejects.toThrow("the connection was closed");
  });

  test("a deleted stream gets its group anew", async () => {
    const stream = newStream();
    await using broker = await opened(stream, { start: "new" });
    await broker.read({ count: 1, blockMs: 0 });
    await client.send("DEL", [stream]);
    await add(stream);
    expect(await broker.read({ count: 1, blockMs: 0 })).toEqual([]);
    expect(await broker.read({ count: 1, blockMs: 0 })).toHaveLength(1);
  });

  test("several streams are read as one, and close() leaves the groups it owes nothing", async () => {
    const [first, second] = [newStream(), newStream()];
    for (const stream of [first, first, second, second]) await add(stream);
    {
      await using broker = await opened([first, second]);
      while ((await broker.read({ count: 2, blockMs: 0 })).length === 0);
      const entries = await broker.read({ count: 2, blockMs: 0 });
      expect(entries.map(({ stream }) => stream)).toEqual([first, second]);
      for (const entry of entries.filter(({ stream }) => stream === first)) await broker.acknowledge([entry]);
    }
    const readers = async (stream: string): Promise<number> =>
      (await client.send("XINFO", ["CONSUMERS", stream, "g"])).length;
    expect([await readers(first), await readers(second)]).toEqual([1, 1]);
  });
});

test.skipIf(isRedisMissing)(
  "a server that is not there, or refuses, is an error that says so without the password, as redis-server is there",
  async () => {
    await using server = await RedisServer.start();
    using admin = await server.client();
    await admin.send("CONFIG", ["SET", "requirepass", "secret"]);
    const options = {
      streams: ["s"],
      group: "g",
      consumer: "c",
      start: "first",
      claimIdleMs: 1,
      timeoutMs: 500,
    } as const;
    const opening = async (url: string): Promise<RedisError> => {
      const broker = new RedisBroker({ ...options, address: redisAddress(url) });
      try {
        await broker.open();
      } catch (error) {
        return error as RedisError;
      } finally {
        await broker.close();
      }
      throw new Error("it was let in");
    };
    const refused = await opening(server.url);
    expect(refused.code).toBe("NOAUTH");
    expect((await opening(server.url.replace("//", "//:wrong@"))).message).toMatch(/^(?!.*wrong@)/s);
    const away = await opening("redis://:secret@127.0.0.1:1");
    expect([away.code, away.message.includes("secret")]).toEqual(["CONNECTION", false]);
    const broker = new RedisBroker({
      ...options,
      address: redisAddress(`${server.url.replace("//", "//:secret@")}/2`),
    });
    await broker.open();
    expect(broker.isConnected).toBe(true);
    await broker.close();
    await admin.send("AUTH", ["secret"]);
    await admin.send("SELECT", ["2"]);
    expect(await admin.send("EXISTS", ["s"])).toBe(1);
  },
);

test.skipIf(isRedisMissing)(
  "a server that has become a replica is connected to anew, as redis-server is there",
  async () => {
    await using server = await RedisServer.start();
    using admin = await server.client();
    const [streams, address] = [["s"], redisAddress(server.url)];
    const options = { streams, group: "g", consumer: "c", start: "first", claimIdleMs: 1, timeoutMs: 3_000 } as const;
    const broker = new RedisBroker({ ...options, address });
    await broker.open();
    const id = await admin.send("XADD", ["s", "*", "data", "x"]);
    await broker.read({ count: 1, blockMs: 0 });
    const [entry] = await broker.read({ count: 1, blockMs: 0 });
    expect(entry).toMatchObject({ id });
    await admin.send("REPLICAOF", ["127.0.0.1", "1"]);
    const destination = { stream: "out", maxLength: 10, deletesEntry: false, isOurs: true };
    const codes = [];
    for (const work of [() => broker.answer(entry!, [["a", "b"]], destination), () => broker.claim(1)]) {
      codes.push(await work().then(String, (error: RedisError) => error.code));
    }
    expect([codes, broker.isConnected]).toEqual([["READONLY", "READONLY"], false]);
    await admin.send("REPLICAOF", ["NO", "ONE"]);
    expect(await broker.answer(entry!, [["a", "b"]], destination)).toBe(true);
    expect(await broker.read({ count: 1, blockMs: 0 })).toEqual([]);
    expect(broker.reconnects).toBe(2);
    await broker.close();
  },
);

test("claim() of Redis 6.2, which does not name what was trimmed, strikes it off with the next read", async () => {
  const entry = "*2\r\n$3\r\n2-0\r\n*2\r\n$4\r\ndata\r\n$1\r\nx\r\n";
  using server = new ScriptedRedis((command) => {
    if (command === "CLIENT ID") return ":7\r\n";
    if (command.startsWith("XAUTOCLAIM")) return `*2\r\n$3\r\n0-0\r\n*2\r\n$-1\r\n${entry}`;
    if (command.startsWith("XPENDING")) return "*1\r\n*4\r\n$3\r\n2-0\r\n$3\r\none\r\n:0\r\n:2\r\n";
    if (command.endsWith("STREAMS s 0")) return "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*-1\r\n";
    if (command.startsWith("XREADGROUP")) return "*1\r\n*2\r\n$1\r\ns\r\n*0\r\n";
    if (command.startsWith("XACK")) return ":1\r\n";
    return undefined;
  });
  const broker = new RedisBroker({
    address: redisAddress(server.url),
    streams: ["s"],
    group: "g",
    consumer: "one",
    start: "first",
    claimIdleMs: 20,
    timeoutMs: 3_000,
  });
  const first = await broker.claim(2);
  expect([first.entries.map(({ id }) => id), first.lost]).toEqual([["2-0"], 0]);
  expect(await broker.read({ count: 2, blockMs: 0 })).toEqual([]);
  expect(server.commands).toContain("XACK s g 1-0");
  expect((await broker.claim(1)).lost).toBe(1);
  await broker.close();
});

test.skipIf(Bun.which("openssl") === null)(
  "a certificate that is not accepted is named, as openssl is there",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-redis-tls-"));
    const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    const words = [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-subj",
      "/CN=x",
    ];
    Bun.spawnSync(["openssl", ...words, "-out", cert, "-keyout", key]);
    const tls = { cert: Bun.file(cert), key: Bun.file(key) };
    const server = Bun.listen({ hostname: "127.0.0.1", port: 0, tls, socket: { data() {} } });
    const address = redisAddress(`rediss://127.0.0.1:${server.port}`);
    const opening = RedisConnection.open(address, { timeoutMs: 3_000, name: "test" });
    await expect(opening).rejects.toThrow("its certificate is not accepted (self signed certificate");
    server.stop(true);
    rmSync(folder, { recursive: true });
  },
);
