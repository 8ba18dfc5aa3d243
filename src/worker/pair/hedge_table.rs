//! What requests do about second tries (`hedge`): few do anything, so it is beside their pairs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slab::Slab;

/// What a request does about a second try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HedgeStage {
    No,
    /// Sent to its server `since`, in microseconds; `due`: when to begin a second try, if ever; `looks`: how often the
    /// budget had nothing for it.
    Waits {
        since: u64,
        due: u64,
        looks: u32,
    },
    /// The second try is this internal request.
    Runs {
        since: u64,
        number: u64,
    },
}

/// Where a pair's `HedgeStage` is, so that pairs of other pools are no larger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HedgeKey(u32);

impl HedgeKey {
    pub const NONE: HedgeKey = HedgeKey(u32::MAX);
}

/// One worker's second tries.
#[derive(Default)]
pub struct Hedges {
    /// All that are not `HedgeStage::No`.
    table: Slab<HedgeStage>,
    /// When to begin one, and its client's connection. Most of these requests have their response by then.
    pub due: BinaryHeap<Reverse<(u64, u64)>>,
    /// Second tries whose responses were too late: internal requests.
    pub lost: Vec<u64>,
}

impl Hedges {
    pub fn get(&self, key: HedgeKey) -> HedgeStage {
        self.table.get(key.0 as usize).copied().unwrap_or(HedgeStage::No)
    }

    pub fn set(&mut self, key: &mut HedgeKey, hedge: HedgeStage) {
        match (hedge, self.table.get_mut(key.0 as usize)) {
            (HedgeStage::No, Some(_)) => {
                self.table.remove(key.0 as usize);
                *key = HedgeKey::NONE;
            }
            (HedgeStage::No, None) => {}
            (hedge, Some(place)) => *place = hedge,
            (hedge, None) => *key = HedgeKey(self.table.insert(hedge) as u32),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// When the next second try may begin, in microseconds.
    pub fn next(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }
}
