/** @module StageNames: the stages of several bars in one order. */

import type { StagesBlock } from "../result.ts";

/** Names of the stages in the order in which a frame goes through them: what only some bars have stands where it does there. */
export function stageNames({ bars }: Pick<StagesBlock, "bars">): string[] {
  const names: string[] = [];
  for (const { parts } of bars) {
    let next = 0;
    for (const { stage } of parts) {
      const known = names.indexOf(stage);
      if (known < 0) names.splice(next, 0, stage);
      next = (known < 0 ? next : known) + 1;
    }
  }
  return names;
}
