/*
 * Whether the data of a JPEG codes all of its pixels. nvJPEG's engines do not tell: where data runs out, they leave the
 * rest of the image as the one before it was; libjpeg does not tell of a few bytes that are left over. The codes are walked
 * through, and nothing is made of them but DC values, which takes a third of the time of decoding.
 */
#include <string.h>

#include "internal.h"
#include "jpeg.h"

/* Up to this place two codes may be taken at once: the first, of 16 at most, does not end the block. */
#define PAIRS_UNTIL 32

/* Reads bits from the highest on. What lies behind the data is zeros, which are counted. */
typedef struct reader {
  const uint8_t *at;
  const uint8_t *end;
  uint64_t bits;
  int32_t count;
  int32_t beyond;
} reader;

static uint64_t big_endian(const uint8_t *at) {
  uint64_t word;
  memcpy(&word, at, 8);
  return __builtin_bswap64(word);
}

static bool has_ff(uint64_t word) {
  const uint64_t low = 0x0101010101010101u;
  const uint64_t inverse = ~word;
  return (((inverse - low) & ~inverse) & (low << 7)) != 0;
}

static inline void refill(reader *in) {
  if (in->end - in->at >= 8) {
    const uint64_t word = big_endian(in->at);
    if (!has_ff(word)) {
      in->bits |= word >> in->count;
      const int32_t taken = (63 - in->count) >> 3;
      in->at += taken;
      in->count += taken * 8;
      /* Bits below `count` are those of the bytes that come next: they are the same when they come. */
      return;
    }
  }
  /* Bits below `count` may be set: the bytes are put over them. */
  in->bits = in->count == 0 ? 0 : in->bits & ~(~(uint64_t)0 >> in->count);
  while (in->count <= 56) {
    uint64_t byte = 0;
    const bool is_last = in->end - in->at < 2;
    if (in->at < in->end && *in->at != 0xff) {
      byte = *in->at++;
    } else if (!is_last && in->at[1] == 0) {
      byte = 0xff;
      in->at += 2;
    } else {
      in->beyond += 8;
    }
    in->bits |= byte << (56 - in->count);
    in->count += 8;
  }
}

static void drop(reader *in, int32_t bits) {
  in->bits <<= bits;
  in->count -= bits;
}

/* The value behind a DC code at the top of `bits`: what it adds to the one before it. */
static int32_t difference(uint64_t bits, uint16_t entry) {
  const int32_t size = entry & 15;
  if (size == 0) return 0;
  const int32_t value = (int32_t)(bits << ((entry >> 8) - size) >> (64 - size));
  return value >> (size - 1) != 0 ? value : value - (1 << size) + 1;
}

/* Walks through one block; false where a code is none, or the block has more than 64 values. `value` is the DC value. */
static bool skip_block(reader *in, const table *dc, const table *ac, int32_t *value) {
  if (in->count < 32) refill(in);
  uint16_t entry = dc->one[in->bits >> (64 - PEEK)];
  if (entry == 0) entry = jpeg_long_entry(dc, in->bits, true);
  if (entry == 0) return false;
  *value += difference(in->bits, entry);
  drop(in, entry >> 8);
  int32_t place = 1;
  /* A copy stays in registers. */
  reader local = *in;
  while (place <= PAIRS_UNTIL) {
    if (local.count < 32) refill(&local);
    entry = ac->two[local.bits >> (64 - PEEK)];
    if (__builtin_expect(entry == 0, 0)) entry = jpeg_long_entry(ac, local.bits, false);
    if (entry == 0) return false;
    drop(&local, entry >> 8);
    place += entry & 255;
  }
  while (place < 64) {
    if (local.count < 32) refill(&local);
    entry = ac->one[local.bits >> (64 - PEEK)];
    if (__builtin_expect(entry == 0, 0)) entry = jpeg_long_entry(ac, local.bits, false);
    if (entry == 0) return false;
    drop(&local, entry >> 8);
    place += entry & 255;
  }
  *in = local;
  return place == 64 || place >= BLOCK_END;
}

/* Goes to the data behind the restart marker of this number. */
static bool restart(reader *in, int32_t number) {
  /* At most seven bits fill the last byte up; the marker must follow it. */
  if (in->beyond > in->count) return false;
  const int32_t unread = (in->count - in->beyond) / 8;
  if (unread > 0) return false;
  while (in->end - in->at > 2 && in->at[0] == 0xff && in->at[1] == 0xff) in->at++;
  if (in->end - in->at < 2 || in->at[0] != 0xff || in->at[1] != 0xd0 + (number & 7)) return false;
  in->at += 2;
  in->bits = 0;
  in->count = 0;
  in->beyond = 0;
  return true;
}

/*
 * Whether no data is left behind the last block. Damaged codes fall into step again, with fewer blocks or more: what is left
 * over is often all that tells.
 */
static bool is_used_up(reader *in) {
  refill(in);
  if ((in->count - in->beyond) / 8 > 0) return false;
  return in->at == in->end || (in->at[0] == 0xff && (in->end - in->at == 1 || in->at[1] != 0));
}

static int32_t walk(reader *in, const jpeg *image) {
  const int32_t interval = image->frame.restart;
  const scan *const order = &image->scan;
  int32_t number = 0;
  int32_t left = interval;
  int32_t values[3] = {0};
  for (int64_t unit = 0; unit < image->units; unit++) {
    if (interval > 0 && left-- == 0) {
      /* Refilling stops before a marker, so that all of the data has been read, or too little. */
      refill(in);
      if (!restart(in, number++)) return BT_IMAGE_DAMAGED;
      left = interval - 1;
      memset(values, 0, sizeof values);
    }
    for (int32_t block = 0; block < order->blocks; block++) {
      const table *const dc = &image->tables[order->dc[block]];
      const int32_t component = order->component[block];
      int32_t *const value = &values[component];
      if (!skip_block(in, dc, &image->tables[order->ac[block]], value)) return BT_IMAGE_DAMAGED;
      /* Codes that fell into step again add to all that follows: brighter than white shows it. */
      if (*value > order->most[component] || *value < -order->most[component]) return BT_IMAGE_DAMAGED;
    }
    if (in->beyond > in->count) return BT_IMAGE_SHORT;
  }
  return is_used_up(in) ? BT_OK : BT_IMAGE_DAMAGED;
}

int32_t bt_jpeg_check(const uint8_t *bytes, size_t length) {
  if (bytes == NULL) return BT_BAD_CALL;
  jpeg image;
  if (!jpeg_open(&image, bytes, length)) return BT_IMAGE_OTHER;
  reader in = {.at = image.data, .end = image.end};
  return walk(&in, &image);
}
