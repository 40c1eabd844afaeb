/** @module TensorRtLibrary: TensorRT as it is on this machine, found, bound to its slot table, and given a logger. */

import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { LibraryLoadError, message, TensorRtError } from "../core/errors.ts";
import { type LogLevel, logger } from "../core/log.ts";
import { cudaDriver } from "../ffi/cuda-runtime.ts";
import { type LibrarySpec, TENSORRT_TOOLKIT } from "../ffi/discovery.ts";
import { libraryFault, type NativeCalls, openLibrary } from "../ffi/library.ts";
import { addressOf, cString, readCString } from "../ffi/memory.ts";
import {
  callMethod,
  ERROR_BYTES,
  type MethodArguments,
  type MethodName,
  methodId,
  nativeMethodName,
  type PointerMethod,
  preloadByName,
  SHIM_STATUS,
  type ShapedMethod,
  shim,
} from "../ffi/shim.ts";
import { SHIM_CONSTANTS, SHIM_METHODS } from "../ffi/shim-symbols.ts";
import { LogRing, severityOf } from "./observers.ts";
import {
  NO_SLOT,
  parseVersion,
  resolveSlots,
  runtimeFile,
  type SlotTable,
  sinceMinor,
  slotTableOf,
  type TensorRtFamily,
  type TensorRtVersion,
  versionFault,
} from "./version.ts";

const IS_WINDOWS = process.platform === "win32";

/** Files of each family, newest first. Windows has the minor version of TensorRT-RTX in the name. */
const FILES: Readonly<Record<TensorRtFamily, readonly string[]>> = IS_WINDOWS
  ? { TensorRT: ["nvinfer_11.dll", "nvinfer_10.dll"], "TensorRT-RTX": ["tensorrt_rtx_1_*.dll"] }
  : { TensorRT: ["libnvinfer.so.11", "libnvinfer.so.10"], "TensorRT-RTX": ["libtensorrt_rtx.so.1"] };

/** Names of what a builder loads by a bare name: the lean runtime, and the kernels, with a part for each kind of GPU or without. */
const BUILDER_PART = IS_WINDOWS
  ? /^nvinfer_(?:lean|builder_resource(?:_([a-z]\w*))?)_\d+\.dll$/
  : /^libnvinfer_(?:lean|builder_resource(?:_(\w+))?)\.so\.\d/;

/** File of a part of TensorRT: `libnvonnxparser.so.10`, `nvonnxparser_10.dll`. */
function partFile(name: "nvonnxparser" | "nvinfer_plugin", major: number): string {
  return IS_WINDOWS ? `${name}_${major}.dll` : `lib${name}.so.${major}`;
}

/**
 * TensorRT without its builder: the lean runtime runs plans that are version-compatible, the dispatch runtime those of them that
 * bring a lean one.
 */
const LEAN_FILES: readonly string[] = (["lean", "dispatch"] as const).flatMap((name) =>
  [11, 10].map((major) => runtimeFile(name, major)),
);

/** What {@linkcode openTensorRt} takes. */
export interface OpenTensorRtOptions {
  /** Default: TensorRT where it is found, else TensorRT-RTX. */
  readonly family?: TensorRtFamily | undefined;
  /** True to run plans only: the lean or dispatch runtime is taken where no other TensorRT is found. Default false. */
  readonly plansOnly?: boolean | undefined;
}

/** Where TensorRT may lie; also what `doctor` prints. */
export function tensorRtSpec(family?: TensorRtFamily): LibrarySpec {
  return {
    name: family ?? "TensorRT",
    variable: "BUN_TENSORRT_TENSORRT",
    files: family === undefined ? [...FILES.TensorRT, ...FILES["TensorRT-RTX"]] : FILES[family],
    toolkit: TENSORRT_TOOLKIT,
    // The last two run plans, and build none.
    python: ["tensorrt_libs", "tensorrt_rtx_libs", "tensorrt_rtx", "tensorrt_lean_libs", "tensorrt_dispatch_libs"],
    // By path rather than by the dynamic linker: the parts of a builder lie beside it. JetPack has some in `nvidia`.
    folders: ["/usr/lib/{arch}-linux-gnu", "/usr/lib/{arch}-linux-gnu/nvidia"],
    hint:
      "bunx bun-tensorrt install tensorrt (data-centre GPUs too) or tensorrt-rtx (GeForce and RTX cards), " +
      "or set BUN_TENSORRT_TENSORRT to the library or its folder",
  };
}

