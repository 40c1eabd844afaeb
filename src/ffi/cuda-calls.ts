/** @module CudaCalls: how the functions of the CUDA libraries look from TypeScript, derived from their symbol tables. */

import type { SymbolTable } from "./library.ts";

/**
 * What a pointer parameter takes: a handle or address below 2^53, or NULL, or a view. The library may use a view until
 * the call returns, never after.
 */
export type PointerArgument = number | ArrayBufferView | null;

type Argument<Type> = Type extends "ptr" ? PointerArgument : number;
type Arguments<Types> = Types extends readonly unknown[]
  ? { -readonly [At in keyof Types]: Argument<Types[At]> }
  : readonly [];

/** A bound symbol: callable, and its address for off-thread calls. */
export type NativeCall<Types, Returns> = ((...args: Arguments<Types>) => Returns) & { readonly ptr: number };

/** The functions of a table. A `ptr` result is an address, or null. */
export type NativeCalls<Table extends SymbolTable> = {
  readonly [Name in keyof Table]: NativeCall<
    Table[Name]["args"],
    Table[Name]["returns"] extends "ptr" ? number | null : number
  >;
};
