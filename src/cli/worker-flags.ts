/** @module WorkerFlags: the flags of `worker`, and what they stand for; they win over the file. */

import { WORKER_OPTIONS, type WorkerOptions } from "../worker/worker-config.ts";
import type { Flag, ParsedArguments } from "./args.ts";
import { flagsOf, optionsFrom } from "./option-flags.ts";

const OPTION_FLAGS = flagsOf(WORKER_OPTIONS);

/** In the order of the help. */
export const WORKER_FLAGS: readonly Flag[] = [
  {
    name: "config",
    short: "c",
    value: "FILE",
    summary: "options from a file: .toml, .yaml or .json; SIGHUP reads it again",
  },
  ...OPTION_FLAGS,
  { name: "quiet", short: "q", summary: "print warnings only" },
];

/** The flags of `worker`, checked. */
export interface WorkerArguments {
  /** Path of the options file. */
  readonly config: string | undefined;
  readonly isQuiet: boolean;
  /** Lay what the flags say over the options of the file. */
  over(file: WorkerOptions): WorkerOptions;
}

type Group = Readonly<Record<string, unknown>>;

function isGroup(value: unknown): value is Group {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What the one says, else the other; group by group. */
function laidOver(over: Group, under: Group): Group {
  const entries = Object.entries(over).map(([name, value]) => {
    const below = under[name];
    return [name, isGroup(value) && isGroup(below) ? laidOver(value, below) : value];
  });
  return { ...under, ...Object.fromEntries(entries) };
}

/** Check the flags of `worker`. @throws {OptionError} If a value is refused */
export function parseWorkerFlags(parsed: ParsedArguments): WorkerArguments {
  const { config, quiet } = parsed.flags;
  const said = optionsFrom<WorkerOptions>(parsed, OPTION_FLAGS);
  const over = (file: WorkerOptions): WorkerOptions => {
    const { http, ...rest } = laidOver(said as Group, file as Group) as WorkerOptions;
    // Where it listens counts for nothing where it does not.
    return http?.port === undefined ? rest : { ...rest, http };
  };
  return { config: config as string | undefined, isQuiet: quiet === true, over };
}
