/*
 * The data of a JPEG laid out for kernels/jpeg_check.cu, which walks through its codes in many places at once: bytes as
 * they are meant, the places of restart markers, and the tables.
 */
#include <string.h>

#include "internal.h"
#include "jpeg.h"

/* Bytes behind the data that the kernel may read. */
#define SLACK 16

/* `struct Plan` of kernels/jpeg_check.cu. */
typedef struct plan {
  uint16_t codes[4][ENTRIES]; /* of one code: see jpeg.h */
  int32_t limits[4][18];
  int32_t offsets[4][17];
  uint8_t symbols[4][256];
  uint8_t dc[12]; /* table of each block of a unit */
  uint8_t ac[12];
  uint8_t component[12];
  int32_t most[3];   /* of each component: see jpeg.h */
  int32_t blocks;    /* of a unit */
  int32_t interval;  /* blocks between two restarts */
  int32_t expected;  /* blocks behind the last restart */
  uint32_t bits;     /* of data */
  int32_t restarts;  /* bits before each: the first in the last 4 bytes, the second in those before them, … */
} plan;

_Static_assert(sizeof(plan) == BT_JPEG_PLAN_BYTES, "kernels/jpeg_check.cu and src/nvjpeg/batch-check.ts count on it");

/* Copies data with the zeros that are stuffed behind 0xff left out, up to the end or to a marker. */
static uint8_t *unstuff(uint8_t *to, const uint8_t **from, const uint8_t *end) {
  const uint8_t *at = *from;
  for (;;) {
    const uint8_t *const found = memchr(at, 0xff, (size_t)(end - at));
    const size_t plain = (size_t)((found == NULL ? end : found) - at);
    memcpy(to, at, plain);
    to += plain;
    at += plain;
    if (end - at < 2 || at[1] != 0) break;
    *to++ = 0xff;
    at += 2;
  }
  *from = at;
  return to;
}

/* Writes the data from `data` on and the restarts from `top` downwards. */
static int32_t lay_out(const jpeg *image, plan *made, uint8_t *const data, uint8_t *const top) {
  const int32_t interval = image->frame.restart;
  const int64_t wanted = interval == 0 ? 0 : (image->units + interval - 1) / interval - 1;
  const uint8_t *from = image->data;
  uint8_t *to = data;
  if (image->end - from > UINT32_MAX / 16) return BT_IMAGE_DAMAGED;
  for (int32_t number = 0;; number++) {
    const int64_t room = top - to - (int64_t)(number + 1) * 4 - SLACK;
    if (image->end - from > room) return BT_IMAGE_DAMAGED;
    to = unstuff(to, &from, image->end);
    if (number == wanted) break;
    /* Each marker has its number, so that one that is gone with its data is missed. */
    while (image->end - from > 2 && from[0] == 0xff && from[1] == 0xff) from++;
    if (image->end - from < 2 || from[1] != 0xd0 + (number & 7)) return BT_IMAGE_DAMAGED;
    from += 2;
    const uint32_t place = (uint32_t)(to - data) * 8;
    memcpy(top - (size_t)(number + 1) * 4, &place, 4);
  }
  made->interval = interval * image->scan.blocks;
  made->expected = (int32_t)((image->units - wanted * interval) * image->scan.blocks);
  memset(to, 0, SLACK);
  made->bits = (uint32_t)(to - data) * 8;
  made->restarts = (int32_t)wanted;
  return BT_OK;
}

int32_t bt_jpeg_plan(const uint8_t *bytes, size_t length, uint8_t *out, size_t capacity) {
  if (bytes == NULL || out == NULL || capacity < sizeof(plan)) return BT_BAD_CALL;
  jpeg image;
  if (!jpeg_open(&image, bytes, length)) return BT_IMAGE_DAMAGED;
  plan *const made = (plan *)(void *)out;
  for (int32_t index = 0; index < 4; index++) {
    const table *const codes = &image.tables[index];
    memcpy(made->codes[index], codes->one, sizeof codes->one);
    memcpy(made->limits[index], codes->limit, sizeof codes->limit);
    memcpy(made->offsets[index], codes->offset, sizeof codes->offset);
    memcpy(made->symbols[index], codes->symbols, sizeof codes->symbols);
  }
  memcpy(made->dc, image.scan.dc, sizeof image.scan.dc);
  memcpy(made->ac, image.scan.ac, sizeof image.scan.ac);
  made->blocks = image.scan.blocks;
  if (image.units > INT32_MAX / image.scan.blocks) return BT_IMAGE_DAMAGED;
  memcpy(made->component, image.scan.component, sizeof image.scan.component);
  memcpy(made->most, image.scan.most, sizeof image.scan.most);
  return lay_out(&image, made, out + sizeof(plan), out + capacity / 4 * 4);
}

int32_t bt_jpeg_plans(int32_t count, const uint8_t *const *bytes, const uint64_t *lengths, uint8_t *out,
                      const uint64_t *offsets, int32_t *statuses) {
  if (count < 0 || bytes == NULL || lengths == NULL || out == NULL || offsets == NULL || statuses == NULL) {
    return BT_BAD_CALL;
  }
  for (int32_t index = 0; index < count; index++) {
    const size_t capacity = (size_t)(offsets[index + 1] - offsets[index]);
    statuses[index] = bt_jpeg_plan(bytes[index], (size_t)lengths[index], out + offsets[index], capacity);
  }
  return BT_OK;
}
