import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setLogSink } from "../../src/core/log.ts";
import type { MeasuredTask } from "../../src/tasks/evaluate/average-precision.ts";
import { isClassFolder, openClassFolder, smallestRectangle } from "../../src/tasks/evaluate/dataset.ts";
import { matchClasses, openObjects } from "../../src/tasks/evaluate/evaluation.ts";
import { fileFolder } from "../support/folder.ts";

const path = fileFolder("datasets");

function write(name: string, content: string | object = ""): string {
  mkdirSync(dirname(path(name)), { recursive: true });
  writeFileSync(path(name), typeof content === "string" ? content : JSON.stringify(content));
  return path(name);
}

const SIZE = { width: 200, height: 100 };

function open(name: string, task: MeasuredTask = "detect", split?: string): ReturnType<typeof openObjects> {
  return openObjects(path(name), { task, images: undefined, split, classes: 80 });
}

test("labels of Ultralytics are read by the task of the model", () => {
  write("yolo/data.yaml", "path: .\nval: images/val\ntest: test.txt\nkpt_shape: [2, 3]\nnames: {0: cat, 1: dog}\n");
  for (const name of ["a", "b", "box", "none"]) write(`yolo/images/val/${name}.jpg`);
  write("yolo/test.txt", "images/val/b.jpg\n\nimages/val/none.jpg\n");
  write("yolo/labels/val/a.txt", "1 0.5 0.5 0.2 0.4 0.5 0.5 2 0 0 0\n");
  write("yolo/labels/val/b.txt", "0 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6\n");
  write("yolo/labels/val/box.txt", "\n1 0.5 0.5 0.2 0.4\n");
  const { names, images, truth } = open("yolo");
  expect([names, images.map((image) => image.slice(-5))]).toEqual([
    ["cat", "dog"],
    ["a.jpg", "b.jpg", "x.jpg", "e.jpg"],
  ]);
  const boxes = [0, 1, 2, 3].map((at) => truth(at, SIZE).map(({ classId, box, area }) => [classId, ...box, area]));
  const dog = [1, 80, 30, 40, 40, 1600];
  expect(boxes).toEqual([[dog], [[0, 20, 20, expect.closeTo(40, 9), 40, expect.closeTo(1600, 9)]], [dog], []]);
  const [pose] = open("yolo/data.yaml", "pose").truth(0, SIZE);
  expect(pose).toMatchObject({ box: [80, 30, 40, 40], keypoints: [100, 50, 2, 0, 0, 0], area: 1600 * 0.53 });
  const [segment] = open("yolo", "segment").truth(1, SIZE);
  expect([segment!.area, segment!.mask!.area, segment!.mask!.bounds]).toEqual([
    1600,
    1600,
    { x: 20, y: 20, width: 40, height: 40 },
  ]);
  const listed = open("yolo", "obb", "test");
  expect(listed.images.map((image) => image.slice(-8))).toEqual(["al/b.jpg", "none.jpg"]);
  expect(listed.truth(0, SIZE)[0]!.xywhr!.slice(0, 4).map(Math.round)).toEqual([40, 40, 40, 40]);
});

test("a folder with images and labels is a dataset without names", () => {
  write("plain/images/1.png");
  write("plain/labels/1.txt", "7 0.5 0.5 1 1");
  const { names, truth } = open("plain");
  expect([names, truth(0, SIZE)]).toEqual([
    undefined,
    [{ classId: 7, box: [0, 0, 200, 100], area: 20_000, isCrowd: false }],
  ]);
});

