/* Libraries: the driver is probed, TensorRT and its parser are opened and bound to a slot table. */
#ifndef _WIN32
#include <dlfcn.h>
#endif
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* ---- self-test ---- */

int32_t bt_abi_version(void) { return BT_ABI_VERSION; }

int32_t bt_method_count(void) { return BT_METHOD_COUNT; }

int32_t bt_echo_i32(int32_t value) { return value; }

int64_t bt_echo_i64(int64_t value) { return value; }

void *bt_echo_pointer(void *value) { return value; }

int32_t bt_echo_arguments(const void *pointer, int32_t i32, uint32_t u32, int64_t i64, uint64_t u64, float f32,
                          uint64_t *out) {
  uint32_t bits = 0;
  memcpy(&bits, &f32, sizeof bits);
  out[0] = (uint64_t)(uintptr_t)pointer;
  out[1] = (uint64_t)(int64_t)i32;
  out[2] = u32;
  out[3] = (uint64_t)i64;
  out[4] = u64;
  out[5] = bits;
  return BT_OK;
}

/* ---- the dynamic linker ---- */

#ifdef _WIN32

static void explain(DWORD code, char *error, uint32_t capacity) {
  if (capacity == 0) return;
  wchar_t wide[512];
  DWORD units = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, code, 0, wide, 512, NULL);
  while (units > 0 && (wide[units - 1] <= L' ' || wide[units - 1] == L'.')) units--;
  const int bytes = WideCharToMultiByte(CP_UTF8, 0, wide, (int)units, error, (int)capacity - 1, NULL, NULL);
  if (bytes > 0)
    error[bytes] = 0;
  else
    snprintf(error, capacity, "error %lu", code);
}

