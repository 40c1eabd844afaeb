/** @module Model source: from what a caller names to a file or bytes. */

import { existsSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { catalogue, findEntry } from "../catalogue/catalogue.ts";
import type { DownloadOptions } from "../catalogue/download.ts";
import { fetchModel } from "../catalogue/model-download.ts";
import { pull } from "../catalogue/pull.ts";
import { isInstalled, licenceLine } from "../catalogue/store.ts";
import { ArgumentError, ModelError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { nearestWord } from "../core/options.ts";
import { missingFile, pathOfBlob } from "../core/paths.ts";

/**
 * What a model can come from: the path of an ONNX file or a plan, a name of the catalogue, or an address, as text or URL; or
 * the bytes of such a file, also as a Blob, File or `Bun.file(…)`.
 *
 * `https://host/model.onnx#sha256=…` is downloaded once into the cache and checked. Without the hash each load asks the
 * server whether it has another file, and a warning names the hash of what is loaded. Tensors in files of their own are found
 * beside a path only.
 */
export type ModelSource = string | URL | Uint8Array | ArrayBuffer | Blob;

/** A model to load, and what to call it in messages. */
interface FoundModel {
  /** Path of a file, or the bytes of one. */
  readonly source: string | Uint8Array;
  readonly name: string;
}

/** The way from another format to ONNX. */
interface ForeignFormat {
  readonly is: string;
  /** @param file what was named; @param stem its name without the ending */
  readonly hint: (file: string, stem: string) => string;
}

const yoloExport = (stem: string): string => `yolo export model=${stem}.pt format=onnx`;
const FROM_ITS_SOURCE = (_: string, stem: string): string =>
  `there is no way back to ONNX: export the model it was made from, with Ultralytics: ${yoloExport(stem)}`;

/** Files of other formats, by their ending. */
const FOREIGN: Readonly<Record<string, ForeignFormat>> = {
  pt: {
    is: "a PyTorch checkpoint",
    hint: (_, stem) =>
      `export it to ONNX, with Ultralytics: ${yoloExport(stem)}; others by torch.onnx.export(model, example, "${stem}.onnx")`,
  },
  safetensors: {
    is: "a file of weights without the model's graph",
    hint: () => "export its folder to ONNX: optimum-cli export onnx --model FOLDER onnx/",
  },
  torchscript: {
    is: "a TorchScript model",
    hint: (file, stem) =>
      `export it to ONNX: torch.onnx.export(torch.jit.load("${file}"), example, "${stem}.onnx"), or the checkpoint it was made from, with Ultralytics: ${yoloExport(stem)}`,
  },
  tflite: {
    is: "a TensorFlow Lite model",
    hint: (file, stem) => `convert it to ONNX: python -m tf2onnx.convert --tflite ${file} --output ${stem}.onnx`,
  },
  pb: {
    is: "a TensorFlow graph",
    hint: (_, stem) =>
      `convert its SavedModel folder to ONNX: python -m tf2onnx.convert --saved-model FOLDER --output ${stem}.onnx`,
  },
  keras: {
    is: "a Keras model",
    hint: (file, stem) => `export it to ONNX: keras.models.load_model("${file}").export("${stem}.onnx", format="onnx")`,
  },
  mlpackage: { is: "a Core ML model", hint: FROM_ITS_SOURCE },
  xml: { is: "an OpenVINO model", hint: FROM_ITS_SOURCE },
};
const SAME_FORMAT: Readonly<Record<string, string>> = { pth: "pt", ckpt: "pt", h5: "keras", mlmodel: "mlpackage" };

/** ONNX files have had such endings too. @see onnx.proto: the first field is the IR version, which never was below 3 here */
async function beginsAsOnnx(path: string): Promise<boolean> {
  const [tag = 0, version = 0] = existsSync(path)
    ? await Bun.file(path)
        .slice(0, 2)
        .bytes()
        .catch(() => [])
    : [];
  return tag === 8 && version >= 3 && version < 32;
}

/** What a file of another format is, by its name, and the way to ONNX. */
function foreignOf(path: string): { readonly is: string; readonly hint: string } | undefined {
  const file = basename(path);
  const [, stem = "", ending = ""] = /^(.+?)((?:\.torchscript)?\.[a-z\d]+)$/i.exec(file) ?? [];
  const extension = /torchscript/i.test(ending) ? "torchscript" : ending.slice(1).toLowerCase();
  const format = FOREIGN[SAME_FORMAT[extension] ?? extension];
  return format === undefined ? undefined : { is: format.is, hint: format.hint(file, stem) };
}

/** Refuse a file of another format, with the way to ONNX. @throws {ModelError} If it is one, by its name */
export async function refuseForeign(path: string): Promise<void> {
  const format = foreignOf(path);
  if (format === undefined || (await beginsAsOnnx(path))) return;
  const found = `it is ${format.is}, and ONNX files and TensorRT plans are loaded`;
  throw new ModelError(message(`load the model ${JSON.stringify(path)}`, found, format.hint), path);
}

/** Names that Ultralytics gives its weights. */
const OF_ULTRALYTICS = /^(?:yolo|rtdetr)[\w-]*$/i;

/** Ends of the names that Ultralytics gives weights of tasks that the catalogue has no model of. */
const OF_OTHER_TASKS = /-(cls|depth|obb|sem)$/i;

/** The entry that a name is like; `undefined` also for one of another task than any of them, however few letters differ. */
function nearestEntry(name: string, names: readonly string[]): string | undefined {
  return OF_OTHER_TASKS.test(name) ? undefined : nearestWord(name, names);
}

/** The error for text that is neither a file nor a name of the catalogue. */
export function unknownModel(text: string): ModelError {
  const names = catalogue.filter(({ kind }) => kind === "model").map(({ name }) => name);
  if (isPathLike(text)) {
    const { found, hint } = missingFile(text);
    const format = foreignOf(text);
    if (format !== undefined) {
      const isBoth = `${found}, and ${format.is} is not loaded as it is`;
      return new ModelError(
        message(`load the model ${JSON.stringify(text)}`, isBoth, `${hint}; then ${format.hint}`),
        text,
      );
    }
    const stem = basename(text).replace(/\.onnx$/i, "");
    const near = nearestEntry(stem, names);
    const exported = OF_ULTRALYTICS.test(stem) ? `; to export it: ${yoloExport(stem)}` : "";
    const other = near === undefined ? exported : `; or did you mean the catalogue's ${near}?`;
    return new ModelError(message(`load the model ${JSON.stringify(text)}`, found, hint + other), text);
  }
  const near = nearestEntry(text, names);
  const meant = near === undefined ? "" : `. Did you mean ${JSON.stringify(near)}?`;
  const others = OF_ULTRALYTICS.test(text)
    ? `export others to ONNX: ${yoloExport(text)}`
    : "else give the path of an ONNX file or a plan";
  const hint = `the catalogue has ${names.join(", ")}; ${others}`;
  return new ModelError(`Unknown model ${JSON.stringify(text)}${meant}\nHint: ${hint}`, text);
}

/** True for text that cannot be a name. */
function isPathLike(text: string): boolean {
  return /[/\\.]/.test(text);
}

/** The address that a text is; `undefined` for a path or a name. */
export function modelAddress(model: string | URL): URL | undefined {
  if (model instanceof URL) return model;
  if (!/^[a-z][a-z\d+.-]+:\/\//i.test(model)) return undefined;
  const url = URL.parse(model);
  if (url !== null) return url;
  throw new ModelError(
    message("load a model", `${JSON.stringify(model)} is not a valid URL`, "give the path of the file"),
    model,
  );
}

/** The path that an address leads to: its own, or that of what was downloaded. */
async function pathAt(url: URL, options: DownloadOptions): Promise<string> {
  const refuse = (found: string, hint: string, cause?: unknown): never => {
    throw new ModelError(message("load a model", found, hint), url.href, { cause });
  };
  if (url.protocol === "http:" || url.protocol === "https:") {
    await refuseForeign(url.pathname);
    return fetchModel(url, options);
  }
  if (url.protocol !== "file:") {
    return refuse(
      `the URL must begin with https:// or file://, got ${url.protocol}//`,
      "download it and give the path or the bytes",
    );
  }
  try {
    return fileURLToPath(url);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return refuse(`${JSON.stringify(url.href)} is not a path (${reason})`, "give the path of the file", error);
  }
}

async function ofPath(path: string): Promise<FoundModel> {
  await refuseForeign(path);
  return { source: path, name: JSON.stringify(path) };
}

/**
 * Find out what a caller means. A file of that name wins over the catalogue. A name whose file is not on this machine is
 * fetched, and its licence logged; an address is fetched into the cache.
 *
 * @param options of a download
 * @throws {ArgumentError} If it is anything else
 * @throws {ModelError} If it is an unknown name, a file of another format, or a URL that leads to none
 * @throws {CatalogueError} If the file cannot be fetched
 */
export async function modelSource(model: ModelSource, options: DownloadOptions = {}): Promise<FoundModel> {
  if (model instanceof Uint8Array) return { source: model, name: "from bytes" };
  if (model instanceof ArrayBuffer) return { source: new Uint8Array(model), name: "from bytes" };
  if (model instanceof Blob) {
    const path = pathOfBlob(model);
    if (path !== undefined) return ofPath(path);
    const name = model instanceof File && model.name !== "" ? JSON.stringify(model.name) : "from bytes";
    return { source: await model.bytes(), name };
  }
  if (!(typeof model === "string" || model instanceof URL)) {
    const received = model === null ? "null" : typeof model;
    const found = `it must be a path, a URL, bytes, a Blob or a name of the catalogue, got ${received}`;
    throw new ArgumentError(message("load a model", found, "give the bytes of anything else as a Uint8Array"));
  }
  const url = modelAddress(model);
  if (url !== undefined) return ofPath(await pathAt(url, options));
  const path = String(model);
  const entry = findEntry(path);
  if (entry?.kind === "model" && !(await Bun.file(path).exists())) {
    if (!isInstalled(entry)) logger.info(`Fetching ${licenceLine(entry)}`);
    return { source: await pull(entry, options), name: entry.name };
  }
  const found = await ofPath(path);
  // Of a plan it is said first that this machine cannot run it.
  if ((!isPathLike(path) || /\.onnx$/i.test(path)) && !existsSync(path)) throw unknownModel(path);
  return found;
}