test("a label of another task, or of a class that is not there, is named with its line", () => {
  write("wrong/data.yaml", "val: images\nnames: [cat]\n");
  for (const [name, line] of Object.entries({ a: "0 0.5 0.5 0.1 0.1", b: "0 0.5 x 1 1", c: "1 0.5 0.5 0.1 0.1" })) {
    write(`wrong/images/${name}.jpg`);
    write(`wrong/labels/${name}.txt`, `0 0.5 0.5 0.1 0.1\n${line}\n`);
  }
  expect(() => open("wrong", "segment").truth(0, SIZE)).toThrow(/a\.txt": line 1 is no label of segment/);
  expect(() => open("wrong", "pose").truth(0, SIZE)).toThrow(
    /Hint: a line is: class cx cy .* data\.yaml has kpt_shape/,
  );
  expect(open("wrong").truth(0, SIZE)).toHaveLength(2);
  expect(() => open("wrong").truth(1, SIZE)).toThrow(/line 2 is no label of detect, got/);
  expect(() => open("wrong").truth(2, SIZE)).toThrow(/line 2 has the class 1, and there are 1 from 0 on/);
  expect(() => open("wrong", "detect", "test")).toThrow(/it says nothing of the split "test"/);
  expect(() => open("nothing")).toThrow(/there is no such file/);
});

test("labels that would score as nothing are refused: none at all, classes the model has not, and pixels", () => {
  write("bare/images/1.jpg");
  expect(() => open("bare")).toThrow(/no image has a label file, such as .*labels.1\.txt/);
  const lines = ["80 0.5 0.5 0.1 0.1", "0 320 240 64 48", "0 -0.2 0.5 1.9 0.1"];
  for (const [name, line] of lines.entries()) {
    write(`far/images/${name}.jpg`);
    write(`far/labels/${name}.txt`, line);
  }
  expect(() => open("far").truth(0, SIZE)).toThrow(/line 1 has the class 80, and there are 80 from 0 on/);
  expect(() => open("far").truth(1, SIZE)).toThrow(
    /line 1 is no label of detect, got "0 320 240 64 48"\nHint: .*fractions/,
  );
  expect(open("far").truth(2, SIZE)).toHaveLength(1);
});

const annotation = { id: 7, image_id: 2, category_id: 9, bbox: [10, 20, 30, 40], area: 500 };

function coco(
  name: string,
  annotations: readonly object[],
  categories: readonly object[] = [
    { id: 9, name: "dog" },
    { id: 3, name: "cat" },
  ],
): string {
  write("coco/val/two.jpg");
  const images = [
    { id: 5, file_name: "five.jpg" },
    { id: 2, file_name: "two.jpg", width: 200, height: 100 },
  ];
  write(`coco/annotations/${name}`, { images, categories, annotations });
  return `coco/annotations/${name}`;
}

test("annotations of COCO come in the order of their ids, from images where its archives have them", () => {
  const square = [10, 20, 20, 20, 20, 30, 10, 30];
  const runs = { size: [100, 200], counts: [5, 10, 19_985] };
  const file = coco("instances_val.json", [
    { ...annotation, segmentation: [square, square.map((side) => side + 5)] },
    { ...annotation, id: 8, category_id: 3, iscrowd: 1, segmentation: runs, area: undefined },
  ]);
  const { names, images, truth } = open(file, "segment");
  expect([names, images]).toEqual([
    ["cat", "dog"],
    [path("coco/val/two.jpg"), path("coco/val/five.jpg")],
  ]);
  const [dog, cat] = truth(0, SIZE);
  expect([dog!.classId, dog!.area, dog!.mask!.area, dog!.isCrowd]).toEqual([1, 500, 175, false]);
  expect([cat!.classId, cat!.area, cat!.mask!.area, cat!.isCrowd]).toEqual([0, 10, 10, true]);
  expect(truth(1, SIZE)).toEqual([]);
  expect(() => truth(0, { width: 100, height: 200 })).toThrow(/of 200x100 pixels, and it has 100x200/);
  expect(open(file, "obb").truth(0, SIZE)[1]!.xywhr!.slice(0, 4)).toEqual([25, 40, 30, 40]);
  const corners = coco("turned_val.json", [{ ...annotation, segmentation: [[100, 40, 110, 50, 100, 60, 90, 50]] }]);
  const [, , width, height, angle] = open(corners, "obb").truth(0, SIZE)[0]!.xywhr!;
  expect([width! ** 2, height! ** 2, Math.abs(angle!) % (Math.PI / 2)].map((value) => value.toFixed(6))).toEqual([
    "200.000000",
    "200.000000",
    (Math.PI / 4).toFixed(6),
  ]);
});

test("for key points only the categories that have any count", () => {
  const person = { id: 1, name: "person", keypoints: ["a", "b"] };
  const given = { ...annotation, category_id: 1, keypoints: [1, 2, 2, 0, 0, 0] };
  const file = coco("persons_val.json", [annotation, given], [person, { id: 9, name: "dog" }]);
  const { names, truth } = open(file, "pose");
  expect([names, truth(0, SIZE)]).toEqual([
    ["person"],
    [{ classId: 0, box: [10, 20, 30, 40], area: 500, isCrowd: false, keypoints: [1, 2, 2, 0, 0, 0] }],
  ]);
  expect(() => open(coco("none_val.json", []), "pose")).toThrow(/none of its categories has keypoints/);
});

test("what is wrong with annotations is named", () => {
  const cases: readonly (readonly [string, MeasuredTask, RegExp])[] = [
    [coco("box_val.json", [{ ...annotation, bbox: [1, 2] }]), "detect", /annotation 7 has no bbox of four numbers/],
    [
      coco("class_val.json", [{ ...annotation, category_id: 4 }]),
      "detect",
      /annotation 7 has the category 4, which is not/,
    ],
    [coco("mask_val.json", [{ ...annotation, segmentation: [] }]), "segment", /annotation 7 has no polygons/],
    [
      coco("runs_val.json", [{ ...annotation, segmentation: { size: [100, 200], counts: [3] } }]),
      "segment",
      /annotation 7 .*read/,
    ],
    [coco("corners_val.json", [annotation]), "obb", /annotation 7 has no segmentation with the corners/],
    [coco("turn_val.json", [{ ...annotation, bbox: [1, 2, 3, 4, 0.5] }]), "detect", /7 has no bbox of four numbers: x/],
    [coco("side_val.json", [{ ...annotation, bbox: [1, 2, -3, 4] }]), "detect", /7 has no bbox of four numbers: x/],
    [coco("area_val.json", [{ ...annotation, area: "large" }]), "detect", /annotation 7 has the area "large"/],
    [coco("less_val.json", [{ ...annotation, area: -1 }]), "segment", /annotation 7 has the area -1/],
    [coco("crowd_val.json", [{ ...annotation, iscrowd: "no" }]), "detect", /annotation 7 has an iscrowd of "no"/],
    [
      coco("odd_val.json", [{ ...annotation, segmentation: [[0, 0, 9, 0, 9, 9, 0]] }]),
      "segment",
      /annotation 7 has no polygons/,
    ],
    [
      coco("odd_turned_val.json", [{ ...annotation, segmentation: [[0, 0, 9, 0, 9, 9, 0]] }]),
      "obb",
      /annotation 7 has no segmentation with the corners/,
    ],
    [
      coco("points_val.json", [{ ...annotation, keypoints: [1, 2, 2, 3] }], [{ id: 9, name: "dog", keypoints: ["a"] }]),
      "pose",
      /annotation 7 has keypoints that are no list of x, y and visibility/,
    ],
  ];
  for (const [file, task, text] of cases) expect(() => open(file, task).truth(0, SIZE)).toThrow(text);
  write("coco/annotations/list.json", "[]");
  expect(() => open("coco/annotations/list.json")).toThrow(/"images" must be a list of objects with id and file_name/);
  write("coco/annotations/text.json", "{");
  expect(() => open("coco/annotations/text.json")).toThrow(/Hint: give the instances or keypoints file/);
  write("far/instances.json", { images: [{ id: 1, file_name: "one.jpg" }], annotations: [], categories: [] });
  expect(() => open("far/instances.json")).toThrow(
    /its first image "one.jpg" was not found beside it\nHint: .*--images/,
  );
});

test("annotations that score as something else are refused: ids that are there twice, images that are not", () => {
  const lists = { annotations: [], categories: [{ id: 1, name: "cat" }] };
  const image = { id: 1, file_name: "one.jpg" };
  write("twice/one.jpg");
  write("twice/images.json", { ...lists, images: [image, { ...image, file_name: "two.jpg" }] });
  expect(() => open("twice/images.json")).toThrow(/two of its "images" have the id 1\nHint: /);
  write("twice/classes.json", { ...lists, images: [image], categories: [...lists.categories, { id: 1, name: "dog" }] });
  expect(() => open("twice/classes.json")).toThrow(/two of its "categories" have the id 1/);
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    const stray = { ...annotation, image_id: 4 };
    const file = coco("stray_val.json", [annotation, stray]);
    expect(open(file).truth(0, SIZE)).toHaveLength(1);
    expect(lines).toEqual([
      expect.stringMatching(/^warn: Ignoring .* 1 of its 2 annotations .*, such as that of image 4$/),
    ]);
    expect(() => open(coco("strays_val.json", [stray]))).toThrow(/1 of its 1 annotation .*such as that of image 4/);
  } finally {
    setLogSink(former);
  }
});

