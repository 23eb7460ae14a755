//! The table `[serve]`: the live values at the address of the status page. Its keys are the options of `agg serve`.

use serde::Deserialize;
use toml::Spanned;

use crate::glob::Glob;
use crate::live::Settings;

use super::error::ConfigError;
use super::value::Time;

/// The table as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawServe {
    #[serde(default)]
    nodes: Vec<Spanned<String>>,
    #[serde(default)]
    metrics: Vec<Spanned<String>>,
    max_series: Option<Spanned<u64>>,
    max_age: Option<Time>,
    timeout: Option<Time>,
}

impl RawServe {
    /// Checks the table and converts it.
    ///
    /// # Errors
    ///
    /// Returns the first error.
    pub fn check(&self) -> Result<Settings, ConfigError> {
        let default = Settings::default();
        let max_series = match &self.max_series {
            Some(limit) => Settings::series(*limit.get_ref())
                .map_err(|error| ConfigError::at(limit, error.to_string()))?,
            None => default.max_series,
        };
        Ok(Settings {
            nodes: globs(&self.nodes)?,
            metrics: globs(&self.metrics)?,
            max_series,
            max_age: self.max_age.map_or(default.max_age, |time| time.0),
            timeout: self.timeout.map_or(default.timeout, |time| time.0),
        })
    }
}

fn globs(texts: &[Spanned<String>]) -> Result<Vec<Glob>, ConfigError> {
    let glob = |text: &Spanned<String>| {
        Glob::parse(text.get_ref()).map_err(|error| ConfigError::at(text, error.to_string()))
    };
    texts.iter().map(glob).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{error::position, parse_one};
    use super::*;

    /// Returns the settings of a file that begins so.
    fn read(start: &str) -> Result<Option<Settings>, String> {
        let text = format!(
            "{start}\n[[source]]\nurls = [\"redis://h\"]\n[[route]]\nqueues = [\"LOG\"]\n\
             sinks = [\"out\"]\n[sink.out]\ntype = \"stdout\"\n"
        );
        match parse_one(&text) {
            Ok(config) => Ok(config.serve),
            Err(error) => {
                let (line, column) = position(&text, error.at.unwrap());
                Err(format!("{line}:{column}: {}", error.text))
            }
        }
    }

    const LISTEN: &str = "listen = \"127.0.0.1:9777\"\n[serve]\n";

    #[test]
    fn table_is_read() {
        assert_eq!(read("listen = \"127.0.0.1:9777\""), Ok(None));
        assert_eq!(read(LISTEN), Ok(Some(Settings::default())));
        let all = "nodes = [\"web*\", \"db1\"]\nmetrics = [\"cpu.*\"]\nmax-series = 2000000\n\
                   max-age = \"1m\"\ntimeout = \"500ms\"";
        let settings = read(&format!("{LISTEN}{all}")).unwrap().unwrap();
        let glob = |text| Glob::parse(text).unwrap();
        let expected = Settings {
            nodes: vec![glob("web*"), glob("db1")],
            metrics: vec![glob("cpu.*")],
            max_series: 2_000_000,
            max_age: Duration::from_secs(60),
            timeout: Duration::from_millis(500),
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn mistakes_are_errors() {
        for (start, expected) in [
            (
                "[serve]",
                "1:1: live values need an address: set listen = \"127.0.0.1:9777\"",
            ),
            (
                &*format!("{LISTEN}max-series = 0"),
                "3:14: expected 1 to 2000000 series",
            ),
            (
                &format!("{LISTEN}max-series = 2000001"),
                "3:14: expected 1 to 2000000 series",
            ),
            (&format!("{LISTEN}max-series = -1"), "3:14: "),
            (
                &format!("{LISTEN}nodes = [\"a\", \"web[\"]"),
                "3:15: the pattern \"web[\" ends within a [...]",
            ),
            (
                &format!("{LISTEN}metrics = [\"\"]"),
                "3:12: a pattern is not empty",
            ),
            (&format!("{LISTEN}max-age = \"0s\""), "3:11: "),
            (
                &format!("{LISTEN}timeout = 8"),
                "3:11: a time has a unit: write \"8s\"",
            ),
            (
                &format!("{LISTEN}max-serie = 1"),
                "3:1: unknown key `max-serie`, did you mean `max-series`?",
            ),
        ] {
            let error = read(start).unwrap_err();
            assert!(error.starts_with(expected), "{error}\nexpected {expected}");
        }
    }
}
