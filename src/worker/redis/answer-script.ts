/** @module AnswerScript: how an answer is written and its frame acknowledged, both or neither. */

/**
 * Keys: the frame's stream, the answer's. Arguments: group, entry id, about how many answers are kept, `1` to delete the
 * entry, then the answer's fields. Returns 1, or 0 where nobody waits for the answer any more.
 *
 * A script and no MULTI/EXEC, which would go on after a failed XADD (an answer stream that is no stream, WRONGTYPE) and
 * acknowledge a frame without an answer: a script ends with the first command that fails. It is written to the
 * append-only file as one transaction.
 */
export const ANSWER_SCRIPT = `
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, 5))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] == '1' then redis.call('XDEL', KEYS[1], ARGV[2]) end
return 1`;
