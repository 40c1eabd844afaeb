import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { SHIM_STATUS, shim } from "../../../src/ffi/shim.ts";
import { BatchCheck, type DataVerdict, JpegKernels } from "../../../src/nvjpeg/batch-check.ts";
import { routeJpeg } from "../../../src/nvjpeg/jpeg-route.ts";
import { chance } from "../../support/chance.ts";
import { Gpu, isGpuMissing } from "../../support/gpu.ts";
import { paintedJpeg, wavyJpeg } from "../../support/images.ts";
import { jpegFixture } from "../../support/jpegs.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";

/** The file with each byte in front of a restart or end marker changed: the bits that fill it up are not looked at. */
function withOtherFilling(whole: Buffer): Buffer[] {
  const files: Buffer[] = [];
  for (let at = 600; at + 1 < whole.length; at++) {
    if (whole[at] !== 0xff || !((whole[at + 1]! >= 0xd0 && whole[at + 1]! <= 0xd7) || whole[at + 1] === 0xd9)) continue;
    for (const bits of [1, 3, 7, 15, 63]) {
      const copy = Buffer.from(whole);
      copy[at - 1]! ^= bits;
      if (copy[at - 1] !== 0xff) files.push(copy);
    }
  }
  return files;
}

function isWholeByCpu(file: Uint8Array): boolean {
  return shim().bt_jpeg_check(file, file.length) === SHIM_STATUS.ok;
}

/** Check files in batches of eight, with what the GPU and the CPU found of each. */
async function check(files: readonly Uint8Array[]): Promise<(readonly [gpu: DataVerdict, isWhole: boolean])[]> {
  using gpu = new Gpu();
  const checker = gpu.own(new BatchCheck(gpu.device, gpu.own(JpegKernels.create(gpu.device)), 8));
  const found: (readonly [DataVerdict, boolean])[] = [];
  for (let at = 0; at < files.length; at += 8) {
    const batch = files.slice(at, at + 8);
    await checker.enqueue(batch);
    await checker.done.wait();
    for (const [index, file] of batch.entries()) found.push([checker.verdict(index), isWholeByCpu(file)]);
  }
  return found;
}

test.skipIf(isGpuMissing)("BatchCheck finds whole files whole: every size, sampling and table, restarts", async () => {
  const files: Uint8Array[] = [];
  for (const name of ["420", "422", "440", "444", "411", "grey", "restart"] as const) files.push(jpegFixture(name));
  for (const options of [
    {},
    { chromaSubsampling: "4:4:4" },
    { optimizeCoding: false },
    { quality: 100 },
    { quality: 10 },
  ]) {
    files.push(await paintedJpeg(640, 480, options), await wavyJpeg(640, 361, options));
    for (const [width, height] of [
      [1, 1],
      [17, 33],
      [640, 3],
    ] as const) {
      files.push(await paintedJpeg(width, height, options));
    }
  }
  const found = await check(files);
  // Where much has one colour, the same codes come again and again: out of step, they fit for long.
  for (const [gpu, isWhole] of found) expect([gpu === "damaged", isWhole]).toEqual([false, true]);
  expect(found.filter(([gpu]) => gpu === "undecided").length).toBeLessThan(found.length / 4);
});

test.skipIf(isGpuMissing || isMissing("images/photos"))("BatchCheck finds real photographs whole", async () => {
  const names = readdirSync(sharedPath("images/photos")).filter((name) => name.endsWith(".jpg"));
  const files = names.map((name) => readFileSync(sharedPath("images/photos", name)));
  const cut = files.map((bytes) => bytes.subarray(0, routeJpeg(bytes).byteLength));
  for (const [index, verdict] of (await check(cut)).entries()) {
    expect([names[index], ...verdict]).toEqual([names[index]!, "whole", true]);
  }
});

test.skipIf(isGpuMissing)("BatchCheck calls nothing whole that the CPU does not, and decides nearly all", async () => {
  const random = chance(11);
  const files: Uint8Array[] = [];
  for (const options of [{}, { optimizeCoding: false }, { chromaSubsampling: "4:4:4" }]) {
    const whole = await wavyJpeg(640, 361, options);
    for (let round = 0; round < 100; round++) {
      const at = 700 + Math.floor(random() * (whole.length - 1500));
      const copy = Buffer.from(whole);
      if (round % 4 === 0) copy[at]! ^= 1 << Math.floor(random() * 8);
      if (round % 4 === 1) copy.fill(0, at, at + 512);
      const gap = round % 4 === 2 ? 700 : copy.length - 2 - at;
      files.push(round % 4 < 2 ? copy : Buffer.concat([copy.subarray(0, at), copy.subarray(at + gap)]));
    }
  }
  files.push(...withOtherFilling(await paintedJpeg(64, 40, { optimizeCoding: true })));
  files.push(...withOtherFilling(jpegFixture("grey")), ...withOtherFilling(jpegFixture("restart")));
  files.push(new Uint8Array(5000), await paintedJpeg(64, 64, { progressive: true }), jpegFixture("cmyk"));
  const found = await check(files);
  for (const [gpu, isWhole] of found) if (gpu !== "undecided") expect(gpu === "whole").toBe(isWhole);
  expect(found.filter(([gpu]) => gpu === "undecided").length).toBeLessThan(found.length / 10);
});
