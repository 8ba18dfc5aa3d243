//! Functions of Lua's library that could exceed the budget, each wrapped with a check, and a faster `sub`.
//!
//! The hook stops Lua code, but two things escape it: coroutines (see `coroutines`), and loops in C over a length
//! that a script makes up or over much data, which are one instruction to the hook.

use std::ffi::{CStr, c_int};

use mlua::{Lua, Table, ffi};

use super::LuaState;
use super::call_state::{call_state_of, raise, refuse};
use super::calls::{cpu_time, note_spent};
use super::coroutines;
use super::running::note_caller;
use super::stack::{push_text, text_at, written_at};
use super::string_cache::{SLOTS, push_cached};
use super::watchdog::mark;
use crate::script::budget;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// No table within a script's memory limit has more elements.
const MOST: i64 = (budget::MEMORY / 16) as i64;
/// The clock is checked after work on more elements than this, which costs more than the check.
const MANY: i64 = 1000;
/// Steps of a pattern function that take longer than the budget of a call, about.
const MANY_STEPS: usize = 1_000_000;
/// Bytes that cost as much work as one element.
const BYTES_AN_ELEMENT: usize = 64;
/// The upvalue of `sub` after which its cached strings begin.
pub(super) const CUTS: c_int = 2;
/// The clock is checked every so many comparisons.
const COMPARISONS: u32 = 4096;

/// Replaces each of Lua's functions by its wrapper; the original is the first upvalue.
pub fn watch(lua: &Lua) -> mlua::Result<()> {
    let table: [(&CStr, ffi::lua_CFunction); 5] =
        [(c"concat", concat), (c"insert", insert), (c"move", move_all), (c"remove", remove), (c"sort", sort)];
    put(lua, "coroutine", &coroutines::WATCHED)?;
    put(lua, "table", &table)?;
    let table: [(&CStr, ffi::lua_CFunction); 6] = [
        (c"find", search),
        (c"gmatch", search),
        (c"gsub", search),
        (c"match", search),
        (c"rep", rep),
        (c"sub", sub),
    ];
    put(lua, "string", &table)
}

fn put(lua: &Lua, library: &str, functions: &[(&CStr, ffi::lua_CFunction)]) -> mlua::Result<()> {
    let library: Table = lua.globals().get(library)?;
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

/// Calls Lua's own function in this frame: it gets the same arguments and reports the same caller.
pub(super) unsafe fn original(state: LuaState) -> c_int {
    // SAFETY: see above; functions of the library have no upvalues, so none of them is missed.
    unsafe { ffi::lua_tocfunction(state, ffi::lua_upvalueindex(1)).map_or(0, |original| original(state)) }
}

/// Checks the budget after `amount` elements of work in one VM instruction.
unsafe fn charge(state: LuaState, amount: i64) {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        if amount > MANY && (*call).budget.is_spent(cpu_time) {
            note_spent(state, call);
            raise(state, call);
        }
    }
}

unsafe extern "C-unwind" fn insert(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe { shift(state, ffi::lua_gettop(state) > 2) }
}

unsafe extern "C-unwind" fn remove(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe { shift(state, ffi::lua_gettop(state) > 1) }
}

unsafe fn shift(state: LuaState, moves: bool) -> c_int {
    // SAFETY: see above.
    unsafe {
        need_own_length(state);
        let amount = if moves { ffi::lua_rawlen(state, 1) as i64 } else { 0 };
        let results = original(state);
        charge(state, amount);
        results
    }
}

unsafe extern "C-unwind" fn concat(state: LuaState) -> c_int {
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

unsafe extern "C-unwind" fn move_all(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe { over(state, ffi::luaL_checkinteger(state, 2), ffi::luaL_checkinteger(state, 3)) }
}

/// Calls Lua's own function for these elements.
unsafe fn over(state: LuaState, first: i64, last: i64) -> c_int {
    // SAFETY: see above.
    unsafe {
        let amount = last.saturating_sub(first);
        if amount > MOST {
            refuse(state, "more elements than a script's memory holds");
        }
        let results = original(state);
        charge(state, amount);
        results
    }
}

/// A length from `__len` has no bound.
unsafe fn need_own_length(state: LuaState) {
    // SAFETY: see above.
    unsafe {
        if ffi::luaL_getmetafield(state, 1, c"__len".as_ptr()) != ffi::LUA_TNIL {
            refuse(state, "not available for a table with __len");
        }
    }
}

unsafe extern "C-unwind" fn sort(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        need_own_length(state);
        if ffi::lua_isnoneornil(state, 2) != 0 && ffi::lua_rawlen(state, 1) as i64 > MANY {
            ffi::lua_settop(state, 1);
            ffi::lua_pushcclosure(state, less, 0);
        }
        original(state)
    }
}

