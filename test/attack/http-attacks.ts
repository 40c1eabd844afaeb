/** @module HttpAttacks: what a stranger may send to a server, each with the answers that are right. */

import { blurredSvg, flatWebp, manyScans, stripTiff, tiledTiff } from "../support/hostile.ts";
import { RawConnection, WHITE_JPEG, white } from "../support/serving.ts";
import type { Scale } from "./target.ts";

/** What attacks are made with. */
export interface Aim {
  readonly url: URL;
  readonly scale: Scale;
}

/** Sends what it does, and returns the answers. */
export interface HttpAttack {
  readonly name: string;
  /** Every answer must match. */
  readonly expected: RegExp;
  run(aim: Aim): Promise<readonly (string | number)[]>;
}

type Headers = Readonly<Record<string, string>>;
type Body = NonNullable<RequestInit["body"]>;

async function post(url: URL, path: string, body: Body, headers: Headers = {}): Promise<number> {
  const response = await fetch(new URL(path, url), { method: "POST", body, headers });
  await response.bytes();
  return response.status;
}

const HOSTILE_IMAGES: readonly Buffer[] = [
  blurredSvg(),
  blurredSvg("<!-- a photograph -->"),
  blurredSvg(`<?xml version="1.0"?><!-- ${"-x".repeat(999)} -->`),
  manyScans(8000, 70),
  manyScans(4000, 300),
  flatWebp(16383, 16383),
  flatWebp(8192, 8192),
  stripTiff(16384, 16384),
  tiledTiff(32768),
  WHITE_JPEG.subarray(0, 200),
  Buffer.from("GIF89a"),
  Buffer.alloc(1),
];

function images({ url }: Aim): Promise<number[]> {
  const form = new FormData();
  for (const [at, file] of HOSTILE_IMAGES.entries()) {
    form.append("image", new File([file as Uint8Array<ArrayBuffer>], `${at}`));
  }
  const plain = HOSTILE_IMAGES.flatMap((file) => [
    post(url, "/detect", file),
    post(url, "/detect?format=image", file),
    post(url, "/v2/models/toy/infer", file, { "Inference-Header-Content-Length": "0" }),
  ]);
  return Promise.all([...plain, post(url, "/detect", form)]);
}

/** Real images, flat and large, two at a time. */
async function largeImages({ url, scale }: Aim): Promise<number[]> {
  const answers: number[] = [];
  for (const [side, path] of [
    [scale.side, "/detect"],
    [scale.side, "/detect?format=image"],
    [Math.floor(scale.side * 0.49), "/detect?format=image"],
  ] as const) {
    for (const format of ["jpeg", "png", "gif"] as const) {
      const file = await white(side, side).toFormat(format).toBuffer();
      for (let round = 0; round < 3; round++) {
        answers.push(...(await Promise.all([post(url, path, file), post(url, path, file)])));
      }
    }
  }
  return answers;
}

const IMAGE = '"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"data":["AA=="]}]';

/** JSON of about so many bytes. */
function jsonBombs(bodyBytes: number): string[] {
  const pixels = (data: string): string =>
    `{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,1,3],"data":[${data}0]}]}`;
  const filled = (part: string): string => part.repeat(Math.floor((bodyBytes - 200) / part.length));
  let names = "";
  for (let at = 0; names.length < bodyBytes - 200; at++) names += `"parameter-${at}":${at},`;
  return [
    `{${IMAGE},"parameters":{${names}"z":0}}`,
    `{${IMAGE},"parameters":{"classes":"${filled("a,")}"}}`,
    `{${IMAGE},"id":"${filled("x")}"}`,
    pixels(filled("0,")),
    pixels(filled("[0],")),
    pixels(filled("{},")),
    pixels(filled('"a",')),
    filled("["),
    filled('{"a":'),
    filled('"\\"'),
  ];
}

async function json({ url, scale }: Aim): Promise<number[]> {
  const answers: number[] = [];
  // One after the other, as each is made of megabytes here as well.
  for (const bomb of jsonBombs(scale.bodyBytes)) answers.push(await post(url, "/v2/models/toy/infer", bomb));
  return answers;
}

function largeBodies({ url, scale }: Aim): Promise<number[]> {
  const bomb = Buffer.from(jsonBombs(scale.bodyBytes)[3]!);
  const zeros = Buffer.alloc(scale.bodyBytes);
  const sent = Array.from({ length: scale.bodies }, (_, at) =>
    at % 2 === 0 ? post(url, "/v2/models/toy/infer", bomb) : post(url, "/detect", zeros),
  );
  return Promise.all(sent.map((one) => one.catch(() => 0)));
}

const PART = '\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n\r\n';

async function forms(aim: Aim): Promise<number[]> {
  return [...(await formsTo("/detect", aim)), ...(await formsTo("/v1/vision/detection", aim))];
}

