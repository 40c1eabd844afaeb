/** @module LoadDetector: a model for a command, with what is to be seen of it: where it runs and why, and the building of its engine. */

import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { chooseAccelerator } from "../accelerators/accelerator.ts";
import { readModelFile } from "../accelerators/tensorrt/model-file.ts";
import { type MachineChoice, machineOf } from "../api/machine-options.ts";
import { modelAddress, modelSource, refuseForeign, unknownModel } from "../api/model-source.ts";
import { DEFAULT_MODEL, findEntry } from "../catalogue/catalogue.ts";
import type { DownloadOptions } from "../catalogue/download.ts";
import { pull } from "../catalogue/pull.ts";
import { type CatalogueEntry, isInstalled, licenceLine } from "../catalogue/store.ts";
import { UnavailableError } from "../core/errors.ts";
import { statsOf } from "../core/paths.ts";
import { type HeadDefinition, isHeadDefinition } from "../heads/own-head-options.ts";
import { refuse } from "./args.ts";
import type { CommandContext } from "./command.ts";
import { BuildProgressView, Progress } from "./terminal.ts";

/** The name of a file, perhaps with the name of one of its heads behind it. */
const HEAD_FILE = /^(.+\.[cm]?[jt]s)(?::([a-z0-9-]+))?$/;

/**
 * The heads of the file that `--head` names: `./my-head.ts`, or `./my-heads.ts:one` for one of several. A single one is the model's;
 * several tell by themselves whose it is.
 *
 * @returns nothing where it names a built-in head
 * @throws {OptionError} If the file cannot be loaded, or exports no head of that name
 */
export async function ownHeadsOf(
  word: string | undefined,
): Promise<{ readonly head?: string; readonly heads?: readonly HeadDefinition[] }> {
  const [, file, name] = HEAD_FILE.exec(word ?? "") ?? [];
  if (file === undefined) return {};
  let exported: object;
  try {
    exported = await import(resolve(file));
  } catch (error) {
    const isMissing = !existsSync(file);
    const found = isMissing ? "there is no such file" : (error as Error).message;
    throw refuse(
      "head",
      `--head ${JSON.stringify(file)} cannot be loaded, ${found}`,
      "give a module that exports heads",
    );
  }
  const heads = [...new Set(Object.values(exported).flat().filter(isHeadDefinition))];
  const names = heads.map((head) => head.name);
  const hint = "export what `defineHead` returns, as the default or by name";
  if (heads.length === 0) throw refuse("head", `--head ${JSON.stringify(file)} exports no head`, hint);
  if (name !== undefined && !names.includes(name))
    throw refuse(
      "head",
      `--head ${JSON.stringify(file)} exports no head ${JSON.stringify(name)}`,
      `its heads are ${names.join(", ")}`,
    );
  const only = name ?? (names.length === 1 ? names[0] : undefined);
  return { heads, ...(only === undefined ? {} : { head: only }) };
}

/** Names of what builds no engines. */
const CPU_NAMES: readonly string[] = ["cpu", "onnxruntime"];

/** `yolo11n` of `models/yolo11n.onnx`: what to call a model on the screen. */
export function modelTitle(path: string): string {
  return basename(path).replace(/\.onnx$/i, "");
}

/** True if a file is an engine rather than an ONNX model. @throws {ModelError} If it is missing or empty */
export async function isPlanFile(path: string): Promise<boolean> {
  return !/\.onnx$/i.test(path) && (await readModelFile(path)).isPlan;
}

/** What is chosen where nothing else is said; `undefined` where the environment asks for what this machine has not. */
export async function usualChoice(): Promise<Awaited<ReturnType<typeof chooseAccelerator>> | undefined> {
  try {
    return await chooseAccelerator("auto");
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return undefined;
  }
}

