import { afterEach, expect, test } from "bun:test";
import { setLogSink } from "../../src/core/log.ts";
import { cString } from "../../src/ffi/memory.ts";
import { shim } from "../../src/ffi/shim.ts";
import { SHIM_CONSTANTS } from "../../src/ffi/shim-symbols.ts";
import { LogRing, Ring, type RingRecord, severityOf } from "../../src/tensorrt/observers.ts";

afterEach(() => {
  setLogSink(undefined);
});

function write(ring: Ring, kind: number, severity: number, number: number, text: string, parent?: string): number {
  const above = parent === undefined ? null : cString(parent);
  return shim().bt_ring_write(ring.handle, kind, severity, number, 1.5, cString(text), above);
}

test("Ring gives back what was written, in order, whatever the length of the text", () => {
  const ring = new Ring(4096);
  const texts = ["", "a", "äöü€", "x".repeat(1001)];
  for (const [at, text] of texts.entries())
    write(ring, SHIM_CONSTANTS.BT_RECORD_PHASE_START, 1, at - 1, text, "parent");
  const records: RingRecord[] = [];
  ring.drain((record) => records.push(record));
  expect(records).toEqual(
    texts.map((text, at) => ({ kind: 3, severity: 1, number: at - 1, value: 1.5, text, parent: "parent" })),
  );
  ring.drain(() => expect.unreachable());
  ring.destroy();
});

test("Ring keeps the last quarter for errors, and counts what it drops", () => {
  const ring = new Ring(1024);
  let warnings = 0;
  while (write(ring, SHIM_CONSTANTS.BT_RECORD_LOG, 2, 0, "w".repeat(40)) === 0) warnings += 1;
  expect(warnings).toBe(12);
  expect(write(ring, SHIM_CONSTANTS.BT_RECORD_LOG, 1, 0, "e".repeat(40))).toBe(0);
  expect(ring.takeDropped()).toBe(1);
  expect(ring.takeDropped()).toBe(0);
  ring.destroy();
});

test("LogRing passes lines on by level and keeps the errors for the next failure", () => {
  const lines: string[] = [];
  setLogSink((level, text) => lines.push(`${level} ${text}`));
  const log = new LogRing("TensorRT 10.6.0");
  for (const severity of [0, 1, 2, 3, 4])
    write(log.ring, SHIM_CONSTANTS.BT_RECORD_LOG, severity, 0, `line ${severity}`);
  write(log.ring, SHIM_CONSTANTS.BT_RECORD_ERROR, 1, 3, "a bad argument");
  const { lines: errors, code } = log.takeErrors();
  expect(errors).toEqual(["line 0", "line 1", "a bad argument"]);
  expect(code).toBe("INVALID_ARGUMENT");
  expect(lines).toEqual([
    "error TensorRT 10.6.0: line 0",
    "error TensorRT 10.6.0: line 1",
    "warn TensorRT 10.6.0: line 2",
    "info TensorRT 10.6.0: line 3",
    "debug TensorRT 10.6.0: line 4",
    "error TensorRT 10.6.0: a bad argument",
  ]);
  expect(log.takeErrors()).toEqual({ lines: [], code: undefined });
  log.ring.destroy();
});

test("LogRing.watch() drains by a timer until the last watcher has gone", async () => {
  const lines: string[] = [];
  setLogSink((_, text) => lines.push(text));
  const log = new LogRing("log");
  const outer = log.watch();
  const inner = log.watch();
  inner[Symbol.dispose]();
  write(log.ring, SHIM_CONSTANTS.BT_RECORD_LOG, 2, 0, "late");
  while (lines.length === 0) await Bun.sleep(5);
  expect(lines).toEqual(["log: late"]);
  outer[Symbol.dispose]();
  write(log.ring, SHIM_CONSTANTS.BT_RECORD_LOG, 2, 0, "too late");
  await Bun.sleep(80);
  expect(lines).toEqual(["log: late"]);
  log.ring.destroy();
});

test("severityOf() takes errors of both kinds", () => {
  expect([severityOf("error"), severityOf("warn"), severityOf("info"), severityOf("debug")]).toEqual([1, 2, 3, 4]);
});
