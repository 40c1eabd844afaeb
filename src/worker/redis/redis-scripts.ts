/** @module RedisScripts: commands that the server runs as one. */

/** Commands that the server runs as one. */
export interface Script {
  readonly text: string;
  /** SHA-1 of the text: what the server knows it by. */
  readonly digest: string;
  /** How many of its arguments are keys. */
  readonly keys: string;
}

function scriptOf(keys: number, text: string): Script {
  return { text, digest: new Bun.CryptoHasher("sha1").update(text).digest("hex"), keys: String(keys) };
}

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
export const ANSWER: Script = scriptOf(
  2,
  `
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
return 1`,
);

/**
 * Key: a stream. Arguments: group, consumer. Whoever leaves a group takes along what is pending, so only a worker that
 * has answered everything does; returns whether it did.
 */
export const LEAVE: Script = scriptOf(
  1,
  `
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1`,
);

/**
 * Key: a stream. Argument: group. Returns how many entries are pending, and how many are unread, where it can be told;
 * nothing where there is no such group.
 *
 * The lag the server tells counts, for good, also what was trimmed before it was read, and servers before 7.0 tell none.
 * So it is asked for only where something is unread, and not all of the stream; it is too high then rather than too low.
 */
export const LAG: Script = scriptOf(
  1,
  `
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
return {}`,
);
