//! What scripts may do to the fields of a head: no name or value may end a line or change the framing, and singleton
//! fields stay single.

use super::directory::quoted;
use super::request::ObjectKind;
use crate::h1;
use crate::http::{Fields, Name, Names};

/// Limit on the bytes of a head that a script changes, so that no loop can fill the memory outside the VM.
pub const BYTES_MAX: usize = 256 * 1024;

/// The message for more.
pub const TOO_LARGE: &str = "the headers would be larger than 256 KiB";

/// The same for its fields.
pub const FIELDS_MAX: usize = 2000;

/// The accepted values.
const EXPECTED: &str = "expected a string, a list of strings or nil";

/// Framing and connection fields: only rsp writes them.
const READ_ONLY: Names = Names::of(&[
    Name::Connection,
    Name::ContentLength,
    Name::Expect,
    Name::KeepAlive,
    Name::Te,
    Name::Trailer,
    Name::TransferEncoding,
    Name::Upgrade,
]);

/// Fields that are not lists (RFC 9110): recipients would disagree about a second one.
const SINGLE: [&[u8]; 22] = [
    b"age",
    b"authorization",
    b"content-location",
    b"content-range",
    b"content-type",
    b"date",
    b"etag",
    b"expires",
    b"from",
    b"host",
    b"if-modified-since",
    b"if-range",
    b"if-unmodified-since",
    b"last-modified",
    b"location",
    b"max-forwards",
    b"proxy-authorization",
    b"range",
    b"referer",
    b"retry-after",
    b"server",
    b"user-agent",
];

/// `req.headers["Name"]`, for messages.
pub fn shown(kind: ObjectKind, name: &[u8]) -> String {
    format!("{}[{}]", kind.written(), quoted(name))
}

/// The message for a value of a wrong type.
pub fn no_value(kind: ObjectKind, name: &[u8], what: &str) -> String {
    format!("{}: got a {what}, {EXPECTED}", shown(kind, name))
}

/// The message for a table that is not a list of strings.
pub fn no_list(kind: ObjectKind, name: &[u8]) -> String {
    format!(
        "{}: got a table, expected a list of strings, one at least, and nothing else in it",
        shown(kind, name)
    )
}

/// Replaces all values of the field by these, at least one.
pub fn assign(
    kind: ObjectKind,
    fields: &mut Fields,
    name: &[u8],
    values: &[impl AsRef<[u8]>],
) -> Result<(), String> {
    let wrong = |why: String| format!("{}: {why}", shown(kind, name));
    check(kind, fields, name, values).map_err(wrong)?;
    let Some((first, others)) = values.split_first() else { return Ok(()) };
    take_lookalikes(kind, fields, name);
    fields.set(name, first.as_ref());
    for value in others {
        fields.append(name, value.as_ref());
    }
    Ok(())
}

/// Adds one more field of this name.
pub fn add(kind: ObjectKind, fields: &mut Fields, name: &[u8], value: &[u8]) -> Result<(), String> {
    let wrong = |why: String| format!("{}:add({}): {why}", kind.written(), quoted(name));
    check(kind, fields, name, &[value]).map_err(wrong)?;
    if is_single(name) && fields.get_by_name(name).is_some() {
        return Err(wrong(format!("{ONE_VALUE}, and it is there: assign the new one")));
    }
    take_lookalikes(kind, fields, name);
    fields.append(name, value);
    Ok(())
}

/// Removes every field of this name.
pub fn remove(kind: ObjectKind, fields: &mut Fields, name: &[u8]) -> Result<(), String> {
    check_name(name).map_err(|wrong| format!("{}: {wrong}", shown(kind, name)))?;
    take_lookalikes(kind, fields, name);
    fields.remove(name);
    Ok(())
}

/// Removes fields of the client that programs behind WSGI or CGI would take for this one.
fn take_lookalikes(kind: ObjectKind, fields: &mut Fields, name: &[u8]) {
    if kind == ObjectKind::Headers {
        fields.remove_lookalikes(name);
    }
}

const ONE_VALUE: &str = "this field has one value";

fn check(kind: ObjectKind, fields: &Fields, name: &[u8], values: &[impl AsRef<[u8]>]) -> Result<(), String> {
    check_name(name)?;
    if values.len() > 1 && is_single(name) {
        return Err(format!("{ONE_VALUE}, got {}", values.len()));
    }
    let mut bytes = fields.bytes().len();
    for value in values {
        check_value(value.as_ref())?;
        bytes += name.len() + value.as_ref().len();
    }
    if kind == ObjectKind::Headers
        && Name::of(name) == Name::Host
        && !values.iter().all(|v| h1::is_host(v.as_ref()))
    {
        return Err("expected a host, perhaps with a port".to_string());
    }
    if bytes > BYTES_MAX {
        return Err(TOO_LARGE.to_string());
    }
    match fields.len() + values.len() > FIELDS_MAX {
        true => Err(format!("there would be more than {FIELDS_MAX} headers")),
        false => Ok(()),
    }
}

fn is_single(name: &[u8]) -> bool {
    SINGLE.iter().any(|single| single.eq_ignore_ascii_case(name))
}

/// Whether a script may set a field of this name.
pub fn check_name(name: &[u8]) -> Result<(), &'static str> {
    if !is_name(name) {
        return Err("not a header name (letters, digits and !#$%&'*+-.^_`|~)");
    }
    if READ_ONLY.has(Name::of(name)) {
        return Err("read-only: rsp itself writes the fields that frame a message");
    }
    Ok(())
}

/// Whether a field may have this value: it must not contain anything like a line end.
pub fn check_value(value: &[u8]) -> Result<(), &'static str> {
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err("the value has a CR, LF, NUL or another control byte");
    }
    Ok(())
}

/// A token (RFC 9110 section 5.6.2), of which names of headers and cookies consist.
pub fn is_name(name: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_part)
}
