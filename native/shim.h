/*
 * Contract of the shim, libbun_tensorrt_shim.so or bun_tensorrt_shim.dll: what TypeScript calls to reach the C++ objects of
 * TensorRT.
 *
 * Plain C, no NVIDIA header, nothing of TensorRT at link time. TypeScript hands over which vtable slot each method has
 * in the library that was found (src/tensorrt/version.ts); the signatures are here. src/ffi/shim-symbols.ts is
 * this file as a symbol table: `bun run shim` writes it.
 *
 * Conventions
 *   objects     `void *` is a public TensorRT object or one of the observers below; NULL is refused, never followed.
 *   status      BT_OK or one of the negative codes; results that are counts or enum values share the codes.
 *   dimensions  int32_t[BT_MAX_DIMS], -1 for a dynamic one; functions that write them return the rank.
 *   device      CUDA ordinal that the calling thread is bound to first, or -1 to leave the thread as it is.
 *   threads     observers may be called by TensorRT from any thread; they only write into a ring.
 *               Functions marked "blocks" are called off the JS thread.
 */
#ifndef BUN_TENSORRT_SHIM_H
#define BUN_TENSORRT_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define BT_API __declspec(dllexport)
#else
#define BT_API __attribute__((visibility("default")))
#endif

/* Raised with every change of this file; TypeScript refuses another one. */
#define BT_ABI_VERSION 19

#define BT_MAX_DIMS 8

#define BT_OK 0
#define BT_FAILED (-1001)    /* TensorRT refused; the reason is in the rings */
#define BT_NO_METHOD (-1002) /* this version of the library lacks the method */
#define BT_RUNNING 1         /* it has not ended yet */
#define BT_NO_DEVICE (-1003) /* no CUDA driver or no device, or the device could not be bound */
#define BT_BAD_CALL (-1004)  /* NULL object, unknown method, or a method of another shape */

/* What TensorRT's object layouts need to know of the library; the argument `flags` of bt_library_bind. */
#define BT_NEEDS_DEVICE 1u /* creating a builder without a CUDA device aborts the process: refuse first */

