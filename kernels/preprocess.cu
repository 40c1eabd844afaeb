// Bilinear resize, pad, colour order and normalisation of images into the input tensor, in one launch:
//   h = ((2048 − w)·near + w·far) >> 4, level = (((2048 − w)·h0 >> 16) + (w·h1 >> 16) + 2) >> 2; value = table[level].
// Of samples of 16 bits, into a tensor of one channel or four:
//   h = (1 − w)·near + w·far, sample = (1 − w)·h0 + w·h1, each rounded to f32; value = slope·level + offset.
//
// output    [N, channels, height, width] of the entry's dtype, 1 channel for luma, 4 for four, else 3; all of it is written
// images  Image [N], below: one a row, so that regions of any images and sizes share a launch
// table     f32 [3 × 256 + 3]: value of each level by tensor channel, then the value of the padding by tensor channel; of four
//           channels f32 [4 × 256 + 4 + 4 + 4], with slopes and offsets from a sample's level to the value; of luma
//           f32 [4]: slope and offset from 65536 × luma to the value, the value of the padding, and the slope of a sample's level
// width, height  of the input in pixels
// vector    channels of the output that lie side by side: 1 for planes, 3 for NHWC, any other for TensorRT's formats, whose last
//           vector is filled with 0; see vectorVolume of src/core/tensor.ts
//
// Launch: block (32, 8), grid (ceil(width / 32), ceil(height / 16), N). A warp takes 32 pixels of a row, so that reads
// and writes of its lanes are neighbours; a thread takes two rows, 8 apart. The taps are worked out once a block.
// Tolerance: none. The arithmetic is that of the CPU, in integers up to the table, and of samples of 16 bits in f64:
// src/image/preprocessor.ts, src/image/samples.ts.
// NV12 and P016 are converted pixel by pixel before the resize: test/support/reference/nv12.ts.

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

