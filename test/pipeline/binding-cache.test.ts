import { expect, test } from "bun:test";
import type { Size } from "../../src/runtime/backend.ts";
import { BindingCache } from "../../src/runtime/slots.ts";

class Probe {
  closed = 0;
  constructor(batch: number, size: Size) {
    this.batch = batch;
    this.size = size;
  }
  readonly batch: number;
  readonly size: Size;
  close(): void {
    this.closed += 1;
  }
}

test("BindingCache.find() knows shapes by batch, width and height, and makes the found one current", () => {
  const cache = new BindingCache<Probe>();
  expect(() => cache.current("infer")).toThrow("Cannot infer: nothing has been pre-processed yet");
  const [a, b] = [new Probe(1, [64, 32]), new Probe(2, [64, 32])];
  expect(cache.add(a)).toBe(a);
  cache.add(b);
  expect(cache.current("infer")).toBe(b);
  expect(cache.find(1, [64, 32])).toBe(a);
  expect(cache.current("infer")).toBe(a);
  expect(cache.find(1, [32, 64])).toBeUndefined();
  expect(cache.find(3, [64, 32])).toBeUndefined();
  expect(cache.current("infer")).toBe(a);
});

test("BindingCache.add() closes the one that was not used for longest, once more than four are kept", () => {
  const cache = new BindingCache<Probe>();
  const probes = [1, 2, 3, 4].map((batch) => cache.add(new Probe(batch, [8, 8])));
  cache.find(1, [8, 8]);
  const fifth = cache.add(new Probe(5, [8, 8]));
  expect(probes.map((probe) => probe.closed)).toEqual([0, 1, 0, 0]);
  expect(cache.find(2, [8, 8])).toBeUndefined();
  cache.close();
  expect([...probes, fifth].map((probe) => probe.closed)).toEqual([1, 1, 1, 1, 1]);
});

test("BindingCache.find() keeps the others in the order they were used", () => {
  const cache = new BindingCache<Probe>();
  const probes = [1, 2, 3, 4].map((batch) => cache.add(new Probe(batch, [8, 8])));
  for (const batch of [2, 4, 1, 2]) cache.find(batch, [8, 8]);
  cache.add(new Probe(5, [8, 8]));
  cache.add(new Probe(6, [8, 8]));
  expect(probes.map((probe) => probe.closed)).toEqual([0, 0, 1, 1]);
  expect(cache.find(1, [8, 8])).toBe(probes[0]);
  expect(cache.find(2, [8, 8])).toBe(probes[1]);
});
