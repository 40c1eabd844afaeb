import { expect } from "bun:test";
import { fakeCudaTest } from "../../support/fake-cuda.ts";

fakeCudaTest(
  "CapturedGraph.capture() leaves work to its pieces where CUDA or TensorRT refuses the capture, and throws all else",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(
      `
    const { Device } = await import("./src/cuda/device.ts");
    const { Stream } = await import("./src/cuda/stream.ts");
    const { CudaError, TensorRtError } = await import("./src/core/errors.ts");
    const { CapturedGraph } = await import("./src/accelerators/tensorrt/gpu-binding.ts");
    using device = Device.open(1);
    using stream = Stream.create(device);
    const on = { stream };
    const refusals = [
      undefined,
      new CudaError("no", { status: 900, code: "cudaErrorStreamCaptureUnsupported", call: "cudaStreamSynchronize" }),
      new TensorRtError("no", { code: "FAILED", call: "IExecutionContext::enqueueV3", log: [] }),
      new TypeError("a mistake"),
    ];
    for (const refusal of refusals) {
      let runs = 0;
      let isCapturing = false;
      const pieces = () => {
        runs += 1;
        if (isCapturing && refusal !== undefined) throw refusal;
      };
      using work = new CapturedGraph("work", pieces, on);
      work.enqueue(on);
      for (let frame = 0; frame < 3; frame++) {
        isCapturing = true;
        try {
          work.capture();
        } catch (error) {
          console.log(error.message);
        }
        isCapturing = false;
        work.enqueue(on);
      }
      console.log(refusal?.name ?? "captured", work.isGraph, runs);
    }
    `,
    );
    expect(output.split("\n")).toEqual([
      "captured true 2",
      "CudaError false 5",
      "TensorRtError false 5",
      ...Array(3).fill("a mistake"),
      "TypeError false 7",
    ]);
  },
);
