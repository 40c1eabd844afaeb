// What CUDA C++ gives a kernel, on a CPU: read in front of kernels/*.cu, which Clang then compiles as C++ for the executor
// (executor.cpp). A thread of a block is a fibre; every access that can be seen from outside a thread calls the executor,
// which Clang's instrumentation for its thread sanitizer sees to.
//
// As on a card, to the bit: integers, + − × ÷ and √ of f32 and f64, conversions, f16, votes and shuffles.
// Different by design: the order of threads and atomics is that of the executor; exp, log, pow, sin, cos and tanh are those of the
// C library; a conversion to an integer that does not hold the value, and a shift by 32 or more, are undefined here.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__ const
#define __noinline__ __attribute__((noinline))
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
// Every variable begins at a multiple of 64 bytes, so that what lies behind most of them belongs to none.
#define __shared__ static __attribute__((section("cuda_shared"), aligned(64)))

// Not seen by the executor.
#define CUDA_UNSEEN __attribute__((no_sanitize("thread")))
// The compiler may neither copy such a call nor move it into a branch.
#define CUDA_TOGETHER __attribute__((convergent, noduplicate))

struct uint2 { unsigned x, y; } __attribute__((aligned(8)));
struct int2 { int x, y; } __attribute__((aligned(8)));
struct float2 { float x, y; } __attribute__((aligned(8)));
struct uint3 { unsigned x, y, z; };
struct int3 { int x, y, z; };
struct float3 { float x, y, z; };
struct uint4 { unsigned x, y, z, w; } __attribute__((aligned(16)));
struct int4 { int x, y, z, w; } __attribute__((aligned(16)));
struct float4 { float x, y, z, w; } __attribute__((aligned(16)));
struct double2 { double x, y; } __attribute__((aligned(16)));

static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
static inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// What the executor gives.
enum CudaVote { CUDA_COUNT, CUDA_AND, CUDA_OR };
extern "C" {
__attribute__((const)) uint3 cuda_thread_index();
__attribute__((const)) uint3 cuda_block_index();
__attribute__((const)) uint3 cuda_block_size();
__attribute__((const)) uint3 cuda_grid_size();
CUDA_TOGETHER int cuda_barrier(int vote, int predicate);
// The value of lane `source` of the warp, of the lanes in `mask`; or, with `source` −1, the bits of the lanes whose value is not 0.
CUDA_TOGETHER unsigned long long cuda_warp(unsigned mask, unsigned long long value, int source);
void cuda_atomic(const volatile void *address, unsigned bytes);

double exp(double), log(double), pow(double, double), tanh(double), sqrt(double), floor(double), fabs(double);
float expf(float), logf(float), sqrtf(float), floorf(float), ceilf(float), truncf(float), rintf(float), fabsf(float);
float fminf(float, float), fmaxf(float, float), sinf(float), cosf(float), atan2f(float, float);
double sin(double), cos(double), fmin(double, double), fmax(double, double), rint(double), ceil(double);
int abs(int);
}

static __forceinline__ double sinpi(double x) { return sin(x * 3.141592653589793); }

#define threadIdx cuda_thread_index()
#define blockIdx cuda_block_index()
#define blockDim cuda_block_size()
#define gridDim cuda_grid_size()
#define warpSize 32

static __forceinline__ void __syncthreads() { cuda_barrier(CUDA_COUNT, 0); }
static __forceinline__ int __syncthreads_count(int predicate) { return cuda_barrier(CUDA_COUNT, predicate); }
static __forceinline__ int __syncthreads_and(int predicate) { return cuda_barrier(CUDA_AND, predicate); }
static __forceinline__ int __syncthreads_or(int predicate) { return cuda_barrier(CUDA_OR, predicate); }
static __forceinline__ void __threadfence() {}
static __forceinline__ void __syncwarp(unsigned mask = 0xffffffffu) { cuda_warp(mask, 0, -1); }
static __forceinline__ unsigned __ballot_sync(unsigned mask, int predicate) {
  return (unsigned)cuda_warp(mask, predicate != 0, -1);
}
static __forceinline__ int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static __forceinline__ int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

static __forceinline__ int cuda_lane() {
  return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31);
}
template <typename T> static __forceinline__ T __shfl_sync(unsigned mask, T value, int lane) {
  unsigned long long bits = 0;
  __builtin_memcpy(&bits, &value, sizeof value);
  bits = cuda_warp(mask, bits, lane & 31);
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
template <typename T> static __forceinline__ T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return __shfl_sync(mask, value, cuda_lane() ^ lanes);
}
template <typename T> static __forceinline__ T __shfl_down_sync(unsigned mask, T value, int lanes) {
  return __shfl_sync(mask, value, cuda_lane() + lanes < 32 ? cuda_lane() + lanes : cuda_lane());
}
template <typename T> static __forceinline__ T __shfl_up_sync(unsigned mask, T value, int lanes) {
  return __shfl_sync(mask, value, cuda_lane() >= lanes ? cuda_lane() - lanes : cuda_lane());
}

template <typename T> struct CudaSame { typedef T Type; };
#define CUDA_ATOMIC(name, after)                                                                               \
  template <typename T> CUDA_UNSEEN __noinline__ static T name(T *at, typename CudaSame<T>::Type value) {      \
    cuda_atomic(at, sizeof(T));                                                                                \
    const T before = *at;                                                                                      \
    *at = after;                                                                                               \
    return before;                                                                                             \
  }
