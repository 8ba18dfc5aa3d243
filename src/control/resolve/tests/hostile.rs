//! Bytes that nobody should send: nothing panics, and what is read is bounded.

use std::sync::atomic::{AtomicU64, Ordering};

use simple_dns::{RCODE, TYPE};

use super::server::{Asked, Reply, Server};
use super::{SHORT, Scratch, host};
use crate::control::resolve::message::{Decoded, Kind, Question, decode};
use crate::control::resolve::{Query, resolve};

const ID: u16 = 0x1234;
const HEADER: usize = 12;

/// xorshift64*: the same bytes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len().max(1));
            match self.below(5) {
                0 if at < bytes.len() => bytes[at] = self.next() as u8,
                1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                // A compression pointer.
                2 if at + 1 < bytes.len() => bytes[at..at + 2].copy_from_slice(&[0xc0, self.next() as u8]),
                3 => bytes.truncate(at),
                _ => bytes.insert(at.min(bytes.len()), self.next() as u8),
            }
        }
    }
}

fn question(kind: Kind) -> Question {
    Question { name: "_http._tcp.app".into(), kind }
}

fn good(id: u16) -> Vec<u8> {
    let name = "_http._tcp.app";
    let reply = Reply::new(id, name, TYPE::SRV).cname(name, 9, "x.y").srv("x.y", 9, [1, 2, 80], "a.b");
    reply.a("a.b", 9, [10, 0, 0, 1]).aaaa("a.b", 9, "::1").additional_a("a.b", 9, [10, 0, 0, 2]).bytes()
}

/// All that can be done with what was read.
fn use_up(bytes: &[u8]) {
    if let Decoded::Reply(reply) = decode(bytes, ID, &question(Kind::Srv)) {
        for name in ["_http._tcp.app", "x.y", "a.b", ""] {
            assert!(reply.of(name).data.len() + reply.additional(name).data.len() < 4096);
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(1);
    for _ in 0..20_000 {
        let length = random.below(200);
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        use_up(&bytes);
        let whole = good(ID);
        let head = random.below(whole.len());
        bytes.splice(0..0, whole[..head].iter().copied());
        use_up(&bytes);
    }
}

#[test]
fn mutated_answers_never_panic() {
    let mut random = Random(2);
    assert!(matches!(decode(&good(ID), ID, &question(Kind::Srv)), Decoded::Reply(_)));
    for _ in 0..50_000 {
        let mut bytes = good(ID);
        random.mutate(&mut bytes);
        use_up(&bytes);
    }
}

#[test]
fn every_beginning_of_an_answer_is_malformed_or_not_ours() {
    let whole = good(ID);
    for length in 0..whole.len() {
        let decoded = decode(&whole[..length], ID, &question(Kind::Srv));
        assert!(matches!(decoded, Decoded::NotOurs | Decoded::Malformed), "{length}: {decoded:?}");
    }
}

#[test]
fn a_header_that_names_more_records_than_there_can_be_is_malformed() {
    for at in [4, 6, 8, 10] {
        let mut bytes = good(ID);
        bytes[at..at + 2].fill(0xff);
        assert_eq!(decode(&bytes, ID, &question(Kind::Srv)), Decoded::Malformed, "count at {at}");
    }
}

#[test]
fn names_that_point_in_a_circle_are_malformed() {
    let mut bytes = Reply::new(ID, "_http._tcp.app", TYPE::SRV).bytes();
    bytes[7] = 1;
    let here = bytes.len() as u8;
    bytes.extend_from_slice(&[1, b'a', 0xc0, here, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1]);
    assert_eq!(decode(&bytes, ID, &question(Kind::Srv)), Decoded::Malformed);
}

/// A long chain of pointers, and as many records as fit whose names begin at its end.
#[test]
fn the_largest_message_of_the_longest_names_is_read_in_bounded_time() {
    let mut bytes = Reply::new(ID, "_http._tcp.app", TYPE::SRV).bytes();
    let chain = bytes.len() + 11;
    bytes.extend_from_slice(&[0, 0, 10, 0, 1, 0, 0, 0, 9]);
    let pointers = (0x3ff0 - chain) / 2;
    bytes.extend_from_slice(&(2 * pointers as u16).to_be_bytes());
    for number in 0..pointers {
        let target = if number == 0 { HEADER } else { chain + 2 * (number - 1) };
        bytes.extend_from_slice(&(0xc000 | target as u16).to_be_bytes());
    }
    let end = (0xc000 | (chain + 2 * (pointers - 1)) as u16).to_be_bytes();
    let mut records = 1u16;
    while bytes.len() + 16 <= 0xffff {
        bytes.extend_from_slice(&[&end[..], &[0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1]].concat());
        records += 1;
    }
    bytes[6..8].copy_from_slice(&records.to_be_bytes());
    assert!(matches!(decode(&bytes, ID, &question(Kind::Srv)), Decoded::Reply(_)));
    use_up(&bytes);
}

#[test]
fn a_server_that_sends_garbage_is_an_error_and_nothing_more() {
    static SEED: AtomicU64 = AtomicU64::new(3);
    let server = Server::start(|asked: &Asked| {
        let mut random = Random(SEED.fetch_add(1, Ordering::Relaxed));
        let mut bytes = match asked.kind {
            TYPE::SRV => good(asked.id),
            kind => Reply::new(asked.id, &asked.name, kind).a(&asked.name, 9, [10, 0, 0, 1]).bytes(),
        };
        random.mutate(&mut bytes);
        // An answer that is ignored is followed by one that is not, so that nobody waits.
        vec![bytes, asked.reply().code(RCODE::Refused).bytes()]
    });
    let config = Scratch::new().config(&[server.address], SHORT);
    for _ in 0..100 {
        let _ = resolve(&host("app"), &config);
        let _ = resolve(&Query::Srv("_http._tcp.app".into()), &config);
    }
}

#[test]
fn a_datagram_larger_than_agreed_is_an_error() {
    let server = Server::start(|asked| {
        let mut bytes = asked.reply().a("app", 9, [10, 0, 0, 1]).bytes();
        bytes.resize(60_000, 0);
        bytes[7] = 255;
        vec![bytes]
    });
    assert!(resolve(&host("app"), &Scratch::new().config(&[server.address], SHORT)).is_err());
}
