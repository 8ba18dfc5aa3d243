//! Clients that send requests of all kinds, and count what they got.

use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Kind;
use crate::support::*;

/// What one client did.
#[derive(Default)]
pub struct Requests {
    pub connections: u64,
    /// The statuses of requests that were answered.
    pub answers: Vec<(u64, u16)>,
    pub body_bytes: u64,
}

impl Requests {
    /// Sends what is next until `count` requests were sent by all.
    pub fn run(address: &str, next: &AtomicU64, count: u64) -> Requests {
        let (mut requests, mut kept) = (Requests::default(), None);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return requests;
            }
            let client = kept.take().unwrap_or_else(|| {
                requests.connections += 1;
                Client::connect(address)
            });
            kept = requests.send(client, number);
        }
    }

    /// Returns the connection if another request may follow on it.
    fn send(&mut self, mut client: Client, number: u64) -> Option<Client> {
        let kind = Kind::of(number);
        client.send(text(kind, number));
        match kind {
            Kind::HalfHead | Kind::HalfBody => {
                let _ = client.wire.socket.shutdown(Shutdown::Write);
                self.read_to_end(client, number)
            }
            Kind::Leaves => {
                client.head();
                client.wire.reset_on_close();
                None
            }
            Kind::Cut => {
                self.answers.push((number, client.head().status()));
                let mut rest = [0; 100];
                while let Ok(count @ 1..) = client.wire.read_some(&mut rest) {
                    self.body_bytes += count as u64;
                }
                None
            }
            _ => self.read(client, number, if kind == Kind::Head { "HEAD" } else { "GET" }),
        }
    }

    fn read(&mut self, mut client: Client, number: u64, method: &str) -> Option<Client> {
        let kind = Kind::of(number);
        let answer = client.try_response_to(method);
        let answer = answer.unwrap_or_else(|error| panic!("request {number} ({kind:?}): {error}"));
        self.answers.push((number, answer.status()));
        self.body_bytes += answer.body.len() as u64;
        let closes = answer.head.says("connection", "close") || kind == Kind::Old;
        (!closes).then_some(client)
    }

    /// Of a request that was not whole: it may be answered.
    fn read_to_end(&mut self, mut client: Client, number: u64) -> Option<Client> {
        if let Ok(answer) = client.try_response() {
            self.answers.push((number, answer.status()));
            self.body_bytes += answer.body.len() as u64;
        }
        None
    }
}

/// What is sent.
fn text(kind: Kind, number: u64) -> String {
    let host = ["a.example", "b.example", "c.example", "d.example"][number as usize % 4];
    let target = format!("/{number}/{}", kind.word());
    let head = |method: &str, more: &str| {
        let version = if kind == Kind::Old { "1.0" } else { "1.1" };
        format!("{method} {target} HTTP/{version}\r\nHost: {host}\r\n{more}\r\n")
    };
    let body = "b".repeat(500);
    match kind {
        Kind::Post | Kind::Drops => head("POST", "Content-Length: 500\r\n") + &body,
        Kind::PostChunked => {
            let chunk = format!("1f4\r\n{body}\r\n");
            head("POST", "Transfer-Encoding: chunked\r\n") + &chunk + &chunk + "0\r\n\r\n"
        }
        Kind::Head => head("HEAD", ""),
        Kind::Close => head("GET", "Connection: close\r\n"),
        Kind::Malformed => head("GET", "Bad Name: x\r\n"),
        Kind::HalfHead => head("GET", "").trim_end().to_owned(),
        Kind::HalfBody => head("POST", "Content-Length: 500\r\n") + "only this",
        _ => head("GET", ""),
    }
}
