//! The objects of `rsp.shared`, `rsp.rate`, `rsp.concurrency`, `rsp.split`, `rsp.cidr` and `rsp.map`: their methods, in
//! Lua around functions of Rust (`parts.lua`).

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use base64ct::{Base64, Encoding};
use mlua::{Function, Lua, MultiValue, Table, Value};

use super::{OBJECTS, Outcome, part, text, wrong};
use crate::config::{ConcurrencyConfig, RateConfig, SharedConfig, SplitBy, SplitConfig};
use crate::script::ffi;
use crate::store::{
    Access, BasicAuth, Bounds, Limiter, Networks, Place, Places, Rate, RateLimit, Shared, SharedValue,
    Shares, WatchedMap, add, delete, get, increase, set,
};

/// Bytes of a key, and of a value.
pub(in crate::script) const LONGEST_KEY: usize = 1024;
const LONGEST_VALUE: usize = 64 * 1024;
/// Places that one request may hold.
const MOST_PLACES: usize = 16;
/// Seconds: a hundred years.
const LONGEST_TTL: f64 = 100.0 * 365.0 * 86400.0;

/// The places that calls have taken and nobody has yet: each call leaves them here, and its request takes them over.
#[derive(Default)]
pub(in crate::script) struct Entered(RefCell<Vec<Place>>);

impl Entered {
    pub(in crate::script) fn take(&self, into: &mut Vec<Place>) {
        let mut entered = self.0.borrow_mut();
        if !entered.is_empty() {
            into.append(&mut entered);
        }
    }
}

/// Nanoseconds of the clock that all these go by.
pub(in crate::script) fn now() -> u64 {
    ffi::monotonic()
}

/// Calls one of the functions in `parts.lua` that make an object.
pub(super) fn object(lua: &Lua, maker: &str, arguments: impl mlua::IntoLuaMulti) -> mlua::Result<Value> {
    let makers: Table = lua.named_registry_value(OBJECTS)?;
    makers.raw_get::<Function>(maker)?.call(arguments)
}

fn key(lua: &Lua, value: Value) -> Outcome<mlua::LuaString> {
    let key = text(lua, value, "key")?;
    match key.as_bytes().len() {
        0..=LONGEST_KEY => Ok(key),
        bytes => wrong(format!("a key of {bytes} bytes, expected at most {LONGEST_KEY}")),
    }
}

pub(in crate::script) fn shared_object(
    lua: &Lua,
    table: Arc<Shared>,
    config: &SharedConfig,
) -> mlua::Result<Value> {
    let values = Rc::new(Values { table, bounds: Bounds { entries: config.entries, memory: config.memory } });
    let methods = lua.create_table()?;
    let method = |name: &str, work: Method| {
        let values = values.clone();
        methods.raw_set(name, part(lua, move |lua: &Lua, given| work(&values, lua, given))?)
    };
    method("get", |of, lua, (name, ..)| {
        let name = key(lua, name)?;
        pushed(lua, get(&of.table, of.table.key(&name.as_bytes()), of.access()))
    })?;
    method("set", |of, lua, (name, new, ttl)| {
        let (name, new, ttl) = (key(lua, name)?, value(&new)?, time_to_live(&ttl)?);
        set(&of.table, of.table.key(&name.as_bytes()), new, ttl, of.access());
        Ok(Value::Boolean(true))
    })?;
    method("add", |of, lua, (name, new, ttl)| {
        let (name, new, ttl) = (key(lua, name)?, value(&new)?, time_to_live(&ttl)?);
        Ok(Value::Boolean(add(&of.table, of.table.key(&name.as_bytes()), new, ttl, of.access())))
    })?;
    method("incr", incr)?;
    method("delete", |of, lua, (name, ..)| {
        let name = key(lua, name)?;
        Ok(Value::Boolean(delete(&of.table, of.table.key(&name.as_bytes()), of.access())))
    })?;
    object(lua, "shared", methods)
}

