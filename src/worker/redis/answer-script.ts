/** @module AnswerScript: how an answer is written and its frame acknowledged, both or neither. */

import { type Script, scriptOf } from "./script.ts";

/**
 * Keys: the frame's stream, the answer's. Arguments: group, entry id, about how many answers are kept, `1` to delete the
 * entry, `1` if nobody else can have answered, then the answer's fields. Returns 1, or 0 where somebody else has answered.
 *
 * A frame that is not pending any more has been answered by somebody, or the server has forgotten who has it: it was
 * trimmed, its consumer or group deleted. It is written then where nobody else can have answered, or will.
 *
 * A script and no MULTI/EXEC, which would go on after a failed XADD (an answer stream that is no stream, WRONGTYPE) and
 * acknowledge a frame without an answer: a script ends with the first command that fails. It is written to the
 * append-only file as one transaction. Nothing may fail after XADD either, so whether this user may acknowledge and delete
 * is tried before it, with an id no entry has.
 */
export const ANSWER_SCRIPT: Script = scriptOf(`
local found = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
local gone = found.err and (string.find(found.err, 'NOGROUP') or string.find(found.err, 'WRONGTYPE'))
if found.err and not gone then return found end
if ARGV[5] == '0' and (gone or #found == 0) then
  if ARGV[4] == '1' then return 0 end
  if #redis.pcall('XRANGE', KEYS[1], ARGV[2], ARGV[2]) > 0 then return 0 end
end
if not gone then redis.call('XACK', KEYS[1], ARGV[1], '0-0') end
if ARGV[4] == '1' and not gone then redis.call('XDEL', KEYS[1], '0-0') end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, 6))
if gone then return 1 end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] == '1' then redis.call('XDEL', KEYS[1], ARGV[2]) end
return 1`);
