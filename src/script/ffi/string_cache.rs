//! Cache of strings that scripts read repeatedly: hosts and paths of requests, and results of `sub`.
//!
//! Making a Lua string means hashing it and searching the string table. So a C function that returns such texts keeps
//! the last ones in its upvalues, found by comparing bytes. A slot is overwritten by the next text that maps to it,
//! and there are few, so clients cannot make it grow.

use std::ffi::c_int;

use mlua::ffi;

use super::LuaState;
use super::stack::push_text;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// Number of slots, and of upvalues they need.
pub(super) const SLOTS: usize = 32;

/// Longer texts are not cached.
const LONGEST: usize = 63;

pub(super) struct StringCache {
    slots: [CacheSlot; SLOTS],
    /// The upvalue with the string of the first slot; the others follow.
    first: c_int,
}

#[derive(Clone, Copy)]
struct CacheSlot {
    /// More than `LONGEST`: the slot is empty.
    len: u8,
    text: [u8; LONGEST],
}

impl StringCache {
    pub(super) const fn new(first: c_int) -> StringCache {
        StringCache { slots: [CacheSlot { len: u8::MAX, text: [0; LONGEST] }; SLOTS], first }
    }

    fn upvalue(&self, slot: usize) -> c_int {
        ffi::lua_upvalueindex(self.first + slot as c_int)
    }
}

/// Pushes the cached string for `text`, if there is one. The caller must be the function with the upvalues.
pub(super) unsafe fn push_if_cached(state: LuaState, cache: *const StringCache, text: &[u8]) -> bool {
    // SAFETY: see above; pushing a value that is there cannot raise.
    unsafe {
        let at = slot_of(text);
        let found = (&(*cache).slots)[at].holds(text);
        if found {
            ffi::lua_pushvalue(state, (*cache).upvalue(at));
        }
        found
    }
}

/// Caches the value on top of the stack for `text`.
pub(super) unsafe fn keep(state: LuaState, cache: *mut StringCache, text: &[u8]) {
    if text.len() > LONGEST {
        return;
    }
    // SAFETY: see above; copying to an upvalue cannot raise.
    unsafe {
        let at = slot_of(text);
        ffi::lua_copy(state, -1, (*cache).upvalue(at));
        (&mut (*cache).slots)[at].hold(text);
    }
}

/// Pushes `text` as a string, cached or new.
pub(super) unsafe fn push_cached(state: LuaState, cache: *mut StringCache, text: &[u8]) {
    // SAFETY: see above; no reference into `cache` is alive where Lua may raise.
    unsafe {
        if !push_if_cached(state, cache, text) {
            push_text(state, text);
            keep(state, cache, text);
        }
    }
}

impl CacheSlot {
    fn holds(&self, text: &[u8]) -> bool {
        self.len as usize == text.len() && self.text.get(..text.len()) == Some(text)
    }

    fn hold(&mut self, text: &[u8]) {
        self.len = text.len() as u8;
        self.text[..text.len()].copy_from_slice(text);
    }
}

/// By length and last bytes: paths often begin alike.
fn slot_of(text: &[u8]) -> usize {
    let end = match (text.last_chunk::<8>(), text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(end), ..) => u64::from_le_bytes(*end),
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => text.iter().fold(0, |end, byte| end << 8 | u64::from(*byte)),
    };
    let mixed = (end ^ text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - SLOTS.ilog2())) as usize
}
