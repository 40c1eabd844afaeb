/* nvJPEG: its blocking calls, on a thread that is bound to their device first. */
#include "internal.h"

int32_t bt_nvjpeg_create(int32_t device, void *function, int32_t backend, uint32_t flags, void **out) {
  int32_t (*create)(int32_t, void *, void *, uint32_t, void **) =
      (int32_t (*)(int32_t, void *, void *, uint32_t, void **))function;
  if (create == NULL || out == NULL) return BT_BAD_CALL;
  const int32_t status = bt_use_device(device);
  return status == BT_OK ? create(backend, NULL, NULL, flags, out) : status;
}

int32_t bt_nvjpeg_create_state(int32_t device, void *function, void *handle, void **out) {
  int32_t (*create)(void *, void **) = (int32_t (*)(void *, void **))function;
  if (create == NULL || handle == NULL || out == NULL) return BT_BAD_CALL;
  const int32_t status = bt_use_device(device);
  return status == BT_OK ? create(handle, out) : status;
}

int32_t bt_nvjpeg_prepare(int32_t device, void *function, void *handle, void *state, int32_t count, int32_t threads,
                          int32_t format) {
  int32_t (*prepare)(void *, void *, int32_t, int32_t, int32_t) =
      (int32_t (*)(void *, void *, int32_t, int32_t, int32_t))function;
  if (prepare == NULL || handle == NULL || state == NULL) return BT_BAD_CALL;
  const int32_t status = bt_use_device(device);
  return status == BT_OK ? prepare(handle, state, count, threads, format) : status;
}

int32_t bt_nvjpeg_decode_batched(int32_t device, void *function, void *handle, void *state, const void *data,
                                 const void *lengths, void *destinations, void *stream) {
  int32_t (*decode)(void *, void *, const void *, const void *, void *, void *) =
      (int32_t (*)(void *, void *, const void *, const void *, void *, void *))function;
  if (decode == NULL || handle == NULL || state == NULL) return BT_BAD_CALL;
  const int32_t status = bt_use_device(device);
  return status == BT_OK ? decode(handle, state, data, lengths, destinations, stream) : status;
}
