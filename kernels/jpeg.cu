// What nvJPEG leaves to be done to the images of a batch: see that each was written, and turn it upright.
//
// images  Image [N], below: one an image, in page-locked host memory that the kernel sees
// target    u8 [height, width, 3], tight rows; all of it is written
// source    u8, the stored image: pixel (x, y) of the target lies at source + start + x · step_x + y · step_y
//
// jpeg_mark     puts a pattern over the last 48 bytes before decoding, which no image ends in
// jpeg_inspect  after it: sets `untouched` to 1 where the pattern is still there
// jpeg_orient   copies an image pixel by pixel
// Launch: jpeg_mark and jpeg_inspect block 64, grid N; jpeg_orient block (32, 8), grid (⌈width / 32⌉, ⌈height / 8⌉).
// Tolerance: none. CPU references: src/image/exif.ts, test/gpu/nvjpeg/kernels.test.ts

#include "common.cuh"

#define MARK_BYTES 48

// 32 bytes, packed by src/nvjpeg/batch-check.ts.
struct __align__(16) Image {
  u8 *pixels;        // u8 [height, width, 3], tight rows
  int width, height;
  int untouched;     // written by jpeg_inspect
  int reserved[3];
};

static_assert(sizeof(Image) == 32, "src/nvjpeg/batch-check.ts packs 32 bytes");

__device__ __forceinline__ u8 pattern(int at) { return (u8)(at * 151 + 89); }

__device__ __forceinline__ u64 byte_length(const Image &image) {
  return (u64)image.width * (u64)image.height * 3;
}

extern "C" __global__ void __launch_bounds__(64) jpeg_mark(Image *__restrict__ images) {
  const Image image = images[blockIdx.x];
  const u64 length = byte_length(image);
  const int count = (int)min(length, (u64)MARK_BYTES);
  const int at = threadIdx.x;
  if (at < count) image.pixels[length - count + at] = pattern(at);
}

extern "C" __global__ void __launch_bounds__(64) jpeg_inspect(Image *__restrict__ images) {
  const Image image = images[blockIdx.x];
  const u64 length = byte_length(image);
  const int count = (int)min(length, (u64)MARK_BYTES);
  const int at = threadIdx.x;
  const int is_kept = at >= count || image.pixels[length - count + at] == pattern(at);
  const int untouched = __syncthreads_and(is_kept);
  if (at == 0) images[blockIdx.x].untouched = untouched;
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
