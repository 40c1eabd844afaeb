import { expect } from "bun:test";
import { fakeCudaTest } from "../support/fake-cuda.ts";

/** A program with the stand-in: `body` runs with a decoder of `options` open, `tell` collects what it prints as JSON. */
function program(body: string, options = `codec: "h264"`): string {
  return `
    import { Device } from "./src/cuda/device.ts";
    import { Stream } from "./src/cuda/stream.ts";
    import { Nvdec } from "./src/nvdec/nvdec.ts";
    import { NvdecDecoder } from "./src/nvdec/nvdec-decoder.ts";
    import { drain, PICTURE, picture, sequence, shownAgain, standIn, pictureOf } from "./test/support/nvdec-stream.ts";
    const told = [];
    const tell = (...values) => told.push(...values);
    const failure = async (work) => { try { await work(); return "nothing"; } catch (error) { return error.name + ": " + error.message.split("\\n")[0]; } };
    {
      using device = Device.open(0);
      using nvdec = Nvdec.open(device);
      const open = (more) => NvdecDecoder.open(nvdec, { ${options}, ...more });
      ${body}
    }
    const { made, ...left } = standIn();
    console.log(JSON.stringify({ told, made, left: Object.values(left).join(" ") }));
  `;
}

/** What a program told; everything of the library must be gone at its end. */
function result(output: string): { told: unknown[]; made: number } {
  const { told, made, left } = JSON.parse(output) as { told: unknown[]; made: number; left: string };
  expect(left).toBe("0 0 0 0");
  return { told, made };
}

fakeCudaTest("frames come in the order they are shown, with the time stamps of their packets", async (run) => {
  const output = await run(
    program(`
      using decoder = open();
      const feed = async () => {
        await decoder.decode(Buffer.concat([sequence({ width: 64, height: 48 }), picture(16)]), 1000);
        // Each P picture in front of the B picture that is shown before it.
        for (let at = 1; at < 40; at += 2) {
          await decoder.decode(picture(16 + 4 * (at + 1), PICTURE.late), 1000 * (at + 1) + 1);
          await decoder.decode(picture(16 + 4 * at), 1000 * at + 1);
        }
        await decoder.flush();
      };
      const fed = feed();
      const frames = await drain(decoder);
      await fed;
      tell(frames.map(([value]) => (value - 16) / 4).join(), frames.every(([, us], at) => us === 1000 * (at + 1) - (at > 0 ? 999 : 0)));
      tell(decoder.counts, decoder.held);
    `),
  );
  const { told, made } = result(output);
  expect(told[0]).toBe(Array.from({ length: 41 }, (_, at) => at).join());
  expect(told[2]).toEqual({ packets: 41, frames: 41, damaged: 0, refused: 0, created: 1, reconfigured: 0 });
  expect(told[3]).toBe(0);
  expect(made).toBe(1);
});

fakeCudaTest("bytes of a stream may be cut anywhere; 64-bit time stamps cross", async (run) => {
  const output = await run(
    program(
      `
      using decoder = open();
      const stream = Buffer.concat([sequence({ width: 64, height: 48 }), picture(20), picture(24), picture(28)]);
      for (let at = 0; at < stream.length; at += 7) await decoder.decode(stream.subarray(at, at + 7), 2 ** 40);
      await decoder.decode(new Uint8Array(0), 1);
      await decoder.flush();
      tell(await drain(decoder));
      await decoder.decode(picture(32), -5);
      await decoder.flush();
      tell(await drain(decoder), await failure(() => decoder.decode(picture(32), 0.5)));
      `,
      `codec: "h264", wholePackets: false`,
    ),
  );
  expect(result(output).told).toEqual([
    [20, 24, 28].map((value) => [value, 2 ** 40]),
    [[32, -5]],
    "ArgumentError: Cannot decode video: timestampUs must be an integer, got 0.5",
  ]);
});

