import { expect, test } from "bun:test";
import { configReload } from "../../src/cli/commands/worker.ts";
import { OptionError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import type { WorkerOptions } from "../../src/worker/worker-config.ts";

test("configReload() takes what was asked for last at the end, however long each read lasts", async () => {
  const taken: (number | undefined)[] = [];
  // The file as it is when a read begins; the first reads are the slowest, as on a disk that wakes up.
  let threshold = 0;
  const durations = [20, 5, 0];
  const reload = configReload({
    read: async (): Promise<WorkerOptions> => {
      const found = { threshold };
      await Bun.sleep(durations.shift()!);
      return found;
    },
    take: (options) => taken.push(options.threshold),
    config: "worker.toml",
  });
  const requests = [0.1, 0.2, 0.3].map((value) => {
    threshold = value;
    return reload();
  });
  await Promise.all(requests);
  expect(taken.at(-1)).toBe(0.3);
});

test("configReload() goes on after a file that is refused, or empty for a moment", async () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    const files: WorkerOptions[] = [{ threshold: 2 }, {}, { threshold: 0.5 }];
    const taken: WorkerOptions[] = [];
    const reload = configReload({
      read: () => Promise.resolve(files.shift()!),
      take: (options) => {
        if (options.threshold === 2) throw new OptionError("Cannot take 2", "threshold");
        taken.push(options);
      },
      config: "worker.toml",
    });
    await Promise.all([reload(), reload(), reload()]);
    expect(taken).toEqual([{ threshold: 0.5 }]);
    expect(lines).toEqual([
      "error: Kept the former configuration. Cannot take 2",
      expect.stringContaining('Cannot read "worker.toml" again: it holds no option'),
    ]);
  } finally {
    setLogSink(former);
  }
});
