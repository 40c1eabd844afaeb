/**
 * @module The symbol table of the shim. Generated from native/shim.h, whose comments say what each function does, by
 * `bun run shim`: edit that instead.
 */

/** libbun_tensorrt_shim.so: statuses and counts are `i32`, `int64_t` results numbers below 2^53, objects `ptr`. */
export const SHIM_SYMBOLS = {
  bt_abi_version: { args: [], returns: "i32" },
  bt_method_count: { args: [], returns: "i32" },
  bt_echo_i32: { args: ["i32"], returns: "i32" }, // value
  bt_echo_i64: { args: ["i64"], returns: "i64_fast" }, // value
  bt_echo_pointer: { args: ["ptr"], returns: "ptr" }, // value
  // pointer, i32, u32, i64, u64, f32, out
  bt_echo_arguments: { args: ["ptr", "i32", "u32", "i64", "u64", "f32", "ptr"], returns: "i32" },
  bt_cuda_probe: { args: ["ptr", "ptr"], returns: "i32" }, // device_count, driver_version
  // device, query, events, marks, capacity, pause_us
  bt_wait_any: { args: ["i32", "ptr", "ptr", "ptr", "i32", "i32"], returns: "i32" },
  bt_copy: { args: ["ptr", "ptr", "i64"], returns: "i32" }, // target, source, bytes
  // target, target_pitch, source, source_pitch, row_bytes, rows
  bt_copy_rows: { args: ["ptr", "i64", "ptr", "i64", "i64", "i64"], returns: "i32" },
  bt_resize_instructions: { args: [], returns: "i32" },
  bt_resize_scratch: { args: ["i32", "i32"], returns: "i64_fast" }, // width, row_bytes
  // instructions, form, data, bytes, chroma, columns, rows, tables, lines, output, start, scratch
  bt_resize: { args: ["i32", "ptr", "ptr", "i64", "i64", "ptr", "ptr", "ptr", "ptr", "ptr", "i64", "ptr"], returns: "i32" },
  // instructions, frame, data, chroma, levels, count, pixels, scratch
  bt_grey_load: { args: ["i32", "ptr", "ptr", "i64", "ptr", "i32", "ptr", "ptr"], returns: "i32" },
  bt_flow_scratch: { args: ["i32", "i32"], returns: "i64_fast" }, // width, height
  // instructions, level, pixels, scratch, places
  bt_flow_find: { args: ["i32", "ptr", "ptr", "ptr", "ptr"], returns: "i32" },
  // instructions, levels, count, before, after, from, to, corners
  bt_flow_follow: { args: ["i32", "ptr", "i32", "ptr", "ptr", "ptr", "ptr", "i32"], returns: "i32" },
  // device, function, backend, flags, out
  bt_nvjpeg_create: { args: ["i32", "ptr", "i32", "u32", "ptr"], returns: "i32" },
  bt_nvjpeg_create_state: { args: ["i32", "ptr", "ptr", "ptr"], returns: "i32" }, // device, function, handle, out
  // device, function, handle, state, count, threads, format
  bt_nvjpeg_prepare: { args: ["i32", "ptr", "ptr", "ptr", "i32", "i32", "i32"], returns: "i32" },
  // device, function, handle, state, data, lengths, destinations, stream
  bt_nvjpeg_decode_batched: { args: ["i32", "ptr", "ptr", "ptr", "ptr", "ptr", "ptr", "ptr"], returns: "i32" },
  bt_video_open: { args: ["i32", "ptr", "ptr", "i32", "ptr"], returns: "i32" }, // device, context, functions, idle, out
  bt_video_close: { args: ["ptr"], returns: "i32" }, // video
  bt_video_keep: { args: ["ptr", "i32"], returns: "i32" }, // video, idle
  bt_video_left: { args: ["ptr"], returns: "i32" }, // video
  bt_video_caps: { args: ["ptr", "i32", "i32", "i32", "ptr"], returns: "i32" }, // video, codec, chroma, bits, out
  bt_nvdec_open: { args: ["ptr", "ptr", "ptr", "ptr", "ptr"], returns: "i32" }, // video, options, stream, events, out
  bt_nvdec_stop: { args: ["ptr"], returns: "i32" }, // decoder
  bt_nvdec_close: { args: ["ptr"], returns: "i32" }, // decoder
  // decoder, bytes, length, timestamp, kind
  bt_nvdec_feed: { args: ["ptr", "ptr", "i64", "i64", "i32"], returns: "i32" },
  bt_nvdec_take: { args: ["ptr", "ptr"], returns: "i32" }, // decoder, out
  bt_nvdec_release: { args: ["ptr", "i32", "i32"], returns: "i32" }, // decoder, slot_index, is_recorded
  bt_nvdec_told: { args: ["ptr", "ptr"], returns: "i32" }, // decoder, out
  bt_nvdec_wait: { args: ["i32", "i32"], returns: "i32" }, // seen, timeout_ms
  bt_jpeg_check: { args: ["ptr", "usize"], returns: "i32" }, // bytes, length
  bt_gif_check: { args: ["ptr", "usize"], returns: "i32" }, // bytes, length
  // count, bytes, lengths, out, offsets, statuses
  bt_jpeg_plans: { args: ["i32", "ptr", "ptr", "ptr", "ptr", "ptr"], returns: "i32" },
  bt_file_lock: { args: ["ptr"], returns: "i32" }, // path
  bt_file_unlock: { args: ["i32"], returns: "i32" }, // descriptor
  bt_library_open: { args: ["ptr", "ptr", "u32"], returns: "ptr" }, // path, error, error_capacity
  bt_library_version: { args: ["ptr"], returns: "i32" }, // library
  bt_library_build: { args: ["ptr"], returns: "i32" }, // library
  // library, slots, count, layout, flags
  bt_library_bind: { args: ["ptr", "ptr", "i32", "i32", "u32"], returns: "i32" },
  // library, path, error, error_capacity
  bt_library_open_parser: { args: ["ptr", "ptr", "ptr", "u32"], returns: "i32" },
  // path, logger, error, error_capacity
  bt_library_open_plugins: { args: ["ptr", "ptr", "ptr", "u32"], returns: "i32" },
  bt_preload: { args: ["ptr", "ptr", "u32"], returns: "i32" }, // path, error, error_capacity
  bt_ring_create: { args: ["u32"], returns: "ptr" }, // capacity
  bt_ring_destroy: { args: ["ptr"], returns: "void" }, // ring
  bt_ring_read: { args: ["ptr", "ptr", "u32"], returns: "i32" }, // ring, out, capacity
  bt_ring_dropped: { args: ["ptr"], returns: "i64_fast" }, // ring
  // ring, kind, severity, number, value, text, parent
  bt_ring_write: { args: ["ptr", "i32", "i32", "i32", "f32", "ptr", "ptr"], returns: "i32" },
  bt_logger_create: { args: ["i32", "ptr", "i32"], returns: "ptr" }, // layout, ring, level
  bt_logger_set_level: { args: ["ptr", "i32"], returns: "void" }, // logger, level
  bt_monitor_create: { args: ["ptr"], returns: "ptr" }, // ring
  bt_monitor_cancel: { args: ["ptr"], returns: "void" }, // monitor
  bt_monitor_pause: { args: ["ptr", "i32"], returns: "void" }, // monitor, paused
  bt_profiler_create: { args: ["i32", "ptr"], returns: "ptr" }, // layout, ring
  bt_recorder_create: { args: ["ptr"], returns: "ptr" }, // ring
  bt_allocator_create: { args: [], returns: "ptr" },
  bt_allocator_set_memory: { args: ["ptr", "ptr", "u64"], returns: "void" }, // allocator, memory, bytes
  bt_allocator_requested: { args: ["ptr"], returns: "i64_fast" }, // allocator
  bt_allocator_shape: { args: ["ptr", "ptr"], returns: "i32" }, // allocator, dims
  bt_observer_destroy: { args: ["ptr"], returns: "i32" }, // observer
  bt_i32: { args: ["ptr", "ptr", "i32"], returns: "i32" }, // library, object, method
  bt_i64: { args: ["ptr", "ptr", "i32"], returns: "i64_fast" }, // library, object, method
  bt_bool: { args: ["ptr", "ptr", "i32"], returns: "i32" }, // library, object, method
  bt_text: { args: ["ptr", "ptr", "i32"], returns: "ptr" }, // library, object, method
  bt_pointer: { args: ["ptr", "ptr", "i32"], returns: "ptr" }, // library, object, method
  bt_i64_at: { args: ["ptr", "ptr", "i32", "i32"], returns: "i64_fast" }, // library, object, method, index
  bt_text_at: { args: ["ptr", "ptr", "i32", "i32"], returns: "ptr" }, // library, object, method, index
  bt_pointer_at: { args: ["ptr", "ptr", "i32", "i32"], returns: "ptr" }, // library, object, method, index
  bt_i32_of: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" }, // library, object, method, name
  bt_i64_of: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i64_fast" }, // library, object, method, name
  bt_bool_of: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" }, // library, object, method, name
  bt_text_of: { args: ["ptr", "ptr", "i32", "ptr"], returns: "ptr" }, // library, object, method, name
  bt_void_i32: { args: ["ptr", "ptr", "i32", "i32"], returns: "i32" }, // library, object, method, value
  bt_void_i64: { args: ["ptr", "ptr", "i32", "i64"], returns: "i32" }, // library, object, method, value
  bt_void_bool: { args: ["ptr", "ptr", "i32", "i32"], returns: "i32" }, // library, object, method, value
  bt_void_text: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" }, // library, object, method, value
  bt_void_pointer: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" }, // library, object, method, value
  bt_bool_i32: { args: ["ptr", "ptr", "i32", "i32"], returns: "i32" }, // library, object, method, value
  bt_bool_pointer: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" }, // library, object, method, value
  bt_i32_pointer: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" }, // library, object, method, value
  bt_destroy: { args: ["ptr"], returns: "i32" }, // object
  bt_runtime_create: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" }, // library, logger, device, runtime
  // library, runtime, plan, bytes, device, engine
  bt_runtime_deserialize: { args: ["ptr", "ptr", "ptr", "usize", "i32", "ptr"], returns: "i32" },
  bt_engine_tensor_shape: { args: ["ptr", "ptr", "ptr", "ptr"], returns: "i32" }, // library, engine, name, dims
  // library, engine, name, profile, selector, dims
  bt_engine_profile_shape: { args: ["ptr", "ptr", "ptr", "i32", "i32", "ptr"], returns: "i32" },
  // library, engine, strategy, device, context
  bt_engine_create_context: { args: ["ptr", "ptr", "i32", "i32", "ptr"], returns: "i32" },
  bt_inspector_layer: { args: ["ptr", "ptr", "i32", "i32"], returns: "ptr" }, // library, inspector, layer, format
  bt_context_enqueue: { args: ["ptr", "ptr", "ptr"], returns: "i32" }, // library, context, stream
  // library, context, name, address
  bt_context_set_tensor_address: { args: ["ptr", "ptr", "ptr", "ptr"], returns: "i32" },
  // library, context, name, dims, rank
  bt_context_set_input_shape: { args: ["ptr", "ptr", "ptr", "ptr", "i32"], returns: "i32" },
  bt_context_tensor_shape: { args: ["ptr", "ptr", "ptr", "ptr"], returns: "i32" }, // library, context, name, dims
  bt_context_tensor_strides: { args: ["ptr", "ptr", "ptr", "ptr"], returns: "i32" }, // library, context, name, dims
  bt_context_set_profile: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" }, // library, context, profile, stream
  bt_context_infer_shapes: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" }, // library, context, capacity, names
  // library, context, memory, bytes
  bt_context_set_device_memory: { args: ["ptr", "ptr", "ptr", "i64"], returns: "i32" },
  // library, context, streams, count
  bt_context_set_aux_streams: { args: ["ptr", "ptr", "ptr", "i32"], returns: "i32" },
  // library, context, name, allocator
  bt_context_set_output_allocator: { args: ["ptr", "ptr", "ptr", "ptr"], returns: "i32" },
  bt_builder_create: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" }, // library, logger, device, builder
  // library, builder, network, config, device, plan
  bt_builder_build: { args: ["ptr", "ptr", "ptr", "ptr", "i32", "ptr"], returns: "i32" },
  // library, builder, network, config, device, nice
  bt_build_start: { args: ["ptr", "ptr", "ptr", "ptr", "i32", "i32"], returns: "ptr" },
  bt_build_end: { args: ["ptr", "ptr"], returns: "i32" }, // build, plan
  // library, config, pool, bytes
  bt_config_set_memory_pool_limit: { args: ["ptr", "ptr", "i32", "u64"], returns: "i32" },
  // library, config, bytes, count
  bt_config_create_timing_cache: { args: ["ptr", "ptr", "ptr", "usize"], returns: "ptr" },
  // library, config, cache, ignore_mismatch
  bt_config_set_timing_cache: { args: ["ptr", "ptr", "ptr", "i32"], returns: "i32" },
  // library, config, capability, index
  bt_config_set_compute_capability: { args: ["ptr", "ptr", "i32", "i32"], returns: "i32" },
  // library, cache, other, ignore_mismatch
  bt_timing_cache_combine: { args: ["ptr", "ptr", "ptr", "i32"], returns: "i32" },
  bt_layer_set_output_type: { args: ["ptr", "ptr", "i32", "i32"], returns: "i32" }, // library, layer, index, type
  bt_tensor_dimensions: { args: ["ptr", "ptr", "ptr"], returns: "i32" }, // library, tensor, dims
  // library, profile, name, selector, dims, rank
  bt_profile_set_dimensions: { args: ["ptr", "ptr", "ptr", "i32", "ptr", "i32"], returns: "i32" },
  // library, profile, name, selector, dims
  bt_profile_dimensions: { args: ["ptr", "ptr", "ptr", "i32", "ptr"], returns: "i32" },
  // library, profile, name, selector, values, count
  bt_profile_set_shape_values: { args: ["ptr", "ptr", "ptr", "i32", "ptr", "i32"], returns: "i32" },
  bt_parser_create: { args: ["ptr", "ptr", "ptr"], returns: "ptr" }, // library, network, logger
  // library, parser, model, bytes, path
  bt_parser_parse: { args: ["ptr", "ptr", "ptr", "usize", "ptr"], returns: "i32" },
  bt_parser_destroy: { args: ["ptr", "ptr"], returns: "i32" }, // library, parser
} as const;

