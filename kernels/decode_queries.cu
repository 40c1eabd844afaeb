// Object queries, boxes cx, cy, w, h as fractions of the input: sigmoid(logit) makes every class of every query a
// candidate; softmax makes a query one, of its best class but the last, "no object". score ≥ threshold → append. What the logits
// show of their kind goes to the counters: if all are probabilities, they are none.
//
// keys, boxes, classes_out, counters  the candidates, see decode.cuh
// selection                           what the caller asks for, in device memory: a captured graph takes changes
// logits      [N, queries, classes], box_tensor [N, queries, 4], f32 or f16
//
// Launch: decode_queries_sigmoid block 256, a thread a class of a query, grid (⌈queries · classes / 256⌉, N);
// decode_queries_softmax block 64, a thread a query, grid (⌈queries / 64⌉, N).
// Tolerance: none but where exp in f64 differs, one score in some hundred million by its last bit.
// CPU reference: src/heads/rows.ts

#include "decode.cuh"

__device__ __forceinline__ float4 query_box(const void *box_tensor, int dtype, u64 query, float width, float height) {
  return scaled(corners(number_at(box_tensor, dtype, query * 4), number_at(box_tensor, dtype, query * 4 + 1),
                        number_at(box_tensor, dtype, query * 4 + 2), number_at(box_tensor, dtype, query * 4 + 3)),
                width, height);
}

// Called by all threads of a block. @param logit whether one of this thread's was no probability  @param positive whether one was above what rounding leaves of 0
__device__ __forceinline__ void note_scales(Counters *counters, bool logit, bool positive) {
  const int logits = __syncthreads_or(logit);
  const int positives = __syncthreads_or(positive);
  if (threadIdx.x == 0) atomicOr(&counters->scales, logits ? SCALE_LOGIT : positives ? SCALE_POSITIVE : 0);
}

extern "C" __global__ void __launch_bounds__(256) decode_queries_sigmoid(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const void *__restrict__ logits,
    const void *__restrict__ box_tensor, const Selection *selection, int capacity, int queries, int classes,
    int logits_dtype, int box_dtype, float width, float height) {
  const int image = blockIdx.y;
  const int index = blockIdx.x * 256 + threadIdx.x;
  const bool inside = index < queries * classes;
  const float logit = inside ? number_at(logits, logits_dtype, (u64)image * queries * classes + index) : 0.0f;
  note_scales(counters + image, !is_probability(logit), logit > ROUNDED);
  if (!inside) return;
  const float threshold = selection->threshold;
  // Most logits are ruled out without an f64 exponential; the margin keeps those that rounding could lift.
  if (logit < fminf(8.0f, logf(threshold / (1.0f - threshold))) - 0.01f) return;
  const float score = (float)(1.0 / (1.0 + exp(-(double)logit)));
  if (score < threshold) return;
  const int query = index / classes;
  append(candidates_of(image, keys, boxes, classes_out, counters, capacity), selection, index,
         query_box(box_tensor, box_dtype, (u64)image * queries + query, width, height), score,
         index - query * classes);
}

extern "C" __global__ void __launch_bounds__(64) decode_queries_softmax(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const void *__restrict__ logits,
    const void *__restrict__ box_tensor, const Selection *selection, int capacity, int queries, int classes,
    int logits_dtype, int box_dtype, float width, float height) {
  const int image = blockIdx.y;
  const int query = blockIdx.x * 64 + threadIdx.x;
  const bool inside = query < queries;
  const u64 at = ((u64)image * queries + query) * classes;
  bool has_logit = false;
  bool has_positive = false;
  for (int c = 0; inside && c < classes; c++) {
    const float logit = number_at(logits, logits_dtype, at + c);
    has_logit |= !is_probability(logit);
    has_positive |= logit > ROUNDED;
  }
  note_scales(counters + image, has_logit, has_positive);
  if (!inside) return;
  int class_id = 0;
  float best = number_at(logits, logits_dtype, at);
  bool has_nan = best != best;
  for (int c = 1; c < classes - 1; c++) {
    const float logit = number_at(logits, logits_dtype, at + c);
    has_nan |= logit != logit;
    if (logit > best) {
      best = logit;
      class_id = c;
    }
  }
  const float none = number_at(logits, logits_dtype, at + classes - 1);
  has_nan |= none != none;
  const double highest = best > none ? best : none;
  double sum = 0.0;
  for (int c = 0; c < classes; c++) sum += exp((double)number_at(logits, logits_dtype, at + c) - highest);
  const float score = has_nan ? __uint_as_float(0x7fffffffu) : (float)(exp((double)best - highest) / sum);
  if (score < selection->threshold) return;
  append(candidates_of(image, keys, boxes, classes_out, counters, capacity), selection, query,
         query_box(box_tensor, box_dtype, (u64)image * queries + query, width, height), score, class_id);
}
