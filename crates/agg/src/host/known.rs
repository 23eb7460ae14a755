//! The names that the server knows from this program, and so the names that it must forget once an instance (a mount,
//! an interface, a core) has disappeared. No I/O.

use std::collections::BTreeSet;

/// The names of metrics or of objects that were sent.
#[derive(Default)]
pub struct KnownNames(BTreeSet<String>);

impl KnownNames {
    /// Adds names. To be called before they are sent, as a report whose reply was lost may have arrived.
    pub fn add<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            if !self.0.contains(name) {
                self.0.insert(name.to_owned());
            }
        }
    }

    /// Returns the names of instances that are no longer among `present`. If no instance of a family (the name before
    /// the `@`) is present, the family could not be read, and its instances are not gone. A name without an instance is
    /// never gone.
    pub fn gone(&self, present: &BTreeSet<&str>) -> Vec<String> {
        let families: BTreeSet<&str> = present.iter().filter_map(|name| family(name)).collect();
        let is_gone = |name: &&String| {
            !present.contains(name.as_str())
                && family(name).is_some_and(|family| families.contains(family))
        };
        self.0.iter().filter(is_gone).cloned().collect()
    }

    /// Removes a name that the server has forgotten.
    pub fn remove(&mut self, name: &str) {
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
        let mut all = KnownNames::default();
        all.add(known.iter().copied());
        all.gone(&present.iter().copied().collect())
    }

    #[test]
    fn disappeared_instances_are_gone() {
        let known = ["net.rx.bytes@eth0", "net.rx.bytes@veth1", "mem.used"];
        assert_eq!(
            gone(&known, &["net.rx.bytes@eth0", "mem.used"]),
            ["net.rx.bytes@veth1"]
        );
        assert_eq!(gone(&known, &known), [""; 0]);
    }

    #[test]
    fn unreadable_family_is_not_gone() {
        assert_eq!(
            gone(
                &["disk.busy@sda", "disk.busy@sdb", "mem.used"],
                &["cpu.load"]
            ),
            [""; 0]
        );
    }

    #[test]
    fn total_of_a_family_is_no_instance_of_it() {
        assert_eq!(
            gone(&["cpu.load@0", "cpu.load@1", "cpu.load"], &["cpu.load@0"]),
            ["cpu.load@1"]
        );
        assert_eq!(gone(&["cpu.load@0"], &["cpu.load"]), [""; 0]);
    }

    #[test]
    fn instance_may_contain_an_at_sign() {
        assert_eq!(gone(&["d@/a@b", "d@/"], &["d@/"]), ["d@/a@b"]);
    }

    #[test]
    fn name_stays_gone_until_it_is_removed() {
        let mut known = KnownNames::default();
        known.add(["n@a", "n@b"]);
        let present = BTreeSet::from(["n@a"]);
        assert_eq!(known.gone(&present), ["n@b"]);
        assert_eq!(known.gone(&present), ["n@b"]);
        known.remove("n@b");
        assert_eq!(known.gone(&present), [""; 0]);
    }
}
