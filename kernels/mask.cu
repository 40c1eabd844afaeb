// Masks of the kept rows as bits under their boxes, in one launch behind the selection. Only what the boxes cover is computed:
// a block takes a tile of a mask, sums the cells of the prototypes that it needs in shared memory, interpolates them along x,
// and then along y those pixels whose two neighbours do not agree.
//
// memory      of `table`: u32 header [4]: the words that the masks of all images need, then unused; i32 [N, rows, 4]: x, y,
//             width and height of each mask in pixels, 0 where it has none; u32 words: the masks, image by image and row by row
//             as they are kept, each from a multiple of 32 words on: [height, ⌈width / 32⌉], the lowest bit is the leftmost
//             pixel. Mapped host memory: a warp writes neighbouring words, and nothing is read. A mask that ends behind
//             `capacity` is not written; the header tells that.
// plans       MaskPlan [N], below, behind the MaskTable
// detections  as select.cu leaves it
// boxes       f32 [N, rows, 4], of images `box_stride` boxes apart: in the pixels that `box_scale` makes those of the mask
// output      the coefficients: see gather_rows of select.cu; `first` to `first + channels` of a source, or of a row (`by_row`)
//             where they were gathered
// prototypes  [N, channels, height, width] of the entry's dtype
// vector      channels of the prototypes that lie side by side; see vectorVolume of src/core/tensor.ts
//
// Launch: block 256, any grid: the blocks take the tiles in turns. Tolerance: none.
// CPU reference: src/tasks/segment/proto-masks.ts, whose arithmetic and order this is, each step rounded.

#include "decode.cuh"

#define THREADS 256
#define WARPS (THREADS / 32)
#define ALL 0xffffffffu
#define HEADER_WORDS 4
// Floats of each of the two parts of shared memory.
#define VALUES 4096
// Floats from a word of 32 pixels to the next: threads that look at the same bit of neighbouring words meet no bank twice.
#define WORD_PITCH 33
#define MOST_CHANNELS 256
#define MOST_WORDS 32  // of a row of a tile
// Words and tiles are summed up as one number, the words in so many bits of it.
#define WORD_BITS 40

// What changes from frame to frame; packed by src/tasks/segment/cuda-segment.ts.
struct __align__(16) MaskTable {
  u32 *memory;
  int capacity;  // words behind header and rectangles
  int images;    // that are in the batch
};

// What the masks of an image have in common: `Plan` of src/tasks/segment/mask-plan.ts.
struct __align__(16) MaskPlan {
  double box_scale_x, box_scale_y;
  double x, y;                        // pixel that the grid begins at
  float scale_x, scale_y;             // cells of the grid a pixel
  float grid_scale_x, grid_scale_y;   // cells of the prototypes a cell of the grid
  int width, height;                  // of the masks
  int grid_width, grid_height;        // the prototypes' size, or what they are enlarged to first
  int crop_x, crop_y, crop_width, crop_height;  // cells of the grid that show the image
};

static_assert(sizeof(MaskTable) == 16 && sizeof(MaskPlan) == 80, "src/tasks/segment/cuda-segment.ts packs 16 and 80 bytes");

// One axis: where pixels lie among cells.
struct Axis {
  double origin;
  float scale;
  int start, cells;
};

// The two cells that a place lies between, and the weight of the second.
struct Tap {
  int first, second;
  float weight;
};

__device__ __forceinline__ Tap tap_of(const Axis &axis, int at) {
  const float along = __fmul_rn((float)(((double)at - axis.origin) + 0.5), axis.scale);
  const float place = fmaxf(0.0f, __fadd_rn(along, -0.5f));
  const int cell = (int)fminf(place, (float)(axis.cells - 1));
  return {axis.start + cell, axis.start + min(cell + 1, axis.cells - 1), __fadd_rn(place, -(float)cell)};
}

__device__ __forceinline__ float mix(float first, float second, float share) {
  return __fadd_rn(__fmul_rn(first, __fadd_rn(1.0f, -share)), __fmul_rn(second, share));
}

