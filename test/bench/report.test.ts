import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { figuresOf } from "../../bench/report/figures.ts";
import { buildReport } from "../../bench/report/report.ts";
import { traceOf } from "../../bench/report/trace-file.ts";
import type { BenchResult, Measurement } from "../../bench/result.ts";
import { readResult } from "../../bench/result-config.ts";
import { compareRuns, formatMissing, formatRatio } from "../../bench/support/compare.ts";
import { comparisonText, resultText } from "../../bench/support/result-text.ts";
import { summarise } from "../../bench/support/samples.ts";
import { formatValue } from "../../bench/support/units.ts";
import { SAMPLE_RESULT, sampleMeasurement, sampleStudy } from "./sample-result.ts";

/** What is shown: neither script nor style. */
function withoutScript(html: string): string {
  return html.replace(/<(script|style)>[\s\S]*?<\/\1>/g, "");
}

/** Names of elements that are left open or closed twice; those that HTML never closes are left alone. */
function unbalanced(html: string): string[] {
  const open: string[] = [];
  const faults: string[] = [];
  const void_ = new Set(["meta", "!doctype"]);
  for (const [, end, name, self] of html
    .replace(/<(script|style)>[\s\S]*?<\/\1>/g, "")
    .matchAll(/<(\/?)([a-z!][\w]*)[^>]*?(\/?)>/g)) {
    if (void_.has(name!) || self === "/") continue;
    if (end === "") open.push(name!);
    else if (open.pop() !== name) faults.push(name!);
  }
  return [...faults, ...open];
}

/** Text of all elements a selector finds, by Bun's own parser. */
function select(html: string, selector: string): Promise<string[]> {
  const found: string[] = [];
  const rewriter = new HTMLRewriter().on(selector, {
    element: () => void found.push(""),
    text: (chunk) => {
      found[found.length - 1] += chunk.text;
    },
  });
  return new Response(rewriter.transform(html) as unknown as string).text().then(() => found);
}

function withMeasurement(measurement: Measurement): BenchResult {
  return { ...SAMPLE_RESULT, studies: [sampleStudy("latency", { measurements: [measurement] })] };
}

test("a report is well-formed and holds every study, chart and promise", async () => {
  const html = buildReport(SAMPLE_RESULT);
  expect(unbalanced(html)).toEqual([]);
  for (const { name, blocks } of SAMPLE_RESULT.studies) {
    expect(html).toContain(`id="${name}"`);
    for (const { title } of blocks) expect(html).toContain(title);
  }
  expect(await select(html, "svg.chart")).toHaveLength(4);
  expect((await select(html, ".state")).filter((text) => text.includes("missed"))).toHaveLength(2);
  expect(html).toContain("4 000 samples".replace(" ", "\u202f"));
  expect(html).toContain("NVIDIA H200");
});

