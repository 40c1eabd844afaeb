// Whether the data of JPEGs codes all of their pixels, which the engines that decode them do not tell. The data is cut
// into parts; each is walked through from a guessed state, and again from where the part before it ended, until nothing
// changes: Huffman codes find back into step by themselves, mostly within a part. A walk that comes to a mark in the state
// in which the last one passed it ends there, as the rest would be the same. Then the blocks are counted.
//
// images  Image [N], below, in page-locked host memory that the kernel sees
// `round`   0 guesses; later ones take up where the part before ended, and leave what has not changed
//
// jpeg_check_walk   a thread a part, which is looked at six times a launch; launched twice. Long parts and large blocks:
//                   it keeps few multiprocessors from the inference it runs beside, rather than end soon
// jpeg_check_judge  whether all parts are in step, and have as many blocks as the image needs; a block an image
// Launch: jpeg_check_walk block 512, grid (⌈parts / 512⌉, N); jpeg_check_judge block 256, grid N.
// Tolerance: none. CPU reference: native/jpeg-check.c

#include "common.cuh"

#define PART_BITS 8192
#define MARKS 7        // in a part, as far from each other as from its borders
#define MARK_BITS (PART_BITS / (MARKS + 1))
#define NO_STATE 0xffffffffu
#define THREADS 512
#define PASSES 6
#define BLOCK (1 << 16)
#define FAULT 1
#define PEEK 12
#define BLOCK_END 128
#define WHOLE 1
#define DAMAGED 2
#define UNDECIDED 3

// Written by native/jpeg-plan.c; the data of the image follows.
struct Plan {
  unsigned short codes[4][1 << PEEK];  // DC 0, DC 1, AC 0, AC 1: bits << 8 | places; 0 for codes longer than PEEK
  int limits[4][18];
  int offsets[4][17];
  u8 symbols[4][256];
  u8 dc[12];         // table of each block of a unit: 0 or 1
  u8 ac[12];         // 2 or 3
  int blocks;        // of a unit
  int expected;      // blocks of the image
  u32 bits;          // of data
  int restarts;      // bits before each: the first in the last 4 bytes of the image's memory, and so on downwards
};

static_assert(sizeof(Plan) == 34392, "native/jpeg-plan.c writes 34392 bytes");

// What the last walk through a part found: ends at `state`, having begun at `begin`. Counts are blocks << 16 | faults.
struct Part {
  u64 begin, state;
  u32 counts;
  u32 reserved;
  struct {
    u32 state;   // in which the walk passed the mark, its position counted from the part
    u32 counts;  // up to there
  } marks[MARKS];
};

static_assert(sizeof(Part) == 80, "src/nvjpeg/batch-check.ts counts 80 bytes");

// 48 bytes, packed by src/nvjpeg/batch-check.ts.
struct __align__(16) Image {
  const Plan *plan;
  const u8 *end;     // of the image's memory
  Part *parts;
  int capacity;      // parts there is room for
  int verdict;       // written by jpeg_check_judge
  int is_laid_out;   // 0: there is no plan
  int reserved[3];
};

static_assert(sizeof(Image) == 48, "src/nvjpeg/batch-check.ts packs 48 bytes");

// A place in the data: next bit, block of the unit, place in the block (0: its DC value comes next).
__device__ __forceinline__ u64 pack(u32 position, int block, int place) {
  return (u64)position << 16 | (u64)block << 8 | (u64)place;
}

// 32 bits from a position on, the first uppermost.
__device__ __forceinline__ u32 window(const u32 *words, u32 position) {
  const u32 first = __byte_perm(words[position >> 5], 0, 0x0123);
  const u32 second = __byte_perm(words[(position >> 5) + 1], 0, 0x0123);
  return __funnelshift_l(second, first, position & 31);
}

__device__ __forceinline__ u32 restart_at(const u8 *end, int number) { return ((const u32 *)end)[-1 - number]; }

// The entry of a code longer than PEEK bits; 0 where there is none.
__device__ u32 long_entry(const Plan *plan, int table, u32 bits) {
  const int peeked = (int)(bits >> 16);
  int length = PEEK + 1;
  while (length <= 16 && peeked >= plan->limits[table][length]) length++;
  if (length > 16) return 0;
  const int at = (peeked >> (16 - length)) + plan->offsets[table][length];
  if (at < 0 || at > 255) return 0;
  const u32 symbol = plan->symbols[table][at];
  if (table < 2) return (length + symbol) << 8;
  const u32 value_bits = symbol & 15;
  u32 places = (symbol >> 4) + 1;
  if (value_bits == 0) places = symbol == 0xf0 ? 16 : BLOCK_END;
  return (length + value_bits) << 8 | places;
}

__device__ __forceinline__ int part_count(const Plan *plan) { return (plan->bits + PART_BITS - 1) / PART_BITS; }

