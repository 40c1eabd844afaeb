// Whether the data of JPEGs codes all of their pixels, which the engines that decode them do not tell. The data is cut
// into parts; each is walked through from a guessed state, and again from where the part before it ended, until nothing
// changes: Huffman codes find back into step by themselves, mostly within a part. A walk that comes to a mark in the state
// in which the last one passed it ends there, as the rest would be the same. What is found between two marks is added up
// at last: as many blocks between two restarts as there must be, and DC values that samples can have.
//
// images  Image [N], below, in page-locked host memory that the kernel sees
// `round`   0 guesses; later ones take up where the part before ended, and leave what has not changed
//
// jpeg_check_walk   a thread a part, which is looked at six times a launch; launched twice. Long parts and large blocks:
//                   it keeps few multiprocessors from the inference it runs beside, rather than end soon
// jpeg_check_judge  whether all parts are in step, and what they add up to; a block an image
// Launch: jpeg_check_walk block 512, grid (⌈parts / 512⌉, N); jpeg_check_judge block 256, grid N.
// Tolerance: none. CPU reference: native/jpeg-check.c

#include "common.cuh"

#define PART_BITS 8192
#define SECTIONS 8     // of a part, between marks as far from each other as from its borders
#define SECTION_BITS (PART_BITS / SECTIONS)
#define NO_STATE 0xffffffffu
#define THREADS 512
#define JUDGES 256
#define PASSES 6
#define PEEK 12
#define BLOCK_END 128
#define COMPONENTS 3
#define VALUE_LIMIT 16383  // far beyond any DC value: a sum is kept in 16 bits
#define FILLING 8          // fewer bits fill the last byte before a marker up
#define FAULT 1            // flags of a Sum: damage,
#define DOUBT 2            // unless it lies in what may be filling
#define WHOLE 1
#define DAMAGED 2
#define UNDECIDED 3

// Written by native/jpeg-plan.c; the data of the image follows.
struct Plan {
  unsigned short codes[4][1 << PEEK];  // DC 0, DC 1, AC 0, AC 1: bits << 8 | places, of DC the bits of the value alone; 0
                                       // for codes longer than PEEK
  int limits[4][18];
  int offsets[4][17];
  u8 symbols[4][256];
  u8 dc[12];         // table of each block of a unit: 0 or 1
  u8 ac[12];         // 2 or 3
  u8 component[12];
  int most[COMPONENTS];  // largest DC value
  int blocks;        // of a unit
  int interval;      // blocks between two restarts
  int expected;      // blocks behind the last restart
  u32 bits;          // of data
  int restarts;      // bits before each: the first in the last 4 bytes of the image's memory, and so on downwards
};

static_assert(sizeof(Plan) == 34420, "native/jpeg-plan.c writes 34420 bytes");

// What a piece of the data holds. Counts, the lowest and the highest values are those in front of its first restart; `last`
// counts those behind its last one. Values count from the beginning of the piece, or from the last restart in it. Blocks
// that end where bits may only fill a byte up are counted as `spare` as well: with enough others, they are none.
struct Sum {
  u32 flags;
  int restarts;
  int blocks, spare;
  int last_blocks, last_spare;
  int low[COMPONENTS], high[COMPONENTS];  // of the DC values of complete blocks
  int value[COMPONENTS];                  // of the last one
};

// A Sum as it is kept, and the state in which it was begun, its position counted from the part.
struct __align__(16) Section {
  u32 state;
  unsigned short blocks, last_blocks;
  u8 spare, last_spare, flags, restarts;
  short low[COMPONENTS], high[COMPONENTS], value[COMPONENTS];
  unsigned short reserved;
};

static_assert(sizeof(Section) == 32, "a part counts on it");

// What the last walk through a part found: ends at `state`, having begun at `begin`.
struct Part {
  u64 begin, state;
  Section sections[SECTIONS];
};

static_assert(sizeof(Part) == 272, "src/nvjpeg/batch-check.ts counts 272 bytes");

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
  if (table < 2) return (length + symbol) << 8 | symbol;
  const u32 value_bits = symbol & 15;
  u32 places = (symbol >> 4) + 1;
  if (value_bits == 0) places = symbol == 0xf0 ? 16 : BLOCK_END;
  return (length + value_bits) << 8 | places;
}

// What the value behind a DC code at the top of `bits` adds to the one before it.
__device__ __forceinline__ int difference(u32 bits, u32 entry) {
  const int size = (int)(entry & 15);
  if (size == 0) return 0;
  const int value = (int)(bits << ((entry >> 8) - size) >> (32 - size));
  return value >> (size - 1) != 0 ? value : value - (1 << size) + 1;
}

