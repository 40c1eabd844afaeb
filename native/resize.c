/* Regions of images resized, normalised and stored in a tensor: src/image/resize-rows.ts and its table, to the bit. */
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "shim.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* Pixels that vectors take at a time. Rows on their way are as long as a multiple of it. */
#define BLOCK 32
/* Two pixels are read as this many bytes, which may lie beyond the last one. */
#define READ_BYTES 8
#define NO_ROW INT32_MIN

/* value = (level × high + offset_high) + (level × low + offset_low): the first part is exact in f32. */
typedef struct bt_line {
  float high, low, offset_high, offset_low;
} bt_line;

/* Where rows are on their way. Channels lie side by side: `padded` elements each. */
typedef struct bt_rows {
  int32_t padded;
  int32_t *offsets; /* [padded]: bytes from the start of a row to the nearer pixel */
  int16_t *weights; /* [padded, 2]: of the nearer and the further pixel */
  int16_t *near;    /* [3, padded]: levels × 128 */
  int16_t *far;
  uint8_t *levels;  /* [3, padded] */
  uint8_t *source;  /* a row of NV12 in RGB, or a copy of one behind whose end nothing may be read */
} bt_rows;

/* What a set of instructions does; each function is the plain one's equal to the bit. */
typedef struct bt_vectors {
  /* Levels of source pixels as they are. */
  void (*pick)(const bt_rows *rows, const uint8_t *source, int32_t pixel_bytes);
  /* A source row resized into `row`. */
  void (*filter)(const bt_rows *rows, const uint8_t *source, int32_t pixel_bytes, int16_t *row);
  /* Two resized rows blended to levels. */
  void (*blend)(const bt_rows *rows, int32_t weight);
  /* Pixels of NV12, the first of them of an even column: red in the lowest byte, then green, blue and 0. */
  void (*nv12)(const uint8_t *luma, const uint8_t *chroma, int32_t count, const int32_t *yuv, uint32_t *pixels);
  /* Values by a line; `to` has room for whole blocks. NULL where a table is as quick. */
  void (*f32_values)(const uint8_t *levels, int32_t count, const bt_line *line, float *to);
  void (*f16_values)(const uint8_t *levels, int32_t count, const bt_line *line, uint16_t *to);
} bt_vectors;

/* ---- plain C ---- */

static void pick_plain(const bt_rows *rows, const uint8_t *source, int32_t pixel_bytes) {
  (void)pixel_bytes;
  const int32_t *offsets = rows->offsets;
  const int32_t width = rows->padded;
  uint8_t *restrict red = rows->levels, *restrict green = red + width, *restrict blue = green + width;
  for (int32_t x = 0; x < width; x++) {
    const uint8_t *near = source + offsets[x];
    red[x] = near[0];
    green[x] = near[1];
    blue[x] = near[2];
  }
}

static inline int16_t mix(int32_t near, int32_t far, int32_t weight) {
  return (int16_t)(((near << 11) + weight * (far - near)) >> 4);
}

static void filter_plain(const bt_rows *rows, const uint8_t *source, int32_t pixel_bytes, int16_t *row) {
  const int32_t *offsets = rows->offsets;
  const int32_t width = rows->padded;
  const int16_t *weights = rows->weights;
  int16_t *restrict red = row, *restrict green = red + width, *restrict blue = green + width;
  for (int32_t x = 0; x < width; x++) {
    const uint8_t *near = source + offsets[x], *far = near + pixel_bytes;
    const int32_t weight = weights[2 * x + 1];
    red[x] = mix(near[0], far[0], weight);
    green[x] = mix(near[1], far[1], weight);
    blue[x] = mix(near[2], far[2], weight);
  }
}

static void blend_plain(const bt_rows *rows, int32_t weight) {
  const int16_t *restrict near = rows->near, *restrict far = rows->far;
  uint8_t *restrict levels = rows->levels;
  const int32_t rest = 2048 - weight, end = 3 * rows->padded;
  for (int32_t k = 0; k < end; k++) levels[k] = (uint8_t)((((rest * near[k]) >> 16) + ((weight * far[k]) >> 16) + 2) >> 2);
}

static inline uint32_t cut(int32_t level) { return level < 0 ? 0 : level > 255 ? 255 : (uint32_t)level; }

