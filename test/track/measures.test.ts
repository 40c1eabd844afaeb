import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addCounts, countTracks, parseMot, type TrackScores, trackScores } from "../../src/track/mot-measures.ts";
import { runCli } from "../cli/run-cli.ts";

setDefaultTimeout(120_000);

/** Rows of frames from 1 on, of one object of 10 × 10 pixels each. @param leftOf where it is, `undefined` for nowhere */
function rows(frames: number, id: (frame: number) => number, leftOf: (frame: number) => number | undefined): string {
  return Array.from({ length: frames }, (_, at) => at + 1)
    .filter((frame) => leftOf(frame) !== undefined)
    .map((frame) => `${frame},${id(frame)},${leftOf(frame)},0,10,10,1,-1,-1,-1\n`)
    .join("");
}

const one = (): number => 1;
const still = (): number => 0;

/** Two objects that stay where they are, far apart, in ten frames. */
const TWO =
  rows(10, one, still) +
  rows(
    10,
    () => 2,
    () => 100,
  );

function scores(truth: string, tracks: string): TrackScores {
  return trackScores(countTracks(parseMot(truth, "truth"), parseMot(tracks, "tracks")));
}

test("tracks that are the truth have full marks", () => {
  const all = scores(TWO, TWO);
  for (const key of ["HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1"] as const)
    expect(all[key]).toBeCloseTo(1, 12);
  expect([all.TP, all.FP, all.FN, all.IDSW, all.Frag, all.MT, all.ML]).toEqual([20, 0, 0, 0, 0, 2, 0]);
});

test("an id that changes half way: one switch, half of the identity", () => {
  const all = scores(
    rows(10, one, still),
    rows(10, (frame) => (frame <= 5 ? 1 : 2), still),
  );
  // 5 of the 10 frames of the object and all 5 of each track: 5 / (10 + 5 - 5).
  expect([all.DetA, all.AssA]).toEqual([1, 0.5]);
  expect(all.HOTA).toBeCloseTo(Math.SQRT1_2, 12);
  expect([all.MOTA, all.IDF1, all.IDSW, all.Frag]).toEqual([0.9, 0.5, 1, 0]);
});

test("boxes that are off: HOTA goes by each overlap, the others by one", () => {
  // 10 / 3 pixels aside of 10: an overlap of one half, to the bit or not.
  const all = scores(
    rows(4, one, still),
    rows(4, one, () => 10 / 3),
  );
  // Where nothing is matched, TrackEval has 1.
  expect(all.LocA).toBeCloseTo((10 * 0.5 + 9) / 19, 12);
  expect(all.DetA).toBeCloseTo(10 / 19, 12);
  expect(all.TP).toBe(4);
  const far = scores(
    rows(4, one, still),
    rows(4, one, () => 4),
  );
  expect([far.TP, far.FP, far.FN, far.MOTA, far.IDF1]).toEqual([0, 4, 4, -1, 0]);
  expect(far.HOTA).toBeGreaterThan(0);
});

test("a gap is a miss and one fragment more; what nobody has found is lost", () => {
  const all = scores(
    TWO,
    rows(
      10,
      () => 9,
      (frame) => (frame === 5 ? undefined : 0),
    ),
  );
  expect([all.FN, all.FP, all.IDSW, all.MT, all.ML]).toEqual([11, 0, 0, 1, 1]);
  // As TrackEval: a frame without any track does not end a run.
  expect(all.Frag).toBe(0);
  const more =
    rows(
      10,
      () => 8,
      () => 100,
    ) +
    rows(
      10,
      () => 9,
      (frame) => (frame === 5 ? undefined : 0),
    );
  expect(scores(TWO, more).Frag).toBe(1);
});

test("a pair of the frame before stays where another overlaps more", () => {
  const truth = rows(2, one, still);
  const tracks = `1,5,0,0,10,10,1\n2,5,2,0,10,10,1\n2,6,0,0,10,10,1\n`;
  const all = scores(truth, tracks);
  expect([all.IDSW, all.TP, all.FP]).toEqual([0, 2, 1]);
});

