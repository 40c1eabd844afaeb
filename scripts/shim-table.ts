/** @module The symbol table of the shim, made from native/shim.h; `bun run shim` writes it to src/ffi/shim-symbols.ts. */

const RESULTS: Readonly<Record<string, string>> = {
  void: "void",
  int32_t: "i32",
  uint32_t: "u32",
  int64_t: "i64_fast",
  uint64_t: "u64",
  size_t: "usize",
  float: "f32",
};

/** Of a line: the formatter's. */
const WIDTH = 120;

/** The type that bun:ffi crosses a C type with. @throws {RangeError} If the header uses one that the table has no word for */
function ffiType(c: string, isResult: boolean): string {
  if (c.includes("*")) return "ptr";
  const type = RESULTS[c.trim()];
  if (type === undefined) throw new RangeError(`native/shim.h: no FFI type for ${JSON.stringify(c.trim())}`);
  return type === "i64_fast" && !isResult ? "i64" : type;
}

/**
 * The source of the table.
 *
 * @param header text of native/shim.h
 */
export function shimTable(header: string): string {
  const symbols = [...header.matchAll(/^BT_API ([^;]*);/gm)].map(([, declaration]) => {
    const [, result, name, list] = /^(.*?)\b(bt_\w+)\((.*)\)$/.exec(declaration!.replace(/\s+/g, " "))!;
    const parameters = list === "void" ? [] : list!.split(", ");
    const args = parameters.map((one) => JSON.stringify(ffiType(one.replace(/\w+$/, ""), false)));
    const names = parameters.map((one) => /\w+$/.exec(one)![0]);
    const entry = `${name}: { args: [${args.join(", ")}], returns: "${ffiType(result!, true)}" },`;
    const comment = names.length === 0 ? "" : `// ${names.join(", ")}`;
    const line = `  ${entry} ${comment}`.trimEnd();
    return line.length <= WIDTH ? `${line}\n` : `  ${comment}\n  ${entry}\n`;
  });
  const constants = [...header.matchAll(/^#define (BT_\w+) \(?(-?\d+)u?\)?(?: +\/\* (.*) \*\/)?$/gm)].map(
    ([, name, value, note]) => `  ${name}: ${value},${note === undefined ? "" : ` // ${note}`}\n`,
  );
  const methods = [...header.matchAll(/X\((\w+), (\w+), (\w+)\)/g)].map(
    ([, type, method, shape]) => `  "${type}.${method}": "${shape}",\n`,
  );
  const blocking = [...header.matchAll(/\/\*[^/]*?\bBlocks\b[^/]*?\*\/\s*BT_API [^;]*?(bt_\w+)\(/g)].map(
    ([, name]) => `  | "${name}"\n`,
  );
  return `/**
 * @module The symbol table of the shim. Generated from native/shim.h, whose comments say what each function does, by
 * \`bun run shim\`: edit that instead.
 */

/** libbun_tensorrt_shim.so: statuses and counts are \`i32\`, \`int64_t\` results numbers below 2^53, objects \`ptr\`. */
export const SHIM_SYMBOLS = {
${symbols.join("")}} as const;

/** The numbers of the header. */
export const SHIM_CONSTANTS = {
${constants.join("")}} as const;

/** Methods of TensorRT by their number, and the shape each is called by: \`bt_<shape>\`, or a function of its own. */
export const SHIM_METHODS = {
${methods.join("")}} as const;

/** A function that blocks for milliseconds or minutes: it runs off the JS thread. */
export type BlockingName =
${blocking.join("").trimEnd()};
`;
}
