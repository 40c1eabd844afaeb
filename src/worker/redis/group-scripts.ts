/** @module GroupScripts: what is asked of a consumer group in one step. */

import { type Script, scriptOf } from "./script.ts";

/**
 * Key: a stream. Arguments: group, consumer. Whoever leaves a group takes along what is pending, so only a worker that
 * has answered everything does; returns whether it did.
 */
export const LEAVE_SCRIPT: Script = scriptOf(`
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1`);

/**
 * Key: a stream. Argument: group. Returns how many entries are pending, and how many are unread, where it can be told;
 * nothing where there is no such group.
 *
 * The lag the server tells counts, for good, also what was trimmed before it was read, and servers before 7.0 tell none.
 * So it is asked for only where something is unread, and not all of the stream; it is too high then rather than too low.
 */
export const LAG_SCRIPT: Script = scriptOf(`
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for at = 1, #info, 2 do group[info[at]] = info[at + 1] end
  if group['name'] == ARGV[1] then
    local lag, pending = group['lag'], group['pending']
    if lag == 0 then return {pending, 0} end
    local next = redis.call('XRANGE', KEYS[1], '(' .. group['last-delivered-id'], '+', 'COUNT', 1)
    if #next == 0 then return {pending, 0} end
    local length = redis.call('XLEN', KEYS[1])
    local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
    if first[1][1] == next[1][1] then return {pending, length} end
    if not lag then return {pending} end
    return {pending, math.min(lag, length)}
  end
end
return {}`);
