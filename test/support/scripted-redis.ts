/** @module A server that speaks Redis' protocol and says what a test wants: for what no server at hand would say. */

import { type Reply, RespParser } from "../../src/worker/redis/redis-protocol.ts";

const decoder = new TextDecoder();

/** One server on a free port; disposing of it ends its connections. */
export class ScriptedRedis implements Disposable {
  /** Every command that came, its words divided by spaces. */
  readonly commands: string[] = [];
  readonly #listener: Bun.TCPSocketListener<RespParser>;

  /** @param script a reply in RESP for a command; `undefined`: OK */
  constructor(script: (command: string) => string | undefined) {
    this.#listener = Bun.listen<RespParser>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket): void => {
          socket.data = new RespParser((reply: Reply) => {
            const command = (reply as readonly Uint8Array[]).map((word) => decoder.decode(word)).join(" ");
            this.commands.push(command);
            socket.write(script(command) ?? "+OK\r\n");
          });
        },
        data: (socket, chunk): void => socket.data.push(chunk),
      },
    });
  }

  /** `redis://127.0.0.1:…` */
  get url(): string {
    return `redis://127.0.0.1:${this.#listener.port}`;
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
  }
}
