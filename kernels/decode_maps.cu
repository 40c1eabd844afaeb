// Maps as the last convolutions of a model leave them: scores of the classes of each cell, and what its box is worked out
// from. Logits are compared with the logit of the threshold, and only cells that pass pay for softmax, exponentials and
// boxes: a warp each. All levels are one launch.
//
// keys, boxes, classes_out, counters  the candidates, see decode.cuh; where every class of a cell is a candidate (`multi`), of
//             index source · classes + class, boxes [N, sources], classes_out is not written, and keys behind `capacity` are
//             a fault
// oriented    f32 [N, sources, 5] of plans with angles: centre, size and angle of each candidate, by its source; else null
// levels      Level [level_count], finest first, below; packed by src/tasks/detect/map-launches.ts
// selection   what the caller asks for, in device memory: a captured graph takes changes
// check       what the scores of an image must show, see CHECK_ below
//
// Launch: block (32, 8), 32 cells (decode_anchor_maps: 256 cells) of one anchor of one level; grid (blocks of all levels, N).
// gather_maps: block (32, 8), a warp a row, grid (⌈rows / 8⌉, N).
// Tolerance: none but where exp, sin and cos in f64 differ, or sums of f64 in another order: one f32 in some ten million by its
// last bit. CPU reference: src/heads/map-decoder.ts, src/heads/anchor-decoder.ts, src/heads/outputs.ts

#include "decode.cuh"

#define CELLS 32
#define ALL 0xffffffffu
#define PI 3.14159265358979323846

// A map as it lies in memory. Row-major [N, C, H, W] has a vector of 1, channels last one of C.
struct Map {
  const void *data;
  u64 image_stride;  // elements from one image to the next
  int dtype;         // F32 or F16
  int vector;        // channels side by side
  int channel;       // the first that counts
  int anchor_step;   // channels from one anchor's to the next one's
};

struct Level {
  Map maps[3];
  double centre_scale;
  float stride;
  int columns, rows;
  int first;         // sources of the levels before it
  int first_block;   // blocks of the levels before it
  int anchors;       // of a cell
  int first_anchor;  // of its anchors in the table behind all levels
  int reserved;
};

struct Anchor {
  double width, height;  // in input pixels
};

static_assert(sizeof(Map) == 32 && sizeof(Level) == 136, "src/tasks/detect/map-launches.ts packs 32 and 136 bytes");

// A map of one image.
struct View {
  const void *data;
  u64 start;
  int dtype, vector, cells;

  __device__ __forceinline__ u64 place(int channel, int cell) const {
    if (vector == 1) return start + (u64)channel * cells + cell;
    const int plane = channel / vector;
    return start + ((u64)plane * cells + cell) * vector + (channel - plane * vector);
  }
  __device__ __forceinline__ float at(int channel, int cell) const { return number_at(data, dtype, place(channel, cell)); }
};

__device__ __forceinline__ View view_of(const Map &map, int image, int cells) {
  return {map.data, (u64)image * map.image_stride, map.dtype, map.vector, cells};
}

// The level that a number lies in: of a block, or of a source. At most 32.
__device__ __forceinline__ int level_of(const Level *levels, int count, int number, bool is_block) {
  const int lane = threadIdx.x;
  const bool reached = lane < count && number >= (is_block ? levels[lane].first_block : levels[lane].first);
  return __popc(__ballot_sync(ALL, reached)) - 1;
}

__device__ __forceinline__ double sigmoid(float value) { return 1.0 / (1.0 + exp(-(double)value)); }

// A logit below which no score reaches the threshold: see decode_queries.cu.
__device__ __forceinline__ float logit_floor(float threshold) {
  return fminf(8.0f, logf(threshold / (1.0f - threshold))) - 0.01f;
}

#define NOTHING_YET Best{__uint_as_float(0xff800000u), 0}

