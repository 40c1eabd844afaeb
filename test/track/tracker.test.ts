import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Detection } from "../../src/tasks/detect/detection.ts";
import { rotatedCorners } from "../../src/tasks/obb/rotated.ts";
import type { OrientedObject } from "../../src/tasks/objects/objects.ts";
import { FrameClock, Tracker } from "../../src/track/tracker.ts";
import { TRACKERS, type TrackerOptions } from "../../src/track/tracker-options.ts";
import golden from "../fixtures/track/vtest-60.json" with { type: "json" };

type Sides = readonly [number, number, number, number];

function found(box: Sides, score = 0.9, classId = 0): Detection {
  return { label: `class ${classId}`, classId, score, box };
}

function foundIn(rows: readonly (readonly number[])[]): Detection[] {
  return rows.map(([x1, y1, x2, y2, score, classId = 0]) => found([x1!, y1!, x2!, y2!], score, classId));
}

/** A square of 40 pixels around a place. */
function at(x: number, y: number, score = 0.9, classId = 0): Detection {
  return found([x - 20, y - 20, x + 20, y + 20], score, classId);
}

for (const { name, options, tracks, lastBoxes } of golden.trackers) {
  test(`${name}: the tracks of the reference over 60 frames`, () => {
    const tracker = new Tracker(options as TrackerOptions);
    let last: Detection[] = [];
    for (const [frame, rows] of golden.detections.entries()) {
      const detections = foundIn(rows);
      // 10 frames a second, in whole milliseconds and not: a constant rate changes nothing.
      last = tracker.update(detections, { timestampMs: Math.round(frame * 100.03) });
      expect([frame, ...last.map((one) => [detections.indexOf(one), one.trackId!])]).toEqual([
        frame,
        ...tracks[frame]!,
      ]);
    }
    for (const [row, box] of lastBoxes.entries()) {
      for (const [side, value] of box.entries()) expect(last[row]!.box[side]!).toBeCloseTo(value, 2);
    }
  });
}

const shared = join(import.meta.dir, "../../../shared/reference/tracking");

for (const name of ["bytetrack", "bytetrack_nofuse", "botsort_nogmc", "ocsort"]) {
  test.skipIf(!existsSync(shared))(`${name}: the tracks of ../shared over 200 frames, up to a bijection of ids`, () => {
    const read = (file: string) => JSON.parse(readFileSync(join(shared, file), "utf8"));
    const { config, frames } = read(`ultralytics_${name}.json`) as {
      config: Record<string, never>;
      frames: number[][][];
    };
    const tracker = new Tracker({
      tracker: config.tracker_type!,
      highThreshold: config.track_high_thresh!,
      newThreshold: config.new_track_thresh!,
      fuseScore: config.fuse_score!,
    });
    const idOf = new Map<number, number>();
    let worst = 0;
    for (const [frame, rows] of (read("detections.json").frames as number[][][]).entries()) {
      const detections = foundIn(rows);
      const tracked = new Map(tracker.update(detections).map((one) => [detections.indexOf(one), one]));
      expect([frame, tracked.size]).toEqual([frame, frames[frame]!.length]);
      for (const [x1, y1, x2, y2, id, , , detection] of frames[frame]!) {
        const { trackId, box } = tracked.get(detection!)!;
        if (!idOf.has(id!)) idOf.set(id!, trackId);
        expect([frame, id, trackId]).toEqual([frame, id, idOf.get(id!)!]);
        for (const [side, value] of [x1!, y1!, x2!, y2!].entries())
          worst = Math.max(worst, Math.abs(box[side]! - value));
      }
    }
    expect(new Set(idOf.values()).size).toBe(idOf.size);
    // Half of the last digit that is written, and what f32 loses of 768 pixels.
    expect(worst).toBeLessThan(0.0006);
  });
}

