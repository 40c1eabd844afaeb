// Candidates to detections, a block an image: in the order of their scores (ties by index) each candidate is kept that
// no kept one of its class overlaps by more than `iou`, until enough are kept; then mapped back to source pixels.
//
// detections  i32 [N, words]: count, dropped, fault, bits of fault_value, then f32 [rows, 4] boxes x1, y1, x2, y2 in source
//             pixels, f32 [rows] scores, i32 [rows] class ids, i32 [rows] sources: the anchor, query or row of the output
//             that each came from; rows past `count` keep what they held
// host        the same, for the host, in mapped host memory or to be copied there: nothing of it is read
// kept        f32 [N, rows, 4]: scratch, the kept boxes in input pixels
// counters    [N]: read, then set back to 0
// chosen_counts  i32 [N], or null: how many keys there are where others than the decoders wrote them; set back to 0
// keys        [N, capacity], boxes, classes  [N, box_capacity], as the decoders left them: a candidate's box lies at its index
//             divided by `candidates_per_box`; where that is more than 1, the remainder is its class
// most_rows   rows that are kept at most, whatever is asked for;  unlike: `scales` of an image whose scores are not what the plan says, -1 for none
// regions     Region [N], below;  selection: see decode.cuh
//
// Launch: block 1024, grid N. The best 1024 candidates are sorted and worked off at a time, so any number will do.
// Tolerance: none. CPU reference: src/tasks/detect/nms.ts, src/tasks/detect/nms.ts, boxesToSource of src/image/geometry.ts.
//
// gather_rows, after it: what else the output says of the kept rows, by their sources.
//
// gathered    f32 [N, rows, length], behind `host`; rows past `count` keep what they held
// output      [N, sources, channels] (planes 0) or [N, channels, sources] (planes 1), or [sources, channels] of all images
//             (image_stride 0), f32 or f16: elements `first` to `first + length` of each kept source are copied
//
// Launch: block (32, 8), a warp a row, grid (⌈rows / 8⌉, N). Tolerance: none. CPU reference: src/heads/outputs.ts

#include "decode.cuh"

#define CHUNK 1024
#define WARPS (CHUNK / 32)
#define ALL 0xffffffffu
#define HEADER_WORDS 4

// Where a region lies in the input and in its image, and what it has of that, in source pixels; packed by
// src/tasks/detect/device-batch.ts.
struct Region {
  double pad_x, pad_y, scale_x, scale_y, x, y, left, top, right, bottom;
};

__device__ __forceinline__ float area_of(float4 box) { return (box.z - box.x) * (box.w - box.y); }

// True if `better`, the box of the higher score, overlaps the other by more than the threshold. Without a branch: those of
// several boxes are worked out side by side.
__device__ __forceinline__ bool overlaps(float4 better, float4 box, float threshold) {
  const float width = fminf(better.z, box.z) - fmaxf(better.x, box.x);
  const float height = fminf(better.w, box.w) - fmaxf(better.y, box.y);
  const float inter = width * height;
  const float both = (area_of(better) + area_of(box)) - inter;
  return (width > 0.0f) & (height > 0.0f) & (inter > threshold * both);
}

__device__ __forceinline__ float to_source(float value, double pad, double scale, double start, double low, double high) {
  const double source = ((double)value - pad) / scale + start;
  return (float)(source > low ? (source < high ? source : high) : low);
}

__device__ __forceinline__ float4 to_source(float4 box, const Region &region) {
  return make_float4(to_source(box.x, region.pad_x, region.scale_x, region.x, region.left, region.right),
                     to_source(box.y, region.pad_y, region.scale_y, region.y, region.top, region.bottom),
                     to_source(box.z, region.pad_x, region.scale_x, region.x, region.left, region.right),
                     to_source(box.w, region.pad_y, region.scale_y, region.y, region.top, region.bottom));
}

// Sum over the block, for every thread.
__device__ __forceinline__ int block_sum(int value) {
  __shared__ int partial[WARPS];
#pragma unroll
  for (int distance = 16; distance > 0; distance >>= 1) value += __shfl_xor_sync(ALL, value, distance);
  __syncthreads();
  if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = value;
  __syncthreads();
  int sum = partial[threadIdx.x & 31];
#pragma unroll
  for (int distance = 16; distance > 0; distance >>= 1) sum += __shfl_xor_sync(ALL, sum, distance);
  return sum;
}

__device__ __forceinline__ int count_between(const u64 *keys, int count, u64 low, u64 high) {
  int mine = 0;
  for (int at = threadIdx.x; at < count; at += CHUNK) mine += keys[at] >= low && keys[at] < high;
  return block_sum(mine);
}