/* See src/image/image.ts: offset, y, vRed, uGreen, vGreen, uBlue. */
static void nv12_plain(const uint8_t *luma, const uint8_t *chroma, int32_t count, const int32_t *yuv, uint32_t *pixels) {
  for (int32_t x = 0; x < count; x++) {
    const int32_t u = chroma[x & ~1] - 128, v = chroma[x | 1] - 128;
    const int32_t above = luma[x] > yuv[0] ? luma[x] - yuv[0] : 0;
    const int32_t base = above * yuv[1] + 32768;
    const uint32_t green = cut((base + yuv[3] * u + yuv[4] * v) >> 16);
    pixels[x] = cut((base + yuv[2] * v) >> 16) | green << 8 | cut((base + yuv[5] * u) >> 16) << 16;
  }
}

static const bt_vectors PLAIN = {pick_plain, filter_plain, blend_plain, nv12_plain, NULL, NULL};

/* ---- AVX2 ---- */

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,fma,f16c")))

/* Four pixels of each half of a block's half: two loads of `low` and two of `high` a lane. */
AVX2 static inline __m256i pair_of(const uint8_t *source, const int32_t *low, const int32_t *high) {
  const __m128i a = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(source + low[0])),
                                       _mm_loadl_epi64((const __m128i *)(source + low[1])));
  const __m128i b = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(source + high[0])),
                                       _mm_loadl_epi64((const __m128i *)(source + high[1])));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}

AVX2 static inline __m256i halves_of(const int16_t *low, const int16_t *high) {
  const __m256i a = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low));
  return _mm256_inserti128_si256(a, _mm_loadu_si128((const __m128i *)high), 1);
}

/* Of two pixels and their neighbours in a lane: both reds, nearer first, then greens, then blues. */
AVX2 static inline __m256i neighbours(int32_t pixel_bytes) {
  const __m128i three = _mm_setr_epi8(0, 3, 8, 11, 1, 4, 9, 12, 2, 5, 10, 13, -1, -1, -1, -1);
  const __m128i four = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, -1, -1, -1, -1);
  return _mm256_broadcastsi128_si256(pixel_bytes == 3 ? three : four);
}

/* Four weighted pairs of bytes a lane. */
AVX2 static inline __m256i weighted(__m256i pairs, __m256i weights) {
  return _mm256_srai_epi32(_mm256_madd_epi16(pairs, weights), 4);
}

AVX2 static void filter_avx2(const bt_rows *rows, const uint8_t *source, int32_t pixel_bytes, int16_t *row) {
  const __m256i order = neighbours(pixel_bytes);
  const __m256i zero = _mm256_setzero_si256();
  for (int32_t x = 0; x < rows->padded; x += 16) {
    const int32_t *at = rows->offsets + x;
    const int16_t *share = rows->weights + 2 * x;
    /* Lanes of pixels 0–3 and 8–11, then of 4–7 and 12–15: packing puts them in order. */
    __m256i red[2], green[2], blue[2];
    for (int32_t half = 0; half < 2; half++, at += 4, share += 8) {
      const __m256i a = _mm256_shuffle_epi8(pair_of(source, at, at + 8), order);
      const __m256i b = _mm256_shuffle_epi8(pair_of(source, at + 2, at + 10), order);
      const __m256i weights = halves_of(share, share + 16);
      const __m256i low = _mm256_unpacklo_epi32(a, b);
      red[half] = weighted(_mm256_unpacklo_epi8(low, zero), weights);
      green[half] = weighted(_mm256_unpackhi_epi8(low, zero), weights);
      blue[half] = weighted(_mm256_unpacklo_epi8(_mm256_unpackhi_epi32(a, b), zero), weights);
    }
    _mm256_storeu_si256((__m256i *)(row + x), _mm256_packs_epi32(red[0], red[1]));
    _mm256_storeu_si256((__m256i *)(row + rows->padded + x), _mm256_packs_epi32(green[0], green[1]));
    _mm256_storeu_si256((__m256i *)(row + 2 * rows->padded + x), _mm256_packs_epi32(blue[0], blue[1]));
  }
}

AVX2 static inline __m128i four_pixels(const uint8_t *source, const int32_t *offsets) {
  int32_t pixels[4];
  for (int32_t at = 0; at < 4; at++) memcpy(pixels + at, source + offsets[at], 4);
  const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, -1, -1, -1, -1);
  return _mm_shuffle_epi8(_mm_setr_epi32(pixels[0], pixels[1], pixels[2], pixels[3]), order);
}

