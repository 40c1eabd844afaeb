/** @module StageTimings: how long each stage of a frame took. */

/** Milliseconds of each stage of one batch; a stage that did not run is 0. */
export interface StageTimings {
  decode: number;
  preprocess: number;
  infer: number;
  postprocess: number;
}

/** All stages at 0. */
export function createStageTimings(): StageTimings {
  return { decode: 0, preprocess: 0, infer: 0, postprocess: 0 };
}