/** Whether an engine may be built for it. Whoever looks on is told why it does not run on the GPU. */
async function mayBuild(backend: string, { terminal }: CommandContext): Promise<boolean> {
  if (backend !== "auto" || !terminal.isTerminal) return !CPU_NAMES.includes(backend);
  const { registration, fault } = await chooseAccelerator(backend);
  // Of one that is there a warning tells.
  if (fault !== undefined && !fault.isPresent) {
    const note = `Running on the ${registration.machine}, as the ${fault.machine} cannot be used: ${fault.reason}`;
    terminal.line(terminal.paint("dim", note));
  }
  return !registration.names.includes("cpu");
}

/**
 * Load a detector or an image model. While an engine is built for it, the build is shown, and Ctrl-C cancels it.
 *
 * @param facade  whose `load` it is
 * @param path    of an ONNX model or a plan
 * @param isQuiet show nothing
 * @throws as `load` does
 */
export async function loadModel<Options extends MachineChoice, Model>(
  facade: { load(path: string, options: Options): Promise<Model> },
  path: string,
  options: Options,
  context: CommandContext,
  isQuiet: boolean,
): Promise<Model> {
  const { terminal, signal } = context;
  const { head = undefined } = options as { readonly head?: string };
  const own = await ownHeadsOf(head);
  // It says in which of several a model is recognised, and is no name then.
  const said = own.heads === undefined ? options : { ...options, head: undefined, ...own };
  const wanted = machineOf(options).backend;
  const isPlan = await isPlanFile(path);
  if (isPlan && CPU_NAMES.includes(wanted)) {
    const hint = "leave --backend out, or give the ONNX model it was built from";
    throw refuse("backend", `${JSON.stringify(path)} is a plan, which runs on a GPU only`, hint);
  }
  const backend = isPlan && wanted === "auto" ? "gpu" : wanted;
  const isShown = !isQuiet && (await mayBuild(backend, context));
  using view = isShown ? new BuildProgressView(terminal, modelTitle(path), signal) : undefined;
  const onBuildProgress: MachineChoice["onBuildProgress"] = (progress) => view?.update(progress);
  return await facade.load(path, { ...said, backend, signal, onBuildProgress });
}

/**
 * Make sure an entry is here. Before a download its licence is shown, whatever else is silent.
 *
 * @returns the path of its file
 * @throws {CatalogueError} If it cannot be fetched
 */
export async function fetchEntry(entry: CatalogueEntry, context: CommandContext): Promise<string> {
  if (!isInstalled(entry)) context.terminal.line(`Fetching ${licenceLine(entry)}`);
  return fetchShown(entry.name, context, (options) => pull(entry, options));
}

/** Fetch with a bar. Ctrl-C ends it. */
async function fetchShown<T>(
  title: string,
  { terminal, signal }: CommandContext,
  fetch: (options: DownloadOptions) => Promise<T>,
): Promise<T> {
  const progress = new Progress(terminal, title, "bytes");
  try {
    return await fetch({ signal, onProgress: (received, total) => progress.update(received, total) });
  } finally {
    progress.close();
  }
}

/**
 * The model file that a word on the command line stands for: a file of that path, else a catalogue entry.
 *
 * @param word default: the default model
 * @throws {ModelError} If it is neither
 * @throws {CatalogueError} If it cannot be fetched
 */
export async function findModel(word: string | undefined, context: CommandContext): Promise<string> {
  const name = word ?? DEFAULT_MODEL;
  const entry = findEntry(name);
  if (entry?.kind === "model") {
    // A folder of that name, such as one that results were written to, is no model.
    const isFile = word !== undefined && statsOf(word)?.isDirectory() === false;
    return isFile ? word : await fetchEntry(entry, context);
  }
  if (modelAddress(name) !== undefined) {
    return (await fetchShown("model", context, (options) => modelSource(name, options))).source as string;
  }
  if (!existsSync(name)) {
    // Ultralytics' tools fetch the weights of such a name; what runs here is their export.
    const exported = /^[^/\\]+\.pt$/i.test(name) ? findEntry(name.slice(0, -".pt".length)) : undefined;
    if (exported?.kind !== "model") throw unknownModel(name);
    context.terminal.line(context.terminal.paint("dim", `Taking ${exported.name}, the ONNX export of ${name}`));
    return await fetchEntry(exported, context);
  }
  await refuseForeign(name);
  return name;
}