// `is_first`: there is no former walk to meet.
__device__ void walk(const Image &image, int index, u64 begin, bool is_first) {
  const Plan *plan = image.plan;
  const u32 *words = (const u32 *)(plan + 1);
  const u32 bits = plan->bits;
  const u32 start = (u32)index * PART_BITS;
  const u32 limit = min(start + PART_BITS, bits);
  const int units = plan->blocks;
  u32 dc = 0, ac = 0;  // a bit for each block of a unit: whether its table is the second
  for (int at = 0; at < units; at++) {
    dc |= (u32)(plan->dc[at] & 1) << at;
    ac |= (u32)(plan->ac[at] & 1) << at;
  }
  u32 position = (u32)(begin >> 16);
  int block = (int)(begin >> 8 & 255);
  int place = (int)(begin & 255);
  u32 block_start = position;  // or of the part, where a block lies across its border
  u32 counts = 0;
  Part *part = image.parts + index;
  int mark = 0;
  u32 next_mark = start + MARK_BITS;

  // The first restart behind the position; behind the last, the end is one.
  int restart = 0;
  for (int high = plan->restarts; restart < high;) {
    const int middle = (restart + high) / 2;
    if (restart_at(image.end, middle) > position) high = middle;
    else restart = middle + 1;
  }
  u32 border = restart < plan->restarts ? restart_at(image.end, restart) : bits;

  while (position < limit) {
    if (position >= next_mark && mark < MARKS) {
      const u32 state = (u32)pack(position - start, block, place);
      if (!is_first && part->marks[mark].state == state) {
        // Blocks and faults may differ up to here, and with them all later counts.
        const u32 difference = counts - part->marks[mark].counts;
        for (; mark < MARKS; mark++) part->marks[mark].counts += difference;
        part->begin = begin;
        part->counts += difference;
        return;
      }
      part->marks[mark].state = state;
      part->marks[mark].counts = counts;
      mark++;
      next_mark += MARK_BITS;
    }
    const u32 ahead = window(words, position);
    const u32 left = border - position;
    // Fewer than eight bits, all ones, fill the last byte before a marker up.
    bool is_over = place == 0 && left < 8 && (left == 0 || ahead >> (32 - left) == (1u << left) - 1);
    if (is_over) {
      if (block != 0) counts += FAULT;
    } else {
      const int table = place == 0 ? (int)(dc >> block & 1) : 2 + (int)(ac >> block & 1);
      u32 entry = plan->codes[table][ahead >> (32 - PEEK)];
      if (entry == 0) entry = long_entry(plan, table, ahead);
      if (entry == 0) {
        // Out of step, or damaged: on with the next bit, which is in step again sooner or later.
        if (border - block_start >= 8) counts += FAULT;
        position += 1;
        block = 0;
        place = 0;
        is_over = position >= border;
      } else {
        position += entry >> 8;
        is_over = position > border;
        if (is_over) {
          // Only the end of all may come inside a code, where zeros fill its last byte up; more bits are left over.
          if (border != bits || block != 0 || border - block_start >= 8) counts += FAULT;
        } else {
          place = place == 0 ? 1 : place + (int)(entry & 255);
          if (place >= 64) {
            if (place > 64 && place < BLOCK_END) counts += FAULT;
            place = 0;
            block_start = position;
            counts += BLOCK;
            block = block + 1 == units ? 0 : block + 1;
          }
        }
      }
    }
    if (is_over) {
      position = border;
      block_start = border;
      block = 0;
      place = 0;
      restart++;
      border = restart < plan->restarts ? restart_at(image.end, restart) : bits;
    }
  }
  // The data may also end between two codes of a block.
  if (position == bits && (block != 0 || (place != 0 && bits - block_start >= 8))) counts += FAULT;
  // Marks that a last, short part does not reach may be of another file.
  for (; mark < MARKS; mark++) part->marks[mark].state = NO_STATE;
  part->begin = begin;
  part->counts = counts;
  part->state = pack(position, block, place);
}

extern "C" __global__ void __launch_bounds__(THREADS) jpeg_check_walk(const Image *__restrict__ images, int round) {
  const Image image = images[blockIdx.y];
  if (image.is_laid_out == 0) return;
  const int index = blockIdx.x * THREADS + threadIdx.x;
  const bool is_part = index < min(part_count(image.plan), image.capacity);
  for (int pass = 0; pass < PASSES; pass++) {
    const bool is_first = round == 0 && pass == 0;
    u64 begin = pack((u32)index * PART_BITS, 0, 0);
    bool is_due = is_part && is_first;
    if (is_part && !is_first && index > 0) {
      // Another block may walk through the part before just now: either of its ends will do.
      begin = *(volatile u64 *)&image.parts[index - 1].state;
      is_due = begin != image.parts[index].begin;
    }
    if (is_due) walk(image, index, begin, is_first);
    if (!__syncthreads_or(is_due)) break;
  }
}

extern "C" __global__ void __launch_bounds__(256) jpeg_check_judge(Image *__restrict__ images) {
  const Image image = images[blockIdx.x];
  if (image.is_laid_out == 0) return;
  __shared__ int blocks, faults;
  if (threadIdx.x == 0) blocks = faults = 0;
  __syncthreads();
  const int count = part_count(image.plan);
  const int known = min(count, image.capacity);
  int own_blocks = 0, own_faults = 0, in_step = count == known;
  for (int index = threadIdx.x; index < known; index += 256) {
    const Part &part = image.parts[index];
    own_blocks += part.counts / BLOCK;
    own_faults += part.counts % BLOCK;
    if (index > 0 && image.parts[index - 1].state != part.begin) in_step = 0;
  }
  atomicAdd(&blocks, own_blocks);
  atomicAdd(&faults, own_faults);
  in_step = __syncthreads_and(in_step);
  if (threadIdx.x != 0) return;
  const int expected = image.plan->expected;
  // Damaged codes fall into step again, with fewer blocks or more.
  images[blockIdx.x].verdict = !in_step ? UNDECIDED : blocks == expected && faults == 0 ? WHOLE : DAMAGED;
}