fn incr(of: &Values, lua: &Lua, (name, by, ttl): (Value, Value, Value)) -> Outcome<Value> {
    let by = match by {
        Value::Nil => SharedValue::Integer(1),
        Value::Integer(_) | Value::Number(_) => value(&by)?,
        other => return wrong(format!("got a {}, expected a number to add", other.type_name())),
    };
    let (name, ttl) = (key(lua, name)?, time_to_live(&ttl)?);
    match increase(&of.table, of.table.key(&name.as_bytes()), &by, ttl, of.access()) {
        Some(sum) => pushed(lua, Some(sum)),
        None => wrong("the value is no number"),
    }
}

/// A method of `rsp.shared`, with up to three arguments.
type Method = fn(&Values, &Lua, (Value, Value, Value)) -> Outcome<Value>;

struct Values {
    table: Arc<Shared>,
    bounds: Bounds,
}

impl Values {
    fn access(&self) -> Access {
        Access { now: now(), bounds: self.bounds }
    }
}

fn value(given: &Value) -> Outcome<SharedValue> {
    Ok(match given {
        Value::String(text) => match text.as_bytes().len() {
            0..=LONGEST_VALUE => SharedValue::Text(Arc::from(&text.as_bytes()[..])),
            bytes => return wrong(format!("a value of {bytes} bytes, expected at most {LONGEST_VALUE}")),
        },
        Value::Integer(number) => SharedValue::Integer(*number),
        Value::Number(number) => SharedValue::Number(*number),
        Value::Boolean(is) => SharedValue::Boolean(*is),
        other => {
            return wrong(format!("got a {}, expected a string, a number or a boolean", other.type_name()));
        }
    })
}

fn pushed(lua: &Lua, value: Option<SharedValue>) -> Outcome<Value> {
    Ok(match value {
        None => Value::Nil,
        Some(SharedValue::Text(text)) => Value::String(lua.create_string(&text[..])?),
        Some(SharedValue::Integer(number)) => Value::Integer(number),
        Some(SharedValue::Number(number)) => Value::Number(number),
        Some(SharedValue::Boolean(is)) => Value::Boolean(is),
    })
}

/// Nanoseconds.
fn time_to_live(given: &Value) -> Outcome<Option<u64>> {
    if given.is_nil() {
        return Ok(None);
    }
    match crate::script::load::seconds_of(given).filter(|seconds| (1e-9..=LONGEST_TTL).contains(seconds)) {
        Some(seconds) => Ok(Some((seconds * 1e9) as u64)),
        None => wrong("expected a time to live such as \"10s\" or a number of seconds"),
    }
}

pub(in crate::script) fn rate_object(
    lua: &Lua,
    limit: Arc<RateLimit>,
    config: &RateConfig,
) -> mlua::Result<Value> {
    let limiter = || Limiter {
        limit: limit.clone(),
        rate: Rate { interval: config.interval, burst: config.burst },
        bounds: Bounds { entries: config.entries, memory: usize::MAX },
        dry_run: config.dry_run,
    };
    let (shown, own) = (config.name.replace('\\', "\\\\").replace(|c: char| !c.is_ascii(), "?"), limiter());
    let headers = move |lua: &Lua, name: Value| {
        let left = own.left(&key(lua, name)?.as_bytes(), now());
        let line = format!("\"{shown}\";r={};t={}", left.requests, seconds_up(left.full_in));
        Ok((line, (left.wait > 0 && !own.dry_run).then(|| seconds_up(left.wait).to_string())))
    };
    object(lua, "rate", (ffi::allow_function(lua, limiter())?, part(lua, headers)?))
}

fn seconds_up(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(1_000_000_000)
}

pub(in crate::script) fn concurrency_object(
    lua: &Lua,
    places: Arc<Places>,
    config: &ConcurrencyConfig,
) -> mlua::Result<Value> {
    let most = config.most;
    let enter = move |lua: &Lua, (request, name): (Value, Value)| -> Outcome<bool> {
        let live = ffi::live_request(lua);
        match request {
            Value::LightUserData(request) if Some(request.0 as usize) == live => {}
            _ => return wrong("expected the request that runs, as in limit:enter(req, key)"),
        }
        let name = key(lua, name)?;
        let Some(entered) = lua.app_data_ref::<Rc<Entered>>() else { return wrong("internal fault of rsp") };
        if entered.0.borrow().len() >= MOST_PLACES {
            return wrong(format!("a request may hold {MOST_PLACES} places"));
        }
        let place = places.enter(&name.as_bytes(), most);
        let is_in = place.is_some();
        entered.0.borrow_mut().extend(place);
        Ok(is_in)
    };
    object(lua, "concurrency", part(lua, enter)?)
}

