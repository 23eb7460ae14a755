//! What the tests of the module share: servers of their own, and looks at what they answer.

// Every test file uses another part of this.
#![allow(dead_code)]

mod server;
mod shown;

pub use server::*;
// As the rest of this, it is for some of the test files.
#[allow(unused_imports)]
pub use shown::*;
