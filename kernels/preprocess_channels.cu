// Resize with antialias into tensors of one channel or four: what preprocess_antialias.cu and preprocess_lobed.cu do for three.
//
// Parameters and launch are those of preprocess.cu, whose table it reads, and beside them
// channels  1 for luma, or 4
// filter    0 a triangle, Pillow's BILINEAR; 1 its BICUBIC, 2 its LANCZOS: antialias.cuh
//
// Of samples of 16 bits: h = Σ w·sample / 2^22 along each source row, Σ w·h / 2^22 down the columns, each rounded to f32.
// A thread resizes its pixels by themselves, without what its neighbours have: such inputs are small and few. Weights are worked
// out once a block, where an axis has at most so many taps as there is room for.
// Tolerance: none but for the last bit of LANCZOS' sine. CPU reference: src/image/preprocessor.ts, src/image/samples.ts.

#include "antialias.cuh"

#define MOST_TAPS 64

// The taps of one axis of a block: windows of its pixels, and their weights [tap, pixel] where there is room.
struct Taps {
  const Axis &axis;
  const Window *windows;
  const int *weights;
  int pixels;
  bool is_kept;

  __device__ __forceinline__ int weight(int at, int pixel) const {
    return is_kept ? weights[(pixel - windows[at].first) * pixels + at] : weight_of(axis, windows[at], pixel);
  }
};

// A channel of a pixel, counted in the image.
__device__ __forceinline__ int byte_of_pixel(const Image &image, int row, int x, int channel) {
  if (image.format == GREY) return __ldg(image.pixels + (u64)row * image.pitch + x);
  if (image.format == NV12 || image.format == P016) {
    const bool is_nv12 = image.format == NV12;
    const int3 rgb = is_nv12 ? rgb_of_planes<NV12>(image, row, x) : rgb_of_planes<P016>(image, row, x);
    return channel == 0 ? rgb.x : channel == 1 ? rgb.y : rgb.z;
  }
  const int pixel_bytes = image.format == PIXELS_3 ? 3 : 4;
  return __ldg(image.pixels + (u64)row * image.pitch + (u64)x * pixel_bytes + channel);
}

// A resized sample of 16 bits, or a resized level. Pixels of the windows count from the region's first one.
__device__ __forceinline__ float filtered(const Image &image, const Taps &across, const Taps &down, int column, int line,
                                          int channel, bool is_luma) {
  const Window &columns = across.windows[column];
  const Window &lines = down.windows[line];
  const double whole = 1 << WEIGHT_BITS;
  const bool deep = is_deep(image);
  double samples = 0.0;
  int levels = HALF_LEVEL;
#pragma unroll 1
  for (int row = lines.first; row < lines.end; row++) {
    double row_samples = 0.0;
    int row_levels = HALF_LEVEL;
#pragma unroll 1
    for (int x = columns.first; x < columns.end; x++) {
      const int weight = across.weight(column, x);
      if (deep) row_samples += weight * sample_of(image, image.y + row, image.x + x, channel, is_luma);
      else row_levels += weight * byte_of_pixel(image, image.y + row, image.x + x, channel);
    }
    const int weight = down.weight(line, row);
    if (deep) samples += weight * (double)(float)(row_samples / whole);
    else levels += weight * level_of(row_levels);
  }
  return deep ? (float)(samples / whole) : (float)level_of(levels);
}

// The value of a channel of the tensor.
__device__ __forceinline__ float filtered_value(const Image &image, const float *table, const Taps &across,
                                                const Taps &down, int column, int line, int channel, bool is_luma) {
  const bool is_mixed = is_luma && !is_deep(image) && image.format != GREY;
  float found = 0.0f;
  int luma = 0;
#pragma unroll 1
  for (int part = 0; part < (is_mixed ? 3 : 1); part++) {
    const int source = is_luma ? part : source_channel(image, channel);
    found = filtered(image, across, down, column, line, source, is_luma);
    const int share = part == 1 ? 38470 : (part == 0) != (image.swap != 0) ? 19595 : 7471;
    if (!is_deep(image)) luma += (int)found * (is_mixed ? share : 65536);
  }
  if (is_deep(image)) {
    const int slope = is_luma ? 3 : 1028 + channel;
    return value_of_sample(image, found, __ldg(table + slope), __ldg(table + (is_luma ? 1 : 1032 + channel)));
  }
  return is_luma ? on_line((float)luma, __ldg(table), __ldg(table + 1)) : __ldg(table + channel * 256 + (int)found);
}

