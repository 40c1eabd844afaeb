/*
 * Stands for libnvcuvid where there is no card: a parser of a stream made up for tests, and a decoder whose surfaces are
 * of one colour. Structures are read and written by the offsets of NVIDIA's headers, not by ours. What the real library
 * would answer with a crash or wrong pixels ends the process.
 *
 * The stream is of units, each 00 00 01 and then text:
 *   S width height bits surfaces chroma range matrix left top right bottom    a sequence; the last four are cropped off
 *   P value flags                                                             a picture, all of whose Y are `value`
 *   E                                                                         the hidden picture is shown
 * flags: 1 concealed, 2 the engine refuses it, 4 shown after the next picture, 8 hidden.
 * As with the real library, pictures after a hidden one have the time stamps of packets before theirs.
 * FAKE_NVDEC_MOST: decoders that there can be at once.
 * A packet of anything else that is marked as whole is a picture of FAKE_NVDEC_SIZE, 64x48 by default.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(type, base, offset) (*(type *)((char *)(base) + (offset)))
#define PICTURES 64

static _Atomic int decoders, parsers, mapped, locks, made;
int standInDecoders(void) { return decoders; }
int standInParsers(void) { return parsers; }
int standInMapped(void) { return mapped; }
int standInLocks(void) { return locks; }
int standInMade(void) { return made; }

static int setting(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text == NULL ? otherwise : atoi(text);
}

static void must(int holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "libnvcuvid was called wrongly: %s\n", what);
  _exit(70);
}

/* ---- capabilities ---- */

int cuvidGetDecoderCaps(void *caps) {
  const int codec = AT(int, caps, 0), chroma = AT(int, caps, 4), bits = AT(uint32_t, caps, 8) + 8;
  const int status = setting("FAKE_NVDEC_CAPS_STATUS", 0);
  const int is_hevc = codec == 8 && (bits == 8 || bits == 10), is_h264 = codec == 4 && bits == 8;
  const int is_vpx = (codec == 9 || codec == 10) && bits == 8;
  AT(uint8_t, caps, 24) = chroma == 1 && (is_hevc || is_h264 || is_vpx);
  AT(uint8_t, caps, 25) = 7;
  AT(uint16_t, caps, 26) = bits == 8 ? 1 : 3;
  AT(uint32_t, caps, 28) = is_hevc ? 8192 : 4096;
  AT(uint32_t, caps, 32) = is_hevc ? 8192 : 4096;
  AT(uint32_t, caps, 36) = is_hevc ? 262144 : 65536;
  AT(uint16_t, caps, 40) = 48;
  AT(uint16_t, caps, 42) = 16;
  return status;
}

int cuvidCtxLockCreate(void **lock, void *context) {
  must(context != NULL, "a lock without a context");
  *lock = malloc(8);
  locks += 1;
  return 0;
}

int cuvidCtxLockDestroy(void *lock) {
  free(lock);
  locks -= 1;
  return 0;
}

/* ---- the decoder ---- */

typedef struct picture {
  int value, flags;
  int is_awaited; /* shown, and not mapped so far */
} picture;

typedef struct decoder {
  pthread_mutex_t mutex;
  int codec, bits, width, height, max_width, max_height, surfaces, outputs;
  int pitch;
  picture pictures[PICTURES];
  uint8_t *output[64];
  int is_mapped[64];
} decoder;

/* That the thread's parser feeds. */
static __thread decoder *recent;

/* The driver's, in which no other does the same. */
static void be_busy(const char *name) {
  static _Atomic int busy;
  busy += 1;
  must(busy == 1 || setting("FAKE_NVDEC_ONE_AT_A_TIME", 0) == 0, "two decoders are made or destroyed at once");
  usleep((unsigned)setting(name, 0));
  busy -= 1;
}

static void size_outputs(decoder *self, int width, int height) {
  self->width = width;
  self->height = height;
  /* Wider than any row. */
  self->pitch = (width * (self->bits == 8 ? 1 : 2) + 255) / 256 * 256 + 256;
}

