/** @module Function table: calls through a C struct of function pointers, such as OrtApi. */

import { type FFIFunction, linkSymbols } from "bun:ffi";
import { nativeView } from "./pointer.ts";

/** C types of a parameter or result: pointers and `size_t` travel as numbers below 2^53. */
export type NativeType = "ptr" | "usize" | "i32" | "u32" | "void";

/** One member of the struct. */
export interface TableMember {
  /** Its place, counted in pointers from the start. */
  readonly index: number;
  readonly args: readonly NativeType[];
  readonly returns: NativeType;
}

/** The members of a struct that are called, by their C names. */
export type FunctionTable = Readonly<Record<string, TableMember>>;

/** A pointer is an address, or a view over an explicit ArrayBuffer; `null` and 0 are NULL. */
type Argument<T extends NativeType> = T extends "ptr" ? number | ArrayBufferView | null : number;

/** A returned pointer is a number, `null` for NULL. */
type Result<T extends NativeType> = T extends "void" ? undefined : T extends "ptr" ? number | null : number;

type Arguments<Types extends readonly NativeType[]> = { -readonly [Index in keyof Types]: Argument<Types[Index]> };

/** Functions to call, one a member. */
export type BoundTable<Table extends FunctionTable> = {
  readonly [Name in keyof Table]: (...args: Arguments<Table[Name]["args"]>) => Result<Table[Name]["returns"]>;
};

/**
 * Read the address of a member.
 *
 * @param table address of the struct
 * @param index place of the member, counted in pointers
 */
export function memberAddress(table: number, index: number): number {
  const [low = 0, high = 0] = new Uint32Array(nativeView(table + index * 8, 8));
  return low + high * 2 ** 32;
}

/**
 * Make the members of a struct callable. The struct must live as long as the process.
 *
 * @param address of the struct
 * @param table   members and their C prototypes; nothing checks them against the library
 */
export function bindTable<Table extends FunctionTable>(address: number, table: Table): BoundTable<Table> {
  const functions: Record<string, FFIFunction> = {};
  for (const [name, { index, args, returns }] of Object.entries(table)) {
    functions[name] = { ptr: memberAddress(address, index), args, returns } as unknown as FFIFunction;
  }
  return linkSymbols(functions).symbols as unknown as BoundTable<Table>;
}
