//! `rsp.pool { … }`: servers, balancing, and timeouts. Returns an object that identifies the pool: handlers return it
//! and read its `name`.

use mlua::{Error, Function, Lua, Table, Value};

use super::balancing::{balance, hash_by, queue, sticky};
use super::builder::{Builder, PoolBuilder};
use super::calls::Call;
use super::error::{PathStep, ReadValue, ValueError, quoted};
use super::health::{eject, health};
use super::schema::{Keys, row, table};
use super::second_tries::{MirrorTable, hedge, mirror};
use super::server::{Written, servers};
use super::values::{buffer, busy_poll};
use super::values::{name, number, one_of, time, whole, yes_or_no};
use crate::config::{Address, Balance, PoolConfig, PoolTimeouts, ProxyVersion, ServerConfig, Warning};

/// The keys of a pool.
pub(super) struct PoolTable {
    config: PoolConfig,
    servers: Vec<Written>,
    name: Option<String>,
    balance: Option<Function>,
    hash_by: Option<Function>,
    retries_is_set: bool,
    mirror: Option<MirrorTable>,
}

impl Default for PoolTable {
    fn default() -> PoolTable {
        PoolTable {
            config: PoolConfig::named(String::new(), Balance::RoundRobin),
            servers: Vec::new(),
            name: None,
            balance: None,
            hash_by: None,
            retries_is_set: false,
            mirror: None,
        }
    }
}

pub(super) const KEYS: Keys<PoolTable> = Keys {
    noun: "pool key",
    rows: &[
        row("name", |value, pool| name(value).map(|name| pool.name = Some(name))),
        row("servers", |value, pool| servers(value).map(|servers| pool.servers = servers)),
        row("balance", |value, pool| {
            balance(value).map(|(balance, given)| (pool.config.balance, pool.balance) = (balance, given))
        }),
        row("hash_by", |value, pool| {
            hash_by(value).map(|(by, given)| (pool.config.hash_by, pool.hash_by) = (Some(by), given))
        }),
        row("slow_start", |value, pool| time(value).map(|time| pool.config.slow_start = Some(time))),
        row("max_idle", |value, pool| whole(value, 0..=65_535).map(|n| pool.config.max_idle = n as u32)),
        row("min_idle", |value, pool| whole(value, 0..=65_535).map(|n| pool.config.min_idle = n as u32)),
        row("sticky", |value, pool| sticky(value).map(|sticky| pool.config.sticky = Some(sticky))),
        row("health", |value, pool| health(value).map(|health| pool.config.health = Some(health))),
        row("eject", |value, pool| eject(value).map(|eject| pool.config.eject = eject)),
        row("retries", |value, pool| {
            pool.retries_is_set = true;
            whole(value, 0..=10).map(|retries| pool.config.retries = retries as u8)
        }),
        row("retry_budget", |value, pool| {
            number(value, 0.0..=10.0).map(|share| pool.config.retry_budget = share)
        }),
        row("queue", |value, pool| queue(value).map(|queue| pool.config.queue = queue)),
        row("send_proxy", |value, pool| {
            one_of(value, VERSIONS).map(|version| pool.config.send_proxy = Some(version))
        }),
        row("abort_on_close", |value, pool| yes_or_no(value).map(|yes| pool.config.abort_on_close = yes)),
        row("strict", |value, pool| yes_or_no(value).map(|strict| pool.config.strict = strict)),
        row("receive_buffer", |value, pool| {
            buffer(value).map(|size| pool.config.sockets.receive_buffer = size)
        }),
        row("send_buffer", |value, pool| buffer(value).map(|size| pool.config.sockets.send_buffer = size)),
        row("busy_poll", |value, pool| busy_poll(value).map(|micros| pool.config.sockets.busy_poll = micros)),
        row("buffer_request", |value, pool| {
            super::values::size(value, 1..=1 << 30, "a size from 1 byte to \"1g\", such as \"64k\"")
                .map(|most| pool.config.buffer_request = Some(most))
        }),
        row("buffer_response", |value, pool| {
            super::values::size(value, 1..=1 << 30, "a size from 1 byte to \"1g\", such as \"1m\"")
                .map(|most| pool.config.buffer_response = Some(most))
        }),
        row("hedge", |value, pool| hedge(value).map(|hedge| pool.config.hedge = Some(hedge))),
        row("mirror", |value, pool| mirror(value).map(|mirror| pool.mirror = Some(mirror))),
        row("trailers", |value, pool| yes_or_no(value).map(|pass| pool.config.trailers = pass)),
        row("timeouts", |value, pool| {
            TIMEOUTS.read(table(value, "a table of times")?, &mut pool.config.timeouts)
        }),
    ],
    items: 0,
};

pub(super) const TIMEOUTS: Keys<PoolTimeouts> = Keys {
    noun: "timeout of a pool",
    rows: &[
        row("connect", |value, all| time(value).map(|time| all.connect = time)),
        row("response", |value, all| time(value).map(|time| all.response = time)),
        row("gap", |value, all| time(value).map(|time| all.gap = time)),
        row("idle", |value, all| time(value).map(|time| all.idle = time)),
    ],
    items: 0,
};

