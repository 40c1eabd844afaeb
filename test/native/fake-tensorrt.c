/*
 * A TensorRT that runs nothing, for machines without a GPU: its objects have the layout and the slots of a real release,
 * read from NVIDIA's headers by test/tensorrt/fake-engine.test.ts (slots.h), which compiles this file for several of
 * them. Every slot that is not meant to be called ends the process and says which one it was.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slots.h"

#define EXPORT __attribute__((visibility("default")))

typedef struct dims {
  int32_t rank;
  int64_t d[8];
} dims;

/* Public object and implementation in one: {vptr, mImpl} and what the implementation keeps. */
typedef struct object {
  void **vptr;
  struct object *self;
  void **impl_vptr;
  dims shape;
  void *addresses[2];
  void *profiler;
  void *allocator;
  void *memory;
  int64_t memory_bytes;
  int32_t profile;
  int32_t strategy;
  int32_t aux;
  bool emits;
} object;

static void *logger;
static void *recorder;
static int alive;

static void *method_of(void *observer, int slot) { return (*(void ***)observer)[slot]; }

static void report(int32_t code, const char *text) {
  if (recorder != NULL) {
    ((bool (*)(void *, int32_t, const char *))method_of(recorder, 9))(recorder, code, text);
    return;
  }
  ((void (*)(void *, int32_t, const char *))method_of(logger, LAYOUT == 10 ? 0 : 4))(logger, 1, text);
}

static object *of(void *impl) { return (object *)((char *)impl - offsetof(object, impl_vptr)); }

static void nothing(void *self) { (void)self; }

static void delete_object(void *self) {
  alive -= 1;
  free(self);
}

static void *const public_vtable[] = {(void *)nothing, (void *)delete_object};

static object *make(void **impl_vptr) {
  object *made = calloc(1, sizeof *made);
  made->vptr = (void **)public_vtable;
  made->self = (object *)&made->impl_vptr;
  made->impl_vptr = impl_vptr;
  alive += 1;
  return made;
}

/* One trap a slot; their names are the slots in octal. */
#define TRAP(n) static void trap_##n(void) { fprintf(stderr, "slot " #n " was called\n"); abort(); }
#define EIGHT(m, t) m(t##0) m(t##1) m(t##2) m(t##3) m(t##4) m(t##5) m(t##6) m(t##7)
EIGHT(TRAP, ) EIGHT(TRAP, 1) EIGHT(TRAP, 2) EIGHT(TRAP, 3) EIGHT(TRAP, 4) EIGHT(TRAP, 5) EIGHT(TRAP, 6) EIGHT(TRAP, 7)
#define TRAP_POINTER(n) (void *)trap_##n,
#define TRAPS EIGHT(TRAP_POINTER, ) EIGHT(TRAP_POINTER, 1) EIGHT(TRAP_POINTER, 2) EIGHT(TRAP_POINTER, 3) \
    EIGHT(TRAP_POINTER, 4) EIGHT(TRAP_POINTER, 5) EIGHT(TRAP_POINTER, 6) EIGHT(TRAP_POINTER, 7)

static void *runtime_vtable[] = {TRAPS};
static void *engine_vtable[] = {TRAPS};
static void *context_vtable[] = {TRAPS};
static void *inspector_vtable[] = {TRAPS};
static void *memory_vtable[] = {TRAPS};

#define SET(vtable, slot, function) vtable[slot] = (void *)(function)

/* ---- engine: "images" f32 [-1, 3, -1, -1] in, "rows" f16 [-1, 6] out ---- */

static const char *const names[] = {"images", "rows"};

static int index_of(const char *name) {
  for (int i = 0; i < 2; i++) {
    if (strcmp(name, names[i]) == 0) return i;
  }
  fprintf(stderr, "unknown tensor %s\n", name);
  abort();
}

static dims make_dims(int32_t rank, int64_t a, int64_t b, int64_t c, int64_t d) {
  dims made = {rank, {a, b, c, d}};
  return made;
}

