/** @module ONNX Runtime symbols: the members of OrtApi that are called, with their places and C prototypes. */

/**
 * The version of the table that is asked for. Versions only append members, and a library of version 1.N hands out
 * tables 1 to N. Every member below is there from 1.12 on; 1.17.0 is the oldest release the tests were run with.
 */
export const ORT_API_VERSION = 17;

/** The one exported symbol. */
export const ORT_EXPORTS = {
  OrtGetApiBase: {
    args: [],
    returns: "ptr", // const OrtApiBase *
  },
} as const;

/** OrtApiBase, which never changes. */
export const ORT_API_BASE = {
  GetApi: {
    index: 0,
    args: [
      "u32", // uint32_t version
    ],
    returns: "ptr", // const OrtApi *, NULL if the library does not know the version
  },
  GetVersionString: {
    index: 1,
    args: [],
    returns: "ptr", // const char *, the library's own
  },
} as const;

/**
 * OrtApi, in the order of its members.
 *
 * @see github.com/microsoft/onnxruntime, include/onnxruntime/core/session/onnxruntime_c_api.h
 */
export const ORT_API = {
  CreateStatus: {
    index: 0,
    args: [
      "i32", // OrtErrorCode code
      "ptr", // const char *msg
    ],
    returns: "ptr", // OrtStatus *
  },
  GetErrorCode: {
    index: 1,
    args: [
      "ptr", // const OrtStatus *status
    ],
    returns: "i32", // OrtErrorCode
  },
  GetErrorMessage: {
    index: 2,
    args: [
      "ptr", // const OrtStatus *status
    ],
    returns: "ptr", // const char *, the status's own
  },
  CreateEnv: {
    index: 3,
    args: [
      "i32", // OrtLoggingLevel log_severity_level
      "ptr", // const char *logid
      "ptr", // OrtEnv **out
    ],
    returns: "ptr", // OrtStatus *
  },
  DisableTelemetryEvents: {
    index: 6,
    args: [
      "ptr", // const OrtEnv *env
    ],
    returns: "ptr", // OrtStatus *
  },
  CreateSession: {
    index: 7,
    args: [
      "ptr", // const OrtEnv *env
      "ptr", // const char *model_path; wchar_t on Windows
      "ptr", // const OrtSessionOptions *options
      "ptr", // OrtSession **out
    ],
    returns: "ptr", // OrtStatus *
  },
  CreateSessionFromArray: {
    index: 8,
    args: [
      "ptr", // const OrtEnv *env
      "ptr", // const void *model_data
      "usize", // size_t model_data_length
      "ptr", // const OrtSessionOptions *options
      "ptr", // OrtSession **out
    ],
    returns: "ptr", // OrtStatus *
  },
  Run: {
    index: 9,
    args: [
      "ptr", // OrtSession *session
      "ptr", // const OrtRunOptions *run_options
      "ptr", // const char *const *input_names
      "ptr", // const OrtValue *const *inputs
      "usize", // size_t input_len
      "ptr", // const char *const *output_names
      "usize", // size_t output_names_len
      "ptr", // OrtValue **outputs, NULL where the library allocates
    ],
    returns: "ptr", // OrtStatus *
  },
  CreateSessionOptions: {
    index: 10,
    args: [
      "ptr", // OrtSessionOptions **options
    ],
    returns: "ptr", // OrtStatus *
  },
  SetSessionExecutionMode: {
    index: 13,
    args: [
      "ptr", // OrtSessionOptions *options
      "i32", // ExecutionMode execution_mode
    ],
    returns: "ptr", // OrtStatus *
  },
  DisableCpuMemArena: {
    index: 19,
    args: [
      "ptr", // OrtSessionOptions *options
    ],
    returns: "ptr", // OrtStatus *
  },
  SetSessionGraphOptimizationLevel: {
    index: 23,
    args: [
      "ptr", // OrtSessionOptions *options
      "i32", // GraphOptimizationLevel graph_optimization_level
    ],
    returns: "ptr", // OrtStatus *
  },
  SetIntraOpNumThreads: {
    index: 24,
    args: [
      "ptr", // OrtSessionOptions *options
      "i32", // int intra_op_num_threads
    ],
    returns: "ptr", // OrtStatus *
  },
  SetInterOpNumThreads: {
    index: 25,
    args: [
      "ptr", // OrtSessionOptions *options
      "i32", // int inter_op_num_threads
    ],
    returns: "ptr", // OrtStatus *
  },
  SessionGetInputCount: {
    index: 30,
    args: [
      "ptr", // const OrtSession *session
      "ptr", // size_t *out
    ],
    returns: "ptr", // OrtStatus *
  },
  SessionGetOutputCount: {
    index: 31,
    args: [
      "ptr", // const OrtSession *session
      "ptr", // size_t *out
    ],
    returns: "ptr", // OrtStatus *
  },
  SessionGetInputTypeInfo: {
    index: 33,
    args: [
      "ptr", // const OrtSession *session
      "usize", // size_t index
      "ptr", // OrtTypeInfo **type_info
    ],
    returns: "ptr", // OrtStatus *
  },
  SessionGetOutputTypeInfo: {
    index: 34,
    args: [
      "ptr", // const OrtSession *session
      "usize", // size_t index
      "ptr", // OrtTypeInfo **type_info
    ],
    returns: "ptr", // OrtStatus *
  },
  SessionGetInputName: {
    index: 36,
    args: [
      "ptr", // const OrtSession *session
      "usize", // size_t index
      "ptr", // OrtAllocator *allocator
      "ptr", // char **value, freed with AllocatorFree
    ],
    returns: "ptr", // OrtStatus *
  },
  SessionGetOutputName: {
    index: 37,
    args: [
      "ptr", // const OrtSession *session
      "usize", // size_t index
      "ptr", // OrtAllocator *allocator
      "ptr", // char **value, freed with AllocatorFree
    ],
    returns: "ptr", // OrtStatus *
  },
  CreateRunOptions: {
    index: 39,
    args: [
      "ptr", // OrtRunOptions **out
    ],
    returns: "ptr", // OrtStatus *
  },
  RunOptionsSetTerminate: {
    index: 46,
    args: [
      "ptr", // OrtRunOptions *options
    ],
    returns: "ptr", // OrtStatus *
  },
  RunOptionsUnsetTerminate: {
    index: 47,
    args: [
      "ptr", // OrtRunOptions *options
    ],
    returns: "ptr", // OrtStatus *
  },
  CreateTensorWithDataAsOrtValue: {
    index: 49,
    args: [
      "ptr", // const OrtMemoryInfo *info
      "ptr", // void *p_data, stays the caller's
      "usize", // size_t p_data_len, in bytes
      "ptr", // const int64_t *shape
      "usize", // size_t shape_len
      "i32", // ONNXTensorElementDataType type
      "ptr", // OrtValue **out
    ],
    returns: "ptr", // OrtStatus *
  },
  GetTensorMutableData: {
    index: 51,
    args: [
      "ptr", // OrtValue *value
      "ptr", // void **out
    ],
    returns: "ptr", // OrtStatus *
  },
  CastTypeInfoToTensorInfo: {
    index: 55,
    args: [
      "ptr", // const OrtTypeInfo *type_info
      "ptr", // const OrtTensorTypeAndShapeInfo **out, not to be freed; NULL if it is no tensor
    ],
    returns: "ptr", // OrtStatus *
  },
  GetOnnxTypeFromTypeInfo: {
    index: 56,
    args: [
      "ptr", // const OrtTypeInfo *type_info
      "ptr", // ONNXType *out
    ],
    returns: "ptr", // OrtStatus *
  },
  GetTensorElementType: {
    index: 60,
    args: [
      "ptr", // const OrtTensorTypeAndShapeInfo *info
      "ptr", // ONNXTensorElementDataType *out
    ],
    returns: "ptr", // OrtStatus *
  },
  GetDimensionsCount: {
    index: 61,
    args: [
      "ptr", // const OrtTensorTypeAndShapeInfo *info
      "ptr", // size_t *out
    ],
    returns: "ptr", // OrtStatus *
  },
  GetDimensions: {
    index: 62,
    args: [
      "ptr", // const OrtTensorTypeAndShapeInfo *info
      "ptr", // int64_t *dim_values
      "usize", // size_t dim_values_length
    ],
    returns: "ptr", // OrtStatus *
  },
  GetTensorTypeAndShape: {
    index: 65,
    args: [
      "ptr", // const OrtValue *value
      "ptr", // OrtTensorTypeAndShapeInfo **out
    ],
    returns: "ptr", // OrtStatus *
  },
  CreateCpuMemoryInfo: {
    index: 69,
    args: [
      "i32", // OrtAllocatorType type
      "i32", // OrtMemType mem_type
      "ptr", // OrtMemoryInfo **out
    ],
    returns: "ptr", // OrtStatus *
  },
  AllocatorFree: {
    index: 76,
    args: [
      "ptr", // OrtAllocator *ort_allocator
      "ptr", // void *p
    ],
    returns: "ptr", // OrtStatus *
  },
  GetAllocatorWithDefaultOptions: {
    index: 78,
    args: [
      "ptr", // OrtAllocator **out, not to be freed
    ],
    returns: "ptr", // OrtStatus *
  },
  ReleaseEnv: {
    index: 92,
    args: [
      "ptr", // OrtEnv *input
    ],
    returns: "void", // void
  },
  ReleaseStatus: {
    index: 93,
    args: [
      "ptr", // OrtStatus *input
    ],
    returns: "void", // void
  },
  ReleaseMemoryInfo: {
    index: 94,
    args: [
      "ptr", // OrtMemoryInfo *input
    ],
    returns: "void", // void
  },
  ReleaseSession: {
    index: 95,
    args: [
      "ptr", // OrtSession *input
    ],
    returns: "void", // void
  },
  ReleaseValue: {
    index: 96,
    args: [
      "ptr", // OrtValue *input
    ],
    returns: "void", // void
  },
  ReleaseRunOptions: {
    index: 97,
    args: [
      "ptr", // OrtRunOptions *input
    ],
    returns: "void", // void
  },
  ReleaseTypeInfo: {
    index: 98,
    args: [
      "ptr", // OrtTypeInfo *input
    ],
    returns: "void", // void
  },
  ReleaseTensorTypeAndShapeInfo: {
    index: 99,
    args: [
      "ptr", // OrtTensorTypeAndShapeInfo *input
    ],
    returns: "void", // void
  },
  ReleaseSessionOptions: {
    index: 100,
    args: [
      "ptr", // OrtSessionOptions *input
    ],
    returns: "void", // void
  },
  SessionGetModelMetadata: {
    index: 111,
    args: [
      "ptr", // const OrtSession *session
      "ptr", // OrtModelMetadata **out
    ],
    returns: "ptr", // OrtStatus *
  },
  ModelMetadataLookupCustomMetadataMap: {
    index: 116,
    args: [
      "ptr", // const OrtModelMetadata *model_metadata
      "ptr", // OrtAllocator *allocator
      "ptr", // const char *key
      "ptr", // char **value, freed with AllocatorFree; NULL if there is no such key
    ],
    returns: "ptr", // OrtStatus *
  },
  ReleaseModelMetadata: {
    index: 118,
    args: [
      "ptr", // OrtModelMetadata *input
    ],
    returns: "void", // void
  },
  ModelMetadataGetCustomMetadataMapKeys: {
    index: 123,
    args: [
      "ptr", // const OrtModelMetadata *model_metadata
      "ptr", // OrtAllocator *allocator
      "ptr", // char ***keys; the array and each key are freed with AllocatorFree
      "ptr", // int64_t *num_keys
    ],
    returns: "ptr", // OrtStatus *
  },
  GetAvailableProviders: {
    index: 125,
    args: [
      "ptr", // char ***out_ptr, freed with ReleaseAvailableProviders
      "ptr", // int *provider_length
    ],
    returns: "ptr", // OrtStatus *
  },
  ReleaseAvailableProviders: {
    index: 126,
    args: [
      "ptr", // char **ptr
      "i32", // int providers_length
    ],
    returns: "ptr", // OrtStatus *
  },
  AddSessionConfigEntry: {
    index: 130,
    args: [
      "ptr", // OrtSessionOptions *options
      "ptr", // const char *config_key
      "ptr", // const char *config_value
    ],
    returns: "ptr", // OrtStatus *
  },
  SessionOptionsAppendExecutionProvider_TensorRT_V2: {
    index: 170,
    args: [
      "ptr", // OrtSessionOptions *options
      "ptr", // const OrtTensorRTProviderOptionsV2 *provider_options
    ],
    returns: "ptr", // OrtStatus *
  },
  CreateTensorRTProviderOptions: {
    index: 171,
    args: [
      "ptr", // OrtTensorRTProviderOptionsV2 **out
    ],
    returns: "ptr", // OrtStatus *
  },
  UpdateTensorRTProviderOptions: {
    index: 172,
    args: [
      "ptr", // OrtTensorRTProviderOptionsV2 *provider_options
      "ptr", // const char *const *keys
      "ptr", // const char *const *values
      "usize", // size_t num_keys
    ],
    returns: "ptr", // OrtStatus *
  },
  ReleaseTensorRTProviderOptions: {
    index: 174,
    args: [
      "ptr", // OrtTensorRTProviderOptionsV2 *input
    ],
    returns: "void", // void
  },
  SessionOptionsAppendExecutionProvider_CUDA_V2: {
    index: 204,
    args: [
      "ptr", // OrtSessionOptions *options
      "ptr", // const OrtCUDAProviderOptionsV2 *provider_options
    ],
    returns: "ptr", // OrtStatus *
  },
  CreateCUDAProviderOptions: {
    index: 205,
    args: [
      "ptr", // OrtCUDAProviderOptionsV2 **out
    ],
    returns: "ptr", // OrtStatus *
  },
  UpdateCUDAProviderOptions: {
    index: 206,
    args: [
      "ptr", // OrtCUDAProviderOptionsV2 *provider_options
      "ptr", // const char *const *keys
      "ptr", // const char *const *values
      "usize", // size_t num_keys
    ],
    returns: "ptr", // OrtStatus *
  },
  ReleaseCUDAProviderOptions: {
    index: 208,
    args: [
      "ptr", // OrtCUDAProviderOptionsV2 *input
    ],
    returns: "void", // void
  },
  SessionOptionsAppendExecutionProvider: {
    index: 216,
    args: [
      "ptr", // OrtSessionOptions *options
      "ptr", // const char *provider_name
      "ptr", // const char *const *keys
      "ptr", // const char *const *values
      "usize", // size_t num_keys
    ],
    returns: "ptr", // OrtStatus *
  },
} as const;
