//! `rsp.respond`, `rsp.redirect` and `rsp.abort`: reads the script's table piece by piece into the call state's builder, and
//! returns a userdata of the encoded answer. The checks are in `answer`, in safe code.

use std::ffi::c_int;

use mlua::ffi;

use super::LuaState;
use super::call_state::{CallState, call_state_of, guard, raise, refuse};
use super::header_table::{HeaderTable, read_headers};
use super::stack::{integer_at, registry, text_at, written_at};
use crate::script::answer::{self, AnswerBuilder, RespondKey};
use crate::script::request::ObjectKind;

/// Scratch space beyond this is freed after use.
const SCRATCH: usize = 64 * 1024;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// `rsp.respond { status =, headers =, body = }`
pub(super) unsafe extern "C-unwind" fn respond(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
            refuse(
                state,
                "rsp.respond: expected a table: rsp.respond { status = 200, headers = {}, body = \"\" }",
            );
        }
        (*call).builder = AnswerBuilder::default();
        ffi::lua_settop(state, 1);
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 1) != 0 {
            read_entry(state, call);
            ffi::lua_settop(state, 2);
        }
        let finished = guard(call, |call| call.builder.finish(&mut call.scratch));
        if finished.is_none() {
            raise(state, call);
        }
        push_answer(state, call)
    }
}

/// One entry of `rsp.respond`'s table: key at 2, value at 3.
pub(super) unsafe fn read_entry(state: LuaState, call: *mut CallState) {
    // SAFETY: see above.
    unsafe {
        let Some(key) = text_at(state, 2) else {
            refuse(state, "rsp.respond: keys are status, headers, body")
        };
        let done = match guard(call, |_| RespondKey::of(key)) {
            Some(RespondKey::Status) => {
                let status = integer_at(state, 3);
                guard(call, |call| call.builder.set_status(status))
            }
            Some(RespondKey::Body) => {
                let Some(body) = written_at(state, 3) else {
                    refuse(state, "rsp.respond: body: expected a string")
                };
                guard(call, |call| {
                    call.builder.set_body(body);
                    Ok(())
                })
            }
            Some(RespondKey::Headers) => {
                read_headers::<AnswerBuilder>(state, call);
                Some(())
            }
            None => None,
        };
        if done.is_none() {
            raise(state, call);
        }
    }
}

impl HeaderTable for AnswerBuilder {
    const NO_TABLE: &str = "rsp.respond: headers: expected a table";
    const NO_NAME: &str = "rsp.respond: headers: names are strings";
    const NO_VALUE: &str = "rsp.respond: headers: values are strings, numbers or lists of them";

    fn add(call: &mut CallState, name: &[u8], value: &[u8]) -> Result<(), String> {
        call.builder.add_header(name, value)
    }
}

/// Pushes the encoded answer in the scratch space.
pub(super) unsafe fn push_answer(state: LuaState, call: *mut CallState) -> c_int {
    // SAFETY: see above; the new block has the size of the bytes.
    unsafe {
        let bytes: &[u8] = &(*call).scratch;
        let data = ffi::lua_newuserdatauv(state, bytes.len(), 0);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.cast(), bytes.len());
        if bytes.len() > SCRATCH {
            (*call).scratch = Vec::new();
        }
        registry(state, (*call).kinds[ObjectKind::Answer as usize].metatable);
        ffi::lua_setmetatable(state, -2);
        1
    }
}

/// `rsp.redirect(url, status)`
pub(super) unsafe extern "C-unwind" fn redirect(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        let Some(url) = text_at(state, 1) else {
            refuse(state, "rsp.redirect: expected a url: rsp.redirect(url, status)")
        };
        let status = match ffi::lua_type(state, 2) {
            ffi::LUA_TNONE | ffi::LUA_TNIL => None,
            _ => Some(integer_at(state, 2).unwrap_or_default()),
        };
        let made = guard(call, |call| answer::redirect(url, status, &mut call.scratch));
        if made.is_none() {
            raise(state, call);
        }
        push_answer(state, call)
    }
}

/// `rsp.abort()`
pub(super) unsafe extern "C-unwind" fn abort(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        if guard(call, |call| answer::abort(&mut call.scratch)).is_none() {
            raise(state, call);
        }
        push_answer(state, call)
    }
}
