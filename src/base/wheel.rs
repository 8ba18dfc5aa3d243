//! Timer wheel: deadlines of many connections without a system call or a sorted structure.
//!
//! `SLOTS` lists of `TICK` each, one entry a key, linked through arrays indexed by key: one array for even and one
//! for odd keys, whose numbers can differ widely. Re-arming is lazy: a deadline that moves later leaves the entry
//! where it is; when the entry fires early, its owner checks the real deadline and arms it again. So a busy
//! connection, whose deadline moves with every message, touches the wheel once per shortest timeout.

/// Microseconds a slot covers. An entry never fires early and at most this much late.
const TICK: u64 = 16_384;
const SLOTS: usize = 4096;
/// The furthest slot; later deadlines fire here and are armed again.
const HORIZON: u64 = SLOTS as u64 - 1;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    next: u32,
    prev: u32,
    /// The tick it is armed for, relative to the wheel's `base`; `UNARMED` when it is in no list.
    tick: u32,
}

const UNARMED: u32 = u32::MAX;

pub struct Wheel {
    first: Vec<u32>,
    /// One bit a slot that has entries.
    occupied: Vec<u64>,
    nodes: [Vec<Node>; 2],
    /// Every tick before this one has been handled.
    tick: u64,
    /// The tick that nodes count from. It moves forward once a year, before 32 bits overflow.
    base: u64,
    /// What fires up to this tick, counted like those of the nodes, fires soon.
    soon: u32,
}

/// Ticks that pass before `base` moves.
const BASE_KEPT: u64 = u32::MAX as u64 / 2;

impl Wheel {
    /// `now` in microseconds of the owner's clock.
    pub fn new(now: u64) -> Wheel {
        Wheel {
            first: vec![NONE; SLOTS],
            occupied: vec![0; SLOTS / 64],
            nodes: [Vec::new(), Vec::new()],
            tick: now / TICK,
            base: now / TICK,
            soon: 0,
        }
    }

    /// Makes `key` fire at `at` or earlier. An entry that is armed for an earlier time stays there.
    pub fn arm(&mut self, key: u32, at: u64) {
        let tick = (at / TICK + 1).clamp(self.tick, self.tick + HORIZON);
        match self.nodes[list(key)].get(index(key)) {
            Some(node) if u64::from(node.tick) <= tick - self.base => {}
            _ => self.move_to(key, tick),
        }
    }

    /// Sets what `comes_soon` takes for soon: up to `at`.
    pub fn look_ahead(&mut self, at: u64) {
        let ticks = (at / TICK).saturating_sub(self.base);
        self.soon = ticks.min(u64::from(UNARMED - 1)) as u32;
    }

    /// Whether `key` already fires soon. Asked for each connection after each of its turns.
    pub fn comes_soon(&self, key: u32) -> bool {
        self.nodes[list(key)].get(index(key)).is_some_and(|node| node.tick <= self.soon)
    }

    fn move_to(&mut self, key: u32, tick: u64) {
        let nodes = &mut self.nodes[list(key)];
        if index(key) >= nodes.len() {
            nodes.resize(index(key) + 1, Node { next: NONE, prev: NONE, tick: UNARMED });
        }
        self.unlink(key);
        self.link(key, tick);
    }

    pub fn disarm(&mut self, key: u32) {
        if index(key) < self.nodes[list(key)].len() {
            self.unlink(key);
        }
    }

    /// Frees the memory behind the last armed key, where that is most of it.
    pub fn trim(&mut self) {
        for nodes in &mut self.nodes {
            let used = nodes.iter().rposition(|node| node.tick != UNARMED).map_or(0, |last| last + 1);
            if used <= nodes.capacity() / 4 {
                nodes.truncate(used);
                nodes.shrink_to_fit();
            }
        }
    }

    /// Allocated bytes of the entries.
    pub fn footprint(&self) -> usize {
        self.nodes.iter().map(|nodes| nodes.capacity() * size_of::<Node>()).sum()
    }

    /// Takes the next key that is due.
    pub fn pop(&mut self, now: u64) -> Option<u32> {
        let until = now / TICK;
        if self.tick - self.base > BASE_KEPT {
            self.rebase();
        }
        while self.tick <= until {
            let slot = (self.tick % SLOTS as u64) as usize;
            let key = self.first[slot];
            if key != NONE {
                self.unlink(key);
                return Some(key);
            }
            // Jump to the next slot in use, or to now.
            self.tick = self.next_tick().map_or(until + 1, |next| next.min(until + 1)).max(self.tick + 1);
        }
        None
    }

    /// Moves `base` to now. All armed entries lie ahead.
    fn rebase(&mut self) {
        let passed = (self.tick - self.base) as u32;
        self.base = self.tick;
        self.soon = self.soon.saturating_sub(passed);
        for node in self.nodes.iter_mut().flatten().filter(|node| node.tick != UNARMED) {
            node.tick -= passed;
        }
    }

    /// When `pop` may next return something, in microseconds.
    pub fn next(&self) -> Option<u64> {
        self.next_tick().map(|tick| tick * TICK)
    }

    fn next_tick(&self) -> Option<u64> {
        let start = (self.tick % SLOTS as u64) as usize;
        let words = self.occupied.len();
        for i in 0..=words {
            let word = (start / 64 + i) % words;
            let mut bits = self.occupied[word];
            if i == 0 {
                bits &= !0 << (start % 64);
            } else if i == words {
                bits &= (1u64 << (start % 64)) - 1;
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                return Some(self.tick + ((slot + SLOTS - start) % SLOTS) as u64);
            }
        }
        None
    }

