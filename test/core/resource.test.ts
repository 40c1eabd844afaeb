import { afterEach, expect, test } from "bun:test";
import { ClosedError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { ledger, Resource } from "../../src/core/resource.ts";

class Probe extends Resource {
  released = 0;
  readonly #fail: boolean;
  constructor(label: string, options: { parent?: Resource; fail?: boolean } = {}) {
    super(label, options.parent);
    this.#fail = options.fail ?? false;
  }
  protected release(): void {
    this.released += 1;
    if (this.#fail) throw new Error("the driver says no");
  }
}

afterEach(() => {
  setLogSink(undefined);
});

test("Resource.close() releases once, however often it is called", () => {
  const probe = new Probe("probe");
  expect(ledger.size).toBe(1);
  probe.close();
  probe.close();
  expect(probe.released).toBe(1);
  expect(probe.closed).toBe(true);
});

test("Resource is closed by using, also when the block throws", () => {
  let seen: Probe | undefined;
  expect(() => {
    using probe = new Probe("probe");
    seen = probe;
    throw new Error("first");
  }).toThrow("first");
  expect(seen?.released).toBe(1);
});

test("Resource.assertOpen() names the action and the resource once closed", () => {
  const probe = new Probe('Session "a.onnx"');
  probe.close();
  expect(() => probe.assertOpen("run the model")).toThrow(ClosedError);
  expect(() => probe.assertOpen("run the model")).toThrow('Cannot run the model: Session "a.onnx" is closed');
});

test("Resource.close() refuses while children are open, and frees nothing", () => {
  const parent = new Probe("parent");
  const child = new Probe("child", { parent });
  expect(() => parent.close()).toThrow("Cannot close parent: resources made from it are still open (1)");
  expect(parent.released).toBe(0);
  child.close();
  parent.close();
  expect(parent.released).toBe(1);
});

test("Resource cannot be made from a closed parent, and leaves no entry", () => {
  const parent = new Probe("parent");
  parent.close();
  expect(() => new Probe("child", { parent })).toThrow(ClosedError);
  expect(ledger.size).toBe(0);
});

test("Resource whose release fails is struck off and unblocks its parent", () => {
  const parent = new Probe("parent");
  const child = new Probe("child", { parent, fail: true });
  expect(() => child.close()).toThrow("the driver says no");
  parent.close();
  expect(ledger.size).toBe(0);
});

test("ledger reports a resource that was collected without close()", async () => {
  const lines: string[] = [];
  setLogSink((_, text) => lines.push(text));
  (() => {
    for (let i = 0; i < 100; i++) new Probe(`lost ${i}`);
  })();
  for (let round = 0; round < 20 && ledger.size > 0; round++) {
    Bun.gc(true);
    await Bun.sleep(5);
  }
  expect(lines.length).toBeGreaterThan(90);
  expect(lines[0]).toMatch(/^Leaked lost \d+: it was garbage-collected without close\(\)/);
  // A conservative collector may keep a few alive: strike them off for the next test.
  for (let round = 0; round < 200 && ledger.size > 0; round++) {
    Bun.gc(true);
    await Bun.sleep(10);
  }
});