test("what other tools write for no crowd, no area and no key points is read as that", () => {
  const none = { ...annotation, area: null, keypoints: null };
  const dog = { id: 9, name: "dog", keypoints: ["a"] };
  const given = [false, null, 0, 1, true].map((iscrowd) => ({ ...none, iscrowd }));
  const objects = open(coco("crowds_val.json", given, [dog]), "pose").truth(0, SIZE);
  expect(objects.map(({ isCrowd }) => isCrowd)).toEqual([false, false, false, true, true]);
  expect(objects[0]).toEqual({ classId: 0, box: [10, 20, 30, 40], area: 1200, isCrowd: false, keypoints: [] });
});

test("names of classes by something else than their ids are refused", () => {
  write("named/images/1.jpg");
  for (const names of ["{cat: 0, dog: 1}", "{-1: cat}", "{0.5: cat}", "{1000000000: cat}"]) {
    write("named/data.yaml", `val: images\nnames: ${names}\n`);
    expect(() => open("named")).toThrow(/its names have ".*" in place of a class id\nHint: give a data\.yaml/);
  }
});

test("a folder of folders is one of classes, in val where there is one", () => {
  for (const name of ["val/dog/1.jpg", "val/cat/deep/2.png", "val/cat/3.jpg", "train/dog/4.jpg", "val/cat/text.txt"]) {
    write(`classes/${name}`);
  }
  expect(
    ["classes", "classes/val", "classes/val/dog", "yolo", "plain", "coco/val/two.jpg"].map((name) =>
      isClassFolder(path(name)),
    ),
  ).toEqual([true, true, false, false, false, false]);
  const { names, images, truth } = openClassFolder(path("classes"), undefined);
  expect([names, images.map((_, at) => truth(at, SIZE))]).toEqual([
    ["cat", "dog"],
    [0, 0, 1],
  ]);
  expect(openClassFolder(path("classes/train"), undefined).images).toEqual([path("classes/train/dog/4.jpg")]);
  expect(openClassFolder(path("classes"), "train").names).toEqual(["dog"]);
  expect(() => openClassFolder(path("classes"), "test")).toThrow(/it has no folder "test"/);
  expect(() => openClassFolder(path("classes/train/dog"), undefined)).toThrow(/no folders with images/);
  expect(() => openClassFolder(path("nowhere"), undefined)).toThrow(/Cannot read the dataset .*there is no such file/);
  expect(() => openClassFolder(path("classes/val/dog/1.jpg"), undefined)).toThrow(
    /it is no folder\nHint: a classifier is scored on a folder/,
  );
});

