//! Counters of each end, one set a worker, written by it alone and read by any thread. Besides the ends of requests
//! they count connections that rsp closed without a request, and what belongs to no server and no pool.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::end::End;
use super::hosts::HostTable;
use crate::base::buffer::Traffic;
use crate::base::cells::{Classes, Count, Histogram};

/// Why rsp closed a connection without a request, other than by its idle timeout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ConnectionEnd {
    /// No byte of a first request arrived in time.
    Silent,
    /// The client kept sending after its last answer.
    Lingered,
    /// The address exceeds `max_connections_per_client`.
    TooMany,
    /// The address exceeds `new_connections_per_client`.
    TooOften,
    /// Missing or malformed PROXY header.
    Proxy,
    /// `on_connect` returned false, or failed.
    Script,
    /// Its TLS handshake failed or took too long.
    Handshake,
    /// No descriptor was free; the connection stays in the accept queue and may be served later.
    AcceptFailed,
}

impl ConnectionEnd {
    pub const ALL: [ConnectionEnd; 8] = [
        ConnectionEnd::Silent,
        ConnectionEnd::Lingered,
        ConnectionEnd::TooMany,
        ConnectionEnd::TooOften,
        ConnectionEnd::Proxy,
        ConnectionEnd::Script,
        ConnectionEnd::Handshake,
        ConnectionEnd::AcceptFailed,
    ];

    pub fn text(self) -> &'static str {
        match self {
            ConnectionEnd::Silent => "client-silent",
            ConnectionEnd::Lingered => "client-lingered",
            ConnectionEnd::TooMany => "client-too-many",
            ConnectionEnd::TooOften => "client-too-often",
            ConnectionEnd::Proxy => "proxy-refused",
            ConnectionEnd::Script => "script-refused",
            ConnectionEnd::Handshake => "tls-handshake",
            ConnectionEnd::AcceptFailed => "accept-failed",
        }
    }
}

/// Upper bounds of `script_seconds`, in nanoseconds.
pub const SCRIPT_BOUNDS: [u64; 12] = [
    2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000,
    10_000_000,
];

/// A function of the script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Handler {
    OnRequest,
    OnResponse,
    Balance,
    HashBy,
    OnAnswer,
    OnLog,
    OnConnect,
    OnStart,
    Every,
}

impl Handler {
    pub const ALL: [Handler; 9] = [
        Handler::OnRequest,
        Handler::OnResponse,
        Handler::Balance,
        Handler::HashBy,
        Handler::OnAnswer,
        Handler::OnLog,
        Handler::OnConnect,
        Handler::OnStart,
        Handler::Every,
    ];

    pub fn text(self) -> &'static str {
        match self {
            Handler::OnRequest => "on_request",
            Handler::OnResponse => "on_response",
            Handler::Balance => "balance",
            Handler::HashBy => "hash_by",
            Handler::OnAnswer => "on_answer",
            Handler::OnLog => "on_log",
            Handler::OnConnect => "on_connect",
            Handler::OnStart => "on_start",
            Handler::Every => "every",
        }
    }
}

/// Why a function of the script failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ScriptFailure {
    Error,
    Time,
    Memory,
}

impl ScriptFailure {
    pub const ALL: [ScriptFailure; 3] = [ScriptFailure::Error, ScriptFailure::Time, ScriptFailure::Memory];

    pub fn text(self) -> &'static str {
        match self {
            ScriptFailure::Error => "error",
            ScriptFailure::Time => "time",
            ScriptFailure::Memory => "memory",
        }
    }
}

/// What calls of one function cost.
#[derive(Default)]
pub struct ScriptCounters {
    pub seconds: Histogram<{ SCRIPT_BOUNDS.len() }>,
    failures: [Count; ScriptFailure::ALL.len()],
}

impl ScriptCounters {
    pub fn failed(&self, why: ScriptFailure) {
        self.failures[why as usize].add(1);
    }

    pub fn failures(&self, why: ScriptFailure) -> u64 {
        self.failures[why as usize].get()
    }
}

/// How a TLS handshake with a client ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Handshake {
    Full,
    Resumed,
    Failed,
}

impl Handshake {
    pub const ALL: [Handshake; 3] = [Handshake::Full, Handshake::Resumed, Handshake::Failed];

    pub fn text(self) -> &'static str {
        match self {
            Handshake::Full => "full",
            Handshake::Resumed => "resumed",
            Handshake::Failed => "failed",
        }
    }
}

/// What came by one listener.
#[derive(Default)]
#[repr(align(128))]
pub struct ListenerCounters {
    pub accepted: Count,
    pub answers: Classes,
    /// Body bytes.
    pub received: Count,
    pub sent: Count,
    /// Requests that their clients spoiled, or left, before they went to a server.
    pub request_errors: Count,
}

/// Listeners have numbers of one byte in a worker.
const LISTENERS: usize = 256;

#[repr(align(128))]
pub struct Counters {
    ends: [AtomicU64; End::ALL.len()],
    connection_ends: [AtomicU64; ConnectionEnd::ALL.len()],
    stale: AtomicU64,
    /// Answers of rsp itself, and requests that nobody answered.
    pub own: Classes,
    traffic: [Count; 4],
    handshakes: [Count; Handshake::ALL.len()],
    scripts: [ScriptCounters; Handler::ALL.len()],
    listeners: Box<[ListenerCounters]>,
    /// By number. Locked where listeners change, never for a request.
    names: Mutex<Vec<(u8, String)>>,
    /// Made when `metrics.hosts` is first set.
    hosts: OnceLock<HostTable>,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            ends: Default::default(),
            connection_ends: Default::default(),
            stale: AtomicU64::default(),
            own: Classes::default(),
            traffic: Default::default(),
            handshakes: Default::default(),
            scripts: Default::default(),
            listeners: (0..LISTENERS).map(|_| ListenerCounters::default()).collect(),
            names: Mutex::default(),
            hosts: OnceLock::new(),
        }
    }
}

