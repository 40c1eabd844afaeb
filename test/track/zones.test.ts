import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setLogSink } from "../../src/core/log.ts";
import { imageOf } from "../../src/image/image.ts";
import type { Detection } from "../../src/tasks/detect/detection.ts";
import { type Anchor, readZones, type ZonePoint, type ZonesOptions } from "../../src/track/zone-options.ts";
import type { ZoneEvent } from "../../src/track/zone-shapes.ts";
import { Zones } from "../../src/track/zones.ts";
import supervision from "../fixtures/track/supervision.json" with { type: "json" };

const SIZE = { width: 200, height: 100 };

/** A square of 20 pixels that stands on a place. */
function at(x: number, y: number, trackId: number | "none" = 1, label = "person"): Detection {
  const id = trackId === "none" ? {} : { trackId };
  return { label, classId: label === "person" ? 0 : 2, score: 0.9, box: [x - 10, y - 20, x + 10, y], ...id };
}

/** One object by places, 100 ms apart; where there is none it is not seen. */
function walk(options: ZonesOptions, places: readonly (ZonePoint | undefined)[]) {
  const zones = new Zones(options);
  const events: ZoneEvent[] = [];
  for (const [frame, place] of places.entries()) {
    events.push(...zones.update(place === undefined ? [] : [at(...place)], { ...SIZE, timestampMs: frame * 100 }));
  }
  return { zones, events };
}

const door = { name: "door", from: [100, 0], to: [100, 100] } as const;
const room = {
  name: "room",
  polygon: [
    [50, 20],
    [150, 20],
    [150, 80],
    [50, 80],
  ] as ZonePoint[],
};

test("a line that goes down: who comes from the left of the image crosses it inwards", () => {
  const { zones, events } = walk({ lines: [door] }, [
    [80, 50],
    [95, 50],
    [110, 50],
    [120, 50],
    [90, 50],
  ]);
  expect(events).toEqual([
    {
      event: "cross",
      line: "door",
      trackId: 1,
      label: "person",
      classId: 0,
      timestampMs: 200,
      point: [110, 50],
      direction: "in",
    },
    {
      event: "cross",
      line: "door",
      trackId: 1,
      label: "person",
      classId: 0,
      timestampMs: 400,
      point: [90, 50],
      direction: "out",
    },
  ]);
  expect(zones.counts.lines).toEqual([{ name: "door", in: 1, out: 1, byClass: { person: { in: 1, out: 1 } } }]);
});

test("what trembles on a line within the margin counts once, and not before it is past the margin", () => {
  // The margin of a box of 20 x 20 is 2 pixels.
  const trembling = Array.from({ length: 40 }, (_, frame): ZonePoint => [frame % 2 === 0 ? 98.5 : 101.5, 50]);
  const path: ZonePoint[] = [[80, 50], ...trembling, [102.5, 50], ...trembling, [120, 50]];
  expect(walk({ lines: [door] }, path).events.map(({ timestampMs }) => timestampMs)).toEqual([4100]);
  expect(walk({ lines: [door], margin: 0 }, path).events.length).toBeGreaterThan(40);
});

test("minFrames: so many frames in a row on the other side", () => {
  const path: ZonePoint[] = [
    [80, 50],
    [120, 50],
    [120, 50],
    [80, 50],
    [120, 50],
    [120, 50],
    [120, 50],
  ];
  expect(walk({ lines: [door], minFrames: 3 }, path).events.map(({ timestampMs }) => timestampMs)).toEqual([600]);
  expect(walk({ lines: [door] }, path).events.length).toBe(3);
});

test("a line ends at its ends, and a way around them is no crossing", () => {
  const short = { name: "short", from: [100, 40], to: [100, 60] } as const;
  const around: ZonePoint[] = [
    [80, 50],
    [80, 90],
    [120, 90],
    [120, 50],
  ];
  expect(walk({ lines: [short] }, around).events).toEqual([]);
  // Back through the middle, although it came around.
  const back = walk({ lines: [short] }, [...around, [80, 50]]).events;
  expect(back.map((event) => event.event === "cross" && event.direction)).toEqual(["out"]);
});

