/* The motion of a camera: src/track/grey-pyramid.ts and src/track/optical-flow.ts, to the bit. */
#include <stdbool.h>
#include <string.h>

#include "shim.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#endif

/* Products are rounded before they are added on every processor, as in TypeScript. */
#pragma STDC FP_CONTRACT OFF

#define PAD 24
#define CORNERS 400
#define QUALITY 0.01
#define HALF 10
#define SIDE 21
/* A row of a window, in whole vectors; columns from SIDE on count for nothing. */
#define ROW 24
#define STEPS 30
#define SMALLEST_STEP 0.01
/* Parts of a pixel that places are rounded to. */
#define PARTS 16384
/* What products of Scharr's derivatives are too large by. */
#define SCALE (1.0 / (1 << 20))
/* Windows with less structure than this say nothing. */
#define LEAST_EIGENVALUE 1e-4
#define LEAST_DETERMINANT (1.0 / (1 << 23))

/*
 * Functions below are compiled once for every processor and once for AVX2. They hand vectors to each other, which is no
 * matter of calling conventions as they all are inlined.
 */
#pragma clang diagnostic ignored "-Wpsabi"
#define EACH static inline __attribute__((always_inline))

typedef uint8_t bt_u8x8 __attribute__((vector_size(8)));
typedef uint8_t bt_u8x16 __attribute__((vector_size(16)));
typedef int16_t bt_i16x8 __attribute__((vector_size(16)));
typedef int16_t bt_i16x16 __attribute__((vector_size(32)));
typedef int32_t bt_i32x8 __attribute__((vector_size(32)));
typedef int32_t bt_i32x16 __attribute__((vector_size(64)));
typedef double bt_f64x8 __attribute__((vector_size(64)));
typedef float bt_f32x8 __attribute__((vector_size(32)));

/* Sums of two products each. */
#if defined(__x86_64__)
AVX2 static inline void pairs_avx2(const bt_i16x16 *a, const bt_i16x16 *b, bt_i32x8 *sums) {
  *sums = (bt_i32x8)_mm256_madd_epi16((__m256i)*a, (__m256i)*b);
}

EACH bt_i32x8 pairs(bt_i16x16 a, bt_i16x16 b, bool is_wide) {
  bt_i32x8 sums;
  if (is_wide) {
    pairs_avx2(&a, &b, &sums);
    return sums;
  }
  __m128i halves[2], others[2];
  memcpy(halves, &a, sizeof a);
  memcpy(others, &b, sizeof b);
  for (int32_t at = 0; at < 2; at++) halves[at] = _mm_madd_epi16(halves[at], others[at]);
  memcpy(&sums, halves, sizeof sums);
  return sums;
}
#else
EACH bt_i32x8 pairs(bt_i16x16 a, bt_i16x16 b, bool is_wide) {
  (void)is_wide;
  const bt_i16x8 even_a = __builtin_shufflevector(a, a, 0, 2, 4, 6, 8, 10, 12, 14);
  const bt_i16x8 even_b = __builtin_shufflevector(b, b, 0, 2, 4, 6, 8, 10, 12, 14);
  const bt_i16x8 odd_a = __builtin_shufflevector(a, a, 1, 3, 5, 7, 9, 11, 13, 15);
  const bt_i16x8 odd_b = __builtin_shufflevector(b, b, 1, 3, 5, 7, 9, 11, 13, 15);
  return __builtin_convertvector(even_a, bt_i32x8) * __builtin_convertvector(even_b, bt_i32x8) +
         __builtin_convertvector(odd_a, bt_i32x8) * __builtin_convertvector(odd_b, bt_i32x8);
}
#endif

/* ---- a grey copy and smaller ones ---- */

/* Sixteen levels of colours in the order that vectors are packed in: each one beside another, halves of both halves. */
EACH bt_i16x16 low_of(bt_i16x16 a, bt_i16x16 b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 8, 24, 9, 25, 10, 26, 11, 27);
}

EACH bt_i16x16 high_of(bt_i16x16 a, bt_i16x16 b) {
  return __builtin_shufflevector(a, b, 4, 20, 5, 21, 6, 22, 7, 23, 12, 28, 13, 29, 14, 30, 15, 31);
}

EACH bt_i16x16 beside(bt_i16x8 a, bt_i16x8 b) {
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
}

EACH bt_i16x16 alternating(int16_t a, int16_t b) { return beside((bt_i16x8){0} + a, (bt_i16x8){0} + b); }

/* What colours add to the brightness by BT.601, and what rounds it. */
#define RED_GREEN alternating(4899, 9617)
#define BLUE_HALF alternating(1868, 8192)

/* The brightness of sixteen colours. */
EACH void store_brightness(bt_i16x16 red, bt_i16x16 green, bt_i16x16 blue, uint8_t *grey, bool is_wide) {
  const bt_i16x16 one = (bt_i16x16){0} + 1;
  const bt_i32x8 low = pairs(low_of(red, green), RED_GREEN, is_wide) + pairs(low_of(blue, one), BLUE_HALF, is_wide);
  const bt_i32x8 high = pairs(high_of(red, green), RED_GREEN, is_wide) + pairs(high_of(blue, one), BLUE_HALF, is_wide);
  const bt_i16x16 levels = __builtin_shufflevector((bt_i16x16)(low >> 14), (bt_i16x16)(high >> 14), 0, 2, 4, 6, 16, 18, 20,
                                                   22, 8, 10, 12, 14, 24, 26, 28, 30);
  const bt_u8x16 bytes = __builtin_convertvector(levels, bt_u8x16);
  memcpy(grey, &bytes, sizeof bytes);
}