/** The numbers of the header. */
export const SHIM_CONSTANTS = {
  BT_ABI_VERSION: 19,
  BT_MAX_DIMS: 8,
  BT_OK: 0,
  BT_FAILED: -1001, // TensorRT refused; the reason is in the rings
  BT_NO_METHOD: -1002, // this version of the library lacks the method
  BT_RUNNING: 1, // it has not ended yet
  BT_NO_DEVICE: -1003, // no CUDA driver or no device, or the device could not be bound
  BT_BAD_CALL: -1004, // NULL object, unknown method, or a method of another shape
  BT_NEEDS_DEVICE: 1, // creating a builder without a CUDA device aborts the process: refuse first
  BT_MARK_NONE: 0,
  BT_MARK_AWAITED: 1,
  BT_MARK_DONE: 2,
  BT_RESIZE_PLAIN: 0,
  BT_RESIZE_AVX2: 1, // with FMA and F16C
  BT_RESIZE_NEON: 2,
  BT_RESIZE_F32: 0,
  BT_RESIZE_F16: 1,
  BT_RESIZE_U8: 2,
  BT_VIDEO_CALLS: 15,
  BT_VIDEO_IDLE: 64,
  BT_NVDEC_SURFACES: 32,
  BT_NVDEC_PART: 0,
  BT_NVDEC_WHOLE: 1,
  BT_NVDEC_END: 2,
  BT_NVDEC_NONE: -1,
  BT_NVDEC_ENDED: -2,
  BT_NVDEC_GOES: 0,
  BT_NVDEC_CALL: 1, // `call`, by its place among the functions, -1 for binding the device, returned `status`
  BT_NVDEC_UNSUPPORTED: 2, // the card does not decode the format
  BT_IMAGE_DAMAGED: 1, // a code that is none, a value that no samples have, a marker out of place, data left over
  BT_IMAGE_SHORT: 2, // the data ends before the pixels do
  BT_IMAGE_OTHER: 3, // not looked at: of another kind
  BT_JPEG_PLAN_BYTES: 34420,
  BT_RECORD_LOG: 1, // severity; text: the line
  BT_RECORD_ERROR: 2, // number: ErrorCode; text: the description
  BT_RECORD_PHASE_START: 3, // number: steps; text: the phase; parent: the enclosing phase, or ""
  BT_RECORD_STEP: 4, // number: the step; text: the phase
  BT_RECORD_PHASE_END: 5, // text: the phase
  BT_RECORD_LAYER: 6, // value: milliseconds; text: the layer
  BT_TEXT_LIMIT: 8192,
} as const;

