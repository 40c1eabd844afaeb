/* Objects that TensorRT calls, laid out as its C++ interfaces: a vtable pointer, then what is ours. They may be called
 * from any thread, so they write into a ring and touch nothing of JavaScript. */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"

typedef struct interface_info {
  const char *kind;
  int32_t major;
  int32_t minor;
} interface_info;

enum observer_kind { LOGGER, MONITOR, PROFILER, RECORDER, ALLOCATOR };

typedef struct observer {
  void *const *vtable;
  enum observer_kind kind;
  bt_ring *ring;
  _Atomic int32_t state; /* logger: level; monitor: CANCELLED, PAUSED; recorder: references */
} observer;

#define KEPT_ERRORS 16
#define KEPT_TEXT 512

typedef struct recorder {
  observer base;
  pthread_mutex_t mutex;
  int32_t count;
  bool overflowed;
  int32_t codes[KEPT_ERRORS];
  char texts[KEPT_ERRORS][KEPT_TEXT];
} recorder;

typedef struct allocator {
  observer base;
  pthread_mutex_t mutex;
  void *memory;
  uint64_t bytes;
  uint64_t requested;
  int32_t rank;
  int32_t dims[BT_MAX_DIMS];
} allocator;

/* ---- what every versioned interface begins with ---- */

static int32_t api_language(void *self) {
  (void)self;
  return 0;
}

/* TensorRT never owns an observer. MSVC has one destructor where others have two. */
#ifdef _WIN32
static void *no_destructor(void *self, unsigned flags) {
  (void)flags;
  return self;
}
#define NO_DESTRUCTORS (void *)no_destructor
#else
static void no_destructor(void *self) { (void)self; }
#define NO_DESTRUCTORS (void *)no_destructor, (void *)no_destructor
#endif

/* Where a result in memory goes is handed over in front of `this`, by MSVC behind it. */
#ifdef _WIN32
#define INTERFACE_INFO(function, name)                                   \
  static interface_info *function(void *self, interface_info *result) {  \
    (void)self;                                                          \
    *result = (interface_info){name, 1, 0};                              \
    return result;                                                       \
  }
#else
#define INTERFACE_INFO(function, name)         \
  static interface_info function(void *self) { \
    (void)self;                                \
    interface_info info = {name, 1, 0};        \
    return info;                               \
  }
#endif

INTERFACE_INFO(logger_info, "ILogger")
INTERFACE_INFO(monitor_info, "IProgressMonitor")
INTERFACE_INFO(profiler_info, "IProfiler")
INTERFACE_INFO(recorder_info, "IErrorRecorder")
INTERFACE_INFO(allocator_info, "IOutputAllocator")

#define VERSIONED(info) (void *)api_language, (void *)info, NO_DESTRUCTORS

/* ---- ILogger ---- */

static void logger_log(void *self, int32_t severity, const char *text) {
  observer *logger = self;
  if (severity > atomic_load_explicit(&logger->state, memory_order_relaxed)) return;
  bt_ring_write(logger->ring, BT_RECORD_LOG, severity, 0, 0.0f, text, NULL);
}

static void *const logger_10[] = {(void *)logger_log, NO_DESTRUCTORS};
static void *const logger_11[] = {VERSIONED(logger_info), (void *)logger_log};

/* ---- IProgressMonitor ---- */

static void monitor_phase_start(void *self, const char *phase, const char *parent, int32_t steps) {
  observer *monitor = self;
  bt_ring_write(monitor->ring, BT_RECORD_PHASE_START, 1, steps, 0.0f, phase, parent);
}

#define CANCELLED 1
#define PAUSED 2
#define PAUSE_NS 20000000

static bool monitor_step(void *self, const char *phase, int32_t step) {
  observer *monitor = self;
  bt_ring_write(monitor->ring, BT_RECORD_STEP, 2, step, 0.0f, phase, NULL);
  while (atomic_load(&monitor->state) == PAUSED) {
    struct timespec pause = {0, PAUSE_NS};
    nanosleep(&pause, NULL);
  }
  return (atomic_load(&monitor->state) & CANCELLED) == 0;
}