test("who was lost on the line and is found on the other side has crossed it", () => {
  const gone = new Array<undefined>(20).fill(undefined);
  expect(walk({ lines: [door] }, [[80, 50], ...gone, [120, 50]]).events.length).toBe(1);
});

test("a zone: who comes in, who goes out, and how long it stayed", () => {
  const path: ZonePoint[] = [
    [30, 50],
    [60, 50],
    [100, 50],
    [140, 50],
    [170, 50],
  ];
  const { zones, events } = walk({ zones: [room] }, path);
  expect(
    events.map(({ event, timestampMs, ...rest }) => [event, timestampMs, "reason" in rest && rest.reason]),
  ).toEqual([
    ["enter", 100, "moved"],
    ["exit", 400, "moved"],
  ]);
  expect(events[1]).toMatchObject({ zone: "room", dwellMs: 300 });
  expect(zones.counts.zones).toEqual([
    {
      name: "room",
      occupancy: 0,
      peak: 1,
      in: 1,
      out: 1,
      meanDwellMs: 300,
      maxDwellMs: 300,
      byClass: { person: { occupancy: 0, in: 1, out: 1 } },
    },
  ]);
});

test("a zone: what trembles on its edge counts once", () => {
  const trembling = Array.from({ length: 20 }, (_, frame): ZonePoint => [frame % 2 === 0 ? 48.5 : 51.5, 50]);
  const { events } = walk({ zones: [room] }, [[30, 50], ...trembling, [60, 50], ...trembling, [30, 50]]);
  expect(events.map(({ event, timestampMs }) => [event, timestampMs])).toEqual([
    ["enter", 2100],
    ["exit", 4200],
  ]);
});

test("who appears inside has entered, and who is not seen for longer than patienceMs has left", () => {
  const gone = (frames: number) => new Array<undefined>(frames).fill(undefined);
  const { zones, events } = walk({ zones: [room], patienceMs: 300 }, [[100, 50], ...gone(2), [101, 50], ...gone(4)]);
  expect(events.map((one) => [one.event, "reason" in one && one.reason, one.timestampMs])).toEqual([
    ["enter", "appeared", 0],
    ["exit", "lost", 300],
  ]);
  expect(events[1]).toMatchObject({ dwellMs: 300 });
  expect(zones.occupancy).toEqual({ room: 0 });
});

test("finish: who is inside leaves with the stream, and its stay is told before", () => {
  const { zones } = walk({ zones: [room] }, [
    [100, 50],
    [100, 50],
    [100, 50],
  ]);
  expect(zones.counts.zones[0]).toMatchObject({ occupancy: 1, in: 1, out: 0, meanDwellMs: 200, maxDwellMs: 200 });
  expect(zones.finish()).toMatchObject([{ event: "exit", reason: "ended", dwellMs: 200, timestampMs: 200 }]);
  expect(zones.finish()).toEqual([]);
  expect(zones.counts.zones[0]).toMatchObject({ occupancy: 1, in: 1, out: 0, meanDwellMs: 200 });
});

test("objects without ids count for the occupancy of the frame alone", () => {
  const zones = new Zones({ zones: [room], lines: [door] });
  const objects = [at(60, 50, "none"), at(140, 50, "none", "car"), at(10, 50, "none")];
  expect(zones.update(objects, { ...SIZE, timestampMs: 0 })).toEqual([]);
  expect(zones.occupancy).toEqual({ room: 2 });
  expect(zones.counts.zones[0]!.byClass).toEqual({
    person: { occupancy: 1, in: 0, out: 0 },
    car: { occupancy: 1, in: 0, out: 0 },
  });
  zones.update([at(60, 50, "none")], { ...SIZE, timestampMs: 100 });
  expect([zones.occupancy.room, zones.counts.zones[0]!.peak]).toEqual([1, 2]);
});

