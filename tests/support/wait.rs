//! Waiting without luck: ask again until the answer is yes, and say what was waited for when it never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Long enough for a machine ten times as slow and busy with something else; reaching it means something hangs.
pub const DEADLINE: Duration = Duration::from_secs(100);

/// Returns once `yes` says so.
pub fn until(what: &str, yes: impl FnMut() -> bool) {
    assert!(within(DEADLINE, yes), "waited {DEADLINE:?} in vain until {what}");
}

/// Whether `yes` said so before `limit` was over.
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

/// What one side of a test waits for until the other says so.
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
