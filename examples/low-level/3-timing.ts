/** @module How long the GPU takes, by events; two streams, one of which waits for the other: `bun examples/low-level/3-timing.ts` */

import { copyOnDevice, Device, DeviceBuffer, Event, fill, Stream } from "bun-tensorrt/cuda";

using device = Device.open();
using writing = Stream.create(device);
using reading = Stream.create(device);
using source = DeviceBuffer.create("u8", [2 ** 24], { device }); // at once and for every stream: for what lives long
using target = DeviceBuffer.create("u8", [2 ** 24], { device });

using begin = Event.create(device, { timing: true });
using filled = Event.create(device, { timing: true });
using end = Event.create(device, { timing: true });

for (let round = 0; round < 3; round++) {
  begin.record({ stream: writing });
  fill(source, round, { stream: writing });
  filled.record({ stream: writing });
  reading.waitFor(filled); // on the GPU: the JS thread goes on
  copyOnDevice(target, source, { stream: reading });
  end.record({ stream: reading });
  await end.wait(); // other requests are answered meanwhile; `end.synchronize()` would block
  const [fillMs, copyMs] = [filled.elapsedMsSince(begin), end.elapsedMsSince(filled)];
  console.log(`round ${round}: fill ${fillMs.toFixed(3)} ms, copy ${copyMs.toFixed(3)} ms`);
}
