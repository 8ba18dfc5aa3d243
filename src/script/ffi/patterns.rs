//! `string.find`, `match`, `gmatch` and `gsub` on `script::pattern`, in place of Lua's own, whose work nothing bounds.
//! Arguments, results and errors are those of `lstrlib.c`.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mlua::ffi;

use super::LuaState;
use super::call_state::{call_state_of, raise, refuse};
use super::calls::{check_budget, note_exhausted};
use super::charge::{WORK, charge, charge_bytes, fail, fail_with};
use super::library::original;
use super::running::note_caller;
use super::stack::{push_text, type_name};
use super::watchdog::mark;
use crate::script::pattern::{Captured, Clock, Fault, Matcher, find_plain, has_specials};

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots. Texts of arguments are valid while the arguments stand on the stack.

pub(super) const PATTERNS: [(&CStr, ffi::lua_CFunction); 4] =
    [(c"find", find), (c"match", match_), (c"gmatch", gmatch), (c"gsub", gsub)];

/// The budget of the running call.
struct CallClock(LuaState);

impl Clock for CallClock {
    fn more(&mut self) -> Option<i64> {
        // SAFETY: see above; nothing here raises.
        unsafe {
            let call = call_state_of(self.0);
            mark();
            note_caller(self.0);
            if check_budget(call, Duration::ZERO) { None } else { Some(WORK) }
        }
    }
}

type PatternMatcher = Matcher<'static, CallClock>;

/// A search from this byte. The matcher counts on where the call's work stands.
unsafe fn search(state: LuaState, matcher: &mut PatternMatcher, from: usize) -> Option<(usize, usize)> {
    // SAFETY: see above. The matcher is safe code that does not call Lua: nothing raises across it.
    unsafe {
        let found = catch_unwind(AssertUnwindSafe(|| matcher.search(from)));
        (*call_state_of(state)).work = (WORK - matcher.steps_left()).clamp(0, WORK);
        match found {
            Ok(Ok(found)) => found,
            Ok(Err(fault)) => raise_fault(state, fault),
            Err(_) => refuse(state, "internal fault of rsp"),
        }
    }
}

unsafe fn raise_fault(state: LuaState, fault: Fault) -> ! {
    // SAFETY: see above.
    unsafe {
        match fault {
            Fault::Stopped => {
                let call = call_state_of(state);
                note_exhausted(state, call);
                raise(state, call)
            }
            Fault::Text(text) => fail_with(state, text.as_bytes()),
            Fault::CaptureIndex(index) => {
                ffi::lua_pushfstring(state, c"invalid capture index %%%d".as_ptr(), index);
                fail(state)
            }
        }
    }
}

/// Steps that are left of the call's work until the clock is asked.
unsafe fn steps(state: LuaState) -> i64 {
    // SAFETY: see above.
    unsafe { WORK - (*call_state_of(state)).work }
}

unsafe extern "C-unwind" fn find(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let (text, pattern) = (need_text(state, 1), need_text(state, 2));
        let from = start_at(state, text.len());
        if from > text.len() {
            ffi::lua_pushnil(state);
            return 1;
        }
        if ffi::lua_toboolean(state, 4) != 0 || !has_specials(pattern) {
            charge_bytes(state, text.len() - from);
            let Some(at) = find_plain(text, pattern, from) else {
                ffi::lua_pushnil(state);
                return 1;
            };
            ffi::lua_pushinteger(state, at as i64 + 1);
            ffi::lua_pushinteger(state, (at + pattern.len()) as i64);
            return 2;
        }
        let mut matcher = Matcher::new(text, pattern, steps(state), CallClock(state));
        let Some((start, end)) = search(state, &mut matcher, from) else {
            ffi::lua_pushnil(state);
            return 1;
        };
        ffi::lua_pushinteger(state, start as i64 + 1);
        ffi::lua_pushinteger(state, end as i64);
        2 + push_captures(state, &matcher, None)
    }
}

unsafe extern "C-unwind" fn match_(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let (text, pattern) = (need_text(state, 1), need_text(state, 2));
        let from = start_at(state, text.len());
        if from <= text.len() {
            let mut matcher = Matcher::new(text, pattern, steps(state), CallClock(state));
            if let Some(found) = search(state, &mut matcher, from) {
                return push_captures(state, &matcher, Some(found));
            }
        }
        ffi::lua_pushnil(state);
        1
    }
}

