//! Servers that do what a request's path says, and count by themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Kind;
use crate::support::*;

/// Long enough that a client has not got all of it when it leaves.
const ENDLESS: usize = 8 << 20;
const LARGE: usize = 40_000;

/// What all servers saw.
#[derive(Default, Clone)]
pub struct Tally(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// By the request's number: the servers that read its head, in order.
    heads: HashMap<u64, Vec<String>>,
    /// By server: whole responses, by class.
    answered: HashMap<String, [u64; 10]>,
}

impl Tally {
    pub fn server(&self, at: usize) -> Origin {
        let (tally, name) = (self.clone(), format!("s{at}"));
        Origin::run(move |visit| while tally.serve(&name, visit).is_some() {})
    }

    /// Answers when nobody waits any more.
    pub fn late(&self) -> Origin {
        Origin::run(|visit| {
            while visit.head().is_some() {
                std::thread::sleep(Duration::from_millis(120));
                if !visit.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") {
                    return;
                }
            }
        })
    }

    /// `None` to close the connection.
    fn serve(&self, name: &str, visit: &mut Visit) -> Option<()> {
        let head = visit.head()?;
        let (number, kind) = asked(head.target());
        let times = {
            let mut seen = self.0.lock().unwrap();
            let heads = seen.heads.entry(number).or_default();
            heads.push(name.to_owned());
            heads.len()
        };
        let mut size = 0;
        visit.wire.body(request_framing(&head), &mut |bytes| size += bytes.len()).ok()?;
        match kind {
            Kind::Drops => return None,
            Kind::DropsFirst if times == 1 => return None,
            Kind::Leaves => {
                visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {ENDLESS}\r\n\r\n"));
                visit.send(vec![b'x'; ENDLESS]);
                return None;
            }
            Kind::Cut => {
                visit.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this");
                return None;
            }
            Kind::BadAnswer => {
                visit.send("HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n");
                return None;
            }
            _ => {}
        }
        let (status, answer) = answer(kind, size);
        // Before it is sent: the client may have it before this thread goes on.
        self.0.lock().unwrap().answered.entry(name.to_owned()).or_default()[status / 100] += 1;
        (visit.send(answer) && kind != Kind::UntilClose).then_some(())
    }

    /// By the request's number: the servers that saw it.
    pub fn seen(&self) -> HashMap<u64, Vec<String>> {
        self.0.lock().unwrap().heads.clone()
    }

    pub fn answered(&self, name: &str) -> [u64; 10] {
        self.0.lock().unwrap().answered.get(name).copied().unwrap_or_default()
    }
}

/// The number and the kind in a path: `/12/get`.
pub fn asked(target: &str) -> (u64, Kind) {
    let mut parts = target.split(['/', ' ', '\\']).filter(|part| !part.is_empty());
    let number = parts.find_map(|part| part.parse().ok());
    let kind = parts.next().and_then(Kind::from_word);
    number.zip(kind).unwrap_or_else(|| panic!("not asked for by this test: {target:?}"))
}

fn answer(kind: Kind, size: usize) -> (usize, Vec<u8>) {
    let with_length = |status: &str, body: &[u8]| {
        [format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
    };
    match kind {
        Kind::Chunked => {
            let chunk = [b"3e8\r\n".as_slice(), &[b'c'; 1000], b"\r\n"].concat();
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice();
            (200, [head, &chunk, &chunk, &chunk, b"0\r\n\r\n"].concat())
        }
        Kind::Large => (200, with_length("200 OK", &[b'l'; LARGE])),
        Kind::Moved => (302, with_length("302 Found", b"")),
        Kind::NotFound => (404, with_length("404 Not Found", b"not here")),
        Kind::Broken => (503, with_length("503 Service Unavailable", b"later")),
        Kind::Empty => (204, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        Kind::Head => (200, b"HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n".to_vec()),
        Kind::UntilClose => (200, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end".to_vec()),
        _ => (200, with_length("200 OK", format!("got {size}").as_bytes())),
    }
}
