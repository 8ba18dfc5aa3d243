//! `table.concat`, `insert`, `move`, `remove`, `unpack` and `sort` with their work charged to the budget: a script can
//! make up any length, and what `__index` calls may be a function in C. Otherwise as in `ltablib.c`.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;

use mlua::ffi;

use super::LuaState;
use super::charge::{charge, charge_bytes, fail, fail_with, is_absent};
use super::library::original;
use super::stack::{push_text, type_name};

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

pub(super) const TABLES: [(&CStr, ffi::lua_CFunction); 6] = [
    (c"concat", concat),
    (c"insert", insert),
    (c"move", move_all),
    (c"remove", remove),
    (c"sort", sort),
    (c"unpack", unpack),
];

/// Nanoseconds to read or write an element, at least.
const ELEMENT: i64 = 5;
/// Nanoseconds of a comparison by a function, at least.
const COMPARISON: i64 = 20;
/// `sort` compares more elements than these through a function that counts.
const FEW: usize = 100;

/// What a value that is no table must have to be used like one.
const READ: &[&CStr] = &[c"__index"];
const WRITE: &[&CStr] = &[c"__newindex"];
const READ_LENGTH: &[&CStr] = &[c"__index", c"__len"];
const ALL: &[&CStr] = &[c"__index", c"__newindex", c"__len"];

unsafe fn need_table(state: LuaState, argument: c_int, metamethods: &[&CStr]) {
    // SAFETY: see above.
    unsafe {
        if ffi::lua_type(state, argument) == ffi::LUA_TTABLE {
            return;
        }
        let top = ffi::lua_gettop(state);
        let mut fits = ffi::lua_getmetatable(state, argument) != 0;
        for name in metamethods {
            if fits {
                ffi::lua_pushstring(state, name.as_ptr());
                fits = ffi::lua_rawget(state, top + 1) != ffi::LUA_TNIL;
            }
        }
        if !fits {
            ffi::luaL_checktype(state, argument, ffi::LUA_TTABLE);
        }
        ffi::lua_settop(state, top);
    }
}

/// `t[to] = t[from]`
unsafe fn copy(state: LuaState, (from_table, from): (c_int, i64), (to_table, to): (c_int, i64)) {
    // SAFETY: see above.
    unsafe {
        charge(state, 2 * ELEMENT);
        ffi::lua_geti(state, from_table, from);
        ffi::lua_seti(state, to_table, to);
    }
}

unsafe extern "C-unwind" fn insert(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        need_table(state, 1, ALL);
        let end = ffi::luaL_len(state, 1).wrapping_add(1);
        let position = match ffi::lua_gettop(state) {
            2 => end,
            3 => {
                let position = ffi::luaL_checkinteger(state, 2);
                if (position as u64).wrapping_sub(1) >= end as u64 {
                    ffi::luaL_argerror(state, 2, c"position out of bounds".as_ptr());
                }
                let mut index = end;
                while index > position {
                    copy(state, (1, index - 1), (1, index));
                    index -= 1;
                }
                position
            }
            _ => fail_with(state, b"wrong number of arguments to 'insert'"),
        };
        ffi::lua_seti(state, 1, position);
        0
    }
}

unsafe extern "C-unwind" fn remove(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        need_table(state, 1, ALL);
        let size = ffi::luaL_len(state, 1);
        let mut position = ffi::luaL_optinteger(state, 2, size);
        if position != size && (position as u64).wrapping_sub(1) > size as u64 {
            ffi::luaL_argerror(state, 2, c"position out of bounds".as_ptr());
        }
        ffi::lua_geti(state, 1, position);
        while position < size {
            copy(state, (1, position + 1), (1, position));
            position += 1;
        }
        ffi::lua_pushnil(state);
        ffi::lua_seti(state, 1, position);
        1
    }
}

unsafe extern "C-unwind" fn move_all(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let [first, last, to] = [2, 3, 4].map(|argument| ffi::luaL_checkinteger(state, argument));
        let target = if is_absent(state, 5) { 1 } else { 5 };
        need_table(state, 1, READ);
        need_table(state, target, WRITE);
        if last >= first {
            if first <= 0 && last >= i64::MAX.wrapping_add(first) {
                ffi::luaL_argerror(state, 3, c"too many elements to move".as_ptr());
            }
            let count = last - first + 1;
            if to > i64::MAX - count + 1 {
                ffi::luaL_argerror(state, 4, c"destination wrap around".as_ptr());
            }
            let upwards = to > last
                || to <= first
                || (target != 1 && ffi::lua_compare(state, 1, target, ffi::LUA_OPEQ) == 0);
            for index in 0..count {
                let index = if upwards { index } else { count - 1 - index };
                copy(state, (1, first + index), (target, to + index));
            }
        }
        ffi::lua_pushvalue(state, target);
        1
    }
}

