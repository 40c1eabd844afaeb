// What decoders and selection share: the candidates of an image, src/model/rows.ts on the GPU, and the readings
// of tensors. Compiled without fused multiply-add, so that f32 arithmetic is that of Math.fround, step by step.
//
// keys, boxes, classes  u64, f32 [4], i32, each [N, capacity];  counters  Counters [N]
// dtype codes           0 f32, 1 f16, 2 i32, 3 i64
#pragma once

#include "common.cuh"

// What a caller asks for; packed by src/tasks/detect/device-batch.ts, so that it may change between graph launches.
struct Selection {
  float threshold;       // rows with a lower score are left out
  float iou;             // boxes that overlap a better one by more are left out
  int max_detections;
  int class_agnostic;    // 1: boxes of different classes suppress each other as well
  int class_words;       // words of `classes`; 0 for all classes
  int reserved[3];
  u32 classes[1];        // bit c of the whole is class c
};

#define FAULT_CLASS 1  // a class id was no whole number from 0 on
#define FAULT_GRID 2   // an undecoded grid held what is neither an offset nor a logarithm
#define FAULT_BOX 3    // a box of SURE_SCORE was inside out, and nothing worse was found
#define FAULT_RANGE 4  // a score was no probability: see fault_value; or all were and should not be, which the selection finds
#define FAULT_FULL 5   // there were more candidates than there is room for

// src/model/rows.ts has the same.
#define SURE_SCORE 0.2f

// Counters of one image. The selection sets them back to 0 for the next frame.
struct Counters {
  int count;             // candidates appended
  int dropped;           // rows left out as a score or a coordinate was no finite number
  int fault;             // a FAULT_ of above if a value could not be what the plan says, else 0
  float fault_value;     // one such value; of decode_dense an int, classes less the first class that is below 0
  int scales;            // bits of SCALE_: what scores have shown of their kind
  int reserved[3];
};

#define SCALE_LOGIT 1     // a score lay where no probability does
#define SCALE_POSITIVE 2  // one lay above 0 by more than rounding; of queries only

// Room for the rounding of f16.
#define ROUNDED 0.001f

__device__ __forceinline__ bool is_probability(float value) { return value >= -ROUNDED && value <= 1.0f + ROUNDED; }

// The lists of one image. A candidate's box and class lie at its index, its key at whatever place was free.
struct Candidates {
  u64 *keys;
  float4 *boxes;
  int *classes;
  Counters *counters;
};

__device__ __forceinline__ Candidates candidates_of(int image, u64 *keys, float4 *boxes, int *classes,
                                                    Counters *counters, int capacity) {
  const u64 start = (u64)image * capacity;
  return {keys + start, boxes + start, classes + start, counters + image};
}

__device__ __forceinline__ bool is_finite(float value) { return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u; }

