//! What a script can read of a request and its response: the fields of `req` and `res`, `headers`, `cookies` and
//! `args`. Safe code on plain data; `ffi` passes the values to Lua.

use std::io::Write;

use super::log_fields::LogFields;
use super::{RequestMeta, nearest, set_cookie};
use crate::config::{PoolId, ServerId};
use crate::http::{Fields, Name, RequestHead, ResponseHead, Version, arguments, cookies, percent_decode};

/// The data of one call of a script, borrowed by the VM during the call.
pub struct Subject<'a> {
    pub head: &'a mut RequestHead,
    pub client: RequestMeta<'a>,
    /// Set while `on_response` runs.
    pub response: Option<&'a mut ResponseHead>,
    /// Set while a `balance` function runs.
    pub offer: Option<Offer<'a>>,
    /// Set while `on_log` runs.
    pub log: Option<&'a mut LogFields>,
    pub changes: Changes,
}

/// What the function may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changes {
    Request,
    Response,
    Nothing,
}

impl<'a> Subject<'a> {
    /// A request that is not sent yet.
    pub fn request(head: &'a mut RequestHead, client: RequestMeta<'a>) -> Subject<'a> {
        Subject { head, client, response: None, offer: None, log: None, changes: Changes::Request }
    }

    /// The host that is asked for.
    pub fn name(&self) -> Option<&[u8]> {
        self.head.fields.get(Name::Host)
    }
}

/// The servers that a `balance` function may choose from.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    pub pool: PoolId,
    pub candidates: &'a [ServerId],
    /// These by index of the server in its pool.
    pub in_flight: &'a [u32],
    pub weights: &'a [u32],
    pub up: &'a [bool],
    /// Moving averages of the time to the first byte, in microseconds.
    pub latencies: &'a [Option<u64>],
}

/// The kinds of objects that scripts hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ObjectKind {
    Request,
    Response,
    Headers,
    ResponseHeaders,
    Cookies,
    ResponseCookies,
    Args,
    Tls,
    Server,
    Answer,
    Connection,
    Log,
}

impl ObjectKind {
    pub const ALL: [ObjectKind; 12] = [
        ObjectKind::Request,
        ObjectKind::Response,
        ObjectKind::Headers,
        ObjectKind::ResponseHeaders,
        ObjectKind::Cookies,
        ObjectKind::ResponseCookies,
        ObjectKind::Args,
        ObjectKind::Tls,
        ObjectKind::Server,
        ObjectKind::Answer,
        ObjectKind::Connection,
        ObjectKind::Log,
    ];

    /// The name in Lua's own messages.
    pub fn name(self) -> &'static str {
        match self {
            ObjectKind::Request => "request",
            ObjectKind::Response => "response",
            ObjectKind::Headers | ObjectKind::ResponseHeaders => "headers",
            ObjectKind::Cookies | ObjectKind::ResponseCookies => "cookies",
            ObjectKind::Args => "args",
            ObjectKind::Tls => "tls",
            ObjectKind::Server => "server",
            ObjectKind::Answer => "answer",
            ObjectKind::Connection => "conn",
            ObjectKind::Log => "log",
        }
    }

    /// How scripts usually write it.
    pub fn written(self) -> &'static str {
        match self {
            ObjectKind::Request => "req",
            ObjectKind::Response => "res",
            ObjectKind::Headers => "req.headers",
            ObjectKind::ResponseHeaders => "res.headers",
            ObjectKind::Cookies => "req.cookies",
            ObjectKind::ResponseCookies => "res.cookies",
            ObjectKind::Args => "req.args",
            ObjectKind::Tls => "req.tls",
            ObjectKind::Server => "server",
            ObjectKind::Answer => "answer",
            ObjectKind::Connection => "conn",
            ObjectKind::Log => "log",
        }
    }
}