/* Methods by class, and the shape each is called with: `bt_<shape>`, or a function of its own for `special`. */
#define BT_METHODS(X)                                      \
  X(Runtime, deserializeCudaEngine, special)               \
  X(Runtime, setErrorRecorder, void_pointer)               \
  X(Runtime, setDLACore, void_i32)                         \
  X(Runtime, setMaxThreads, bool_i32)                      \
  X(Runtime, setEngineHostCodeAllowed, void_bool)          \
  X(CudaEngine, getNbIOTensors, i32)                       \
  X(CudaEngine, getIOTensorName, text_at)                  \
  X(CudaEngine, getTensorShape, special)                   \
  X(CudaEngine, getTensorDataType, i32_of)                 \
  X(CudaEngine, getTensorIOMode, i32_of)                   \
  X(CudaEngine, getTensorFormat, i32_of)                   \
  X(CudaEngine, getTensorFormatDesc, text_of)              \
  X(CudaEngine, getTensorLocation, i32_of)                 \
  X(CudaEngine, isShapeInferenceIO, bool_of)               \
  X(CudaEngine, getProfileShape, special)                  \
  X(CudaEngine, getNbOptimizationProfiles, i32)            \
  X(CudaEngine, getNbLayers, i32)                          \
  X(CudaEngine, getDeviceMemorySize, i64)                  \
  X(CudaEngine, getDeviceMemorySizeV2, i64)                \
  X(CudaEngine, getDeviceMemorySizeForProfileV2, i64_at)   \
  X(CudaEngine, createExecutionContext, special)           \
  X(CudaEngine, createEngineInspector, pointer)            \
  X(CudaEngine, getName, text)                             \
  X(CudaEngine, getHardwareCompatibilityLevel, i32)        \
  X(CudaEngine, getNbAuxStreams, i32)                      \
  X(CudaEngine, serialize, pointer)                        \
  X(CudaEngine, isRefittable, bool)                        \
  X(ExecutionContext, setTensorAddress, special)           \
  X(ExecutionContext, setInputShape, special)              \
  X(ExecutionContext, getTensorShape, special)             \
  X(ExecutionContext, getTensorStrides, special)           \
  X(ExecutionContext, setOptimizationProfileAsync, special)\
  X(ExecutionContext, getOptimizationProfile, i32)         \
  X(ExecutionContext, enqueueV3, special)                  \
  X(ExecutionContext, setProfiler, void_pointer)           \
  X(ExecutionContext, setEnqueueEmitsProfile, void_bool)   \
  X(ExecutionContext, reportToProfiler, bool)              \
  X(ExecutionContext, inferShapes, special)                \
  X(ExecutionContext, setDeviceMemory, void_pointer)       \
  X(ExecutionContext, setDeviceMemoryV2, special)          \
  X(ExecutionContext, updateDeviceMemorySizeForShapes, i64)\
  X(ExecutionContext, setAuxStreams, special)              \
  X(ExecutionContext, setOutputAllocator, special)         \
  X(ExecutionContext, getMaxOutputSize, i64_of)            \
  X(ExecutionContext, setPersistentCacheLimit, void_i64)   \
  X(Builder, createNetworkV2, pointer_at)                  \
  X(Builder, createBuilderConfig, pointer)                 \
  X(Builder, createOptimizationProfile, pointer)           \
  X(Builder, buildSerializedNetwork, special)              \
  X(Builder, platformHasFastFp16, bool)                    \
  X(Builder, setMaxThreads, bool_i32)                      \
  X(Builder, getNbDLACores, i32)                           \
  X(Builder, setErrorRecorder, void_pointer)               \
  X(BuilderConfig, setFlag, void_i32)                      \
  X(BuilderConfig, clearFlag, void_i32)                    \
  X(BuilderConfig, getFlag, bool_i32)                      \
  X(BuilderConfig, setMemoryPoolLimit, special)            \
  X(BuilderConfig, getMemoryPoolLimit, i64_at)             \
  X(BuilderConfig, setBuilderOptimizationLevel, void_i32)  \
  X(BuilderConfig, getBuilderOptimizationLevel, i32)       \
  X(BuilderConfig, setAvgTimingIterations, void_i32)       \
  X(BuilderConfig, getAvgTimingIterations, i32)            \
  X(BuilderConfig, setTimingCache, special)                \
  X(BuilderConfig, getTimingCache, pointer)                \
  X(BuilderConfig, createTimingCache, special)             \
  X(BuilderConfig, addOptimizationProfile, i32_pointer)    \
  X(BuilderConfig, getNbOptimizationProfiles, i32)         \
  X(BuilderConfig, setProfilingVerbosity, void_i32)        \
  X(BuilderConfig, getProfilingVerbosity, i32)             \
  X(BuilderConfig, setProgressMonitor, void_pointer)       \
  X(BuilderConfig, setHardwareCompatibilityLevel, void_i32)\
  X(BuilderConfig, getHardwareCompatibilityLevel, i32)     \
  X(BuilderConfig, setDefaultDeviceType, void_i32)         \
  X(BuilderConfig, setDLACore, void_i32)                   \
  X(BuilderConfig, setMaxAuxStreams, void_i32)             \
  X(BuilderConfig, setNbComputeCapabilities, bool_i32)     \
  X(BuilderConfig, setComputeCapability, special)          \
  X(NetworkDefinition, getNbInputs, i32)                   \
  X(NetworkDefinition, getInput, pointer_at)               \
  X(NetworkDefinition, getNbOutputs, i32)                  \
  X(NetworkDefinition, getOutput, pointer_at)              \
  X(NetworkDefinition, getNbLayers, i32)                   \
  X(NetworkDefinition, getLayer, pointer_at)               \
  X(NetworkDefinition, setName, void_text)                 \
  X(NetworkDefinition, getName, text)                      \
  X(NetworkDefinition, getFlags, i32)                      \
  X(Tensor, getName, text)                                 \
  X(Tensor, getDimensions, special)                        \
  X(Tensor, setType, void_i32)                             \
  X(Tensor, getType, i32)                                  \
  X(Tensor, setAllowedFormats, void_i32)                   \
  X(Tensor, getAllowedFormats, i32)                        \
  X(Tensor, isShapeTensor, bool)                           \
  X(Layer, getType, i32)                                   \
  X(Layer, getName, text)                                  \
  X(Layer, getNbInputs, i32)                               \
  X(Layer, getNbOutputs, i32)                              \
  X(Layer, getOutput, pointer_at)                          \
  X(Layer, setPrecision, void_i32)                         \
  X(Layer, setOutputType, special)                         \
  X(OptimizationProfile, setDimensions, special)           \
  X(OptimizationProfile, getDimensions, special)           \
  X(OptimizationProfile, setShapeValues, special)          \
  X(OptimizationProfile, setShapeValuesV2, special)        \
  X(OptimizationProfile, isValid, bool)                    \
  X(HostMemory, data, pointer)                             \
  X(HostMemory, size, i64)                                 \
  X(TimingCache, serialize, pointer)                       \
  X(TimingCache, combine, special)                         \
  X(EngineInspector, setExecutionContext, bool_pointer)    \
  X(EngineInspector, getLayerInformation, special)         \
  X(EngineInspector, getEngineInformation, text_at)        \
  X(Parser, parse, special)                                \
  X(Parser, getNbErrors, i32)                              \
  X(Parser, getError, pointer_at)                          \
  X(Parser, destroy, special)                              \
  X(ParserError, code, i32)                                \
  X(ParserError, desc, text)                               \
  X(ParserError, nodeName, text)                           \
  X(ParserError, nodeOperator, text)

