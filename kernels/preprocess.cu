// Bilinear resize, pad, colour order and normalisation of u8 images into the input tensor, in one launch:
//   h = ((2048 − w)·near + w·far) >> 4, level = (((2048 − w)·h0 >> 16) + (w·h1 >> 16) + 2) >> 2; value = table[level].
//
// output    [N, channels, height, width] of the entry's dtype, 1 channel for luma, else 3; all of it is written
// images  Image [N], below: one a row, so that regions of any images and sizes share a launch
// table     f32 [3 × 256 + 3]: value of each level by tensor channel, then the value of the padding by tensor channel; of luma
//           f32 [3]: slope and offset from 65536 × luma to the value, and the value of the padding
// width, height  of the input in pixels
// vector    channels of the output that lie side by side: 1 for planes, 3 for NHWC, any other for TensorRT's formats, whose last
//           vector is filled with 0; see vectorVolume of src/core/tensor.ts
//
// Launch: block (32, 8), grid (ceil(width / 32), ceil(height / 16), N). A warp takes 32 pixels of a row, so that reads
// and writes of its lanes are neighbours; a thread takes two rows, 8 apart. The taps are worked out once a block.
// Tolerance: none. The arithmetic is that of the CPU, in integers up to the table: src/image/preprocessor.ts.
// NV12 is converted pixel by pixel before the resize: test/support/reference/nv12.ts.

#include "image.cuh"

// Two neighbouring source pixels along one axis, `step` (0 or 1) apart, and the weight of the second, 0 to 2048.
struct Tap {
  int near, step, weight;
};

// sourceIndex of src/image/geometry.ts, of an axis from 0 to `last`.
__device__ __forceinline__ int mirrored(int at, int last) {
  if (last == 0) return 0;
  const int phase = abs(at) % (2 * last);
  return phase <= last ? phase : 2 * last - phase;
}

// Pixel `at` of the content lies at (at + 0.5) × scale − 0.5 from `start`, in f64 rounded to f32, as OpenCV has it: see
// bilinearTaps of src/image/resize-taps.ts. The _rn forms keep the compiler from fusing the two.
__device__ __forceinline__ Tap tap(int at, double scale, int start, int first, int last, int reflect, bool columns) {
  const float position = (float)__dadd_rn(__dmul_rn(__dadd_rn((double)at, 0.5), scale), -0.5);
  const float whole = floorf(position);
  const int below = start + (int)whole;
  const int weight = __float2int_rn((position - whole) * 2048.0f);
  if (reflect) return {mirrored(below, last), 0, 0};
  const int near = clamp(below, first, last);
  const bool outside = below < first || below >= last;
  if (!outside) return {near, 1, weight};
  return {near, 0, columns ? 0 : weight};
}

__device__ __forceinline__ int across(int near, int far, int weight) {
  return ((near << 11) + weight * (far - near)) >> 4;
}

// A resized row at one place: levels × 128, for three channels.
__device__ __forceinline__ int3 across(int3 near, int3 far, int weight) {
  return make_int3(across(near.x, far.x, weight), across(near.y, far.y, weight), across(near.z, far.z, weight));
}

__device__ __forceinline__ int blend(int upper, int lower, int weight) {
  return ((((2048 - weight) * upper) >> 16) + ((weight * lower) >> 16) + 2) >> 2;
}

__device__ __forceinline__ int3 blend(int3 upper, int3 lower, int weight) {
  return make_int3(blend(upper.x, lower.x, weight), blend(upper.y, lower.y, weight), blend(upper.z, lower.z, weight));
}

// Interleaved pixels. A pixel or a row of weight 0 is not read: it need not be there (rowsRead of src/image/resize-taps.ts).
template <int PixelBytes>
__device__ __forceinline__ int3 levels_of_pixels(const Image &image, Tap column, Tap line) {
  const u8 *upper_row = image.pixels + (u64)line.near * image.pitch + column.near * PixelBytes;
  const int count = column.weight != 0 ? PixelBytes + 3 : 3;
  const uint2 upper = bytes_at(upper_row, count);
  const uint2 lower = bytes_at(upper_row + (u64)line.step * image.pitch, line.weight != 0 ? count : 0);
  const bool packed = PixelBytes == 3;
  return blend(across(make_int3(byte_of(upper.x, 0), byte_of(upper.x, 1), byte_of(upper.x, 2)),
                      packed ? make_int3(byte_of(upper.x, 3), byte_of(upper.y, 0), byte_of(upper.y, 1))
                             : make_int3(byte_of(upper.y, 0), byte_of(upper.y, 1), byte_of(upper.y, 2)),
                      column.weight),
               across(make_int3(byte_of(lower.x, 0), byte_of(lower.x, 1), byte_of(lower.x, 2)),
                      packed ? make_int3(byte_of(lower.x, 3), byte_of(lower.y, 0), byte_of(lower.y, 1))
                             : make_int3(byte_of(lower.y, 0), byte_of(lower.y, 1), byte_of(lower.y, 2)),
                      column.weight),
               line.weight);
}

