import { afterEach, describe, expect, test } from "bun:test";
import type { DetectOptions } from "../../src/api/detector-config.ts";
import { ImageError, NativeError, OnnxRuntimeError, OptionError, RedisError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import type { ImageSource } from "../../src/image/source.ts";
import type { DetectionResult } from "../../src/tasks/detect/detection.ts";
import { Worker, type WorkerDetector } from "../../src/worker/worker.ts";
import type { WorkerOptions } from "../../src/worker/worker-config.ts";
import { MemoryBroker } from "../support/memory-broker.ts";

/** Finds one cat in everything; what it does meanwhile is the test's. */
class StubDetector implements WorkerDetector {
  readonly labels: readonly string[] = ["cat", "dog"];
  readonly backends = [{ kind: "cpu", inFlight: 1, maxBatch: 8 }] as const;
  readonly options: (DetectOptions | undefined)[] = [];
  stalledMs = 0;
  isClosed = false;
  isWarm = false;
  running = 0;
  mostRunning = 0;
  work: (bytes: Uint8Array) => Promise<void> = async () => {};

  async detect(source: ImageSource, options?: DetectOptions): Promise<DetectionResult> {
    expect(this.isWarm).toBe(true);
    this.options.push(options);
    this.running += 1;
    this.mostRunning = Math.max(this.mostRunning, this.running);
    try {
      await this.work(source as Uint8Array);
    } finally {
      this.running -= 1;
    }
    const timing = { decode: 1, preprocess: 1, infer: 1, postprocess: 1, total: 4 };
    const detections = [{ label: "cat", classId: 0, score: 0.5, box: [0, 0, 5, 5] as const }];
    return { detections, width: 10, height: 10, dropped: 0, implausible: 0, timing };
  }

  async warmUp(): Promise<void> {
    this.isWarm = true;
  }

  close(): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }
}

/** Everything a test looks at, and its worker running. */
async function started(
  options: WorkerOptions = {},
  prepare: (broker: MemoryBroker, detector: StubDetector) => void = () => {},
) {
  const broker = new MemoryBroker();
  const detector = new StubDetector();
  prepare(broker, detector);
  const merged: WorkerOptions = { output: { format: "fields" }, reconnect: { firstMs: 1, mostMs: 2 }, ...options };
  const worker = await Worker.create({ redis: "redis://unused", ...merged }, { broker, detector });
  const running = worker.run();
  return {
    broker,
    detector,
    worker,
    async [Symbol.asyncDispose](): Promise<void> {
      await worker.stop({ now: true });
      await running;
    },
  };
}

const log: string[] = [];
setLogSink((level, text) => log.push(`${level}: ${text}`));
afterEach(() => {
  log.length = 0;
});

async function metric(worker: Worker, line: string): Promise<number> {
  const found = (await worker.metrics()).split("\n").find((one) => one.startsWith(`bun_tensorrt_${line} `));
  return Number(found?.split(" ").at(-1));
}