test("classes count by name or id, and counts are by class", () => {
  const objects = [at(100, 50, 1), at(110, 50, 2, "car"), at(120, 50, 3, "car")];
  const occupancyOf = (classes?: readonly (string | number)[]) => {
    const zones = new Zones({ zones: [{ ...room, classes }] });
    zones.update(objects, { ...SIZE, timestampMs: 0 });
    return zones.occupancy.room;
  };
  expect([occupancyOf(), occupancyOf(["car"]), occupancyOf([0]), occupancyOf(["dog"])]).toEqual([3, 2, 1, 0]);
  const zones = new Zones({ zones: [room] });
  zones.update(objects, { ...SIZE, timestampMs: 0 });
  expect(zones.counts.zones[0]!.byClass).toEqual({
    person: { occupancy: 1, in: 1, out: 0 },
    car: { occupancy: 2, in: 2, out: 0 },
  });
});

test("fractions go by the size of the image, whatever it becomes", () => {
  const zones = new Zones({
    units: "fractions",
    zones: [
      {
        name: "left",
        polygon: [
          [0, 0],
          [0.5, 0],
          [0.5, 1],
          [0, 1],
        ],
      },
    ],
  });
  zones.update([at(90, 50, "none")], { ...SIZE, timestampMs: 0 });
  expect(zones.occupancy.left).toBe(1);
  zones.update([at(90, 50, "none")], { width: 100, height: 100, timestampMs: 100 });
  expect(zones.occupancy.left).toBe(0);
});

test("anchors: the point that stands for a box, or all of its corners", () => {
  // The box reaches from 40, 60 to 60, 80 and the edge of the zone is at 50, 70.
  const polygon: ZonePoint[] = [
    [50, 70],
    [200, 70],
    [200, 100],
    [50, 100],
  ];
  const isInside = (anchor: Anchor, x = 50) => {
    const zones = new Zones({ zones: [{ name: "zone", polygon }], anchor });
    zones.update([at(x, 80, "none")], { ...SIZE, timestampMs: 0 });
    return zones.occupancy.zone === 1;
  };
  const inside = ["bottom-right"] as const;
  for (const anchor of ["bottom-left", "top-left", "top-right", "centre-left", "top-centre", "corners"] as const) {
    expect([anchor, isInside(anchor, 55)]).toEqual([anchor, false]);
  }
  for (const anchor of inside) expect(isInside(anchor, 55)).toBe(true);
  expect(isInside("bottom-centre", 55)).toBe(true);
  expect(isInside("CENTER" as never, 55)).toBe(false);
  expect(new Zones({ zones: [{ name: "z", polygon, anchor: "BOTTOM_CENTER" as never }] }).occupancy).toEqual({ z: 0 });
});

test("a polygon that is not convex, and places that are none", () => {
  const polygon: ZonePoint[] = [
    [0, 0],
    [100, 0],
    [100, 100],
    [50, 30],
    [0, 100],
  ];
  const zones = new Zones({ zones: [{ name: "notched", polygon }] });
  const objects = [at(50, 60, 1), at(20, 60, 2), at(Number.NaN, 60, 3), at(80, 50, 4)];
  expect(zones.update(objects, { ...SIZE, timestampMs: 0 }).map(({ trackId }) => trackId)).toEqual([2, 4]);
});

test("time that runs back makes no visit shorter than nothing", () => {
  const zones = new Zones({ zones: [room] });
  zones.update([at(100, 50)], { ...SIZE, timestampMs: 5000 });
  zones.update([at(100, 50)], { ...SIZE, timestampMs: 10 });
  expect(zones.finish()).toMatchObject([{ dwellMs: 0 }]);
});

test("events and counts are values for JSON, and memory of tracks that are gone is given back", () => {
  const zones = new Zones({ zones: [room], lines: [door] });
  for (let id = 1; id <= 2000; id++) {
    for (const [step, x] of [80, 120].entries()) {
      const events = zones.update([at(x + 1 / 3, 50, id)], { ...SIZE, timestampMs: id * 1000 + step * 100 });
      expect(JSON.parse(JSON.stringify(events))).toEqual(events);
    }
  }
  expect(zones.counts.lines[0]).toMatchObject({ in: 2000, out: 0 });
  expect(zones.counts.zones[0]).toMatchObject({ in: 2000, occupancy: 2 });
});

