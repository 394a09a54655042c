//! The shared collections: each is maintained once, by key, and read by every trigger.

pub mod bought;
pub mod carts;
pub mod contacts;
pub mod customers;
pub mod erasures;
mod folded_lines;
pub mod history;
pub mod identities;
pub mod implicit;
pub mod interests;
pub mod once;
pub mod open_carts;
pub mod orders;
pub mod owners;
pub mod placed;
pub mod products;
pub mod skus;
pub mod stock;
