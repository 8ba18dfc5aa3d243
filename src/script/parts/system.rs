//! `rsp.random`, `rsp.now` and `rsp.log`: what a script gets from the system.

use mlua::{Lua, LuaString, Table, Value};

use super::{Outcome, part, text, wrong};
use crate::script::{failure, ffi, offline};

/// Bytes of one call of `rsp.random`.
const MOST_RANDOM: i64 = 64 * 1024;

const LEVELS: [(&[u8], log::Level); 4] = [
    (b"error", log::Level::Error),
    (b"warn", log::Level::Warn),
    (b"info", log::Level::Info),
    (b"debug", log::Level::Debug),
];

pub(super) fn add(lua: &Lua, parts: &Table) -> mlua::Result<()> {
    parts.raw_set("random", part(lua, |lua, count: Value| random(lua, &count))?)?;
    parts.raw_set("now", part(lua, |_, (): ()| Ok(ffi::wall_clock().as_secs_f64()))?)?;
    let log = |lua: &Lua, (level, line): (Value, Value)| {
        write(&text(lua, level, "rsp.log: level")?, &text(lua, line, "rsp.log")?)
    };
    parts.raw_set("log", part(lua, log)?)
}

fn random(lua: &Lua, count: &Value) -> Outcome<LuaString> {
    let count = count.as_i64().filter(|count| (0..=MOST_RANDOM).contains(count));
    let Some(count) = count else {
        return wrong(format!("rsp.random: expected a whole number from 0 to {MOST_RANDOM}"));
    };
    let mut bytes = vec![0; count as usize];
    if offline::time().is_some() {
        bytes.iter_mut().for_each(|byte| *byte = offline::next_random() as u8);
        return Ok(lua.create_string(bytes)?);
    }
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(lua.create_string(bytes)?),
        Err(_) => wrong("rsp.random: the system gives no random bytes"),
    }
}

fn write(level: &LuaString, line: &LuaString) -> Outcome<()> {
    let level = level.as_bytes();
    let Some((_, level)) = LEVELS.iter().find(|(name, _)| **name == *level) else {
        return wrong(format!(
            "rsp.log: got level \"{}\", expected \"error\", \"warn\", \"info\" or \"debug\"",
            level[..level.len().min(20)].escape_ascii()
        ));
    };
    log::log!(target: "lua", *level, "{}", failure::single_line(&line.to_string_lossy()));
    Ok(())
}
