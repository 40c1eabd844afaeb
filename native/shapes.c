/* One function per shape of method. The table of shapes makes a call with the wrong signature impossible. */
#include "internal.h"

static const uint8_t shapes[BT_METHOD_COUNT] = {
#define SHAPE_OF(class_name, method, shape) BT_SHAPE_##shape,
    BT_METHODS(SHAPE_OF)
#undef SHAPE_OF
};

static int32_t prepare(const bt_library *library, void *object, int32_t method, enum bt_shape shape, bt_call *call) {
  if (method < 0 || method >= BT_METHOD_COUNT || shapes[method] != shape) return BT_BAD_CALL;
  return bt_find(library, object, method, call);
}

#define OBJECT const bt_library *library, void *object, int32_t method

/* Declares `call`, or returns the status from the enclosing function. */
#define PREPARE(shape)                                                              \
  bt_call call;                                                                     \
  int32_t status = prepare(library, object, method, BT_SHAPE_##shape, &call);       \
  if (status != BT_OK) return status

#define PREPARE_POINTER(shape)                                                      \
  bt_call call;                                                                     \
  if (prepare(library, object, method, BT_SHAPE_##shape, &call) != BT_OK) return NULL

int32_t bt_i32(OBJECT) {
  PREPARE(i32);
  return ((int32_t(*)(void *))call.fn)(call.self);
}

int64_t bt_i64(OBJECT) {
  PREPARE(i64);
  return ((int64_t(*)(void *))call.fn)(call.self);
}

int32_t bt_bool(OBJECT) {
  PREPARE(bool);
  return ((bool (*)(void *))call.fn)(call.self);
}

const char *bt_text(OBJECT) {
  PREPARE_POINTER(text);
  return ((const char *(*)(void *))call.fn)(call.self);
}

void *bt_pointer(OBJECT) {
  PREPARE_POINTER(pointer);
  void *result = ((void *(*)(void *))call.fn)(call.self);
  return bt_is_object(result) ? result : NULL;
}

int64_t bt_i64_at(OBJECT, int32_t index) {
  PREPARE(i64_at);
  return ((int64_t(*)(void *, int32_t))call.fn)(call.self, index);
}

const char *bt_text_at(OBJECT, int32_t index) {
  PREPARE_POINTER(text_at);
  return ((const char *(*)(void *, int32_t))call.fn)(call.self, index);
}

void *bt_pointer_at(OBJECT, int32_t index) {
  PREPARE_POINTER(pointer_at);
  void *result = ((void *(*)(void *, int32_t))call.fn)(call.self, index);
  return bt_is_object(result) ? result : NULL;
}

int32_t bt_i32_of(OBJECT, const char *name) {
  PREPARE(i32_of);
  return ((int32_t(*)(void *, const char *))call.fn)(call.self, name);
}

int64_t bt_i64_of(OBJECT, const char *name) {
  PREPARE(i64_of);
  return ((int64_t(*)(void *, const char *))call.fn)(call.self, name);
}

int32_t bt_bool_of(OBJECT, const char *name) {
  PREPARE(bool_of);
  return ((bool (*)(void *, const char *))call.fn)(call.self, name);
}

const char *bt_text_of(OBJECT, const char *name) {
  PREPARE_POINTER(text_of);
  return ((const char *(*)(void *, const char *))call.fn)(call.self, name);
}

int32_t bt_void_i32(OBJECT, int32_t value) {
  PREPARE(void_i32);
  ((void (*)(void *, int32_t))call.fn)(call.self, value);
  return BT_OK;
}

int32_t bt_void_i64(OBJECT, int64_t value) {
  PREPARE(void_i64);
  ((void (*)(void *, int64_t))call.fn)(call.self, value);
  return BT_OK;
}

int32_t bt_void_bool(OBJECT, int32_t value) {
  PREPARE(void_bool);
  ((void (*)(void *, bool))call.fn)(call.self, value != 0);
  return BT_OK;
}

int32_t bt_void_text(OBJECT, const char *value) {
  PREPARE(void_text);
  ((void (*)(void *, const char *))call.fn)(call.self, value);
  return BT_OK;
}

int32_t bt_void_pointer(OBJECT, void *value) {
  PREPARE(void_pointer);
  ((void (*)(void *, void *))call.fn)(call.self, value);
  return BT_OK;
}

int32_t bt_bool_i32(OBJECT, int32_t value) {
  PREPARE(bool_i32);
  return ((bool (*)(void *, int32_t))call.fn)(call.self, value);
}

int32_t bt_bool_pointer(OBJECT, void *value) {
  PREPARE(bool_pointer);
  return ((bool (*)(void *, void *))call.fn)(call.self, value);
}

int32_t bt_i32_pointer(OBJECT, void *value) {
  PREPARE(i32_pointer);
  return ((int32_t(*)(void *, void *))call.fn)(call.self, value);
}
