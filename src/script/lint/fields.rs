//! The fields that objects of scripts have, by the lists that the VM itself goes by.

use super::walk::Kind;
use crate::script::nearest;
use crate::script::request::{CONNECTION_FIELDS, REQUEST_FIELDS, RESPONSE_FIELDS, TLS_FIELDS};
use crate::script::rewrite::WRITABLE;

/// The name of the object in messages, and its fields.
fn known(kind: Kind, rsp: &[String]) -> Option<(&'static str, Vec<&str>)> {
    Some(match kind {
        Kind::Rsp => ("rsp", rsp.iter().map(String::as_str).collect()),
        Kind::Request => ("req", [&REQUEST_FIELDS[..], &["body"]].concat()),
        Kind::Response => ("res", RESPONSE_FIELDS.to_vec()),
        Kind::Connection => ("conn", CONNECTION_FIELDS.to_vec()),
        Kind::Tls => ("req.tls", TLS_FIELDS.to_vec()),
        _ => return None,
    })
}

/// What is wrong with reading this field.
pub(super) fn read(kind: Kind, field: &str, rsp: &[String]) -> Option<String> {
    let (object, fields) = known(kind, rsp)?;
    if fields.contains(&field) {
        return None;
    }
    let hint = nearest::hint(field.as_bytes(), fields.iter().copied());
    Some(format!("{object}.{field}: no such field, {hint}"))
}

/// What is wrong with assigning to it.
pub(super) fn write(kind: Kind, field: &str, rsp: &[String]) -> Option<String> {
    let (object, _) = known(kind, rsp)?;
    let may = match kind {
        Kind::Request => WRITABLE.contains(&field),
        Kind::Response => field == "status",
        _ => false,
    };
    match read(kind, field, rsp) {
        _ if may => None,
        Some(unknown) => Some(unknown),
        None if kind == Kind::Rsp => Some(format!("rsp.{field}: cannot be assigned, expected a call of it")),
        None if matches!(field, "headers" | "cookies") => {
            Some(format!("{object}.{field}: cannot be assigned, expected {object}.{field}[\"NAME\"] = …"))
        }
        None => Some(format!("{object}.{field}: cannot be assigned, it is read-only")),
    }
}

/// Unknown keys of the table that `rsp.respond` or `rsp.fetch` takes.
pub(super) fn key(function: &str, key: &str) -> Option<String> {
    let known: &[&str] = match function {
        "respond" => &["status", "headers", "body"],
        "fetch" => &["pool", "method", "path", "headers", "body", "timeout", "max_body"],
        _ => return None,
    };
    let hint = || nearest::hint(key.as_bytes(), known.iter().copied());
    (!known.contains(&key)).then(|| format!("rsp.{function}: unknown key \"{key}\", {}", hint()))
}