enum bt_method {
#define BT_METHOD_ID(class_name, method, shape) BT_##class_name##_##method,
  BT_METHODS(BT_METHOD_ID)
#undef BT_METHOD_ID
  BT_METHOD_COUNT
};

typedef struct bt_library bt_library;
typedef struct bt_ring bt_ring;

/* ---- self-test: TypeScript proves at bind time that every argument and result type crosses unharmed ---- */

BT_API int32_t bt_abi_version(void);
BT_API int32_t bt_method_count(void);
BT_API int32_t bt_echo_i32(int32_t value);
BT_API int64_t bt_echo_i64(int64_t value);
BT_API void *bt_echo_pointer(void *value);
/* Writes the arguments, each widened to 64 bits (the float as its bits), into six cells of `out`. */
BT_API int32_t bt_echo_arguments(const void *pointer, int32_t i32, uint32_t u32, int64_t i64, uint64_t u64, float f32,
                                 uint64_t *out);

/* ---- the driver ---- */

/* BT_OK, BT_NO_DEVICE where libcuda.so.1 is absent, or the positive CUresult. Both out-parameters may be NULL. */
BT_API int32_t bt_cuda_probe(int32_t *device_count, int32_t *driver_version);

/* ---- events ---- */

#define BT_MARK_NONE 0
#define BT_MARK_AWAITED 1
#define BT_MARK_DONE 2

/*
 * Blocks until some of the events that are marked as awaited are done, marks those, and returns how many; at once where
 * none is awaited. `query` is cudaEventQuery; between two rounds the thread sleeps for `pause_us`. Events may be added
 * meanwhile, the handle first and then its mark.
 */
BT_API int32_t bt_wait_any(int32_t device, void *query, void *const *events, int32_t *marks, int32_t capacity,
                           int32_t pause_us);

/* ---- memory ---- */

/*
 * memcpy by the caller and up to three helpers, which are started by the first large copy and sleep between copies. From
 * 1 MiB on; smaller ones are the caller's. Returns BT_OK, or BT_BAD_CALL.
 */
BT_API int32_t bt_copy(void *target, const void *source, int64_t bytes);

/* The same of rows, whose starts lie a pitch apart; what is between them is neither read nor written. */
BT_API int32_t bt_copy_rows(void *target, int64_t target_pitch, const void *source, int64_t source_pitch,
                            int64_t row_bytes, int64_t rows);

/* ---- pre-processing ---- */

/* Sets of instructions; every processor has the plain one. */
#define BT_RESIZE_PLAIN 0
#define BT_RESIZE_AVX2 1 /* with FMA and F16C */
#define BT_RESIZE_NEON 2

/* Elements of the tensor. */
#define BT_RESIZE_F32 0
#define BT_RESIZE_F16 1
#define BT_RESIZE_U8 2

/* A region of an image of 8-bit pixels, and where it goes: `int32_t` each. */
typedef struct bt_resize_form {
  int32_t pixel_bytes;  /* 3 or 4, of which the last is not used; 4 for NV12 */
  int32_t pitch;        /* bytes from row to row */
  int32_t x, y;         /* the region's first pixel, which may lie beside the image */
  int32_t low, high;    /* the region's columns that the image has */
  int32_t width;        /* of what is written, in pixels */
  int32_t height;
  int32_t dtype;
  int32_t step;         /* elements from pixel to pixel: 1 in planes, 3 where channels alternate */
  int32_t row_elements; /* from row to row */
  int32_t first[3];     /* element of the first pixel, by the image's channels */
  int32_t chroma_pitch; /* of NV12 */
  int32_t yuv[6];       /* of NV12: offset, y, vRed, uGreen, vGreen, uBlue; see src/image/image.ts */
} bt_resize_form;

/* The best set that this processor has. */
BT_API int32_t bt_resize_instructions(void);

/* Bytes of the scratch memory for a width, and rows of the image of which the region has that many bytes; of NV12 4 for each
 * pixel, and for one more. */
BT_API int64_t bt_resize_scratch(int32_t width, int32_t row_bytes);

/*
 * Resizes a region as OpenCV's INTER_LINEAR and stores the values of its levels. `bytes` is the length of `data`; U, V of NV12
 * begin at its byte `chroma`, which is 0 for other images. `columns` and `rows` are [n, 3]: nearer pixel in bytes or rows from
 * the region's first, the next one, weight of that one of 2048.
 * `tables` are [3, 256] elements by the image's channels, `lines` [3, 2]: slope and offset that the tables were made by.
 * Element `start` of `output` is the first of the tensor's row. Every set of instructions gives the same bits.
 */
