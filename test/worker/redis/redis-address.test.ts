import { expect, test } from "bun:test";
import { OptionError } from "../../../src/core/errors.ts";
import { redisAddress } from "../../../src/worker/redis/redis-address.ts";

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
  expect(() => redisAddress("http://me:secret@localhost")).toThrow(/^(?!.*secret)/s);
});
