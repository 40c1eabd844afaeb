/*
 * Whether the first image of a GIF has all of its pixels. libnsgif makes of damaged codes what it can, and tells nobody. The
 * codes are walked through, and only the lengths of what they stand for are kept.
 */
#include <string.h>

#include "shim.h"

#define MOST_CODES 4096

/* Reads bits from the lowest on, out of blocks of up to 255 bytes. */
typedef struct reader {
  const uint8_t *at;
  const uint8_t *end;
  int32_t left; /* bytes of the block */
  uint32_t bits;
  int32_t count;
} reader;

/* The next code; -1 where the data ends. */
static int32_t next_code(reader *in, int32_t width) {
  while (in->count < width) {
    if (in->left == 0) {
      if (in->at == in->end || *in->at == 0) return -1;
      in->left = *in->at++;
    }
    if (in->at == in->end) return -1;
    in->bits |= (uint32_t)*in->at++ << in->count;
    in->count += 8;
    in->left--;
  }
  const int32_t code = (int32_t)(in->bits & ((1u << width) - 1));
  in->bits >>= width;
  in->count -= width;
  return code;
}

/* Pixels that the codes make, up to one more than wanted; -1 where a code is none. */
static int64_t count_pixels(reader *in, int32_t size, int64_t wanted) {
  uint16_t lengths[MOST_CODES];
  const int32_t clear = 1 << size;
  for (int32_t code = 0; code < clear; code++) lengths[code] = 1;
  int32_t width = size + 1, next = clear + 2, former = -1;
  int64_t pixels = 0;
  while (pixels <= wanted) {
    const int32_t code = next_code(in, width);
    if (code < 0 || code == clear + 1) break;
    if (code == clear) {
      width = size + 1;
      next = clear + 2;
      former = -1;
      continue;
    }
    if (code > next || (code >= clear && former < 0) || (code == next && next == MOST_CODES)) return -1;
    if (former >= 0 && next < MOST_CODES) {
      lengths[next++] = (uint16_t)(lengths[former] + 1);
      if (next == 1 << width && width < 12) width++;
    }
    pixels += lengths[code];
    former = code;
  }
  return pixels;
}

static const uint8_t *behind_table(const uint8_t *at, int32_t flags) {
  return (flags & 0x80) == 0 ? at : at + 3 * (2 << (flags & 7));
}

int32_t bt_gif_check(const uint8_t *bytes, size_t length) {
  if (bytes == NULL) return BT_BAD_CALL;
  if (length < 13) return BT_IMAGE_OTHER;
  const uint8_t *const end = bytes + length;
  const uint8_t *at = behind_table(bytes + 13, bytes[10]);
  while (end - at > 2 && at[0] == 0x21) {
    at += 2;
    while (at < end && *at != 0) at += *at + 1;
    at += 1;
  }
  if (end - at < 11 || at[0] != 0x2c) return BT_IMAGE_OTHER;
  const int64_t wanted = (int64_t)(at[5] | at[6] << 8) * (at[7] | at[8] << 8);
  at = behind_table(at + 10, at[9]);
  if (end - at < 2 || at[0] < 1 || at[0] > 11) return BT_IMAGE_OTHER;
  reader in = {.at = at + 1, .end = end};
  const int64_t pixels = count_pixels(&in, at[0], wanted);
  return pixels == wanted ? BT_OK : pixels >= 0 && pixels < wanted ? BT_IMAGE_SHORT : BT_IMAGE_DAMAGED;
}
