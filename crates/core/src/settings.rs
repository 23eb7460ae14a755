//! The settings of a server: their table, their values, and the part of them that a node keeps.

use crate::model::histogram::Percentiles;
use crate::name_patterns::NamePatterns;

/// The longest window, seconds (four weeks).
pub const MAX_WINDOW_S: u32 = 28 * 86_400;

/// The longest time between two related samples of a DIFF metric, milliseconds (three weeks). The time that the samples
/// of a window cover then fits 32 bits.
pub const MAX_GAP_MS: i64 = 21 * 86_400_000;

/// The default length of the slots of INC metrics, seconds.
pub const DEFAULT_SLOT_S: u32 = 10;

/// The largest number of closed windows of one length that a metric keeps.
pub const MAX_HISTORY: u32 = 100_000;

/// The smallest limit on the number of open windows of a metric and length.
pub const MIN_OPEN: usize = 2;
/// The largest limit on the number of open windows of a metric and length.
pub const MAX_OPEN: usize = 4;

/// The largest flush delay for short windows of this length, milliseconds: the time that [`MAX_OPEN`] windows cover.
pub const fn max_flush_delay_ms(min_window_s: i64) -> i64 {
    (MAX_OPEN as i64 - 1) * 1000 * min_window_s
}

/// The largest number of items that one command names (values, ids) or requests (COUNT).
pub const MAX_ITEMS: usize = 10_000;

/// The longest name of a new node, bytes: each of its records contains it.
pub const MAX_NODE_NAME: usize = 1024;

const MB: i64 = 1 << 20;
const TB: i64 = 1 << 40;
/// A hundred years.
const CENTURY_S: i64 = 100 * 366 * 86_400;
/// Four weeks.
const MONTH_MS: i64 = 28 * 86_400_000;

/// The unit of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number.
    Count,
    /// Bytes; written with a suffix, as in `64mb`.
    Bytes,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// 1 or 0; written as `yes` or `no`.
    YesNo,
}

/// The time at which a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// At once.
    AtOnce,
    /// For nodes that are created afterwards.
    NewNodes,
}

/// A setting.
pub struct SettingSpec {
    /// Its name without `agg.`.
    pub name: &'static str,
    /// Its default, in its unit.
    pub default: i64,
    /// Its smallest value.
    pub min: i64,
    /// Its largest value.
    pub max: i64,
    /// The unit of its value.
    pub unit: Unit,
    /// The time at which a changed value takes effect.
    pub mutability: Mutability,
    /// Says what it does, in one sentence.
    pub help: &'static str,
}

/// The settings, in the order of [`SETTINGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the setting of its name
pub enum Setting {
    MaxMemory,
    MaxNodeMemory,
    MaxSeries,
    MaxErrors,
    MaxRealities,
    MaxSources,
    QueueMin,
    QueueHour,
    QueueLog,
    MaxItemSize,
    MinWindow,
    HourWindow,
    IncSlot,
    MinHistory,
    HourHistory,
    FlushDelayMs,
    MaxFutureMs,
    MinIntervalMs,
    MaxGap,
    ErrorIntervalMs,
    SeriesTtl,
    ErrorTtl,
    RealityTtl,
    HistRecords,
}

/// The value of each setting, in its unit and in the order of [`SETTINGS`].
pub type Values = [i64; SETTINGS.len()];

const fn setting(
    name: &'static str,
    unit: Unit,
    [default, min, max]: [i64; 3],
    help: &'static str,
) -> SettingSpec {
    SettingSpec {
        name,
        default,
        min,
        max,
        unit,
        mutability: Mutability::AtOnce,
        help,
    }
}

/// A setting that nodes take over when they are created.
const fn of_new_nodes(spec: SettingSpec) -> SettingSpec {
    SettingSpec {
        mutability: Mutability::NewNodes,
        ..spec
    }
}

