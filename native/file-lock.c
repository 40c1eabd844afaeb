/* Locks between processes: they vanish with the process that holds them, so none can be stale. */
#define _GNU_SOURCE /* flock, O_CLOEXEC */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "internal.h"

#ifdef _WIN32

/* What Windows says, as the others would. */
static int32_t negative_errno(DWORD code) {
  if (code == ERROR_ACCESS_DENIED || code == ERROR_WRITE_PROTECT) return -EACCES;
  if (code == ERROR_FILE_NOT_FOUND || code == ERROR_PATH_NOT_FOUND || code == ERROR_INVALID_NAME) return -ENOENT;
  return code == ERROR_DISK_FULL || code == ERROR_HANDLE_DISK_FULL ? -ENOSPC : -EIO;
}

int32_t bt_file_lock(const char *path) {
  static const DWORD sharing = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  wchar_t wide[BT_PATH_UNITS];
  if (!bt_wide_path(path, wide)) return -ENOENT;
  HANDLE file = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, sharing, NULL, OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
  if (file == INVALID_HANDLE_VALUE) return negative_errno(GetLastError());
  /* Locks bind others here: a byte behind all that is written leaves the process id readable. */
  OVERLAPPED place = {.OffsetHigh = 1};
  if (!LockFileEx(file, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &place)) {
    const DWORD reason = GetLastError();
    CloseHandle(file);
    return reason == ERROR_LOCK_VIOLATION || reason == ERROR_IO_PENDING ? BT_FAILED : negative_errno(reason);
  }
  /* For people, and for the message of whoever waits. */
  char id[24];
  const DWORD length = (DWORD)snprintf(id, sizeof id, "%lu\n", GetCurrentProcessId());
  DWORD written = 0;
  if (!SetEndOfFile(file) || !WriteFile(file, id, length, &written, NULL) || written != length) {
    const DWORD reason = GetLastError();
    CloseHandle(file);
    return negative_errno(reason);
  }
  /* Handles are small numbers: 32 bits hold each. */
  return (int32_t)(intptr_t)file;
}

int32_t bt_file_unlock(int32_t descriptor) {
  return CloseHandle((HANDLE)(intptr_t)descriptor) ? BT_OK : negative_errno(GetLastError());
}

#else

#include <sys/file.h>
#include <unistd.h>

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

#endif
