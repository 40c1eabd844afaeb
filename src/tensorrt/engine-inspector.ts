/** @module EngineInspector: the layers of an engine as TensorRT describes them. */

import { readCString } from "../ffi/memory.ts";
import { shim } from "../ffi/shim.ts";
import { NativeObject } from "./native-object.ts";

/** nvinfer1::LayerInformationFormat::kJSON. */
const JSON_FORMAT = 1;

/** What an engine tells of itself, in TensorRT's own form. */
export interface EngineInformation {
  /** Names, or objects where the engine was built with `profilingVerbosity: "detailed"`. */
  readonly Layers: readonly (string | Readonly<Record<string, unknown>>)[];
  readonly [key: string]: unknown;
}

/** An inspector of one engine. */
export class EngineInspector extends NativeObject {
  /** TensorRT has its address alone. */
  #context: NativeObject | undefined;

  /** @internal */
  constructor(engine: NativeObject & { readonly source: string }, handle: number) {
    super(`EngineInspector of ${engine.source}`, engine.library, handle, engine);
  }

  /** Describe shapes as a context has them, instead of as ranges; the context must stay open while it is used. */
  setContext(context: NativeObject): void {
    this.callOrFail("inspect with a context", "EngineInspector.setExecutionContext", context.handle);
    this.#context = context;
  }

  /** All layers, parsed from TensorRT's JSON. @throws {ClosedError} If the context that was set is closed */
  information(): EngineInformation {
    this.#context?.assertOpen("inspect with a context");
    return JSON.parse(this.text("EngineInspector.getEngineInformation", JSON_FORMAT)) as EngineInformation;
  }

  /** One layer, as JSON text. @param layer from 0 to `engine.layerCount - 1` */
  layer(layer: number): string {
    this.#context?.assertOpen("inspect with a context");
    return readCString(shim().bt_inspector_layer(this.library.handle, this.handle, layer, JSON_FORMAT));
  }
}
