// What kernels that resize with antialias share: the weights of the filters, and the resize in one launch.
#pragma once

#include "image.cuh"

typedef long long i64;

#define WEIGHT_BITS 22
#define HALF_LEVEL (1 << (WEIGHT_BITS - 1))
#define WARPS 8
#define LINES 16
// Source rows that are resized at a time, and taps of a column whose weights are there at a time.
#define ROWS 32
#define TAPS 32

#define BICUBIC 1
#define LANCZOS 2

// The source pixels that count for one resized pixel along one axis: those from `first` to below `end`.
struct Window {
  i64 centre;  // (2d + 1) × source
  u64 sum;     // of the shares of its pixels
  double position, total;  // the same of filters with lobes: in source pixels, and of the curve
  int first, end;
};

// Lengths of an axis, how far its filter reaches, in 1 / (2 × target) of a source pixel, and the source pixels that there
// are, up to before `high`. Source pixels count from the region's first one.
struct Axis {
  int source, target, reach, low, high, filter;
};

__device__ __forceinline__ Axis axis_of(int source, int target, int start, int first, int last, int filter) {
  return {source, target, 2 * max(source, target), first - start, last + 1 - start, filter};
}

// How many source pixels count for a resized one at most.
__device__ __forceinline__ int most_taps_of(const Axis &axis) {
  const int reaches = axis.filter == LANCZOS ? 3 : axis.filter == BICUBIC ? 2 : 1;
  return (axis.reach * reaches + axis.target - 1) / axis.target + (axis.filter == 0 ? 0 : 1);
}

__device__ __forceinline__ double sinc(double x) { return x == 0.0 ? 1.0 : sinpi(x) / (x * 3.141592653589793); }

