/**
 * @module TensorRtVersion: what getInferLibVersion() says, and what differs between the versions: vtable slots of methods, and numbers of
 * builder flags.
 */

import { LibraryLoadError, message } from "../core/errors.ts";
import { cString } from "../ffi/memory.ts";
import { ERROR_BYTES, METHOD_NAMES, type MethodName, shim } from "../ffi/shim.ts";

/** TensorRT, or TensorRT-RTX: the one for GeForce and RTX cards that compiles its kernels on the user's machine. */
export type TensorRtFamily = "TensorRT" | "TensorRT-RTX";

/** Version of a library. */
export interface TensorRtVersion {
  readonly family: TensorRtFamily;
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  /** Number of the build, 26 in 10.6.0.26; `undefined` where the library does not tell. */
  readonly build: number | undefined;
  /** `10.6.0` */
  readonly release: string;
  /** `TensorRT 10.6.0` */
  readonly text: string;
}

/** Numbers below are TensorRT 8 and 9, with another scale; up to the next one, TensorRT-RTX. */
const FIRST_RTX = 10_000;
const FIRST_TENSORRT = 100_000;

/**
 * Read a version number.
 *
 * @param number what getInferLibVersion() returned: 100600 for TensorRT 10.6.0, 10701 for TensorRT-RTX 1.7.1, 8601 for 8.6.1
 * @param build  what getInferLibBuildVersion() returned; negative where the library lacks it
 */
export function parseVersion(number: number, build = -1): TensorRtVersion {
  const family = number >= FIRST_RTX && number < FIRST_TENSORRT ? "TensorRT-RTX" : "TensorRT";
  const scale = number < FIRST_RTX ? 1000 : 10_000;
  const major = Math.floor(number / scale);
  const minor = Math.floor((number % scale) / 100);
  const patch = number % 100;
  const release = `${major}.${minor}.${patch}`;
  const known = build < 0 ? undefined : build;
  return { family, major, minor, patch, build: known, release, text: `${family} ${release}` };
}

function tableOf({ family, major, minor }: TensorRtVersion): SlotTable | undefined {
  if (family === "TensorRT-RTX") return major === 1 && minor >= 5 ? TENSORRT_RTX : undefined;
  if (major === 10) return TENSORRT_10;
  return major === 11 ? TENSORRT_11 : undefined;
}

/** Why a version cannot be used, one clause; `undefined` for those that can. Another may lie behind it. */
export function versionFault(version: TensorRtVersion): string | undefined {
  if (tableOf(version) !== undefined) return undefined;
  return `it must be TensorRT 10 or 11, or TensorRT-RTX 1.5 or a later 1.x, got ${version.text}`;
}

/**
 * The slot table of a version. No library checks what it is called by, so a version without a table is refused here.
 *
 * @param path of the library, for the message
 * @throws {LibraryLoadError} If the version is unknown, or a TensorRT-RTX before 1.5
 */
export function slotTableOf(version: TensorRtVersion, path: string): SlotTable {
  const table = tableOf(version);
  if (table !== undefined) return table;
  const isOldRtx = version.family === "TensorRT-RTX" && version.major === 1;
  const hint = isOldRtx
    ? "releases before 1.5 have another binary interface under the same file name: install 1.5 or later"
    : "install one of these versions, or update this package";
  throw new LibraryLoadError(message(`use ${path}`, versionFault(version)!, hint), "libnvinfer", [path]);
}

/** File of a runtime without a builder: `libnvinfer_lean.so.10`. */
export function runtimeFile(name: "lean" | "dispatch", major: number): string {
  return process.platform === "win32" ? `nvinfer_${name}_${major}.dll` : `libnvinfer_${name}.so.${major}`;
}

/** Lean runtimes by their file: opened once, and kept open as every library is. */
const leanRuntimes = new Map<string, TensorRtVersion>();

/** @returns `undefined` if it is not there */
function leanRuntime(file: string): TensorRtVersion | undefined {
  let version = leanRuntimes.get(file);
  if (version !== undefined) return version;
  const error = new Uint8Array(new ArrayBuffer(ERROR_BYTES));
  const handle = shim().bt_library_open(cString(file), error, ERROR_BYTES);
  if (handle === null) return undefined;
  version = parseVersion(shim().bt_library_version(handle), shim().bt_library_build(handle));
  leanRuntimes.set(file, version);
  return version;
}