/// The upvalues of the iterator: text, pattern, and where to go on, which is the end of the last match; if there was
/// none, minus one less.
const TEXT: c_int = ffi::lua_upvalueindex(1);
const PATTERN: c_int = ffi::lua_upvalueindex(2);
const NEXT: c_int = ffi::lua_upvalueindex(3);

unsafe extern "C-unwind" fn gmatch(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let text = need_text(state, 1);
        need_text(state, 2);
        let from = start_at(state, text.len()).min(text.len() + 1);
        ffi::lua_settop(state, 2);
        ffi::lua_pushinteger(state, -1 - from as i64);
        ffi::lua_pushcclosure(state, gmatch_next, 3);
        1
    }
}

unsafe extern "C-unwind" fn gmatch_next(state: LuaState) -> c_int {
    // SAFETY: see above; the upvalues are those that `gmatch` set, and keep the texts alive.
    unsafe {
        let (text, pattern) = (need_text(state, TEXT), need_text(state, PATTERN));
        let next = ffi::lua_tointeger(state, NEXT);
        let mut from = if next < 0 { -1 - next } else { next } as usize;
        let mut matcher = Matcher::unanchored(text, pattern, steps(state), CallClock(state));
        while from <= text.len() {
            let Some((start, end)) = search(state, &mut matcher, from) else { break };
            if end as i64 == next {
                from = start + 1;
                continue;
            }
            ffi::lua_pushinteger(state, end as i64);
            ffi::lua_replace(state, NEXT);
            return push_captures(state, &matcher, Some((start, end)));
        }
        0
    }
}

unsafe extern "C-unwind" fn gsub(state: LuaState) -> c_int {
    // SAFETY: see above. The buffer may hold a value on the stack, so what is pushed while it is in use is popped.
    unsafe {
        let (text, pattern) = (need_text(state, 1), need_text(state, 2));
        let kind = ffi::lua_type(state, 3);
        let most = ffi::luaL_optinteger(state, 4, text.len() as i64 + 1);
        if !matches!(kind, ffi::LUA_TNUMBER | ffi::LUA_TSTRING | ffi::LUA_TFUNCTION | ffi::LUA_TTABLE) {
            return original(state);
        }
        let mut buffer = MaybeUninit::<ffi::luaL_Buffer>::uninit();
        let buffer = buffer.as_mut_ptr();
        ffi::luaL_buffinit(state, buffer);
        let mut matcher = Matcher::new(text, pattern, steps(state), CallClock(state));
        let (mut at, mut copied, mut last, mut count, mut changed) = (0, 0, None, 0, false);
        while count < most && at <= text.len() {
            let Some((start, end)) = search(state, &mut matcher, at) else { break };
            if last == Some(end) {
                at = start + 1;
            } else {
                count += 1;
                charge_bytes(state, start - copied);
                add(buffer, &text[copied..start]);
                changed |= add_value(state, &matcher, buffer, kind, &text[start..end], (start, end));
                (at, copied, last) = (end, end, Some(end));
                matcher.set_steps(steps(state));
            }
            if matcher.is_anchored() {
                break;
            }
        }
        if changed {
            add(buffer, &text[copied..]);
            ffi::luaL_pushresult(buffer);
        } else {
            ffi::lua_pushvalue(state, 1);
        }
        ffi::lua_pushinteger(state, count);
        2
    }
}

/// Adds what replaces a match. False if it stays as it is.
unsafe fn add_value(
    state: LuaState,
    matcher: &PatternMatcher,
    buffer: *mut ffi::luaL_Buffer,
    kind: c_int,
    matched: &[u8],
    found: (usize, usize),
) -> bool {
    // SAFETY: see above.
    unsafe {
        // Functions in C are not seen by the hook.
        charge(state, CALL);
        match kind {
            ffi::LUA_TFUNCTION => {
                ffi::lua_pushvalue(state, 3);
                let arguments = push_captures(state, matcher, Some(found));
                ffi::lua_call(state, arguments, 1);
            }
            ffi::LUA_TTABLE => {
                push_capture(state, matcher, 0, found);
                ffi::lua_gettable(state, 3);
            }
            _ => {
                add_template(state, matcher, buffer, matched, found);
                return true;
            }
        }
        if ffi::lua_toboolean(state, -1) == 0 {
            ffi::lua_pop(state, 1);
            add(buffer, matched);
            return false;
        }
        if ffi::lua_isstring(state, -1) == 0 {
            raise_replacement(state);
        }
        charge_bytes(state, ffi::lua_rawlen(state, -1));
        ffi::luaL_addvalue(buffer);
        true
    }
}