// A bound with CHUNK / 2 to CHUNK keys from it up to `high`, where more than CHUNK keys are below `high`. Keys differ,
// so that halving comes to an end.
__device__ __forceinline__ u64 chunk_bound(const u64 *keys, int count, u64 high) {
  u64 too_low = 0;
  u64 bound = high;
  int found = 0;
  while (found < CHUNK / 2 && bound - too_low > 1) {
    const u64 middle = too_low + (bound - too_low) / 2;
    const int above = count_between(keys, count, middle, high);
    if (above > CHUNK) {
      too_low = middle;
    } else {
      bound = middle;
      found = above;
    }
  }
  return bound;
}

// Of two keys of a step of a bitonic sort the one that stays with this thread.
__device__ __forceinline__ u64 sorted_of(u64 mine, u64 other, int run, int distance) {
  const bool descends = (threadIdx.x & run) == 0;
  const bool is_lower = (threadIdx.x & distance) == 0;
  return (descends == is_lower) == (mine > other) ? mine : other;
}

// Sort the first `length` (a power of two, at least 32) of the block's keys, the largest to thread 0. Warps behind them keep the
// barriers, and nothing else.
__device__ __forceinline__ u64 sort_descending(u64 mine, int length, u64 *shared) {
  const int thread = threadIdx.x;
  for (int run = 2; run <= length; run <<= 1) {
    int distance = run >> 1;
    for (; distance >= 32; distance >>= 1) {
      __syncthreads();
      shared[thread] = mine;
      __syncthreads();
      mine = sorted_of(mine, shared[thread ^ distance], run, distance);
    }
    if (thread >= length) continue;
    for (; distance > 0; distance >>= 1) mine = sorted_of(mine, __shfl_xor_sync(ALL, mine, distance), run, distance);
  }
  return mine;
}

