/* What the files of the shim that look at JPEG data share: the tables and the order of its codes. */
#ifndef BUN_TENSORRT_JPEG_H
#define BUN_TENSORRT_JPEG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bits that a lookup sees at once. */
#define PEEK 12
#define ENTRIES (1 << PEEK)
/* What an end of block adds to the place in a block: no sum of runs comes so far. */
#define BLOCK_END 128

/*
 * A Huffman table. An entry is bits << 8 | places: of one code with its value, or 0 where the code is longer. For a DC
 * value, which always takes one place, the bits of the value alone stand there.
 */
typedef struct table {
  bool is_set;
  uint16_t one[ENTRIES];
  uint16_t two[ENTRIES]; /* of two codes where both lie within PEEK bits; only of AC tables */
  int32_t limit[18];     /* first code beyond each length, shifted to 16 bits */
  int32_t offset[17];    /* of a length's first code: place of its symbol less the code */
  uint8_t symbols[256];
} table;

typedef struct component {
  int32_t id;
  int32_t blocks_x, blocks_y;
  int32_t quantisation; /* number of its table */
} component;

/* The blocks of a unit, and the numbers of their components and tables: DC 0 or 1, AC 2 or 3. */
typedef struct scan {
  int32_t blocks;
  uint8_t component[10];
  uint8_t dc[10];
  uint8_t ac[10];
  int32_t most[3]; /* of each component: the largest DC value that 8-bit samples can have, whatever the rounding */
} scan;

typedef struct frame {
  int32_t width, height;
  int32_t count;
  component components[3];
  int32_t restart; /* units between two restart markers, or 0 */
} frame;

/* A baseline JPEG of one scan. */
typedef struct jpeg {
  frame frame;
  scan scan;
  table tables[4];
  int32_t dc_steps[4]; /* the first value of each quantisation table; 0 without one */
  const uint8_t *data; /* of the scan, up to the end of the file */
  const uint8_t *end;
  int64_t units;
} jpeg;

/* Reads the markers up to the scan; false where it is no such file. */
bool jpeg_open(jpeg *made, const uint8_t *bytes, size_t length);

/* The entry of a code longer than PEEK bits at the top of `bits`, or 0 where there is no such code. */
uint16_t jpeg_long_entry(const table *codes, uint64_t bits, bool is_dc);

#endif
