/* What the files of the shim share: the library, and how a method of one of its objects is found. */
#ifndef BUN_TENSORRT_INTERNAL_H
#define BUN_TENSORRT_INTERNAL_H

#include <stdbool.h>
#ifdef _WIN32
#include <windows.h>
#endif

#include "shim.h"

/* nvinfer1::Dims64 */
typedef struct bt_dims {
  int32_t rank;
  int64_t d[BT_MAX_DIMS];
} bt_dims;

struct bt_library {
  int32_t version;
  int32_t build;
  int32_t layout;
  uint32_t flags;
  void *(*create_runtime)(void *logger, int32_t version);
  void *(*create_builder)(void *logger, int32_t version);
  void *(*create_parser)(void *network, void *logger, int32_t version);
  int16_t slots[BT_METHOD_COUNT];
};

/* The shapes of BT_METHODS as numbers. */
enum bt_shape {
  BT_SHAPE_special,
  BT_SHAPE_i32,
  BT_SHAPE_i64,
  BT_SHAPE_bool,
  BT_SHAPE_text,
  BT_SHAPE_pointer,
  BT_SHAPE_i64_at,
  BT_SHAPE_text_at,
  BT_SHAPE_pointer_at,
  BT_SHAPE_i32_of,
  BT_SHAPE_i64_of,
  BT_SHAPE_bool_of,
  BT_SHAPE_text_of,
  BT_SHAPE_void_i32,
  BT_SHAPE_void_i64,
  BT_SHAPE_void_bool,
  BT_SHAPE_void_text,
  BT_SHAPE_void_pointer,
  BT_SHAPE_bool_i32,
  BT_SHAPE_bool_pointer,
  BT_SHAPE_i32_pointer
};

/* A method ready to be called: fn(self, …). */
typedef struct bt_call {
  void *self;
  void *fn;
} bt_call;

/*
 * Most public objects are {vptr, mImpl}: their methods live in the vtable of mImpl, which is also `this`. The parser and
 * its errors are plain C++ objects with a vtable of their own; their methods come last in BT_METHODS.
 */
static inline int32_t bt_find(const bt_library *library, void *object, int32_t method, bt_call *call) {
  if (library == NULL || object == NULL) return BT_BAD_CALL;
  int32_t slot = library->slots[method];
  if (slot < 0) return BT_NO_METHOD;
  void *self = method >= BT_Parser_parse ? object : ((void **)object)[1];
  call->self = self;
  call->fn = (*(void ***)self)[slot];
  return BT_OK;
}

/* Failed creations return NULL, or an offset into an object that is NULL: some small number. */
static inline bool bt_is_object(const void *result) { return (uintptr_t)result >= 0x10000; }

static inline int32_t bt_created(void *result, void **out) {
  *out = bt_is_object(result) ? result : NULL;
  return *out == NULL ? BT_FAILED : BT_OK;
}

/*
 * Methods that return dimensions: CALL_DIMS(result, call, DIMS_METHOD(void *, types), arguments). Where the result goes is
 * handed over in front of `this`, by MSVC behind it.
 */
#ifdef _WIN32
#define DIMS_METHOD(self, ...) void *(*)(self, bt_dims *, ##__VA_ARGS__)
#define CALL_DIMS(result, call, method, ...) ((method)(call).fn)((call).self, &(result), ##__VA_ARGS__)
#else
#define DIMS_METHOD(self, ...) bt_dims (*)(self, ##__VA_ARGS__)
#define CALL_DIMS(result, call, method, ...) ((result) = ((method)(call).fn)((call).self, ##__VA_ARGS__))
#endif

#ifdef _WIN32
#define BT_PATH_UNITS 32768
/* A path as Windows takes it. False where it is no UTF-8, or longer than paths may be. */
static inline bool bt_wide_path(const char *path, wchar_t *wide) {
  return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, BT_PATH_UNITS) > 0;
}
#endif

/* Binds the calling thread to a device, as every thread has its own current one; nothing for a negative ordinal. */
int32_t bt_use_device(int32_t device);

#endif