unsafe extern "C-unwind" fn concat(state: LuaState) -> c_int {
    // SAFETY: see above; what is pushed while the buffer is in use is popped or added to it.
    unsafe {
        need_table(state, 1, READ_LENGTH);
        let length = ffi::luaL_len(state, 1);
        let mut len = 0;
        let separator = ffi::luaL_optlstring(state, 2, c"".as_ptr(), &mut len);
        let mut index = ffi::luaL_optinteger(state, 3, 1);
        let last = ffi::luaL_optinteger(state, 4, length);
        let mut buffer = MaybeUninit::<ffi::luaL_Buffer>::uninit();
        let buffer = buffer.as_mut_ptr();
        ffi::luaL_buffinit(state, buffer);
        while index < last {
            add_element(state, buffer, index);
            charge_bytes(state, len);
            ffi::luaL_addlstring(buffer, separator, len);
            index += 1;
        }
        if index == last {
            add_element(state, buffer, index);
        }
        ffi::luaL_pushresult(buffer);
        1
    }
}

unsafe fn add_element(state: LuaState, buffer: *mut ffi::luaL_Buffer, index: i64) {
    // SAFETY: see above.
    unsafe {
        charge(state, ELEMENT);
        ffi::lua_geti(state, 1, index);
        if ffi::lua_isstring(state, -1) == 0 {
            push_text(state, b"invalid value (");
            push_text(state, type_name(state, ffi::lua_type(state, -2)).as_bytes());
            ffi::lua_pushfstring(state, c") at index %I in table for 'concat'".as_ptr(), index);
            ffi::lua_concat(state, 3);
            fail(state);
        }
        charge_bytes(state, ffi::lua_rawlen(state, -1));
        ffi::luaL_addvalue(buffer);
    }
}

unsafe extern "C-unwind" fn unpack(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let first = ffi::luaL_optinteger(state, 2, 1);
        let last = match is_absent(state, 3) {
            true => ffi::luaL_len(state, 1),
            false => ffi::luaL_checkinteger(state, 3),
        };
        if first > last {
            return 0;
        }
        let more = (last as u64).wrapping_sub(first as u64);
        if more >= c_int::MAX as u64 || ffi::lua_checkstack(state, more as c_int + 1) == 0 {
            fail_with(state, b"too many results to unpack");
        }
        for index in first..last {
            charge(state, ELEMENT);
            ffi::lua_geti(state, 1, index);
        }
        ffi::lua_geti(state, 1, last);
        more as c_int + 1
    }
}

/// Lua's own, but for what compares: the hook does not see functions in C, nor `<`.
unsafe extern "C-unwind" fn sort(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if is_absent(state, 2) {
            if ffi::lua_rawlen(state, 1) > FEW || ffi::luaL_getmetafield(state, 1, c"__len".as_ptr()) != 0 {
                ffi::lua_settop(state, 1);
                ffi::lua_pushcclosure(state, less, 0);
            }
        } else if ffi::lua_iscfunction(state, 2) != 0 {
            ffi::lua_settop(state, 2);
            ffi::lua_pushcclosure(state, less_by, 1);
        }
        original(state)
    }
}

unsafe extern "C-unwind" fn less(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        charge(state, COMPARISON);
        if ffi::lua_type(state, 1) == ffi::LUA_TSTRING && ffi::lua_type(state, 2) == ffi::LUA_TSTRING {
            charge_bytes(state, ffi::lua_rawlen(state, 1).min(ffi::lua_rawlen(state, 2)));
        }
        let is_less = ffi::lua_compare(state, 1, 2, ffi::LUA_OPLT);
        ffi::lua_pushboolean(state, is_less);
        1
    }
}

/// Calls the script's choice of a function in C, the upvalue.
unsafe extern "C-unwind" fn less_by(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        charge(state, COMPARISON);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, ffi::lua_gettop(state) - 1, 1);
        1
    }
}
