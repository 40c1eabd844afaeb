// One fault of each kind, for the executor to find: test/gpu/kernels/faults.test.ts.
//
// target, source  u32 [count];  Launch: block 64, grid 1 (two where blocks are to meet).

#include "common.cuh"

extern "C" __global__ void __launch_bounds__(64) fault_none(u32 *target, const u32 *source, int count) {
  __shared__ u32 values[64];
  const int at = threadIdx.x;
  values[at] = at < count ? source[at] : 0;
  __syncthreads();
  const u32 neighbour = __shfl_xor_sync(0xffffffffu, values[at ^ 32], 1);
  if (at < count) target[at] = neighbour;
}

extern "C" __global__ void __launch_bounds__(64) fault_reads_behind(u32 *target, const u32 *source, int count) {
  const int at = threadIdx.x;
  if (at <= count) target[min(at, count - 1)] = source[at];
}

extern "C" __global__ void __launch_bounds__(64) fault_reads_in_front(u32 *target, const u32 *source, int count) {
  const int at = threadIdx.x;
  if (at < count) target[at] = source[at - 1];
}

extern "C" __global__ void __launch_bounds__(64) fault_writes_behind(u32 *target, const u32 *source, int count) {
  const int at = threadIdx.x;
  if (at < count) target[at + 1] = source[at];
}

extern "C" __global__ void __launch_bounds__(64) fault_misaligned(u32 *target, const u32 *source, int count) {
  const int at = threadIdx.x;
  if (at < count - 1) target[at] = *(const u32 *)((const u8 *)(source + at) + 2);
}

extern "C" __global__ void __launch_bounds__(64) fault_reads_unwritten(u32 *target, const u32 *source, int count) {
  const int at = threadIdx.x;
  if (at < count) target[at] += source[at];
}

extern "C" __global__ void __launch_bounds__(64) fault_leaves_out(u32 *target, const u32 *source, int count) {
  const int at = threadIdx.x;
  if (at < count && at != 7) target[at] = source[at];
}

extern "C" __global__ void __launch_bounds__(64) fault_behind_shared(u32 *target, const u32 *source, int count) {
  __shared__ u32 values[60];
  const int at = threadIdx.x;
  values[at] = (u32)at;
  __syncthreads();
  if (at < count) target[at] = values[at] + source[at];
}

extern "C" __global__ void __launch_bounds__(64) fault_unwritten_shared(u32 *target, const u32 *source, int count) {
  __shared__ u32 values[64];
  const int at = threadIdx.x;
  if (at != 5) values[at] = (u32)at;
  __syncthreads();
  if (at < count) target[at] = values[at] + source[at];
}

extern "C" __global__ void __launch_bounds__(64) fault_reads_too_early(u32 *target, const u32 *source, int count) {
  __shared__ u32 values[64];
  const int at = threadIdx.x;
  values[at] = 0;
  __syncthreads();
  values[at] = (u32)at;
  if (at < count) target[at] = values[63 - at] + source[at];
}

extern "C" __global__ void __launch_bounds__(64) fault_writes_too_early(u32 *target, const u32 *source, int count) {
  __shared__ u32 values[64];
  const int at = threadIdx.x;
  values[at] = (u32)at;
  __syncthreads();
  const u32 other = values[at ^ 1];
  values[at] = 0;
  if (at < count) target[at] = other + source[at];
}

extern "C" __global__ void __launch_bounds__(64) fault_writes_twice(u32 *target, const u32 *source, int count) {
  __shared__ u32 one;
  if (threadIdx.x < 2) one = threadIdx.x;
  __syncthreads();
  if ((int)threadIdx.x < count) target[threadIdx.x] = one + source[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(64) fault_blocks_meet(u32 *target, const u32 *source, int count) {
  const int at = threadIdx.x;
  if (at < count) target[at] = source[at] + blockIdx.x;
}

extern "C" __global__ void __launch_bounds__(64) fault_barriers_differ(u32 *target, const u32 *source, int count) {
  const int at = threadIdx.x;
  if (at < 32) {
    __syncthreads();
    if (at < count) target[at] = source[at];
  } else {
    __syncthreads();
  }
}

extern "C" __global__ void __launch_bounds__(64) fault_lane_absent(u32 *target, const u32 *source, int count) {
  const int at = threadIdx.x;
  if (at >= count) return;
  target[at] = __shfl_sync(0xffffffffu, source[at], 0);
}

// No fault by itself: its outcome is that of the order of its threads.
extern "C" __global__ void __launch_bounds__(64) fault_keeps_order(u32 *target, const u32 *source, int count) {
  __shared__ int taken;
  const int at = threadIdx.x;
  if (at == 0) taken = 0;
  __syncthreads();
  if (at < count) target[atomicAdd(&taken, 1)] = source[at];
}
