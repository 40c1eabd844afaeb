import { expect } from "bun:test";
import { fakeCudaTest } from "../../support/fake-cuda.ts";

fakeCudaTest(
  "GpuStreams lets an idle lane copy its own pixels, and one stream those of busy lanes, joined by an event",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { Device } = await import("./src/cuda/device.ts");
    const { Event } = await import("./src/cuda/event.ts");
    const { Stream } = await import("./src/cuda/stream.ts");
    const { Resource } = await import("./src/core/resource.ts");
    const { GpuStreams } = await import("./src/accelerators/tensorrt/gpu-streams.ts");

    // Streams by numbers in the order of their creation, and what joins them.
    const numbers = new Map();
    const numberOf = ({ stream }) => numbers.get(stream) ?? (numbers.set(stream, numbers.size), numbers.size - 1);
    const joins = [];
    const { record } = Event.prototype;
    Event.prototype.record = function (on) { joins.push("after " + numberOf(on)); return record.call(this, on); };
    const { waitFor } = Stream.prototype;
    Stream.prototype.waitFor = function (event) { joins.push(numberOf({ stream: this }) + " waits"); return waitFor.call(this, event); };

    // All that streams ask of an engine.
    class Engine extends Resource {
      deviceMemoryBytes() { return 64; }
      release() {}
    }
    using device = Device.open(0);
    using engine = new Engine("Engine", device);
    for (const [layout, slots, batches] of [["one", 3, 3], ["split", 3, 3], ["parallel", 3, 4], ["parallel", 16, 18]]) {
      using owned = new DisposableStack();
      const streams = owned.use(new GpuStreams(engine, device, layout, slots));
      const open = Array.from({ length: slots }, () => owned.use(streams.open()));
      numbers.clear();
      const lines = [];
      for (let batch = 0; batch < batches; batch++) {
        const slot = open[batch % slots];
        joins.length = 0;
        slot.enter();
        slot.joinCopyIn();
        slot.joinCopyOut();
        lines.push([slot.copyIn, slot.compute, slot.copyOut].map(numberOf).join("-") + (joins.length ? " " + joins.join(", ") : ""));
        if (layout === "parallel" && slots === 3 && batch === 1) slot.leave();
      }
      const memory = new Set(open.map((slot) => slot.activations));
      console.log(JSON.stringify({ layout, slots, lines, activations: memory.size, apart: open[0].copiesOutApart }));
    }
    `);
    const [one, split, few, many] = output.split("\n").map((line) => JSON.parse(line));
    expect(one).toMatchObject({ lines: ["0-0-0", "0-0-0", "0-0-0"], activations: 1, apart: false });
    expect(split).toMatchObject({
      lines: ["0-0-1 after 0, 1 waits", ...Array(2).fill("2-0-1 after 2, 0 waits, after 0, 1 waits")],
      activations: 1,
      apart: true,
    });
    // The second batch ends before the third begins, which takes its lane.
    expect(few).toMatchObject({ lines: ["0-0-0", "1-1-1", "1-1-1", "0-0-0"], activations: 3, apart: false });
    const idle = Array.from({ length: 8 }, (_, lane) => `${lane}-${lane}-${lane}`);
    const busy = Array.from({ length: 8 }, (_, lane) => `8-${lane}-${lane} after 8, ${lane} waits`);
    // Slots that come again have ended their batches, which leaves their lanes another.
    expect(many).toMatchObject({ lines: [...idle, ...busy, busy[0]!, busy[1]!], activations: 16, apart: false });
  },
);
