/* Advisory locks: they vanish with the process that holds them, so none can be stale. */
#define _GNU_SOURCE /* flock, O_CLOEXEC */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "shim.h"

int32_t bt_file_lock(const char *path) {
  int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) return -errno;
  if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    int reason = errno;
    close(descriptor);
    return reason == EWOULDBLOCK ? BT_FAILED : -reason;
  }
  /* For people, and for the message of whoever waits. */
  char id[24];
  int length = snprintf(id, sizeof id, "%ld\n", (long)getpid());
  if (ftruncate(descriptor, 0) != 0 || write(descriptor, id, (size_t)length) != length) {
    int reason = errno;
    close(descriptor);
    return -reason;
  }
  return descriptor;
}

int32_t bt_file_unlock(int32_t descriptor) { return close(descriptor) == 0 ? BT_OK : -errno; }