int cuvidCreateDecoder(void **out, void *info) {
  const int status = setting("FAKE_NVDEC_CREATE_STATUS", 0);
  if (status != 0) return status;
  if (decoders >= setting("FAKE_NVDEC_MOST", 1000)) return 2;
  decoder *self = calloc(1, sizeof *self);
  pthread_mutex_init(&self->mutex, NULL);
  self->codec = AT(int, info, 24);
  self->bits = 8 + (int)AT(unsigned long, info, 40);
  self->surfaces = (int)AT(unsigned long, info, 16);
  self->outputs = (int)AT(unsigned long, info, 112);
  self->max_width = (int)AT(unsigned long, info, 56);
  self->max_height = (int)AT(unsigned long, info, 64);
  must(AT(int, info, 28) == 1 && AT(unsigned long, info, 32) == 4, "chroma or flags of a decoder");
  must(AT(int, info, 88) == (self->bits == 8 ? 0 : 1), "output format of a decoder");
  must(AT(void *, info, 120) != NULL, "a decoder without a lock");
  must(self->surfaces >= 1 && self->surfaces <= PICTURES && self->outputs <= 64, "surfaces of a decoder");
  const int width = (int)AT(unsigned long, info, 0), height = (int)AT(unsigned long, info, 8);
  must(AT(int16_t, info, 84) == width && AT(int16_t, info, 86) == height, "display area of a decoder");
  must((int)AT(unsigned long, info, 96) == width && AT(int16_t, info, 132) == width, "target of a decoder");
  must(width % 2 == 0 && height % 2 == 0, "an odd target of a decoder");
  must(width <= self->max_width && height <= self->max_height, "a decoder that is larger than its limit");
  be_busy("FAKE_NVDEC_CREATE_US");
  size_outputs(self, self->max_width, self->max_height);
  for (int at = 0; at < self->outputs; at++) self->output[at] = malloc((size_t)self->pitch * (self->max_height + 2) * 2);
  size_outputs(self, width, height);
  decoders += 1;
  made += 1;
  *out = self;
  return 0;
}

static int count_mapped(decoder *self) {
  int count = 0;
  for (int at = 0; at < self->outputs; at++) count += self->is_mapped[at];
  return count;
}

int cuvidDestroyDecoder(void *handle) {
  decoder *self = handle;
  must(count_mapped(self) == 0, "a decoder is destroyed while surfaces are mapped");
  be_busy("FAKE_NVDEC_DESTROY_US");
  for (int at = 0; at < self->outputs; at++) free(self->output[at]);
  if (recent == self) recent = NULL;
  free(self);
  decoders -= 1;
  return 0;
}

int cuvidReconfigureDecoder(void *handle, void *info) {
  decoder *self = handle;
  const int width = (int)AT(uint32_t, info, 0), height = (int)AT(uint32_t, info, 4);
  must(count_mapped(self) == 0, "a decoder is reconfigured while surfaces are mapped");
  must(AT(int16_t, info, 72) == width && AT(int16_t, info, 74) == height, "display area of a reconfigured decoder");
  must(AT(uint32_t, info, 8) == (uint32_t)width && AT(int16_t, info, 80) == width, "target of a reconfigured decoder");
  must(width % 2 == 0 && height % 2 == 0, "an odd target of a reconfigured decoder");
  must((int)AT(uint32_t, info, 16) <= self->surfaces, "surfaces of a reconfigured decoder");
  if (setting("FAKE_NVDEC_RECONFIGURE_STATUS", 0) != 0) return setting("FAKE_NVDEC_RECONFIGURE_STATUS", 0);
  if (width > self->max_width || height > self->max_height) return 1;
  size_outputs(self, width, height);
  for (int at = 0; at < PICTURES; at++) self->pictures[at] = (picture){0};
  return 0;
}

/* CUVIDPICPARAMS of the stand-in: CurrPicIdx where it is, our own behind the first 64 bytes. */
int cuvidDecodePicture(void *handle, void *params) {
  decoder *self = handle;
  picture *target = &self->pictures[AT(int, params, 8)];
  recent = self;
  must(AT(int, params, 8) < self->surfaces, "a picture beyond the decode surfaces");
  must(!target->is_awaited, "a picture is decoded over one that is still to be shown");
  usleep((unsigned)setting("FAKE_NVDEC_DECODE_US", 0));
  if (AT(int, params, 68) & 2) return 1;
  target->value = AT(int, params, 64);
  target->flags = AT(int, params, 68);
  return 0;
}

int cuvidGetDecodeStatus(void *handle, int at, void *status) {
  AT(int, status, 0) = ((decoder *)handle)->pictures[at].flags & 1 ? 9 : 2;
  return 0;
}

