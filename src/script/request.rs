//! What a script sees of a request and its response, and what it may change: the fields of `req` and `res`,
//! `headers`, `cookies` and `args`. All of it safe code on plain data; hot/ carries the values to Lua.

use std::io::Write;

use super::{RequestMeta, nearest};
use crate::config::later::{self, LATER};
use crate::config::{PoolId, ServerId};
use crate::http::{Fields, Name, RequestHead, ResponseHead, Version};

/// What one call of a script is about. Lent to the VM for the duration of the call.
pub struct Subject<'a> {
    pub head: &'a mut RequestHead,
    pub client: RequestMeta<'a>,
    /// Set while `on_response` runs.
    pub response: Option<&'a mut ResponseHead>,
    /// Set while a `balance` function runs.
    pub offer: Option<Offer<'a>>,
}

/// The servers a `balance` function may choose from.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    pub pool: PoolId,
    pub candidates: &'a [ServerId],
    /// For every server of the pool.
    pub in_flight: &'a [u32],
}

/// The sorts of objects that scripts hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Request,
    Response,
    Headers,
    ResponseHeaders,
    Cookies,
    Args,
    Server,
    Answer,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Request,
        Kind::Response,
        Kind::Headers,
        Kind::ResponseHeaders,
        Kind::Cookies,
        Kind::Args,
        Kind::Server,
        Kind::Answer,
    ];

    /// How Lua's own messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Request => "request",
            Kind::Response => "response",
            Kind::Headers | Kind::ResponseHeaders => "headers",
            Kind::Cookies => "cookies",
            Kind::Args => "args",
            Kind::Server => "server",
            Kind::Answer => "answer",
        }
    }

    /// How a script usually writes it.
    pub fn written(self) -> &'static str {
        match self {
            Kind::Request => "req",
            Kind::Response => "res",
            Kind::Headers => "req.headers",
            Kind::ResponseHeaders => "res.headers",
            Kind::Cookies => "req.cookies",
            Kind::Args => "req.args",
            Kind::Server => "server",
            Kind::Answer => "answer",
        }
    }
}

/// A value on its way to Lua.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value<'a> {
    Nil,
    Text(&'a [u8]),
    Number(i64),
    /// `headers`, `cookies` or `args` of this request.
    Object(Kind),
}

pub const ENDED: &str = "this request has ended: copy what you need while its handler runs";

const REQUEST_FIELDS: [&str; 13] = [
    "method",
    "target",
    "path",
    "query",
    "host",
    "scheme",
    "version",
    "client_ip",
    "client_port",
    "id",
    "headers",
    "cookies",
    "args",
];
const RESPONSE_FIELDS: [&str; 3] = ["status", "reason", "headers"];

/// Reads `object[key]`. `scratch` holds texts that stand nowhere in the head.
pub fn read<'a>(
    kind: Kind,
    key: &[u8],
    subject: &'a Subject<'_>,
    scratch: &'a mut Vec<u8>,
) -> Result<Value<'a>, String> {
    match kind {
        Kind::Request => request_field(key, subject, scratch),
        Kind::Response => response_field(key, subject),
        Kind::Headers => Ok(first(&subject.head.fields, key)),
        Kind::ResponseHeaders => Ok(subject.response.as_ref().map_or(Value::Nil, |r| first(&r.fields, key))),
        Kind::Cookies => Ok(cookies(&subject.head.fields)
            .find(|(name, _)| *name == key)
            .map_or(Value::Nil, |(_, value)| Value::Text(value))),
        Kind::Args => Ok(arg(subject.head.query().unwrap_or_default(), key, scratch)),
        Kind::Server | Kind::Answer => Ok(Value::Nil),
    }
}

fn request_field<'a>(
    key: &[u8],
    subject: &'a Subject<'_>,
    scratch: &'a mut Vec<u8>,
) -> Result<Value<'a>, String> {
    let (head, client) = (&*subject.head, &subject.client);
    Ok(match key {
        b"host" => Value::Text(lower(head.host(), scratch)),
        b"path" => Value::Text(head.path()),
        b"method" => Value::Text(head.method_text()),
        b"target" => Value::Text(head.target()),
        b"query" => head.query().map_or(Value::Nil, Value::Text),
        b"headers" => Value::Object(Kind::Headers),
        b"cookies" => Value::Object(Kind::Cookies),
        b"args" => Value::Object(Kind::Args),
        b"scheme" => Value::Text(client.scheme.as_bytes()),
        b"id" => Value::Text(client.id),
        b"client_ip" => Value::Text(client_ip(client, scratch)),
        b"client_port" => Value::Number(client.address.map_or(0, |a| a.port().into())),
        b"version" => Value::Text(match head.version {
            Version::Http10 => b"1.0",
            Version::Http11 => b"1.1",
        }),
        _ => return Err(absent(Kind::Request, key, &REQUEST_FIELDS, later::REQUEST)),
    })
}

