//! How many requests each server has from all workers together, for `balance` functions. Each worker keeps its own
//! count, and writes it on the board once a turn of its loop: nothing is counted twice, and no request waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// One row a worker, one place a server in the order of the config.
pub struct Board {
    rows: Vec<Vec<Line>>,
}

const PLACES: usize = 16;

/// Nobody else writes into a worker's cache lines; some processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Line([AtomicU32; PLACES]);

impl Board {
    pub fn new(workers: usize, servers: usize) -> Board {
        let row = || (0..servers.div_ceil(PLACES)).map(|_| Line::default()).collect();
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
        for (place, count) in places(&self.board.rows[self.number], first).zip(own) {
            // A store that changes nothing would still take the line from those who read it.
            if place.load(Relaxed) != *count {
                place.store(*count, Relaxed);
            }
        }
    }

    /// Adds what the other workers wrote of these servers to this worker's own counts.
    pub fn sum(&self, first: usize, own: &[u32], sums: &mut Vec<u32>) {
        sums.clear();
        sums.extend_from_slice(own);
        let others = self.board.rows.iter().enumerate().filter(|(number, _)| *number != self.number);
        for (_, row) in others {
            for (sum, place) in sums.iter_mut().zip(places(row, first)) {
                *sum += place.load(Relaxed);
            }
        }
    }
}

fn places(row: &[Line], first: usize) -> impl Iterator<Item = &AtomicU32> {
    row[first / PLACES..].iter().flat_map(|line| &line.0).skip(first % PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_every_row_is_its_own() {
        const SERVERS: usize = 3 * PLACES + 1;
        let board = Arc::new(Board::new(3, SERVERS));
        let rows: Vec<Row> = (0..3).map(|number| Row { board: board.clone(), number }).collect();
        let counts = |number: usize| (0..SERVERS).map(|at| (at * 10 + number) as u32).collect::<Vec<u32>>();
        for first in [PLACES, PLACES + 1, SERVERS - 1, 0] {
            rows.iter().for_each(|row| row.write(first, &counts(row.number)[first..]));
            let (own, mut sums) = (counts(0), Vec::new());
            rows[0].sum(first, &own[first..], &mut sums);
            let wanted: Vec<u32> = (first..SERVERS).map(|at| (at * 30 + 3) as u32).collect();
            assert_eq!(sums, wanted, "from {first} on");
        }
    }
}