/// A connection to a server that was used again and turned out dead: the request is sent on a new one.
const STALE: &str = "reused-stale";

impl Counters {
    pub fn ended(&self, end: End) {
        add_one(&self.ends[end as usize]);
    }

    pub fn connection_ended(&self, end: ConnectionEnd) {
        add_one(&self.connection_ends[end as usize]);
    }

    /// A reused connection died under a request that was then sent on a new one.
    pub fn stale(&self) {
        add_one(&self.stale);
    }

    pub fn handshake_ended(&self, how: Handshake) {
        self.handshakes[how as usize].add(1);
    }

    pub fn handshakes(&self, how: Handshake) -> u64 {
        self.handshakes[how as usize].get()
    }

    pub fn script(&self, handler: Handler) -> &ScriptCounters {
        &self.scripts[handler as usize]
    }

    /// Shows what was counted up to now.
    pub fn set_traffic(&self, traffic: Traffic) {
        let Traffic { client_in, client_out, server_in, server_out } = traffic;
        self.traffic
            .iter()
            .zip([client_in, client_out, server_in, server_out])
            .for_each(|(cell, n)| cell.set(n));
    }

    pub fn traffic(&self) -> Traffic {
        let [client_in, client_out, server_in, server_out] = [0, 1, 2, 3].map(|at| self.traffic[at].get());
        Traffic { client_in, client_out, server_in, server_out }
    }

    /// Of the listener with this number.
    pub fn listener(&self, number: u8) -> &ListenerCounters {
        &self.listeners[usize::from(number)]
    }

    /// A listener got this number, maybe that of one that is gone.
    pub fn name_listener(&self, number: u8, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|(known, _)| *known != number);
        names.push((number, name.to_owned()));
    }

    /// The numbers of listeners with their names.
    pub fn listener_names(&self) -> Vec<(u8, String)> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The table of hosts, made for so many of them when it is first needed.
    pub fn hosts_for(&self, most: u32) -> &HostTable {
        self.hosts.get_or_init(|| HostTable::new(most))
    }

    pub fn hosts(&self) -> Option<&HostTable> {
        self.hosts.get()
    }

    /// How many reused connections did.
    pub fn stale_count(&self) -> u64 {
        read(&self.stale)
    }

    /// The sums over several workers.
    pub fn total<'a>(counters: impl IntoIterator<Item = &'a Counters>) -> Counters {
        let sum = Counters::default();
        for counters in counters {
            add(&sum.ends, &counters.ends);
            add(&sum.connection_ends, &counters.connection_ends);
            sum.stale.store(read(&sum.stale) + read(&counters.stale), Ordering::Relaxed);
        }
        sum
    }

    /// The count of this end.
    pub fn of(&self, end: End) -> u64 {
        read(&self.ends[end as usize])
    }

    /// Every reason with its count, including 0.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let ends = End::ALL.iter().map(|end| (end.text(), read(&self.ends[*end as usize])));
        let connection_ends =
            ConnectionEnd::ALL.iter().map(|p| (p.text(), read(&self.connection_ends[*p as usize])));
        ends.chain(connection_ends).chain([(STALE, read(&self.stale))])
    }

    /// The abnormal ends as text: `2 client-cut-request, 1 server-closed`. Empty if there were none.
    pub fn abnormal_ends(&self) -> String {
        let normal = [End::Complete.text(), End::Answered.text(), STALE];
        let told = self.all().filter(|(word, count)| *count > 0 && !normal.contains(word));
        told.map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }
}

fn add(sums: &[AtomicU64], counts: &[AtomicU64]) {
    for (sum, count) in sums.iter().zip(counts) {
        sum.store(read(sum) + read(count), Ordering::Relaxed);
    }
}

/// There is only one writer, so a load and a store are enough.
fn add_one(count: &AtomicU64) {
    count.store(read(count) + 1, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ends_are_counted_and_only_abnormal_ones_listed() {
        let counters = Counters::default();
        for end in [End::Complete, End::Complete, End::Answered] {
            counters.ended(end);
        }
        assert_eq!(counters.abnormal_ends(), "");
        counters.ended(End::ServerClosed);
        counters.ended(End::ClientCutRequest);
        counters.ended(End::ClientCutRequest);
        counters.connection_ended(ConnectionEnd::TooMany);
        assert_eq!(counters.abnormal_ends(), "2 client-cut-request, 1 server-closed, 1 client-too-many");
        assert_eq!((counters.of(End::ClientCutRequest), counters.of(End::Stopped)), (2, 0));
        assert!(counters.all().any(|count| count == ("complete", 2)));
    }

    #[test]
    fn counters_of_workers_are_summed() {
        let counters = [Counters::default(), Counters::default()];
        counters.iter().for_each(|counters| counters.ended(End::ServerClosed));
        counters[1].connection_ended(ConnectionEnd::Silent);
        assert_eq!(Counters::total(&counters).abnormal_ends(), "2 server-closed, 1 client-silent");
    }

    #[test]
    fn every_connection_end_has_a_counter() {
        for (i, end) in ConnectionEnd::ALL.iter().enumerate() {
            assert_eq!(*end as usize, i);
        }
    }
}
