// Resize with antialias by filters that have lobes below 0: what preprocess_antialias.cu does, and the same parameters and launch.
//
// filter  1 Pillow's BICUBIC, 2 its LANCZOS, with weights in f64, step by step as lobedTaps of src/image/resize-taps.ts
//
// Tolerance: none but for the last bit of LANCZOS' sine, in f64, which weights of 22 bits seldom show.
// CPU reference: src/image/preprocessor.ts.

#include "antialias.cuh"

extern "C" __global__ void __launch_bounds__(256, 2) preprocess_lobed_f32(
    float *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector, int filter) {
  preprocess<float>(output, images, table, width, height, vector, filter);
}

extern "C" __global__ void __launch_bounds__(256, 2) preprocess_lobed_f16(
    f16 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector, int filter) {
  preprocess<f16>(output, images, table, width, height, vector, filter);
}

extern "C" __global__ void __launch_bounds__(256, 2) preprocess_lobed_u8(
    u8 *__restrict__ output, const Image *__restrict__ images, const float *__restrict__ table, int width, int height,
    int vector, int filter) {
  preprocess<u8>(output, images, table, width, height, vector, filter);
}
