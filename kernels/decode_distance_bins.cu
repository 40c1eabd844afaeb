// NanoDet's maps: a side's distance is the mean of the bins 0, 1, 2, … by the softmax of their logits, × stride, from
// the cell's centre (cell + 0.5) × stride; score ≥ threshold → append. Softmax in f64.
//
// keys, boxes, classes_out, counters  the candidates, see decode.cuh
// selection                           what the caller asks for, in device memory: a captured graph takes changes
// class_map     [N, cells, classes], distance_map [N, cells, 4 · bins] of one stride, f32 or f16; its cells are
//               numbered from `first` on
//
// Launch: a stride each; block (32, 8), a warp a cell; grid (⌈cells / 8⌉, N).
// Tolerance: none but where exp in f64 differs, one f32 in some hundred million by its last bit.
// CPU reference: src/heads/distance-maps.ts

#include "decode.cuh"

// Mean of the bins 0, 1, 2, … weighted by the softmax of their logits.
__device__ __forceinline__ float mean_bin(const void *distances, int dtype, u64 at, int bins) {
  float highest = number_at(distances, dtype, at);
  for (int bin = 1; bin < bins; bin++) {
    const float logit = number_at(distances, dtype, at + bin);
    if (logit > highest) highest = logit;
  }
  double sum = 0.0;
  double weighted = 0.0;
  for (int bin = 0; bin < bins; bin++) {
    const double weight = exp((double)number_at(distances, dtype, at + bin) - (double)highest);
    sum += weight;
    weighted += weight * bin;
  }
  return (float)(weighted / sum);
}

extern "C" __global__ void __launch_bounds__(256) decode_distance_bins(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const void *__restrict__ class_map,
    const void *__restrict__ distance_map, const Selection *selection, int capacity, int first, int cells, int columns,
    int classes, int bins, int class_dtype, int distance_dtype, float stride) {
  const int image = blockIdx.y;
  const int cell = blockIdx.x * 8 + threadIdx.y;
  const int lane = threadIdx.x;
  if (cell >= cells) return;
  const u64 row = (u64)image * cells + cell;
  Best best = NO_BEST;
  for (int c = lane; c < classes; c += 32) best = better(best, Best{number_at(class_map, class_dtype, row * classes + c), c});
  best = best_of_warp(best);
  if (best.score < selection->threshold) return;
  // Left, up, right, down, a lane each.
  float distance = 0.0f;
  if (lane < 4) distance = mean_bin(distance_map, distance_dtype, (row * 4 + lane) * bins, bins) * stride;
  const float left = __shfl_sync(0xffffffffu, distance, 0);
  const float up = __shfl_sync(0xffffffffu, distance, 1);
  const float right = __shfl_sync(0xffffffffu, distance, 2);
  const float down = __shfl_sync(0xffffffffu, distance, 3);
  if (lane != 0) return;
  const float x = ((float)(cell % columns) + 0.5f) * stride;
  const float y = ((float)(cell / columns) + 0.5f) * stride;
  append(candidates_of(image, keys, boxes, classes_out, counters, capacity), selection, first + cell,
         make_float4(x - left, y - up, x + right, y + down), best.score, best.class_id);
}
