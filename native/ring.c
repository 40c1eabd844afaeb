/* Bounded queue of records. A mutex, not a lock-free scheme: writers are rare and the lock is held for one copy. */
#define _POSIX_C_SOURCE 200809L /* strnlen */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

struct bt_ring {
  pthread_mutex_t mutex;
  uint32_t capacity;
  uint64_t written; /* bytes ever written; the position is its remainder */
  uint64_t read;
  int64_t dropped;
  uint8_t bytes[];
};

bt_ring *bt_ring_create(uint32_t capacity) {
  bt_ring *ring = malloc(sizeof(bt_ring) + capacity);
  if (ring == NULL) return NULL;
  memset(ring, 0, sizeof(bt_ring));
  pthread_mutex_init(&ring->mutex, NULL);
  ring->capacity = capacity;
  return ring;
}

void bt_ring_destroy(bt_ring *ring) {
  if (ring == NULL) return;
  pthread_mutex_destroy(&ring->mutex);
  free(ring);
}

static void put(bt_ring *ring, const void *source, uint32_t count) {
  if (count == 0) return;
  uint32_t at = (uint32_t)(ring->written % ring->capacity);
  uint32_t first = count < ring->capacity - at ? count : ring->capacity - at;
  memcpy(ring->bytes + at, source, first);
  memcpy(ring->bytes, (const uint8_t *)source + first, count - first);
  ring->written += count;
}

static void copy_out(const bt_ring *ring, uint64_t from, void *target, uint32_t count) {
  uint32_t at = (uint32_t)(from % ring->capacity);
  uint32_t first = count < ring->capacity - at ? count : ring->capacity - at;
  memcpy(target, ring->bytes + at, first);
  memcpy((uint8_t *)target + first, ring->bytes, count - first);
}

static uint32_t text_length(const char *text) { return text == NULL ? 0 : (uint32_t)strnlen(text, BT_TEXT_LIMIT); }

int32_t bt_ring_write(bt_ring *ring, int32_t kind, int32_t severity, int32_t number, float value, const char *text,
                      const char *parent) {
  if (ring == NULL) return BT_BAD_CALL;
  static const uint8_t padding[8] = {0};
  bt_record record = {0};
  record.kind = (uint16_t)kind;
  record.severity = (uint16_t)severity;
  record.number = number;
  record.value = value;
  record.text_bytes = text_length(text);
  record.parent_bytes = text_length(parent);
  uint32_t used = (uint32_t)sizeof record + record.text_bytes + record.parent_bytes;
  record.bytes = (used + 7u) & ~7u;

  uint32_t limit = severity >= 2 ? ring->capacity - ring->capacity / 4 : ring->capacity;
  int32_t status = BT_FAILED;
  pthread_mutex_lock(&ring->mutex);
  if (ring->written - ring->read + record.bytes <= limit) {
    put(ring, &record, sizeof record);
    put(ring, text, record.text_bytes);
    put(ring, parent, record.parent_bytes);
    put(ring, padding, record.bytes - used);
    status = BT_OK;
  } else {
    ring->dropped += 1;
  }
  pthread_mutex_unlock(&ring->mutex);
  return status;
}

int32_t bt_ring_read(bt_ring *ring, void *out, uint32_t capacity) {
  if (ring == NULL) return BT_BAD_CALL;
  uint32_t taken = 0;
  pthread_mutex_lock(&ring->mutex);
  while (ring->read < ring->written) {
    uint32_t bytes = 0;
    copy_out(ring, ring->read, &bytes, sizeof bytes);
    if (bytes > capacity - taken) break;
    copy_out(ring, ring->read, (uint8_t *)out + taken, bytes);
    ring->read += bytes;
    taken += bytes;
  }
  pthread_mutex_unlock(&ring->mutex);
  return (int32_t)taken;
}

int64_t bt_ring_dropped(bt_ring *ring) {
  if (ring == NULL) return BT_BAD_CALL;
  pthread_mutex_lock(&ring->mutex);
  int64_t dropped = ring->dropped;
  pthread_mutex_unlock(&ring->mutex);
  return dropped;
}
