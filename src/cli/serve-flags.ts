/** @module ServeFlags: the flags of `serve`, and what they stand for. */

import { SERVED_DECODING } from "../image/image-options.ts";
import { SERVE_OPTIONS, type ServeOptions } from "../serve/serve-config.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import { DETECTOR_FLAGS, type DetectorArguments, parseDetectorFlags } from "./detector-flags.ts";
import { flagsOf, optionsFrom } from "./option-flags.ts";

/** Where the token is looked for when the flag is not given: words of a command line are seen by every user. */
const TOKEN_VARIABLE = "BUN_TENSORRT_TOKEN";

const OPTION_FLAGS = flagsOf(SERVE_OPTIONS);

/** In the order of the help. */
export const SERVE_FLAGS: readonly Flag[] = [
  ...OPTION_FLAGS,
  ...DETECTOR_FLAGS,
  { name: "quiet", short: "q", summary: "print warnings only" },
];

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
  const serve = optionsFrom<ServeOptions>(parsed, OPTION_FLAGS);
  return {
    model,
    detector: { ...SERVED_DECODING, ...detector },
    serve: token === "" ? serve : { token, ...serve },
    isQuiet: quiet === true,
  };
}
