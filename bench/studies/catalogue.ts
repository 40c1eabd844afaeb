/** @module Catalogue: every study, in the order in which they run; later ones may look at what earlier ones found. */

import type { Study } from "../study.ts";
import { builds } from "./builds.ts";
import { calls } from "./calls.ts";
import { cpuStages } from "./cpu-stages.ts";
import { frame } from "./frame.ts";
import { host } from "./host.ts";
import { jpeg } from "./jpeg.ts";
import { jsThread } from "./js-thread.ts";
import { latency } from "./latency.ts";
import { levers } from "./levers.ts";
import { memory } from "./memory.ts";
import { peers } from "./peers.ts";
import { record } from "./record.ts";
import { service } from "./service.ts";
import { shapes } from "./shapes.ts";
import { streams } from "./streams.ts";
import { tracking } from "./tracking.ts";

/** The most telling first, as a lease may end at any time; what builds engines or runs long, last. */
export const STUDIES: readonly Study[] = [
  latency,
  record,
  frame,
  streams,
  host,
  peers,
  jpeg,
  service,
  jsThread,
  calls,
  cpuStages,
  tracking,
  memory,
  shapes,
  builds,
  levers,
];
