/** @module Formats: the results of images as text: a table for people, JSON, and the files that COCO's tools read. */

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { z } from "zod";
import { BunTensorRtError, message } from "../core/errors.ts";
import { printable, printableJson, redact } from "../core/log.ts";
import { ruleOf } from "../core/options.ts";
import { formatDuration, plural } from "../core/units.ts";
import { COCO_80, COCO_91, COCO_CATEGORY_IDS } from "../model/model-info.ts";
import type { MaskForm, ResultForms, TaskResult } from "../tasks/task-result.ts";
import type { ZoneEvent } from "../track/zone-shapes.ts";
import { alignRows, type Paint } from "./terminal.ts";

/** An image's block of lines, ended by a line break. */
export function formatImage(forms: ResultForms, { file, result, frame }: ImageResult, paint: Paint): string {
  const { width, height, timing } = result;
  const count = forms.count(result);
  const facts = [`${width}x${height}`, plural(count, forms.noun), formatDuration(timing.total)];
  facts.push(...forms.doubts(result).map((doubt) => paint("yellow", doubt)));
  const time = frame?.timestampMs === undefined ? "" : ` at ${(frame.timestampMs / 1000).toFixed(3)} s`;
  const place = frame === undefined ? "" : ` #${frame.index}${time}`;
  const lines = [`${paint("bold", printable(redact(file)))}${place}  ${facts.join(", ")}`];
  if (count > 0) {
    const head = forms.columns.map((title) => paint("dim", title));
    const rows = forms.rows(result).map(([name = "", ...numbers]) => [paint("cyan", printable(name)), ...numbers]);
    const alignments = head.map((_, at) => (at === 0 ? "left" : "right"));
    lines.push(...alignRows([head, ...rows], alignments).map((line) => `  ${line}`));
  }
  return `${lines.join("\n")}\n`;
}

/** What stands around and between the rows of a JSON array. */
const ARRAY = { open: "[\n", separator: ",\n", close: "\n]\n" } as const;

/** Blocks of lines, one an image, separated by an empty line. */
export function tableFormat(forms: ResultForms, paint: Paint): ResultFormat {
  return { open: "", separator: "\n", close: "", rows: (image) => [formatImage(forms, image, paint)] };
}

/** What an image becomes in JSON; a frame has its place. */
export function imageJson(
  forms: ResultForms,
  { file, name, result, frame, zones }: ImageResult,
  masks?: MaskForm,
): unknown {
  if (frame === undefined) return { file: redact(file), ...forms.json(result, masks) };
  const { index, timestampMs } = frame;
  const source = name === undefined ? {} : { source: name };
  const time = timestampMs === undefined ? {} : { timestampMs: Math.round(timestampMs * 1000) / 1000 };
  return { file: redact(file), ...source, index, ...time, ...forms.json(result, masks), ...zones };
}

/** One array, an image a line. */
export function jsonFormat(forms: ResultForms, masks?: MaskForm): ResultFormat {
  return {
    ...ARRAY,
    rows: (image) => [printableJson(imageJson(forms, image, masks))],
  };
}

/** An image a line, each a JSON document of its own. */
export function jsonLinesFormat(forms: ResultForms, masks?: MaskForm): ResultFormat {
  const line = (image: ImageResult): string => `${printableJson(imageJson(forms, image, masks))}\n`;
  return { open: "", separator: "", close: "", rows: (image) => [line(image)] };
}

/** A cell as RFC 4180 has it. */
function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A row for each thing that was found, under the titles of its columns. @param isNumbered results are those of frames */
export function csvFormat(forms: ResultForms, isNumbered: boolean): ResultFormat {
  const line = (cells: readonly string[]): string => `${cells.map(csvCell).join(",")}\n`;
  return {
    open: line(["file", ...(isNumbered ? ["index", "timestampMs"] : []), ...forms.csvColumns]),
    separator: "",
    close: "",
    rows({ file, result, frame }) {
      const { index = "", timestampMs = "" } = frame ?? {};
      const time = typeof timestampMs === "number" ? String(Math.round(timestampMs * 1000) / 1000) : "";
      const place = [redact(file), ...(isNumbered ? [String(index), time] : [])];
      return forms.csvRows(result).map((row) => line([...place, ...row].map(printable)));
    },
  };
}

/** How images and classes are numbered in a results file. */
interface CocoNumbers {
  /** The id of an image; a frame of a video has its index. */
  readonly imageId: (file: string) => number;
  /** The id of a class; objects of a class without one are skipped. */
  readonly categoryId: (classId: number) => number | undefined;
  /** Of objects that have one; default `rle`. */
  readonly masks?: MaskForm | undefined;
}

/** One array of the entries that pycocotools reads, an object a line. */
export function cocoFormat(forms: ResultForms, { imageId, categoryId, masks }: CocoNumbers): ResultFormat {
  return {
    ...ARRAY,
    rows: ({ file, result, frame }) =>
      forms.coco(result, frame?.index ?? imageId(file), categoryId, masks).map((entry) => JSON.stringify(entry)),
  };
}

/** Where an image stands in the video or the stream it comes from. */
export interface FramePlace {
  /** From 0 on; frames that were dropped count. */
  readonly index: number;
  /** `undefined` where images have no time. */
  readonly timestampMs: number | undefined;
}

