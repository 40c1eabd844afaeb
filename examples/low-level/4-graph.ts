/** @module Work captured once and launched as one: `bun examples/low-level/4-graph.ts` */

import {
  copyToDevice,
  copyToHost,
  Device,
  DeviceBuffer,
  Event,
  fill,
  Graph,
  PinnedBuffer,
  Stream,
} from "bun-tensorrt/cuda";

const [width, height] = [640, 480];
using device = Device.open();
using stream = Stream.create(device);
// The graph keeps addresses: memory in it lives as long as it does. What lies there may change.
using input = PinnedBuffer.create("u8", [height, width], device);
using output = PinnedBuffer.create("u8", [height, width], device);
using buffer = DeviceBuffer.create("u8", [height, width], { device });

const top = buffer.view([50, width]); // its first 50 rows
using captured = Graph.capture(
  "mask the top",
  () => {
    copyToDevice(buffer, input, { stream });
    fill(top, 0, { stream });
    copyToHost(output, buffer, { stream });
  },
  { stream },
);
using graph = captured.instantiate();
console.log(`${captured.nodeCount()} nodes`);

using done = Event.create(device);
for (let frame = 1; frame <= 3; frame++) {
  input.data.fill(frame);
  graph.launch({ stream }); // one call for all three
  done.record({ stream });
  await done.wait();
  console.log(`frame ${frame}: ${output.data.at(0)} at the top, ${output.data.at(-1)} at the bottom`);
}
