//! Cycles of imports.

use super::imports::Imports;
use std::collections::{BTreeMap, BTreeSet};

/// Returns the files that import themselves through others, as groups: each file of a group reaches all others of it.
pub fn cycles(imports: &Imports) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = imports
        .keys()
        .map(|file| (file, reachable(file, imports)))
        .collect();
    let mut groups: Vec<BTreeSet<String>> = Vec::new();
    for (file, others) in &reached {
        if others.contains(*file) && !groups.iter().any(|group| group.contains(*file)) {
            let back = others
                .iter()
                .filter(|other| reached[**other].contains(file));
            groups.push(back.map(|other| (*other).clone()).collect());
        }
    }
    groups
}

fn reachable<'a>(file: &String, imports: &'a Imports) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&String> = imports[file].iter().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(&imports[next]);
        }
    }
    reached
}
