import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { isAbandoned, OWNER_MARK, ownerMark } from "../../src/core/owner-mark.ts";

const DAY_MS = 24 * 3_600_000;

test("OWNER_MARK finds a mark, and no date", () => {
  const pattern = new RegExp(`^${OWNER_MARK}$`);
  expect(ownerMark()).toMatch(pattern);
  expect("2024-11").not.toMatch(pattern);
});

test.skipIf(!existsSync("/proc/self/stat"))(
  "isAbandoned(): who runs since before it wrote may wait for days; who has got the number since may not",
  async () => {
    await using child = Bun.spawn(["sleep", "20"]);
    const mark = ownerMark().replace(/^\d+/, String(child.pid));
    expect(isAbandoned(mark, Date.now())).toBe(false);
    expect(isAbandoned(mark, Date.now() - 2 * DAY_MS)).toBe(true);
    const now = Date.now;
    try {
      Date.now = () => now() + 2 * DAY_MS;
      expect(isAbandoned(mark, now())).toBe(false);
      const elsewhere = mark.replace(/[\da-f]{16}$/, "a".repeat(16));
      expect(isAbandoned(elsewhere, now())).toBe(true);
      child.kill();
      await child.exited;
      expect(isAbandoned(mark, now())).toBe(true);
    } finally {
      Date.now = now;
    }
  },
);

test.skipIf(!existsSync("/proc/self/stat"))("isAbandoned(): who has ended and is not asked for is gone", async () => {
  // The shell becomes another program, which knows nothing of the child.
  await using parent = Bun.spawn(["sh", "-c", "true & echo $!; exec sleep 20"], { stdout: "pipe" });
  const { value } = await parent.stdout.getReader().read();
  const pid = Number(new TextDecoder().decode(value));
  const mark = ownerMark().replace(/^\d+/, String(pid));
  while (!readFileSync(`/proc/${pid}/stat`, "latin1").includes(") Z ")) await Bun.sleep(5);
  expect(isAbandoned(mark, Date.now())).toBe(true);
});
