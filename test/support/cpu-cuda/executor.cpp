// Runs kernels on a CPU: the threads of a block are fibres, blocks run one after the other, and every access is looked at
// (access.cpp). A fault ends the launch, and its words are the error of cuLaunchKernel: a vote or shuffle without one of its
// lanes, barriers at different places, and those of access.cpp.
//
// Threads and blocks run forwards in the first launch of a kernel, backwards in the next two, forwards in the next two, and
// so on, so that both of the orders are among any two that begin at an even number.

#include "executor.h"

#define GUARD_BYTES 4096

CudaKernel *cuda_kernels;
char fault[512];
Now now;
Fibre fibres[THREADS];
unsigned char *stacks;

static u32 intervals = 1;  // the first is that of the host

// Saves what a call must keep on the stack, and goes on with another one.
extern "C" void cuda_switch(void **from, void *to);
#if defined(__x86_64__)
asm(".globl cuda_switch\ncuda_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
#define SAVED_WORDS 6
#elif defined(__aarch64__)
asm(".globl cuda_switch\ncuda_switch:\n"
    "sub sp, sp, #160\n"
    "stp d8, d9, [sp]\nstp d10, d11, [sp, #16]\nstp d12, d13, [sp, #32]\nstp d14, d15, [sp, #48]\n"
    "stp x19, x20, [sp, #64]\nstp x21, x22, [sp, #80]\nstp x23, x24, [sp, #96]\nstp x25, x26, [sp, #112]\n"
    "stp x27, x28, [sp, #128]\nstp x29, x30, [sp, #144]\n"
    "mov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
    "ldp d8, d9, [sp]\nldp d10, d11, [sp, #16]\nldp d12, d13, [sp, #32]\nldp d14, d15, [sp, #48]\n"
    "ldp x19, x20, [sp, #64]\nldp x21, x22, [sp, #80]\nldp x23, x24, [sp, #96]\nldp x25, x26, [sp, #112]\n"
    "ldp x27, x28, [sp, #128]\nldp x29, x30, [sp, #144]\n"
    "add sp, sp, #160\nret\n");
#define SAVED_WORDS 20
#endif

static void yield(Fibre *fibre) { cuda_switch(&fibre->stack, now.scheduler); }

void fail(const char *format, ...) {
  if (fault[0] == 0) {
    const uint3 t = now.thread, b = now.block;
    int length = 0;
    if (now.me >= 0) {
      length = snprintf(fault, sizeof fault, "thread (%u, %u, %u) of block (%u, %u, %u) of %s ", t.x, t.y, t.z, b.x, b.y, b.z,
                        now.kernel->name);
    }
    __builtin_va_list list;
    __builtin_va_start(list, format);
    vsnprintf(fault + length, sizeof fault - length, format, list);
    __builtin_va_end(list);
  }
  if (now.me >= 0) yield(&fibres[now.me]);
}

extern "C" {
uint3 cuda_thread_index() { return now.thread; }
uint3 cuda_block_index() { return now.block; }
uint3 cuda_block_size() { return now.size; }
uint3 cuda_grid_size() { return now.grid; }

__attribute__((noinline)) int cuda_barrier(int vote, int predicate) {
  Fibre *mine = &fibres[now.me];
  mine->state = AT_BARRIER;
  mine->vote = vote;
  mine->predicate = predicate != 0;
  mine->place = __builtin_return_address(0);
  yield(mine);
  return mine->predicate;
}

__attribute__((noinline)) u64 cuda_warp(u32 mask, u64 value, int source) {
  Fibre *mine = &fibres[now.me];
  mine->state = AT_WARP;
  mine->mask = mask;
  mine->value = value;
  mine->source = source;
  yield(mine);
  return mine->value;
}
}

static void begin_fibre() {
  now.kernel->run(now.parameters);
  fibres[now.me].state = ENDED;
  yield(&fibres[now.me]);
}

static void prepare(Fibre *fibre, u32 number) {
  // Not all at one place of their pages, which a cache has few lines for.
  unsigned char *top = stacks + (number + 1) * STACK_BYTES - number % 16 * 256;
  // As cuda_switch leaves it; the word above the entry is where a caller's return address would be.
  u64 *words = (u64 *)top - SAVED_WORDS - 4;
  memset(words, 0, (SAVED_WORDS + 4) * 8);
#if defined(__x86_64__)
  words[SAVED_WORDS] = (u64)begin_fibre;
#else
  words[SAVED_WORDS - 1] = (u64)begin_fibre;
#endif
  fibre->stack = words;
  fibre->state = READY;
}

static int in_order(int at, int count) { return now.is_backward ? count - 1 - at : at; }

static bool run_ready(int warp) {
  const int first = warp * LANES, count = now.threads - first < LANES ? now.threads - first : LANES;
  bool has_run = false;
  for (int at = 0; at < count; at++) {
    now.me = first + in_order(at, count);
    Fibre *fibre = &fibres[now.me];
    if (fibre->state != READY) continue;
    now.thread = fibre->thread;
    cuda_switch(&now.scheduler, fibre->stack);
    if (fault[0] != 0) return false;
    has_run = true;
  }
  now.me = -1;
  return has_run;
}

// Lets the lanes of a warp that have come to a vote or shuffle have its result. All have run as far as they can.
static bool join_warp(int warp) {
  Fibre *lanes = fibres + warp * LANES;
  const u32 count = now.threads - warp * LANES < LANES ? now.threads - warp * LANES : LANES;
  bool has_joined = false;
  for (u32 lane = 0; lane < count; lane++) {
    if (lanes[lane].state != AT_WARP) continue;
    const u32 mask = lanes[lane].mask & (count == LANES ? 0xffffffffu : (1u << count) - 1);
    u32 votes = 0;
    u64 values[LANES] = {};
    for (u32 other = 0; other < count; other++) {
      if ((mask >> other & 1) == 0) continue;
      if (lanes[other].state != AT_WARP || lanes[other].mask != lanes[lane].mask || (mask >> lane & 1) == 0) {
        const uint3 absent = lanes[other].thread;
        fail("a vote or shuffle of warp %d of block (%u, %u, %u) of %s lacks thread (%u, %u, %u)", warp, now.block.x,
             now.block.y, now.block.z, now.kernel->name, absent.x, absent.y, absent.z);
        return false;
      }
      values[other] = lanes[other].value;
      votes |= (u32)(values[other] != 0) << other;
    }
    now.warp_interval[warp]++;
    for (u32 other = 0; other < count; other++) {
      if ((mask >> other & 1) == 0) continue;
      const int source = lanes[other].source;
      lanes[other].value = source < 0 ? votes : values[source];
      lanes[other].state = READY;
    }
    has_joined = true;
  }
  return has_joined;
}

// Lets all threads pass the barrier at which they wait. @returns false if all have ended
static bool pass_barrier() {
  const Fibre *first = nullptr;
  int votes = 0, waiting = 0;
  for (u32 at = 0; at < now.threads; at++) {
    if (fibres[at].state != AT_BARRIER) continue;
    if (first == nullptr) first = &fibres[at];
    if (fibres[at].place != first->place) {
      const uint3 one = first->thread, other = fibres[at].thread;
      fail("threads (%u, %u, %u) and (%u, %u, %u) of block (%u, %u, %u) of %s wait at different barriers", one.x, one.y, one.z,
           other.x, other.y, other.z, now.block.x, now.block.y, now.block.z, now.kernel->name);
      return false;
    }
    votes += fibres[at].predicate;
    waiting++;
  }
  if (first == nullptr) return false;
  const int vote = first->vote;
  const int result = vote == CUDA_AND ? votes == waiting : vote == CUDA_OR ? votes > 0 : votes;
  for (u32 at = 0; at < now.threads; at++) {
    if (fibres[at].state != AT_BARRIER) continue;
    fibres[at].predicate = result;
    fibres[at].state = READY;
  }
  now.interval = ++intervals;
  return true;
}

static void run_block() {
  now.block_begin = now.interval = ++intervals;
  for (u32 at = 0; at < now.threads; at++) prepare(&fibres[at], at);
  const int warps = (int)(now.threads + LANES - 1) / LANES;
  do {
    for (int at = 0; at < warps && fault[0] == 0; at++) {
      const int warp = in_order(at, warps);
      while (run_ready(warp) && join_warp(warp)) continue;
    }
  } while (fault[0] == 0 && pass_barrier());
}

static unsigned char *make_stacks() {
  unsigned char *memory = (unsigned char *)mmap(nullptr, THREADS * STACK_BYTES, PROT_READ | PROT_WRITE,
                                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  for (int at = 0; at < THREADS; at++) mprotect(memory + at * STACK_BYTES, GUARD_BYTES, PROT_NONE);
  return memory;
}

bool run_kernel(const Launch &launch) {
  fault[0] = 0;
  CudaKernel *kernel = launch.kernel;
  const u32 (&grid)[3] = launch.grid, (&block)[3] = launch.block;
  now.me = -1;
  now.kernel = kernel;
  now.parameters = launch.parameters;
  now.grid = {grid[0], grid[1], grid[2]};
  now.size = {block[0], block[1], block[2]};
  now.threads = block[0] * block[1] * block[2];
  if (now.threads == 0 || now.threads > kernel->most_threads) {
    fail("%s takes 1 to %u threads a block, got %u", kernel->name, kernel->most_threads, now.threads);
    return false;
  }
  if (stacks == nullptr) stacks = make_stacks();
  for (u32 number = 0; number < now.threads; number++)
    fibres[number].thread = {number % block[0], number / block[0] % block[1], number / block[0] / block[1]};
  now.is_backward = ((kernel->launches++ + 1) >> 1 & 1) != 0;
  now.launch_begin = intervals + 1;
  const int blocks = (int)(grid[0] * grid[1] * grid[2]);
  for (int at = 0; at < blocks && fault[0] == 0; at++) {
    const u32 number = (u32)in_order(at, blocks);
    now.block = {number % grid[0], number / grid[0] % grid[1], number / grid[0] / grid[1]};
    run_block();
  }
  now.me = -1;
  return fault[0] == 0;
}
