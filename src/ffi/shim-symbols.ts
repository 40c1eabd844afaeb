/**
 * @module The symbol table of the shim, in the order of native/shim.h, one C parameter a line. The comments there say
 * what each function does; test/native/shim-abi.test.ts compares the two files.
 *
 * Types: counts and statuses are `i32`; `int64_t` results are `i64_fast`, numbers below 2^53; objects are `ptr`.
 */

/** libbun_tensorrt_shim.so. */
export const SHIM_SYMBOLS = {
  // Self-test
  bt_abi_version: { args: [], returns: "i32" },
  bt_method_count: { args: [], returns: "i32" },
  bt_echo_i32: {
    args: [
      "i32", // int32_t value
    ],
    returns: "i32",
  },
  bt_echo_i64: {
    args: [
      "i64", // int64_t value
    ],
    returns: "i64_fast",
  },
  bt_echo_pointer: {
    args: [
      "ptr", // void *value
    ],
    returns: "ptr",
  },
  bt_echo_arguments: {
    args: [
      "ptr", // const void *pointer
      "i32", // int32_t i32
      "u32", // uint32_t u32
      "i64", // int64_t i64
      "u64", // uint64_t u64
      "f32", // float f32
      "ptr", // uint64_t *out
    ],
    returns: "i32",
  },

  // The driver
  bt_cuda_probe: {
    args: [
      "ptr", // int32_t *device_count
      "ptr", // int32_t *driver_version
    ],
    returns: "i32",
  },

  // events
  bt_wait_any: {
    args: [
      "i32", // int32_t device
      "ptr", // void *query: cudaEventQuery
      "ptr", // void *const *events
      "ptr", // int32_t *marks
      "i32", // int32_t capacity
      "i32", // int32_t pause_us
    ],
    returns: "i32",
  },

  // memory
  bt_copy: {
    args: [
      "ptr", // void *target
      "ptr", // const void *source
      "i64", // int64_t bytes
    ],
    returns: "i32",
  },

  // nvJPEG
  bt_nvjpeg_create: {
    args: [
      "i32", // int32_t device
      "ptr", // void *function: nvjpegCreateEx
      "i32", // int32_t backend
      "u32", // uint32_t flags
      "ptr", // void **out
    ],
    returns: "i32",
  },
  bt_nvjpeg_create_state: {
    args: [
      "i32", // int32_t device
      "ptr", // void *function: nvjpegJpegStateCreate
      "ptr", // void *handle
      "ptr", // void **out
    ],
    returns: "i32",
  },
  bt_nvjpeg_prepare: {
    args: [
      "i32", // int32_t device
      "ptr", // void *function: nvjpegDecodeBatchedInitialize
      "ptr", // void *handle
      "ptr", // void *state
      "i32", // int32_t count
      "i32", // int32_t threads
      "i32", // int32_t format
    ],
    returns: "i32",
  },
  bt_nvjpeg_decode_batched: {
    args: [
      "i32", // int32_t device
      "ptr", // void *function: nvjpegDecodeBatched
      "ptr", // void *handle
      "ptr", // void *state
      "ptr", // const void *data
      "ptr", // const void *lengths
      "ptr", // void *destinations
      "ptr", // void *stream
    ],
    returns: "i32",
  },

  bt_jpeg_check: {
    args: [
      "ptr", // const uint8_t *bytes
      "usize", // size_t length
    ],
    returns: "i32",
  },

  bt_jpeg_plans: {
    args: [
      "i32", // int32_t count
      "ptr", // const uint8_t *const *bytes
      "ptr", // const uint64_t *lengths
      "ptr", // uint8_t *out
      "ptr", // const uint64_t *offsets
      "ptr", // int32_t *statuses
    ],
    returns: "i32",
  },

  // Files
  bt_file_lock: {
    args: [
      "ptr", // const char *path
    ],
    returns: "i32",
  },
  bt_file_unlock: {
    args: [
      "i32", // int32_t descriptor
    ],
    returns: "i32",
  },

  // Libraries
  bt_library_open: {
    args: [
      "ptr", // const char *path
      "ptr", // char *error
      "u32", // uint32_t error_capacity
    ],
    returns: "ptr",
  },
  bt_library_version: {
    args: [
      "ptr", // const bt_library *library
    ],
    returns: "i32",
  },
  bt_library_build: {
    args: [
      "ptr", // const bt_library *library
    ],
    returns: "i32",
  },
  bt_library_bind: {
    args: [
      "ptr", // bt_library *library
      "ptr", // const int16_t *slots
      "i32", // int32_t count
      "i32", // int32_t layout
      "u32", // uint32_t flags
    ],
    returns: "i32",
  },
  bt_library_open_parser: {
    args: [
      "ptr", // bt_library *library
      "ptr", // const char *path
      "ptr", // char *error
      "u32", // uint32_t error_capacity
    ],
    returns: "i32",
  },
  bt_library_open_plugins: {
    args: [
      "ptr", // const char *path
      "ptr", // void *logger
      "ptr", // char *error
      "u32", // uint32_t error_capacity
    ],
    returns: "i32",
  },
  bt_preload: {
    args: [
      "ptr", // const char *path
      "ptr", // char *error
      "u32", // uint32_t error_capacity
    ],
    returns: "i32",
  },

  // Rings
  bt_ring_create: {
    args: [
      "u32", // uint32_t capacity
    ],
    returns: "ptr",
  },
  bt_ring_destroy: {
    args: [
      "ptr", // bt_ring *ring
    ],
    returns: "void",
  },
  bt_ring_read: {
    args: [
      "ptr", // bt_ring *ring
      "ptr", // void *out
      "u32", // uint32_t capacity
    ],
    returns: "i32",
  },
  bt_ring_dropped: {
    args: [
      "ptr", // bt_ring *ring
    ],
    returns: "i64_fast",
  },
  bt_ring_write: {
    args: [
      "ptr", // bt_ring *ring
      "i32", // int32_t kind
      "i32", // int32_t severity
      "i32", // int32_t number
      "f32", // float value
      "ptr", // const char *text
      "ptr", // const char *parent
    ],
    returns: "i32",
  },

  // Observers
  bt_logger_create: {
    args: [
      "i32", // int32_t layout
      "ptr", // bt_ring *ring
      "i32", // int32_t level
    ],
    returns: "ptr",
  },
  bt_logger_set_level: {
    args: [
      "ptr", // void *logger
      "i32", // int32_t level
    ],
    returns: "void",
  },
  bt_monitor_create: {
    args: [
      "ptr", // bt_ring *ring
    ],
    returns: "ptr",
  },
  bt_monitor_cancel: {
    args: [
      "ptr", // void *monitor
    ],
    returns: "void",
  },
  bt_profiler_create: {
    args: [
      "i32", // int32_t layout
      "ptr", // bt_ring *ring
    ],
    returns: "ptr",
  },
  bt_recorder_create: {
    args: [
      "ptr", // bt_ring *ring
    ],
    returns: "ptr",
  },
  bt_allocator_create: { args: [], returns: "ptr" },
  bt_allocator_set_memory: {
    args: [
      "ptr", // void *allocator
      "ptr", // void *memory
      "u64", // uint64_t bytes
    ],
    returns: "void",
  },
  bt_allocator_requested: {
    args: [
      "ptr", // void *allocator
    ],
    returns: "i64_fast",
  },
  bt_allocator_shape: {
    args: [
      "ptr", // void *allocator
      "ptr", // int32_t *dims
    ],
    returns: "i32",
  },
  bt_observer_destroy: {
    args: [
      "ptr", // void *observer
    ],
    returns: "i32",
  },

  // One function per shape of method
  bt_i32: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
    ],
    returns: "i32",
  },
  bt_i64: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
    ],
    returns: "i64_fast",
  },
  bt_bool: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
    ],
    returns: "i32",
  },
  bt_text: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
    ],
    returns: "ptr",
  },
  bt_pointer: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
    ],
    returns: "ptr",
  },
  bt_i64_at: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "i32", // int32_t index
    ],
    returns: "i64_fast",
  },
  bt_text_at: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "i32", // int32_t index
    ],
    returns: "ptr",
  },
  bt_pointer_at: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "i32", // int32_t index
    ],
    returns: "ptr",
  },
  bt_i32_of: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "ptr", // const char *name
    ],
    returns: "i32",
  },
  bt_i64_of: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "ptr", // const char *name
    ],
    returns: "i64_fast",
  },
  bt_bool_of: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "ptr", // const char *name
    ],
    returns: "i32",
  },
  bt_text_of: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "ptr", // const char *name
    ],
    returns: "ptr",
  },
  bt_void_i32: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "i32", // int32_t value
    ],
    returns: "i32",
  },
  bt_void_i64: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "i64", // int64_t value
    ],
    returns: "i32",
  },
  bt_void_bool: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "i32", // int32_t value
    ],
    returns: "i32",
  },
  bt_void_text: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "ptr", // const char *value
    ],
    returns: "i32",
  },
  bt_void_pointer: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "ptr", // void *value
    ],
    returns: "i32",
  },
  bt_bool_i32: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "i32", // int32_t value
    ],
    returns: "i32",
  },
  bt_bool_pointer: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "ptr", // void *value
    ],
    returns: "i32",
  },
  bt_i32_pointer: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *object
      "i32", // int32_t method
      "ptr", // void *value
    ],
    returns: "i32",
  },
  bt_destroy: {
    args: [
      "ptr", // void *object
    ],
    returns: "i32",
  },

  // Runtime and engine
  bt_runtime_create: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *logger
      "i32", // int32_t device
      "ptr", // void **runtime
    ],
    returns: "i32",
  },
  bt_runtime_deserialize: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *runtime
      "ptr", // const void *plan
      "usize", // size_t bytes
      "i32", // int32_t device
      "ptr", // void **engine
    ],
    returns: "i32",
  },
  bt_engine_tensor_shape: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *engine
      "ptr", // const char *name
      "ptr", // int32_t *dims
    ],
    returns: "i32",
  },
  bt_engine_profile_shape: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *engine
      "ptr", // const char *name
      "i32", // int32_t profile
      "i32", // int32_t selector
      "ptr", // int32_t *dims
    ],
    returns: "i32",
  },
  bt_engine_create_context: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *engine
      "i32", // int32_t strategy
      "i32", // int32_t device
      "ptr", // void **context
    ],
    returns: "i32",
  },
  bt_inspector_layer: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *inspector
      "i32", // int32_t layer
      "i32", // int32_t format
    ],
    returns: "ptr",
  },

  // Execution context
  bt_context_enqueue: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *context
      "ptr", // void *stream
    ],
    returns: "i32",
  },
  bt_context_set_tensor_address: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *context
      "ptr", // const char *name
      "ptr", // void *address
    ],
    returns: "i32",
  },
  bt_context_set_input_shape: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *context
      "ptr", // const char *name
      "ptr", // const int32_t *dims
      "i32", // int32_t rank
    ],
    returns: "i32",
  },
  bt_context_tensor_shape: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *context
      "ptr", // const char *name
      "ptr", // int32_t *dims
    ],
    returns: "i32",
  },
  bt_context_tensor_strides: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *context
      "ptr", // const char *name
      "ptr", // int32_t *dims
    ],
    returns: "i32",
  },
  bt_context_set_profile: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *context
      "i32", // int32_t profile
      "ptr", // void *stream
    ],
    returns: "i32",
  },
  bt_context_infer_shapes: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *context
      "i32", // int32_t capacity
      "ptr", // const char **names
    ],
    returns: "i32",
  },
  bt_context_set_device_memory: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *context
      "ptr", // void *memory
      "i64", // int64_t bytes
    ],
    returns: "i32",
  },
  bt_context_set_aux_streams: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *context
      "ptr", // void *const *streams
      "i32", // int32_t count
    ],
    returns: "i32",
  },
  bt_context_set_output_allocator: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *context
      "ptr", // const char *name
      "ptr", // void *allocator
    ],
    returns: "i32",
  },

  // Builder
  bt_builder_create: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *logger
      "i32", // int32_t device
      "ptr", // void **builder
    ],
    returns: "i32",
  },
  bt_builder_build: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *builder
      "ptr", // void *network
      "ptr", // void *config
      "i32", // int32_t device
      "ptr", // void **plan
    ],
    returns: "i32",
  },
  bt_config_set_memory_pool_limit: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *config
      "i32", // int32_t pool
      "u64", // uint64_t bytes
    ],
    returns: "i32",
  },
  bt_config_create_timing_cache: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *config
      "ptr", // const void *bytes
      "usize", // size_t count
    ],
    returns: "ptr",
  },
  bt_config_set_timing_cache: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *config
      "ptr", // void *cache
      "i32", // int32_t ignore_mismatch
    ],
    returns: "i32",
  },
  bt_config_set_compute_capability: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *config
      "i32", // int32_t capability
      "i32", // int32_t index
    ],
    returns: "i32",
  },
  bt_timing_cache_combine: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *cache
      "ptr", // void *other
      "i32", // int32_t ignore_mismatch
    ],
    returns: "i32",
  },
  bt_tensor_dimensions: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *tensor
      "ptr", // int32_t *dims
    ],
    returns: "i32",
  },
  bt_profile_set_dimensions: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *profile
      "ptr", // const char *name
      "i32", // int32_t selector
      "ptr", // const int32_t *dims
      "i32", // int32_t rank
    ],
    returns: "i32",
  },
  bt_profile_dimensions: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *profile
      "ptr", // const char *name
      "i32", // int32_t selector
      "ptr", // int32_t *dims
    ],
    returns: "i32",
  },
  bt_profile_set_shape_values: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *profile
      "ptr", // const char *name
      "i32", // int32_t selector
      "ptr", // const int32_t *values
      "i32", // int32_t count
    ],
    returns: "i32",
  },

  // ONNX parser
  bt_parser_create: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *network
      "ptr", // void *logger
    ],
    returns: "ptr",
  },
  bt_parser_parse: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *parser
      "ptr", // const void *model
      "usize", // size_t bytes
      "ptr", // const char *path
    ],
    returns: "i32",
  },
  bt_parser_destroy: {
    args: [
      "ptr", // const bt_library *library
      "ptr", // void *parser
    ],
    returns: "i32",
  },
} as const;

/** A function that blocks for milliseconds or minutes: it runs off the JS thread. */
export type BlockingName =
  | "bt_wait_any"
  | "bt_nvjpeg_create"
  | "bt_nvjpeg_create_state"
  | "bt_nvjpeg_prepare"
  | "bt_nvjpeg_decode_batched"
  | "bt_jpeg_check"
  | "bt_jpeg_plans"
  | "bt_runtime_create"
  | "bt_runtime_deserialize"
  | "bt_engine_create_context"
  | "bt_builder_create"
  | "bt_builder_build"
  | "bt_parser_parse";
