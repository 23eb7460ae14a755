//! What became of a sample.

/// The outcome of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleOutcome {
    Counted,
    /// The sample counted in its HOUR window only.
    LateMin,
    /// The sample counted in its MIN window only.
    LateHour,
    /// The sample changed nothing.
    Late,
}

impl SampleOutcome {
    /// Returns `true` if the sample counted in a window.
    pub fn has_counted(self) -> bool {
        self != SampleOutcome::Late
    }
}
