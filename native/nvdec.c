/*
 * NVDEC: a decoder is a thread that feeds libnvcuvid's parser, whose callbacks run on it. They create, reconfigure and
 * feed the decoder and queue what is to be shown; the thread maps it, and JS takes it. Nothing of JS runs here.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"

/* ---- libnvcuvid, as of Video Codec SDK 8 to 13 ---- */

typedef struct decode_caps {
  int32_t codec, chroma;
  uint32_t bits_minus_8, reserved[3];
  uint8_t is_supported, engines;
  uint16_t formats;
  uint32_t max_width, max_height, max_macroblocks;
  uint16_t min_width, min_height;
  uint32_t reserved_too[11];
} decode_caps;

/* `unsigned long` has 8 bytes on Linux and 4 on Windows, there as here. */
typedef struct create_info {
  unsigned long width, height, decode_surfaces;
  int32_t codec, chroma;
  unsigned long flags, bits_minus_8, is_intra_only, max_width, max_height, reserved;
  int16_t display[4];
  int32_t format, deinterlace;
  unsigned long target_width, target_height, output_surfaces;
  void *lock;
  int16_t target[4];
  unsigned long histogram, reserved_too[4];
} create_info;

typedef struct reconfigure_info {
  uint32_t width, height, target_width, target_height, decode_surfaces, reserved[12];
  int16_t display[4], target[4];
  uint32_t reserved_too[11];
} reconfigure_info;

typedef struct map_params {
  int32_t is_progressive, second_field, top_field_first, unpaired_field;
  uint32_t reserved[2];
  uint64_t raw_input;
  uint32_t raw_input_pitch, raw_input_format;
  uint64_t raw_output;
  uint32_t raw_output_pitch, reserved_too;
  void *stream;
  uint32_t reserved_three[46];
  void *histogram, *reserved_four;
} map_params;

typedef struct video_format {
  int32_t codec;
  uint32_t rate[2];
  uint8_t is_progressive, bits_minus_8, chroma_bits_minus_8, decode_surfaces;
  uint32_t width, height;
  int32_t left, top, right, bottom;
  int32_t chroma;
  uint32_t bitrate;
  int32_t aspect[2];
  uint32_t signal; /* bytes: format and range, primaries, transfer, matrix */
  uint32_t header_bytes;
} video_format;

typedef struct shown {
  int32_t picture, is_progressive, top_field_first, repeat_first_field;
  int64_t timestamp;
} shown;

typedef struct parser_params {
  int32_t codec;
  uint32_t decode_surfaces, clock_rate, error_threshold, display_delay, flags, reserved[4];
  void *user;
  int (*on_sequence)(void *, video_format *);
  int (*on_decode)(void *, void *);
  int (*on_display)(void *, shown *);
  void *on_operating_point, *on_message, *reserved_too[5], *extended;
} parser_params;

typedef struct source_packet {
  unsigned long flags, length;
  const uint8_t *bytes;
  int64_t timestamp;
} source_packet;

typedef struct decode_status {
  int32_t status;
  uint32_t reserved[31];
  void *reserved_too[8];
} decode_status;

#define LONG sizeof(unsigned long)
_Static_assert(sizeof(decode_caps) == 88, "CUVIDDECODECAPS");
_Static_assert(sizeof(create_info) == (LONG == 8 ? 176 : 112), "CUVIDDECODECREATEINFO");
_Static_assert(offsetof(create_info, display) == 8 + 9 * LONG, "CUVIDDECODECREATEINFO.display_area");
_Static_assert(sizeof(reconfigure_info) == 128, "CUVIDRECONFIGUREDECODERINFO");
_Static_assert(offsetof(reconfigure_info, display) == 68, "CUVIDRECONFIGUREDECODERINFO.display_area");
_Static_assert(sizeof(map_params) == 264, "CUVIDPROCPARAMS");
_Static_assert(offsetof(map_params, stream) == 56, "CUVIDPROCPARAMS.output_stream");
_Static_assert(sizeof(video_format) == 64, "CUVIDEOFORMAT");
_Static_assert(offsetof(video_format, signal) == 56, "CUVIDEOFORMAT.video_signal_description");
_Static_assert(sizeof(shown) == 24, "CUVIDPARSERDISPINFO");
_Static_assert(sizeof(parser_params) == 136, "CUVIDPARSERPARAMS");
_Static_assert(offsetof(parser_params, on_sequence) == 48, "CUVIDPARSERPARAMS.pfnSequenceCallback");
_Static_assert(sizeof(source_packet) == 2 * LONG + 16, "CUVIDSOURCEDATAPACKET");
_Static_assert(sizeof(decode_status) == 192, "CUVIDGETDECODESTATUS");

/* CUVIDPICPARAMS: PicWidthInMbs, FrameHeightInMbs, CurrPicIdx … */
#define CURRENT_PICTURE 2

#define PREFER_CUVID 4
#define FLAG_END_OF_STREAM 1
#define FLAG_TIMESTAMP 2
#define FLAG_END_OF_PICTURE 8
#define FORMAT_NV12 0
#define FORMAT_P016 1
#define CHROMA_420 1
#define STATUS_ERROR 8
#define STATUS_CONCEALED 9
/* Codecs whose packets are shown in their order, each as one image at most. */
#define CODEC_VP8 9
#define CODEC_AV1 11
/* Time stamps are microseconds. */
#define CLOCK_RATE 1000000
/* Pictures are decoded however damaged: none is lost without being counted. */
#define DECODE_ALL 100

/* The functions in the order of BT_VIDEO_CALLS. */
typedef struct calls {
  int32_t (*caps)(decode_caps *);
  int32_t (*create)(void **, create_info *);
  int32_t (*destroy)(void *);
  int32_t (*decode)(void *, void *);
  int32_t (*status)(void *, int32_t, decode_status *);
  int32_t (*reconfigure)(void *, reconfigure_info *);
  int32_t (*map)(void *, int32_t, uint64_t *, uint32_t *, map_params *);
  int32_t (*unmap)(void *, uint64_t);
  int32_t (*create_lock)(void **, void *);
  int32_t (*destroy_lock)(void *);
  int32_t (*create_parser)(void **, parser_params *);
  int32_t (*parse)(void *, source_packet *);
  int32_t (*destroy_parser)(void *);
  int32_t (*synchronize_stream)(void *);
  int32_t (*synchronize_event)(void *);
} calls;
_Static_assert(sizeof(calls) == BT_VIDEO_CALLS * sizeof(void *), "BT_VIDEO_CALLS");