// Eight channels of a cell from one on, at most as many as there are.
template <typename Element>
__device__ __forceinline__ void read_eight(float values[8], const View &view, int channel, int cell, int most) {
  if (((view.vector | channel) & 7) == 0) {
    const uint4 *words = (const uint4 *)((const Element *)view.data + view.place(channel, cell));
    uint4 packed[sizeof(Element) / 2];
#pragma unroll
    for (int part = 0; part < (int)sizeof(Element) / 2; part++) packed[part] = words[part];
    const u32 *bits = (const u32 *)packed;
#pragma unroll
    for (int at = 0; at < 8; at++) {
      values[at] = sizeof(Element) == 4 ? __uint_as_float(bits[at]) : from_element((f16)(bits[at >> 1] >> (at & 1) * 16));
    }
  } else {
#pragma unroll
    for (int at = 0; at < 8; at++) {
      values[at] = at < most ? from_element(((const Element *)view.data)[view.place(channel + at, cell)]) : 0.0f;
    }
  }
}

// The best class of each of a block's cells. Planes are read along cells, a warp taking every eighth class; where eight or more
// channels lie side by side, eight threads share a cell.
template <typename Element>
__device__ __forceinline__ void scan(Best *found, const View &view, int channel, int classes, int first) {
  if (view.vector < 8) {
    const int cell = first + threadIdx.x;
    const Best best = best_of_planes(
        classes, cell < view.cells,
        [&](int c) { return from_element(((const Element *)view.data)[view.place(channel + c, cell)]); }, NOTHING_YET);
    if (threadIdx.y == 0) found[threadIdx.x] = best;
    return;
  }
  const int part = threadIdx.x & 7;
  const int slot = threadIdx.y * 4 + (threadIdx.x >> 3);
  Best best = NOTHING_YET;
  if (first + slot < view.cells) {
    for (int c = part * 8; c < classes; c += 64) {
      float values[8];
      read_eight<Element>(values, view, channel + c, first + slot, classes - c);
#pragma unroll
      for (int at = 0; at < 8; at++) {
        if (c + at < classes) best = better(best, Best{values[at], c + at});
      }
    }
  }
#pragma unroll
  for (int distance = 4; distance > 0; distance >>= 1) {
    best = better(best, Best{__shfl_xor_sync(ALL, best.score, distance), __shfl_xor_sync(ALL, best.class_id, distance)});
  }
  if (part == 0) found[slot] = best;
}

#define CHECK_NOTHING 0
#define CHECK_LOGITS 1         // one of an image lies below 0
#define CHECK_PROBABILITIES 2  // all lie between 0 and 1, with room for the rounding of f16

// Note what the scores of a warp show of their kind.
__device__ __forceinline__ void check_scores(Counters *counters, int check, bool inside, float score) {
  if (check == CHECK_LOGITS) {
    const bool is_low = __any_sync(ALL, inside && score < 0.0f);
    if (is_low && threadIdx.x == 0) atomicOr(&counters->scales, SCALE_LOGIT);
  } else if (check == CHECK_PROBABILITIES && inside && score == score && !is_probability(score)) {
    atomicExch(&counters->fault, FAULT_RANGE);
    atomicExch((int *)&counters->fault_value, (int)__float_as_uint(score));
  }
}

// What a launch of cells is given.
struct Cells {
  u64 *keys;
  float4 *boxes;
  int *classes_out;
  Counters *counters;
  const Level *levels;
  const Selection *selection;
  int capacity, sources, level_count, classes, multi, are_logits, check;
};

