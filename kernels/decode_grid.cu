// YOLOX's undecoded grid: centre (t + cell) × stride, size exp(t) × stride, score objectness × class; score ≥ threshold
// → append. In f32, the exponential in f64 and rounded. A row that is kept and holds neither offsets nor logarithms is a fault.
//
// keys, boxes, classes_out, counters  the candidates, see decode.cuh
// selection                           what the caller asks for, in device memory: a captured graph takes changes
// output  [N, cells, 5 + classes], f32 or f16 as the entry says; a launch takes the `columns` × `rows` cells of one stride,
//         which lie from row `first` on
//
// Launch: a stride each; block (32, 8), a warp a cell; grid (⌈columns · rows / 8⌉, N).
// Tolerance: none but where exp in f64 differs, one f32 in some hundred million by its last bit.
// CPU reference: src/heads/yolox.ts

#include "decode.cuh"

// The logarithm of a size in cells that is none; what is infinite is dropped and counted.
__device__ __forceinline__ bool is_too_large(float logarithm) { return logarithm > 9.0f && is_finite(logarithm); }

// A centre, in cells, that lies further out than the grid is long.
__device__ __forceinline__ bool is_far_out(float centre, int cells) {
  return (centre < -(float)cells || centre > 2.0f * (float)cells) && is_finite(centre);
}

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
  const float4 values = make_float4(from_element(row[0]), from_element(row[1]), from_element(row[2]),
                                    from_element(row[3]));
  const float x = values.x + (float)(cell % columns);
  const float y = values.y + (float)(cell / columns);
  const float fault = is_too_large(values.z)    ? values.z
                      : is_too_large(values.w)  ? values.w
                      : is_far_out(x, columns)  ? values.x
                      : is_far_out(y, rows)     ? values.y
                                                : 0.0f;
  if (fault != 0.0f) {
    candidates.counters->fault = FAULT_GRID;
    candidates.counters->fault_value = fault;
    return;
  }
  const float width = (float)exp((double)values.z) * stride;
  const float height = (float)exp((double)values.w) * stride;
  append(candidates, selection, index, corners(x * stride, y * stride, width, height), best.score, best.class_id);
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
