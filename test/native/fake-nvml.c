/* Stands in for libnvidia-ml: three GPUs, the second of which tells no utilisation and the third nothing at all. */
#include <stdint.h>

static int users = 0;
static int devices[3] = {0, 1, 2};

int nvmlInit_v2(void) { users += 1; return 0; }
int nvmlShutdown(void) { return users-- > 0 ? 0 : 1; }
const char *nvmlErrorString(int status) { return status == 3 ? "Not Supported" : "Unknown Error"; }

int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 3; return users > 0 ? 0 : 1; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, int **device) {
  *device = &devices[index];
  return 0;
}

int nvmlDeviceGetMemoryInfo(const int *device, uint64_t *memory) {
  if (*device == 2) return 4;
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