AVX2 static void pick_avx2(const bt_rows *rows, const uint8_t *source, int32_t pixel_bytes) {
  (void)pixel_bytes;
  for (int32_t x = 0; x < rows->padded; x += 16) {
    const int32_t *at = rows->offsets + x;
    const __m128i a = four_pixels(source, at), b = four_pixels(source, at + 4);
    const __m128i c = four_pixels(source, at + 8), d = four_pixels(source, at + 12);
    const __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
    const __m128i blue = _mm_unpacklo_epi64(_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
    _mm_storeu_si128((__m128i *)(rows->levels + x), _mm_unpacklo_epi64(ab, cd));
    _mm_storeu_si128((__m128i *)(rows->levels + rows->padded + x), _mm_unpackhi_epi64(ab, cd));
    _mm_storeu_si128((__m128i *)(rows->levels + 2 * rows->padded + x), blue);
  }
}

AVX2 static inline __m256i blended(const int16_t *near, const int16_t *far, __m256i rest, __m256i weight) {
  const __m256i a = _mm256_mulhi_epi16(_mm256_loadu_si256((const __m256i *)near), rest);
  const __m256i b = _mm256_mulhi_epi16(_mm256_loadu_si256((const __m256i *)far), weight);
  return _mm256_srli_epi16(_mm256_add_epi16(_mm256_add_epi16(a, b), _mm256_set1_epi16(2)), 2);
}

AVX2 static void blend_avx2(const bt_rows *rows, int32_t weight) {
  const __m256i far_share = _mm256_set1_epi16((int16_t)weight);
  const __m256i near_share = _mm256_set1_epi16((int16_t)(2048 - weight));
  for (int32_t k = 0; k < 3 * rows->padded; k += 32) {
    const __m256i low = blended(rows->near + k, rows->far + k, near_share, far_share);
    const __m256i high = blended(rows->near + k + 16, rows->far + k + 16, near_share, far_share);
    const __m256i levels = _mm256_permute4x64_epi64(_mm256_packus_epi16(low, high), 0xd8);
    _mm256_storeu_si256((__m256i *)(rows->levels + k), levels);
  }
}

/* Sixteen levels as words, of lanes of pixels 0–3 and 8–11, then of 4–7 and 12–15, and what each pair of them gets. */
AVX2 static inline __m256i levels_avx2(const __m256i *base, __m256i pairs) {
  const __m256i low = _mm256_srai_epi32(_mm256_add_epi32(base[0], _mm256_unpacklo_epi32(pairs, pairs)), 16);
  const __m256i high = _mm256_srai_epi32(_mm256_add_epi32(base[1], _mm256_unpackhi_epi32(pairs, pairs)), 16);
  return _mm256_packs_epi32(low, high);
}

AVX2 static void nv12_avx2(const uint8_t *luma, const uint8_t *chroma, int32_t count, const int32_t *yuv,
                           uint32_t *pixels) {
  const __m128i offset = _mm_set1_epi8((char)yuv[0]);
  const __m256i y = _mm256_set1_epi32(yuv[1]), v_red = _mm256_set1_epi32(yuv[2]), u_green = _mm256_set1_epi32(yuv[3]);
  const __m256i v_green = _mm256_set1_epi32(yuv[4]), u_blue = _mm256_set1_epi32(yuv[5]);
  const __m256i half = _mm256_set1_epi32(32768), middle = _mm256_set1_epi32(128);
  int32_t x = 0;
  for (; x + 16 <= count; x += 16) {
    const __m128i above = _mm_subs_epu8(_mm_loadu_si128((const __m128i *)(luma + x)), offset);
    const __m128i order = _mm_shuffle_epi32(above, _MM_SHUFFLE(3, 1, 2, 0));
    const __m256i low = _mm256_cvtepu8_epi32(order), high = _mm256_cvtepu8_epi32(_mm_srli_si128(order, 8));
    const __m256i base[2] = {_mm256_add_epi32(_mm256_mullo_epi32(low, y), half),
                             _mm256_add_epi32(_mm256_mullo_epi32(high, y), half)};
    const __m128i both = _mm_loadu_si128((const __m128i *)(chroma + x));
    const __m256i u = _mm256_sub_epi32(_mm256_cvtepu16_epi32(_mm_and_si128(both, _mm_set1_epi16(255))), middle);
    const __m256i v = _mm256_sub_epi32(_mm256_cvtepu16_epi32(_mm_srli_epi16(both, 8)), middle);
    const __m256i red = levels_avx2(base, _mm256_mullo_epi32(v, v_red));
    const __m256i green =
        levels_avx2(base, _mm256_add_epi32(_mm256_mullo_epi32(u, u_green), _mm256_mullo_epi32(v, v_green)));
    const __m256i blue = levels_avx2(base, _mm256_mullo_epi32(u, u_blue));
    const __m256i reds_greens = _mm256_packus_epi16(red, green);
    const __m256i red_green = _mm256_unpacklo_epi8(reds_greens, _mm256_srli_si256(reds_greens, 8));
    const __m256i blue_none =
        _mm256_unpacklo_epi8(_mm256_packus_epi16(blue, blue), _mm256_setzero_si256());
    const __m256i first = _mm256_unpacklo_epi16(red_green, blue_none), next = _mm256_unpackhi_epi16(red_green, blue_none);
    _mm256_storeu_si256((__m256i *)(pixels + x), _mm256_permute2x128_si256(first, next, 0x20));
    _mm256_storeu_si256((__m256i *)(pixels + x + 8), _mm256_permute2x128_si256(first, next, 0x31));
  }
  nv12_plain(luma + x, chroma + x, count - x, yuv, pixels + x);
}

AVX2 static inline __m256 line_avx2(const uint8_t *levels, const bt_line *line) {
  const __m256 level = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)levels)));
  const __m256 high = _mm256_fmadd_ps(level, _mm256_set1_ps(line->high), _mm256_set1_ps(line->offset_high));
  return _mm256_add_ps(high, _mm256_fmadd_ps(level, _mm256_set1_ps(line->low), _mm256_set1_ps(line->offset_low)));
}