enum call {
  CALL_NONE = -1,
  CALL_CAPS,
  CALL_CREATE,
  CALL_DECODE = 3,
  CALL_MAP = 6,
  CALL_UNMAP,
  CALL_CREATE_LOCK,
  CALL_CREATE_PARSER = 10,
  CALL_PARSE,
  CALL_SYNCHRONIZE_STREAM = 13,
  CALL_SYNCHRONIZE_EVENT
};

/* ---- one wait for all decoders of the process ---- */

static struct timespec time_after(int64_t nanoseconds) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  nanoseconds += until.tv_nsec;
  until.tv_sec += (time_t)(nanoseconds / 1000000000);
  until.tv_nsec = (long)(nanoseconds % 1000000000);
  return until;
}

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int32_t generation;
} news = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void tell(void) {
  pthread_mutex_lock(&news.mutex);
  news.generation = (news.generation + 1) & INT32_MAX;
  pthread_cond_broadcast(&news.changed);
  pthread_mutex_unlock(&news.mutex);
}

int32_t bt_nvdec_wait(int32_t seen, int32_t timeout_ms) {
  const struct timespec until = time_after((int64_t)timeout_ms * 1000000);
  pthread_mutex_lock(&news.mutex);
  int late = 0;
  while (news.generation == seen && late == 0) late = pthread_cond_timedwait(&news.changed, &news.mutex, &until);
  const int32_t generation = news.generation;
  pthread_mutex_unlock(&news.mutex);
  return generation;
}

/* ---- the engines of a device, and decoders that wait for the next stream ---- */

typedef struct hardware {
  void *handle; /* CUvideodecoder */
  void *lock;   /* CUvideoctxlock: of its own, so that one that waits for its engine keeps no other from theirs */
  int32_t codec, chroma, bits;
  int32_t max_width, max_height;
  int32_t decode_surfaces, output_surfaces;
} hardware;

/* Decoders that are kept, and those that are still to be destroyed. */
#define MOST_IDLE (4 * BT_VIDEO_IDLE)
/* So much longer than a decoder was being destroyed, none is. */
#define SWEEP_PAUSES 4

struct bt_video {
  calls calls;
  int32_t device;
  void *context;
  pthread_t sweeper;
  pthread_mutex_t mutex; /* of what follows */
  pthread_cond_t changed;
  bool is_closing;
  /*
   * A decoder is being made, for 45 to 70 ms, or destroyed, for some 20: the driver lets others neither make theirs nor decode
   * meanwhile. With one that waits for it at a time, the turn of those that decode comes in between.
   */
  bool is_busy;
  int32_t ending; /* threads of streams that were stopped, and have not given back their decoders */
  int32_t idle_limit, idle_count;
  hardware idle[MOST_IDLE];
};

/* Returns the first status that is not 0. */
static int32_t destroy(bt_video *video, hardware *made) {
  if (made->handle == NULL) return BT_OK;
  const int32_t status = video->calls.destroy(made->handle);
  const int32_t unlocked = video->calls.destroy_lock(made->lock);
  made->handle = NULL;
  made->lock = NULL;
  return status == BT_OK ? unlocked : status;
}

/* One of the idle ones is so no longer. The mutex is held. */
static hardware take_at(bt_video *video, int32_t at) {
  const hardware taken = video->idle[at];
  video->idle_count -= 1;
  memmove(&video->idle[at], &video->idle[at + 1], (size_t)(video->idle_count - at) * sizeof taken);
  return taken;
}

/* Destroys decoders beyond those that are kept, the oldest first, with pauses in which others decode: nothing waits for it. */
static void *sweep(void *user) {
  bt_video *video = user;
  /* Decoders take their context by their lock, too. */
  (void)bt_use_device(video->device);
  pthread_mutex_lock(&video->mutex);
  while (!video->is_closing) {
    if (video->is_busy || video->idle_count <= video->idle_limit) {
      pthread_cond_wait(&video->changed, &video->mutex);
      continue;
    }
    hardware oldest = take_at(video, 0);
    video->is_busy = true;
    pthread_mutex_unlock(&video->mutex);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    destroy(video, &oldest);
    clock_gettime(CLOCK_MONOTONIC, &to);
    const int64_t taken = (int64_t)(to.tv_sec - from.tv_sec) * 1000000000 + (to.tv_nsec - from.tv_nsec);
    const struct timespec until = time_after(SWEEP_PAUSES * taken);
    pthread_mutex_lock(&video->mutex);
    video->is_busy = false;
    pthread_cond_broadcast(&video->changed);
    pthread_mutex_unlock(&video->mutex);
    tell();
    pthread_mutex_lock(&video->mutex);
    int late = 0;
    while (!video->is_closing && late == 0) late = pthread_cond_timedwait(&video->changed, &video->mutex, &until);
  }
  pthread_mutex_unlock(&video->mutex);
  return NULL;
}

static void free_video(bt_video *video) {
  pthread_cond_destroy(&video->changed);
  pthread_mutex_destroy(&video->mutex);
  free(video);
}

int32_t bt_video_open(int32_t device, void *context, const void *const *functions, int32_t idle, void **out) {
  if (functions == NULL || out == NULL || idle < 0 || idle > BT_VIDEO_IDLE) return BT_BAD_CALL;
  for (int32_t at = 0; at < BT_VIDEO_CALLS; at++) {
    if (functions[at] == NULL) return BT_BAD_CALL;
  }
  bt_video *video = calloc(1, sizeof *video);
  if (video == NULL) return BT_FAILED;
  memcpy(&video->calls, functions, sizeof video->calls);
  video->device = device;
  video->context = context;
  video->idle_limit = idle;
  pthread_mutex_init(&video->mutex, NULL);
  pthread_cond_init(&video->changed, NULL);
  if (pthread_create(&video->sweeper, NULL, sweep, video) != 0) {
    free_video(video);
    return BT_FAILED;
  }
  *out = video;
  return BT_OK;
}

