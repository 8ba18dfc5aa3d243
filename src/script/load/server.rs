//! The `servers` of a pool: a list of addresses, or of tables with an address and keys.

use std::collections::HashMap;

use mlua::Value;

use super::address::server_address;
use super::error::{ReadValue, ValueError, quoted};
use super::schema::{Keys, list, raw, row};
use super::values::{name, text, time, whole, yes_or_no};
use crate::config::{ServerConfig, later};

/// The keys of a server.
#[derive(Default)]
pub(super) struct ServerTable {
    name: Option<String>,
    weight: Option<u32>,
    max_connections: Option<u32>,
    backup: bool,
    disabled: bool,
    resolve: Option<std::time::Duration>,
}

pub(super) const SERVER: Keys<ServerTable> = Keys {
    noun: "server key",
    rows: &[
        row("name", |value, server| name(value).map(|name| server.name = Some(name))),
        row("weight", |value, server| {
            whole(value, 0..=ServerConfig::MOST_WEIGHT.into())
                .map(|weight| server.weight = u32::try_from(weight).ok())
        }),
        row("max_connections", |value, server| {
            whole(value, 1..=1_000_000).map(|most| server.max_connections = u32::try_from(most).ok())
        }),
        row("backup", |value, server| yes_or_no(value).map(|yes| server.backup = yes)),
        row("disabled", |value, server| yes_or_no(value).map(|yes| server.disabled = yes)),
        row("resolve", |value, server| time(value).map(|time| server.resolve = Some(time))),
    ],
    later: later::SERVER,
    items: 1,
};

const SERVERS: &str = "a list such as { \"127.0.0.1:8080\" }";
const ADDRESS: &str = "an address such as \"127.0.0.1:8080\" or { \"127.0.0.1:8080\", name = \"app1\" }";

pub(super) fn servers(value: &Value) -> ReadValue<Vec<ServerConfig>> {
    let mut servers: Vec<ServerConfig> = Vec::new();
    let mut numbers = HashMap::new();
    for (number, item) in (1..).zip(list(value, SERVERS)?) {
        let server = server(&item).and_then(|server| unused(server, number, &mut numbers));
        servers.push(server.map_err(|error| error.item(number))?);
    }
    Ok(servers)
}

fn server(value: &Value) -> ReadValue<ServerConfig> {
    let mut keys = ServerTable::default();
    let written = match value {
        Value::Table(table) => {
            SERVER.read(table, &mut keys)?;
            text(&raw(table, 1)?, ADDRESS)?
        }
        value => text(value, ADDRESS)?,
    };
    let address = server_address(&written).map_err(|bad| bad.in_config(&written))?;
    if keys.resolve.is_some() && !address.is_name() {
        let expected = "expected an address such as \"app.internal:8080\"";
        return Err(ValueError::new(format!("{} has no name to resolve, {expected}", quoted(&written)))
            .key("resolve"));
    }
    let plain = ServerConfig::new(keys.name.unwrap_or_else(|| written.clone()), address, written);
    Ok(ServerConfig {
        weight: keys.weight.unwrap_or(plain.weight),
        max_connections: keys.max_connections,
        backup: keys.backup,
        disabled: keys.disabled,
        resolve: keys.resolve,
        ..plain
    })
}

fn unused(
    server: ServerConfig,
    number: usize,
    numbers: &mut HashMap<String, usize>,
) -> ReadValue<ServerConfig> {
    match numbers.insert(server.name.clone(), number) {
        None => Ok(server),
        Some(other) => {
            let name = quoted(&server.name);
            Err(ValueError::new(format!(
                "server {other} has the name {name} too, expected a name of its own"
            )))
        }
    }
}