static int32_t two(void *self) { (void)self; return 2; }
static int32_t seven(void *self) { (void)self; return 7; }
static int32_t one_i32(void *self) { (void)self; return 1; }
static bool yes(void *self) { (void)self; return true; }
static const char *engine_name(void *self) { (void)self; return "fake network"; }
static const char *tensor_name(void *self, int32_t i) { (void)self; return names[i]; }
static int32_t tensor_type(void *self, const char *name) { (void)self; return index_of(name); }
static int32_t tensor_mode(void *self, const char *name) { (void)self; return index_of(name) + 1; }
static int32_t tensor_zero(void *self, const char *name) { (void)self; (void)name; return 0; }
static bool tensor_no(void *self, const char *name) { (void)self; (void)name; return false; }
static const char *tensor_format(void *self, const char *name) { (void)self; (void)name; return "Row major linear"; }
static dims tensor_shape(void *self, const char *name) {
  (void)self;
  return index_of(name) == 0 ? make_dims(4, -1, 3, -1, -1) : make_dims(2, -1, 6, 0, 0);
}
static dims profile_shape(void *self, const char *name, int32_t profile, int32_t selector) {
  (void)self;
  if (index_of(name) != 0) return make_dims(-1, 0, 0, 0, 0);
  return make_dims(4, 1 + selector, 3, 32 * (1 + selector), 31 * (1 + profile));
}
static size_t memory_size(void *self) { (void)self; return ((size_t)1 << 33) + 5; }
static int64_t memory_size_for(void *self, int32_t profile) { (void)self; return 4096 + profile; }

static void *create_context(void *self, int32_t strategy) {
  (void)self;
  object *made = make(context_vtable);
  made->strategy = strategy;
  return made;
}
static void *create_inspector(void *self) { (void)self; return make(inspector_vtable); }
static void *serialize(void *self) { (void)self; return make(memory_vtable); }

static void *memory_data(void *self) { (void)self; return (void *)"plan bytes"; }
static size_t memory_length(void *self) { (void)self; return 10; }

static bool inspect_context(void *self, void *context) { (void)self; return context != NULL; }
static const char *inspect_layer(void *self, int32_t layer, int32_t format) {
  (void)self;
  return layer == 6 && format == 1 ? "\"layer six\"" : "";
}
static const char *inspect_engine(void *self, int32_t format) {
  (void)self;
  return format == 1 ? "{\"Layers\": [\"a\", \"b\"]}" : "";
}

/* ---- context ---- */

static bool set_address(void *self, const char *name, void *address) {
  of(self)->addresses[index_of(name)] = address;
  return true;
}
static bool set_shape(void *self, const char *name, const dims *shape) {
  (void)name;
  if (shape->rank != 4 || shape->d[1] != 3 || shape->d[0] > 3) {
    report(3, "the shape is out of the profile");
    return false;
  }
  of(self)->shape = *shape;
  return true;
}
static dims context_shape(void *self, const char *name) {
  if (index_of(name) == 0) return of(self)->shape;
  return make_dims(2, of(self)->shape.d[0], 6, 0, 0);
}
static dims context_strides(void *self, const char *name) {
  (void)self;
  (void)name;
  return make_dims(2, 6, 1, 0, 0);
}
static bool set_profile(void *self, int32_t profile, void *stream) {
  if (profile > 1 || stream != (void *)0x5000) return false;
  of(self)->profile = profile;
  return true;
}
static int32_t get_profile(void *self) { return of(self)->profile; }
static int32_t infer_shapes(void *self, int32_t capacity, const char **missing) {
  if (of(self)->shape.rank != 0) return 0;
  if (capacity > 0) missing[0] = names[0];
  return 1;
}
static void set_profiler(void *self, void *profiler) { of(self)->profiler = profiler; }
static void set_emits(void *self, bool emits) { of(self)->emits = emits; }
static void set_memory(void *self, void *memory) { of(self)->memory = memory; }
static void set_memory_2(void *self, void *memory, int64_t bytes) {
  of(self)->memory = memory;
  of(self)->memory_bytes = bytes;
}
static size_t needed_memory(void *self) { return of(self)->memory_bytes != 0 ? 777 : 778; }
static void set_aux(void *self, void **streams, int32_t count) {
  of(self)->aux = count > 0 && streams[count - 1] == (void *)0x5000 ? count : -1;
}
static bool set_allocator(void *self, const char *name, void *allocator) {
  of(self)->allocator = allocator;
  return index_of(name) == 1;
}
static int64_t max_output(void *self, const char *name) { (void)self; return index_of(name) == 1 ? 1200 : -1; }
static void set_cache_limit(void *self, size_t bytes) { of(self)->memory_bytes = (int64_t)bytes; }