/// Raises that the value on top of the stack is no replacement.
unsafe fn raise_replacement(state: LuaState) -> ! {
    // SAFETY: see above.
    unsafe {
        let name = type_name(state, ffi::lua_type(state, -1));
        for part in [b"invalid replacement value (a ", name.as_bytes(), b")"] {
            push_text(state, part);
        }
        ffi::lua_concat(state, 3);
        fail(state)
    }
}

/// Nanoseconds of a call, at least.
const CALL: i64 = 20;

/// Adds the replacement with its `%0` to `%9` filled in.
unsafe fn add_template(
    state: LuaState,
    matcher: &PatternMatcher,
    buffer: *mut ffi::luaL_Buffer,
    matched: &[u8],
    found: (usize, usize),
) {
    // SAFETY: see above; a number was converted to a string on the stack by the first call.
    unsafe {
        let mut rest = need_text(state, 3);
        charge_bytes(state, rest.len());
        while let Some(escape) = memchr::memchr(b'%', rest) {
            add(buffer, &rest[..escape]);
            let after = rest.get(escape + 1).copied().unwrap_or(0);
            rest = rest.get(escape + 2..).unwrap_or_default();
            charge(state, 2);
            match after {
                b'%' => add(buffer, b"%"),
                b'0' => add_charged(state, buffer, matched),
                b'1'..=b'9' => match matcher.capture(usize::from(after - b'1'), found) {
                    Ok(Captured::Text(text)) => add_charged(state, buffer, text),
                    Ok(Captured::Position(at)) => {
                        ffi::lua_pushinteger(state, at);
                        ffi::luaL_addvalue(buffer);
                    }
                    Err(fault) => raise_fault(state, fault),
                },
                _ => fail_with(state, b"invalid use of '%' in replacement string"),
            }
        }
        add(buffer, rest);
    }
}

unsafe fn add_charged(state: LuaState, buffer: *mut ffi::luaL_Buffer, text: &[u8]) {
    // SAFETY: see above.
    unsafe {
        charge_bytes(state, text.len());
        add(buffer, text);
    }
}

unsafe fn add(buffer: *mut ffi::luaL_Buffer, text: &[u8]) {
    // SAFETY: see above; Lua copies the bytes.
    unsafe { ffi::luaL_addlstring(buffer, text.as_ptr().cast(), text.len()) };
}

/// Pushes all captures; the whole match if there are none and `found` is given.
unsafe fn push_captures(state: LuaState, matcher: &PatternMatcher, found: Option<(usize, usize)>) -> c_int {
    // SAFETY: see above.
    unsafe {
        let count = if found.is_some() { matcher.captures().max(1) } else { matcher.captures() };
        ffi::luaL_checkstack(state, count as c_int, c"too many captures".as_ptr());
        for index in 0..count {
            push_capture(state, matcher, index, found.unwrap_or_default());
        }
        count as c_int
    }
}

unsafe fn push_capture(state: LuaState, matcher: &PatternMatcher, index: usize, found: (usize, usize)) {
    // SAFETY: see above.
    unsafe {
        match matcher.capture(index, found) {
            Ok(Captured::Text(text)) => {
                charge_bytes(state, text.len());
                push_text(state, text);
            }
            Ok(Captured::Position(at)) => ffi::lua_pushinteger(state, at),
            Err(fault) => raise_fault(state, fault),
        }
    }
}

/// The string at `index`; a number is converted there, anything else raises.
unsafe fn need_text(state: LuaState, index: c_int) -> &'static [u8] {
    let mut len = 0;
    // SAFETY: see above; the pointer is valid for `len` bytes while the string stands there.
    unsafe {
        let text = ffi::luaL_checklstring(state, index, &mut len);
        std::slice::from_raw_parts(text.cast(), len)
    }
}

/// Where the search begins, from 0: the third argument counts from 1, or from the end if negative.
unsafe fn start_at(state: LuaState, len: usize) -> usize {
    // SAFETY: see above.
    let written = unsafe { ffi::luaL_optinteger(state, 3, 1) };
    match written {
        1.. => written as usize - 1,
        0 => 0,
        _ => (len as i64).saturating_add(written).max(0) as usize,
    }
}
