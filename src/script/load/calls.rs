//! The functions that a config script calls: `rsp.listen`, `rsp.pool`, `rsp.settings`, `rsp.on_request` and those of other
//! phases. Each is a row here; calling and error positions are shared.
//!
//! The global `rsp` is an empty table that shows them and refuses assignments, which would silently do nothing.

use std::rc::Rc;

use mlua::{Error, Lua, MultiValue, Table, Value};

use super::super::ffi::STANDS_BEFORE;
use super::builder::{Builder, Loading, SetOnce};
use super::error::{ReadValue, ValueError, nearest, show};
use super::position::{Position, flat};
use super::values::function;
use super::{homes, listen, lookups, pool, settings, stores, values};

/// One call: its argument, and its position.
pub(super) struct Call<'a> {
    pub lua: &'a Lua,
    pub argument: &'a Value,
    /// Nil but for the functions in `OF_TWO`.
    pub second: &'a Value,
    pub position: &'a Position,
}

/// The functions that take a second argument.
const OF_TWO: [&str; 3] = ["every", "map", "shared"];

type Work = fn(&Call, &mut Builder) -> ReadValue<Value>;

const CALLS: &[(&str, Work)] = &[
    ("listen", listen::call),
    ("pool", pool::call),
    ("settings", settings::call),
    ("on_request", |call, builder| once(&mut builder.on_request, call, "a function(req)")),
    ("on_response", |call, builder| once(&mut builder.on_response, call, "a function(req, res)")),
    ("on_answer", |call, builder| once(&mut builder.on_answer, call, "a function(req, res)")),
    ("on_log", |call, builder| once(&mut builder.on_log, call, "a function(req, res, log)")),
    ("on_connect", |call, builder| once(&mut builder.on_connect, call, "a function(conn)")),
    ("on_start", |call, builder| once(&mut builder.on_start, call, "a function()")),
    ("every", every),
    ("shared", stores::shared),
    ("rate", stores::rate),
    ("concurrency", stores::concurrency),
    ("split", stores::split),
    ("cidr", lookups::cidr),
    ("map", lookups::map),
    ("basic_auth", lookups::basic_auth),
];