int32_t bt_video_keep(bt_video *video, int32_t idle) {
  if (video == NULL || idle < 0 || idle > BT_VIDEO_IDLE) return BT_BAD_CALL;
  pthread_mutex_lock(&video->mutex);
  video->idle_limit = idle;
  pthread_cond_broadcast(&video->changed);
  pthread_mutex_unlock(&video->mutex);
  return BT_OK;
}

int32_t bt_video_left(bt_video *video) {
  if (video == NULL) return BT_BAD_CALL;
  pthread_mutex_lock(&video->mutex);
  const int32_t left = video->idle_count + video->ending + (video->is_busy ? 1 : 0);
  pthread_mutex_unlock(&video->mutex);
  return left;
}

int32_t bt_video_close(bt_video *video) {
  if (video == NULL) return BT_BAD_CALL;
  pthread_mutex_lock(&video->mutex);
  video->is_closing = true;
  pthread_cond_broadcast(&video->changed);
  pthread_mutex_unlock(&video->mutex);
  pthread_join(video->sweeper, NULL);
  int32_t failure = BT_OK;
  for (int32_t at = 0; at < video->idle_count; at++) {
    const int32_t status = destroy(video, &video->idle[at]);
    if (failure == BT_OK) failure = status;
  }
  free_video(video);
  return failure;
}

int32_t bt_video_caps(bt_video *video, int32_t codec, int32_t chroma, int32_t bits, bt_video_limits *out) {
  if (video == NULL || out == NULL) return BT_BAD_CALL;
  decode_caps caps = {.codec = codec, .chroma = chroma, .bits_minus_8 = (uint32_t)bits - 8};
  const int32_t status = video->calls.caps(&caps);
  if (status != 0) return status;
  out->is_supported = caps.is_supported;
  out->engines = caps.engines;
  out->formats = caps.formats;
  out->max_width = (int32_t)caps.max_width;
  out->max_height = (int32_t)caps.max_height;
  out->max_macroblocks = (int32_t)caps.max_macroblocks;
  out->min_width = caps.min_width;
  out->min_height = caps.min_height;
  return BT_OK;
}

static bool fits(const hardware *made, const hardware *wanted) {
  return made->codec == wanted->codec && made->chroma == wanted->chroma && made->bits == wanted->bits &&
         made->max_width >= wanted->max_width && made->max_height >= wanted->max_height &&
         made->decode_surfaces >= wanted->decode_surfaces && made->output_surfaces >= wanted->output_surfaces;
}

/* Keep a decoder whose surfaces are all unmapped; the sweeper destroys those that have waited longest. */
static void give_idle(bt_video *video, hardware *given) {
  const hardware newest = *given;
  *given = (hardware){0};
  if (newest.handle == NULL) return;
  hardware oldest = {0};
  pthread_mutex_lock(&video->mutex);
  if (video->idle_count == MOST_IDLE) oldest = take_at(video, 0);
  video->idle[video->idle_count++] = newest;
  pthread_cond_broadcast(&video->changed);
  pthread_mutex_unlock(&video->mutex);
  destroy(video, &oldest);
}

/* Free what idle decoders hold. Returns whether there were any. */
static bool destroy_idle(bt_video *video) {
  bool is_freed = false;
  pthread_mutex_lock(&video->mutex);
  while (video->idle_count > 0) {
    hardware oldest = take_at(video, 0);
    pthread_mutex_unlock(&video->mutex);
    destroy(video, &oldest);
    is_freed = true;
    pthread_mutex_lock(&video->mutex);
  }
  pthread_mutex_unlock(&video->mutex);
  return is_freed;
}

/* ---- a decoder ---- */

/* Pictures whose decoding has begun before the first of them is waited for: the engine then never waits for us. */
#define IN_FLIGHT 3
#define MOST_PICTURES 64
#define QUEUED_PACKETS 64
#define QUEUED_BYTES (16 << 20)
/* Frames that are there and marks of ends. */
#define MOST_READY 256
#define END_MARK (-1)
/* Pictures that the engine refuses one after the other before that counts as a failure: damaged data has gone by sooner. */
#define MOST_REFUSED 32

typedef struct packet {
  struct packet *next;
  size_t length;
  int64_t timestamp;
  uint32_t flags;
  uint8_t bytes[];
} packet;

enum slot_state { SLOT_FREE, SLOT_READY, SLOT_TAKEN, SLOT_RELEASED, SLOT_RECORDED };

typedef struct slot {
  enum slot_state state;
  void *event; /* recorded behind the work that reads the surface */
  bt_nvdec_frame frame;
} slot;

struct bt_nvdec {
  bt_video *video;
  bt_nvdec_options options;
  void *stream;
  pthread_t thread;

  pthread_mutex_t mutex; /* of what follows, up to the thread's own */
  pthread_cond_t changed;
  bool is_closing;
  bool has_ended; /* the thread has */
  packet *first, *last;
  int32_t queued;
  size_t queued_bytes;
  slot slot[BT_NVDEC_SURFACES];
  int32_t ready[MOST_READY]; /* slots in the order they are shown */
  uint32_t ready_from, ready_to;
  bt_nvdec_report report;

  void *parser;
  hardware hardware;
  video_format format;
  shown fifo[MOST_PICTURES];
  int32_t pending;
  int32_t refused_in_row;
  bool is_refused[MOST_PICTURES]; /* by its place among the decode surfaces: the engine refused the picture */
  int64_t decoded_in[MOST_PICTURES]; /* by its place: the number of its packet */
  int64_t packet;                    /* the number of the one that is parsed, from 1 */
  int64_t shown_packet;              /* the number of the one whose image was shown last */
  int64_t timestamps[MOST_PICTURES]; /* of the newest packets */
};

/* Add to one of the report's numbers. */
static void count(bt_nvdec *decoder, int32_t *number) {
  pthread_mutex_lock(&decoder->mutex);
  *number += 1;
  pthread_mutex_unlock(&decoder->mutex);
}

static bool has_failed(bt_nvdec *decoder) { return decoder->report.failure != BT_NVDEC_GOES; }

