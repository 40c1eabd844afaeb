/** @module KernelArguments: the parameters of a kernel as one packed block, written in place and launched as it is. */

import { ArgumentError, message } from "../core/errors.ts";
import type { DevicePtr } from "../core/handle.ts";
import { addressOf } from "../ffi/pointer.ts";

/** Type of one kernel parameter. */
export type ParameterType = "pointer" | "i32" | "u32" | "f32";

/** One parameter of a kernel, as `ptx/manifest.json` lists it. */
export interface Parameter {
  readonly name: string;
  readonly type: ParameterType;
  /** From the start of the block. */
  readonly offsetBytes: number;
  readonly byteLength: number;
}

const BYTES: Readonly<Record<ParameterType, number>> = { pointer: 8, i32: 4, u32: 4, f32: 4 };

/** Tags of the `extra` array of `cuLaunchKernel`. */
const BUFFER_POINTER = 1n;
const BUFFER_SIZE = 2n;
const END = 0n;

/**
 * Lay parameters out as a C compiler does: each at the next multiple of its own size.
 *
 * @param parameters name and type, in the kernel's order
 */
export function layOut(parameters: readonly (readonly [name: string, type: ParameterType])[]): Parameter[] {
  let end = 0;
  return parameters.map(([name, type]) => {
    const byteLength = BYTES[type];
    const offsetBytes = Math.ceil(end / byteLength) * byteLength;
    end = offsetBytes + byteLength;
    return { name, type, offsetBytes, byteLength };
  });
}

/**
 * The argument block of one kernel. Setters write one parameter in place, by the number that {@linkcode index} gave
 * once; a launch copies the whole block, so it may be changed right after.
 */
export class KernelArguments {
  readonly parameters: readonly Parameter[];
  /** The `extra` array of `cuLaunchKernel`; it points at the block. */
  readonly extra: BigUint64Array<ArrayBuffer>;
  readonly #types: readonly ParameterType[];
  /** Offset of each parameter in 32-bit words. */
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #block: ArrayBuffer;
  readonly #u32: Uint32Array<ArrayBuffer>;
  readonly #i32: Int32Array<ArrayBuffer>;
  readonly #f32: Float32Array<ArrayBuffer>;
  /** Holds the block's length; `extra` points at it. */
  readonly #length: BigUint64Array<ArrayBuffer>;

  /**
   * @param parameters the kernel's parameters, from the manifest or {@linkcode layOut}
   * @throws {ArgumentError} If there are none, or one is not aligned to its size
   */
  constructor(parameters: readonly Parameter[]) {
    const last = parameters.at(-1);
    if (last === undefined) throw new ArgumentError(message("make an argument block", "the kernel has no parameters"));
    for (const { name, type, offsetBytes, byteLength } of parameters) {
      if (byteLength !== BYTES[type] || offsetBytes % byteLength !== 0) {
        const found = `${name} (${type}) takes ${BYTES[type]} bytes at a multiple of that`;
        throw new ArgumentError(message("make an argument block", `${found}: ${byteLength} bytes at ${offsetBytes}`));
      }
    }
    const byteLength = last.offsetBytes + last.byteLength;
    this.parameters = parameters;
    this.#types = parameters.map((parameter) => parameter.type);
    this.#words = Int32Array.from(parameters, (parameter) => parameter.offsetBytes / 4);
    this.#block = new ArrayBuffer(Math.ceil(byteLength / 8) * 8);
    this.#u32 = new Uint32Array(this.#block);
    this.#i32 = new Int32Array(this.#block);
    this.#f32 = new Float32Array(this.#block);
    this.#length = new BigUint64Array(new ArrayBuffer(8));
    this.#length[0] = BigInt(byteLength);
    this.extra = new BigUint64Array(new ArrayBuffer(40));
    this.extra.set([BUFFER_POINTER, BigInt(addressOf(this.#u32)), BUFFER_SIZE, BigInt(addressOf(this.#length)), END]);
  }

  /** Number of a parameter, for the setters: ask once, outside the hot path. @throws {ArgumentError} If there is none */
  index(name: string): number {
    const at = this.parameters.findIndex((parameter) => parameter.name === name);
    if (at < 0) {
      const names = this.parameters.map((parameter) => parameter.name).join(", ");
      throw new ArgumentError(message(`set the parameter ${JSON.stringify(name)}`, `the kernel has only ${names}`));
    }
    return at;
  }

  /** Write a device address. @throws {ArgumentError} If the parameter is no pointer */
  setPointer(index: number, value: DevicePtr): void {
    const word = this.#word(index, "pointer");
    this.#u32[word] = value % 2 ** 32;
    this.#u32[word + 1] = value / 2 ** 32;
  }

  /** Write an `int`. @throws {ArgumentError} If the parameter has another type */
  setI32(index: number, value: number): void {
    this.#i32[this.#word(index, "i32")] = value;
  }

  /** Write an `unsigned int`. @throws {ArgumentError} If the parameter has another type */
  setU32(index: number, value: number): void {
    this.#u32[this.#word(index, "u32")] = value;
  }

  /** Write a `float`. @throws {ArgumentError} If the parameter has another type */
  setF32(index: number, value: number): void {
    this.#f32[this.#word(index, "f32")] = value;
  }

  /** The block's bytes, for tests and dumps. */
  bytes(): Uint8Array {
    return new Uint8Array(this.#block, 0, Number(this.#length[0]));
  }

  #word(index: number, type: ParameterType): number {
    if (this.#types[index] !== type) this.#refuse(index, type);
    return this.#words[index]!;
  }

  #refuse(index: number, type: ParameterType): never {
    const parameter = this.parameters[index];
    const found = parameter === undefined ? "there is none" : `${parameter.name} is ${parameter.type}`;
    throw new ArgumentError(message(`set parameter ${index} as ${type}`, `the types must agree: ${found}`));
  }
}
