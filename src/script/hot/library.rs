//! Functions of Lua's library that would run past the budget, each with a watch in front of Lua's own.
//!
//! The hook stops Lua code, but three things escape it. A coroutine in which it raised its error keeps its hooks
//! switched off, so nothing may run there any more, `__close` methods neither. Whoever resumes a coroutine gets
//! that error as a value and could go on with the next one, each with a fresh count. And loops in C over a length
//! that a script makes up, or over very much data, are one instruction to the hook.

use std::ffi::{CStr, c_int};

use mlua::{Lua, Table, ffi};

use super::State;
use super::calls::{cpu_time, note_spent};
use super::cell::{cell_of, raise, refuse};
use super::stack::{push_text, text_at};
use crate::script::budget;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// No table that fits in a script's memory has more elements.
const MOST: i64 = (budget::MEMORY / 16) as i64;
/// The clock is looked at behind work on more elements than this: that takes longer than the look.
const MANY: i64 = 1000;
/// As much work as one element.
const BYTES_AN_ELEMENT: usize = 64;
/// The clock is looked at every so many of them.
const COMPARISONS: u32 = 4096;

/// Puts each watch in the place of Lua's own function, which is its first upvalue.
pub fn watch(lua: &Lua) -> mlua::Result<()> {
    let coroutine: [(&CStr, ffi::lua_CFunction); 3] =
        [(c"close", close), (c"wrap", wrap), (c"resume", resume)];
    let table: [(&CStr, ffi::lua_CFunction); 5] =
        [(c"concat", concat), (c"insert", insert), (c"move", move_all), (c"remove", remove), (c"sort", sort)];
    put(lua, "coroutine", &coroutine)?;
    put(lua, "table", &table)?;
    put(lua, "string", &[(c"rep", rep)])
}

fn put(lua: &Lua, library: &str, functions: &[(&CStr, ffi::lua_CFunction)]) -> mlua::Result<()> {
    let library: Table = lua.globals().get(library)?;
    // SAFETY: the closure runs protected, owns nothing, and takes the one value that was pushed for it.
    unsafe {
        lua.exec_raw::<()>(library, |state| {
            for (name, function) in functions {
                // `wrap` is made anew from Lua's `resume`, in whose place nothing was put yet.
                let own = if *name == c"wrap" { c"resume" } else { *name };
                ffi::lua_getfield(state, -1, own.as_ptr());
                ffi::lua_pushcclosure(state, *function, 1);
                ffi::lua_setfield(state, -2, name.as_ptr());
            }
            ffi::lua_pop(state, 1);
        })
    }
}

/// Lua's own function, in this function's frame: it sees the same arguments, and names the same caller.
unsafe fn own(state: State) -> c_int {
    // SAFETY: see above; functions of the library have no upvalues, so none of them is missed.
    unsafe { ffi::lua_tocfunction(state, ffi::lua_upvalueindex(1)).map_or(0, |own| own(state)) }
}

unsafe extern "C-unwind" fn resume(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        refuse_spent(state);
        let results = own(state);
        pass_on(state, results);
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

/// So much was done in what the hook saw as one instruction: is there time left?
unsafe fn charge(state: State, amount: i64) {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        if amount > MANY && (*cell).budget.is_spent(cpu_time) {
            note_spent(state, cell);
            raise(state, cell);
        }
    }
}

unsafe extern "C-unwind" fn insert(state: State) -> c_int {
    // SAFETY: see above.
    unsafe { shift(state, ffi::lua_gettop(state) > 2) }
}

unsafe extern "C-unwind" fn remove(state: State) -> c_int {
    // SAFETY: see above.
    unsafe { shift(state, ffi::lua_gettop(state) > 1) }
}

unsafe fn shift(state: State, moves: bool) -> c_int {
    // SAFETY: see above.
    unsafe {
        need_own_length(state);
        let amount = if moves { ffi::lua_rawlen(state, 1) as i64 } else { 0 };
        let results = own(state);
        charge(state, amount);
        results
    }
}

unsafe extern "C-unwind" fn concat(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        let first = ffi::luaL_optinteger(state, 3, 1);
        let last = if ffi::lua_isnoneornil(state, 4) != 0 {
            need_own_length(state);
            ffi::lua_rawlen(state, 1) as i64
        } else {
            ffi::luaL_checkinteger(state, 4)
        };
        over(state, first, last)
    }
}

unsafe extern "C-unwind" fn move_all(state: State) -> c_int {
    // SAFETY: see above.
    unsafe { over(state, ffi::luaL_checkinteger(state, 2), ffi::luaL_checkinteger(state, 3)) }
}

/// Lua's own function over these elements.
unsafe fn over(state: State, first: i64, last: i64) -> c_int {
    // SAFETY: see above.
    unsafe {
        let amount = last.saturating_sub(first);
        if amount > MOST {
            refuse(state, "more elements than a script's memory holds");
        }
        let results = own(state);
        charge(state, amount);
        results
    }
}

/// A length that a script makes up has no end.
unsafe fn need_own_length(state: State) {
    // SAFETY: see above.
    unsafe {
        if ffi::luaL_getmetafield(state, 1, c"__len".as_ptr()) != ffi::LUA_TNIL {
            refuse(state, "not available for a table with __len");
        }
    }
}

unsafe extern "C-unwind" fn sort(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        need_own_length(state);
        if ffi::lua_isnoneornil(state, 2) != 0 && ffi::lua_rawlen(state, 1) as i64 > MANY {
            ffi::lua_settop(state, 1);
            ffi::lua_pushcclosure(state, less, 0);
        }
        own(state)
    }
}

/// Lua's `<`, which looks at the clock now and then.
unsafe extern "C-unwind" fn less(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        (*cell).compared = (*cell).compared.wrapping_add(1);
        if (*cell).compared.is_multiple_of(COMPARISONS) {
            charge(state, i64::from(COMPARISONS));
        }
        let is_less = ffi::lua_compare(state, 1, 2, ffi::LUA_OPLT);
        ffi::lua_pushboolean(state, is_less);
        1
    }
}

unsafe extern "C-unwind" fn rep(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        if is_empty(state, 1) && (ffi::lua_isnoneornil(state, 3) != 0 || is_empty(state, 3)) {
            // Lua would count the nothings.
            ffi::luaL_checkinteger(state, 2);
            push_text(state, b"");
            return 1;
        }
        let results = own(state);
        charge(state, (ffi::lua_rawlen(state, -1) / BYTES_AN_ELEMENT) as i64);
        results
    }
}

unsafe fn is_empty(state: State, index: c_int) -> bool {
    // SAFETY: see above.
    unsafe { ffi::lua_type(state, index) == ffi::LUA_TSTRING && ffi::lua_rawlen(state, index) == 0 }
}
