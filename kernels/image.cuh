// What the kernels of pre-processing share: the table of images, how pixels are read, and how values are stored.
//
// Both take a tile of 32 × 16 pixels of the input a block of 32 × 8 threads: a warp takes 32 pixels of a row, so that
// reads and writes of its lanes are neighbours; a thread takes two rows, 8 apart.
// NV12 is converted pixel by pixel before the resize: test/support/reference/nv12.ts. P016 is NV12 of 16 bits, rounded to 8 first.
#pragma once

#include "common.cuh"

// Formats of an image. Three or four interleaved bytes a pixel; a plane of Y and one of interleaved U, V by 2 × 2, of 8 bits or of
// 16; one byte a pixel; one or four samples of 16 bits, the lower byte first, at addresses of any alignment.
#define PIXELS_3 0
#define PIXELS_4 1
#define NV12 2
#define P016 3
#define GREY 4
#define GREY_16 5
#define PIXELS_16 6

// A region of an image; 160 bytes, packed by src/accelerators/tensorrt/preprocess.ts.
struct __align__(16) Image {
  const u8 *pixels;         // first row: interleaved pixels, or the Y plane
  const u8 *chroma;         // U, V plane of NV12 and P016
  int pitch;                // bytes between rows of `pixels`
  int chroma_pitch;         // bytes between rows of `chroma`
  int x, y;                 // the region's first pixel; it may lie outside the image
  int width, height;        // of the region in pixels of the image
  int first_x, first_y;     // pixels of the image that are looked at: up to the last ones
  int last_x, last_y;
  int content_width, content_height;  // size of the resized region
  int pad_x, pad_y;         // input pixels left of and above it; negative where the input begins within it
  int left, top;            // input pixels that show the image, up to before `right` and `bottom`; the rest is padding
  int right, bottom;
  int format;
  int reflect;              // 1 if the image is mirrored at its edges; not resized then
  int swap;                 // 1 if the source's channels run against the tensor's; NV12 gives R, G, B
  // NV12 to RGB in 16-bit fixed point: R = (y·(Y − y_offset) + v_red·(V − 128)) and so on.
  int y_offset, y_scale, v_red, u_green, v_green, u_blue;
  int unused;
  double scale_x, scale_y;  // source pixels a pixel of the content: 1 / (content / source)
  double black, per_level;  // the sample of 16 bits that is level 0, and 255 / (that of level 255 less it)
};

static_assert(sizeof(Image) == 160, "src/accelerators/tensorrt/preprocess.ts packs 160 bytes");

// Up to 8 bytes from an address of any alignment, as whole words; no word without a wanted byte is read.
__device__ __forceinline__ uint2 bytes_at(const u8 *address, int count) {
  const u32 skip = (u32)(u64)address & 3u;
  const u32 *word = (const u32 *)(address - skip);
  const int end = count == 0 ? 0 : (int)skip + count;
  const u32 first = end > 0 ? __ldg(word) : 0u;
  const u32 second = end > 4 ? __ldg(word + 1) : 0u;
  const u32 third = end > 8 ? __ldg(word + 2) : 0u;
  return make_uint2(__funnelshift_r(first, second, skip * 8), __funnelshift_r(second, third, skip * 8));
}

__device__ __forceinline__ int byte_of(u32 word, int at) { return (word >> (at * 8)) & 255; }

// A sample of a row of NV12; of P016 rounded to 8 bits.
template <int Format> __device__ __forceinline__ int yuv_sample(const u8 *row, int at) {
  if (Format == NV12) return __ldg(row + at);
  return min((int)(__ldg(row + at * 2) + (__ldg(row + at * 2 + 1) << 8) + 128) >> 8, 255);
}

__device__ __forceinline__ int3 rgb_of_yuv(const Image &image, int luma, int u, int v) {
  const int y = max(luma - image.y_offset, 0) * image.y_scale + 32768;
  u -= 128;
  v -= 128;
  return make_int3(clamp((y + image.v_red * v) >> 16, 0, 255),
                   clamp((y + image.u_green * u + image.v_green * v) >> 16, 0, 255),
                   clamp((y + image.u_blue * u) >> 16, 0, 255));
}