__device__ __forceinline__ int3 row_of_nv12(const Image &image, Tap column, int row) {
  const u8 *luma = image.pixels + (u64)row * image.pitch;
  const u8 *chroma = image.chroma + (u64)(row >> 1) * image.chroma_pitch;
  const int far = column.near + (column.weight != 0);
  const u8 *near_chroma = chroma + (column.near & ~1);
  const u8 *far_chroma = chroma + (far & ~1);
  return across(rgb_of_yuv(image, __ldg(luma + column.near), __ldg(near_chroma), __ldg(near_chroma + 1)),
                rgb_of_yuv(image, __ldg(luma + far), __ldg(far_chroma), __ldg(far_chroma + 1)), column.weight);
}

__device__ __forceinline__ int3 levels_of_nv12(const Image &image, Tap column, Tap line) {
  const int far = line.near + (line.weight != 0 ? line.step : 0);
  return blend(row_of_nv12(image, column, line.near), row_of_nv12(image, column, far), line.weight);
}

__device__ __forceinline__ int3 levels_at(const Image &image, Tap column, Tap line) {
  return image.format == PIXELS_3   ? levels_of_pixels<3>(image, column, line)
         : image.format == PIXELS_4 ? levels_of_pixels<4>(image, column, line)
                                      : levels_of_nv12(image, column, line);
}

// The value of the luma of a pixel's levels: lumaLine of src/image/preprocessing.ts. Below 2^24: exact as f32.
__device__ __forceinline__ float luma_of(const Image &image, const float *table, int3 levels) {
  const int red = image.swap ? levels.z : levels.x;
  const int blue = image.swap ? levels.x : levels.z;
  return on_line((float)(red * 19595 + levels.y * 38470 + blue * 7471), __ldg(table), __ldg(table + 1));
}

template <typename Element, int Channels>
__device__ __forceinline__ void preprocess(Element *__restrict__ output, const Image *__restrict__ images,
                                           const float *__restrict__ table, int width, int height, int vector) {
  __shared__ Tap columns[32];
  __shared__ Tap lines[16];
  const Image image = images[blockIdx.z];
  const int lane = threadIdx.x;
  const int left = blockIdx.x * 32;
  const int content_x = left + lane - image.pad_x;
  const int top = blockIdx.y * 16;
  // Once a block: the taps are in f64, which most GPUs have few units for.
  if (threadIdx.y == 0) {
    columns[lane] = tap(clamp(content_x, 0, image.content_width - 1), image.scale_x, image.x, image.first_x,
                        image.last_x, image.reflect, true);
  } else if (threadIdx.y == 1 && lane < 16) {
    const int row = clamp(top + lane - image.pad_y, 0, image.content_height - 1);
    lines[lane] = tap(row, image.scale_y, image.y, image.first_y, image.last_y, image.reflect, false);
  }
  __syncthreads();
  const Tap column = columns[lane];
  Element *target = output + row_length<Channels>(width, height, vector) * blockIdx.z;
#pragma unroll 1
  for (int half = 0; half < 2; half++) {
    const int line = half * 8 + threadIdx.y;
    const int y = top + line;
    if (y >= height) return; // the same for all lanes of a warp
    const bool shows = is_content(image, left + lane, y);
    float3 values;
    if (Channels == 1) {
      const float luma = shows ? luma_of(image, table, levels_at(image, column, lines[line])) : __ldg(table + 2);
      values = make_float3(sizeof(Element) == 1 ? (float)to_level(luma) : luma, 0.0f, 0.0f);
    } else {
      values = shows ? values_of(image, table, levels_at(image, column, lines[line])) : padding(table);
    }
    store_pixels<Channels>(target, values, left, y, width, height, vector);
  }
}

extern "C" __global__ void __launch_bounds__(256, 5) preprocess_f32(
    float *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<float, 3>(output, images, table, width, height, vector);
}

extern "C" __global__ void __launch_bounds__(256, 5) preprocess_f16(
    f16 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<f16, 3>(output, images, table, width, height, vector);
}

extern "C" __global__ void __launch_bounds__(256, 5) preprocess_u8(
    u8 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<u8, 3>(output, images, table, width, height, vector);
}

extern "C" __global__ void __launch_bounds__(256, 5) preprocess_f32_luma(
    float *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<float, 1>(output, images, table, width, height, vector);
}

extern "C" __global__ void __launch_bounds__(256, 5) preprocess_f16_luma(
    f16 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<f16, 1>(output, images, table, width, height, vector);
}

extern "C" __global__ void __launch_bounds__(256, 5) preprocess_u8_luma(
    u8 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<u8, 1>(output, images, table, width, height, vector);
}
