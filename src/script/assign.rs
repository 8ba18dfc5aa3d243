//! What a script may change of a request and its response: `object[key] = value`, and the functions of `headers`.

use super::request::{ENDED, Kind, Subject};
use super::{headers, status};
use crate::config::later::{self, LATER};
use crate::http::Fields;

/// What a script assigns.
#[derive(Clone, Copy)]
pub enum Assigned<'a> {
    Nil,
    Text(&'a [u8]),
    Number(i64),
    /// The values of a list, which has one at least.
    Texts(&'a [Vec<u8>]),
    /// Anything else, of this type.
    Other(&'static str),
}

/// Does `object[key] = value`.
pub fn write(kind: Kind, key: &[u8], value: Assigned<'_>, subject: &mut Subject<'_>) -> Result<(), String> {
    match (kind, value) {
        (Kind::Headers | Kind::ResponseHeaders, Assigned::Nil) => {
            headers::remove(kind, writable(kind, subject)?, key)
        }
        (Kind::Headers | Kind::ResponseHeaders, Assigned::Text(text)) => {
            headers::assign(kind, writable(kind, subject)?, key, &[text])
        }
        (Kind::Headers | Kind::ResponseHeaders, Assigned::Texts(texts)) => {
            headers::assign(kind, writable(kind, subject)?, key, texts)
        }
        (Kind::Headers | Kind::ResponseHeaders, Assigned::Number(_)) => {
            Err(headers::no_value(kind, key, "number"))
        }
        (Kind::Headers | Kind::ResponseHeaders, Assigned::Other(what)) => {
            Err(headers::no_value(kind, key, what))
        }
        (Kind::Response, value) if key == b"status" => {
            let response = subject.response.as_deref_mut().ok_or(ENDED)?;
            status::set(response, if let Assigned::Number(status) = value { Some(status) } else { None })
        }
        _ => Err(read_only(kind, key)),
    }
}

/// Does `headers:add(name, value)`.
pub fn add(kind: Kind, name: &[u8], value: &[u8], subject: &mut Subject<'_>) -> Result<(), String> {
    headers::add(kind, writable(kind, subject)?, name, value)
}

/// Copies what `headers:all(name)` gives.
pub fn all(kind: Kind, name: &[u8], subject: &Subject<'_>, into: &mut Vec<Vec<u8>>) {
    let fields = match kind {
        Kind::ResponseHeaders => subject.response.as_ref().map(|response| &response.fields),
        _ => Some(&subject.head.fields),
    };
    let values = fields.into_iter().flat_map(|fields| fields.values_by_name(name));
    into.clear();
    into.extend(values.map(<[u8]>::to_vec));
}

/// The fields that may be changed now.
fn writable<'a>(kind: Kind, subject: &'a mut Subject<'_>) -> Result<&'a mut Fields, String> {
    match (kind, &mut subject.response) {
        (Kind::Headers, None) => Ok(&mut subject.head.fields),
        (Kind::ResponseHeaders, Some(response)) => Ok(&mut response.fields),
        _ => {
            Err("req.headers: the request was sent already, only res.headers can be changed here".to_string())
        }
    }
}

fn read_only(kind: Kind, key: &[u8]) -> String {
    let (what, key_shown) = (kind.written(), key[..key.len().min(100)].escape_ascii());
    let is_later = |names: &[&str]| names.iter().any(|name| name.as_bytes() == key);
    let why = match kind {
        Kind::Request if is_later(later::REQUEST_WRITABLE) => {
            return format!("{what}.{key_shown}: to change it is {LATER}");
        }
        Kind::Cookies => return format!("{what}.{key_shown}: to change it is {LATER}"),
        Kind::Response if is_later(later::RESPONSE) => return format!("{what}.{key_shown}: {LATER}"),
        Kind::Response => "only res.headers[name] and res.status can be changed",
        _ => "only req.headers[name] can be changed",
    };
    format!("{what}.{key_shown}: read-only, {why}")
}