/** TensorRT, opened. It stays open for the life of the process, and so do its logger and its error recorder. */
export class TensorRtLibrary {
  /** Where it was found; a bare name where the dynamic linker knew it. */
  readonly path: string;
  readonly version: TensorRtVersion;
  /** The `bt_library *`. Borrowed. */
  readonly handle: number;
  /** The ILogger that every object of the library gets. */
  readonly logger: number;
  /** The IErrorRecorder that every runtime and builder gets. */
  readonly recorder: number;
  readonly log: LogRing;
  /**
   * Builds take turns: they measure kernels on the same GPU, and TensorRT-RTX 1.7 keeps the GPUs that are built for in one
   * list a process.
   *
   * @internal
   */
  readonly builds: Turns = new Turns();
  /** True where networks are always strongly typed: the model says which tensors are FP16. TensorRT 11 and RTX. */
  readonly isStronglyTyped: boolean;
  readonly #table: SlotTable;
  readonly #slots: Int16Array;

  private constructor(path: string, version: TensorRtVersion, handle: number, table: SlotTable) {
    this.path = path;
    this.version = version;
    this.handle = handle;
    this.#table = table;
    this.#slots = resolveSlots(table, version.release);
    this.isStronglyTyped = table.layout >= 11;
    const native = shim();
    const flags = table.needsDevice ? SHIM_CONSTANTS.BT_NEEDS_DEVICE : 0;
    const bound = native.bt_library_bind(handle, this.#slots, this.#slots.length, table.layout, flags);
    if (bound !== SHIM_STATUS.ok) {
      const text = message(`bind ${path}`, `the shim refused its slots (${bound})`);
      throw new LibraryLoadError(text, "libnvinfer", [path]);
    }
    this.log = new LogRing(version.text);
    this.logger = native.bt_logger_create(table.layout, this.log.ring.handle, severityOf("warn"))!;
    this.recorder = native.bt_recorder_create(this.log.ring.handle)!;
  }

  /** Bind a library file. Called by {@linkcode openTensorRt} alone. */
  static bind(path: string): TensorRtLibrary {
    const error = new Uint8Array(new ArrayBuffer(ERROR_BYTES));
    const handle = shim().bt_library_open(cString(path), error, ERROR_BYTES);
    if (handle === null) {
      throw new LibraryLoadError(message(`load ${path}`, readCString(addressOf(error))), "libnvinfer", [path]);
    }
    const version = parseVersion(shim().bt_library_version(handle), shim().bt_library_build(handle));
    return new TensorRtLibrary(path, version, handle, slotTableOf(version, path));
  }

  /** Choose which lines TensorRT logs; default "warn". What is not chosen costs nothing. */
  setLogLevel(level: LogLevel): void {
    shim().bt_logger_set_level(this.logger, severityOf(level));
  }

  /** True if this version has a method. */
  has(method: MethodName): boolean {
    return this.#slots[methodId(method)] !== NO_SLOT;
  }

  /** True if a CUDA device is there. @throws nothing: the answer is also false where there is no driver */
  hasDevice(): boolean {
    try {
      // Opened here, as it may lie in a folder that the dynamic linker does not search.
      cudaDriver();
    } catch (error) {
      if (!(error instanceof LibraryLoadError)) throw error;
      logger.debug(`No CUDA driver: ${error.message}`);
      return false;
    }
    return shim().bt_cuda_probe(null, null) === SHIM_STATUS.ok;
  }

  /**
   * Before a call that the library may refuse, or that may meet an error of CUDA. On Windows the CUDA runtime inside TensorRT from
   * 11 on and TensorRT-RTX is the driver's: where there is none it has no words for its errors, and the library, which asks for
   * them behind every refusal, reads from address 0.
   *
   * @param action what is tried: `load an engine`
   * @param method that is going to be called
   * @throws {TensorRtError} If there is no device
   * @internal
   */
  assertSafe(action: string, method: string): void {
    if (!IS_WINDOWS || this.#table.layout < 11 || this.hasDevice()) return;
    throw this.failure(action, method, SHIM_STATUS.noDevice);
  }

  /**
   * Turn a failed call into an error with what TensorRT logged.
   *
   * @param action what was tried: `build an engine from "a.onnx"`
   * @param method a method, or a function that makes an object: `createInferBuilder`
   * @param status of the shim
   */
  failure(action: string, method: string, status: number = SHIM_STATUS.failed): TensorRtError {
    const isMethod = method in SHIM_METHODS;
    if (isMethod && status === SHIM_STATUS.noMethod) return this.missing(method as MethodName);
    const call = isMethod ? nativeMethodName(method as MethodName) : method;
    const { lines, code } = this.log.takeErrors();
    const options = { code: code ?? "FAILED", call, log: lines };
    if (status === SHIM_STATUS.noDevice) {
      const hint = "install NVIDIA's driver, or pass the GPU into the container";
      const text = message(action, "there is no usable CUDA device", hint);
      return new TensorRtError(text, { ...options, code: "NO_DEVICE" });
    }
    const { text } = this.version;
    const found = lines.length === 0 ? `${call} of ${text} failed` : `${lines.join("; ")} (${text})`;
    return new TensorRtError(message(action, found), options);
  }

  /** The error for a method that this version lacks. */
  missing(method: MethodName): TensorRtError {
    const call = nativeMethodName(method);
    const minor = sinceMinor(this.#table, method);
    const found = `${this.version.text} lacks it${minor === undefined ? "" : `, it came with ${this.version.major}.${minor}`}`;
    return new TensorRtError(message(`call ${call}`, found), { code: "NO_METHOD", call, log: [] });
  }

  /**
   * Check a result of the shim on the line of the call.
   *
   * @returns the result: a count, an enum value, or 0
   * @throws {TensorRtError} If it is one of the shim's codes
   */
  check(status: number, method: MethodName, action?: string): number {
    if (status > SHIM_STATUS.failed) return status;
    throw this.failure(action ?? `call ${nativeMethodName(method)}`, method, status);
  }

  /**
   * Call a method of an object.
   *
   * @returns a number, or what it wrote; 0 where it returns nothing
   * @throws {TensorRtError} If this version lacks it
   * @internal
   */
  call<Name extends Exclude<ShapedMethod, PointerMethod>>(
    object: number,
    method: Name,
    ...values: MethodArguments<Name>
  ): number {
    return this.check(callMethod(this.handle, object, method, values), method);
  }

  /** Call a method of an object that returns a text; the empty string where it has none. @internal */
  text<Name extends PointerMethod>(object: number, method: Name, ...values: MethodArguments<Name>): string {
    return readCString(callMethod(this.handle, object, method, values));
  }

  /**
   * Open the ONNX parser that belongs to the library.
   *
   * @throws {LibraryLoadError} If it is neither beside the library nor known to the dynamic linker
   */
  openParser(): void {
    const { family, major, minor } = this.version;
    const ofRtx = IS_WINDOWS ? `tensorrt_onnxparser_rtx_${major}_${minor}.dll` : "libtensorrt_onnxparser_rtx.so.1";
    const file = family === "TensorRT" ? partFile("nvonnxparser", major) : ofRtx;
    const tried = this.#openPart(file, (path, error) =>
      shim().bt_library_open_parser(this.handle, path, error, ERROR_BYTES),
    );
    if (tried === undefined) return;
    const list = tried.map((line) => `\n  ${line}`).join("");
    throw new LibraryLoadError(
      message(`load the ONNX parser of ${this.version.text}`, `it was found at none of these paths:${list}`),
      file,
      tried,
    );
  }

  /**
   * Register NVIDIA's own plugins, which some exported models use (EfficientNMS_TRT and the like).
   *
   * @returns false if their library is not there
   */
  openPlugins(): boolean {
    const tried = this.#openPart(partFile("nvinfer_plugin", this.version.major), (path, error) =>
      shim().bt_library_open_plugins(path, this.logger, error, ERROR_BYTES),
    );
    if (tried !== undefined) logger.debug(`NVIDIA's plugins are not there: ${tried.join("; ")}`);
    return tried === undefined;
  }

  /** True if it was found by its path; a bare name is the dynamic linker's. */
  get #hasFolder(): boolean {
    return basename(this.path) !== this.path;
  }

