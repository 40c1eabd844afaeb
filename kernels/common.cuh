// Types and conversions that the kernels share. NVRTC brings no cuda_fp16.h, so f16 goes through PTX; on a CPU it is
// what test/support/cpu-cuda/device.h gives.
#pragma once

typedef unsigned char u8;
typedef unsigned short f16; // bits of an IEEE half
typedef unsigned int u32;
typedef unsigned long long u64;

static_assert(sizeof(int) == 4 && sizeof(u64) == 8, "the host packs arguments for these sizes");

__device__ __forceinline__ float from_element(float value) { return value; }

__device__ __forceinline__ float from_element(f16 bits) {
#ifdef __CUDACC__
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
#else
  return cuda_from_half(bits);
#endif
}

// Round to nearest, halves to even, as Float16Array does.
__device__ __forceinline__ f16 to_f16(float value) {
#ifdef __CUDACC__
  f16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
#else
  return cuda_to_half(value);
#endif
}

// x × slope + offset, each step rounded, as the CPU does it.
__device__ __forceinline__ float on_line(float value, float slope, float offset) {
  return __fadd_rn(__fmul_rn(value, slope), offset);
}

// A level as Uint8ClampedArray stores it: NaN is 0, halves go to the even neighbour.
__device__ __forceinline__ u8 to_level(float value) {
  return (u8)__float2int_rn(value > 0.0f ? fminf(value, 255.0f) : 0.0f);
}

__device__ __forceinline__ int clamp(int value, int low, int high) { return min(max(value, low), high); }
