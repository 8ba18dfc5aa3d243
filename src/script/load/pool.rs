//! `rsp.pool { … }`: servers, balancing, and timeouts. Returns an object that identifies the pool: handlers return it
//! and read its `name`.

use std::collections::HashMap;

use mlua::{Error, Function, Lua, Table, Value};

use super::super::source::Source;
use super::address::{AddressUse, resolve};
use super::builder::{Builder, PoolBuilder};
use super::calls::Call;
use super::error::{ReadValue, ValueError, quoted};
use super::schema::{Keys, list, raw, row, table};
use super::values::{buffer, busy_poll};
use super::values::{is_later, name, one_of, text, time, yes_or_no};
use crate::config::{
    Address, Balance, PoolConfig, PoolTimeouts, ProxyVersion, ServerConfig, SocketOptions, later,
};

/// The keys of a pool.
#[derive(Default)]
pub(super) struct PoolTable {
    name: Option<String>,
    servers: Vec<ServerTable>,
    balance: Option<Function>,
    send_proxy: Option<ProxyVersion>,
    abort_on_close: bool,
    strict: bool,
    sockets: SocketOptions,
    trailers: bool,
    timeouts: PoolTimeouts,
}

#[derive(Default)]
pub(super) struct ServerTable {
    address: String,
    name: Option<String>,
}

pub(super) const KEYS: Keys<PoolTable> = Keys {
    noun: "pool key",
    rows: &[
        row("name", |value, pool| name(value).map(|name| pool.name = Some(name))),
        row("servers", |value, pool| servers(value).map(|servers| pool.servers = servers)),
        row("balance", |value, pool| balance(value).map(|balance| pool.balance = balance)),
        row("send_proxy", |value, pool| {
            one_of(value, VERSIONS, &[]).map(|version| pool.send_proxy = Some(version))
        }),
        row("abort_on_close", |value, pool| yes_or_no(value).map(|yes| pool.abort_on_close = yes)),
        row("strict", |value, pool| yes_or_no(value).map(|strict| pool.strict = strict)),
        row("receive_buffer", |value, pool| buffer(value).map(|size| pool.sockets.receive_buffer = size)),
        row("send_buffer", |value, pool| buffer(value).map(|size| pool.sockets.send_buffer = size)),
        row("busy_poll", |value, pool| busy_poll(value).map(|micros| pool.sockets.busy_poll = micros)),
        row("trailers", |value, pool| yes_or_no(value).map(|pass| pool.trailers = pass)),
        row("timeouts", |value, pool| TIMEOUTS.read(table(value, "a table of times")?, &mut pool.timeouts)),
    ],
    later: later::POOL,
    items: 0,
};

pub(super) const SERVER: Keys<ServerTable> = Keys {
    noun: "server key",
    rows: &[row("name", |value, server| name(value).map(|name| server.name = Some(name)))],
    later: later::SERVER,
    items: 1,
};

pub(super) const TIMEOUTS: Keys<PoolTimeouts> = Keys {
    noun: "timeout of a pool",
    rows: &[
        row("connect", |value, all| time(value).map(|time| all.connect = time)),
        row("response", |value, all| time(value).map(|time| all.response = time)),
        row("gap", |value, all| time(value).map(|time| all.gap = time)),
        row("idle", |value, all| time(value).map(|time| all.idle = time)),
    ],
    later: &[],
    items: 0,
};

const VERSIONS: &[(&str, ProxyVersion)] = &[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)];
const SERVERS: &str = "a list such as { \"127.0.0.1:8080\" }";
const ADDRESS: &str = "an address such as \"127.0.0.1:8080\" or { \"127.0.0.1:8080\", name = \"app1\" }";

fn servers(value: &Value) -> ReadValue<Vec<ServerTable>> {
    let items = list(value, SERVERS)?;
    let read = |(index, value): (usize, &Value)| server(value).map_err(|error| error.item(index + 1));
    items.iter().enumerate().map(read).collect()
}

fn server(value: &Value) -> ReadValue<ServerTable> {
    let mut server = ServerTable::default();
    let Value::Table(table) = value else {
        server.address = text(value, ADDRESS)?;
        return Ok(server);
    };
    SERVER.read(table, &mut server)?;
    server.address = text(&raw(table, 1)?, ADDRESS)?;
    Ok(server)
}

fn balance(value: &Value) -> ReadValue<Option<Function>> {
    match value {
        Value::Function(function) => Ok(Some(function.clone())),
        Value::String(word) if word.as_bytes() == *b"round_robin" => Ok(None),
        word if is_later(word, later::BALANCE) => Err(ValueError::later(word)),
        other => Err(ValueError::got(other, "\"round_robin\" or a function(req, servers)")),
    }
}

