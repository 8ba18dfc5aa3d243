//! `admin` and `control` of `rsp.settings`: the sockets of operators.

use std::path::PathBuf;

use mlua::Value;

use super::address::{PATH_MAX, fixed_address};
use super::error::{ReadValue, ValueError, quoted};
use super::schema::{Keys, raw, row};
use super::settings::account;
use super::values::{one_of, text};
use crate::config::{Account, Admin, Control, ControlLevel, later};

#[derive(Default)]
pub(super) struct AdminTable;

pub(super) const ADMIN: Keys<AdminTable> =
    Keys { noun: "admin key", rows: &[], later: later::ADMIN, items: 1 };

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
        row("level", |value, control| one_of(value, LEVELS, &[]).map(|level| control.level = Some(level))),
    ],
    later: &[],
    items: 1,
};

const LEVELS: &[(&str, ControlLevel)] = &[("admin", ControlLevel::Admin), ("observe", ControlLevel::Observe)];

pub(super) fn admin(value: &Value) -> ReadValue<Admin> {
    const EXPECTED: &str = "an address such as \"127.0.0.1:9180\"";
    let written = match value {
        Value::Table(table) => {
            ADMIN.read(table, &mut AdminTable)?;
            text(&raw(table, 1)?, EXPECTED).map_err(|error| error.item(1))?
        }
        value => text(value, EXPECTED)?,
    };
    let address = fixed_address(&written).map_err(|bad| bad.in_config(&written))?;
    Ok(Admin { address })
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