static bool goes_on(bt_nvdec *decoder) {
  pthread_mutex_lock(&decoder->mutex);
  const bool result = !decoder->is_closing && !has_failed(decoder);
  pthread_mutex_unlock(&decoder->mutex);
  return result;
}

/* The first failure is kept. Returns false. */
static bool fail(bt_nvdec *decoder, int32_t failure, int32_t call, int32_t status) {
  pthread_mutex_lock(&decoder->mutex);
  if (!has_failed(decoder) && !decoder->is_closing) {
    decoder->report.failure = failure;
    decoder->report.call = call;
    decoder->report.status = status;
  }
  pthread_mutex_unlock(&decoder->mutex);
  tell();
  return false;
}

/* Unmap what has been given back, once the work that reads it has ended. The mutex is held, and let go of meanwhile. */
static void unmap(bt_nvdec *decoder, slot *given) {
  const calls *calls = &decoder->video->calls;
  const bool is_recorded = given->state == SLOT_RECORDED;
  pthread_mutex_unlock(&decoder->mutex);
  const int32_t waited = is_recorded ? calls->synchronize_event(given->event) : 0;
  if (waited != 0) fail(decoder, BT_NVDEC_CALL, CALL_SYNCHRONIZE_EVENT, waited);
  const int32_t status = calls->unmap(decoder->hardware.handle, given->frame.surface);
  if (status != 0) fail(decoder, BT_NVDEC_CALL, CALL_UNMAP, status);
  pthread_mutex_lock(&decoder->mutex);
  given->state = SLOT_FREE;
}

/* A slot that nothing is mapped to; NULL where the decoder is closed or has failed first. */
static slot *free_slot(bt_nvdec *decoder) {
  slot *found = NULL;
  pthread_mutex_lock(&decoder->mutex);
  while (found == NULL && !decoder->is_closing && !has_failed(decoder)) {
    slot *given = NULL;
    for (int32_t at = 0; at < decoder->options.surfaces && found == NULL; at++) {
      slot *one = &decoder->slot[at];
      if (one->state == SLOT_FREE) found = one;
      if (one->state == SLOT_RELEASED || (one->state == SLOT_RECORDED && given == NULL)) given = one;
    }
    if (found != NULL) break;
    if (given != NULL) unmap(decoder, given);
    else pthread_cond_wait(&decoder->changed, &decoder->mutex);
  }
  pthread_mutex_unlock(&decoder->mutex);
  return found;
}

/* Wait until every surface has been given back, and unmap them all. */
static bool unmap_all(bt_nvdec *decoder) {
  bool is_done = false;
  pthread_mutex_lock(&decoder->mutex);
  while (!is_done && !decoder->is_closing && !has_failed(decoder)) {
    is_done = true;
    slot *given = NULL;
    for (int32_t at = 0; at < decoder->options.surfaces; at++) {
      slot *one = &decoder->slot[at];
      if (one->state != SLOT_FREE) is_done = false;
      if (one->state == SLOT_RELEASED || one->state == SLOT_RECORDED) given = one;
    }
    if (is_done) break;
    if (given != NULL) unmap(decoder, given);
    else pthread_cond_wait(&decoder->changed, &decoder->mutex);
  }
  pthread_mutex_unlock(&decoder->mutex);
  return is_done;
}

static bool push_ready(bt_nvdec *decoder, int32_t what) {
  pthread_mutex_lock(&decoder->mutex);
  while (decoder->ready_to - decoder->ready_from == MOST_READY && !decoder->is_closing) {
    pthread_cond_wait(&decoder->changed, &decoder->mutex);
  }
  const bool goes_on = !decoder->is_closing;
  if (goes_on) {
    if (what != END_MARK) {
      decoder->slot[what].state = SLOT_READY;
      decoder->report.frames += 1;
      decoder->report.damaged += decoder->slot[what].frame.is_damaged;
    }
    decoder->ready[decoder->ready_to++ % MOST_READY] = what;
  }
  pthread_mutex_unlock(&decoder->mutex);
  tell();
  return goes_on;
}

static bool is_damaged(bt_nvdec *decoder, int32_t picture) {
  if (decoder->is_refused[picture % MOST_PICTURES]) return true;
  decode_status status = {0};
  /* Not every codec and card tells. */
  if (decoder->video->calls.status(decoder->hardware.handle, picture, &status) != 0) return false;
  return status.status == STATUS_ERROR || status.status == STATUS_CONCEALED;
}

/* Sides of what the engine writes are even, and so are those of what it writes them from: otherwise it resamples. */
static uint32_t even(uint32_t side) { return (side + 1) & ~1u; }

/* Map the picture that is shown next, once it is decoded; its pixels are there afterwards. */
static bool deliver(bt_nvdec *decoder) {
  slot *target = free_slot(decoder);
  if (target == NULL) return false;
  const calls *calls = &decoder->video->calls;
  const video_format *format = &decoder->format;
  const shown next = decoder->fifo[0];
  decoder->pending -= 1;
  memmove(&decoder->fifo[0], &decoder->fifo[1], (size_t)decoder->pending * sizeof next);
  map_params params = {.is_progressive = next.is_progressive,
                       .second_field = next.repeat_first_field + 1,
                       .top_field_first = next.top_field_first,
                       .unpaired_field = next.repeat_first_field < 0,
                       .stream = decoder->stream};
  uint64_t surface = 0;
  uint32_t pitch = 0;
  int32_t status = calls->map(decoder->hardware.handle, next.picture, &surface, &pitch, &params);
  if (status != 0) return fail(decoder, BT_NVDEC_CALL, CALL_MAP, status);
  /* The engine may decode into the picture's memory again as soon as this has passed. */
  status = calls->synchronize_stream(decoder->stream);
  if (status != 0) {
    calls->unmap(decoder->hardware.handle, surface);
    return fail(decoder, BT_NVDEC_CALL, CALL_SYNCHRONIZE_STREAM, status);
  }
  /* The whole coded image is mapped, so that nothing is resampled; the area that is shown is an address in it. */
  const uint64_t sample_bytes = format->bits_minus_8 == 0 ? 1 : 2;
  const uint64_t rows = even(format->height);
  const uint64_t left = (uint64_t)format->left & ~1ull, top = (uint64_t)format->top & ~1ull;
  target->frame = (bt_nvdec_frame){
      .surface = surface,
      .luma = surface + top * pitch + left * sample_bytes,
      .chroma = surface + (rows + top / 2) * pitch + left * sample_bytes,
      .timestamp = next.timestamp,
      .pitch = (int32_t)pitch,
      .width = format->right - format->left,
      .height = format->bottom - format->top,
      .bits = format->bits_minus_8 + 8,
      .signal = format->signal,
      .is_damaged = is_damaged(decoder, next.picture),
  };
  if (push_ready(decoder, (int32_t)(target - decoder->slot))) return true;
  calls->unmap(decoder->hardware.handle, surface);
  return false;
}