test("of a truth with classes and marks, what does not count is left out", () => {
  const truth = "1,1,0,0,10,10,1,1,1\n1,2,50,0,10,10,0,1,1\n1,3,90,0,10,10,1,7,1\n";
  expect(scores(truth, "1,4,0,0,10,10,0.9,-1,-1,-1\n")).toMatchObject({ objects: 1, TP: 1, FP: 0, FN: 0 });
  expect(scores("", "")).toMatchObject({ objects: 0, HOTA: 0, MOTA: 0, IDF1: 0 });
});

test("several sequences are added up, not averaged", () => {
  const [good, bad] = [rows(30, one, still), rows(10, one, still)];
  const counts = [good, bad].map((truth, at) =>
    countTracks(parseMot(truth, ""), parseMot(at === 0 ? truth : "", "")),
  ) as [ReturnType<typeof countTracks>, ReturnType<typeof countTracks>];
  expect(trackScores(addCounts(counts))).toMatchObject({ objects: 40, TP: 30, FN: 10, MOTA: 0.75, MT: 1, ML: 1 });
});

test("val --track scores files and folders, and names what is missing", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-val-track-"));
  try {
    for (const path of ["tracks", "truth/b/gt"]) mkdirSync(join(folder, path), { recursive: true });
    const truth = rows(10, one, still);
    writeFileSync(join(folder, "truth/a.txt"), truth);
    writeFileSync(join(folder, "truth/b/gt/gt.txt"), truth);
    writeFileSync(join(folder, "tracks/a.txt"), truth);
    writeFileSync(
      join(folder, "tracks/b.txt"),
      rows(10, (frame) => (frame <= 5 ? 1 : 2), still),
    );
    const val = (...words: readonly string[]) => runCli(["val", "--track", ...words], { cwd: folder });
    const json = JSON.parse((await val("tracks", "--data", "truth", "--json")).output);
    expect(json.sequences.map(({ name, IDF1 }: { name: string; IDF1: number }) => [name, IDF1])).toEqual([
      ["a", 1],
      ["b", 0.5],
    ]);
    expect([json.metrics.MOTA, json.metrics.IDSW]).toEqual([0.95, 1]);
    const table = (await val("tracks/b.txt", "--data", "truth/a.txt")).output;
    expect(table).toMatch(/^sequence +HOTA .*IDF1 .*IDSW.*\nb +0\.707 /);
    writeFileSync(join(folder, "tracks/c.txt"), truth);
    const missing = await val("tracks", "--data", "truth");
    expect([missing.code, missing.errors]).toEqual([1, expect.stringContaining('"truth" has no truth for it')]);
    expect((await val("tracks", "--data", "truth", "--conf", "0.3")).errors).toContain(
      "is for models, and --track was",
    );
    expect((await val("tracks")).errors).toContain("Missing --data");
    expect((await runCli(["val", "x.onnx", "--track", "a", "--data", "b"])).errors).toContain("and no model");
    expect((await val("none.txt", "--data", "truth/a.txt")).errors).toContain('Cannot read the tracks of "none.txt"');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const shared = join(import.meta.dir, "../../../shared/reference/tracking/eval");
const NAMES: Readonly<Record<string, string>> = { TP: "CLR_TP", FP: "CLR_FP", FN: "CLR_FN" };

for (const name of ["TUD-Campus", "TUD-Campus/noisy", "TUD-Stadtmitte", "TUD-Stadtmitte/noisy"]) {
  test.skipIf(!existsSync(shared))(`${name} of ../shared: the figures of TrackEval`, () => {
    const { sequences } = JSON.parse(readFileSync(join(shared, "expected.json"), "utf8"));
    const wanted = Object.assign({}, ...Object.values(sequences[name])) as Record<string, number>;
    const [sequence = "", file = "test"] = name.split("/");
    const read = (of: string): string => readFileSync(join(shared, sequence, `${of}.txt`), "utf8");
    const found = Object.entries(scores(read("gt_mot16"), read(file))).filter(([key]) => key !== "objects");
    expect(found.length).toBe(22);
    for (const [key, value] of found)
      expect([key, value.toFixed(6)]).toEqual([key, wanted[NAMES[key] ?? key]!.toFixed(6)]);
  });
}
