// Bilinear resize, pad, colour order and normalisation of u8 pictures into the input tensor, in one launch:
//   h = ((2048 − w)·near + w·far) >> 4, level = (((2048 − w)·h0 >> 16) + (w·h1 >> 16) + 2) >> 2; value = table[level].
//
// output    [N, 3, height, width] (nchw) or [N, height, width, 3] (nhwc) of the entry's dtype; all of it is written
// pictures  Picture [N], below: one a picture, so that pictures of any sizes share a launch
// table     f32 [3 × 256 + 3]: value of each level by tensor channel, then the value of the padding by tensor channel
// width, height  of the input in pixels
//
// Launch: block (32, 8), grid (ceil(width / 32), ceil(height / 16), N). A warp takes 32 pixels of a row, so that reads
// and writes of its lanes are neighbours; a thread takes two rows, 8 apart. The taps are worked out once a block.
// Tolerance: none. The arithmetic is that of the CPU, in integers up to the table: src/image/preprocessor.ts.
// NV12 is converted pixel by pixel before the resize: test/support/reference/nv12.ts.

#include "picture.cuh"

// Two neighbouring source pixels along one axis, `step` (0 or 1) apart, and the weight of the second, 0 to 2048.
struct Tap {
  int near, step, weight;
};

// Pixel `at` of `content` lies at (at + 0.5) × scale − 0.5 in the source, in f64 rounded to f32, as OpenCV has it: see
// bilinearTaps of src/image/resize-taps.ts. The _rn forms keep the compiler from fusing the two.
__device__ __forceinline__ Tap tap(int at, int source, double scale, bool columns) {
  const float position = (float)__dadd_rn(__dmul_rn(__dadd_rn((double)at, 0.5), scale), -0.5);
  const float whole = floorf(position);
  const int below = (int)whole;
  const int weight = __float2int_rn((position - whole) * 2048.0f);
  const int near = clamp(below, 0, source - 1);
  const bool outside = below < 0 || below >= source - 1;
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

// Interleaved pixels. A pixel or a row of weight 0 is not read: whatever stands for it does not count.
template <int PixelBytes>
__device__ __forceinline__ int3 levels_of_pixels(const Picture &picture, Tap column, Tap line) {
  const u8 *upper_row = picture.pixels + (u64)line.near * picture.pitch + column.near * PixelBytes;
  const int count = column.weight != 0 ? PixelBytes + 3 : 3;
  const uint2 upper = bytes_at(upper_row, count);
  const uint2 lower = bytes_at(upper_row + (u64)line.step * picture.pitch, line.weight != 0 ? count : 0);
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

__device__ __forceinline__ int3 row_of_nv12(const Picture &picture, Tap column, int row) {
  const u8 *luma = picture.pixels + (u64)row * picture.pitch;
  const u8 *chroma = picture.chroma + (u64)(row >> 1) * picture.chroma_pitch;
  const int far = column.near + (column.weight != 0);
  const u8 *near_chroma = chroma + (column.near & ~1);
  const u8 *far_chroma = chroma + (far & ~1);
  return across(rgb_of_yuv(picture, __ldg(luma + column.near), __ldg(near_chroma), __ldg(near_chroma + 1)),
                rgb_of_yuv(picture, __ldg(luma + far), __ldg(far_chroma), __ldg(far_chroma + 1)), column.weight);
}

__device__ __forceinline__ int3 levels_of_nv12(const Picture &picture, Tap column, Tap line) {
  return blend(row_of_nv12(picture, column, line.near), row_of_nv12(picture, column, line.near + line.step), line.weight);
}

// The values of one pixel of the input, by tensor channel.
__device__ __forceinline__ float3 pixel_at(const Picture &picture, const float *table, Tap column, Tap line, int x,
                                           int row) {
  if (!is_content(picture, x, row)) return padding(table);
  const int3 levels = picture.format == PIXELS_3   ? levels_of_pixels<3>(picture, column, line)
                      : picture.format == PIXELS_4 ? levels_of_pixels<4>(picture, column, line)
                                                   : levels_of_nv12(picture, column, line);
  return values_of(picture, table, levels);
}

template <typename Element, bool Interleaved>
__device__ __forceinline__ void preprocess(Element *__restrict__ output, const Picture *__restrict__ pictures,
                                           const float *__restrict__ table, int width, int height) {
  __shared__ Tap columns[32];
  __shared__ Tap lines[16];
  const Picture picture = pictures[blockIdx.z];
  const int lane = threadIdx.x;
  const int left = blockIdx.x * 32;
  const int content_x = left + lane - picture.pad_x;
  const int top = blockIdx.y * 16;
  // Once a block: the taps are in f64, which most GPUs have few units for.
  if (threadIdx.y == 0) {
    columns[lane] = tap(clamp(content_x, 0, picture.content_width - 1), picture.source_width, picture.scale_x, true);
  } else if (threadIdx.y == 1 && lane < 16) {
    const int row = clamp(top + lane - picture.pad_y, 0, picture.content_height - 1);
    lines[lane] = tap(row, picture.source_height, picture.scale_y, false);
  }
  __syncthreads();
  const Tap column = columns[lane];
  Element *image = output + (u64)width * height * 3 * blockIdx.z;
#pragma unroll 1
  for (int half = 0; half < 2; half++) {
    const int line = half * 8 + threadIdx.y;
    const int y = top + line;
    if (y >= height) return; // the same for all lanes of a warp
    const float3 values = pixel_at(picture, table, column, lines[line], content_x, y - picture.pad_y);
    store_pixels<Element, Interleaved>(image, values, left, y, width, height);
  }
}

extern "C" __global__ void __launch_bounds__(256) preprocess_f32_nchw(
    float *__restrict__ output, const Picture *__restrict__ pictures, const float *__restrict__ table, int width,
    int height) {
  preprocess<float, false>(output, pictures, table, width, height);
}

extern "C" __global__ void __launch_bounds__(256) preprocess_f16_nchw(
    f16 *__restrict__ output, const Picture *__restrict__ pictures, const float *__restrict__ table, int width,
    int height) {
  preprocess<f16, false>(output, pictures, table, width, height);
}

extern "C" __global__ void __launch_bounds__(256) preprocess_u8_nchw(
    u8 *__restrict__ output, const Picture *__restrict__ pictures, const float *__restrict__ table, int width,
    int height) {
  preprocess<u8, false>(output, pictures, table, width, height);
}

extern "C" __global__ void __launch_bounds__(256) preprocess_f32_nhwc(
    float *__restrict__ output, const Picture *__restrict__ pictures, const float *__restrict__ table, int width,
    int height) {
  preprocess<float, true>(output, pictures, table, width, height);
}

extern "C" __global__ void __launch_bounds__(256) preprocess_f16_nhwc(
    f16 *__restrict__ output, const Picture *__restrict__ pictures, const float *__restrict__ table, int width,
    int height) {
  preprocess<f16, true>(output, pictures, table, width, height);
}

extern "C" __global__ void __launch_bounds__(256) preprocess_u8_nhwc(
    u8 *__restrict__ output, const Picture *__restrict__ pictures, const float *__restrict__ table, int width,
    int height) {
  preprocess<u8, true>(output, pictures, table, width, height);
}