extern "C" __global__ void __launch_bounds__(1024) select_detections(
    int *detections, int *host, float4 *kept, Counters *counters, int *chosen_counts, const u64 *__restrict__ keys,
    const float4 *__restrict__ boxes, const int *__restrict__ classes, const Region *__restrict__ regions,
    const Selection *__restrict__ selection, int capacity, int box_capacity, int rows, int words, int needs_nms, int max_candidates,
    int most_rows, int candidates_per_box, int candidates_per_source, int unlike) {
  __shared__ u64 chunk[CHUNK];
  __shared__ float4 chunk_boxes[CHUNK];
  __shared__ int chunk_classes[CHUNK];
  __shared__ u32 chunk_overlaps[CHUNK];
  // What the warp whose turn it is has kept: two sets take turns, so that one barrier a turn is enough.
  __shared__ float4 kept_boxes[2][32];
  __shared__ int kept_classes[2][32];
  __shared__ int kept_counts[2];
  __shared__ int gathered;

  const int image = blockIdx.x;
  const int thread = threadIdx.x;
  const int lane = thread & 31;
  const int warp = thread >> 5;
  const Region region = regions[image];
  const float iou = selection->iou;
  const bool agnostic = selection->class_agnostic != 0;
  const int most = min(min(selection->max_detections, rows), most_rows);
  keys += (u64)image * capacity;
  boxes += (u64)image * box_capacity;
  classes += (u64)image * box_capacity;
  kept += (u64)image * rows;
  detections += (u64)image * words;
  host += (u64)image * words;
  float4 *row_boxes = (float4 *)(detections + HEADER_WORDS);
  float *row_scores = (float *)(row_boxes + rows);
  int *row_classes = (int *)(row_scores + rows);
  int *row_sources = row_classes + rows;

  const Counters counted = counters[image];
  const int count = min(capacity, chosen_counts == nullptr ? counted.count : chosen_counts[image]);
  const int limit = needs_nms ? min(count, max_candidates) : count;
  int kept_count = 0;
  int done = 0;
  u64 high = ~0ull;

  while (kept_count < most && done < limit) {
    // The best candidates below `high`, at most CHUNK.
    const int left = count - done;
    u64 low = 0;
    int length = left;
    u64 mine = 0;
    if (count <= CHUNK) {
      mine = thread < count ? keys[thread] : 0;
    } else {
      if (left > CHUNK) low = chunk_bound(keys, count, high);
      if (thread == 0) gathered = 0;
      __syncthreads();
      for (int at = thread; at < count; at += CHUNK) {
        const u64 key = keys[at];
        if (key >= low && key < high) chunk[atomicAdd(&gathered, 1)] = key;
      }
      __syncthreads();
      length = gathered;
      mine = thread < length ? chunk[thread] : 0;
    }
    int sorted = 32;
    while (sorted < length) sorted <<= 1;
    mine = sort_descending(mine, sorted, chunk);

    const int considered = min(length, limit - done);
    bool alive = thread < considered;
    float4 box = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    int class_id = 0;
    if (alive) {
      const int index = (int)~(u32)mine;
      const int place = index / candidates_per_box;
      box = boxes[place];
      class_id = candidates_per_box > 1 ? index - place * candidates_per_box : classes[index];
    }
    const float score = unordered((u32)(mine >> 32));

    int row = -1;
    if (!needs_nms) {
      if (alive && kept_count + thread < most) row = kept_count + thread;
      kept_count = min(most, kept_count + considered);
    } else {
      // Kept ones of earlier chunks, whose rows every thread can see since the barrier below.
      for (int other = 0; other < kept_count && alive; other++) {
        if (agnostic || row_classes[other] == class_id) alive = !overlaps(kept[other], box, iou);
      }
      chunk_boxes[thread] = box;
      chunk_classes[thread] = class_id;
      __syncthreads();
      // In each 32 the pairs that overlap, whichever of them are kept: a pair a thread.
      const int turns = (considered + 31) >> 5;
#pragma unroll 1
      for (int turn = 0; turn < turns; turn++) {
        const int better = turn * 32 + warp;
        const int other = turn * 32 + lane;
        const bool is_pair = lane > warp && (agnostic || chunk_classes[better] == chunk_classes[other]);
        const u32 pairs = __ballot_sync(ALL, is_pair && overlaps(chunk_boxes[better], chunk_boxes[other], iou));
        if (lane == 0) chunk_overlaps[better] = pairs;
      }
      __syncthreads();
      const u32 overlapped = warp < turns ? chunk_overlaps[thread] : 0;
      // The warps take turns in the order of the scores: one keeps what is left of its own, and those behind it drop what
      // that overlaps.
      for (int turn = 0; turn < turns && kept_count < most; turn++) {
        const int phase = turn & 1;
        if (warp == turn) {
          u32 open = __ballot_sync(ALL, alive);
          u32 chosen = 0;
#pragma unroll 1
          for (int left = most - kept_count; open != 0 && left > 0; left--) {
            const int best = __ffs((int)open) - 1;
            chosen |= 1u << best;
            open &= ~(1u << best | __shfl_sync(ALL, overlapped, best));
          }
          if (chosen >> lane & 1) {
            const int place = __popc(chosen & ((1u << lane) - 1));
            row = kept_count + place;
            kept_boxes[phase][place] = box;
            kept_classes[phase][place] = class_id;
          }
          if (lane == 0) kept_counts[phase] = __popc(chosen);
        }
        __syncthreads();
        const int more = kept_counts[phase];
        if (warp > turn) {
          // Several at a time: each alone would wait for shared memory.
#pragma unroll 4
          for (int other = 0; other < more; other++) {
            const bool counts = agnostic | (kept_classes[phase][other] == class_id);
            alive &= !(counts & overlaps(kept_boxes[phase][other], box, iou));
          }
        }
        kept_count += more;
      }
    }
    if (row >= 0) {
      kept[row] = box;
      row_classes[row] = class_id;
      row_scores[row] = score;
      row_sources[row] = (int)~(u32)mine / candidates_per_source;
      row_boxes[row] = to_source(box, region);
    }
    done += length;
    high = low;
    __syncthreads();
  }

  // Every thread has read the counters, and every row is there. Neighbours cross the bus together.
  __syncthreads();
  for (int at = thread; at < kept_count * 4; at += CHUNK) host[HEADER_WORDS + at] = detections[HEADER_WORDS + at];
  for (int row = thread; row < kept_count; row += CHUNK) {
#pragma unroll
    for (int part = 4; part < 7; part++) {
      const int at = HEADER_WORDS + rows * part + row;
      host[at] = detections[at];
    }
  }
  if (thread == 0) {
    // Nothing worse than a box was found, and no score shows what it is.
    const bool is_unlike = counted.scales == unlike && (counted.fault == 0 || counted.fault == FAULT_BOX);
    const int4 header = make_int4(kept_count, counted.dropped, is_unlike ? FAULT_RANGE : counted.fault,
                                  (int)__float_as_uint(is_unlike ? -1.0f : counted.fault_value));
    *(int4 *)detections = header;
    *(int4 *)host = header;
    counters[image] = Counters{};
    if (chosen_counts != nullptr) chosen_counts[image] = 0;
  }
}

extern "C" __global__ void __launch_bounds__(256) gather_rows(
    float *gathered, const int *__restrict__ detections, const void *__restrict__ output, int rows, int words, int dtype,
    int first, int length, int channel_stride, int source_stride, int image_stride) {
  const int image = blockIdx.y;
  const int row = blockIdx.x * 8 + threadIdx.y;
  detections += (u64)image * words;
  if (row >= detections[0]) return;
  const int source = detections[HEADER_WORDS + rows * 6 + row];
  const u64 from = (u64)image * image_stride + (u64)source * source_stride;
  float *to = gathered + ((u64)image * rows + row) * length;
  for (int at = threadIdx.x; at < length; at += 32) {
    to[at] = number_at(output, dtype, from + (u64)(first + at) * channel_stride);
  }
}