/** Methods of TensorRT by their number, and the shape each is called by: `bt_<shape>`, or a function of its own. */
export const SHIM_METHODS = {
  "Runtime.deserializeCudaEngine": "special",
  "Runtime.setErrorRecorder": "void_pointer",
  "Runtime.setDLACore": "void_i32",
  "Runtime.setMaxThreads": "bool_i32",
  "Runtime.setEngineHostCodeAllowed": "void_bool",
  "CudaEngine.getNbIOTensors": "i32",
  "CudaEngine.getIOTensorName": "text_at",
  "CudaEngine.getTensorShape": "special",
  "CudaEngine.getTensorDataType": "i32_of",
  "CudaEngine.getTensorIOMode": "i32_of",
  "CudaEngine.getTensorFormat": "i32_of",
  "CudaEngine.getTensorFormatDesc": "text_of",
  "CudaEngine.getTensorLocation": "i32_of",
  "CudaEngine.isShapeInferenceIO": "bool_of",
  "CudaEngine.getProfileShape": "special",
  "CudaEngine.getNbOptimizationProfiles": "i32",
  "CudaEngine.getNbLayers": "i32",
  "CudaEngine.getDeviceMemorySize": "i64",
  "CudaEngine.getDeviceMemorySizeV2": "i64",
  "CudaEngine.getDeviceMemorySizeForProfileV2": "i64_at",
  "CudaEngine.createExecutionContext": "special",
  "CudaEngine.createEngineInspector": "pointer",
  "CudaEngine.getName": "text",
  "CudaEngine.getHardwareCompatibilityLevel": "i32",
  "CudaEngine.getNbAuxStreams": "i32",
  "CudaEngine.serialize": "pointer",
  "CudaEngine.isRefittable": "bool",
  "ExecutionContext.setTensorAddress": "special",
  "ExecutionContext.setInputShape": "special",
  "ExecutionContext.getTensorShape": "special",
  "ExecutionContext.getTensorStrides": "special",
  "ExecutionContext.setOptimizationProfileAsync": "special",
  "ExecutionContext.getOptimizationProfile": "i32",
  "ExecutionContext.enqueueV3": "special",
  "ExecutionContext.setProfiler": "void_pointer",
  "ExecutionContext.setEnqueueEmitsProfile": "void_bool",
  "ExecutionContext.reportToProfiler": "bool",
  "ExecutionContext.inferShapes": "special",
  "ExecutionContext.setDeviceMemory": "void_pointer",
  "ExecutionContext.setDeviceMemoryV2": "special",
  "ExecutionContext.updateDeviceMemorySizeForShapes": "i64",
  "ExecutionContext.setAuxStreams": "special",
  "ExecutionContext.setOutputAllocator": "special",
  "ExecutionContext.getMaxOutputSize": "i64_of",
  "ExecutionContext.setPersistentCacheLimit": "void_i64",
  "Builder.createNetworkV2": "pointer_at",
  "Builder.createBuilderConfig": "pointer",
  "Builder.createOptimizationProfile": "pointer",
  "Builder.buildSerializedNetwork": "special",
  "Builder.platformHasFastFp16": "bool",
  "Builder.setMaxThreads": "bool_i32",
  "Builder.getNbDLACores": "i32",
  "Builder.setErrorRecorder": "void_pointer",
  "BuilderConfig.setFlag": "void_i32",
  "BuilderConfig.clearFlag": "void_i32",
  "BuilderConfig.getFlag": "bool_i32",
  "BuilderConfig.setMemoryPoolLimit": "special",
  "BuilderConfig.getMemoryPoolLimit": "i64_at",
  "BuilderConfig.setBuilderOptimizationLevel": "void_i32",
  "BuilderConfig.getBuilderOptimizationLevel": "i32",
  "BuilderConfig.setAvgTimingIterations": "void_i32",
  "BuilderConfig.getAvgTimingIterations": "i32",
  "BuilderConfig.setTimingCache": "special",
  "BuilderConfig.getTimingCache": "pointer",
  "BuilderConfig.createTimingCache": "special",
  "BuilderConfig.addOptimizationProfile": "i32_pointer",
  "BuilderConfig.getNbOptimizationProfiles": "i32",
  "BuilderConfig.setProfilingVerbosity": "void_i32",
  "BuilderConfig.getProfilingVerbosity": "i32",
  "BuilderConfig.setProgressMonitor": "void_pointer",
  "BuilderConfig.setHardwareCompatibilityLevel": "void_i32",
  "BuilderConfig.getHardwareCompatibilityLevel": "i32",
  "BuilderConfig.setDefaultDeviceType": "void_i32",
  "BuilderConfig.setDLACore": "void_i32",
  "BuilderConfig.setMaxAuxStreams": "void_i32",
  "BuilderConfig.setNbComputeCapabilities": "bool_i32",
  "BuilderConfig.setComputeCapability": "special",
  "NetworkDefinition.getNbInputs": "i32",
  "NetworkDefinition.getInput": "pointer_at",
  "NetworkDefinition.getNbOutputs": "i32",
  "NetworkDefinition.getOutput": "pointer_at",
  "NetworkDefinition.getNbLayers": "i32",
  "NetworkDefinition.getLayer": "pointer_at",
  "NetworkDefinition.setName": "void_text",
  "NetworkDefinition.getName": "text",
  "NetworkDefinition.getFlags": "i32",
  "Tensor.getName": "text",
  "Tensor.getDimensions": "special",
  "Tensor.setType": "void_i32",
  "Tensor.getType": "i32",
  "Tensor.setAllowedFormats": "void_i32",
  "Tensor.getAllowedFormats": "i32",
  "Tensor.isShapeTensor": "bool",
  "Layer.getType": "i32",
  "Layer.getName": "text",
  "Layer.getNbInputs": "i32",
  "Layer.getNbOutputs": "i32",
  "Layer.getOutput": "pointer_at",
  "Layer.setPrecision": "void_i32",
  "Layer.setOutputType": "special",
  "OptimizationProfile.setDimensions": "special",
  "OptimizationProfile.getDimensions": "special",
  "OptimizationProfile.setShapeValues": "special",
  "OptimizationProfile.setShapeValuesV2": "special",
  "OptimizationProfile.isValid": "bool",
  "HostMemory.data": "pointer",
  "HostMemory.size": "i64",
  "TimingCache.serialize": "pointer",
  "TimingCache.combine": "special",
  "EngineInspector.setExecutionContext": "bool_pointer",
  "EngineInspector.getLayerInformation": "special",
  "EngineInspector.getEngineInformation": "text_at",
  "Parser.parse": "special",
  "Parser.getNbErrors": "i32",
  "Parser.getError": "pointer_at",
  "Parser.destroy": "special",
  "ParserError.code": "i32",
  "ParserError.desc": "text",
  "ParserError.nodeName": "text",
  "ParserError.nodeOperator": "text",
} as const;

/** A function that blocks for milliseconds or minutes: it runs off the JS thread. */
export type BlockingName =
  | "bt_wait_any"
  | "bt_nvjpeg_create"
  | "bt_nvjpeg_create_state"
  | "bt_nvjpeg_prepare"
  | "bt_nvjpeg_decode_batched"
  | "bt_nvdec_wait"
  | "bt_jpeg_check"
  | "bt_gif_check"
  | "bt_jpeg_plans"
  | "bt_runtime_create"
  | "bt_runtime_deserialize"
  | "bt_engine_create_context"
  | "bt_builder_create"
  | "bt_builder_build"
  | "bt_parser_parse";
