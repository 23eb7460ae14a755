//! The value of a sample.

use super::{Arg, Cmd};

/// The value of a sample: any integer or floating-point number converts to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer.
    Int(i64),
    /// An integer without a sign, as counters are.
    Unsigned(u64),
    /// A decimal number.
    Float(f64),
}

macro_rules! number_from {
    ($($from:ty => $variant:ident),*) => {
        $(impl From<$from> for Number {
            fn from(value: $from) -> Number {
                Number::$variant(value.into())
            }
        })*
    };
}

number_from!(i8 => Int, i16 => Int, i32 => Int, i64 => Int, u8 => Unsigned, u16 => Unsigned, u32 => Unsigned,
    u64 => Unsigned, f32 => Float, f64 => Float);

impl Arg for Number {
    fn append_to(&self, cmd: &mut Cmd) {
        match self {
            Number::Int(value) => value.append_to(cmd),
            Number::Unsigned(value) => value.append_to(cmd),
            Number::Float(value) => value.append_to(cmd),
        }
    }
}
