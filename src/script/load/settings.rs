//! `rsp.settings { … }`: settings of the whole program.

use std::net::SocketAddr;
use std::time::Duration;

use mlua::Value;

use super::access_log::access_log;
use super::admin::{admin, control, metrics};
use super::builder::{Builder, SetOnce};
use super::calls::{Call, set};
use super::error::{PathStep, ReadValue, ValueError};
use super::position::Position;
use super::schema::{Keys, list, row, table};
use super::values::{is_token, network, one_of, size, text, time, time_within, whole, yes_or_no};
use crate::config::{
    Account, OnResponseError, SPLICE_FROM, ScriptLimits, Settings, Timeouts, Trusted, Workers,
};

#[derive(Default)]
pub(super) struct SettingsTable {
    settings: Settings,
    /// Resolved after the script has run: the pool may be defined later.
    fallback: Option<Value>,
}

pub(super) const KEYS: Keys<SettingsTable> = Keys {
    noun: "setting",
    rows: &[
        row("workers", |value, all| workers(value).map(|workers| all.settings.workers = workers)),
        row("max_connections", |value, all| {
            all.settings.max_connections_is_set = true;
            whole(value, 1..=1_000_000).map(|number| all.settings.max_connections = number as usize)
        }),
        row("max_connections_per_client", |value, all| {
            whole(value, 1..=1_000_000).map(|n| all.settings.per_client.connections = Some(n as usize))
        }),
        row("new_connections_per_client", |value, all| {
            whole(value, 1..=1_000_000).map(|n| all.settings.per_client.new_a_second = Some(n as u32))
        }),
        row("buffer_memory", |value, all| {
            size(value, 1 << 20..=1 << 40, "a size from \"1m\" to \"1024g\"")
                .map(|most| all.settings.buffer_memory = most)
        }),
        row("max_body", |value, all| {
            size(value, 0..=1 << 50, "a size such as \"10m\"").map(|most| all.settings.max_body = Some(most))
        }),
        row("max_head", |value, all| {
            size(value, 1 << 10..=64 << 10, "a size from \"1k\" to \"64k\"")
                .map(|most| all.settings.max_head = most as u32)
        }),
        row("max_fields", |value, all| {
            whole(value, 10..=1000).map(|most| all.settings.max_fields = most as u32)
        }),
        row("min_request_rate", |value, all| rate(value).map(|rate| all.settings.min_request_rate = rate)),
        row("min_response_rate", |value, all| rate(value).map(|rate| all.settings.min_response_rate = rate)),
        row("access_log", |value, all| access_log(value).map(|log| all.settings.access_log = Some(log))),
        row("trusted", |value, all| trusted(value).map(|networks| all.settings.trusted = networks)),
        row("fallback", |value, all| {
            all.fallback = Some(value.clone());
            Ok(())
        }),
        row("drain_timeout", |value, all| time(value).map(|time| all.settings.drain_timeout = time)),
        row("drain_delay", |value, all| delay(value).map(|delay| all.settings.drain_delay = delay)),
        row("upgrade_drain_timeout", |value, all| {
            time(value).map(|time| all.settings.upgrade_drain_timeout = Some(time))
        }),
        row("admin", |value, all| admin(value).map(|admin| all.settings.admin = Some(admin))),
        row("control", |value, all| control(value).map(|control| all.settings.control = Some(control))),
        row("metrics", |value, all| metrics(value).map(|hosts| all.settings.hosts = hosts)),
        row("user", |value, all| account(value).map(|user| all.settings.user = Some(user))),
        row("group", |value, all| account(value).map(|group| all.settings.group = Some(group))),
        row("resolver", |value, all| resolver(value).map(|server| all.settings.resolver = Some(server))),
        row("trace", |value, all| yes_or_no(value).map(|on| all.settings.trace = on)),
        row("via", |value, all| via(value).map(|via| all.settings.via = Some(via))),
        row("upgrades", |value, all| upgrades(value).map(|names| all.settings.upgrades = names)),
        row("splice", |value, all| splice(value).map(|least| all.settings.splice = least)),
        row("timeouts", |value, all| {
            TIMEOUTS.read(table(value, "a table of times")?, &mut all.settings.timeouts)
        }),
        row("acme_challenge_dir", |value, all| {
            text(value, "the path of a directory").map(|path| all.settings.acme_challenge_dir = Some(path))
        }),
        row("script", |value, all| {
            SCRIPT.read(table(value, "a table such as { on_response_error = \"pass\" }")?, &mut all.settings)
        }),
    ],
    items: 0,
};

