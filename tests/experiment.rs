//! The statistics of experiments: held to what R and scipy say (`reference`), and to what they promise (`promises`).

#[path = "experiment/promises.rs"]
mod promises;
#[path = "experiment/reference.rs"]
mod reference;
