//! What came of a request or a response, as tables for tests. A field that does not exist raises: a test that compares a
//! misspelt one with nil would pass.

use std::rc::Rc;

use mlua::{Error, Function, Lua, LuaString, Table, Value};

use super::tester::here;
use crate::offline::{Headers, Outcome};
use crate::script::nearest_hint;

/// The status in the log of a connection that was closed without an answer.
const CLOSED: u16 = 444;

const FIELDS: [&str; 9] =
    ["pool", "server", "status", "headers", "body", "error", "method", "target", "host"];
const CONNECTION: [&str; 4] = ["accepted", "pool", "server", "error"];

/// The result of `t:request` and `t:response`; `body`: that of a request that goes on to a server.
pub fn table(lua: &Lua, outcome: &Outcome, body: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let text = |text: &[u8]| lua.create_string(text);
    match outcome {
        Outcome::Forwarded(forwarded) => {
            table.raw_set("pool", text(forwarded.pool.as_bytes())?)?;
            table.raw_set("server", forwarded.server.as_deref())?;
            table.raw_set("headers", headers(lua, &forwarded.headers)?)?;
            table.raw_set("body", text(body)?)?;
            table.raw_set("error", forwarded.error.as_deref())?;
            table.raw_set("method", text(&forwarded.method)?)?;
            table.raw_set("target", text(&forwarded.target)?)?;
            table.raw_set("host", text(&forwarded.host)?)?;
        }
        Outcome::Answered(answered) => {
            table.raw_set("status", answered.status)?;
            table.raw_set("headers", headers(lua, &answered.headers)?)?;
            table.raw_set("body", text(&answered.body)?)?;
            table.raw_set("error", answered.error.as_deref())?;
        }
        Outcome::Closed(why) => {
            table.raw_set("status", CLOSED)?;
            table.raw_set("error", *why)?;
        }
    }
    only(lua, table, &FIELDS)
}

/// The result of `t:connect`.
pub fn connection(
    lua: &Lua,
    accepted: bool,
    pool: Option<&str>,
    server: Option<&str>,
    error: Option<&str>,
) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("accepted", accepted)?;
    table.raw_set("pool", pool)?;
    table.raw_set("server", server)?;
    table.raw_set("error", error)?;
    only(lua, table, &CONNECTION)
}

/// Makes other fields than these raise.
fn only(lua: &Lua, table: Table, fields: &'static [&'static str]) -> mlua::Result<Table> {
    let absent = move |lua: &Lua, (_, key): (Table, Value)| {
        let name = key.as_string().map(|name| name.to_string_lossy()).unwrap_or_default();
        match fields.contains(&name.as_str()) {
            true => Ok(Value::Nil),
            false => {
                let hint = nearest_hint(name.as_bytes(), fields.iter().copied());
                Err(Error::runtime(format!("{}the result has no field \"{name}\", {hint}", here(lua))))
            }
        }
    };
    let meta = lua.create_table()?;
    meta.raw_set("__index", lua.create_function(absent)?)?;
    table.set_metatable(Some(meta))?;
    Ok(table)
}

/// The first value of each name, which ignores case; `headers:all(name)` gives all.
pub fn headers(lua: &Lua, headers: &Headers) -> mlua::Result<Table> {
    let (table, list) = (lua.create_table()?, Rc::new(headers.clone()));
    for (name, value) in headers {
        let name = lua.create_string(name)?;
        if !table.contains_key(&name)? {
            table.raw_set(name, lua.create_string(value)?)?;
        }
    }
    let all = all(lua, list.clone())?;
    let any_case = move |lua: &Lua, (_, key): (Table, LuaString)| {
        let named = |(name, _): &&(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(&key.as_bytes());
        match list.iter().find(named) {
            Some((_, value)) => lua.create_string(value).map(Value::String),
            None if key == "all" => Ok(Value::Function(all.clone())),
            None => Ok(Value::Nil),
        }
    };
    let meta = lua.create_table()?;
    meta.raw_set("__index", lua.create_function(any_case)?)?;
    table.set_metatable(Some(meta))?;
    Ok(table)
}

fn all(lua: &Lua, list: Rc<Headers>) -> mlua::Result<Function> {
    lua.create_function(move |lua, (_, name): (Table, LuaString)| {
        let named = list.iter().filter(|(known, _)| known.eq_ignore_ascii_case(&name.as_bytes()));
        let values = named.map(|(_, value)| lua.create_string(value)).collect::<mlua::Result<Vec<_>>>()?;
        lua.create_sequence_from(values)
    })
}