AVX2 static void f32_avx2(const uint8_t *levels, int32_t count, const bt_line *line, float *to) {
  for (int32_t x = 0; x < count; x += 8) _mm256_storeu_ps(to + x, line_avx2(levels + x, line));
}

AVX2 static void f16_avx2(const uint8_t *levels, int32_t count, const bt_line *line, uint16_t *to) {
  for (int32_t x = 0; x < count; x += 8) {
    _mm_storeu_si128((__m128i *)(to + x), _mm256_cvtps_ph(line_avx2(levels + x, line), _MM_FROUND_TO_NEAREST_INT));
  }
}

static const bt_vectors WIDE = {pick_avx2, filter_avx2, blend_avx2, nv12_avx2, f32_avx2, f16_avx2};
#define WIDE_SET BT_RESIZE_AVX2

/* True if processor and system have AVX2 with FMA and F16C: without the system's part the upper halves get lost. */
static bool has_wide(void) {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
  const uint32_t wanted = bit_FMA | bit_OSXSAVE | bit_AVX | bit_F16C;
  if ((c & wanted) != wanted) return false;
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 6) != 6) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2) != 0;
}

/* ---- NEON ---- */

#elif defined(__aarch64__)

/* Eight pixels, of 8 bytes each. */
static inline uint8x16x4_t eight_pixels(const uint8_t *source, const int32_t *offsets) {
  uint8x16x4_t pixels;
  for (int32_t at = 0; at < 4; at++) {
    pixels.val[at] = vcombine_u8(vld1_u8(source + offsets[2 * at]), vld1_u8(source + offsets[2 * at + 1]));
  }
  return pixels;
}

/* Where a channel of eight pixels lies, and of their neighbours. */
static inline uint8x16_t neighbours(int32_t channel, int32_t pixel_bytes) {
  static const uint8_t starts[8] = {0, 8, 16, 24, 32, 40, 48, 56};
  const uint8x8_t near = vadd_u8(vld1_u8(starts), vdup_n_u8((uint8_t)channel));
  return vcombine_u8(near, vadd_u8(near, vdup_n_u8((uint8_t)pixel_bytes)));
}

