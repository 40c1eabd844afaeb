/** @module Result config: reading the result of an earlier run, checked to be one. */

import { z } from "zod";
import { message, OptionError } from "../src/core/errors.ts";
import { type BenchResult, RESULT_SCHEMA } from "./result.ts";

const UNITS = ["ms", "us", "ns", "fps", "bytes", "share", "count"] as const;

const measurementSchema = z.strictObject({
  id: z.string().min(1),
  name: z.string(),
  unit: z.enum(UNITS),
  better: z.enum(["lower", "higher"]),
  samples: z.array(z.number()).min(1),
});

const headSchema = { title: z.string(), note: z.string() };
const pointSchema = z.strictObject({
  x: z.number(),
  y: z.number(),
  low: z.number().optional(),
  high: z.number().optional(),
});
const cellSchema = z.union([z.string(), z.number(), z.null()]);

const blockSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("distribution"), ...headSchema, measurements: z.array(z.string()).min(1) }),
  z.strictObject({
    kind: z.literal("stages"),
    ...headSchema,
    unit: z.enum(UNITS),
    bars: z.array(
      z.strictObject({
        name: z.string(),
        parts: z.array(z.strictObject({ stage: z.string(), value: z.number().min(0) })),
      }),
    ),
  }),
  z.strictObject({
    kind: z.literal("lines"),
    ...headSchema,
    x: z.strictObject({ label: z.string(), scale: z.enum(["linear", "log2"]) }),
    y: z.strictObject({ label: z.string(), unit: z.enum(UNITS) }),
    lines: z.array(z.strictObject({ name: z.string(), points: z.array(pointSchema), knee: z.number().optional() })),
  }),
  z.strictObject({
    kind: z.literal("timeline"),
    ...headSchema,
    lanes: z.array(z.string()),
    spans: z.array(
      z.strictObject({
        lane: z.int().min(0),
        name: z.string(),
        frame: z.int().min(0),
        start: z.number(),
        end: z.number(),
      }),
    ),
  }),
  z.strictObject({
    kind: z.literal("table"),
    ...headSchema,
    columns: z.array(z.string()),
    rows: z.array(z.array(cellSchema)),
  }),
]);

const checkSchema = z.strictObject({
  claim: z.string(),
  found: z.string(),
  wanted: z.string(),
  isMet: z.boolean(),
});

const studySchema = z.strictObject({
  name: z.string(),
  title: z.string(),
  question: z.string(),
  status: z.enum(["done", "skipped", "failed"]),
  reason: z.string().optional(),
  seconds: z.number(),
  findings: z.array(z.string()),
  leftOut: z.array(z.string()),
  checks: z.array(checkSchema),
  measurements: z.array(measurementSchema),
  blocks: z.array(blockSchema),
});

const fileSchema = z.strictObject({ name: z.string(), bytes: z.number(), sha256: z.string() });

const gpuSchema = z.strictObject({
  name: z.string(),
  driver: z.string(),
  memory: z.string(),
  before: z.record(z.string(), z.string()),
  after: z.record(z.string(), z.string()),
});

const environmentSchema = z.strictObject({
  date: z.string(),
  commit: z.string(),
  command: z.string(),
  bun: z.string(),
  system: z.string(),
  cpu: z.string(),
  cores: z.number(),
  load: z.number(),
  runtime: z.string(),
  cuda: z.string(),
  gpu: gpuSchema.nullable(),
  model: fileSchema.nullable(),
  engine: fileSchema.nullable(),
  image: fileSchema.extend({ width: z.number(), height: z.number() }),
  isQuick: z.boolean(),
});

const resultSchema = z.strictObject({
  schema: z.literal(RESULT_SCHEMA),
  isComplete: z.boolean(),
  environment: environmentSchema,
  studies: z.array(studySchema),
});

/**
 * Read a result that an earlier run wrote.
 *
 * @param option which one names the file
 * @throws {OptionError} If it is missing, no JSON, no result of this bench, or one of another form
 */
export async function readResult(path: string, option: "compare" | "report" = "compare"): Promise<BenchResult> {
  const file = Bun.file(path);
  const refuse = (found: string, hint: string, cause?: unknown): never => {
    const action = option === "compare" ? "compare with" : "draw the report of";
    throw new OptionError(message(`${action} ${JSON.stringify(path)}`, found, hint), option, { cause });
  };
  if (!(await file.exists())) return refuse("there is no such file", "give the JSON an earlier run wrote");
  let data: unknown;
  try {
    data = await file.json();
  } catch (error) {
    return refuse(`it is no JSON: ${(error as Error).message}`, "give the JSON an earlier run wrote", error);
  }
  const schema = (data as { readonly schema?: unknown } | null)?.schema;
  if (schema !== RESULT_SCHEMA) {
    const found = schema === undefined ? "it has no schema" : JSON.stringify(schema);
    return refuse(`it must be a result of this bench, ${RESULT_SCHEMA}: ${found}`, "give its result.json");
  }
  const parsed = resultSchema.safeParse(data);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  return refuse(`${issue?.path.join(".")} is refused: ${issue?.message}`, "the file was changed by hand", issue);
}
