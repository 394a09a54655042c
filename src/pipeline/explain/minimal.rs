//! Delta debugging: the fewest things of many under which something still holds. In: how many there are, and what holds.
//! Out: which are left. Cannot fail; with too few trials the rest may be larger than it need be, and says so.
//!
//! Chunks are taken away one after the other, from the oldest on, as large as they can be: halves, quarters, and at last single
//! things, over and over until none can go. What is left is 1-minimal: take any one away, and it no longer holds. Nothing is
//! assumed of what holds, not even that more things keep it true.

/// What is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minimal {
    /// Their indices, in order.
    pub kept: Vec<usize>,
    /// Whether each was taken away once and missed.
    pub proven: bool,
    /// How often it was tried.
    pub trials: usize,
}

/// Takes away of the `count` things that hold together what can go, in at most `trials_max` trials. `holds` is told which are
/// left, and how many trials there were before.
pub fn minimal(count: usize, trials_max: usize, mut holds: impl FnMut(&[usize], usize) -> bool) -> Minimal {
    let mut kept: Vec<usize> = (0..count).collect();
    let mut size = count.div_ceil(2).max(1);
    let mut trials = 0;
    loop {
        let (mut start, mut removed) = (0, false);
        while start < kept.len() {
            if trials == trials_max {
                return Minimal { kept, proven: false, trials };
            }
            let end = (start + size).min(kept.len());
            let without = [&kept[..start], &kept[end..]].concat();
            if holds(&without, trials) {
                (kept, removed) = (without, true);
            } else {
                start = end;
            }
            trials += 1;
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if !removed {
            return Minimal { kept, proven: true, trials };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(count: usize, holds: impl Fn(&[usize]) -> bool, expected: &[usize]) {
        let found = minimal(count, 10_000, |kept, _| holds(kept));
        assert_eq!((&*found.kept, found.proven), (expected, true));
    }

    #[test]
    fn what_is_needed_stays_and_nothing_else() {
        check(100, |kept| [3, 50, 99].iter().all(|index| kept.contains(index)), &[3, 50, 99]);
        check(1, |kept| kept.contains(&0), &[0]);
        check(7, |_| true, &[]);
        check(0, |_| true, &[]);
        check(64, |kept| kept.len() >= 64, &(0..64).collect::<Vec<_>>());
    }

    #[test]
    fn of_two_that_do_the_later_stays() {
        check(40, |kept| kept.contains(&9) || kept.contains(&30), &[30]);
    }

    #[test]
    fn more_may_undo_what_fewer_do() {
        // 5 breaks it unless 6 is there; neither is needed.
        check(10, |kept| kept.contains(&2) && (!kept.contains(&5) || kept.contains(&6)), &[2]);
    }

    #[test]
    fn the_trials_are_counted_and_bounded() {
        let found = minimal(1_000, 20, |kept, _| kept.contains(&777));
        assert_eq!((found.trials, found.proven), (20, false));
        assert!(found.kept.contains(&777) && found.kept.len() < 1_000);
        let far = minimal(100_000, 1_000, |kept, _| kept.contains(&777));
        assert!(far.proven && far.trials < 50, "{} trials", far.trials);
    }
}
