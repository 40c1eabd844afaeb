/*
 * Whether the data of a JPEG codes all of its pixels. nvJPEG's engines do not tell: where data runs out, they leave the
 * rest of the picture as the one before it was. The codes are walked through and nothing is made of them, which takes a
 * third of the time of decoding.
 */
#include <stdbool.h>
#include <string.h>

#include "internal.h"

/* Bits that a lookup sees at once. */
#define PEEK 12
#define ENTRIES (1 << PEEK)
/* What an end of block adds to the place in a block: no sum of runs comes so far. */
#define BLOCK_END 128
/* Up to this place two codes may be taken at once: the first, of 16 at most, does not end the block. */
#define PAIRS_UNTIL 32

/* A Huffman table. An entry is bits << 8 | places: of one code with its value, or 0 where the code is longer. */
typedef struct table {
  bool is_set;
  uint16_t one[ENTRIES];
  uint16_t two[ENTRIES]; /* of two codes where both lie within PEEK bits; only of AC tables */
  int32_t limit[18];     /* first code beyond each length, shifted to 16 bits */
  int32_t offset[17];    /* of a length's first code: place of its symbol less the code */
  uint8_t symbols[256];
} table;

typedef struct component {
  int32_t id;
  int32_t blocks_x, blocks_y;
} component;

typedef struct scan {
  int32_t blocks;
  const table *dc[10];
  const table *ac[10];
} scan;

typedef struct frame {
  int32_t width, height;
  int32_t count;
  component components[3];
  int32_t restart; /* units between two restart markers, or 0 */
} frame;

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

static uint16_t entry_of(int32_t length, int32_t symbol, bool is_dc) {
  const int32_t value_bits = symbol & 15;
  if (is_dc) return (uint16_t)((length + symbol) << 8);
  int32_t places = (symbol >> 4) + 1;
  if (value_bits == 0) places = symbol == 0xf0 ? 16 : BLOCK_END;
  return (uint16_t)((length + value_bits) << 8 | places);
}

/* Builds a table from 16 counts and the symbols; false where they make none. */
static bool build(table *made, const uint8_t *counts, const uint8_t *symbols, int32_t total, bool is_dc) {
  memset(made, 0, sizeof *made);
  memcpy(made->symbols, symbols, (size_t)total);
  int32_t code = 0;
  int32_t at = 0;
  for (int32_t length = 1; length <= 16; length++) {
    made->offset[length] = at - code;
    for (int32_t left = counts[length - 1]; left > 0; left--, code++, at++) {
      if (code >= 1 << length || (is_dc && symbols[at] > 15)) return false;
      if (length > PEEK) continue;
      const uint16_t entry = entry_of(length, symbols[at], is_dc);
      const int32_t first = code << (PEEK - length);
      for (int32_t fill = 0; fill < 1 << (PEEK - length); fill++) made->one[first + fill] = entry;
    }
    made->limit[length] = code << (16 - length);
    code <<= 1;
  }
  made->limit[17] = 1 << 30;
  for (int32_t bits = 0; bits < ENTRIES && !is_dc; bits++) {
    const uint16_t first = made->one[bits];
    made->two[bits] = first;
    const int32_t length = first >> 8;
    if (first == 0 || length >= PEEK || (first & 255) == BLOCK_END) continue;
    const uint16_t second = made->one[bits << length & (ENTRIES - 1)];
    if (second != 0 && length + (second >> 8) <= PEEK) made->two[bits] = (uint16_t)(first + second);
  }
  made->is_set = true;
  return true;
}

/* The entry of a code longer than PEEK bits, or 0 where there is no such code. */
static uint16_t long_entry(const table *codes, uint64_t bits, bool is_dc) {
  const int32_t peeked = (int32_t)(bits >> 48);
  int32_t length = PEEK + 1;
  while (length <= 16 && peeked >= codes->limit[length]) length++;
  if (length > 16) return 0;
  const int32_t symbol = (peeked >> (16 - length)) + codes->offset[length];
  return symbol < 0 || symbol > 255 ? 0 : entry_of(length, codes->symbols[symbol], is_dc);
}

