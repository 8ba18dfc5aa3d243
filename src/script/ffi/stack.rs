//! Reads and pushes single values on Lua's stack, by type.

use std::ffi::{CStr, c_int};

use mlua::ffi;

use super::{LuaState, RegistryIndex};

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

pub(super) unsafe fn push_text(state: LuaState, text: &[u8]) {
    // SAFETY: see above; Lua copies the bytes.
    unsafe { ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len()) };
}

/// The string at `index`, valid while it is on the stack; `None` for any other type, numbers too.
pub(super) unsafe fn text_at<'a>(state: LuaState, index: c_int) -> Option<&'a [u8]> {
    // SAFETY: see above; for a string `lua_tolstring` neither converts nor raises.
    unsafe { if ffi::lua_type(state, index) == ffi::LUA_TSTRING { written_at(state, index) } else { None } }
}

/// The same, but a number is converted to a string on the stack.
pub(super) unsafe fn written_at<'a>(state: LuaState, index: c_int) -> Option<&'a [u8]> {
    let mut len = 0;
    // SAFETY: see above; the pointer is null or valid for `len` bytes while the string stands on the stack.
    unsafe {
        let text = ffi::lua_tolstring(state, index, &mut len);
        if text.is_null() { None } else { Some(std::slice::from_raw_parts(text.cast(), len)) }
    }
}

/// The integer at `index`.
pub(super) unsafe fn integer_at(state: LuaState, index: c_int) -> Option<i64> {
    let mut whole = 0;
    // SAFETY: see above.
    let number = unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TNUMBER {
            return None;
        }
        ffi::lua_tointegerx(state, index, &mut whole)
    };
    if whole != 0 { Some(number) } else { None }
}

pub(super) unsafe fn type_name(state: LuaState, of: c_int) -> &'static str {
    // SAFETY: Lua's type names are constants.
    unsafe { CStr::from_ptr(ffi::lua_typename(state, of)) }.to_str().unwrap_or("value")
}

pub(super) unsafe fn registry(state: LuaState, slot: RegistryIndex) {
    // SAFETY: see above.
    unsafe { ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, slot.0.into()) };
}
