/*
 * Stands in for libnvidia-ml: five GPUs, the second of which tells no utilisation and the third nothing at all; the fourth is
 * lost, and the fifth was before the library was asked for it.
 */
#include <stdint.h>

static int users = 0;
static int devices[5] = {0, 1, 2, 3, 4};

int nvmlInit_v2(void) { users += 1; return 0; }
int nvmlShutdown(void) { return users-- > 0 ? 0 : 1; }
const char *nvmlErrorString(int status) {
  return status == 15 ? "GPU is lost" : status == 3 ? "Not Supported" : "Unknown Error";
}

int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 5; return users > 0 ? 0 : 1; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, int **device) {
  *device = &devices[index];
  return index == 4 ? 15 : 0;
}

int nvmlDeviceGetMemoryInfo(const int *device, uint64_t *memory) {
  if (*device == 2) return 4;
  if (*device == 3) return 15;
  memory[0] = 80ull << 30;
  memory[1] = 60ull << 30;
  memory[2] = 20ull << 30;
  return 0;
}

int nvmlDeviceGetUtilizationRates(const int *device, unsigned int *rates) {
  if (*device == 1) return 3;
  rates[0] = 37;
  rates[1] = 5;
  return 0;
}
