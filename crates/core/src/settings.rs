//! The settings of a server, as plain values with their units in the names, and the part of them that a node keeps.

/// The longest window, seconds (four weeks).
pub const MAX_WINDOW_S: u32 = 28 * 86_400;

/// The longest time between two samples of a DIFF metric that may belong together, milliseconds (three weeks): what the
/// samples of a window cover fits 32 bits.
pub const MAX_GAP_MS: i64 = 21 * 86_400_000;

/// The most closed windows of one length that a metric keeps.
pub const MAX_HISTORY: u32 = 100_000;

/// The fewest windows of a metric and length that stay open, and the most.
pub const MIN_OPEN: usize = 2;
/// See [`MIN_OPEN`].
pub const MAX_OPEN: usize = 4;

/// The longest flush delay for short windows of this length, seconds: as long as the most windows that stay open cover.
pub const fn max_flush_delay_ms(min_window_s: i64) -> i64 {
    (MAX_OPEN as i64 - 1) * 1000 * min_window_s
}

/// The most items that one command names (values, ids) or asks for (COUNT).
pub const MAX_ITEMS: usize = 10_000;

/// The longest name of a new node, bytes: it is in each of its records.
pub const MAX_NODE_NAME: usize = 1024;

/// All settings, as the shell last read them. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The ceiling over all memory that the module holds (the shell measures and enforces it).
    pub max_memory: u64,
    /// The limit of one node's memory (measured and enforced by the shell, too); 0: none.
    pub max_node_memory: u64,
    /// Metrics in a node.
    pub max_series: u32,
    /// Errors in a node.
    pub max_errors: u32,
    /// Live objects of reality in a node.
    pub max_realities: u32,
    /// One text, JSON, tag list or name.
    pub max_item_size: usize,
    /// Values in one AGG.MSTAT. No setting, but what another server has taken has no limit.
    pub max_values: usize,
    /// The name of a node that somebody reports for; no setting of the server.
    pub max_node_name: usize,
    /// Window lengths of new nodes, seconds; the second a multiple of the first.
    pub min_window_s: u32,
    /// See `min_window_s`.
    pub hour_window_s: u32,
    /// An error that grew is queued again this long after it was handed out.
    pub error_interval_ms: u64,
    /// A metric quiet for as long is forgotten; 0: never.
    pub series_ttl_s: u64,
    /// The same for errors.
    pub error_ttl_s: u64,
    /// The same for objects whose report named no TTL.
    pub reality_ttl_s: u64,
    /// What replicas must apply as the primary did.
    pub rules: Rules,
}

/// The settings that take part in applying a change. A node keeps those that its primary last used, and a change of
/// them is an effect of its own: so a replica with other settings computes the same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Bytes of the queues MIN, HOUR and LOG of a node.
    pub queue_bytes: [u64; 3],
    /// Closed buckets kept per metric, of MIN and HOUR windows; 0 keeps none.
    pub history: [u32; 2],
    /// A window closes this long after its end, and stays open until then as far as [`Rules::open_windows`] goes.
    pub flush_delay_ms: i64,
    /// How far ahead of the clock a time may lie.
    pub max_future_ms: i64,
    /// The shortest time over which a rate is taken.
    pub min_interval_ms: i64,
    /// The longest time between two samples of a DIFF metric that belong together.
    pub max_gap_ms: i64,
}

impl Settings {
    /// Those under which a command is read that another server has taken: what it allowed is not judged again.
    pub fn unlimited() -> Settings {
        Settings {
            max_item_size: usize::MAX,
            max_values: usize::MAX,
            max_node_name: usize::MAX,
            rules: Rules {
                max_future_ms: i64::MAX,
                ..Rules::default()
            },
            ..Settings::default()
        }
    }
}

impl Rules {
    /// How many windows of this length stay open: the current one, and those that end within the flush delay before it.
    pub fn open_windows(&self, length_s: u32) -> usize {
        let length_ms = i64::from(length_s.max(1)) * 1000;
        let passed = self.flush_delay_ms.max(0).saturating_add(length_ms - 1) / length_ms;
        usize::try_from(passed)
            .unwrap_or(MAX_OPEN)
            .saturating_add(1)
            .clamp(MIN_OPEN, MAX_OPEN)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_memory: 256 << 20,
            max_node_memory: 0,
            max_series: 20_000,
            max_errors: 10_000,
            max_realities: 10_000,
            max_item_size: 64 << 10,
            max_values: MAX_ITEMS,
            max_node_name: MAX_NODE_NAME,
            min_window_s: 300,
            hour_window_s: 3600,
            error_interval_ms: 300_000,
            series_ttl_s: 86_400,
            error_ttl_s: 604_800,
            reality_ttl_s: 0,
            rules: Rules::default(),
        }
    }
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            queue_bytes: [64 << 20, 32 << 20, 16 << 20],
            history: [12, 24],
            flush_delay_ms: 5_000,
            max_future_ms: 60_000,
            min_interval_ms: 500,
            max_gap_ms: 7_200_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_windows_stay_open_as_the_flush_delay_covers() {
        let open = |delay, length| {
            let rules = Rules {
                flush_delay_ms: delay,
                ..Rules::default()
            };
            rules.open_windows(length)
        };
        assert_eq!([open(0, 300), open(5_000, 300), open(300_000, 300)], [2; 3]);
        assert_eq!([open(300_001, 300), open(600_000, 300)], [3; 2]);
        assert_eq!([open(600_001, 300), open(i64::MAX, 1)], [4; 2]);
        assert_eq!(open(900_000, 3_600), 2);
        assert_eq!(open(max_flush_delay_ms(300), 300), 4);
    }
}
