//! Datagen.
fn main() {}
