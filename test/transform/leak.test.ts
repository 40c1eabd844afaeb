import { expect, test } from "bun:test";
import { ImageModel } from "../../src/api/image-model.ts";
import { ledger } from "../../src/core/resource.ts";
import { identityImageModel, nearestModel, noiseImage } from "../support/image-models.ts";

/** What may come and go with the allocators; a leak of the images below is several times that. */
const SLACK_BYTES = 48 * 2 ** 20;

function residentBytes(): number {
  Bun.gc(true);
  return process.memoryUsage.rss();
}

test("240 images of two sizes in tiles leave resident memory flat", async () => {
  const bytes = nearestModel(["n", 3, 64, 64], ["n", 3, 128, 128]);
  await using model = await ImageModel.load(bytes, { backend: "cpu", threads: 1, batch: 2 });
  const sources = [noiseImage(300, 200, "RGBA"), noiseImage(100, 60)];
  const once = async (): Promise<void> => {
    for (const source of sources) await model.transform(source);
  };
  for (let warm = 0; warm < 20; warm++) await once();
  const before = residentBytes();
  for (let round = 0; round < 120; round++) {
    await once();
    if (round % 20 === 0) Bun.gc(true);
  }
  expect(residentBytes() - before).toBeLessThan(SLACK_BYTES);
});

test("40 models loaded, run and closed, and 40 refused ones, leave nothing in the ledger", async () => {
  const good = identityImageModel(["n", 3, "h", "w"]);
  const bad = identityImageModel([1, 5, 8, 8]);
  const before = ledger.size;
  for (let round = 0; round < 40; round++) {
    await using model = await ImageModel.load(good, { backend: "cpu", threads: 1 });
    await model.transform(noiseImage(33, 17));
    await expect(ImageModel.load(bad, { backend: "cpu" })).rejects.toThrow("1 or 3 channels");
  }
  expect(ledger.size).toBe(before);
});
