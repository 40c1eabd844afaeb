import { expect, test } from "bun:test";
import { OptionError } from "../../../src/core/errors.ts";
import { RedisConnection, redisAddress, withoutPassword } from "../../../src/worker/redis/redis-connection.ts";
import { ScriptedRedis } from "../../support/scripted-redis.ts";

test("redisAddress() takes a URL apart and hides the password", () => {
  expect(redisAddress("redis://localhost")).toMatchObject({ host: "localhost", port: 6379, database: 0, isTls: false });
  expect(redisAddress("rediss://me:p%40ss@[::1]:7000/3")).toMatchObject({
    host: "::1",
    port: 7000,
    database: 3,
    isTls: true,
    user: "me",
    password: "p@ss",
    shown: "rediss://me:***@[::1]:7000/3",
  });
  expect(redisAddress("redis+unix:///run/redis.sock")).toMatchObject({ unix: "/run/redis.sock" });
});

test("redisAddress() refuses what is no URL of a server, without telling the password", () => {
  for (const url of ["localhost:6379", "http://localhost", "redis://localhost/cache", ""]) {
    expect(() => redisAddress(url)).toThrow(OptionError);
  }
  const addresses = [
    "http://me:s3cret@localhost",
    "redis://me:s3c/s3cret@localhost",
    "redis://me:12/s3cret@localhost/0",
  ];
  for (const url of [...addresses, "me:s3cret@localhost:6379", "redis://me:s3cret@localhost/cache"]) {
    expect(() => redisAddress(url)).toThrow(/^(?!.*s3cret)/s);
  }
});

test("withoutPassword() hides it where a server repeats the command that it does not know", () => {
  const address = redisAddress("redis://me:p%40ss@localhost");
  const said = "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'me' 'p@ss'";
  expect(withoutPassword(said, address)).toBe(said.replace("p@ss", "***"));
});

test("an error of logging in tells no password, also where the server repeats it, and shows no escapes", async () => {
  using server = new ScriptedRedis((command) =>
    /s3cret/.test(command) ? `-ERR unknown command, with args beginning with: ${command} \x1b[2J\u202e\r\n` : undefined,
  );
  const address = redisAddress(server.url.replace("//", "//me:s3cret@"));
  const opening = RedisConnection.open(address, { timeoutMs: 1000, name: "test" });
  const error = await opening.catch((found: Error) => found);
  expect(server.commands.join()).toContain("s3cret");
  expect((error as Error).message).toContain("\\u001b[2J\\u202e");
  expect((error as Error).message).toContain("***");
  expect(Bun.inspect(error)).not.toContain("s3cret");
});
