//! Keys of a pool about the choice of a server: `balance`, `hash_by`, `sticky`, `queue`.

use mlua::{Function, Value};

use super::error::{ReadValue, ValueError};
use super::schema::{Keys, row, table};
use super::values::{is_token, text, time, time_within, whole};
use crate::config::{Balance, HashBy, Queue, Sticky};

const BALANCES: &[(&str, Balance)] = &[
    ("round_robin", Balance::RoundRobin),
    ("least_connections", Balance::LeastConnections),
    ("least_latency", Balance::LeastLatency),
    ("random", Balance::Random),
    ("first", Balance::First),
    ("source_hash", Balance::SourceHash),
    ("hash", Balance::Hash),
];

/// The algorithm, and the function if it is one.
pub(super) fn balance(value: &Value) -> ReadValue<(Balance, Option<Function>)> {
    if let Value::Function(function) = value {
        return Ok((Balance::Function, Some(function.clone())));
    }
    let word = value.as_string().map(|word| word.to_string_lossy());
    let found = BALANCES.iter().find(|(name, _)| word.as_deref() == Some(*name));
    found.map(|(_, balance)| (*balance, None)).ok_or_else(|| {
        let names: Vec<String> = BALANCES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        ValueError::got(value, &format!("{} or a function(req, servers)", names.join(", ")))
    })
}

/// The key of `balance = "hash"`, and the function if it is one.
pub(super) fn hash_by(value: &Value) -> ReadValue<(HashBy, Option<Function>)> {
    if let Value::Function(function) = value {
        return Ok((HashBy::Function, Some(function.clone())));
    }
    let word = value.as_string().map(|word| word.to_string_lossy()).unwrap_or_default();
    let by = match word.split_once(':') {
        None if word == "path" => Some(HashBy::Path),
        Some(("header", name)) if is_token(name) => Some(HashBy::Header(name.to_owned())),
        Some(("cookie", name)) if is_token(name) => Some(HashBy::Cookie(name.to_owned())),
        Some(("query", name)) if !name.is_empty() && !name.contains(char::is_control) => {
            Some(HashBy::Query(name.to_owned()))
        }
        _ => None,
    };
    by.map(|by| (by, None)).ok_or_else(|| {
        ValueError::got(
            value,
            "\"path\", \"header:NAME\", \"cookie:NAME\", \"query:NAME\" or a function(req)",
        )
    })
}

#[derive(Default)]
pub(super) struct StickyTable {
    cookie: Option<String>,
    secret: Option<String>,
    max_age: Option<std::time::Duration>,
}

pub(super) const STICKY: Keys<StickyTable> = Keys {
    noun: "sticky key",
    rows: &[
        row("cookie", |value, all| cookie(value).map(|name| all.cookie = Some(name))),
        row("secret", |value, all| secret(value).map(|secret| all.secret = Some(secret))),
        row("max_age", |value, all| {
            time_within(value, 1.0..=365.0 * 24.0 * 3600.0, "a time from 1s to 8760h")
                .map(|time| all.max_age = Some(time))
        }),
    ],
    items: 0,
};

pub(super) fn sticky(value: &Value) -> ReadValue<Sticky> {
    let mut written = StickyTable::default();
    STICKY.read(table(value, "a table such as { cookie = \"srv\", secret = \"…\" }")?, &mut written)?;
    let cookie = written.cookie.ok_or_else(|| missing("cookie", "its name, as in cookie = \"srv\""))?;
    let secret = written.secret.ok_or_else(|| missing("secret", "a text that nobody can guess"))?;
    Ok(Sticky { cookie, secret, max_age: written.max_age })
}

fn missing(key: &str, expected: &str) -> ValueError {
    ValueError::new(format!("no {key}, expected {expected}"))
}

fn cookie(value: &Value) -> ReadValue<String> {
    const EXPECTED: &str = "the name of a cookie, such as \"srv\"";
    let name = text(value, EXPECTED)?;
    let fits = name.len() <= 128 && is_token(&name);
    if fits { Ok(name) } else { Err(ValueError::got(value, EXPECTED)) }
}

/// An error never shows the text.
fn secret(value: &Value) -> ReadValue<String> {
    const EXPECTED: &str = "a text without control characters that nobody can guess";
    text(value, EXPECTED).map_err(|error| match value {
        Value::String(_) => ValueError::new(format!("not usable, expected {EXPECTED}")),
        _ => error,
    })
}

pub(super) const QUEUE: Keys<Queue> = Keys {
    noun: "queue key",
    rows: &[
        row("most", |value, queue| whole(value, 0..=1_000_000).map(|most| queue.most = most as u32)),
        row("timeout", |value, queue| time(value).map(|time| queue.timeout = time)),
    ],
    items: 0,
};

pub(super) fn queue(value: &Value) -> ReadValue<Queue> {
    let mut queue = Queue::default();
    QUEUE.read(table(value, "a table such as { most = 1000, timeout = \"5s\" }")?, &mut queue)?;
    Ok(queue)
}
