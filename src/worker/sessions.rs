//! What the control thread asks of a worker's connections: what each waits for, and to close one. A question is answered
//! between two turns and in pieces, so that a worker with many connections does not stand still for it.

use std::net::IpAddr;

use super::conn::client::Arrival;
use super::conn::table::{AnyToken, ClientKey, Key};
use super::core::Core;
use super::pair::{Pair, Stage};
use super::time::timeouts::{Deadline, Reason};
use crate::exchange::Failure;
use crate::net::{Network, Transport};

/// Connections in one piece of an answer.
pub const PIECE: usize = 256;
/// Slots that are looked at for one piece: most of them may be empty.
const SLOTS: u32 = 4096;
/// Bytes of a request's target that are told.
const TARGET: usize = 120;

/// What a client's connection does now. Times are microseconds of the workers' clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// The connection's token, which is not used again.
    pub token: u64,
    pub client: Option<(IpAddr, u16)>,
    /// The number of its listener.
    pub listener: u8,
    pub is_tls: bool,
    /// Method and target without the query, if it has a request.
    pub request: Option<String>,
    pub pool: Option<String>,
    pub server: Option<String>,
    pub status: u16,
    /// What it waits for; empty while it need not wait.
    pub waits: &'static str,
    pub since: u64,
    pub until: Option<u64>,
    /// When its request began.
    pub began: Option<u64>,
    pub sent: u64,
    pub received: u64,
}

/// Part of a worker's answer.
pub struct Sessions {
    pub now: u64,
    pub sessions: Vec<Session>,
    /// Where the next piece begins, if there is more.
    pub next: Option<u32>,
}

impl Reason {
    /// What is waited for, in the words of `show sess`.
    fn waits_for(self) -> &'static str {
        match self {
            Reason::Body => "client-body",
            Reason::Write | Reason::Delivery => "client-write",
            Reason::Tunnel => "tunnel",
            Reason::Closing => "tunnel-close",
            Reason::Connect | Reason::Opening => "server-connect",
            Reason::Response => "server-response",
            Reason::Gap => "server-data",
            Reason::Upload => "server-body",
            Reason::Head => "client-head",
            Reason::Handshake => "tls-handshake",
            Reason::Challenge => "acme-challenge",
            Reason::ProxyHeader => "proxy-header",
            Reason::Idle => "next-request",
            Reason::FirstByte => "first-request",
            Reason::Linger => "client-close",
            Reason::Queue => "queue",
        }
    }
}

impl<N: Network> Core<N> {
    /// Tells of the connections in the slots from `from` on.
    pub(crate) fn sessions(&self, from: u32) -> Sessions {
        let (mut sessions, end) = (Vec::new(), self.clients.slots());
        let mut key = from;
        while key < end && sessions.len() < PIECE && key - from < SLOTS {
            sessions.extend(self.session(ClientKey::of(key)));
            key += 1;
        }
        Sessions { now: self.tools.now, sessions, next: (key < end).then_some(key) }
    }

    /// Tells of one connection.
    pub(crate) fn session_of(&self, token: u64) -> Option<Session> {
        match AnyToken::from_bits(token) {
            AnyToken::Client(client) => self.session(client.key).filter(|session| session.token == token),
            AnyToken::Backend(_) => None,
        }
    }

    fn session(&self, key: ClientKey) -> Option<Session> {
        let client = self.clients.get(key)?;
        if client.role.arrival == Arrival::Inside {
            return None;
        }
        let pair = client.role.pair.and_then(|pair| self.pairs.get(pair));
        let of_client = self.client_deadline(key);
        let of_backend =
            pair.and_then(|pair| pair.backend()).and_then(|backend| self.backend_deadline(backend));
        let deadline = of_client.into_iter().chain(of_backend).min_by_key(Deadline::at);
        let handler = pair.and_then(|pair| self.waits.get(pair.waiting.as_ref()?.number()));
        let queued = pair.and_then(queued);
        let since = deadline.and_then(|deadline| deadline.since()).unwrap_or(client.read_at);
        let until = deadline.map(|deadline| deadline.at());
        let (since, until) = handler.map_or((since, until), |wait| (wait.since, Some(wait.until)));
        let (since, until) = queued.map_or((since, until), |(since, until)| (since, until));
        let address = client.role.peer.address();
        let x = pair.map(|pair| &pair.exchange);
        Some(Session {
            token: self.clients.peek_token(key)?.to_bits(),
            client: address.map(|address| (address.ip.to_canonical(), address.port)),
            listener: client.role.listener,
            is_tls: client.stream.tls().is_some(),
            request: x.filter(|x| !x.head.method_text().is_empty()).map(|x| {
                let target = x.head.path();
                let text = [x.head.method_text(), b" ", &target[..target.len().min(TARGET)]].concat();
                String::from_utf8_lossy(&text).into_owned()
            }),
            pool: pair.and_then(|pair| pair.route.as_ref()).map(|route| route.pool.config.name.clone()),
            server: pair.and_then(|pair| pair.server.as_ref()).map(|server| server.name().to_owned()),
            status: x.map_or(0, |x| x.status),
            waits: waits_for(handler.is_some(), deadline.as_ref()),
            since,
            until,
            began: x.map(|x| x.times.start),
            // What was read ahead of the client is not yet sent.
            sent: x.map_or(0, |x| x.sent.saturating_sub(client.output.len() as u64)),
            received: x.map_or(0, |x| x.received),
        })
    }

    /// Closes a client's connection, as a shutdown would. Returns false if it is gone.
    pub(crate) fn shut_session(&mut self, token: u64) -> bool {
        let AnyToken::Client(token) = AnyToken::from_bits(token) else { return false };
        let found = self.clients.by_token(token).is_some();
        let is_client = found && self.clients[token.key].role.arrival != Arrival::Inside;
        if is_client {
            match self.clients[token.key].role.pair {
                Some(pair) => {
                    let phase = self.phase(pair);
                    self.cut(pair, Failure::Stopped, phase);
                }
                None => _ = self.close_client(token.key),
            }
        }
        is_client
    }
}

/// Since when a request is in a queue, and until when.
fn queued(pair: &Pair) -> Option<(u64, Option<u64>)> {
    match pair.stage {
        Stage::Queued(ref wait) => pair.waits_since.map(|since| (since.get(), wait.limit())),
        _ => None,
    }
}

fn waits_for(handler: bool, deadline: Option<&Deadline>) -> &'static str {
    match deadline {
        _ if handler => "script",
        Some(deadline) => deadline.reason.waits_for(),
        None => "",
    }
}