const VERSIONS: &[(&str, ProxyVersion)] = &[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)];
pub(super) fn call(call: &Call, builder: &mut Builder) -> ReadValue<Value> {
    let mut written = PoolTable::default();
    KEYS.read(table(call.argument, "a table such as { servers = { \"127.0.0.1:8080\" } }")?, &mut written)?;
    if let Some(balance) = &written.balance {
        check_maker(balance, builder).map_err(|error| error.key("balance"))?;
    }
    written.config.servers = secure(std::mem::take(&mut written.servers), builder)?;
    written.config.name = unused_name(written.name.take(), builder)?;
    check(&written.config)?;
    for (path, text) in warnings(&written) {
        let text = ValueError::new(text);
        let text = path.iter().rev().fold(text, |text, step| text.within(step.clone())).line("pool");
        let position = call.position.of_key(&builder.texts, &path).to_string();
        builder.warnings.push(Warning { position, text });
    }
    let PoolTable { config, balance, hash_by, mirror, .. } = written;
    let object = add(call.lua, config, [balance, hash_by], builder)
        .map_err(|error| ValueError::new(error.to_string()))?;
    if let (Some(mirror), Some(pool)) = (mirror, builder.pools.last_mut()) {
        let path = ["mirror", "pool"].map(|key| PathStep::Key(key.into()));
        pool.mirror = Some((mirror, call.position.of_key(&builder.texts, &path)));
    }
    Ok(Value::Table(object))
}

/// Reads the files of servers with TLS.
fn secure(servers: Vec<Written>, builder: &mut Builder) -> ReadValue<Vec<ServerConfig>> {
    let source = &mut builder.source;
    let secure = |(number, (mut server, tls)): (usize, Written)| {
        if let Some(tls) = tls {
            let client = tls.load(&server.address, source);
            let client = client.map_err(|error| error.item(number).key("servers"))?;
            server.tls = Some(client);
        }
        Ok(server)
    };
    (1..).zip(servers).map(secure).collect()
}

/// Checks what several keys say together.
fn check(pool: &PoolConfig) -> ReadValue<()> {
    if pool.servers.is_empty() {
        let why = "no server, expected at least one, as in servers = { \"127.0.0.1:8080\" }";
        return Err(ValueError::new(why).key("servers"));
    }
    if pool.balance == Balance::Hash && pool.hash_by.is_none() {
        let why = "\"hash\" has no key, expected hash_by beside it, as in hash_by = \"path\"";
        return Err(ValueError::new(why).key("balance"));
    }
    if pool.min_idle > pool.max_idle {
        let why = format!("got {}, expected at most max_idle, which is {}", pool.min_idle, pool.max_idle);
        return Err(ValueError::new(why).key("min_idle"));
    }
    check_tcp(pool)
}

/// Options of TCP connections would have no effect on Unix sockets.
fn check_tcp(pool: &PoolConfig) -> ReadValue<()> {
    if !pool.servers.iter().all(|server| matches!(server.address, Address::Unix(_))) {
        return Ok(());
    }
    let why = ValueError::new(
        "a unix socket has none, expected a server with a TCP address such as \"127.0.0.1:8080\"",
    );
    match (pool.sockets.first_set(), &pool.health) {
        (Some(key), _) => Err(why.key(key)),
        (None, Some(health)) if health.port.is_some() => Err(why.key("port").key("health")),
        _ => Ok(()),
    }
}

/// What is probably a mistake: the path of a key and the text.
fn warnings(pool: &PoolTable) -> Vec<(Vec<PathStep>, String)> {
    let key = |name: &str| PathStep::Key(name.to_owned());
    let servers = &pool.config.servers;
    let mut all = Vec::new();
    if servers.iter().all(|server| server.backup) {
        let text = "all are backups, expected at least one without backup = true";
        all.push((vec![key("servers")], text.into()));
    }
    // A name may have several addresses.
    if pool.retries_is_set && pool.config.retries > 0 && servers.len() == 1 && !servers[0].is_name() {
        let text = "nothing to try, expected at least two servers";
        all.push((vec![key("retries")], text.into()));
    }
    if pool.config.hedge.is_some() && servers.len() == 1 && !servers[0].is_name() {
        let text = "no other server to try, expected at least two servers";
        all.push((vec![key("hedge")], text.into()));
    }
    if pool.config.hash_by.is_some() && pool.config.balance != Balance::Hash {
        let text = "does nothing, expected balance = \"hash\" beside it";
        all.push((vec![key("hash_by")], text.into()));
    }
    all
}

/// Adds the pool to the builder and makes its object.
pub(super) fn add(
    lua: &Lua,
    pool: PoolConfig,
    [balance, hash_by]: [Option<Function>; 2],
    builder: &mut Builder,
) -> mlua::Result<Table> {
    let object = object(lua, &pool.name)?;
    builder.pools.push(PoolBuilder { pool, balance, hash_by, mirror: None, object: object.clone() });
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