EACH bt_u8x16 sixteen_at(const uint8_t *from) {
  bt_u8x16 bytes;
  memcpy(&bytes, from, sizeof bytes);
  return bytes;
}

EACH bt_i16x16 levels_at(const uint8_t *from) { return __builtin_convertvector(sixteen_at(from), bt_i16x16); }

/* Half the width and height of two rows. */
EACH void halve(const uint8_t *restrict first, const uint8_t *restrict second, int32_t width, uint8_t *restrict to) {
  for (int32_t x = 0; x < width; x++) {
    to[x] = (uint8_t)((first[2 * x] + first[2 * x + 1] + second[2 * x] + second[2 * x + 1] + 2) >> 2);
  }
}

/* What makes colours of Y, U and V, in parts of 65536 of eight times a level: see ColourScale. */
typedef struct bt_colours {
  int16_t black, luma, red, blue, green_of_u, green_of_v;
} bt_colours;

static const bt_colours LIMITED = {128, 9539, 13075, 16525, -3209, -6660};
static const bt_colours FULL = {0, 8192, 11485, 14516, -2819, -5850};

EACH bt_i16x8 part8(bt_i16x8 levels, int16_t scale) {
  return __builtin_convertvector((__builtin_convertvector(levels, bt_i32x8) * scale) >> 16, bt_i16x8);
}

EACH bt_i16x16 part16(bt_i16x16 levels, int16_t scale) {
  return __builtin_convertvector((__builtin_convertvector(levels, bt_i32x16) * scale) >> 16, bt_i16x16);
}