static void monitor_phase_end(void *self, const char *phase) {
  observer *monitor = self;
  bt_ring_write(monitor->ring, BT_RECORD_PHASE_END, 1, 0, 0.0f, phase, NULL);
}

static void *const monitor_vtable[] = {VERSIONED(monitor_info), (void *)monitor_phase_start, (void *)monitor_step,
                                       (void *)monitor_phase_end};

/* ---- IProfiler ---- */

static void profiler_layer(void *self, const char *layer, float milliseconds) {
  observer *profiler = self;
  bt_ring_write(profiler->ring, BT_RECORD_LAYER, 1, 0, milliseconds, layer, NULL);
}

static void *const profiler_10[] = {(void *)profiler_layer, NO_DESTRUCTORS};
static void *const profiler_11[] = {VERSIONED(profiler_info), (void *)profiler_layer};

/* ---- IErrorRecorder ---- */

static int32_t recorder_count(void *self) {
  recorder *r = self;
  pthread_mutex_lock(&r->mutex);
  int32_t count = r->count;
  pthread_mutex_unlock(&r->mutex);
  return count;
}

static int32_t recorder_code(void *self, int32_t index) {
  recorder *r = self;
  pthread_mutex_lock(&r->mutex);
  int32_t code = index >= 0 && index < r->count ? r->codes[index] : 0;
  pthread_mutex_unlock(&r->mutex);
  return code;
}

/* Texts are only ever appended, until clear(): the pointer stays good as the interface promises. */
static const char *recorder_text(void *self, int32_t index) {
  recorder *r = self;
  pthread_mutex_lock(&r->mutex);
  const char *text = index >= 0 && index < r->count ? r->texts[index] : "";
  pthread_mutex_unlock(&r->mutex);
  return text;
}

static bool recorder_overflowed(void *self) {
  recorder *r = self;
  pthread_mutex_lock(&r->mutex);
  bool overflowed = r->overflowed;
  pthread_mutex_unlock(&r->mutex);
  return overflowed;
}

static void recorder_clear(void *self) {
  recorder *r = self;
  pthread_mutex_lock(&r->mutex);
  r->count = 0;
  r->overflowed = false;
  pthread_mutex_unlock(&r->mutex);
}

/* Returns true: the current function of TensorRT ends. */
static bool recorder_report(void *self, int32_t code, const char *text) {
  recorder *r = self;
  pthread_mutex_lock(&r->mutex);
  if (r->count < KEPT_ERRORS) {
    r->codes[r->count] = code;
    strncpy(r->texts[r->count], text == NULL ? "" : text, KEPT_TEXT - 1);
    r->count += 1;
  } else {
    r->overflowed = true;
  }
  pthread_mutex_unlock(&r->mutex);
  bt_ring_write(r->base.ring, BT_RECORD_ERROR, 1, code, 0.0f, text, NULL);
  return true;
}

static int32_t recorder_retain(void *self) { return atomic_fetch_add(&((observer *)self)->state, 1) + 1; }

static int32_t recorder_release(void *self) { return atomic_fetch_sub(&((observer *)self)->state, 1) - 1; }

static void *const recorder_vtable[] = {
    VERSIONED(recorder_info),    (void *)recorder_count, (void *)recorder_code,   (void *)recorder_text,
    (void *)recorder_overflowed, (void *)recorder_clear, (void *)recorder_report, (void *)recorder_retain,
    (void *)recorder_release};

/* ---- IOutputAllocator ---- */

static void *allocator_grant(void *self, const char *tensor, void *current, uint64_t bytes, uint64_t alignment) {
  (void)tensor;
  (void)current;
  allocator *a = self;
  pthread_mutex_lock(&a->mutex);
  if (bytes > a->requested) a->requested = bytes;
  bool fits = bytes <= a->bytes && (alignment == 0 || (uintptr_t)a->memory % alignment == 0);
  void *memory = fits ? a->memory : NULL;
  pthread_mutex_unlock(&a->mutex);
  return memory;
}

