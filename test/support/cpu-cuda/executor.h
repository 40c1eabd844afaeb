// What the executor and the libraries of CUDA that it stands for share; and what they use of C's library.
#pragma once

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "device.h"

typedef unsigned int u32;
typedef unsigned long long u64;

#define THREADS 1024
#define LANES 32
#define STACK_BYTES (32 * 1024)

enum State { READY, AT_BARRIER, AT_WARP, ENDED };

struct Fibre {
  void *stack;  // its pointer while another one runs
  State state;
  int vote, predicate;
  const void *place;  // of the barrier
  u32 mask;
  int source;
  u64 value;
  uint3 thread;
};

// The launch, block and thread that run.
struct Now {
  const CudaKernel *kernel;
  const unsigned char *parameters;
  uint3 grid, size, block, thread;
  u32 threads;
  bool is_backward;
  int me;  // −1 where none runs
  u32 launch_begin, block_begin, interval;
  unsigned short warp_interval[THREADS / LANES];
  void *scheduler;
};

// Memory that kernels may use: device memory, or page-locked memory, all of which counts as written.
struct Buffer {
  u64 begin, length;
  unsigned char *written;  // a byte a byte: whether something has written it
  void *marks;             // 8 bytes a byte: who wrote it last in a launch
  bool is_touched;         // by a kernel
};

struct Launch {
  CudaKernel *kernel;
  unsigned grid[3], block[3];
  unsigned char parameters[256];
};

extern Now now;
extern Fibre fibres[THREADS];
extern unsigned char *stacks;

// Ends the launch with what the thread did, if one runs: nobody goes on with its fibre.
void fail(const char *format, ...);

// What went wrong in the last call, in words; empty if nothing did.
extern char fault[512];

// Runs a kernel to its end. @returns false if it has a fault
bool run_kernel(const Launch &launch);

// The buffer that an address lies in, or the one next to it; null if none is near.
Buffer *buffer_near(u64 address);

// A variable in shared memory, by its bytes from the beginning of all of them.
struct SharedVariable {
  u64 begin, length;
};

// The one that a byte lies in, or behind.
SharedVariable shared_variable(u64 at);
