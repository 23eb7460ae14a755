//! The limits of histograms.

/// The highest scale, which is the first: 32 buckets per power of two.
pub const MAX_SCALE: i8 = 5;

/// The lowest scale that values require: a bucket spans 16 powers of two.
pub const MIN_SCALE: i8 = -4;

/// The lowest scale to which [`Histogram::halve_resolution`](super::Histogram::halve_resolution) leads: a side has at
/// most three buckets. At [`MIN_SCALE`] values of all magnitudes and both signs took 2,112 bytes that no halving freed.
pub const LOWEST_SCALE: i8 = -10;

/// The limit of the buckets from the lowest to the highest, those of negative values included.
pub const MAX_BUCKETS: usize = 320;

/// The number of samples up to which their values are kept.
pub const MAX_RAW: usize = 16;

/// The number at which each count stops: all together fit 63 bits.
pub const MAX_COUNT: u64 = 1 << 54;

/// The limit of [`Histogram::heap_bytes`](super::Histogram::heap_bytes). Half of it is the limit while no bucket counts
/// 2^32 samples.
pub const MAX_HEAP_BYTES: usize = 8 * MAX_BUCKETS;