// Find the cells whose best class passes; a warp each works out a box and appends what passes of it. `box_of` is called by whole
// warps: level, maps of the image, anchor, cell, source, and gives the box to lane 0.
template <typename BoxOf> __device__ __forceinline__ void decode_cells(const Cells &given, BoxOf box_of) {
  __shared__ Best found[CELLS];
  __shared__ u32 passing;
  const int image = blockIdx.y;
  const int lane = threadIdx.x;
  const int warp = threadIdx.y;
  const Level &level = given.levels[level_of(given.levels, given.level_count, blockIdx.x, true)];
  const int cells = level.columns * level.rows;
  const int parts = (cells + CELLS - 1) / CELLS;
  const int block = blockIdx.x - level.first_block;
  const int anchor = block / parts;
  const int first = (block - anchor * parts) * CELLS;
  const Map &map = level.maps[0];
  const View view = view_of(map, image, cells);
  const int channel = map.channel + anchor * map.anchor_step;
  const int classes = given.classes;
  if (view.dtype == F16) scan<f16>(found, view, channel, classes, first);
  else scan<float>(found, view, channel, classes, first);
  __syncthreads();

  const float threshold = given.selection->threshold;
  const bool are_logits = given.are_logits != 0;
  const float floor = are_logits ? logit_floor(threshold) : threshold;
  Counters *counters = given.counters + image;
  if (warp == 0) {
    const bool inside = first + lane < cells;
    const float best = found[lane].score;
    check_scores(counters, given.check, inside, best);
    const u32 chosen = __ballot_sync(ALL, inside && !(best < floor));
    if (lane == 0) passing = chosen;
  }
  __syncthreads();

  const Candidates candidates = {given.keys + (u64)image * given.capacity, given.boxes + (u64)image * given.sources,
                                 given.classes_out + (u64)image * given.sources, counters};
  int turn = 0;
  for (u32 left = passing; left != 0; left &= left - 1) {
    if ((turn++ & 7) != warp) continue;
    const int slot = __ffs((int)left) - 1;
    const int cell = first + slot;
    const Best best = found[slot];
    const float score = are_logits ? (float)sigmoid(best.score) : best.score;
    if (score < threshold) continue;
    const int source = level.first + cell * level.anchors + anchor;
    const float4 box = box_of(level, image, anchor, cell, source);
    if (!given.multi) {
      if (lane == 0) append(candidates, given.selection, source, box, score, best.class_id);
      continue;
    }
    const float4 shared = make_float4(__shfl_sync(ALL, box.x, 0), __shfl_sync(ALL, box.y, 0), __shfl_sync(ALL, box.z, 0),
                                      __shfl_sync(ALL, box.w, 0));
    if (lane == 0) candidates.boxes[source] = shared;
    for (int c = lane; c < classes; c += 32) {
      const float value = view.at(channel + c, cell);
      if (value < floor) continue;
      const float mine = are_logits ? (float)sigmoid(value) : value;
      if (mine < threshold || !is_candidate(candidates, given.selection, shared, mine, c)) continue;
      const int place = atomicAdd(&counters->count, 1);
      if (place < given.capacity) candidates.keys[place] = key_of(mine, source * classes + c);
      else atomicExch(&counters->fault, FAULT_FULL);
    }
  }
}

// A side's distance in strides, eight lanes a side: the mean of the bins 0, 1, 2, … by the softmax of their logits.
__device__ __forceinline__ double distance_of(const View &view, int channel, int cell, int bins) {
  if (bins == 1) return view.at(channel, cell);
  const int part = threadIdx.x & 7;
  float highest = __uint_as_float(0xff800000u);
  for (int bin = part; bin < bins; bin += 8) highest = fmaxf(highest, view.at(channel + bin, cell));
#pragma unroll
  for (int step = 4; step > 0; step >>= 1) highest = fmaxf(highest, __shfl_xor_sync(ALL, highest, step));
  double sum = 0.0;
  double weighted = 0.0;
  for (int bin = part; bin < bins; bin += 8) {
    const double weight = exp((double)view.at(channel + bin, cell) - (double)highest);
    sum += weight;
    weighted += weight * bin;
  }
#pragma unroll
  for (int step = 4; step > 0; step >>= 1) {
    sum += __shfl_xor_sync(ALL, sum, step);
    weighted += __shfl_xor_sync(ALL, weighted, step);
  }
  return weighted / sum;
}

