//! The metrics of a machine: their names, types and tags, in one table. The help text and METRICS.md show it; a name
//! that is not here is not sent.

/// How a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A measurement.
    Abs,
    /// An ever-growing total.
    Diff,
}

impl Kind {
    /// The keyword of the commands.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Abs => "ABS",
            Kind::Diff => "DIFF",
        }
    }
}

/// One metric, or one for each instance.
#[derive(Debug)]
pub struct Metric {
    /// The name before the `@`.
    pub name: &'static str,
    /// What stands behind the `@`, empty where nothing does.
    pub instance: &'static str,
    /// How it counts.
    pub kind: Kind,
    /// Its tags, words separated by blanks.
    pub tags: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
}

macro_rules! metrics {
    ($($id:ident $name:literal @ $instance:literal $kind:ident $tags:literal $what:literal;)*) => {
        $(pub static $id: Metric =
            Metric { name: $name, instance: $instance, kind: Kind::$kind, tags: $tags, what: $what };)*

        /// All of them, in the order of the table.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    CPU_LOAD          "cpu.load"          @ ""       Abs  "unit:percent" "all cores together busy, 0 to 100";
    CORE_LOAD         "cpu.load"          @ "core"   Abs  "unit:percent" "one core busy";
    LOAD_1M           "load.1m"           @ ""       Abs  "unit:tasks"   "load average of a minute";
    LOAD_5M           "load.5m"           @ ""       Abs  "unit:tasks"   "of 5 minutes";
    LOAD_15M          "load.15m"          @ ""       Abs  "unit:tasks"   "of 15 minutes";
    MEM_TOTAL         "mem.total"         @ ""       Abs  "unit:bytes"   "memory of the machine";
    MEM_USED          "mem.used"          @ ""       Abs  "unit:bytes"   "in use";
    MEM_AVAILABLE     "mem.available"     @ ""       Abs  "unit:bytes"   "to be had without swapping";
    MEM_FREE          "mem.free"          @ ""       Abs  "unit:bytes"   "not used at all";
    MEM_PERCENT       "mem.used.percent"  @ ""       Abs  "unit:percent" "in use, of the total";
    SWAP_TOTAL        "swap.total"        @ ""       Abs  "unit:bytes"   "swap of the machine";
    SWAP_USED         "swap.used"         @ ""       Abs  "unit:bytes"   "in use";
    SWAP_FREE         "swap.free"         @ ""       Abs  "unit:bytes"   "not used";
    DISK_TOTAL        "disk.total"        @ "mount"  Abs  "unit:bytes"   "size of a file system";
    DISK_USED         "disk.used"         @ "mount"  Abs  "unit:bytes"   "in use";
    DISK_AVAILABLE    "disk.available"    @ "mount"  Abs  "unit:bytes"   "to be had by users";
    DISK_PERCENT      "disk.used.percent" @ "mount"  Abs  "unit:percent" "in use, of the total";
    DISK_READ_BYTES   "disk.read.bytes"   @ "device" Diff "dir:read unit:bytes"  "read from a device";
    DISK_WRITE_BYTES  "disk.write.bytes"  @ "device" Diff "dir:write unit:bytes" "written to it";
    DISK_READ_OPS     "disk.read.ops"     @ "device" Diff "dir:read unit:ops"    "reads (Linux)";
    DISK_WRITE_OPS    "disk.write.ops"    @ "device" Diff "dir:write unit:ops"   "writes (Linux)";
    DISK_BUSY         "disk.busy"         @ "device" Diff "unit:ms"      "time with work in hand (Linux)";
    NET_RX_BYTES      "net.rx.bytes"      @ "nic"    Diff "dir:rx unit:bytes"    "received";
    NET_TX_BYTES      "net.tx.bytes"      @ "nic"    Diff "dir:tx unit:bytes"    "sent";
    NET_RX_PACKETS    "net.rx.packets"    @ "nic"    Diff "dir:rx unit:packets"  "received";
    NET_TX_PACKETS    "net.tx.packets"    @ "nic"    Diff "dir:tx unit:packets"  "sent";
    NET_RX_ERRORS     "net.rx.errors"     @ "nic"    Diff "dir:rx unit:errors"   "while receiving";
    NET_TX_ERRORS     "net.tx.errors"     @ "nic"    Diff "dir:tx unit:errors"   "while sending";
    PROCESSES         "proc.count"        @ ""       Abs  "unit:processes" "processes";
    UPTIME            "uptime"            @ ""       Abs  "unit:seconds" "since the machine started";
}

/// One figure, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's full name.
    pub name: String,
    /// How it counts.
    pub kind: Kind,
    /// The metric's own tags.
    pub tags: &'static str,
    /// A decimal number as the commands take it.
    pub value: String,
}

impl Metric {
    /// A whole number of the metric that is one of its kind.
    pub fn one(&self, value: u64) -> Sample {
        self.sample(self.name.to_owned(), value.to_string())
    }

    /// A whole number of an instance.
    pub fn of(&self, instance: &str, value: u64) -> Sample {
        self.sample(self.name_of(instance), value.to_string())
    }

    /// A measurement, with two digits behind the point; none of what is no number.
    pub fn real(&self, instance: Option<&str>, value: f64) -> Option<Sample> {
        let name = match instance {
            Some(instance) => self.name_of(instance),
            None => self.name.to_owned(),
        };
        let rounded = (value * 100.0).round() / 100.0;
        rounded
            .is_finite()
            .then(|| self.sample(name, rounded.to_string()))
    }

    /// The name of an instance.
    pub fn name_of(&self, instance: &str) -> String {
        format!("{}@{instance}", self.name)
    }

    fn sample(&self, name: String, value: String) -> Sample {
        Sample {
            name,
            kind: self.kind,
            tags: self.tags,
            value,
        }
    }
}

/// The table as text.
pub fn table() -> String {
    let mut text = String::new();
    for metric in ALL {
        let name = match metric.instance {
            "" => metric.name.to_owned(),
            instance => format!("{}@{}", metric.name, instance.to_uppercase()),
        };
        let line = format!(
            "  {name:<25} {:<4} {:<21} {}\n",
            metric.kind.word(),
            metric.tags,
            metric.what
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
    fn every_metric_is_in_the_documentation() {
        let page = include_str!("../../METRICS.md");
        assert!(
            page.contains(&table()),
            "METRICS.md lacks this table:\n{}",
            table()
        );
    }

    #[test]
    fn values_are_plain_decimals() {
        assert_eq!(
            NET_RX_BYTES.of("eth0", u64::MAX).value,
            "18446744073709551615"
        );
        assert_eq!(CPU_LOAD.real(None, 12.345).unwrap().value, "12.35");
        assert_eq!(CORE_LOAD.real(Some("0"), 0.0).unwrap().name, "cpu.load@0");
        assert_eq!(CPU_LOAD.real(None, f64::NAN), None);
    }
}
