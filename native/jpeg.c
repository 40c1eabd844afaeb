/* JPEG headers: the tables and the order of the codes of a baseline image of one scan. */
#include "jpeg.h"

#include <string.h>

/* Eight times the 128 levels between grey and white, and what mozjpeg's search for fewer bits may add. */
#define DC_RANGE (8 * 128 + 64)

static uint16_t entry_of(int32_t length, int32_t symbol, bool is_dc) {
  const int32_t value_bits = symbol & 15;
  if (is_dc) return (uint16_t)((length + symbol) << 8 | symbol);
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

uint16_t jpeg_long_entry(const table *codes, uint64_t bits, bool is_dc) {
  const int32_t peeked = (int32_t)(bits >> 48);
  int32_t length = PEEK + 1;
  while (length <= 16 && peeked >= codes->limit[length]) length++;
  if (length > 16) return 0;
  const int32_t symbol = (peeked >> (16 - length)) + codes->offset[length];
  return symbol < 0 || symbol > 255 ? 0 : entry_of(length, codes->symbols[symbol], is_dc);
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

static bool read_quantisation(int32_t *dc_steps, const uint8_t *at, const uint8_t *end) {
  while (at < end) {
    const int32_t bytes = at[0] >> 4 == 0 ? 1 : 2;
    if ((at[0] & 0xec) != 0 || end - at < 1 + 64 * bytes) return false;
    dc_steps[at[0] & 3] = bytes == 1 ? at[1] : word_at(at + 1);
    at += 1 + 64 * bytes;
  }
  return true;
}

static bool read_frame(frame *image, const uint8_t *at, int32_t length) {
  if (length < 6) return false;
  image->height = word_at(at + 1);
  image->width = word_at(at + 3);
  image->count = at[5];
  const bool is_known = image->count == 1 || image->count == 3;
  if (at[0] != 8 || !is_known || length < 6 + image->count * 3) return false;
  for (int32_t index = 0; index < image->count; index++) {
    const uint8_t *row = at + 6 + index * 3;
    component *one = &image->components[index];
    one->id = row[0];
    one->blocks_x = row[1] >> 4;
    one->blocks_y = row[1] & 15;
    one->quantisation = row[2];
    if (one->quantisation > 3) return false;
    if (one->blocks_x < 1 || one->blocks_x > 4 || one->blocks_y < 1 || one->blocks_y > 4) return false;
  }
  return image->width > 0 && image->height > 0;
}

/* The blocks of a unit in their order, with their tables. */
static bool read_scan(jpeg *made, const uint8_t *at, int32_t length) {
  scan *const order = &made->scan;
  const frame *const image = &made->frame;
  const table *const tables = made->tables;
  const int32_t count = length > 0 ? at[0] : 0;
  if (count != image->count || length < 1 + count * 2) return false;
  order->blocks = 0;
  for (int32_t index = 0; index < count; index++) {
    const component *one = &image->components[index];
    const int32_t choice = at[2 + index * 2];
    if (at[1 + index * 2] != one->id || (choice & 0xee) != 0) return false;
    const int32_t dc = choice >> 4;
    const int32_t ac = 2 + (choice & 1);
    const int32_t blocks = count == 1 ? 1 : one->blocks_x * one->blocks_y;
    const int32_t step = made->dc_steps[one->quantisation];
    if (!tables[dc].is_set || !tables[ac].is_set || step == 0 || order->blocks + blocks > 10) return false;
    order->most[index] = DC_RANGE / step + 2;
    for (int32_t block = 0; block < blocks; block++) {
      order->component[order->blocks] = (uint8_t)index;
      order->dc[order->blocks] = (uint8_t)dc;
      order->ac[order->blocks++] = (uint8_t)ac;
    }
  }
  return true;
}

/* Units of an image: of one component a unit is a block, whatever its factors. */
static int64_t units_of(const frame *image) {
  int32_t x = 1;
  int32_t y = 1;
  for (int32_t index = 0; image->count > 1 && index < image->count; index++) {
    if (image->components[index].blocks_x > x) x = image->components[index].blocks_x;
    if (image->components[index].blocks_y > y) y = image->components[index].blocks_y;
  }
  const int64_t columns = (image->width + 8 * x - 1) / (8 * x);
  const int64_t rows = (image->height + 8 * y - 1) / (8 * y);
  return columns * rows;
}

bool jpeg_open(jpeg *made, const uint8_t *bytes, size_t length) {
  memset(made, 0, sizeof *made);
  made->end = bytes + length;
  const uint8_t *at = bytes + 2;
  while (made->end - at >= 4) {
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
    if (marker == 0xd9 || size < 2 || next > made->end) return false;
    if (marker == 0xc4 && !read_tables(made->tables, body, next)) return false;
    if (marker == 0xdb && !read_quantisation(made->dc_steps, body, next)) return false;
    if (marker == 0xc0 && !read_frame(&made->frame, body, size - 2)) return false;
    if (marker == 0xdd && size == 4) made->frame.restart = word_at(body);
    if (marker == 0xda) {
      if (made->frame.count == 0 || !read_scan(made, body, size - 2)) return false;
      made->data = next;
      made->units = units_of(&made->frame);
      return true;
    }
    at = next;
  }
  return false;
}
