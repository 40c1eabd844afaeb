/** @module ServiceFlags: the flags of `serve` and of `worker`, and what they stand for; those of `worker` win over its file. */

import { SERVED_DECODING } from "../image/image-options.ts";
import { SERVE_OPTIONS, type ServeOptions } from "../serve/serve-config.ts";
import { WORKER_OPTIONS, type WorkerOptions } from "../worker/worker-config.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import { DETECTOR_FLAGS, type DetectorArguments, parseDetectorFlags } from "./detect-flags.ts";
import { flagsOf, optionsFrom } from "./option-flags.ts";

/** Where the token is looked for when the flag is not given: words of a command line are seen by every user. */
const TOKEN_VARIABLE = "BUN_TENSORRT_TOKEN";

const QUIET: Flag = { name: "quiet", short: "q", summary: "print warnings only" };

const SERVE_OPTION_FLAGS = flagsOf(SERVE_OPTIONS);

/** In the order of the help. */
export const SERVE_FLAGS: readonly Flag[] = [...SERVE_OPTION_FLAGS, ...DETECTOR_FLAGS, QUIET];

/** The flags of `serve`, checked. */
interface ServeArguments extends DetectorArguments {
  readonly serve: ServeOptions;
  readonly isQuiet: boolean;
}

/** Check the flags of `serve`. @throws {OptionError} If a value is refused, or flags do not go together */
export function parseServeFlags(parsed: ParsedArguments): ServeArguments {
  const { cert, key, quiet } = parsed.flags;
  if ((cert === undefined) !== (key === undefined)) {
    throw refuse("cert", "--cert and --key must be given together", "leave both out to serve plain HTTP");
  }
  const { model, detector } = parseDetectorFlags(parsed);
  const token = process.env[TOKEN_VARIABLE] ?? "";
  const serve = optionsFrom<ServeOptions>(parsed, SERVE_OPTION_FLAGS);
  return {
    model,
    detector: { ...SERVED_DECODING, ...detector },
    serve: token === "" ? serve : { token, ...serve },
    isQuiet: quiet === true,
  };
}

const WORKER_OPTION_FLAGS = flagsOf(WORKER_OPTIONS);

/** In the order of the help. */
export const WORKER_FLAGS: readonly Flag[] = [
  {
    name: "config",
    short: "c",
    value: "FILE",
    summary: "options from a file: .toml, .yaml or .json; SIGHUP reads it again",
  },
  ...WORKER_OPTION_FLAGS,
  QUIET,
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
  const said = optionsFrom<WorkerOptions>(parsed, WORKER_OPTION_FLAGS);
  const over = (file: WorkerOptions): WorkerOptions => {
    const { http, ...rest } = laidOver(said as Group, file as Group) as WorkerOptions;
    // Where it listens counts for nothing where it does not.
    return http?.port === undefined ? rest : { ...rest, http };
  };
  return { config: config as string | undefined, isQuiet: quiet === true, over };
}
