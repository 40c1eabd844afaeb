/** @module RunArriving: `detect` for pictures that nobody has counted: a watched folder, and standard input. */

import { existsSync } from "node:fs";
import { message, VideoError } from "../core/errors.ts";
import { fileIdentity } from "../core/stats-of.ts";
import { readPictures } from "../video/picture-stream.ts";
import { watchFolder } from "../video/watch-folder.ts";
import { refuse } from "./args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "./command.ts";
import { Complaints } from "./complaints.ts";
import { closeAfter, untilClosed } from "./detect-all.ts";
import { type ArrivingPicture, detectArriving, untilAborted } from "./detect-arriving.ts";
import type { DetectArguments } from "./detect-flags.ts";
import { findModel } from "./fetch-entry.ts";
import { plural } from "./format-table.ts";
import { loadDetector } from "./load-detector.ts";
import { asPath, PICTURE_EXTENSIONS } from "./pictures.ts";
import { openTarget } from "./result-target.ts";
import { openSaver } from "./save-pictures.ts";
import { formatTally } from "./tally.ts";
import { writePictures } from "./write-pictures.ts";

/** What pictures of standard input are called in results. */
const STDIN = "-";
const STDIN_HINT = "send pictures: camera | bun-tensorrt detect -";

/** @throws the error itself, if it is neither that of a picture nor the system's */
function brokenStdin(cause: unknown): VideoError {
  if (cause instanceof VideoError) return cause;
  const { code, message: text } = cause as NodeJS.ErrnoException;
  if (code === undefined) throw cause;
  const found = `it gives no bytes: ${text}`;
  return new VideoError(message("read standard input", found, STDIN_HINT), "standard input", { cause });
}

async function* fromStdin(
  args: DetectArguments,
  signal: AbortSignal,
  onBroken: (error: VideoError) => void,
): AsyncGenerator<ArrivingPicture, void, undefined> {
  const pictures = readPictures(Bun.stdin.stream(), { framing: args.stdin ?? "jpeg" });
  let index = 0;
  try {
    for await (const bytes of untilAborted(pictures, signal)) {
      // A file has a name, for messages.
      const source = new File([bytes], `picture ${index} from standard input`);
      yield { file: STDIN, source, frame: { index: index++, timestampMs: undefined } };
    }
  } catch (error) {
    // What came before the break is answered.
    onBroken(brokenStdin(error));
  }
}

async function* fromFolder(files: AsyncIterable<string>): AsyncGenerator<ArrivingPicture, void, undefined> {
  for await (const path of files) {
    const file = asPath(path);
    yield { file, source: file };
  }
}

/**
 * Detect in pictures as they come, until standard input ends or Ctrl-C is pressed.
 *
 * @returns the exit code
 */
export async function runArriving(args: DetectArguments, context: CommandContext): Promise<number> {
  const { terminal, output, signal } = context;
  const { watch } = args;
  if (watch !== undefined && !existsSync(watch)) {
    throw refuse("detect", "watch", `there is no folder ${JSON.stringify(watch)}`, "make it first");
  }
  const { save } = args;
  if (watch !== undefined && save !== undefined && fileIdentity(save) === fileIdentity(watch)) {
    const found = "each copy would be a new picture in the folder that is watched";
    throw refuse("detect", "save", found, "give another folder");
  }
  if (watch === undefined && process.stdin.isTTY) {
    throw refuse("detect", "stdin", "standard input is a terminal", STDIN_HINT);
  }
  using target = openTarget(args, [], output, watch === undefined ? "videos" : "pictures");
  const saver = save === undefined ? undefined : openSaver(save, []);
  // What comes while the model is loaded is answered as well.
  const files = watch === undefined ? undefined : watchFolder(watch, { extensions: PICTURE_EXTENSIONS, signal });
  const model = await findModel(args.model, context);
  await using detector = await loadDetector(model, args.detector, context, {
    command: "detect",
    isQuiet: args.isQuiet,
  });
  closeAfter(signal, detector);
  let isBroken = false;
  const onBroken = (error: VideoError): void => {
    isBroken = true;
    new Complaints(terminal).tell(error);
  };
  const started = performance.now();
  const pictures = files === undefined ? fromStdin(args, signal, onBroken) : fromFolder(files);
  if (!args.isQuiet && watch !== undefined) terminal.line(terminal.paint("dim", `Watching ${watch}; Ctrl-C ends it`));
  const tally = await writePictures((onBad) => untilClosed(detectArriving(detector, pictures, onBad), signal), {
    sink: target.sink(detector.labels),
    saver,
    terminal,
    progress: args.isQuiet ? undefined : { total: undefined },
  });
  if (tally.bad > 0) terminal.line(`${tally.bad} of ${plural(tally.good + tally.bad, "picture")} could not be read`);
  if (!args.isQuiet) {
    terminal.line(terminal.paint("dim", formatTally(tally.good, tally.objects, performance.now() - started)));
  }
  return tally.bad > 0 || isBroken ? EXIT_FAILED : EXIT_OK;
}