BT_API int32_t bt_resize(int32_t instructions, const bt_resize_form *form, const uint8_t *data, int64_t bytes,
                         int64_t chroma, const int32_t *columns, const int32_t *rows, const void *tables,
                         const double *lines, void *output, int64_t start, uint8_t *scratch);

/* ---- the motion of a camera ---- */

/* A frame of 8-bit pixels: `int32_t` each. */
typedef struct bt_grey_frame {
  int32_t pixel_bytes;   /* 1, 3 or 4; 0 of NV12 */
  int32_t pitch;         /* bytes from row to row */
  int32_t is_blue_first; /* of 3 bytes */
  int32_t chroma_pitch;  /* of NV12 */
  int32_t is_full;       /* range of NV12 */
} bt_grey_frame;

/* A size of the grey copy, with 24 mirrored pixels around it: `int32_t` each. */
typedef struct bt_grey_level {
  int32_t width, height;
  int32_t pitch;  /* bytes from row to row */
  int32_t origin; /* byte of the first pixel */
} bt_grey_level;

/*
 * Makes the levels of a frame's grey copy in `pixels`, the first of half its size. U, V of NV12 begin at byte `chroma` of
 * `data`. `scratch` has four bytes a column of the frame, and 16 more. `instructions` are those of bt_resize; every set of
 * them gives the same bits.
 */
BT_API int32_t bt_grey_load(int32_t instructions, const bt_grey_frame *frame, const uint8_t *data, int64_t chroma,
                            const bt_grey_level *levels, int32_t count, uint8_t *pixels, uint8_t *scratch);

/* Bytes of the scratch memory to find corners in a level. */
BT_API int64_t bt_flow_scratch(int32_t width, int32_t height);

/* Finds up to 400 corners of a level, the strongest first: x and y in turns. Returns how many. */
BT_API int32_t bt_flow_find(int32_t instructions, const bt_grey_level *level, const uint8_t *pixels, uint8_t *scratch,
                            double *places);

/*
 * Follows corners of the first level from `before` into `after`, and 32 bytes behind them may be read. Those that are lost
 * are taken out of `from`. Returns how many are left.
 */
BT_API int32_t bt_flow_follow(int32_t instructions, const bt_grey_level *levels, int32_t count, const uint8_t *before,
                              const uint8_t *after, double *from, double *to, int32_t corners);

/* ---- nvJPEG: threads other than the one that opened a device have none until they are bound to it ---- */

/* Blocks. nvjpegCreateEx, whose address is `function`, with its own allocators. Returns its status. */
BT_API int32_t bt_nvjpeg_create(int32_t device, void *function, int32_t backend, uint32_t flags, void **out);

/* Blocks. nvjpegJpegStateCreate, whose address is `function`. Returns its status. */
BT_API int32_t bt_nvjpeg_create_state(int32_t device, void *function, void *handle, void **out);

/* Blocks. nvjpegDecodeBatchedInitialize, whose address is `function`: sets a state up for batches of `count` images.
 * Returns its status. */
BT_API int32_t bt_nvjpeg_prepare(int32_t device, void *function, void *handle, void *state, int32_t count,
                                 int32_t threads, int32_t format);

/* Blocks. nvjpegDecodeBatched, whose address is `function`; the arrays are those it takes. Returns its status. */
BT_API int32_t bt_nvjpeg_decode_batched(int32_t device, void *function, void *handle, void *state, const void *data,
                                        const void *lengths, void *destinations, void *stream);

/* ---- video: the engines beside the multiprocessors that decode it ---- */

/* Functions that are called: cuvidGetDecoderCaps, cuvidCreateDecoder, cuvidDestroyDecoder, cuvidDecodePicture,
 * cuvidGetDecodeStatus, cuvidReconfigureDecoder, cuvidMapVideoFrame64, cuvidUnmapVideoFrame64, cuvidCtxLockCreate,
 * cuvidCtxLockDestroy, cuvidCreateVideoParser, cuvidParseVideoData, cuvidDestroyVideoParser, cudaStreamSynchronize and
 * cudaEventSynchronize, in this order. */
#define BT_VIDEO_CALLS 15
/* Most decoders that wait for the next stream. */
#define BT_VIDEO_IDLE 64
/* Most surfaces of a decoder that are mapped at once. */
#define BT_NVDEC_SURFACES 32

/* The engines of a device, and decoders that no stream uses. */
typedef struct bt_video bt_video;
/* A decoder: a stream's. */
typedef struct bt_nvdec bt_nvdec;

/* What the engines take of a codec. */
typedef struct bt_video_limits {
  int32_t is_supported;
  int32_t engines;
  int32_t formats; /* bits: 0 NV12, 1 P016, 2 YUV444, 3 YUV444 of 16 bits */
  int32_t max_width, max_height;
  int32_t max_macroblocks;
  int32_t min_width, min_height;
} bt_video_limits;

