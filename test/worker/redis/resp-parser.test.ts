import { expect, test } from "bun:test";
import { RedisError } from "../../../src/core/errors.ts";
import { type Reply, RespParser } from "../../../src/worker/redis/redis-protocol.ts";
import { chance } from "../../support/chance.ts";

const bytes = Uint8Array.from({ length: 700 }, (_, at) => at % 256);
const WIRE = Buffer.concat([
  Buffer.from(
    "+OK\r\n:-12\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n-WRONGTYPE nö stream\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$4\r\ndata\r\n$700\r\n",
  ),
  bytes,
  Buffer.from("\r\n:7\r\n+end\r\n"),
]);

function parsed(chunks: Iterable<Buffer>): Reply[] {
  const replies: Reply[] = [];
  const parser = new RespParser((reply) => replies.push(reply));
  for (const chunk of chunks) parser.push(chunk);
  return replies;
}

function check(replies: readonly Reply[]): void {
  const [ok, number, bulk, array, empty, none, error, nested, end] = replies;
  expect([ok, number, bulk, array, empty, end]).toEqual(["OK", -12, null, null, [], "end"]);
  expect(none).toHaveLength(0);
  expect(error).toBeInstanceOf(RedisError);
  expect((error as RedisError).code).toBe("WRONGTYPE");
  expect((error as RedisError).message).toContain("nö stream");
  const [[id, [name, data]], seven] = nested as [[Buffer, [Buffer, Buffer]], number];
  expect([id.toString(), name.toString(), seven]).toEqual(["1-0", "data", 7]);
  expect(Buffer.compare(data, bytes)).toBe(0);
  // Its own memory, not a part of a chunk.
  expect(data.buffer.byteLength).toBe(700);
}

test("RespParser reads every kind of reply, bytes unchanged", () => {
  check(parsed([WIRE]));
});

test("RespParser reads the same from chunks of any length", () => {
  check(parsed(Array.from(WIRE, (byte) => Buffer.of(byte))));
  const random = chance(3);
  for (let round = 0; round < 50; round++) {
    const chunks: Buffer[] = [];
    for (let at = 0; at < WIRE.length; ) {
      const length = 1 + Math.floor(random() * 90);
      chunks.push(WIRE.subarray(at, at + length));
      at += length;
    }
    check(parsed(chunks));
  }
});

test("RespParser refuses what is no RESP2", () => {
  const numbers = [":\r\n", ": 5\r\n", ":0x10\r\n", ":1e400\r\n", "$\r\n", "$abc\r\n"];
  const lengths = ["$9007199254740991\r\n", "$2147483649\r\n", "$3\r\nabcde\r\n", "$0\r\n\n", "*1\r\n".repeat(40)];
  for (const wire of ["HTTP/1.1 400 Bad Request\r\n", "+OK\n", ...numbers, ...lengths]) {
    expect(() => parsed([Buffer.from(wire)]), JSON.stringify(wire)).toThrow(/it is not RESP2/);
  }
  expect(() => parsed([Buffer.alloc(70_000, "+")])).toThrow(/more than 65536 bytes/);
});