const folder = join(import.meta.dir, "../../../shared/reference/tracking");

/** The tracks of the reference as objects with ids. */
function referenceTracks(): Detection[][] {
  const { frames } = JSON.parse(readFileSync(join(folder, "ultralytics_bytetrack.json"), "utf8")) as {
    frames: number[][][];
  };
  return frames.map((rows) =>
    rows.map(([x1, y1, x2, y2, trackId, score, classId]) => {
      return { label: "person", classId: classId!, score: score!, trackId: trackId!, box: [x1!, y1!, x2!, y2!] };
    }),
  );
}

test.skipIf(!existsSync(folder))(
  "lines over vtest.avi: every crossing that supervision counts, in the same frame",
  () => {
    const frames = referenceTracks();
    const extra: string[] = [];
    for (const { anchor, minFrames, from, to, events } of supervision.lines) {
      const line = { name: "line", from: from as never, to: to as never, anchor: anchor as Anchor };
      const zones = new Zones({ lines: [line], margin: 0, minFrames });
      const ours = frames.flatMap((objects, frame) =>
        zones
          .update(objects, { width: 768, height: 576, timestampMs: frame * 100 })
          .map((event) => [frame, event.trackId, event.event === "cross" ? event.direction : ""].join(" ")),
      );
      const theirs = events.map((event) => event.join(" "));
      expect(theirs.filter((event) => !ours.includes(event))).toEqual([]);
      extra.push(...ours.filter((event) => !theirs.includes(event)));
    }
    // supervision forgets a track that is not seen for two frames, and one whose corners are beyond the ends of a short line.
    expect(extra.length).toBe(21);
  },
);

test.skipIf(!existsSync(folder))(
  "zones over vtest.avi: as many inside as supervision finds, but for its whole pixels",
  () => {
    const frames = referenceTracks();
    let same = 0;
    for (const { anchor, polygon, occupancy } of supervision.zones) {
      const zone = { name: "zone", polygon: polygon as never, anchor: anchor as Anchor };
      const zones = new Zones({ zones: [zone], margin: 0, patienceMs: 0 });
      for (const [frame, objects] of frames.entries()) {
        zones.update(objects, { width: 768, height: 576, timestampMs: frame * 100 });
        const off = Number(occupancy[frame]) - zones.occupancy.zone!;
        expect([0, 1]).toContain(off);
        if (off === 0) same += 1;
      }
    }
    expect(same).toBe(frames.length * supervision.zones.length - 28);
  },
);