test.skipIf(!existsSync(shared))("one frame in ten dropped from ../shared: how often an id changes", () => {
  const frames = JSON.parse(readFileSync(join(shared, "detections.json"), "utf8")).frames as number[][][];
  /** Ids by detection, of each frame. */
  const run = (options: TrackerOptions, isKept: (frame: number) => boolean): (Map<number, number> | undefined)[] => {
    const tracker = new Tracker(options);
    return frames.map((rows, frame) => {
      if (!isKept(frame)) return undefined;
      const detections = foundIn(rows);
      const tracked = tracker.update(detections, { timestampMs: frame * 100 });
      return new Map(tracked.map((one) => [detections.indexOf(one), one.trackId]));
    });
  };
  const changes = (options: TrackerOptions): number => {
    const all = run(options, () => true);
    let count = 0;
    for (let phase = 0; phase < 10; phase++) {
      const idOf = new Map<number, number>();
      for (const [frame, ids] of run(options, (one) => one % 10 !== phase).entries()) {
        for (const [detection, id] of ids ?? []) {
          const whole = all[frame]!.get(detection);
          if (whole === undefined) continue;
          if (idOf.has(whole) && idOf.get(whole) !== id) count += 1;
          idOf.set(whole, id);
        }
      }
    }
    return count;
  };
  // Of about 11,000 boxes. What follows a change counts as no further one.
  const counts = TRACKERS.map((tracker) => [tracker, changes({ tracker }), changes({ tracker, clock: "frame" })]);
  expect(counts).toEqual([
    ["bytetrack", 49, 105],
    ["botsort", 36, 87],
    ["ocsort", 42, 92],
  ]);
});

test("two streams that take turns have the tracks that each has alone", () => {
  const [front, back] = [golden.detections, golden.detections.slice(20)];
  const run = (streams: readonly (readonly (readonly number[])[][])[]): unknown[][] => {
    const trackers = streams.map(() => new Tracker("ocsort"));
    const rows: unknown[][] = streams.map(() => []);
    for (let frame = 0; frame < 40; frame++) {
      for (const [which, stream] of streams.entries())
        rows[which]!.push(trackers[which]!.update(foundIn(stream[frame]!)));
    }
    return rows;
  };
  expect(run([front, back])).toEqual([...run([front]), ...run([back])]);
});

test("ids start at 1 and are there at once in the first frame, later from the second match on", () => {
  for (const tracker of TRACKERS) {
    const one = new Tracker(tracker);
    expect(one.update([at(100, 100), at(300, 100)]).map(({ trackId }) => trackId)).toEqual([1, 2]);
    expect(one.update([at(101, 100), at(301, 100), at(500, 100)]).map(({ trackId }) => trackId)).toEqual([1, 2]);
    expect(one.update([at(102, 100), at(302, 100), at(501, 100)]).map(({ trackId }) => trackId)).toEqual([1, 2, 3]);
  }
});

test("a track is looked for as long as `buffer` says, and keeps its id", () => {
  const seenAgainAfter = (gap: number): number[] => {
    const tracker = new Tracker({ buffer: 5 });
    for (let frame = 0; frame < 5; frame++) tracker.update([at(100, 100), at(400, 100)]);
    for (let frame = 0; frame < gap; frame++) tracker.update([at(400, 100)]);
    for (let frame = 0; frame < 2; frame++) tracker.update([at(400, 100), at(100, 100)]);
    return tracker.update([at(400, 100), at(100, 100)]).map(({ trackId }) => trackId);
  };
  expect(seenAgainAfter(4)).toContain(1);
  expect(seenAgainAfter(9)).not.toContain(1);
});

test("low scores go on with tracks and begin none", () => {
  const tracker = new Tracker();
  tracker.update([at(100, 100)]);
  expect(tracker.update([at(102, 100, 0.15), at(400, 100, 0.15)]).map(({ trackId }) => trackId)).toEqual([1]);
  expect(tracker.update([at(104, 100, 0.09)])).toEqual([]);
  expect(new Tracker().update([at(100, 100, 0.2)])).toEqual([]);
});

test("perClass: no track goes on with another class", () => {
  const classes = (options: TrackerOptions): number[][] => {
    const tracker = new Tracker(options);
    tracker.update([at(100, 100, 0.9, 2)]);
    tracker.update([at(100, 100, 0.9, 7)]);
    return tracker.update([at(100, 100, 0.9, 7)]).map(({ trackId, classId }) => [trackId, classId]);
  };
  expect(classes({})).toEqual([[1, 7]]);
  expect(classes({ perClass: true })).toEqual([[2, 7]]);
});