static bool deliver_all(bt_nvdec *decoder) {
  while (decoder->pending > 0) {
    if (!deliver(decoder)) return false;
  }
  return true;
}

/* ---- the parser's callbacks; 0 ends the parsing ---- */

/* Sides of blocks. */
#define BLOCK 16

/* True where the card decodes the format. Returns the status of the call in `status`. */
static bool is_supported(bt_nvdec *decoder, const video_format *format, int32_t *status) {
  const int32_t bits = format->bits_minus_8 + 8;
  bt_video_limits limits = {0};
  *status = bt_video_caps(decoder->video, format->codec, format->chroma, bits, &limits);
  if (*status != 0) return false;
  const int32_t needed = 1 << (bits == 8 ? FORMAT_NV12 : FORMAT_P016);
  const int32_t width = (int32_t)format->width, height = (int32_t)format->height;
  const int64_t macroblocks = (int64_t)((width + 15) / BLOCK) * ((height + 15) / BLOCK);
  return format->chroma <= CHROMA_420 && limits.is_supported && (limits.formats & needed) != 0 && width >= limits.min_width &&
         height >= limits.min_height && width <= limits.max_width && height <= limits.max_height &&
         macroblocks <= limits.max_macroblocks;
}

/* Why the card does not decode it is found in the limits, which TypeScript puts into words. */
static bool assert_supported(bt_nvdec *decoder, const video_format *format) {
  int32_t status = 0;
  bt_nvdec_report *report = &decoder->report;
  const bool is_taken = is_supported(decoder, format, &status);
  pthread_mutex_lock(&decoder->mutex);
  report->codec = format->codec;
  report->chroma = format->chroma;
  report->bits = format->bits_minus_8 + 8;
  report->width = (int32_t)format->width;
  report->height = (int32_t)format->height;
  pthread_mutex_unlock(&decoder->mutex);
  if (is_taken) return true;
  return status != 0 ? fail(decoder, BT_NVDEC_CALL, CALL_CAPS, status) : fail(decoder, BT_NVDEC_UNSUPPORTED, CALL_NONE, 0);
}

/* Beside what the parser asks for, those that are decoded while earlier ones are waited for. */
static int32_t surfaces_for(int32_t asked) {
  const int32_t surfaces = asked + IN_FLIGHT;
  return surfaces < MOST_PICTURES ? surfaces : MOST_PICTURES;
}

static int32_t reconfigure(bt_nvdec *decoder, const video_format *format) {
  const uint32_t width = even(format->width), height = even(format->height);
  reconfigure_info info = {.width = width,
                           .height = height,
                           .target_width = width,
                           .target_height = height,
                           .decode_surfaces = (uint32_t)decoder->hardware.decode_surfaces,
                           .display = {0, 0, (int16_t)width, (int16_t)height},
                           .target = {0, 0, (int16_t)width, (int16_t)height}};
  return decoder->video->calls.reconfigure(decoder->hardware.handle, &info);
}

static int32_t create(bt_nvdec *decoder, const video_format *format, const hardware *wanted) {
  const uint32_t width = even(format->width), height = even(format->height);
  create_info info = {.width = width,
                      .height = height,
                      .decode_surfaces = (unsigned long)wanted->decode_surfaces,
                      .codec = format->codec,
                      .chroma = format->chroma,
                      .flags = PREFER_CUVID,
                      .bits_minus_8 = format->bits_minus_8,
                      .max_width = (unsigned long)wanted->max_width,
                      .max_height = (unsigned long)wanted->max_height,
                      .display = {0, 0, (int16_t)width, (int16_t)height},
                      .format = format->bits_minus_8 == 0 ? FORMAT_NV12 : FORMAT_P016,
                      .target_width = width,
                      .target_height = height,
                      .output_surfaces = (unsigned long)wanted->output_surfaces,
                      .lock = wanted->lock,
                      .target = {0, 0, (int16_t)width, (int16_t)height}};
  decoder->hardware = *wanted;
  return decoder->video->calls.create(&decoder->hardware.handle, &info);
}

/* The call that failed, if one did. */
typedef struct made {
  enum call call;
  int32_t status;
} made;

/* Make a decoder in turn. */
static made create_in_turn(bt_nvdec *decoder, const video_format *format, hardware *wanted) {
  bt_video *video = decoder->video;
  made result = {CALL_CREATE_LOCK, video->calls.create_lock(&wanted->lock, video->context)};
  if (result.status != 0) return result;
  pthread_mutex_lock(&video->mutex);
  while (video->is_busy && goes_on(decoder)) pthread_cond_wait(&video->changed, &video->mutex);
  const bool has_turn = goes_on(decoder);
  if (has_turn) video->is_busy = true;
  pthread_mutex_unlock(&video->mutex);
  result = (made){CALL_CREATE, has_turn ? create(decoder, format, wanted) : 0};
  /* It may lack what idle ones hold. */
  if (result.status != 0 && destroy_idle(video)) result.status = create(decoder, format, wanted);
  if (!has_turn || result.status != 0) {
    decoder->hardware = (hardware){0};
    video->calls.destroy_lock(wanted->lock);
  }
  if (!has_turn) return result;
  pthread_mutex_lock(&video->mutex);
  video->is_busy = false;
  pthread_cond_broadcast(&video->changed);
  pthread_mutex_unlock(&video->mutex);
  if (result.status == 0) count(decoder, &decoder->report.created);
  return result;
}

