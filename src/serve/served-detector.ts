/** @module ServedDetector: what a server needs of a detector, and what it tells of it. */

import type { Detector } from "../api/detector.ts";
import { formatTensorInfo } from "../core/tensor.ts";

/** The part of a {@linkcode Detector} that is served. */
export type ServedDetector = Pick<
  Detector,
  "detect" | "labels" | "model" | "recognition" | "backend" | "backends" | "stalledMs"
>;

/** Frames in flight on all devices of a detector. */
export function framesInFlight({ backends }: Pick<ServedDetector, "backends">): number {
  return backends.reduce((sum, { inFlight }) => sum + inFlight, 0);
}

/** What `GET /model` answers. */
export interface ModelCard {
  readonly name: string;
  readonly head: string;
  readonly labels: readonly string[];
  readonly backend: { readonly kind: string; readonly description: string };
  /** `images: f32 [1, 3, 640, 640]`; `?` where the model leaves a dimension open. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** What the model is, for people and programs. */
export function modelCard(detector: ServedDetector, name: string): ModelCard {
  const { recognition, labels, backend, model } = detector;
  return {
    name,
    head: recognition.head,
    labels,
    backend: { kind: backend.kind, description: backend.description },
    inputs: model.inputs.map(formatTensorInfo),
    outputs: model.outputs.map(formatTensorInfo),
  };
}
