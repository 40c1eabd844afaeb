/** @module BuilderFlags: the numbers of nvinfer1::BuilderFlag, which changed from TensorRT 10 to 11. */

/** A flag of the builder that the package uses. */
export type BuilderFlag =
  | "fp16"
  | "int8"
  | "debug"
  | "gpuFallback"
  | "refit"
  | "tf32"
  | "sparseWeights"
  | "versionCompatible"
  | "excludeLeanRuntime"
  | "stripPlan";

/** TensorRT 10. */
const FLAGS_10: Readonly<Record<BuilderFlag, number>> = {
  fp16: 0,
  int8: 1,
  debug: 2,
  gpuFallback: 3,
  refit: 4,
  tf32: 6,
  sparseWeights: 7,
  versionCompatible: 13,
  excludeLeanRuntime: 14,
  stripPlan: 19,
};

/** TensorRT 11 and RTX: networks are strongly typed, so the precisions are gone. */
const FLAGS_11: Readonly<Partial<Record<BuilderFlag, number>>> = {
  debug: 2,
  gpuFallback: 3,
  refit: 4,
  tf32: 6,
  sparseWeights: 7,
  versionCompatible: 12,
  excludeLeanRuntime: 13,
  stripPlan: 18,
};

/** Number of a flag; `undefined` where the version has none. @param isStronglyTyped TensorRT 11 and RTX */
export function builderFlag(flag: BuilderFlag, isStronglyTyped: boolean): number | undefined {
  return isStronglyTyped ? FLAGS_11[flag] : FLAGS_10[flag];
}

/**
 * Bit of NetworkDefinitionCreationFlag::kSTRONGLY_TYPED in TensorRT 10; from 11 on it is always so.
 */
export const STRONGLY_TYPED_10: number = 1 << 1;
