//! The source of a stream of reports, and the numbers of its reports (the option SEQ), so that each counts once.

use std::hash::{BuildHasher, RandomState};

use crate::command::Sequence;

/// The bytes of the host name in the name of a source. A source may have 256 bytes; shorter ones take less of the
/// node's memory.
const HOST_BYTES: usize = 64;

/// The source of one stream of reports to a node, and the numbers of its reports, from 1 on.
///
/// A node ignores a report whose number is not greater than the last one of its source. So the reports of a source are
/// sent in the order of their numbers, and what is sent at the same time over several connections has a source each.
/// [`Outbox`](crate::Outbox) does both.
///
/// ```
/// use agg_client::Numbering;
/// use agg_client::command::{Command, Log, Report};
///
/// let mut numbering = Numbering::new();
/// let first = Log::new("web1", "started").numbered(numbering.next());
/// assert!(String::from_utf8_lossy(&first.to_cmd().to_bytes()).ends_with("\r\n$1\r\n1\r\n"));
/// assert_eq!(numbering.next().number, 2);
/// assert_ne!(Numbering::new().source(), numbering.source());
/// ```
#[derive(Debug)]
pub struct Numbering {
    source: Vec<u8>,
    last: u64,
}

impl Default for Numbering {
    fn default() -> Self {
        Numbering::new()
    }
}

impl Numbering {
    /// Creates a source with a name that no other source has: host, process id, and 8 random bytes.
    pub fn new() -> Numbering {
        let host = rustix::system::uname();
        let host = host.nodename().to_bytes();
        // The keys of a RandomState are random bytes of the system.
        let random = RandomState::new().hash_one(());
        Numbering {
            source: name(host, std::process::id(), random),
            last: 0,
        }
    }

    /// Returns the name of the source.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Returns the next number.
    #[expect(
        clippy::should_implement_trait,
        reason = "what it returns borrows from the source"
    )]
    pub fn next(&mut self) -> Sequence<'_> {
        self.last += 1;
        self.sequence(self.last)
    }

    /// Returns a number that was given out before.
    pub(crate) fn sequence(&self, number: u64) -> Sequence<'_> {
        Sequence {
            source: &self.source,
            number,
        }
    }
}

fn name(host: &[u8], pid: u32, random: u64) -> Vec<u8> {
    let mut name = host[..host.len().min(HOST_BYTES)].to_vec();
    name.extend_from_slice(format!("-{pid}-{random:016x}").as_bytes());
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_source_has_a_name_of_its_own() {
        let sources: HashSet<Vec<u8>> = (0..100).map(|_| Numbering::new().source).collect();
        assert_eq!(sources.len(), 100);
        let pid = format!("-{}-", std::process::id());
        for source in sources {
            assert!(source.len() <= 256);
            assert!(String::from_utf8_lossy(&source).contains(&pid));
        }
    }

    #[test]
    fn long_host_name_is_cut() {
        assert_eq!(name(b"web1", 17, 0xcafe), b"web1-17-000000000000cafe");
        let long = name(&[b'h'; 1000], u32::MAX, u64::MAX);
        assert!((HOST_BYTES..=256).contains(&long.len()));
    }
}