  /** Open a library that belongs to this one. @returns `undefined`, or why each path failed */
  #openPart(file: string, open: (path: Uint8Array, error: Uint8Array) => number): string[] | undefined {
    const beside = join(dirname(this.path), file);
    const error = new Uint8Array(new ArrayBuffer(ERROR_BYTES));
    const tried: string[] = [];
    // Beside the library first, so that versions are not mixed.
    for (const path of this.#hasFolder && existsSync(beside) ? [beside, file] : [file]) {
      const fault = path === beside ? libraryFault(path) : undefined;
      if (fault === undefined && open(cString(path), error) === SHIM_STATUS.ok) return undefined;
      tried.push(`${path}: ${fault ?? readCString(addressOf(error))}`);
    }
    return tried;
  }

  /**
   * Make what a builder asks the dynamic linker for by its bare name loadable where it lies beside the library: the builder
   * resource (the kernels to choose from), and the lean runtime that version-compatible plans bring.
   *
   * @param computeCapability `90`; where the resource is split by GPU, only its part is loaded
   */
  preloadBuilderParts(computeCapability: number | undefined): void {
    // TensorRT-RTX has no such parts, and must not load those of a TensorRT in the same folder.
    if (!this.#hasFolder || this.version.family !== "TensorRT") return;
    const folder = dirname(this.path);
    for (const file of readdirSync(folder)) {
      const match = BUILDER_PART.exec(file);
      const part = match?.[1];
      if (match === null || part === "win") continue;
      const isOther = part?.startsWith("sm") === true && computeCapability !== undefined;
      if (isOther && part !== `sm${computeCapability}`) continue;
      const refused = preloadByName(join(folder, file));
      if (refused !== undefined) logger.warn(`Cannot load ${file}: ${refused}`);
    }
  }
}