static void filter_neon(const bt_rows *rows, const uint8_t *source, int32_t pixel_bytes, int16_t *row) {
  const uint8x16_t order[3] = {neighbours(0, pixel_bytes), neighbours(1, pixel_bytes), neighbours(2, pixel_bytes)};
  for (int32_t x = 0; x < rows->padded; x += 8) {
    const uint8x16x4_t pixels = eight_pixels(source, rows->offsets + x);
    const int16x8x2_t shares = vld2q_s16(rows->weights + 2 * x);
    const uint16x8_t rest = vreinterpretq_u16_s16(shares.val[0]), weight = vreinterpretq_u16_s16(shares.val[1]);
    for (int32_t channel = 0; channel < 3; channel++) {
      const uint8x16_t pairs = vqtbl4q_u8(pixels, order[channel]);
      const uint16x8_t near = vmovl_u8(vget_low_u8(pairs)), far = vmovl_high_u8(pairs);
      uint32x4_t low = vmull_u16(vget_low_u16(near), vget_low_u16(rest));
      low = vmlal_u16(low, vget_low_u16(far), vget_low_u16(weight));
      const uint32x4_t high = vmlal_high_u16(vmull_high_u16(near, rest), far, weight);
      const uint16x8_t sums = vcombine_u16(vshrn_n_u32(low, 4), vshrn_n_u32(high, 4));
      vst1q_s16(row + channel * rows->padded + x, vreinterpretq_s16_u16(sums));
    }
  }
}

static void pick_neon(const bt_rows *rows, const uint8_t *source, int32_t pixel_bytes) {
  for (int32_t x = 0; x < rows->padded; x += 8) {
    const uint8x16x4_t pixels = eight_pixels(source, rows->offsets + x);
    for (int32_t channel = 0; channel < 3; channel++) {
      const uint8x16_t levels = vqtbl4q_u8(pixels, neighbours(channel, pixel_bytes));
      vst1_u8(rows->levels + channel * rows->padded + x, vget_low_u8(levels));
    }
  }
}

static inline int16x8_t high_halves(int16x8_t row, int16_t weight) {
  const int32x4_t low = vmull_n_s16(vget_low_s16(row), weight);
  return vcombine_s16(vshrn_n_s32(low, 16), vshrn_n_s32(vmull_high_n_s16(row, weight), 16));
}

static void blend_neon(const bt_rows *rows, int32_t weight) {
  for (int32_t k = 0; k < 3 * rows->padded; k += 8) {
    const int16x8_t near = high_halves(vld1q_s16(rows->near + k), (int16_t)(2048 - weight));
    const int16x8_t sum = vaddq_s16(near, high_halves(vld1q_s16(rows->far + k), (int16_t)weight));
    vst1_u8(rows->levels + k, vqrshrun_n_s16(sum, 2));
  }
}

/* Eight levels of what two halves come to, cut to 0–255. */
static inline uint8x8_t levels_neon(int32x4_t low, int32x4_t high) {
  return vqmovun_s16(vcombine_s16(vshrn_n_s32(low, 16), vshrn_n_s32(high, 16)));
}

static void nv12_neon(const uint8_t *luma, const uint8_t *chroma, int32_t count, const int32_t *yuv, uint32_t *pixels) {
  const uint8x8_t offset = vdup_n_u8((uint8_t)yuv[0]), middle = vdup_n_u8(128);
  const int32x4_t half = vdupq_n_s32(32768);
  int32_t x = 0;
  for (; x + 8 <= count; x += 8) {
    const int16x8_t above = vreinterpretq_s16_u16(vmovl_u8(vqsub_u8(vld1_u8(luma + x), offset)));
    const int32x4_t low = vmlaq_n_s32(half, vmovl_s16(vget_low_s16(above)), yuv[1]);
    const int32x4_t high = vmlaq_n_s32(half, vmovl_high_s16(above), yuv[1]);
    const uint8x8_t both = vld1_u8(chroma + x);
    const int16x8_t u = vreinterpretq_s16_u16(vsubl_u8(vtrn1_u8(both, both), middle));
    const int16x8_t v = vreinterpretq_s16_u16(vsubl_u8(vtrn2_u8(both, both), middle));
    const int32x4_t u_low = vmovl_s16(vget_low_s16(u)), u_high = vmovl_high_s16(u);
    const int32x4_t v_low = vmovl_s16(vget_low_s16(v)), v_high = vmovl_high_s16(v);
    const int32x4_t green_low = vmlaq_n_s32(vmlaq_n_s32(low, u_low, yuv[3]), v_low, yuv[4]);
    const int32x4_t green_high = vmlaq_n_s32(vmlaq_n_s32(high, u_high, yuv[3]), v_high, yuv[4]);
    uint8x8x4_t levels;
    levels.val[0] = levels_neon(vmlaq_n_s32(low, v_low, yuv[2]), vmlaq_n_s32(high, v_high, yuv[2]));
    levels.val[1] = levels_neon(green_low, green_high);
    levels.val[2] = levels_neon(vmlaq_n_s32(low, u_low, yuv[5]), vmlaq_n_s32(high, u_high, yuv[5]));
    levels.val[3] = vdup_n_u8(0);
    vst4_u8((uint8_t *)(pixels + x), levels);
  }
  nv12_plain(luma + x, chroma + x, count - x, yuv, pixels + x);
}

