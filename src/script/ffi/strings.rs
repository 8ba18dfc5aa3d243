//! Functions of Lua's library that work on whole strings, with that work charged to the budget before it is done, and
//! a faster `sub`.

use std::ffi::{CStr, c_int};

use mlua::ffi;

use super::LuaState;
use super::call_state::call_state_of;
use super::charge::{charge, charge_bytes, charge_each, is_absent};
use super::globals::push_globals;
use super::library::original;
use super::stack::{push_text, text_at, written_at};
use super::string_cache::push_cached;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

pub(super) const STRINGS: [(&CStr, ffi::lua_CFunction); 10] = [
    (c"byte", results),
    (c"format", format),
    (c"lower", whole),
    (c"pack", pack),
    (c"packsize", pack),
    (c"rep", rep),
    (c"reverse", whole),
    (c"sub", sub),
    (c"unpack", pack),
    (c"upper", whole),
];

pub(super) const UTF8: [(&CStr, ffi::lua_CFunction); 4] =
    [(c"char", arguments), (c"codepoint", results), (c"len", length), (c"offset", offset)];

pub(super) const OS: [(&CStr, ffi::lua_CFunction); 1] = [(c"date", date)];

pub(super) const GLOBALS: [(&CStr, ffi::lua_CFunction); 2] = [(c"load", load), (c"tonumber", whole)];

/// The upvalue of `sub` after which its cached strings begin.
pub(super) const CUTS: c_int = 2;

/// Nanoseconds that Lua takes, at least, for a byte of source text, of a format, and of a date's format.
const SOURCE_BYTE: i64 = 20;
const FORMAT_BYTE: i64 = 3;
const DATE_BYTE: i64 = 100;

/// Work on each byte of the first argument.
unsafe extern "C-unwind" fn whole(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if let Some(text) = text_at(state, 1) {
            charge_each(state, text.len(), 1);
        }
        original(state)
    }
}

/// As many results as the script asks for; what Lua's stack holds bounds them.
unsafe extern "C-unwind" fn results(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let results = original(state);
        charge(state, i64::from(results));
        results
    }
}

unsafe extern "C-unwind" fn arguments(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        charge(state, i64::from(ffi::lua_gettop(state)) * FORMAT_BYTE);
        original(state)
    }
}

unsafe extern "C-unwind" fn rep(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if is_empty(state, 1) && (is_absent(state, 3) || is_empty(state, 3)) {
            // Lua would count to the number.
            ffi::luaL_checkinteger(state, 2);
            push_text(state, b"");
            return 1;
        }
        if let (Some(text), Some(times)) = (written_at(state, 1), whole_at(state, 2)) {
            let separator = text_at(state, 3).map_or(0, <[u8]>::len);
            let bytes = times.max(0).saturating_mul((text.len() + separator) as i64);
            // More fails at once.
            if bytes <= (*call_state_of(state)).limits.memory as i64 {
                charge(state, times.saturating_mul(2));
                charge_bytes(state, bytes as usize);
            }
        }
        original(state)
    }
}

/// `%q` looks at each byte; other strings are copied.
unsafe extern "C-unwind" fn format(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if let Some(format) = text_at(state, 1) {
            charge_each(state, format.len(), FORMAT_BYTE);
            for argument in 2..=ffi::lua_gettop(state) {
                let bytes = text_at(state, argument).map_or(0, <[u8]>::len);
                match bytes > 1000 && format.contains(&b'q') {
                    true => charge_each(state, bytes, FORMAT_BYTE),
                    false => charge_bytes(state, bytes),
                }
            }
        }
        original(state)
    }
}

/// `string.pack`, `unpack` and `packsize`.
unsafe extern "C-unwind" fn pack(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if let Some(format) = text_at(state, 1) {
            charge_each(state, format.len(), FORMAT_BYTE);
        }
        for argument in 2..=ffi::lua_gettop(state) {
            charge_bytes(state, text_at(state, argument).map_or(0, <[u8]>::len));
        }
        original(state)
    }
}

/// `utf8.len(s, i, j)`
unsafe extern "C-unwind" fn length(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if let Some(text) = text_at(state, 1) {
            let [first, last] = [(2, 1), (3, -1)].map(|(argument, default)| {
                let at = whole_at(state, argument).unwrap_or(default);
                if at < 0 { at.saturating_add(text.len() as i64 + 1) } else { at }
            });
            charge(state, last.saturating_sub(first).clamp(0, text.len() as i64));
        }
        original(state)
    }
}

/// `utf8.offset(s, n)` passes at most four bytes a character, but continuation bytes without end.
unsafe extern "C-unwind" fn offset(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if let (Some(text), Some(characters)) = (text_at(state, 1), whole_at(state, 2)) {
            let is_short = characters.unsigned_abs() < 1000 && text.len() > 1 << 16;
            let bytes = if is_short { 4 * characters.unsigned_abs() as usize } else { text.len() };
            charge_each(state, bytes.min(text.len()), 1);
        }
        original(state)
    }
}

unsafe extern "C-unwind" fn date(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if let Some(format) = text_at(state, 1) {
            charge_each(state, format.len(), DATE_BYTE);
        }
        original(state)
    }
}

/// `load` for source text only: compiled Lua can break the VM.
unsafe extern "C-unwind" fn load(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        if ffi::lua_gettop(state) == 0 {
            // Raises.
            return original(state);
        }
        let has_globals = ffi::lua_gettop(state) > 3;
        ffi::lua_settop(state, if has_globals { 4 } else { 3 });
        if !has_globals {
            push_globals(state);
        }
        push_text(state, b"t");
        ffi::lua_replace(state, 3);
        match text_at(state, 1) {
            Some(source) => charge_each(state, source.len(), SOURCE_BYTE),
            None if ffi::lua_type(state, 1) == ffi::LUA_TFUNCTION => {
                ffi::lua_pushvalue(state, 1);
                ffi::lua_pushcclosure(state, read_piece, 1);
                ffi::lua_replace(state, 1);
            }
            None => {}
        }
        original(state)
    }
}

/// Calls the function, the upvalue, that `load` was given for the next piece of the source.
unsafe extern "C-unwind" fn read_piece(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_call(state, 0, 1);
        let bytes = text_at(state, -1).map_or(0, <[u8]>::len);
        charge_each(state, bytes + 1, SOURCE_BYTE);
        1
    }
}

/// Cached, not charged: handlers call it for most requests, mostly to cut the same prefix off their paths.
unsafe extern "C-unwind" fn sub(state: LuaState) -> c_int {
    // SAFETY: see above; the argument stands on the stack as long as its text is used.
    unsafe {
        let (text, first) = (written_at(state, 1), whole_at(state, 2));
        let last = whole_at(state, 3).or_else(|| is_absent(state, 3).then_some(-1));
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
