//! `lim:allow(key)`, which a script may call for every request: a C function, in a small part of the time that a call
//! through mlua takes, and without memory of its own.

use std::ffi::c_int;

use mlua::{Function, Lua, ffi};

use super::LuaState;
use super::call_state::{call_state_of, guard, numbered_function, raise, refuse};
use super::clock::monotonic;
use super::stack::written_at;
use crate::script::parts::LONGEST_KEY;
use crate::store::Limiter;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// The function `allow` of a limit; its upvalue is the limit's number.
pub fn allow_function(lua: &Lua, limiter: Limiter) -> mlua::Result<Function> {
    numbered_function(lua, allow, |call| {
        call.limiters.push(limiter);
        call.limiters.len() - 1
    })
}

unsafe extern "C-unwind" fn allow(state: LuaState) -> c_int {
    // SAFETY: see above; the key stands on the stack as long as its text is used.
    unsafe {
        let call = call_state_of(state);
        let number = ffi::lua_tointegerx(state, ffi::lua_upvalueindex(1), std::ptr::null_mut());
        let Some(key) = written_at(state, 2) else {
            refuse(state, "allow: expected a string as key, as in limit:allow(req.client_ip)");
        };
        let allowed = guard(call, |call| {
            if key.len() > LONGEST_KEY {
                return Err(format!("allow: a key of {} bytes, expected at most {LONGEST_KEY}", key.len()));
            }
            let limiter = call.limiters.get(number as usize).ok_or("internal fault of rsp")?;
            Ok(limiter.allow(key, monotonic()))
        });
        match allowed {
            None => raise(state, call),
            Some(None) => {
                ffi::lua_pushboolean(state, 1);
                1
            }
            Some(Some(wait)) => {
                ffi::lua_pushboolean(state, 0);
                ffi::lua_pushnumber(state, wait as f64 / 1e9);
                2
            }
        }
    }
}
