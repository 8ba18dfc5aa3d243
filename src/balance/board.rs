//! How many requests each server has from all workers together, for `balance` functions. Each worker keeps its own
//! count, and writes it on the board once a turn of its loop: nothing is counted twice, and no request waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// One row a worker, one place a server in the order of the config.
pub struct Board {
    rows: Vec<Vec<AtomicU32>>,
}

impl Board {
    pub fn new(workers: usize, servers: usize) -> Board {
        let row = || (0..servers).map(|_| AtomicU32::new(0)).collect();
        Board { rows: (0..workers).map(|_| row()).collect() }
    }
}

/// The board as one worker uses it.
pub struct Row {
    pub board: Arc<Board>,
    pub number: usize,
}

impl Row {
    /// Writes this worker's counts of the servers from the `first` on.
    pub fn write(&self, first: usize, own: &[u32]) {
        for (place, count) in self.board.rows[self.number][first..].iter().zip(own) {
            place.store(*count, Relaxed);
        }
    }

    /// Adds what the other workers wrote of these servers to this worker's own counts.
    pub fn sum(&self, first: usize, own: &[u32], sums: &mut Vec<u32>) {
        sums.clear();
        sums.extend_from_slice(own);
        let others = self.board.rows.iter().enumerate().filter(|(number, _)| *number != self.number);
        for (_, row) in others {
            for (sum, place) in sums.iter_mut().zip(&row[first..]) {
                *sum += place.load(Relaxed);
            }
        }
    }
}