describe("Worker", () => {
  test("answers every frame and acknowledges it with that", async () => {
    await using run = await started();
    for (let at = 0; at < 20; at++) run.broker.add({ source_id: "a", frame_id: String(at), data: "x" });
    await run.broker.untilWritten(20);
    expect(run.broker.written.map(({ fields }) => fields.get("frame_id"))).toEqual(
      Array.from({ length: 20 }, (_, at) => String(at)),
    );
    expect(run.broker.pending).toEqual([]);
    expect(await metric(run.worker, 'frames_total{outcome="ok"}')).toBe(20);
    expect(await metric(run.worker, 'stage_seconds_count{stage="send"}')).toBe(20);
  });

  test("holds no more frames than maxHeld, and gives the detector no more than concurrency", async () => {
    const gate = Promise.withResolvers<void>();
    await using run = await started({ maxHeld: 5, concurrency: 3 }, (broker, detector) => {
      detector.work = () => gate.promise;
      for (let at = 0; at < 50; at++) broker.add({ data: "x" });
    });
    while (run.broker.pending.length < 5 || run.detector.running < 3) await Bun.sleep(1);
    // Long enough for another turn to take more than it may.
    await Bun.sleep(30);
    expect([run.broker.pending.length, run.broker.unread, run.detector.running]).toEqual([5, 45, 3]);
    gate.resolve();
    await run.broker.untilWritten(50);
    expect(run.detector.mostRunning).toBe(3);
  });

  test("gives a detector with batches enough to fill one while the others run", async () => {
    const gate = Promise.withResolvers<void>();
    await using run = await started({ detector: { batch: 4, inFlight: 2 } }, (broker, detector) => {
      detector.work = () => gate.promise;
      for (let at = 0; at < 50; at++) broker.add({ data: "x" });
    });
    while (run.broker.pending.length < 24 || run.detector.running < 12) await Bun.sleep(1);
    await Bun.sleep(30);
    expect([run.detector.running, run.broker.pending.length]).toEqual([12, 24]);
    gate.resolve();
    await run.broker.untilWritten(50);
  });

  test("answers a frame that is no image with an error, once", async () => {
    await using run = await started({}, (_, detector) => {
      detector.work = () => Promise.reject(new ImageError("Cannot decode it\nHint: none", "bytes"));
    });
    const id = run.broker.add({ source_id: "a", data: "x" });
    run.broker.add({ frame: "garbage" });
    await run.broker.untilWritten(2);
    expect(log.find((line) => line.endsWith("Cannot decode it"))).toContain(`warn: Refused frame ${id} of "`);
    expect(run.broker.written.map(({ fields }) => fields.get("error"))).toEqual(
      expect.arrayContaining(["Cannot decode it", expect.stringContaining("holds no buntensorrt.v1.Frame (")]),
    );
    expect(
      run.broker.written.every(({ stream, fields }) => stream === "detections" && fields.get("detections") === "[]"),
    ).toBe(true);
    expect(await metric(run.worker, 'frames_total{outcome="error"}')).toBe(2);
  });

  test("puts a frame that is no image on the dead-letter stream where it is told so, with the frame itself", async () => {
    await using run = await started({ deadLetter: { badFrames: "bury", stream: "dead" } });
    run.broker.add({ source_id: "a", data: "", note: "n" });
    await run.broker.untilWritten(1);
    const [{ stream, fields }] = run.broker.written as [(typeof run.broker.written)[0]];
    expect(stream).toBe("dead");
    expect(fields.get("dead_reason")).toContain("it is empty (0 bytes)");
    expect(fields.get("dead_kind")).toBe("bad-frame");
    expect(Buffer.from(fields.get("note") as Uint8Array).toString()).toBe("n");
  });

  test("buries an entry of thousands of fields with the first thousand: no script takes them all", async () => {
    await using run = await started({ deadLetter: { badFrames: "bury" } });
    run.broker.add(Object.fromEntries(Array.from({ length: 5000 }, (_, at) => [`field ${at}`, "x"])));
    await run.broker.untilWritten(1);
    expect(run.broker.written[0]!.fields.size).toBe(1006);
  });

  test("leaves a frame pending at which the detector failed, and buries it after the last delivery", async () => {
    await using run = await started({ deadLetter: { maxDeliveries: 2 } }, (_, detector) => {
      detector.work = () => Promise.reject(new Error("out of memory"));
    });
    const id = run.broker.add({ data: "x" });
    while (!(await metric(run.worker, 'errors_total{code="detector"}'))) await Bun.sleep(5);
    expect(run.broker.pending).toEqual([id]);
    expect(run.broker.written).toEqual([]);
    run.broker.add({ data: "x" }, 2);
    await run.broker.untilWritten(1);
    const [{ stream, fields }] = run.broker.written as [(typeof run.broker.written)[0]];
    expect(stream).toBe("detections:dead");
    expect([fields.get("dead_kind"), fields.get("dead_reason"), fields.get("dead_deliveries")]).toEqual([
      "failed",
      "out of memory",
      "2",
    ]);
    expect(await metric(run.worker, 'worker_dead_letters_total{reason="failed"}')).toBe(1);
  });

  test("buries a claimed frame that was delivered too often unseen: it may kill whoever looks at it", async () => {
    await using run = await started({ deadLetter: { maxDeliveries: 3 } }, (broker) => {
      broker.stale.push(broker.entry({ data: "x" }, 3), broker.entry({ data: "y" }, 4));
    });
    await run.broker.untilWritten(2);
    expect(run.detector.options).toHaveLength(1);
    expect(run.broker.written.map(({ fields }) => fields.get("dead_kind")).sort()).toEqual(["unanswered", undefined]);
    expect(await metric(run.worker, "worker_claimed_total")).toBe(2);
  });

  test("writes an answer again until the server takes it", async () => {
    await using run = await started({}, (broker) => {
      broker.faults.push(new RedisError("gone", "CONNECTION"), new RedisError("full", "OOM"));
      broker.add({ data: "x" });
    });
    await run.broker.untilWritten(1);
    expect(await metric(run.worker, 'errors_total{code="redis"}')).toBe(2);
    expect(log.filter((line) => line.includes("Trying again"))).toHaveLength(1);
  });

  test("with the policy latest drops what has become old, acknowledged and counted", async () => {
    const gate = Promise.withResolvers<void>();
    await using run = await started({ policy: "latest", sources: { b: { policy: "all" } } }, (broker, detector) => {
      detector.work = () => gate.promise;
      broker.add({ source_id: "z", data: "x" });
      for (let at = 0; at < 10; at++) broker.add({ source_id: "a", frame_id: `a${at}`, data: "x" });
      for (let at = 0; at < 3; at++) broker.add({ source_id: "b", frame_id: `b${at}`, data: "x" });
    });
    while (run.broker.acknowledged.length < 9) await Bun.sleep(2);
    gate.resolve();
    await run.broker.untilWritten(5);
    const ids = run.broker.written.map(({ fields }) => fields.get("frame_id"));
    expect(ids).toEqual(["", "a9", "b0", "b1", "b2"]);
    expect(await metric(run.worker, 'drops_total{reason="latest"}')).toBe(9);
    expect(await metric(run.worker, 'frames_total{outcome="dropped"}')).toBe(9);
    expect(run.broker.pending).toEqual([]);
  });

  test("counts as dropped only what nobody else has answered", async () => {
    const gate = Promise.withResolvers<void>();
    await using run = await started({ policy: "latest" }, (broker, detector) => {
      detector.work = () => gate.promise;
      broker.add({ source_id: "z", data: "x" });
      const id = broker.add({ source_id: "a", data: "x" });
      broker.add({ source_id: "a", data: "x" });
      const acknowledge = broker.acknowledge.bind(broker);
      broker.acknowledge = (entries) => {
        if (entries[0]?.id === id) broker.forget(id);
        return acknowledge(entries);
      };
    });
    while (run.broker.acknowledged.length < 1) await Bun.sleep(1);
    gate.resolve();
    await run.broker.untilWritten(2);
    expect(await metric(run.worker, 'frames_total{outcome="ok"}')).toBe(2);
    expect(await metric(run.worker, 'drops_total{reason="latest"}')).toBeNaN();
  });

  test("writes what nobody else can have answered, though the server has forgotten who has it", async () => {
    const gate = Promise.withResolvers<void>();
    let id = "";
    await using run = await started({ claim: { idleMs: 900, intervalMs: 10 } }, (broker, detector) => {
      detector.work = () => gate.promise;
      id = broker.add({ data: "x" });
    });
    while (run.detector.running === 0) await Bun.sleep(1);
    run.broker.forget(id);
    // Longer than it takes others to claim it, if the server did not hear of it.
    while (run.broker.kept.length < 4) await Bun.sleep(5);
    gate.resolve();
    await run.broker.untilWritten(1);
    expect(await metric(run.worker, "worker_superseded_total")).toBe(0);
  });

  test("leaves to the faster one what others may have answered: claimed before, or not heard of for long", async () => {
    const gate = Promise.withResolvers<void>();
    const ids: string[] = [];
    await using run = await started({ claim: { idleMs: 60, intervalMs: 10 }, concurrency: 3 }, (broker, detector) => {
      detector.work = () => gate.promise;
      // As if the reply had waited in a process that was stopped.
      const read = broker.read.bind(broker);
      broker.read = async (options) => {
        const entries = await read(options);
        return entries.map((entry) => (entry.deliveries > 1 ? entry : { ...entry, askedAt: entry.askedAt! - 50 }));
      };
      ids.push(broker.add({ data: "x" }), broker.add({ data: "x" }, 2));
    });
    while (run.detector.running < 2 || run.broker.kept.length < 4) await Bun.sleep(1);
    for (const id of ids) run.broker.forget(id);
    gate.resolve();
    while ((await metric(run.worker, "worker_superseded_total")) < 2) await Bun.sleep(1);
    expect(run.broker.written).toEqual([]);
  });

  test("reads on while the detector has its next frames, however many streams there are", async () => {
    let gate = Promise.withResolvers<void>();
    const input = ["a", "b", "c", "d", "e", "f"];
    await using run = await started({ input, concurrency: 1 }, (broker, detector) => {
      detector.work = () => gate.promise;
      for (let at = 0; at < 14; at++) broker.add({ data: "x" });
    });
    while (run.detector.running === 0) await Bun.sleep(1);
    const left = run.broker.unread;
    // All but one of those that were read first, which stays at the detector.
    for (let done = 1; done < 14 - left; done++) {
      const former = gate;
      gate = Promise.withResolvers<void>();
      former.resolve();
      await run.broker.untilWritten(done);
      await Bun.sleep(1);
    }
    while (run.broker.unread === left) await Bun.sleep(1);
    expect(run.detector.running).toBe(1);
    gate.resolve();
    await run.broker.untilWritten(14);
  });

  test("claims no more frames at once than the detector takes, and goes on as long as there are some", async () => {
    const counts: number[] = [];
    const options = { concurrency: 2, maxHeld: 16, claim: { idleMs: 60_000, intervalMs: 60_000 } };
    await using run = await started(options, (broker) => {
      for (let at = 0; at < 5; at++) broker.stale.push(broker.entry({ data: "x" }, 2));
      const claim = broker.claim.bind(broker);
      broker.claim = (count) => {
        counts.push(count);
        return claim(count);
      };
    });
    await run.broker.untilWritten(5);
    expect(counts).toEqual([2, 2, 2]);
  });

  test("is failing, and not ready, while the server refuses what it is asked", async () => {
    let isRefused = true;
    await using run = await started({ http: { port: 0 } }, (broker) => {
      const read = broker.read.bind(broker);
      broker.read = (options) => {
        return isRefused ? Promise.reject(new RedisError("it may not", "NOPERM")) : read(options);
      };
    });
    while (run.worker.state !== "failing") await Bun.sleep(1);
    const ready = await fetch(new URL("readyz", run.worker.url));
    expect([ready.status, await ready.json()]).toEqual([503, { status: "failing" }]);
    isRefused = false;
    run.broker.add({ data: "x" });
    await run.broker.untilWritten(1);
    const state = (): string => run.worker.state;
    while (state() !== "running") await Bun.sleep(1);
  });

  test("is failing, and not ready, while its answers are refused", async () => {
    let isRefused = true;
    await using run = await started({ http: { port: 0 } }, (broker) => {
      const answer = broker.answer.bind(broker);
      broker.answer = (...parts) => {
        return isRefused ? Promise.reject(new RedisError("it may not XACK", "NOPERM")) : answer(...parts);
      };
      broker.add({ data: "x" });
    });
    while (run.worker.state !== "failing") await Bun.sleep(1);
    const ready = await fetch(new URL("readyz", run.worker.url));
    expect([ready.status, await ready.json()]).toEqual([503, { status: "failing" }]);
    // A second frame that is read meanwhile changes nothing.
    run.broker.add({ data: "y" });
    await Bun.sleep(20);
    expect(run.worker.state).toBe("failing");
    isRefused = false;
    await run.broker.untilWritten(2);
    const state = (): string => run.worker.state;
    while (state() !== "running") await Bun.sleep(1);
  });

  test("refuses to start as a user who may not acknowledge", async () => {
    const broker = new MemoryBroker();
    broker.acknowledge = () => Promise.reject(new RedisError("it may not XACK", "NOPERM"));
    const worker = await Worker.create({ redis: "redis://unused" }, { broker, detector: new StubDetector() });
    await expect(worker.run()).rejects.toThrow("it may not XACK");
    expect(worker.state).toBe("stopped");
  });

  test("gives up a frame that is at the detector for too long, and leaves it pending", async () => {
    let tries = 0;
    await using run = await started({ frameTimeoutMs: 30, concurrency: 2 }, (broker, detector) => {
      detector.detect = async (source, options) => {
        if (Buffer.from(source as Uint8Array).toString() !== "hangs") {
          return await StubDetector.prototype.detect.call(detector, source, options);
        }
        tries += 1;
        const { promise, reject } = Promise.withResolvers<never>();
        options!.signal!.addEventListener("abort", () => reject(options!.signal!.reason));
        return await promise;
      };
      broker.add({ data: "hangs" }, 3);
    });
    while (!log.join().includes("Failed at")) {
      run.broker.add({ data: "x" });
      await Bun.sleep(10);
    }
    // Its last delivery is no reason to bury it: it may have waited behind another.
    expect(log.join()).toContain(
      'Failed at frame 1-0 of "frames", delivery 3 of 3. The detector did not finish it within 30.0 ms',
    );
    expect([tries, run.broker.pending.includes("1-0"), run.worker.state]).toEqual([1, true, "running"]);
  });

  test("a detector that hangs is stalled: nothing is read, what waits is handed back, and it goes on when it recovers", async () => {
    await using run = await started(
      { frameTimeoutMs: 40, maxHeld: 4, concurrency: 1, http: { port: 0 } },
      (broker, detector) => {
        detector.work = () => new Promise(() => {});
        for (let at = 0; at < 9; at++) broker.add({ data: "x" });
      },
    );
    while (run.detector.running === 0) await Bun.sleep(1);
    run.detector.stalledMs = 50;
    const state = (): string => run.worker.state;
    while (run.broker.handedBack.length < 3) await Bun.sleep(1);
    expect([state(), run.broker.unread]).toEqual(["stalled", 5]);
    const probe = async (path: string): Promise<number> => (await fetch(new URL(path, run.worker.url))).status;
    expect([await probe("readyz"), await probe("healthz")]).toEqual([503, 200]);
    run.detector.stalledMs = 120_001;
    expect([await probe("readyz"), await probe("healthz")]).toEqual([503, 503]);
    expect(run.broker.unread).toBe(5);
  });

  test("stop() settles within its limit, also where the server never answers again", async () => {
    const { worker, broker } = await started({ drainMs: 0 });
    while (worker.state !== "running") await Bun.sleep(1);
    broker.close = () => new Promise(() => {});
    const calledAt = performance.now();
    await worker.stop();
    expect(performance.now() - calledAt).toBeWithin(1100, 1900);
    expect(log.join()).toContain("error: Stopped with work left behind");
  });

  test("waits at the start for a server that has no room", async () => {
    const codes = ["OOM", "MISCONF", "NOREPLICAS", "MAXCLIENTS"];
    await using run = await started({}, (broker) => {
      broker.open = () => {
        const code = codes.shift();
        return code === undefined ? Promise.resolve() : Promise.reject(new RedisError("it is full", code));
      };
      broker.add({ data: "x" });
    });
    await run.broker.untilWritten(1);
    expect(codes).toEqual([]);
  });

  test("applies the rules of the source, and takes others with reload", async () => {
    const sources = { strict: { threshold: 0.9 }, edge: { edgeMargin: 0 }, far: { slices: { size: 320 } } };
    await using run = await started({ sources });
    const found = async (sourceId: string): Promise<number> => {
      const before = run.broker.written.length;
      run.broker.add({ source_id: sourceId, data: "x" });
      await run.broker.untilWritten(before + 1);
      return JSON.parse(String(run.broker.written.at(-1)!.fields.get("detections"))).length;
    };
    expect([await found("a"), await found("strict"), await found("edge")]).toEqual([1, 0, 0]);
    expect(run.detector.options.at(-1)?.slices).toBeUndefined();
    expect(await found("far")).toBe(1);
    expect(run.detector.options.at(-1)).toMatchObject({ slices: { size: 320 } });
    const options: WorkerOptions = {
      redis: "redis://other",
      output: { format: "fields" },
      classes: ["dog"],
      threshold: 0.1,
    };
    run.worker.reload(options);
    expect([await found("a"), await found("strict")]).toEqual([0, 0]);
    expect(run.detector.options.at(-1)).toMatchObject({ threshold: 0.1 });
    expect(log.join("\n")).toContain('Option "redis" cannot change at runtime');
    expect(() => run.worker.reload({ ...options, classes: ["dgo"] })).toThrow(OptionError);
    expect(() => run.worker.reload({ ...options, treshold: 1 } as WorkerOptions)).toThrow(OptionError);
    expect(await found("a")).toBe(0);
  });

  test("reload() changes intervals beside a fixed option, and names every option that stays", async () => {
    let claims = 0;
    let reads = 0;
    let isAway = false;
    let isTold = false;
    await using run = await started({ claim: { idleMs: 30, intervalMs: 1 } }, (broker) => {
      broker.claim = () => {
        claims += 1;
        return Promise.resolve({ entries: [], lost: 0 });
      };
      broker.read = async () => {
        reads += 1;
        await Bun.sleep(1);
        if (!isAway) return [];
        isTold = true;
        throw new RedisError("gone", "CONNECTION");
      };
    });
    const rest = { output: { format: "fields", stream: "others" }, consumer: "other" } as const;
    run.worker.reload({
      ...rest,
      claim: { idleMs: 40, intervalMs: 60_000 },
      reconnect: { firstMs: 60_000, mostMs: 60_000 },
    });
    const kept = log
      .filter((line) => line.includes("cannot change at runtime"))
      .map((line) => /"(.+)"/.exec(line)?.[1]);
    expect(kept).toEqual(["redis", "consumer", "claim.idleMs"]);
    expect(run.worker.consumer).not.toBe("other");
    expect(log.filter((line) => line.includes("Writes to"))).toEqual([
      'warn: Writes to "others" from now on, and no longer to "detections"',
      'warn: Writes to "others:dead" from now on, and no longer to "detections:dead"',
    ]);
    const untilReads = async (count: number): Promise<void> => {
      while (reads < count) await Bun.sleep(5);
    };
    await untilReads(reads + 10);
    const claimsBefore = claims;
    await untilReads(reads + 20);
    expect(claims).toBe(claimsBefore);
    isAway = true;
    while (!isTold) await Bun.sleep(5);
    const readsAway = reads;
    await Bun.sleep(50);
    expect(reads).toBe(readsAway);
  });

  test("tells the server of frames it still works on", async () => {
    const gate = Promise.withResolvers<void>();
    await using run = await started({ claim: { idleMs: 30, intervalMs: 1000 } }, (broker, detector) => {
      detector.work = () => gate.promise;
      broker.add({ data: "x" });
    });
    while (run.broker.kept.length < 3) await Bun.sleep(5);
    expect(new Set(run.broker.kept)).toEqual(new Set(["1-0"]));
    gate.resolve();
    await run.broker.untilWritten(1);
  });

  test("stop() answers what is in flight, and then frees the detector", async () => {
    const gate = Promise.withResolvers<void>();
    await using run = await started({ maxHeld: 2 }, (broker, detector) => {
      detector.work = () => gate.promise;
      for (let at = 0; at < 5; at++) broker.add({ data: "x" });
    });
    while (run.detector.running === 0) await Bun.sleep(1);
    const stopping = run.worker.stop();
    expect(run.worker.state).toBe("draining");
    gate.resolve();
    await stopping;
    expect([run.broker.written.length, run.broker.pending.length, run.broker.unread]).toEqual([2, 0, 3]);
    expect([run.worker.state, run.detector.isClosed, run.broker.handedBack.length]).toEqual(["stopped", true, 0]);
  });

  test("stop() hands back what is not done within the limit", async () => {
    const gate = Promise.withResolvers<void>();
    await using run = await started({ drainMs: 20, maxHeld: 2 }, (broker, detector) => {
      detector.work = () => gate.promise;
      for (let at = 0; at < 5; at++) broker.add({ data: "x" });
    });
    while (run.detector.running === 0) await Bun.sleep(1);
    await run.worker.stop();
    expect(run.broker.handedBack).toEqual(["1-0", "2-0"]);
    expect(run.broker.written).toEqual([]);
    gate.resolve();
  });

  test("stop() counts its limit from the call, whatever the server does", async () => {
    const gate = Promise.withResolvers<void>();
    const options = { drainMs: 300, maxHeld: 2, claim: { idleMs: 1200, intervalMs: 400 } };
    await using run = await started(options, (broker, detector) => {
      detector.work = () => gate.promise;
      // A server that hangs: the read ends by its own limit alone.
      broker.wake = () => Promise.resolve();
      broker.add({ data: "x" });
    });
    while (run.detector.running === 0) await Bun.sleep(1);
    const calledAt = performance.now();
    await run.worker.stop();
    // The read itself takes longer.
    expect(performance.now() - calledAt).toBeLessThan(1100);
    expect(run.broker.handedBack).toEqual(["1-0"]);
    gate.resolve();
  });

  test("stop() keeps the frames in flight for itself while they are answered", async () => {
    const gate = Promise.withResolvers<void>();
    await using run = await started({ claim: { idleMs: 30, intervalMs: 1000 } }, (broker, detector) => {
      detector.work = () => gate.promise;
      broker.add({ data: "x" });
    });
    while (run.detector.running === 0) await Bun.sleep(1);
    const stopping = run.worker.stop();
    await Bun.sleep(20);
    const before = run.broker.kept.length;
    while (run.broker.kept.length < before + 3) await Bun.sleep(5);
    gate.resolve();
    await stopping;
    expect(run.broker.written).toHaveLength(1);
  });

  test("stop({ now: true }) hands back also what the detector finished after it", async () => {
    const gate = Promise.withResolvers<void>();
    await using run = await started({ maxHeld: 2 }, (broker, detector) => {
      detector.work = () => gate.promise;
      // The frames are finished while the worker still waits for its read to end.
      broker.wake = async () => {
        gate.resolve();
        await Bun.sleep(10);
        await MemoryBroker.prototype.wake.call(broker);
      };
      broker.add({ data: "x" });
    });
    while (run.detector.running === 0) await Bun.sleep(1);
    await run.worker.stop({ now: true });
    expect([run.broker.handedBack, run.broker.written.length]).toEqual([["1-0"], 0]);
  });

  test("serves health, readiness and metrics on this machine alone", async () => {
    await using run = await started({ http: { port: 0 } });
    while (run.worker.state !== "running") await Bun.sleep(1);
    const { url } = run.worker;
    expect(url!.hostname).toBe("127.0.0.1");
    const get = async (path: string): Promise<[number, string]> => {
      const response = await fetch(new URL(path, url));
      return [response.status, await response.text()];
    };
    expect(await get("healthz")).toEqual([200, '{"status":"ok"}']);
    expect(await get("readyz")).toEqual([200, '{"status":"running"}']);
    expect((await get("metrics"))[1]).toContain('bun_tensorrt_worker_queue_pending{stream="frames"} 0');
    expect((await get("else"))[0]).toBe(404);
  });

  test("create() refuses options before anything is loaded, and closes the detector it was given", async () => {
    const detector = new StubDetector();
    const parts = { broker: new MemoryBroker(), detector };
    await expect(Worker.create({ classes: ["dgo"] }, parts)).rejects.toThrow(OptionError);
    expect(detector.isClosed).toBe(true);
    const broken = new StubDetector();
    const fault = new Error("no memory");
    broken.warmUp = () => Promise.reject(fault);
    await expect(Worker.create({}, { ...parts, detector: broken })).rejects.toBe(fault);
    expect(broken.isClosed).toBe(true);
    // Frames to come may be smaller than those of the warm-up.
    const short = new StubDetector();
    short.warmUp = () => Promise.reject(new NativeError("Cannot copy: it is full", { code: "FULL", call: "copy" }));
    await (await Worker.create({}, { ...parts, detector: short })).stop();
    expect(log).toContain("warn: The first frames take longer, as the warm-up failed: Cannot copy: it is full");
    // A model that ONNX Runtime cannot run at its size cannot be run for any frame; memory may come back.
    const unfit = new StubDetector();
    const ofModel = new OnnxRuntimeError("Cannot run: axis 2 has 41 and 42", { code: "ORT_FAIL", call: "Run" });
    unfit.warmUp = () => Promise.reject(ofModel);
    await expect(Worker.create({}, { ...parts, detector: unfit })).rejects.toBe(ofModel);
    const ofMemory = new OnnxRuntimeError("Cannot run: Failed to allocate memory", { code: "ORT_FAIL", call: "Run" });
    short.warmUp = () => Promise.reject(ofMemory);
    await (await Worker.create({}, { ...parts, detector: short })).stop();
    await expect(Worker.create({ input: ["a", "b", "c"], maxHeld: 2 }, parts)).rejects.toThrow(
      /"maxHeld" must be at least/,
    );
    await expect(Worker.create({ detector: { threshhold: 1 } as object }, parts)).rejects.toThrow(
      /Did you mean "threshold"/,
    );
  });
});