test("a report fetches nothing: no address, no other file", () => {
  const html = buildReport(SAMPLE_RESULT, compareRuns(SAMPLE_RESULT, SAMPLE_RESULT));
  expect(html).not.toMatch(/https?:|\/\/[a-z]|@import|url\(|<link|\ssrc=/i);
});

test("what studies say cannot become markup", () => {
  const html = buildReport(SAMPLE_RESULT);
  expect(html).toContain("&lt;say&gt; &amp; why?");
  expect(html).toContain("Cannot decode &lt;this&gt;");
});

test("a report names at its top what was left out and what failed", async () => {
  const top = (await select(buildReport(SAMPLE_RESULT), "header p")).join("\n");
  expect(top).toContain("Left out: peers");
  expect(top).toContain("Failed: jpeg");
});

test("more lines than colours stay apart, and their table has a row each", async () => {
  const names = Array.from({ length: 12 }, (_, at) => `line ${at}`);
  const block = {
    kind: "lines",
    title: "l",
    note: "n",
    x: { label: "x", scale: "log2" },
    y: { label: "y", unit: "fps" },
    lines: names.map((name, at) => ({ name, points: [1, 2].map((x) => ({ x, y: at + x })), knee: 1 })),
  } as const;
  const html = buildReport({ ...SAMPLE_RESULT, studies: [sampleStudy("s", { blocks: [block] })] });
  expect(await select(html, "path.line")).toHaveLength(12);
  expect(await select(html, "path.line.dashed")).toHaveLength(2);
  expect(await select(html, "i.swatch.dashed")).toHaveLength(2);
  expect(await select(html, "#s tbody tr")).toHaveLength(12);
  // A dozen words would cover each other; the rings stay.
  expect(await select(html, "circle.knee")).toHaveLength(12);
  expect(await select(html, "text.knee-text")).toEqual([]);
});

test("a long table is folded, a short one is not", async () => {
  const table = (count: number) =>
    ({ kind: "table", title: "t", note: "n", columns: ["a"], rows: Array.from({ length: count }, () => [1]) }) as const;
  const html = buildReport({ ...SAMPLE_RESULT, studies: [sampleStudy("s", { blocks: [table(72), table(5)] })] });
  expect(await select(html, "summary")).toEqual(["all 72 rows"]);
});

test("a report of a run that was cut off says so", () => {
  expect(buildReport({ ...SAMPLE_RESULT, isComplete: false })).toContain("cut off");
  expect(buildReport({ ...SAMPLE_RESULT, isComplete: false, studies: [] })).toContain("<main>");
});

test("single samples, equal samples and zeros make finite charts", async () => {
  const measurements = [
    { ...sampleMeasurement("a", 1), samples: [0.5] },
    { ...sampleMeasurement("b", 1), samples: Array.from({ length: 50 }, () => 0.5) },
    { ...sampleMeasurement("c", 1), samples: [0, 0, 0] },
  ];
  for (const shown of [measurements, ...measurements.map((one) => [one])]) {
    const block = { kind: "distribution", title: "t", note: "n", measurements: shown.map(({ id }) => id) } as const;
    const line = {
      kind: "lines",
      title: "l",
      note: "n",
      x: { label: "x", scale: "log2" },
      y: { label: "y", unit: "ms" },
      lines: [{ name: "one", points: [{ x: 1, y: 0 }] }],
    } as const;
    const html = buildReport({
      ...SAMPLE_RESULT,
      studies: [sampleStudy("s", { measurements: shown, blocks: [block, line] })],
    });
    expect(withoutScript(html).match(/NaN|Infinity|undefined/g)).toBeNull();
    expect(unbalanced(html)).toEqual([]);
  }
});

test("the table for the terminal holds every measurement", () => {
  const text = resultText(SAMPLE_RESULT);
  for (const { measurements } of SAMPLE_RESULT.studies)
    for (const { name } of measurements) expect(text).toContain(name);
  expect(text).toContain("MISSED");
  expect(text).toContain("skipped: nvJPEG");
});

test("the trace has a row a lane and microseconds", () => {
  const { traceEvents } = traceOf(SAMPLE_RESULT);
  const spans = traceEvents.filter(({ ph }) => ph === "X");
  expect(spans).toHaveLength(160);
  expect(new Set(spans.map(({ tid }) => tid)).size).toBe(10);
  expect(spans[1]!.ts).toBeCloseTo(20);
  expect(spans[1]!.dur).toBeCloseTo(115);
});

test("compare calls the same numbers the same, and beyond the noise better or worse", () => {
  expect(
    compareRuns(SAMPLE_RESULT, SAMPLE_RESULT).rows.every(({ verdict, ratio }) => verdict === "same" && ratio === 1),
  ).toBe(true);
  const base = sampleMeasurement("decoded", 0.6);
  const scaled = (factor: number, unit: "ms" | "fps"): string => {
    const now = { ...base, unit, better: unit === "fps" ? ("higher" as const) : ("lower" as const) };
    const before = withMeasurement(now);
    const after = withMeasurement({ ...now, samples: now.samples.map((value) => value * factor) });
    return compareRuns(before, after).rows[0]!.verdict;
  };
  expect([scaled(1.1, "ms"), scaled(0.9, "ms"), scaled(1.1, "fps"), scaled(0.9, "fps"), scaled(1.004, "ms")]).toEqual([
    "worse",
    "better",
    "better",
    "worse",
    "same",
  ]);
});

test("compare counts in factors: to a fifth is beyond a noise of 80 %, as five times would be", () => {
  const scattered = (factor: number): Measurement => ({
    ...sampleMeasurement("decoded", 1),
    samples: Array.from({ length: 100 }, (_, at) => factor * (1 + 0.6 * (Math.floor(at / 10) % 2))),
  });
  const verdict = (factor: number) =>
    compareRuns(withMeasurement(scattered(1)), withMeasurement(scattered(factor))).rows[0]!;
  expect(verdict(0.2).noise).toBeGreaterThan(0.6);
  expect([verdict(0.2), verdict(5), verdict(0.7)].map((row) => row.verdict)).toEqual(["better", "worse", "same"]);
});

test("a measurement that drifts by itself needs a larger difference", () => {
  const drifting = {
    ...sampleMeasurement("decoded", 1),
    samples: Array.from({ length: 1000 }, (_, at) => 1 + at / 5000),
  };
  const later = { ...drifting, samples: drifting.samples.map((value) => value * 1.1) };
  const [row] = compareRuns(withMeasurement(drifting), withMeasurement(later)).rows;
  expect(row!.noise).toBeGreaterThan(0.1);
  expect(row!.verdict).toBe("same");
});

test("compare names what differs between the machines and what is missing", () => {
  const before = { ...SAMPLE_RESULT, environment: { ...SAMPLE_RESULT.environment, bun: "1.4.4" } };
  const compared = compareRuns(before, withMeasurement(sampleMeasurement("new", 1)));
  expect(compared.differences).toEqual(["Bun: then 1.4.4, now 1.4.5"]);
  expect(compared.missing).toContain("latency/decoded");
  expect(comparisonText(compared)).toContain("not the same conditions");
});

test("compare shortens hashes and long lists of what is missing, and ratios stay as wide as their column", () => {
  const { environment } = SAMPLE_RESULT;
  const other = { ...environment, image: { ...environment.image, sha256: "0123456789abcdef".repeat(4) } };
  const { differences } = compareRuns({ ...SAMPLE_RESULT, environment: other }, SAMPLE_RESULT);
  expect(differences).toEqual([`image: then 0123456789ab, now ${environment.image.sha256.slice(0, 12)}`]);
  expect(formatMissing(["latency/file", "jpeg/gpu"])).toBe("latency/file, jpeg/gpu");
  const many = Array.from({ length: 144 }, (_, at) => `streams/rate-${at}`);
  expect(formatMissing(["latency/file", ...many])).toBe("latency 1, streams 144");
  expect([0.0412, 3.4761, 16.174, 876.016].map(formatRatio)).toEqual(["0.041", "3.476", "16.2", "876"]);
});

test("the comparison says where dots lie that are beyond its axis", () => {
  const report = (factor: number): string => {
    const base = sampleMeasurement("decoded", 0.6);
    const now = { ...base, samples: base.samples.map((value) => value * factor) };
    return buildReport(withMeasurement(now), compareRuns(withMeasurement(base), withMeasurement(now)));
  };
  expect(report(2)).not.toContain("lies at the edge");
  expect(report(100)).toContain("beyond 8 times it lies at the edge");
});

test("figures are files of their own for light and dark screens, one a chart, named by study and title", () => {
  const figures = figuresOf(SAMPLE_RESULT);
  const charts = SAMPLE_RESULT.studies.flatMap(({ blocks }) => blocks.filter(({ kind }) => kind !== "table"));
  expect(figures).toHaveLength(charts.length);
  expect(new Set(figures.map(({ name }) => name)).size).toBe(figures.length);
  for (const { name, svg } of figures) {
    expect(name).toMatch(/^[a-z-]+-[a-z0-9-]+\.svg$/);
    expect(unbalanced(svg)).toEqual([]);
    expect(svg).toContain("prefers-color-scheme: dark");
    expect(svg).not.toMatch(/<script|@import|url\(|href=/);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(svg).toContain(SAMPLE_RESULT.environment.commit);
  }
});

test.each(["h200", "h200-record", "h200-peers"])(
  "the committed run %s can be read, and its figures are what this version draws",
  async (name) => {
    const folder = join(import.meta.dir, "../../bench/results", name);
    const figures = figuresOf(await readResult(join(folder, "result.json"), "report"));
    expect(readdirSync(join(folder, "figures")).sort()).toEqual(figures.map(({ name }) => name).sort());
    for (const { name, svg } of figures) expect(await Bun.file(join(folder, "figures", name)).text()).toBe(svg);
  },
);

/** Figures of docs/where-the-time-goes.md: which measurement of the committed run, and which percentile. */
const QUOTED: readonly (readonly [study: string, id: string, percentiles?: readonly ("p50" | "p99")[]])[] = [
  ["latency", "decoded", ["p50", "p99"]],
  ["latency", "pageable", ["p50", "p99"]],
  ["latency", "bytes", ["p50", "p99"]],
  ["latency", "file", ["p50", "p99"]],
  ["latency", "raw-graph", ["p50", "p99"]],
  ["latency", "raw-plain", ["p50", "p99"]],
  ["latency", "copy-in", ["p50", "p99"]],
  ["peers", "ours-pinned"],
  ["peers", "ours"],
  ["peers", "trtutils-complete"],
  ["peers", "ultralytics"],
  ["peers", "ultralytics-torch"],
  ["peers", "onnxruntime"],
  ["peers", "pytorch"],
  ["peers", "pytorch-graph"],
  ["jpeg", "decode"],
  ["jpeg", "rate-gpu-128"],
  ["jpeg", "rate-unchecked-128"],
  ["jpeg", "nvjpeg"],
  ["service", "whole"],
  ["service", "stage-decode"],
  ["service", "stage-serialise"],
  ["service", "stage-send"],
  ["js-thread", "request-auto", ["p50", "p99"]],
  ["shapes", "contexts-1"],
  ["shapes", "contexts-4"],
  ["shapes", "contexts-8"],
  ["shapes", "gpu-fp16-square-640"],
  ["shapes", "gpu-fp16-rect-640"],
  ["shapes", "gpu-fp32-square-640"],
  ["shapes", "gpu-fp16-square-1280"],
  ["shapes", "gpu-fp16-rect-1280"],
  ["shapes", "rate-fp16-640-b1"],
  ["shapes", "rate-fp16-640-b8"],
  ["shapes", "gpu-fp16-640-b8"],
  ...[1, 4, 16, 32].flatMap((count) =>
    ["one", "split", "parallel"].map((layout) => ["streams", `rate-${layout}-page-locked-graph-${count}`] as const),
  ),
  ["streams", "rate-parallel-page-locked-graph-3"],
  ["streams", "latency-parallel-page-locked-graph-3"],
  ["streams", "latency-one-page-locked-graph-3"],
  ["streams", "rate-one-page-locked-plain-4"],
  ["streams", "rate-parallel-ordinary-graph-4"],
  ["streams", "rate-parallel-ordinary-graph-32"],
  ["streams", "rate-parallel-page-locked-plain-32"],
];

/** Figures of bench/results/h200.md, likewise. */
const QUOTED_RECORD: typeof QUOTED = [
  ["record", "engine"],
  ["record", "exported"],
  ["record", "rgb", ["p50", "p99"]],
  ["record", "nv12"],
  ["record", "jpeg"],
  ["record", "nvjpeg"],
  ...[4, 8, 16, 32].map((count) => ["record", `rate-${count}`] as const),
];

const QUOTED_PEERS: typeof QUOTED = [
  ...["ours-pinned", "ours", "ultralytics", "trtutils-complete", "trtutils"],
  ...["ultralytics-torch", "onnxruntime"],
].map((id) => ["peers", id, ["p50", "p99"]]);

test.each([
  ["docs/where-the-time-goes.md", "h200", QUOTED],
  ["bench/results/h200.md", "h200-record", QUOTED_RECORD],
  ["bench/results/h200.md", "h200-peers", QUOTED_PEERS],
])("%s quotes the committed run %s", async (file, run, quoted) => {
  const root = join(import.meta.dir, "../..");
  const { studies } = await readResult(join(root, "bench/results", run, "result.json"), "report");
  const page = await Bun.file(join(root, file)).text();
  const missing = quoted.flatMap(([study, id, percentiles = ["p50"]]) => {
    const found = studies.find(({ name }) => name === study)?.measurements.find((one) => one.id === id);
    if (found === undefined) return [`${study} ${id} is not in the run`];
    const summary = summarise(found.samples);
    return percentiles
      .map((percentile) => formatValue(summary[percentile], found.unit).replaceAll("\u202f", ","))
      .filter((text) => !new RegExp(`(?<![\\d.,])${RegExp.escape(text)}(?![\\d.]|,\\d)`).test(page))
      .map((text) => `${study} ${id}: ${text}`);
  });
  expect(missing).toEqual([]);
});
