//! The settings of a server: their values, and the part of them that a node keeps.

mod jitter;
mod table;

use crate::model::histogram::Percentiles;
use crate::name_patterns::NamePatterns;
pub use jitter::jitter_ms;
pub use table::{
    DEFAULT_SLOT_S, MAX_GAP_MS, MAX_HISTORY, MAX_OPEN, MAX_WINDOW_S, Mutability, SETTINGS, Setting,
    SettingSpec, Unit, Values, check, defaults, max_flush_delay_ms,
};

/// The smallest limit on the number of open windows of a metric and length.
pub const MIN_OPEN: usize = 2;

/// The largest number of items that one command names (values, ids) or requests (COUNT).
pub const MAX_ITEMS: usize = 10_000;

/// The longest name of a new node, bytes: each of its records contains it.
pub const MAX_NODE_NAME: usize = 1024;

/// The values of all settings, as the shell last read them. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The limit of the memory of all nodes, which the shell measures and enforces.
    pub max_memory: u64,
    /// The limit of the memory of one node, which the shell measures and enforces; 0: none.
    pub max_node_memory: u64,
    /// Metrics in a node.
    pub max_series: u32,
    /// Errors in a node.
    pub max_errors: u32,
    /// Live objects in a node.
    pub max_realities: u32,
    /// Sources of sequence numbers in a node.
    pub max_sources: u32,
    /// Imported records of each queue of a node, bytes.
    pub queue_import: u64,
    /// One text, JSON, tag list or name.
    pub max_item_size: usize,
    /// Values in one AGG.MSTAT. Not a setting; commands that another server has accepted have no limit.
    pub max_values: usize,
    /// The length of the name of a node in a report. Not a setting.
    pub max_node_name: usize,
    /// Arguments mean what they meant in version 1 of effects (0.1.0). Not a setting; so are commands replayed that a
    /// server of that version accepted.
    pub is_version_1: bool,
    /// Window lengths of new nodes, seconds; the second a multiple of the first.
    pub min_window_s: u32,
    /// See `min_window_s`.
    pub hour_window_s: u32,
    /// The length of the slots of INC metrics of new nodes, seconds: a divisor of `min_window_s`, or not shorter.
    pub inc_slot_s: u32,
    /// An error that recurred is queued again this long after its delivery.
    pub error_interval_ms: u64,
    /// A metric without samples for so long expires; 0: never.
    pub series_ttl_s: u64,
    /// The same for errors.
    pub error_ttl_s: u64,
    /// The same for objects whose report has no TTL.
    pub reality_ttl_s: u64,
    /// The limit of the delay that a node's name adds to `rules.flush_delay_ms`; see [`Settings::rules_of`].
    pub flush_jitter_ms: i64,
    /// New metrics of these names have histograms.
    pub hist_match: NamePatterns,
    /// The settings that replicas must apply as the primary did.
    pub rules: Rules,
}

/// The settings that take part in applying a change. A node keeps those that its primary last used, and a change of
/// them is an effect of its own, so that a replica with other settings computes the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Bytes of the queues MIN, HOUR and LOG of a node.
    pub queue_bytes: [u64; 3],
    /// Closed windows that a metric keeps, MIN and HOUR; 0: none.
    pub history: [u32; 2],
    /// A window closes this long after its end; a node's jitter is part of it. It stays open until then as far as
    /// [`Rules::open_windows`] allows.
    pub flush_delay_ms: i64,
    /// The limit of a time ahead of the clock.
    pub max_future_ms: i64,
    /// The shortest time over which a rate is computed.
    pub min_interval_ms: i64,
    /// The longest time between two related samples of a DIFF metric.
    pub max_gap_ms: i64,
    /// The percentiles of windows that close.
    pub percentiles: Percentiles,
    /// Records of windows with a histogram contain it.
    pub hist_records: bool,
}

