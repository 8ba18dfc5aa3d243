//! Texts that scripts are given again and again: the hosts and paths of requests, and what `sub` cuts out of them.
//!
//! To make a Lua string of a text is to hash all of it and to look for it among all strings. So a C function that
//! gives such texts keeps the last ones in its upvalues, found by comparing bytes. A place is taken over by the
//! next text that falls on it, and there are few, so whatever clients send costs no memory.

use std::ffi::c_int;

use mlua::ffi;

use super::State;
use super::stack::push_text;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// The number of texts that are kept, and of upvalues they need.
pub(super) const PLACES: usize = 32;

/// Longer texts are not kept.
const LONGEST: usize = 63;

pub(super) struct Known {
    places: [Place; PLACES],
    /// The function's upvalue that holds the string of the first place; the others follow.
    first: c_int,
}

#[derive(Clone, Copy)]
struct Place {
    /// More than `LONGEST`: nothing is kept here yet.
    len: u8,
    text: [u8; LONGEST],
}

impl Known {
    pub(super) const fn new(first: c_int) -> Known {
        Known { places: [Place { len: u8::MAX, text: [0; LONGEST] }; PLACES], first }
    }

    fn upvalue(&self, place: usize) -> c_int {
        ffi::lua_upvalueindex(self.first + place as c_int)
    }
}

/// Pushes the string that is kept for `text`, if there is one. Callers run the function that has the upvalues.
pub(super) unsafe fn push_kept(state: State, known: *const Known, text: &[u8]) -> bool {
    // SAFETY: see above; pushing a value that is there cannot raise.
    unsafe {
        let at = place_of(text);
        let found = (&(*known).places)[at].holds(text);
        if found {
            ffi::lua_pushvalue(state, (*known).upvalue(at));
        }
        found
    }
}

/// Keeps the value on top of the stack for `text`.
pub(super) unsafe fn keep(state: State, known: *mut Known, text: &[u8]) {
    if text.len() > LONGEST {
        return;
    }
    // SAFETY: see above; copying to an upvalue cannot raise.
    unsafe {
        let at = place_of(text);
        ffi::lua_copy(state, -1, (*known).upvalue(at));
        (&mut (*known).places)[at].hold(text);
    }
}

/// Pushes `text` itself.
pub(super) unsafe fn push_known(state: State, known: *mut Known, text: &[u8]) {
    // SAFETY: see above; no reference into `known` is alive where Lua may raise.
    unsafe {
        if !push_kept(state, known, text) {
            push_text(state, text);
            keep(state, known, text);
        }
    }
}

impl Place {
    fn holds(&self, text: &[u8]) -> bool {
        self.len as usize == text.len() && self.text.get(..text.len()) == Some(text)
    }

    fn hold(&mut self, text: &[u8]) {
        self.len = text.len() as u8;
        self.text[..text.len()].copy_from_slice(text);
    }
}

/// By length and end: paths often begin alike.
fn place_of(text: &[u8]) -> usize {
    let end = match (text.last_chunk::<8>(), text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(end), ..) => u64::from_le_bytes(*end),
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => text.iter().fold(0, |end, byte| end << 8 | u64::from(*byte)),
    };
    let mixed = (end ^ text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - PLACES.ilog2())) as usize
}