struct Pixels {
  int from;
  __device__ __forceinline__ int operator()(int at) const { return from + at; }
};

// The cells that a row of places needs along an axis: all from the first to the last, or two a place where that is fewer.
template <typename Places> struct Line {
  Axis axis;
  Places places;
  int begin, count;
  bool is_paired;

  __device__ __forceinline__ Line(const Axis &along, const Places &these, int length) : axis(along), places(these) {
    begin = tap_of(axis, places(0)).first;
    const int all = tap_of(axis, places(length - 1)).second + 1 - begin;
    is_paired = all > 2 * length;
    count = is_paired ? 2 * length : all;
  }

  // The cell that is kept at an index.
  __device__ __forceinline__ int operator()(int at) const {
    if (!is_paired) return begin + at;
    const Tap tap = tap_of(axis, places(at >> 1));
    return at & 1 ? tap.second : tap.first;
  }

  // A place's tap, with the indices of its cells in place of them.
  __device__ __forceinline__ Tap tap(int at) const {
    const Tap found = tap_of(axis, places(at));
    if (is_paired) return {2 * at, 2 * at + 1, found.weight};
    return {found.first - begin, found.second - begin, found.weight};
  }
};

// Most cells that so many places need: what a Line comes to at most.
__device__ __forceinline__ int most_cells(int length, float extent) { return min((int)(extent + 0.01f) + 3, 2 * length); }

__device__ __forceinline__ bool is_enlarged(const MaskPlan &plan, int width, int height) {
  return plan.grid_width != width || plan.grid_height != height;
}

// True if a tile of so many words and rows needs no more than there is of shared memory.
__device__ __forceinline__ bool fits(const MaskPlan &plan, bool enlarged, int words, int rows) {
  const float extent_x = (float)(words * 32 - 1) * plan.scale_x;
  const float extent_y = (float)(rows - 1) * plan.scale_y;
  const int columns = most_cells(words * 32, extent_x);
  const int lines = most_cells(rows, extent_y);
  if (lines * words * WORD_PITCH > VALUES || lines * columns > VALUES) return false;
  if (!enlarged) return true;
  return most_cells(columns, (extent_x + 2.0f) * plan.grid_scale_x) * most_cells(lines, (extent_y + 2.0f) * plan.grid_scale_y) <=
         VALUES;
}

// How many parts of a size there are, or how large each of so many is.
__device__ __forceinline__ int part_of(int all, int part) { return (all + part - 1) / part; }

// A part of a mask.
struct Tile {
  int left, top;       // its first pixel
  int columns, rows;   // pixels; no column where nothing is to be written
  int words;           // of a row of the tile
  int pitch;           // words of a row of the mask
  int first;           // where its first word goes
  int source;          // of the coefficients
};

// Sums over the threads up to each, and over all of them.
__device__ __forceinline__ u64 sums_up_to(u64 value, u64 *partial, u64 &total) {
  const int lane = threadIdx.x & 31;
  for (int distance = 1; distance < 32; distance <<= 1) {
    const u64 other = __shfl_up_sync(ALL, value, distance);
    if (lane >= distance) value += other;
  }
  if (lane == 31) partial[threadIdx.x >> 5] = value;
  __syncthreads();
  u64 before = 0;
  total = 0;
  for (int warp = 0; warp < WARPS; warp++) {
    if (warp == (int)(threadIdx.x >> 5)) before = total;
    total += partial[warp];
  }
  __syncthreads();
  return before + value;
}

// Where an output says what of a source.
struct Coefficients {
  const void *output;
  int dtype, channel_stride;
  u64 start;
};

// Element `at` of the 16 bytes that hold some.
__device__ __forceinline__ float element_of(const uint4 &word, int at, const float *) {
  return __uint_as_float(at == 0 ? word.x : at == 1 ? word.y : at == 2 ? word.z : word.w);
}
__device__ __forceinline__ float element_of(const uint4 &word, int at, const f16 *) {
  const u32 pair = at < 2 ? word.x : at < 4 ? word.y : at < 6 ? word.z : word.w;
  return from_element((f16)(at & 1 ? pair >> 16 : pair));
}

