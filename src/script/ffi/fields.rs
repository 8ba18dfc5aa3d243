//! What a script does to an object: reads a field, writes one, lists them, makes a text of it.
//!
//! These are the metamethods of every object; what they mean is said in `request` and `servers`, in safe code.

use std::ffi::c_int;

use mlua::ffi;

use super::State;
use super::call_state::{Cell, Object, cell_of, guard, raise, refuse};
use super::headers::{is_headers, method_of, store_list, take_list};
use super::objects::{check_live, own, push_part, subject};
use super::servers::server_field;
use super::stack::{integer_at, push_text, text_at, type_name};
use super::string_cache::{PLACES, keep, push_kept, push_known};
use crate::script::assign::{self, Assigned};
use crate::script::cached_fields::Quick;
use crate::script::request::{self, Kind, Value};

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// The first upvalues of `index_request` are the names of the quick fields, then come the strings of hosts and of
/// other texts.
pub(super) const HOSTS: c_int = 1 + Quick::ALL.len() as c_int;
pub(super) const TEXTS: c_int = HOSTS + PLACES as c_int;

/// `req[key]`: the quick fields of the running call's request, all else as of any object.
pub(super) unsafe extern "C-unwind" fn index_request(state: State) -> c_int {
    // SAFETY: see above; Lua has every short string once, and those of `names` live as long as this function.
    unsafe {
        let cell = cell_of(state);
        let key = ffi::lua_topointer(state, 2);
        let at = (*cell).names.iter().position(|name| *name == key);
        let live = ffi::lua_touserdata(state, 1).addr() as u64 == (*cell).live;
        let (Some(at), true) = (at, live) else { return index(state) };
        let field = Quick::ALL[at];
        let Some(text) = guard(cell, |cell| Ok(look_quick(field, cell))) else { raise(state, cell) };
        if field != Quick::Host {
            push_known(state, &raw mut (*cell).texts, text);
        } else if !push_kept(state, &raw const (*cell).hosts, text) {
            index(state);
            keep(state, &raw mut (*cell).hosts, text);
        }
        1
    }
}

fn look_quick(field: Quick, cell: &mut Cell) -> &'static [u8] {
    let text = field.text(subject(cell).0);
    // SAFETY: only the lifetime changes: the head is lent for the whole call, and reading leaves it as it is.
    unsafe { std::mem::transmute::<&[u8], &'static [u8]>(text) }
}

/// The function `index_request` with its upvalues, on the stack.
pub(super) unsafe fn push_index_request(state: State, cell: *mut Cell) {
    // SAFETY: see above.
    unsafe {
        ffi::luaL_checkstack(state, TEXTS + PLACES as c_int, std::ptr::null());
        for (field, name) in Quick::ALL.iter().zip(&mut (*cell).names) {
            push_text(state, field.name().as_bytes());
            *name = ffi::lua_topointer(state, -1);
        }
        for _ in 0..2 * PLACES {
            ffi::lua_pushnil(state);
        }
        ffi::lua_pushcclosure(state, index_request, TEXTS + PLACES as c_int - 1);
    }
}

/// `object[key]`
pub(super) unsafe extern "C-unwind" fn index(state: State) -> c_int {
    // SAFETY: see above; a text stays where it is until the next step that is guarded.
    unsafe {
        let cell = cell_of(state);
        let object = own(state);
        let Some(key) = text_at(state, 2) else { refuse(state, "expected a name (a string) in the index") };
        if let Some(method) = method_of(object.kind, key) {
            ffi::lua_pushcclosure(state, method, 0);
            return 1;
        }
        match guard(cell, |cell| look(object, key, cell)) {
            Some(Value::Nil) => ffi::lua_pushnil(state),
            Some(Value::Text(text)) => push_text(state, text),
            Some(Value::Number(number)) => ffi::lua_pushinteger(state, number),
            Some(Value::Object(kind)) => push_part(state, cell, kind),
            None => raise(state, cell),
        }
        1
    }
}

pub(super) fn look<'a>(object: Object, key: &[u8], cell: &'a mut Cell) -> Result<Value<'static>, String> {
    let value: Value<'a> = if object.kind == Kind::Server {
        server_field(object, key, cell)?
    } else {
        check_live(object, cell)?;
        let (subject, scratch) = subject(cell);
        request::read(object.kind, key, subject, scratch)?
    };
    // SAFETY: only the lifetime changes: `index` copies the text to Lua before anything can move or change it.
    Ok(unsafe { std::mem::transmute::<Value<'a>, Value<'static>>(value) })
}