#define ANGLE_NONE 0
#define ANGLE_SIGMOID 1  // (sigmoid − 0.25) · π of the third map
#define ANGLE_RADIANS 2  // the third map itself

// Distances left, up, right and down of each cell, in strides. maps: classes, distances, angles.
extern "C" __global__ void __launch_bounds__(256) decode_distance_maps(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, float *oriented, const Level *__restrict__ levels,
    const Selection *selection, int capacity, int sources, int level_count, int classes, int bins, int multi, int are_logits,
    int check, int angle, float centre) {
  const Cells cells = {keys,    boxes,   classes_out, counters, levels,     selection, capacity,
                       sources, level_count, classes, multi,    are_logits, check};
  decode_cells(cells, [&](const Level &level, int image, int, int cell, int source) {
    const int count = level.columns * level.rows;
    const Map &map = level.maps[1];
    const View view = view_of(map, image, count);
    const double mine = distance_of(view, map.channel + (threadIdx.x >> 3) * bins, cell, bins);
    const double left = __shfl_sync(ALL, mine, 0);
    const double up = __shfl_sync(ALL, mine, 8);
    const double right = __shfl_sync(ALL, mine, 16);
    const double down = __shfl_sync(ALL, mine, 24);
    const double stride = level.stride;
    const double x = cell % level.columns + (double)centre;
    const double y = cell / level.columns + (double)centre;
    if (angle == ANGLE_NONE) {
      return make_float4((float)((x - left) * stride), (float)((y - up) * stride), (float)((x + right) * stride),
                         (float)((y + down) * stride));
    }
    if (threadIdx.x != 0) return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    const Map &angles = level.maps[2];
    const float value = view_of(angles, image, count).at(angles.channel, cell);
    const double turned = angle == ANGLE_SIGMOID ? (sigmoid(value) - 0.25) * PI : (double)value;
    const double cosine = cos(turned);
    const double sine = sin(turned);
    const double across = (right - left) / 2.0;
    const double along = (down - up) / 2.0;
    float *to = oriented + ((u64)image * sources + source) * 5;
    const float centre_x = (float)((x + across * cosine - along * sine) * stride);
    const float centre_y = (float)((y + across * sine + along * cosine) * stride);
    const float width = (float)((left + right) * stride);
    const float height = (float)((up + down) * stride);
    to[0] = centre_x;
    to[1] = centre_y;
    to[2] = width;
    to[3] = height;
    to[4] = (float)turned;
    return corners(centre_x, centre_y, width, height);
  });
}

__device__ __forceinline__ Anchor anchor_of(const Level *levels, int level_count, const Level &level, int anchor) {
  return ((const Anchor *)(levels + level_count))[level.first_anchor + anchor];
}

// NaN stays what it is.
__device__ __forceinline__ float between(double value, double low, double high) {
  return value != value ? (float)value : (float)fmax(low, fmin(value, high));
}

// Offsets from anchors: of the centre in sizes of the anchor, and logarithms of sizes, cut to the cells. maps: classes, offsets.
extern "C" __global__ void __launch_bounds__(256) decode_offset_maps(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const Level *__restrict__ levels,
    const Selection *selection, int capacity, int sources, int level_count, int classes, int multi, int check,
    float centre) {
  const Cells cells = {keys,    boxes,   classes_out, counters, levels, selection, capacity,
                       sources, level_count, classes, multi,    0,      check};
  decode_cells(cells, [&](const Level &level, int image, int anchor, int cell, int) {
    const Map &map = level.maps[1];
    const View view = view_of(map, image, level.columns * level.rows);
    const float mine = view.at(map.channel + anchor * map.anchor_step + (threadIdx.x & 3), cell);
    const Anchor size = anchor_of(levels, level_count, level, anchor);
    const double stride = level.stride;
    const double x = (cell % level.columns + 0.5) * stride + centre + __shfl_sync(ALL, mine, 0) * size.width;
    const double y = (cell / level.columns + 0.5) * stride + centre + __shfl_sync(ALL, mine, 1) * size.height;
    const double half_width = exp((double)__shfl_sync(ALL, mine, 2)) * size.width / 2.0;
    const double half_height = exp((double)__shfl_sync(ALL, mine, 3)) * size.height / 2.0;
    const double right = level.columns * stride;
    const double bottom = level.rows * stride;
    return make_float4(between(x - half_width, 0.0, right - 1.0), between(y - half_height, 0.0, bottom - 1.0),
                       between(x + half_width, 1.0, right), between(y + half_height, 1.0, bottom));
  });
}

