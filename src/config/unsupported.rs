//! What the configuration can say and the engine does not do yet. Each is read and checked like anything else, and then
//! refused, because a rule that is silently ignored sends mails that nobody wanted. Building one means deleting its line.

/// Paths of keys, and of triggers by name, that are refused with "not built yet".
pub(super) const NOT_BUILT: &[&str] = &["enrich"];
