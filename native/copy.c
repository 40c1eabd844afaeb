/* Copies of host memory by several threads: one core alone moves about a third of what the memory can. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define CHUNK_BYTES (256 << 10)
/* Smaller copies are done before another thread has woken up. */
#define LEAST_BYTES (1 << 20)
#define MOST_HELPERS 3
/* How often a helper looks for the next copy before it sleeps: a stream of frames then finds it awake. */
#define LOOKS 8000

/* One copy at a time. Threads take chunks until none is left, so one that wakes late costs nothing. */
static struct {
  pthread_once_t once;
  pthread_mutex_t turn;
  pthread_mutex_t mutex;
  pthread_cond_t woken;
  int32_t helpers;
  char *target;
  const char *source;
  int64_t target_pitch;
  int64_t source_pitch;
  int64_t row_bytes;
  int64_t last_row_bytes;
  int64_t rows;
  int64_t chunk_rows;
  int64_t chunks;
  _Atomic int64_t next;
  _Atomic int64_t done;
  /* Helpers between reading the copy and leaving it. */
  _Atomic int32_t inside;
  _Atomic uint32_t generation;
} pool = {.once = PTHREAD_ONCE_INIT, .turn = PTHREAD_MUTEX_INITIALIZER, .mutex = PTHREAD_MUTEX_INITIALIZER,
          .woken = PTHREAD_COND_INITIALIZER};

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void take_chunks(void) {
  for (;;) {
    const int64_t at = atomic_fetch_add(&pool.next, 1);
    if (at >= pool.chunks) return;
    const int64_t start = at * pool.chunk_rows;
    const int64_t end = pool.rows - start < pool.chunk_rows ? pool.rows : start + pool.chunk_rows;
    for (int64_t row = start; row < end; row++) {
      const int64_t bytes = row == pool.rows - 1 ? pool.last_row_bytes : pool.row_bytes;
      memcpy(pool.target + row * pool.target_pitch, pool.source + row * pool.source_pitch, (size_t)bytes);
    }
    atomic_fetch_add(&pool.done, 1);
  }
}

static void *help(void *unused) {
  (void)unused;
  uint32_t seen = 0;
  for (;;) {
    int32_t looks = 0;
    while (atomic_load(&pool.generation) == seen && looks++ < LOOKS) relax();
    pthread_mutex_lock(&pool.mutex);
    while (atomic_load(&pool.generation) == seen) pthread_cond_wait(&pool.woken, &pool.mutex);
    seen = atomic_load(&pool.generation);
    atomic_fetch_add(&pool.inside, 1);
    pthread_mutex_unlock(&pool.mutex);
    take_chunks();
    atomic_fetch_sub(&pool.inside, 1);
  }
  return NULL;
}

static void start_helpers(void) {
#ifdef _WIN32
  const long cores = (long)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
#else
  const long cores = sysconf(_SC_NPROCESSORS_ONLN);
#endif
  const int32_t wanted = cores - 1 < MOST_HELPERS ? (int32_t)(cores - 1) : MOST_HELPERS;
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  for (int32_t at = 0; at < wanted; at++) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, help, NULL) == 0) pool.helpers += 1;
  }
  pthread_attr_destroy(&attributes);
}

/* Copy rows with all threads; the last one may be shorter. */
static void copy_together(char *target, int64_t target_pitch, const char *source, int64_t source_pitch, int64_t row_bytes,
                          int64_t last_row_bytes, int64_t rows) {
  pthread_once(&pool.once, start_helpers);
  pthread_mutex_lock(&pool.turn);
  /* Helpers join under the mutex alone; one that joined the last copy late may still be reading it. */
  pthread_mutex_lock(&pool.mutex);
  while (atomic_load(&pool.inside) > 0) relax();
  pool.target = target;
  pool.source = source;
  pool.target_pitch = target_pitch;
  pool.source_pitch = source_pitch;
  pool.row_bytes = row_bytes;
  pool.last_row_bytes = last_row_bytes;
  pool.rows = rows;
  pool.chunk_rows = row_bytes < CHUNK_BYTES ? CHUNK_BYTES / row_bytes : 1;
  pool.chunks = (rows + pool.chunk_rows - 1) / pool.chunk_rows;
  atomic_store(&pool.next, 0);
  atomic_store(&pool.done, 0);
  atomic_fetch_add(&pool.generation, 1);
  pthread_cond_broadcast(&pool.woken);
  pthread_mutex_unlock(&pool.mutex);
  take_chunks();
  int32_t looks = 0;
  while (atomic_load(&pool.done) < pool.chunks) {
    relax();
    if (++looks % LOOKS == 0) sched_yield();
  }
  pthread_mutex_unlock(&pool.turn);
}

int32_t bt_copy(void *target, const void *source, int64_t bytes) {
  if (bytes < 0 || (bytes > 0 && (target == NULL || source == NULL))) return BT_BAD_CALL;
  if (bytes < LEAST_BYTES) {
    if (bytes > 0) memcpy(target, source, (size_t)bytes);
    return BT_OK;
  }
  const int64_t rows = (bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
  copy_together(target, CHUNK_BYTES, source, CHUNK_BYTES, CHUNK_BYTES, bytes - (rows - 1) * CHUNK_BYTES, rows);
  return BT_OK;
}

int32_t bt_copy_rows(void *target, int64_t target_pitch, const void *source, int64_t source_pitch, int64_t row_bytes,
                     int64_t rows) {
  const int is_narrow = rows > 1 && (target_pitch < row_bytes || source_pitch < row_bytes);
  if (row_bytes < 1 || rows < 1 || is_narrow || target == NULL || source == NULL) return BT_BAD_CALL;
  if (rows == 1) return bt_copy(target, source, row_bytes);
  if (row_bytes * rows < LEAST_BYTES) {
    for (int64_t row = 0; row < rows; row++) {
      memcpy((char *)target + row * target_pitch, (const char *)source + row * source_pitch, (size_t)row_bytes);
    }
    return BT_OK;
  }
  copy_together(target, target_pitch, source, source_pitch, row_bytes, row_bytes, rows);
  return BT_OK;
}