fakeCudaTest("hidden images of VP9 take no time stamp: each shown one has its packet's", async (run) => {
  const output = await run(
    program(
      `
      using decoder = open();
      const packets = [
        [sequence({ width: 64, height: 48 }), picture(16)],
        [picture(20)],
        [picture(24, PICTURE.hidden), picture(28)],
        [picture(32)],
        [picture(36)],
        [shownAgain()],
        [picture(40)],
        // A packet that shows nothing.
        [picture(44, PICTURE.hidden)],
        [picture(48)],
        [shownAgain()],
        [picture(52)],
      ];
      const fed = (async () => {
        for (const [at, units] of packets.entries()) await decoder.decode(Buffer.concat(units), at * 40);
        await decoder.flush();
      })();
      const seen = await drain(decoder);
      await fed;
      tell(seen);
      `,
      `codec: "vp9"`,
    ),
  );
  expect(result(output).told[0]).toEqual([
    [16, 0],
    [20, 40],
    [28, 80],
    [32, 120],
    [36, 160],
    [24, 200],
    [40, 240],
    [48, 320],
    [44, 360],
    [52, 400],
  ]);
});

fakeCudaTest("frames tell their layout, crop and colours; 10 bits are P016", async (run) => {
  const output = await run(
    program(
      `
      using decoder = open();
      const look = (frame) => tell([frame.format, frame.width, frame.height, frame.pitchBytes > frame.width, frame.yuvStandard, frame.yuvRange, pictureOf(frame)].join(" "), frame.chroma - frame.pixels === frame.pitchBytes * (frame.format === "NV12" ? 62 : Math.ceil(frame.height / 2) * 2));
      await decoder.decode(Buffer.concat([sequence({ width: 96, height: 64, crop: [8, 4, 16, 6], range: 1, matrix: 9 }), picture(40)]), 0);
      await decoder.decode(Buffer.concat([sequence({ width: 96, height: 64, bits: 10, matrix: 1 }), picture(60)]), 1);
      for (const [width, height] of [[97, 65], [65, 49]]) {
        await decoder.decode(Buffer.concat([sequence({ width, height, bits: 10, matrix: 1 }), picture(60)]), 1);
      }
      await decoder.flush();
      for (let frame = await decoder.next(); frame; frame = await decoder.next()) { look(frame); frame.release(); }
      tell(decoder.counts.created);
      `,
      `codec: "hevc"`,
    ),
  );
  const { told } = result(output);
  expect(told).toEqual([
    "NV12 72 54 true BT.2020 full 40",
    true,
    "P016 96 64 true BT.709 limited 60",
    true,
    "P016 97 65 true BT.709 limited 60",
    true,
    "P016 65 49 true BT.709 limited 60",
    true,
    3,
  ]);
});

fakeCudaTest(
  "a smaller size reconfigures the decoder, a larger one makes another; frames before it stay whole",
  async (run) => {
    const output = await run(
      program(`
      const sizes = [[128, 96], [64, 48], [128, 96], [256, 192], [64, 48]];
      const play = async (decoder) => {
        const fed = (async () => {
          for (const [at, [width, height]] of sizes.entries()) {
            await decoder.decode(Buffer.concat([sequence({ width, height }), picture(16 + at * 8)]), at);
            for (let more = 0; more < 5; more++) await decoder.decode(picture(20 + at * 8), at);
          }
          await decoder.flush();
        })();
        const seen = [];
        for (let frame = await decoder.next(); frame; frame = await decoder.next()) {
          seen.push(frame.width + ":" + pictureOf(frame));
          await Bun.sleep(1);
          frame.release();
        }
        await fed;
        const { created, reconfigured } = decoder.counts;
        tell(seen.join(), [created, reconfigured]);
      };
      { using decoder = open(); await play(decoder); }
      { using decoder = open({ maxWidth: 256, maxHeight: 192 }); await play(decoder); }
    `),
    );
    const { told, made } = result(output);
    const frames = [128, 64, 128, 256, 64]
      .flatMap((width, at) => [`${width}:${16 + at * 8}`, ...Array<string>(5).fill(`${width}:${20 + at * 8}`)])
      .join();
    // The second stream gets the decoder that the first one left.
    expect(told).toEqual([frames, [2, 3], frames, [0, 5]]);
    expect(made).toBe(2);
  },
);