typedef struct bt_nvdec_options {
  int32_t codec;    /* cudaVideoCodec */
  int32_t surfaces; /* that may be mapped at once */
  int32_t delay;    /* ulMaxDisplayDelay */
  int32_t max_width, max_height; /* up to which it is reconfigured; 0 for the first size */
  /* As the stream will be coded, and the images that the parser will ask for: made at once. Width 0: when the stream tells. */
  int32_t width, height, chroma, bits, decode_surfaces;
} bt_nvdec_options;

/* Packets: a part of the stream, the data of one whole picture, the end of the stream. */
#define BT_NVDEC_PART 0
#define BT_NVDEC_WHOLE 1
#define BT_NVDEC_END 2

/* Results of bt_nvdec_take that are no slots. */
#define BT_NVDEC_NONE (-1)
#define BT_NVDEC_ENDED (-2)

/* Failures. */
#define BT_NVDEC_GOES 0
#define BT_NVDEC_CALL 1        /* `call`, by its place among the functions, -1 for binding the device, returned `status` */
#define BT_NVDEC_UNSUPPORTED 2 /* the card does not decode the format */

typedef struct bt_nvdec_report {
  int32_t failure;
  int32_t call, status;
  int32_t codec, chroma, bits, width, height; /* of the stream, as coded */
  int32_t packets;
  int32_t frames;  /* that were mapped */
  int32_t damaged; /* of them, those that the engine concealed or refused */
  int32_t refused; /* pictures that the engine refused */
  int32_t created, reconfigured; /* decoders */
  int32_t is_prepared; /* what was to be made at once is there, or is left to the stream */
} bt_nvdec_report;

typedef struct bt_nvdec_frame {
  uint64_t surface;
  uint64_t luma, chroma; /* the first samples that are shown */
  int64_t timestamp;
  int32_t pitch;
  int32_t width, height; /* of what is shown */
  int32_t bits;
  uint32_t signal; /* video_signal_description */
  int32_t is_damaged;
} bt_nvdec_frame;

/* `context` is the device's; `idle` decoders are kept at most, and a thread destroys the others. */
BT_API int32_t bt_video_open(int32_t device, void *context, const void *const *functions, int32_t idle, void **out);
/* Every decoder is closed before. Returns the first status of cuvidDestroyDecoder that is not 0. */
BT_API int32_t bt_video_close(bt_video *video);
/* From now on `idle` decoders are kept at most: more that are there go one after the other, with pauses. */
BT_API int32_t bt_video_keep(bt_video *video, int32_t idle);
/* Decoders that no stream uses and that are not destroyed yet, and those that streams are about to leave. */
BT_API int32_t bt_video_left(bt_video *video);
/* Returns the status of cuvidGetDecoderCaps. */
BT_API int32_t bt_video_caps(bt_video *video, int32_t codec, int32_t chroma, int32_t bits, bt_video_limits *out);

/* Starts the decoder's thread, which maps on `stream`. `events`: one a surface. They outlive the decoder. */
BT_API int32_t bt_nvdec_open(bt_video *video, const bt_nvdec_options *options, void *stream, void *const *events,
                             void **out);
/* Has the thread end, without waiting: BT_RUNNING until it has ended, then BT_OK. Every frame that was taken has been given
 * back; nothing but this and bt_nvdec_close follows. */
BT_API int32_t bt_nvdec_stop(bt_nvdec *decoder);
/* Ends the thread, and waits for it where it was not stopped before. Every frame that was taken has been given back. */
BT_API int32_t bt_nvdec_close(bt_nvdec *decoder);
/* Queues a copy of a packet: BT_OK, BT_RUNNING where the queue is full, BT_FAILED where bt_nvdec_told says why. One thread
 * feeds. */
BT_API int32_t bt_nvdec_feed(bt_nvdec *decoder, const uint8_t *bytes, int64_t length, int64_t timestamp, int32_t kind);
/* The slot of the next frame that is shown, BT_NVDEC_NONE, BT_NVDEC_ENDED once after the frames in front of an end, or
 * BT_FAILED once all frames before the failure have been taken. */
BT_API int32_t bt_nvdec_take(bt_nvdec *decoder, bt_nvdec_frame *out);
/* Gives a slot back: at once, or once its event, which has been recorded, has passed. */
BT_API int32_t bt_nvdec_release(bt_nvdec *decoder, int32_t slot_index, int32_t is_recorded);
BT_API int32_t bt_nvdec_told(bt_nvdec *decoder, bt_nvdec_report *out);
/* Blocks until something is new about any decoder since `seen`, or for `timeout_ms`; returns what is seen now. */
BT_API int32_t bt_nvdec_wait(int32_t seen, int32_t timeout_ms);