pub(super) fn call(call: &Call, builder: &mut Builder) -> ReadValue<Value> {
    let mut written = PoolTable::default();
    KEYS.read(table(call.argument, "a table such as { servers = { \"127.0.0.1:8080\" } }")?, &mut written)?;
    if let Some(balance) = &written.balance {
        check_maker(balance, builder).map_err(|error| error.key("balance"))?;
    }
    let name = unused_name(written.name, builder)?;
    let servers = resolved(written.servers, &mut builder.source).map_err(|error| error.key("servers"))?;
    check_tcp(&servers, &written.sockets)?;
    let PoolTable { send_proxy, abort_on_close, strict, sockets, trailers, timeouts, .. } = written;
    let balance = if written.balance.is_some() { Balance::Function } else { Balance::RoundRobin };
    let pool = PoolConfig {
        name,
        servers,
        balance,
        send_proxy,
        abort_on_close,
        strict,
        sockets,
        trailers,
        timeouts,
    };
    let object =
        add(call.lua, pool, written.balance, builder).map_err(|error| ValueError::new(error.to_string()))?;
    Ok(Value::Table(object))
}

/// Options of TCP connections would have no effect on Unix sockets.
fn check_tcp(servers: &[ServerConfig], sockets: &SocketOptions) -> ReadValue<()> {
    let all_unix = servers.iter().all(|server| matches!(server.address, Address::Unix(_)));
    match sockets.first_set().filter(|_| all_unix && !servers.is_empty()) {
        Some(key) => {
            let why =
                "a unix socket has none, expected a server with a TCP address such as \"127.0.0.1:8080\"";
            Err(ValueError::new(why).key(key))
        }
        None => Ok(()),
    }
}

/// Adds the pool to the builder and makes its object.
pub(super) fn add(
    lua: &Lua,
    pool: PoolConfig,
    balance: Option<Function>,
    builder: &mut Builder,
) -> mlua::Result<Table> {
    let object = object(lua, &pool.name)?;
    builder.pools.push(PoolBuilder { pool, balance, object: object.clone() });
    Ok(object)
}

/// `balance = require "rsp.round_robin"` lacks the call that makes the function. It would fail at the first request;
/// here the error can show the call.
fn check_maker(balance: &Function, builder: &Builder) -> ReadValue<()> {
    match builder.makers.iter().find(|(maker, _)| maker == balance) {
        Some((_, call)) => {
            Err(ValueError::new(format!("the module makes the function, expected a call: {call}")))
        }
        None => Ok(()),
    }
}

fn unused_name(given: Option<String>, builder: &Builder) -> ReadValue<String> {
    let named = given.is_some();
    let name = given.unwrap_or_else(|| format!("pool{}", builder.pools.len() + 1));
    match builder.pools.iter().any(|other| other.pool.name == name) {
        false => Ok(name),
        true if named => Err(ValueError::new(format!(
            "{} is taken, expected a name that no other pool has",
            quoted(&name)
        ))
        .key("name")),
        true => Err(ValueError::new(format!(
            "its name would be {}, which is taken, expected a name key",
            quoted(&name)
        ))),
    }
}

fn resolved(written: Vec<ServerTable>, source: &mut Source) -> ReadValue<Vec<ServerConfig>> {
    let mut servers: Vec<ServerConfig> = Vec::with_capacity(written.len());
    let mut numbers = HashMap::new();
    for (number, server) in (1..).zip(written) {
        let server =
            resolve_server(server, source).and_then(|server| unused_server(server, number, &mut numbers));
        servers.push(server.map_err(|error| error.item(number))?);
    }
    match servers.is_empty() {
        true => {
            Err(ValueError::new("no server, expected at least one, as in servers = { \"127.0.0.1:8080\" }"))
        }
        false => Ok(servers),
    }
}

fn resolve_server(written: ServerTable, source: &mut Source) -> ReadValue<ServerConfig> {
    let ServerTable { address: written, name } = written;
    let address = resolve(&written, AddressUse::Server, source).map_err(|bad| bad.in_config(&written))?;
    Ok(ServerConfig { name: name.unwrap_or_else(|| written.clone()), address, written })
}

fn unused_server(
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

/// A read-only table that can be compared: assignments would have no effect.
fn object(lua: &Lua, name: &str) -> mlua::Result<Table> {
    let (object, meta, fields) = (lua.create_table()?, lua.create_table()?, lua.create_table()?);
    fields.raw_set("name", name)?;
    meta.raw_set("__index", fields)?;
    meta.raw_set("__name", "rsp.pool")?;
    meta.raw_set("__metatable", false)?;
    let refuse = |_: &Lua, _: mlua::MultiValue| -> mlua::Result<()> {
        Err(Error::runtime("a pool cannot be changed after rsp.pool made it"))
    };
    meta.raw_set("__newindex", lua.create_function(refuse)?)?;
    object.set_metatable(Some(meta))?;
    Ok(object)
}