/*
 * A decoder that no stream uses and that can be reconfigured, else one without a handle. What streams that end are about to leave is
 * waited for: it is sooner there than a new one.
 */
static hardware take_idle(bt_nvdec *decoder, const hardware *wanted) {
  bt_video *video = decoder->video;
  hardware found = {0};
  pthread_mutex_lock(&video->mutex);
  for (;;) {
    int32_t at = 0;
    while (at < video->idle_count && !fits(&video->idle[at], wanted)) at++;
    if (at < video->idle_count) found = take_at(video, at);
    if (found.handle != NULL || video->ending == 0 || !goes_on(decoder)) break;
    pthread_cond_wait(&video->changed, &video->mutex);
  }
  pthread_mutex_unlock(&video->mutex);
  return found;
}

/*
 * A decoder for the format: the one there is, one that is idle, or a new one. None, without a status, where the stream's is closed
 * meanwhile.
 */
static made prepare(bt_nvdec *decoder, const video_format *format, int32_t decode_surfaces) {
  bt_video *video = decoder->video;
  hardware wanted = {.codec = format->codec,
                     .chroma = format->chroma,
                     .bits = format->bits_minus_8 + 8,
                     .max_width = (int32_t)even(format->width),
                     .max_height = (int32_t)even(format->height),
                     .decode_surfaces = decode_surfaces,
                     .output_surfaces = decoder->options.surfaces};
  const bool is_own = decoder->hardware.handle != NULL && fits(&decoder->hardware, &wanted);
  if (!is_own) {
    give_idle(video, &decoder->hardware);
    decoder->hardware = take_idle(decoder, &wanted);
  }
  if (decoder->hardware.handle != NULL) {
    if (reconfigure(decoder, format) == 0) {
      count(decoder, &decoder->report.reconfigured);
      return (made){CALL_NONE, 0};
    }
    destroy(video, &decoder->hardware);
  }
  if (wanted.max_width < decoder->options.max_width) wanted.max_width = (int32_t)even((uint32_t)decoder->options.max_width);
  if (wanted.max_height < decoder->options.max_height) wanted.max_height = (int32_t)even((uint32_t)decoder->options.max_height);
  return create_in_turn(decoder, format, &wanted);
}

/*
 * Make a decoder before the stream comes, as what is known of it lets expect: where that fails, or turns out to be wrong, one is made
 * when the stream tells.
 */
static void prepare_early(bt_nvdec *decoder) {
  const bt_nvdec_options *options = &decoder->options;
  if (options->width > 0) {
    video_format format = {.codec = options->codec,
                           .bits_minus_8 = (uint8_t)(options->bits - 8),
                           .width = (uint32_t)options->width,
                           .height = (uint32_t)options->height,
                           .chroma = options->chroma};
    int32_t status = 0;
    const bool is_whole = is_supported(decoder, &format, &status);
    if (is_whole) prepare(decoder, &format, surfaces_for(options->decode_surfaces));
    if (decoder->hardware.handle != NULL) decoder->format = format;
  }
  pthread_mutex_lock(&decoder->mutex);
  decoder->report.is_prepared = 1;
  pthread_mutex_unlock(&decoder->mutex);
  tell();
}

static int on_sequence(void *user, video_format *format) {
  bt_nvdec *decoder = user;
  const video_format *former = &decoder->format;
  const hardware *has = &decoder->hardware;
  const int32_t surfaces = surfaces_for(format->decode_surfaces);
  const bool is_same = has->handle != NULL && has->codec == format->codec && former->width == format->width &&
                       former->height == format->height && former->chroma == format->chroma &&
                       former->bits_minus_8 == format->bits_minus_8 && has->decode_surfaces >= surfaces;
  /* What is pending is of the former sequence. */
  if (!deliver_all(decoder)) return 0;
  if (!is_same) {
    if (!assert_supported(decoder, format) || !unmap_all(decoder)) return 0;
    const made result = prepare(decoder, format, surfaces);
    if (result.status != 0) return fail(decoder, BT_NVDEC_CALL, result.call, result.status);
    if (decoder->hardware.handle == NULL) return 0;
  }
  decoder->format = *format;
  return decoder->hardware.decode_surfaces;
}

static bool is_pending(const bt_nvdec *decoder, int32_t picture) {
  for (int32_t at = 0; at < decoder->pending; at++) {
    if (decoder->fifo[at].picture == picture) return true;
  }
  return false;
}

static int on_decode(void *user, void *params) {
  bt_nvdec *decoder = user;
  const int32_t picture = ((const int32_t *)params)[CURRENT_PICTURE];
  if (decoder->hardware.handle == NULL) return 0;
  /* The memory is used again: what is in it has to be shown first. */
  while (is_pending(decoder, picture)) {
    if (!deliver(decoder)) return 0;
  }
  const int32_t status = decoder->video->calls.decode(decoder->hardware.handle, params);
  decoder->decoded_in[picture % MOST_PICTURES] = decoder->packet;
  bool *mark = &decoder->is_refused[picture % MOST_PICTURES];
  *mark = status != 0;
  decoder->refused_in_row = status == 0 ? 0 : decoder->refused_in_row + 1;
  if (status == 0) return 1;
  count(decoder, &decoder->report.refused);
  if (decoder->refused_in_row < MOST_REFUSED) return 1;
  return fail(decoder, BT_NVDEC_CALL, CALL_DECODE, status);
}

/*
 * The time stamp of the packet that shows an image. Where a packet holds a hidden image beside it (alternate references of
 * VP9 and AV1), the parser gives this and later images the time stamps of packets before theirs. An image decoded earlier
 * is shown again by a packet of its own.
 */
static int64_t timestamp_of(bt_nvdec *decoder, const shown *next) {
  if (decoder->options.codec < CODEC_VP8 || decoder->options.codec > CODEC_AV1) return next->timestamp;
  int64_t packet = decoder->decoded_in[next->picture % MOST_PICTURES];
  if (packet <= decoder->shown_packet) {
    packet = decoder->shown_packet + 1;
    if (packet < decoder->packet - decoder->options.delay) packet = decoder->packet - decoder->options.delay;
    if (packet > decoder->packet) packet = decoder->packet;
  }
  decoder->shown_packet = packet;
  return decoder->timestamps[packet % MOST_PICTURES];
}