/* ---- image files ---- */

#define BT_IMAGE_DAMAGED 1 /* a code that is none, a value that no samples have, a marker out of place, data left over */
#define BT_IMAGE_SHORT 2   /* the data ends before the pixels do */
#define BT_IMAGE_OTHER 3   /* not looked at: of another kind */

/* Blocks. BT_OK if the data of a baseline JPEG of one scan codes all of its pixels; it is read, and no pixel is made. */
BT_API int32_t bt_jpeg_check(const uint8_t *bytes, size_t length);

/* Blocks. The same of the first image of a GIF. */
BT_API int32_t bt_gif_check(const uint8_t *bytes, size_t length);

/* Tables in front of the data of a laid-out image. */
#define BT_JPEG_PLAN_BYTES 34420

/* Blocks. Lays images out for the kernels of jpeg_check.cu, which check the same on the GPU: image `index` from
 * `offsets[index]` up to the next offset, all of them multiples of 16. A status for each: BT_OK, or BT_IMAGE_DAMAGED where
 * there is no such image, a restart marker is missing, or there is too little room. */
BT_API int32_t bt_jpeg_plans(int32_t count, const uint8_t *const *bytes, const uint64_t *lengths, uint8_t *out,
                             const uint64_t *offsets, int32_t *statuses);

/* ---- files: one process at a time builds an engine ---- */

/* Locks a file, making it if need be, and writes this process' id into it. Returns a descriptor; BT_FAILED where another
 * process, or another call of this one, holds it; else the negative errno. The kernel frees the lock of a process that
 * died. */
BT_API int32_t bt_file_lock(const char *path);
BT_API int32_t bt_file_unlock(int32_t descriptor);

/* ---- libraries: opened once, never closed; on failure the dynamic linker's text is put into `error` ---- */

/* Opens libnvinfer or libtensorrt_rtx; NULL on failure. */
BT_API bt_library *bt_library_open(const char *path, char *error, uint32_t error_capacity);
/* What getInferLibVersion() returned: 10000*major + 100*minor + patch. */
BT_API int32_t bt_library_version(const bt_library *library);
/* Build number, or -1 where the library does not tell. */
BT_API int32_t bt_library_build(const bt_library *library);
/* `slots`: BT_METHOD_COUNT entries in the order of BT_METHODS, -1 for a missing method. `layout`: 10 or 11, of ILogger
 * and IProfiler. */
BT_API int32_t bt_library_bind(bt_library *library, const int16_t *slots, int32_t count, int32_t layout, uint32_t flags);
/* Opens the ONNX parser that belongs to the library. Opening it again does nothing. */
BT_API int32_t bt_library_open_parser(bt_library *library, const char *path, char *error, uint32_t error_capacity);
/* Opens libnvinfer_plugin and registers its plugins with `logger`. */
BT_API int32_t bt_library_open_plugins(const char *path, void *logger, char *error, uint32_t error_capacity);
/* Loads a library that TensorRT will look for by its bare name, such as the builder resource. A bare name is looked for
 * beside the shim too: a copy of the shim beside a link to the library brings it in from any folder. */
BT_API int32_t bt_preload(const char *path, char *error, uint32_t error_capacity);

/* ---- rings: bounded queues of records, written by any thread and read by JS; a full ring drops and counts ---- */

#define BT_RECORD_LOG 1         /* severity; text: the line */
#define BT_RECORD_ERROR 2       /* number: ErrorCode; text: the description */
#define BT_RECORD_PHASE_START 3 /* number: steps; text: the phase; parent: the enclosing phase, or "" */
#define BT_RECORD_STEP 4        /* number: the step; text: the phase */
#define BT_RECORD_PHASE_END 5   /* text: the phase */
#define BT_RECORD_LAYER 6       /* value: milliseconds; text: the layer */

/* Longer texts are cut. */
#define BT_TEXT_LIMIT 8192u

/* Precedes `text_bytes` and then `parent_bytes` bytes of UTF-8 without terminators; `bytes` counts it all, and is a
 * multiple of 8. */
typedef struct bt_record {
  uint32_t bytes;
  uint16_t kind;
  uint16_t severity;
  int32_t number;
  float value;
  uint32_t text_bytes;
  uint32_t parent_bytes;
} bt_record;

/* `capacity` bytes; lines of severity 2 (warning) and up may use three quarters of it, so that errors find room. */
BT_API bt_ring *bt_ring_create(uint32_t capacity);
/* Every observer that writes into it must be gone. */
BT_API void bt_ring_destroy(bt_ring *ring);
/* Moves as many whole records as fit into `out`, oldest first; returns their bytes, 0 when the ring is empty. */
BT_API int32_t bt_ring_read(bt_ring *ring, void *out, uint32_t capacity);
/* Records dropped since the ring was made. */
BT_API int64_t bt_ring_dropped(bt_ring *ring);
/* Queues a record as an observer does; returns BT_FAILED if it was dropped. `parent` may be NULL. */
BT_API int32_t bt_ring_write(bt_ring *ring, int32_t kind, int32_t severity, int32_t number, float value,
                             const char *text, const char *parent);