/**
 * What is wrong with the lean runtime that a builder puts into version-compatible plans. It takes the one of its name, and one of
 * another release cannot read the engine that it comes with.
 *
 * @param version of the builder
 * @returns one clause; `undefined` if it is of the same release
 */
export function leanFault({ family, major, release }: TensorRtVersion): string | undefined {
  // TensorRT-RTX has none.
  if (family !== "TensorRT") return undefined;
  const file = runtimeFile("lean", major);
  const found = leanRuntime(file);
  if (found === undefined) return `${file} is not there`;
  return found.family === family && found.release === release ? undefined : `${file} is of ${found.text}`;
}

/** A slot, or a slot and the minor version that brought the method; `null` where the major version has none. */
type Slot = number | readonly [slot: number, sinceMinor: number] | null;

/** Slots in TensorRT 10, in TensorRT 11, and in TensorRT-RTX from 1.5 on where it differs from TensorRT 11. */
const SLOTS: Readonly<Record<MethodName, readonly [v10: Slot, v11: Slot, rtx?: Slot]>> = {
  "Runtime.deserializeCudaEngine": [3, 3],
  "Runtime.setErrorRecorder": [9, 8],
  "Runtime.setDLACore": [5, 4],
  "Runtime.setMaxThreads": [12, 11],
  "Runtime.setEngineHostCodeAllowed": [21, 20],

  "CudaEngine.getNbIOTensors": [30, 26],
  "CudaEngine.getIOTensorName": [31, 27],
  "CudaEngine.getTensorShape": [19, 15],
  "CudaEngine.getTensorDataType": [20, 16],
  "CudaEngine.getTensorIOMode": [23, 19],
  "CudaEngine.getTensorFormat": [26, 22],
  "CudaEngine.getTensorFormatDesc": [27, 23],
  "CudaEngine.getTensorLocation": [21, 17],
  "CudaEngine.isShapeInferenceIO": [22, 18],
  "CudaEngine.getProfileShape": [29, 25],
  "CudaEngine.getNbOptimizationProfiles": [10, 8],
  "CudaEngine.getNbLayers": [3, 3],
  "CudaEngine.getDeviceMemorySize": [7, null],
  "CudaEngine.getDeviceMemorySizeV2": [[52, 1], 44],
  "CudaEngine.getDeviceMemorySizeForProfileV2": [[53, 1], 45],
  "CudaEngine.createExecutionContext": [5, 5],
  "CudaEngine.createEngineInspector": [18, 14],
  "CudaEngine.getName": [9, 7],
  "CudaEngine.getHardwareCompatibilityLevel": [32, 28],
  "CudaEngine.getNbAuxStreams": [33, 29],
  "CudaEngine.serialize": [4, 4],
  "CudaEngine.isRefittable": [8, 6],

  "ExecutionContext.setTensorAddress": [24, 23],
  "ExecutionContext.setInputShape": [21, 20],
  "ExecutionContext.getTensorShape": [22, 21],
  "ExecutionContext.getTensorStrides": [23, 22],
  "ExecutionContext.setOptimizationProfileAsync": [17, 16],
  "ExecutionContext.getOptimizationProfile": [11, 11],
  "ExecutionContext.enqueueV3": [37, 36],
  "ExecutionContext.setProfiler": [5, 5],
  "ExecutionContext.setEnqueueEmitsProfile": [18, 17],
  "ExecutionContext.reportToProfiler": [20, 19],
  "ExecutionContext.inferShapes": [28, 27],
  "ExecutionContext.setDeviceMemory": [10, 10],
  "ExecutionContext.setDeviceMemoryV2": [[49, 1], 48],
  "ExecutionContext.updateDeviceMemorySizeForShapes": [48, 47],
  "ExecutionContext.setAuxStreams": [42, 41],
  "ExecutionContext.setOutputAllocator": [32, 31],
  "ExecutionContext.getMaxOutputSize": [34, 33],
  "ExecutionContext.setPersistentCacheLimit": [38, 37],

  "Builder.createNetworkV2": [8, 6],
  "Builder.createBuilderConfig": [7, 5],
  "Builder.createOptimizationProfile": [9, 7],
  "Builder.buildSerializedNetwork": [14, 11],
  "Builder.platformHasFastFp16": [2, null],
  "Builder.setMaxThreads": [17, 14],
  "Builder.getNbDLACores": [5, 3],
  "Builder.setErrorRecorder": [10, 8],

  "BuilderConfig.setFlag": [11, 9],
  "BuilderConfig.clearFlag": [10, 8],
  "BuilderConfig.getFlag": [12, 10],
  "BuilderConfig.setMemoryPoolLimit": [43, 32],
  "BuilderConfig.getMemoryPoolLimit": [44, 33],
  "BuilderConfig.setBuilderOptimizationLevel": [47, 36],
  "BuilderConfig.getBuilderOptimizationLevel": [48, 37],
  "BuilderConfig.setAvgTimingIterations": [2, 2],
  "BuilderConfig.getAvgTimingIterations": [3, 3],
  "BuilderConfig.setTimingCache": [41, 30],
  "BuilderConfig.getTimingCache": [42, 31],
  "BuilderConfig.createTimingCache": [40, 29],
  "BuilderConfig.addOptimizationProfile": [25, 23],
  "BuilderConfig.getNbOptimizationProfiles": [26, 24],
  "BuilderConfig.setProfilingVerbosity": [27, 25],
  "BuilderConfig.getProfilingVerbosity": [28, 26],
  "BuilderConfig.setProgressMonitor": [56, 45],
  "BuilderConfig.setHardwareCompatibilityLevel": [49, 38],
  "BuilderConfig.getHardwareCompatibilityLevel": [50, 39],
  "BuilderConfig.setDefaultDeviceType": [20, 18],
  "BuilderConfig.setDLACore": [18, 16],
  "BuilderConfig.setMaxAuxStreams": [54, 43],
  "BuilderConfig.setNbComputeCapabilities": [null, null, 55],
  "BuilderConfig.setComputeCapability": [null, null, 57],

  "NetworkDefinition.getNbInputs": [14, 14],
  "NetworkDefinition.getInput": [15, 15],
  "NetworkDefinition.getNbOutputs": [16, 16],
  "NetworkDefinition.getOutput": [17, 17],
  "NetworkDefinition.getNbLayers": [12, 12],
  "NetworkDefinition.getLayer": [13, 13],
  "NetworkDefinition.setName": [30, 30, 28],
  "NetworkDefinition.getName": [31, 31, 29],
  "NetworkDefinition.getFlags": [64, 61, 59],

  "Tensor.getName": [3, 3],
  "Tensor.getDimensions": [5, 5],
  "Tensor.setType": [6, null],
  "Tensor.getType": [7, 6],
  "Tensor.setAllowedFormats": [19, 13, 9],
  "Tensor.getAllowedFormats": [20, 14, 10],
  "Tensor.isShapeTensor": [21, 15, 11],

  "Layer.getType": [2, 2],
  "Layer.getName": [4, 4],
  "Layer.getNbInputs": [5, 5],
  "Layer.getNbOutputs": [7, 7],
  "Layer.getOutput": [8, 8],
  "Layer.setPrecision": [10, null],
  "Layer.setOutputType": [14, null],

  "OptimizationProfile.setDimensions": [2, 2],
  "OptimizationProfile.getDimensions": [3, 3],
  "OptimizationProfile.setShapeValues": [4, null],
  "OptimizationProfile.setShapeValuesV2": [[10, 11], 8],
  "OptimizationProfile.isValid": [9, 7],

  "HostMemory.data": [2, 2],
  "HostMemory.size": [3, 3],

  "TimingCache.serialize": [2, 2],
  "TimingCache.combine": [3, 3],

  "EngineInspector.setExecutionContext": [3, 3],
  "EngineInspector.getLayerInformation": [5, 5],
  "EngineInspector.getEngineInformation": [6, 6],

  "Parser.parse": [0, 0],
  "Parser.getNbErrors": [5, 3],
  "Parser.getError": [6, 4],
  "Parser.destroy": [9, 7],

  "ParserError.code": [0, 0],
  "ParserError.desc": [1, 1],
  "ParserError.nodeName": [6, 6],
  "ParserError.nodeOperator": [7, 7],
};

