//! Globals and library tables, which handlers cannot change: a VM serves many requests, and what one of them leaves
//! behind is seen by others, and only by those of the same worker.
//!
//! Scripts see library tables, and `_G`, through empty tables with a metatable. A chunk reads and writes globals in the
//! real table of globals, at no cost, unless it can write them from within a function (`global_writes`): then its
//! globals go through such a table, too.

use std::ffi::{CStr, c_int};

use mlua::{Function, Lua, Table, ffi};

use super::LuaState;
use super::call_state::{call_state_of, guard, raise};
use super::stack::text_at;
use crate::script::global_writes::may_write_globals;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// The libraries that a script sees.
const LIBRARIES: [&str; 6] = ["coroutine", "math", "os", "string", "table", "utf8"];

/// In a metatable: the table of the script's is empty, and stands before another one.
pub const STANDS_BEFORE: &str = "__stands_before";

/// Where the table before the globals is kept.
const BEFORE_GLOBALS: &CStr = c"rsp.globals";

pub(super) const RAW: [(&CStr, ffi::lua_CFunction); 2] = [(c"rawget", raw_get), (c"rawset", raw_set)];

/// Hides the library tables, and the globals from `_G`.
pub fn protect(lua: &Lua) -> mlua::Result<()> {
    let globals = lua.globals();
    for name in LIBRARIES {
        let library: Table = globals.raw_get(name)?;
        globals.raw_set(name, stand_before(lua, &library, name)?)?;
    }
    let before = stand_before(lua, &globals, "")?;
    globals.raw_set("_G", &before)?;
    lua.set_named_registry_value(BEFORE_GLOBALS.to_str().unwrap_or_default(), before)
}

/// Makes a chunk's globals safe, before it runs.
pub fn guard_chunk(lua: &Lua, chunk: Function) -> mlua::Result<Function> {
    if may_write_globals(&chunk.dump(false)) {
        let before: Table = lua.named_registry_value(BEFORE_GLOBALS.to_str().unwrap_or_default())?;
        chunk.set_environment(before)?;
    }
    Ok(chunk)
}

/// An empty table that shows `table` and decides about assignments. `name`: that of a library.
fn stand_before(lua: &Lua, table: &Table, name: &str) -> mlua::Result<Table> {
    let (before, meta) = (lua.create_table()?, lua.create_table()?);
    meta.raw_set("__index", table)?;
    meta.raw_set("__metatable", false)?;
    meta.raw_set(STANDS_BEFORE, true)?;
    let functions: [(&CStr, ffi::lua_CFunction); 2] = [(c"__newindex", assign), (c"__pairs", pairs)];
    // SAFETY: the closure runs protected, owns nothing, and takes the values that were pushed for it.
    unsafe {
        lua.exec_raw::<()>((table, name, &meta), |state| {
            for (event, function) in functions {
                ffi::lua_pushvalue(state, 1);
                ffi::lua_pushvalue(state, 2);
                ffi::lua_pushcclosure(state, function, 2);
                ffi::lua_setfield(state, 3, event.as_ptr());
            }
            ffi::lua_settop(state, 0);
        })?;
    }
    before.set_metatable(Some(meta))?;
    Ok(before)
}

/// The upvalues: the table and its name.
const TABLE: c_int = ffi::lua_upvalueindex(1);
const NAME: c_int = ffi::lua_upvalueindex(2);

/// `__newindex(before, key, value)`: free while the config is loaded, refused in a call of a handler.
unsafe extern "C-unwind" fn assign(state: LuaState) -> c_int {
    // SAFETY: see above; the texts stand on the stack or in an upvalue as long as they are used.
    unsafe {
        let call = call_state_of(state);
        let library = text_at(state, NAME).unwrap_or_default();
        let is_free = (*call).live == 0 || library.is_empty() && (*call).limits.globals;
        if !is_free {
            let key = text_at(state, 2).unwrap_or(b"a value");
            guard(call, |call| {
                call.message = refusal(&String::from_utf8_lossy(library), &String::from_utf8_lossy(key));
                Ok(())
            });
            raise(state, call);
        }
        ffi::lua_settop(state, 3);
        ffi::lua_rawset(state, TABLE);
        0
    }
}

fn refusal(library: &str, key: &str) -> String {
    match library {
        "" => format!(
            "global {key} set in a handler, where other requests would see it: expected local {key}, or \
             script = {{ globals = true }} in rsp.settings"
        ),
        _ => format!("{library}.{key} cannot be replaced by a handler, only while the config is loaded"),
    }
}

/// `__pairs(before)`
unsafe extern "C-unwind" fn pairs(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        ffi::lua_settop(state, 1);
        ffi::lua_pushvalue(state, TABLE);
        ffi::lua_pushcclosure(state, next, 1);
        ffi::lua_insert(state, 1);
        ffi::lua_pushnil(state);
        3
    }
}

/// `next` of the table in the first upvalue.
unsafe extern "C-unwind" fn next(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        ffi::lua_settop(state, 2);
        ffi::lua_pushvalue(state, TABLE);
        ffi::lua_insert(state, 2);
        if ffi::lua_next(state, 2) != 0 {
            return 2;
        }
        ffi::lua_pushnil(state);
        1
    }
}

unsafe extern "C-unwind" fn raw_set(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(state, 2);
        ffi::luaL_checkany(state, 3);
        ffi::lua_settop(state, 3);
        if stands_before(state) {
            ffi::lua_settable(state, 1);
        } else {
            ffi::lua_rawset(state, 1);
        }
        ffi::lua_settop(state, 1);
        1
    }
}

unsafe extern "C-unwind" fn raw_get(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(state, 2);
        ffi::lua_settop(state, 2);
        if stands_before(state) && ffi::luaL_getmetafield(state, 1, c"__index".as_ptr()) == ffi::LUA_TTABLE {
            ffi::lua_insert(state, 2);
            ffi::lua_rawget(state, 2);
        } else {
            ffi::lua_settop(state, 2);
            ffi::lua_rawget(state, 1);
        }
        1
    }
}

/// Whether the first argument stands before another table.
unsafe fn stands_before(state: LuaState) -> bool {
    // SAFETY: see above.
    unsafe {
        let stands = ffi::luaL_getmetafield(state, 1, c"__stands_before".as_ptr()) != ffi::LUA_TNIL;
        if stands {
            ffi::lua_pop(state, 1);
        }
        stands
    }
}

/// Pushes the table before the globals.
pub(super) unsafe fn push_globals(state: LuaState) {
    // SAFETY: see above.
    unsafe {
        ffi::lua_getfield(state, ffi::LUA_REGISTRYINDEX, BEFORE_GLOBALS.as_ptr());
    }
}