EACH bt_i16x16 twice_each(bt_i16x8 colours) {
  return __builtin_shufflevector(colours, colours, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
}

EACH bt_i16x16 within(bt_i16x16 levels) {
  return __builtin_elementwise_min(__builtin_elementwise_max(levels, (bt_i16x16){0}), (bt_i16x16){0} + 255);
}

/*
 * Half the width and height of two rows of sixteen pixels of NV12, by the brightness of the colours that they have as RGB.
 * Four pixels share a colour, which adds the same to the brightness of each unless one of their levels is cut to 0–255.
 */
EACH void halve_nv12(const uint8_t *first, const uint8_t *second, const uint8_t *chroma, const bt_colours *scale,
                     uint8_t *to, bool is_wide) {
  const bt_u8x16 both = sixteen_at(chroma);
  const bt_u8x8 u_bytes = __builtin_shufflevector(both, both, 0, 2, 4, 6, 8, 10, 12, 14);
  const bt_u8x8 v_bytes = __builtin_shufflevector(both, both, 1, 3, 5, 7, 9, 11, 13, 15);
  const bt_i16x8 u = __builtin_convertvector(u_bytes, bt_i16x8) * 8 - 1024;
  const bt_i16x8 v = __builtin_convertvector(v_bytes, bt_i16x8) * 8 - 1024;
  const bt_i16x8 red = part8(v, scale->red), blue = part8(u, scale->blue);
  const bt_i16x8 green = part8(u, scale->green_of_u) + part8(v, scale->green_of_v);
  const bt_i16x8 least = __builtin_elementwise_min(__builtin_elementwise_min(red, green), blue);
  const bt_i16x8 most = __builtin_elementwise_max(__builtin_elementwise_max(red, green), blue);
  const bt_i16x16 above = part16(levels_at(first) * 8 - scale->black, scale->luma);
  const bt_i16x16 below = part16(levels_at(second) * 8 - scale->black, scale->luma);
  const bt_i16x16 lowest = __builtin_elementwise_min(above, below) + twice_each(least);
  const bt_i16x16 highest = __builtin_elementwise_max(above, below) + twice_each(most);
  if (__builtin_reduce_or((lowest < 0) | (highest > 255)) == 0) {
    const bt_i16x16 red_green = beside(red, green), blue_one = beside(blue, (bt_i16x8){0} + 1);
    const bt_i32x8 own = (pairs(red_green, RED_GREEN, is_wide) + pairs(blue_one, BLUE_HALF, is_wide)) >> 14;
    const bt_i32x8 sums = pairs(above + below, (bt_i16x16){0} + 1, is_wide);
    const bt_u8x8 levels = __builtin_convertvector(own + ((sums + 2) >> 2), bt_u8x8);
    memcpy(to, &levels, sizeof levels);
    return;
  }
  const bt_i16x16 reds = twice_each(red), greens = twice_each(green), blues = twice_each(blue);
  uint8_t grey[2][16];
  store_brightness(within(above + reds), within(above + greens), within(above + blues), grey[0], is_wide);
  store_brightness(within(below + reds), within(below + greens), within(below + blues), grey[1], is_wide);
  halve(grey[0], grey[1], 8, to);
}

/* Of sixteen pixels of three bytes each. */
EACH void packed_pixels(const uint8_t *from, bool is_blue_first, uint8_t *grey, bool is_wide) {
  const bt_u8x16 a = sixteen_at(from), b = sixteen_at(from + 16), c = sixteen_at(from + 32);
  const bt_u8x16 first =
      __builtin_shufflevector(__builtin_shufflevector(a, b, 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 0, 0, 0, 0, 0), c, 0, 1,
                              2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 20, 23, 26, 29);
  const bt_u8x16 second =
      __builtin_shufflevector(__builtin_shufflevector(a, b, 1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 0, 0, 0, 0, 0), c, 0,
                              1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 18, 21, 24, 27, 30);
  const bt_u8x16 third =
      __builtin_shufflevector(__builtin_shufflevector(a, b, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 0, 0, 0, 0, 0, 0), c, 0, 1,
                              2, 3, 4, 5, 6, 7, 8, 9, 16, 19, 22, 25, 28, 31);
  const bt_i16x16 left = __builtin_convertvector(first, bt_i16x16), right = __builtin_convertvector(third, bt_i16x16);
  const bt_i16x16 green = __builtin_convertvector(second, bt_i16x16);
  store_brightness(is_blue_first ? right : left, green, is_blue_first ? left : right, grey, is_wide);
}

/* Rows in blocks of sixteen pixels; the last one is a copy, as behind it nothing may be read. */
EACH void halve_nv12_rows(const uint8_t *row, int32_t pitch, const uint8_t *chroma, int32_t width, const bt_colours *scale,
                          uint8_t *to, bool is_wide) {
  int32_t x = 0;
  for (; x + 16 <= width; x += 16) halve_nv12(row + x, row + pitch + x, chroma + x, scale, to + x / 2, is_wide);
  if (x == width) return;
  uint8_t rest[3][16] = {{0}};
  memcpy(rest[0], row + x, (size_t)(width - x));
  memcpy(rest[1], row + pitch + x, (size_t)(width - x));
  memcpy(rest[2], chroma + x, (size_t)(width - x));
  halve_nv12(rest[0], rest[1], rest[2], scale, to + x / 2, is_wide);
}

EACH void packed_row(const uint8_t *row, int32_t width, bool is_blue_first, uint8_t *grey, bool is_wide) {
  int32_t x = 0;
  for (; x + 16 <= width; x += 16) packed_pixels(row + 3 * x, is_blue_first, grey + x, is_wide);
  if (x == width) return;
  uint8_t rest[48] = {0};
  memcpy(rest, row + 3 * x, (size_t)(3 * (width - x)));
  packed_pixels(rest, is_blue_first, grey + x, is_wide);
}

/* Pixels of four bytes, of which the last does not count. */
EACH void rgba_row(const uint8_t *restrict row, int32_t width, uint8_t *restrict grey) {
  for (int32_t x = 0; x < width; x++) {
    grey[x] = (uint8_t)((row[4 * x] * 4899 + row[4 * x + 1] * 9617 + row[4 * x + 2] * 1868 + 8192) >> 14);
  }
}

/* Half the size, by weights of 1, 4, 6, 4, 1. */
EACH void reduce(const bt_grey_level *from, const bt_grey_level *to, uint8_t *pixels, uint16_t *restrict columns) {
  const int64_t pitch = from->pitch;
  for (int32_t y = 0; y < to->height; y++) {
    const uint8_t *row = pixels + from->origin + 2 * y * pitch - 2;
    const uint8_t *a = row - 2 * pitch, *b = row - pitch, *d = row + pitch, *e = row + 2 * pitch;
    for (int32_t x = 0; x < from->width + 4; x++) {
      columns[x] = (uint16_t)(a[x] + e[x] + 4 * (b[x] + d[x]) + 6 * row[x]);
    }
    uint8_t *restrict target = pixels + to->origin + (int64_t)y * to->pitch;
    for (int32_t x = 0; x < to->width; x++) {
      const uint16_t *c = columns + 2 * x;
      target[x] = (uint8_t)((uint16_t)(c[0] + c[4] + 4 * (c[1] + c[3]) + 6 * c[2] + 128) >> 8);
    }
  }
}

/* Where a place beyond the edge is mirrored to; the edge itself is not doubled. */
static int32_t mirrored(int32_t place, int32_t length) {
  if (length == 1) return 0;
  while (place < 0 || place >= length) place = place < 0 ? -place : 2 * length - 2 - place;
  return place;
}

/* Fills what is around a level. */
static void surround(const bt_grey_level *level, uint8_t *pixels) {
  const int64_t pitch = level->pitch;
  const int32_t width = level->width, height = level->height;
  int32_t before[PAD], after[PAD];
  for (int32_t x = 0; x < PAD; x++) {
    before[x] = mirrored(x - PAD, width);
    after[x] = mirrored(width + x, width);
  }
  for (int32_t y = 0; y < height; y++) {
    uint8_t *row = pixels + level->origin + y * pitch;
    for (int32_t x = 0; x < PAD; x++) {
      row[x - PAD] = row[before[x]];
      row[width + x] = row[after[x]];
    }
  }
  uint8_t *first = pixels + level->origin - PAD;
  for (int32_t y = 1; y <= PAD; y++) {
    memcpy(first - y * pitch, first + mirrored(-y, height) * pitch, (size_t)pitch);
    memcpy(first + (height - 1 + y) * pitch, first + mirrored(height - 1 + y, height) * pitch, (size_t)pitch);
  }
}

EACH void load(const bt_grey_frame *frame, const uint8_t *data, int64_t chroma, const bt_grey_level *levels, int32_t count,
               uint8_t *pixels, uint8_t *scratch, bool is_wide) {
  /* What is behind the last column of an odd width is read by nobody. */
  const int32_t width = levels->width, whole = 2 * width;
  uint16_t *columns = (uint16_t *)(void *)scratch;
  for (int32_t y = 0; y < levels->height; y++) {
    const uint8_t *first = data + 2 * (int64_t)y * frame->pitch;
    /* What is written behind a row is mirrored over below. */
    uint8_t *to = pixels + levels->origin + (int64_t)y * levels->pitch;
    if (frame->pixel_bytes == 0) {
      const uint8_t *colours = data + chroma + (int64_t)y * frame->chroma_pitch;
      halve_nv12_rows(first, frame->pitch, colours, whole, frame->is_full ? &FULL : &LIMITED, to, is_wide);
      continue;
    }
    const uint8_t *rows[2] = {first, first + frame->pitch};
    for (int32_t at = 0; at < 2 && frame->pixel_bytes > 1; at++) {
      uint8_t *grey = scratch + at * whole;
      if (frame->pixel_bytes == 4) rgba_row(rows[at], whole, grey);
      else packed_row(rows[at], whole, frame->is_blue_first != 0, grey, is_wide);
      rows[at] = grey;
    }
    halve(rows[0], rows[1], width, to);
  }
  surround(levels, pixels);
  for (int32_t level = 1; level < count; level++) {
    reduce(levels + level - 1, levels + level, pixels, columns);
    surround(levels + level, pixels);
  }
}

/* ---- corners ---- */

/* Rows on their way: derivatives of three, and the sums of their products, with one more to each side. */
typedef struct bt_corner_rows {
  int16_t *across[3], *down[3];
  int32_t *xx, *xy, *yy;
} bt_corner_rows;

/* Derivatives of a row, and what is beyond its edges, which is mirrored. */
EACH void derive(const uint8_t *row, int64_t pitch, int32_t width, int16_t *across, int16_t *down) {
  for (int32_t x = 0; x < width; x += 16) {
    const uint8_t *here = row + x, *above = here - pitch, *below = here + pitch;
    const bt_i16x16 falling = levels_at(below + 1) - levels_at(above - 1),
                    rising = levels_at(above + 1) - levels_at(below - 1);
    const bt_i16x16 a = falling + rising + 2 * (levels_at(here + 1) - levels_at(here - 1));
    const bt_i16x16 d = falling - rising + 2 * (levels_at(below) - levels_at(above));
    memcpy(across + x, &a, sizeof a);
    memcpy(down + x, &d, sizeof d);
  }
}

/* Three rows of derivatives, beside each other in pairs: the first two, and the third with nothing. */
typedef struct bt_three_rows {
  bt_i16x16 low[2], high[2];
} bt_three_rows;

EACH bt_three_rows three_rows_at(const int16_t *a, const int16_t *b, const int16_t *c) {
  bt_i16x16 rows[3];
  memcpy(&rows[0], a, sizeof *rows);
  memcpy(&rows[1], b, sizeof *rows);
  memcpy(&rows[2], c, sizeof *rows);
  const bt_i16x16 none = {0};
  return (bt_three_rows){.low = {low_of(rows[0], rows[1]), low_of(rows[2], none)},
                         .high = {high_of(rows[0], rows[1]), high_of(rows[2], none)}};
}

/* Sums of the products of three rows, sixteen columns of them. */
EACH void store_products(const bt_three_rows *a, const bt_three_rows *b, int32_t *sums, bool is_wide) {
  const bt_i32x8 low = pairs(a->low[0], b->low[0], is_wide) + pairs(a->low[1], b->low[1], is_wide);
  const bt_i32x8 high = pairs(a->high[0], b->high[0], is_wide) + pairs(a->high[1], b->high[1], is_wide);
  const bt_i32x8 first = __builtin_shufflevector(low, high, 0, 1, 2, 3, 8, 9, 10, 11);
  const bt_i32x8 second = __builtin_shufflevector(low, high, 4, 5, 6, 7, 12, 13, 14, 15);
  memcpy(sums, &first, sizeof first);
  memcpy(sums + 8, &second, sizeof second);
}

/* Beyond the edge derivatives are mirrored. */
EACH void mirror_sums(int32_t *sums, int32_t width) {
  sums[0] = sums[2];
  sums[width + 1] = sums[width - 1];
}

/* Of row `here` and those beside it. */
EACH void sum_products(const bt_corner_rows *rows, int32_t above, int32_t here, int32_t below, int32_t width,
                       bool is_wide) {
  for (int32_t x = 0; x < width; x += 16) {
    const bt_three_rows across = three_rows_at(rows->across[above] + x, rows->across[here] + x, rows->across[below] + x);
    const bt_three_rows down = three_rows_at(rows->down[above] + x, rows->down[here] + x, rows->down[below] + x);
    store_products(&across, &across, rows->xx + x + 1, is_wide);
    store_products(&across, &down, rows->xy + x + 1, is_wide);
    store_products(&down, &down, rows->yy + x + 1, is_wide);
  }
  mirror_sums(rows->xx, width);
  mirror_sums(rows->xy, width);
  mirror_sums(rows->yy, width);
}

EACH bt_i32x8 ints_at(const void *from) {
  bt_i32x8 ints;
  memcpy(&ints, from, sizeof ints);
  return ints;
}

EACH bt_f32x8 floats_at(const float *from) {
  bt_f32x8 floats;
  memcpy(&floats, from, sizeof floats);
  return floats;
}

EACH bt_i32x8 three_of(const int32_t *sums) { return ints_at(sums) + ints_at(sums + 1) + ints_at(sums + 2); }

/* Less than any corner's. */
EACH int32_t least_beside(float strongest) { return (int32_t)(QUALITY * strongest) - 1; }

/* Strengths of a row. Returns the strongest of it and of those before; where none can be a corner beside that, they are 0. */
EACH float strengths_of(const bt_corner_rows *rows, int32_t width, float strongest, float *strengths) {
  const bt_i32x8 lanes = {0, 1, 2, 3, 4, 5, 6, 7};
  int32_t least = least_beside(strongest);
  for (int32_t x = 0; x < width; x += 8) {
    const bt_i32x8 xx = three_of(rows->xx + x), yy = three_of(rows->yy + x);
    /* No strength is above either sum. */
    bt_f32x8 found = {0};
    if (__builtin_reduce_or((xx > least) & (yy > least) & (lanes < width - x)) != 0) {
      const bt_f64x8 half = __builtin_convertvector(xx - yy, bt_f64x8) * 0.5;
      const bt_f64x8 cross = __builtin_convertvector(three_of(rows->xy + x), bt_f64x8);
      const bt_f64x8 middle = __builtin_convertvector(xx + yy, bt_f64x8) * 0.5;
      found = __builtin_convertvector(middle - __builtin_elementwise_sqrt(half * half + cross * cross), bt_f32x8);
      found = (bt_f32x8)((bt_i32x8)found & (lanes < width - x));
      const bt_f32x8 most = (bt_f32x8)((bt_i32x8){0} + __builtin_reduce_max((bt_i32x8)found));
      if (most[0] > strongest) {
        strongest = most[0];
        least = least_beside(strongest);
      }
    }
    memcpy(strengths + x, &found, sizeof found);
  }
  return strongest;
}

/* The corners that are the strongest so far, the weakest of them first: a heap of strengths as bits, and places. */
typedef struct bt_corners {
  uint64_t heap[CORNERS];
  int32_t count;
  float least; /* only what is above it may become one of them */
} bt_corners;

static void sink(bt_corners *corners, uint64_t corner) {
  int32_t at = 0;
  for (int32_t below = 1; below < corners->count; below = 2 * at + 1) {
    if (below + 1 < corners->count && corners->heap[below + 1] < corners->heap[below]) below += 1;
    if (corners->heap[below] >= corner) break;
    corners->heap[at] = corners->heap[below];
    at = below;
  }
  corners->heap[at] = corner;
}

static void add_corner(bt_corners *corners, float strength, int32_t place) {
  uint32_t bits;
  memcpy(&bits, &strength, sizeof bits);
  const uint64_t corner = (uint64_t)bits << 32 | (uint32_t)place;
  if (corners->count < CORNERS) {
    int32_t at = corners->count++;
    for (; at > 0 && corners->heap[(at - 1) / 2] > corner; at = (at - 1) / 2) {
      corners->heap[at] = corners->heap[(at - 1) / 2];
    }
    corners->heap[at] = corner;
  } else if (corner > corners->heap[0]) {
    sink(corners, corner);
  }
  if (corners->count < CORNERS) return;
  /* As strong as the weakest one is enough: of two the later one stays. */
  bits = (uint32_t)(corners->heap[0] >> 32) - 1;
  memcpy(&corners->least, &bits, sizeof bits);
}

/* Corners of a row that none beside them is stronger than. */
EACH void choose(const float *row, int32_t stride, int32_t y, int32_t width, bt_corners *corners) {
  const float *above = row - stride, *below = row + stride;
  for (int32_t x = 1; x < width - 1; x += 8) {
    const bt_f32x8 here = floats_at(row + x);
    bt_i32x8 chosen = here > corners->least;
    if (__builtin_reduce_or(chosen) == 0) continue;
    chosen &= (here >= floats_at(row + x - 1)) & (here >= floats_at(row + x + 1));
    for (int32_t side = x - 1; side <= x + 1; side++) {
      chosen &= (here >= floats_at(above + side)) & (here >= floats_at(below + side));
    }
    for (int32_t lane = 0; lane < 8 && x + lane < width - 1; lane++) {
      if (chosen[lane]) add_corner(corners, row[x + lane], y * width + x + lane);
    }
  }
}

/* Elements of a row on its way: vectors may write behind it. */
static int32_t stride_of(int32_t width) { return (width + 15) / 16 * 16 + 16; }

EACH int32_t find(const bt_grey_level *level, const uint8_t *pixels, void *scratch, double *places, bool is_wide) {
  const int32_t width = level->width, height = level->height, stride = stride_of(width);
  bt_corner_rows rows = {.xx = scratch};
  rows.xy = rows.xx + stride;
  rows.yy = rows.xy + stride;
  int16_t *derivatives = (int16_t *)(void *)(rows.yy + stride);
  for (int32_t at = 0; at < 3; at++) {
    rows.across[at] = derivatives + 2 * at * stride;
    rows.down[at] = rows.across[at] + stride;
  }
  float *strengths = (float *)(void *)(derivatives + 6 * stride);
  float strongest = 0;
  const uint8_t *first = pixels + level->origin;
  /* Row y is kept at y % 3; above the first and below the last one they are mirrored. */
  derive(first, level->pitch, width, rows.across[0], rows.down[0]);
  for (int32_t y = 0; y < height; y++) {
    const int32_t next = (y + 1) % 3, here = y % 3;
    if (y + 1 < height)
      derive(first + (y + 1) * (int64_t)level->pitch, level->pitch, width, rows.across[next], rows.down[next]);
    const int32_t above = y == 0 ? 1 : (y + 2) % 3, below = y == height - 1 ? (y + 2) % 3 : next;
    sum_products(&rows, above, here, below, width, is_wide);
    strongest = strengths_of(&rows, width, strongest, strengths + (int64_t)y * stride);
  }
  bt_corners corners = {.least = (float)(QUALITY * strongest)};
  for (int32_t y = 1; y < height - 1; y++) choose(strengths + (int64_t)y * stride, stride, y, width, &corners);
  const int32_t count = corners.count;
  while (corners.count > 0) {
    const uint32_t place = (uint32_t)corners.heap[0];
    corners.count -= 1;
    places[2 * corners.count] = place % (uint32_t)width;
    places[2 * corners.count + 1] = place / (uint32_t)width;
    if (corners.count > 0) sink(&corners, corners.heap[corners.count]);
  }
  return count;
}

/* ---- where corners went ---- */

/* A place between pixels: the one to the upper left, and what each of the four counts. */
typedef struct bt_place {
  int32_t x, y;
  int16_t weights[4];
} bt_place;

/* A window around a corner: 256 − 512 × what it shows, in parts of 32 of a level, and derivatives. */
typedef struct bt_window {
  int32_t base[SIDE * ROW];
  int32_t across[SIDE * ROW];
  int32_t down[SIDE * ROW];
  double xx, xy, yy;
} bt_window;

EACH bool is_inside(double place, int32_t length) { return place >= -SIDE && place < length; }

EACH int32_t whole(double place) {
  const int32_t cut = (int32_t)place;
  return cut > place ? cut - 1 : cut;
}

EACH bt_place place_of(double x, double y) {
  bt_place place = {.x = whole(x), .y = whole(y)};
  const double right = x - place.x, lower = y - place.y;
  const int32_t first = (int32_t)((1 - right) * (1 - lower) * PARTS + 0.5);
  const int32_t second = (int32_t)(right * (1 - lower) * PARTS + 0.5);
  const int32_t third = (int32_t)((1 - right) * lower * PARTS + 0.5);
  place.weights[0] = (int16_t)first;
  place.weights[1] = (int16_t)second;
  place.weights[2] = (int16_t)third;
  place.weights[3] = (int16_t)(PARTS - first - second - third);
  return place;
}

/* Pixels, each beside the next one. */
EACH bt_i16x16 pixels_at(const uint8_t *from) {
  bt_u8x8 left, right;
  memcpy(&left, from, sizeof left);
  memcpy(&right, from + 1, sizeof right);
  const bt_u8x16 both = __builtin_shufflevector(left, right, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  return __builtin_convertvector(both, bt_i16x16);
}

/* Derivatives likewise. */
EACH bt_i16x16 shorts_at(const int16_t *from) {
  bt_i16x8 left, right;
  memcpy(&left, from, sizeof left);
  memcpy(&right, from + 1, sizeof right);
  return beside(left, right);
}

static double total(bt_i32x8 lanes) {
  int64_t sum = 0;
  for (int32_t lane = 0; lane < 8; lane++) sum += lanes[lane];
  return (double)sum;
}

/* Derivatives at the pixels of a window, and at those of one more row and column. */
#define WIDE (ROW + 8)

/* By Scharr, sixteen columns of every row. */
EACH void derive_columns(const uint8_t *from, int64_t pitch, int16_t *across, int16_t *down) {
  bt_i16x16 above[3], here[3];
  for (int32_t side = 0; side < 3; side++) {
    above[side] = levels_at(from - pitch + side - 1);
    here[side] = levels_at(from + side - 1);
  }
  for (int32_t row = 0; row <= SIDE; row++, across += WIDE, down += WIDE) {
    bt_i16x16 weighed[3], fall[3];
    from += pitch;
    for (int32_t side = 0; side < 3; side++) {
      const bt_i16x16 below = levels_at(from + side - 1);
      weighed[side] = 3 * (above[side] + below) + 10 * here[side];
      fall[side] = below - above[side];
      above[side] = here[side];
      here[side] = below;
    }
    const bt_i16x16 rise = weighed[2] - weighed[0], drop = 3 * (fall[0] + fall[2]) + 10 * fall[1];
    memcpy(across, &rise, sizeof rise);
    memcpy(down, &drop, sizeof drop);
  }
}

/* Beyond the edge derivatives are 0. */
static void clear_outside(const bt_grey_level *level, const bt_place *place, int16_t *across, int16_t *down) {
  for (int32_t row = 0; row <= SIDE; row++) {
    const bool is_row = place->y + row >= 0 && place->y + row < level->height;
    for (int32_t column = 0; column <= SIDE; column++) {
      if (is_row && place->x + column >= 0 && place->x + column < level->width) continue;
      across[row * WIDE + column] = down[row * WIDE + column] = 0;
    }
  }
}

/* Takes the window whose first pixel is at a place. Returns false if there is too little in it to be found again. */
EACH bool take(const bt_grey_level *level, const uint8_t *pixels, double x, double y, bt_window *window, bool is_wide) {
  const bt_place place = place_of(x, y);
  const uint8_t *first = pixels + level->origin + place.y * (int64_t)level->pitch + place.x;
  int16_t across[(SIDE + 1) * WIDE], down[(SIDE + 1) * WIDE];
  for (int32_t column = 0; column <= WIDE - 16; column += 16) {
    derive_columns(first + column, level->pitch, across + column, down + column);
  }
  const bool is_whole = place.x >= 0 && place.y >= 0 && place.x + SIDE < level->width && place.y + SIDE < level->height;
  if (!is_whole) clear_outside(level, &place, across, down);
  const bt_i16x16 upper = alternating(place.weights[0], place.weights[1]),
                  lower = alternating(place.weights[2], place.weights[3]);
  const bt_i32x8 lanes = {0, 1, 2, 3, 4, 5, 6, 7};
  bt_i32x8 xx = {0}, xy = {0}, yy = {0};
  for (int32_t column = 0; column < ROW; column += 8) {
    /* Derivatives are each in the lower half of its element, above which is 0. */
    const bt_i32x8 is_in = (lanes < SIDE - column) & 0xffff;
    const uint8_t *here = first + column;
    bt_i16x16 row = pixels_at(here), row_across = shorts_at(across + column), row_down = shorts_at(down + column);
    for (int32_t at = 0; at < SIDE; at++) {
      bt_i32x8 shown = pairs(row, upper, is_wide) + 256;
      bt_i32x8 rise = pairs(row_across, upper, is_wide) + PARTS / 2;
      bt_i32x8 fall = pairs(row_down, upper, is_wide) + PARTS / 2;
      here += level->pitch;
      row = pixels_at(here);
      row_across = shorts_at(across + (at + 1) * WIDE + column);
      row_down = shorts_at(down + (at + 1) * WIDE + column);
      shown = 256 - ((shown + pairs(row, lower, is_wide)) >> 9 << 9);
      rise = (rise + pairs(row_across, lower, is_wide)) >> 14 & is_in;
      fall = (fall + pairs(row_down, lower, is_wide)) >> 14 & is_in;
      memcpy(window->base + at * ROW + column, &shown, sizeof shown);
      memcpy(window->across + at * ROW + column, &rise, sizeof rise);
      memcpy(window->down + at * ROW + column, &fall, sizeof fall);
      xx += pairs((bt_i16x16)rise, (bt_i16x16)rise, is_wide);
      xy += pairs((bt_i16x16)rise, (bt_i16x16)fall, is_wide);
      yy += pairs((bt_i16x16)fall, (bt_i16x16)fall, is_wide);
    }
  }
  window->xx = total(xx) * SCALE;
  window->xy = total(xy) * SCALE;
  window->yy = total(yy) * SCALE;
  const double off = window->xx - window->yy;
  const double eigenvalue =
      (window->xx + window->yy - __builtin_sqrt(off * off + 4 * window->xy * window->xy)) / (2 * SIDE * SIDE);
  return eigenvalue >= LEAST_EIGENVALUE && window->xx * window->yy - window->xy * window->xy >= LEAST_DETERMINANT;
}

/* How far what is at a place is off what the window shows, times its derivatives: sums of up to 63 products a lane. */
EACH void compare(const bt_grey_level *level, const uint8_t *pixels, const bt_place *place, const bt_window *window,
                  double *x, double *y, bool is_wide) {
  const bt_i16x16 upper = alternating(place->weights[0], place->weights[1]),
                  lower = alternating(place->weights[2], place->weights[3]);
  bt_i32x8 sum_x = {0}, sum_y = {0};
  for (int32_t column = 0; column < ROW; column += 8) {
    const uint8_t *here = pixels + level->origin + place->y * (int64_t)level->pitch + place->x + column;
    bt_i16x16 row = pixels_at(here);
    for (int32_t at = column; at < SIDE * ROW; at += ROW) {
      const bt_i32x8 above = pairs(row, upper, is_wide) + ints_at(window->base + at);
      here += level->pitch;
      row = pixels_at(here);
      const bt_i16x16 off = (bt_i16x16)((above + pairs(row, lower, is_wide)) >> 9);
      sum_x += pairs(off, (bt_i16x16)ints_at(window->across + at), is_wide);
      sum_y += pairs(off, (bt_i16x16)ints_at(window->down + at), is_wide);
    }
  }
  *x = total(sum_x);
  *y = total(sum_y);
}

/* Goes on from where a corner was thought to be to where it is, on one level. Returns false where that cannot be told. */
EACH bool step(const bt_grey_level *level, const uint8_t *before, const uint8_t *after, double from_x, double from_y,
               double *to, bool is_wide) {
  bt_window window;
  if (!take(level, before, from_x - HALF, from_y - HALF, &window, is_wide)) return false;
  const double determinant = window.xx * window.yy - window.xy * window.xy;
  double x = to[0] - HALF, y = to[1] - HALF, last_x = 0, last_y = 0;
  for (int32_t attempt = 0; attempt < STEPS; attempt++) {
    if (!is_inside(x, level->width) || !is_inside(y, level->height)) return false;
    const bt_place place = place_of(x, y);
    double off_x, off_y;
    compare(level, after, &place, &window, &off_x, &off_y, is_wide);
    off_x *= SCALE;
    off_y *= SCALE;
    const double delta_x = (window.xy * off_y - window.yy * off_x) / determinant;
    const double delta_y = (window.xy * off_x - window.xx * off_y) / determinant;
    x += delta_x;
    y += delta_y;
    if (delta_x * delta_x + delta_y * delta_y <= SMALLEST_STEP * SMALLEST_STEP) break;
    /* It goes to and fro. */
    if (attempt > 0 && __builtin_fabs(delta_x + last_x) < SMALLEST_STEP &&
        __builtin_fabs(delta_y + last_y) < SMALLEST_STEP) {
      x -= delta_x / 2;
      y -= delta_y / 2;
      break;
    }
    last_x = delta_x;
    last_y = delta_y;
  }
  to[0] = x + HALF;
  to[1] = y + HALF;
  return is_inside(x + 0.5, level->width) && is_inside(y + 0.5, level->height);
}

EACH int32_t follow(const bt_grey_level *levels, int32_t count, const uint8_t *before, const uint8_t *after, double *from,
                    double *to, int32_t corners, bool is_wide) {
  int32_t kept = 0;
  for (int32_t corner = 0; corner < corners; corner++) {
    const double x = from[2 * corner], y = from[2 * corner + 1];
    double *place = to + 2 * kept;
    double size = 1 << (count - 1);
    place[0] = x / size;
    place[1] = y / size;
    bool is_found = true;
    for (int32_t level = count - 1; level >= 0; level--, size /= 2) {
      is_found = step(levels + level, before, after, x / size, y / size, place, is_wide);
      if (level == 0) break;
      place[0] *= 2;
      place[1] *= 2;
    }
    if (!is_found) continue;
    from[2 * kept] = x;
    from[2 * kept + 1] = y;
    kept += 1;
  }
  return kept;
}

/* ---- by the processor ---- */

#define EVERY(suffix, attribute, is_wide)                                                                                  \
  attribute static void load##suffix(const bt_grey_frame *frame, const uint8_t *data, int64_t chroma,                      \
                                     const bt_grey_level *levels, int32_t count, uint8_t *pixels, uint8_t *scratch) {      \
    load(frame, data, chroma, levels, count, pixels, scratch, is_wide);                                                    \
  }                                                                                                                        \
  attribute static int32_t find##suffix(const bt_grey_level *level, const uint8_t *pixels, void *scratch,                  \
                                        double *places) {                                                                  \
    return find(level, pixels, scratch, places, is_wide);                                                                           \
  }                                                                                                                        \
  attribute static int32_t follow##suffix(const bt_grey_level *levels, int32_t count, const uint8_t *before,               \
                                          const uint8_t *after, double *from, double *to, int32_t corners) {               \
    return follow(levels, count, before, after, from, to, corners, is_wide);                                               \
  }

