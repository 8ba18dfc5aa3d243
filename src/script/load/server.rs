//! The `servers` of a pool: a list of addresses, or of tables with an address and keys.

use std::collections::HashMap;

use mlua::Value;

use super::address::{HTTPS, server_address};
use super::error::{ReadValue, ValueError, quoted};
use super::schema::{Keys, list, raw, row};
use super::tls::ServerTlsTable;
use super::values::{name, text, time, whole, yes_or_no};
use crate::config::ServerConfig;

/// The keys of a server.
#[derive(Default)]
pub(super) struct ServerTable {
    name: Option<String>,
    weight: Option<u32>,
    max_connections: Option<u32>,
    backup: bool,
    disabled: bool,
    resolve: Option<std::time::Duration>,
    tls: ServerTlsTable,
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
        row("sni", |value, server| text(value, HOST).map(|name| server.tls.sni = Some(name))),
        row("ca", |value, server| text(value, PEM).map(|path| server.tls.ca = Some(path))),
        row("verify", |value, server| yes_or_no(value).map(|yes| server.tls.verify = Some(yes))),
        row("cert", |value, server| text(value, PEM).map(|path| server.tls.cert = Some(path))),
        row("key", |value, server| text(value, PEM).map(|path| server.tls.key = Some(path))),
    ],
    items: 1,
};

const HOST: &str = "a host name such as \"app.internal\"";
const PEM: &str = "the path of a PEM file";
const SERVERS: &str = "a list such as { \"127.0.0.1:8080\" }";
const ADDRESS: &str = "an address such as \"127.0.0.1:8080\" or { \"127.0.0.1:8080\", name = \"app1\" }";

/// A server, and the keys of its TLS if it has that: its files are read later.
pub(super) type Written = (ServerConfig, Option<ServerTlsTable>);

pub(super) fn servers(value: &Value) -> ReadValue<Vec<Written>> {
    let mut servers: Vec<Written> = Vec::new();
    let mut numbers = HashMap::new();
    for (number, item) in (1..).zip(list(value, SERVERS)?) {
        let server = server(&item).and_then(|server| unused(server, number, &mut numbers));
        servers.push(server.map_err(|error| error.item(number))?);
    }
    Ok(servers)
}

fn server(value: &Value) -> ReadValue<Written> {
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
    let secure = written.strip_prefix(HTTPS);
    if let (None, Some(key)) = (secure, keys.tls.first_set()) {
        let expected = "expected an address such as \"https://app.internal:8443\"";
        return Err(ValueError::new(format!("{} has no TLS, {expected}", quoted(&written))).key(key));
    }
    let tls = secure.map(|_| keys.tls);
    let shown = secure.unwrap_or(&written).to_owned();
    let plain = ServerConfig::new(keys.name.unwrap_or(written), address, shown);
    let server = ServerConfig {
        weight: keys.weight.unwrap_or(plain.weight),
        max_connections: keys.max_connections,
        backup: keys.backup,
        disabled: keys.disabled,
        resolve: keys.resolve,
        ..plain
    };
    Ok((server, tls))
}

fn unused(written: Written, number: usize, numbers: &mut HashMap<String, usize>) -> ReadValue<Written> {
    let name = &written.0.name;
    match numbers.insert(name.clone(), number) {
        None => Ok(written),
        Some(other) => {
            let name = quoted(name);
            Err(ValueError::new(format!(
                "server {other} has the name {name} too, expected a name of its own"
            )))
        }
    }
}