async function formsTo(path: string, { url, scale }: Aim): Promise<number[]> {
  const send = (boundary: string, body: string): Promise<number> =>
    post(url, path, body, { "Content-Type": `multipart/form-data; boundary=${boundary}` });
  const many = `--X${PART}`.repeat(Math.floor(scale.bodyBytes / (PART.length + 3)));
  const slow = `a${"x".repeat(69)}`;
  const field = (at: number): string =>
    `--X\r\nContent-Disposition: form-data; name="${at}"\r\n\r\n${"y".repeat(900)}\r\n`;
  const fields = Array.from({ length: Math.floor(scale.bodyBytes / 1000) }, (_, at) => field(at)).join("");
  return [
    await send("X", `${fields}--X--\r\n`),
    await send("X", `${many}--X--\r\n`),
    await send("b".repeat(252), `--${"b".repeat(252)}${PART}--${"b".repeat(252)}--`),
    // Every place looks like the end of the boundary.
    await send(slow, `--${slow}${PART}${"x".repeat(Math.min(scale.bodyBytes, 2 ** 23))}\r\n--${slow}--`),
    await send("X", `--X\r\n${"a: b\r\n".repeat(100_000)}`),
  ];
}

async function sites({ url }: Aim): Promise<number[]> {
  const raw = async (text: string): Promise<number> => {
    const connection = await RawConnection.open(url);
    connection.send(text);
    const status = await connection.status();
    connection.cut();
    return status;
  };
  const length = WHITE_JPEG.length;
  return [
    await raw("GET /model HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
    await raw(`GET /metrics HTTP/1.1\r\nHost: evil.example:${url.port}\r\n\r\n`),
    await raw(`POST /detect HTTP/1.1\r\nHost: evil.example\r\nContent-Length: ${length}\r\n\r\n`),
    await post(url, "/detect", WHITE_JPEG, { Origin: "https://evil.example" }),
    await post(url, "/detect", WHITE_JPEG, { Origin: "null", "Content-Type": "text/plain" }),
  ];
}

/** Within this time Bun closes a connection that has sent no whole head, however busy it is; milliseconds. */
const HEAD_MS = 14_000;

/** Connections that say something now and then, until they are cut or the time is over. @returns what they were told */
async function slowly(aim: Aim, begin: string, more: string, mostMs: number): Promise<string[]> {
  const { url, scale } = aim;
  const connections = await Promise.all(Array.from({ length: scale.connections }, () => RawConnection.open(url)));
  for (const connection of connections) connection.send(begin);
  const end = performance.now() + scale.slowMs;
  while (performance.now() < end) {
    await Bun.sleep(100);
    if (more !== "") for (const connection of connections) connection.send(more);
  }
  return connections.map((connection) => {
    const isLate = !connection.isClosed && scale.slowMs > mostMs;
    const status =
      connection.received.slice(9, 12) || (connection.isClosed ? "closed" : isLate ? "still open" : "open");
    connection.cut();
    return status;
  });
}

const HEADER_FLOODS = [
  `GET /${"a".repeat(200_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
  `GET /model HTTP/1.1\r\nHost: localhost\r\nX: ${"a".repeat(200_000)}\r\n\r\n`,
  `GET /model HTTP/1.1\r\nHost: localhost\r\n${"X: a\r\n".repeat(50_000)}\r\n`,
  `GET /detect?${"a&".repeat(7000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
  `POST /detect?${Array.from({ length: 3000 }, (_, at) => `${at.toString(36)}=`).join("&")} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1`,
  `POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n`,
  `POST /detect HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n`,
  "\0".repeat(100_000),
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/** @returns status, or that it was closed */
async function floods({ url }: Aim): Promise<string[]> {
  const answers: string[] = [];
  for (const flood of HEADER_FLOODS) {
    const connection = await RawConnection.open(url);
    connection.send(flood);
    await Promise.race([connection.closed(), connection.status()]);
    answers.push(connection.received.slice(9, 12) || "closed");
    connection.cut();
  }
  return answers;
}

const SLOW_HEAD = "POST /detect HTTP/1.1\r\nHost: localhost\r\n";

/** In the order they are made. */
export const HTTP_ATTACKS: readonly HttpAttack[] = [
  { name: "hostile images", expected: /^(200|413|422|429)$/, run: images },
  { name: "large images", expected: /^(200|413)$/, run: largeImages },
  { name: "JSON bombs", expected: /^(400|413)$/, run: json },
  { name: "large bodies at once", expected: /^(400|413|415|422|429|0)$/, run: largeBodies },
  { name: "forms of many parts and odd boundaries", expected: /^(400|413|422)$/, run: forms },
  { name: "foreign hosts and origins", expected: /^(421|403)$/, run: sites },
  { name: "header floods", expected: /^(4\d\d|505|closed)$/, run: floods },
  {
    name: "slow heads",
    expected: /^(open|closed|408|400)$/,
    run: (aim) => slowly(aim, SLOW_HEAD, "X: a\r\n", HEAD_MS),
  },
  {
    name: "slow bodies",
    expected: /^(open|408|429)$/,
    run: (aim) => slowly(aim, `${SLOW_HEAD}Content-Length: 30000000\r\n\r\n`, "x", 25_000),
  },
  { name: "idle connections", expected: /^(open|closed)$/, run: (aim) => slowly(aim, "", "", HEAD_MS) },
];
