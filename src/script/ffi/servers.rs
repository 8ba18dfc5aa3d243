//! The servers that a `balance` function sees: the table of candidates, and the fields of a server object. The
//! objects live as long as the VM, so that scripts may keep them.

use std::ffi::c_int;

use mlua::ffi;

use super::LuaState;
use super::call_state::{CallState, Object, ServersOfPool};
use super::stack::registry;
use crate::script::request::{self, FieldValue, ObjectKind};

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// Pushes the table of candidates: the last one if all servers are candidates and the script left it unchanged,
/// otherwise a new one.
pub(super) unsafe fn push_servers(state: LuaState, call: *mut CallState) {
    // SAFETY: see above; `subject` is valid while a call runs.
    unsafe {
        let (Some(offer), all) = ((*(*call).subject).offer, &(*call).servers) else {
            return ffi::lua_createtable(state, 0, 0);
        };
        let Some(servers) = all.get(offer.pool.0 as usize) else {
            return ffi::lua_createtable(state, 0, 0);
        };
        let whole = offer.candidates.len() == servers.identities.len();
        if whole && push_shown(state, servers) {
            return;
        }
        ffi::lua_createtable(state, offer.candidates.len() as c_int, 0);
        registry(state, servers.objects);
        for (i, server) in offer.candidates.iter().enumerate() {
            ffi::lua_rawgeti(state, -1, i64::from(server.0) + 1);
            ffi::lua_rawseti(state, -3, i as i64 + 1);
        }
        ffi::lua_settop(state, -2);
        if whole {
            ffi::lua_pushvalue(state, -1);
            ffi::lua_rawseti(state, ffi::LUA_REGISTRYINDEX, servers.shown.0.into());
        }
    }
}

/// Pushes the last table and returns true, unless the script has changed it.
pub(super) unsafe fn push_shown(state: LuaState, servers: &ServersOfPool) -> bool {
    // SAFETY: see above.
    unsafe {
        registry(state, servers.shown);
        let mut same = ffi::lua_rawlen(state, -1) == servers.identities.len();
        for (i, identity) in servers.identities.iter().enumerate() {
            ffi::lua_rawgeti(state, -1, i as i64 + 1);
            same &= ffi::lua_touserdata(state, -1).cast_const() == *identity;
            ffi::lua_settop(state, -2);
        }
        if !same {
            ffi::lua_settop(state, -2);
        }
        same
    }
}

pub(super) fn server_field<'a>(
    object: Object,
    key: &[u8],
    call: &'a CallState,
) -> Result<FieldValue<'a>, String> {
    let at = object.stamp as usize;
    let Some(server) = call.directory.servers(object.pool).get(at) else { return Ok(FieldValue::Nil) };
    match key {
        b"name" => Ok(FieldValue::Text(server.name.as_bytes())),
        b"address" => Ok(FieldValue::Text(server.address.as_bytes())),
        b"in_flight" => in_flight(object, call).map(|n| FieldValue::Number(n.into())),
        _ => Err(request::unknown(ObjectKind::Server, key, &["name", "address", "in_flight"])),
    }
}

pub(super) fn in_flight(object: Object, call: &CallState) -> Result<u32, String> {
    // SAFETY: the pointer is null or lent for the running call (see `subject`).
    let offer = unsafe { call.subject.as_ref() }.and_then(|subject| subject.offer);
    let here = offer.filter(|offer| offer.pool == object.pool);
    here.and_then(|offer| offer.in_flight.get(object.stamp as usize).copied())
        .ok_or_else(|| "server.in_flight: known only while the balance function of its pool runs".to_string())
}
