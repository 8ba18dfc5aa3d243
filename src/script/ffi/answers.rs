//! `rsp.respond` and `rsp.redirect`: reads the table a script gave, piece by piece into the cell's draft, and
//! makes a userdata of the encoded answer. What may stand in an answer is decided by `answer`, in safe code.

use std::ffi::c_int;

use mlua::ffi;

use super::State;
use super::call_state::{Cell, cell_of, guard, raise, refuse};
use super::stack::{integer_at, registry, text_at, written_at};
use crate::script::answer::{self, Draft, Key};
use crate::script::request::Kind;

/// Encoded answers that are larger leave no space behind in the cell.
const SCRATCH: usize = 64 * 1024;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// `rsp.respond { status =, headers =, body = }`
pub(super) unsafe extern "C-unwind" fn respond(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
            refuse(
                state,
                "rsp.respond: expected a table: rsp.respond { status = 200, headers = {}, body = \"\" }",
            );
        }
        (*cell).draft = Draft::default();
        ffi::lua_settop(state, 1);
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 1) != 0 {
            draft_entry(state, cell);
            ffi::lua_settop(state, 2);
        }
        let finished = guard(cell, |cell| cell.draft.finish(&mut cell.scratch));
        if finished.is_none() {
            raise(state, cell);
        }
        push_answer(state, cell)
    }
}

/// One entry of `rsp.respond`'s table: key at 2, value at 3.
pub(super) unsafe fn draft_entry(state: State, cell: *mut Cell) {
    // SAFETY: see above.
    unsafe {
        let Some(key) = text_at(state, 2) else {
            refuse(state, "rsp.respond: keys are status, headers, body")
        };
        let done = match guard(cell, |_| Key::of(key)) {
            Some(Key::Status) => {
                let status = integer_at(state, 3);
                guard(cell, |cell| cell.draft.set_status(status))
            }
            Some(Key::Body) => {
                let Some(body) = written_at(state, 3) else {
                    refuse(state, "rsp.respond: body: expected a string")
                };
                guard(cell, |cell| {
                    cell.draft.set_body(body);
                    Ok(())
                })
            }
            Some(Key::Headers) => {
                draft_headers(state, cell);
                Some(())
            }
            None => None,
        };
        if done.is_none() {
            raise(state, cell);
        }
    }
}

/// The `headers` table at 3: values are texts, or sequences of texts for fields that stand several times.
pub(super) unsafe fn draft_headers(state: State, cell: *mut Cell) {
    // SAFETY: see above.
    unsafe {
        if ffi::lua_type(state, 3) != ffi::LUA_TTABLE {
            refuse(state, "rsp.respond: headers: expected a table");
        }
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 3) != 0 {
            let Some(name) = text_at(state, 4) else {
                refuse(state, "rsp.respond: headers: names are strings")
            };
            if ffi::lua_type(state, 5) == ffi::LUA_TTABLE {
                for at in 1..=ffi::lua_rawlen(state, 5) as i64 {
                    ffi::lua_rawgeti(state, 5, at);
                    draft_header(state, cell, name, 6);
                    ffi::lua_settop(state, 5);
                }
            } else {
                draft_header(state, cell, name, 5);
            }
            ffi::lua_settop(state, 4);
        }
    }
}

pub(super) unsafe fn draft_header(state: State, cell: *mut Cell, name: &[u8], index: c_int) {
    // SAFETY: see above.
    unsafe {
        let Some(value) = written_at(state, index) else {
            refuse(state, "rsp.respond: headers: values are strings, numbers or lists of them")
        };
        if guard(cell, |cell| cell.draft.add_header(name, value)).is_none() {
            raise(state, cell);
        }
    }
}

/// Pushes the encoded answer that stands in the scratch space.
pub(super) unsafe fn push_answer(state: State, cell: *mut Cell) -> c_int {
    // SAFETY: see above; the new block has the size of the bytes.
    unsafe {
        let bytes: &[u8] = &(*cell).scratch;
        let data = ffi::lua_newuserdatauv(state, bytes.len(), 0);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.cast(), bytes.len());
        if bytes.len() > SCRATCH {
            (*cell).scratch = Vec::new();
        }
        registry(state, (*cell).kinds[Kind::Answer as usize].metatable);
        ffi::lua_setmetatable(state, -2);
        1
    }
}

/// `rsp.redirect(url, status)`
pub(super) unsafe extern "C-unwind" fn redirect(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        let Some(url) = text_at(state, 1) else {
            refuse(state, "rsp.redirect: expected a url: rsp.redirect(url, status)")
        };
        let status = match ffi::lua_type(state, 2) {
            ffi::LUA_TNONE | ffi::LUA_TNIL => None,
            _ => Some(integer_at(state, 2).unwrap_or_default()),
        };
        let made = guard(cell, |cell| answer::redirect(url, status, &mut cell.scratch));
        if made.is_none() {
            raise(state, cell);
        }
        push_answer(state, cell)
    }
}
