//! `headers` beyond single fields: a list of values that is assigned, `headers:add(name, value)`, `headers:all(name)`.

use std::ffi::c_int;

use mlua::ffi;

use super::State;
use super::call_state::{Cell, Object, cell_of, guard, raise, refuse};
use super::fields::store;
use super::objects::{check_live, kind_at, own, subject};
use super::stack::{push_text, text_at};
use crate::script::assign::{self, Assigned};
use crate::script::headers;
use crate::script::request::Kind;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

pub(super) fn is_headers(kind: Kind) -> bool {
    matches!(kind, Kind::Headers | Kind::ResponseHeaders)
}

/// Takes the list at 3 into the cell's values.
pub(super) unsafe fn take_list(state: State, cell: *mut Cell, kind: Kind, key: &[u8]) {
    // SAFETY: see above.
    unsafe {
        if guard(cell, begin_list).is_none() {
            raise(state, cell);
        }
        let len = ffi::lua_rawlen(state, 3);
        let mut fine = len > 0 && len <= headers::FIELDS_MAX && entries(state, len) == len;
        let mut at = 1;
        while fine && at <= len {
            ffi::lua_rawgeti(state, 3, at as i64);
            match text_at(state, 4) {
                Some(text) if guard(cell, |cell| take_value(text, cell)).is_none() => raise(state, cell),
                Some(_) => at += 1,
                None => fine = false,
            }
            ffi::lua_settop(state, 3);
        }
        if !fine && guard(cell, |_| Err::<(), String>(headers::no_list(kind, key))).is_none() {
            raise(state, cell);
        }
    }
}

/// How many entries the table at 3 has, or one more than `most`: keys beside a list would be lost.
unsafe fn entries(state: State, most: usize) -> usize {
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

fn begin_list(cell: &mut Cell) -> Result<(), String> {
    cell.values.clear();
    cell.value_bytes = 0;
    Ok(())
}

/// The bound is that of a head: a list may name one large string a million times.
fn take_value(text: &[u8], cell: &mut Cell) -> Result<(), String> {
    cell.value_bytes += text.len();
    if cell.value_bytes > headers::BYTES_MAX || cell.values.len() >= headers::FIELDS_MAX {
        return Err("the list is larger than headers may be".to_string());
    }
    cell.values.push(text.to_vec());
    Ok(())
}

pub(super) fn store_list(object: Object, key: &[u8], cell: &mut Cell) -> Result<(), String> {
    let values = std::mem::take(&mut cell.values);
    let stored = store(object, key, Assigned::Texts(&values), cell);
    cell.values = values;
    stored
}

/// The functions of `headers`, which are called with a colon. Only these very names, in lower case, are taken from
/// those that a header may have: `headers["Add"]` is still one.
pub(super) fn method_of(kind: Kind, key: &[u8]) -> Option<ffi::lua_CFunction> {
    match (kind, key) {
        (Kind::Headers | Kind::ResponseHeaders, b"add") => Some(add),
        (Kind::Headers | Kind::ResponseHeaders, b"all") => Some(all),
        _ => None,
    }
}

/// The object that a method was called on, which may be anything.
unsafe fn own_headers(state: State, cell: *mut Cell) -> Option<Object> {
    // SAFETY: see above; the metatable says that it is an `Object`.
    unsafe {
        match kind_at(state, cell, 1) {
            Some(Kind::Headers | Kind::ResponseHeaders) => Some(own(state)),
            _ => None,
        }
    }
}

/// `headers:add(name, value)`
unsafe extern "C-unwind" fn add(state: State) -> c_int {
    const USE: &str = "expected headers:add(name, value), with a colon and two strings";
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        ffi::lua_settop(state, 3);
        let called = (own_headers(state, cell), text_at(state, 2), text_at(state, 3));
        let (Some(object), Some(name), Some(value)) = called else { refuse(state, USE) };
        let added = guard(cell, |cell| {
            check_live(object, cell)?;
            assign::add(object.kind, name, value, subject(cell).0)
        });
        if added.is_none() {
            raise(state, cell);
        }
        0
    }
}

/// `headers:all(name)`: a list, empty where there is none.
unsafe extern "C-unwind" fn all(state: State) -> c_int {
    const USE: &str = "expected headers:all(name), with a colon and a string";
    // SAFETY: see above; the values stand in the cell and are not touched while they are copied.
    unsafe {
        let cell = cell_of(state);
        ffi::lua_settop(state, 2);
        let (Some(object), Some(name)) = (own_headers(state, cell), text_at(state, 2)) else {
            refuse(state, USE)
        };
        if guard(cell, |cell| copy_all(object, name, cell)).is_none() {
            raise(state, cell);
        }
        let values: &[Vec<u8>] = &(*cell).values;
        ffi::lua_createtable(state, values.len() as c_int, 0);
        for (value, at) in values.iter().zip(1..) {
            push_text(state, value);
            ffi::lua_rawseti(state, -2, at);
        }
        1
    }
}

fn copy_all(object: Object, name: &[u8], cell: &mut Cell) -> Result<(), String> {
    check_live(object, cell)?;
    let mut values = std::mem::take(&mut cell.values);
    assign::all(object.kind, name, subject(cell).0, &mut values);
    cell.values = values;
    Ok(())
}
