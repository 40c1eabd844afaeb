/* Methods whose arguments need more than a shape: dimensions, buffers, blocking calls. */
#define _GNU_SOURCE /* syscall */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "internal.h"

/* Declares `call` of a method, or returns the status from the enclosing function. */
#define FIND(object, method)                                   \
  bt_call call;                                                \
  int32_t status = bt_find(library, object, method, &call);    \
  if (status != BT_OK) return status

static int32_t succeeded(bool result) { return result ? BT_OK : BT_FAILED; }

static int32_t write_dims(const bt_dims *from, int32_t *dims) {
  if (from->rank < 0 || from->rank > BT_MAX_DIMS) return BT_FAILED;
  for (int32_t i = 0; i < from->rank; i++) {
    if (from->d[i] < INT32_MIN || from->d[i] > INT32_MAX) return BT_FAILED;
    dims[i] = (int32_t)from->d[i];
  }
  return from->rank;
}

static int32_t read_dims(bt_dims *to, const int32_t *dims, int32_t rank) {
  if (rank < 0 || rank > BT_MAX_DIMS) return BT_BAD_CALL;
  to->rank = rank;
  for (int32_t i = 0; i < BT_MAX_DIMS; i++) to->d[i] = i < rank ? dims[i] : 0;
  return BT_OK;
}

int32_t bt_destroy(void *object) {
  if (object == NULL) return BT_BAD_CALL;
#ifdef _WIN32
  /* MSVC has one destructor, which frees the memory where its flag is 1. */
  ((void *(*)(void *, unsigned))(*(void ***)object)[0])(object, 1);
#else
  /* Slot 1 of the public vtable is the deleting destructor. */
  ((void (*)(void *))(*(void ***)object)[1])(object);
#endif
  return BT_OK;
}

/* ---- runtime and engine ---- */

int32_t bt_runtime_create(const bt_library *library, void *logger, int32_t device, void **runtime) {
  if (library == NULL || logger == NULL) return BT_BAD_CALL;
  if (library->create_runtime == NULL) return BT_NO_METHOD;
  if (bt_use_device(device) != BT_OK) return BT_NO_DEVICE;
  return bt_created(library->create_runtime(logger, library->version), runtime);
}

int32_t bt_runtime_deserialize(const bt_library *library, void *runtime, const void *plan, size_t bytes, int32_t device,
                               void **engine) {
  FIND(runtime, BT_Runtime_deserializeCudaEngine);
  if (bt_use_device(device) != BT_OK) return BT_NO_DEVICE;
  return bt_created(((void *(*)(void *, const void *, size_t))call.fn)(call.self, plan, bytes), engine);
}

int32_t bt_engine_tensor_shape(const bt_library *library, void *engine, const char *name, int32_t *dims) {
  FIND(engine, BT_CudaEngine_getTensorShape);
  bt_dims result;
  CALL_DIMS(result, call, DIMS_METHOD(void *, const char *), name);
  return write_dims(&result, dims);
}

int32_t bt_engine_profile_shape(const bt_library *library, void *engine, const char *name, int32_t profile,
                                int32_t selector, int32_t *dims) {
  FIND(engine, BT_CudaEngine_getProfileShape);
  bt_dims result;
  CALL_DIMS(result, call, DIMS_METHOD(void *, const char *, int32_t, int32_t), name, profile, selector);
  return write_dims(&result, dims);
}

int32_t bt_engine_create_context(const bt_library *library, void *engine, int32_t strategy, int32_t device,
                                 void **context) {
  FIND(engine, BT_CudaEngine_createExecutionContext);
  if (bt_use_device(device) != BT_OK) return BT_NO_DEVICE;
  return bt_created(((void *(*)(void *, int32_t))call.fn)(call.self, strategy), context);
}

