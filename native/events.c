/* Waiting for any of several CUDA events, on a thread that asks and sleeps in turn. */
#define _GNU_SOURCE /* nanosleep */
#include <stdatomic.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#ifndef _WIN32
#include <time.h>
#endif

#include "internal.h"

/* cudaErrorNotReady */
#define NOT_READY 600

#ifdef _WIN32

/* A timer of the finest resolution; Sleep alone ends with the next tick, up to 15 ms later. */
typedef HANDLE sleeper;

static sleeper sleeper_open(void) {
  return CreateWaitableTimerExW(NULL, NULL, CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, TIMER_ALL_ACCESS);
}

static void sleeper_pause(sleeper timer, int32_t pause_us) {
  /* In units of 100 ns, negative for a time from now on. Windows before 10 1803 has no such timer. */
  const LARGE_INTEGER due = {.QuadPart = -10 * (int64_t)pause_us};
  if (timer == NULL || !SetWaitableTimer(timer, &due, 0, NULL, NULL, FALSE)) {
    Sleep((DWORD)((pause_us + 999) / 1000));
    return;
  }
  WaitForSingleObject(timer, INFINITE);
}

static void sleeper_close(sleeper timer) {
  if (timer != NULL) CloseHandle(timer);
}

#else

typedef int sleeper;

#ifdef __linux__

/* Sleeps are as short as they are asked for; by default the kernel adds 50 us. */
static sleeper sleeper_open(void) {
  const int slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
  prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
  return slack;
}

static void sleeper_close(sleeper slack) {
  if (slack > 0) prctl(PR_SET_TIMERSLACK, slack, 0, 0, 0);
}

#else

static sleeper sleeper_open(void) { return 0; }

static void sleeper_close(sleeper slack) { (void)slack; }

#endif

static void sleeper_pause(sleeper slack, int32_t pause_us) {
  (void)slack;
  const struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)pause_us * 1000};
  nanosleep(&pause, NULL);
}

#endif

int32_t bt_wait_any(int32_t device, void *query, void *const *events, int32_t *marks, int32_t capacity,
                    int32_t pause_us) {
  int32_t (*status_of)(void *) = (int32_t (*)(void *))query;
  if (query == NULL || events == NULL || marks == NULL || capacity < 0 || pause_us < 0) return BT_BAD_CALL;
  const int32_t bound = bt_use_device(device);
  if (bound != BT_OK) return bound;
  const sleeper slept = sleeper_open();
  int32_t done;
  for (;;) {
    int32_t awaited = 0;
    done = 0;
    for (int32_t at = 0; at < capacity; at++) {
      _Atomic int32_t *mark = (_Atomic int32_t *)&marks[at];
      /* What the other thread wrote before it set the mark is seen after it. */
      const int32_t state = atomic_load_explicit(mark, memory_order_acquire);
      if (state == BT_MARK_NONE) continue;
      awaited += 1;
      if (state == BT_MARK_AWAITED && status_of(events[at]) == NOT_READY) continue;
      atomic_store_explicit(mark, BT_MARK_DONE, memory_order_relaxed);
      done += 1;
    }
    if (done > 0 || awaited == 0) break;
    sleeper_pause(slept, pause_us);
  }
  sleeper_close(slept);
  return done;
}