static inline float32x4_t line_neon(uint16x4_t levels, const bt_line *line) {
  const float32x4_t level = vcvtq_f32_u32(vmovl_u16(levels));
  const float32x4_t high = vfmaq_n_f32(vdupq_n_f32(line->offset_high), level, line->high);
  return vaddq_f32(high, vfmaq_n_f32(vdupq_n_f32(line->offset_low), level, line->low));
}

static void f32_neon(const uint8_t *levels, int32_t count, const bt_line *line, float *to) {
  for (int32_t x = 0; x < count; x += 8) {
    const uint16x8_t eight = vmovl_u8(vld1_u8(levels + x));
    vst1q_f32(to + x, line_neon(vget_low_u16(eight), line));
    vst1q_f32(to + x + 4, line_neon(vget_high_u16(eight), line));
  }
}

static void f16_neon(const uint8_t *levels, int32_t count, const bt_line *line, uint16_t *to) {
  for (int32_t x = 0; x < count; x += 8) {
    const uint16x8_t eight = vmovl_u8(vld1_u8(levels + x));
    const float16x4_t low = vcvt_f16_f32(line_neon(vget_low_u16(eight), line));
    const float16x4_t high = vcvt_f16_f32(line_neon(vget_high_u16(eight), line));
    vst1q_u16(to + x, vcombine_u16(vreinterpret_u16_f16(low), vreinterpret_u16_f16(high)));
  }
}

static const bt_vectors WIDE = {pick_neon, filter_neon, blend_neon, nv12_neon, f32_neon, f16_neon};
#define WIDE_SET BT_RESIZE_NEON

static bool has_wide(void) { return true; }

#else
static const bt_vectors WIDE = {pick_plain, filter_plain, blend_plain, nv12_plain, NULL, NULL};
#define WIDE_SET BT_RESIZE_PLAIN

static bool has_wide(void) { return false; }
#endif

/* ---- values ---- */

/* How levels of a channel become values: by the line where it gives every level what the table has, else by the table. */
typedef struct bt_values {
  const void *table; /* [256] */
  bt_line line;
  bool is_line;
  bool is_level; /* u8 alone: every level is its own value */
} bt_values;

/* The part of a number that is a multiple of a power of two, chosen so that 15 bits of the slope are left. */
static float coarse(double number, double grid) {
  const double steps = number / grid;
  return (float)((double)(int64_t)(steps + (steps < 0 ? -0.5 : 0.5)) * grid);
}

static bt_line line_of(double slope, double offset) {
  double grid = 1;
  const double size = slope < 0 ? -slope : slope;
  while (grid * 16384 > size && grid > 1e-30) grid /= 2;
  while (grid * 32768 <= size && grid < 1e30) grid *= 2;
  /* Beyond these the first part is not exact, and the comparison with the table fails: no need to look here. */
  const bool is_large = offset > grid * 1e9 || offset < grid * -1e9;
  bt_line line = {.high = coarse(slope, grid), .offset_high = is_large ? (float)offset : coarse(offset, grid)};
  line.low = (float)(slope - (double)line.high);
  line.offset_low = (float)(offset - (double)line.offset_high);
  return line;
}

