/**
 * @module The symbol table of libcudart: the part of the CUDA runtime API the package uses, in header order, one C
 * parameter a line. Every entry has the same name and the same signature in libcudart 12 and 13.
 *
 * What differs between the two is left out, and what stands in for it is:
 * - `cudaGetDeviceProperties`: the struct's layout moved; attributes one by one, the name from libcuda.
 * - `cudaMemPrefetchAsync`, `cudaMemAdvise`: a device number in 12, a location struct in 13; managed memory is not used.
 * - `cudaStreamGetCaptureInfo`: its parameters changed; `cudaStreamIsCapturing` did not.
 * - `cudaGraphInstantiate` and `cudaGraphExecUpdate` changed between 11 and 12 alone; `cudaGraphInstantiateWithFlags`
 *   never did, so graphs are made by it.
 * - `cudaEventElapsedTime` has a `_v2` in late 12.x, which 13 has under the plain name; the parameters are the same.
 * - The `_ptsz` twins (per-thread default stream) are not bound: every enqueue names its stream.
 *
 * Types: `enum` is `i32`; `size_t` and `unsigned long long` are `usize`; handles are `ptr`.
 *
 * @see https://docs.nvidia.com/cuda/cuda-runtime-api/
 */

/** libcudart, major versions 12 and 13. */
export const CUDA_RUNTIME_SYMBOLS = {
  // Device management
  cudaDeviceSynchronize: { args: [], returns: "i32" },
  cudaDeviceGetStreamPriorityRange: {
    args: [
      "ptr", // int *leastPriority
      "ptr", // int *greatestPriority
    ],
    returns: "i32",
  },
  cudaDeviceGetPCIBusId: {
    args: [
      "ptr", // char *pciBusId
      "i32", // int len
      "i32", // int device
    ],
    returns: "i32",
  },

  // Error handling
  cudaGetLastError: { args: [], returns: "i32" },
  cudaPeekAtLastError: { args: [], returns: "i32" },
  cudaGetErrorName: {
    args: [
      "i32", // cudaError_t error
    ],
    returns: "ptr",
  },
  cudaGetErrorString: {
    args: [
      "i32", // cudaError_t error
    ],
    returns: "ptr",
  },

  // Device management
  cudaGetDeviceCount: {
    args: [
      "ptr", // int *count
    ],
    returns: "i32",
  },
  cudaDeviceGetAttribute: {
    args: [
      "ptr", // int *value
      "i32", // enum cudaDeviceAttr attr
      "i32", // int device
    ],
    returns: "i32",
  },
  cudaDeviceGetDefaultMemPool: {
    args: [
      "ptr", // cudaMemPool_t *memPool
      "i32", // int device
    ],
    returns: "i32",
  },
  cudaSetDevice: {
    args: [
      "i32", // int device
    ],
    returns: "i32",
  },
  cudaGetDevice: {
    args: [
      "ptr", // int *device
    ],
    returns: "i32",
  },

  // Streams
  cudaStreamCreateWithPriority: {
    args: [
      "ptr", // cudaStream_t *pStream
      "u32", // unsigned int flags
      "i32", // int priority
    ],
    returns: "i32",
  },
  cudaStreamGetPriority: {
    args: [
      "ptr", // cudaStream_t hStream
      "ptr", // int *priority
    ],
    returns: "i32",
  },
  cudaStreamDestroy: {
    args: [
      "ptr", // cudaStream_t stream
    ],
    returns: "i32",
  },
  cudaStreamWaitEvent: {
    args: [
      "ptr", // cudaStream_t stream
      "ptr", // cudaEvent_t event
      "u32", // unsigned int flags
    ],
    returns: "i32",
  },
  cudaStreamSynchronize: {
    args: [
      "ptr", // cudaStream_t stream
    ],
    returns: "i32",
  },
  cudaStreamQuery: {
    args: [
      "ptr", // cudaStream_t stream
    ],
    returns: "i32",
  },
  cudaStreamBeginCapture: {
    args: [
      "ptr", // cudaStream_t stream
      "i32", // enum cudaStreamCaptureMode mode
    ],
    returns: "i32",
  },
  cudaStreamEndCapture: {
    args: [
      "ptr", // cudaStream_t stream
      "ptr", // cudaGraph_t *pGraph
    ],
    returns: "i32",
  },
  cudaStreamIsCapturing: {
    args: [
      "ptr", // cudaStream_t stream
      "ptr", // enum cudaStreamCaptureStatus *pCaptureStatus
    ],
    returns: "i32",
  },

  // Events
  cudaEventCreateWithFlags: {
    args: [
      "ptr", // cudaEvent_t *event
      "u32", // unsigned int flags
    ],
    returns: "i32",
  },
  cudaEventRecord: {
    args: [
      "ptr", // cudaEvent_t event
      "ptr", // cudaStream_t stream
    ],
    returns: "i32",
  },
  cudaEventQuery: {
    args: [
      "ptr", // cudaEvent_t event
    ],
    returns: "i32",
  },
  cudaEventSynchronize: {
    args: [
      "ptr", // cudaEvent_t event
    ],
    returns: "i32",
  },
  cudaEventDestroy: {
    args: [
      "ptr", // cudaEvent_t event
    ],
    returns: "i32",
  },
  cudaEventElapsedTime: {
    args: [
      "ptr", // float *ms
      "ptr", // cudaEvent_t start
      "ptr", // cudaEvent_t end
    ],
    returns: "i32",
  },

  // Memory management
  cudaMalloc: {
    args: [
      "ptr", // void **devPtr
      "usize", // size_t size
    ],
    returns: "i32",
  },
  cudaFree: {
    args: [
      "ptr", // void *devPtr
    ],
    returns: "i32",
  },
  cudaFreeHost: {
    args: [
      "ptr", // void *ptr
    ],
    returns: "i32",
  },
  cudaHostAlloc: {
    args: [
      "ptr", // void **pHost
      "usize", // size_t size
      "u32", // unsigned int flags
    ],
    returns: "i32",
  },
  cudaHostGetDevicePointer: {
    args: [
      "ptr", // void **pDevice
      "ptr", // void *pHost
      "u32", // unsigned int flags
    ],
    returns: "i32",
  },
  cudaMemGetInfo: {
    args: [
      "ptr", // size_t *free
      "ptr", // size_t *total
    ],
    returns: "i32",
  },
  cudaMemcpyAsync: {
    args: [
      "ptr", // void *dst
      "ptr", // const void *src
      "usize", // size_t count
      "i32", // enum cudaMemcpyKind kind
      "ptr", // cudaStream_t stream
    ],
    returns: "i32",
  },
  cudaMemcpy2DAsync: {
    args: [
      "ptr", // void *dst
      "usize", // size_t dpitch
      "ptr", // const void *src
      "usize", // size_t spitch
      "usize", // size_t width
      "usize", // size_t height
      "i32", // enum cudaMemcpyKind kind
      "ptr", // cudaStream_t stream
    ],
    returns: "i32",
  },
  cudaMemsetAsync: {
    args: [
      "ptr", // void *devPtr
      "i32", // int value
      "usize", // size_t count
      "ptr", // cudaStream_t stream
    ],
    returns: "i32",
  },
  cudaMemset2DAsync: {
    args: [
      "ptr", // void *devPtr
      "usize", // size_t pitch
      "i32", // int value
      "usize", // size_t width
      "usize", // size_t height
      "ptr", // cudaStream_t stream
    ],
    returns: "i32",
  },

  // Stream-ordered memory
  cudaMallocAsync: {
    args: [
      "ptr", // void **devPtr
      "usize", // size_t size
      "ptr", // cudaStream_t hStream
    ],
    returns: "i32",
  },
  cudaFreeAsync: {
    args: [
      "ptr", // void *devPtr
      "ptr", // cudaStream_t hStream
    ],
    returns: "i32",
  },
  cudaMemPoolTrimTo: {
    args: [
      "ptr", // cudaMemPool_t memPool
      "usize", // size_t minBytesToKeep
    ],
    returns: "i32",
  },
  cudaMemPoolSetAttribute: {
    args: [
      "ptr", // cudaMemPool_t memPool
      "i32", // enum cudaMemPoolAttr attr
      "ptr", // void *value
    ],
    returns: "i32",
  },
  cudaMemPoolGetAttribute: {
    args: [
      "ptr", // cudaMemPool_t memPool
      "i32", // enum cudaMemPoolAttr attr
      "ptr", // void *value
    ],
    returns: "i32",
  },
  cudaMemPoolCreate: {
    args: [
      "ptr", // cudaMemPool_t *memPool
      "ptr", // const struct cudaMemPoolProps *poolProps
    ],
    returns: "i32",
  },
  cudaMemPoolDestroy: {
    args: [
      "ptr", // cudaMemPool_t memPool
    ],
    returns: "i32",
  },
  cudaMallocFromPoolAsync: {
    args: [
      "ptr", // void **ptr
      "usize", // size_t size
      "ptr", // cudaMemPool_t memPool
      "ptr", // cudaStream_t stream
    ],
    returns: "i32",
  },

  // Versions
  cudaDriverGetVersion: {
    args: [
      "ptr", // int *driverVersion
    ],
    returns: "i32",
  },
  cudaRuntimeGetVersion: {
    args: [
      "ptr", // int *runtimeVersion
    ],
    returns: "i32",
  },

  // Graphs
  cudaGraphGetNodes: {
    args: [
      "ptr", // cudaGraph_t graph
      "ptr", // cudaGraphNode_t *nodes
      "ptr", // size_t *numNodes
    ],
    returns: "i32",
  },
  cudaGraphInstantiateWithFlags: {
    args: [
      "ptr", // cudaGraphExec_t *pGraphExec
      "ptr", // cudaGraph_t graph
      "usize", // unsigned long long flags
    ],
    returns: "i32",
  },
  cudaGraphExecUpdate: {
    args: [
      "ptr", // cudaGraphExec_t hGraphExec
      "ptr", // cudaGraph_t hGraph
      "ptr", // cudaGraphExecUpdateResultInfo *resultInfo
    ],
    returns: "i32",
  },
  cudaGraphUpload: {
    args: [
      "ptr", // cudaGraphExec_t graphExec
      "ptr", // cudaStream_t stream
    ],
    returns: "i32",
  },
  cudaGraphLaunch: {
    args: [
      "ptr", // cudaGraphExec_t graphExec
      "ptr", // cudaStream_t stream
    ],
    returns: "i32",
  },
  cudaGraphExecDestroy: {
    args: [
      "ptr", // cudaGraphExec_t graphExec
    ],
    returns: "i32",
  },
  cudaGraphDestroy: {
    args: [
      "ptr", // cudaGraph_t graph
    ],
    returns: "i32",
  },
} as const;
