//! The functions that a config script calls: `rsp.listen`, `rsp.pool`, `rsp.on_request`, `rsp.on_response`,
//! `rsp.settings`. Each is a row here; calling and error positions are shared.
//!
//! The global `rsp` is an empty table that shows them and refuses assignments, which would silently do nothing.

use std::rc::Rc;

use mlua::{Error, Lua, MultiValue, Table, Value};

use super::super::ffi::STANDS_BEFORE;
use super::builder::{Builder, Loading, SetOnce};
use super::error::{ReadValue, ValueError, nearest, show};
use super::position::{Position, flat};
use super::values::function;
use super::{homes, listen, pool, settings};
use crate::config::later::{self, LATER};

/// One call: its only argument and its position.
pub(super) struct Call<'a> {
    pub lua: &'a Lua,
    pub argument: &'a Value,
    pub position: &'a Position,
}

type Work = fn(&Call, &mut Builder) -> ReadValue<Value>;

const CALLS: &[(&str, Work)] = &[
    ("listen", listen::call),
    ("pool", pool::call),
    ("settings", settings::call),
    ("on_request", |call, builder| once(&mut builder.on_request, call, "a function(req)")),
    ("on_response", |call, builder| once(&mut builder.on_response, call, "a function(req, res)")),
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
        let argument = only(arguments, rsp, name);
        let done = argument
            .and_then(|argument| work(&Call { lua, argument: &argument, position: &position }, builder));
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

/// The single argument of every call.
fn only(arguments: &MultiValue, rsp: &Table, name: &str) -> ReadValue<Value> {
    match arguments.len() {
        0 => Ok(Value::Nil),
        1 => Ok(arguments[0].clone()),
        _ if arguments[0].as_table() == Some(rsp) => {
            Err(ValueError::new(format!("called with a colon, expected a dot: rsp.{name}")))
        }
        more => Err(ValueError::new(format!("got {more} arguments, expected one"))),
    }
}

fn once(slot: &mut Option<SetOnce<mlua::Function>>, call: &Call, expected: &str) -> ReadValue<Value> {
    let value = function(call.argument, expected)?;
    set(slot, value, call.position).map(|()| Value::Nil)
}

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
    let why = if later::CALLS.contains(&name.as_str()) { LATER.to_owned() } else { why(&name, known) };
    Err(Error::runtime(format!("{position}{written}: {why}")))
}

/// `rsp.lisen`: unknown.
fn unknown(key: &str, known: &[String]) -> String {
    match nearest(key, known.iter().map(String::as_str).chain(later::CALLS.iter().copied())) {
        Some(near) if later::CALLS.contains(&near) => {
            format!("unknown, did you mean rsp.{near}, which is {LATER}?")
        }
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

#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CALLS.iter().map(|(name, _)| *name)
}
