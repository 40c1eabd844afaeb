// Finished rows, a box, score and class id: in one tensor that says whose they are (decode_rows), or as columns of one to three
// (decode_columns): score ≥ threshold → append. Boxes are what the bits of `box_form` say, see box_of in decode.cuh.
//
// keys, boxes, classes_out, counters  the candidates, see decode.cuh
// selection                           what the caller asks for, in device memory: a captured graph takes changes
// output        [N, rows, columns], or [rows, columns] of all images where `batch_column` ≥ 0 says whose a row is, or
//               `counts` how many rows each image has; f32 or f16
// box_tensor    [N, rows, box_width], score_tensor [N, rows, score_width], f32 or f16; class_tensor [N, rows, class_width], of any
//               dtype, or null: class 0. They may be the same one: what is wanted begins at a row's `…_first`
// y_first       1: a box has y before x
// counts        [N], of any dtype, or null
//
// Launch: block 256, a thread a row; grid (⌈rows / 256⌉, N).
// Tolerance: none. CPU reference: src/heads/rows.ts

#include "decode.cuh"

#define U8 4

// Class ids may be bytes, too.
__device__ __forceinline__ float class_at(const void *tensor, int dtype, u64 at) {
  return dtype == U8 ? (float)((const unsigned char *)tensor)[at] : number_at(tensor, dtype, at);
}

__device__ __forceinline__ void note_class(Counters *counters, float class_number) {
  counters->fault = FAULT_CLASS;
  counters->fault_value = class_number;
}

// Append a row whose class id the model gave as a number; note an id that cannot be one.
__device__ __forceinline__ void append_numbered(const Candidates &candidates, const Selection *selection, int index,
                                                float4 box, float score, float class_number) {
  int class_id = 0;
  // A row of NaN has no class either: it is counted as it is.
  if (score == score) {
    if (!(class_number >= 0.0f && class_number < 2147483648.0f && truncf(class_number) == class_number)) {
      note_class(candidates.counters, class_number);
      return;
    }
    class_id = (int)class_number;
  }
  append(candidates, selection, index, box, score, class_id);
}

extern "C" __global__ void __launch_bounds__(256) decode_rows(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const void *__restrict__ output,
    const void *__restrict__ counts, const Selection *selection, int capacity, int rows, int columns, int dtype,
    int counts_dtype, int box_column, int score_column, int class_column, int batch_column, int box_form, float width,
    float height) {
  const int image = blockIdx.y;
  const int row = blockIdx.x * 256 + threadIdx.x;
  u64 first = batch_column >= 0 ? 0 : (u64)image * rows;
  int length = rows;
  if (counts != nullptr) {
    float before = 0.0f;
    for (int other = 0; other < image; other++) before += number_at(counts, counts_dtype, other);
    first = (u64)before;
    length = min((int)number_at(counts, counts_dtype, image), rows - (int)first);
  }
  if (row >= length) return;
  const u64 at = (first + row) * columns;
  if (batch_column >= 0 && number_at(output, dtype, at + batch_column) != (float)image) return;
  const float score = number_at(output, dtype, at + score_column);
  const float class_number = number_at(output, dtype, at + class_column);
  if (score < selection->threshold) {
    // The columns are others, such as two classes: rows that pass may never show it.
    if (class_number - floorf(class_number) > 0.0f) note_class(counters + image, class_number);
    return;
  }
  const u64 box = at + box_column;
  // Its place in the whole tensor, where that holds the rows of all images.
  const int index = counts == nullptr ? row : (int)first + row;
  append_numbered(candidates_of(image, keys, boxes, classes_out, counters, capacity), selection, index,
                  box_of(number_at(output, dtype, box), number_at(output, dtype, box + 1),
                         number_at(output, dtype, box + 2), number_at(output, dtype, box + 3), box_form, width, height),
                  score, class_number);
}

extern "C" __global__ void __launch_bounds__(256) decode_columns(
    u64 *keys, float4 *boxes, int *classes_out, Counters *counters, const void *__restrict__ box_tensor,
    const void *__restrict__ score_tensor, const void *__restrict__ class_tensor, const void *__restrict__ counts,
    const Selection *selection, int capacity, int rows, int box_dtype, int score_dtype, int class_dtype,
    int counts_dtype, int box_width, int box_first, int score_width, int score_first, int class_width, int class_first,
    int y_first, int box_form, float width, float height) {
  const int image = blockIdx.y;
  const int row = blockIdx.x * 256 + threadIdx.x;
  const int length = counts == nullptr ? rows : min(rows, (int)number_at(counts, counts_dtype, image));
  if (row >= length) return;
  const u64 at = (u64)image * rows + row;
  const float score = number_at(score_tensor, score_dtype, at * score_width + score_first);
  const float class_number =
      class_tensor == nullptr ? 0.0f : class_at(class_tensor, class_dtype, at * class_width + class_first);
  if (score < selection->threshold) {
    // Classes and scores were taken for each other: of objects of class 0 no row would ever pass.
    if (class_number > 0.0f && class_number - floorf(class_number) > 0.0f) note_class(counters + image, class_number);
    return;
  }
  // As mmdeploy fills up rows.
  if (class_number == -1.0f && score == 0.0f) return;
  const u64 x = at * box_width + box_first + y_first;
  const u64 y = at * box_width + box_first + 1 - y_first;
  append_numbered(candidates_of(image, keys, boxes, classes_out, counters, capacity), selection, row,
                  box_of(number_at(box_tensor, box_dtype, x), number_at(box_tensor, box_dtype, y),
                         number_at(box_tensor, box_dtype, x + 2), number_at(box_tensor, box_dtype, y + 2), box_form,
                         width, height),
                  score, class_number);
}
