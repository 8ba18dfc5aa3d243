//! The data path under a simulated network: the real worker core, exchange, codec and pump over connections in
//! memory and a clock of its own, with peers that misbehave as a seed says, and an oracle that knows what every
//! side must receive (`client`, `server`, `plan`).
//!
//! A failing seed prints itself; `RSP_SEED=… cargo test --test simulation` replays it. `RSP_SEEDS` and
//! `RSP_FIRST` say how many and from where (`scripts/sweep`).

mod balancing;
mod client;
mod copies;
mod filter;
mod frames;
mod inside;
mod message;
mod mutants;
mod net;
mod pass_through;
mod plan;
mod rng;
mod run;
mod server;
mod wire;
mod world;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rsp::exchange::record::End;
use rsp::script::{Source, load};

const SEEDS: u64 = 20_000;
/// Ends that only a script or a fault of rsp's makes.
const NOT_REACHED: [End; 5] =
    [End::ScriptFailed, End::ScriptBusy, End::Aborted, End::NoServer, End::Internal];

thread_local! {
    /// What the last panic of this thread said. The core catches panics of its own, so they are noted here.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static RUNS_SEEDS: Cell<bool> = const { Cell::new(false) };
}

/// Panics again if something under the core did.
fn check_for_panic() {
    if let Some(text) = PANIC.take() {
        panic!("{text}");
    }
}

/// Keeps what panics of the threads that run seeds say; those of others are told as ever.
fn note_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| match RUNS_SEEDS.get() {
        true => PANIC.with_borrow_mut(|first| *first = first.take().or(Some(info.to_string()))),
        false => usual(info),
    }));
}

/// Runs a seed. Gives the ends that its requests came to, or what the oracle found wrong.
fn ends(source: &Source, seed: u64) -> Result<u64, String> {
    let run = || run::Run::new(seed, source).run();
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| PANIC.take().unwrap_or_default())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

fn seeds() -> (u64, u64) {
    match number("RSP_SEED") {
        Some(seed) => (seed, 1),
        None => (number("RSP_FIRST").unwrap_or(0), number("RSP_SEEDS").unwrap_or(SEEDS)),
    }
}

#[test]
fn every_seed_serves_the_honest_whole_and_gives_everything_back() {
    let (first, count) = seeds();
    let (next, reached) = (AtomicU64::new(first), AtomicU64::new(0));
    let mut source = Source::file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/site.lua"));
    load(&mut source).expect("the config loads");
    note_panics();
    let worker = || loop {
        RUNS_SEEDS.set(true);
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= first + count {
            return None;
        }
        match ends(&source, seed) {
            Ok(ends) => _ = reached.fetch_or(ends, Ordering::Relaxed),
            Err(text) => {
                next.store(first + count, Ordering::Relaxed);
                return Some((seed, text));
            }
        }
    };
    let found = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(worker));
        threads.map(|thread| thread.join().expect("a worker catches its panics"))
    });
    if let Some((seed, text)) = found.into_iter().flatten().min() {
        panic!("seed {seed}: {text}\nreplay it: RSP_SEED={seed} cargo test --test simulation");
    }
    if count >= SEEDS {
        check_reach(reached.into_inner());
    }
}

/// Seeds that never come to one of the ends that requests can come to prove nothing about it.
fn check_reach(reached: u64) {
    let missing = End::ALL.iter().filter(|end| reached >> **end as u64 & 1 == 0);
    let missing: Vec<&End> = missing.filter(|end| !NOT_REACHED.contains(end)).collect();
    assert!(missing.is_empty(), "no seed reaches {missing:?}");
}