// Whether a restart may follow these blocks: at least as many as wanted, and enough only by the spare ones.
__device__ __forceinline__ u32 judged(int blocks, int spare, int wanted) {
  if (blocks < wanted || blocks - spare >= wanted) return FAULT;
  return blocks == wanted ? 0 : DOUBT;
}

// Lets `next` follow `sum`.
__device__ void append(Sum *sum, const Sum &next, const Plan *plan) {
  const bool is_known = sum->restarts > 0;  // where its last values and counts begin
  int *const blocks = is_known ? &sum->last_blocks : &sum->blocks;
  int *const spare = is_known ? &sum->last_spare : &sum->spare;
  *blocks += next.blocks;
  *spare += next.spare;
  sum->flags |= next.flags;
  for (int at = 0; at < COMPONENTS; at++) {
    const int low = sum->value[at] + next.low[at], high = sum->value[at] + next.high[at];
    if (!is_known) {
      sum->low[at] = min(sum->low[at], low);
      sum->high[at] = max(sum->high[at], high);
    } else if (low < -plan->most[at] || high > plan->most[at]) {
      sum->flags |= FAULT;
    }
    const int value = next.restarts > 0 ? next.value[at] : sum->value[at] + next.value[at];
    sum->value[at] = clamp(value, -VALUE_LIMIT, VALUE_LIMIT);
  }
  if (next.restarts == 0) return;
  if (is_known) sum->flags |= judged(*blocks, *spare, plan->interval);
  sum->restarts += next.restarts;
  sum->last_blocks = next.last_blocks;
  sum->last_spare = next.last_spare;
}

__device__ __forceinline__ short limited(int value) { return (short)clamp(value, -VALUE_LIMIT, VALUE_LIMIT); }

__device__ __forceinline__ void keep(Section *section, u32 state, const Sum &sum) {
  Section kept;
  kept.state = state;
  kept.blocks = (unsigned short)sum.blocks;
  kept.last_blocks = (unsigned short)sum.last_blocks;
  kept.spare = (u8)sum.spare;
  kept.last_spare = (u8)sum.last_spare;
  kept.flags = (u8)sum.flags;
  kept.restarts = (u8)min(sum.restarts, 255);
  for (int at = 0; at < COMPONENTS; at++) {
    kept.low[at] = limited(sum.low[at]);
    kept.high[at] = limited(sum.high[at]);
    kept.value[at] = limited(sum.value[at]);
  }
  kept.reserved = 0;
  *section = kept;
}