fakeCudaTest("pictures that are concealed or refused are counted and marked, and nothing is lost", async (run) => {
  const output = await run(
    program(`
      using decoder = open();
      await decoder.decode(Buffer.concat([sequence({ width: 64, height: 48 }), picture(16)]), 0);
      await decoder.decode(picture(20, PICTURE.concealed), 1);
      await decoder.decode(picture(24, PICTURE.refused), 2);
      await decoder.decode(Buffer.from("\\0\\0\\x01X is no picture"), 3);
      await decoder.decode(picture(28), 4);
      await decoder.flush();
      for (let frame = await decoder.next(); frame; frame = await decoder.next()) { tell(frame.timestampUs + " " + frame.isDamaged); frame.release(); }
      tell(decoder.counts);
      for (let at = 0; at < 40; at++) decoder.offer(picture(16, PICTURE.refused), at);
      tell(await failure(async () => { for (;;) { const frame = await decoder.next(); frame?.release(); } }));
    `),
  );
  const { told } = result(output);
  expect(told.slice(0, 4)).toEqual(["0 false", "1 true", "2 true", "4 false"]);
  expect(told[4]).toEqual({ packets: 5, frames: 4, damaged: 2, refused: 1, created: 1, reconfigured: 0 });
  expect(String(told[5])).toStartWith("CudaError: Cannot complete cuvidDecodePicture: it returned");
});

fakeCudaTest("a consumer that holds every surface waits, then is told; packets wait for room", async (run) => {
  const output = await run(
    program(`
      using decoder = open({ surfaces: 2, holdLimitMs: 60 });
      decoder.offer(Buffer.concat([sequence({ width: 64, height: 48 }), picture(16)]), 0);
      let offered = 1;
      for (let tries = 0; tries < 40; tries++) { if (decoder.offer(picture(16 + 4 * (offered % 50)), offered)) offered += 1; else await Bun.sleep(1); }
      const late = [decoder.decode(picture(16), 9001), decoder.decode(picture(20), 9002), decoder.flush()];
      const first = await decoder.next();
      const second = await decoder.next();
      tell(decoder.held, await failure(() => decoder.next()), await failure(() => decoder.close()));
      using stream = Stream.create(device);
      const waiting = decoder.next();
      first.release(stream);
      first.release();
      const third = await waiting;
      tell([third.timestampUs, third === first]);
      second.release();
      third.release();
      const rest = await drain(decoder);
      await Promise.all(late);
      tell(rest.length + 3 - offered, rest.slice(-2));
    `),
  );
  const { told } = result(output);
  expect(told).toEqual([
    2,
    "BunTensorRtError: Cannot decode the next frame: all 2 surfaces have been held for 60 ms",
    "BunTensorRtError: Cannot close NvdecDecoder (h264): 2 of its frames are held",
    [2, true],
    2,
    [
      [16, 9001],
      [20, 9002],
    ],
  ]);
});

fakeCudaTest("what the card does not decode is told in one line, before or when the stream tells", async (run) => {
  const output = await run(
    program(`
      tell(await failure(() => open({ codec: "av1" })), await failure(() => open({ codec: "theora" })));
      for (const form of [{ width: 64, height: 48, bits: 10 }, { width: 64, height: 48, chroma: 3 }, { width: 8192, height: 4096 }, { width: 32, height: 48 }]) {
        using decoder = open();
        await decoder.decode(Buffer.concat([sequence({ width: 64, height: 48 }), picture(16)]), 0);
        await decoder.decode(Buffer.concat([sequence(form), picture(16)]), 1);
        const before = await decoder.next();
        tell(before.timestampUs);
        before.release();
        tell(await failure(() => decoder.next()), (await failure(() => decoder.decode(picture(16), 2))).split(":")[0]);
      }
      tell(nvdec.description, nvdec.caps({ codec: "hevc", bits: 10 }), nvdec.caps({ codec: "h264" }) === nvdec.caps({ codec: "h264" }));
    `),
  );
  const { told } = result(output);
  const refused = (what: string) => [
    0,
    `UnsupportedVideoError: Cannot decode the video on the GPU: ${what}`,
    "UnsupportedVideoError",
  ];
  expect(told.slice(0, 2)).toEqual([
    "UnsupportedVideoError: Cannot decode the video on the GPU:  does not decode AV1",
    `OptionError: Option "codec" must be one of mpeg1video, mpeg2video, mpeg4, h264, hevc, vp8, vp9, av1, got "theora"`,
  ]);
  expect(told.slice(2, 14)).toEqual([
    ...refused(" does not decode H.264 of 10 bits in 4:2:0"),
    ...refused(" does not decode H.264 of 8 bits in 4:4:4"),
    ...refused(" decodes H.264 up to 4096x4096, and this is 8192x4096"),
    ...refused(" decodes H.264 from 48x16 on, and this is 32x48"),
  ]);
  expect(told.slice(14)).toEqual([
    "7 engines: H.264, HEVC, HEVC 10 bits, VP8, VP9",
    {
      isSupported: true,
      engines: 7,
      formats: ["NV12", "P016"],
      maxWidth: 8192,
      maxHeight: 8192,
      maxMacroblocks: 262_144,
      minWidth: 48,
      minHeight: 16,
    },
    true,
  ]);
});

