//! Ready parts for scripts, at any time: `rsp.json`, `rsp.base64`, `rsp.hex`, `rsp.url`, hashes, random bytes, the clock
//! and the log. And the objects of `rsp.shared` and the like, which the loader makes (`stores`).
//!
//! Each is a safe function of Rust with some Lua around it (`parts.lua`), which raises what the function refuses at the
//! line of the script that called it: as a string, like Lua's own library. What works through much data in one call
//! asks `Meter` now and then, since the budget's hook sees only Lua's own instructions.

mod digest;
mod encoding;
mod json_read;
mod json_write;
mod lookups;
mod meter;
mod regex;
mod stores;
mod system;

use std::rc::Rc;

use mlua::{FromLuaMulti, Function, IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

pub(super) use lookups::{cidr_object, map_object};
pub(super) use stores::{
    Entered, LONGEST_KEY, concurrency_object, now, rate_object, shared_object, split_object,
};

/// The name in Lua's registry of the functions that make objects.
const OBJECTS: &str = "rsp.objects";

/// Why a part returns nothing.
pub(super) enum Refusal {
    /// The script called it wrongly, or it would cost too much.
    Wrong(String),
    /// Lua itself failed: its memory is used up.
    Lua(mlua::Error),
}

impl From<mlua::Error> for Refusal {
    fn from(error: mlua::Error) -> Refusal {
        Refusal::Lua(error)
    }
}

pub(super) type Outcome<T> = Result<T, Refusal>;

pub(super) fn wrong<T>(text: impl Into<String>) -> Outcome<T> {
    Err(Refusal::Wrong(text.into()))
}

/// A result, or why the script's data gives none.
pub(super) type OrReason = (Value, Option<String>);

pub(super) fn no(reason: impl Into<String>) -> OrReason {
    (Value::Nil, Some(reason.into()))
}

/// Sets the parts in the table of `rsp`'s functions.
pub(super) fn install(lua: &Lua, rsp: &Table) -> mlua::Result<()> {
    let parts = lua.create_table()?;
    encoding::add(lua, &parts)?;
    digest::add(lua, &parts)?;
    system::add(lua, &parts)?;
    json_write::add(lua, &parts)?;
    regex::add(lua, &parts)?;
    let objects: Table = lua.load(include_str!("parts.lua")).set_name("=rsp").call((rsp, parts))?;
    lua.set_named_registry_value(OBJECTS, objects)?;
    lua.set_app_data(Rc::<Entered>::default());
    Ok(())
}

/// A function for `parts.lua`: its first result is what is wrong with the call, or nil.
pub(super) fn part<A, R>(lua: &Lua, work: impl Fn(&Lua, A) -> Outcome<R> + 'static) -> mlua::Result<Function>
where
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    lua.create_function(move |lua, arguments: A| -> mlua::Result<MultiValue> {
        match work(lua, arguments) {
            Ok(results) => {
                let mut results = results.into_lua_multi(lua)?;
                results.push_front(Value::Nil);
                Ok(results)
            }
            Err(Refusal::Wrong(text)) => text.into_lua_multi(lua),
            Err(Refusal::Lua(error)) => Err(error),
        }
    })
}

/// A string, or a number as Lua writes it.
pub(super) fn text(lua: &Lua, value: Value, what: &str) -> Outcome<LuaString> {
    let kind = value.type_name();
    match value {
        Value::String(text) => Ok(text),
        value @ (Value::Integer(_) | Value::Number(_)) => {
            lua.coerce_string(value)?.map_or_else(|| wrong(format!("{what}: got a {kind}")), Ok)
        }
        Value::Nil => wrong(format!("{what}: got nil, expected a string")),
        _ => wrong(format!("{what}: got a {kind}, expected a string")),
    }
}
