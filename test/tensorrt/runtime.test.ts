import { expect, setDefaultTimeout, test } from "bun:test";
import { ModelError, PlanMismatchError, TensorRtError } from "../../src/core/errors.ts";
import { buildPlan } from "../../src/tensorrt/build-plan.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { BUILD_TEST_MS, openFrom, RTX, tinyModel } from "../support/tensorrt.ts";

setDefaultTimeout(BUILD_TEST_MS);

const isAbsent = RTX === undefined;
const PLAN = "engines/yolov8n_640_fp16_trt10.6.0_sm90.plan";

async function refusal(plan: Uint8Array, source: string): Promise<Error> {
  using runtime = await Runtime.create({ library: openFrom(RTX!) });
  return (await runtime.deserialize(plan, { source }).catch((error: unknown) => error)) as Error;
}

test.skipIf(isAbsent || isMissing(PLAN))(
  "Runtime.load() refuses a plan of the other family by name, as it and TensorRT-RTX are there",
  async () => {
    using runtime = await Runtime.create({ library: openFrom(RTX!) });
    const error = (await runtime.load(sharedPath(PLAN)).catch((e: unknown) => e)) as PlanMismatchError;
    expect(error).toBeInstanceOf(PlanMismatchError);
    expect(error.message).toContain("it was built by TensorRT 10.6.0.26, this is TensorRT-RTX 1.7.1");
  },
);

test.skipIf(isAbsent)(
  "Runtime.deserialize() fails with TensorRT's own words on a machine without a GPU, as TensorRT-RTX has been fetched",
  async () => {
    const library = openFrom(RTX!);
    if (library.hasDevice()) return;
    const { bytes } = await buildPlan(tinyModel(), { computeCapabilities: ["8.6"] }, { library });
    const error = (await refusal(bytes, '"tiny.plan"')) as TensorRtError;
    expect(error).toBeInstanceOf(TensorRtError);
    expect(error.message).toStartWith(
      'Cannot load the engine of "tiny.plan": IRuntime::deserializeCudaEngine: Error Code 1: ',
    );
    expect(error.message).toEndWith(" (TensorRT-RTX 1.7.1)");
    expect(error.log.join()).toContain("CUDA driver version is insufficient");
  },
);

test.skipIf(isAbsent)(
  "Runtime.deserialize() refuses what is no plan, without a crash, as TensorRT-RTX has been fetched",
  async () => {
    expect(await refusal(new Uint8Array(), "nothing")).toBeInstanceOf(ModelError);
    expect(await refusal(tinyModel(), "an ONNX model")).toBeInstanceOf(TensorRtError);
    expect(await refusal(Uint8Array.of(1, 2, 3), "three bytes")).toBeInstanceOf(TensorRtError);
  },
);

test.skipIf(isAbsent)(
  "Runtime refuses to close while it loads, and to load once closed, as TensorRT-RTX has been fetched",
  async () => {
    const runtime = await Runtime.create({ library: openFrom(RTX!) });
    const loading = runtime.deserialize(Uint8Array.of(1, 2, 3)).catch(() => {});
    expect(() => runtime.close()).toThrow("are still open (1)");
    await loading;
    runtime.close();
    await expect(runtime.deserialize(Uint8Array.of(1))).rejects.toThrow("is closed");
    await Bun.sleep(0);
  },
);
