import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readAnnotations } from "../../src/cli/coco-ids.ts";
import { isClosedPipe, openOutput, prepareFolder, writeFile } from "../../src/cli/output.ts";
import { expandPictures, outputNames } from "../../src/cli/pictures.ts";
import { cliWords } from "./run-cli.ts";

let folder = "";
const path = (...parts: readonly string[]): string => join(folder, ...parts);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-files-"));
  for (const sub of ["a/deep", "b", "empty"]) mkdirSync(path(sub), { recursive: true });
  for (const name of ["a/2.jpg", "a/10.JPG", "a/1.png", "a/notes.txt", "a/deep/3.webp", "b/2.jpg", "b/[x].jpg"]) {
    writeFileSync(path(name), "");
  }
});

afterEach(() => rmSync(folder, { recursive: true }));

test("expandPictures(): a folder stands for its pictures, by name, and not for those below it", () => {
  expect(expandPictures([path("a")])).toEqual([path("a/1.png"), path("a/10.JPG"), path("a/2.jpg")]);
});

test("expandPictures(): a pattern reaches below, and a file of that very name wins over it", () => {
  expect(expandPictures([path("**/*.{jpg,webp}")])).toEqual(
    ["a/2.jpg", "a/deep/3.webp", "b/2.jpg", "b/[x].jpg"].map((name) => path(name)),
  );
  expect(expandPictures([path("a/**")])).toHaveLength(4);
  expect(expandPictures([path("b/[x].jpg")])).toEqual([path("b/[x].jpg")]);
});

test("expandPictures(): a file may have any name, an address is kept, and nothing is taken twice", () => {
  const address = "https://example.invalid/a.jpg";
  expect(expandPictures([path("a/notes.txt"), path("b/2.jpg"), path("b"), address, address])).toEqual([
    path("a/notes.txt"),
    path("b/2.jpg"),
    path("b/[x].jpg"),
    address,
  ]);
});

test("expandPictures() names what stands for no file", () => {
  expect(() => expandPictures([path("c.jpg")])).toThrow(
    'c.jpg" as there is no such file or folder\nHint: check the path',
  );
  // Below a file there is nothing, which Bun's statSync() takes for a failure.
  expect(() => expandPictures([path("a/2.jpg/c.jpg")])).toThrow('c.jpg" as there is no such file or folder');
  expect(() => expandPictures(["c.jpg"])).toThrow(`Hint: paths are relative to ${process.cwd()}`);
  expect(() => expandPictures([path("*.gif")])).toThrow('*.gif" as no picture fits the pattern');
  expect(() => expandPictures([path("empty")])).toThrow('empty" as it holds no picture');
});

test("outputNames() keeps names, and takes folders along only where names clash", () => {
  const same = (name: string): string => name;
  expect(outputNames([path("a/2.jpg"), path("a/1.png")], same)).toEqual(["2.jpg", "1.png"]);
  expect(outputNames([path("a/2.jpg"), path("b/2.jpg")], same)).toEqual(["a/2.jpg", "b/2.jpg"]);
  expect(outputNames([path("a/2.jpg"), path("a/deep/2.jpg")], same)).toEqual(["2.jpg", "deep/2.jpg"]);
  expect(outputNames(["https://example.invalid/x/a.jpg?size=2"], same)).toEqual(["a.jpg"]);
  const text = (name: string): string => name.replace(/\.[^.]*$/, ".txt");
  expect(() => outputNames([path("a/1.jpg"), path("a/1.png")], text)).toThrow("would both become 1.txt");
});

test("openOutput() keeps a former content until the first write, and leaves nothing new behind unused", async () => {
  writeFileSync(path("old.json"), "former");
  const old = openOutput(path("old.json"));
  expect(readFileSync(path("old.json"), "utf8")).toBe("former");
  old.close();
  expect(readFileSync(path("old.json"), "utf8")).toBe("former");
  const again = openOutput(path("old.json"));
  await again.write("new ");
  await again.write("text");
  again.close();
  expect(readFileSync(path("old.json"), "utf8")).toBe("new text");
  openOutput(path("unused.json")).close();
  expect(existsSync(path("unused.json"))).toBe(false);
});

test("openOutput(), prepareFolder() and writeFile() name a place that cannot be written", async () => {
  expect(() => openOutput(path("a"))).toThrow(
    /^Cannot write ".*a" as it cannot be written: EISDIR: .*\nHint: it is a folder: name a file in it$/,
  );
  expect(() => openOutput(path("missing/out.json"))).toThrow(/ENOENT: [^']*\nHint: make the folder first/);
  // Of the folder that was named, and not of what was tried out in it.
  expect(() => prepareFolder(path("a/notes.txt"))).toThrow(/ENOTDIR: [^']*\nHint: a file is where a folder is needed/);
  await expect(writeFile(path("a/notes.txt/x"), "")).rejects.toThrow("as it cannot be written");
  prepareFolder(path("new/deep"));
  expect(readdirSync(path("new/deep"))).toEqual([]);
});

test.skipIf(!existsSync("/dev/full"))("an output without room rejects, and is no closed pipe", async () => {
  const full = openOutput("/dev/full");
  const error = await full.write("x").catch((cause: unknown) => cause);
  full.close();
  expect((error as Error).message).toStartWith('Cannot write "/dev/full" as it cannot be written: ENOSPC');
  expect(isClosedPipe(error)).toBe(false);
  expect(isClosedPipe(Object.assign(new Error("x"), { code: "EPIPE" }))).toBe(true);
});

test.skipIf(!existsSync("/dev/full"))("a standard output without room is told of like any other place", async () => {
  const line = cliWords(["models", "list"]).join(" ");
  const child = Bun.spawn(["bash", "-c", `${line} > /dev/full`], { stderr: "pipe" });
  expect(await child.stderr.text()).toMatch(
    /^error: Cannot write standard output as it cannot be written: ENOSPC: .*\nHint: make room, or choose another place\n$/,
  );
  expect(await child.exited).toBe(1);
});

test("readAnnotations() names a missing file, another kind of file, and another kind of JSON", () => {
  writeFileSync(path("a.json"), '{"images": [{"id": 1}], "categories": []}');
  expect(() => readAnnotations(path("none.json"))).toThrow("as they must be a JSON file: ENOENT");
  expect(() => readAnnotations(path("a/notes.txt"))).toThrow("as they must be a JSON file: ");
  expect(() => readAnnotations(path("a.json"))).toThrow("as images.0.file_name is wrong");
  writeFileSync(
    path("a.json"),
    '{"images": [{"id": 1, "file_name": "1.jpg", "width": 3}], "categories": [], "info": {}}',
  );
  expect(readAnnotations(path("a.json")).images).toEqual([{ id: 1, file_name: "1.jpg" }]);
});
