/** @module ErrorCode: the first word of what a Redis server says when it refuses a command. */

/** How a server before 7.0 wraps what a command inside a script was refused with. */
const IN_SCRIPT = /^ERR Error running script .*@user_script: ?\d+: -?([A-Z][A-Z0-9_]+) /;

/** What a server says to a connection it has no room for, and nothing else. */
const FULL = /^ERR max number of clients/;

/** `NOGROUP`, `READONLY`, `OOM` …; `MAXCLIENTS`, `ERR` where there is none. @param text as the server sent it, without the minus */
export function errorCode(text: string): string {
  if (FULL.test(text)) return "MAXCLIENTS";
  return IN_SCRIPT.exec(text)?.[1] ?? /^[A-Z][A-Z0-9_]*/.exec(text)?.[0] ?? "ERR";
}
