import { beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { readAnnotations } from "../../src/cli/formats.ts";
import {
  Complaints,
  expandOperands,
  isReadOnce,
  localOperand,
  outputNames,
  videoNames,
} from "../../src/cli/operands.ts";
import { Terminal } from "../../src/cli/terminal.ts";
import { overwritten } from "../../src/core/paths.ts";
import { isClosedPipe, openOutput, openWholeOutput, prepareFolder, writeFileWhole } from "../../src/core/whole-file.ts";
import { testFolder } from "../support/folder.ts";
import { hasSmallDisk, SMALL_DISK } from "../support/small-disk.ts";
import { cliWords } from "./run-cli.ts";

setDefaultTimeout(120_000);

const MODULE = JSON.stringify(join(import.meta.dir, "../../src/core/whole-file.ts"));

const path = testFolder("files");

/** What was told, a line each. */
let told: string[] = [];

function expandImages(operands: readonly string[], action = "detect in"): readonly string[] {
  told = [];
  const terminal = new Terminal({ write: (line: string) => told.push(line.trimEnd()) }, (_, text) => text);
  return expandOperands(operands, { action, takes: "images" }, new Complaints(terminal)).images;
}

beforeEach(() => {
  for (const sub of ["a/deep", "b", "empty"]) mkdirSync(path(sub), { recursive: true });
  for (const name of ["a/2.jpg", "a/10.JPG", "a/1.png", "a/notes.txt", "a/deep/3.webp", "b/2.jpg", "b/[x].jpg"]) {
    writeFileSync(path(name), "");
  }
});

test("expandImages(): a folder stands for its images, by name, and not for those below it", () => {
  expect(expandImages([path("a")])).toEqual([path("a/1.png"), path("a/10.JPG"), path("a/2.jpg")]);
});

test.skipIf(Bun.which("mkfifo") === null)(
  "expandImages(): folders and patterns leave out pipes and links to folders, and keep links to files, and to nowhere",
  () => {
    Bun.spawnSync(["mkfifo", path("a/pipe.jpg")]);
    for (const [target, name] of [
      [path("a/pipe.jpg"), "p.jpg"],
      [path("b"), "folder.jpg"],
      [path("b/2.jpg"), "x.jpg"],
      ["nowhere", "y.jpg"],
      ["..", "up"],
    ] as const) {
      symlinkSync(target, path("a", name));
    }
    const images = ["1.png", "10.JPG", "2.jpg", "x.jpg", "y.jpg"].map((name) => path("a", name));
    expect(expandImages([path("a")])).toEqual(images);
    expect(expandImages([path("a/*")])).toEqual(images);
    expect(expandImages([path("a/pipe.jpg")])).toEqual([path("a/pipe.jpg")]); // named outright it is waited for
  },
);

test("expandImages(): a pattern reaches below, and a file of that very name wins over it", () => {
  expect(expandImages([path("**/*.{jpg,webp}")])).toEqual(
    ["a/2.jpg", "a/deep/3.webp", "b/2.jpg", "b/[x].jpg"].map((name) => path(name)),
  );
  expect(expandImages([path("a/**")])).toHaveLength(4);
  expect(expandImages([path("b/[x].jpg")])).toEqual([path("b/[x].jpg")]);
});

test("expandImages(): a file may have any name, an address is kept, and nothing is taken twice", () => {
  const address = "https://example.invalid/a.jpg";
  expect(expandImages([path("a/notes.txt"), path("b/2.jpg"), path("b"), address, address])).toEqual([
    path("a/notes.txt"),
    path("b/2.jpg"),
    path("b/[x].jpg"),
    address,
  ]);
});

test("expandImages(): what a folder, a pattern or an operand finds is a path, though it be called like an address", () => {
  const former = process.cwd();
  mkdirSync(path("c/ab:"), { recursive: true });
  process.chdir(path("c"));
  try {
    const names = ["data:a.jpg", "file:a.jpg", "http:127.0.0.1?a.jpg"];
    for (const name of [...names, "ab:/c.jpg"]) writeFileSync(name, "");
    const paths = ["./data:a.jpg", "./file:a.jpg", "http:127.0.0.1?a.jpg"];
    expect(expandImages(["."])).toEqual(paths);
    expect(expandImages(["*.jpg"])).toEqual(paths);
    expect(expandImages(names)).toEqual(paths);
    expect(expandImages(["ab://c.jpg"])).toEqual(["./ab://c.jpg"]);
    expect(localOperand("file:a.jpg")).toBe("./file:a.jpg");
    expect(paths.some(isReadOnce)).toBe(false);
    const long = `https://example.invalid/${"a".repeat(5000)}.jpg`;
    expect(expandImages([long])).toEqual([long]);
  } finally {
    process.chdir(former);
  }
});

test("expandImages() says of a name that is not UTF-8 that it is the name", () => {
  Bun.spawnSync(["sh", "-c", ": > \"$(printf 'caf\\351.jpg')\""], { cwd: path("a") });
  const name = readdirSync(path("a")).find((one) => one.startsWith("caf"))!;
  expect(() => expandImages([path("a", name)])).toThrow('.jpg": its name is not valid UTF-8\nHint: rename');
  // In a folder it fails alone, in its turn.
  expect(expandImages([path("a")])).toContain(path("a", name));
});

test("expandImages() names what stands for no file", () => {
  expect(() => expandImages([path("c.jpg")])).toThrow('c.jpg": there is no such file or folder\nHint: check the path');
  // Below a file there is nothing, which Bun's statSync() takes for a failure.
  expect(() => expandImages([path("a/2.jpg/c.jpg")])).toThrow('c.jpg": there is no such file or folder');
  symlinkSync("circle.jpg", path("circle.jpg"));
  expect(() => expandImages([path("circle.jpg")], "transform")).toThrow(
    /^Cannot transform ".*circle\.jpg": it cannot be read: ELOOP: too many symbolic links encountered\nHint: /,
  );
  expect(() => expandImages(["c.jpg"])).toThrow(`Hint: paths are relative to ${process.cwd()}`);
  expect(() => expandImages([path("*.gif")])).toThrow('*.gif": no image fits the pattern');
  expect(() => expandImages([path("empty")])).toThrow('empty": it holds no image');
});

test("expandImages() goes on after what stands for no file, and throws where nothing is left", () => {
  expect(expandImages([path("c.jpg"), path("a/2.jpg"), path("empty"), path("*.gif")])).toEqual([path("a/2.jpg")]);
  expect(told.map((line) => line.replace(`${path()}/`, ""))).toEqual([
    'error: Cannot detect in "c.jpg": there is no such file or folder',
    "Hint: check the path",
    'error: Cannot detect in the folder "empty": it holds no image',
    expect.stringContaining("Hint: an image ends in"),
    'error: Cannot detect in "*.gif": no image fits the pattern',
  ]);
  expect(() => expandImages([path("c.jpg"), path("d.jpg")])).toThrow('d.jpg": there is no such file');
  expect(told[0]).toContain('c.jpg": there is no such file');
});

test("outputNames() keeps names, and takes folders along only where names clash", () => {
  const same = (name: string): string => name;
  expect(outputNames([path("a/2.jpg"), path("a/1.png")], same)).toEqual(["2.jpg", "1.png"]);
  expect(outputNames([path("a/2.jpg"), path("b/2.jpg")], same)).toEqual(["a/2.jpg", "b/2.jpg"]);
  expect(outputNames([path("a/2.jpg"), path("a/deep/2.jpg")], same)).toEqual(["2.jpg", "deep/2.jpg"]);
  expect(outputNames(["https://example.invalid/x/a.jpg?size=2"], same)).toEqual(["a.jpg"]);
  const addresses = ["rtsp://me:12/s3cret@camera/live", "http://me:x/s3cret@host/a.jpg", "rtsp://me:12/s3cret@camera"];
  expect(outputNames(addresses, (name) => `${name}.txt`)).toEqual(["live.txt", "a.jpg.txt", ".txt"]);
  expect(outputNames(["rtsp://me:s3cret@one:554/live", path("live")], same)).toEqual(["one-554-live", "live"]);
  const text = (name: string): string => name.replace(/\.[^.]*$/, ".txt");
  expect(() => outputNames([path("a/1.jpg"), path("a/1.png")], text)).toThrow("would both become 1.txt");
});

test("videoNames() goes without extensions where they tell nothing, and never shows a password", () => {
  expect(videoNames(["a/street.mp4", "/dev/video0", "rtsp://me:s3cret@one"])).toEqual(["street", "video0", "one"]);
  expect(videoNames(["street.mp4", "street.avi"])).toEqual(["street.mp4", "street.avi"]);
  expect(videoNames(["rtsp://me:s3cret@one/live?token=abc", "rtsp://two/live"])).toEqual([
    "one-live-token",
    "two-live",
  ]);
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

test("openWholeOutput() leaves a file as it was until all is written, and nothing new where it is not", async () => {
  for (const former of ["former", undefined]) {
    rmSync(path("new.json"), { force: true });
    if (former !== undefined) writeFileSync(path("new.json"), former);
    const content = (): string | undefined =>
      existsSync(path("new.json")) ? readFileSync(path("new.json"), "utf8") : undefined;
    const broken = openWholeOutput(path("new.json"));
    await broken.write("half");
    expect(content()).toBe(former);
    broken.close();
    expect(content()).toBe(former);
    const whole = openWholeOutput(path("new.json"));
    await whole.write("all ");
    await whole.write("of it");
    await whole.finish();
    whole.close();
    expect(content()).toBe("all of it");
    expect(readdirSync(path()).toSorted()).toEqual(["a", "b", "empty", "new.json"]);
  }
});

test("openOutput() that is closed unused leaves what another process has put there meanwhile", async () => {
  const mine = openOutput(path("new.json"));
  const theirs = openWholeOutput(path("new.json"));
  await theirs.write("theirs");
  await theirs.finish();
  theirs.close();
  mine.close();
  expect(readFileSync(path("new.json"), "utf8")).toBe("theirs");
});

test.skipIf(!hasSmallDisk)("openWholeOutput() writes into a file that is mounted, at its end", async () => {
  const script = `import { openWholeOutput } from ${MODULE};
    const output = openWholeOutput("out.json");
    await output.write("all of it");
    await output.finish();
    output.close();`;
  writeFileSync(path("script.ts"), script);
  writeFileSync(path("real.json"), "a former content, longer than the new one");
  writeFileSync(path("out.json"), "");
  const shell = `mount --bind real.json out.json && "$1" script.ts`;
  const child = Bun.spawn([...SMALL_DISK, shell, "sh", process.execPath], { cwd: path(), stderr: "pipe" });
  expect(await child.stderr.text()).toBe("");
  expect(readFileSync(path("real.json"), "utf8")).toBe("all of it");
  expect(readdirSync(path()).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("isReadOnce() and overwritten() leave what cannot be looked at to those that read it", () => {
  symlinkSync("circle.jpg", path("circle.jpg"));
  expect(isReadOnce(path("circle.jpg"))).toBe(false);
  expect(overwritten([path("circle.jpg"), path("b/2.jpg")], [path("circle.jpg"), path("b/2.jpg")])).toBe(
    path("b/2.jpg"),
  );
});

/** By each of the two ways to write a file that appears whole. */
const WAYS = {
  openWholeOutput: async (place: string, text: string): Promise<void> => {
    const output = openWholeOutput(place);
    await output.write(text);
    await output.finish();
    output.close();
  },
  writeFileWhole,
} as const;

describe.each(Object.entries(WAYS))("%s()", (_, write) => {
  test("leaves a file its rights, and a link a link, to a file or to none yet", async () => {
    writeFileSync(path("file"), "former");
    chmodSync(path("file"), 0o640);
    symlinkSync("file", path("link"));
    symlinkSync("later", path("loose"));
    await write(path("link"), "new");
    await write(path("loose"), "late");
    expect([path("link"), path("loose")].map((one) => lstatSync(one).isSymbolicLink())).toEqual([true, true]);
    expect([path("file"), path("later")].map((one) => readFileSync(one, "utf8"))).toEqual(["new", "late"]);
    expect(statSync(path("file")).mode & 0o7777).toBe(0o640);
    expect(readdirSync(path()).toSorted()).toEqual(["a", "b", "empty", "file", "later", "link", "loose"]);
  });

  test("writes pipes and devices as they are", async () => {
    Bun.spawnSync(["mkfifo", path("pipe")]);
    await using reader = Bun.spawn(["cat", path("pipe")], { stdout: "pipe" });
    await write(path("pipe"), "through");
    expect(await reader.stdout.text()).toBe("through");
    await write("/dev/null", "away");
    expect(lstatSync("/dev/null").isCharacterDevice()).toBe(true);
    expect(lstatSync(path("pipe")).isFIFO()).toBe(true);
  });

  test.skipIf(process.getuid?.() !== 0 || Bun.which("setpriv") === null)(
    "refuses a file that may not be written, though its folder may",
    async () => {
      writeFileSync(path("file"), "former");
      chmodSync(path("file"), 0o444);
      chmodSync(path(), 0o777);
      const script = `import { openWholeOutput } from ${MODULE};
        import { writeFileWhole } from ${MODULE};
        const write = ${write === writeFileWhole ? "writeFileWhole" : "async (place) => openWholeOutput(place)"};
        await write(${JSON.stringify(path("file"))}, "new").catch((error) => console.log(error.message));`;
      const user = ["setpriv", "--reuid=65534", "--clear-groups"];
      const { stdout } = Bun.spawnSync([...user, process.execPath, "-e", script], { cwd: "/" });
      expect(stdout.toString()).toContain(": EACCES");
      expect(readFileSync(path("file"), "utf8")).toBe("former");
    },
  );
});

test.skipIf(!existsSync("/dev/stdout"))(
  "openWholeOutput() adds to a file that standard output is already",
  async () => {
    const script = `import { openWholeOutput } from ${MODULE};
    const output = openWholeOutput("/dev/stdout");
    await output.write("second");
    await output.finish();
    output.close();`;
    writeFileSync(path("script.ts"), script);
    const shell = `(echo first; "$1" "$2"; echo; echo third) >> both`;
    await Bun.spawn(["sh", "-c", shell, "sh", process.execPath, path("script.ts")], { cwd: path() }).exited;
    expect(readFileSync(path("both"), "utf8")).toBe("first\nsecond\nthird\n");
  },
);

test.skipIf(!hasSmallDisk)("openOutput() leaves whole lines alone where the disk is full", async () => {
  const script = `import { openOutput } from ${MODULE};
    const output = openOutput("disk/lines");
    const line = "x".repeat(2999) + "\\n";
    try { for (;;) await output.write(line); } catch (error) { console.log(error.message.split("\\n")[0]); }`;
  writeFileSync(path("script.ts"), script);
  mkdirSync(path("disk"));
  const shell = `mount -t tmpfs -o size=64k tmpfs disk && "$1" "$2"; wc -lc < disk/lines`;
  const child = Bun.spawn([...SMALL_DISK, shell, "sh", process.execPath, path("script.ts")], {
    cwd: path(),
    stdout: "pipe",
  });
  const [error, counts] = (await child.stdout.text()).trim().split("\n");
  expect(error).toStartWith('Cannot write "disk/lines": ENOSPC');
  const [lines, bytes] = counts!.trim().split(/\s+/).map(Number);
  expect(lines).toBeGreaterThan(0);
  expect(bytes).toBe(lines! * 3000);
});

test("openOutput(), prepareFolder() and writeFileWhole() name a place that cannot be written", async () => {
  expect(() => openOutput(path("a"))).toThrow(
    /^Cannot write ".*a": EISDIR: .*\nHint: it is a folder: name a file in it$/,
  );
  expect(() => openOutput(path("missing/out.json"))).toThrow(/ENOENT: [^']*\nHint: make the folder first/);
  // Of the folder that was named, and not of what was tried out in it.
  expect(() => prepareFolder(path("a/notes.txt"))).toThrow(/ENOTDIR: [^']*\nHint: a file is where a folder is needed/);
  await expect(writeFileWhole(path("a/notes.txt/x"), "")).rejects.toThrow("Cannot write");
  symlinkSync("circle", path("circle"));
  await expect(writeFileWhole(path("circle"), "")).rejects.toThrow(
    /^Cannot write ".*circle": ELOOP: too many symbolic links encountered\nHint: /,
  );
  prepareFolder(path("new/deep"));
  expect(readdirSync(path("new/deep"))).toEqual([]);
});

test.skipIf(!existsSync("/dev/full"))("an output without room rejects, and is no closed pipe", async () => {
  const full = openOutput("/dev/full");
  const error = await full.write("x").catch((cause: unknown) => cause);
  full.close();
  expect((error as Error).message).toStartWith('Cannot write "/dev/full": ENOSPC');
  expect(isClosedPipe(error)).toBe(false);
  expect(isClosedPipe(Object.assign(new Error("x"), { code: "EPIPE" }))).toBe(true);
});

test.skipIf(!existsSync("/dev/full"))("a standard output without room is told of like any other place", async () => {
  const line = cliWords(["models", "list"]).join(" ");
  const child = Bun.spawn(["bash", "-c", `${line} > /dev/full`], { stderr: "pipe" });
  expect(await child.stderr.text()).toMatch(
    /^error: Cannot write standard output: ENOSPC: .*\nHint: make room, or choose another place\n$/,
  );
  expect(await child.exited).toBe(1);
});

test("readAnnotations() names a missing file, another kind of file, and another kind of JSON", () => {
  writeFileSync(path("a.json"), '{"images": [{"id": 1}], "categories": []}');
  expect(() => readAnnotations(path("none.json"))).toThrow(
    /Cannot read the annotations ".*": ENOENT: no such file or directory.*\nHint: pass the instances file of COCO's/,
  );
  expect(() => readAnnotations(path("a/notes.txt"))).toThrow("JSON Parse error");
  expect(() => readAnnotations(path("a.json"))).toThrow("images.0.file_name must be a string");
  writeFileSync(
    path("a.json"),
    '{"images": [{"id": 1, "file_name": "1.jpg", "width": 3}], "categories": [], "info": {}}',
  );
  expect(readAnnotations(path("a.json")).images).toEqual([{ id: 1, file_name: "1.jpg" }]);
});