const char *bt_inspector_layer(const bt_library *library, void *inspector, int32_t layer, int32_t format) {
  bt_call call;
  if (bt_find(library, inspector, BT_EngineInspector_getLayerInformation, &call) != BT_OK) return NULL;
  return ((const char *(*)(void *, int32_t, int32_t))call.fn)(call.self, layer, format);
}

/* ---- execution context ---- */

int32_t bt_context_enqueue(const bt_library *library, void *context, void *stream) {
  FIND(context, BT_ExecutionContext_enqueueV3);
  return succeeded(((bool (*)(void *, void *))call.fn)(call.self, stream));
}

int32_t bt_context_set_tensor_address(const bt_library *library, void *context, const char *name, void *address) {
  FIND(context, BT_ExecutionContext_setTensorAddress);
  return succeeded(((bool (*)(void *, const char *, void *))call.fn)(call.self, name, address));
}

int32_t bt_context_set_input_shape(const bt_library *library, void *context, const char *name, const int32_t *dims,
                                   int32_t rank) {
  FIND(context, BT_ExecutionContext_setInputShape);
  bt_dims shape;
  if (read_dims(&shape, dims, rank) != BT_OK) return BT_BAD_CALL;
  return succeeded(((bool (*)(void *, const char *, const bt_dims *))call.fn)(call.self, name, &shape));
}

int32_t bt_context_tensor_shape(const bt_library *library, void *context, const char *name, int32_t *dims) {
  FIND(context, BT_ExecutionContext_getTensorShape);
  bt_dims result;
  CALL_DIMS(result, call, DIMS_METHOD(void *, const char *), name);
  return write_dims(&result, dims);
}

int32_t bt_context_tensor_strides(const bt_library *library, void *context, const char *name, int32_t *dims) {
  FIND(context, BT_ExecutionContext_getTensorStrides);
  bt_dims result;
  CALL_DIMS(result, call, DIMS_METHOD(void *, const char *), name);
  return write_dims(&result, dims);
}

int32_t bt_context_set_profile(const bt_library *library, void *context, int32_t profile, void *stream) {
  FIND(context, BT_ExecutionContext_setOptimizationProfileAsync);
  return succeeded(((bool (*)(void *, int32_t, void *))call.fn)(call.self, profile, stream));
}

int32_t bt_context_infer_shapes(const bt_library *library, void *context, int32_t capacity, const char **names) {
  FIND(context, BT_ExecutionContext_inferShapes);
  int32_t missing = ((int32_t(*)(void *, int32_t, const char **))call.fn)(call.self, capacity, names);
  return missing < 0 ? BT_FAILED : missing;
}

int32_t bt_context_set_device_memory(const bt_library *library, void *context, void *memory, int64_t bytes) {
  FIND(context, BT_ExecutionContext_setDeviceMemoryV2);
  ((void (*)(void *, void *, int64_t))call.fn)(call.self, memory, bytes);
  return BT_OK;
}

int32_t bt_context_set_aux_streams(const bt_library *library, void *context, void *const *streams, int32_t count) {
  FIND(context, BT_ExecutionContext_setAuxStreams);
  ((void (*)(void *, void *const *, int32_t))call.fn)(call.self, streams, count);
  return BT_OK;
}

int32_t bt_context_set_output_allocator(const bt_library *library, void *context, const char *name, void *allocator) {
  FIND(context, BT_ExecutionContext_setOutputAllocator);
  return succeeded(((bool (*)(void *, const char *, void *))call.fn)(call.self, name, allocator));
}

/* ---- builder ---- */

int32_t bt_builder_create(const bt_library *library, void *logger, int32_t device, void **builder) {
  if (library == NULL || logger == NULL) return BT_BAD_CALL;
  if (library->create_builder == NULL) return BT_NO_METHOD;
  if ((library->flags & BT_NEEDS_DEVICE) != 0 && bt_cuda_probe(NULL, NULL) != BT_OK) return BT_NO_DEVICE;
  if (bt_use_device(device) != BT_OK) return BT_NO_DEVICE;
  return bt_created(library->create_builder(logger, library->version), builder);
}

