//! The metrics of a machine: one table of their names, types and tags, which the help text and METRICS.md show. No
//! other metric is sent.

use agg_client::command::{Number, SampleType};

/// A metric, or a family of metrics with one for each instance.
#[derive(Debug)]
pub struct Metric {
    /// The name before the `@`.
    pub name: &'static str,
    /// The kind of instance that the part after the `@` names; empty if the name has none.
    pub instance: &'static str,
    pub kind: SampleType,
    /// Tags separated by spaces.
    pub tags: &'static str,
    pub description: &'static str,
}

macro_rules! metrics {
    ($($id:ident $name:literal @ $instance:literal $kind:ident $tags:literal $description:literal;)*) => {
        $(pub static $id: Metric =
            Metric { name: $name, instance: $instance, kind: SampleType::$kind, tags: $tags, description: $description };)*

        /// All metrics in the order of the table.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    CPU_LOAD          "cpu.load"          @ ""       Abs  "unit:percent" "busy time of all cores, 0 to 100";
    CORE_LOAD         "cpu.load"          @ "core"   Abs  "unit:percent" "busy time of one core";
    LOAD_1M           "load.1m"           @ ""       Abs  "unit:tasks"   "load average over 1 minute";
    LOAD_5M           "load.5m"           @ ""       Abs  "unit:tasks"   "load average over 5 minutes";
    LOAD_15M          "load.15m"          @ ""       Abs  "unit:tasks"   "load average over 15 minutes";
    MEM_TOTAL         "mem.total"         @ ""       Abs  "unit:bytes"   "total memory";
    MEM_USED          "mem.used"          @ ""       Abs  "unit:bytes"   "in use";
    MEM_AVAILABLE     "mem.available"     @ ""       Abs  "unit:bytes"   "available without swapping";
    MEM_FREE          "mem.free"          @ ""       Abs  "unit:bytes"   "unused";
    MEM_PERCENT       "mem.used.percent"  @ ""       Abs  "unit:percent" "in use, percent of the total";
    SWAP_TOTAL        "swap.total"        @ ""       Abs  "unit:bytes"   "total swap";
    SWAP_USED         "swap.used"         @ ""       Abs  "unit:bytes"   "in use";
    SWAP_FREE         "swap.free"         @ ""       Abs  "unit:bytes"   "unused";
    DISK_TOTAL        "disk.total"        @ "mount"  Abs  "unit:bytes"   "size of a file system";
    DISK_USED         "disk.used"         @ "mount"  Abs  "unit:bytes"   "in use";
    DISK_AVAILABLE    "disk.available"    @ "mount"  Abs  "unit:bytes"   "available to users";
    DISK_PERCENT      "disk.used.percent" @ "mount"  Abs  "unit:percent" "in use, percent of the total";
    DISK_READ_BYTES   "disk.read.bytes"   @ "device" Diff "dir:read unit:bytes"  "bytes read";
    DISK_WRITE_BYTES  "disk.write.bytes"  @ "device" Diff "dir:write unit:bytes" "bytes written";
    DISK_READ_OPS     "disk.read.ops"     @ "device" Diff "dir:read unit:ops"    "reads (Linux)";
    DISK_WRITE_OPS    "disk.write.ops"    @ "device" Diff "dir:write unit:ops"   "writes (Linux)";
    DISK_BUSY         "disk.busy"         @ "device" Diff "unit:ms"      "time with I/O in progress (Linux)";
    NET_RX_BYTES      "net.rx.bytes"      @ "nic"    Diff "dir:rx unit:bytes"    "received";
    NET_TX_BYTES      "net.tx.bytes"      @ "nic"    Diff "dir:tx unit:bytes"    "sent";
    NET_RX_PACKETS    "net.rx.packets"    @ "nic"    Diff "dir:rx unit:packets"  "received";
    NET_TX_PACKETS    "net.tx.packets"    @ "nic"    Diff "dir:tx unit:packets"  "sent";
    NET_RX_ERRORS     "net.rx.errors"     @ "nic"    Diff "dir:rx unit:errors"   "receive errors";
    NET_TX_ERRORS     "net.tx.errors"     @ "nic"    Diff "dir:tx unit:errors"   "send errors";
    PROCESSES         "proc.count"        @ ""       Abs  "unit:processes" "number of processes";
    UPTIME            "uptime"            @ ""       Abs  "unit:seconds" "time since boot";
}

/// A sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's full name.
    pub name: String,
    pub kind: SampleType,
    /// The metric's own tags.
    pub tags: &'static str,
    pub value: Number,
}

impl Metric {
    /// Returns an integer sample of a metric without instances.
    pub fn sample(&self, value: u64) -> Sample {
        self.sample_of(self.name.to_owned(), value.into())
    }

    /// Returns an integer sample of an instance.
    pub fn instance_sample(&self, instance: &str, value: u64) -> Sample {
        self.sample_of(self.name_of(instance), value.into())
    }

    /// Returns a sample rounded to two decimals; `None` unless the value is finite.
    pub fn decimal_sample(&self, instance: Option<&str>, value: f64) -> Option<Sample> {
        let name = match instance {
            Some(instance) => self.name_of(instance),
            None => self.name.to_owned(),
        };
        let rounded = (value * 100.0).round() / 100.0;
        rounded
            .is_finite()
            .then(|| self.sample_of(name, rounded.into()))
    }

    /// Returns the full name of an instance.
    pub fn name_of(&self, instance: &str) -> String {
        format!("{}@{instance}", self.name)
    }

    fn sample_of(&self, name: String, value: Number) -> Sample {
        Sample {
            name,
            kind: self.kind,
            tags: self.tags,
            value,
        }
    }
}

/// Returns the table as text.
pub fn table() -> String {
    let mut text = String::new();
    for metric in ALL {
        let name = match metric.instance {
            "" => metric.name.to_owned(),
            instance => format!("{}@{}", metric.name, instance.to_uppercase()),
        };
        let line = format!(
            "  {name:<25} {:<4} {:<21} {}\n",
            metric.kind.as_str(),
            metric.tags,
            metric.description
        );
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_tags_well_formed() {
        let mut names: Vec<_> = ALL.iter().map(|m| (m.name, m.instance)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(!metric.name.contains(['@', ' ']));
            for tag in metric.tags.split(' ') {
                aggregator_protocol::tags::tag(tag).unwrap();
            }
        }
    }

    #[test]
    fn metrics_md_has_the_table() {
        let page = include_str!("../../METRICS.md");
        assert!(
            page.contains(&table()),
            "METRICS.md lacks this table:\n{}",
            table()
        );
    }

    #[test]
    fn decimal_values_are_rounded() {
        assert_eq!(
            NET_RX_BYTES.instance_sample("eth0", u64::MAX).value,
            Number::Unsigned(u64::MAX)
        );
        assert_eq!(
            CPU_LOAD.decimal_sample(None, 12.345).unwrap().value,
            Number::Float(12.35)
        );
        assert_eq!(
            CORE_LOAD.decimal_sample(Some("0"), 0.0).unwrap().name,
            "cpu.load@0"
        );
        assert_eq!(CPU_LOAD.decimal_sample(None, f64::NAN), None);
    }
}