impl Settings {
    /// The settings of these values, each of which is in the range of its setting.
    pub fn of(values: &Values) -> Settings {
        let [
            max_memory,
            max_node_memory,
            max_series,
            max_errors,
            max_realities,
            max_sources,
            queue_min,
            queue_hour,
            queue_log,
            queue_import,
            max_item_size,
            min_window,
            hour_window,
            inc_slot,
            min_history,
            hour_history,
            flush_delay_ms,
            flush_jitter_ms,
            max_future_ms,
            min_interval_ms,
            max_gap,
            error_interval_ms,
            series_ttl,
            error_ttl,
            reality_ttl,
            hist_records,
        ] = *values;
        let max_delay_ms = max_flush_delay_ms(min_window);
        let flush_delay_ms = flush_delay_ms.min(max_delay_ms);
        // The ranges of the table keep every value inside its type.
        Settings {
            max_memory: max_memory as u64,
            max_node_memory: max_node_memory as u64,
            max_series: max_series as u32,
            max_errors: max_errors as u32,
            max_realities: max_realities as u32,
            max_sources: max_sources as u32,
            queue_import: queue_import as u64,
            max_item_size: max_item_size as usize,
            max_values: MAX_ITEMS,
            max_node_name: MAX_NODE_NAME,
            is_version_1: false,
            min_window_s: min_window as u32,
            hour_window_s: hour_window as u32,
            inc_slot_s: inc_slot as u32,
            error_interval_ms: error_interval_ms as u64,
            series_ttl_s: series_ttl as u64,
            error_ttl_s: error_ttl as u64,
            reality_ttl_s: reality_ttl as u64,
            flush_jitter_ms: flush_jitter_ms.min(max_delay_ms - flush_delay_ms),
            hist_match: NamePatterns::default(),
            rules: Rules {
                queue_bytes: [queue_min as u64, queue_hour as u64, queue_log as u64],
                history: [min_history as u32, hour_history as u32],
                flush_delay_ms,
                max_future_ms,
                min_interval_ms,
                max_gap_ms: max_gap * 1000,
                percentiles: Percentiles::DEFAULT,
                hist_records: hist_records != 0,
            },
        }
    }

    /// Returns the rules of the node of this name: those of the settings, and the node's jitter in its flush delay.
    pub fn rules_of(&self, node_name: &[u8]) -> Rules {
        let mut rules = self.rules;
        if self.flush_jitter_ms > 0 {
            rules.flush_delay_ms += jitter_ms(node_name, self.flush_jitter_ms);
        }
        rules
    }

    /// The settings for commands that another server has accepted: its decision is not checked again.
    pub fn unlimited() -> Settings {
        let mut settings = Settings {
            max_item_size: usize::MAX,
            max_values: usize::MAX,
            max_node_name: usize::MAX,
            ..Settings::default()
        };
        settings.rules.max_future_ms = i64::MAX;
        settings
    }
}

impl Rules {
    /// Returns how many windows of this length may be open: the current one, and those that ended within the flush
    /// delay before it.
    #[inline]
    pub fn open_windows(&self, length_s: u32) -> usize {
        let length_ms = i64::from(length_s.max(1)) * 1000;
        // Every sample asks, for the bound of its cost, and a division takes longer than all the rest.
        if self.flush_delay_ms <= length_ms {
            return MIN_OPEN;
        }
        let passed = self.flush_delay_ms.max(0).saturating_add(length_ms - 1) / length_ms;
        usize::try_from(passed)
            .unwrap_or(MAX_OPEN)
            .saturating_add(1)
            .clamp(MIN_OPEN, MAX_OPEN)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::of(&defaults())
    }
}

impl Default for Rules {
    fn default() -> Rules {
        Settings::default().rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flush_delay_determines_how_many_windows_stay_open() {
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

    #[test]
    fn jitter_is_part_of_the_flush_delay_of_a_node() {
        let mut settings = Settings::default();
        assert_eq!(settings.rules_of(b"web-00001"), settings.rules);
        settings.flush_jitter_ms = 60_000;
        let mut rules = settings.rules_of(b"web-00001");
        rules.flush_delay_ms -= jitter_ms(b"web-00001", 60_000);
        assert_eq!(rules, settings.rules);
    }

    #[test]
    fn delay_and_jitter_are_at_most_three_windows() {
        let mut values = defaults();
        let mut set = |setting: Setting, value: i64| {
            values[setting as usize] = value;
            (check(&values).is_ok(), Settings::of(&values))
        };
        assert!(set(Setting::FlushJitterMs, 895_000).0);
        assert!(!set(Setting::FlushJitterMs, 895_001).0);
        assert!(set(Setting::FlushDelayMs, 0).0);
        assert!(!set(Setting::FlushDelayMs, 900_000).0);
        // The default delay is reduced to three windows, which leaves nothing for jitter.
        assert!(set(Setting::FlushJitterMs, 0).0);
        assert!(set(Setting::FlushDelayMs, 5_000).0);
        set(Setting::HourWindow, 60);
        assert!(set(Setting::MinWindow, 1).0);
        let (is_valid, settings) = set(Setting::FlushJitterMs, 1);
        assert_eq!((is_valid, settings.flush_jitter_ms), (false, 0));
    }
}