static void *allocator_grant_async(void *self, const char *tensor, void *current, uint64_t bytes, uint64_t alignment,
                                   void *stream) {
  (void)stream;
  return allocator_grant(self, tensor, current, bytes, alignment);
}

static void allocator_shape(void *self, const char *tensor, const bt_dims *dims) {
  (void)tensor;
  allocator *a = self;
  pthread_mutex_lock(&a->mutex);
  a->rank = dims->rank >= 0 && dims->rank <= BT_MAX_DIMS ? dims->rank : BT_FAILED;
  for (int32_t i = 0; i < a->rank; i++) a->dims[i] = (int32_t)dims->d[i];
  pthread_mutex_unlock(&a->mutex);
}

static void *const allocator_vtable[] = {VERSIONED(allocator_info), (void *)allocator_grant,
                                         (void *)allocator_grant_async, (void *)allocator_shape};

/* ---- making and freeing them ---- */

static void *create(size_t bytes, enum observer_kind kind, void *const *vtable, bt_ring *ring, int32_t state) {
  observer *made = calloc(1, bytes);
  if (made == NULL) return NULL;
  made->vtable = vtable;
  made->kind = kind;
  made->ring = ring;
  atomic_init(&made->state, state);
  return made;
}

void *bt_logger_create(int32_t layout, bt_ring *ring, int32_t level) {
  return create(sizeof(observer), LOGGER, layout == 10 ? logger_10 : logger_11, ring, level);
}

void bt_logger_set_level(void *logger, int32_t level) { atomic_store(&((observer *)logger)->state, level); }

void *bt_monitor_create(bt_ring *ring) { return create(sizeof(observer), MONITOR, monitor_vtable, ring, 0); }

void bt_monitor_cancel(void *monitor) { atomic_fetch_or(&((observer *)monitor)->state, CANCELLED); }

void bt_monitor_pause(void *monitor, int32_t paused) {
  if (paused != 0)
    atomic_fetch_or(&((observer *)monitor)->state, PAUSED);
  else
    atomic_fetch_and(&((observer *)monitor)->state, ~PAUSED);
}

void *bt_profiler_create(int32_t layout, bt_ring *ring) {
  return create(sizeof(observer), PROFILER, layout == 10 ? profiler_10 : profiler_11, ring, 0);
}

void *bt_recorder_create(bt_ring *ring) {
  recorder *made = create(sizeof(recorder), RECORDER, recorder_vtable, ring, 0);
  if (made != NULL) pthread_mutex_init(&made->mutex, NULL);
  return made;
}

void *bt_allocator_create(void) {
  allocator *made = create(sizeof(allocator), ALLOCATOR, allocator_vtable, NULL, 0);
  if (made == NULL) return NULL;
  pthread_mutex_init(&made->mutex, NULL);
  made->rank = BT_FAILED;
  return made;
}

void bt_allocator_set_memory(void *self, void *memory, uint64_t bytes) {
  allocator *a = self;
  pthread_mutex_lock(&a->mutex);
  a->memory = memory;
  a->bytes = bytes;
  a->requested = 0;
  pthread_mutex_unlock(&a->mutex);
}

int64_t bt_allocator_requested(void *self) {
  allocator *a = self;
  pthread_mutex_lock(&a->mutex);
  int64_t requested = (int64_t)a->requested;
  pthread_mutex_unlock(&a->mutex);
  return requested;
}

int32_t bt_allocator_shape(void *self, int32_t *dims) {
  allocator *a = self;
  pthread_mutex_lock(&a->mutex);
  int32_t rank = a->rank;
  for (int32_t i = 0; i < rank; i++) dims[i] = a->dims[i];
  pthread_mutex_unlock(&a->mutex);
  return rank;
}

int32_t bt_observer_destroy(void *self) {
  observer *o = self;
  if (o == NULL) return BT_BAD_CALL;
  if (o->kind == RECORDER) {
    if (atomic_load(&o->state) > 0) return BT_FAILED;
    pthread_mutex_destroy(&((recorder *)self)->mutex);
  }
  if (o->kind == ALLOCATOR) pthread_mutex_destroy(&((allocator *)self)->mutex);
  free(self);
  return BT_OK;
}