pub(super) const TIMEOUTS: Keys<Timeouts> = Keys {
    noun: "timeout of the client's side",
    rows: &[
        row("handshake", |value, all| time(value).map(|time| all.handshake = time)),
        row("head", |value, all| time(value).map(|time| all.head = time)),
        row("body", |value, all| time(value).map(|time| all.body = time)),
        row("idle", |value, all| time(value).map(|time| all.idle = time)),
        row("write", |value, all| time(value).map(|time| all.write = time)),
        row("tunnel", |value, all| time(value).map(|time| all.tunnel = time)),
        row("rate", |value, all| time(value).map(|time| all.rate = time)),
    ],
    items: 0,
};

pub(super) const SCRIPT: Keys<Settings> = Keys {
    noun: "script key",
    rows: &[
        row("time", |value, all| {
            let range = ScriptLimits::SHORTEST.as_secs_f64()..=ScriptLimits::LONGEST.as_secs_f64();
            time_within(value, range, "a time from 1ms to 1s").map(|time| all.script.time = time)
        }),
        row("memory", |value, all| {
            let range = ScriptLimits::LEAST_MEMORY as u64..=ScriptLimits::MOST_MEMORY as u64;
            size(value, range, "a size from \"4m\" to \"1g\"").map(|most| all.script.memory = most as usize)
        }),
        row("waiting", |value, all| whole(value, 0..=1_000_000).map(|most| all.script.waiting = most as u32)),
        row("globals", |value, all| yes_or_no(value).map(|may| all.script.globals = may)),
        row("on_response_error", |value, all| {
            one_of(value, ON_RESPONSE_ERROR).map(|what| all.on_response_error = what)
        }),
    ],
    items: 0,
};

const ON_RESPONSE_ERROR: &[(&str, OnResponseError)] =
    &[("answer", OnResponseError::Answer), ("pass", OnResponseError::Pass)];

pub(super) fn call(call: &Call, builder: &mut Builder) -> ReadValue<Value> {
    let mut written = SettingsTable::default();
    KEYS.read(table(call.argument, "a table such as { max_connections = 10000 }")?, &mut written)?;
    if written.settings.group.is_some() && written.settings.user.is_none() {
        return Err(ValueError::new("no user, expected one as well, as in user = \"www-data\"").key("group"));
    }
    let memory = written.settings.script.while_loading().memory;
    set(&mut builder.settings, written.settings, call.position)?;
    call.lua.set_memory_limit(memory).map_err(|error| ValueError::new(error.to_string()))?;
    let position = fallback_position(call.position, builder);
    builder.fallback = written.fallback.map(|value| SetOnce { value, position });
    Ok(Value::Nil)
}

fn fallback_position(position: &Position, builder: &Builder) -> Position {
    position.of_key(&builder.texts, &[PathStep::Key("fallback".into())])
}

fn workers(value: &Value) -> ReadValue<Workers> {
    const EXPECTED: &str = "a whole number from 1 to 256, or \"auto\" for one a core";
    match value {
        Value::String(word) if word.as_bytes() == *b"auto" => Ok(Workers::Auto),
        other => match whole(other, 1..=Workers::MOST as i64) {
            Ok(number) => Ok(Workers::Number(number as usize)),
            Err(_) => Err(ValueError::got(other, EXPECTED)),
        },
    }
}

