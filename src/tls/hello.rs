//! Reads the ClientHello that a TLS connection begins with, for the name of the server that the client wants (SNI, RFC
//! 6066 section 3). Sans-IO: it is handed all that was received so far, and says when the message is whole.
//!
//! It reads no more than it must: records, which may cut the message anywhere, then the lengths in it, then that one
//! extension. Versions, cipher suites, groups and extensions that it does not know (GREASE, RFC 8701) are the server's
//! business, as is an encrypted inner hello: the name is that of the outer one.
//!
//! ```text
//! record: 22 | 3 | x | length (2) | fragment        message: 1 | length (3) | version (2) | random (32)
//!                                                     | session id <1> | cipher suites <2> | compression <1>
//!                                                     | extensions <2>, which may be missing
//! ```

use std::net::IpAddr;
use std::str::FromStr;

/// The most bytes of records that a ClientHello may take. Post-quantum key shares make about 1.8 KiB, and long lists of
/// ECH or PSK identities a few more.
pub const HELLO_MAX: usize = 16 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const MAJOR_VERSION: u8 = 3;
/// Of a record: its type, version and length.
const HEADER: usize = 5;
/// The longest fragment (RFC 8446 section 5.1).
const FRAGMENT_MAX: usize = 1 << 14;
/// Of the message: its type and length.
const MESSAGE_HEADER: usize = 4;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// RFC 1035 section 2.3.4.
const NAME_MAX: usize = 253;

/// What a client says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientHello {
    /// In lower case, without a dot at its end; `None` if the client names no host.
    pub name: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HelloFault {
    /// A method's first letter, or an empty line before it.
    PlainHttp,
    /// Neither that nor TLS.
    NotTls,
    TooLarge,
    Malformed,
}

impl HelloFault {
    pub fn text(self) -> &'static str {
        match self {
            HelloFault::PlainHttp => "plain HTTP instead of TLS",
            HelloFault::NotTls => "no TLS",
            HelloFault::TooLarge => "the ClientHello is larger than 16 KiB",
            HelloFault::Malformed => "malformed ClientHello",
        }
    }
}

/// The description of a fatal alert (RFC 8446 section 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Alert {
    DecodeError = 50,
    InternalError = 80,
    UnrecognizedName = 112,
}

impl Alert {
    /// The record that a client gets before anything was agreed on.
    pub fn record(self) -> [u8; 7] {
        const ALERT: u8 = 21;
        const FATAL: u8 = 2;
        [ALERT, MAJOR_VERSION, 3, 0, 2, FATAL, self as u8]
    }
}

/// Whether this is how plain HTTP begins.
pub fn speaks_http(received: &[u8]) -> bool {
    received.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'\r')
}

impl ClientHello {
    /// Reads it from all that was received; `None` while it is not whole. What cannot become one is refused as soon as
    /// that is known.
    pub fn read(received: &[u8]) -> Result<Option<ClientHello>, HelloFault> {
        if speaks_http(received) {
            return Err(HelloFault::PlainHttp);
        }
        let seen = &received[..received.len().min(HELLO_MAX)];
        match fragments(seen)? {
            Message::Whole(message) => hello(&message).map(Some).ok_or(HelloFault::Malformed),
            Message::Cut if received.len() >= HELLO_MAX => Err(HelloFault::TooLarge),
            Message::Cut => Ok(None),
        }
    }
}

enum Message {
    /// What follows its header.
    Whole(Vec<u8>),
    /// More of it is to come.
    Cut,
}

/// Puts the message together, once it is whole: until then only lengths are looked at.
fn fragments(received: &[u8]) -> Result<Message, HelloFault> {
    let (mut rest, mut header, mut length) = (received, Vec::new(), 0);
    loop {
        let Some(fragment) = record(&mut rest)? else { return Ok(Message::Cut) };
        if header.len() < MESSAGE_HEADER {
            let missing = MESSAGE_HEADER - header.len();
            header.extend_from_slice(&fragment.bytes[..fragment.bytes.len().min(missing)]);
        }
        length += fragment.bytes.len();
        match header[..] {
            [kind, ..] if kind != CLIENT_HELLO => return Err(HelloFault::Malformed),
            [_, a, b, c] => {
                let wanted = MESSAGE_HEADER + u32::from_be_bytes([0, a, b, c]) as usize;
                if wanted > HELLO_MAX {
                    return Err(HelloFault::TooLarge);
                }
                if length >= wanted {
                    return Ok(Message::Whole(joined(received, wanted)));
                }
            }
            _ => {}
        }
        if !fragment.whole {
            return Ok(Message::Cut);
        }
    }
}

