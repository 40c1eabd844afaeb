/** @module PlainTensors: whether an engine's tensors are what slots bind: row-major arrays in device memory. */

import { ModelError, message } from "../../core/errors.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import type { EngineTensor } from "../../tensorrt/tensor-info.ts";

/**
 * Refuse an engine that would read or write beyond such an array. Vectorised formats fill channels up to 16 or 32, which no
 * shape tells, and what is read on the host must not be an address on the device. Engines built by this package have
 * neither; plans from elsewhere may.
 *
 * @throws {ModelError} If it has such a tensor
 */
export function assertPlainTensors({ source, tensors }: Pick<Engine, "source" | "tensors">): void {
  const odd = tensors.filter(({ isLinear, location }) => !isLinear || location !== "device");
  if (odd.length === 0) return;
  const found = `its tensors must be row-major arrays in device memory: ${odd.map(describe).join("; ")}`;
  const hint = "build the plan anew from the ONNX model, without formats of its own for inputs and outputs";
  throw new ModelError(message(`load ${JSON.stringify(source)}`, found, hint), source);
}

function describe({ name, location, formatText }: EngineTensor): string {
  const what = location === "device" ? `has the format ${JSON.stringify(formatText)}` : "lies on the host";
  return `${JSON.stringify(name)} ${what}`;
}