/// `object[key] = value`
pub(super) unsafe extern "C-unwind" fn new_index(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        let object = own(state);
        let Some(key) = text_at(state, 2) else { refuse(state, "expected a name (a string) in the index") };
        let stored = match assigned(state, object.kind) {
            Some(value) => guard(cell, |cell| store(object, key, value, cell)),
            None => {
                take_list(state, cell, object.kind, key);
                guard(cell, |cell| store_list(object, key, cell))
            }
        };
        if stored.is_none() {
            raise(state, cell);
        }
        0
    }
}

/// The value that is assigned, at 3; `None` for the table of a header's values.
unsafe fn assigned<'a>(state: State, kind: Kind) -> Option<Assigned<'a>> {
    // SAFETY: see above.
    unsafe {
        Some(match ffi::lua_type(state, 3) {
            ffi::LUA_TNIL => Assigned::Nil,
            ffi::LUA_TTABLE if is_headers(kind) => return None,
            other => match (text_at(state, 3), integer_at(state, 3)) {
                (Some(text), _) => Assigned::Text(text),
                (None, Some(number)) => Assigned::Number(number),
                _ => Assigned::Other(type_name(state, other)),
            },
        })
    }
}

pub(super) fn store(object: Object, key: &[u8], value: Assigned<'_>, cell: &mut Cell) -> Result<(), String> {
    if object.kind == Kind::Server {
        return Err("a server is read-only".to_string());
    }
    check_live(object, cell)?;
    assign::write(object.kind, key, value, subject(cell).0)
}

/// `pairs(object)`: an iterator over a copy of the names and values.
pub(super) unsafe extern "C-unwind" fn pairs(state: State) -> c_int {
    // SAFETY: see above; the texts of `pairs` stand in the cell and are not touched while they are copied.
    unsafe {
        let cell = cell_of(state);
        let object = own(state);
        if guard(cell, |cell| copy_pairs(object, cell)).is_none() {
            raise(state, cell);
        }
        let pairs: &[(Vec<u8>, Vec<u8>)] = &(*cell).pairs;
        ffi::lua_createtable(state, 2 * pairs.len() as c_int, 0);
        let texts = pairs.iter().flat_map(|(name, value)| [name, value]);
        for (text, at) in texts.zip(1..) {
            push_text(state, text);
            ffi::lua_rawseti(state, -2, at);
        }
        ffi::lua_pushinteger(state, 0);
        ffi::lua_pushcclosure(state, next_pair, 2);
        1
    }
}

pub(super) fn copy_pairs(object: Object, cell: &mut Cell) -> Result<(), String> {
    if matches!(object.kind, Kind::Request | Kind::Response | Kind::Server) {
        return Err(format!("pairs: a {} has no list of fields", object.kind.name()));
    }
    check_live(object, cell)?;
    cell.pairs = request::pairs(object.kind, subject(cell).0);
    Ok(())
}

/// The iterator: upvalues are the sequence of names and values, and how much of it was given out.
pub(super) unsafe extern "C-unwind" fn next_pair(state: State) -> c_int {
    // SAFETY: see above; the upvalues are what `pairs` set.
    unsafe {
        let at = ffi::lua_tointegerx(state, ffi::lua_upvalueindex(2), std::ptr::null_mut());
        ffi::lua_pushinteger(state, at + 2);
        ffi::lua_copy(state, -1, ffi::lua_upvalueindex(2));
        ffi::lua_rawgeti(state, ffi::lua_upvalueindex(1), at + 1);
        ffi::lua_rawgeti(state, ffi::lua_upvalueindex(1), at + 2);
        2
    }
}

/// `tostring(object)`: a server's name, the sort of thing for all others.
pub(super) unsafe extern "C-unwind" fn to_string(state: State) -> c_int {
    // SAFETY: see above; as in `index`.
    unsafe {
        let cell = cell_of(state);
        let object = own(state);
        match object.kind {
            Kind::Server => match guard(cell, |cell| look(object, b"name", cell)) {
                Some(Value::Text(name)) => push_text(state, name),
                _ => raise(state, cell),
            },
            kind => push_text(state, kind.name().as_bytes()),
        }
        1
    }
}
