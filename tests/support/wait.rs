//! Waiting by polling: until a condition holds, or fails with its description at the deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Long enough for a machine ten times as slow and busy with something else; reaching it means a hang.
pub const DEADLINE: Duration = Duration::from_secs(100);

/// Returns once `yes` returns true.
pub fn until(what: &str, yes: impl FnMut() -> bool) {
    assert!(within(DEADLINE, yes), "waited {DEADLINE:?} without success until {what}");
}

/// Whether `yes` returned true within `limit`.
pub fn within(limit: Duration, mut yes: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if yes() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A signal from one side of a test to the other.
#[derive(Clone)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn new() -> Gate {
        Gate(Arc::new(AtomicBool::new(false)))
    }

    pub fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    pub fn wait(&self) {
        until("the other side of the test is ready", || self.is_open());
    }
}
