//! What is taken in and not yet acknowledged. In: how many bytes a request has. Out: a place for it, given back when it is answered.
//! Fails when there is no room: then the sender is told to come again, rather than anything lost or memory filled.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room there is.
#[derive(Clone)]
pub struct Queue(Arc<Semaphore>);

/// There is no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Room that a request has taken.
pub(super) struct Place(OwnedSemaphorePermit);

impl Queue {
    /// Room for so many bytes of bodies.
    pub fn new(bytes_max: usize) -> Queue {
        Queue(Arc::new(Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS))))
    }

    /// A place of so many bytes.
    pub(super) fn enter(&self, bytes: usize) -> Result<Place, Full> {
        let bytes = u32::try_from(bytes).map_err(|_| Full)?;
        self.0.clone().try_acquire_many_owned(bytes).map(Place).map_err(|_| Full)
    }
}

impl Place {
    /// Gives back what is more than `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        drop(self.0.split(self.0.num_permits().saturating_sub(bytes)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_and_what_it_does_not_need_at_once() {
        let queue = Queue::new(100);
        let mut first = queue.enter(80).unwrap();
        assert_eq!(queue.enter(21).err(), Some(Full));
        first.shrink_to(50);
        let second = queue.enter(50).unwrap();
        assert_eq!(queue.enter(1).err(), Some(Full));
        drop((first, second));
        assert!(queue.enter(100).is_ok());
        assert_eq!(queue.enter(usize::MAX).err(), Some(Full));
    }
}
