//! What a script may change in a request and its response: `object[key] = value`, and the functions of `headers`.

use super::request::{Changes, ENDED, ObjectKind, Subject};
use super::set_cookie::{self, SetCookie};
use super::{headers, rewrite};
use crate::http::{Fields, Name, RequestHead, ResponseHead, reason_phrase};

/// A value that a script assigns.
#[derive(Clone, Copy)]
pub enum Assigned<'a> {
    Nil,
    Text(&'a [u8]),
    Number(i64),
    Float(f64),
    Boolean(bool),
    /// The values of a list, at least one.
    Texts(&'a [Vec<u8>]),
    /// Any other value, of this type.
    Other(&'static str),
}

impl Assigned<'_> {
    /// The name of its type in Lua.
    pub fn kind(self) -> &'static str {
        match self {
            Assigned::Nil => "nil",
            Assigned::Text(_) => "string",
            Assigned::Number(_) | Assigned::Float(_) => "number",
            Assigned::Boolean(_) => "boolean",
            Assigned::Texts(_) => "table",
            Assigned::Other(kind) => kind,
        }
    }
}

/// Executes `object[key] = value`.
pub fn write(
    kind: ObjectKind,
    key: &[u8],
    value: Assigned<'_>,
    subject: &mut Subject<'_>,
) -> Result<(), String> {
    match kind {
        ObjectKind::Headers | ObjectKind::ResponseHeaders => write_header(kind, key, value, subject),
        ObjectKind::Request if rewrite::WRITABLE.iter().any(|name| name.as_bytes() == key) => {
            rewrite::write(key, value, changeable_request(kind, subject)?)
        }
        ObjectKind::Cookies => rewrite::write_cookie(key, value, changeable_request(kind, subject)?),
        ObjectKind::ResponseCookies => {
            set_cookie::write(key, value, &mut changeable_response(kind, subject)?.fields)
        }
        ObjectKind::Response if key == b"status" => {
            let status = if let Assigned::Number(status) = value { Some(status) } else { None };
            set_status(changeable_response(kind, subject)?, status)
        }
        ObjectKind::Log => match &mut subject.log {
            Some(log) => log.set(key, value),
            None => Err(ENDED.to_string()),
        },
        _ => Err(read_only(kind, key)),
    }
}

fn write_header(
    kind: ObjectKind,
    name: &[u8],
    value: Assigned<'_>,
    subject: &mut Subject<'_>,
) -> Result<(), String> {
    let fields = changeable_fields(kind, name, subject)?;
    match value {
        Assigned::Nil => headers::remove(kind, fields, name),
        Assigned::Text(text) => headers::assign(kind, fields, name, &[text]),
        Assigned::Texts(texts) => headers::assign(kind, fields, name, texts),
        other => Err(headers::no_value(kind, name, other.kind())),
    }
}

/// Executes `res.cookies[name] = { … }`.
pub fn write_cookie(name: &[u8], cookie: SetCookie, subject: &mut Subject<'_>) -> Result<(), String> {
    let response = changeable_response(ObjectKind::ResponseCookies, subject)?;
    set_cookie::write_table(name, cookie, &mut response.fields)
}

/// Executes `headers:add(name, value)`.
pub fn add(kind: ObjectKind, name: &[u8], value: &[u8], subject: &mut Subject<'_>) -> Result<(), String> {
    headers::add(kind, changeable_fields(kind, name, subject)?, name, value)
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
fn changeable_fields<'a>(
    kind: ObjectKind,
    name: &[u8],
    subject: &'a mut Subject<'_>,
) -> Result<&'a mut Fields, String> {
    if kind == ObjectKind::ResponseHeaders {
        return Ok(&mut changeable_response(kind, subject)?.fields);
    }
    let head = changeable_request(kind, subject)?;
    if Name::of(name) == Name::Host {
        head.keep_asked();
    }
    Ok(&mut head.fields)
}

fn changeable_request<'a>(
    kind: ObjectKind,
    subject: &'a mut Subject<'_>,
) -> Result<&'a mut RequestHead, String> {
    match subject.changes {
        Changes::Request => Ok(subject.head),
        Changes::Response => {
            Err(format!("{}: the request was sent already, only res can be changed here", kind.written()))
        }
        Changes::Nothing => Err(format!("{}: {NOTHING}", kind.written())),
    }
}

fn changeable_response<'a>(
    kind: ObjectKind,
    subject: &'a mut Subject<'_>,
) -> Result<&'a mut ResponseHead, String> {
    match (&mut subject.response, subject.changes) {
        (Some(response), Changes::Response) => Ok(response),
        _ => Err(format!("{}: {NOTHING}", kind.written())),
    }
}

const NOTHING: &str = "the request is over, nothing of it can be changed here";

fn read_only(kind: ObjectKind, key: &[u8]) -> String {
    let (what, key_shown) = (kind.written(), key[..key.len().min(100)].escape_ascii());
    let why = match kind {
        ObjectKind::Args => "assign req.query",
        ObjectKind::Connection => "nothing of it can be changed",
        ObjectKind::Response | ObjectKind::ResponseHeaders => {
            "only status, headers and cookies can be changed"
        }
        _ => "only path, query, host, headers and cookies can be changed",
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
