/** @module InferenceOptions: the JSON of an inference request, checked with zod. */

import { z } from "zod";
import { ruleOf } from "../core/options.ts";
import { refusal } from "./failure.ts";

/** What a request says beside its tensors. */
type InferenceParameters = Readonly<Record<string, string | number | boolean>>;

/** One input as the client wrote it; its data is in JSON, or among the bytes that follow. */
export interface InferenceInput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly datatype: string;
  readonly parameters: InferenceParameters;
  readonly data?: readonly unknown[] | undefined;
}

/** What a client asks for, as it wrote it. */
export interface InferenceJson {
  readonly id?: string | undefined;
  readonly parameters: InferenceParameters;
  readonly inputs: readonly InferenceInput[];
  /** The outputs that are wanted; all where there are none. */
  readonly outputs?: readonly { readonly name: string; readonly parameters: InferenceParameters }[] | undefined;
}

/** Most sides of a tensor, and lists within lists of its data in JSON. */
export const MOST_SIDES = 8;

/** The error of a request that is not what the protocol or this model says. */
export function badInference(found: string, hint: string): Error {
  return refusal(400, "bad-inference-request", found, hint);
}

/** As much of what a client wrote as its error repeats. */
const SHOWN_CHARACTERS = 200;

const name = z.string().max(256);
const value = z.union([z.string().max(2 ** 14), z.number(), z.boolean()], {
  error: "a text of at most 16384 characters, a number, true or false",
});
const parameters = z.record(name, value).default({});
const input = z.object({
  name,
  shape: z.array(z.int().min(0)).max(MOST_SIDES),
  datatype: z.string().max(64),
  parameters,
  // Millions of elements, which are looked at once, by who takes them.
  data: z.custom<readonly unknown[]>(Array.isArray, "a list").optional(),
});

/** Unknown fields are left alone, as the protocol wants. */
const schema: z.ZodType<InferenceJson, unknown> = z.object({
  id: z.string().max(4096).optional(),
  parameters,
  inputs: z.array(input).min(1).max(16),
  outputs: z.array(z.object({ name, parameters })).max(16).optional(),
});

/**
 * Check the JSON part of an inference request.
 *
 * @throws {RequestError} 400 if it is no JSON, or not of the protocol's form
 */
export function parseInferenceJson(text: string): InferenceJson {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const found = `the body is not JSON: ${(error as Error).message.slice(0, SHOWN_CHARACTERS)}`;
    throw badInference(
      found,
      "with tensors as bytes behind the JSON, its length goes into Inference-Header-Content-Length",
    );
  }
  const parsed = schema.safeParse(value);
  // The copy that zod makes of a record lacks `__proto__`, which is to be refused as any unknown name is.
  if (parsed.success) return { ...parsed.data, parameters: (value as InferenceJson).parameters ?? {} };
  const issue = parsed.error.issues[0]!;
  const path = issue.path.join(".").slice(0, SHOWN_CHARACTERS);
  const where = path === "" ? "the request" : `field ${JSON.stringify(path)}`;
  throw badInference(`${where} must be ${ruleOf(issue)}`, "GET /v2/models/NAME says what a request may hold");
}