static int on_display(void *user, shown *next) {
  bt_nvdec *decoder = user;
  if (next == NULL) return 1;
  if (decoder->pending == MOST_PICTURES && !deliver(decoder)) return 0;
  shown *last = &decoder->fifo[decoder->pending++];
  *last = *next;
  last->timestamp = timestamp_of(decoder, next);
  while (decoder->pending > IN_FLIGHT) {
    if (!deliver(decoder)) return 0;
  }
  return 1;
}

/* ---- the thread ---- */

/* The next packet; NULL where there is none, and a frame to be delivered meanwhile, or where the decoder closes. */
static packet *next_packet(bt_nvdec *decoder) {
  pthread_mutex_lock(&decoder->mutex);
  while (decoder->first == NULL && decoder->pending == 0 && !decoder->is_closing) {
    pthread_cond_wait(&decoder->changed, &decoder->mutex);
  }
  packet *next = decoder->is_closing ? NULL : decoder->first;
  if (next != NULL) {
    decoder->first = next->next;
    if (decoder->first == NULL) decoder->last = NULL;
    decoder->queued -= 1;
    decoder->queued_bytes -= next->length;
  }
  pthread_mutex_unlock(&decoder->mutex);
  return next;
}

/*
 * Refuse a key frame of VP8 of other than whole blocks, and tell whether it was one. The parser misreads its size, and every frame comes out as another image (seen on
 * an H200): what the frame itself says (RFC 6386, 9.1) is looked at before the parser gets it.
 */
static bool refuse_cut_vp8(bt_nvdec *decoder, const packet *given) {
  const uint8_t *bytes = given->bytes;
  if (decoder->options.codec != CODEC_VP8 || given->length < 10 || (bytes[0] & 1) != 0) return false;
  if (bytes[3] != 0x9d || bytes[4] != 0x01 || bytes[5] != 0x2a) return false;
  const int32_t width = (bytes[6] | bytes[7] << 8) & 0x3fff, height = (bytes[8] | bytes[9] << 8) & 0x3fff;
  if (width % BLOCK == 0 && height % BLOCK == 0) return false;
  bt_nvdec_report *report = &decoder->report;
  pthread_mutex_lock(&decoder->mutex);
  report->codec = CODEC_VP8;
  report->chroma = CHROMA_420;
  report->bits = 8;
  report->width = width;
  report->height = height;
  pthread_mutex_unlock(&decoder->mutex);
  fail(decoder, BT_NVDEC_UNSUPPORTED, CALL_NONE, 0);
  return true;
}

static void parse(bt_nvdec *decoder, const packet *given) {
  const bool is_end = (given->flags & FLAG_END_OF_STREAM) != 0;
  source_packet source = {.flags = given->flags,
                          .length = (unsigned long)given->length,
                          .bytes = given->length == 0 ? NULL : given->bytes,
                          .timestamp = given->timestamp};
  if (!is_end) {
    decoder->packet += 1;
    decoder->timestamps[decoder->packet % MOST_PICTURES] = given->timestamp;
  }
  if (refuse_cut_vp8(decoder, given)) return;
  const int32_t status = decoder->video->calls.parse(decoder->parser, &source);
  if (status != 0) fail(decoder, BT_NVDEC_CALL, CALL_PARSE, status);
  if (is_end && !has_failed(decoder) && deliver_all(decoder)) push_ready(decoder, END_MARK);
}

static void work_off(bt_nvdec *decoder) {
  prepare_early(decoder);
  parser_params params = {.codec = decoder->options.codec,
                          .decode_surfaces = 1,
                          .clock_rate = CLOCK_RATE,
                          .error_threshold = DECODE_ALL,
                          .display_delay = (uint32_t)decoder->options.delay,
                          .user = decoder,
                          .on_sequence = on_sequence,
                          .on_decode = on_decode,
                          .on_display = on_display};
  const int32_t status = decoder->video->calls.create_parser(&decoder->parser, &params);
  if (status != 0) {
    decoder->parser = NULL;
    fail(decoder, BT_NVDEC_CALL, CALL_CREATE_PARSER, status);
  }
  while (goes_on(decoder)) {
    packet *next = next_packet(decoder);
    if (next != NULL) {
      parse(decoder, next);
      free(next);
      tell();
    } else if (decoder->pending > 0) {
      deliver(decoder);
    }
  }
}

static void *work(void *user) {
  bt_nvdec *decoder = user;
  const int32_t bound = bt_use_device(decoder->video->device);
  if (bound == BT_OK) work_off(decoder);
  else fail(decoder, BT_NVDEC_CALL, CALL_NONE, bound);
  /* Frames that were taken are still mapped: their owner gives them back, then closes the decoder. */
  pthread_mutex_lock(&decoder->mutex);
  while (!decoder->is_closing) pthread_cond_wait(&decoder->changed, &decoder->mutex);
  for (int32_t at = 0; at < decoder->options.surfaces; at++) {
    if (decoder->slot[at].state != SLOT_FREE) unmap(decoder, &decoder->slot[at]);
  }
  pthread_mutex_unlock(&decoder->mutex);
  if (decoder->parser != NULL) decoder->video->calls.destroy_parser(decoder->parser);
  if (!has_failed(decoder)) give_idle(decoder->video, &decoder->hardware);
  else destroy(decoder->video, &decoder->hardware);
  pthread_mutex_lock(&decoder->video->mutex);
  decoder->video->ending -= 1;
  pthread_cond_broadcast(&decoder->video->changed);
  pthread_mutex_unlock(&decoder->video->mutex);
  pthread_mutex_lock(&decoder->mutex);
  decoder->has_ended = true;
  pthread_mutex_unlock(&decoder->mutex);
  tell();
  return NULL;
}

static void free_decoder(bt_nvdec *decoder) {
  while (decoder->first != NULL) {
    packet *gone = decoder->first;
    decoder->first = gone->next;
    free(gone);
  }
  pthread_cond_destroy(&decoder->changed);
  pthread_mutex_destroy(&decoder->mutex);
  free(decoder);
}

