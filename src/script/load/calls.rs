//! The functions a config script calls: `rsp.listen`, `rsp.pool`, `rsp.on_request`, `rsp.on_response`,
//! `rsp.settings`. Each is a row here; what they share is how they are called, and how an error finds its line.

use std::rc::Rc;

use mlua::{Error, Lua, MultiValue, Table, Value};

use super::draft::{Draft, Loading, Set};
use super::place::Place;
use super::values::function;
use super::wrong::{Read, Wrong, nearest};
use super::{listen, pool, settings};

/// One call: its only argument, and where it stands.
pub(super) struct Call<'a> {
    pub lua: &'a Lua,
    pub argument: &'a Value,
    pub place: &'a Place,
}

type Work = fn(&Call, &mut Draft) -> Read<Value>;

const CALLS: &[(&str, Work)] = &[
    ("listen", listen::call),
    ("pool", pool::call),
    ("settings", settings::call),
    ("on_request", |call, draft| once(&mut draft.on_request, call, "a function(req)")),
    ("on_response", |call, draft| once(&mut draft.on_response, call, "a function(req, res)")),
];

/// Adds the functions to the `rsp` table.
pub(super) fn install(lua: &Lua, loading: &Rc<Loading>) -> mlua::Result<()> {
    let rsp: Table = lua.globals().raw_get("rsp")?;
    for (name, work) in CALLS {
        let (loading, own) = (Rc::clone(loading), rsp.clone());
        let call =
            move |lua: &Lua, arguments: MultiValue| run(lua, name, *work, &loading, (&arguments, &own));
        rsp.raw_set(*name, lua.create_function(call)?)?;
    }
    // A misspelt function would else be "attempt to call a nil value".
    if rsp.metatable().is_none() {
        let meta = lua.create_table()?;
        meta.raw_set("__index", lua.create_function(unknown)?)?;
        rsp.set_metatable(Some(meta))?;
    }
    Ok(())
}

fn run(
    lua: &Lua,
    name: &str,
    work: Work,
    loading: &Loading,
    (arguments, rsp): (&MultiValue, &Table),
) -> mlua::Result<Value> {
    let place = Place::of_call(lua).unwrap_or(Place { file: "?".into(), line: 0 });
    let done = loading.with(|draft| {
        let argument = only(arguments, rsp, name);
        let done =
            argument.and_then(|argument| work(&Call { lua, argument: &argument, place: &place }, draft));
        done.map_err(|wrong| {
            Error::runtime(format!("{}: {}", place.of_key(&draft.texts, &wrong.path()), wrong.line(name)))
        })
    });
    done.unwrap_or_else(|| {
        Err(Error::runtime(format!("{place}: rsp.{name}: only while the config is loaded")))
    })
}

/// The one argument of every call.
fn only(arguments: &MultiValue, rsp: &Table, name: &str) -> Read<Value> {
    match arguments.len() {
        0 => Ok(Value::Nil),
        1 => Ok(arguments[0].clone()),
        _ if arguments[0].as_table() == Some(rsp) => {
            Err(Wrong::new(format!("called with a colon, expected a dot: rsp.{name}")))
        }
        more => Err(Wrong::new(format!("got {more} arguments, expected one"))),
    }
}

fn once(slot: &mut Option<Set<mlua::Function>>, call: &Call, expected: &str) -> Read<Value> {
    let value = function(call.argument, expected)?;
    set(slot, value, call.place).map(|()| Value::Nil)
}

/// Fills a slot that can be filled once.
pub(super) fn set<T>(slot: &mut Option<Set<T>>, value: T, place: &Place) -> Read<()> {
    if let Some(first) = slot {
        return Err(Wrong::new(format!("called twice, expected one call (the first is at {})", first.place)));
    }
    *slot = Some(Set { value, place: place.clone() });
    Ok(())
}

/// `rsp.lisen`: there is no such thing.
fn unknown(lua: &Lua, (rsp, key): (Table, Value)) -> mlua::Result<()> {
    let key = key.as_string().map(|key| key.to_string_lossy()).unwrap_or_default();
    let known = rsp.pairs::<String, Value>().filter_map(Result::ok).map(|(name, _)| name);
    let mut known: Vec<String> = known.collect();
    known.sort();
    let hint = match nearest(&key, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean rsp.{near}?"),
        None => format!("expected one of {}", known.join(", ")),
    };
    let place = Place::of_call(lua).map(|place| format!("{place}: ")).unwrap_or_default();
    Err(Error::runtime(format!("{place}rsp.{}: unknown, {hint}", super::place::flat(key))))
}

#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CALLS.iter().map(|(name, _)| *name)
}