// A value of any dtype as it is stored: bytes are cut.
__device__ __forceinline__ void store_cut(float *output, u64 at, float value) { store(output, at, value); }
__device__ __forceinline__ void store_cut(f16 *output, u64 at, float value) { store(output, at, value); }
__device__ __forceinline__ void store_cut(u8 *output, u64 at, float value) { output[at] = to_level(value); }

template <typename Element>
__device__ __forceinline__ void preprocess_channels(Element *__restrict__ output, const Image *__restrict__ images,
                                                    const float *__restrict__ table, int width, int height, int vector,
                                                    int channels, int filter) {
  __shared__ Window columns[32];
  __shared__ Window lines[LINES];
  __shared__ int column_weights[MOST_TAPS * 32];
  __shared__ int line_weights[MOST_TAPS * LINES];
  const Image image = images[blockIdx.z];
  const int lane = threadIdx.x;
  const int warp = threadIdx.y;
  const int left = blockIdx.x * 32;
  const int top = blockIdx.y * LINES;
  const Axis across_axis = axis_of(image.width, image.content_width, image.x, image.first_x, image.last_x, filter);
  const Axis down_axis = axis_of(image.height, image.content_height, image.y, image.first_y, image.last_y, filter);
  const int column_taps = most_taps_of(across_axis);
  const int line_taps = most_taps_of(down_axis);
  const Taps across = {across_axis, columns, column_weights, 32, column_taps <= MOST_TAPS};
  const Taps down = {down_axis, lines, line_weights, LINES, line_taps <= MOST_TAPS};

  // All conditions around a barrier are the same for all threads of the block.
  const bool has_content = left < image.right && left + 32 > image.left && top < image.bottom &&
                           top + LINES > image.top;
  if (has_content) {
    if (warp == 0) {
      columns[lane] = window_of(across_axis, clamp(left + lane, image.left, image.right - 1) - image.pad_x);
    } else if (warp == 1 && lane < LINES) {
      lines[lane] = window_of(down_axis, clamp(top + lane, image.top, image.bottom - 1) - image.pad_y);
    }
    __syncthreads();
    if (across.is_kept) {
#pragma unroll 1
      for (int tap = warp; tap < column_taps; tap += WARPS) {
        column_weights[tap * 32 + lane] = weight_of(across_axis, columns[lane], columns[lane].first + tap);
      }
    }
    if (down.is_kept && lane < LINES) {
#pragma unroll 1
      for (int tap = warp; tap < line_taps; tap += WARPS) {
        line_weights[tap * LINES + lane] = weight_of(down_axis, lines[lane], lines[lane].first + tap);
      }
    }
    __syncthreads();
  }

  const int stored = vector == 1 ? channels : (channels + vector - 1) / vector * vector;
  const u64 plane = (u64)width * height;
  Element *target = output + plane * stored * blockIdx.z;
  const int x = left + lane;
  if (x >= width) return;
#pragma unroll 1
  for (int half = 0; half < 2; half++) {
    const int line = half * WARPS + warp;
    const int y = top + line;
    if (y >= height) return;
    const bool shows = is_content(image, x, y);
#pragma unroll 1
    for (int channel = 0; channel < stored; channel++) {
      float value = 0.0f;
      if (channel < channels) {
        if (!shows) value = __ldg(table + (channels == 1 ? 2 : 1024 + channel));
        else value = filtered_value(image, table, across, down, lane, line, channel, channels == 1);
      }
      store_cut(target, (channel / vector * plane + (u64)y * width + x) * vector + channel % vector, value);
    }
  }
}

extern "C" __global__ void __launch_bounds__(256, 2) preprocess_channels_f32(
    float *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector, int channels, int filter) {
  preprocess_channels<float>(output, images, table, width, height, vector, channels, filter);
}

extern "C" __global__ void __launch_bounds__(256, 2) preprocess_channels_f16(
    f16 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector, int channels, int filter) {
  preprocess_channels<f16>(output, images, table, width, height, vector, channels, filter);
}

extern "C" __global__ void __launch_bounds__(256, 2) preprocess_channels_u8(
    u8 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector, int channels, int filter) {
  preprocess_channels<u8>(output, images, table, width, height, vector, channels, filter);
}
