import { expect, test } from "bun:test";
import { parseWords } from "../../src/cli/args.ts";
import { DETECT_FLAGS, type DetectArguments, parseDetectFlags } from "../../src/cli/detect-flags.ts";

function parse(words: string): DetectArguments {
  return parseDetectFlags(parseWords("detect", ["a.jpg", ...words.split(" ").filter(Boolean)], DETECT_FLAGS));
}

test("parseDetectFlags() hands the options for frames in flight to the library, and none that was not given", () => {
  const words =
    "--in-flight 3 --batch 4 --batch-wait 2.5 --streams split --device 0,2 --wait off-thread --jpeg cpu --zero-copy off";
  expect(parse(words).detector).toMatchObject({
    inFlight: 3,
    batch: 4,
    batchWait: 2.5,
    streams: "split",
    device: [0, 2],
    wait: "off-thread",
    jpeg: "cpu",
    zeroCopy: false,
  });
  expect(parse("--no-jpeg-check").detector.jpegCheck).toBe(false);
  expect(parse("--device 1 --zero-copy on").detector).toMatchObject({ device: 1, zeroCopy: true });
  expect(parse("--zero-copy auto").detector.zeroCopy).toBe("auto");
  const bare = Object.keys(parse("").detector);
  for (const option of ["inFlight", "batchWait", "streams", "device", "wait", "jpeg", "jpegCheck", "zeroCopy"]) {
    expect(bare).not.toContain(option);
  }
});

test("parseDetectFlags() takes both names of standard output for it", () => {
  expect(["", "--output -", "--output /dev/stdout"].map((words) => parse(words).output)).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect(parse("--output ./-").output).toBe("./-");
  expect(() => parse("--format yolo --output /dev/stdout")).toThrow("as --format yolo needs a folder");
});