fn response_field<'a>(key: &[u8], subject: &'a Subject<'_>) -> Result<Value<'a>, String> {
    let Some(response) = &subject.response else { return Err(ENDED.to_string()) };
    Ok(match key {
        b"status" => Value::Number(response.status.into()),
        b"reason" => Value::Text(response.reason()),
        b"headers" => Value::Object(Kind::ResponseHeaders),
        _ => return Err(absent(Kind::Response, key, &RESPONSE_FIELDS, later::RESPONSE)),
    })
}

/// The message for a field that this version does not have, or none has.
fn absent(kind: Kind, key: &[u8], known: &[&str], later: &[&str]) -> String {
    match later.iter().find(|name| name.as_bytes() == key) {
        Some(name) => format!("{}.{name}: {LATER}", kind.written()),
        None => unknown(kind, key, known),
    }
}

/// The message for a field that there is not.
pub fn unknown(kind: Kind, key: &[u8], known: &[&str]) -> String {
    let key_shown = key[..key.len().min(100)].escape_ascii();
    format!("{}.{key_shown}: no such field, {}", kind.written(), nearest::hint(key, known.iter().copied()))
}

fn lower<'a>(host: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if !host.iter().fold(false, |any, byte| any | byte.is_ascii_uppercase()) {
        return host;
    }
    scratch.clear();
    scratch.extend(host.iter().map(u8::to_ascii_lowercase));
    scratch
}

fn client_ip<'a>(client: &RequestMeta<'_>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    scratch.clear();
    // Writing to a Vec cannot fail.
    let _ = match client.address {
        Some(address) => write!(scratch, "{}", address.ip()),
        None => write!(scratch, "unix:"),
    };
    scratch
}

fn first<'a>(fields: &'a Fields, name: &[u8]) -> Value<'a> {
    fields.get_by_name(name).map_or(Value::Nil, Value::Text)
}

/// Names and values of all `Cookie` fields (RFC 6265 section 5.4), as they are.
fn cookies(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = fields.iter().filter(|(tag, ..)| *tag == Name::Cookie);
    lines.flat_map(|(_, _, line)| line.split(|byte| *byte == b';')).filter_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
    })
}

/// Names and values of a query, still encoded. A name alone has an empty value.
fn args(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let at = memchr::memchr(b'=', pair);
        at.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]))
    })
}

fn arg<'a>(query: &[u8], key: &[u8], scratch: &'a mut Vec<u8>) -> Value<'a> {
    for (name, value) in args(query) {
        decode(name, scratch);
        if scratch == key {
            decode(value, scratch);
            return Value::Text(scratch);
        }
    }
    Value::Nil
}

/// Undoes percent-encoding; `+` is a space, a `%` without two hex digits behind it stays.
fn decode(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            _ => out.push(byte),
        }
    }
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).unwrap_or_default() as u8
}

/// A copy of all names and values for `pairs`; a copy, so that the script may change headers while it looks.
pub fn pairs(kind: Kind, subject: &Subject<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let copy = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    let lines = |fields: &Fields| fields.iter().map(|(_, n, v)| copy((n, v))).collect();
    let decoded = |text: &[u8]| {
        let mut out = Vec::new();
        decode(text, &mut out);
        out
    };
    match kind {
        Kind::Headers => lines(&subject.head.fields),
        Kind::ResponseHeaders => subject.response.as_ref().map_or(Vec::new(), |r| lines(&r.fields)),
        Kind::Cookies => cookies(&subject.head.fields).map(copy).collect(),
        Kind::Args => {
            let query = subject.head.query().unwrap_or_default();
            args(query).map(|(name, value)| (decoded(name), decoded(value))).collect()
        }
        _ => Vec::new(),
    }
}
