/**
 * @module The symbol table of libcuda: loading PTX and launching kernels, and the little the runtime cannot say. Names
 * are those of the exported symbols, `_v2` included where the header maps the plain name to it.
 *
 * Types: `CUresult`, enums and `CUdevice` are `i32`; `CUdeviceptr` and handles are `ptr`.
 *
 * @see https://docs.nvidia.com/cuda/cuda-driver-api/
 */

/** libcuda, from driver 525 (CUDA 12.0) on. */
export const CUDA_DRIVER_SYMBOLS = {
  // Errors and versions
  cuGetErrorString: {
    args: [
      "i32", // CUresult error
      "ptr", // const char **pStr
    ],
    returns: "i32",
  },
  cuGetErrorName: {
    args: [
      "i32", // CUresult error
      "ptr", // const char **pStr
    ],
    returns: "i32",
  },
  cuInit: {
    args: [
      "u32", // unsigned int Flags
    ],
    returns: "i32",
  },
  cuDriverGetVersion: {
    args: [
      "ptr", // int *driverVersion
    ],
    returns: "i32",
  },

  // Devices and their primary contexts
  cuDeviceGet: {
    args: [
      "ptr", // CUdevice *device
      "i32", // int ordinal
    ],
    returns: "i32",
  },
  cuDeviceGetName: {
    args: [
      "ptr", // char *name
      "i32", // int len
      "i32", // CUdevice dev
    ],
    returns: "i32",
  },
  cuDeviceGetUuid_v2: {
    args: [
      "ptr", // CUuuid *uuid
      "i32", // CUdevice dev
    ],
    returns: "i32",
  },
  cuDeviceTotalMem_v2: {
    args: [
      "ptr", // size_t *bytes
      "i32", // CUdevice dev
    ],
    returns: "i32",
  },
  cuDevicePrimaryCtxRetain: {
    args: [
      "ptr", // CUcontext *pctx
      "i32", // CUdevice dev
    ],
    returns: "i32",
  },
  cuDevicePrimaryCtxRelease_v2: {
    args: [
      "i32", // CUdevice dev
    ],
    returns: "i32",
  },
  cuCtxSetCurrent: {
    args: [
      "ptr", // CUcontext ctx
    ],
    returns: "i32",
  },
  cuCtxGetCurrent: {
    args: [
      "ptr", // CUcontext *pctx
    ],
    returns: "i32",
  },

  // Events, for waits on threads without a context
  cuEventSynchronize: {
    args: [
      "ptr", // CUevent hEvent
    ],
    returns: "i32",
  },

  // Modules
  cuModuleLoadDataEx: {
    args: [
      "ptr", // CUmodule *module
      "ptr", // const void *image
      "u32", // unsigned int numOptions
      "ptr", // CUjit_option *options
      "ptr", // void **optionValues
    ],
    returns: "i32",
  },
  cuModuleUnload: {
    args: [
      "ptr", // CUmodule hmod
    ],
    returns: "i32",
  },
  cuModuleGetFunction: {
    args: [
      "ptr", // CUfunction *hfunc
      "ptr", // CUmodule hmod
      "ptr", // const char *name
    ],
    returns: "i32",
  },

  // Execution
  cuFuncGetAttribute: {
    args: [
      "ptr", // int *pi
      "i32", // CUfunction_attribute attrib
      "ptr", // CUfunction hfunc
    ],
    returns: "i32",
  },
  cuFuncSetAttribute: {
    args: [
      "ptr", // CUfunction hfunc
      "i32", // CUfunction_attribute attrib
      "i32", // int value
    ],
    returns: "i32",
  },
  cuLaunchKernel: {
    args: [
      "ptr", // CUfunction f
      "u32", // unsigned int gridDimX
      "u32", // unsigned int gridDimY
      "u32", // unsigned int gridDimZ
      "u32", // unsigned int blockDimX
      "u32", // unsigned int blockDimY
      "u32", // unsigned int blockDimZ
      "u32", // unsigned int sharedMemBytes
      "ptr", // CUstream hStream
      "ptr", // void **kernelParams
      "ptr", // void **extra
    ],
    returns: "i32",
  },
  cuOccupancyMaxActiveBlocksPerMultiprocessor: {
    args: [
      "ptr", // int *numBlocks
      "ptr", // CUfunction func
      "i32", // int blockSize
      "usize", // size_t dynamicSMemSize
    ],
    returns: "i32",
  },
} as const;