fakeCudaTest("a call that fails is told by its name, and everything is freed", async (run) => {
  const calls = [
    ["FAKE_NVDEC_CREATE_STATUS", "cuvidCreateDecoder"],
    ["FAKE_NVDEC_MAP_STATUS", "cuvidMapVideoFrame64"],
    ["FAKE_NVDEC_PARSER_STATUS", "cuvidCreateVideoParser"],
    ["FAKE_NVDEC_CAPS_STATUS", "cuvidGetDecoderCaps"],
  ] as const;
  const code = program(`
    tell(await failure(async () => {
      using decoder = open();
      await decoder.decode(Buffer.concat([sequence({ width: 64, height: 48 }), picture(16)]), 0);
      await decoder.flush();
      await decoder.next();
    }));
  `);
  for (const [variable, call] of calls) {
    const { told } = result(await run(code, { [variable]: "2" }));
    expect(String(told[0])).toStartWith(`CudaError: Cannot complete ${call}: it returned`);
  }
});

fakeCudaTest("64 streams share the engines; closing one in the middle harms no other", async (run) => {
  const output = await run(
    program(`
      const play = async (seed) => {
        using decoder = open({ surfaces: 2 });
        const fed = (async () => {
          await decoder.decode(sequence({ width: 64, height: 48 }), 0);
          for (let at = 0; at < 50; at++) await decoder.decode(picture(16 + 4 * ((at + seed) % 50)), at);
          await decoder.flush();
        })();
        const frames = await drain(decoder);
        await fed;
        return frames.length === 50 && frames.every(([value, us], at) => us === at && value === 16 + 4 * ((at + seed) % 50));
      };
      const broken = open();
      for (let at = 0; at < 20; at++) broken.offer(at === 0 ? sequence({ width: 64, height: 48 }) : picture(16), at);
      const waiting = failure(async () => { const frame = await broken.next(); frame?.release(); for (;;) (await broken.next())?.release(); });
      const all = Array.from({ length: 64 }, (_, seed) => play(seed));
      await Bun.sleep(5);
      broken.close();
      tell(await waiting);
      tell((await Promise.all(all)).filter((isRight) => isRight).length);
    `),
  );
  const { told } = result(output);
  expect(String(told[0])).toStartWith("ClosedError: ");
  expect(told[1]).toBe(64);
});

fakeCudaTest("a decoder that is expected is made before the first packet, and once", async (run) => {
  const output = await run(
    program(`
      const play = async (expected, form) => {
        using decoder = open({ expected });
        await decoder.ready();
        const before = decoder.counts;
        await decoder.decode(Buffer.concat([sequence(form), picture(16)]), 0);
        await decoder.flush();
        const frames = await drain(decoder);
        tell([before, decoder.counts].map(({ created, reconfigured }) => created + " " + reconfigured).join(", ") + ": " + frames);
      };
      await play(undefined, { width: 64, height: 48 });
      await play({ width: 128, height: 96, images: 1 }, { width: 128, height: 96 });
      // The one that is left of it; then another size, which fits, and more images, which do not.
      await play({ width: 128, height: 96, images: 1 }, { width: 64, height: 48 });
      await play({ width: 128, height: 96, images: 1 }, { width: 128, height: 96, surfaces: 20 });
      // What the card does not decode is left to the stream, which may be another.
      await play({ width: 8192, height: 4096 }, { width: 64, height: 48 });
      tell(await failure(() => open({ expected: { width: 64, height: 48, images: 17 } })));
    `),
  );
  const { told, made } = result(output);
  expect(told).toEqual([
    "0 0, 1 0: 16,0",
    "1 0, 1 0: 16,0",
    "0 1, 0 2: 16,0",
    "0 1, 1 1: 16,0",
    "0 0, 0 1: 16,0",
    'OptionError: Option "expected.images" must be at most 16, got 17',
  ]);
  expect(made).toBe(3);
});