test("boxes: the tracker's, or those that were found", () => {
  const boxes = (options: TrackerOptions) => {
    const tracker = new Tracker(options);
    tracker.update([at(100, 100)]);
    return tracker.update([at(110, 100)])[0]!.box;
  };
  expect(boxes({ boxes: "detected" })).toEqual([90, 80, 130, 120]);
  const [x1, y1, x2, y2] = boxes({});
  expect([x1 > 80 && x1 < 90, y1, Math.round(x2 - x1), y2]).toEqual([true, 80, 40, 120]);
});

test("trace: the last places of each track, oldest first, and none of whose memory it uses again", () => {
  const tracker = new Tracker({ trace: 3, buffer: 2, boxes: "detected" });
  const traces = [0, 1, 2, 3, 4].map((frame) => {
    return tracker.update([at(100 + frame, 50), at(400, 50 + frame)]).map(({ trace }) => trace);
  });
  expect([traces[0], traces[4]]).toEqual([
    [[[100, 50]], [[400, 50]]],
    [
      [
        [102, 50],
        [103, 50],
        [104, 50],
      ],
      [
        [400, 52],
        [400, 53],
        [400, 54],
      ],
    ],
  ]);
  for (let frame = 0; frame < 6; frame++) tracker.update([]);
  tracker.update([at(700, 50)]);
  expect(tracker.update([at(701, 50)]).map(({ trace }) => trace)).toEqual([[[701, 50]]]);
  expect(new Tracker().update([at(100, 50)])[0]).not.toHaveProperty("trace");
});

/** A square that goes 12 pixels a frame; of 60 frames those that were kept. @returns its id in each of them */
function idsOfRunner(options: TrackerOptions, isKept: (frame: number) => boolean): (number | undefined)[] {
  const tracker = new Tracker(options);
  const ids: (number | undefined)[] = [];
  for (let frame = 0; frame < 60; frame++) {
    if (!isKept(frame)) continue;
    ids.push(tracker.update([at(50 + 12 * frame, 100)], { timestampMs: frame * 40 })[0]?.trackId);
  }
  return ids;
}

test("frames that were dropped move tracks by the time that has passed", () => {
  // Once its speed is known, four of five are dropped: it is then further than its own width.
  const isKept = (frame: number): boolean => frame < 20 || frame % 5 === 0;
  for (const tracker of TRACKERS) {
    expect(idsOfRunner({ tracker }, isKept)).toEqual(new Array(28).fill(1));
    expect(idsOfRunner({ tracker, clock: "frame" }, isKept).slice(20)).toContain(undefined);
  }
});

test("time in frames: 1 at a constant rate, more where frames were dropped", () => {
  const steps = (times: readonly number[], durationMs = 0): number[] => {
    const clock = new FrameClock();
    return times.map((timestampMs) => clock.step({ timestampMs, durationMs }));
  };
  expect(steps([0, 33, 67, 100, 133, 167])).toEqual([1, 1, 1, 1, 1, 1]);
  expect(steps([0, 40, 80, 160, 200, 320])).toEqual([1, 1, 1, 2, 1, 3]);
  // Half of the time of a frame, and one and a half, are what they are.
  expect(steps([0, 40, 60, 120], 40)).toEqual([1, 1, 0.5, 1.5]);
  // Time that stands still or runs back, as of a source that begins anew, says nothing.
  expect(steps([0, 40, 40, 0, 40])).toEqual([1, 1, 1, 1, 1]);
  expect(new FrameClock().step({})).toBe(1);
  expect(new FrameClock().step({ timestampMs: Number.NaN })).toBe(1);
});

function oriented(cx: number, cy: number, width: number, height: number, angle: number): OrientedObject {
  const xywhr = [cx, cy, width, height, angle] as const;
  const sides = rotatedCorners(xywhr);
  const corners = [0, 2, 4, 6].map((from) => [sides[from]!, sides[from + 1]!]) as unknown as OrientedObject["corners"];
  const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
  const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)] as const;
  return { label: "ship", classId: 0, score: 0.9, box, corners, angle, xywhr };
}