/// All settings.
pub const SETTINGS: [SettingSpec; 24] = {
    use Unit::{Bytes, Count, Milliseconds, Seconds, YesNo};
    const NODE: [i64; 3] = [10_000, 1, 10_000_000];
    [
        setting(
            "max-memory",
            Bytes,
            [256 * MB, MB, TB],
            "Limits the memory of all nodes together.",
        ),
        setting(
            "max-node-memory",
            Bytes,
            [0, 0, TB],
            "Limits the memory of each node; 0: no limit.",
        ),
        setting(
            "max-series",
            Count,
            [20_000, 1, 100_000_000],
            "Limits the metrics of a node.",
        ),
        setting("max-errors", Count, NODE, "Limits the errors of a node."),
        setting(
            "max-realities",
            Count,
            NODE,
            "Limits the objects of a node.",
        ),
        setting(
            "max-sources",
            Count,
            [1_024, 1, 1_000_000],
            "Limits the sources of a node, whose last SEQ numbers it keeps.",
        ),
        setting(
            "queue-min",
            Bytes,
            [64 * MB, 1024, TB],
            "Limits the queue MIN of a node.",
        ),
        setting(
            "queue-hour",
            Bytes,
            [32 * MB, 1024, TB],
            "Limits the queue HOUR of a node.",
        ),
        setting(
            "queue-log",
            Bytes,
            [16 * MB, 1024, TB],
            "Limits the queue LOG of a node.",
        ),
        setting(
            "max-item-size",
            Bytes,
            [64 << 10, 64, 16 * MB],
            "Limits one text, JSON document, tag list or name.",
        ),
        of_new_nodes(setting(
            "min-window",
            Seconds,
            [300, 1, MAX_WINDOW_S as i64],
            "Sets the length of MIN windows.",
        )),
        of_new_nodes(setting(
            "hour-window",
            Seconds,
            [3_600, 1, MAX_WINDOW_S as i64],
            "Sets the length of HOUR windows: a multiple of min-window.",
        )),
        of_new_nodes(setting(
            "inc-slot",
            Seconds,
            [DEFAULT_SLOT_S as i64, 1, MAX_WINDOW_S as i64],
            "Sets the length of the slots over which rates of INC metrics are computed; it divides min-window.",
        )),
        setting(
            "min-history",
            Count,
            [12, 0, MAX_HISTORY as i64],
            "Sets how many closed MIN windows a metric keeps for AGG.RANGE.",
        ),
        setting(
            "hour-history",
            Count,
            [24, 0, MAX_HISTORY as i64],
            "Sets how many closed HOUR windows a metric keeps for AGG.RANGE.",
        ),
        setting(
            "flush-delay-ms",
            Milliseconds,
            [5_000, 0, 3_600_000],
            "Sets how long after its end a window stays open for late samples.",
        ),
        setting(
            "max-future-ms",
            Milliseconds,
            [60_000, 0, MONTH_MS],
            "Limits how far ahead of the clock a time may be.",
        ),
        setting(
            "min-interval-ms",
            Milliseconds,
            [500, 1, 3_600_000],
            "Sets the shortest time over which a rate is computed.",
        ),
        setting(
            "max-gap",
            Seconds,
            [7_200, 1, MAX_GAP_MS / 1000],
            "Limits the time between two related samples of a DIFF metric.",
        ),
        setting(
            "error-interval-ms",
            Milliseconds,
            [300_000, 1, MONTH_MS],
            "Sets how long after its delivery an error that recurred is queued again.",
        ),
        setting(
            "series-ttl",
            Seconds,
            [86_400, 0, CENTURY_S],
            "Sets after how long without samples a metric expires; 0: never.",
        ),
        setting(
            "error-ttl",
            Seconds,
            [604_800, 0, CENTURY_S],
            "Sets after how long without occurrences an error expires; 0: never.",
        ),
        setting(
            "reality-ttl",
            Seconds,
            [0, 0, CENTURY_S],
            "Sets after how long without reports an object expires that has no TTL of its own; 0: never.",
        ),
        setting(
            "hist-records",
            YesNo,
            [0, 0, 1],
            "Adds the histogram to records of windows that have one.",
        ),
    ]
};

/// The defaults of all settings.
pub const fn defaults() -> Values {
    let (mut values, mut i) = ([0; SETTINGS.len()], 0);
    while i < values.len() {
        values[i] = SETTINGS[i].default;
        i += 1;
    }
    values
}

/// Checks what depends on more than one setting.
///
/// # Errors
/// The rule that is broken.
pub fn check(values: &Values) -> Result<(), &'static str> {
    let value = |setting: Setting| values[setting as usize];
    if value(Setting::HourWindow) % value(Setting::MinWindow).max(1) != 0 {
        return Err("agg.hour-window must be a multiple of agg.min-window");
    }
    let (window_s, slot_s) = (value(Setting::MinWindow), value(Setting::IncSlot));
    if slot_s < window_s && window_s % slot_s.max(1) != 0 {
        return Err("agg.inc-slot must divide agg.min-window");
    }
    // The default goes with any short window: where it is longer than the longest, the longest is in force.
    let delay = value(Setting::FlushDelayMs);
    let is_default = delay == SETTINGS[Setting::FlushDelayMs as usize].default;
    if delay > max_flush_delay_ms(value(Setting::MinWindow)) && !is_default {
        return Err("agg.flush-delay-ms must be at most 3 times agg.min-window");
    }
    Ok(())
}

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
    /// A window closes this long after its end. It stays open until then as far as [`Rules::open_windows`] allows.
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
            max_item_size,
            min_window,
            hour_window,
            inc_slot,
            min_history,
            hour_history,
            flush_delay_ms,
            max_future_ms,
            min_interval_ms,
            max_gap,
            error_interval_ms,
            series_ttl,
            error_ttl,
            reality_ttl,
            hist_records,
        ] = *values;
        // The ranges of the table keep every value inside its type.
        Settings {
            max_memory: max_memory as u64,
            max_node_memory: max_node_memory as u64,
            max_series: max_series as u32,
            max_errors: max_errors as u32,
            max_realities: max_realities as u32,
            max_sources: max_sources as u32,
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
            hist_match: NamePatterns::default(),
            rules: Rules {
                queue_bytes: [queue_min as u64, queue_hour as u64, queue_log as u64],
                history: [min_history as u32, hour_history as u32],
                flush_delay_ms: flush_delay_ms.min(max_flush_delay_ms(min_window)),
                max_future_ms,
                min_interval_ms,
                max_gap_ms: max_gap * 1000,
                percentiles: Percentiles::DEFAULT,
                hist_records: hist_records != 0,
            },
        }
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
    fn defaults_are_in_range_and_pass_the_check() {
        for spec in &SETTINGS {
            assert!(
                (spec.min..=spec.max).contains(&spec.default),
                "{}",
                spec.name
            );
            assert!(spec.help.ends_with('.'), "{}", spec.name);
        }
        assert_eq!(check(&defaults()), Ok(()));
        assert_eq!(
            SETTINGS[Setting::FlushDelayMs as usize].name,
            "flush-delay-ms"
        );
        assert_eq!(SETTINGS[Setting::RealityTtl as usize].name, "reality-ttl");
        assert_eq!(SETTINGS[Setting::HistRecords as usize].name, "hist-records");
    }
}
