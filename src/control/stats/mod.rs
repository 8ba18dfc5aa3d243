//! What rsp has done and does now, for those who ask: read from the cells that workers write, on the control thread
//! alone, so that asking costs the workers nothing.
//!
//! - `metrics`  the text of /metrics
//! - `state`    the JSON of /api/state
//! - `recent`   samples of the last seconds, for rates and latencies as they are now
//! - `peaks`    the highest values of samples, and cleared counters; `averages`: of the last requests
//! - `process`  what the kernel says of the process

mod averages;
pub mod metrics;
mod peaks;
mod process;
mod recent;
pub mod state;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

pub use self::peaks::{Cleared, Peaks};
pub use self::process::{ProcessFacts, cpu_used};
pub use self::recent::{Recent, Sample};
use crate::base::buffer_memory::BufferMemory;
use crate::base::cells::{CLASSES, Spread};
use crate::control::process::Process;
use crate::exchange::counters::{Counters, Handler, ScriptFailure};
use crate::exchange::hosts::BusiestHosts;
use crate::tls::Expiry;
use crate::worker::{ConnectionCounts, MalformedLog, Shared};

/// Reloads that are remembered.
const RELOADS: usize = 20;

/// What the control thread keeps to tell.
pub struct Stats {
    pub started: SystemTime,
    /// Of each worker; they outlive it.
    pub counters: Vec<Arc<Counters>>,
    pub connections: ConnectionCounts,
    /// What `buffer_memory` bounds.
    pub buffers: BufferMemory,
    pub recent: Recent,
    pub peaks: Peaks,
    pub cleared: Cleared,
    pub hosts: BusiestHosts,
    pub reloads: VecDeque<ReloadRecord>,
}

/// One reload, with the number of the config in use after it.
pub struct ReloadRecord {
    pub at: SystemTime,
    pub generation: u64,
    /// Why it was not.
    pub error: Option<String>,
}

/// The process at the moment of a question.
pub struct View<'a> {
    pub process: &'a Process,
    pub stats: &'a Stats,
    pub malformed: MalformedLog,
    /// `serving`, `leaving`, `draining` or `stopping`.
    pub stage: &'static str,
    pub ready: bool,
}

impl View<'_> {
    /// Everything that is counted, now.
    pub fn sample(&self) -> Sample {
        let pools = self.process.pools();
        let others = self.process.servers.others(pools);
        Sample::take(&self.stats.counters, (pools, others), self.stats.listeners())
    }

    /// The certificates of all listeners by name, each once, with the second at which it ends. Of several with one
    /// name it is the first that ends.
    pub fn certificates(&self) -> Vec<(String, u64)> {
        let listeners = self.process.config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let all = listeners.flat_map(|tls| tls.server.certificates().expiries());
        let mut first = BTreeMap::new();
        for Expiry { name, not_after, .. } in all {
            let known = first.entry(name).or_insert(not_after);
            *known = not_after.min(*known);
        }
        first.into_iter().collect()
    }
}

impl Stats {
    pub fn new(counters: Vec<Arc<Counters>>, shared: &Shared) -> Stats {
        Stats {
            started: SystemTime::now(),
            counters,
            connections: shared.connections(),
            buffers: shared.buffers(),
            recent: Recent::new(Instant::now()),
            peaks: Peaks::default(),
            cleared: Cleared::default(),
            hosts: BusiestHosts::default(),
            reloads: VecDeque::new(),
        }
    }

    pub fn note_reload(&mut self, generation: u64, error: Option<String>) {
        if self.reloads.len() == RELOADS {
            self.reloads.pop_front();
        }
        self.reloads.push_back(ReloadRecord { at: SystemTime::now(), generation, error });
    }

    pub fn last_reload_succeeded(&self) -> bool {
        self.reloads.back().is_none_or(|reload| reload.error.is_none())
    }

    /// Reads which hosts are the busiest, if that is asked for.
    pub fn read_hosts(&mut self, most: Option<u32>) {
        if let Some(most) = most {
            let tables = self.counters.iter().filter_map(|counters| counters.hosts());
            self.hosts.read(tables, most as usize);
        }
    }

    /// The sum over the workers.
    pub fn sum(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        self.counters.iter().map(|counters| of(counters)).sum()
    }

    /// What rsp answered itself, by class.
    pub fn own(&self) -> [u64; CLASSES] {
        sum_of(self.counters.iter().map(|counters| counters.own.get()))
    }

    pub fn script(&self, handler: Handler) -> Spread {
        let mut sum = Spread::default();
        self.counters.iter().for_each(|counters| sum.add(&counters.script(handler).seconds.read()));
        sum
    }

    pub fn script_failures(&self, handler: Handler, why: ScriptFailure) -> u64 {
        self.sum(|counters| counters.script(handler).failures(why))
    }

    /// What came by listeners, by name; those that are gone together, without one.
    pub fn listeners(&self) -> Vec<(String, ListenerTotals)> {
        let mut all: Vec<(String, ListenerTotals)> = Vec::new();
        for (worker, counters) in self.counters.iter().enumerate() {
            let names = counters.listener_names();
            for number in 0..=u8::MAX {
                let cells = counters.listener(number);
                let name = names.iter().find(|(of, _)| *of == number).map_or("", |(_, name)| name);
                let totals = ListenerTotals {
                    connections: self.connections.of(worker, number).into(),
                    accepted: cells.accepted.get(),
                    answers: cells.answers.get(),
                    received: cells.received.get(),
                    sent: cells.sent.get(),
                    request_errors: cells.request_errors.get(),
                };
                if name.is_empty() && totals == ListenerTotals::default() {
                    continue;
                }
                match all.iter_mut().find(|(known, _)| known == name) {
                    Some((_, sum)) => sum.add(&totals),
                    None => all.push((name.to_owned(), totals)),
                }
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ListenerTotals {
    pub connections: u64,
    pub accepted: u64,
    pub answers: [u64; CLASSES],
    pub received: u64,
    pub sent: u64,
    pub request_errors: u64,
}

impl ListenerTotals {
    pub fn add(&mut self, more: &ListenerTotals) {
        self.connections += more.connections;
        self.accepted += more.accepted;
        self.answers = sum_of([self.answers, more.answers].into_iter());
        self.received += more.received;
        self.sent += more.sent;
        self.request_errors += more.request_errors;
    }

    /// What was counted since an earlier reading.
    pub fn since(&self, before: &ListenerTotals) -> ListenerTotals {
        ListenerTotals {
            connections: self.connections,
            accepted: self.accepted.saturating_sub(before.accepted),
            answers: std::array::from_fn(|class| self.answers[class].saturating_sub(before.answers[class])),
            received: self.received.saturating_sub(before.received),
            sent: self.sent.saturating_sub(before.sent),
            request_errors: self.request_errors.saturating_sub(before.request_errors),
        }
    }
}

fn sum_of(all: impl Iterator<Item = [u64; CLASSES]>) -> [u64; CLASSES] {
    all.fold([0; CLASSES], |sum, more| std::array::from_fn(|class| sum[class] + more[class]))
}

/// Seconds since 1970.
pub fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
