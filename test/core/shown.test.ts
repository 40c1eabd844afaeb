import { expect, test } from "bun:test";
import * as errors from "../../src/core/errors.ts";
import {
  logger,
  passwordHint,
  printable,
  printableJson,
  redact,
  redactWithin,
  setLogSink,
  shown,
  shownInColour,
} from "../../src/core/log.ts";
import { formatTensorInfo } from "../../src/core/tensor.ts";

/** ESC, a C1 CSI, DEL, bidirectional controls, zero-width characters, a line separator, half a character, a tag. */
const UNSAFE = [
  "\x1b",
  "\x9b",
  "\x7f",
  "\0",
  "\r",
  "\u202e",
  "\u2066",
  "\u200e",
  "\u200f",
  "\u061c",
  "\u200b",
  "\ufeff",
  "\u2028",
  "\ud800",
];

test("printable() leaves nothing that a terminal obeys, and keeps every script and emoji", () => {
  for (const character of UNSAFE) {
    const code = character.charCodeAt(0).toString(16).padStart(4, "0");
    expect(printable(`a${character}b`)).toBe(`a\\u${code}b`);
  }
  expect(printable("a\nb\tc\u{e0041}")).toBe("a\\nb\\u0009c\\udb40\\udc41");
  expect(printable("straße 猫 קֶשֶׁת 🙂 نص")).toBe("straße 猫 קֶשֶׁת 🙂 نص");
});

test("shown() keeps lines apart, and shownInColour() our own looks alone", () => {
  expect(shown("a\n\tb\x1b[2J")).toBe("a\n\tb\\u001b[2J");
  expect(shownInColour("\x1b[1mbold\x1b[22m\x1b[2J\x1b]0;title\x07\x1b[8m")).toBe(
    "\x1b[1mbold\x1b[22m\\u001b[2J\\u001b]0;title\\u0007\\u001b[8m",
  );
});

test("printableJson() is the same value, and safe to look at", () => {
  const value = { "k\u202e": UNSAFE.join("").toWellFormed(), list: ["a\nb", { n: 1 }] };
  for (const indent of [undefined, 2]) {
    const text = printableJson(value, indent);
    expect(JSON.parse(text)).toEqual(value);
    expect(text.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}]/u);
  }
});

test("redact() leaves no password in an address, however it is written", () => {
  const cases = [
    ["rtsp://admin:secret@cam.local/s", "rtsp://admin:***@cam.local/s"],
    ["rtsp://admin:se/cret@cam.local:554/s", "rtsp://admin:***@cam.local:554/s"],
    ["rtsp://admin:12/34@cam.local/s", "rtsp://admin:***@cam.local/s"],
    ["rtsp://admin:p@ss/w@rd@cam/s", "rtsp://admin:***@cam/s"],
    ["rtsp://admin:a?b#c@cam/s", "rtsp://admin:***@cam/s"],
    ["rtsp://cam/user=admin&password=secret&channel=1", "rtsp://cam/user=admin&password=***&channel=1"],
    ["rtsp://cam:554/user=admin_password=secret_channel=1", "rtsp://cam:554/user=admin_password=***"],
    ["redis://:p@ss@host:6379/0", "redis://:***@host:6379/0"],
    ["redis://u:12/34@host:6379/0", "redis://u:***@host:6379/0"],
    ["http://u:pa/ss@host/a.jpg", "http://u:***@host/a.jpg"],
    ["http://u:12/34@host/a.jpg", "http://u:***@host/a.jpg"],
    ["http://u:p@s/w@host/a.jpg", "http://u:***@host/a.jpg"],
    ["http://u:pass@host/img@2x.png?mail=a@b.org", "http://u:***@host/img@2x.png?mail=a@b.org"],
    ["https://ghp_token@host/a.jpg", "https://***@host/a.jpg"],
    ["https://host/a.jpg?w=1&X-Amz-Signature=abc&token=d", "https://host/a.jpg?w=1&X-Amz-Signature=***&token=***"],
  ] as const;
  for (const [address, expected] of cases) expect(redact(address)).toBe(expected);
});

test("passwordHint() says how to write a password that breaks its address", () => {
  expect(passwordHint("rtsp://me:pa/ss@camera/s")).toContain("write / as %2F");
  for (const address of ["rtsp://me:pa%2Fss@camera/s", "http://[::1", "rtsp://cam:99999/s", "a/b@c"]) {
    expect(passwordHint(address)).toBeUndefined();
  }
});

test("redact() leaves alone what holds no password", () => {
  const addresses = [
    "http://localhost:8080/img@2x.png",
    "http://host/@someone/a.jpg",
    "https://host/a.jpg?w=1&monkey=2",
    "rtsp://camera.local:554/stream",
    "udp://@239.0.0.1:1234",
    "photos/a@b.jpg",
    "C:\\images\\a.jpg",
  ];
  for (const address of addresses) expect(redact(address)).toBe(address);
});

test("redactWithin() finds addresses in quotes, with blanks and escapes in them, and in running text", () => {
  expect(redactWithin('open "rtsp://u:a b\\"c@cam/s": failed for http://u:p/w@h/x, see http://h/y')).toBe(
    'open "rtsp://u:***@cam/s": failed for http://u:***@h/x, see http://h/y',
  );
});

test("redactWithin() takes time by the length of a text, whatever is in it", () => {
  const texts = [
    "a".repeat(1e6),
    "_token".repeat(1e5),
    '"a://'.repeat(1e5),
    "a://@".repeat(1e5),
    "a://b:@/".repeat(1e5),
  ];
  const started = performance.now();
  for (const text of texts) redactWithin(`x://${text}`);
  // By the square of it this would be hours; an emulator on a busy machine takes ten seconds.
  expect(performance.now() - started).toBeLessThan(60_000);
}, 120_000);

test("every error of ours is safe to look at, however its message was put together", () => {
  const text = "no \x1b[2J\u202e at rtsp://u:s3c/ret@cam\nHint: look";
  const safe = "no \\u001b[2J\\u202e at rtsp://u:***@cam\nHint: look";
  const native = { code: "X", call: "x" };
  const made = [
    new errors.NativeError(text, native),
    new errors.OnnxRuntimeError(text, native),
    new errors.LibraryLoadError(text, "x", []),
    new errors.ImageError(text, "x"),
    new errors.ImageSizeError(text, "x", 1),
    new errors.VideoError(text, "x"),
    new errors.RedisError(text, "X"),
    new errors.ModelError(text, "x"),
    new errors.CatalogueError(text, "x"),
    new errors.RequestError(text, 400, "x"),
    new errors.OptionError(text, "x"),
    new errors.UnavailableError(text, "x"),
  ];
  for (const { message } of made) expect(message).toBe(safe);
});

test("the log is safe to look at", () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level} ${text}`));
  for (const level of ["debug", "info", "warn", "error"] as const) logger[level]("a\x1b[2J http://u:p/w@h/");
  setLogSink(former);
  expect(lines).toEqual(["debug", "info", "warn", "error"].map((level) => `${level} a\\u001b[2J http://u:***@h/`));
});

test("a tensor's name is one line", () => {
  expect(formatTensorInfo({ name: "a\nHint: run this\x1b[2J", dtype: "f32", shape: [1] })).toBe(
    "a\\nHint: run this\\u001b[2J: f32 [1]",
  );
});
