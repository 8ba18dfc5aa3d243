//! Work of C functions, which is one instruction to the hook: it is charged to the call's budget before it is done.
//!
//! Work is counted in nanoseconds that it takes at least. Every `WORK` of them the clock is read. What would exceed
//! the rest of the budget by itself is refused at once.

use std::ffi::c_int;
use std::time::Duration;

use mlua::ffi;

use super::LuaState;
use super::call_state::{CallState, call_state_of, raise};
use super::calls::{check_budget, note_exhausted};
use super::stack::push_text;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// Work between two looks at the clock, which takes about a hundredth of it.
pub(super) const WORK: i64 = 20_000;

/// Bytes that are copied or searched in a nanosecond, at most.
const BYTES_A_NANOSECOND: usize = 8;

/// Raises if there is no budget left for work that takes at least so many nanoseconds.
pub(super) unsafe fn charge(state: LuaState, nanoseconds: i64) {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        (*call).work = (*call).work.saturating_add(nanoseconds);
        if (*call).work >= WORK {
            look_at_clock(state, call, nanoseconds);
        }
    }
}

/// The same for bytes that are copied or searched.
pub(super) unsafe fn charge_bytes(state: LuaState, bytes: usize) {
    // SAFETY: see above.
    unsafe { charge(state, (bytes / BYTES_A_NANOSECOND) as i64) }
}

/// The same for bytes of which each is looked at.
pub(super) unsafe fn charge_each(state: LuaState, bytes: usize, nanoseconds: i64) {
    // SAFETY: see above.
    unsafe { charge(state, (bytes as i64).saturating_mul(nanoseconds)) }
}

unsafe fn look_at_clock(state: LuaState, call: *mut CallState, nanoseconds: i64) {
    // SAFETY: see above.
    unsafe {
        (*call).work = 0;
        if check_budget(call, Duration::from_nanos(nanoseconds.unsigned_abs())) {
            note_exhausted(state, call);
            raise(state, call);
        }
    }
}

/// Raises this text as functions of Lua's library do: with the position of the calling function if it is Lua.
pub(super) unsafe fn fail_with(state: LuaState, text: &[u8]) -> ! {
    // SAFETY: see above.
    unsafe {
        push_text(state, text);
        fail(state)
    }
}

/// The same for the text on top of the stack.
pub(super) unsafe fn fail(state: LuaState) -> ! {
    // SAFETY: see above.
    unsafe {
        ffi::luaL_where(state, 1);
        ffi::lua_insert(state, -2);
        ffi::lua_concat(state, 2);
        ffi::lua_error(state)
    }
}

pub(super) unsafe fn is_absent(state: LuaState, argument: c_int) -> bool {
    // SAFETY: see above.
    unsafe { ffi::lua_isnoneornil(state, argument) != 0 }
}
