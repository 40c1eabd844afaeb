/** @module OnnxParser: reads an ONNX model into a network, and says which node it stumbled over. */

import { ModelError, message } from "../core/errors.ts";
import { oneLine } from "../core/shown.ts";
import { addressOf, cString } from "../ffi/memory.ts";
import { SHIM_STATUS, shim } from "../ffi/shim.ts";
import { externalDataFiles, externalDataPaths } from "../onnx/declared.ts";
import { NativeObject, runOffThread, stableBytes } from "./native-object.ts";
import type { Network } from "./network.ts";

/** nvonnxparser::ErrorCode by number. */
const CODES: readonly string[] = [
  "success",
  "internal error",
  "out of memory",
  "not a readable ONNX model",
  "invalid value",
  "invalid graph",
  "invalid node",
  "unsupported graph",
  "unsupported node",
  "unsupported attribute",
  "unsupported input",
  "unsupported element type",
  "unsupported dynamic input",
  "unsupported shape",
  "refit failed",
];

const INCOMPLETE = "check that the file is a complete ONNX model";

/** Files with weights that a hint names at most. */
const TOLD_FILES = 4;

/** What the parser said of one node. */
interface ParserComplaint {
  readonly code: string;
  readonly text: string;
  /** Name of the node; the empty string where no node is at fault. */
  readonly node: string;
  /** Operator of the node: `NonMaxSuppression`. */
  readonly operator: string;
}

/** What {@linkcode OnnxParser.parse} takes. */
export interface ParseOptions {
  /** Path of the model: its folder is where external weights are looked for. */
  readonly path?: string | undefined;
  /** What to call the model in messages; default the path, else "the model". */
  readonly source?: string | undefined;
}

/** The parser of one network. It holds weights that the build reads, so it stays open until the network is built. */
export class OnnxParser extends NativeObject {
  private constructor(network: Network, handle: number) {
    super("OnnxParser", network.library, handle, network);
  }

  /**
   * Read a model into an empty network, off the JS thread. After a failure the network is of no use any more.
   *
   * @param model bytes of an `.onnx` file
   * @throws {ModelError} If the model cannot be read, or has a node that TensorRT lacks; it names node and operator
   * @throws {LibraryLoadError} If the parser's library is missing
   */
  static async parse(network: Network, model: Uint8Array, options: ParseOptions = {}): Promise<OnnxParser> {
    const source = options.source ?? options.path ?? "the model";
    if (model.byteLength === 0) {
      throw new ModelError(message(`parse ${source}`, "it is empty"), source);
    }
    // A parser that opens a pipe waits for good.
    if (options.path !== undefined) externalDataPaths(model, options.path);
    const { library } = network;
    library.openParser();
    const handle = shim().bt_parser_create(library.handle, network.handle, library.logger);
    if (handle === null) throw library.failure(`parse ${source}`, "createNvOnnxParser", SHIM_STATUS.failed);
    const parser = new OnnxParser(network, handle);
    try {
      await parser.#parse(model, options.path, source);
      // The parser takes many a file for a model without nodes.
      if (network.outputs().length === 0) {
        throw new ModelError(message(`parse ${source}`, "it has no outputs", INCOMPLETE), source);
      }
    } catch (error) {
      parser.close();
      throw error;
    }
    return parser;
  }

  async #parse(model: Uint8Array, path: string | undefined, source: string): Promise<void> {
    const { library } = this;
    const action = `parse ${source}`;
    const bytes = stableBytes(model);
    const encoded = path === undefined ? undefined : cString(path);
    const where = encoded === undefined ? 0 : addressOf(encoded);
    const status = await runOffThread(library, {
      name: "bt_parser_parse",
      args: [library.handle, this.handle, addressOf(bytes), bytes.byteLength, where],
      on: [this],
      memory: [bytes, encoded],
      action,
    });
    const complaints = this.#complaints();
    if (status === SHIM_STATUS.ok && complaints.length === 0) return;
    if (status === SHIM_STATUS.noMethod) throw library.missing("Parser.parse");
    library.log.takeErrors();
    const list = complaints.map(formatComplaint).join("\n  ");
    const found = `the ONNX parser of ${library.version.text} refused it:\n  ${list === "" ? "no reason given" : list}`;
    throw new ModelError(message(action, found, hintFor(complaints, { model, path })), source);
  }

  #complaints(): ParserComplaint[] {
    const { library } = this;
    return Array.from({ length: this.call("Parser.getNbErrors") }, (_, index) => {
      const error = this.pointer("read an error of the ONNX parser", "Parser.getError", index);
      const code = library.call(error, "ParserError.code");
      return {
        code: CODES[code] ?? `code ${code}`,
        text: oneLine(library.text(error, "ParserError.desc")),
        node: oneLine(library.text(error, "ParserError.nodeName")),
        operator: oneLine(library.text(error, "ParserError.nodeOperator")),
      };
    });
  }

  protected override destroy(handle: number): void {
    shim().bt_parser_destroy(this.library.handle, handle);
  }
}

function formatComplaint({ code, text, node, operator }: ParserComplaint): string {
  const where = operator === "" && node === "" ? "" : ` at node ${JSON.stringify(node)} (${operator})`;
  return `${code}${where}: ${text.trim()}`;
}

function hintFor(
  complaints: readonly ParserComplaint[],
  { model, path }: { readonly model: Uint8Array; readonly path: string | undefined },
): string {
  const says = (text: string): boolean => complaints.some((one) => one.text.includes(text));
  const weights = says("import initializer") ? externalDataFiles(model) : [];
  if (weights.length > 0) {
    const files = weights.slice(0, TOLD_FILES).join(", ");
    if (path === undefined) return `load it by its path: it has weights in files beside it, ${files}`;
    return `its weights must lie whole beside it: ${files}`;
  }
  if (says("Plugin not found")) {
    return "NVIDIA's plugins need `plugins: true` (--plugins); else export it without that operator";
  }
  if (complaints.some(({ code }) => code.startsWith("unsupported") || code === "invalid node")) {
    return "export the model without that operator, or run it on the CPU backend, which has all of ONNX";
  }
  return INCOMPLETE;
}