// Bits of a float in the order of the floats; -0 counts as 0.
__device__ __forceinline__ u32 ordered(float value) {
  const u32 bits = __float_as_uint(value + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float unordered(u32 bits) {
  return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

// Larger for the better candidate: by score, then the lower index. No two are equal.
__device__ __forceinline__ u64 key_of(float score, int index) {
  return (u64)ordered(score) << 32 | (u32)~index;
}

__device__ __forceinline__ bool is_wanted(const Selection *selection, int class_id) {
  const int words = selection->class_words;
  if (words == 0) return true;
  const int word = class_id >> 5;
  return word < words && (selection->classes[word] >> (class_id & 31) & 1u);
}

// True for a row that is to be appended, whose score has reached the threshold or is NaN; others are counted.
__device__ __forceinline__ bool is_candidate(const Candidates &candidates, const Selection *selection, float4 box, float score,
                                             int class_id) {
  if (!(is_finite(box.x) && is_finite(box.y) && is_finite(box.z) && is_finite(box.w) && is_finite(score))) {
    atomicAdd(&candidates.counters->dropped, 1);
    return false;
  }
  if ((box.x > box.z || box.y > box.w) && score >= SURE_SCORE) atomicCAS(&candidates.counters->fault, 0, FAULT_BOX);
  return box.x < box.z && box.y < box.w && is_wanted(selection, class_id);
}

// Append a row whose score has reached the threshold or is NaN. `index` breaks ties and is below the capacity.
__device__ __forceinline__ void append(const Candidates &candidates, const Selection *selection, int index, float4 box,
                                       float score, int class_id) {
  if (!is_candidate(candidates, selection, box, score, class_id)) return;
  candidates.boxes[index] = box;
  candidates.classes[index] = class_id;
  candidates.keys[atomicAdd(&candidates.counters->count, 1)] = key_of(score, index);
}

// The best class of a row so far: the first of the highest score, and NaN once a score was NaN.
struct Best {
  float score;
  int class_id;
};

#define NO_BEST Best{-1.0f, 0}

__device__ __forceinline__ Best better(Best a, Best b) {
  if (a.score != a.score) return a;
  if (b.score != b.score) return b;
  return b.score > a.score || (b.score == a.score && b.class_id < a.class_id) ? b : a;
}

__device__ __forceinline__ Best best_of_warp(Best mine) {
#pragma unroll
  for (int distance = 16; distance > 0; distance >>= 1) {
    const Best other = {__shfl_xor_sync(0xffffffffu, mine.score, distance),
                        __shfl_xor_sync(0xffffffffu, mine.class_id, distance)};
    mine = better(mine, other);
  }
  return mine;
}

#define F32 0
#define F16 1
#define I32 2

// Element of a tensor of any dtype as f32; integers beyond 2^24 are rounded.
__device__ __forceinline__ float number_at(const void *tensor, int dtype, u64 at) {
  if (dtype == F32) return ((const float *)tensor)[at];
  if (dtype == F16) return from_element(((const f16 *)tensor)[at]);
  if (dtype == I32) return (float)((const int *)tensor)[at];
  return (float)((const long long *)tensor)[at];
}

// Centre and size to corners, in f32.
__device__ __forceinline__ float4 corners(float x, float y, float width, float height) {
  const float half_width = width * 0.5f;
  const float half_height = height * 0.5f;
  return make_float4(x - half_width, y - half_height, x + half_width, y + half_height);
}

__device__ __forceinline__ float4 scaled(float4 box, float width, float height) {
  return make_float4(box.x * width, box.y * height, box.z * width, box.w * height);
}

#define BOX_FRACTION 1  // of the input's width and height, else pixels
#define BOX_CORNERS 2   // x1, y1, x2, y2, else cx, cy, w, h

// A box of four numbers, of the form that the bits say, as corners in pixels.
__device__ __forceinline__ float4 box_of(float a, float b, float c, float d, int form, float width, float height) {
  const float4 box = form & BOX_CORNERS ? make_float4(a, b, c, d) : corners(a, b, c, d);
  return form & BOX_FRACTION ? scaled(box, width, height) : box;
}

// Class scores of a warp's 32 rows, 8 threads a row: planes of `stride` elements a class. Valid in the first warp.
template <typename Read>
__device__ __forceinline__ Best best_of_planes(int classes, bool inside, Read read, Best best = NO_BEST) {
  __shared__ Best partial[8][32];
  if (inside) {
#pragma unroll 4
    for (int c = threadIdx.y; c < classes; c += 8) best = better(best, Best{read(c), c});
  }
  partial[threadIdx.y][threadIdx.x] = best;
  __syncthreads();
  if (threadIdx.y == 0) {
#pragma unroll
    for (int part = 1; part < 8; part++) best = better(best, partial[part][threadIdx.x]);
  }
  return best;
}

#define SCORE_CLASS 0
#define SCORE_PRODUCT 1
#define SCORE_OBJECTNESS 2
#define SCORE_ONE 3  // the product, of a model that writes 1 in the place of objectness

// The best class before the first NaN.
template <typename Element> __device__ Best first_run(const Element *scores, int classes) {
  Best best = NO_BEST;
  for (int c = 0; c < classes; c++) {
    const float score = from_element(scores[c]);
    if (score != score) break;
    if (score > best.score) best = Best{score, c};
  }
  return best;
}

// No class is below it where classes are probabilities, with room for the rounding of quantised models.
#define LOWEST_PROBABILITY -0.05f

// As far from 1 as what is written as 1 may come.
#define MOST_ROUNDING 0.01f

// Note the first class of a thread that is below 0; -1 for an objectness that is not the 1 it must be. @param first the number of
// classes where none is
__device__ __forceinline__ void check_lowest(Counters *counters, int first, int classes) {
  if (first >= classes) return;
  atomicExch(&counters->fault, FAULT_RANGE);
  atomicMax((int *)&counters->fault_value, classes - first);
}

// The score of a row of channels, a warp a row; every lane gets it. False if it is below the threshold. `low`: the first class of
// this lane that is no probability, of those that were read; -1 for objectness that must be 1 and is not.
template <typename Element>
__device__ __forceinline__ bool score_row(const Element *row, int classes, int class_channel, int rule,
                                          float threshold, Best *best, int *low = nullptr) {
  const float objectness = rule == SCORE_CLASS ? 1.0f : from_element(row[4]);
  if (rule == SCORE_ONE && fabsf(objectness - 1.0f) > MOST_ROUNDING) *low = -1;
  // No class exceeds 1, so that a lower objectness decides. NaN passes, and is counted when it is appended.
  if (objectness < threshold) return false;
  Best mine = NO_BEST;
  for (int c = threadIdx.x; c < classes; c += 32) {
    const float score = from_element(row[class_channel + c]);
    if (low != nullptr && score < LOWEST_PROBABILITY) *low = min(*low, c);
    mine = better(mine, Best{score, c});
  }
  mine = best_of_warp(mine);
  if (rule == SCORE_OBJECTNESS) {
    // The score does not show a NaN here: the class is the best one before it.
    if (mine.score != mine.score) mine = first_run(row + class_channel, classes);
    mine.score = objectness;
  }
  if (rule == SCORE_PRODUCT || rule == SCORE_ONE) mine.score = objectness * mine.score;
  *best = mine;
  return !(mine.score < threshold);
}
