//! What a script may change in a request and its response: `object[key] = value`, and the functions of `headers`.

use super::headers;
use super::request::{ENDED, ObjectKind, Subject};
use crate::config::later::{self, LATER};
use crate::http::{Fields, ResponseHead, reason_phrase};

/// A value that a script assigns.
#[derive(Clone, Copy)]
pub enum Assigned<'a> {
    Nil,
    Text(&'a [u8]),
    Number(i64),
    /// The values of a list, at least one.
    Texts(&'a [Vec<u8>]),
    /// Any other value, of this type.
    Other(&'static str),
}

/// Executes `object[key] = value`.
pub fn write(
    kind: ObjectKind,
    key: &[u8],
    value: Assigned<'_>,
    subject: &mut Subject<'_>,
) -> Result<(), String> {
    match (kind, value) {
        (ObjectKind::Headers | ObjectKind::ResponseHeaders, Assigned::Nil) => {
            headers::remove(kind, writable(kind, subject)?, key)
        }
        (ObjectKind::Headers | ObjectKind::ResponseHeaders, Assigned::Text(text)) => {
            headers::assign(kind, writable(kind, subject)?, key, &[text])
        }
        (ObjectKind::Headers | ObjectKind::ResponseHeaders, Assigned::Texts(texts)) => {
            headers::assign(kind, writable(kind, subject)?, key, texts)
        }
        (ObjectKind::Headers | ObjectKind::ResponseHeaders, Assigned::Number(_)) => {
            Err(headers::no_value(kind, key, "number"))
        }
        (ObjectKind::Headers | ObjectKind::ResponseHeaders, Assigned::Other(what)) => {
            Err(headers::no_value(kind, key, what))
        }
        (ObjectKind::Response, value) if key == b"status" => {
            let response = subject.response.as_deref_mut().ok_or(ENDED)?;
            set_status(response, if let Assigned::Number(status) = value { Some(status) } else { None })
        }
        _ => Err(read_only(kind, key)),
    }
}

/// Executes `headers:add(name, value)`.
pub fn add(kind: ObjectKind, name: &[u8], value: &[u8], subject: &mut Subject<'_>) -> Result<(), String> {
    headers::add(kind, writable(kind, subject)?, name, value)
}

/// Copies the values that `headers:all(name)` returns.
pub fn all(kind: ObjectKind, name: &[u8], subject: &Subject<'_>, into: &mut Vec<Vec<u8>>) {
    let fields = match kind {
        ObjectKind::ResponseHeaders => subject.response.as_ref().map(|response| &response.fields),
        _ => Some(&subject.head.fields),
    };
    let values = fields.into_iter().flat_map(|fields| fields.values_by_name(name));
    into.clear();
    into.extend(values.map(<[u8]>::to_vec));
}

/// The fields that may be changed now.
fn writable<'a>(kind: ObjectKind, subject: &'a mut Subject<'_>) -> Result<&'a mut Fields, String> {
    match (kind, &mut subject.response) {
        (ObjectKind::Headers, None) => Ok(&mut subject.head.fields),
        (ObjectKind::ResponseHeaders, Some(response)) => Ok(&mut response.fields),
        _ => {
            Err("req.headers: the request was sent already, only res.headers can be changed here".to_string())
        }
    }
}

fn read_only(kind: ObjectKind, key: &[u8]) -> String {
    let (what, key_shown) = (kind.written(), key[..key.len().min(100)].escape_ascii());
    let is_later = |names: &[&str]| names.iter().any(|name| name.as_bytes() == key);
    let why = match kind {
        ObjectKind::Request if is_later(later::REQUEST_WRITABLE) => {
            return format!("{what}.{key_shown}: to change it is {LATER}");
        }
        ObjectKind::Cookies => return format!("{what}.{key_shown}: to change it is {LATER}"),
        ObjectKind::Response if is_later(later::RESPONSE) => return format!("{what}.{key_shown}: {LATER}"),
        ObjectKind::Response => "only res.headers[name] and res.status can be changed",
        _ => "only req.headers[name] can be changed",
    };
    format!("{what}.{key_shown}: read-only, {why}")
}

/// Statuses without a body, or treated so by some recipients: they can neither be set nor replaced.
const BODILESS: [u16; 3] = [204, 205, 304];

/// Sets the status and its reason phrase. Whether there is a body must not change: the server has sent one, or not.
fn set_status(response: &mut ResponseHead, status: Option<i64>) -> Result<(), String> {
    const EXPECTED: &str = "expected a whole number from 200 to 599, but not 204, 205 or 304";
    let status = match status {
        Some(status @ 200..=599) if !BODILESS.contains(&(status as u16)) => status as u16,
        Some(status) if status == i64::from(response.status) => return Ok(()),
        Some(status) => return Err(format!("res.status: got {status}, {EXPECTED}")),
        None => return Err(format!("res.status: {EXPECTED}")),
    };
    let came = response.status;
    if came < 200 || BODILESS.contains(&came) {
        return Err(format!("res.status: a {came} stays one, since it has no body"));
    }
    if came != status {
        response.status = status;
        response.reason = response.fields.store(reason_phrase(status).as_bytes());
    }
    Ok(())
}
