//! Shared by the targets: a codec fed in pieces, with all its events recorded, and a second parser for requests
//! (picohttpparser).

pub mod client_side;
pub mod second;

use rsp::http::Codec as _;
use rsp::h1::{BackendCodec, HeadLimits, ClientCodec};
use rsp::http::{Decoded, Event, Fault, Fields, Framing, Method, Persistence, RequestHead, ResponseHead};

/// The events of a codec, with pieces of a body joined.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    pub heads: Vec<Head>,
    pub body: Vec<u8>,
    pub trailers: Option<Vec<Line>>,
    /// Number of messages that ended.
    pub ends: usize,
    pub fault: Option<Fault>,
    /// Bytes consumed when the first message ended, or when decoding stopped.
    pub used: usize,
    /// Leniency was needed.
    pub lenient: bool,
}

pub type Line = (Vec<u8>, Vec<u8>);

/// A head's meaning, without positions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Method and target, or status and reason.
    pub start: (Vec<u8>, Vec<u8>),
    pub old: bool,
    pub fields: Vec<Line>,
    pub framing: Framing,
    pub keep_alive: bool,
    pub upgrade: bool,
}

fn lines(fields: &Fields) -> Vec<Line> {
    fields.iter().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect()
}

impl Head {
    pub fn request(head: &RequestHead) -> Head {
        Head {
            start: (head.method_text().to_vec(), head.target().to_vec()),
            old: head.version == rsp::http::Version::Http10,
            fields: lines(&head.fields),
            framing: head.framing,
            keep_alive: head.keep_alive,
            upgrade: head.upgrade,
        }
    }

    pub fn response(head: &ResponseHead) -> Head {
        Head {
            start: (head.status.to_string().into_bytes(), head.reason().to_vec()),
            old: head.version == rsp::http::Version::Http10,
            fields: lines(&head.fields),
            framing: head.framing,
            keep_alive: head.keep_alive,
            upgrade: false,
        }
    }

    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        let line = self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        line.map(|(_, value)| &value[..])
    }
}

/// A codec with storage for its heads.
pub enum Codec {
    Server(ClientCodec, RequestHead),
    Client(BackendCodec, ResponseHead),
}

impl Codec {
    pub fn server() -> Codec {
        Codec::Server(ClientCodec::default(), RequestHead::default())
    }

    /// One that has sent a GET, a HEAD, or a GET that asks for a WebSocket.
    pub fn client(method: Method, upgrade: bool) -> Codec {
        Codec::asking(method, upgrade, false)
    }

    /// The same without leniency.
    pub fn strict_client(method: Method, upgrade: bool) -> Codec {
        Codec::asking(method, upgrade, true)
    }

    fn asking(method: Method, upgrade: bool, strict: bool) -> Codec {
        let mut client = BackendCodec::new(strict);
        let persistence = if upgrade { Persistence::Upgrade } else { Persistence::Keep };
        client.encode_head(&RequestHead { method, ..Default::default() }, persistence, &mut Vec::new());
        Codec::Client(client, ResponseHead::default())
    }

    fn decode(
        &mut self,
        input: &[u8],
        eof: bool,
        limit: usize,
        trailers: &mut Fields,
    ) -> Result<Option<Decoded>, Fault> {
        match self {
            Codec::Server(codec, head) => codec.decode(input, eof, limit, &HeadLimits::REQUEST, head, trailers),
            Codec::Client(codec, head) => codec.decode(input, eof, limit, &HeadLimits::RESPONSE, head, trailers),
        }
    }

    fn was_lenient(&self) -> bool {
        match self {
            Codec::Server(..) => false,
            Codec::Client(codec, _) => codec.was_lenient(),
        }
    }

    fn head(&self) -> Head {
        match self {
            Codec::Server(_, head) => Head::request(head),
            Codec::Client(_, head) => Head::response(head),
        }
    }
}

/// All events for `bytes` in pieces of `piece` bytes, up to the end of the first message. Like a worker: unconsumed
/// bytes are passed again together with new ones.
pub fn read(mut codec: Codec, bytes: &[u8], piece: usize, limit: usize, eof: bool) -> Seen {
    let seen = steps(&mut codec, bytes, piece, limit, eof);
    Seen { lenient: codec.was_lenient(), ..seen }
}

fn steps(codec: &mut Codec, bytes: &[u8], piece: usize, limit: usize, eof: bool) -> Seen {
    let (mut seen, mut came, mut trailers) = (Seen::default(), 0, Fields::default());
    loop {
        let input = &bytes[seen.used..came];
        let all = came == bytes.len();
        match codec.decode(input, all && eof, limit, &mut trailers) {
            Err(fault) => {
                seen.fault = Some(fault);
                return seen;
            }
            Ok(Some(step)) => {
                assert!(step.consumed <= input.len(), "used bytes that are not there");
                assert!(step.consumed > 0 || step.end || step.event != Event::Nothing, "a step to nowhere");
                if let Event::Body(range) = &step.event {
                    assert!(range.end <= step.consumed && range.len() <= limit, "a body out of bounds");
                    seen.body.extend_from_slice(&input[range.clone()]);
                }
                match step.event {
                    Event::Head => seen.heads.push(codec.head()),
                    Event::Trailers => seen.trailers = Some(lines(&trailers)),
                    _ => {}
                }
                seen.used += step.consumed;
                if step.end {
                    seen.ends += 1;
                    return seen;
                }
                if seen.heads.last().is_some_and(|h| h.start.0 == b"101") {
                    return seen;
                }
            }
            Ok(None) if all => return seen,
            Ok(None) => came = (came + piece.max(1)).min(bytes.len()),
        }
    }
}

/// Decodes whole, in pieces and byte by byte; all three must agree.
pub fn read_every_way(codec: impl Fn() -> Codec, bytes: &[u8], piece: usize, eof: bool) -> Seen {
    let whole = read(codec(), bytes, bytes.len(), usize::MAX, eof);
    for (piece, limit) in [(piece, usize::MAX), (1, 3), (piece, 1)] {
        let other = read(codec(), bytes, piece, limit, eof);
        // A fault later in a message may be reported before earlier body bytes.
        if whole.fault.is_none() || other.fault.is_none() {
            assert_eq!(whole, other, "pieces of {piece}, room for {limit}");
        } else {
            assert_eq!(whole.heads, other.heads, "pieces of {piece}, room for {limit}");
        }
    }
    whole
}
