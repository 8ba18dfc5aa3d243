//! Puts in place of functions of Lua's library those that keep to the budget.
//!
//! The hook stops Lua code, but two things escape it: coroutines (see `coroutines`), and loops in C, which are one
//! instruction to the hook: `patterns`, `tables` and `strings` charge their work (`charge`).

use std::ffi::{CStr, c_int};

use mlua::{Lua, Table, ffi};

use super::LuaState;
use super::coroutines;
use super::globals::RAW;
use super::patterns::PATTERNS;
use super::string_cache::SLOTS;
use super::strings::{self, STRINGS, UTF8};
use super::tables::TABLES;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// Replaces functions of the library; the first upvalue of each is what it replaces.
pub fn watch(lua: &Lua) -> mlua::Result<()> {
    let globals = lua.globals();
    put(lua, &globals, &strings::GLOBALS)?;
    put(lua, &globals, &RAW)?;
    for (library, functions) in [
        ("coroutine", &coroutines::WATCHED[..]),
        ("table", &TABLES),
        ("string", &PATTERNS),
        ("string", &STRINGS),
        ("utf8", &UTF8),
        ("os", &strings::OS),
    ] {
        put(lua, &globals.get(library)?, functions)?;
    }
    protect_strings(lua)
}

fn put(lua: &Lua, library: &Table, functions: &[(&CStr, ffi::lua_CFunction)]) -> mlua::Result<()> {
    // SAFETY: the closure runs protected, owns nothing, and takes the one value that was pushed for it.
    unsafe {
        lua.exec_raw::<()>(library, |state| {
            ffi::luaL_checkstack(state, 2 + SLOTS as c_int, std::ptr::null());
            for (name, function) in functions {
                // `wrap` is built on Lua's own `resume`, which is not replaced yet.
                let original = if *name == c"wrap" { c"resume" } else { *name };
                ffi::lua_getfield(state, -1, original.as_ptr());
                let kept = if *name == c"sub" { SLOTS as c_int } else { 0 };
                for _ in 0..kept {
                    ffi::lua_pushnil(state);
                }
                ffi::lua_pushcclosure(state, *function, 1 + kept);
                ffi::lua_setfield(state, -2, name.as_ptr());
            }
            ffi::lua_pop(state, 1);
        })
    }
}

/// Hides the metatable that all strings share: `getmetatable("")` returns false.
fn protect_strings(lua: &Lua) -> mlua::Result<()> {
    // SAFETY: the closure runs protected and owns nothing.
    unsafe {
        lua.exec_raw::<()>((), |state| {
            ffi::lua_pushstring(state, c"".as_ptr());
            if ffi::lua_getmetatable(state, -1) != 0 {
                ffi::lua_pushboolean(state, 0);
                ffi::lua_setfield(state, -2, c"__metatable".as_ptr());
                ffi::lua_pop(state, 1);
            }
            ffi::lua_pop(state, 1);
        })
    }
}

/// Calls Lua's own function in this frame: it gets the same arguments and reports the same caller.
pub(super) unsafe fn original(state: LuaState) -> c_int {
    // SAFETY: see above; functions of the library have no upvalues, so none of them is missed.
    unsafe { ffi::lua_tocfunction(state, ffi::lua_upvalueindex(1)).map_or(0, |original| original(state)) }
}