#define FORM_DARKNET 0
#define FORM_YOLOV2 1         // as DARKNET, classes by softmax
#define FORM_YOLOV5 2
#define FORM_YOLOX 3
#define FORM_CUSTOM_VISION 4  // as YOLOX, classes by softmax

#define ACTIVATED_NOTHING 0
#define ACTIVATED_SCORES 1
#define ACTIVATED_ALL 2

// The objectness of anchors is compared first; only those that pass have their classes read. maps: x, y, w and h; objectness;
// classes. `counted`: 1 where candidates are counted anchor by anchor, else cell by cell.
extern "C" __global__ void __launch_bounds__(256) decode_anchor_maps(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const Level *__restrict__ levels,
    const Selection *selection, int capacity, int level_count, int classes, int form, int activated, int counted,
    int check) {
  __shared__ u32 passing[8];
  const int image = blockIdx.y;
  const int lane = threadIdx.x;
  const int warp = threadIdx.y;
  const Level &level = levels[level_of(levels, level_count, blockIdx.x, true)];
  const int cells = level.columns * level.rows;
  const int first = (blockIdx.x - level.first_block) * 256;
  const int total = cells * level.anchors;
  const View sides = view_of(level.maps[0], image, cells);
  const View objects = view_of(level.maps[1], image, cells);
  const View scores = view_of(level.maps[2], image, cells);
  const Candidates candidates = candidates_of(image, keys, boxes, classes_out, counters, capacity);
  const float threshold = selection->threshold;
  const bool is_raw = activated == ACTIVATED_NOTHING;
  // In the order in which they lie, wherever they are counted.
  const auto objectness = [&](int at) {
    const int anchor = at / cells;
    return objects.at(level.maps[1].channel + anchor * level.maps[1].anchor_step, at - anchor * cells);
  };
  const int at = first + warp * 32 + lane;
  const float given = at < total ? objectness(at) : 0.0f;
  check_scores(candidates.counters, check, at < total, given);
  const float floor = is_raw ? logit_floor(threshold) : threshold;
  const u32 mine = __ballot_sync(ALL, at < total && !(given < floor));
  if (lane == 0) passing[warp] = mine;
  __syncthreads();

  int turn = 0;
  for (int part = 0; part < 8; part++) {
    for (u32 left = passing[part]; left != 0; left &= left - 1) {
      if ((turn++ & 7) != warp) continue;
      const int number = first + part * 32 + __ffs((int)left) - 1;
      const int anchor = number / cells;
      const int cell = number - anchor * cells;
      const float raw = objectness(number);
      const double object = is_raw ? sigmoid(raw) : (double)raw;
      if (object < (double)threshold) continue;
      const int channel = level.maps[2].channel + anchor * level.maps[2].anchor_step;
      Best best = NOTHING_YET;
      for (int c = lane; c < classes; c += 32) best = better(best, Best{scores.at(channel + c, cell), c});
      best = best_of_warp(best);
      double score = object;
      if (form == FORM_YOLOV2 || form == FORM_CUSTOM_VISION) {
        double sum = 0.0;
        for (int c = lane; c < classes; c += 32) sum += exp((double)scores.at(channel + c, cell) - (double)best.score);
#pragma unroll
        for (int step = 16; step > 0; step >>= 1) sum += __shfl_xor_sync(ALL, sum, step);
        score = object * (1.0 / sum);
      } else if (classes > 1 || form != FORM_YOLOV5) {
        // YOLOv5 and v7 do not train a single class.
        score = object * (is_raw ? sigmoid(best.score) : (double)best.score);
      }
      if ((float)score < threshold) continue;
      const Map &map = level.maps[0];
      const float value = sides.at(map.channel + anchor * map.anchor_step + (lane & 3), cell);
      // Lanes 0 to 3 have x, y, width and height, each worked out as what it is.
      const bool is_centre = (lane & 3) < 2;
      const bool is_exponent = form != FORM_YOLOV5 && !is_centre;
      const bool is_taken = activated == ACTIVATED_ALL || form == FORM_YOLOX || form == FORM_CUSTOM_VISION;
      double side = is_exponent ? exp((double)value) : is_taken ? (double)value : sigmoid(value);
      if (form == FORM_YOLOV5 && !is_centre) side = 2.0 * side * (2.0 * side);
      if (is_centre && form != FORM_YOLOX && form != FORM_CUSTOM_VISION) {
        const double scale = form == FORM_YOLOV5 ? 2.0 : level.centre_scale;
        side = side * scale - (scale - 1.0) / 2.0;
      }
      const double stride = level.stride;
      const double x = (__shfl_sync(ALL, side, 0) + cell % level.columns) * stride;
      const double y = (__shfl_sync(ALL, side, 1) + cell / level.columns) * stride;
      const Anchor size = anchor_of(levels, level_count, level, anchor);
      const double width = __shfl_sync(ALL, side, 2) * (size.width / 2.0);
      const double height = __shfl_sync(ALL, side, 3) * (size.height / 2.0);
      if (lane != 0) continue;
      const int index = level.first + (counted ? number : cell * level.anchors + anchor);
      append(candidates, selection, index,
             make_float4((float)(x - width), (float)(y - height), (float)(x + width), (float)(y + height)), (float)score,
             best.class_id);
    }
  }
}

