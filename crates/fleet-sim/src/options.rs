//! The options of the command line: numbers, each with a default.

use std::collections::BTreeMap;

/// The options, as `--name number` pairs.
pub struct Options(BTreeMap<String, u64>);

/// The names and defaults.
const DEFAULTS: [(&str, u64); 12] = [
    // The first address is 127.block.0.1.
    ("block", 10),
    ("port", 7777),
    ("nodes", 100),
    ("metrics", 200),
    // Seconds.
    ("window", 300),
    // Milliseconds from the end of a window until it closes.
    ("flush-delay", 5000),
    // Milliseconds between two samples of a metric.
    ("interval", 20_000),
    // The wall clock of the servers is ahead of that of the machine by so many milliseconds.
    ("ahead", 0),
    // The response of the sink takes between these milliseconds.
    ("min-delay", 5),
    ("max-delay", 50),
    ("seed", 1),
    // Milliseconds between two status lines.
    ("status", 500),
];

impl Options {
    /// Reads the words of a command line.
    ///
    /// # Errors
    ///
    /// An option is unknown, or its value is not a number.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut values: BTreeMap<String, u64> = DEFAULTS
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").unwrap_or_default();
            let Some(value) = values.get_mut(name) else {
                return Err(format!("unknown option {word}"));
            };
            let given = words.next().unwrap_or_default();
            *value = given
                .parse()
                .map_err(|_| format!("expected a number after {word}, not {given:?}"))?;
        }
        Ok(Options(values))
    }

    /// Returns the value of an option of the table above.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}