test("classes are matched by name, else by number where they are as many", () => {
  const lines: string[] = [];
  const former = setLogSink((_, text) => lines.push(text));
  try {
    expect(matchClasses(["Person", "car", ""], ["car", "person"])).toEqual([1, 0, undefined]);
    expect(lines).toEqual([]);
    expect(matchClasses(["car"], ["car", "bus"])).toEqual([0]);
    expect(matchClasses(["a", "b"], ["n01", "n02"])).toEqual([0, 1]);
    expect(lines).toEqual([
      "The model has no class for 1 class of the dataset: bus",
      "Matched classes by number: no name is the same; the model has a, b, the dataset n01, n02",
    ]);
    expect(() => matchClasses(["a"], ["n01", "n02"])).toThrow(
      /none of the dataset's 2 classes is one of the model's 1\n/,
    );
  } finally {
    setLogSink(former);
  }
});

test("the smallest rectangle lies on an edge of the hull", () => {
  // A triangle, a point within, and one twice.
  const [cx, cy, width, height] = smallestRectangle([0, 0, 40, 0, 20, 10, 20, 5, 0, 0]);
  expect([cx, cy, width * height]).toEqual([20, 5, 400]);
  expect(smallestRectangle([3, 4, 3, 4, 3, 4]).slice(0, 4)).toEqual([3, 4, 0, 0]);
});
