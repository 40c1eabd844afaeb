// What nvJPEG leaves to be done to the pictures of a batch: see that each was written, and turn it upright.
//
// pictures  Picture [N], below: one a picture, in page-locked host memory that the kernel sees
// target    u8 [height, width, 3], tight rows; all of it is written
// source    u8, the stored picture: pixel (x, y) of the target lies at source + start + x · step_x + y · step_y
//
// jpeg_mark     puts a pattern over the last 48 bytes before decoding, which no picture ends in
// jpeg_inspect  after it: sets `untouched` to 1 where the pattern is still there
// jpeg_orient   copies a picture pixel by pixel
// Launch: jpeg_mark and jpeg_inspect block 64, grid N; jpeg_orient block (32, 8), grid (⌈width / 32⌉, ⌈height / 8⌉).
// Tolerance: none. CPU references: src/image/orientation.ts, test/gpu/nvjpeg/kernels.test.ts

#include "common.cuh"

#define MARK_BYTES 48

// 32 bytes, packed by src/nvjpeg/batch-check.ts.
struct __align__(16) Picture {
  u8 *pixels;        // u8 [height, width, 3], tight rows
  int width, height;
  int untouched;     // written by jpeg_inspect
  int reserved[3];
};

static_assert(sizeof(Picture) == 32, "src/nvjpeg/batch-check.ts packs 32 bytes");

__device__ __forceinline__ u8 pattern(int at) { return (u8)(at * 151 + 89); }

__device__ __forceinline__ u64 byte_length(const Picture &picture) {
  return (u64)picture.width * (u64)picture.height * 3;
}

extern "C" __global__ void __launch_bounds__(64) jpeg_mark(Picture *__restrict__ pictures) {
  const Picture picture = pictures[blockIdx.x];
  const u64 length = byte_length(picture);
  const int count = (int)min(length, (u64)MARK_BYTES);
  const int at = threadIdx.x;
  if (at < count) picture.pixels[length - count + at] = pattern(at);
}

extern "C" __global__ void __launch_bounds__(64) jpeg_inspect(Picture *__restrict__ pictures) {
  const Picture picture = pictures[blockIdx.x];
  const u64 length = byte_length(picture);
  const int count = (int)min(length, (u64)MARK_BYTES);
  const int at = threadIdx.x;
  const int is_kept = at >= count || picture.pixels[length - count + at] == pattern(at);
  const int untouched = __syncthreads_and(is_kept);
  if (at == 0) pictures[blockIdx.x].untouched = untouched;
}

extern "C" __global__ void __launch_bounds__(256) jpeg_orient(u8 *__restrict__ target, const u8 *__restrict__ source,
                                                              int width, int height, int start, int step_x,
                                                              int step_y) {
  const int x = blockIdx.x * 32 + threadIdx.x;
  const int y = blockIdx.y * 8 + threadIdx.y;
  if (x >= width || y >= height) return;
  const u8 *from = source + start + x * step_x + y * step_y;
  u8 *to = target + (y * width + x) * 3;
  to[0] = from[0];
  to[1] = from[1];
  to[2] = from[2];
}