test("oriented boxes: matched by probiou, and the id goes on where sides change their names", () => {
  for (const tracker of TRACKERS) {
    const one = new Tracker(tracker);
    let last: OrientedObject[] = [];
    for (let frame = 0; frame < 30; frame++) {
      const angle = (frame / 30) * Math.PI;
      const [cx, cy] = [200 + 3 * frame, 200];
      // The same box, once by its long side and once by its short one.
      const ship = frame % 2 === 0 ? oriented(cx, cy, 80, 20, angle) : oriented(cx, cy, 20, 80, angle - Math.PI / 2);
      last = one.update([ship, oriented(500, 400, 60, 30, 0.3)]);
      expect(last.map(({ trackId }) => trackId)).toEqual([1, 2]);
    }
    const [{ xywhr, angle, corners, box }] = last as [OrientedObject];
    const [cx, cy, width, height] = xywhr;
    expect([
      Math.abs(cx - 287) < 6,
      Math.abs(cy - 200) < 1,
      Math.abs(width - 80) < 4,
      Math.abs(height - 20) < 2,
    ]).toEqual([true, true, true, true]);
    expect(angle).toBeCloseTo((29 / 30) * Math.PI - Math.PI, 5);
    expect(angle).toBe(xywhr[4]);
    const sides = rotatedCorners(xywhr);
    expect(corners.flat()).toEqual(sides);
    expect(box[0]).toBe(Math.min(sides[0]!, sides[2]!, sides[4]!, sides[6]!));
  }
});

test("what has no size, or no place, belongs to no track", () => {
  const tracker = new Tracker();
  const empty = [found([10, 10, 10, 50]), found([10, 10, 50, 5]), found([Number.NaN, 10, 50, 50])];
  expect(tracker.update(empty)).toEqual([]);
  expect(tracker.update([...empty, at(100, 100)])).toEqual([]);
  expect(tracker.update([])).toEqual([]);
});

test("many objects for many frames: ids stay, and memory of tracks that are gone is used again", () => {
  const tracker = new Tracker({ buffer: 3 });
  let most = 0;
  for (let frame = 0; frame < 300; frame++) {
    // New objects every ten frames, elsewhere.
    const era = Math.floor(frame / 10);
    const objects = Array.from({ length: 50 }, (_, one) => at(60 * one + (era % 3) * 20000, 100 + (frame % 10)));
    const tracked = tracker.update(objects);
    if (frame % 10 > 1) expect(new Set(tracked.map(({ trackId }) => trackId)).size).toBe(50);
    most = Math.max(most, ...tracked.map(({ trackId }) => trackId));
  }
  expect(most).toBe(50 * 30);
});

test("of two tracks of one object the younger goes, and its memory is given to one other only", () => {
  const tracker = new Tracker({ boxes: "detected" });
  for (let frame = 0; frame < 3; frame++) tracker.update([at(100, 100)]);
  // A second box of the same object, which then is the only one.
  for (let frame = 0; frame < 5; frame++) tracker.update([at(100, 100), at(101, 100)]);
  const left = tracker.update([at(101, 100, 0.9)]).map(({ trackId }) => trackId);
  for (let frame = 0; frame < 3; frame++) {
    const others = [at(101, 100), at(300, 100), at(500, 100), at(700, 100)];
    const tracked = tracker.update(others);
    if (frame === 0) continue;
    expect(tracked.map(({ box }) => Math.round((box[0] + box[2]) / 2)).sort((a, b) => a - b)).toEqual([
      101, 300, 500, 700,
    ]);
    expect(new Set(tracked.map(({ trackId }) => trackId)).size).toBe(4);
  }
  expect(left.length).toBeLessThanOrEqual(1);
});

test("options are checked, in others' words, too", () => {
  expect(() => new Tracker("deepsort" as never)).toThrow('Option "tracker" must be bytetrack, botsort, ocsort');
  expect(() => new Tracker({ track_buffer: 3 } as never)).toThrow('Did you mean "buffer"?');
  expect(() => new Tracker({ buffer: 0 })).toThrow('Option "buffer" must be a whole number from 1 to 100000, got 0');
  expect(new Tracker().options.tracker).toBe("bytetrack");
});

test("what is no list of detections is refused, a whole result among it, of which a tracker would find nothing", () => {
  const tracker = new Tracker();
  const result = { detections: [at(100, 100)], width: 640, height: 480 };
  for (const [given, found] of [
    [result, "got a whole result\nHint: give a list of detections, such as `result.detections`"],
    [null, "got null"],
    [{}, "got an object"],
  ] as const) {
    expect(() => tracker.update(given as never)).toThrow(`Cannot track objects: ${found}`);
  }
  expect(tracker.update(result.detections)).toBeArray();
});
