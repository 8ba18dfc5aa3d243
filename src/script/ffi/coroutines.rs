//! Coroutines, which escape the hook of the thread that makes them, each function with a watch in front of Lua's own.
//!
//! Each has a hook of its own. One in which that raised its error keeps its hooks switched off, so nothing may run
//! there any more, `__close` methods neither. And whoever resumes a coroutine gets that error as a value and could
//! go on with the next one, each with a fresh count.

use std::ffi::{CStr, c_int};

use mlua::ffi;

use super::State;
use super::call_state::{cell_of, raise};
use super::calls::note_spent;
use super::library::own;
use super::stack::{push_text, text_at};
use super::watchdog::watch_closely;
use crate::script::budget;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

pub(super) const WATCHED: [(&CStr, ffi::lua_CFunction); 4] =
    [(c"close", close), (c"create", create), (c"wrap", wrap), (c"resume", resume)];

unsafe extern "C-unwind" fn resume(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        refuse_spent(state);
        let results = own(state);
        pass_on(state, results);
        results
    }
}

/// A coroutine has a hook of its own: what the watchdog sets on the main thread does not reach it.
unsafe extern "C-unwind" fn create(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        let results = own(state);
        watch_closely(ffi::lua_tothread(state, -1));
        results
    }
}

/// A function that resumes a coroutine: Lua's own would close it with its hooks off.
unsafe extern "C-unwind" fn wrap(state: State) -> c_int {
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

unsafe extern "C-unwind" fn wrapped(state: State) -> c_int {
    // SAFETY: see above; the second upvalue is the coroutine that `wrap` made.
    unsafe {
        refuse_spent(state);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
        ffi::lua_insert(state, 1);
        let results = own(state);
        pass_on(state, results);
        if ffi::lua_toboolean(state, -results) != 0 {
            return results - 1;
        }
        let thread = ffi::lua_tothread(state, ffi::lua_upvalueindex(2));
        let out_of_memory = ffi::lua_status(thread) == ffi::LUA_ERRMEM;
        if died(thread) && !was_stopped(thread) {
            ffi::lua_closethread(thread, state);
            ffi::lua_xmove(thread, state, 1);
            refuse_spent(state);
        }
        if !out_of_memory && ffi::lua_type(state, -1) == ffi::LUA_TSTRING {
            ffi::luaL_where(state, 1);
            ffi::lua_insert(state, -2);
            ffi::lua_concat(state, 2);
        }
        ffi::lua_error(state)
    }
}

unsafe extern "C-unwind" fn close(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        refuse_spent(state);
        let thread = ffi::lua_tothread(state, 1);
        if !thread.is_null() && died(thread) && was_stopped(thread) {
            ffi::lua_pushboolean(state, 0);
            push_text(state, b"the coroutine was stopped");
            return 2;
        }
        let results = own(state);
        pass_on(state, results);
        results
    }
}

/// An error ended this coroutine.
unsafe fn died(thread: State) -> bool {
    // SAFETY: see above; asking for the status touches nothing.
    !matches!(unsafe { ffi::lua_status(thread) }, ffi::LUA_OK | ffi::LUA_YIELD)
}

/// The hook raised an error in this coroutine, and nothing ran in it since.
unsafe fn was_stopped(thread: State) -> bool {
    // SAFETY: see above.
    unsafe { ffi::lua_gethookcount(thread) != budget::INSTRUCTIONS }
}

/// Nothing is resumed or closed any more in a call whose time is over.
unsafe fn refuse_spent(state: State) {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        if (*cell).budget.was_spent() {
            note_spent(state, cell);
            raise(state, cell);
        }
    }
}

/// What stopped a coroutine stops who resumed it. The results stand on the stack; the first one says whether all
/// went well, an error is the second one.
unsafe fn pass_on(state: State, results: c_int) {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        if !(*cell).budget.was_spent() {
            return;
        }
        note_spent(state, cell);
        let told = results == 2 && ffi::lua_toboolean(state, -2) == 0;
        let text = if told { text_at(state, -1) } else { None };
        if text.is_some_and(|text| text.ends_with((*cell).message.as_bytes())) {
            ffi::lua_error(state);
        }
        raise(state, cell);
    }
}
