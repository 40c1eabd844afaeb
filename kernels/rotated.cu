// Oriented boxes: a candidate is chosen unless any better one of its class is too like it, be that chosen itself or not. How
// alike two are is ProbIoU (arXiv 2106.06072), in f32 as Ultralytics computes it; sin, cos, log and exp in f64, rounded to f32.
//
// chosen         u64 [N, capacity]: the keys of those that are chosen, at whatever place was free
// chosen_counts  i32 [N]: how many; 0 before. select_detections sets it back
// counters       [N]: candidates whose angle is no finite number are left out, and counted
// keys, classes  [N, capacity], as the decoders left them;  selection: see decode.cuh
// output         centre, width and height in pixels from the channel `sides` on, and the angle in radians at `angle`; strides as
//                for gather_rows. A candidate's index is its source × `candidates_per_source`, and where that is more than 1 its class
//
// Launch: block (32, 8), a warp a candidate and 256 others at a time in shared memory, grid (GROUPS at most, N).
// Tolerance: none but for the last bit of those four functions. CPU reference: src/tasks/obb/rotated.ts

#include "decode.cuh"

#define WARPS 8
#define TILE (32 * WARPS)
#define ALL 0xffffffffu
// Keeps divisions and logarithms finite.
#define EPSILON 1e-7f
// The distance at which boxes count as apart.
#define FARTHEST 100.0f
// What boxes of different classes are moved apart by in Ultralytics, which rounds their centres to what f32 has there.
#define CLASS_OFFSET 7680.0

// A box as a normal distribution: its centre, its covariance [[a, c], [c, b]], and the determinant of that. The key is 0 if the
// angle is no number.
struct Oriented {
  u64 key;
  float x, y, a, b, c, determinant;
  int class_id;
};

// The output of one image.
struct Numbers {
  const void *output;
  u64 start;
  int dtype, channel_stride, source_stride, sides, angle;

  __device__ __forceinline__ float at(int source, int channel) const {
    return number_at(output, dtype, start + (u64)source * source_stride + (u64)channel * channel_stride);
  }
};

__device__ Oriented oriented_of(u64 key, const int *classes, int per_source, bool agnostic, const Numbers &numbers) {
  const int index = (int)~(u32)key;
  const int source = index / per_source;
  const float angle = numbers.at(source, numbers.angle);
  if (!is_finite(angle)) return Oriented{};
  const int class_id = agnostic ? 0 : per_source > 1 ? index - source * per_source : classes[index];
  const double offset = class_id * CLASS_OFFSET;
  const float x = (float)(numbers.at(source, numbers.sides) + offset);
  const float y = (float)(numbers.at(source, numbers.sides + 1) + offset);
  const float width = numbers.at(source, numbers.sides + 2);
  const float height = numbers.at(source, numbers.sides + 3);
  const float along = width * width / 12.0f;
  const float across = height * height / 12.0f;
  const float cosine = (float)cos((double)angle);
  const float sine = (float)sin((double)angle);
  const float cosine2 = cosine * cosine;
  const float sine2 = sine * sine;
  const float a = along * cosine2 + across * sine2;
  const float b = along * sine2 + across * cosine2;
  const float c = (along - across) * cosine * sine;
  const float determinant = a * b - c * c;
  return {key, x, y, a, b, c, determinant < 0.0f ? 0.0f : determinant, class_id};
}

// True if `better` is more like the other than the threshold. `farthest`: the distance from which on they surely are not.
__device__ __forceinline__ bool is_alike(const Oriented &better, const Oriented &box, float threshold, float farthest) {
  const float x = better.x - box.x;
  const float y = better.y - box.y;
  const float a = better.a + box.a;
  const float b = better.b + box.b;
  const float c = better.c + box.c;
  const float determinant = a * b - c * c;
  const float divisor = determinant + EPSILON;
  const float near = (a * (y * y) + b * (x * x)) / divisor * 0.25f;
  const float skew = c * -x * y / divisor * 0.5f;
  const float apart = near + skew;
  if (apart > farthest) return false;
  const float product = sqrtf(better.determinant * box.determinant);
  const float shape = determinant / (4.0f * product + EPSILON) + EPSILON;
  const float distance = apart + (float)log((double)shape) * 0.5f;
  if (!(distance < farthest)) return false;
  const float clamped = fminf(fmaxf(distance, EPSILON), FARTHEST);
  return 1.0f - sqrtf(1.0f - (float)exp(-(double)clamped) + EPSILON) > threshold;
}

// The same with a margin far above what rounding takes from the term of the shapes, which is never below 0.
__device__ __forceinline__ float farthest_of(float threshold) {
  const double apart = 1.0 - (double)threshold;
  return (float)(1.0 - log(fmax(1.0 - apart * apart, 5e-324)));
}

extern "C" __global__ void __launch_bounds__(256) choose_rotated(
    u64 *chosen, int *chosen_counts, Counters *counters, const u64 *__restrict__ keys, const int *__restrict__ classes,
    const Selection *__restrict__ selection, const void *__restrict__ output, int dtype, int channel_stride,
    int source_stride, int image_stride, int sides, int angle, int capacity, int needs_nms, int max_candidates,
    int candidates_per_source) {
  __shared__ Oriented tile[TILE];
  const int image = blockIdx.y;
  const int lane = threadIdx.x;
  const int warp = threadIdx.y;
  const int count = min(capacity, counters[image].count);
  const bool agnostic = selection->class_agnostic != 0;
  const float threshold = selection->iou;
  const float farthest = farthest_of(threshold);
  const Numbers numbers = {output, (u64)image * image_stride, dtype, channel_stride, source_stride, sides, angle};
  keys += (u64)image * capacity;
  // Not read where a source has several candidates.
  classes += (u64)image * capacity;
  chosen += (u64)image * capacity;

  for (int first = blockIdx.x * WARPS; first < count; first += gridDim.x * WARPS) {
    const bool inside = first + warp < count;
    const Oriented mine = inside ? oriented_of(keys[first + warp], classes, candidates_per_source, agnostic, numbers) : Oriented{};
    if (inside && mine.key == 0 && lane == 0) atomicAdd(&counters[image].dropped, 1);
    bool alive = mine.key != 0;
    // Of those better than this one.
    int rank = 0;
    for (int start = 0; needs_nms && start < count; start += TILE) {
      const int length = min(TILE, count - start);
      const int at = warp * 32 + lane;
      // All have done with the tile before.
      __syncthreads();
      if (at < length) tile[at] = oriented_of(keys[start + at], classes, candidates_per_source, agnostic, numbers);
      __syncthreads();
      for (int other = lane; alive && other < length; other += 32) {
        const Oriented &better = tile[other];
        if (better.key <= mine.key) continue;
        rank += 1;
        if (better.class_id == mine.class_id && is_alike(better, mine, threshold, farthest)) alive = false;
      }
      alive = __all_sync(ALL, alive);
    }
#pragma unroll
    for (int distance = 16; distance > 0; distance >>= 1) rank += __shfl_xor_sync(ALL, rank, distance);
    if (lane == 0 && alive && (!needs_nms || rank < max_candidates)) {
      chosen[atomicAdd(&chosen_counts[image], 1)] = mine.key;
    }
  }
}