pub(in crate::script) fn split_object(
    lua: &Lua,
    turns: Arc<AtomicU64>,
    config: &SplitConfig,
    (values, function): (Vec<Value>, Option<Function>),
) -> mlua::Result<Value> {
    let Some(shares) = Shares::new(&config.weights) else {
        return Err(mlua::Error::runtime("internal fault of rsp"));
    };
    let salt = config.name.clone();
    let index = move |lua: &Lua, key: Value| {
        Ok(1 + match key {
            Value::Nil => shares.next(&turns),
            key => shares.of_key(salt.as_bytes(), &text(lua, key, "by")?.as_bytes()),
        })
    };
    let (of, name) = match &config.by {
        None | Some(SplitBy::Function) => (None, None),
        Some(SplitBy::Field(field)) => (None, Some((*field).to_owned())),
        Some(SplitBy::Header(name)) => (Some("headers"), Some(name.clone())),
        Some(SplitBy::Cookie(name)) => (Some("cookies"), Some(name.clone())),
        Some(SplitBy::Query(name)) => (Some("args"), Some(name.clone())),
    };
    let values = lua.create_sequence_from(values)?;
    let arguments: MultiValue =
        mlua::IntoLuaMulti::into_lua_multi((part(lua, index)?, values, of, name, function), lua)?;
    object(lua, "split", arguments)
}

pub(in crate::script) fn cidr_object(lua: &Lua, networks: Networks) -> mlua::Result<Value> {
    let has = move |lua: &Lua, address: Value| {
        let address = looked_up(lua, address, |text| std::str::from_utf8(text).ok()?.parse::<IpAddr>().ok())?;
        Ok(address.is_some_and(|address| networks.find(address).is_some()))
    };
    object(lua, "cidr", part(lua, has)?)
}

pub(in crate::script) fn map_object(lua: &Lua, file: Arc<WatchedMap>) -> mlua::Result<Value> {
    let get = move |lua: &Lua, key: Value| {
        let map = file.current();
        let found = looked_up(lua, key, |key| map.get(key).map(|value| lua.create_string(value)))?;
        Ok(found.transpose()?)
    };
    object(lua, "map", part(lua, get)?)
}

pub(in crate::script) fn basic_auth_object(lua: &Lua, users: Arc<BasicAuth>) -> mlua::Result<Value> {
    let credentials = |lua: &Lua, header: Value| {
        let Value::String(header) = header else { return Ok((None, None)) };
        let Some((user, password)) = credentials(&header.as_bytes()) else { return Ok((None, None)) };
        Ok((Some(lua.create_string(user)?), Some(lua.create_string(password)?)))
    };
    object(lua, "basic_auth", (part(lua, credentials)?, ffi::check_function(lua, users)?))
}

/// User and password of an `Authorization` field (RFC 7617 section 2).
fn credentials(header: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, rest) = header.split_at_checked(6)?;
    let token = scheme.eq_ignore_ascii_case(b"basic ").then(|| rest.trim_ascii())?;
    let mut user = Base64::decode_vec(std::str::from_utf8(token).ok()?).ok()?;
    let colon = user.iter().position(|byte| *byte == b':')?;
    let password = user.split_off(colon + 1);
    user.pop();
    Some((user, password))
}

/// Nothing is found for nil: a header or a cookie that is not there.
fn looked_up<T>(lua: &Lua, key: Value, find: impl FnOnce(&[u8]) -> Option<T>) -> Outcome<Option<T>> {
    match key {
        Value::Nil => Ok(None),
        key => Ok(find(&text(lua, key, "key")?.as_bytes())),
    }
}
