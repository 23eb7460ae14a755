//! The commands that add records to a stream.
//!
//! # Invariants
//!
//! A script adds the records of one queue that it does not remember, and remembers them. It reads what it remembers before
//! it adds anything, so a key of another type stops it before the first record. A record is remembered only after it was
//! added, so an error in between repeats a record and loses none.

use agg_client::command::Cmd;

use crate::config::RedisStream;
use crate::sink::identity::Identity;

/// Adds records to the stream KEYS[1] unless the sorted set KEYS[2] has them. ARGV: how many records are remembered, the
/// maximum length of the stream or "", then node, queue, id and JSON of each record.
///
/// The score is the id of the entry in the stream, so the oldest are forgotten first even if the clock of the server is
/// set back. A number of 53 bits holds the milliseconds, with 4096 entries each, until 2039; after that, entries of one
/// millisecond share a score.
const SCRIPT: &str = "\
local stream, known, keep, max = KEYS[1], KEYS[2], tonumber(ARGV[1]), ARGV[2]
for i = 3, #ARGV, 4 do
  local identity = ARGV[i + 2] .. ' ' .. ARGV[i]
  if not redis.call('ZSCORE', known, identity) then
    local entry
    if max == '' then
      entry = redis.call('XADD', stream, '*', 'node', ARGV[i], 'queue', ARGV[i + 1], 'id', ARGV[i + 2],
        'record', ARGV[i + 3])
    else
      entry = redis.call('XADD', stream, 'MAXLEN', '~', max, '*', 'node', ARGV[i], 'queue', ARGV[i + 1],
        'id', ARGV[i + 2], 'record', ARGV[i + 3])
    end
    local time, count = string.match(entry, '^(%d+)-(%d+)$')
    local score = time * 4096 + math.min(tonumber(count), 4095)
    redis.call('ZADD', known, string.format('%.0f', score), identity)
  end
end
redis.call('ZREMRANGEBYRANK', known, 0, -1 - keep)
return 1
";

/// A record and what identifies it.
pub type Item<'a> = (Identity<'a>, &'a [u8]);

/// Returns the commands that add records of one queue to its stream.
pub fn commands(settings: &RedisStream, stream: &str, items: &[Item]) -> Vec<Cmd> {
    match settings.deduplicate {
        0 => items
            .iter()
            .map(|item| xadd(settings, stream, item))
            .collect(),
        _ => vec![script(settings, stream, items)],
    }
}

/// Returns the key that remembers which records a stream has. In a cluster it is in the slot of the stream.
pub fn known(stream: &str) -> String {
    let tag = stream
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    match tag {
        Some((tag, _)) if !tag.is_empty() => format!("{stream}:known"),
        _ => format!("{{{stream}}}:known"),
    }
}

fn script(settings: &RedisStream, stream: &str, items: &[Item]) -> Cmd {
    let mut command = Cmd::new("EVAL");
    let bytes: usize = items.iter().map(|(_, record)| record.len() + 128).sum();
    command.reserve(SCRIPT.len() + bytes);
    command.arg(SCRIPT).arg(2).arg(stream).arg(known(stream));
    command.arg(settings.deduplicate);
    match settings.max_length {
        Some(max) => command.arg(max),
        None => command.arg(""),
    };
    for (identity, record) in items {
        command
            .arg(&*identity.node)
            .arg(identity.queue.name())
            .arg(identity.id)
            .arg(*record);
    }
    command
}

fn xadd(settings: &RedisStream, stream: &str, (identity, record): &Item) -> Cmd {
    let mut command = Cmd::new("XADD");
    command.reserve(record.len() + 256);
    command.arg(stream);
    if let Some(max) = settings.max_length {
        command.arg("MAXLEN").arg("~").arg(max);
    }
    command.arg("*").arg("node").arg(&*identity.node);
    command.arg("queue").arg(identity.queue.name());
    command.arg("id").arg(identity.id);
    command.arg("record").arg(*record);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_stream_is_in_its_slot() {
        // The slot is that of the part within the first pair of braces, or else of the whole key.
        assert_eq!(known("agg:log"), "{agg:log}:known");
        assert_eq!(known("{agg}:log"), "{agg}:log:known");
        assert_eq!(known("{agg:log"), "{{agg:log}:known");
    }
}