fn trusted(value: &Value) -> ReadValue<Trusted> {
    let mut trusted = Trusted::default();
    for (index, item) in list(value, "a list such as { \"10.0.0.0/8\" }")?.iter().enumerate() {
        if item.as_string().is_some_and(|word| word.as_bytes() == *b"unix:") {
            trusted.unix = true;
        } else {
            trusted.networks.push(network(item).map_err(|error| error.item(index + 1))?);
        }
    }
    Ok(trusted)
}

/// Protocols as `Upgrade` names them (RFC 9110 section 7.8).
fn upgrades(value: &Value) -> ReadValue<Vec<String>> {
    let items = list(value, "a list such as { \"websocket\", \"tcp\" }")?;
    let read = |(index, item): (usize, &Value)| upgrade(item).map_err(|error| error.item(index + 1));
    items.iter().enumerate().map(read).collect()
}

fn upgrade(value: &Value) -> ReadValue<String> {
    const EXPECTED: &str = "a protocol such as \"websocket\" or \"tcp\"";
    let name = text(value, EXPECTED)?.to_ascii_lowercase();
    if name == "h2c" || name == "tls" || name.starts_with("tls/") {
        return Err(ValueError::got(
            value,
            "a protocol that is not HTTP itself: its requests would pass unseen",
        ));
    }
    let (protocol, version) = name.split_once('/').unwrap_or((&name, "1"));
    let fits = name.len() <= 64 && is_token(protocol) && is_token(version);
    if fits { Ok(name) } else { Err(ValueError::got(value, EXPECTED)) }
}

/// Bytes a second; 0 for none.
fn rate(value: &Value) -> ReadValue<u64> {
    size(value, 0..=1 << 40, "a number of bytes a second such as 100 or \"1k\", or 0")
}

/// A time that may be none at all.
fn delay(value: &Value) -> ReadValue<Duration> {
    time_within(value, 0.0..=86_400.0, "a time from 0 to 24h")
}

/// The size from which bodies are spliced; `false` for never.
fn splice(value: &Value) -> ReadValue<Option<u64>> {
    const EXPECTED: &str = "true, false or a size from \"4k\" to \"1024g\"";
    match value {
        Value::Boolean(false) => Ok(None),
        Value::Boolean(true) => Ok(Some(SPLICE_FROM)),
        other => size(other, 4096..=1 << 40, EXPECTED).map(Some),
    }
}

/// A name server.
fn resolver(value: &Value) -> ReadValue<SocketAddr> {
    const EXPECTED: &str = "the address of a name server such as \"127.0.0.1:53\"";
    let address = text(value, EXPECTED)?.parse().ok().filter(|address: &SocketAddr| address.port() > 0);
    address.ok_or_else(|| ValueError::got(value, EXPECTED))
}

/// The name or the number of a user or a group. Whether there is one is known only where rsp runs.
pub(super) fn account(value: &Value) -> ReadValue<Account> {
    const EXPECTED: &str = "a name such as \"www-data\" or a number";
    const LAST: i64 = u32::MAX as i64 - 1;
    if let Value::Integer(_) = value {
        return whole(value, 0..=LAST).map(|number| Account::Number(number as u32));
    }
    let name = text(value, EXPECTED)?;
    let numeric = name.bytes().all(|byte| byte.is_ascii_digit());
    match name.parse() {
        Ok(number) if numeric && i64::from(number) <= LAST => Ok(Account::Number(number)),
        _ if numeric || name.len() > 256 => Err(ValueError::got(value, EXPECTED)),
        _ if name.contains(|c: char| c.is_control() || ":/ ".contains(c)) => {
            Err(ValueError::got(value, EXPECTED))
        }
        _ => Ok(Account::Name(name)),
    }
}

/// The pseudonym of RFC 9110 section 7.6.3, or a host with its port.
fn via(value: &Value) -> ReadValue<String> {
    const EXPECTED: &str = "a name of letters, digits and \"-\", \".\", \"_\", \":\"";
    let name = text(value, EXPECTED)?;
    let fits = name.len() <= 128 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c));
    if fits { Ok(name) } else { Err(ValueError::got(value, EXPECTED)) }
}