static void fill(decoder *self, uint8_t *surface, int value) {
  const int rows = (self->height + 1) & ~1;
  memset(surface, 0xee, (size_t)self->pitch * rows * 3 / 2);
  for (int y = 0; y < rows * 3 / 2; y++) {
    for (int x = 0; x < self->width; x++) {
      /* Y tells the picture and the place; U and V are one and two more than `value`. */
      const int sample = y < rows ? value + (x + y) % 4 : value + 1 + x % 2;
      if (self->bits == 8) surface[y * self->pitch + x] = (uint8_t)sample;
      else ((uint16_t *)(surface + y * self->pitch))[x] = (uint16_t)(sample << 8);
    }
  }
}

int cuvidMapVideoFrame64(void *handle, int at, uint64_t *pointer, uint32_t *pitch, void *params) {
  decoder *self = handle;
  must(AT(void *, params, 56) != NULL, "a surface is mapped on the default stream");
  if (setting("FAKE_NVDEC_MAP_STATUS", 0) != 0) return setting("FAKE_NVDEC_MAP_STATUS", 0);
  self->pictures[at].is_awaited = 0;
  for (int slot = 0; slot < self->outputs; slot++) {
    if (self->is_mapped[slot]) continue;
    self->is_mapped[slot] = 1;
    mapped += 1;
    fill(self, self->output[slot], self->pictures[at].value);
    *pointer = (uint64_t)(uintptr_t)self->output[slot];
    *pitch = (uint32_t)self->pitch;
    return 0;
  }
  must(0, "more surfaces are mapped than there are");
  return 1;
}

int cuvidUnmapVideoFrame64(void *handle, uint64_t pointer) {
  decoder *self = handle;
  for (int slot = 0; slot < self->outputs; slot++) {
    if ((uint64_t)(uintptr_t)self->output[slot] != pointer || !self->is_mapped[slot]) continue;
    self->is_mapped[slot] = 0;
    mapped -= 1;
    return 0;
  }
  must(0, "a surface is unmapped that is not mapped");
  return 1;
}

/* ---- the parser ---- */

typedef struct parser {
  int codec, surfaces;
  void *user;
  int (*on_sequence)(void *, void *);
  int (*on_decode)(void *, void *);
  int (*on_display)(void *, void *);
  char unit[4096];
  int length, is_inside;
  int64_t timestamp; /* of the packet in which the unit began */
  int next, count;
  int held; /* picture that is shown after the next, or -1 */
  int64_t held_timestamp;
  int hidden; /* picture that is not shown so far, or -1 */
  int64_t former_timestamp; /* of the packet before */
  int is_late; /* a picture was hidden */
} parser;

int cuvidCreateVideoParser(void **out, void *params) {
  if (setting("FAKE_NVDEC_PARSER_STATUS", 0) != 0) return setting("FAKE_NVDEC_PARSER_STATUS", 0);
  parser *self = calloc(1, sizeof *self);
  self->codec = AT(int, params, 0);
  self->surfaces = 1;
  self->held = -1;
  self->hidden = -1;
  must(AT(uint32_t, params, 4) == 1 && AT(uint32_t, params, 8) == 1000000, "surfaces or clock of a parser");
  must(AT(uint32_t, params, 12) == 100, "a parser that drops damaged pictures");
  self->user = AT(void *, params, 40);
  self->on_sequence = AT(void *, params, 48);
  self->on_decode = AT(void *, params, 56);
  self->on_display = AT(void *, params, 64);
  parsers += 1;
  *out = self;
  return 0;
}

int cuvidDestroyVideoParser(void *handle) {
  free(handle);
  parsers -= 1;
  return 0;
}

static int sequence(parser *self, const int v[11]) {
  char format[64] = {0};
  AT(int, format, 0) = self->codec;
  AT(uint8_t, format, 13) = (uint8_t)(v[2] - 8);
  AT(uint8_t, format, 15) = (uint8_t)v[3];
  AT(uint32_t, format, 16) = (uint32_t)v[0];
  AT(uint32_t, format, 20) = (uint32_t)v[1];
  AT(int, format, 24) = v[7];
  AT(int, format, 28) = v[8];
  AT(int, format, 32) = v[0] - v[9];
  AT(int, format, 36) = v[1] - v[10];
  AT(int, format, 40) = v[4];
  AT(uint8_t, format, 56) = (uint8_t)(v[5] << 3);
  AT(uint8_t, format, 59) = (uint8_t)v[6];
  const int surfaces = self->on_sequence(self->user, format);
  if (surfaces > 1) self->surfaces = surfaces;
  self->next = 0;
  return surfaces > 0;
}

static int show(parser *self, int at, int64_t timestamp) {
  char info[24] = {0};
  AT(int, info, 0) = at;
  AT(int, info, 4) = 1;
  AT(int64_t, info, 16) = self->is_late ? self->former_timestamp : timestamp;
  if (recent != NULL) recent->pictures[at].is_awaited = 1;
  return self->on_display(self->user, info);
}

