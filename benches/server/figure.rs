//! What was measured: a value of its unit, or how it compares with the row it stands beside, and what it should be.

/// The median of several measurements and how far they lie apart.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Of at least one measurement.
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

    /// Of a single one.
    pub fn one(value: f64) -> Spread {
        Spread {
            median: value,
            low: value,
            high: value,
        }
    }
}

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// CPU time of the server.
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

/// The most that something may be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Of the value.
    Value(f64),
    /// Of the ratio to the row that it stands beside.
    Ratio(f64),
}

/// One row of the result.
#[derive(Clone, Debug)]
pub struct Figure {
    pub section: String,
    pub name: String,
    pub unit: Unit,
    /// None where it could not be measured; the note says why.
    pub value: Option<Spread>,
    /// The name of the row that it stands beside, and this row in terms of that one.
    pub ratio: Option<(String, Spread)>,
    pub target: Option<Target>,
    pub note: String,
}

impl Figure {
    /// A measured value.
    pub fn new(section: &str, name: &str, unit: Unit, value: Spread) -> Figure {
        Figure {
            section: section.into(),
            name: name.into(),
            unit,
            value: Some(value),
            ratio: None,
            target: None,
            note: String::new(),
        }
    }

    /// What could not be measured, and why.
    pub fn missing(section: &str, name: &str, why: &str) -> Figure {
        Figure {
            value: None,
            note: why.into(),
            ..Figure::new(section, name, Unit::Nanoseconds, Spread::one(0.0))
        }
    }

    /// With a target.
    pub fn at_most(mut self, target: Target) -> Figure {
        self.target = Some(target);
        self
    }

    /// In terms of another row.
    pub fn beside(mut self, base: &str, ratio: Spread) -> Figure {
        self.ratio = Some((base.into(), ratio));
        self
    }

    /// With a remark.
    pub fn noting(mut self, note: impl Into<String>) -> Figure {
        self.note = note.into();
        self
    }

    /// Whether the target is met; none where there is none, or nothing was measured.
    pub fn is_met(&self) -> Option<bool> {
        let value = self.value?;
        Some(match self.target? {
            Target::Value(most) => value.median <= most,
            Target::Ratio(most) => self.ratio.as_ref()?.1.median <= most,
        })
    }
}
