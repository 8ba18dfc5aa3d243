//! How many clients are connected, by listener. Each worker counts its own, on cache lines of its
//! own; who wants the number of the process adds them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// As many as there are numbers of listeners (`ClientSide::listener`).
const LISTENERS: usize = 256;

/// One worker's handle.
#[derive(Clone)]
pub struct ConnectionCounts {
    cells: Arc<Vec<Cell>>,
    worker: usize,
}

#[repr(align(128))]
struct Cell {
    all: AtomicU32,
    of_listener: [AtomicU32; LISTENERS],
}

impl Default for Cell {
    fn default() -> Cell {
        Cell { all: AtomicU32::new(0), of_listener: [const { AtomicU32::new(0) }; LISTENERS] }
    }
}

impl Default for ConnectionCounts {
    fn default() -> ConnectionCounts {
        ConnectionCounts::new(1)
    }
}

impl ConnectionCounts {
    /// The handle of the first of so many workers.
    pub fn new(workers: usize) -> ConnectionCounts {
        ConnectionCounts { cells: Arc::new((0..workers).map(|_| Cell::default()).collect()), worker: 0 }
    }

    pub fn of_worker(&self, worker: usize) -> ConnectionCounts {
        ConnectionCounts { cells: self.cells.clone(), worker }
    }

    pub fn enters(&self, listener: u8) {
        let cell = &self.cells[self.worker];
        add(&cell.all, 1);
        add(&cell.of_listener[usize::from(listener)], 1);
    }

    pub fn leaves(&self, listener: u8) {
        let cell = &self.cells[self.worker];
        add(&cell.all, -1);
        add(&cell.of_listener[usize::from(listener)], -1);
    }

    /// Counts a client of one listener as one of another.
    pub fn moves(&self, from: u8, to: u8) {
        let of_listener = &self.cells[self.worker].of_listener;
        add(&of_listener[usize::from(from)], -1);
        add(&of_listener[usize::from(to)], 1);
    }

    /// Those of one listener and worker.
    pub fn of(&self, worker: usize, listener: u8) -> u32 {
        self.cells.get(worker).map_or(0, |cell| cell.of_listener[usize::from(listener)].load(Relaxed))
    }

    /// Those of the process, and those of one listener.
    pub fn sums(&self, listener: u8) -> [u32; 2] {
        let mut sums = [0u32; 2];
        for cell in self.cells.iter() {
            sums[0] = sums[0].wrapping_add(cell.all.load(Relaxed));
            sums[1] = sums[1].wrapping_add(cell.of_listener[usize::from(listener)].load(Relaxed));
        }
        sums
    }
}

/// Only its worker writes a cell, so that no other can come between.
fn add(count: &AtomicU32, by: i32) {
    count.store(count.load(Relaxed).wrapping_add_signed(by), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_workers_are_added_up() {
        let first = ConnectionCounts::new(2);
        let second = first.of_worker(1);
        first.enters(3);
        second.enters(3);
        second.enters(4);
        assert_eq!((first.sums(3), second.sums(4)), ([3, 2], [3, 1]));
        second.moves(3, 4);
        assert_eq!((first.sums(3), first.sums(4)), ([3, 1], [3, 2]));
        assert_eq!((first.of(0, 3), first.of(1, 3), first.of(2, 3)), (1, 0, 0));
        second.leaves(4);
        second.leaves(4);
        assert_eq!((first.sums(3), first.sums(4)), ([1, 1], [1, 0]));
    }
}