/* Walks through one block; false where a code is none, or the block has more than 64 values. */
static bool skip_block(reader *in, const table *dc, const table *ac) {
  if (in->count < 32) refill(in);
  uint16_t entry = dc->one[in->bits >> (64 - PEEK)];
  if (entry == 0) entry = long_entry(dc, in->bits, true);
  if (entry == 0) return false;
  drop(in, entry >> 8);
  int32_t place = 1;
  /* A copy stays in registers. */
  reader local = *in;
  while (place <= PAIRS_UNTIL) {
    if (local.count < 32) refill(&local);
    entry = ac->two[local.bits >> (64 - PEEK)];
    if (__builtin_expect(entry == 0, 0)) entry = long_entry(ac, local.bits, false);
    if (entry == 0) return false;
    drop(&local, entry >> 8);
    place += entry & 255;
  }
  while (place < 64) {
    if (local.count < 32) refill(&local);
    entry = ac->one[local.bits >> (64 - PEEK)];
    if (__builtin_expect(entry == 0, 0)) entry = long_entry(ac, local.bits, false);
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
  if (in->end - in->at < 2 || in->at[0] != 0xff || in->at[1] != 0xd0 + (number & 7)) return false;
  in->at += 2;
  in->bits = 0;
  in->count = 0;
  in->beyond = 0;
  return true;
}

static int32_t walk(reader *in, const scan *order, const frame *picture, int64_t units) {
  int32_t number = 0;
  int32_t left = picture->restart;
  for (int64_t unit = 0; unit < units; unit++) {
    if (picture->restart > 0 && left-- == 0) {
      /* Refilling stops before a marker, so that all of the data has been read, or too little. */
      refill(in);
      if (!restart(in, number++)) return BT_JPEG_DAMAGED;
      left = picture->restart - 1;
    }
    for (int32_t block = 0; block < order->blocks; block++) {
      if (!skip_block(in, order->dc[block], order->ac[block])) return BT_JPEG_DAMAGED;
    }
    if (in->beyond > in->count) return BT_JPEG_SHORT;
  }
  return BT_OK;
}

static int32_t word_at(const uint8_t *at) { return at[0] << 8 | at[1]; }

static bool read_tables(table *tables, const uint8_t *at, const uint8_t *end) {
  while (end - at >= 17) {
    const int32_t number = at[0];
    int32_t total = 0;
    for (int32_t length = 1; length <= 16; length++) total += at[length];
    if ((number & 0xee) != 0 || total > 256 || end - at < 17 + total) return false;
    /* Tables 0 and 1 of DC, then those of AC: a baseline frame has no more. */
    if (!build(&tables[(number >> 4) * 2 + (number & 1)], at + 1, at + 17, total, number >> 4 == 0)) return false;
    at += 17 + total;
  }
  return true;
}

static bool read_frame(frame *picture, const uint8_t *at, int32_t length) {
  if (length < 6) return false;
  picture->height = word_at(at + 1);
  picture->width = word_at(at + 3);
  picture->count = at[5];
  const bool is_known = picture->count == 1 || picture->count == 3;
  if (at[0] != 8 || !is_known || length < 6 + picture->count * 3) return false;
  for (int32_t index = 0; index < picture->count; index++) {
    const uint8_t *row = at + 6 + index * 3;
    component *one = &picture->components[index];
    one->id = row[0];
    one->blocks_x = row[1] >> 4;
    one->blocks_y = row[1] & 15;
    if (one->blocks_x < 1 || one->blocks_x > 4 || one->blocks_y < 1 || one->blocks_y > 4) return false;
  }
  return picture->width > 0 && picture->height > 0;
}

/* The blocks of a unit in their order, with their tables. */
static bool read_scan(scan *order, const frame *picture, const table *tables, const uint8_t *at, int32_t length) {
  const int32_t count = length > 0 ? at[0] : 0;
  if (count != picture->count || length < 1 + count * 2) return false;
  order->blocks = 0;
  for (int32_t index = 0; index < count; index++) {
    const component *one = &picture->components[index];
    const int32_t choice = at[2 + index * 2];
    if (at[1 + index * 2] != one->id || (choice & 0xee) != 0) return false;
    const table *dc = &tables[choice >> 4];
    const table *ac = &tables[2 + (choice & 1)];
    const int32_t blocks = count == 1 ? 1 : one->blocks_x * one->blocks_y;
    if (!dc->is_set || !ac->is_set || order->blocks + blocks > 10) return false;
    for (int32_t block = 0; block < blocks; block++) {
      order->dc[order->blocks] = dc;
      order->ac[order->blocks++] = ac;
    }
  }
  return true;
}

/* Units of a picture: of one component a unit is a block, whatever its factors. */
static int64_t units_of(const frame *picture) {
  int32_t x = 1;
  int32_t y = 1;
  for (int32_t index = 0; picture->count > 1 && index < picture->count; index++) {
    if (picture->components[index].blocks_x > x) x = picture->components[index].blocks_x;
    if (picture->components[index].blocks_y > y) y = picture->components[index].blocks_y;
  }
  const int64_t columns = (picture->width + 8 * x - 1) / (8 * x);
  const int64_t rows = (picture->height + 8 * y - 1) / (8 * y);
  return columns * rows;
}

int32_t bt_jpeg_check(const uint8_t *bytes, size_t length) {
  if (bytes == NULL) return BT_BAD_CALL;
  table tables[4];
  for (int32_t index = 0; index < 4; index++) tables[index].is_set = false;
  frame picture = {0};
  const uint8_t *const end = bytes + length;
  const uint8_t *at = bytes + 2;
  while (end - at >= 4) {
    if (at[0] != 0xff || at[1] == 0xff) {
      at++;
      continue;
    }
    const int32_t marker = at[1];
    if (marker == 0 || marker == 1 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += 2;
      continue;
    }
    const int32_t size = word_at(at + 2);
    const uint8_t *const body = at + 4;
    const uint8_t *const next = at + 2 + size;
    if (marker == 0xd9 || size < 2 || next > end) return BT_JPEG_DAMAGED;
    if (marker == 0xc4 && !read_tables(tables, body, next)) return BT_JPEG_DAMAGED;
    if (marker == 0xc0 && !read_frame(&picture, body, size - 2)) return BT_JPEG_DAMAGED;
    if (marker == 0xdd && size == 4) picture.restart = word_at(body);
    if (marker == 0xda) {
      scan order;
      if (picture.count == 0 || !read_scan(&order, &picture, tables, body, size - 2)) return BT_JPEG_DAMAGED;
      reader in = {.at = next, .end = end};
      return walk(&in, &order, &picture, units_of(&picture));
    }
    at = next;
  }
  return BT_JPEG_DAMAGED;
}
