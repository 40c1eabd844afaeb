/** @module Detect commands: `detect`, images and videos in, boxes out; `demo`, from nothing to boxes on an image in one go. */

import { Detector } from "../../api/detector.ts";
import { anyDetector } from "../../api/model.ts";
import { TopDownPoseEstimator } from "../../api/object-model.ts";
import { findEntry } from "../../catalogue/catalogue.ts";
import { OptionError } from "../../core/errors.ts";
import { plural } from "../../core/units.ts";
import { decodeLimits, isImageName } from "../../image/decode-limits.ts";
import { DETECT_FORMS } from "../../tasks/detect/detection.ts";
import { formsFor } from "../../tasks/objects/object-forms.ts";
import { withIds } from "../../track/tracked-stream.ts";
import { type ParsedArguments, refuse, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { type DetectArguments, PEOPLE, parseDetectFlags, VIDEO_FLAGS } from "../detect-flags.ts";
import { type DetectSource, joined, openFiles, openFolder, openStdin, runModel, withPoints } from "../detect-images.ts";
import { openVideos } from "../detect-videos.ts";
import { formatImage } from "../formats.ts";
import { fetchEntry, findModel, loadModel, modelTitle } from "../load-detector.ts";
import { allOperands, Complaints, expandOperands, type Inputs, STDIN } from "../operands.ts";
import { parseDemoFlags } from "../own-flags.ts";
import { openTarget } from "../result-target.ts";
import { type ImageSaver, openCutter, openSaver, pixelsOf, refuseOneFile } from "../save.ts";
import { paintOf } from "../terminal.ts";

/** What a run reads: files, or images that come one by one. */
type Input = Inputs | "stdin" | "folder";

/** @throws {OptionError} If inputs are missing, or do not go together */
function kindOf(operands: readonly string[], { isVideo, watch }: DetectArguments): "files" | "stdin" | "folder" {
  const [first] = operands;
  if (watch !== undefined) {
    if (first === undefined) return "folder";
    const found = `Unexpected argument ${JSON.stringify(first)}: --watch takes no files`;
    throw refuse("watch", found, "leave one of them out");
  }
  if (first === undefined) {
    throw refuse("file", "Missing input: give a file, a folder or a pattern", "bunx bun-tensorrt detect street.jpg");
  }
  if (!operands.includes(STDIN)) return "files";
  if (operands.length === 1 && !isVideo) return "stdin";
  const found = `Standard input cannot be mixed with ${isVideo ? "--video" : "files"} in one run`;
  throw refuse("file", found, "run it once for each");
}

/** @throws {OptionError} If a flag is for videos */
function refuseVideoFlags({ flags }: ParsedArguments): void {
  const ofVideos = VIDEO_FLAGS.find(({ name }) => flags[name] !== undefined)?.name;
  if (ofVideos === undefined) return;
  const hint = "leave it out; --video treats every operand as a video";
  throw refuse(ofVideos, `--${ofVideos} is for videos, and the input is images`, hint);
}

/**
 * What the operands stand for.
 *
 * @throws {OptionError} If inputs are missing or do not go together, or a flag says something of another kind of input
 * @throws {BunTensorRtError} If no operand stands for a file
 */
async function inputOf(parsed: ParsedArguments, args: DetectArguments, complaints: Complaints): Promise<Input> {
  const { flags } = parsed;
  const operands = await allOperands(parsed, args.list);
  const kind = kindOf(operands, args);
  // What is wrong with the command line is told before what is missing.
  if (!args.isVideo && (kind !== "files" || operands.every(isImageName))) refuseVideoFlags(parsed);
  if (kind === "folder" && args.isVideo) {
    throw refuse("video", "--watch takes images, and --video was given", "leave --video out");
  }
  if (flags.stdin !== undefined && kind !== "stdin") {
    throw refuse("stdin", "--stdin is for images on standard input", "give `-` in place of files");
  }
  if (kind !== "files") return kind;
  const takes = args.isVideo ? "videos" : "any";
  const inputs = expandOperands(operands, { action: "detect in", takes }, complaints);
  if (inputs.videos.length === 0) refuseVideoFlags(parsed);
  return inputs;
}

function formatInputs({ images, videos }: Inputs): string {
  return `${plural(images.length, "image")} and ${plural(videos.length, "video")}`;
}

/** @throws {OptionError} If results of images and of videos do not go into one place */
function refuseMixture({ format, save, track }: DetectArguments, inputs: Inputs): void {
  if (track !== undefined) {
    const found = `--track follows objects through videos, got ${formatInputs(inputs)}`;
    throw refuse("track", found, "leave the images out");
  }
  if (format === "coco") {
    const found = `--format coco numbers images by name and frames by place, got ${formatInputs(inputs)}`;
    throw refuse("format", found, "name the images by a pattern such as 'photos/*.jpg', or choose jsonl");
  }
  if (save !== undefined) refuseOneFile(save, formatInputs(inputs));
}

async function openSource(
  args: DetectArguments,
  input: Input,
  context: CommandContext,
  complaints: Complaints,
): Promise<DetectSource> {
  if (input === "folder") return openFolder(args.watch!, args, context);
  if (input === "stdin") return openStdin(args, context, complaints);
  const { images, videos } = input;
  if (videos.length === 0) return openFiles(args, images, context);
  if (images.length === 0) return await openVideos(args, input, context, complaints);
  refuseMixture(args, input);
  return joined(openFiles(args, images, context), await openVideos(args, input, context, complaints));
}

/** What draws on images, and cuts out of them and of frames; videos are drawn on as they are read. */
function saversOf({ save, crop, ...args }: DetectArguments, input: Input, source: DetectSource): ImageSaver[] {
  const savers: ImageSaver[] = [];
  const hasVideos = typeof input === "object" && input.videos.length > 0;
  if (save !== undefined && !(hasVideos && source.images.length === 0)) {
    const saver = openSaver(save, source.images, args);
    const ofImages: ImageSaver = {
      save: async (forms, image, pixels) => (image.frame ? undefined : await saver.save(forms, image, pixels)),
    };
    savers.push(hasVideos ? ofImages : saver);
  }
  if (crop !== undefined) savers.push(openCutter(crop, source));
  return savers;
}

/** @throws {OptionError} If a class that is to be hidden is none of the model's: its objects would be seen */
function refuseUnknownPrivacy({ draw }: DetectArguments, labels: readonly string[], model: string): void {
  const unknown = draw?.privacyClasses?.find((name) => !labels.includes(name));
  if (unknown === undefined) return;
  const found = `--privacy-classes must be names of the model's classes, got ${JSON.stringify(unknown)}`;
  throw refuse("privacy-classes", found, `\`bunx bun-tensorrt inspect ${model}\` lists the classes`);
}

/** Run `detect`. @returns the exit code */
export async function detect(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { terminal, output } = context;
  const args = parseDetectFlags(parsed);
  const complaints = new Complaints(terminal);
  const input = await inputOf(parsed, args, complaints);
  await using source = await openSource(args, input, context, complaints);
  using target = openTarget(args, source, output);
  const savers = saversOf(args, input, source);
  const model = await findModel(args.model, context);
  const poseModel = args.poseModel === undefined ? undefined : await findModel(args.poseModel, context);
  const loading = loadModel(anyDetector, model, args.detector, context, args.isQuiet);
  await using finder = await loading.catch((error: unknown) => {
    if (!(args.detector.classes === PEOPLE && error instanceof OptionError && error.option === "classes")) throw error;
    const hint = `say by --classes whose points are wanted; \`bunx bun-tensorrt inspect ${model}\` lists the classes`;
    throw refuse("classes", `--pose-model is for people, and ${model} has no class "person"`, hint);
  });
  refuseUnknownPrivacy(args, finder.labels, model);
  await using points =
    poseModel === undefined
      ? undefined
      : await loadModel(TopDownPoseEstimator, poseModel, args.pose, context, args.isQuiet);
  const detector = points === undefined ? finder : withPoints(finder, points, decodeLimits(args.pose));
  const forms = formsFor(detector.task);
  return await runModel(
    detector,
    source,
    {
      name: "detect",
      forms: args.track === undefined ? forms : withIds(forms),
      target,
      savers,
      complaints,
      isQuiet: args.isQuiet,
    },
    context,
  );
}

/** Run `demo`. @returns the exit code */
export async function demo(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { output, terminal, signal } = context;
  const { model, image, backend = "auto", save } = parseDemoFlags(parsed);
  refuseOperands("demo", parsed);
  const file = await fetchEntry(findEntry(image)!, context);
  const saver = openSaver(save, [file]);
  const path = await findModel(model, context);
  signal.throwIfAborted();
  await using detector = await loadModel(Detector, path, { backend }, context, false);
  const { recognition, backend: machine } = detector;
  terminal.line(`Running ${modelTitle(path)}, with head ${recognition.head}, on ${machine.description}`);
  const result = await detector.detect(file);
  await output.write(formatImage(DETECT_FORMS, { file, result }, paintOf(output.hasColour)));
  terminal.line(`Boxes drawn: ${await saver.save(DETECT_FORMS, { file, result }, pixelsOf(file))}`);
  return EXIT_OK;
}
