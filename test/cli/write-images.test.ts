import { expect, test } from "bun:test";
import { Complaints } from "../../src/cli/operands.ts";
import { writeImages } from "../../src/cli/result-target.ts";
import type { ImageSaver } from "../../src/cli/save.ts";
import { Terminal } from "../../src/cli/terminal.ts";
import { ImageError } from "../../src/core/errors.ts";
import { DETECT_FORMS, type DetectionResult } from "../../src/tasks/detect/detection.ts";

const result: DetectionResult = {
  detections: [{ label: "cat", classId: 0, score: 0.5, box: [0, 0, 1, 1] }],
  width: 1,
  height: 1,
  dropped: 0,
  implausible: 0,
  timing: { decode: 0, preprocess: 0, infer: 0, postprocess: 0, total: 0 },
};

test("Complaints tell each error in a line, and a hint that holds for several once", () => {
  const told: string[] = [];
  const complaints = new Complaints(new Terminal({ write: (text) => told.push(text) }, (_, text) => text));
  for (const name of ["a", "b"]) complaints.tell(new Error(`Cannot decode ${name}\nmore\nHint: copy it again\u0007`));
  complaints.tell(new Error("Cannot decode c"));
  expect(told).toEqual([
    "error: Cannot decode a\n",
    "Hint: copy it again\\u0007\n",
    "error: Cannot decode b\n",
    "error: Cannot decode c\n",
  ]);
});

test("writeImages() counts an image once that was answered and cannot be drawn on", async () => {
  const written: string[] = [];
  const told: string[] = [];
  const saver: ImageSaver = {
    save: (_, { file }) =>
      file === "gone" ? Promise.reject(new ImageError("Cannot decode it", file)) : Promise.resolve(file),
  };
  const tally = await writeImages(
    async function* () {
      for (const file of ["here", "gone"]) yield { file, result };
    },
    {
      forms: DETECT_FORMS,
      sink: { write: async ({ file }) => void written.push(file), finish: async () => void written.push("end") },
      savers: [saver],
      complaints: new Complaints(new Terminal({ write: (text) => told.push(text) }, (_, text) => text)),
      progress: undefined,
      total: () => 2,
      videos: [],
    },
  );
  expect(tally).toEqual({ images: { good: 1, bad: 1 }, frames: { good: 0, bad: 0 }, objects: 2 });
  expect(written).toEqual(["here", "gone", "end"]);
  expect(told).toEqual(["error: Cannot decode it\n"]);
});

test("writeImages() goes on after a copy whose name is too long, and ends where the disk is full", async () => {
  const failing = (code: string): ImageSaver => ({
    save: (_, { file }) =>
      file === "b" ? Promise.reject(Object.assign(new Error("Cannot write"), { code })) : Promise.resolve(file),
  });
  const run = (code: string): Promise<object> =>
    writeImages(
      async function* () {
        for (const file of ["a", "b", "c"]) yield { file, result };
      },
      {
        forms: DETECT_FORMS,
        sink: { write: async () => {}, finish: async () => {} },
        savers: [failing(code)],
        complaints: new Complaints(new Terminal({ write: () => true }, (_, text) => text)),
        progress: undefined,
        total: () => 3,
        videos: ["c"],
      },
    );
  expect(await run("ENAMETOOLONG")).toEqual({
    images: { good: 1, bad: 1 },
    frames: { good: 1, bad: 0 },
    objects: 3,
  });
  await expect(run("ENOSPC")).rejects.toThrow("Cannot write");
});
