//! The servers that a `balance` function sees: the table of candidates, and the fields of a server object. An
//! object stays the same as long as its pool uses the server, so that scripts may keep it.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};

use mlua::ffi;

use super::call_state::{CallState, Object, ServersOfPool};
use super::objects::push_object;
use super::stack::registry;
use super::{LuaState, Machine, RegistryIndex};
use crate::config::PoolId;
use crate::script::directory::ServerNames;
use crate::script::request::{self, FieldValue, ObjectKind, Offer};

/// In the object of a server that is gone.
const NO_SERVER: u64 = u32::MAX as u64;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

impl Machine {
    /// Makes the objects of a pool's servers.
    pub(super) fn make_servers(&mut self, pool: PoolId, count: usize) -> mlua::Result<ServersOfPool> {
        let call = self.call_state;
        let mut made = ServersOfPool {
            objects: RegistryIndex(0),
            identities: vec![std::ptr::null(); count],
            shown: RegistryIndex(0),
        };
        let identities = made.identities.as_mut_slice();
        let slots = (&mut made.objects, &mut made.shown);
        // SAFETY: the closure runs protected and owns nothing (what it fills is owned outside).
        unsafe {
            self.lua.exec_raw::<()>((), |state| {
                ffi::lua_createtable(state, count as c_int, 0);
                for (i, identity) in identities.iter_mut().enumerate() {
                    push_object(state, call, Object { kind: ObjectKind::Server, pool, stamp: i as u64 });
                    *identity = ffi::lua_touserdata(state, -1);
                    ffi::lua_rawseti(state, -2, i as i64 + 1);
                }
                *slots.0 = RegistryIndex(ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX));
                ffi::lua_createtable(state, 0, 0);
                *slots.1 = RegistryIndex(ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX));
            })?;
        }
        Ok(made)
    }

    /// Sets the servers that a pool uses now. Those that it used before keep their objects; the objects of others
    /// stand for no server any more.
    pub fn set_servers(&mut self, pool: PoolId, servers: Vec<ServerNames>) -> mlua::Result<()> {
        let before = self.directory().in_use(pool);
        if before.iter().map(|s| &s.name).eq(servers.iter().map(|s| &s.name)) {
            return Ok(());
        }
        let places: HashMap<&str, usize> = before.iter().map(|s| s.name.as_str()).zip(0..).collect();
        let kept: Vec<Option<usize>> = servers.iter().map(|s| places.get(s.name.as_str()).copied()).collect();
        self.replace_servers(pool, &kept)?;
        self.call_state().directory.set_in_use(pool, servers);
        Ok(())
    }

    /// `kept`: for each server, its place so far.
    fn replace_servers(&mut self, pool: PoolId, kept: &[Option<usize>]) -> mlua::Result<()> {
        let call = self.call_state;
        let Some(of_pool) = self.call_state().servers.get_mut(pool.0 as usize) else { return Ok(()) };
        let (objects, shown) = (of_pool.objects, of_pool.shown);
        let mut identities: Vec<*const c_void> = vec![std::ptr::null(); kept.len()];
        let (old, new) = (of_pool.identities.clone(), identities.as_mut_slice());
        let old = old.as_slice();
        // SAFETY: the closure runs protected and owns nothing. The objects are alive as long as the table holds them. All
        // that can raise comes before the first change that lasts.
        unsafe {
            self.lua.exec_raw::<()>((), |state| {
                registry(state, objects);
                ffi::lua_createtable(state, 0, 0);
                ffi::lua_createtable(state, kept.len() as c_int, 0);
                for ((i, kept), identity) in (0..).zip(kept).zip(new.iter_mut()) {
                    match kept {
                        Some(at) => _ = ffi::lua_rawgeti(state, -3, *at as i64 + 1),
                        None => push_object(state, call, Object { kind: ObjectKind::Server, pool, stamp: i }),
                    }
                    *identity = ffi::lua_touserdata(state, -1);
                    ffi::lua_rawseti(state, -2, i as i64 + 1);
                }
                old.iter().for_each(|object| (*object.cast::<Object>().cast_mut()).stamp = NO_SERVER);
                for (i, object) in (0..).zip(new.iter()) {
                    (*object.cast::<Object>().cast_mut()).stamp = i;
                }
                ffi::lua_rawseti(state, ffi::LUA_REGISTRYINDEX, objects.0.into());
                ffi::lua_rawseti(state, ffi::LUA_REGISTRYINDEX, shown.0.into());
            })?;
        }
        self.call_state().servers[pool.0 as usize].identities = identities;
        Ok(())
    }
}

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
        b"in_flight" => offered(object, call, "in_flight", |offer| offer.in_flight.get(at).copied())
            .map(|n| FieldValue::Number(n.into())),
        b"weight" => offered(object, call, "weight", |offer| offer.weights.get(at).copied())
            .map(|n| FieldValue::Number(n.into())),
        b"up" => offered(object, call, "up", |offer| offer.up.get(at).copied()).map(FieldValue::Boolean),
        b"latency" => offered(object, call, "latency", |offer| offer.latencies.get(at).copied())
            .map(|micros| micros.map_or(FieldValue::Nil, |micros| FieldValue::Float(micros as f64 / 1e6))),
        _ => Err(request::unknown(ObjectKind::Server, key, &request::SERVER_FIELDS)),
    }
}

/// Reads what is known of a server while its pool's `balance` function runs.
fn offered<T>(
    object: Object,
    call: &CallState,
    field: &str,
    read: impl FnOnce(Offer<'_>) -> Option<T>,
) -> Result<T, String> {
    // SAFETY: the pointer is null or lent for the running call (see `subject`).
    let offer = unsafe { call.subject.as_ref() }.and_then(|subject| subject.offer);
    let here = offer.filter(|offer| offer.pool == object.pool);
    here.and_then(read)
        .ok_or_else(|| format!("server.{field}: known only while the balance function of its pool runs"))
}