/** What was found in one image, and which image it was. */
export interface ImageResult {
  /** As the user named it, or as it was found in a folder. */
  readonly file: string;
  /** Of a frame of a video: what files of its own are named after, that of no other video of the run. */
  readonly name?: string;
  readonly result: TaskResult;
  /** Of a frame of a video, or an image of a stream: `file` is then what it came from. */
  readonly frame?: FramePlace;
  /** How many are in each zone of a frame, by name, and what happened at zones and lines. */
  readonly zones?: { readonly occupancy: Readonly<Record<string, number>>; readonly events: readonly ZoneEvent[] };
}

/** `clip-000012` of the frame 12 of clip.mp4: what is made from a frame is named so. */
export function frameName(stem: string, index: number): string {
  return `${stem}-${String(index).padStart(6, "0")}`;
}

/**
 * A way to write results as text. The whole is `open`, the rows with `separator` between them, `close`; so that every
 * prefix that ends with `close` is valid, and nothing has to be kept in memory.
 */
export interface ResultFormat {
  readonly open: string;
  readonly separator: string;
  readonly close: string;
  /** The rows of one image; there may be none. */
  rows(image: ImageResult): readonly string[];
}

/** What is used of an annotation file (`instances_….json`). */
interface CocoAnnotations {
  readonly images: readonly { readonly id: number; readonly file_name: string }[];
  readonly categories: readonly { readonly id: number; readonly name: string }[];
}

const schema: z.ZodType<CocoAnnotations> = z.object({
  images: z.array(z.object({ id: z.int(), file_name: z.string() })),
  categories: z.array(z.object({ id: z.int(), name: z.string() })),
});

const FORM_HINT = "pass the instances file of COCO's annotations, or one in its form";

/**
 * Read an annotation file.
 *
 * @throws {BunTensorRtError} If it cannot be read, is no JSON, or lacks `images` or `categories`
 */
export function readAnnotations(path: string): CocoAnnotations {
  const action = `read the annotations ${JSON.stringify(path)}`;
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new BunTensorRtError(message(action, (cause as Error).message, FORM_HINT), { cause });
  }
  const parsed = schema.safeParse(content);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const where = issue.path.join(".") || "the file";
  throw new BunTensorRtError(message(action, `${where} must be ${ruleOf(issue)}`, FORM_HINT));
}

function unnumbered(file: string, found: string, hint: string): BunTensorRtError {
  return new BunTensorRtError(message(`derive a COCO image id from ${JSON.stringify(file)}`, found, hint));
}

/**
 * How images are numbered: by file name in the annotations, or without them by the last run of digits in the name.
 *
 * @returns a function that throws for an image that gets no number
 */
export function imageNumbers(annotations: CocoAnnotations | undefined): (file: string) => number {
  if (annotations === undefined) return digitsOf;
  const ids = new Map(annotations.images.map(({ id, file_name }) => [basename(file_name), id]));
  return (file) => {
    const id = ids.get(basename(file));
    if (id !== undefined) return id;
    const found = `none of the ${ids.size} images of the annotations has that file name`;
    throw unnumbered(file, found, "pass only images that are annotated");
  };
}

function digitsOf(file: string): number {
  const stem = basename(file).replace(/\.[^.]*$/, "");
  const digits = stem.match(/\d+(?=\D*$)/)?.[0];
  if (digits !== undefined) return Number(digits);
  throw unnumbered(file, "its name has no digits", "pass --annotations FILE, or name the images by number");
}

/** Make sure that each image has a number of its own. @throws {BunTensorRtError} If one has none, or two have the same */
export function checkImageNumbers(files: readonly string[], imageNumber: (file: string) => number): void {
  const seen = new Map<number, string>();
  for (const file of files) {
    const id = imageNumber(file);
    const other = seen.get(id);
    if (other !== undefined) {
      throw unnumbered(file, `${JSON.stringify(other)} has ${id} already`, "pass --annotations FILE, or rename one");
    }
    seen.set(id, file);
  }
}

/**
 * How classes are numbered: by name in the annotations, whatever the case; without them by COCO's own ids if the labels
 * are COCO's 80, as they are if the labels are COCO's 91, which are numbered by these ids, else one more than the class id.
 *
 * @param labels the model's, by class id; empty where it does not tell
 * @returns a function that gives `undefined` for a class that the annotations do not have
 */
export function categoryNumbers(
  annotations: CocoAnnotations | undefined,
  labels: readonly string[],
): (classId: number) => number | undefined {
  if (annotations !== undefined) {
    const ids = new Map(annotations.categories.map(({ id, name }) => [name.toLowerCase(), id]));
    return (classId) => ids.get(labels[classId]?.toLowerCase() ?? "");
  }
  if (areSame(labels, COCO_80)) return (classId) => COCO_CATEGORY_IDS[classId];
  return areSame(labels, COCO_91) ? (classId) => classId : (classId) => classId + 1;
}

function areSame(labels: readonly string[], names: readonly string[]): boolean {
  return labels.length === names.length && labels.every((label, id) => label === names[id]);
}
