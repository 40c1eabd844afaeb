/** @module COCO: the names of its 80 classes, and where they stand among its 91 category ids. */

/** COCO's 80 classes in the order that YOLO, D-FINE, DEIM and most others train on: class id → name. */
export const COCO_80: readonly string[] = [
  ..."person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light".split(","),
  ..."fire hydrant,stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow".split(","),
  ..."elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee".split(","),
  ..."skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle".split(","),
  ..."wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange".split(","),
  ..."broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed".split(","),
  ..."dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven".split(","),
  ..."toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush".split(","),
];

/** Category ids 0–90 that COCO's annotations do not use. */
const GAPS: ReadonlySet<number> = new Set([0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83]);

/** COCO category id of each of the 80 classes: 0 → 1 (person) … 79 → 90 (toothbrush). */
export const COCO_CATEGORY_IDS: readonly number[] = Array.from({ length: 91 }, (_, id) => id).filter(
  (id) => !GAPS.has(id),
);

/** COCO's names by category id 0–90, as RF-DETR and DETR number them; unused ids are empty strings. */
export const COCO_91: readonly string[] = Array.from({ length: 91 }, (_, id) =>
  GAPS.has(id) ? "" : (COCO_80[COCO_CATEGORY_IDS.indexOf(id)] ?? ""),
);
