//! `res.cookies[name] = { "value", max_age = … }`: reads the table into the call state's cookie, piece by piece. The checks
//! are in `set_cookie`, in safe code.

use mlua::ffi;

use super::LuaState;
use super::call_state::{CallState, Object, guard, raise};
use super::fields::assigned;
use super::objects::{check_live, subject};
use super::stack::{integer_at, text_at};
use crate::script::assign;
use crate::script::set_cookie::{self, CookieKey, SetCookie};

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// Reads the table at 3.
pub(super) unsafe fn take_cookie(state: LuaState, call: *mut CallState, name: &[u8]) {
    // SAFETY: see above; the key that `lua_next` takes is the one that it gave.
    unsafe {
        let begun = guard(call, |call| {
            call.cookie = SetCookie::default();
            Ok(())
        });
        if begun.is_none() {
            raise(state, call);
        }
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 3) != 0 {
            let key = match (text_at(state, 4), integer_at(state, 4)) {
                (Some(key), _) => CookieKey::Attribute(key),
                (None, Some(1)) => CookieKey::Value,
                _ => CookieKey::Other,
            };
            let value = assigned(state, 5);
            let set =
                guard(call, |call| call.cookie.set(key, value).map_err(|why| set_cookie::at(name, &why)));
            if set.is_none() {
                raise(state, call);
            }
            ffi::lua_settop(state, 4);
        }
    }
}

pub(super) fn store_cookie(object: Object, name: &[u8], call: &mut CallState) -> Result<(), String> {
    check_live(object, call)?;
    let cookie = std::mem::take(&mut call.cookie);
    assign::write_cookie(name, cookie, subject(call).0)
}