// The value of the luma of a pixel's levels: lumaLine of src/image/preprocessing.ts. Below 2^24: exact as f32.
__device__ __forceinline__ float luma_of(const Image &image, const float *table, int3 levels) {
  const int red = image.swap ? levels.z : levels.x;
  const int blue = image.swap ? levels.x : levels.z;
  return on_line((float)(red * 19595 + levels.y * 38470 + blue * 7471), __ldg(table), __ldg(table + 1));
}

// True for samples of 16 bits.
__device__ __forceinline__ bool is_deep(const Image &image) { return image.format >= GREY_16; }

__device__ __forceinline__ u32 sample_at(const u8 *address) { return __ldg(address) | (u32)__ldg(address + 1) << 8; }

// A sample of 16 bits; of a tensor of one channel the luma of a pixel of four.
__device__ __forceinline__ double sample_of(const Image &image, int row, int x, int channel, bool is_luma) {
  const u8 *line = image.pixels + (u64)row * image.pitch;
  if (image.format == GREY_16) return sample_at(line + (u64)x * 2);
  const u8 *pixel = line + (u64)x * 8;
  if (!is_luma) return sample_at(pixel + channel * 2);
  return (sample_at(pixel) * 19595u + sample_at(pixel + 2) * 38470u + sample_at(pixel + 4) * 7471u) / 65536.0;
}

// The value of a resized sample: its level keeps its fraction, and is cut to 0–255. SampleResizer of src/image/samples.ts.
__device__ __forceinline__ float value_of_sample(const Image &image, float sample, float slope, float offset) {
  const double level = fmin(fmax(((double)sample - image.black) * image.per_level, 0.0), 255.0);
  return __fadd_rn((float)(level * (double)slope), offset);
}

// The channel of a pixel of four that a channel of the tensor shows.
__device__ __forceinline__ int source_channel(const Image &image, int channel) {
  return image.swap && channel < 3 ? 2 - channel : channel;
}

// True if a pixel of the input shows the image.
__device__ __forceinline__ bool is_content(const Image &image, int x, int y) {
  return x >= image.left && x < image.right && y >= image.top && y < image.bottom;
}

// The values of padding, by tensor channel; `table` as the kernels get it.
__device__ __forceinline__ float3 padding(const float *table) {
  return make_float3(__ldg(table + 768), __ldg(table + 769), __ldg(table + 770));
}

// Likewise of four channels, whose table is longer.
__device__ __forceinline__ float4 padding_of_four(const float *table) {
  return make_float4(__ldg(table + 1024), __ldg(table + 1025), __ldg(table + 1026), __ldg(table + 1027));
}

// The values of a pixel's levels, by tensor channel.
__device__ __forceinline__ float3 values_of(const Image &image, const float *table, int3 levels) {
  const int first = image.swap ? levels.z : levels.x;
  const int third = image.swap ? levels.x : levels.z;
  return make_float3(__ldg(table + first), __ldg(table + 256 + levels.y), __ldg(table + 512 + third));
}

__device__ __forceinline__ void store(float *output, u64 at, float value) { output[at] = value; }
__device__ __forceinline__ void store(f16 *output, u64 at, float value) { output[at] = to_f16(value); }
__device__ __forceinline__ void store(u8 *output, u64 at, float value) { output[at] = (u8)__float2int_rn(value); }

// Element `at` of the 96 values that the 32 lanes of a warp hold, three a lane.
__device__ __forceinline__ float element_of_warp(float3 values, int at) {
  const int lane = at / 3;
  const float first = __shfl_sync(0xffffffffu, values.x, lane);
  const float second = __shfl_sync(0xffffffffu, values.y, lane);
  const float third = __shfl_sync(0xffffffffu, values.z, lane);
  const int channel = at - lane * 3;
  return channel == 0 ? first : channel == 1 ? second : third;
}

// The 16 bytes of a pixel whose channels lie side by side, with 0 behind them.
__device__ __forceinline__ uint4 padded(const float *, float3 values) {
  return make_uint4(__float_as_uint(values.x), __float_as_uint(values.y), __float_as_uint(values.z), 0);
}
__device__ __forceinline__ uint4 padded(const f16 *, float3 values) {
  return make_uint4(to_f16(values.x) | (u32)to_f16(values.y) << 16, to_f16(values.z), 0, 0);
}
__device__ __forceinline__ uint4 padded(const u8 *, float3 values) {
  return make_uint4(__float2int_rn(values.x) | __float2int_rn(values.y) << 8 | __float2int_rn(values.z) << 16, 0, 0, 0);
}

