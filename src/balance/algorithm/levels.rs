//! Servers of equal weight by the number of their requests: the next one of the lowest level and every change in constant
//! time, however many there are. Within a level they stand in the order in which they came to it.

use std::ops::Range;

const NONE: u32 = u32::MAX;
/// Loads from here on are one level.
const HIGHEST: u32 = 1 << 16;

#[derive(Default)]
pub struct Levels {
    servers: Vec<Place>,
    levels: Vec<Level>,
    /// No level below this one has a server.
    lowest: usize,
}

#[derive(Clone, Copy)]
struct Place {
    before: u32,
    after: u32,
    /// `NONE`: on no level.
    load: u32,
}

#[derive(Clone, Copy)]
struct Level {
    first: u32,
    last: u32,
}

impl Levels {
    /// Takes servers with these loads, in this order.
    pub fn rebuild(&mut self, count: usize, loads: impl Iterator<Item = (usize, u32)>) {
        self.servers = vec![Place { before: NONE, after: NONE, load: NONE }; count];
        self.levels.clear();
        self.lowest = 0;
        loads.for_each(|(at, load)| self.set(at, load));
    }

    /// Returns the first server of the lowest level that has one.
    pub fn lowest(&mut self) -> Option<usize> {
        let used: Range<usize> = self.lowest..self.levels.len();
        for level in used {
            let first = self.levels[level].first;
            if first != NONE {
                self.lowest = level;
                return Some(first as usize);
            }
        }
        self.lowest = self.levels.len();
        None
    }

    /// The load as it is set here.
    pub fn load_of(requests: u32) -> u32 {
        requests.min(HIGHEST)
    }

    /// Returns its load as it was set; `None` if it is on no level.
    pub fn load(&self, at: usize) -> Option<u32> {
        self.servers.get(at).map(|place| place.load).filter(|load| *load != NONE)
    }

    /// Puts it behind the others with this load.
    pub fn set(&mut self, at: usize, load: u32) {
        self.remove(at);
        let load = Levels::load_of(load);
        let level = load as usize;
        if level >= self.levels.len() {
            self.levels.resize(level + 1, Level { first: NONE, last: NONE });
        }
        let last = std::mem::replace(&mut self.levels[level].last, at as u32);
        self.servers[at] = Place { before: last, after: NONE, load };
        match last {
            NONE => self.levels[level].first = at as u32,
            last => self.servers[last as usize].after = at as u32,
        }
        self.lowest = self.lowest.min(level);
    }

    pub fn remove(&mut self, at: usize) {
        let Place { before, after, load } = self.servers[at];
        if load == NONE {
            return;
        }
        let level = &mut self.levels[load as usize];
        match before {
            NONE => level.first = after,
            before => self.servers[before as usize].after = after,
        }
        match after {
            NONE => level.last = before,
            after => self.servers[after as usize].before = before,
        }
        self.servers[at].load = NONE;
    }
}

#[cfg(test)]
mod tests {
    use super::super::numbers::Random;
    use super::*;

    #[test]
    fn the_first_of_the_lowest_level_is_known_after_every_change() {
        let (mut random, mut levels) = (Random::new(7), Levels::default());
        let mut order: Vec<(usize, u32)> = (0..50).map(|at| (at, 3)).collect();
        levels.rebuild(order.len(), order.iter().copied());
        for _ in 0..10_000 {
            let wanted = order.iter().min_by_key(|(_, load)| *load).map(|(at, _)| *at);
            assert_eq!(levels.lowest(), wanted);
            let (at, load) = (random.below(50), random.below(12) as u32);
            order.retain(|(other, _)| *other != at);
            levels.remove(at);
            assert_eq!(levels.load(at), None);
            if load < 10 {
                order.push((at, load));
                levels.set(at, load);
                assert_eq!(levels.load(at), Some(load));
            }
        }
        (0..50).for_each(|at| levels.remove(at));
        assert_eq!(levels.lowest(), None);
        levels.set(7, u32::MAX - 1);
        assert_eq!((levels.lowest(), levels.load(7)), (Some(7), Some(HIGHEST)));
    }
}
