import { expect, test } from "bun:test";
import {
  alignRows,
  BuildProgressView,
  formatBuild,
  formatProgress,
  hasColour,
  Progress,
  paintOf,
  Terminal,
} from "../../src/cli/terminal.ts";

interface Screen {
  readonly isTTY: boolean;
  readonly columns: number;
  text: string;
  write(text: string): void;
}

function screen(isTTY: boolean): Screen {
  return {
    isTTY,
    columns: 100,
    text: "",
    write(text) {
      this.text += text;
    },
  };
}

test("formatProgress() shows amounts, rate and time left once there is something to go by", () => {
  const state = { title: "detect", done: 25, total: 100, elapsedMs: 2500, unit: "images" } as const;
  expect(formatProgress(state, 120)).toBe("detect  [######------------------]  25 of 100  10.0 images/s  8 s left");
  expect(formatProgress({ ...state, done: 0 }, 120)).toBe("detect  [------------------------]  0 of 100");
  expect(formatProgress({ ...state, done: 2 ** 20, total: undefined, unit: "bytes" }, 120)).toBe(
    "detect  1.00 MiB  409.60 KiB/s",
  );
  expect(formatProgress({ ...state, done: 1, elapsedMs: 1000 }, 120)).toEndWith("1.0 images/s  1 min 39 s left");
  expect(formatProgress(state, 20)).toHaveLength(19);
});

test("Progress draws on a terminal alone, not more often than eyes follow, and wipes its line", () => {
  const shown = screen(true);
  const terminal = new Terminal(shown, paintOf(false));
  const progress = new Progress(terminal, "detect", "images");
  for (let done = 1; done <= 50; done++) progress.update(done, 50);
  expect(shown.text.split("\r").length - 1).toBeLessThan(5);
  progress.close();
  expect(shown.text).toEndWith("\r\x1b[K");
  const piped = screen(false);
  new Progress(new Terminal(piped, paintOf(false)), "detect", "images").update(1, 2);
  expect(piped.text).toBe("");
});

test("Terminal.status() draws nothing on a dumb terminal, which cannot wipe it", () => {
  const shown = screen(true);
  const terminal = new Terminal(shown, paintOf(false), { TERM: "dumb" });
  terminal.status("busy");
  terminal.line("an image failed");
  expect(shown.text).toBe("an image failed\n");
});

test("Terminal.line() goes above the status line", () => {
  const shown = screen(true);
  const terminal = new Terminal(shown, paintOf(false));
  terminal.status("busy");
  terminal.line("an image failed");
  expect(shown.text).toBe("\r\x1b[Kbusy\r\x1b[Kan image failed\n");
  expect(terminal.hasStatus).toBe(false);
});

test("hasColour() asks for a terminal, and honours NO_COLOR and TERM=dumb", () => {
  expect(hasColour(screen(true), {})).toBe(true);
  expect(hasColour(screen(true), { NO_COLOR: "" })).toBe(true);
  expect(hasColour(screen(true), { NO_COLOR: "1" })).toBe(false);
  expect(hasColour(screen(true), { TERM: "dumb" })).toBe(false);
  expect(hasColour(screen(false), {})).toBe(false);
});

test("alignRows() goes by what is seen: colours count nothing, wide characters two", () => {
  const rows = [
    [paintOf(true)("red", "ab"), "1"],
    ["犬", "100"],
    ["", "2"],
  ];
  expect(alignRows(rows, ["left", "right"]).map((line) => Bun.stripANSI(line))).toEqual([
    "ab    1",
    "犬  100",
    "      2",
  ]);
  expect(alignRows([["a", ""]], ["left", "left"])).toEqual(["a"]);
  expect(alignRows([], ["left"])).toEqual([]);
});

test("formatBuild() shows how far a build is, for how long, and in what phase", () => {
  const state = { title: "yolo11n", progress: undefined, elapsedMs: 2900, isCancelled: false };
  expect(formatBuild(state, 120)).toBe("yolo11n  2 s  starting TensorRT");
  const progress = { fraction: 0.387, phase: "Timing graph nodes" };
  expect(formatBuild({ ...state, progress, elapsedMs: 72_000 }, 120)).toBe(
    "yolo11n  [#########---------------]  38 %  1 min 12 s  Timing graph nodes",
  );
  expect(formatBuild({ ...state, progress: { fraction: 1, phase: "a\x1b[2J" } }, 120)).toBe(
    "yolo11n  [########################]  100 %  2 s  a\\u001b[2J",
  );
  expect(formatBuild({ ...state, progress, isCancelled: true }, 120)).toContain("2 s  cancelling: ");
  expect(formatBuild({ ...state, progress }, 30)).toHaveLength(29);
  const waitsFor = "process 42, which builds yolov8n.onnx";
  expect(formatBuild({ ...state, progress: { ...progress, waitsFor } }, 120)).toStartWith(
    "yolo11n  waiting for process 42, which builds yolov8n.onnx  [#########---",
  );
});

test("BuildProgressView ticks on a terminal without any news, says that it is cancelled, and wipes its line", async () => {
  const shown = screen(true);
  const abort = new AbortController();
  {
    using view = new BuildProgressView(new Terminal(shown, paintOf(false)), "yolo11n", abort.signal);
    expect(shown.text).toBe("");
    while (shown.text === "") await Bun.sleep(10);
    expect(shown.text).toStartWith("\r\x1b[Kyolo11n  ");
    expect(shown.text).toContain(" s  starting TensorRT");
    view.update({ fraction: 0.5, phase: "Building engine" });
    abort.abort();
    while (!shown.text.includes("cancelling")) await Bun.sleep(10);
    expect(shown.text).toMatch(/50 % {2}\d+ s {2}cancelling/);
  }
  expect(shown.text).toEndWith("\r\x1b[K");
});

test("BuildProgressView writes a line now and then where nobody looks", () => {
  const piped = screen(false);
  using view = new BuildProgressView(new Terminal(piped, paintOf(false)), "yolo11n", new AbortController().signal);
  for (let step = 0; step <= 100; step++) view.update({ fraction: step / 100, phase: "Timing" });
  expect(piped.text).toBe("Building yolo11n: 0 %, 0 s, Timing\n");
});