/** One major version. */
export interface SlotTable {
  /** Of the rows of the table. */
  readonly column: 0 | 1 | 2;
  /** Object layout of ILogger and IProfiler: unversioned in 10, versioned since 11. */
  readonly layout: 10 | 11;
  /** True where making a builder without a CUDA device ends the process. */
  readonly needsDevice: boolean;
}

/** TensorRT 10. */
export const TENSORRT_10: SlotTable = { column: 0, layout: 10, needsDevice: true };
/** TensorRT 11. */
export const TENSORRT_11: SlotTable = { column: 1, layout: 11, needsDevice: true };
/** TensorRT-RTX from 1.5 on. Engines are built for a named compute capability, on any machine. */
export const TENSORRT_RTX: SlotTable = { column: 2, layout: 11, needsDevice: false };

/** A layer that was inserted in the middle of INetworkDefinition, and moved to the end in 10.9. */
const EXCEPTION = { release: "10.8.0", method: "NetworkDefinition.getFlags", slot: 65 } as const;

/** Stands for a missing method in {@linkcode resolveSlots}. */
export const NO_SLOT = -1;

function entryOf({ column }: SlotTable, method: MethodName): readonly [slot: number, sinceMinor: number] | null {
  const row = SLOTS[method];
  const entry = row[column] ?? (column === 2 ? row[1] : null);
  return typeof entry === "number" ? [entry, 0] : entry;
}