static bool enqueue(void *self, void *stream) {
  object *context = of(self);
  if (stream != (void *)0x5000 || context->shape.rank == 0) {
    report(9, "not all inputs have a shape");
    return false;
  }
  if (context->strategy == 2 && context->memory == NULL) {
    report(9, "the context has no memory");
    return false;
  }
  if (context->allocator != NULL) {
    void *(*grant)(void *, const char *, void *, uint64_t, uint64_t, void *) = method_of(context->allocator, 5);
    if (grant(context->allocator, "rows", NULL, 1200, 256, stream) == NULL) {
      report(5, "the allocator gave nothing");
      return false;
    }
    dims rows = make_dims(2, 100, 6, 0, 0);
    ((void (*)(void *, const char *, const dims *))method_of(context->allocator, 6))(context->allocator, "rows", &rows);
  } else if (context->addresses[1] == NULL) {
    report(9, "rows is bound to nothing");
    return false;
  }
  if (context->profiler != NULL) {
    void (*layer)(void *, const char *, float) = method_of(context->profiler, LAYOUT == 10 ? 0 : 4);
    layer(context->profiler, "conv", 0.5f);
    layer(context->profiler, "relu", 0.25f);
  }
  return true;
}

/* ---- runtime ---- */

static void *deserialize(void *self, const void *plan, size_t bytes) {
  (void)self;
  if (bytes < 8 || (uintptr_t)plan % 16 != 0 || memcmp(plan, "fakeplan", 8) != 0) {
    report(4, "this is no plan of mine");
    return NULL;
  }
  return make(engine_vtable);
}
static void set_recorder(void *self, void *given) { (void)self; recorder = given; }
static bool set_threads(void *self, int32_t count) { (void)self; return count > 0; }
static void take_bool(void *self, bool value) { (void)self; (void)value; }
static void take_i32(void *self, int32_t value) { (void)self; (void)value; }

EXPORT int32_t getInferLibVersion(void) { return VERSION; }
EXPORT int32_t fakeObjectsAlive(void) { return alive; }

