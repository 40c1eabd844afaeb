/* Many threads write through every observer as TensorRT would, by vtable slot, while one reads. Compiled with the
 * sanitizers by shim-threads.test.ts; exits 0 when every record arrived whole or was counted as dropped. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../native/shim.h"

#define WRITERS 8
#define ROUNDS 4000

typedef struct info {
  const char *kind;
  int32_t major, minor;
} info;

static bt_ring *ring;
static void *logger10, *logger11, *profiler10, *profiler11, *monitor, *recorder, *allocator;
static atomic_int writing = WRITERS;

static void *method(void *object, int slot) { return (*(void ***)object)[slot]; }

#define EXPECT(condition)                                                \
  do {                                                                   \
    if (!(condition)) {                                                  \
      fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #condition); \
      exit(1);                                                           \
    }                                                                    \
  } while (0)

static void *write_all(void *argument) {
  long id = (long)argument;
  char text[96];
  for (int i = 0; i < ROUNDS; i++) {
    snprintf(text, sizeof text, "%ld:%d:%.*s", id, i, i % 64, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl");
    switch (i % 7) {
      case 0: ((void (*)(void *, int32_t, const char *))method(logger10, 0))(logger10, 2, text); break;
      case 1: ((void (*)(void *, int32_t, const char *))method(logger11, 4))(logger11, 1, text); break;
      case 2: ((void (*)(void *, const char *, float))method(profiler10, 0))(profiler10, text, 1.5f); break;
      case 3: ((void (*)(void *, const char *, float))method(profiler11, 4))(profiler11, text, 1.5f); break;
      case 4: ((void (*)(void *, const char *, const char *, int32_t))method(monitor, 4))(monitor, text, "parent", 3); break;
      case 5: ((bool (*)(void *, const char *, int32_t))method(monitor, 5))(monitor, text, i); break;
      default: EXPECT(((bool (*)(void *, int32_t, const char *))method(recorder, 9))(recorder, 3, text)); break;
    }
    int64_t dims[9] = {3, 1, 2, 3};
    memcpy(dims, &(int32_t){3}, sizeof(int32_t));
    ((void (*)(void *, const char *, const void *))method(allocator, 6))(allocator, "out", dims);
  }
  atomic_fetch_sub(&writing, 1);
  return NULL;
}

int main(void) {
  ring = bt_ring_create(16384);
  logger10 = bt_logger_create(10, ring, 3);
  logger11 = bt_logger_create(11, ring, 3);
  profiler10 = bt_profiler_create(10, ring);
  profiler11 = bt_profiler_create(11, ring);
  monitor = bt_monitor_create(ring);
  recorder = bt_recorder_create(ring);
  allocator = bt_allocator_create();

  void *versioned[] = {logger11, profiler11, monitor, recorder, allocator};
  const char *kinds[] = {"ILogger", "IProfiler", "IProgressMonitor", "IErrorRecorder", "IOutputAllocator"};
  for (int i = 0; i < 5; i++) {
    EXPECT(((int32_t(*)(void *))method(versioned[i], 0))(versioned[i]) == 0);
    info found = ((info(*)(void *))method(versioned[i], 1))(versioned[i]);
    EXPECT(strcmp(found.kind, kinds[i]) == 0 && found.major == 1 && found.minor == 0);
  }

  /* A line above the level is not queued; a cancelled monitor says so. */
  ((void (*)(void *, int32_t, const char *))method(logger10, 0))(logger10, 4, "verbose");
  uint8_t out[40000];
  EXPECT(bt_ring_read(ring, out, sizeof out) == 0);
  EXPECT(((bool (*)(void *, const char *, int32_t))method(monitor, 5))(monitor, "phase", 0));
  bt_monitor_cancel(monitor);
  EXPECT(!((bool (*)(void *, const char *, int32_t))method(monitor, 5))(monitor, "phase", 1));
  EXPECT(bt_ring_read(ring, out, sizeof out) > 0);

  /* The allocator grants what fits, and remembers what does not. */
  void *(*grant)(void *, const char *, void *, uint64_t, uint64_t) = method(allocator, 4);
  void *(*grant_async)(void *, const char *, void *, uint64_t, uint64_t, void *) = method(allocator, 5);
  int32_t dims[BT_MAX_DIMS];
  EXPECT(bt_allocator_shape(allocator, dims) == BT_FAILED);
  bt_allocator_set_memory(allocator, (void *)0x10000, 256);
  EXPECT(grant(allocator, "out", NULL, 256, 256) == (void *)0x10000);
  EXPECT(grant_async(allocator, "out", NULL, 257, 256, NULL) == NULL);
  EXPECT(bt_allocator_requested(allocator) == 257);

  /* A recorder that is referred to is not freed. */
  EXPECT(((int32_t(*)(void *))method(recorder, 10))(recorder) == 1);
  EXPECT(bt_observer_destroy(recorder) == BT_FAILED);
  EXPECT(((int32_t(*)(void *))method(recorder, 11))(recorder) == 0);

  pthread_t writers[WRITERS];
  for (long i = 0; i < WRITERS; i++) pthread_create(&writers[i], NULL, write_all, (void *)i);
  int64_t records = 0;
  for (bool last = false; !last;) {
    last = atomic_load(&writing) == 0; /* read before the ring: what was written by then is still to come */
    int32_t bytes = bt_ring_read(ring, out, sizeof out);
    EXPECT(bytes >= 0);
    for (int32_t at = 0; at < bytes;) {
      bt_record record;
      memcpy(&record, out + at, sizeof record);
      EXPECT(record.bytes % 8 == 0 && record.bytes >= sizeof record + record.text_bytes + record.parent_bytes);
      EXPECT(record.kind >= BT_RECORD_LOG && record.kind <= BT_RECORD_LAYER);
      long id;
      int round, taken;
      char text[128] = {0};
      memcpy(text, out + at + sizeof record, record.text_bytes);
      EXPECT(sscanf(text, "%ld:%d:%n", &id, &round, &taken) == 2 && (int)record.text_bytes == taken + round % 64);
      if (record.kind == BT_RECORD_PHASE_START) {
        EXPECT(memcmp(out + at + sizeof record + record.text_bytes, "parent", 6) == 0 && record.number == 3);
      }
      at += (int32_t)record.bytes;
      records += 1;
    }
    if (bytes > 0) last = false;
    else sched_yield();
  }
  for (int i = 0; i < WRITERS; i++) pthread_join(writers[i], NULL);
  EXPECT(records + bt_ring_dropped(ring) == (int64_t)WRITERS * ROUNDS);
  EXPECT(((int32_t(*)(void *))method(recorder, 4))(recorder) == 16);
  EXPECT(((bool (*)(void *))method(recorder, 7))(recorder));
  EXPECT(bt_allocator_shape(allocator, dims) == 3 && dims[0] == 1 && dims[2] == 3);

  /* A text beyond the limit is cut, one beyond the ring is dropped. */
  char *huge = malloc(100000);
  memset(huge, 'x', 99999);
  huge[99999] = 0;
  EXPECT(bt_ring_write(ring, BT_RECORD_LOG, 0, 0, 0, huge, NULL) == BT_OK);
  EXPECT(bt_ring_read(ring, out, 16) == 0);
  EXPECT(bt_ring_read(ring, out, sizeof out) == (int32_t)(sizeof(bt_record) + BT_TEXT_LIMIT));
  free(huge);

  void *all[] = {logger10, logger11, profiler10, profiler11, monitor, recorder, allocator};
  for (int i = 0; i < 7; i++) EXPECT(bt_observer_destroy(all[i]) == BT_OK);
  bt_ring_destroy(ring);
  printf("%lld records\n", (long long)records);
  return 0;
}