/* ---- observers: objects TensorRT calls; the caller keeps them until the last object that knows them is gone ---- */

/* ILogger of both layouts; lines above `level` (0 internal error … 4 verbose) are not queued. */
BT_API void *bt_logger_create(int32_t layout, bt_ring *ring, int32_t level);
BT_API void bt_logger_set_level(void *logger, int32_t level);
/* IProgressMonitor. */
BT_API void *bt_monitor_create(bt_ring *ring);
/* From now on stepComplete returns false, which ends the build. */
BT_API void bt_monitor_cancel(void *monitor);
/* From now on stepComplete waits, until it is called with 0 or the build is cancelled. */
BT_API void bt_monitor_pause(void *monitor, int32_t paused);
/* IProfiler of both layouts. */
BT_API void *bt_profiler_create(int32_t layout, bt_ring *ring);
/* IErrorRecorder; it keeps the last errors for TensorRT to read back as well. */
BT_API void *bt_recorder_create(bt_ring *ring);
/* IOutputAllocator over memory of the caller: grants requests that fit and remembers the rest. */
BT_API void *bt_allocator_create(void);
BT_API void bt_allocator_set_memory(void *allocator, void *memory, uint64_t bytes);
/* Largest request since the last bt_allocator_set_memory. */
BT_API int64_t bt_allocator_requested(void *allocator);
/* The shape that the last inference reported; BT_FAILED before any. */
BT_API int32_t bt_allocator_shape(void *allocator, int32_t *dims);
/* Frees any observer. A recorder that TensorRT still refers to is kept, and BT_FAILED returned. */
BT_API int32_t bt_observer_destroy(void *observer);

/* ---- one function per shape of method: `method` is a bt_method whose shape is the function's name ---- */

BT_API int32_t bt_i32(const bt_library *library, void *object, int32_t method);
BT_API int64_t bt_i64(const bt_library *library, void *object, int32_t method);
BT_API int32_t bt_bool(const bt_library *library, void *object, int32_t method);
BT_API const char *bt_text(const bt_library *library, void *object, int32_t method);
BT_API void *bt_pointer(const bt_library *library, void *object, int32_t method);
BT_API int64_t bt_i64_at(const bt_library *library, void *object, int32_t method, int32_t index);
BT_API const char *bt_text_at(const bt_library *library, void *object, int32_t method, int32_t index);
BT_API void *bt_pointer_at(const bt_library *library, void *object, int32_t method, int32_t index);
BT_API int32_t bt_i32_of(const bt_library *library, void *object, int32_t method, const char *name);
BT_API int64_t bt_i64_of(const bt_library *library, void *object, int32_t method, const char *name);
BT_API int32_t bt_bool_of(const bt_library *library, void *object, int32_t method, const char *name);
BT_API const char *bt_text_of(const bt_library *library, void *object, int32_t method, const char *name);
BT_API int32_t bt_void_i32(const bt_library *library, void *object, int32_t method, int32_t value);
BT_API int32_t bt_void_i64(const bt_library *library, void *object, int32_t method, int64_t value);
BT_API int32_t bt_void_bool(const bt_library *library, void *object, int32_t method, int32_t value);
BT_API int32_t bt_void_text(const bt_library *library, void *object, int32_t method, const char *value);
BT_API int32_t bt_void_pointer(const bt_library *library, void *object, int32_t method, void *value);
BT_API int32_t bt_bool_i32(const bt_library *library, void *object, int32_t method, int32_t value);
BT_API int32_t bt_bool_pointer(const bt_library *library, void *object, int32_t method, void *value);
BT_API int32_t bt_i32_pointer(const bt_library *library, void *object, int32_t method, void *value);

/* Deletes a TensorRT object through its virtual destructor: runtime, engine, context, builder, network, configuration,
 * timing cache, inspector, host memory. Children first. Not for parsers. */
BT_API int32_t bt_destroy(void *object);

/* ---- runtime and engine ---- */

/* Blocks. */
BT_API int32_t bt_runtime_create(const bt_library *library, void *logger, int32_t device, void **runtime);
/* Blocks. `plan` may be freed afterwards. */
BT_API int32_t bt_runtime_deserialize(const bt_library *library, void *runtime, const void *plan, size_t bytes,
                                      int32_t device, void **engine);
