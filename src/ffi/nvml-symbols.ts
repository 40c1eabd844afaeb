/** @module The symbol table of libnvidia-ml: what the load and the memory of GPUs are read with. */

/** Status: all is well. */
export const NVML_SUCCESS = 0;
/** Status: this GPU, or this slice of one, does not tell. */
export const NVML_ERROR_NOT_SUPPORTED = 3;
/** Status: the process may not know. */
export const NVML_ERROR_NO_PERMISSION = 4;
/** Status: the GPU has fallen off the bus, or was taken away. */
export const NVML_ERROR_GPU_IS_LOST = 15;

/** Prototypes of `nvml.h`. @see https://docs.nvidia.com/deploy/nvml-api/ */
export const NVML_SYMBOLS = {
  nvmlInit_v2: {
    args: [],
    returns: "i32", // nvmlReturn_t
  },
  nvmlShutdown: {
    args: [],
    returns: "i32", // nvmlReturn_t; the last of as many calls as nvmlInit_v2 had frees everything
  },
  nvmlErrorString: {
    args: [
      "i32", // nvmlReturn_t result
    ],
    returns: "ptr", // const char *, the library's own
  },
  nvmlDeviceGetCount_v2: {
    args: [
      "ptr", // unsigned int *deviceCount
    ],
    returns: "i32", // nvmlReturn_t
  },
  nvmlDeviceGetHandleByIndex_v2: {
    args: [
      "u32", // unsigned int index, as nvidia-smi counts
      "ptr", // nvmlDevice_t *device
    ],
    returns: "i32", // nvmlReturn_t
  },
  nvmlDeviceGetMemoryInfo: {
    args: [
      "ptr", // nvmlDevice_t device
      "ptr", // nvmlMemory_t *memory: unsigned long long total, free, used, in bytes
    ],
    returns: "i32", // nvmlReturn_t
  },
  nvmlDeviceGetUtilizationRates: {
    args: [
      "ptr", // nvmlDevice_t device
      "ptr", // nvmlUtilization_t *utilization: unsigned int gpu, memory, in percent of the last sample period
    ],
    returns: "i32", // nvmlReturn_t; not supported on a slice of a GPU (MIG)
  },
} as const;