const libraries = new Map<string, TensorRtLibrary>();

/** @throws {LibraryLoadError} If it is nowhere; where the lean runtime is not there either, of the full one */
function pathOf(spec: LibrarySpec, { family, plansOnly }: OpenTensorRtOptions): string {
  const table = { getInferLibVersion: { args: [], returns: "i32" } } as const;
  const probe = ({ getInferLibVersion }: NativeCalls<typeof table>): string | undefined =>
    versionFault(parseVersion(getInferLibVersion()));
  try {
    return openLibrary(spec, table, probe).path;
  } catch (error) {
    if (!(error instanceof LibraryLoadError) || plansOnly !== true || family === "TensorRT-RTX") throw error;
    try {
      return openLibrary({ ...spec, files: LEAN_FILES }, table, probe).path;
    } catch (leanError) {
      throw leanError instanceof LibraryLoadError ? error : leanError;
    }
  }
}

/**
 * Find and open TensorRT. The first call reads the library, for some tens of milliseconds; later ones reuse it.
 *
 * @throws {LibraryLoadError} If it is nowhere, or of a version that this package does not know
 */
export function openTensorRt(options: OpenTensorRtOptions = {}): TensorRtLibrary {
  const path = pathOf(tensorRtSpec(options.family), options);
  let library = libraries.get(path);
  if (library === undefined) {
    library = TensorRtLibrary.bind(path);
    libraries.set(path, library);
    logger.info(`Opened ${library.version.text}: ${path}`);
  }
  return library;
}

/** A queue for work that must not overlap. */
export class Turns {
  #last: Promise<void> = Promise.resolve();
  /** Of the one whose turn it is, where it gives way. */
  #giveWay: (() => void) | undefined;
  /** Those in front. */
  #waiting = 0;

  /**
   * Wait for one's turn. The next one's begins when the result is disposed of.
   *
   * @param signal  ends the waiting; its reason is thrown
   * @param giveWay for work in the background: called when work in front waits for the turn to end
   */
  async take(signal?: AbortSignal, giveWay?: () => void): Promise<Disposable> {
    const isInFront = giveWay === undefined;
    if (isInFront) this.#giveWay?.();
    if (isInFront) this.#waiting += 1;
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    const aborted = Promise.withResolvers<never>();
    const give = (): void => aborted.reject(signal?.reason);
    signal?.addEventListener("abort", give);
    try {
      signal?.throwIfAborted();
      await Promise.race([before, aborted.promise]);
    } catch (error) {
      // Whoever comes next still waits for those before.
      before.then(resolve);
      throw error;
    } finally {
      if (isInFront) this.#waiting -= 1;
      signal?.removeEventListener("abort", give);
    }
    this.#giveWay = giveWay;
    if (this.#waiting > 0) giveWay?.();
    return {
      [Symbol.dispose]: () => {
        if (this.#giveWay === giveWay) this.#giveWay = undefined;
        resolve();
      },
    };
  }
}
