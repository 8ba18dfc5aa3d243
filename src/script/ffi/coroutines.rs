//! Coroutines, which escape the hook of the thread that creates them: wrappers around Lua's own functions.
//!
//! Each coroutine has its own hook. If the hook raised an error in it, its hooks stay off, so nothing may run there
//! any more, not even `__close` methods. The resumer gets that error as a value and could continue with the next
//! coroutine, each with a fresh count.

use std::ffi::{CStr, c_int};

use mlua::ffi;

use super::LuaState;
use super::call_state::{call_state_of, raise, refuse};
use super::calls::note_exhausted;
use super::library::original;
use super::stack::{push_text, text_at};
use super::watchdog::watch_closely;
use crate::script::budget;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

pub(super) const WATCHED: [(&CStr, ffi::lua_CFunction); 7] = [
    (c"close", close),
    (c"create", create),
    (c"wrap", wrap),
    (c"resume", resume),
    (c"yield", yields),
    (c"running", running),
    (c"isyieldable", is_yieldable),
];

/// A handler runs in a coroutine of ours, which scripts are not to see: to them it is the main one.
unsafe fn is_outside(state: LuaState) -> bool {
    // SAFETY: see above.
    unsafe { (*call_state_of(state)).thread == state }
}

unsafe extern "C-unwind" fn yields(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if is_outside(state) {
            refuse(state, "attempt to yield from outside a coroutine");
        }
        original(state)
    }
}

unsafe extern "C-unwind" fn running(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if !is_outside(state) {
            return original(state);
        }
        ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, ffi::LUA_RIDX_MAINTHREAD);
        ffi::lua_pushboolean(state, 1);
        2
    }
}

unsafe extern "C-unwind" fn is_yieldable(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if !(is_outside(state) && ffi::lua_isnone(state, 1) != 0) {
            return original(state);
        }
        ffi::lua_pushboolean(state, 0);
        1
    }
}

unsafe extern "C-unwind" fn resume(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        refuse_if_exhausted(state);
        let results = original(state);
        propagate(state, results);
        results
    }
}

/// Gives the coroutine a hook: the watchdog reaches only the main thread.
unsafe extern "C-unwind" fn create(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let results = original(state);
        watch_closely(ffi::lua_tothread(state, -1));
        results
    }
}

/// A function that resumes a coroutine: Lua's own would close it with its hooks off.
unsafe extern "C-unwind" fn wrap(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TFUNCTION);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        let thread = ffi::lua_newthread(state);
        watch_closely(thread);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_xmove(state, thread, 1);
        ffi::lua_pushcclosure(state, wrapped, 2);
        1
    }
}

unsafe extern "C-unwind" fn wrapped(state: LuaState) -> c_int {
    // SAFETY: see above; the second upvalue is the coroutine that `wrap` made.
    unsafe {
        refuse_if_exhausted(state);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
        ffi::lua_insert(state, 1);
        let results = original(state);
        propagate(state, results);
        if ffi::lua_toboolean(state, -results) != 0 {
            return results - 1;
        }
        let thread = ffi::lua_tothread(state, ffi::lua_upvalueindex(2));
        let out_of_memory = ffi::lua_status(thread) == ffi::LUA_ERRMEM;
        if has_failed(thread) && !was_stopped(thread) {
            ffi::lua_closethread(thread, state);
            ffi::lua_xmove(thread, state, 1);
            refuse_if_exhausted(state);
        }
        if !out_of_memory && ffi::lua_type(state, -1) == ffi::LUA_TSTRING {
            ffi::luaL_where(state, 1);
            ffi::lua_insert(state, -2);
            ffi::lua_concat(state, 2);
        }
        ffi::lua_error(state)
    }
}

unsafe extern "C-unwind" fn close(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        refuse_if_exhausted(state);
        let thread = ffi::lua_tothread(state, 1);
        if !thread.is_null() && is_main(state, thread) {
            refuse(state, "cannot close a running coroutine");
        }
        if !thread.is_null() && has_failed(thread) && was_stopped(thread) {
            ffi::lua_pushboolean(state, 0);
            push_text(state, b"the coroutine was stopped");
            return 2;
        }
        let results = original(state);
        propagate(state, results);
        results
    }
}

unsafe fn is_main(state: LuaState, thread: LuaState) -> bool {
    // SAFETY: see above.
    unsafe {
        ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, ffi::LUA_RIDX_MAINTHREAD);
        let main = ffi::lua_tothread(state, -1);
        ffi::lua_settop(state, -2);
        main == thread
    }
}

/// Whether an error ended this coroutine.
unsafe fn has_failed(thread: LuaState) -> bool {
    // SAFETY: see above; asking for the status touches nothing.
    !matches!(unsafe { ffi::lua_status(thread) }, ffi::LUA_OK | ffi::LUA_YIELD)
}

/// Whether the hook raised an error in this coroutine, and nothing ran in it since.
unsafe fn was_stopped(thread: LuaState) -> bool {
    // SAFETY: see above.
    unsafe { ffi::lua_gethookcount(thread) != budget::INSTRUCTIONS }
}

/// In a call that is over budget nothing is resumed or closed.
unsafe fn refuse_if_exhausted(state: LuaState) {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        if (*call).budget.is_exhausted() {
            note_exhausted(state, call);
            raise(state, call);
        }
    }
}

/// An error that stopped a coroutine also stops its resumer. The results are on the stack: the first one is the
/// success flag, the second one the error.
unsafe fn propagate(state: LuaState, results: c_int) {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        if !(*call).budget.is_exhausted() {
            return;
        }
        note_exhausted(state, call);
        let told = results == 2 && ffi::lua_toboolean(state, -2) == 0;
        let text = if told { text_at(state, -1) } else { None };
        if text.is_some_and(|text| text.ends_with((*call).message.as_bytes())) {
            ffi::lua_error(state);
        }
        raise(state, call);
    }
}
