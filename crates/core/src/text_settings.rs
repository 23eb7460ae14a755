//! The settings whose values are texts.

use crate::model::histogram::Percentiles;
use crate::name_patterns::NamePatterns;
use crate::settings::Settings;

/// A setting whose value is a text.
pub struct TextSpec {
    /// Its name without `agg.`.
    pub name: &'static str,
    /// Its default.
    pub default: &'static str,
    /// What it does, in one sentence.
    pub help: &'static str,
    /// Parses a value and sets it.
    set: fn(&mut Settings, &str) -> Result<(), String>,
}

/// All settings whose values are texts.
pub const TEXTS: [TextSpec; 2] = [
    TextSpec {
        name: "hist-match",
        default: "",
        help: "Selects new metrics that have histograms, by patterns of names.",
        set: |settings, text| {
            settings.hist_match = NamePatterns::parse(text)?;
            Ok(())
        },
    },
    TextSpec {
        name: "percentiles",
        default: "50 90 95 99",
        help: "Selects the percentiles of windows with a histogram.",
        set: |settings, text| {
            let parsed = Percentiles::parse(text.as_bytes());
            settings.rules.percentiles = parsed.map_err(|error| error.to_string())?;
            Ok(())
        },
    },
];

impl TextSpec {
    /// Sets the setting.
    ///
    /// # Errors
    /// The reason why the value is invalid; the settings are unchanged.
    pub fn set(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        (self.set)(settings, text)
    }

    /// Checks a value.
    ///
    /// # Errors
    /// The reason why the value is invalid.
    pub fn check(&self, text: &str) -> Result<(), String> {
        self.set(&mut Settings::default(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_settings() {
        let mut settings = Settings::default();
        for spec in &TEXTS {
            assert_eq!(spec.set(&mut settings, spec.default), Ok(()));
            assert!(spec.help.ends_with('.'));
        }
        assert_eq!(settings, Settings::default());
    }
}
