import { expect, test } from "bun:test";
import { type NvJpegOptions, parseNvJpegOptions } from "../../src/nvjpeg/nvjpeg-options.ts";

test("parseNvJpegOptions() fills in the defaults, and leaves the numbers to the decoder", () => {
  expect(parseNvJpegOptions({})).toEqual({ backend: "auto", batch: undefined, lanes: undefined, check: true });
  const options = { backend: "hybrid", batch: 3, lanes: 2, check: false } as const;
  expect(parseNvJpegOptions(options)).toEqual(options);
});

test.each([
  [{ backend: "cpu" }, "backend"],
  [{ batch: 0 }, "batch"],
  [{ lanes: 65 }, "lanes"],
  [{ check: 1 }, "check"],
  [{ batches: 3 }, "batches"],
])("parseNvJpegOptions() refuses %o by name", (options, name) => {
  expect(() => parseNvJpegOptions(options as NvJpegOptions)).toThrow(name);
});
