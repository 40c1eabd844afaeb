import { expect, test } from "bun:test";
import { setLogSink } from "../../../src/core/log.ts";
import { Event } from "../../../src/cuda/event.ts";
import { Gpu, isGpuMissing, SLOW_TEST_MS, spin } from "../../support/gpu.ts";

const gpuTest = test.skipIf(isGpuMissing);

// The first off-thread wait of the process: it finds out which call works without a context.
gpuTest("off-thread waits need no context of their thread", async () => {
  using gpu = new Gpu();
  const lines: string[] = [];
  const former = setLogSink((_, text) => lines.push(text));
  const spinner = gpu.spinner();
  const events = Array.from({ length: 8 }, () => gpu.own(Event.create(gpu.device, { blocking: true })));
  for (const event of events) {
    spin(spinner, 2, gpu.stream);
    event.record({ stream: gpu.stream });
  }
  await Promise.all(events.map((event) => event.wait({ mode: "off-thread" })));
  setLogSink(former);
  console.log(`off-thread waits: ${lines.join("; ") || "cuEventSynchronize without a current context works"}`);
});

gpuTest("Event.elapsedMsSince() measures the time between two marks", () => {
  using gpu = new Gpu();
  using start = Event.create(gpu.device, { timing: true });
  using end = Event.create(gpu.device, { timing: true });
  start.record({ stream: gpu.stream });
  spin(gpu.spinner(), 10, gpu.stream);
  end.record({ stream: gpu.stream });
  end.synchronize();
  const elapsed = end.elapsedMsSince(start);
  expect(elapsed).toBeGreaterThan(9.5);
  expect(elapsed).toBeLessThan(30);
});

gpuTest("Event.elapsedMsSince() refuses events that were not recorded", () => {
  using gpu = new Gpu();
  using start = Event.create(gpu.device, { timing: true });
  using end = Event.create(gpu.device, { timing: true });
  expect(() => end.elapsedMsSince(start)).toThrow("Cannot complete cudaEventElapsedTime: it returned cudaError");
});

for (const mode of ["poll", "off-thread", "auto"] as const) {
  gpuTest(`Event.wait({ mode: "${mode}" }) resolves when the work is done, and timers fire meanwhile`, async () => {
    using gpu = new Gpu();
    using event = Event.create(gpu.device);
    const spinner = gpu.spinner();
    for (const milliseconds of [0.05, 30]) {
      spin(spinner, milliseconds, gpu.stream);
      event.record({ stream: gpu.stream });
      let ticks = 0;
      const timer = setInterval(() => {
        ticks += 1;
      }, 1);
      await event.wait({ mode });
      clearInterval(timer);
      expect(event.isDone).toBe(true);
      if (milliseconds > 1) expect(ticks).toBeGreaterThan(3);
    }
    expect(event.averageWaitMs).toBeGreaterThan(0);
  });
}

gpuTest(
  "10,000 waits of all modes, with garbage collections in between",
  async () => {
    using gpu = new Gpu();
    const events = Array.from({ length: 4 }, () => gpu.own(Event.create(gpu.device)));
    const modes = ["poll", "off-thread", "auto"] as const;
    for (let round = 0; round < 2500; round++) {
      for (const event of events) event.record({ stream: gpu.stream });
      await Promise.all(events.map((event, at) => event.wait({ mode: modes[(round + at) % 3]! })));
      if (round % 500 === 0) Bun.gc(true);
    }
  },
  SLOW_TEST_MS,
);

gpuTest(
  "Event.wait() of work that is done resolves at once; a closing event refuses while waits are under way",
  async () => {
    using gpu = new Gpu();
    using event = Event.create(gpu.device);
    await event.wait();
    spin(gpu.spinner(), 10, gpu.stream);
    event.record({ stream: gpu.stream });
    const waiting = event.wait({ mode: "off-thread" });
    expect(() => event.close()).toThrow("1 waits for it are under way");
    await waiting;
  },
);
