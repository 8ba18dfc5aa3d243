//! What will happen in one seed: the requests of every client, and how the servers treat each of them. Everything
//! follows from the seed and the request's id, so that the oracle knows what to expect without asking anybody.

use crate::rng::Rng;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Get,
    Head,
    Post,
    Put,
}

impl Verb {
    pub fn text(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Head => "HEAD",
            Verb::Post => "POST",
            Verb::Put => "PUT",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    None,
    Length(usize),
    Chunked(usize),
    /// `Upgrade: websocket`, then this many bytes that the server echoes.
    Tunnel(usize),
}

impl Body {
    pub fn len(self) -> usize {
        match self {
            Body::None => 0,
            Body::Length(n) | Body::Chunked(n) | Body::Tunnel(n) => n,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub id: u64,
    pub verb: Verb,
    pub old: bool,
    pub keep: bool,
    pub body: Body,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    Length,
    Chunked,
    UntilClose,
    /// 204.
    Nothing,
}

/// What goes wrong on the server's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// Closes before a byte of the response.
    CloseFirst,
    /// Resets (or, where that shows, closes) after this share of the response's bytes, in 1/16.
    Cut(usize),
    /// Never responds.
    Silent,
    Garbage,
    /// A byte after the response: the connection must not be used again.
    Extra,
}

#[derive(Clone, Copy, Debug)]
pub struct Reply {
    pub shape: Shape,
    pub len: usize,
    pub interim: usize,
    pub fault: Fault,
    /// Answers without waiting for the request's body.
    pub early: bool,
    pub keep: bool,
    pub trailers: bool,
}

pub fn reply(seed: u64, id: u64, honest: bool) -> Reply {
    let mut rng = Rng::new(seed ^ id.wrapping_mul(0xA24B_AED4_963E_E407));
    let shape = [Shape::Length, Shape::Length, Shape::Chunked, Shape::Chunked, Shape::UntilClose, Shape::Nothing]
        [rng.below(6)];
    let fault = match rng.below(if honest { 1 } else { 12 }) {
        1 => Fault::CloseFirst,
        2 | 3 => Fault::Cut(rng.below(16)),
        4 => Fault::Silent,
        5 => Fault::Garbage,
        6 => Fault::Extra,
        _ => Fault::None,
    };
    Reply {
        shape,
        len: if shape == Shape::Nothing { 0 } else { rng.size() },
        interim: if rng.one_in(5) { rng.upto(3) } else { 0 },
        fault,
        early: !honest && rng.one_in(8),
        keep: !rng.one_in(4) && shape != Shape::UntilClose,
        trailers: shape == Shape::Chunked && rng.one_in(3),
    }
}

/// How a client behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Sends the next request when the last is answered.
    Polite,
    /// Sends all at once.
    Pipelining,
    /// Sends all, ends its side, and waits for the answers.
    HalfClosing,
    /// Leaves after so many bytes sent: ends its side, or resets.
    Leaving { after: usize, reset: bool },
    /// Stops sending after so many bytes, and reading.
    Stopping { after: usize },
}

pub fn requests(rng: &mut Rng, first_id: u64) -> Vec<Request> {
    let count = rng.upto(4);
    let mut list: Vec<Request> = (0..count as u64).map(|i| request(rng, first_id + i)).collect();
    // The connection ends with whatever is not kept; nothing may follow it.
    if let Some(last) = list.iter().position(|r| !r.keep || matches!(r.body, Body::Tunnel(_))) {
        list.truncate(last + 1);
    }
    list
}

fn request(rng: &mut Rng, id: u64) -> Request {
    let old = rng.one_in(6);
    let verb = [Verb::Get, Verb::Get, Verb::Get, Verb::Head, Verb::Post, Verb::Put][rng.below(6)];
    let body = match verb {
        Verb::Get if !old && rng.one_in(6) => Body::Tunnel(rng.size()),
        Verb::Get | Verb::Head => Body::None,
        _ if old || rng.one_in(2) => Body::Length(rng.size()),
        _ => Body::Chunked(rng.size()),
    };
    Request { id, verb, old, keep: !rng.one_in(5), body }
}
