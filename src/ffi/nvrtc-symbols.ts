/**
 * @module The symbol table of libnvrtc, NVIDIA's CUDA C++ compiler as a library. Only `bun run kernels` uses it: the
 * package ships compiled PTX.
 *
 * @see https://docs.nvidia.com/cuda/nvrtc/
 */

/** libnvrtc 12. */
export const NVRTC_SYMBOLS = {
  nvrtcGetErrorString: {
    args: [
      "i32", // nvrtcResult result
    ],
    returns: "ptr",
  },
  nvrtcVersion: {
    args: [
      "ptr", // int *major
      "ptr", // int *minor
    ],
    returns: "i32",
  },
  nvrtcCreateProgram: {
    args: [
      "ptr", // nvrtcProgram *prog
      "ptr", // const char *src
      "ptr", // const char *name
      "i32", // int numHeaders
      "ptr", // const char * const *headers
      "ptr", // const char * const *includeNames
    ],
    returns: "i32",
  },
  nvrtcDestroyProgram: {
    args: [
      "ptr", // nvrtcProgram *prog
    ],
    returns: "i32",
  },
  nvrtcCompileProgram: {
    args: [
      "ptr", // nvrtcProgram prog
      "i32", // int numOptions
      "ptr", // const char * const *options
    ],
    returns: "i32",
  },
  nvrtcGetPTXSize: {
    args: [
      "ptr", // nvrtcProgram prog
      "ptr", // size_t *ptxSizeRet
    ],
    returns: "i32",
  },
  nvrtcGetPTX: {
    args: [
      "ptr", // nvrtcProgram prog
      "ptr", // char *ptx
    ],
    returns: "i32",
  },
  nvrtcGetProgramLogSize: {
    args: [
      "ptr", // nvrtcProgram prog
      "ptr", // size_t *logSizeRet
    ],
    returns: "i32",
  },
  nvrtcGetProgramLog: {
    args: [
      "ptr", // nvrtcProgram prog
      "ptr", // char *log
    ],
    returns: "i32",
  },
} as const;
