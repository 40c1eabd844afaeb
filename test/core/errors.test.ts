import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Glob } from "bun";
import * as errors from "../../src/core/errors.ts";
import * as index from "../../src/index.ts";

const CLASSES = Object.values(errors).filter(
  (value): value is typeof errors.BunTensorRtError => typeof value === "function" && /^[A-Z]/.test(value.name),
);
const SOURCES = [...new Glob("**/*.ts").scanSync("src")].sort();

test("every error class shares one exported base, bears its own name and is exported by the package", () => {
  expect(CLASSES.length).toBeGreaterThan(20);
  for (const known of CLASSES) {
    expect(known === errors.BunTensorRtError || known.prototype instanceof errors.BunTensorRtError, known.name).toBe(
      true,
    );
    expect(Object.entries(index), known.name).toContainEqual([known.name, known]);
  }
  const unavailable = new errors.UnavailableError("Cannot load: there is no GPU", "backend");
  expect(unavailable).toBeInstanceOf(errors.OptionError);
  expect(unavailable).not.toBeInstanceOf(TypeError);
  expect(`${unavailable}`).toBe("UnavailableError: Cannot load: there is no GPU");
  expect(new errors.ClosedError("run", "Session").message).toStartWith("Cannot run: Session is closed\nHint: ");
});

test("no file throws an error of the language, but where its own caller catches it", () => {
  const native = SOURCES.filter((path) =>
    /\bnew (?:Type|Range|Reference|Syntax)?Error\((?!\))/.test(readFileSync(`src/${path}`, "utf8")),
  );
  expect(native).toEqual(["heads/own-head.ts", "image/sharp.ts", "model/model-info.ts"]);
});

test("no message begins with a conjunction: message() puts the colon", () => {
  const joined = SOURCES.flatMap((path) =>
    [...readFileSync(`src/${path}`, "utf8").matchAll(/["'`](as (?:it|its|there|the|a|an|no|option|\$)\b.*)/g)].map(
      ([, text]) => `${path}: ${text}`,
    ),
  );
  expect(joined).toEqual([]);
});
