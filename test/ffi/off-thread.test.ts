import { dlopen } from "bun:ffi";
import { expect, setDefaultTimeout, test } from "bun:test";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { NativeType } from "../../src/ffi/library.ts";
import { addressOf, cString } from "../../src/ffi/memory.ts";
import { type OffThreadFunction, offThread } from "../../src/ffi/off-thread.ts";

setDefaultTimeout(120_000);

const isLinux = process.platform === "linux";

/** A function of the C library, which every Linux has. */
function libc(name: string, returns: NativeType, args: readonly NativeType[]): OffThreadFunction {
  const { symbols } = dlopen("libc.so.6", { dlsym: { args: ["usize", "ptr"], returns: "usize" } });
  const address = Number(symbols.dlsym(0, cString(name)));
  expect(address).toBeGreaterThan(0);
  return offThread(address, { args, returns });
}

test.skipIf(!isLinux)("offThread() lets timers fire while the native call blocks", async () => {
  const usleep = libc("usleep", "i32", ["u32"]);
  let ticks = 0;
  const timer = setInterval(() => {
    ticks += 1;
  }, 2);
  const begin = performance.now();
  expect(await usleep(400_000)).toBe(0);
  clearInterval(timer);
  expect(performance.now() - begin).toBeGreaterThan(395);
  // A call on the JS thread would let none fire; a busy machine, or an emulator on one, fires some of the two hundred.
  expect(ticks).toBeGreaterThan(2);
});

test.skipIf(!isLinux)("offThread() passes pointers, sizes and signed numbers as they are", async () => {
  const memcmp = libc("memcmp", "i32", ["ptr", "ptr", "usize"]);
  const a = Uint8Array.of(1, 2, 3, 4);
  const b = Uint8Array.of(1, 2, 9, 4);
  expect(await memcmp(addressOf(a), addressOf(b), 2)).toBe(0);
  expect(await memcmp(addressOf(a), addressOf(b), 4)).toBeLessThan(0);
  const memset = libc("memset", "ptr", ["ptr", "i32", "usize"]);
  expect(await memset(addressOf(a), -1, 3)).toBe(addressOf(a));
  expect([...a]).toEqual([255, 255, 255, 4]);
  expect(await libc("abs", "i32", ["i32"])(-2147483647)).toBe(2147483647);
});

test.skipIf(!isLinux)("offThread() queues more calls than koffi takes at once, and loses none", async () => {
  const abs = libc("abs", "i32", ["i32"]);
  const results = await Promise.all(Array.from({ length: 1000 }, (_, index) => abs(-index)));
  expect(results).toEqual(Array.from({ length: 1000 }, (_, index) => index));
});

test.skipIf(!isLinux || availableParallelism() < 2)("offThread() runs calls at the same time", async () => {
  const usleep = libc("usleep", "i32", ["u32"]);
  const order: string[] = [];
  const long = usleep(200_000).then(() => order.push("long"));
  const short = usleep(1_000).then(() => order.push("short"));
  await Promise.all([long, short]);
  // One after the other, the short one would have waited for the long one.
  expect(order).toEqual(["short", "long"]);
});

test.skipIf(!isLinux)("offThread() rejects a wrong number of arguments, and goes on", async () => {
  const abs = libc("abs", "i32", ["i32"]);
  await expect(abs()).rejects.toThrow();
  expect(await abs(-5)).toBe(5);
});

test.skipIf(!isLinux)("offThread() holds through garbage collections", async () => {
  const abs = libc("abs", "i32", ["i32"]);
  for (let round = 0; round < 20; round++) {
    const calls = Array.from({ length: 50 }, (_, index) => abs(-index));
    Bun.gc(true);
    expect((await Promise.all(calls))[49]).toBe(49);
  }
});

test.skipIf(!isLinux)(
  "offThread() gives a call the stack of a thread: TensorRT needs more than koffi's 128 KiB",
  async () => {
    const regcomp = libc("regcomp", "i32", ["ptr", "ptr", "i32"]);
    const depth = 3000;
    const pattern = cString("(".repeat(depth) + ")".repeat(depth));
    const compiled = new Uint8Array(new ArrayBuffer(256));
    expect(await regcomp(addressOf(compiled), addressOf(pattern), 1)).toBe(0);
    expect(pattern.length + compiled.length).toBeGreaterThan(0);
  },
);

test.skipIf(!isLinux)("offThread() keeps the stacks of calls: a call maps no memory", async () => {
  const abs = libc("abs", "i32", ["i32"]);
  const calls = 2000;
  for (let warm = 0; warm < 50; warm++) await abs(warm);
  const before = process.resourceUsage().minorPageFault;
  for (let at = 0; at < calls; at++) await abs(at);
  // A fresh stack takes 17 of them.
  expect(process.resourceUsage().minorPageFault - before).toBeLessThan(calls * 3);
});

/** What a process says that uses koffi on its own, set up so, before the package does. */
async function besideOwnUse(setUp: string): Promise<string> {
  const script = `const koffi = require(${JSON.stringify(Bun.resolveSync("koffi", import.meta.dir))});
    ${setUp}
    koffi.load(null);
    const { offThread } = await import(${JSON.stringify(join(import.meta.dir, "../../src/ffi/off-thread.ts"))});
    const { dlopen } = await import("bun:ffi");
    const { symbols } = dlopen("libc.so.6", { dlsym: { args: ["usize", "ptr"], returns: "usize" } });
    try {
      const abs = offThread(Number(symbols.dlsym(0, Buffer.from("abs\\0"))), { args: ["i32"], returns: "i32" });
      process.stdout.write(String(await abs(-5)));
    } catch (error) {
      process.stdout.write(error.message);
    }`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
  return child.stdout.text();
}

test.skipIf(!isLinux)("offThread() goes on where other code has set koffi up with stacks that will do", async () => {
  expect(await besideOwnUse("koffi.config({ async_stack_size: 8388608 });")).toBe("5");
});

test.skipIf(!isLinux)("offThread() says what to do where other code has settled for small stacks", async () => {
  const text = await besideOwnUse("");
  expect(text).toStartWith("Cannot call native code off the JS thread: other code has used koffi before");
  expect(text).toContain("\nHint: call koffi.config({ async_stack_size: 8388608 })");
});

test.skipIf(!isLinux)("offThread() works in two copies of the package in one process", async () => {
  expect(await libc("abs", "i32", ["i32"])(-5)).toBe(5);
  const copy = `../../src/ffi/off-thread.ts?${Date.now()}`;
  const { offThread: other } = (await import(copy)) as { readonly offThread: typeof offThread };
  expect(other).not.toBe(offThread);
  const { symbols } = dlopen("libc.so.6", { dlsym: { args: ["usize", "ptr"], returns: "usize" } });
  expect(await other(Number(symbols.dlsym(0, cString("abs"))), { args: ["i32"], returns: "i32" })(-7)).toBe(7);
});