/// Adds the functions to those of the VM, and replaces the table by the one that scripts see.
pub(super) fn install(lua: &Lua, loading: &Rc<Loading>) -> mlua::Result<()> {
    let functions: Table = lua.globals().raw_get("rsp")?;
    let rsp = lua.create_table()?;
    for (name, work) in CALLS {
        let (loading, own) = (Rc::clone(loading), rsp.clone());
        let call =
            move |lua: &Lua, arguments: MultiValue| run(lua, name, *work, &loading, (&arguments, &own));
        functions.raw_set(*name, lua.create_function(call)?)?;
    }
    let names: Vec<String> =
        functions.pairs::<String, Value>().map(|p| Ok(p?.0)).collect::<mlua::Result<_>>()?;
    let known = Rc::new(sorted(names));
    // The error for a misspelt function; Lua's own is "attempt to call a nil value".
    let (missing, all) = (lua.create_table()?, known.clone());
    let unknown = move |lua: &Lua, (_, key): (Table, Value)| fail(lua, &key, &all, unknown);
    missing.raw_set("__index", lua.create_function(unknown)?)?;
    functions.set_metatable(Some(missing))?;
    let meta = lua.create_table()?;
    let assigned = move |lua: &Lua, (_, key, _): (Table, Value, Value)| fail(lua, &key, &known, assigned);
    meta.raw_set("__index", functions)?;
    meta.raw_set("__newindex", lua.create_function(assigned)?)?;
    meta.raw_set("__metatable", false)?;
    meta.raw_set(STANDS_BEFORE, true)?;
    rsp.set_metatable(Some(meta))?;
    lua.globals().raw_set("rsp", rsp)
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn run(
    lua: &Lua,
    name: &str,
    work: Work,
    loading: &Loading,
    (arguments, rsp): (&MultiValue, &Table),
) -> mlua::Result<Value> {
    let position = Position::of_call(lua).unwrap_or(Position { file: "?".into(), line: 0 });
    let done = loading.with(|builder| {
        let done = read_arguments(arguments, rsp, name).and_then(|[argument, second]| {
            work(&Call { lua, argument: &argument, second: &second, position: &position }, builder)
        });
        done.map_err(|error| {
            Error::runtime(format!(
                "{}: {}",
                position.of_key(&builder.texts, &error.path()),
                error.line(name)
            ))
        })
    });
    done.unwrap_or_else(|| {
        Err(Error::runtime(format!("{position}: rsp.{name}: only while the config is loaded")))
    })
}

/// The single argument of a call, or two where it takes them.
fn read_arguments(arguments: &MultiValue, rsp: &Table, name: &str) -> ReadValue<[Value; 2]> {
    let at = |index: usize| arguments.get(index).cloned().unwrap_or(Value::Nil);
    let (most, expected) = if OF_TWO.contains(&name) { (2, "two") } else { (1, "one") };
    match arguments.len() {
        more if more > 1 && at(0).as_table() == Some(rsp) => {
            Err(ValueError::new(format!("called with a colon, expected a dot: rsp.{name}")))
        }
        more if more > most => Err(ValueError::new(format!("got {more} arguments, expected {expected}"))),
        _ => Ok([at(0), at(1)]),
    }
}

fn once(slot: &mut Option<SetOnce<mlua::Function>>, call: &Call, expected: &str) -> ReadValue<Value> {
    let value = function(call.argument, expected)?;
    set(slot, value, call.position).map(|()| Value::Nil)
}

/// `rsp.every("10s", function() … end)`
fn every(call: &Call, builder: &mut Builder) -> ReadValue<Value> {
    const MOST: usize = 100;
    let period = values::time_within(call.argument, 0.1..=LONGEST_PERIOD, "a time from 100ms to 24h")?;
    let function = function(call.second, "a function() after the time")?;
    if builder.every.len() >= MOST {
        return Err(ValueError::new(format!("called too often, expected at most {MOST} calls")));
    }
    builder.every.push((period, function));
    Ok(Value::Nil)
}

const LONGEST_PERIOD: f64 = 24.0 * 3600.0;

/// Sets a value that can be set once.
pub(super) fn set<T>(slot: &mut Option<SetOnce<T>>, value: T, position: &Position) -> ReadValue<()> {
    if let Some(first) = slot {
        return Err(ValueError::new(format!(
            "called twice, expected one call (the first is at {})",
            first.position
        )));
    }
    *slot = Some(SetOnce { value, position: position.clone() });
    Ok(())
}

/// Raises the result of `why` for the name, at the script's line.
fn fail(lua: &Lua, key: &Value, known: &[String], why: fn(&str, &[String]) -> String) -> mlua::Result<()> {
    let name = flat(key.as_string().map(|key| key.to_string_lossy()).unwrap_or_default());
    let written = if key.is_string() { format!("rsp.{name}") } else { format!("rsp[{}]", show(key)) };
    let position = Position::of_call(lua).map(|position| format!("{position}: ")).unwrap_or_default();
    Err(Error::runtime(format!("{position}{written}: {}", why(&name, known))))
}

/// `rsp.lisen`: unknown.
fn unknown(key: &str, known: &[String]) -> String {
    match nearest(key, known.iter().map(String::as_str)) {
        Some(near) => format!("unknown, did you mean rsp.{near}?"),
        None => format!("unknown, expected one of {}", known.join(", ")),
    }
}

/// `rsp.on_request = function(req) …`: it would never be called.
fn assigned(key: &str, known: &[String]) -> String {
    let form = match key {
        "listen" => "rsp.listen \"0.0.0.0:80\"",
        "pool" => "rsp.pool { servers = { \"127.0.0.1:8080\" } }",
        "settings" => "rsp.settings { … }",
        "on_request" => "rsp.on_request(function(req) … end)",
        "on_response" => "rsp.on_response(function(req, res) … end)",
        "on_answer" => "rsp.on_answer(function(req, res) … end)",
        "on_log" => "rsp.on_log(function(req, res, log) … end)",
        "on_connect" => "rsp.on_connect(function(conn) … end)",
        "on_start" => "rsp.on_start(function() … end)",
        "every" => "rsp.every(\"10s\", function() … end)",
        _ if known.iter().any(|name| name == key) => {
            return "cannot be replaced, expected a call of it".to_owned();
        }
        _ => {
            return match homes::of(key) {
                Some(home) => format!("cannot be assigned, it belongs in {home}"),
                None => format!("cannot be assigned, {}", unknown(key, known)),
            };
        }
    };
    format!("cannot be assigned, expected a call: {form}")
}
