import { expect, test } from "bun:test";
import { join } from "node:path";
import { CudaError } from "../../../src/core/errors.ts";
import { DeviceBuffer } from "../../../src/cuda/buffers.ts";
import { layOut, Module } from "../../../src/cuda/kernel.ts";
import { Gpu, isGpuMissing } from "../../support/gpu.ts";

const gpuTest = test.skipIf(isGpuMissing);

/** out[i] = in[i] × scale + offset + i, to see that every type of parameter arrives. */
const AFFINE_PTX = `
.version 7.0
.target sm_75
.address_size 64
.visible .entry affine(
  .param .u64 output, .param .u64 input, .param .s32 count, .param .f32 scale, .param .u32 offset
)
{
  .reg .u64 %out, %in, %at;
  .reg .u32 %i, %block, %width, %offset, %sum;
  .reg .s32 %count;
  .reg .f32 %value, %scale, %extra;
  .reg .pred %outside;
  ld.param.u64 %out, [output];
  ld.param.u64 %in, [input];
  ld.param.s32 %count, [count];
  ld.param.f32 %scale, [scale];
  ld.param.u32 %offset, [offset];
  mov.u32 %i, %tid.x;
  mov.u32 %block, %ctaid.x;
  mov.u32 %width, %ntid.x;
  mad.lo.u32 %i, %block, %width, %i;
  setp.ge.s32 %outside, %i, %count;
  @%outside ret;
  mul.wide.u32 %at, %i, 4;
  add.u64 %in, %in, %at;
  add.u64 %out, %out, %at;
  ld.global.f32 %value, [%in];
  add.u32 %sum, %i, %offset;
  cvt.rn.f32.u32 %extra, %sum;
  fma.rn.f32 %value, %value, %scale, %extra;
  st.global.f32 [%out], %value;
  ret;
}
`;

const PARAMETERS = layOut([
  ["output", "pointer"],
  ["input", "pointer"],
  ["count", "i32"],
  ["scale", "f32"],
  ["offset", "u32"],
]);

gpuTest("Kernel.launch() passes the packed arguments, which may be changed right after", () => {
  using gpu = new Gpu();
  const { device, stream } = gpu;
  using module = Module.load(device, AFFINE_PTX, { name: "affine.ptx" });
  const kernel = module.kernel("affine", PARAMETERS);
  expect(kernel.registers).toBeGreaterThan(0);
  expect(kernel.localBytes).toBe(0);
  expect(kernel.maxThreadsPerBlock).toBeGreaterThanOrEqual(128);
  expect(kernel.blocksPerMultiprocessor(128)).toBeGreaterThan(0);
  const count = 300;
  const input = gpu.upload({ dtype: "f32", shape: [count], data: Float32Array.from({ length: count }, (_, i) => i) });
  using first = DeviceBuffer.create("f32", [count], { stream });
  using second = DeviceBuffer.create("f32", [count], { stream });
  const args = kernel.createArguments();
  const config = { grid: [3, 1, 1], block: [128, 1, 1] } as const;
  args.setPointer(args.index("output"), first.pointer);
  args.setPointer(args.index("input"), input.pointer);
  args.setI32(args.index("count"), count);
  args.setF32(args.index("scale"), 2);
  args.setU32(args.index("offset"), 1000);
  kernel.launch(config, args, { stream });
  args.setPointer(args.index("output"), second.pointer);
  args.setF32(args.index("scale"), -1);
  kernel.launch(config, args, { stream });
  expect([...gpu.download(first)]).toEqual(Array.from({ length: count }, (_, i) => 3 * i + 1000));
  expect([...gpu.download(second)]).toEqual(Array.from({ length: count }, () => 1000));
});

gpuTest("Module.load() shows the compiler's log", () => {
  using gpu = new Gpu();
  const broken = AFFINE_PTX.replace("fma.rn.f32 %value", "fma.rn.f32 %nothing");
  try {
    Module.load(gpu.device, broken, { name: "broken.ptx" }).close();
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(CudaError);
    expect((error as CudaError).call).toBe("cuModuleLoadDataEx");
    expect((error as CudaError).message).toMatch(/broken\.ptx: ptxas[\s\S]*%nothing/);
  }
});

gpuTest("Module.kernel() and Kernel.launch() name what is wrong", () => {
  using gpu = new Gpu();
  using module = Module.load(gpu.device, AFFINE_PTX, { name: "affine.ptx" });
  expect(() => module.kernel("refine", PARAMETERS)).toThrow(/CUDA_ERROR_NOT_FOUND \(500\)[\s\S]*has no kernel refine/);
  const kernel = module.kernel("affine", PARAMETERS);
  const launch = (): void =>
    kernel.launch({ grid: [1, 1, 1], block: [4096, 1, 1] }, kernel.createArguments(), { stream: gpu.stream });
  expect(launch).toThrow(/^Cannot complete cuLaunchKernel: it returned CUDA_ERROR_INVALID_VALUE \(1\)[\s\S]*\naffine/);
});

gpuTest("a fault of a kernel is reported by the wait that finds it, naming the last launch", () => {
  const program = `
    import { Device } from "./src/cuda/device.ts";
    import { layOut } from "./src/cuda/kernel.ts";
    import { Module } from "./src/cuda/kernel.ts";
    import { Stream } from "./src/cuda/stream.ts";
    const device = Device.open();
    const stream = Stream.create(device);
    const module = Module.load(device, ${JSON.stringify(AFFINE_PTX)}, { name: "affine.ptx" });
    const kernel = module.kernel("affine", ${JSON.stringify(PARAMETERS)});
    const args = kernel.createArguments();
    args.setI32(args.index("count"), 1);
    kernel.launch({ grid: [1, 1, 1], block: [32, 1, 1] }, args, { stream });
    try {
      stream.synchronize();
    } catch (error) {
      console.log(JSON.stringify({ name: error.name, code: error.code, call: error.call, message: error.message }));
    }
    process.exit(0);
  `;
  const root = join(import.meta.dir, "../../..");
  const child = Bun.spawnSync([process.execPath, "-e", program], { cwd: root, stderr: "pipe" });
  const found = JSON.parse(child.stdout.toString());
  expect([found.name, found.call]).toEqual(["CudaError", "cudaStreamSynchronize"]);
  // compute-sanitizer turns the fault into a failed launch.
  expect(["cudaErrorIllegalAddress", "cudaErrorLaunchFailure"]).toContain(found.code);
  expect(found.message).toContain("the fault lies in earlier work, and the last launch was affine");
});