int32_t bt_builder_build(const bt_library *library, void *builder, void *network, void *config, int32_t device,
                         void **plan) {
  FIND(builder, BT_Builder_buildSerializedNetwork);
  if (network == NULL || config == NULL) return BT_BAD_CALL;
  if (bt_use_device(device) != BT_OK) return BT_NO_DEVICE;
  return bt_created(((void *(*)(void *, void *, void *))call.fn)(call.self, network, config), plan);
}

/* A build on a thread of its own. */
typedef struct quiet_build {
  bt_call call;
  void *network;
  void *config;
  int32_t device;
  int32_t nice;
  void *plan;
  int32_t status;
  pthread_t thread;
  _Atomic int32_t has_ended;
} quiet_build;

static void *build_quietly(void *argument) {
  quiet_build *build = argument;
  /* Where the system does not let it, it is as urgent as others. */
#ifdef _WIN32
  if (build->nice > 0) SetThreadPriority(GetCurrentThread(), THREAD_PRIORITY_LOWEST);
#elif defined(__linux__)
  setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), build->nice);
#endif
  if (bt_use_device(build->device) != BT_OK) {
    build->status = BT_NO_DEVICE;
  } else {
    void *(*serialize)(void *, void *, void *) = (void *(*)(void *, void *, void *))build->call.fn;
    build->status = bt_created(serialize(build->call.self, build->network, build->config), &build->plan);
  }
  atomic_store(&build->has_ended, 1);
  return NULL;
}

void *bt_build_start(const bt_library *library, void *builder, void *network, void *config, int32_t device,
                     int32_t nice) {
  bt_call call;
  if (network == NULL || config == NULL) return NULL;
  if (bt_find(library, builder, BT_Builder_buildSerializedNetwork, &call) != BT_OK) return NULL;
  quiet_build *build = calloc(1, sizeof *build);
  if (build == NULL) return NULL;
  build->call = call;
  build->network = network;
  build->config = config;
  build->device = device;
  build->nice = nice;
  build->status = BT_FAILED;
  if (pthread_create(&build->thread, NULL, build_quietly, build) == 0) return build;
  free(build);
  return NULL;
}

int32_t bt_build_end(void *handle, void **plan) {
  quiet_build *build = handle;
  if (build == NULL || plan == NULL) return BT_BAD_CALL;
  if (atomic_load(&build->has_ended) == 0) return BT_RUNNING;
  pthread_join(build->thread, NULL);
  int32_t status = build->status;
  *plan = build->plan;
  free(build);
  return status;
}

int32_t bt_config_set_memory_pool_limit(const bt_library *library, void *config, int32_t pool, uint64_t bytes) {
  FIND(config, BT_BuilderConfig_setMemoryPoolLimit);
  ((void (*)(void *, int32_t, size_t))call.fn)(call.self, pool, bytes);
  return BT_OK;
}

void *bt_config_create_timing_cache(const bt_library *library, void *config, const void *bytes, size_t count) {
  bt_call call;
  if (bt_find(library, config, BT_BuilderConfig_createTimingCache, &call) != BT_OK) return NULL;
  void *cache = ((void *(*)(void *, const void *, size_t))call.fn)(call.self, bytes, count);
  return bt_is_object(cache) ? cache : NULL;
}

int32_t bt_config_set_timing_cache(const bt_library *library, void *config, void *cache, int32_t ignore_mismatch) {
  FIND(config, BT_BuilderConfig_setTimingCache);
  if (cache == NULL) return BT_BAD_CALL;
  return succeeded(((bool (*)(void *, void *, bool))call.fn)(call.self, cache, ignore_mismatch != 0));
}

int32_t bt_config_set_compute_capability(const bt_library *library, void *config, int32_t capability, int32_t index) {
  FIND(config, BT_BuilderConfig_setComputeCapability);
  return succeeded(((bool (*)(void *, int32_t, int32_t))call.fn)(call.self, capability, index));
}

