//! `req.path`, `req.query`, `req.host` and `req.cookies` as a script may assign them: only what a client could have sent.

use super::assign::Assigned;
use super::directory::quoted;
use super::headers::{self, BYTES_MAX};
use super::request::ObjectKind;
use crate::h1;
use crate::http::{Method, RequestHead, remove_cookie, set_cookie};

/// Fields of `req` that may be assigned.
pub const WRITABLE: [&str; 3] = ["path", "query", "host"];

/// Executes `req[key] = value` for one of `WRITABLE`.
pub fn write(key: &[u8], value: Assigned<'_>, head: &mut RequestHead) -> Result<(), String> {
    match key {
        b"path" => set_path(value, head),
        b"query" => set_query(value, head),
        _ => set_host(value, head),
    }
}

fn set_path(value: Assigned<'_>, head: &mut RequestHead) -> Result<(), String> {
    const EXPECTED: &str =
        "expected a path: \"/\" first, visible ASCII without ? and # (encode others as %XX)";
    let Assigned::Text(path) = value else { return Err(wrong("path", value, EXPECTED)) };
    if head.method == Method::Connect || !h1::is_path(path) {
        return Err(wrong("path", value, EXPECTED));
    }
    check_room("path", path, head)?;
    head.set_path(path);
    Ok(())
}

fn set_query(value: Assigned<'_>, head: &mut RequestHead) -> Result<(), String> {
    const EXPECTED: &str = "expected visible ASCII without # (encode others as %XX), or nil";
    let query = match value {
        Assigned::Nil => None,
        Assigned::Text(query) if h1::is_query(query) => Some(query),
        _ => return Err(wrong("query", value, EXPECTED)),
    };
    if !head.target().starts_with(b"/") {
        return Err("req.query: the target of this request has none".to_string());
    }
    check_room("query", query.unwrap_or_default(), head)?;
    head.set_query(query);
    Ok(())
}

fn set_host(value: Assigned<'_>, head: &mut RequestHead) -> Result<(), String> {
    const EXPECTED: &str = "expected a host, perhaps with a port";
    match value {
        Assigned::Text(host) if !host.is_empty() && h1::is_host(host) => {
            head.keep_asked();
            headers::assign(ObjectKind::Headers, &mut head.fields, b"Host", &[host])
        }
        _ => Err(wrong("host", value, EXPECTED)),
    }
}

/// Executes `req.cookies[name] = value`.
pub fn write_cookie(name: &[u8], value: Assigned<'_>, head: &mut RequestHead) -> Result<(), String> {
    let at = |why: &str| format!("req.cookies[{}]: {why}", quoted(name));
    let text = match value {
        Assigned::Nil => {
            remove_cookie(&mut head.fields, name);
            return Ok(());
        }
        Assigned::Text(text) => text,
        other => return Err(at(&format!("got a {}, expected a string or nil", other.kind()))),
    };
    if !headers::is_name(name) {
        return Err(at("not a name of a cookie (letters, digits and !#$%&'*+-.^_`|~)"));
    }
    headers::check_value(text).map_err(at)?;
    if text.contains(&b';') || text.trim_ascii() != text {
        return Err(at("a cookie's value has no \";\", and no blanks around it"));
    }
    if head.fields.bytes().len() + name.len() + text.len() > BYTES_MAX {
        return Err(at(headers::TOO_LARGE));
    }
    set_cookie(&mut head.fields, name, text);
    Ok(())
}

/// No loop may fill the memory outside the VM.
fn check_room(field: &str, text: &[u8], head: &RequestHead) -> Result<(), String> {
    match head.fields.bytes().len() + head.target().len() + text.len() > BYTES_MAX {
        true => Err(format!("req.{field}: {}", headers::TOO_LARGE)),
        false => Ok(()),
    }
}

fn wrong(field: &str, value: Assigned<'_>, expected: &str) -> String {
    match value {
        Assigned::Text(text) => format!("req.{field}: got {}, {expected}", quoted(text)),
        other => format!("req.{field}: got a {}, {expected}", other.kind()),
    }
}
