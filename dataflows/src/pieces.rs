//! A long row in pieces. In: things, one after the other. Out: the same, by place, or all of them. Cannot fail.
//!
//! What grows as a whole is copied over and over, each time to memory that nobody has touched yet, which the kernel clears first.

/// A row whose pieces have `ROWS` each, but for the last. The first grows until then, so that a short row stays short.
pub(crate) struct Pieces<T, const ROWS: usize>(Vec<Vec<T>>);

impl<T, const ROWS: usize> Default for Pieces<T, ROWS> {
    fn default() -> Self {
        Pieces(Vec::new())
    }
}

impl<T, const ROWS: usize> Pieces<T, ROWS> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * ROWS + last.len())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    /// What is at a place; there must be something.
    pub fn at(&self, place: usize) -> &T {
        &self.0[place / ROWS][place % ROWS]
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, place: usize) -> &mut T {
        &mut self.0[place / ROWS][place % ROWS]
    }

    /// Adds one at the end.
    pub fn push(&mut self, one: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < ROWS => last.push(one),
            last => {
                let mut piece = Vec::with_capacity(last.map_or(1, |_| ROWS));
                piece.push(one);
                self.0.push(piece);
            }
        }
    }

    /// Takes the last.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.0.last_mut()?;
        let taken = last.pop();
        if last.is_empty() {
            self.0.pop();
        }
        taken
    }

    /// Takes all of them, piece by piece.
    pub fn take(&mut self) -> impl Iterator<Item = Vec<T>> {
        self.0.drain(..)
    }

    /// How many there is memory for.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.0.iter().map(Vec::capacity).sum()
    }
}
