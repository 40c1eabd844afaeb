import { expect, test } from "bun:test";
import { formatProgress, Progress } from "../../src/cli/progress.ts";
import { hasColour, paintOf, Terminal } from "../../src/cli/terminal.ts";
import { alignRows } from "../../src/cli/text-table.ts";

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
  const state = { title: "detect", done: 25, total: 100, elapsedMs: 2500, unit: "pictures" } as const;
  expect(formatProgress(state, 120)).toBe("detect  [######------------------]  25 of 100  10.0 pictures/s  8 s left");
  expect(formatProgress({ ...state, done: 0 }, 120)).toBe("detect  [------------------------]  0 of 100");
  expect(formatProgress({ ...state, done: 2 ** 20, total: undefined, unit: "bytes" }, 120)).toBe(
    "detect  1.00 MiB  409.60 KiB/s",
  );
  expect(formatProgress({ ...state, done: 1, elapsedMs: 1000 }, 120)).toEndWith("1.0 pictures/s  1 min 39 s left");
  expect(formatProgress(state, 20)).toHaveLength(19);
});

test("Progress draws on a terminal alone, not more often than eyes follow, and wipes its line", () => {
  const shown = screen(true);
  const terminal = new Terminal(shown, paintOf(false));
  const progress = new Progress(terminal, "detect", "pictures");
  for (let done = 1; done <= 50; done++) progress.update(done, 50);
  expect(shown.text.split("\r").length - 1).toBeLessThan(5);
  progress.close();
  expect(shown.text).toEndWith("\r\x1b[K");
  const piped = screen(false);
  new Progress(new Terminal(piped, paintOf(false)), "detect", "pictures").update(1, 2);
  expect(piped.text).toBe("");
});

test("Terminal.line() goes above the status line", () => {
  const shown = screen(true);
  const terminal = new Terminal(shown, paintOf(false));
  terminal.status("busy");
  terminal.line("a picture failed");
  expect(shown.text).toBe("\r\x1b[Kbusy\r\x1b[Ka picture failed\n");
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