static bt_values values_of(const bt_vectors *vectors, int32_t dtype, const void *table, const double *line) {
  uint8_t levels[256];
  for (int32_t level = 0; level < 256; level++) levels[level] = (uint8_t)level;
  bt_values values = {.table = table};
  if (dtype == BT_RESIZE_U8) values.is_level = memcmp(table, levels, 256) == 0;
  else if (vectors->f32_values != NULL) {
    union {
      float f32[256];
      uint16_t f16[256];
    } found;
    values.line = line_of(line[0], line[1]);
    if (dtype == BT_RESIZE_F32) vectors->f32_values(levels, 256, &values.line, found.f32);
    else vectors->f16_values(levels, 256, &values.line, found.f16);
    values.is_line = memcmp(&found, table, dtype == BT_RESIZE_F32 ? sizeof found.f32 : sizeof found.f16) == 0;
  }
  return values;
}

static int32_t bytes_of(int32_t dtype) { return dtype == BT_RESIZE_F32 ? 4 : dtype == BT_RESIZE_F16 ? 2 : 1; }

/* Values by the table, `step` elements apart. */
static void store_table(const uint8_t *levels, int32_t width, const void *table, int32_t dtype, int32_t step, void *to) {
  if (dtype == BT_RESIZE_F32) {
    const float *restrict values = table;
    float *restrict output = to;
    for (int32_t x = 0; x < width; x++) output[x * step] = values[levels[x]];
  } else if (dtype == BT_RESIZE_F16) {
    const uint16_t *restrict values = table;
    uint16_t *restrict output = to;
    for (int32_t x = 0; x < width; x++) output[x * step] = values[levels[x]];
  } else {
    const uint8_t *restrict values = table;
    uint8_t *restrict output = to;
    for (int32_t x = 0; x < width; x++) output[x * step] = values[levels[x]];
  }
}

/* A channel's values side by side. The last ones, fewer than a vector has, go by the table. */
static void store_row(const bt_vectors *vectors, const uint8_t *levels, int32_t width, const bt_values *values,
                      int32_t dtype, uint8_t *to) {
  int32_t done = 0;
  if (values->is_level) {
    memcpy(to, levels, (size_t)width);
    done = width;
  } else if (values->is_line) {
    done = width & ~7;
    if (dtype == BT_RESIZE_F32) vectors->f32_values(levels, done, &values->line, (float *)(void *)to);
    else vectors->f16_values(levels, done, &values->line, (uint16_t *)(void *)to);
  }
  store_table(levels + done, width - done, values->table, dtype, 1, to + (int64_t)done * bytes_of(dtype));
}

/* ---- a region ---- */

int32_t bt_resize_instructions(void) {
  /* One more than what was found. Asking a processor that is a virtual one takes 10 us, and every call here asks. */
  static _Atomic int32_t known = 0;
  int32_t found = atomic_load_explicit(&known, memory_order_relaxed);
  if (found == 0) {
    found = (has_wide() ? WIDE_SET : BT_RESIZE_PLAIN) + 1;
    atomic_store_explicit(&known, found, memory_order_relaxed);
  }
  return found - 1;
}

static int32_t padded_width(int32_t width) { return (width + BLOCK - 1) / BLOCK * BLOCK; }

int64_t bt_resize_scratch(int32_t width, int32_t row_bytes) {
  if (width < 1 || row_bytes < 1) return BT_BAD_CALL;
  const int64_t pixel = sizeof(int32_t) + 8 * sizeof(int16_t) + 3;
  return pixel * padded_width(width) + row_bytes + READ_BYTES;
}

static bt_rows rows_in(uint8_t *scratch, int32_t width) {
  bt_rows rows = {.padded = padded_width(width)};
  rows.offsets = (int32_t *)(void *)scratch;
  rows.weights = (int16_t *)(void *)(rows.offsets + rows.padded);
  rows.near = rows.weights + 2 * rows.padded;
  rows.far = rows.near + 3 * rows.padded;
  rows.levels = (uint8_t *)(rows.far + 3 * rows.padded);
  rows.source = rows.levels + 3 * rows.padded;
  return rows;
}

/* Fills in where columns lie in a row that begins at `begin`. Returns true if none has a weight. */
static bool place_columns(const bt_rows *rows, const int32_t *columns, int32_t width, int32_t begin) {
  bool is_picked = true;
  for (int32_t x = 0; x < rows->padded; x++) {
    const int32_t *column = columns + 3 * (x < width ? x : width - 1);
    rows->offsets[x] = column[0] - begin;
    rows->weights[2 * x] = (int16_t)(2048 - column[2]);
    rows->weights[2 * x + 1] = (int16_t)column[2];
    if (column[2] != 0) is_picked = false;
  }
  return is_picked;
}

