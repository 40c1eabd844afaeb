/** @module COCO ids: numbers of pictures and classes, out of an annotation file or by COCO's own rules. */

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { z } from "zod";
import { BunTensorRtError, message } from "../core/errors.ts";
import { COCO_80, COCO_91, COCO_CATEGORY_IDS } from "../model/coco.ts";

/** What is used of an annotation file (`instances_….json`). */
export interface CocoAnnotations {
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
    throw new BunTensorRtError(message(action, `they must be a JSON file: ${(cause as Error).message}`, FORM_HINT), {
      cause,
    });
  }
  const parsed = schema.safeParse(content);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new BunTensorRtError(
    message(action, `${issue.path.join(".") || "the file"} is wrong: ${issue.message}`, FORM_HINT),
  );
}

/**
 * How pictures are numbered: by file name in the annotations, or without them by the last run of digits in the name.
 *
 * @returns a function that throws for a picture that gets no number
 */
export function imageNumbers(annotations: CocoAnnotations | undefined): (file: string) => number {
  if (annotations === undefined) return digitsOf;
  const ids = new Map(annotations.images.map(({ id, file_name }) => [basename(file_name), id]));
  return (file) => {
    const id = ids.get(basename(file));
    if (id !== undefined) return id;
    const found = `none of the ${ids.size} images of the annotations has that file name`;
    throw new BunTensorRtError(
      message(`number ${JSON.stringify(file)}`, found, "pass only pictures that are annotated"),
    );
  };
}

function digitsOf(file: string): number {
  const stem = basename(file).replace(/\.[^.]*$/, "");
  const digits = stem.match(/\d+(?=\D*$)/)?.[0];
  if (digits !== undefined) return Number(digits);
  const hint = "pass --annotations FILE, or name the pictures by number";
  throw new BunTensorRtError(message(`number ${JSON.stringify(file)}`, "its name holds no digits", hint));
}

/**
 * Make sure that each picture has a number of its own.
 *
 * @throws {BunTensorRtError} If one has none, or two have the same
 */
export function checkImageNumbers(files: readonly string[], imageNumber: (file: string) => number): void {
  const seen = new Map<number, string>();
  for (const file of files) {
    const id = imageNumber(file);
    const other = seen.get(id);
    if (other !== undefined) {
      const found = `it would get the number of ${JSON.stringify(other)}: ${id}`;
      throw new BunTensorRtError(
        message(`number ${JSON.stringify(file)}`, found, "pass --annotations FILE, or rename one"),
      );
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
