//! Tests that must not run in parallel: memory of a process, its system calls, crowds of connections. Every test here
//! begins with `alone()`.

#[path = "../support/mod.rs"]
mod support;

mod counters_agree;
mod hurtful_scripts;
mod load_with_faults;
mod partial_writes;
mod per_client;
mod reloads;
mod slow_pairs;
mod swap_sites;
mod system_calls;
mod tls_load;

use std::sync::{Mutex, MutexGuard};

/// While the guard lives, no other test of this binary runs.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