/* What does not change from row to row. */
typedef struct bt_source {
  const uint8_t *data;
  const uint8_t *end;
  const uint8_t *chroma; /* of NV12, else NULL */
  const bt_resize_form *form;
} bt_source;

/* A row of the image from the region's first pixel in it on, to be read up to READ_BYTES from any of its pixels. */
static const uint8_t *source_row(const bt_vectors *vectors, const bt_source *source, const bt_rows *rows, int32_t row) {
  const bt_resize_form *form = source->form;
  const int64_t x = (int64_t)form->x + form->low, y = (int64_t)form->y + row;
  const int32_t width = form->high - form->low;
  const uint8_t *start = source->data + y * form->pitch;
  if (source->chroma != NULL) {
    const int64_t even = x & ~1;
    const uint8_t *chroma = source->chroma + (y >> 1) * form->chroma_pitch + even;
    vectors->nv12(start + even, chroma, width + (int32_t)(x & 1), form->yuv, (uint32_t *)(void *)rows->source);
    return rows->source + (x & 1) * form->pixel_bytes;
  }
  const uint8_t *from = start + x * form->pixel_bytes;
  const int64_t bytes = (int64_t)width * form->pixel_bytes;
  if (source->end - from >= bytes - form->pixel_bytes + READ_BYTES) return from;
  memcpy(rows->source, from, (size_t)bytes);
  return rows->source;
}

int32_t bt_resize(int32_t instructions, const bt_resize_form *form, const uint8_t *data, int64_t bytes,
                  int64_t chroma, const int32_t *columns, const int32_t *rows, const void *tables, const double *lines,
                  void *output, int64_t start, uint8_t *scratch) {
  if (form == NULL || data == NULL || columns == NULL || rows == NULL || tables == NULL || lines == NULL ||
      output == NULL || scratch == NULL || form->dtype < BT_RESIZE_F32 || form->dtype > BT_RESIZE_U8) {
    return BT_BAD_CALL;
  }
  if (instructions != BT_RESIZE_PLAIN && instructions != bt_resize_instructions()) return BT_BAD_CALL;
  const bt_vectors *vectors = instructions == BT_RESIZE_PLAIN ? &PLAIN : &WIDE;
  const int32_t dtype = form->dtype, element = bytes_of(dtype);
  bt_values values[3];
  for (int32_t channel = 0; channel < 3; channel++) {
    const uint8_t *table = (const uint8_t *)tables + 256 * channel * element;
    values[channel] = values_of(vectors, dtype, table, lines + 2 * channel);
  }
  const bt_source source = {data, data + bytes, chroma > 0 ? data + chroma : NULL, form};
  bt_rows made = rows_in(scratch, form->width);
  const bool is_picked = place_columns(&made, columns, form->width, form->low * form->pixel_bytes);
  int32_t near_row = NO_ROW, far_row = NO_ROW;
  for (int32_t y = 0; y < form->height; y++) {
    const int32_t near = rows[3 * y], far = rows[3 * y + 1], weight = rows[3 * y + 2];
    if (is_picked && weight == 0) {
      vectors->pick(&made, source_row(vectors, &source, &made, near), form->pixel_bytes);
    } else {
      /* A row that was the further one is the nearer one next. */
      if (near == far_row) {
        int16_t *row = made.near;
        made.near = made.far;
        made.far = row;
        far_row = near_row;
      } else if (near != near_row) {
        vectors->filter(&made, source_row(vectors, &source, &made, near), form->pixel_bytes, made.near);
      }
      near_row = near;
      if (weight != 0 && far != far_row) {
        vectors->filter(&made, source_row(vectors, &source, &made, far), form->pixel_bytes, made.far);
        far_row = far;
      }
      vectors->blend(&made, weight);
    }
    for (int32_t channel = 0; channel < 3; channel++) {
      const uint8_t *levels = made.levels + channel * made.padded;
      uint8_t *to = (uint8_t *)output + (start + form->first[channel] + (int64_t)y * form->row_elements) * element;
      if (form->step == 1) store_row(vectors, levels, form->width, &values[channel], dtype, to);
      else store_table(levels, form->width, values[channel].table, dtype, form->step, to);
    }
  }
  return BT_OK;
}