EXPORT void *createInferRuntime_INTERNAL(void *given, int32_t version) {
  if (version != VERSION) return (void *)0x200;
  logger = given;
  ((void (*)(void *, int32_t, const char *))method_of(logger, LAYOUT == 10 ? 0 : 4))(logger, 2, "a fake runtime");
  SET(runtime_vtable, VRuntime_deserializeCudaEngine, deserialize);
  SET(runtime_vtable, VRuntime_setErrorRecorder, set_recorder);
  SET(runtime_vtable, VRuntime_setMaxThreads, set_threads);
  SET(runtime_vtable, VRuntime_setEngineHostCodeAllowed, take_bool);
  SET(runtime_vtable, VRuntime_setDLACore, take_i32);
  SET(engine_vtable, VCudaEngine_getNbIOTensors, two);
  SET(engine_vtable, VCudaEngine_getIOTensorName, tensor_name);
  SET(engine_vtable, VCudaEngine_getTensorShape, tensor_shape);
  SET(engine_vtable, VCudaEngine_getTensorDataType, tensor_type);
  SET(engine_vtable, VCudaEngine_getTensorIOMode, tensor_mode);
  SET(engine_vtable, VCudaEngine_getTensorFormat, tensor_zero);
  SET(engine_vtable, VCudaEngine_getTensorFormatDesc, tensor_format);
  SET(engine_vtable, VCudaEngine_getTensorLocation, tensor_zero);
  SET(engine_vtable, VCudaEngine_isShapeInferenceIO, tensor_no);
  SET(engine_vtable, VCudaEngine_getProfileShape, profile_shape);
  SET(engine_vtable, VCudaEngine_getNbOptimizationProfiles, two);
  SET(engine_vtable, VCudaEngine_getNbLayers, seven);
#ifdef VCudaEngine_getDeviceMemorySize
  SET(engine_vtable, VCudaEngine_getDeviceMemorySize, memory_size);
#endif
#ifdef VCudaEngine_getDeviceMemorySizeV2
  SET(engine_vtable, VCudaEngine_getDeviceMemorySizeV2, memory_size);
  SET(engine_vtable, VCudaEngine_getDeviceMemorySizeForProfileV2, memory_size_for);
#endif
  SET(engine_vtable, VCudaEngine_createExecutionContext, create_context);
  SET(engine_vtable, VCudaEngine_createEngineInspector, create_inspector);
  SET(engine_vtable, VCudaEngine_getName, engine_name);
  SET(engine_vtable, VCudaEngine_getHardwareCompatibilityLevel, one_i32);
  SET(engine_vtable, VCudaEngine_getNbAuxStreams, two);
  SET(engine_vtable, VCudaEngine_serialize, serialize);
  SET(engine_vtable, VCudaEngine_isRefittable, yes);
  SET(memory_vtable, VHostMemory_data, memory_data);
  SET(memory_vtable, VHostMemory_size, memory_length);
  SET(inspector_vtable, VEngineInspector_setExecutionContext, inspect_context);
  SET(inspector_vtable, VEngineInspector_getLayerInformation, inspect_layer);
  SET(inspector_vtable, VEngineInspector_getEngineInformation, inspect_engine);
  SET(context_vtable, VExecutionContext_setTensorAddress, set_address);
  SET(context_vtable, VExecutionContext_setInputShape, set_shape);
  SET(context_vtable, VExecutionContext_getTensorShape, context_shape);
  SET(context_vtable, VExecutionContext_getTensorStrides, context_strides);
  SET(context_vtable, VExecutionContext_setOptimizationProfileAsync, set_profile);
  SET(context_vtable, VExecutionContext_getOptimizationProfile, get_profile);
  SET(context_vtable, VExecutionContext_enqueueV3, enqueue);
  SET(context_vtable, VExecutionContext_setProfiler, set_profiler);
  SET(context_vtable, VExecutionContext_setEnqueueEmitsProfile, set_emits);
  SET(context_vtable, VExecutionContext_reportToProfiler, yes);
  SET(context_vtable, VExecutionContext_inferShapes, infer_shapes);
  SET(context_vtable, VExecutionContext_setDeviceMemory, set_memory);
#ifdef VExecutionContext_setDeviceMemoryV2
  SET(context_vtable, VExecutionContext_setDeviceMemoryV2, set_memory_2);
#endif
  SET(context_vtable, VExecutionContext_updateDeviceMemorySizeForShapes, needed_memory);
  SET(context_vtable, VExecutionContext_setAuxStreams, set_aux);
  SET(context_vtable, VExecutionContext_setOutputAllocator, set_allocator);
  SET(context_vtable, VExecutionContext_getMaxOutputSize, max_output);
  SET(context_vtable, VExecutionContext_setPersistentCacheLimit, set_cache_limit);
  return make(runtime_vtable);
}
