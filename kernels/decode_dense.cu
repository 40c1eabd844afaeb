// A row an anchor, a box, perhaps objectness, one probability a class: score = class, objectness × class, or
// objectness; the first of the best classes; score ≥ threshold → append. In f32 throughout. A class below 0, of those that are read,
// is FAULT_RANGE.
//
// keys, boxes, classes_out, counters  the candidates, see decode.cuh
// selection                           what the caller asks for, in device memory: a captured graph takes changes
// output  [N, channels, anchors] (channel-major) or [N, anchors, channels] (anchor-major), f32 or f16 as the entry says
// box_tensor  [N, anchors, 4] of an anchor-major output without boxes, or null: boxes are the first four channels
// box_form  what the four numbers are, see box_of in decode.cuh
//
// Launch: block (32, 8); grid (⌈anchors / 32⌉, N) channel-major, a thread 1/8 of an anchor's classes, so that reads run
// along anchors; grid (⌈anchors / 8⌉, N) anchor-major, a warp an anchor.
// Tolerance: none. CPU reference: src/heads/dense.ts

#include "decode.cuh"

template <typename Element>
__device__ __forceinline__ void dense_channel_major(const Candidates &candidates, const Element *__restrict__ output,
                                                    const Selection *selection, int anchors, int channels, int classes,
                                                    int class_channel, int box_form, float width, float height) {
  const int anchor = blockIdx.x * 32 + threadIdx.x;
  const bool inside = anchor < anchors;
  const Element *row = output + (u64)blockIdx.y * channels * anchors + anchor;
  const Element *scores = row + (u64)class_channel * anchors;
  int low = classes;
  const Best best = best_of_planes(classes, inside, [&](int c) {
    const float score = from_element(scores[(u64)c * anchors]);
    if (score < LOWEST_PROBABILITY) low = min(low, c);
    return score;
  });
  check_lowest(candidates.counters, low, classes);
  if (threadIdx.y != 0 || !inside || best.score < selection->threshold) return;
  const float4 box = box_of(from_element(row[0]), from_element(row[anchors]), from_element(row[2 * (u64)anchors]),
                            from_element(row[3 * (u64)anchors]), box_form, width, height);
  append(candidates, selection, anchor, box, best.score, best.class_id);
}

extern "C" __global__ void __launch_bounds__(256) decode_dense_channel_major_f32(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const float *__restrict__ output,
    const Selection *selection, int capacity, int anchors, int channels, int classes, int class_channel,
    int box_form, float width, float height) {
  dense_channel_major(candidates_of(blockIdx.y, keys, boxes, classes_out, counters, capacity), output, selection,
                      anchors, channels, classes, class_channel, box_form, width, height);
}

extern "C" __global__ void __launch_bounds__(256) decode_dense_channel_major_f16(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const f16 *__restrict__ output,
    const Selection *selection, int capacity, int anchors, int channels, int classes, int class_channel,
    int box_form, float width, float height) {
  dense_channel_major(candidates_of(blockIdx.y, keys, boxes, classes_out, counters, capacity), output, selection,
                      anchors, channels, classes, class_channel, box_form, width, height);
}

template <typename Element>
__device__ __forceinline__ void dense_anchor_major(const Candidates &candidates, const Element *__restrict__ output,
                                                   const Element *__restrict__ box_tensor, const Selection *selection, int anchors, int channels, int classes,
                                                   int class_channel, int score_rule, int box_form, float width,
                                                   float height) {
  const int anchor = blockIdx.x * 8 + threadIdx.y;
  if (anchor >= anchors) return;
  const Element *row = output + ((u64)blockIdx.y * anchors + anchor) * channels;
  Best best;
  int low = classes;
  const bool passes = score_row(row, classes, class_channel, score_rule, selection->threshold, &best, &low);
  check_lowest(candidates.counters, low, classes);
  if (!passes || threadIdx.x != 0) return;
  // Boxes in a tensor of their own are [N, anchors, 4].
  const Element *at = box_tensor == nullptr ? row : box_tensor + ((u64)blockIdx.y * anchors + anchor) * 4;
  const float4 box = box_of(from_element(at[0]), from_element(at[1]), from_element(at[2]), from_element(at[3]),
                            box_form, width, height);
  append(candidates, selection, anchor, box, best.score, best.class_id);
}

extern "C" __global__ void __launch_bounds__(256) decode_dense_anchor_major_f32(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const float *__restrict__ output,
    const float *__restrict__ box_tensor, const Selection *selection, int capacity, int anchors, int channels, int classes, int class_channel,
    int score_rule, int box_form, float width, float height) {
  dense_anchor_major(candidates_of(blockIdx.y, keys, boxes, classes_out, counters, capacity), output, box_tensor, selection,
                     anchors, channels, classes, class_channel, score_rule, box_form, width, height);
}

extern "C" __global__ void __launch_bounds__(256) decode_dense_anchor_major_f16(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const f16 *__restrict__ output,
    const f16 *__restrict__ box_tensor, const Selection *selection, int capacity, int anchors, int channels, int classes, int class_channel,
    int score_rule, int box_form, float width, float height) {
  dense_anchor_major(candidates_of(blockIdx.y, keys, boxes, classes_out, counters, capacity), output, box_tensor, selection,
                     anchors, channels, classes, class_channel, score_rule, box_form, width, height);
}
