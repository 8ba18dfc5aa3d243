//! The `headers` of `rsp.respond` and `rsp.fetch`: values are texts, or sequences of texts for repeated fields.

use std::ffi::c_int;

use mlua::ffi;

use super::LuaState;
use super::call_state::{CallState, guard, raise, refuse};
use super::stack::{text_at, written_at};

/// Where the fields of a table go, and what is said of a wrong one.
pub(super) trait HeaderTable {
    const NO_TABLE: &str;
    const NO_NAME: &str;
    const NO_VALUE: &str;

    fn add(call: &mut CallState, name: &[u8], value: &[u8]) -> Result<(), String>;
}

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` or `lua_resume` and may raise, so its frame owns nothing; C functions are entered with
// at least LUA_MINSTACK free slots.

/// Reads the table at 3.
pub(super) unsafe fn read_headers<T: HeaderTable>(state: LuaState, call: *mut CallState) {
    // SAFETY: see above.
    unsafe {
        if ffi::lua_type(state, 3) != ffi::LUA_TTABLE {
            refuse(state, T::NO_TABLE);
        }
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 3) != 0 {
            let Some(name) = text_at(state, 4) else { refuse(state, T::NO_NAME) };
            if ffi::lua_type(state, 5) == ffi::LUA_TTABLE {
                for at in 1..=ffi::lua_rawlen(state, 5) as i64 {
                    ffi::lua_rawgeti(state, 5, at);
                    read_header::<T>(state, call, name, 6);
                    ffi::lua_settop(state, 5);
                }
            } else {
                read_header::<T>(state, call, name, 5);
            }
            ffi::lua_settop(state, 4);
        }
    }
}

unsafe fn read_header<T: HeaderTable>(state: LuaState, call: *mut CallState, name: &[u8], index: c_int) {
    // SAFETY: see above.
    unsafe {
        let Some(value) = written_at(state, index) else { refuse(state, T::NO_VALUE) };
        if guard(call, |call| T::add(call, name, value)).is_none() {
            raise(state, call);
        }
    }
}
