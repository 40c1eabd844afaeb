/** @module InputProfiles: the shapes of dynamic inputs, from a batch and a size or as the caller lists them. */

import { message, OptionError } from "../core/errors.ts";
import { formatShape, isDynamic, type Shape } from "../core/shape.ts";
import type { BuildConfig, InputShapes } from "./build-options.ts";
import type { NetworkTensor } from "./network.ts";
import type { ShapeRange } from "./optimization-profile.ts";

/** Shapes of every dynamic input, by name. */
export type InputProfile = ReadonlyMap<string, ShapeRange>;

/** Axis of the batch. */
const BATCH = 0;

/** Axes of height and width of a picture tensor: NHWC where the last axis holds 1, 3 or 4 channels, else NCHW. */
function pictureAxes(shape: Shape): { readonly height: number; readonly width: number } | undefined {
  if (shape.length !== 4) return undefined;
  const isChannelsLast = [1, 3, 4].includes(shape[3]!) && ![1, 3, 4].includes(shape[1]!);
  return isChannelsLast ? { height: 1, width: 2 } : { height: 2, width: 3 };
}

/**
 * The profiles of a build: none for a network whose shapes are all fixed.
 *
 * @throws {OptionError} If a dynamic axis has no range, or a profile names an input that is not there, or gives one
 * another rank or side than the model
 */
export function inputProfiles(inputs: readonly NetworkTensor[], config: BuildConfig): InputProfile[] {
  const dynamic = inputs.filter((input) => isDynamic(input.shape));
  for (const profile of config.profiles) {
    for (const [name, shapes] of Object.entries(profile)) checkShapes(inputNamed(name, inputs), shapes);
  }
  if (dynamic.length === 0) return [];
  const listed = config.profiles.length === 0 ? [{}] : config.profiles;
  return listed.map((profile) => {
    const byName = profile as Readonly<Record<string, InputShapes>>;
    return new Map(dynamic.map((input) => [input.name, rangeOf(input, byName[input.name], config)]));
  });
}

function inputNamed(name: string, inputs: readonly NetworkTensor[]): NetworkTensor {
  const found = inputs.find((input) => input.name === name);
  if (found !== undefined) return found;
  const names = inputs.map((input) => JSON.stringify(input.name)).join(", ");
  throw new OptionError(
    message("build an engine", `a profile names the input ${JSON.stringify(name)}`, `the inputs are ${names}`),
    "profiles",
  );
}

/** TensorRT would say so after a while for one input, and not at all where the model leaves nothing open. */
function checkShapes({ name, shape }: NetworkTensor, listed: InputShapes): void {
  const shapes = "min" in listed ? [listed.min, listed.opt, listed.max] : [listed];
  const fits = (one: Shape): boolean =>
    one.length === shape.length && shape.every((dim, axis) => dim < 0 || dim === one[axis]);
  const wrong = shapes.find((one) => !fits(one));
  if (wrong === undefined) return;
  const found = `a profile gives the input ${JSON.stringify(name)} ${formatShape(shape)} the shape ${formatShape(wrong)}`;
  throw new OptionError(message("build an engine", found, "only what the model leaves open can be chosen"), "profiles");
}

function rangeOf(input: NetworkTensor, listed: InputShapes | undefined, config: BuildConfig): ShapeRange {
  if (listed !== undefined) {
    return "min" in listed ? listed : { min: listed, opt: listed, max: listed };
  }
  const axes = pictureAxes(input.shape);
  const at = (selector: "min" | "opt" | "max"): Shape =>
    input.shape.map((dim, axis) => {
      if (dim >= 0) return dim;
      if (axis === BATCH && config.batch !== undefined) return config.batch[selector];
      if (axis === axes?.width && config.size !== undefined) return config.size[selector][0];
      if (axis === axes?.height && config.size !== undefined) return config.size[selector][1];
      throw unset(
        input,
        axis === BATCH ? "batch" : axis === axes?.width || axis === axes?.height ? "size" : "profiles",
      );
    });
  return { min: at("min"), opt: at("opt"), max: at("max") };
}

function unset(input: NetworkTensor, option: "batch" | "size" | "profiles"): OptionError {
  const hints = {
    batch: "say how many pictures a batch has: `batch: 1`, or `batch: { min: 1, opt: 4, max: 8 }`",
    size: "say how large the pictures are: `size: [640, 640]`, or `size: { min, opt, max }`",
    profiles: `list its shapes: \`profiles: [{ ${JSON.stringify(input.name)}: { min, opt, max } }]\``,
  };
  const found = `the input ${JSON.stringify(input.name)} ${formatShape(input.shape)} is dynamic and has no range`;
  return new OptionError(message("build an engine", found, hints[option]), option);
}
