/** @module ChildWatch: programs that we started end with this process, also where it is killed and cannot end them itself. */

import { closeSync, writeSync } from "node:fs";
import { logger } from "../core/log.ts";
import { openPipe } from "../ffi/os-pipe.ts";

/** Keeps a list of processes, and kills them when its standard input ends, which it does with this process. */
const SCRIPT = `children=
while read -r what id; do
  rest=
  for one in $children; do [ "$one" = "$id" ] || rest="$rest $one"; done
  [ "$what" = - ] || rest="$rest $id"
  children=$rest
done
[ -z "$children" ] || kill -KILL $children`;

const PIPE_BYTES = 4096;

const running = new Set<number>();
/** Our end of the shell's standard input; no other program inherits it. */
let shellInput: number | undefined;

function startShell(): number {
  const { readEnd, writeEnd } = openPipe(PIPE_BYTES);
  try {
    // In a group of its own: what ends our group must not end it first.
    const shell = Bun.spawn(["/bin/sh", "-c", SCRIPT], { stdio: [readEnd, "ignore", "ignore"], detached: true });
    shell.unref();
    return writeEnd;
  } catch (error) {
    closeSync(writeEnd);
    throw error;
  } finally {
    closeSync(readEnd);
  }
}

function tell(what: "+" | "-", id: number): void {
  try {
    if (shellInput === undefined) {
      shellInput = startShell();
      for (const other of running) if (other !== id) writeSync(shellInput, `+ ${other}\n`);
    }
    writeSync(shellInput, `${what} ${id}\n`);
  } catch (error) {
    // Somebody ended the shell, or there is none: the next program tries again.
    if (shellInput !== undefined) closeSync(shellInput);
    shellInput = undefined;
    logger.debug(`Programs are not watched: ${(error as Error).message}`);
  }
}

/**
 * Have a program killed when this process ends before it, in whatever way: a program that waits for a server that is silent
 * would wait for ever. Not for one that has a file to end, which it does by itself.
 */
export function endWithUs(child: Bun.Subprocess): void {
  const { pid } = child;
  running.add(pid);
  tell("+", pid);
  void child.exited.then(() => {
    running.delete(pid);
    if (shellInput !== undefined) tell("-", pid);
  });
}