// Of samples of 16 bits: `weight` holds the bits of the second's share, an f32.
__device__ __forceinline__ Tap sample_tap(int at, double scale, int start, int first, int last, int reflect) {
  const float position = (float)__dadd_rn(__dmul_rn(__dadd_rn((double)at, 0.5), scale), -0.5);
  const float whole = floorf(position);
  const int below = start + (int)whole;
  if (reflect) return {mirrored(below, last), 0, 0};
  const int near = clamp(below, first, last);
  const int far = clamp(below + 1, first, last);
  return {near, far - near, near == far ? 0 : __float_as_int(position - whole)};
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

template <int Format> __device__ __forceinline__ int3 row_of_yuv(const Image &image, Tap column, int row) {
  const u8 *luma = image.pixels + (u64)row * image.pitch;
  const u8 *chroma = image.chroma + (u64)(row >> 1) * image.chroma_pitch;
  const int far = column.near + (column.weight != 0);
  const int near_pair = column.near & ~1;
  const int far_pair = far & ~1;
  return across(rgb_of_yuv(image, yuv_sample<Format>(luma, column.near), yuv_sample<Format>(chroma, near_pair),
                           yuv_sample<Format>(chroma, near_pair + 1)),
                rgb_of_yuv(image, yuv_sample<Format>(luma, far), yuv_sample<Format>(chroma, far_pair),
                           yuv_sample<Format>(chroma, far_pair + 1)),
                column.weight);
}

template <int Format> __device__ __forceinline__ int3 levels_of_yuv(const Image &image, Tap column, Tap line) {
  const int far = line.near + (line.weight != 0 ? line.step : 0);
  return blend(row_of_yuv<Format>(image, column, line.near), row_of_yuv<Format>(image, column, far), line.weight);
}

// A level of one byte of each pixel; a pixel or a row of weight 0 is not read here either.
__device__ __forceinline__ int level_of_byte(const Image &image, const u8 *first, int pixel_bytes, Tap column, Tap line) {
  const u8 *upper = first + (u64)line.near * image.pitch + column.near * pixel_bytes;
  const u8 *lower = upper + (u64)(line.weight != 0 ? line.step : 0) * image.pitch;
  const int far = column.weight != 0 ? pixel_bytes : 0;
  return blend(across(__ldg(upper), __ldg(upper + far), column.weight),
               across(__ldg(lower), __ldg(lower + far), column.weight), line.weight);
}

__device__ __forceinline__ int3 levels_at(const Image &image, Tap column, Tap line) {
  if (image.format == GREY) {
    const int level = level_of_byte(image, image.pixels, 1, column, line);
    return make_int3(level, level, level);
  }
  return image.format == PIXELS_3   ? levels_of_pixels<3>(image, column, line)
         : image.format == PIXELS_4 ? levels_of_pixels<4>(image, column, line)
         : image.format == NV12     ? levels_of_yuv<NV12>(image, column, line)
                                    : levels_of_yuv<P016>(image, column, line);
}

__device__ __forceinline__ float between(double near, double far, float share) {
  return (float)((double)(float)(1.0 - (double)share) * near + (double)share * far);
}

template <int Channels>
__device__ __forceinline__ float row_of_samples(const Image &image, Tap column, int row, int channel) {
  const double near = sample_of(image, row, column.near, channel, Channels == 1);
  const float share = __int_as_float(column.weight);
  if (share == 0.0f) return (float)near;
  return between(near, sample_of(image, row, column.near + column.step, channel, Channels == 1), share);
}

// A resized sample.
template <int Channels>
__device__ __forceinline__ float sample_between(const Image &image, Tap column, Tap line, int channel) {
  const float upper = row_of_samples<Channels>(image, column, line.near, channel);
  const float share = __int_as_float(line.weight);
  if (share == 0.0f) return upper;
  return between(upper, row_of_samples<Channels>(image, column, line.near + line.step, channel), share);
}

__device__ __forceinline__ float value_of_luma(const Image &image, const float *table, Tap column, Tap line) {
  if (!is_deep(image)) return luma_of(image, table, levels_at(image, column, line));
  return value_of_sample(image, sample_between<1>(image, column, line, 0), __ldg(table + 3), __ldg(table + 1));
}

__device__ __forceinline__ float4 values_of_four(const Image &image, const float *table, Tap column, Tap line) {
  if (!is_deep(image)) {
    const float3 values = values_of(image, table, levels_of_pixels<4>(image, column, line));
    return make_float4(values.x, values.y, values.z, __ldg(table + 768 + level_of_byte(image, image.pixels + 3, 4, column, line)));
  }
  float values[4];
#pragma unroll
  for (int channel = 0; channel < 4; channel++) {
    const float sample = sample_between<4>(image, column, line, source_channel(image, channel));
    values[channel] = value_of_sample(image, sample, __ldg(table + 1028 + channel), __ldg(table + 1032 + channel));
  }
  return make_float4(values[0], values[1], values[2], values[3]);
}

template <typename Element> __device__ __forceinline__ float clipped(const Element *, float value) { return value; }
__device__ __forceinline__ float clipped(const u8 *, float value) { return (float)to_level(value); }

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
    const int at = clamp(content_x, 0, image.content_width - 1);
    columns[lane] = Channels != 3 && is_deep(image)
                        ? sample_tap(at, image.scale_x, image.x, image.first_x, image.last_x, image.reflect)
                        : tap(at, image.scale_x, image.x, image.first_x, image.last_x, image.reflect, true);
  } else if (threadIdx.y == 1 && lane < 16) {
    const int row = clamp(top + lane - image.pad_y, 0, image.content_height - 1);
    lines[lane] = Channels != 3 && is_deep(image)
                      ? sample_tap(row, image.scale_y, image.y, image.first_y, image.last_y, image.reflect)
                      : tap(row, image.scale_y, image.y, image.first_y, image.last_y, image.reflect, false);
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
    if constexpr (Channels == 4) {
      float4 values = shows ? values_of_four(image, table, column, lines[line]) : padding_of_four(table);
      values = make_float4(clipped(output, values.x), clipped(output, values.y), clipped(output, values.z),
                           clipped(output, values.w));
      store_four(target, values, left, y, width, height, vector);
    } else {
      float3 values;
      if (Channels == 1) {
        const float luma = shows ? value_of_luma(image, table, column, lines[line]) : __ldg(table + 2);
        values = make_float3(clipped(output, luma), 0.0f, 0.0f);
      } else {
        values = shows ? values_of(image, table, levels_at(image, column, lines[line])) : padding(table);
      }
      store_pixels<Channels>(target, values, left, y, width, height, vector);
    }
  }
}

extern "C" __global__ void __launch_bounds__(256, 6) preprocess_f32(
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

extern "C" __global__ void __launch_bounds__(256, 4) preprocess_f32_luma(
    float *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<float, 1>(output, images, table, width, height, vector);
}

extern "C" __global__ void __launch_bounds__(256, 4) preprocess_f16_luma(
    f16 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<f16, 1>(output, images, table, width, height, vector);
}

extern "C" __global__ void __launch_bounds__(256, 4) preprocess_u8_luma(
    u8 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<u8, 1>(output, images, table, width, height, vector);
}

extern "C" __global__ void __launch_bounds__(256, 4) preprocess_f32_four(
    float *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<float, 4>(output, images, table, width, height, vector);
}

extern "C" __global__ void __launch_bounds__(256, 4) preprocess_f16_four(
    f16 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<f16, 4>(output, images, table, width, height, vector);
}

extern "C" __global__ void __launch_bounds__(256, 4) preprocess_u8_four(
    u8 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<u8, 4>(output, images, table, width, height, vector);
}
