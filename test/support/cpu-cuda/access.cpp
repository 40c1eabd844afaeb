// Looks at every access of a kernel that can be seen from outside its thread: Clang calls this in front of each, as it would the
// library of its thread sanitizer. Faults are
// - an access outside every buffer, in front of or behind its shared variable, or at an address that its size does not divide;
// - a read of bytes that nothing has written;
// - an access to bytes that another thread of the block has written (shared memory: or read) since the last barrier, or
//   a thread of another block in this launch, unless both are atomic or one is volatile.

#include "executor.h"

#define SHARED_BYTES (1 << 20)

// Who wrote or read a byte last.
struct Mark {
  u32 interval;         // between two barriers of a block, counted since the start; 0: nobody
  unsigned short who;   // the thread, or one of below
  unsigned short warp_interval;
};
#define SOME_OF_WARP 0x400  // and the warp's number: several of its threads
#define SEVERAL 0x800       // threads of several warps
#define WHO 0xfff
#define ATOMIC 0x1000
#define VOLATILE 0x2000

static Mark shared_written[SHARED_BYTES], shared_read[SHARED_BYTES];
extern "C" unsigned char __start_cuda_shared[], __stop_cuda_shared[];

enum Way { READS = 0, WRITES = 1, AS_ATOMIC = 2, AS_VOLATILE = 4 };

static const char *verb(int way) {
  return way & AS_ATOMIC ? "changes" : way & WRITES ? "writes" : "reads";
}

// Whether an access may come before or after what a mark of this launch tells of. That of another block has no place in time.
static __forceinline__ bool is_ordered(Mark mark, u32 way) {
  if ((way & AS_ATOMIC) && (mark.who & ATOMIC)) return true;
  if ((way & AS_VOLATILE) || (mark.who & VOLATILE)) return true;
  if (mark.interval < now.block_begin) return false;
  if (mark.interval != now.interval) return true;
  const u32 who = mark.who & WHO, me = (u32)now.me, warp = me / LANES;
  if (who == me) return true;
  const bool is_of_warp = who < SOME_OF_WARP ? who / LANES == warp : who == (SOME_OF_WARP | warp);
  return is_of_warp && mark.warp_interval != now.warp_interval[warp];
}

static Mark my_mark(u32 way) {
  const u32 flags = (way & AS_ATOMIC ? ATOMIC : 0) | (way & AS_VOLATILE ? VOLATILE : 0);
  return {now.interval, (unsigned short)((u32)now.me | flags), now.warp_interval[now.me / LANES]};
}

static void fail_race(const char *where, u64 at, u64 bytes, u32 way, Mark mark, const char *did) {
  if (mark.interval < now.block_begin) {
    fail("%s %llu bytes at byte %llu of %s, which another block has %s in the same launch", verb(way), bytes, at, where, did);
  } else if ((mark.who & WHO) < SOME_OF_WARP) {
    const uint3 other = fibres[mark.who & WHO].thread;
    fail("%s %llu bytes at byte %llu of %s, which thread (%u, %u, %u) has %s with no barrier in between", verb(way), bytes, at,
         where, other.x, other.y, other.z, did);
  } else {
    fail("%s %llu bytes at byte %llu of %s, which several threads have %s with no barrier in between", verb(way), bytes, at,
         where, did);
  }
}

static void see_shared(u64 at, u64 bytes, u32 way) {
  if (at + bytes > SHARED_BYTES) fail("%s shared memory beyond the %d bytes that are looked at", verb(way), SHARED_BYTES);
  const auto [begin, length] = shared_variable(at);
  if (at + bytes > begin + length) {
    fail("%s %llu bytes %lld bytes behind a shared variable of %llu", verb(way), bytes, (long long)(at - begin - length), length);
  }
  bool is_written = false;
  const Mark mine = my_mark(way);
  for (u64 byte = at; byte < at + bytes; byte++) {
    const Mark written = shared_written[byte], read = shared_read[byte];
    is_written |= written.interval >= now.block_begin;
    if (written.interval == now.interval && !is_ordered(written, way)) fail_race("a shared variable", at - begin, bytes, way, written, "written");
    if (way & WRITES) {
      if (read.interval == now.interval && !is_ordered(read, way)) fail_race("a shared variable", at - begin, bytes, way, read, "read");
      shared_written[byte] = mine;
    } else if (read.interval != now.interval || (read.who & WHO) == (u32)now.me) {
      shared_read[byte] = mine;
    } else {
      const u32 warp = (u32)now.me / LANES, who = read.who & WHO;
      const bool is_of_warp = who < SOME_OF_WARP ? who / LANES == warp : who == (SOME_OF_WARP | warp);
      shared_read[byte].who = is_of_warp ? SOME_OF_WARP | warp : SEVERAL;
      shared_read[byte].warp_interval = mine.warp_interval;
    }
  }
  if (!is_written && (!(way & WRITES) || (way & AS_ATOMIC)))
    fail("%s %llu bytes at byte %llu of a shared variable, which nothing has written", verb(way), bytes, at - begin);
}

