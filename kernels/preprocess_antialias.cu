// Resize with antialias, pad, colour order and normalisation of u8 images into the input tensor, in one launch:
//   h = clamp((Σ w·pixel + 2^21) >> 22, 0, 255) along each source row, level = clamp((Σ w·h + 2^21) >> 22, 0, 255) down
//   the columns; value = table[level].
//
// The filter is a triangle, Pillow's BILINEAR, with weights in whole numbers: antialiasTaps of src/image/resize-taps.ts.
//
// Parameters and launch are those of preprocess.cu. A block resizes the source rows that its tile needs horizontally,
// 32 at a time, and adds each to the resized rows that it counts for, so that images of any size take the same memory.
// Weights are worked out once a block.
// Tolerance: none. The arithmetic is that of the CPU, in integers up to the table: src/image/preprocessor.ts.

#include "antialias.cuh"

extern "C" __global__ void __launch_bounds__(256) preprocess_antialias_f32(
    float *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<float>(output, images, table, width, height, vector, 0);
}

extern "C" __global__ void __launch_bounds__(256) preprocess_antialias_f16(
    f16 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<f16>(output, images, table, width, height, vector, 0);
}

extern "C" __global__ void __launch_bounds__(256) preprocess_antialias_u8(
    u8 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector) {
  preprocess<u8>(output, images, table, width, height, vector, 0);
}
