/** @module Rounds: things to compare are measured in turns, so that a drift of the machine meets all of them alike. */

/** One of the things that are compared. */
export interface Contestant {
  /** Called once a round; keeps its own samples. */
  run(): Promise<void> | void;
}

/**
 * Run each contestant once a round. Every second round goes backwards, so that none always comes after the same one.
 *
 * @param onRound called before each round; `false` ends the rounds
 */
export async function inRounds(
  contestants: readonly Contestant[],
  rounds: number,
  onRound: (round: number) => boolean = () => true,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    if (!onRound(round)) return;
    const order = round % 2 === 0 ? contestants : contestants.toReversed();
    for (const contestant of order) await contestant.run();
  }
}

/** Warm up, then time a call so many times, one sample a call in milliseconds. */
export async function timeCalls(
  call: () => Promise<unknown> | unknown,
  options: { readonly warmUp: number; readonly count: number; readonly isOver?: () => boolean },
): Promise<number[]> {
  const samples: number[] = [];
  for (let at = -options.warmUp; at < options.count; at++) {
    const started = performance.now();
    await call();
    if (at >= 0) samples.push(performance.now() - started);
    if (samples.length > 0 && (samples.length & 63) === 0 && options.isOver?.() === true) break;
  }
  return samples;
}