template <typename Element> struct Prototypes {
  const Element *data;
  int channels, width, height, vector;

  // The sum over the channels, in their order.
  __device__ __forceinline__ float sum(const float *coefficients, int x, int y) const {
    constexpr int WIDE = 16 / sizeof(Element);
    const u32 plane = (u32)width * height;
    const Element *at = data + ((u32)y * width + x) * vector;
    float total = 0.0f;
    if (vector % WIDE == 0) {
      for (int first = 0; first < channels; first += vector, at += plane * vector) {
        const int end = min(vector, channels - first);
#pragma unroll 4
        for (int part = 0; part < end; part += WIDE) {
          const uint4 word = __ldg((const uint4 *)(at + part));
#pragma unroll
          for (int element = 0; element < WIDE; element++) {
            if (part + element >= end) break;
            const float coefficient = coefficients[first + part + element];
            total = __fadd_rn(total, __fmul_rn(coefficient, element_of(word, element, at)));
          }
        }
      }
      return total;
    }
    if (vector == 1) {
#pragma unroll 16
      for (int channel = 0; channel < channels; channel++, at += plane) {
        total = __fadd_rn(total, __fmul_rn(coefficients[channel], from_element(__ldg(at))));
      }
      return total;
    }
#pragma unroll 1
    for (int channel = 0; channel < channels; channel++) {
      const int part = channel / vector;
      const Element *element = at + part * plane * vector + (channel - part * vector);
      total = __fadd_rn(total, __fmul_rn(coefficients[channel], from_element(__ldg(element))));
    }
    return total;
  }

  // Sums of the cells of two lines.
  template <typename Columns, typename Rows>
  __device__ __forceinline__ void fill(float *cells, const float *coefficients, const Columns &columns, const Rows &rows) const {
    for (int at = threadIdx.x; at < columns.count * rows.count; at += THREADS) {
      const int row = at / columns.count;
      cells[at] = sum(coefficients, columns(at - row * columns.count), rows(row));
    }
  }
};

// Write the words of a tile. All threads of the block.
template <typename Element>
__device__ __forceinline__ void write_tile(u32 *words, const Tile &tile, const MaskPlan &plan,
                                           const Prototypes<Element> &prototypes, const Coefficients &from, float *grid,
                                           float *values, u32 *signs, float *coefficients) {
  const int thread = threadIdx.x;
  for (int channel = thread; channel < prototypes.channels; channel += THREADS) {
    coefficients[channel] = number_at(from.output, from.dtype, from.start + (u64)channel * from.channel_stride);
  }
  const Line<Pixels> columns({plan.x, plan.scale_x, plan.crop_x, plan.crop_width}, {tile.left}, tile.columns);
  const Line<Pixels> rows({plan.y, plan.scale_y, plan.crop_y, plan.crop_height}, {tile.top}, tile.rows);
  __syncthreads();
  if (is_enlarged(plan, prototypes.width, prototypes.height)) {
    const Line<Line<Pixels>> cell_columns({0.0, plan.grid_scale_x, 0, prototypes.width}, columns, columns.count);
    const Line<Line<Pixels>> cell_rows({0.0, plan.grid_scale_y, 0, prototypes.height}, rows, rows.count);
    float *cells = values;
    prototypes.fill(cells, coefficients, cell_columns, cell_rows);
    __syncthreads();
    for (int at = thread; at < columns.count * rows.count; at += THREADS) {
      const int row = at / columns.count;
      const Tap across = cell_columns.tap(at - row * columns.count);
      const Tap down = cell_rows.tap(row);
      const float *upper = cells + down.first * cell_columns.count;
      const float *lower = cells + down.second * cell_columns.count;
      grid[at] = mix(mix(upper[across.first], upper[across.second], across.weight),
                     mix(lower[across.first], lower[across.second], across.weight), down.weight);
    }
  } else {
    prototypes.fill(grid, coefficients, columns, rows);
  }
  __syncthreads();

  // Rows of the grid along x, and which of their pixels are above 0: a warp a word.
  const int lane = thread & 31;
  for (int word = thread >> 5; word < tile.words; word += WARPS) {
    const int pixel = word * 32 + lane;
    const bool is_inside = pixel < tile.columns;
    const Tap across = columns.tap(min(pixel, tile.columns - 1));
    for (int row = 0; row < rows.count; row++) {
      const float *cells = grid + row * columns.count;
      const float value = is_inside ? mix(cells[across.first], cells[across.second], across.weight) : 0.0f;
      const int at = row * tile.words + word;
      values[at * WORD_PITCH + lane] = value;
      const u32 above = __ballot_sync(ALL, value > 0.0f);
      if (lane == 0) signs[at] = above;
    }
  }
  __syncthreads();

  // Between two rows of one sign every pixel has it; others are interpolated: a thread a word.
  for (int at = thread; at < tile.rows * tile.words; at += THREADS) {
    const int row = at / tile.words;
    const int word = at - row * tile.words;
    const Tap down = rows.tap(row);
    const int upper = down.first * tile.words + word;
    const int lower = down.second * tile.words + word;
    const u32 above = signs[upper];
    const u32 below = signs[lower];
    u32 bits = above & below;
    for (u32 open = above ^ below; open != 0; open &= open - 1) {
      const int bit = __ffs((int)open) - 1;
      const float value = mix(values[upper * WORD_PITCH + bit], values[lower * WORD_PITCH + bit], down.weight);
      if (value > 0.0f) bits |= 1u << bit;
    }
    words[tile.first + row * tile.pitch + word] = bits;
  }
}