static void see_global(Buffer *buffer, u64 at, u64 bytes, u32 way) {
  char where[64];
  if (!(way & WRITES) || (way & AS_ATOMIC)) {
    bool is_written = false;
    for (u64 byte = at; byte < at + bytes && !is_written; byte++) is_written = buffer->written[byte];
    if (!is_written)
      fail("%s %llu bytes at byte %llu of a buffer of %llu, which nothing has written", verb(way), bytes, at, buffer->length);
  }
  if (!(way & WRITES) && !buffer->is_touched) return;
  Mark *marks = (Mark *)buffer->marks;
  const Mark mine = my_mark(way);
  for (u64 byte = at; byte < at + bytes; byte++) {
    const Mark written = marks[byte];
    if (written.interval >= now.launch_begin && !is_ordered(written, way)) {
      snprintf(where, sizeof where, "a buffer of %llu", buffer->length);
      fail_race(where, at, bytes, way, written, "written");
    }
    if (way & WRITES) marks[byte] = mine;
  }
  if (way & WRITES) {
    memset(buffer->written + at, 1, bytes);
    buffer->is_touched = true;
  }
}

static __forceinline__ void see(const volatile void *address, u64 bytes, u32 way, bool is_aligned) {
  const u64 at = (u64)address;
  if (bytes == 0 || at - (u64)(stacks + now.me * STACK_BYTES) < STACK_BYTES) return;
  if (is_aligned && (at & (bytes - 1)) != 0) fail("%s %llu bytes at 0x%llx, which is no multiple of that", verb(way), bytes, at);
  if (at - (u64)__start_cuda_shared < (u64)(__stop_cuda_shared - __start_cuda_shared)) {
    see_shared(at - (u64)__start_cuda_shared, bytes, way);
    return;
  }
  Buffer *buffer = buffer_near(at);
  if (buffer == nullptr) {
    fail("%s %llu bytes at 0x%llx, where no buffer is", verb(way), bytes, at);
  } else if (at < buffer->begin) {
    fail("%s %llu bytes %llu bytes in front of a buffer of %llu", verb(way), bytes, buffer->begin - at, buffer->length);
  } else if (at + bytes > buffer->begin + buffer->length) {
    fail("%s %llu bytes %lld bytes behind a buffer of %llu", verb(way), bytes,
         (long long)(at - buffer->begin - buffer->length), buffer->length);
  } else {
    see_global(buffer, at - buffer->begin, bytes, way);
  }
}

extern "C" {
void cuda_atomic(const volatile void *address, unsigned bytes) { see(address, bytes, WRITES | AS_ATOMIC, true); }

#define SEEN(bytes)                                                                                     \
  void __tsan_read##bytes(void *at) { see(at, bytes, READS, true); }                                    \
  void __tsan_write##bytes(void *at) { see(at, bytes, WRITES, true); }                                  \
  void __tsan_read_write##bytes(void *at) { see(at, bytes, READS, true), see(at, bytes, WRITES, true); }\
  void __tsan_volatile_read##bytes(void *at) { see(at, bytes, READS | AS_VOLATILE, true); }             \
  void __tsan_volatile_write##bytes(void *at) { see(at, bytes, WRITES | AS_VOLATILE, true); }           \
  void __tsan_unaligned_read##bytes(void *at) { see(at, bytes, READS, false); }                         \
  void __tsan_unaligned_write##bytes(void *at) { see(at, bytes, WRITES, false); }                       \
  void __tsan_unaligned_read_write##bytes(void *at) { see(at, bytes, READS, false), see(at, bytes, WRITES, false); }
SEEN(1) SEEN(2) SEEN(4) SEEN(8) SEEN(16)

void *__tsan_memcpy(void *to, const void *from, u64 bytes) {
  see(from, bytes, READS, false);
  see(to, bytes, WRITES, false);
  return memcpy(to, from, bytes);
}
void *__tsan_memmove(void *to, const void *from, u64 bytes) {
  see(from, bytes, READS, false);
  see(to, bytes, WRITES, false);
  return memmove(to, from, bytes);
}
void *__tsan_memset(void *to, int value, u64 bytes) {
  see(to, bytes, WRITES, false);
  return memset(to, value, bytes);
}
void __tsan_init() {}
}