CUDA_ATOMIC(atomicAdd, before + value)
CUDA_ATOMIC(atomicSub, before - value)
CUDA_ATOMIC(atomicMin, before < value ? before : value)
CUDA_ATOMIC(atomicMax, before > value ? before : value)
CUDA_ATOMIC(atomicAnd, before & value)
CUDA_ATOMIC(atomicOr, before | value)
CUDA_ATOMIC(atomicXor, before ^ value)
CUDA_ATOMIC(atomicExch, value)
template <typename T>
CUDA_UNSEEN __noinline__ static T atomicCAS(T *at, typename CudaSame<T>::Type expected, typename CudaSame<T>::Type value) {
  cuda_atomic(at, sizeof(T));
  const T before = *at;
  if (before == expected) *at = value;
  return before;
}

#define CUDA_MINMAX(T)                                                \
  static __forceinline__ T min(T a, T b) { return b < a ? b : a; }    \
  static __forceinline__ T max(T a, T b) { return a < b ? b : a; }
CUDA_MINMAX(int)
CUDA_MINMAX(unsigned)
CUDA_MINMAX(long long)
CUDA_MINMAX(unsigned long long)
static __forceinline__ float min(float a, float b) { return fminf(a, b); }
static __forceinline__ float max(float a, float b) { return fmaxf(a, b); }

template <typename T> static __forceinline__ T __ldg(const T *address) { return *address; }

template <typename To, typename From> static __forceinline__ To cuda_bits(From value) {
  To bits;
  static_assert(sizeof(To) == sizeof(From), "as many bits");
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}
static __forceinline__ unsigned __float_as_uint(float value) { return cuda_bits<unsigned>(value); }
static __forceinline__ int __float_as_int(float value) { return cuda_bits<int>(value); }
static __forceinline__ float __uint_as_float(unsigned bits) { return cuda_bits<float>(bits); }
static __forceinline__ float __int_as_float(int bits) { return cuda_bits<float>(bits); }
static __forceinline__ float cuda_from_half(unsigned short bits) { return (float)cuda_bits<_Float16>(bits); }
static __forceinline__ unsigned short cuda_to_half(float value) { return cuda_bits<unsigned short>((_Float16)value); }

// Compiled without contraction: these are the operators.
static __forceinline__ float __fadd_rn(float a, float b) { return a + b; }
static __forceinline__ float __fmul_rn(float a, float b) { return a * b; }
static __forceinline__ float __fdiv_rn(float a, float b) { return a / b; }
static __forceinline__ float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static __forceinline__ float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static __forceinline__ double __dadd_rn(double a, double b) { return a + b; }
static __forceinline__ double __dmul_rn(double a, double b) { return a * b; }
static __forceinline__ double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
// NaN is 0, and what is too large the nearest there is.
static __forceinline__ int __float2int_rn(float value) {
  if (value != value) return 0;
  const float whole = rintf(value);
  return whole >= 2147483648.0f ? 0x7fffffff : whole < -2147483648.0f ? (int)0x80000000u : (int)whole;
}

static __forceinline__ int __ffs(int bits) { return __builtin_ffs(bits); }
static __forceinline__ int __popc(unsigned bits) { return __builtin_popcount(bits); }
static __forceinline__ int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz((unsigned)bits); }
static __forceinline__ unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const unsigned long long bytes = (unsigned long long)high << 32 | low;
  unsigned picked = 0;
  for (int at = 0; at < 4; at++) {
    const unsigned choice = selector >> (4 * at);
    const unsigned byte = (unsigned)(bytes >> (8 * (choice & 7))) & 255u;
    // Its uppermost bit eight times.
    picked |= ((choice & 8) == 0 ? byte : byte & 128u ? 255u : 0u) << (8 * at);
  }
  return picked;
}
static __forceinline__ unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return (unsigned)((((unsigned long long)high << 32 | low) << (shift & 31)) >> 32);
}
static __forceinline__ unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return (unsigned)(((unsigned long long)high << 32 | low) >> (shift & 31));
}

// An entry point as the executor finds it: by its name, with its parameters in one block as cuLaunchKernel gets them.
struct CudaKernel {
  const char *name;
  void (*run)(const unsigned char *parameters);
  unsigned most_threads;
  unsigned launches;
  CudaKernel *next;
};
extern "C" CudaKernel *cuda_kernels;

// Calls a kernel with the parameters of a block: each lies at the next multiple of its own size.
template <typename... Parameters> struct CudaCall {
  template <typename Kernel, typename... Given>
  CUDA_UNSEEN static void run(Kernel kernel, const unsigned char *, unsigned long, Given... given) {
    kernel(given...);
  }
};
template <typename First, typename... Rest> struct CudaCall<First, Rest...> {
  template <typename Kernel, typename... Given>
  CUDA_UNSEEN static void run(Kernel kernel, const unsigned char *block, unsigned long at, Given... given) {
    at = (at + sizeof(First) - 1) / sizeof(First) * sizeof(First);
    First value;
    __builtin_memcpy(&value, block + at, sizeof value);
    CudaCall<Rest...>::run(kernel, block, at + sizeof value, given..., value);
  }
};
template <typename... Parameters>
CUDA_UNSEEN static void cuda_call(void (*kernel)(Parameters...), const unsigned char *block) {
  CudaCall<Parameters...>::run(kernel, block, 0);
}

#define CUDA_KERNEL(name, threads)                                                                \
  CUDA_UNSEEN static void run_##name(const unsigned char *block) { cuda_call(name, block); }      \
  static CudaKernel kernel_##name = {#name, run_##name, threads, 0, nullptr};                     \
  __attribute__((constructor)) CUDA_UNSEEN static void add_##name() {                             \
    kernel_##name.next = cuda_kernels;                                                            \
    cuda_kernels = &kernel_##name;                                                                \
  }