static int picture_unit(parser *self, int value, int flags) {
  char params[4280] = {0};
  const int at = self->next;
  self->next = (self->next + 1) % self->surfaces;
  while (self->next == self->held || self->next == self->hidden) self->next = (self->next + 1) % self->surfaces;
  AT(int, params, 8) = at;
  AT(int, params, 64) = value;
  AT(int, params, 68) = flags;
  if (self->on_decode(self->user, params) == 0) return 0;
  if (flags & 8) {
    self->hidden = at;
    self->is_late = 1;
    return 1;
  }
  if (flags & 4) {
    self->held = at;
    self->held_timestamp = self->timestamp;
    return 1;
  }
  if (!show(self, at, self->timestamp)) return 0;
  if (self->held < 0) return 1;
  const int later = self->held;
  self->held = -1;
  return show(self, later, self->held_timestamp);
}

static int end_unit(parser *self) {
  if (!self->is_inside) return 1;
  self->is_inside = 0;
  self->unit[self->length] = 0;
  int v[11] = {0};
  if (self->unit[0] == 'S' && sscanf(self->unit + 1, "%d %d %d %d %d %d %d %d %d %d %d", v, v + 1, v + 2, v + 3, v + 4, v + 5,
                                     v + 6, v + 7, v + 8, v + 9, v + 10) == 11)
    return sequence(self, v);
  if (self->unit[0] == 'E' && self->hidden >= 0) {
    const int at = self->hidden;
    self->hidden = -1;
    return show(self, at, self->timestamp);
  }
  if (self->unit[0] == 'P' && sscanf(self->unit + 1, "%d %d", v, v + 1) == 2) return picture_unit(self, v[0], v[1]);
  return 1;
}

/* Of a stream that is not made up. */
static int real_picture(parser *self) {
  if (self->count++ == 0) {
    int v[11] = {64, 48, 8, 4, 1, 0, 1};
    const char *size = getenv("FAKE_NVDEC_SIZE");
    if (size != NULL) sscanf(size, "%dx%d", v, v + 1);
    /* Blocks are coded; what is beyond the size is cropped off. */
    v[9] = (16 - v[0] % 16) % 16;
    v[10] = (16 - v[1] % 16) % 16;
    v[0] += v[9];
    v[1] += v[10];
    if (!sequence(self, v)) return 0;
  }
  return picture_unit(self, 16 + self->count % 200, 0);
}

int cuvidParseVideoData(void *handle, void *packet) {
  parser *self = handle;
  const unsigned long flags = AT(unsigned long, packet, 0);
  unsigned long length = AT(unsigned long, packet, 8);
  const uint8_t *bytes = AT(const uint8_t *, packet, 16);
  /* In front of a made-up unit, the header of a key frame of VP8: it tells the size, of which the real parser tells whole blocks. */
  if (length > 13 && memcmp(bytes + 3, "\x9d\x01\x2a", 3) == 0 && memcmp(bytes + 10, "\0\0\1", 3) == 0) {
    bytes += 10;
    length -= 10;
  }
  const int64_t timestamp = AT(int64_t, packet, 24);
  must((flags & 1) != 0 || (flags & 2) != 0, "a packet without a time stamp");
  int goes_on = 1;
  const int is_made_up = self->is_inside || (length > 3 && memcmp(bytes, "\0\0\1", 3) == 0 && strchr("SPEX", bytes[3]) != NULL);
  if (length > 0 && !is_made_up && (flags & 8) != 0) {
    self->timestamp = timestamp;
    goes_on = real_picture(self);
  }
  for (unsigned long at = 0; at < length && goes_on && (is_made_up || self->is_inside); at++) {
    if (at + 3 <= length && memcmp(bytes + at, "\0\0\1", 3) == 0) {
      goes_on = end_unit(self);
      self->is_inside = 1;
      self->length = 0;
      self->timestamp = timestamp;
      at += 2;
    } else if (self->is_inside && self->length < (int)sizeof self->unit - 1) {
      self->unit[self->length++] = (char)bytes[at];
    }
  }
  if (goes_on && (flags & 9) != 0) goes_on = end_unit(self);
  if (goes_on && (flags & 1) != 0 && self->held >= 0) {
    goes_on = show(self, self->held, self->held_timestamp);
    self->held = -1;
  }
  self->former_timestamp = timestamp;
  return goes_on ? 0 : 999;
}
