// What an image model makes of tiles, put together: `place` writes the part of each output that is kept into the image that is
// made. Tiles are regions on their way in: preprocess.cu.
//
// frame   Frame [1], below: the image and what is made of it
// tiles   Tile [N], below: one a row of the batch
// phases  i32 [scale, 5]: offset of the first of four taps, and their weights in 1/2048
// tensor  [N, channels, height, width] of the entry's dtype, scale times as wide and high
// vector  channels of the tensor that lie side by side: 1 for planes, 3 for NHWC; see vectorVolume of src/core/tensor.ts
// width, height  of a tile in source pixels
//
// Launch: block (32, 8), grid (ceil(columns / 32), ceil(rows / 8), N) over the pixels of the tensor.
// Tolerance: none. The CPU's bits: src/tasks/image/tile-placer.ts.

#include "common.cuh"

// What the channels of a tensor are: CHANNEL_CODES of src/tasks/image/cuda-image.ts.
#define COLOUR_RGB 0
#define COLOUR_BGR 1
#define LUMA 2
#define GREY 3

// 48 bytes, packed by src/tasks/image/image-memory.ts.
struct __align__(16) Frame {
  const u8 *pixels;        // u8 [height, width, pixel_bytes], rows `pitch` bytes apart
  u8 *result;              // the same, scale times as large, rows `result_pitch` bytes apart
  int pitch, result_pitch;
  int width, height;       // of the source in pixels
  int pixel_bytes;         // 3, or 4 with alpha
  int bgr;                 // 1 if the first byte of a pixel is blue, in both images
  int unused[2];
};

// 32 bytes, packed by the same: places in source pixels; see Tile of src/tasks/image-grid.ts.
struct __align__(16) Tile {
  int x, y, left, top, right, bottom, unused[2];
};

static_assert(sizeof(Frame) == 48 && sizeof(Tile) == 32, "src/tasks/image/image-memory.ts packs 48 and 32 bytes");

__device__ __forceinline__ float from_element(u8 value) { return (float)value; }

// One level of the enlarged source in 1/64, from 4 × 4 pixels: rows are weighed first, as the CPU does.
__device__ __forceinline__ int enlarged(const Frame &frame, const u64 (&rows)[4], const int (&columns)[4],
                                        const int *__restrict__ across, const int *__restrict__ down, int channel) {
  int sum = 0;
#pragma unroll
  for (int tap = 0; tap < 4; tap++) {
    const u8 *pixel = frame.pixels + columns[tap] + channel;
    int weighed = 0;
#pragma unroll
    for (int line = 0; line < 4; line++) weighed += (int)__ldg(pixel + rows[line]) * __ldg(down + 1 + line);
    sum += ((weighed + 16) >> 5) * __ldg(across + 1 + tap);
  }
  return (sum + 1024) >> 11;
}

__device__ __forceinline__ u8 level_of(int value) { return (u8)clamp((value + 32) >> 6, 0, 255); }

// Element of a channel of the tensor from an image's first one on.
__device__ __forceinline__ u64 element_of(int channel, int vector, u64 area, u64 at) {
  const int part = channel / vector;
  return (part * area + at) * vector + (channel - part * vector);
}