test("zones that cannot be counted in are refused, and so is a file of them", async () => {
  const polygon: ZonePoint[] = [
    [0, 0],
    [50, 0],
    [50, 50],
  ];
  const refused = (options: object) => expect(() => new Zones(options as ZonesOptions));
  refused({}).toThrow("at least one zone where there is no line");
  refused({ zones: [{ name: "a", polygon: polygon.slice(1) }] }).toThrow(
    'Option "zones.0.polygon" must be at least three points',
  );
  refused({
    zones: [
      {
        name: "a",
        polygon: [
          [0, 0],
          [5, 5],
          [9, 9],
        ],
      },
    ],
  }).toThrow("that enclose an area");
  // Both wings of a bow enclose as much, one of them turned the other way.
  const bow: ZonePoint[] = [
    [0, 0],
    [50, 50],
    [50, 0],
    [0, 50],
  ];
  refused({ zones: [{ name: "a", polygon: bow }] }).not.toThrow();
  refused({ zones: [{ name: "", polygon }] }).toThrow(
    'Option "zones.0.name" must be a text of 1 to 100 characters, got ""',
  );
  refused({ zones: [{ name: "a", poligon: polygon }] }).toThrow('"zones.0.polygon" must be');
  refused({ zones: [{ name: "a", polygon, anchr: "centre" }] }).toThrow('Did you mean "anchor"?');
  refused({ zones: [{ name: "a", polygon, anchor: "feet" }] }).toThrow(
    '"zones.0.anchor" must be bottom-centre, centre',
  );
  refused({ zones: [{ name: "a", polygon }], lines: [{ ...door, name: "a" }] }).toThrow(
    '"lines.0.name" must be a name of its own',
  );
  refused({ lines: [{ name: "a", from: [5, 5], to: [5, 5] }] }).toThrow('"lines.0" must be a line between two points');
  refused({
    zones: [
      {
        name: "a",
        polygon: [
          [0, 0],
          [0.5, 0],
          [0.5, 1],
        ],
      },
    ],
  }).toThrow('Hint: add "units": "fractions"');
  refused({ units: "fractions", zones: [{ name: "a", polygon }] }).toThrow(
    "must be in fractions from 0 to 1, got [50,0]",
  );
  refused({ zones: [{ name: "a", polygon }], margin: 2 }).toThrow(
    'Option "margin" must be a number from 0 to 1, got 2',
  );

  const { mkdtempSync, rmSync, writeFileSync } = await import("node:fs");
  const temporary = mkdtempSync(join((await import("node:os")).tmpdir(), "bun-tensorrt-zones-"));
  const file = (text: string): string => {
    const path = join(temporary, "zones.json");
    writeFileSync(path, text);
    return path;
  };
  try {
    const read = await readZones(
      file('{ // the door\n "lines": [{ "name": "door", "from": [100, 0], "to": [100, 100] }] }'),
    );
    expect(read).toEqual({ lines: [{ name: "door", from: [100, 0], to: [100, 100] }] });
    expect(readZones(file(" \n"))).rejects.toThrow('zones.json": the file is empty\nHint: { "zones": [{');
    expect(readZones(file("{"))).rejects.toThrow('zones.json": it is not valid JSON');
    expect(readZones(file('{ "zones": [{ "name": "a" }] }'))).rejects.toThrow(
      'zones.json": option "zones.0.polygon" must be',
    );
    expect(readZones(join(temporary, "none.json"))).rejects.toThrow("it cannot be read (ENOENT)");
  } finally {
    rmSync(temporary, { recursive: true });
  }
});

test("zones are drawn with what they have counted, on RGB and NV12", () => {
  const zones = new Zones({ zones: [room], lines: [door] });
  zones.update([at(100, 50)], { ...SIZE, timestampMs: 0 });
  for (const format of ["RGB", "NV12"] as const) {
    const length = format === "RGB" ? 200 * 100 * 3 : 200 * 150;
    const image = imageOf(new Uint8Array(length).fill(128), { ...SIZE, format });
    const step = format === "RGB" ? 3 : 1;
    const at = (x: number, y: number): number => image.data[y * image.pitchBytes + x * step]!;
    zones.paint(image, { labels: false, lineWidth: 2 });
    expect([at(100, 20) !== 128, at(50, 50) !== 128, at(100, 90) !== 128, at(30, 50), at(75, 50)]).toEqual([
      true,
      true,
      true,
      128,
      128,
    ]);
    const outlined = image.data.slice();
    zones.paint(image);
    expect(image.data).not.toEqual(outlined);
  }
});

test("what lies outside the image is warned of, once a size", () => {
  const told: string[] = [];
  const before = setLogSink((_, text) => void told.push(text));
  try {
    const zones = new Zones({
      zones: [
        {
          name: "far",
          polygon: [
            [300, 0],
            [400, 0],
            [400, 50],
          ],
        },
        {
          name: "partly",
          polygon: [
            [-50, 10],
            [20, 10],
            [20, 900],
          ],
        },
      ],
      lines: [{ name: "below", from: [-10, 150], to: [900, 150] }],
    });
    for (const size of [SIZE, SIZE, { width: 400, height: 100 }]) zones.update([], { ...size, timestampMs: 0 });
  } finally {
    setLogSink(before);
  }
  expect(told.map((line) => line.slice(0, line.indexOf(", and")))).toEqual([
    'Zone "far" lies outside the image of 200x100',
    'Line "below" lies outside the image of 200x100',
    'Line "below" lies outside the image of 400x100',
  ]);
});
