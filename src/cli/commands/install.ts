/** @module Install command: the native libraries, fetched from the registries the user has configured, listed, removed. */

import {
  buildBytes,
  buildsFor,
  type Component,
  type ComponentBuild,
  type CudaMajor,
  type CudaWish,
  chooseBuild,
  componentLine,
  components,
  findComponent,
  sourceName,
} from "../../catalogue/components.ts";
import { ArchiveSet, fetchLicence, type Installed, install as installComponent } from "../../catalogue/install.ts";
import { type BuildState, buildState, libraryPath, removeComponent } from "../../catalogue/store.ts";
import { CatalogueError, CudaError, LibraryLoadError, OptionError } from "../../core/errors.ts";
import { logger, printableJson } from "../../core/log.ts";
import { unknownWord } from "../../core/options.ts";
import { formatBytes } from "../../core/units.ts";
import { formatCudaVersion } from "../../ffi/cuda-runtime.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { driverCuda } from "../findings.ts";
import { type InstallFlags, parseInstallFlags } from "../own-flags.ts";
import { alignRows, type Paint, Progress, paintOf } from "../terminal.ts";

/** A component and the build of it that is meant. */
interface Chosen {
  readonly component: Component;
  readonly build: ComponentBuild;
}

/** A build for this machine and whether it is here. */
interface ListedBuild extends Chosen {
  readonly state: BuildState;
}

/** The components as a table. Pure. */
function formatComponents(listed: readonly ListedBuild[], paint: Paint): string {
  const head = ["name", "cuda", "version", "size", "here", "licence", "what it is"].map((title) => paint("dim", title));
  const rows = listed.map(({ component, build, state }) => [
    paint("cyan", component.name),
    build.cuda === undefined ? "–" : String(build.cuda),
    build.version,
    formatBytes(buildBytes(build)),
    state === "no" ? state : paint(state === "yes" ? "green" : "yellow", state),
    component.licence,
    component.description,
  ]);
  const lines = alignRows([head, ...rows], ["left", "right", "left", "right"]);
  return `${lines.join("\n")}\n`;
}

function describe({ component, build }: Chosen): Record<string, unknown> {
  const { name, licence } = component;
  const { version, cuda, platform, architecture, source } = build;
  const files = build.files.map((file) => ({ ...file, path: libraryPath(file) }));
  return {
    name,
    version,
    ...(cuda === undefined ? {} : { cuda }),
    platform,
    architecture,
    licence,
    source: sourceName(source),
    byteLength: buildBytes(build),
    files,
  };
}

async function list(isJson: boolean, { output }: CommandContext): Promise<number> {
  const listed = components.flatMap((component) =>
    buildsFor(component, process).map((build) => ({ component, build, state: buildState(component, build) })),
  );
  const rows = listed.map((one) => ({ ...describe(one), installed: one.state }));
  await output.write(isJson ? `${printableJson(rows, 2)}\n` : formatComponents(listed, paintOf(output.hasColour)));
  return EXIT_OK;
}

function componentNamed(name: string): Component {
  const component = findComponent(name);
  if (component !== undefined) return component;
  const names = components.map((one) => one.name);
  throw new OptionError(unknownWord("component", name, names), name);
}

async function remove(found: readonly Component[], { output, terminal }: CommandContext): Promise<number> {
  for (const component of found) {
    const freedBytes = removeComponent(component);
    if (freedBytes === undefined) terminal.line(`${component.name} was not installed`);
    else await output.write(`${component.name}: ${formatBytes(freedBytes)} freed\n`);
  }
  return EXIT_OK;
}

/** Show each licence and where its text lies; without the user's word nothing else is fetched. */
async function showLicences(
  chosen: readonly Chosen[],
  flags: InstallFlags,
  archives: ArchiveSet,
  { terminal, signal }: CommandContext,
): Promise<void> {
  for (const { component, build } of chosen) {
    terminal.line(componentLine(component, build));
    try {
      terminal.line(`  licence: ${await fetchLicence(component, { archives, signal })}`);
    } catch (error) {
      // The text is the user's to read, not ours to insist on: its name and place were told.
      if (!(error instanceof CatalogueError)) throw error;
      terminal.line(`${terminal.paint("yellow", "warn:")} ${error.message}`);
    }
  }
  if (flags.acceptLicence) return;
  const words = chosen.map(({ component }) => component.name);
  if (flags.cuda !== undefined) words.push(`--cuda ${flags.cuda}`);
  const hint = `read them, then: bunx bun-tensorrt install ${words.join(" ")} --accept-licence`;
  throw refuse("accept-licence", "The licences above must be accepted first", hint);
}

async function fetchOne(
  { component, build }: Chosen,
  archives: ArchiveSet,
  { terminal, signal }: CommandContext,
): Promise<Installed> {
  const progress = new Progress(terminal, component.name, "bytes");
  try {
    const onProgress = (received: number, total: number | undefined): void => progress.update(received, total);
    return await installComponent(component, build, { archives, signal, onProgress });
  } finally {
    progress.close();
  }
}

async function installAll(chosen: readonly Chosen[], flags: InstallFlags, context: CommandContext): Promise<number> {
  const { output, terminal } = context;
  using archives = new ArchiveSet();
  const absent = chosen.filter(({ component, build }) => buildState(component, build) !== "yes");
  if (absent.length > 0) await showLicences(absent, flags, archives, context);
  const rows: Record<string, unknown>[] = [];
  for (const one of chosen) {
    const { paths, receivedBytes, archiveBytes } = await fetchOne(one, archives, context);
    rows.push({ ...describe(one), receivedBytes, archiveBytes });
    if (archiveBytes > 0) {
      const archive = `an archive of ${formatBytes(archiveBytes)}`;
      const how =
        receivedBytes === 0
          ? `taken from ${archive} on this machine`
          : `${formatBytes(receivedBytes)} of ${archive} fetched`;
      terminal.line(`${one.component.name}: ${how}`);
    }
    if (!flags.json) await output.write(paths.map((path) => `${path}\n`).join(""));
  }
  if (flags.json) await output.write(`${printableJson(rows, 2)}\n`);
  return EXIT_OK;
}

/**
 * Which CUDA is wanted: 13 where the driver has it (580 and later), else 12. Without a driver 12, as it runs with the drivers of
 * both; a component that there is for 13 alone is then taken for 13.
 */
function cudaWish(word: CudaMajor | undefined): CudaWish {
  if (word !== undefined) return { major: word, reason: `--cuda ${word} was given` };
  try {
    const version = driverCuda();
    return { major: version >= 13_000 ? 13 : 12, reason: `the driver has CUDA ${formatCudaVersion(version)}` };
  } catch (error) {
    if (!(error instanceof LibraryLoadError || error instanceof CudaError)) throw error;
    logger.debug(`Choosing libraries for CUDA 12, as the driver does not tell its version: ${error.message}`);
    return { major: 12 };
  }
}

/** Run `install`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const flags = parseInstallFlags(parsed);
  const found = [...new Set(parsed.operands)].map(componentNamed);
  if (flags.list && flags.remove) {
    throw refuse("remove", "--list and --remove cannot be combined", "run one after the other");
  }
  if (flags.list) return await list(flags.json, context);
  if (found.length === 0)
    throw refuse("name", "Missing name of a component", "bunx bun-tensorrt install --list shows the names");
  if (flags.remove) return await remove(found, context);
  const wish = cudaWish(flags.cuda);
  const chosen = found.map((component) => ({ component, build: chooseBuild(component, process, wish) }));
  return await installAll(chosen, flags, context);
}