__device__ Sum kept_in(const Section &section) {
  Sum sum;
  sum.flags = section.flags;
  sum.restarts = section.restarts;
  sum.blocks = section.blocks;
  sum.spare = section.spare;
  sum.last_blocks = section.last_blocks;
  sum.last_spare = section.last_spare;
  for (int at = 0; at < COMPONENTS; at++) {
    sum.low[at] = section.low[at];
    sum.high[at] = section.high[at];
    sum.value[at] = section.value[at];
  }
  return sum;
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
  u32 components = 0;  // two bits for each
  for (int at = 0; at < units; at++) {
    dc |= (u32)(plan->dc[at] & 1) << at;
    ac |= (u32)(plan->ac[at] & 1) << at;
    components |= (u32)plan->component[at] << (2 * at);
  }
  u32 position = (u32)(begin >> 16);
  int block = (int)(begin >> 8 & 255);
  int place = (int)(begin & 255);
  Part *part = image.parts + index;
  int section = 0;
  u32 state = (u32)pack(position - start, block, place);
  u32 next_mark = start + SECTION_BITS;
  Sum sum = {};

  // The first restart behind the position, or that with which the data begins; behind the last, the end is one.
  int restart = 0;
  for (int high = plan->restarts; position > 0 && restart < high;) {
    const int middle = (restart + high) / 2;
    if (restart_at(image.end, middle) > position) high = middle;
    else restart = middle + 1;
  }
  u32 border = restart < plan->restarts ? restart_at(image.end, restart) : bits;

  // No jump leaves the loop: with one at the marks, which each thread passes in a turn of its own, the threads of a warp
  // came together no more, and a walk took ten times as long.
  bool is_met = false;
  while (position < limit && !is_met) {
    if (position >= next_mark && section < SECTIONS - 1) {
      keep(&part->sections[section], state, sum);
      sum = {};
      section++;
      next_mark += SECTION_BITS;
      state = (u32)pack(position - start, block, place);
      is_met = !is_first && part->sections[section].state == state;
    }
    if (is_met) continue;
    const u32 ahead = window(words, position);
    const int table = place == 0 ? (int)(dc >> block & 1) : 2 + (int)(ac >> block & 1);
    u32 entry = plan->codes[table][ahead >> (32 - PEEK)];
    if (entry == 0) entry = long_entry(plan, table, ahead);
    const int component = (int)(components >> (2 * block) & 3);
    const int next_place = place == 0 ? 1 : place + (int)(entry & 255);
    bool is_over = false;
    if (entry == 0 || (next_place > 64 && next_place < BLOCK_END)) {
      // Out of step, or damaged: on with the next bit, which is in step again sooner or later. Filling is no code.
      is_over = border - position < FILLING;
      if (!is_over) sum.flags |= FAULT;
      position += 1;
      block = 0;
      place = 0;
    } else {
      position += entry >> 8;
      is_over = position > border;
      if (!is_over && place == 0) {
        const int value = difference(ahead, entry);
        for (int at = 0; at < COMPONENTS; at++) sum.value[at] += at == component ? value : 0;
      }
      place = next_place;
      if (!is_over && place >= 64) {
        place = 0;
        block = block + 1 == units ? 0 : block + 1;
        const bool is_spare = border - position < FILLING;
        if (sum.restarts == 0) {
          sum.blocks++;
          sum.spare += is_spare;
        } else {
          sum.last_blocks++;
          sum.last_spare += is_spare;
        }
        // No block is begun: all values are those of blocks that have ended.
        for (int at = 0; at < COMPONENTS; at++) {
          const int value = sum.value[at];
          if (sum.restarts > 0) {
            sum.flags |= value < -plan->most[at] || value > plan->most[at] ? FAULT : 0;
          } else {
            sum.low[at] = min(sum.low[at], value);
            sum.high[at] = max(sum.high[at], value);
          }
        }
      }
    }
    if (is_over || position == border) {
      position = border;
      block = 0;
      place = 0;
      for (; restart < plan->restarts && border == position; restart++) {
        if (sum.restarts > 0) sum.flags |= judged(sum.last_blocks, sum.last_spare, plan->interval);
        sum.restarts++;
        sum.last_blocks = 0;
        sum.last_spare = 0;
        for (int at = 0; at < COMPONENTS; at++) sum.value[at] = 0;
        border = restart + 1 < plan->restarts ? restart_at(image.end, restart + 1) : bits;
      }
    }
  }
  part->begin = begin;
  if (is_met) return;
  for (; section < SECTIONS; section++) {
    keep(&part->sections[section], state, sum);
    // Sections that a last, short part does not have may be of another file.
    sum = {};
    state = NO_STATE;
  }
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

extern "C" __global__ void __launch_bounds__(JUDGES) jpeg_check_judge(Image *__restrict__ images) {
  const Image image = images[blockIdx.x];
  if (image.is_laid_out == 0) return;
  __shared__ Sum sums[JUDGES];
  const Plan *plan = image.plan;
  const int count = part_count(plan);
  const int known = min(count, image.capacity);
  const int share = (known + JUDGES - 1) / JUDGES;
  const int first = threadIdx.x * share;
  int in_step = count == known;
  Sum sum = {};
  for (int index = first; index < min(first + share, known); index++) {
    const Part &part = image.parts[index];
    for (int at = 0; at < SECTIONS; at++) append(&sum, kept_in(part.sections[at]), plan);
    if (index > 0 && image.parts[index - 1].state != part.begin) in_step = 0;
  }
  sums[threadIdx.x] = sum;
  in_step = __syncthreads_and(in_step);
  for (int step = 1; step < JUDGES; step *= 2) {
    if (threadIdx.x % (2 * step) == 0) append(&sums[threadIdx.x], sums[threadIdx.x + step], plan);
    __syncthreads();
  }
  if (threadIdx.x != 0) return;
  // The data begins as behind a restart, and ends as in front of one.
  Sum total = {};
  total.restarts = 1;
  append(&total, sums[0], plan);
  u32 flags = total.flags | judged(total.last_blocks, total.last_spare, plan->expected);
  if (total.restarts != plan->restarts + 1) flags |= FAULT;
  const bool is_damaged = (flags & FAULT) != 0;
  const bool is_decided = in_step && !(is_damaged && (flags & DOUBT) != 0);
  images[blockIdx.x].verdict = !is_decided ? UNDECIDED : is_damaged ? DAMAGED : WHOLE;
}