/* The working folder's nvcuda.dll is not the driver. */
static void *open_driver(void) { return LoadLibraryExW(L"nvcuda.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32); }

/* A bare name: beside the program, in the system's folder, in those of PATH, and never in the working folder. */
static HMODULE load_by_name(const wchar_t *name) {
  HMODULE handle = LoadLibraryExW(name, NULL, LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
  if (handle != NULL || GetLastError() != ERROR_MOD_NOT_FOUND) return handle;
  wchar_t folders[BT_PATH_UNITS], found[BT_PATH_UNITS];
  const DWORD units = GetEnvironmentVariableW(L"PATH", folders, BT_PATH_UNITS);
  const DWORD length = units == 0 || units >= BT_PATH_UNITS ? 0 : SearchPathW(folders, name, NULL, BT_PATH_UNITS, found, NULL);
  if (length > 0 && length < BT_PATH_UNITS) return LoadLibraryExW(found, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
  SetLastError(ERROR_MOD_NOT_FOUND);
  return NULL;
}

/* What a library at a full path is linked against is looked for beside it. */
static void *open_library(const char *path, char *error, uint32_t capacity) {
  wchar_t wide[BT_PATH_UNITS];
  if (!bt_wide_path(path, wide)) {
    explain(ERROR_INVALID_NAME, error, capacity);
    return NULL;
  }
  const bool is_path = strpbrk(path, "/\\") != NULL;
  for (wchar_t *at = wide; *at != 0; at++) {
    if (*at == L'/') *at = L'\\';
  }
  HMODULE handle = is_path ? LoadLibraryExW(wide, NULL, LOAD_WITH_ALTERED_SEARCH_PATH) : load_by_name(wide);
  if (handle == NULL) explain(GetLastError(), error, capacity);
  return handle;
}

static void *symbol_of(void *library, const char *name) { return (void *)GetProcAddress(library, name); }

#else

static void *open_driver(void) { return dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL); }

static void *open_library(const char *path, char *error, uint32_t capacity) {
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL && capacity > 0) {
    const char *text = dlerror();
    snprintf(error, capacity, "%s", text == NULL ? "unknown error" : text);
  }
  return handle;
}

static void *symbol_of(void *library, const char *name) { return dlsym(library, name); }

#endif

/* ---- the driver ---- */

#define DEVICES 64

static struct {
  pthread_mutex_t mutex;
  bool loaded;
  int32_t status; /* of loading and cuInit */
  int (*device_count)(int *);
  int (*driver_version)(int *);
  int (*retain)(void **, int);
  int (*set_current)(void *);
  void *contexts[DEVICES]; /* primary contexts, retained for the life of the process */
} cuda = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* cuInit once; the mutex is held. */
static int32_t load_driver(void) {
  if (cuda.loaded) return cuda.status;
  cuda.loaded = true;
  cuda.status = BT_NO_DEVICE;
  void *library = open_driver();
  if (library == NULL) return cuda.status;
  int (*init)(unsigned) = (int (*)(unsigned))symbol_of(library, "cuInit");
  cuda.device_count = (int (*)(int *))symbol_of(library, "cuDeviceGetCount");
  cuda.driver_version = (int (*)(int *))symbol_of(library, "cuDriverGetVersion");
  cuda.retain = (int (*)(void **, int))symbol_of(library, "cuDevicePrimaryCtxRetain");
  cuda.set_current = (int (*)(void *))symbol_of(library, "cuCtxSetCurrent");
  if (init == NULL || cuda.device_count == NULL || cuda.driver_version == NULL || cuda.retain == NULL ||
      cuda.set_current == NULL) {
    return cuda.status;
  }
  cuda.status = init(0);
  return cuda.status;
}

int32_t bt_cuda_probe(int32_t *device_count, int32_t *driver_version) {
  int count = 0;
  int version = 0;
  pthread_mutex_lock(&cuda.mutex);
  int32_t status = load_driver();
  if (status == BT_OK) status = cuda.device_count(&count);
  if (status == BT_OK) status = cuda.driver_version(&version);
  pthread_mutex_unlock(&cuda.mutex);
  if (device_count != NULL) *device_count = count;
  if (driver_version != NULL) *driver_version = version;
  if (status != BT_OK) return status;
  return count > 0 ? BT_OK : BT_NO_DEVICE;
}

int32_t bt_use_device(int32_t device) {
  if (device < 0) return BT_OK;
  if (device >= DEVICES) return BT_NO_DEVICE;
  pthread_mutex_lock(&cuda.mutex);
  int32_t status = load_driver();
  /* The driver's device handles are the ordinals. */
  if (status == BT_OK && cuda.contexts[device] == NULL) status = cuda.retain(&cuda.contexts[device], device);
  if (status == BT_OK) status = cuda.set_current(cuda.contexts[device]);
  pthread_mutex_unlock(&cuda.mutex);
  return status == BT_OK ? BT_OK : BT_NO_DEVICE;
}

/* ---- TensorRT ---- */

static void explain_missing(const char *symbol, char *error, uint32_t capacity) {
  if (capacity > 0) snprintf(error, capacity, "it has no symbol %s", symbol);
}

bt_library *bt_library_open(const char *path, char *error, uint32_t error_capacity) {
  void *handle = open_library(path, error, error_capacity);
  if (handle == NULL) return NULL;
  int32_t (*version)(void) = (int32_t (*)(void))symbol_of(handle, "getInferLibVersion");
  int32_t (*build)(void) = (int32_t (*)(void))symbol_of(handle, "getInferLibBuildVersion");
  if (version == NULL) {
    explain_missing("getInferLibVersion", error, error_capacity);
    return NULL;
  }
  bt_library *library = calloc(1, sizeof *library);
  if (library == NULL) return NULL;
  library->version = version();
  library->build = build == NULL ? -1 : build();
  library->create_runtime = (void *(*)(void *, int32_t))symbol_of(handle, "createInferRuntime_INTERNAL");
  library->create_builder = (void *(*)(void *, int32_t))symbol_of(handle, "createInferBuilder_INTERNAL");
  for (int32_t i = 0; i < BT_METHOD_COUNT; i++) library->slots[i] = -1;
  return library;
}

int32_t bt_library_version(const bt_library *library) { return library == NULL ? BT_BAD_CALL : library->version; }

int32_t bt_library_build(const bt_library *library) { return library == NULL ? BT_BAD_CALL : library->build; }

int32_t bt_library_bind(bt_library *library, const int16_t *slots, int32_t count, int32_t layout, uint32_t flags) {
  if (library == NULL || slots == NULL || count != BT_METHOD_COUNT) return BT_BAD_CALL;
  if (layout != 10 && layout != 11) return BT_BAD_CALL;
  memcpy(library->slots, slots, sizeof library->slots);
  library->layout = layout;
  library->flags = flags;
  return BT_OK;
}

int32_t bt_library_open_parser(bt_library *library, const char *path, char *error, uint32_t error_capacity) {
  if (library == NULL) return BT_BAD_CALL;
  if (library->create_parser != NULL) return BT_OK;
  void *handle = open_library(path, error, error_capacity);
  if (handle == NULL) return BT_FAILED;
  library->create_parser = (void *(*)(void *, void *, int32_t))symbol_of(handle, "createNvOnnxParser_INTERNAL");
  if (library->create_parser != NULL) return BT_OK;
  explain_missing("createNvOnnxParser_INTERNAL", error, error_capacity);
  return BT_FAILED;
}

int32_t bt_library_open_plugins(const char *path, void *logger, char *error, uint32_t error_capacity) {
  void *handle = open_library(path, error, error_capacity);
  if (handle == NULL) return BT_FAILED;
  bool (*init)(void *, const char *) = (bool (*)(void *, const char *))symbol_of(handle, "initLibNvInferPlugins");
  if (init == NULL) {
    explain_missing("initLibNvInferPlugins", error, error_capacity);
    return BT_FAILED;
  }
  return init(logger, "") ? BT_OK : BT_FAILED;
}

int32_t bt_preload(const char *path, char *error, uint32_t error_capacity) {
  return open_library(path, error, error_capacity) == NULL ? BT_FAILED : BT_OK;
}
