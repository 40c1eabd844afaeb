/** @module Detect command: images and videos in, boxes out. */

import { anyDetector } from "../../api/model.ts";
import { TopDownPoseEstimator } from "../../api/top-down.ts";
import { OptionError } from "../../core/errors.ts";
import { formsFor } from "../../tasks/objects/object-forms.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import type { CommandContext } from "../command.ts";
import { type DetectArguments, PEOPLE, parseDetectFlags, VIDEO_FLAGS } from "../detect-flags.ts";
import { type DetectSource, openFiles, openFolder, openStdin, runModel, withPoints } from "../detect-images.ts";
import { openVideos } from "../detect-videos.ts";
import { Complaints, localOperand, type OperandKind, operandKind } from "../images.ts";
import { findModel, loadModel } from "../load-detector.ts";
import { openTarget } from "../result-target.ts";
import { openCutter, openSaver } from "../save.ts";

/** What the operands are, all of one kind. */
function kindOf(operands: readonly string[], { isVideo, watch }: DetectArguments): OperandKind {
  if (watch !== undefined) {
    if (operands.length === 0) return "stdin";
    throw refuse(
      "watch",
      `Unexpected argument ${JSON.stringify(operands[0])}: --watch takes no files`,
      "leave one of them out",
    );
  }
  if (operands.length === 0) {
    throw refuse("file", "Missing input: give a file, a folder or a pattern", "bun-tensorrt detect street.jpg");
  }
  const kinds = new Set(operands.map((operand) => (isVideo ? "video" : operandKind(operand))));
  const [kind = "images", ...others] = kinds;
  if (others.length > 0 || (kind === "stdin" && operands.length > 1)) {
    const found = "Images, videos and standard input cannot be mixed in one run";
    throw refuse("file", found, "run it once for each kind; --video takes every operand for a video");
  }
  return kind;
}

/** @throws {OptionError} If a flag says something of another kind of input */
function refuseIdleFlags({ flags }: ParsedArguments, kind: OperandKind): void {
  const ofVideos = VIDEO_FLAGS.find(({ name }) => flags[name] !== undefined)?.name;
  if (kind !== "video" && ofVideos !== undefined) {
    const hint = "leave it out; --video treats every operand as a video";
    throw refuse(ofVideos, `--${ofVideos} is for videos, and the input is images`, hint);
  }
  if (flags.watch !== undefined && flags.video !== undefined) {
    throw refuse("video", "--watch takes images, and --video was given", "leave --video out");
  }
  if (flags.stdin === undefined || (kind === "stdin" && flags.watch === undefined)) return;
  throw refuse("stdin", "--stdin is for images on standard input", "give `-` in place of files");
}

function openSource(
  args: DetectArguments,
  operands: readonly string[],
  kind: OperandKind,
  context: CommandContext,
  complaints: Complaints,
): DetectSource | Promise<DetectSource> {
  if (args.watch !== undefined) return openFolder(args.watch, args, context);
  if (kind === "stdin") return openStdin(args, context, complaints);
  return kind === "video"
    ? openVideos(args, operands, context, complaints)
    : openFiles(args, operands, context, complaints);
}

/** Run `detect`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { terminal, output } = context;
  const args = parseDetectFlags(parsed);
  const operands = parsed.operands.map(localOperand);
  const kind = kindOf(operands, args);
  refuseIdleFlags(parsed, kind);
  const complaints = new Complaints(terminal);
  await using source = await openSource(args, operands, kind, context, complaints);
  const { files } = source;
  using target = openTarget(args, files, output, source.isNumbered);
  const savers = [
    ...(args.save === undefined || kind === "video" ? [] : [openSaver(args.save, files, args)]),
    ...(args.crop === undefined ? [] : [openCutter(args.crop, files)]),
  ];
  const model = await findModel(args.model, context);
  const poseModel = args.poseModel === undefined ? undefined : await findModel(args.poseModel, context);
  const loading = loadModel(anyDetector, model, args.detector, context, args.isQuiet);
  await using finder = await loading.catch((error: unknown) => {
    if (!(args.detector.classes === PEOPLE && error instanceof OptionError && error.option === "classes")) throw error;
    const hint = `say by --classes whose points are wanted; \`bun-tensorrt inspect ${model}\` lists the classes`;
    throw refuse("classes", `--pose-model is for people, and ${model} has no class "person"`, hint);
  });
  await using points =
    poseModel === undefined
      ? undefined
      : await loadModel(TopDownPoseEstimator, poseModel, args.pose, context, args.isQuiet);
  const detector = points === undefined ? finder : withPoints(finder, points);
  return await runModel(
    detector,
    source,
    { name: "detect", forms: formsFor(detector.task), target, savers, complaints, isQuiet: args.isQuiet },
    context,
  );
}
