/**
 * @module A stopwatch for the first minute of a new user: `bun scripts/first-minute.ts [IMAGE]`.
 *
 * In an empty folder, with an empty home, from the packed tarball: `bun add`, then four lines that print the boxes of an image;
 * once more when all is warm, and once more without a network. For each step the time, what came over the network, and
 * what lies on the disk afterwards. Exits with 1 where an install takes more than 120 MB, or a step goes wrong.
 *
 * The registry is the user's own (`.npmrc`), without its packages cached. Bytes are counted by a proxy on this machine, through which
 * what goes over https passes as it is; behind a proxy of the network they are not.
 */

import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { homedir, tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { findEntry } from "../src/catalogue/catalogue.ts";
import { pull } from "../src/catalogue/pull.ts";

/** The most that `bun add` may put on the disk. */
const MOST_BYTES = 120e6;

const root = join(import.meta.dir, "..");
const image = resolve(process.argv[2] ?? (await pull(findEntry("sample1")!)));

const PROGRAM = `import { Detector } from "bun-tensorrt";
await using detector = await Detector.load("yolo11n");
const { detections } = await detector.detect(${JSON.stringify(image)});
for (const { label, score, box } of detections) console.log(label, score, box);
`;

/** Passes connections on and counts what comes back. */
class CountingProxy implements Disposable {
  receivedBytes = 0;
  readonly #server = createServer((_, response) => response.writeHead(501).end());
  readonly #sockets = new Set<Socket>();

  static async start(): Promise<CountingProxy> {
    const proxy = new CountingProxy();
    proxy.#server.on("connect", (request, client: Socket, head: Buffer) =>
      proxy.#pass(request.url ?? "", client, head),
    );
    await new Promise<void>((done) => proxy.#server.listen(0, "127.0.0.1", done));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #pass(address: string, client: Socket, head: Buffer): void {
    const { hostname, port } = new URL(`https://${address}`);
    const server = connect(Number(port || 443), hostname, () => {
      client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      server.write(head);
      client.pipe(server);
      server.pipe(client);
    });
    server.on("data", (chunk: Buffer) => {
      this.receivedBytes += chunk.length;
    });
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on("error", () => {
        client.destroy();
        server.destroy();
      });
    }
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

/** Bytes of all files in a folder; one that has several names counts once. */
function bytesIn(folder: string, seen: Set<number> = new Set()): number {
  let sum = 0;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const stats = lstatSync(path);
    if (stats.isDirectory()) sum += bytesIn(path, seen);
    else if (!seen.has(stats.ino)) sum += stats.size;
    seen.add(stats.ino);
  }
  return sum;
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** The folder of the user, with a home beside the app, and the tarball. */
const place = mkdtempSync(join(tmpdir(), "bun-tensorrt-first-minute-"));
const [app, home] = [join(place, "app"), join(place, "home")];
let isRight = true;

try {
  using proxy = await CountingProxy.start();
  mkdirSync(app);
  mkdirSync(home);
  const packed = Bun.spawnSync([process.execPath, "pm", "pack", "--destination", place], { cwd: root });
  if (!packed.success) throw new Error(`Cannot pack the package: ${packed.stderr}`);
  const tarball = join(place, readdirSync(place).find((name) => name.endsWith(".tgz"))!);
  console.log(`${basename(tarball)}: ${megabytes(lstatSync(tarball).size)} packed\n`);
  writeFileSync(join(app, "index.ts"), PROGRAM);

  // Only what a new user has: no settings but those of the registry.
  const { PATH = "", NPM_CONFIG_USERCONFIG = join(homedir(), ".npmrc"), NODE_EXTRA_CA_CERTS } = process.env;
  const outer = process.env.HTTPS_PROXY ?? process.env.https_proxy;
  const environment = { PATH, HOME: home, NPM_CONFIG_USERCONFIG, NODE_EXTRA_CA_CERTS, HTTPS_PROXY: outer ?? proxy.url };
  const noNetwork = { ...environment, HTTPS_PROXY: "http://127.0.0.1:1", HTTP_PROXY: "http://127.0.0.1:1" };
  const steps = [
    { name: "bun add bun-tensorrt", words: ["add", tarball], env: environment },
    { name: "bun index.ts, the first time", words: ["index.ts"], env: environment },
    { name: "bun index.ts, again", words: ["index.ts"], env: environment },
    { name: "bun index.ts, without a network", words: ["index.ts"], env: noNetwork },
  ];
  const rows: string[][] = [["step", "time", "downloaded", "app", "cache of models"]];
  let boxes = "";
  for (const { name, words, env } of steps) {
    const before = proxy.receivedBytes;
    const started = performance.now();
    const child = Bun.spawn([process.execPath, ...words], { cwd: app, env, stdout: "pipe", stderr: "pipe" });
    const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    const seconds = (performance.now() - started) / 1000;
    const inApp = bytesIn(app);
    const cache = join(home, ".cache");
    const inCache = readdirSync(home).includes(".cache") ? bytesIn(cache) : 0;
    const received = outer === undefined ? megabytes(proxy.receivedBytes - before) : "not counted";
    rows.push([name, `${seconds.toFixed(2)} s`, received, megabytes(inApp), megabytes(inCache)]);
    if (words[0] === "index.ts") boxes = output;
    if (code === 0 && (words[0] !== "index.ts" || output !== "") && inApp <= MOST_BYTES) continue;
    isRight = false;
    console.log(`${name}: exit code ${code}, ${megabytes(inApp)} in the app\n${output}${errors}`);
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows) {
    console.log(row.map((cell, at) => (at === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[at]!))).join("  "));
  }
  console.log(`\n${boxes}`);
} finally {
  rmSync(place, { recursive: true, force: true });
}
process.exit(isRight ? 0 : 1);
