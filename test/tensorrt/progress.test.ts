import { expect, test } from "bun:test";
import { ClosedError } from "../../src/core/errors.ts";
import { SHIM_CONSTANTS } from "../../src/ffi/shim-symbols.ts";
import { type BuildEvent, PhaseTree, ProgressMonitor, type RingRecord } from "../../src/tensorrt/observers.ts";

function record(kind: number, text: string, number = 0, parent = ""): RingRecord {
  return { kind, text, number, parent, severity: 1, value: 0 };
}

function play(records: readonly RingRecord[]): BuildEvent[] {
  const tree = new PhaseTree();
  return records.map((one) => tree.visit(one)).filter((event) => event !== undefined);
}

const { BT_RECORD_PHASE_START: phaseStart, BT_RECORD_STEP: step, BT_RECORD_PHASE_END: phaseEnd } = SHIM_CONSTANTS;

test("PhaseTree builds the tree of phases and the fraction of the whole", () => {
  const events = play([
    record(phaseStart, "build", 4),
    record(phaseStart, "time", 2, "build"),
    record(step, "time", 0),
    record(phaseEnd, "time"),
    record(step, "build", 0),
    record(step, "build", 3),
    record(phaseEnd, "build"),
  ]);
  expect(events.map((event) => event.fraction)).toEqual([0, 0, 0.125, 0.125, 0.25, 1, 1]);
  expect(events[1]?.phase.parent?.name).toBe("build");
  expect(events[2]?.phases.map(({ name, step: done, steps }) => [name, done, steps])).toEqual([
    ["build", 0, 4],
    ["time", 1, 2],
  ]);
  expect(events.at(-1)?.phases).toEqual([]);
});

test("PhaseTree stands records that were dropped, and phases without steps", () => {
  const events = play([
    record(step, "never begun", 3),
    record(phaseEnd, "never begun"),
    record(phaseStart, "build", 0),
    record(phaseStart, "part", 3, "unknown"),
    record(step, "part", 1),
    record(step, "part", 0),
    record(phaseEnd, "build"),
  ]);
  expect(events.map((event) => [event.kind, event.phase.name, event.phase.step])).toEqual([
    ["start", "build", 0],
    ["start", "part", 0],
    ["step", "part", 2],
    ["step", "part", 2],
    ["end", "build", 0],
  ]);
});

test("ProgressMonitor frees itself once, and refuses to cancel afterwards", () => {
  const monitor = new ProgressMonitor();
  monitor.cancel();
  monitor.drain(() => expect.unreachable());
  monitor.close();
  monitor.close();
  expect(() => monitor.cancel()).toThrow("Cannot cancel a build: ProgressMonitor is closed");
  expect(() => monitor.drain(() => undefined)).toThrow(ClosedError);
  expect(() => monitor.handle).toThrow(ClosedError);
});
