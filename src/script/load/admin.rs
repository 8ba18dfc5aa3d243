//! `admin`, `control` and `metrics` of `rsp.settings`: what operators see, and by which sockets.

use std::path::PathBuf;

use mlua::Value;

use super::address::{PATH_MAX, fixed_address};
use super::error::{ReadValue, ValueError, quoted};
use super::schema::{Keys, list, raw, row, table};
use super::settings::account;
use super::values::{one_of, text, whole};
use crate::config::{Account, Admin, Control, ControlLevel};

#[derive(Default)]
pub(super) struct AdminTable {
    token: Option<String>,
    hosts: Vec<String>,
}

pub(super) const ADMIN: Keys<AdminTable> = Keys {
    noun: "admin key",
    rows: &[
        row("token", |value, admin| token(value).map(|token| admin.token = Some(token))),
        row("hosts", |value, admin| hosts(value).map(|hosts| admin.hosts = hosts)),
    ],
    items: 1,
};

#[derive(Default)]
pub(super) struct MetricsTable {
    hosts: Option<u32>,
}

pub(super) const METRICS: Keys<MetricsTable> = Keys {
    noun: "metrics key",
    rows: &[row("hosts", |value, metrics| {
        whole(value, 1..=1000).map(|number| metrics.hosts = Some(number as u32))
    })],
    items: 0,
};

#[derive(Default)]
pub(super) struct ControlTable {
    mode: Option<u32>,
    group: Option<Account>,
    level: Option<ControlLevel>,
}

pub(super) const CONTROL: Keys<ControlTable> = Keys {
    noun: "control key",
    rows: &[
        row("mode", |value, control| mode(value).map(|mode| control.mode = Some(mode))),
        row("group", |value, control| account(value).map(|group| control.group = Some(group))),
        row("level", |value, control| one_of(value, LEVELS).map(|level| control.level = Some(level))),
    ],
    items: 1,
};

const LEVELS: &[(&str, ControlLevel)] = &[("admin", ControlLevel::Admin), ("observe", ControlLevel::Observe)];

pub(super) fn admin(value: &Value) -> ReadValue<Admin> {
    const EXPECTED: &str = "an address such as \"127.0.0.1:9180\"";
    let mut keys = AdminTable::default();
    let written = match value {
        Value::Table(table) => {
            ADMIN.read(table, &mut keys)?;
            text(&raw(table, 1)?, EXPECTED).map_err(|error| error.item(1))?
        }
        value => text(value, EXPECTED)?,
    };
    let address = fixed_address(&written).map_err(|bad| bad.in_config(&written))?;
    Ok(Admin { address, token: keys.token, hosts: keys.hosts })
}

/// How many hosts the metrics tell, if any.
pub(super) fn metrics(value: &Value) -> ReadValue<Option<u32>> {
    let mut keys = MetricsTable::default();
    METRICS.read(table(value, "a table such as { hosts = 20 }")?, &mut keys)?;
    Ok(keys.hosts)
}

/// Anything that a field can carry without a blank.
fn token(value: &Value) -> ReadValue<String> {
    const EXPECTED: &str = "up to 256 printable characters without blanks";
    // Its value is not for a log.
    let error = || ValueError::new(format!("not usable, expected {EXPECTED}"));
    let token = text(value, EXPECTED)?;
    let fits = !token.contains(|c: char| c.is_control() || c.is_whitespace());
    if fits && (1..=256).contains(&token.len()) { Ok(token) } else { Err(error()) }
}

fn hosts(value: &Value) -> ReadValue<Vec<String>> {
    const EXPECTED: &str = "a host name without a port such as \"ops.example.com\"";
    let read = |(index, item): (usize, &Value)| {
        let host = text(item, EXPECTED).map_err(|error| error.item(index + 1))?.to_ascii_lowercase();
        let fits = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        let error = || ValueError::got(item, EXPECTED).item(index + 1);
        if fits && (1..=255).contains(&host.len()) { Ok(host) } else { Err(error()) }
    };
    list(value, "a list such as { \"ops.example.com\" }")?.iter().enumerate().map(read).collect()
}

pub(super) fn control(value: &Value) -> ReadValue<Control> {
    const EXPECTED: &str = "a path such as \"/run/rsp/control.sock\"";
    let mut keys = ControlTable::default();
    let written = match value {
        Value::Table(table) => {
            CONTROL.read(table, &mut keys)?;
            text(&raw(table, 1)?, EXPECTED).map_err(|error| error.item(1))?
        }
        value => text(value, EXPECTED)?,
    };
    let plain = Control::at(path(&written, EXPECTED)?);
    Ok(Control {
        mode: keys.mode.unwrap_or(plain.mode),
        group: keys.group,
        level: keys.level.unwrap_or(plain.level),
        ..plain
    })
}

fn path(written: &str, expected: &str) -> ReadValue<PathBuf> {
    let path = written.strip_prefix("unix:").unwrap_or(written);
    match path.len() {
        0 => Err(ValueError::new(format!("got {}, expected {expected}", quoted(written)))),
        1..=PATH_MAX => Ok(path.into()),
        _ => Err(ValueError::new(format!(
            "path too long in {}, expected at most {PATH_MAX} bytes",
            quoted(written)
        ))),
    }
}

/// Octal, as chmod(1) writes it.
fn mode(value: &Value) -> ReadValue<u32> {
    const EXPECTED: &str = "permissions such as \"660\"";
    let written = text(value, EXPECTED)?;
    let mode = u32::from_str_radix(&written, 8).ok().filter(|mode| *mode <= 0o777);
    mode.filter(|_| written.len() <= 4).ok_or_else(|| ValueError::got(value, EXPECTED))
}
