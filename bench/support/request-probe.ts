/** @module RequestProbe: another process that asks a server for a small answer again and again, and times it. */

/** The probe's program: asks until its standard input ends, then prints every time in milliseconds. */
const PROGRAM = `
const samples = [];
let isOver = false;
process.stdin.on("end", () => { isOver = true; }).resume();
while (!isOver) {
  const started = performance.now();
  await (await fetch(process.argv[1])).text();
  samples.push(performance.now() - started);
  await Bun.sleep(2);
}
console.log(JSON.stringify(samples));
`;

/** Asks a server of this process while it works. */
export class RequestProbe implements AsyncDisposable {
  readonly #server: Bun.Server<undefined>;
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;

  /** Start the server on a free port, and the other process. */
  constructor() {
    this.#server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("ok") });
    this.#child = Bun.spawn([process.execPath, "-e", PROGRAM, this.#server.url.href], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
  }

  /** End the asking; every time in milliseconds. */
  async finish(): Promise<number[]> {
    this.#child.stdin.end();
    const text = await this.#child.stdout.text();
    await this.#child.exited;
    return text.trim() === "" ? [] : (JSON.parse(text) as number[]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill();
    await this.#child.exited;
    await this.#server.stop(true);
  }
}