#define RULE_RAW 0
#define RULE_POINTS 1          // (2 · number + cell) · stride, and the sigmoid of a score
#define RULE_CENTRED_POINTS 2  // (number + cell + 0.5) · stride, likewise

// What maps hold of the kept rows beside their boxes, by their sources: gathered f32 [N, rows, length]; detections as select.cu
// has them. Of each level the first map. `numbers`: of a point. `counted` as for decode_anchor_maps.
extern "C" __global__ void __launch_bounds__(256) gather_maps(
    float *gathered, const int *__restrict__ detections, const Level *__restrict__ levels, int rows, int words,
    int level_count, int length, int rule, int numbers, int counted) {
  const int image = blockIdx.y;
  const int row = blockIdx.x * 8 + threadIdx.y;
  detections += (u64)image * words;
  if (row >= detections[0]) return;
  const int source = detections[4 + rows * 6 + row];
  const Level &level = levels[level_of(levels, level_count, source, false)];
  const int cells = level.columns * level.rows;
  const int number = source - level.first;
  const int anchor = counted ? number / cells : number % level.anchors;
  const int cell = counted ? number - anchor * cells : number / level.anchors;
  const Map &map = level.maps[0];
  const View view = view_of(map, image, cells);
  const int channel = map.channel + anchor * map.anchor_step;
  float *to = gathered + ((u64)image * rows + row) * length;
  for (int at = threadIdx.x; at < length; at += 32) {
    const float value = view.at(channel + at, cell);
    const int part = at % numbers;
    if (rule == RULE_RAW) {
      to[at] = value;
    } else if (part == 2) {
      to[at] = (float)sigmoid(value);
    } else {
      const float place = (float)(part == 0 ? cell % level.columns : cell / level.columns);
      const float along = rule == RULE_POINTS ? 2.0f * value + place : value + (place + 0.5f);
      to[at] = along * level.stride;
    }
  }
}
