//! Which entry of a table expires first: a binary heap that knows where each entry stands in it, so that an entry can
//! be moved and removed. Entries are small numbers, those of the table's slots.

const NOWHERE: u32 = u32::MAX;

#[derive(Default)]
pub(super) struct Expiry {
    /// Time and entry; none is earlier than its parent, at `(at - 1) / 2`.
    items: Vec<(u64, u32)>,
    /// By entry: where it stands in `items`.
    places: Vec<u32>,
}

impl Expiry {
    /// The earliest.
    pub(super) fn first(&self) -> Option<(u64, u32)> {
        self.items.first().copied()
    }

    /// The time that is noted for this entry.
    pub(super) fn of(&self, entry: u32) -> Option<u64> {
        self.place(entry).map(|at| self.items[at].0)
    }

    pub(super) fn set(&mut self, entry: u32, time: u64) {
        if self.places.len() <= entry as usize {
            self.places.resize(entry as usize + 1, NOWHERE);
        }
        let at = match self.place(entry) {
            Some(at) => at,
            None => {
                self.items.push((time, entry));
                self.items.len() - 1
            }
        };
        self.items[at].0 = time;
        self.settle(at);
    }

    pub(super) fn remove(&mut self, entry: u32) {
        let Some(at) = self.place(entry) else { return };
        self.places[entry as usize] = NOWHERE;
        self.items.swap_remove(at);
        if at < self.items.len() {
            self.settle(at);
        }
    }

    fn place(&self, entry: u32) -> Option<usize> {
        self.places.get(entry as usize).filter(|at| **at != NOWHERE).map(|at| *at as usize)
    }

    /// Moves an item to where it belongs, up or down, and notes where that is.
    fn settle(&mut self, mut at: usize) {
        while at > 0 && self.items[at].0 < self.items[(at - 1) / 2].0 {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        loop {
            let children = [2 * at + 1, 2 * at + 2].into_iter().filter(|child| *child < self.items.len());
            let Some(least) = children.min_by_key(|child| self.items[*child].0) else { break };
            if self.items[at].0 <= self.items[least].0 {
                break;
            }
            self.swap(at, least);
            at = least;
        }
        self.places[self.items[at].1 as usize] = at as u32;
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.items.swap(a, b);
        for at in [a, b] {
            self.places[self.items[at].1 as usize] = at as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_agrees_with_a_sorted_map() {
        let (mut heap, mut model) = (Expiry::default(), BTreeMap::<u32, u64>::new());
        let mut state = 1_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        for _ in 0..20_000 {
            let entry = next(50) as u32;
            match next(3) {
                0 => {
                    heap.remove(entry);
                    model.remove(&entry);
                }
                _ => {
                    let time = next(1000);
                    heap.set(entry, time);
                    model.insert(entry, time);
                }
            }
            assert_eq!(heap.first().map(|(time, _)| time), model.values().min().copied());
            assert_eq!(heap.of(entry), model.get(&entry).copied());
            if let Some((time, first)) = heap.first() {
                assert_eq!(model.get(&first), Some(&time));
            }
        }
    }
}