fakeCudaTest("decoders are made one at a time, and one that is closed does not wait for its turn", async (run) => {
  const code = program(`
    const expected = { width: 64, height: 48 };
    const all = Array.from({ length: 12 }, () => open({ expected }));
    const ready = all.map((decoder) => decoder.ready().then(() => "made", (error) => error.name));
    // Any of them may have the first turn.
    await Promise.race(ready);
    for (const decoder of all) decoder.close();
    tell((await Promise.all(ready)).filter((name) => name === "ClosedError").length > 0);
  `);
  const { told, made } = result(await run(code, { FAKE_NVDEC_CREATE_US: "200000", FAKE_NVDEC_ONE_AT_A_TIME: "1" }));
  expect(told).toEqual([true]);
  expect(made).toBeLessThan(12);
});

fakeCudaTest("decoders that are not kept go one at a time, with pauses, and no close waits for one", async (run) => {
  const code = program(`
    const expected = { width: 64, height: 48 };
    nvdec.keep(1);
    const all = Array.from({ length: 3 }, () => open({ expected }));
    await Promise.all(all.map((decoder) => decoder.ready()));
    const from = performance.now();
    const waits = all.map((decoder) => {
      const before = performance.now();
      decoder.close();
      return performance.now() - before;
    });
    tell(Math.min(...waits) < 100);
    while (standIn().decoders > 1) await Bun.sleep(5);
    tell(performance.now() - from >= 2 * 100 + 4 * 100);
    // The one that is kept is still there for the next.
    using next = open({ expected });
    await next.ready();
    tell(next.counts.created, next.counts.reconfigured);
  `);
  const { told, made } = result(await run(code, { FAKE_NVDEC_DESTROY_US: "100000", FAKE_NVDEC_ONE_AT_A_TIME: "1" }));
  expect(told).toEqual([true, true, 0, 1]);
  expect(made).toBe(3);
});

fakeCudaTest("a decoder that the driver has no room for gets that of idle ones", async (run) => {
  const code = program(`
    const play = async (width, height) => {
      using decoder = open();
      await decoder.decode(Buffer.concat([sequence({ width, height }), picture(16)]), 0);
      await decoder.flush();
      tell((await drain(decoder)).join());
    };
    using first = open({ expected: { width: 64, height: 48 } });
    await first.ready();
    await play(128, 96);
    // It holds more than any that is idle.
    await play(256, 192);
    using second = open({ expected: { width: 512, height: 384 } });
    await second.ready();
    tell(second.counts.created, await failure(() => play(64, 48)));
  `);
  const { told, made } = result(await run(code, { FAKE_NVDEC_MOST: "2" }));
  const refused = expect.stringMatching(/^CudaError: Cannot complete cuvidCreateDecoder: it returned/);
  expect(told).toEqual(["16,0", "16,0", 1, refused]);
  expect(made).toBe(4);
});

fakeCudaTest(
  "VP8 of other than whole blocks is refused by what its key frames say, whatever the parser makes of it",
  async (run) => {
    const output = await run(
      program(
        `
      const keyFrame = (width, height) => Buffer.from([0x10, 2, 0, 0x9d, 1, 0x2a, width & 255, width >> 8, height & 255, height >> 8]);
      const sizes = [[64, 48], [321, 241], [322, 242], [320, 242], [64, 49]];
      for (const [width, height] of sizes) {
        using decoder = open();
        // Whichever of the calls comes behind the parser is told.
        tell(await failure(async () => {
          // A frame that is none of those with a size says nothing of it.
          await decoder.decode(Buffer.concat([keyFrame(64, 48), sequence({ width: 64, height: 48 }), picture(16)]), 0);
          await decoder.decode(picture(20), 40);
          await decoder.decode(Buffer.concat([keyFrame(width, height), sequence({ width: 64, height: 48 }), picture(24)]), 80);
          await decoder.flush();
          tell((await drain(decoder)).join());
        }));
      }
      tell(nvdec.refusal({ codec: "vp8", width: 640, height: 352 }) ?? "decoded");
      `,
        `codec: "vp8"`,
      ),
    );
    const refused = (size: string) =>
      `UnsupportedVideoError: Cannot decode the video on the GPU: GPUs decode VP8 to the bit only in multiples of 16 pixels, and this is ${size}`;
    const { told } = result(output);
    expect(told).toEqual([
      ...["16,0,20,40,24,80", "nothing"],
      ...["321x241", "322x242", "320x242", "64x49"].map(refused),
      "decoded",
    ]);
  },
);
