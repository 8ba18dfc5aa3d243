//! `headers` beyond single fields: assigning a list of values, `headers:add(name, value)`, `headers:all(name)`.

use std::ffi::c_int;

use mlua::ffi;

use super::LuaState;
use super::call_state::{CallState, Object, call_state_of, guard, raise, refuse};
use super::fields::store;
use super::objects::{check_live, kind_at, own, subject};
use super::stack::{push_text, text_at};
use super::waits::body;
use crate::script::assign::{self, Assigned};
use crate::script::headers;
use crate::script::request::ObjectKind;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

pub(super) fn is_headers(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::Headers | ObjectKind::ResponseHeaders)
}

/// Reads the list at 3 into the call state's values.
pub(super) unsafe fn take_list(state: LuaState, call: *mut CallState, kind: ObjectKind, key: &[u8]) {
    // SAFETY: see above.
    unsafe {
        if guard(call, begin_list).is_none() {
            raise(state, call);
        }
        let len = ffi::lua_rawlen(state, 3);
        let mut fine = len > 0 && len <= headers::FIELDS_MAX && entries(state, len) == len;
        let mut at = 1;
        while fine && at <= len {
            ffi::lua_rawgeti(state, 3, at as i64);
            match text_at(state, 4) {
                Some(text) if guard(call, |call| take_value(text, call)).is_none() => raise(state, call),
                Some(_) => at += 1,
                None => fine = false,
            }
            ffi::lua_settop(state, 3);
        }
        if !fine && guard(call, |_| Err::<(), String>(headers::no_list(kind, key))).is_none() {
            raise(state, call);
        }
    }
}

/// The number of entries of the table at 3, or one more than `most`: keys beside the list would be lost.
unsafe fn entries(state: LuaState, most: usize) -> usize {
    // SAFETY: see above; the key that `lua_next` takes is the one that it gave.
    unsafe {
        let mut count = 0;
        ffi::lua_pushnil(state);
        while count <= most && ffi::lua_next(state, 3) != 0 {
            count += 1;
            ffi::lua_settop(state, 4);
        }
        ffi::lua_settop(state, 3);
        count
    }
}

fn begin_list(call: &mut CallState) -> Result<(), String> {
    call.values.clear();
    call.value_bytes = 0;
    Ok(())
}

/// Limited to the size of a head: a list may contain one large string a million times.
fn take_value(text: &[u8], call: &mut CallState) -> Result<(), String> {
    call.value_bytes += text.len();
    if call.value_bytes > headers::BYTES_MAX || call.values.len() >= headers::FIELDS_MAX {
        return Err("the list is larger than headers may be".to_string());
    }
    call.values.push(text.to_vec());
    Ok(())
}

pub(super) fn store_list(object: Object, key: &[u8], call: &mut CallState) -> Result<(), String> {
    let values = std::mem::take(&mut call.values);
    let stored = store(object, key, Assigned::Texts(&values), call);
    call.values = values;
    stored
}

/// The functions of `headers`, which are called with a colon. They shadow only headers of exactly these names in
/// lower case: `headers["Add"]` is still a header.
pub(super) fn method_of(kind: ObjectKind, key: &[u8]) -> Option<ffi::lua_CFunction> {
    match (kind, key) {
        (ObjectKind::Headers | ObjectKind::ResponseHeaders, b"add") => Some(add),
        (ObjectKind::Headers | ObjectKind::ResponseHeaders, b"all") => Some(all),
        (ObjectKind::Request, b"body") => Some(body),
        _ => None,
    }
}

/// The object on which a method was called; it may be anything.
unsafe fn own_headers(state: LuaState, call: *mut CallState) -> Option<Object> {
    // SAFETY: see above; the metatable says that it is an `Object`.
    unsafe {
        match kind_at(state, call, 1) {
            Some(ObjectKind::Headers | ObjectKind::ResponseHeaders) => Some(own(state)),
            _ => None,
        }
    }
}

/// `headers:add(name, value)`
unsafe extern "C-unwind" fn add(state: LuaState) -> c_int {
    const USE: &str = "expected headers:add(name, value), with a colon and two strings";
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        ffi::lua_settop(state, 3);
        let called = (own_headers(state, call), text_at(state, 2), text_at(state, 3));
        let (Some(object), Some(name), Some(value)) = called else { refuse(state, USE) };
        let added = guard(call, |call| {
            check_live(object, call)?;
            assign::add(object.kind, name, value, subject(call).0)
        });
        if added.is_none() {
            raise(state, call);
        }
        0
    }
}

/// `headers:all(name)`: a list, empty where there is none.
unsafe extern "C-unwind" fn all(state: LuaState) -> c_int {
    const USE: &str = "expected headers:all(name), with a colon and a string";
    // SAFETY: see above; the values stand in the call state and are not touched while they are copied.
    unsafe {
        let call = call_state_of(state);
        ffi::lua_settop(state, 2);
        let (Some(object), Some(name)) = (own_headers(state, call), text_at(state, 2)) else {
            refuse(state, USE)
        };
        if guard(call, |call| copy_all(object, name, call)).is_none() {
            raise(state, call);
        }
        let values: &[Vec<u8>] = &(*call).values;
        ffi::lua_createtable(state, values.len() as c_int, 0);
        for (value, at) in values.iter().zip(1..) {
            push_text(state, value);
            ffi::lua_rawseti(state, -2, at);
        }
        1
    }
}

fn copy_all(object: Object, name: &[u8], call: &mut CallState) -> Result<(), String> {
    check_live(object, call)?;
    if let Some(observed) = &mut call.observed {
        observed.note_read(object.kind, name);
    }
    let mut values = std::mem::take(&mut call.values);
    assign::all(object.kind, name, subject(call).0, &mut values);
    call.values = values;
    Ok(())
}
