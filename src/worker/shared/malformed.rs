//! The last malformed messages, for `show errors`: the heads as they came, as far as they came. What of them is told is
//! decided where they are told. Kept for all workers together; a worker that finds them in use drops one rather than wait.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::exchange::Failure;
use crate::h1::HeadLimits;
use crate::http::Fault;
use crate::net::Network;
use crate::worker::conn::table::{BackendKey, ClientKey};
use crate::worker::core::Core;
use crate::worker::pair::table::PairKey;

/// Messages that are kept.
const KEPT: usize = 16;
/// Bytes of a head that are kept.
const BYTES: usize = 4096;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// From 0 on, also of those that are not kept.
    pub number: u64,
    pub at: SystemTime,
    pub fault: Fault,
    /// Of a response the server that sent it.
    pub server: Option<(String, String)>,
    pub client: Option<(IpAddr, u16)>,
    pub listener: u8,
    pub worker: usize,
    /// The head, as it came: it may hold credentials.
    pub bytes: Vec<u8>,
    pub limits: HeadLimits,
}

#[derive(Clone, Default)]
pub struct MalformedLog(Arc<Mutex<Ring>>);

#[derive(Default)]
struct Ring {
    total: u64,
    kept: VecDeque<Malformed>,
}

impl MalformedLog {
    fn add(&self, mut one: Malformed) {
        let Ok(mut ring) = self.0.try_lock() else { return };
        one.number = ring.total;
        ring.total += 1;
        if ring.kept.len() == KEPT {
            ring.kept.pop_front();
        }
        ring.kept.push_back(one);
    }

    /// How many there were, and the last of them, the latest last.
    pub fn all(&self) -> (u64, Vec<Malformed>) {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (ring.total, ring.kept.iter().cloned().collect())
    }
}

impl<N: Network> Core<N> {
    /// A client's head cannot be read.
    pub(crate) fn note_malformed_request(&self, key: ClientKey, fault: Fault) {
        if !self.observed || matches!(fault, Fault::CutHead | Fault::CutBody) {
            return;
        }
        let client = &self.clients[key];
        self.malformed.add(Malformed {
            bytes: head_of(client.input.bytes()),
            limits: self.sites.current.heads.request,
            ..self.malformed_with(key, fault)
        });
    }

    /// A server's response cannot be read.
    pub(crate) fn note_malformed_response(&self, pair_key: PairKey, backend: BackendKey, failure: Failure) {
        let (Failure::Response(fault), pair) = (failure, &self.pairs[pair_key]) else { return };
        if !self.observed || pair.is_inside() {
            return;
        }
        let backend = &self.backends[backend];
        let server = &backend.role.server;
        // What follows a head may be a body.
        let bytes = if pair.exchange.has_begun() { &[][..] } else { backend.input.bytes() };
        self.malformed.add(Malformed {
            server: Some((server.pool_name().to_owned(), server.name().to_owned())),
            bytes: head_of(bytes),
            limits: pair.site.heads.response,
            ..self.malformed_with(pair.client, fault)
        });
    }

    fn malformed_with(&self, client: ClientKey, fault: Fault) -> Malformed {
        let role = &self.clients[client].role;
        Malformed {
            number: 0,
            at: SystemTime::now(),
            fault,
            server: None,
            client: role.peer.address().map(|address| (address.ip.to_canonical(), address.port)),
            listener: role.listener,
            worker: self.sites.worker(),
            bytes: Vec::new(),
            limits: self.sites.current.heads.request,
        }
    }
}

/// The bytes up to the empty line: what follows is a body.
fn head_of(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[..bytes.len().min(BYTES)];
    let ends =
        [&b"\r\n\r\n"[..], b"\n\n"].map(|end| memchr::memmem::find(bytes, end).map(|at| at + end.len()));
    let end = ends.into_iter().flatten().min();
    bytes[..end.unwrap_or(bytes.len())].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_never_kept() {
        assert_eq!(head_of(b"GET / HTTP/1.1\r\na\r\n\r\nsecret"), b"GET / HTTP/1.1\r\na\r\n\r\n");
        assert_eq!(head_of(b"GET /\n\nsecret"), b"GET /\n\n");
        assert_eq!(head_of(&[b'x'; 2 * BYTES]).len(), BYTES);
    }

    #[test]
    fn the_last_sixteen_are_kept_and_all_are_numbered() {
        let log = MalformedLog::default();
        let one = Malformed {
            number: 0,
            at: SystemTime::now(),
            fault: Fault::Host,
            server: None,
            client: None,
            listener: 0,
            worker: 0,
            bytes: Vec::new(),
            limits: HeadLimits::REQUEST,
        };
        (0..20).for_each(|_| log.add(one.clone()));
        let (total, kept) = log.all();
        assert_eq!((total, kept.len(), kept[0].number, kept[15].number), (20, 16, 4, 19));
    }
}
