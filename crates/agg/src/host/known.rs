//! What the server knows of from us, and so what it has to forget when an instance (a mount, an interface, a core)
//! has gone.

use std::collections::BTreeSet;

/// The names that were sent, of metrics or of objects.
#[derive(Default)]
pub struct Known(BTreeSet<String>);

impl Known {
    /// Names that the server may know. To be told before they are sent: a report whose reply was lost may have
    /// arrived.
    pub fn add<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            if !self.0.contains(name) {
                self.0.insert(name.to_owned());
            }
        }
    }

    /// The names of instances that are no longer among `present`. Where nothing of a family (the name before the
    /// `@`) is present it was not to be read, rather than gone; what has no instance does not go.
    pub fn gone(&self, present: &BTreeSet<&str>) -> Vec<String> {
        let families: BTreeSet<&str> = present.iter().filter_map(|name| family(name)).collect();
        let is_gone = |name: &&String| {
            !present.contains(name.as_str())
                && family(name).is_some_and(|family| families.contains(family))
        };
        self.0.iter().filter(is_gone).cloned().collect()
    }

    /// The server has forgotten it.
    pub fn forgotten(&mut self, name: &str) {
        self.0.remove(name);
    }
}

fn family(name: &str) -> Option<&str> {
    name.split_once('@').map(|(family, _)| family)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(known: &[&str], present: &[&str]) -> Vec<String> {
        let mut all = Known::default();
        all.add(known.iter().copied());
        all.gone(&present.iter().copied().collect())
    }

    #[test]
    fn instances_that_disappeared_are_gone() {
        let known = ["net.rx.bytes@eth0", "net.rx.bytes@veth1", "mem.used"];
        assert_eq!(
            gone(&known, &["net.rx.bytes@eth0", "mem.used"]),
            ["net.rx.bytes@veth1"]
        );
        assert_eq!(gone(&known, &known), [""; 0]);
    }

    #[test]
    fn a_family_that_could_not_be_read_is_not_gone() {
        assert_eq!(
            gone(
                &["disk.busy@sda", "disk.busy@sdb", "mem.used"],
                &["cpu.load"]
            ),
            [""; 0]
        );
    }

    #[test]
    fn the_total_of_a_family_is_no_instance_of_it() {
        assert_eq!(
            gone(&["cpu.load@0", "cpu.load@1", "cpu.load"], &["cpu.load@0"]),
            ["cpu.load@1"]
        );
        assert_eq!(gone(&["cpu.load@0"], &["cpu.load"]), [""; 0]);
    }

    #[test]
    fn an_at_in_the_instance_is_part_of_it() {
        assert_eq!(gone(&["d@/a@b", "d@/"], &["d@/"]), ["d@/a@b"]);
    }

    #[test]
    fn what_is_not_yet_forgotten_stays_gone() {
        let mut known = Known::default();
        known.add(["n@a", "n@b"]);
        let present = BTreeSet::from(["n@a"]);
        assert_eq!(known.gone(&present), ["n@b"]);
        assert_eq!(known.gone(&present), ["n@b"]);
        known.forgotten("n@b");
        assert_eq!(known.gone(&present), [""; 0]);
    }
}
