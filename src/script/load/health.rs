//! `health` and `eject` of a pool: how servers are found to be down.

use std::ops::RangeInclusive;

use mlua::Value;

use super::error::{ReadValue, ValueError};
use super::schema::{Keys, list, row, table};
use super::values::{is_token, number, text, time, whole};
use crate::config::{Eject, Health, HealthKind, HttpCheck, StatusRanges};
use crate::h1;

pub(super) struct HealthTable {
    health: Health,
    http: HttpCheck,
}

pub(super) const HEALTH: Keys<HealthTable> = Keys {
    noun: "health key",
    rows: &[
        row("path", |value, all| path(value).map(|path| all.http.path = path)),
        row("interval", |value, all| time(value).map(|time| all.health.interval = time)),
        row("timeout", |value, all| time(value).map(|time| all.health.timeout = time)),
        row("rise", |value, all| whole(value, 1..=1000).map(|checks| all.health.rise = checks as u32)),
        row("fall", |value, all| whole(value, 1..=1000).map(|checks| all.health.fall = checks as u32)),
        row("status", |value, all| {
            statuses(value, 200..=599, "200-399").map(|status| all.http.status = status)
        }),
        row("body", |value, all| body(value).map(|body| all.http.body = Some(body))),
        row("host", |value, all| host(value).map(|host| all.http.host = Some(host))),
        row("method", |value, all| method(value).map(|method| all.http.method = method)),
        row("port", |value, all| whole(value, 1..=65535).map(|port| all.health.port = Some(port as u16))),
    ],
    items: 0,
};

pub(super) const EJECT: Keys<Eject> = Keys {
    noun: "eject key",
    rows: &[
        row("failures", |value, all| whole(value, 1..=1_000_000).map(|most| all.failures = most as u32)),
        row("error_rate", |value, all| number(value, 0.01..=1.0).map(|rate| all.error_rate = Some(rate))),
        row("status", |value, all| statuses(value, 500..=599, "500-599").map(|status| all.status = status)),
        row("pause", |value, all| time(value).map(|time| all.pause = time)),
        row("most", |value, all| number(value, 0.0..=1.0).map(|share| all.most = share)),
    ],
    items: 0,
};

pub(super) fn health(value: &Value) -> ReadValue<Health> {
    if value.as_string().is_some_and(|word| word.as_bytes() == *b"tcp") {
        return Ok(Health::of(HealthKind::Tcp));
    }
    let table = table(value, "\"tcp\" or a table such as { path = \"/up\" }")?;
    let mut written = HealthTable { health: Health::of(HealthKind::Tcp), http: HttpCheck::default() };
    HEALTH.read(table, &mut written)?;
    let HealthTable { health, http } = written;
    if http.method == "HEAD" && http.body.is_some() {
        let why = "a response to HEAD has none, expected method = \"GET\"";
        return Err(ValueError::new(why).key("body"));
    }
    Ok(Health { kind: HealthKind::Http(http), ..health })
}

pub(super) fn eject(value: &Value) -> ReadValue<Option<Eject>> {
    match value {
        Value::Boolean(is) => Ok(is.then(Eject::default)),
        value => {
            let table = table(value, "false or a table such as { failures = 5 }")?;
            let mut eject = Eject::default();
            EJECT.read(table, &mut eject)?;
            Ok(Some(eject))
        }
    }
}

/// One status or range, a text of several (`"200-299,404"`), or a list of these.
fn statuses(value: &Value, allowed: RangeInclusive<u16>, example: &str) -> ReadValue<StatusRanges> {
    let expected = || {
        let (first, last) = (allowed.start(), allowed.end());
        format!("statuses from {first} to {last} such as \"{example}\" or {first}")
    };
    let read = |value: &Value| -> Option<Vec<RangeInclusive<u16>>> {
        let text = match value {
            Value::Integer(status) => status.to_string(),
            Value::String(text) => text.to_string_lossy(),
            _ => return None,
        };
        let ranges: Option<Vec<_>> = text.split(',').map(|part| status_range(part.trim())).collect();
        ranges.filter(|all| {
            all.iter().all(|part| allowed.contains(part.start()) && allowed.contains(part.end()))
        })
    };
    let one = |value: &Value| read(value).ok_or_else(|| ValueError::got(value, &expected()));
    if !value.is_table() {
        return one(value).map(StatusRanges);
    }
    let items = list(value, &expected())?;
    if items.is_empty() {
        return Err(ValueError::new(format!("an empty list, expected {}", expected())));
    }
    let each = |(number, item): (usize, &Value)| one(item).map_err(|error| error.item(number));
    let ranges: ReadValue<Vec<_>> = (1..).zip(&items).map(each).collect();
    ranges.map(|ranges| StatusRanges(ranges.concat()))
}

/// `404` or `200-299`.
fn status_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |digits: &str| {
        let plain = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then_some(first..=last)
}

/// The target of a request, in origin form.
fn path(value: &Value) -> ReadValue<String> {
    const EXPECTED: &str = "a path such as \"/up\", without blanks and \"#\"";
    let path = text(value, EXPECTED)?;
    let fits = path.starts_with('/')
        && path.len() <= 4096
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if fits { Ok(path) } else { Err(ValueError::got(value, EXPECTED)) }
}

/// CONNECT would need another form of target.
fn method(value: &Value) -> ReadValue<String> {
    const EXPECTED: &str = "a method such as \"GET\" or \"HEAD\"";
    let method = text(value, EXPECTED)?;
    let fits = method.len() <= 32 && is_token(&method) && method != "CONNECT";
    if fits { Ok(method) } else { Err(ValueError::got(value, EXPECTED)) }
}

fn host(value: &Value) -> ReadValue<String> {
    const EXPECTED: &str = "a host, perhaps with a port, such as \"www.example.com\"";
    let host = text(value, EXPECTED)?;
    let fits = host.len() <= 261 && h1::is_host(host.as_bytes());
    if fits { Ok(host) } else { Err(ValueError::got(value, EXPECTED)) }
}

fn body(value: &Value) -> ReadValue<String> {
    const EXPECTED: &str = "a text of one line, at most 1024 bytes";
    let body = text(value, EXPECTED)?;
    if body.len() <= 1024 { Ok(body) } else { Err(ValueError::got(value, EXPECTED)) }
}
