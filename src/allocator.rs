//! How long the allocator keeps memory that nothing uses before it gives it back. Cannot fail.

/// Ms. mimalloc gives it back after a second. What a tick takes is then gone when the next one comes, and to have the kernel clear
/// pages anew was up to a quarter of a replay.
const KEPT_MS: i64 = 10_000;

/// `mi_option_purge_delay` of mimalloc 3, which its Rust crate has no name for.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Keeps memory for ten seconds, unless the environment says otherwise (`MIMALLOC_PURGE_DELAY`). Of no effect where the
/// program has another allocator.
#[allow(unsafe_code)]
pub fn keep_memory() {
    // SAFETY: it sets one number of a table that is there from the start, and every number is allowed.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEPT_MS) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: it reads one number of a table that is there from the start.
        let delay_ms = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(delay_ms(), 1_000, "mimalloc's own, by which the option is known");
        keep_memory();
        assert_eq!(delay_ms(), KEPT_MS);
    }
}
