/* Waiting for any of several CUDA events, on a thread that asks and sleeps in turn. */
#define _GNU_SOURCE /* clock_gettime, nanosleep */
#include <stdatomic.h>
#include <sys/prctl.h>
#include <time.h>

#include "internal.h"

/* cudaErrorNotReady */
#define NOT_READY 600

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int32_t bt_wait_any(int32_t device, void *query, void *const *events, const int32_t *awaited, int32_t capacity,
                    int32_t wanted, int32_t linger_us, int32_t pause_us) {
  int32_t (*status_of)(void *) = (int32_t (*)(void *))query;
  if (query == NULL || events == NULL || awaited == NULL || capacity < 0 || pause_us < 0) return BT_BAD_CALL;
  const int32_t bound = bt_use_device(device);
  if (bound != BT_OK) return bound;
  /* Sleeps are as short as they are asked for; by default the kernel adds 50 us. */
  const int slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
  prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
  const struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)pause_us * 1000};
  int64_t give_up = 0;
  int32_t done;
  for (;;) {
    int32_t active = 0;
    done = 0;
    for (int32_t at = 0; at < capacity; at++) {
      /* What the other thread wrote before it set the mark is seen after it. */
      if (atomic_load_explicit((const _Atomic int32_t *)&awaited[at], memory_order_acquire) == 0) continue;
      active += 1;
      if (status_of(events[at]) != NOT_READY) done += 1;
    }
    if (done >= active || done >= wanted) break;
    if (done > 0) {
      const int64_t now = now_ns();
      if (give_up == 0) give_up = now + (int64_t)linger_us * 1000;
      if (now >= give_up) break;
    }
    nanosleep(&pause, NULL);
  }
  if (slack > 0) prctl(PR_SET_TIMERSLACK, slack, 0, 0, 0);
  return done;
}