/// A value to be pushed to Lua.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FieldValue<'a> {
    Nil,
    Text(&'a [u8]),
    Number(i64),
    Float(f64),
    Boolean(bool),
    /// `headers`, `cookies` or `args` of this request.
    Object(ObjectKind),
}

pub const ENDED: &str = "this request has ended: copy what you need while its handler runs";

pub const REQUEST_FIELDS: [&str; 15] = [
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
    "listener",
    "headers",
    "cookies",
    "args",
    "tls",
];
pub const TLS_FIELDS: [&str; 6] = ["version", "cipher", "sni", "alpn", "client_subject", "client_verified"];
pub const RESPONSE_FIELDS: [&str; 4] = ["status", "reason", "headers", "cookies"];
pub const CONNECTION_FIELDS: [&str; 2] = ["client_ip", "listener"];
pub const SERVER_FIELDS: [&str; 6] = ["name", "address", "in_flight", "weight", "up", "latency"];

/// Reads `object[key]`. `scratch` holds texts that are not in the head.
pub fn read<'a>(
    kind: ObjectKind,
    key: &[u8],
    subject: &'a Subject<'_>,
    scratch: &'a mut Vec<u8>,
) -> Result<FieldValue<'a>, String> {
    match kind {
        ObjectKind::Request => request_field(key, subject, scratch),
        ObjectKind::Response => response_field(key, subject),
        ObjectKind::Headers => Ok(first(&subject.head.fields, key)),
        ObjectKind::ResponseHeaders => {
            Ok(subject.response.as_ref().map_or(FieldValue::Nil, |r| first(&r.fields, key)))
        }
        ObjectKind::Cookies => Ok(cookies(&subject.head.fields)
            .find(|(name, _)| *name == key)
            .map_or(FieldValue::Nil, |(_, value)| FieldValue::Text(value))),
        ObjectKind::ResponseCookies => {
            let fields = subject.response.as_ref().map(|response| &response.fields);
            let mut all = fields.into_iter().flat_map(set_cookie::cookies);
            Ok(all
                .find(|(name, _)| *name == key)
                .map_or(FieldValue::Nil, |(_, value)| FieldValue::Text(value)))
        }
        ObjectKind::Args => Ok(arg(subject.head.query().unwrap_or_default(), key, scratch)),
        ObjectKind::Tls => tls_field(key, subject),
        ObjectKind::Connection => match key {
            b"client_ip" => Ok(FieldValue::Text(client_ip(&subject.client, scratch))),
            b"listener" => Ok(FieldValue::Text(subject.client.listener.as_bytes())),
            _ => Err(unknown(kind, key, &CONNECTION_FIELDS)),
        },
        ObjectKind::Log => Ok(subject.log.as_ref().map_or(FieldValue::Nil, |log| log.get(key))),
        ObjectKind::Server | ObjectKind::Answer => Ok(FieldValue::Nil),
    }
}

fn tls_field<'a>(key: &[u8], subject: &'a Subject<'_>) -> Result<FieldValue<'a>, String> {
    let Some(tls) = subject.client.tls else { return Ok(FieldValue::Nil) };
    let text =
        |text: &'a Option<String>| text.as_ref().map_or(FieldValue::Nil, |t| FieldValue::Text(t.as_bytes()));
    Ok(match key {
        b"version" => FieldValue::Text(tls.version.as_bytes()),
        b"cipher" => FieldValue::Text(tls.cipher.as_bytes()),
        b"sni" => text(&tls.sni),
        b"alpn" => text(&tls.alpn),
        b"client_subject" => text(&tls.client_subject),
        b"client_verified" => FieldValue::Boolean(tls.client_verified),
        _ => return Err(unknown(ObjectKind::Tls, key, &TLS_FIELDS)),
    })
}