/// Lua's `<`, with a check of the clock now and then.
unsafe extern "C-unwind" fn less(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        (*call).compared = (*call).compared.wrapping_add(1);
        if (*call).compared.is_multiple_of(COMPARISONS) {
            charge(state, i64::from(COMPARISONS));
        }
        let is_less = ffi::lua_compare(state, 1, 2, ffi::LUA_OPLT);
        ffi::lua_pushboolean(state, is_less);
        1
    }
}

unsafe extern "C-unwind" fn rep(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if is_empty(state, 1) && (ffi::lua_isnoneornil(state, 3) != 0 || is_empty(state, 3)) {
            // Lua would count nils.
            ffi::luaL_checkinteger(state, 2);
            push_text(state, b"");
            return 1;
        }
        let results = original(state);
        charge(state, (ffi::lua_rawlen(state, -1) / BYTES_AN_ELEMENT) as i64);
        results
    }
}

/// Nothing checks the clock within a pattern function: a long one is not stopped, but it is known where it is.
unsafe extern "C-unwind" fn search(state: LuaState) -> c_int {
    // SAFETY: see above; the arguments stand on the stack as long as their texts are used.
    unsafe {
        if let (Some(text), Some(pattern)) = (text_at(state, 1), text_at(state, 2))
            && may_take_long(text.len(), pattern)
        {
            mark();
            note_caller(state);
        }
        original(state)
    }
}

/// Each repetition in a pattern may try every length, for every length of those before it.
fn may_take_long(text: usize, pattern: &[u8]) -> bool {
    let repetitions = pattern.iter().filter(|byte| matches!(byte, b'*' | b'+' | b'-' | b'?')).count();
    let steps = (0..repetitions).fold(1_usize, |steps, _| steps.saturating_mul(text));
    steps > MANY_STEPS
}

/// Cached, not checked: handlers call it for most requests, mostly to cut the same prefix off their paths.
unsafe extern "C-unwind" fn sub(state: LuaState) -> c_int {
    // SAFETY: see above; the argument stands on the stack as long as its text is used.
    unsafe {
        let (text, first) = (written_at(state, 1), whole_at(state, 2));
        let last = whole_at(state, 3).or_else(|| (ffi::lua_isnoneornil(state, 3) != 0).then_some(-1));
        let (Some(text), Some(first), Some(last)) = (text, first, last) else { return original(state) };
        push_cached(state, &raw mut (*call_state_of(state)).cuts, cut(text, first, last));
        1
    }
}

/// What the library accepts as an integer: `2.0` and `"2"` as well.
unsafe fn whole_at(state: LuaState, index: c_int) -> Option<i64> {
    let mut is_whole = 0;
    // SAFETY: see above; this neither converts what stands there nor raises.
    let number = unsafe { ffi::lua_tointegerx(state, index, &mut is_whole) };
    (is_whole != 0).then_some(number)
}

/// From the first to the last byte, both counted from 1, or from the end with -1.
fn cut(text: &[u8], first: i64, last: i64) -> &[u8] {
    let len = text.len() as i64;
    let from_start = |at: i64| if at < 0 { at.saturating_add(len + 1) } else { at };
    let (first, last) = (from_start(first).max(1), from_start(last).clamp(0, len));
    text.get(first as usize - 1..last as usize).unwrap_or_default()
}

unsafe fn is_empty(state: LuaState, index: c_int) -> bool {
    // SAFETY: see above.
    unsafe { ffi::lua_type(state, index) == ffi::LUA_TSTRING && ffi::lua_rawlen(state, index) == 0 }
}
