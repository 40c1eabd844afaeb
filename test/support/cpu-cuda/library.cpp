// libcuda and libcudart as far as the tests of kernels call them: memory with a guard on both sides, and work that is done
// when it is enqueued. What is missing here returns cudaErrorNotSupported: the builder adds it (../cpu-cuda.ts).

#include "executor.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long size;

#define NOT_FOUND 500
#define FAULT 9999
// Between two buffers there is nothing for as far as this.
#define GUARD_BYTES (64 * 1024ull)
#define POISON 0xcb

// ---- shared variables, by the symbols of this library

// They begin at multiples of this.
#define LINE 64

static SharedVariable *of_line;  // which one lies in each line, or in front of it
extern "C" unsigned char __start_cuda_shared[], __stop_cuda_shared[];

static void read_variables() {
  Dl_info info;
  dladdr((void *)read_variables, &info);
  const int file = open(info.dli_fname, O_RDONLY);
  const size length = (size)lseek(file, 0, SEEK_END);
  const char *bytes = (const char *)mmap(nullptr, length, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  const Elf64_Ehdr *header = (const Elf64_Ehdr *)bytes;
  const Elf64_Shdr *sections = (const Elf64_Shdr *)(bytes + header->e_shoff);
  const u64 start = (u64)__start_cuda_shared - (u64)info.dli_fbase;
  const u64 lines = (u64)(__stop_cuda_shared - __start_cuda_shared + LINE - 1) / LINE;
  of_line = (SharedVariable *)calloc(lines, sizeof *of_line);
  for (int at = 0; at < header->e_shnum; at++) {
    if (sections[at].sh_type != SHT_SYMTAB) continue;
    const Elf64_Sym *symbols = (const Elf64_Sym *)(bytes + sections[at].sh_offset);
    for (u64 symbol = 0; symbol < sections[at].sh_size / sizeof *symbols; symbol++) {
      const Elf64_Sym &one = symbols[symbol];
      if (one.st_shndx >= header->e_shnum || sections[one.st_shndx].sh_addr != start || one.st_size == 0) continue;
      const u64 begin = one.st_value - start;
      for (u64 line = begin / LINE; line * LINE < begin + one.st_size; line++) of_line[line] = {begin, one.st_size};
    }
  }
  munmap((void *)bytes, length);
}

SharedVariable shared_variable(u64 at) {
  if (of_line == nullptr) read_variables();
  return of_line[at / LINE];
}

// ---- buffers, in the order of their addresses

static Buffer *buffers;
static int buffer_count, buffer_room, last_found;

static void *reserve(u64 bytes, int access) {
  return mmap(nullptr, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static u64 pages(u64 bytes) { return (bytes + 4095) / 4096 * 4096; }

// The memory begins at a page and ends in front of one that must not be touched; kernels are held to its very bytes.
static void *allocate(u64 bytes, bool is_written) {
  const u64 inner = pages(bytes);
  unsigned char *begin = (unsigned char *)reserve(inner + 2 * GUARD_BYTES, PROT_NONE) + GUARD_BYTES;
  mprotect(begin, inner, PROT_READ | PROT_WRITE);
  memset(begin, POISON, inner);
  Buffer made = {(u64)begin, bytes, (unsigned char *)reserve(pages(bytes), PROT_READ | PROT_WRITE),
                 reserve(pages(bytes * 8), PROT_READ | PROT_WRITE), false};
  if (is_written) memset(made.written, 1, bytes);
  if (buffer_count == buffer_room) {
    buffer_room = buffer_room * 2 + 64;
    buffers = (Buffer *)realloc(buffers, (size)buffer_room * sizeof *buffers);
  }
  int at = buffer_count++;
  for (; at > 0 && buffers[at - 1].begin > made.begin; at--) buffers[at] = buffers[at - 1];
  buffers[at] = made;
  return begin;
}

Buffer *buffer_near(u64 address) {
  if (last_found < buffer_count && address - buffers[last_found].begin < buffers[last_found].length) return &buffers[last_found];
  int low = 0, high = buffer_count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (buffers[middle].begin <= address) low = middle + 1;
    else high = middle;
  }
  const bool is_below = low > 0 && address < buffers[low - 1].begin + pages(buffers[low - 1].length) + GUARD_BYTES;
  const bool is_above = low < buffer_count && address + GUARD_BYTES >= buffers[low].begin;
  if (!is_below && !is_above) return nullptr;
  last_found = is_below ? low - 1 : low;
  return &buffers[last_found];
}

static int complain(const char *format, u64 a, u64 b) {
  snprintf(fault, sizeof fault, format, a, b);
  return FAULT;
}

static int release(void *memory) {
  const u64 begin = (u64)memory;
  int at = 0;
  while (at < buffer_count && buffers[at].begin != begin) at++;
  if (at == buffer_count) return complain("0x%llx is freed, which is no buffer", begin, 0);
  const Buffer freed = buffers[at];
  buffer_count--;
  for (; at < buffer_count; at++) buffers[at] = buffers[at + 1];
  munmap((void *)(begin - GUARD_BYTES), pages(freed.length) + 2 * GUARD_BYTES);
  munmap(freed.written, pages(freed.length));
  munmap(freed.marks, pages(freed.length * 8));
  return 0;
}

// ---- work, done at once or kept for a graph

enum Kind { LAUNCH, COPY, FILL };

struct Work {
  Kind kind;
  Launch launch;
  void *to;
  const void *from;
  u64 bytes;
  int value;
};

struct Graph {
  Work *works;
  int count;
};

static Graph *capturing;

static bool is_device(u64 address) {
  Buffer *buffer = buffer_near(address);
  return buffer != nullptr && address - buffer->begin < buffer->length;
}

static int do_copy(const Work &work) {
  const u64 to = (u64)work.to, from = (u64)work.from, bytes = work.bytes;
  if (is_device(from)) {
    Buffer *source = buffer_near(from);
    const u64 at = from - source->begin;
    if (at + bytes > source->length) return complain("a copy of %llu bytes reaches beyond its source of %llu", bytes, source->length);
    for (u64 byte = at; byte < at + bytes; byte++)
      if (!source->written[byte]) return complain("byte %llu of a buffer of %llu is copied, and nothing has written it", byte, source->length);
  }
  if (is_device(to)) {
    Buffer *target = buffer_near(to);
    const u64 at = to - target->begin;
    if (at + bytes > target->length) return complain("a copy of %llu bytes reaches beyond its target of %llu", bytes, target->length);
    memset(target->written + at, 1, bytes);
  }
  memmove(work.to, work.from, bytes);
  return 0;
}

static int do_fill(const Work &work) {
  Buffer *target = buffer_near((u64)work.to);
  if (target == nullptr || (u64)work.to < target->begin || (u64)work.to + work.bytes > target->begin + target->length)
    return complain("a fill of %llu bytes at 0x%llx reaches beyond its buffer", work.bytes, (u64)work.to);
  memset(work.to, work.value, work.bytes);
  memset(target->written + ((u64)work.to - target->begin), 1, work.bytes);
  return 0;
}

static int run(const Work &work) {
  if (work.kind == COPY) return do_copy(work);
  if (work.kind == FILL) return do_fill(work);
  return run_kernel(work.launch) ? 0 : FAULT;
}

static int enqueue(const Work &work) {
  if (capturing == nullptr) return run(work);
  capturing->works = (Work *)realloc(capturing->works, (size)(capturing->count + 1) * sizeof work);
  capturing->works[capturing->count++] = work;
  return 0;
}

// ---- the calls

extern "C" {
#define DONE(name) int name() { return 0; }
DONE(cuInit)
DONE(cuDevicePrimaryCtxRelease_v2)
DONE(cuEventSynchronize)
DONE(cuModuleUnload)
DONE(cudaSetDevice)
DONE(cudaDeviceSynchronize)
DONE(cudaGetLastError)
DONE(cudaStreamDestroy)
DONE(cudaStreamWaitEvent)
DONE(cudaStreamSynchronize)
DONE(cudaStreamQuery)
DONE(cudaEventQuery)
DONE(cudaEventSynchronize)

int cuDriverGetVersion(int *out) { return *out = 12020, 0; }
int cudaRuntimeGetVersion(int *out) { return *out = 12020, 0; }
int cudaGetDeviceCount(int *out) { return *out = 1, 0; }
int cuDeviceGet(int *out, int) { return *out = 0, 0; }
int cuDeviceGetName(char *out, int length, int) { return snprintf(out, (size)length, "the executor of kernels on a CPU"), 0; }
int cuDeviceTotalMem_v2(size *out, int) { return *out = 1ul << 32, 0; }
int cudaMemGetInfo(size *free_bytes, size *total) { return *free_bytes = *total = 1ul << 32, 0; }
int cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { return *least = *greatest = 0, 0; }

int cudaDeviceGetAttribute(int *out, int attribute, int) {
  *out = attribute == 1 ? 1024 : attribute == 10 ? 32 : attribute == 16 || attribute == 19 ? 1 : attribute == 75 ? 7 : attribute == 76 ? 5 : 0;
  return 0;
}

static void *handle() {
  static u64 last = 0x1000;
  return (void *)(last += 16);
}
int cuDevicePrimaryCtxRetain(void **out, int) { return *out = handle(), 0; }
int cuModuleLoadDataEx(void **out, const void *, unsigned, int *, void **) { return *out = handle(), 0; }
int cudaStreamCreateWithPriority(void **out, unsigned, int) { return *out = handle(), 0; }

// When it was recorded: all before it is done by then.
int cudaEventCreateWithFlags(void **out, unsigned) { return *out = calloc(1, sizeof(struct timespec)), 0; }
int cudaEventRecord(void *event, void *) { return clock_gettime(CLOCK_MONOTONIC, (struct timespec *)event); }
int cudaEventDestroy(void *event) { return free(event), 0; }
int cudaEventElapsedTime(float *out, void *start, void *end) {
  const struct timespec *from = (struct timespec *)start, *to = (struct timespec *)end;
  return *out = (float)((double)(to->tv_sec - from->tv_sec) * 1e3 + (double)(to->tv_nsec - from->tv_nsec) / 1e6), 0;
}

const char *cudaGetErrorName(int status) { return status == FAULT ? "FAULT" : "an error of CUDA's"; }
const char *cudaGetErrorString(int status) { return status == FAULT ? fault : ""; }
int cuGetErrorName(int status, const char **out) { return *out = cudaGetErrorName(status), 0; }
int cuGetErrorString(int status, const char **out) { return *out = cudaGetErrorString(status), 0; }

int cudaMalloc(void **out, size bytes) { return *out = allocate(bytes, false), 0; }
int cudaFree(void *memory) { return release(memory); }
// JS writes it with nobody looking.
int cudaHostAlloc(void **out, size bytes, unsigned) { return *out = allocate(bytes, true), 0; }
int cudaFreeHost(void *memory) { return release(memory); }
int cudaHostGetDevicePointer(void **out, void *memory, unsigned) { return *out = memory, 0; }

int cudaMemcpyAsync(void *to, const void *from, size bytes, int, void *) {
  return enqueue({COPY, {}, to, from, bytes, 0});
}
int cudaMemcpy2DAsync(void *to, size to_pitch, const void *from, size from_pitch, size width, size height, int, void *) {
  int status = 0;
  for (size row = 0; row < height && status == 0; row++)
    status = enqueue({COPY, {}, (char *)to + row * to_pitch, (const char *)from + row * from_pitch, width, 0});
  return status;
}
int cudaMemsetAsync(void *to, int value, size bytes, void *) { return enqueue({FILL, {}, to, nullptr, bytes, value}); }

int cuModuleGetFunction(void **out, void *, const char *name) {
  for (CudaKernel *kernel = cuda_kernels; kernel != nullptr; kernel = kernel->next) {
    if (strcmp(kernel->name, name) == 0) return *out = kernel, 0;
  }
  return NOT_FOUND;
}
int cuFuncGetAttribute(int *out, int attribute, void *kernel) {
  return *out = attribute == 0 ? (int)((CudaKernel *)kernel)->most_threads : 0, 0;
}
int cuLaunchKernel(void *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y, unsigned z,
                   unsigned shared_bytes, void *, void **, void **extra) {
  Work work = {LAUNCH, {(CudaKernel *)kernel, {grid_x, grid_y, grid_z}, {x, y, z}, {}}, nullptr, nullptr, 0, 0};
  const size bytes = *(const size *)extra[3];
  if (shared_bytes != 0 || bytes > sizeof work.launch.parameters)
    return complain("%llu bytes of dynamic shared memory and %llu of parameters: there are 0 and 256", shared_bytes, bytes);
  memcpy(work.launch.parameters, extra[1], bytes);
  return enqueue(work);
}

int cudaStreamIsCapturing(void *, int *out) { return *out = capturing != nullptr, 0; }
int cudaStreamBeginCapture(void *, int) { return capturing = (Graph *)calloc(1, sizeof(Graph)), 0; }
int cudaStreamEndCapture(void *, void **out) { return *out = capturing, capturing = nullptr, 0; }
int cudaGraphGetNodes(void *graph, void *, size *count) { return *count = (size)((Graph *)graph)->count, 0; }
// What is made of a graph outlives it.
int cudaGraphInstantiateWithFlags(void **out, void *graph, u64) {
  Graph *exec = (Graph *)malloc(sizeof(Graph));
  *exec = *(const Graph *)graph;
  exec->works = (Work *)malloc((size)exec->count * sizeof(Work));
  memcpy(exec->works, ((const Graph *)graph)->works, (size)exec->count * sizeof(Work));
  return *out = exec, 0;
}
int cudaGraphUpload(void *, void *) { return 0; }
int cudaGraphLaunch(void *exec, void *) {
  const Graph *graph = (const Graph *)exec;
  int status = 0;
  for (int at = 0; at < graph->count && status == 0; at++) status = run(graph->works[at]);
  return status;
}
int cudaGraphDestroy(void *graph) { return free(((Graph *)graph)->works), free(graph), 0; }
int cudaGraphExecDestroy(void *exec) { return cudaGraphDestroy(exec); }
}
