//! Access of scripts to objects: read a field, write one, list them, convert to text.
//!
//! These are the metamethods of every object; their semantics are in `request` and `servers`, in safe code.

use std::ffi::c_int;

use mlua::ffi;

use super::LuaState;
use super::call_state::{CallState, Object, call_state_of, guard, raise, refuse};
use super::cookies::{store_cookie, take_cookie};
use super::headers::{is_headers, method_of, store_list, take_list};
use super::objects::{check_live, own, push_part, subject};
use super::servers::server_field;
use super::stack::{integer_at, push_text, text_at, type_name};
use super::string_cache::{SLOTS, keep, push_cached, push_if_cached};
use crate::script::assign::{self, Assigned};
use crate::script::cached_fields::CachedField;
use crate::script::request::{self, FieldValue, ObjectKind};

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// The first upvalues of `index_request` are the names of the cached fields, then the cached strings of hosts and of
/// other texts.
pub(super) const HOSTS: c_int = 1 + CachedField::ALL.len() as c_int;
pub(super) const TEXTS: c_int = HOSTS + SLOTS as c_int;

/// `req[key]`: cached fields of the running call's request; everything else as for any object.
pub(super) unsafe extern "C-unwind" fn index_request(state: LuaState) -> c_int {
    // SAFETY: see above; Lua has every short string once, and those of `names` live as long as this function.
    unsafe {
        let call = call_state_of(state);
        let key = ffi::lua_topointer(state, 2);
        let at = (*call).names.iter().position(|name| *name == key);
        let live = ffi::lua_touserdata(state, 1).addr() as u64 == (*call).live;
        let (Some(at), true) = (at, live) else { return index(state) };
        let field = CachedField::ALL[at];
        let Some(text) = guard(call, |call| Ok(read_cached(field, call))) else { raise(state, call) };
        if field != CachedField::Host {
            push_cached(state, &raw mut (*call).texts, text);
        } else if !push_if_cached(state, &raw const (*call).hosts, text) {
            index(state);
            keep(state, &raw mut (*call).hosts, text);
        }
        1
    }
}

fn read_cached(field: CachedField, call: &mut CallState) -> &'static [u8] {
    let text = field.text(subject(call).0);
    // SAFETY: only the lifetime changes: the head is lent for the whole call, and reading leaves it as it is.
    unsafe { std::mem::transmute::<&[u8], &'static [u8]>(text) }
}

/// Pushes the function `index_request` with its upvalues.
pub(super) unsafe fn push_index_request(state: LuaState, call: *mut CallState) {
    // SAFETY: see above.
    unsafe {
        ffi::luaL_checkstack(state, TEXTS + SLOTS as c_int, std::ptr::null());
        for (field, name) in CachedField::ALL.iter().zip(&mut (*call).names) {
            push_text(state, field.name().as_bytes());
            *name = ffi::lua_topointer(state, -1);
        }
        for _ in 0..2 * SLOTS {
            ffi::lua_pushnil(state);
        }
        ffi::lua_pushcclosure(state, index_request, TEXTS + SLOTS as c_int - 1);
    }
}

/// `object[key]`
pub(super) unsafe extern "C-unwind" fn index(state: LuaState) -> c_int {
    // SAFETY: see above; a text stays where it is until the next step that is guarded.
    unsafe {
        let call = call_state_of(state);
        let object = own(state);
        let Some(key) = text_at(state, 2) else { refuse(state, "expected a name (a string) in the index") };
        if let Some(method) = method_of(object.kind, key) {
            ffi::lua_pushcclosure(state, method, 0);
            return 1;
        }
        match guard(call, |call| look(object, key, call)) {
            Some(FieldValue::Nil) => ffi::lua_pushnil(state),
            Some(FieldValue::Text(text)) => push_text(state, text),
            Some(FieldValue::Number(number)) => ffi::lua_pushinteger(state, number),
            Some(FieldValue::Float(number)) => ffi::lua_pushnumber(state, number),
            Some(FieldValue::Boolean(yes)) => ffi::lua_pushboolean(state, yes.into()),
            Some(FieldValue::Object(kind)) => push_part(state, call, kind),
            None => raise(state, call),
        }
        1
    }
}