template <typename Element>
__device__ __forceinline__ void write_masks(const MaskTable *__restrict__ table, const int *__restrict__ detections,
                                            const float4 *__restrict__ boxes, const void *__restrict__ output,
                                            const Element *__restrict__ prototypes, int batch, int rows, int words,
                                            int box_stride, int dtype, int first, int channel_stride, int source_stride,
                                            int image_stride, int channels, int width, int height, int vector,
                                            int by_row) {
  __shared__ float grid[VALUES];
  __shared__ float values[VALUES];  // before that the cells that a larger grid is made of
  __shared__ u32 signs[VALUES / WORD_PITCH];
  __shared__ float coefficients[MOST_CHANNELS];
  __shared__ u64 partial[WARPS];
  __shared__ Tile tile;
  __shared__ MaskPlan plan;

  const MaskPlan *plans = (const MaskPlan *)(table + 1);
  u32 *header = table->memory;
  int4 *rectangles = (int4 *)(header + HEADER_WORDS);
  u32 *masks = (u32 *)(rectangles + (u64)batch * rows);
  const u64 capacity = (u64)table->capacity;
  const int images = table->images;

  u64 words_before = 0;
  int tiles_before = 0;
  int next = blockIdx.x;
  for (int image = 0; image < images; image++) {
    const int *found = detections + (u64)image * words;
    const int count = found[0];
    // Every thread is done with the plan before.
    if (image > 0) __syncthreads();
    if (threadIdx.x < sizeof(MaskPlan) / 4) ((u32 *)&plan)[threadIdx.x] = ((const u32 *)(plans + image))[threadIdx.x];
    __syncthreads();
    const bool enlarged = is_enlarged(plan, width, height);
    const u64 length = (u64)width * height * ((channels + vector - 1) / vector * vector);
    const Prototypes<Element> cells = {prototypes + image * length, channels, width, height, vector};
    for (int start = 0; start < count; start += THREADS) {
      const int row = start + threadIdx.x;
      int left = 0, top = 0, right = 0, bottom = 0, source = 0;
      if (row < count) {
        source = by_row ? row : found[HEADER_WORDS + rows * 6 + row];
        const float4 box = boxes[(u64)image * box_stride + row];
        left = (int)fmax(0.0, ceil((double)box.x * plan.box_scale_x));
        top = (int)fmax(0.0, ceil((double)box.y * plan.box_scale_y));
        right = (int)fmin((double)plan.width, ceil((double)box.z * plan.box_scale_x));
        bottom = (int)fmin((double)plan.height, ceil((double)box.w * plan.box_scale_y));
      }
      // Rows as wide as the mask, or a part of it, and as many as there are threads for.
      int across = 1, down = 1, tiles = 0;
      u64 needed = 0;
      if (left < right && top < bottom) {
        const int pitch = (right - left + 31) >> 5;
        across = part_of(pitch, part_of(pitch, MOST_WORDS));
        down = min(bottom - top, THREADS / across);
        while (!fits(plan, enlarged, across, down)) {
          if (down > 1) down >>= 1;
          else across = (across + 1) >> 1;
        }
        tiles = part_of(pitch, across) * part_of(bottom - top, down);
        needed = ((u64)pitch * (bottom - top) + 31) & ~31ull;
      } else {
        left = top = right = bottom = 0;
      }
      u64 all;
      const u64 up_to = sums_up_to((u64)tiles << WORD_BITS | needed, partial, all);
      const u64 words_end = words_before + (up_to & ((1ull << WORD_BITS) - 1));
      const int tiles_start = tiles_before + (int)(up_to >> WORD_BITS) - tiles;
      // Of one that fits.
      const int first_word = words_end > capacity ? -1 : (int)(words_end - needed);
      if (blockIdx.x == 0 && row < count) {
        rectangles[(u64)image * rows + row] = make_int4(left, top, right - left, bottom - top);
      }
      words_before += all & ((1ull << WORD_BITS) - 1);
      tiles_before += (int)(all >> WORD_BITS);
      for (; next < tiles_before; next += gridDim.x) {
        const int at = next - tiles_start;
        if (at >= 0 && at < tiles) {
          const int pitch = (right - left + 31) >> 5;
          const int parts = part_of(pitch, across);
          const int line = at / parts * down;
          const int word = at % parts * across;
          tile.left = left + word * 32;
          tile.top = top + line;
          tile.columns = first_word < 0 ? 0 : min(across * 32, right - tile.left);
          tile.rows = min(down, bottom - tile.top);
          tile.words = min(across, pitch - word);
          tile.pitch = pitch;
          tile.first = first_word + line * pitch + word;
          tile.source = source;
        }
        __syncthreads();
        if (tile.columns > 0) {
          Coefficients from = {output, dtype, channel_stride, 0};
          from.start = (u64)image * image_stride + (u64)tile.source * source_stride + (u64)first * channel_stride;
          write_tile(masks, tile, plan, cells, from, grid, values, signs, coefficients);
        }
        __syncthreads();
      }
    }
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) header[0] = (u32)min(words_before, 0xffffffffull);
}

extern "C" __global__ void __launch_bounds__(256, 3) write_masks_f32(
    const void *__restrict__ table, const int *__restrict__ detections, const float4 *__restrict__ boxes,
    const void *__restrict__ output, const float *__restrict__ prototypes, int batch, int rows, int words, int box_stride,
    int dtype, int first, int channel_stride, int source_stride, int image_stride, int channels, int width, int height,
    int vector, int by_row) {
  write_masks((const MaskTable *)table, detections, boxes, output, prototypes, batch, rows, words, box_stride, dtype, first,
              channel_stride, source_stride, image_stride, channels, width, height, vector, by_row);
}

extern "C" __global__ void __launch_bounds__(256, 3) write_masks_f16(
    const void *__restrict__ table, const int *__restrict__ detections, const float4 *__restrict__ boxes,
    const void *__restrict__ output, const f16 *__restrict__ prototypes, int batch, int rows, int words, int box_stride,
    int dtype, int first, int channel_stride, int source_stride, int image_stride, int channels, int width, int height,
    int vector, int by_row) {
  write_masks((const MaskTable *)table, detections, boxes, output, prototypes, batch, rows, words, box_stride, dtype, first,
              channel_stride, source_stride, image_stride, channels, width, height, vector, by_row);
}
