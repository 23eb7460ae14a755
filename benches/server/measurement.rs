//! A measurement: a value with its unit, its ratio to another row, and its target.

/// The median of several values, and the lowest and highest of them.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Summarizes values. Returns `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => return None,
            n if n % 2 == 1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        };
        Some(Spread {
            median,
            low: sorted[0],
            high: *sorted.last()?,
        })
    }

    /// Summarizes a single value.
    pub fn one(value: f64) -> Spread {
        Spread {
            median: value,
            low: value,
            high: value,
        }
    }
}

/// The unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds of the server's CPU time.
    Nanoseconds,
    Milliseconds,
    Bytes,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Milliseconds => "ms",
            Unit::Bytes => "bytes",
        }
    }
}

/// An upper bound.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// For the value.
    Value(f64),
    /// For the ratio to the base row.
    Ratio(f64),
}

/// A row of the result.
#[derive(Clone, Debug)]
pub struct Measurement {
    pub section: String,
    pub name: String,
    pub unit: Unit,
    /// `None` if it could not be measured; the note says why.
    pub value: Option<Spread>,
    /// The name of the base row, and the ratio to it.
    pub ratio: Option<(String, Spread)>,
    pub target: Option<Target>,
    pub note: String,
}

impl Measurement {
    /// Creates a row with a value.
    pub fn new(section: &str, name: &str, unit: Unit, value: Spread) -> Measurement {
        Measurement {
            section: section.into(),
            name: name.into(),
            unit,
            value: Some(value),
            ratio: None,
            target: None,
            note: String::new(),
        }
    }

    /// Creates a row for what could not be measured.
    pub fn missing(section: &str, name: &str, why: &str) -> Measurement {
        Measurement {
            value: None,
            note: why.into(),
            ..Measurement::new(section, name, Unit::Nanoseconds, Spread::one(0.0))
        }
    }

    /// Sets the target.
    pub fn at_most(mut self, target: Target) -> Measurement {
        self.target = Some(target);
        self
    }

    /// Sets the ratio to a base row.
    pub fn beside(mut self, base: &str, ratio: Spread) -> Measurement {
        self.ratio = Some((base.into(), ratio));
        self
    }

    /// Sets the note.
    pub fn noting(mut self, note: impl Into<String>) -> Measurement {
        self.note = note.into();
        self
    }

    /// Returns whether the target is met; `None` without a target or a value.
    pub fn is_met(&self) -> Option<bool> {
        let value = self.value?;
        Some(match self.target? {
            Target::Value(most) => value.median <= most,
            Target::Ratio(most) => self.ratio.as_ref()?.1.median <= most,
        })
    }
}
