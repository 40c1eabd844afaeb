import { expect, test } from "bun:test";
import { errorCode } from "../../../src/worker/redis/redis-protocol.ts";

test("errorCode() is the first word, also of what a script of Redis 6.2 was refused with", () => {
  const script = "ERR Error running script (call to f_46f513ac04af2a7a1318b2043ee8de4c283faa33): @user_script:1:";
  const codes: readonly (readonly [text: string, code: string])[] = [
    ["NOGROUP No such key 'frames'", "NOGROUP"],
    ["ERR syntax error", "ERR"],
    ["max out", "ERR"],
    ["ERR max number of clients reached", "MAXCLIENTS"],
    [`${script} NOGROUP No such key 'nope' or consumer group 'g'`, "NOGROUP"],
    [`${script} @user_script: 1: -READONLY You can't write against a read only replica.`, "READONLY"],
    [`${script} @user_script: 1: The user executing the script can't run this command or subcommand`, "ERR"],
  ];
  expect(codes.map(([text]) => errorCode(text))).toEqual(codes.map(([, code]) => code));
});