int32_t bt_layer_set_output_type(const bt_library *library, void *layer, int32_t index, int32_t type) {
  FIND(layer, BT_Layer_setOutputType);
  ((void (*)(void *, int32_t, int32_t))call.fn)(call.self, index, type);
  return BT_OK;
}

int32_t bt_timing_cache_combine(const bt_library *library, void *cache, void *other, int32_t ignore_mismatch) {
  FIND(cache, BT_TimingCache_combine);
  if (other == NULL) return BT_BAD_CALL;
  return succeeded(((bool (*)(void *, void *, bool))call.fn)(call.self, other, ignore_mismatch != 0));
}

int32_t bt_tensor_dimensions(const bt_library *library, void *tensor, int32_t *dims) {
  FIND(tensor, BT_Tensor_getDimensions);
  bt_dims result;
  CALL_DIMS(result, call, DIMS_METHOD(void *));
  return write_dims(&result, dims);
}

int32_t bt_profile_set_dimensions(const bt_library *library, void *profile, const char *name, int32_t selector,
                                  const int32_t *dims, int32_t rank) {
  FIND(profile, BT_OptimizationProfile_setDimensions);
  bt_dims shape;
  if (read_dims(&shape, dims, rank) != BT_OK) return BT_BAD_CALL;
  return succeeded(
      ((bool (*)(void *, const char *, int32_t, const bt_dims *))call.fn)(call.self, name, selector, &shape));
}

int32_t bt_profile_dimensions(const bt_library *library, void *profile, const char *name, int32_t selector,
                              int32_t *dims) {
  FIND(profile, BT_OptimizationProfile_getDimensions);
  bt_dims result;
  CALL_DIMS(result, call, DIMS_METHOD(void *, const char *, int32_t), name, selector);
  return write_dims(&result, dims);
}

#define SHAPE_VALUES 64

int32_t bt_profile_set_shape_values(const bt_library *library, void *profile, const char *name, int32_t selector,
                                    const int32_t *values, int32_t count) {
  if (values == NULL || count < 0 || count > SHAPE_VALUES) return BT_BAD_CALL;
  bt_call call;
  if (bt_find(library, profile, BT_OptimizationProfile_setShapeValuesV2, &call) == BT_OK) {
    int64_t wide[SHAPE_VALUES];
    for (int32_t i = 0; i < count; i++) wide[i] = values[i];
    return succeeded(((bool (*)(void *, const char *, int32_t, const int64_t *, int32_t))call.fn)(
        call.self, name, selector, wide, count));
  }
  int32_t status = bt_find(library, profile, BT_OptimizationProfile_setShapeValues, &call);
  if (status != BT_OK) return status;
  return succeeded(((bool (*)(void *, const char *, int32_t, const int32_t *, int32_t))call.fn)(call.self, name,
                                                                                                 selector, values, count));
}

/* ---- ONNX parser ---- */

void *bt_parser_create(const bt_library *library, void *network, void *logger) {
  if (library == NULL || library->create_parser == NULL || network == NULL || logger == NULL) return NULL;
  void *parser = library->create_parser(network, logger, library->version);
  return bt_is_object(parser) ? parser : NULL;
}

int32_t bt_parser_parse(const bt_library *library, void *parser, const void *model, size_t bytes, const char *path) {
  FIND(parser, BT_Parser_parse);
  return succeeded(((bool (*)(void *, const void *, size_t, const char *))call.fn)(call.self, model, bytes, path));
}

int32_t bt_parser_destroy(const bt_library *library, void *parser) {
  FIND(parser, BT_Parser_destroy);
  /* The flag is MSVC's; elsewhere nothing reads it. */
  ((void (*)(void *, unsigned))call.fn)(call.self, 1);
  return BT_OK;
}