describe("a server that is not there", () => {
  const redis = "redis://me:secret@127.0.0.1:1/0";
  const reconnect = { firstMs: 1, mostMs: 5 };
  const detector = (): Promise<never> => Promise.reject(new Error("the model must not be loaded"));

  test("Worker.create() fails after connectTimeoutMs, with the address and without its password", async () => {
    const error = await Worker.create({ redis, reconnect, connectTimeoutMs: 40 }, { detector }).catch(
      (reason) => reason,
    );
    expect(error).toMatchObject({ name: "RedisError", code: "CONNECTION" });
    expect(error.message).toMatch(
      /^Cannot use the Redis server redis:\/\/me:\*\*\*@127.0.0.1:1\/0: it cannot be reached \(.*\), tried for 40 ms\nHint: start the server, /,
    );
    using silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const mute = { redis: `redis://me:secret@127.0.0.1:${silent.port}`, reconnect, connectTimeoutMs: 40 };
    await expect(Worker.create(mute, { detector })).rejects.toThrow(
      `Cannot use the Redis server redis://me:***@127.0.0.1:${silent.port}: it has not answered in 40 ms\nHint: `,
    );
  });

  test("Worker.create() ends with its signal, and closes a detector that it was given", async () => {
    const abort = new AbortController();
    const own = new StubDetector();
    const creating = Worker.create({ redis, reconnect }, { detector: own, signal: abort.signal });
    const reason = new Error("enough");
    setTimeout(() => abort.abort(reason), 10);
    await expect(creating).rejects.toBe(reason);
    expect(own.isClosed).toBe(true);
  });

  test("with connectTimeoutMs 0 Worker.create() connects to nothing, and run() waits", async () => {
    const worker = await Worker.create({ redis, reconnect, connectTimeoutMs: 0 }, { detector: new StubDetector() });
    const running = worker.run();
    await Bun.sleep(30);
    expect(worker.state).toBe("starting");
    await worker.stop({ now: true });
    await running;
  });
});
