/** @module Python peer: the child process that runs a stage with OpenCV and NumPy when told to. */

import { join } from "node:path";
import { peerEnvironment } from "./python-peer.ts";

/** Stages the peer knows. `blob` is `preprocess` by cv2.dnn.blobFromImage. */
export type PeerStage = "decode" | "preprocess" | "blob" | "postprocess";

/** What the peer works on. */
export interface PeerSetup {
  /** Path of an image. */
  readonly image: string;
  /** Side of the input in pixels. */
  readonly size: number;
  /** Path of the raw f32 values of a [1, 84, anchors] output, or null to leave that stage out. */
  readonly output: string | null;
  readonly threshold: number;
  readonly iou: number;
}

interface Answer {
  readonly missing?: string;
  readonly versions?: string;
  readonly ms?: number;
  readonly count?: number;
}

/** One Python process, idle between its stages, so that both sides can take turns on a quiet machine. */
export class PythonPeer implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #lines: AsyncIterator<string>;
  /** Versions and thread count, for people. */
  readonly versions: string;

  private constructor(
    child: Bun.Subprocess<"pipe", "pipe", "inherit">,
    lines: AsyncIterator<string>,
    versions: string,
  ) {
    this.#child = child;
    this.#lines = lines;
    this.versions = versions;
  }

  /**
   * Start the peer.
   *
   * @param python path or name of the interpreter
   * @returns why there is none, in one clause, if Python, OpenCV or NumPy is missing
   */
  static async start(python: string, setup: PeerSetup): Promise<PythonPeer | string> {
    if (Bun.which(python) === null) return `${python} is not there`;
    const child = Bun.spawn([python, join(import.meta.dir, "opencv_stages.py")], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
      env: peerEnvironment(),
    });
    const lines = linesOf(child.stdout);
    const first = await ask(child, lines, { stage: "setup", ...setup });
    if (first.versions !== undefined) return new PythonPeer(child, lines, first.versions);
    await child.exited;
    return `${python} has no module ${first.missing}`;
  }

  /** Run a stage once. */
  async run(stage: PeerStage): Promise<{ ms: number; count: number }> {
    const { ms, count } = await ask(this.#child, this.#lines, { stage });
    if (ms === undefined || count === undefined) throw new Error(`Cannot time ${stage}: the Python peer gave no time`);
    return { ms, count };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    await this.#child.exited;
  }
}

async function ask(
  child: Bun.Subprocess<"pipe", "pipe", "inherit">,
  lines: AsyncIterator<string>,
  command: object,
): Promise<Answer> {
  child.stdin.write(`${JSON.stringify(command)}\n`);
  await child.stdin.flush();
  const line = await lines.next();
  if (line.done === true) throw new Error("Cannot go on: the Python peer has ended; it printed why above");
  return JSON.parse(line.value) as Answer;
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}
