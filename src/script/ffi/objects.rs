//! The objects that scripts hold: creation, recognition, and the check that they belong to the running call.
//!
//! `req` is a number in a light userdata and costs nothing to make. `res` and the parts of both (`headers`,
//! `cookies`, `args`) are userdata, made on first use; servers are made once.

use std::ffi::{CStr, c_int};

use mlua::ffi;

use super::call_state::{CallState, KindState, Object};
use super::fields::{index, new_index, pairs, push_index_request, to_string};
use super::stack::{push_text, registry};
use super::{LuaState, RegistryIndex};
use crate::config::PoolId;
use crate::script::request::{self, ObjectKind, Subject};

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// Which of our objects the userdata at `index` is.
pub(super) unsafe fn kind_at(state: LuaState, call: *mut CallState, index: c_int) -> Option<ObjectKind> {
    // SAFETY: see above.
    unsafe {
        if ffi::lua_getmetatable(state, index) == 0 {
            return None;
        }
        let identity = ffi::lua_topointer(state, -1);
        ffi::lua_settop(state, -2);
        let kinds = &(*call).kinds;
        ObjectKind::ALL.into_iter().find(|kind| kinds[*kind as usize].identity == identity)
    }
}

pub(super) unsafe fn push_object(state: LuaState, call: *mut CallState, object: Object) {
    // SAFETY: see above; Lua's blocks are aligned for any type.
    unsafe {
        let data = ffi::lua_newuserdatauv(state, size_of::<Object>(), 0);
        data.cast::<Object>().write(object);
        registry(state, (*call).kinds[object.kind as usize].metatable);
        ffi::lua_setmetatable(state, -2);
    }
}

/// Pushes the running call's `req`: a light userdata that holds the call's number. It costs no memory, and one that a
/// script kept is recognised, since numbers are never reused.
pub(super) unsafe fn push_request(state: LuaState, call: *mut CallState) {
    // SAFETY: see above; the pointer is never followed.
    unsafe { ffi::lua_pushlightuserdata(state, std::ptr::without_provenance_mut((*call).live as usize)) }
}

/// Pushes an object of the running call.
pub(super) unsafe fn push_own(state: LuaState, call: *mut CallState, kind: ObjectKind) {
    // SAFETY: see above.
    unsafe { push_object(state, call, Object { kind, pool: PoolId(0), stamp: (*call).live }) }
}

/// Pushes `headers`, `cookies` or `args` of the running call, made on first use.
pub(super) unsafe fn push_part(state: LuaState, call: *mut CallState, kind: ObjectKind) {
    // SAFETY: see above.
    unsafe {
        let known = (*call).kinds[kind as usize];
        if known.made == (*call).live {
            return registry(state, known.part);
        }
        push_own(state, call, kind);
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawseti(state, ffi::LUA_REGISTRYINDEX, known.part.0.into());
        (*call).kinds[kind as usize].made = (*call).live;
    }
}

pub(super) unsafe fn make_kind(state: LuaState, call: *mut CallState, kind: ObjectKind) -> KindState {
    const METHODS: [(&CStr, ffi::lua_CFunction); 4] =
        [(c"__index", index), (c"__newindex", new_index), (c"__pairs", pairs), (c"__tostring", to_string)];
    // SAFETY: see above.
    unsafe {
        ffi::lua_createtable(state, 0, 6);
        let identity = ffi::lua_topointer(state, -1);
        let methods = if kind == ObjectKind::Answer { &METHODS[..0] } else { &METHODS[..] };
        for (name, function) in methods {
            ffi::lua_pushcclosure(state, *function, 0);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
        for name in [c"__name", c"__metatable"] {
            push_text(state, kind.name().as_bytes());
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
        if kind == ObjectKind::Request {
            push_index_request(state, call);
            ffi::lua_setfield(state, -2, c"__index".as_ptr());
            // The metatable of all light userdata; scripts never get any other.
            ffi::lua_pushlightuserdata(state, std::ptr::null_mut());
            ffi::lua_pushvalue(state, -2);
            ffi::lua_setmetatable(state, -2);
            ffi::lua_settop(state, -2);
        }
        let metatable = RegistryIndex(ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX));
        ffi::lua_pushboolean(state, 0);
        let part = RegistryIndex(ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX));
        KindState { metatable, identity, part, made: 0 }
    }
}

/// The object a metamethod was called on. Scripts cannot reach the metamethods themselves, so argument 1 is
/// always one of ours.
pub(super) unsafe fn own(state: LuaState) -> Object {
    // SAFETY: see above; all userdata with these metamethods hold an `Object`, but for the light ones.
    unsafe {
        let data = ffi::lua_touserdata(state, 1);
        if ffi::lua_type(state, 1) == ffi::LUA_TLIGHTUSERDATA {
            return Object { kind: ObjectKind::Request, pool: PoolId(0), stamp: data.addr() as u64 };
        }
        *data.cast::<Object>()
    }
}

/// An error if the object's call has ended.
pub(super) fn check_live(object: Object, call: &CallState) -> Result<(), String> {
    if object.stamp == call.live { Ok(()) } else { Err(request::ENDED.to_string()) }
}

/// The subject of the running call and the scratch space. Call only after `check_live`, that is while a call runs.
pub(super) fn subject(call: &mut CallState) -> (&mut Subject<'_>, &mut Vec<u8>) {
    // SAFETY: `begin` set the pointer to a subject that its caller lends for the whole call and does not touch
    // meanwhile; the lifetime given out is that of the borrowed call.
    (unsafe { &mut *call.subject.cast() }, &mut call.scratch)
}