    fn node(&mut self, key: u32) -> &mut Node {
        &mut self.nodes[list(key)][index(key)]
    }

    fn link(&mut self, key: u32, tick: u64) {
        let slot = (tick % SLOTS as u64) as usize;
        let next = self.first[slot];
        if next != NONE {
            self.node(next).prev = key;
        }
        self.first[slot] = key;
        self.occupied[slot / 64] |= 1 << (slot % 64);
        *self.node(key) = Node { next, prev: NONE, tick: (tick - self.base) as u32 };
    }

    fn unlink(&mut self, key: u32) {
        let Node { next, prev, tick } = *self.node(key);
        if tick == UNARMED {
            return;
        }
        self.node(key).tick = UNARMED;
        if next != NONE {
            self.node(next).prev = prev;
        }
        if prev != NONE {
            self.node(prev).next = next;
            return;
        }
        let slot = ((self.base + u64::from(tick)) % SLOTS as u64) as usize;
        self.first[slot] = next;
        if next == NONE {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
    }
}

/// Which of the two arrays a key is in.
fn list(key: u32) -> usize {
    key as usize & 1
}

/// The index in that array.
fn index(key: u32) -> usize {
    key as usize >> 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn an_entry_fires_once_not_early_and_at_most_a_tick_late() {
        for at in [0, 1, TICK - 1, TICK, SECOND, 59 * SECOND] {
            let mut wheel = Wheel::new(0);
            wheel.arm(3, at);
            let due = wheel.next().unwrap();
            assert!(due >= at && due <= at + TICK, "{at} {due}");
            assert_eq!(wheel.pop(due - 1), None);
            assert_eq!(wheel.pop(due), Some(3));
            assert_eq!(wheel.pop(due + 100 * SECOND), None);
            assert_eq!(wheel.next(), None);
        }
    }

    #[test]
    fn a_later_deadline_leaves_the_entry_and_an_earlier_one_moves_it() {
        let mut wheel = Wheel::new(0);
        wheel.arm(0, 2 * SECOND);
        wheel.arm(0, 5 * SECOND);
        assert_eq!(wheel.next().unwrap() / SECOND, 2);
        wheel.arm(0, SECOND);
        assert_eq!(wheel.next().unwrap() / SECOND, 1);
        wheel.disarm(0);
        assert_eq!(wheel.pop(9 * SECOND), None);
    }

    #[test]
    fn a_deadline_beyond_the_horizon_fires_within_it() {
        let mut wheel = Wheel::new(7 * SECOND);
        wheel.arm(1, 4000 * SECOND);
        let due = wheel.next().unwrap();
        assert!(due > 60 * SECOND && due < 80 * SECOND);
        assert_eq!(wheel.pop(due), Some(1));
    }

    #[test]
    fn many_entries_armed_moved_and_removed_agree_with_a_plain_table() {
        let mut wheel = Wheel::new(0);
        let mut model: HashMap<u32, u64> = HashMap::new();
        let (mut now, mut seed) = (0u64, 1u64);
        for _ in 0..50_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let key = (seed >> 33) as u32 % 97;
            match (seed >> 60) % 4 {
                0 => {
                    wheel.disarm(key);
                    model.remove(&key);
                }
                1 | 2 => {
                    let at = now + (seed >> 20) % (90 * SECOND);
                    wheel.arm(key, at);
                    let tick = (at / TICK + 1).min(now / TICK + 1 + HORIZON);
                    let entry = model.entry(key).or_insert(u64::MAX);
                    *entry = tick.min(*entry);
                }
                _ => {
                    now += (seed >> 40) % (SECOND / 4);
                    while let Some(key) = wheel.pop(now) {
                        let tick = model.remove(&key).expect("armed");
                        assert!(tick <= now / TICK + 1);
                    }
                    assert!(model.values().all(|tick| *tick > now / TICK), "something due was left");
                }
            }
        }
    }

    #[test]
    fn trimming_keeps_armed_entries_and_frees_the_rest() {
        let mut wheel = Wheel::new(0);
        for key in 0..10_000 {
            wheel.arm(key, SECOND);
        }
        let most = wheel.footprint();
        for key in (0..10_000).filter(|key| ![3, 8].contains(key)) {
            wheel.disarm(key);
        }
        wheel.trim();
        assert!(wheel.footprint() < most / 100, "{} of {most}", wheel.footprint());
        let mut left: Vec<u32> = std::iter::from_fn(|| wheel.pop(2 * SECOND)).collect();
        left.sort_unstable();
        assert_eq!(left, [3, 8]);
        wheel.arm(9_999, 3 * SECOND);
        assert_eq!(wheel.pop(4 * SECOND), Some(9_999));
    }

    #[test]
    fn deadlines_stay_exact_after_years() {
        let mut wheel = Wheel::new(0);
        for year in 1..5 {
            let now = year * (BASE_KEPT + 3) * TICK;
            assert_eq!(wheel.pop(now), None);
            wheel.arm(3, now + 60 * SECOND);
            wheel.disarm(5);
            assert_eq!(wheel.pop(now), None);
            wheel.look_ahead(now + 59 * SECOND);
            assert!(!wheel.comes_soon(3));
            wheel.look_ahead(now + 61 * SECOND);
            assert!(wheel.comes_soon(3) && !wheel.comes_soon(5));
            assert_eq!(wheel.pop(now + 59 * SECOND), None);
            assert_eq!(wheel.pop(now + 61 * SECOND), Some(3));
        }
    }
}
