//! The triggers of SPEC §4, one a file. To add one: a file here, a variant of [`crate::plan::Trigger`], a line in
//! [`crate::build`], and a case in the oracle.

pub mod back_in_stock;
pub mod cart_abandonment;
