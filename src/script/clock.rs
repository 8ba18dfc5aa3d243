//! The time and the chance that scripts see where neither the system's clock nor its random numbers count: in tests and
//! replays. They belong to the thread, as every VM does.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    /// Since 1970.
    static SET: Cell<Option<Duration>> = const { Cell::new(None) };
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// Sets the time since 1970 that scripts of this thread see; `None`: the system's.
pub fn set(time: Option<Duration>) {
    SET.set(time);
}

/// The time that was set.
pub fn get() -> Option<Duration> {
    SET.get()
}

/// Begins a sequence of random numbers.
pub fn set_seed(seed: u64) {
    SEED.set(seed);
}

/// The next number of the sequence (splitmix64).
pub fn random() -> u64 {
    let next = SEED.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    SEED.set(next);
    let mixed = (next ^ next >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}
