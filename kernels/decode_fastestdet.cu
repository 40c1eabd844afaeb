// FastestDet's one grid: centre (cell + tanh t) / cells, size sigmoid t, as fractions of the input;
// score objectness^0.6 × class^0.4 ≥ threshold → append. In f64.
//
// keys, boxes, classes_out, counters  the candidates, see decode.cuh
// selection                           what the caller asks for, in device memory: a captured graph takes changes
// output  [N, 5 + classes, rows, columns], f32 or f16: objectness, tx, ty, tw, th, probabilities
//
// Launch: block (32, 8), a thread 1/8 of a cell's classes; grid (⌈rows · columns / 32⌉, N).
// Tolerance: none but where pow, tanh or exp in f64 differ, one f32 in some hundred million by its last bit.
// CPU reference: src/heads/fastestdet.ts

#include "decode.cuh"

__device__ __forceinline__ double sigmoid(float value) { return 1.0 / (1.0 + exp(-(double)value)); }

extern "C" __global__ void __launch_bounds__(256) decode_fastestdet(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const void *__restrict__ output,
    const Selection *selection, int capacity, int rows, int columns, int classes, int dtype, float width,
    float height) {
  const int image = blockIdx.y;
  const int cells = rows * columns;
  const int cell = blockIdx.x * 32 + threadIdx.x;
  const bool inside = cell < cells;
  const u64 at = (u64)image * (5 + classes) * cells + cell;
  const Best best =
      best_of_planes(classes, inside, [&](int c) { return number_at(output, dtype, at + (u64)(5 + c) * cells); });
  if (threadIdx.y != 0 || !inside) return;
  const float score = (float)(pow((double)number_at(output, dtype, at), 0.6) * pow((double)best.score, 0.4));
  if (score < selection->threshold) return;
  const double x = ((cell % columns) + tanh((double)number_at(output, dtype, at + cells))) / columns;
  const double y = ((cell / columns) + tanh((double)number_at(output, dtype, at + 2 * (u64)cells))) / rows;
  const double half_width = sigmoid(number_at(output, dtype, at + 3 * (u64)cells)) / 2.0;
  const double half_height = sigmoid(number_at(output, dtype, at + 4 * (u64)cells)) / 2.0;
  append(candidates_of(image, keys, boxes, classes_out, counters, capacity), selection, cell,
         make_float4((float)((x - half_width) * width), (float)((y - half_height) * height),
                     (float)((x + half_width) * width), (float)((y + half_height) * height)),
         score, best.class_id);
}