__device__ __forceinline__ uint4 padded(const float *, float4 values) {
  return make_uint4(__float_as_uint(values.x), __float_as_uint(values.y), __float_as_uint(values.z),
                    __float_as_uint(values.w));
}
__device__ __forceinline__ uint4 padded(const f16 *, float4 values) {
  return make_uint4(to_f16(values.x) | (u32)to_f16(values.y) << 16, to_f16(values.z) | (u32)to_f16(values.w) << 16, 0, 0);
}
__device__ __forceinline__ uint4 padded(const u8 *, float4 values) {
  return make_uint4(__float2int_rn(values.x) | __float2int_rn(values.y) << 8 | __float2int_rn(values.z) << 16 |
                        (u32)__float2int_rn(values.w) << 24,
                    0, 0, 0);
}

// Elements of a row of the batch: the channels fill vectors.
template <int Channels> __device__ __forceinline__ u64 row_length(int width, int height, int vector) {
  const int stored = vector == 1 ? Channels : (Channels + vector - 1) / vector * vector;
  return (u64)width * height * stored;
}

// Store a pixel a lane, of row `y` from pixel `left` on, with 0 where the channels fill no vector; of fewer than three channels
// the others are 0. All lanes of the warp take part.
template <int Channels, typename Element>
__device__ __forceinline__ void store_pixels(Element *image, float3 values, int left, int y, int width, int height,
                                             int vector) {
  const int lane = threadIdx.x;
  if (Channels == 3 && vector == 3) {
    // [y, left, 0] onwards is one run of 96 elements: each store of the warp writes 32 of them side by side.
    const u64 start = ((u64)y * width + left) * 3;
    const int count = min(32, width - left) * 3;
#pragma unroll
    for (int part = 0; part < 3; part++) {
      const int at = part * 32 + lane;
      const float value = element_of_warp(values, at);
      if (at < count) store(image, start + at, value);
    }
    return;
  }
  if (left + lane >= width) return;
  const u32 plane = (u32)width * height;
  const u32 at = (u32)y * width + left + lane;
  if (vector == 1) {
    store(image, at, values.x);
    if (Channels == 1) return;
    store(image, at + plane, values.y);
    store(image, at + 2 * plane, values.z);
    return;
  }
  const u32 bytes = vector * (u32)sizeof(Element);
  if (bytes % 16 == 0) {
    uint4 *pixel = (uint4 *)(image + at * vector);
    pixel[0] = padded(image, values);
#pragma unroll 1
    for (u32 word = 1; word < bytes / 16; word++) pixel[word] = make_uint4(0, 0, 0, 0);
    return;
  }
#pragma unroll 1
  for (int first = 0; first < Channels; first += vector) {
    Element *pixel = image + (first / vector * plane + at) * vector;
#pragma unroll 1
    for (int part = 0; part < vector; part++) {
      const int channel = first + part;
      store(pixel, part, channel == 0 ? values.x : channel == 1 ? values.y : channel == 2 ? values.z : 0.0f);
    }
  }
}

// The same of four channels, whose vectors are never of three.
template <typename Element>
__device__ __forceinline__ void store_four(Element *image, float4 values, int left, int y, int width, int height,
                                           int vector) {
  const int x = left + threadIdx.x;
  if (x >= width) return;
  const u32 plane = (u32)width * height;
  const u32 at = (u32)y * width + x;
  const u32 bytes = vector * (u32)sizeof(Element);
  if (bytes % 16 == 0) {
    uint4 *pixel = (uint4 *)(image + at * vector);
    pixel[0] = padded(image, values);
#pragma unroll 1
    for (u32 word = 1; word < bytes / 16; word++) pixel[word] = make_uint4(0, 0, 0, 0);
    return;
  }
  const int stored = max(vector, 4);
#pragma unroll 1
  for (int channel = 0; channel < stored; channel++) {
    const float value = channel == 0   ? values.x
                        : channel == 1 ? values.y
                        : channel == 2 ? values.z
                        : channel == 3 ? values.w
                                       : 0.0f;
    store(image, (channel / vector * plane + at) * vector + channel % vector, value);
  }
}