template <typename Element>
__device__ __forceinline__ void place(const Frame *__restrict__ frames, const Tile *__restrict__ tiles,
                                      const Element *__restrict__ tensor, const int *__restrict__ phases, int width,
                                      int height, int scale, int channels, int vector, float slope0, float offset0,
                                      float slope1, float offset1, float slope2, float offset2) {
  const Frame frame = frames[0];
  const Tile tile = tiles[blockIdx.z];
  const int wide = width * scale;
  const int high = height * scale;
  const int column = blockIdx.x * 32 + threadIdx.x;
  const int row = blockIdx.y * 8 + threadIdx.y;
  if (column >= wide || row >= high) return;
  // Of the image that is made.
  const int x = tile.x * scale + column;
  const int y = tile.y * scale + row;
  if (x < tile.left * scale || x >= tile.right * scale || y < tile.top * scale || y >= tile.bottom * scale) return;
  u8 *pixel = frame.result + (u64)y * frame.result_pitch + (u64)x * frame.pixel_bytes;
  const u64 area = (u64)wide * high;
  const u64 at = (u64)row * wide + column;
  const int stored = channels == LUMA || channels == GREY ? 1 : 3;
  const Element *values = tensor + area * ((stored + vector - 1) / vector * vector) * blockIdx.z;

  const int base_x = x / scale;
  const int base_y = y / scale;
  const int *across = phases + (x - base_x * scale) * 5;
  const int *down = phases + (y - base_y * scale) * 5;
  u64 rows[4];
  int columns[4];
  if (channels == LUMA || frame.pixel_bytes == 4) {
#pragma unroll
    for (int tap = 0; tap < 4; tap++) {
      rows[tap] = (u64)clamp(base_y + __ldg(down) + tap, 0, frame.height - 1) * frame.pitch;
      columns[tap] = clamp(base_x + __ldg(across) + tap, 0, frame.width - 1) * frame.pixel_bytes;
    }
    if (frame.pixel_bytes == 4) pixel[3] = level_of(enlarged(frame, rows, columns, across, down, 3));
  }

  if (channels == LUMA) {
    // R, G and B of the enlarged source, each moved by what its luma lacks.
    const float value = on_line(from_element(values[at * vector]), slope0, offset0);
    const int wanted = __float2int_rn((value > 0.0f ? fminf(value, 255.0f) : 0.0f) * 64.0f);
    const int first = enlarged(frame, rows, columns, across, down, 0);
    const int second = enlarged(frame, rows, columns, across, down, 1);
    const int third = enlarged(frame, rows, columns, across, down, 2);
    const int red = frame.bgr ? third : first;
    const int blue = frame.bgr ? first : third;
    const int more = wanted - ((red * 19595 + second * 38470 + blue * 7471 + 32768) >> 16);
    pixel[0] = level_of(first + more);
    pixel[1] = level_of(second + more);
    pixel[2] = level_of(third + more);
    return;
  }
  if (channels == GREY) {
    const u8 level = to_level(on_line(from_element(values[at * vector]), slope0, offset0));
    pixel[0] = level;
    pixel[1] = level;
    pixel[2] = level;
    return;
  }
  const bool swapped = (frame.bgr != 0) != (channels == COLOUR_BGR);
  const u8 value0 = to_level(on_line(from_element(values[at * vector]), slope0, offset0));
  const u8 value1 = to_level(on_line(from_element(values[element_of(1, vector, area, at)]), slope1, offset1));
  const u8 value2 = to_level(on_line(from_element(values[element_of(2, vector, area, at)]), slope2, offset2));
  pixel[0] = swapped ? value2 : value0;
  pixel[1] = value1;
  pixel[2] = swapped ? value0 : value2;
}

extern "C" __global__ void __launch_bounds__(256) transform_place_f32(
    const Frame *__restrict__ frame, const Tile *__restrict__ tiles, const float *__restrict__ tensor,
    const int *__restrict__ phases, int width, int height, int scale, int channels, int vector, float slope0,
    float offset0, float slope1, float offset1, float slope2, float offset2) {
  place(frame, tiles, tensor, phases, width, height, scale, channels, vector, slope0, offset0, slope1, offset1, slope2,
        offset2);
}

extern "C" __global__ void __launch_bounds__(256) transform_place_f16(
    const Frame *__restrict__ frame, const Tile *__restrict__ tiles, const f16 *__restrict__ tensor,
    const int *__restrict__ phases, int width, int height, int scale, int channels, int vector, float slope0,
    float offset0, float slope1, float offset1, float slope2, float offset2) {
  place(frame, tiles, tensor, phases, width, height, scale, channels, vector, slope0, offset0, slope1, offset1, slope2,
        offset2);
}

extern "C" __global__ void __launch_bounds__(256) transform_place_u8(
    const Frame *__restrict__ frame, const Tile *__restrict__ tiles, const u8 *__restrict__ tensor,
    const int *__restrict__ phases, int width, int height, int scale, int channels, int vector, float slope0,
    float offset0, float slope1, float offset1, float slope2, float offset2) {
  place(frame, tiles, tensor, phases, width, height, scale, channels, vector, slope0, offset0, slope1, offset1, slope2,
        offset2);
}