BT_API int32_t bt_engine_tensor_shape(const bt_library *library, void *engine, const char *name, int32_t *dims);
/* `selector`: 0 min, 1 opt, 2 max. */
BT_API int32_t bt_engine_profile_shape(const bt_library *library, void *engine, const char *name, int32_t profile,
                                       int32_t selector, int32_t *dims);
/* Blocks. `strategy`: 0 static, 1 on profile change, 2 user managed. */
BT_API int32_t bt_engine_create_context(const bt_library *library, void *engine, int32_t strategy, int32_t device,
                                        void **context);
BT_API const char *bt_inspector_layer(const bt_library *library, void *inspector, int32_t layer, int32_t format);

/* ---- execution context; the first three are called per frame ---- */

BT_API int32_t bt_context_enqueue(const bt_library *library, void *context, void *stream);
BT_API int32_t bt_context_set_tensor_address(const bt_library *library, void *context, const char *name, void *address);
BT_API int32_t bt_context_set_input_shape(const bt_library *library, void *context, const char *name,
                                          const int32_t *dims, int32_t rank);
BT_API int32_t bt_context_tensor_shape(const bt_library *library, void *context, const char *name, int32_t *dims);
BT_API int32_t bt_context_tensor_strides(const bt_library *library, void *context, const char *name, int32_t *dims);
BT_API int32_t bt_context_set_profile(const bt_library *library, void *context, int32_t profile, void *stream);
/* Number of tensors whose shape is still unknown, their names into the first `capacity` entries of `names`. */
BT_API int32_t bt_context_infer_shapes(const bt_library *library, void *context, int32_t capacity, const char **names);
BT_API int32_t bt_context_set_device_memory(const bt_library *library, void *context, void *memory, int64_t bytes);
BT_API int32_t bt_context_set_aux_streams(const bt_library *library, void *context, void *const *streams, int32_t count);
BT_API int32_t bt_context_set_output_allocator(const bt_library *library, void *context, const char *name,
                                               void *allocator);

/* ---- builder ---- */

/* Blocks: loads the kernels of the builder resource. */
BT_API int32_t bt_builder_create(const bt_library *library, void *logger, int32_t device, void **builder);
/* Blocks for seconds or minutes. `plan` is an IHostMemory of the caller. */
BT_API int32_t bt_builder_build(const bt_library *library, void *builder, void *network, void *config, int32_t device,
                                void **plan);
/* The same on a thread of its own, which gives way to others by `nice`; so do the threads that TensorRT starts from there.
 * Returns NULL where it cannot begin. */
BT_API void *bt_build_start(const bt_library *library, void *builder, void *network, void *config, int32_t device,
                            int32_t nice);
/* BT_RUNNING, or what bt_builder_build returns: the build is gone then. */
BT_API int32_t bt_build_end(void *build, void **plan);
BT_API int32_t bt_config_set_memory_pool_limit(const bt_library *library, void *config, int32_t pool, uint64_t bytes);
BT_API void *bt_config_create_timing_cache(const bt_library *library, void *config, const void *bytes, size_t count);
BT_API int32_t bt_config_set_timing_cache(const bt_library *library, void *config, void *cache, int32_t ignore_mismatch);
/* TensorRT-RTX only. `capability`: 75, 80, 86, 89, 120 …; 1 is the GPU of this machine. */
BT_API int32_t bt_config_set_compute_capability(const bt_library *library, void *config, int32_t capability,
                                                int32_t index);
BT_API int32_t bt_timing_cache_combine(const bt_library *library, void *cache, void *other, int32_t ignore_mismatch);
/* `type` is a number of DataType. Up to TensorRT 10. */
BT_API int32_t bt_layer_set_output_type(const bt_library *library, void *layer, int32_t index, int32_t type);
BT_API int32_t bt_tensor_dimensions(const bt_library *library, void *tensor, int32_t *dims);
BT_API int32_t bt_profile_set_dimensions(const bt_library *library, void *profile, const char *name, int32_t selector,
                                         const int32_t *dims, int32_t rank);
BT_API int32_t bt_profile_dimensions(const bt_library *library, void *profile, const char *name, int32_t selector,
                                     int32_t *dims);
/* Values of an input that holds a shape. */
BT_API int32_t bt_profile_set_shape_values(const bt_library *library, void *profile, const char *name, int32_t selector,
                                           const int32_t *values, int32_t count);

/* ---- ONNX parser ---- */

/* NULL on failure. The parser is destroyed before its network, and after the network has been built. */
BT_API void *bt_parser_create(const bt_library *library, void *network, void *logger);
/* Blocks. `path`, which may be NULL, is where external weights are looked for. After a failure neither the parser nor
 * its network can be used again. */
BT_API int32_t bt_parser_parse(const bt_library *library, void *parser, const void *model, size_t bytes,
                               const char *path);
BT_API int32_t bt_parser_destroy(const bt_library *library, void *parser);

#endif
