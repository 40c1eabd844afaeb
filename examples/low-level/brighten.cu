// Adds `amount` to each of `count` bytes; what would be more than 255 is 255.
extern "C" __global__ void __launch_bounds__(256) brighten(unsigned char *pixels, unsigned int count, int amount) {
  const unsigned int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= count) return;
  const int value = pixels[at] + amount;
  pixels[at] = value > 255 ? 255 : value < 0 ? 0 : value;
}
