//! The table of settings: their names, ranges and defaults, and the rules between them.

/// The longest window, seconds (four weeks).
pub const MAX_WINDOW_S: u32 = 28 * 86_400;

/// The longest time between two related samples of a DIFF metric, milliseconds (three weeks). The time that the samples
/// of a window cover then fits 32 bits.
pub const MAX_GAP_MS: i64 = 21 * 86_400_000;

/// The default length of the slots of INC metrics, seconds.
pub const DEFAULT_SLOT_S: u32 = 10;

/// The largest number of closed windows of one length that a metric keeps.
pub const MAX_HISTORY: u32 = 100_000;

/// The largest limit on the number of open windows of a metric and length.
pub const MAX_OPEN: usize = 4;

/// The largest flush delay for short windows of this length, milliseconds: the time that [`MAX_OPEN`] windows cover.
pub const fn max_flush_delay_ms(min_window_s: i64) -> i64 {
    (MAX_OPEN as i64 - 1) * 1000 * min_window_s
}

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
    QueueImport,
    MaxItemSize,
    MinWindow,
    HourWindow,
    IncSlot,
    MinHistory,
    HourHistory,
    FlushDelayMs,
    FlushJitterMs,
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
pub const SETTINGS: [SettingSpec; 26] = {
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
            "queue-import",
            Bytes,
            [64 * MB, 1024, TB],
            "Limits the imported records of each queue of a node.",
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
            "flush-jitter-ms",
            Milliseconds,
            [0, 0, 3_600_000],
            "Limits the further delay of a node's windows, which its name determines.",
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
    let max = max_flush_delay_ms(value(Setting::MinWindow));
    let jitter = value(Setting::FlushJitterMs);
    if jitter > 0 && jitter > max - delay.min(max) {
        return Err(
            "agg.flush-delay-ms and agg.flush-jitter-ms together must be at most 3 times agg.min-window",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