/** Whose vtables: of Linux's compilers, which the table above is for, or of Microsoft's. */
export type CxxAbi = "itanium" | "msvc";

/** Of the libraries of this machine. */
const CXX_ABI: CxxAbi = process.platform === "win32" ? "msvc" : "itanium";

/**
 * The slot that Microsoft's compiler gives a method: it has one slot for the destructor where others have two, and overloads of a
 * name stand together, the last one first.
 *
 * - Public objects begin with their destructor, so every slot is one earlier.
 * - The parser ends with its destructor, which is one earlier for that alone; its errors have none.
 * - TensorRT 10 alone has an overload: deserializeCudaEngine(IStreamReader&), declared second, comes first.
 */
function msvcSlot(table: SlotTable, method: MethodName, slot: number): number {
  if (method.startsWith("Parser")) return method === "Parser.destroy" ? slot - 1 : slot;
  return table === TENSORRT_10 && method === "Runtime.deserializeCudaEngine" ? slot : slot - 1;
}

/**
 * The slots of one release, in the shim's order.
 *
 * @param release `10.6.0`
 * @param abi     of the library
 * @returns one entry a method, {@linkcode NO_SLOT} where the release has not (or not yet) got it
 */
export function resolveSlots(table: SlotTable, release: string, abi: CxxAbi = CXX_ABI): Int16Array<ArrayBuffer> {
  const minor = Number(release.split(".")[1]);
  const resolved = new Int16Array(new ArrayBuffer(METHOD_NAMES.length * Int16Array.BYTES_PER_ELEMENT));
  for (const [id, method] of METHOD_NAMES.entries()) {
    const [usual, since] = entryOf(table, method) ?? [NO_SLOT, 0];
    if (usual === NO_SLOT || minor < since) {
      resolved[id] = NO_SLOT;
      continue;
    }
    const isException = table === TENSORRT_10 && release === EXCEPTION.release && method === EXCEPTION.method;
    const slot = isException ? EXCEPTION.slot : usual;
    resolved[id] = abi === "msvc" ? msvcSlot(table, method, slot) : slot;
  }
  return resolved;
}

/** The minor version that brought a method, 0 for the first; `undefined` where no release of the table has it. */
export function sinceMinor(table: SlotTable, method: MethodName): number | undefined {
  return entryOf(table, method)?.[1];
}

/** Numbers of nvinfer1::BuilderFlag in TensorRT 10, and from 11 on: there networks are strongly typed, without precisions. */
const FLAGS = {
  fp16: [0],
  int8: [1],
  debug: [2, 2],
  gpuFallback: [3, 3],
  refit: [4, 4],
  tf32: [6, 6],
  sparseWeights: [7, 7],
  preferPrecisionConstraints: [10],
  versionCompatible: [13, 12],
  excludeLeanRuntime: [14, 13],
  stripPlan: [19, 18],
} as const;

/** A flag of the builder that the package knows. */
export type BuilderFlag = keyof typeof FLAGS;

/** Number of a flag; `undefined` where the version has none. @param isStronglyTyped TensorRT 11 and RTX */
export function builderFlag(flag: BuilderFlag, isStronglyTyped: boolean): number | undefined {
  return FLAGS[flag][isStronglyTyped ? 1 : 0];
}

/** Bit of NetworkDefinitionCreationFlag::kSTRONGLY_TYPED in TensorRT 10; from 11 on it is always so. */
export const STRONGLY_TYPED_10: number = 1 << 1;