EVERY(_plain, , false)
#if defined(__x86_64__)
EVERY(_wide, AVX2, true)
#else
#define load_wide load_plain
#define find_wide find_plain
#define follow_wide follow_plain
#endif

/* True if the instructions are there to be used. */
static bool is_known(int32_t instructions) {
  return instructions == BT_RESIZE_PLAIN || instructions == bt_resize_instructions();
}

int32_t bt_grey_load(int32_t instructions, const bt_grey_frame *frame, const uint8_t *data, int64_t chroma,
                     const bt_grey_level *levels, int32_t count, uint8_t *pixels, uint8_t *scratch) {
  if (frame == NULL || data == NULL || levels == NULL || pixels == NULL || scratch == NULL || count < 1 ||
      !is_known(instructions)) {
    return BT_BAD_CALL;
  }
  if (instructions == BT_RESIZE_PLAIN) load_plain(frame, data, chroma, levels, count, pixels, scratch);
  else load_wide(frame, data, chroma, levels, count, pixels, scratch);
  return BT_OK;
}

int64_t bt_flow_scratch(int32_t width, int32_t height) {
  if (width < 2 || height < 2) return BT_BAD_CALL;
  const int64_t stride = stride_of(width);
  /* Vectors read a little behind the last row. */
  return stride * (int64_t)(3 * sizeof(int32_t) + 6 * sizeof(int16_t)) + (stride * height + 16) * (int64_t)sizeof(float);
}

int32_t bt_flow_find(int32_t instructions, const bt_grey_level *level, const uint8_t *pixels, uint8_t *scratch,
                     double *places) {
  if (level == NULL || pixels == NULL || scratch == NULL || places == NULL || !is_known(instructions)) return BT_BAD_CALL;
  return instructions == BT_RESIZE_PLAIN ? find_plain(level, pixels, scratch, places)
                                         : find_wide(level, pixels, scratch, places);
}

int32_t bt_flow_follow(int32_t instructions, const bt_grey_level *levels, int32_t count, const uint8_t *before,
                       const uint8_t *after, double *from, double *to, int32_t corners) {
  if (levels == NULL || before == NULL || after == NULL || from == NULL || to == NULL || count < 1 || corners < 0 ||
      corners > CORNERS || !is_known(instructions)) {
    return BT_BAD_CALL;
  }
  return instructions == BT_RESIZE_PLAIN ? follow_plain(levels, count, before, after, from, to, corners)
                                         : follow_wide(levels, count, before, after, from, to, corners);
}