/// The message's bytes behind its header, up to `end`, where it ends if its header counts. All of them were received.
fn joined(mut received: &[u8], end: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(end);
    while message.len() < end
        && let Ok(Some(fragment)) = record(&mut received)
    {
        message.extend_from_slice(fragment.bytes);
    }
    message.truncate(end);
    message.drain(..MESSAGE_HEADER.min(end));
    message
}

struct Fragment<'a> {
    bytes: &'a [u8],
    whole: bool,
}

/// Takes the next record, or what there is of it. `None`: not even its header.
fn record<'a>(rest: &mut &'a [u8]) -> Result<Option<Fragment<'a>>, HelloFault> {
    match rest {
        [kind, ..] if *kind != HANDSHAKE => return Err(HelloFault::NotTls),
        [_, major, ..] if *major != MAJOR_VERSION => return Err(HelloFault::NotTls),
        _ => {}
    }
    let Some((&[_, _, _, high, low], body)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // An empty handshake record is forbidden (RFC 8446 section 5.1).
    if length == 0 || length > FRAGMENT_MAX {
        return Err(HelloFault::Malformed);
    }
    let (bytes, after) = body.split_at(length.min(body.len()));
    *rest = after;
    Ok(Some(Fragment { bytes, whole: bytes.len() == length }))
}

/// The body of a ClientHello. `None`: malformed.
fn hello(mut message: &[u8]) -> Option<ClientHello> {
    const VERSION_AND_RANDOM: usize = 2 + 32;
    let rest = &mut message;
    take(rest, VERSION_AND_RANDOM)?;
    let (session, suites) = (short(rest)?, long(rest)?);
    let compressions = short(rest)?;
    let fit = session.len() <= 32 && !suites.is_empty() && suites.len() % 2 == 0 && !compressions.is_empty();
    if !fit {
        return None;
    }
    // Before TLS 1.3 there may be no extensions at all.
    let name = if rest.is_empty() { None } else { name_in(long(rest)?)? };
    rest.is_empty().then_some(ClientHello { name })
}

/// The name among these extensions. The outer `None`: malformed.
fn name_in(mut extensions: &[u8]) -> Option<Option<String>> {
    let (rest, mut found) = (&mut extensions, None);
    while !rest.is_empty() {
        let kind = number(rest)?;
        let value = long(rest)?;
        if kind == SERVER_NAME && found.replace(server_name(value)?).is_some() {
            return None;
        }
    }
    Some(found.flatten())
}

/// The list of names: there is one kind of name, and one name of a kind.
fn server_name(mut value: &[u8]) -> Option<Option<String>> {
    let mut list = long(&mut value)?;
    if !value.is_empty() || list.is_empty() {
        return None;
    }
    let (rest, mut found) = (&mut list, None);
    while !rest.is_empty() {
        let kind = *take(rest, 1)?.first()?;
        let name = long(rest)?;
        if kind == HOST_NAME && found.replace(host(name)?).is_some() {
            return None;
        }
    }
    Some(found.flatten())
}

/// A DNS name as scripts get it. An address is not a name (RFC 6066 section 3); clients that send one mean none.
fn host(written: &[u8]) -> Option<Option<String>> {
    let text = std::str::from_utf8(written).ok()?;
    if IpAddr::from_str(text).is_ok() {
        return Some(None);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(fits)
    };
    let fits = name.len() <= NAME_MAX && name.split('.').all(is_label);
    fits.then(|| Some(name.to_ascii_lowercase()))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*take(rest, 2)?.first_chunk()?))
}

/// A vector with a length of one byte before it.
fn short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = *take(rest, 1)?.first()?;
    take(rest, length.into())
}

/// The same with two.
fn long<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)?;
    take(rest, length.into())
}
