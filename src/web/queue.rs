//! What is taken in and not yet acknowledged. In: how many bytes have come. Out: a place for them, given back when they are answered.
//! Fails when there is no room: then the sender is told to come again, rather than anything lost or memory filled.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room there is.
#[derive(Clone)]
pub struct Queue {
    room: Arc<Semaphore>,
    bytes_max: usize,
}

/// There is no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Room that a request has taken.
pub(super) struct Place(OwnedSemaphorePermit);

impl Queue {
    /// Room for so many bytes of bodies.
    pub fn new(bytes_max: usize) -> Queue {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        Queue { room: Arc::new(Semaphore::new(bytes_max)), bytes_max }
    }

    /// A place that has no room yet.
    pub(super) fn enter(&self) -> Result<Place, Full> {
        self.room(0).map(Place)
    }

    fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Full> {
        let bytes = u32::try_from(bytes).map_err(|_| Full)?;
        self.room.clone().try_acquire_many_owned(bytes).map_err(|_| Full)
    }

    /// How many bytes have a place now.
    pub fn taken(&self) -> usize {
        self.bytes_max - self.room.available_permits()
    }
}

impl Place {
    /// Takes room for `bytes` more of the queue that it is in.
    pub(super) fn grow(&mut self, queue: &Queue, bytes: usize) -> Result<(), Full> {
        self.0.merge(queue.room(bytes)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_as_much_room_as_was_said_and_again_when_a_place_is_left() {
        let queue = Queue::new(100);
        let (mut first, mut second) = (queue.enter().unwrap(), queue.enter().unwrap());
        first.grow(&queue, 50).unwrap();
        first.grow(&queue, 30).unwrap();
        assert_eq!(second.grow(&queue, 21), Err(Full));
        second.grow(&queue, 20).unwrap();
        assert_eq!((second.grow(&queue, 1), second.grow(&queue, usize::MAX)), (Err(Full), Err(Full)));
        assert_eq!(queue.taken(), 100);
        drop(first);
        assert_eq!(queue.taken(), 20);
        second.grow(&queue, 80).unwrap();
        assert_eq!(queue.enter().unwrap().grow(&queue, 1), Err(Full));
    }
}
