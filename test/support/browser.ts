/** @module A real browser without a window, driven over the DevTools protocol. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Path of Chromium, or `undefined` where it is not installed. */
export const chromium: string | undefined =
  Bun.which("chromium") ?? Bun.which("chromium-browser") ?? Bun.which("google-chrome") ?? undefined;

interface Reply {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

/** What Chromium says of where it listens, on standard error. */
async function debuggerUrl(stderr: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of stderr) {
    text += Buffer.from(chunk).toString();
    const url = /DevTools listening on (ws:\S+)/.exec(text)?.[1];
    if (url !== undefined) return url;
  }
  throw new Error(`Chromium ended: ${text}`);
}

/** One page of a browser of its own. */
export class BrowserPage implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #folder: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  /** Texts of the console, and of errors that nobody caught. */
  readonly console: string[] = [];
  #session: string | undefined;
  #lastId = 0;

  private constructor(process: Bun.Subprocess<"ignore", "ignore", "pipe">, folder: string, socket: WebSocket) {
    this.#process = process;
    this.#folder = folder;
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => this.#receive(JSON.parse(data as string) as Reply));
  }

  /** Start Chromium with an empty page. Sizes in CSS pixels. @param flags further words of its command line */
  static async open(width: number, height: number, flags: readonly string[] = []): Promise<BrowserPage> {
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-browser-"));
    const words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
    const child = Bun.spawn(
      [
        chromium!,
        ...words,
        "--hide-scrollbars",
        "--remote-debugging-port=0",
        `--user-data-dir=${folder}`,
        ...flags,
        "about:blank",
      ],
      { stdin: "ignore", stdout: "ignore", stderr: "pipe" },
    );
    const socket = new WebSocket(await debuggerUrl(child.stderr));
    await new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("error", reject);
    });
    const page = new BrowserPage(child, folder, socket);
    const { targetId } = (await page.send("Target.createTarget", { url: "about:blank" })) as { targetId: string };
    const attached = await page.send("Target.attachToTarget", { targetId, flatten: true });
    page.#session = (attached as { sessionId: string }).sessionId;
    await page.send("Page.enable");
    await page.send("Runtime.enable");
    await page.send("Log.enable");
    await page.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
    return page;
  }

  /** Call a method of the DevTools protocol. */
  send(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = ++this.#lastId;
    const reply = Promise.withResolvers<unknown>();
    this.#waiting.set(id, reply);
    const session = this.#session === undefined ? {} : { sessionId: this.#session };
    this.#socket.send(JSON.stringify({ id, method, params, ...session }));
    return reply.promise;
  }

  /** Value of an expression in the page; a promise is awaited. */
  async evaluate<T>(expression: string): Promise<T> {
    const params = { expression, awaitPromise: true, returnByValue: true, userGesture: true };
    const { result, exceptionDetails } = (await this.send("Runtime.evaluate", params)) as {
      result: { value: T };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (exceptionDetails !== undefined) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value;
  }

  /** Wait until an expression is true. @throws {Error} After ten seconds */
  async until(expression: string): Promise<void> {
    for (const end = performance.now() + 60_000; performance.now() < end; await Bun.sleep(20)) {
      if (await this.evaluate<boolean>(`Boolean(${expression})`)) return;
    }
    throw new Error(`Never true: ${expression}`);
  }

  /** Open an address, and wait until the page is there. */
  async goto(url: string): Promise<void> {
    await this.send("Page.navigate", { url });
    await this.until(`location.href === ${JSON.stringify(url)} && document.readyState === "complete"`);
  }

  /** Put files into the file input that the selector names. */
  async chooseFiles(selector: string, files: readonly string[]): Promise<void> {
    const { result } = (await this.send("Runtime.evaluate", {
      expression: `document.querySelector(${JSON.stringify(selector)})`,
    })) as { result: { objectId: string } };
    await this.send("DOM.setFileInputFiles", { files, objectId: result.objectId });
  }

  /** Drag files over a place, in CSS pixels, and let them fall. */
  async dropFiles(x: number, y: number, files: readonly string[]): Promise<void> {
    const data = { items: [], files, dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"]) {
      await this.send("Input.dispatchDragEvent", { type, x, y, data });
    }
  }

  /** Press and release a key. */
  async press(key: string, code: string = key): Promise<void> {
    const keyCode = { Tab: 9, ArrowRight: 39, ArrowLeft: 37, Enter: 13, End: 35, Home: 36 }[key] ?? 0;
    const params = { key, code, windowsVirtualKeyCode: keyCode };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...params });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...params });
  }

  /** What is to be seen, as PNG. */
  async screenshot(): Promise<Uint8Array> {
    const { data } = (await this.send("Page.captureScreenshot", { format: "png" })) as { data: string };
    return Buffer.from(data, "base64");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    this.#process.kill();
    await this.#process.exited;
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  #receive({ id, method, params, result, error }: Reply): void {
    if (method === "Runtime.exceptionThrown" || method === "Log.entryAdded" || method === "Runtime.consoleAPICalled") {
      this.console.push(JSON.stringify(params));
    }
    if (id === undefined) return;
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(error.message));
  }
}