fn request_field<'a>(
    key: &[u8],
    subject: &'a Subject<'_>,
    scratch: &'a mut Vec<u8>,
) -> Result<FieldValue<'a>, String> {
    let (head, client) = (&*subject.head, &subject.client);
    Ok(match key {
        b"host" => FieldValue::Text(lower(head.host(), scratch)),
        b"path" => FieldValue::Text(head.path()),
        b"method" => FieldValue::Text(head.method_text()),
        b"target" => FieldValue::Text(head.original_target_and_host().0),
        b"query" => head.query().map_or(FieldValue::Nil, FieldValue::Text),
        b"headers" => FieldValue::Object(ObjectKind::Headers),
        b"cookies" => FieldValue::Object(ObjectKind::Cookies),
        b"args" => FieldValue::Object(ObjectKind::Args),
        b"tls" => client.tls.map_or(FieldValue::Nil, |_| FieldValue::Object(ObjectKind::Tls)),
        b"scheme" => FieldValue::Text(client.scheme.as_bytes()),
        b"id" => FieldValue::Text(client.id),
        b"listener" => FieldValue::Text(client.listener.as_bytes()),
        b"client_ip" => FieldValue::Text(client_ip(client, scratch)),
        b"client_port" => FieldValue::Number(client.address.map_or(0, |a| a.port.into())),
        b"version" => FieldValue::Text(match head.version {
            Version::Http10 => b"1.0",
            Version::Http11 => b"1.1",
        }),
        _ => return Err(unknown(ObjectKind::Request, key, &REQUEST_FIELDS)),
    })
}

fn response_field<'a>(key: &[u8], subject: &'a Subject<'_>) -> Result<FieldValue<'a>, String> {
    let Some(response) = &subject.response else { return Err(ENDED.to_string()) };
    Ok(match key {
        b"status" => FieldValue::Number(response.status.into()),
        b"reason" => FieldValue::Text(response.reason()),
        b"headers" => FieldValue::Object(ObjectKind::ResponseHeaders),
        b"cookies" => FieldValue::Object(ObjectKind::ResponseCookies),
        _ => return Err(unknown(ObjectKind::Response, key, &RESPONSE_FIELDS)),
    })
}

/// The message for an unknown field.
pub fn unknown(kind: ObjectKind, key: &[u8], known: &[&str]) -> String {
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
        Some(address) => write!(scratch, "{}", address.ip),
        None => write!(scratch, "unix:"),
    };
    scratch
}

fn first<'a>(fields: &'a Fields, name: &[u8]) -> FieldValue<'a> {
    fields.get_by_name(name).map_or(FieldValue::Nil, FieldValue::Text)
}

fn arg<'a>(query: &[u8], key: &[u8], scratch: &'a mut Vec<u8>) -> FieldValue<'a> {
    for (name, value) in arguments(query) {
        percent_decode(name, scratch);
        if scratch == key {
            percent_decode(value, scratch);
            return FieldValue::Text(scratch);
        }
    }
    FieldValue::Nil
}

/// A copy of all names and values for `pairs`, so that the script may change headers during the loop.
pub fn pairs(kind: ObjectKind, subject: &Subject<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let copy = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    let lines = |fields: &Fields| fields.iter().map(|(_, n, v)| copy((n, v))).collect();
    let decoded = |text: &[u8]| {
        let mut out = Vec::new();
        percent_decode(text, &mut out);
        out
    };
    match kind {
        ObjectKind::Headers => lines(&subject.head.fields),
        ObjectKind::ResponseHeaders => subject.response.as_ref().map_or(Vec::new(), |r| lines(&r.fields)),
        ObjectKind::Cookies => cookies(&subject.head.fields).map(copy).collect(),
        ObjectKind::ResponseCookies => {
            let fields = subject.response.as_ref().map(|response| &response.fields);
            fields.into_iter().flat_map(set_cookie::cookies).map(copy).collect()
        }
        ObjectKind::Args => {
            let query = subject.head.query().unwrap_or_default();
            arguments(query).map(|(name, value)| (decoded(name), decoded(value))).collect()
        }
        _ => Vec::new(),
    }
}
