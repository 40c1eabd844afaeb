import { expect, test } from "bun:test";
import { detectAll, type PictureStream } from "../../src/cli/detect-all.ts";
import { ImageError } from "../../src/core/errors.ts";
import type { DetectionResult } from "../../src/detector/detection.ts";

/** Answers with the number in a file's name as the width; `bad…` is no picture, `broken…` a failure of the machine. */
function fakeDetector(): PictureStream & { readonly begun: string[] } {
  const begun: string[] = [];
  return {
    begun,
    async *stream(files, { onError }) {
      let index = 0;
      for await (const source of files) {
        const file = typeof source === "string" ? source : source.name;
        begun.push(file);
        if (file.startsWith("bad")) onError(new ImageError(`Cannot decode "${file}"`, file), index);
        else if (file.startsWith("broken")) onError(new Error("no memory"), index);
        else yield { width: Number(file) } as DetectionResult;
        index += 1;
      }
    },
  };
}

test("detectAll() pairs results with their files around bad pictures", async () => {
  const events: string[] = [];
  const options = {
    signal: new AbortController().signal,
    isSaved: false,
    onBadPicture: (file: string) => events.push(`bad ${file}`),
  };
  const files = ["bad0", "1", "bad2", "bad3", "4", "bad5"];
  for await (const { file, result } of detectAll(fakeDetector(), files, options)) {
    expect(result.width).toBe(Number(file));
    events.push(file);
  }
  expect(events).toEqual(["bad bad0", "1", "bad bad2", "bad bad3", "4", "bad bad5"]);
});

test("detectAll() begins no further picture once aborted", async () => {
  const abort = new AbortController();
  const detector = fakeDetector();
  const seen: string[] = [];
  for await (const { file } of detectAll(detector, ["1", "2", "3", "4"], {
    signal: abort.signal,
    isSaved: false,
    onBadPicture() {},
  })) {
    seen.push(file);
    if (file === "2") abort.abort();
  }
  expect(seen).toEqual(["1", "2"]);
  expect(detector.begun).toEqual(["1", "2"]);
});

test("detectAll() stops at what is not the fault of a picture", async () => {
  const run = async (): Promise<void> => {
    const options = { signal: new AbortController().signal, isSaved: false, onBadPicture() {} };
    for await (const _ of detectAll(fakeDetector(), ["1", "broken", "2"], options));
  };
  await expect(run()).rejects.toThrow("no memory");
});
