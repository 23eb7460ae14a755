#![doc = "agg"]
fn main() {}