// The curve of a filter with lobes, `offset` source pixels beside `position`, where the axis shrinks by `stretch`.
__device__ __forceinline__ double curve(int filter, double offset, double stretch) {
  const double x = offset * (1.0 / stretch);
  if (filter == LANCZOS) return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
  const double distance = fabs(x);
  if (distance < 1.0) return (1.5 * distance - 2.5) * distance * distance + 1.0;
  return distance < 2.0 ? (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5 : 0.0;
}

__device__ __forceinline__ Window lobed_window_of(const Axis &axis, int at) {
  const double ratio = (double)axis.source / axis.target;
  const double stretch = fmax(ratio, 1.0);
  const double reach = (axis.filter == LANCZOS ? 3.0 : 2.0) * stretch;
  const double position = (at + 0.5) * ratio;
  const int first = max((int)(position - reach + 0.5), axis.low);
  const int end = min((int)(position + reach + 0.5), axis.high);
  double total = 0.0;
#pragma unroll 1
  for (int x = first; x < end; x++) total += curve(axis.filter, x - position + 0.5, stretch);
  return {0, 0, position, total, first, end};
}

__device__ __forceinline__ int lobed_weight_of(const Axis &axis, const Window &window, int pixel) {
  const double stretch = fmax((double)axis.source / axis.target, 1.0);
  const double share = curve(axis.filter, pixel - window.position + 0.5, stretch) / window.total;
  const double weight = share * (1 << WEIGHT_BITS);
  return (int)(weight < 0.0 ? weight - 0.5 : weight + 0.5);
}

// 1 less the distance over the reach, times the reach; 0 beyond it.
__device__ __forceinline__ int share(const Axis &axis, i64 centre, int pixel) {
  const i64 offset = (2 * (i64)pixel + 1) * axis.target - centre;
  const i64 distance = offset < 0 ? -offset : offset;
  return distance < axis.reach ? axis.reach - (int)distance : 0;
}

__device__ __forceinline__ Window window_of(const Axis &axis, int at) {
  if (axis.filter != 0) return lobed_window_of(axis, at);
  const i64 centre = (2 * (i64)at + 1) * axis.source;
  const i64 pixel = 2 * (i64)axis.target;
  const i64 begin = centre - axis.reach + axis.target;
  const int first = max(begin > 0 ? (int)(begin / pixel) : 0, axis.low);
  const int end = min((int)((centre + axis.reach - axis.target + pixel - 1) / pixel), axis.high);
  u64 sum = 0;
#pragma unroll 1
  for (int x = first; x < end; x++) sum += share(axis, centre, x);
  return {centre, sum, 0.0, 0.0, first, end};
}

// The weight of a source pixel: its share over the sum, × 2^22, rounded; 0 outside the window. The quotient of two floats
// is off by one at most, and the remainder tells.
__device__ __forceinline__ int weight_of(const Axis &axis, const Window &window, int pixel) {
  if (pixel < window.first || pixel >= window.end) return 0;
  if (axis.filter != 0) return lobed_weight_of(axis, window, pixel);
  const int part = share(axis, window.centre, pixel);
  const i64 divisor = 2 * (i64)window.sum;
  int quotient = (int)((float)part / (float)window.sum * (float)(1 << WEIGHT_BITS));
  i64 rest = ((i64)part << (WEIGHT_BITS + 1)) + (i64)window.sum - quotient * divisor;
  while (rest < 0) {
    quotient--;
    rest += divisor;
  }
  while (rest >= divisor) {
    quotient++;
    rest -= divisor;
  }
  return quotient;
}

__device__ __forceinline__ void add(int3 &sum, int weight, int3 rgb) {
  sum.x += weight * rgb.x;
  sum.y += weight * rgb.y;
  sum.z += weight * rgb.z;
}

__device__ __forceinline__ int level_of(int sum) { return clamp(sum >> WEIGHT_BITS, 0, 255); }

// Three channels of pixel `x` of a row. Interleaved pixels lie in up to 2 words.
__device__ __forceinline__ int3 rgb_of_pixels(const Image &image, int row, int x) {
  const int pixel_bytes = image.format == PIXELS_3 ? 3 : 4;
  const u32 pixel = bytes_at(image.pixels + (u64)row * image.pitch + (u64)x * pixel_bytes, 3).x;
  return make_int3(byte_of(pixel, 0), byte_of(pixel, 1), byte_of(pixel, 2));
}

__device__ __forceinline__ int3 rgb_of_grey(const Image &image, int row, int x) {
  const int level = __ldg(image.pixels + (u64)row * image.pitch + x);
  return make_int3(level, level, level);
}

template <int Format> __device__ __forceinline__ int3 rgb_of_planes(const Image &image, int row, int x) {
  const u8 *chroma = image.chroma + (u64)(row >> 1) * image.chroma_pitch;
  const int luma = yuv_sample<Format>(image.pixels + (u64)row * image.pitch, x);
  return rgb_of_yuv(image, luma, yuv_sample<Format>(chroma, x & ~1), yuv_sample<Format>(chroma, x | 1));
}

// Add the pixels from `first` on of a thread's source rows, of which there are `rows` in the block from `row` on, both counted
// in the image; weights lie 32 apart. Of pixels of three bytes and of four the format is PIXELS_3.
template <int Format>
__device__ __forceinline__ void add_taps(int3 (&sums)[ROWS / WARPS], const Image &image, int row, int rows, int first,
                                         int taps, const int *weights) {
#pragma unroll 1
  for (int tap = 0; tap < taps; tap++) {
    const int weight = weights[tap * 32];
#pragma unroll
    for (int part = 0; part < ROWS / WARPS; part++) {
      const int at = part * WARPS + threadIdx.y;
      if (at >= rows) continue;
      const int3 rgb = Format == NV12   ? rgb_of_planes<NV12>(image, row + at, first + tap)
                       : Format == P016 ? rgb_of_planes<P016>(image, row + at, first + tap)
                       : Format == GREY ? rgb_of_grey(image, row + at, first + tap)
                                        : rgb_of_pixels(image, row + at, first + tap);
      add(sums[part], weight, rgb);
    }
  }
}

template <typename Element>
__device__ __forceinline__ void preprocess(Element *__restrict__ output, const Image *__restrict__ images,
                                           const float *__restrict__ table, int width, int height, int vector,
                                           int filter) {
  __shared__ Window columns[32];
  __shared__ Window lines[LINES];
  __shared__ int column_weights[TAPS * 32];   // [tap, column]
  __shared__ int line_weights[LINES * ROWS];  // [line, source row]
  __shared__ u32 levels[ROWS * 32];           // [source row, column]: three channels in a word
  const Image image = images[blockIdx.z];
  const int lane = threadIdx.x;
  const int warp = threadIdx.y;
  const int left = blockIdx.x * 32;
  const int top = blockIdx.y * LINES;
  int3 sums[2] = {make_int3(HALF_LEVEL, HALF_LEVEL, HALF_LEVEL), make_int3(HALF_LEVEL, HALF_LEVEL, HALF_LEVEL)};

  // All conditions around a barrier are the same for all threads of the block. A tile of padding alone reads nothing.
  const bool has_content = left < image.right && left + 32 > image.left && top < image.bottom &&
                           top + LINES > image.top;
  if (has_content) {
    const Axis across = axis_of(image.width, image.content_width, image.x, image.first_x, image.last_x, filter);
    const Axis down = axis_of(image.height, image.content_height, image.y, image.first_y, image.last_y, filter);
    if (warp == 0) {
      columns[lane] = window_of(across, clamp(left + lane, image.left, image.right - 1) - image.pad_x);
    } else if (warp == 1 && lane < LINES) {
      lines[lane] = window_of(down, clamp(top + lane, image.top, image.bottom - 1) - image.pad_y);
    }
    __syncthreads();
    const int most_taps = most_taps_of(across);
    const int begin = lines[0].first;
    const int end = lines[LINES - 1].end;
    const int column_first = columns[lane].first;
    const int column_taps = columns[lane].end - column_first;
#pragma unroll 1
    for (int row = begin; row < end; row += ROWS) {
      const int rows = min(ROWS, end - row);
#pragma unroll 1
      for (int line = warp; line < LINES; line += WARPS) {
        line_weights[line * ROWS + lane] = weight_of(down, lines[line], row + lane);
      }
      int3 row_sums[ROWS / WARPS];
#pragma unroll
      for (int part = 0; part < ROWS / WARPS; part++) row_sums[part] = make_int3(HALF_LEVEL, HALF_LEVEL, HALF_LEVEL);
#pragma unroll 1
      for (int tap = 0; tap < most_taps; tap += TAPS) {
        if (row == begin || most_taps > TAPS) {
          // What is there of the taps before has been read, or of the rows before: the barriers below.
          if (tap > 0) __syncthreads();
          const int slots = min(TAPS, most_taps - tap);
#pragma unroll 1
          for (int slot = warp; slot < slots; slot += WARPS) {
            column_weights[slot * 32 + lane] = weight_of(across, columns[lane], column_first + tap + slot);
          }
          __syncthreads();
        }
        const int taps = min(TAPS, column_taps - tap);
        const int first = image.x + column_first + tap;
        const int *weights = column_weights + lane;
        if (image.format == NV12) add_taps<NV12>(row_sums, image, image.y + row, rows, first, taps, weights);
        else if (image.format == P016) add_taps<P016>(row_sums, image, image.y + row, rows, first, taps, weights);
        else if (image.format == GREY) add_taps<GREY>(row_sums, image, image.y + row, rows, first, taps, weights);
        else add_taps<PIXELS_3>(row_sums, image, image.y + row, rows, first, taps, weights);
      }
#pragma unroll
      for (int part = 0; part < ROWS / WARPS; part++) {
        const int3 sum = row_sums[part];
        const int at = part * WARPS + warp;
        if (at < rows) levels[at * 32 + lane] = level_of(sum.x) | (level_of(sum.y) << 8) | (level_of(sum.z) << 16);
      }
      __syncthreads();
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int line = half * WARPS + warp;
        const int first = max(lines[line].first - row, 0);
        const int last = min(lines[line].end - row, rows);
#pragma unroll 1
        for (int at = first; at < last; at++) {
          const u32 rgb = levels[at * 32 + lane];
          add(sums[half], line_weights[line * ROWS + at], make_int3(byte_of(rgb, 0), byte_of(rgb, 1), byte_of(rgb, 2)));
        }
      }
      __syncthreads();
    }
  }

  Element *target = output + row_length<3>(width, height, vector) * blockIdx.z;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int y = top + half * WARPS + warp;
    if (y >= height) return; // the same for all lanes of a warp
    const int3 sum = sums[half];
    const float3 values =
        is_content(image, left + lane, y)
            ? values_of(image, table, make_int3(level_of(sum.x), level_of(sum.y), level_of(sum.z)))
            : padding(table);
    store_pixels<3>(target, values, left, y, width, height, vector);
  }
}