int32_t bt_nvdec_open(bt_video *video, const bt_nvdec_options *options, void *stream, void *const *events, void **out) {
  if (video == NULL || options == NULL || events == NULL || out == NULL) return BT_BAD_CALL;
  if (options->surfaces < 1 || options->surfaces > BT_NVDEC_SURFACES) return BT_BAD_CALL;
  if (options->width < 0 || (options->width > 0 && (options->height < 1 || options->bits < 8 || options->decode_surfaces < 1)))
    return BT_BAD_CALL;
  bt_nvdec *decoder = calloc(1, sizeof *decoder);
  if (decoder == NULL) return BT_FAILED;
  decoder->video = video;
  decoder->options = *options;
  decoder->stream = stream;
  for (int32_t at = 0; at < decoder->options.surfaces; at++) decoder->slot[at].event = events[at];
  pthread_mutex_init(&decoder->mutex, NULL);
  pthread_cond_init(&decoder->changed, NULL);
  if (pthread_create(&decoder->thread, NULL, work, decoder) != 0) {
    free_decoder(decoder);
    return BT_FAILED;
  }
  *out = decoder;
  return BT_OK;
}

int32_t bt_nvdec_stop(bt_nvdec *decoder) {
  if (decoder == NULL) return BT_BAD_CALL;
  bt_video *video = decoder->video;
  pthread_mutex_lock(&decoder->mutex);
  const bool was_closing = decoder->is_closing;
  const bool has_ended = decoder->has_ended;
  pthread_mutex_unlock(&decoder->mutex);
  if (was_closing) return has_ended ? BT_OK : BT_RUNNING;
  pthread_mutex_lock(&video->mutex);
  video->ending += 1;
  pthread_mutex_unlock(&video->mutex);
  pthread_mutex_lock(&decoder->mutex);
  decoder->is_closing = true;
  pthread_cond_broadcast(&decoder->changed);
  pthread_mutex_unlock(&decoder->mutex);
  /* It may wait for its turn to be made. */
  pthread_mutex_lock(&video->mutex);
  pthread_cond_broadcast(&video->changed);
  pthread_mutex_unlock(&video->mutex);
  return BT_RUNNING;
}

int32_t bt_nvdec_close(bt_nvdec *decoder) {
  if (decoder == NULL) return BT_BAD_CALL;
  bt_nvdec_stop(decoder);
  pthread_join(decoder->thread, NULL);
  free_decoder(decoder);
  tell();
  return BT_OK;
}

/* ---- what JS calls per packet and per frame ---- */

int32_t bt_nvdec_feed(bt_nvdec *decoder, const uint8_t *bytes, int64_t length, int64_t timestamp, int32_t kind) {
  if (decoder == NULL || length < 0 || (length > 0 && bytes == NULL)) return BT_BAD_CALL;
  pthread_mutex_lock(&decoder->mutex);
  const bool is_full = decoder->queued >= QUEUED_PACKETS ||
                       (decoder->queued > 0 && decoder->queued_bytes + (size_t)length > QUEUED_BYTES);
  int32_t status = has_failed(decoder) ? BT_FAILED : is_full ? BT_RUNNING : BT_OK;
  pthread_mutex_unlock(&decoder->mutex);
  /* Room that there is stays: no other thread feeds. */
  if (status != BT_OK) return status;
  packet *made = malloc(sizeof *made + (size_t)length);
  if (made == NULL) return BT_BAD_CALL;
  made->next = NULL;
  made->length = (size_t)length;
  made->timestamp = timestamp;
  made->flags = kind == BT_NVDEC_END ? FLAG_END_OF_STREAM : FLAG_TIMESTAMP;
  if (kind == BT_NVDEC_WHOLE) made->flags |= FLAG_END_OF_PICTURE;
  if (length > 0) memcpy(made->bytes, bytes, (size_t)length);
  pthread_mutex_lock(&decoder->mutex);
  if (decoder->last == NULL) decoder->first = made;
  else decoder->last->next = made;
  decoder->last = made;
  decoder->queued += 1;
  decoder->queued_bytes += made->length;
  if (kind != BT_NVDEC_END) decoder->report.packets += 1;
  pthread_cond_broadcast(&decoder->changed);
  pthread_mutex_unlock(&decoder->mutex);
  return BT_OK;
}

int32_t bt_nvdec_take(bt_nvdec *decoder, bt_nvdec_frame *out) {
  if (decoder == NULL || out == NULL) return BT_BAD_CALL;
  pthread_mutex_lock(&decoder->mutex);
  int32_t result = has_failed(decoder) ? BT_FAILED : BT_NVDEC_NONE;
  if (decoder->ready_from != decoder->ready_to) {
    const int32_t what = decoder->ready[decoder->ready_from++ % MOST_READY];
    result = what == END_MARK ? BT_NVDEC_ENDED : what;
    if (what != END_MARK) {
      decoder->slot[what].state = SLOT_TAKEN;
      *out = decoder->slot[what].frame;
    }
    pthread_cond_broadcast(&decoder->changed);
  }
  pthread_mutex_unlock(&decoder->mutex);
  return result;
}

int32_t bt_nvdec_release(bt_nvdec *decoder, int32_t slot_index, int32_t is_recorded) {
  if (decoder == NULL || slot_index < 0 || slot_index >= decoder->options.surfaces) return BT_BAD_CALL;
  pthread_mutex_lock(&decoder->mutex);
  slot *given = &decoder->slot[slot_index];
  const bool is_taken = given->state == SLOT_TAKEN;
  if (is_taken) given->state = is_recorded != 0 ? SLOT_RECORDED : SLOT_RELEASED;
  pthread_cond_broadcast(&decoder->changed);
  pthread_mutex_unlock(&decoder->mutex);
  return is_taken ? BT_OK : BT_BAD_CALL;
}

int32_t bt_nvdec_told(bt_nvdec *decoder, bt_nvdec_report *out) {
  if (decoder == NULL || out == NULL) return BT_BAD_CALL;
  pthread_mutex_lock(&decoder->mutex);
  *out = decoder->report;
  pthread_mutex_unlock(&decoder->mutex);
  return BT_OK;
}
