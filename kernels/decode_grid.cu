// YOLOX's undecoded grid: centre (t + cell) × stride, size exp(t) × stride, score objectness × class; score ≥ threshold
// → append. In f32, the exponential in f64 and rounded.
//
// keys, boxes, classes_out, counters  the candidates, see decode.cuh
// selection                           what the caller asks for, in device memory: a captured graph takes changes
// output  [N, cells, 5 + classes], f32 or f16 as the entry says; a launch takes the `columns` × `rows` cells of one stride,
//         which lie from row `first` on
//
// Launch: a stride each; block (32, 8), a warp a cell; grid (⌈columns · rows / 8⌉, N).
// Tolerance: none but where exp in f64 differs, one f32 in some hundred million by its last bit.
// CPU reference: src/model/decode/grid.ts

#include "decode.cuh"

template <typename Element>
__device__ __forceinline__ void grid(const Candidates &candidates, const Element *__restrict__ output,
                                     const Selection *selection, int cells, int first, int columns, int rows,
                                     int classes, float stride) {
  const int cell = blockIdx.x * 8 + threadIdx.y;
  if (cell >= columns * rows) return;
  const int index = first + cell;
  const Element *row = output + ((u64)blockIdx.y * cells + index) * (5 + classes);
  Best best;
  if (!score_row(row, classes, 5, SCORE_PRODUCT, selection->threshold, &best) || threadIdx.x != 0) return;
  const float x = (from_element(row[0]) + (float)(cell % columns)) * stride;
  const float y = (from_element(row[1]) + (float)(cell / columns)) * stride;
  const float width = (float)exp((double)from_element(row[2])) * stride;
  const float height = (float)exp((double)from_element(row[3])) * stride;
  append(candidates, selection, index, corners(x, y, width, height), best.score, best.class_id);
}

extern "C" __global__ void __launch_bounds__(256) decode_grid_f32(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const float *__restrict__ output,
    const Selection *selection, int capacity, int cells, int first, int columns, int rows, int classes, float stride) {
  grid(candidates_of(blockIdx.y, keys, boxes, classes_out, counters, capacity), output, selection, cells, first,
       columns, rows, classes, stride);
}

extern "C" __global__ void __launch_bounds__(256) decode_grid_f16(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const f16 *__restrict__ output,
    const Selection *selection, int capacity, int cells, int first, int columns, int rows, int classes, float stride) {
  grid(candidates_of(blockIdx.y, keys, boxes, classes_out, counters, capacity), output, selection, cells, first,
       columns, rows, classes, stride);
}