pub(super) fn look<'a>(
    object: Object,
    key: &[u8],
    call: &'a mut CallState,
) -> Result<FieldValue<'static>, String> {
    let value: FieldValue<'a> = if object.kind == ObjectKind::Server {
        server_field(object, key, call)?
    } else {
        check_live(object, call)?;
        let (subject, scratch) = subject(call);
        request::read(object.kind, key, subject, scratch)?
    };
    // SAFETY: only the lifetime changes: `index` copies the text to Lua before anything can move or change it.
    Ok(unsafe { std::mem::transmute::<FieldValue<'a>, FieldValue<'static>>(value) })
}

/// `object[key] = value`
pub(super) unsafe extern "C-unwind" fn new_index(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        let object = own(state);
        let Some(key) = text_at(state, 2) else { refuse(state, "expected a name (a string) in the index") };
        let is_table = ffi::lua_type(state, 3) == ffi::LUA_TTABLE;
        let stored = match object.kind {
            kind if is_table && is_headers(kind) => {
                take_list(state, call, kind, key);
                guard(call, |call| store_list(object, key, call))
            }
            ObjectKind::ResponseCookies if is_table => {
                take_cookie(state, call, key);
                guard(call, |call| store_cookie(object, key, call))
            }
            _ => {
                let value = assigned(state, 3);
                guard(call, |call| store(object, key, value, call))
            }
        };
        if stored.is_none() {
            raise(state, call);
        }
        0
    }
}

/// The value at `index`, valid while it stands on the stack.
pub(super) unsafe fn assigned<'a>(state: LuaState, index: c_int) -> Assigned<'a> {
    // SAFETY: see above.
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TNIL => Assigned::Nil,
            ffi::LUA_TBOOLEAN => Assigned::Boolean(ffi::lua_toboolean(state, index) != 0),
            other => match (text_at(state, index), integer_at(state, index)) {
                (Some(text), _) => Assigned::Text(text),
                (None, Some(number)) => Assigned::Number(number),
                _ if other == ffi::LUA_TNUMBER => {
                    Assigned::Float(ffi::lua_tonumberx(state, index, std::ptr::null_mut()))
                }
                _ => Assigned::Other(type_name(state, other)),
            },
        }
    }
}

pub(super) fn store(
    object: Object,
    key: &[u8],
    value: Assigned<'_>,
    call: &mut CallState,
) -> Result<(), String> {
    if object.kind == ObjectKind::Server {
        return Err("a server is read-only".to_string());
    }
    check_live(object, call)?;
    assign::write(object.kind, key, value, subject(call).0)
}

/// `pairs(object)`: an iterator over a copy of the names and values.
pub(super) unsafe extern "C-unwind" fn pairs(state: LuaState) -> c_int {
    // SAFETY: see above; the texts of `pairs` stand in the call state and are not touched while they are copied.
    unsafe {
        let call = call_state_of(state);
        let object = own(state);
        if guard(call, |call| copy_pairs(object, call)).is_none() {
            raise(state, call);
        }
        let pairs: &[(Vec<u8>, Vec<u8>)] = &(*call).pairs;
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

pub(super) fn copy_pairs(object: Object, call: &mut CallState) -> Result<(), String> {
    use ObjectKind::{Connection, Log, Request, Response, Server, Tls};
    if matches!(object.kind, Request | Response | Server | Tls | Connection | Log) {
        return Err(format!("pairs: a {} has no list of fields", object.kind.name()));
    }
    check_live(object, call)?;
    call.pairs = request::pairs(object.kind, subject(call).0);
    Ok(())
}

/// The iterator: upvalues are the sequence of names and values, and the number of those returned.
pub(super) unsafe extern "C-unwind" fn next_pair(state: LuaState) -> c_int {
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

/// `tostring(object)`: a server's name, otherwise the kind of object.
pub(super) unsafe extern "C-unwind" fn to_string(state: LuaState) -> c_int {
    // SAFETY: see above; as in `index`.
    unsafe {
        let call = call_state_of(state);
        let object = own(state);
        match object.kind {
            ObjectKind::Server => match guard(call, |call| look(object, b"name", call)) {
                Some(FieldValue::Text(name)) => push_text(state, name),
                _ => raise(state, call),
            },
            kind => push_text(state, kind.name().as_bytes()),
        }
        1
    }
}
