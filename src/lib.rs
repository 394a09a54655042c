//! Beckon.
