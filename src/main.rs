//! Beckon.
fn main() {}
