//! `rsp.fetch`: reads the script's table piece by piece into the call state's builder, yields, and returns the response as
//! a table. What the arguments mean is in `wait`, in safe code.

use std::ffi::c_int;

use mlua::ffi;

use super::LuaState;
use super::call_state::{CallState, call_state_of, guard, raise, refuse};
use super::header_table::{HeaderTable, read_headers};
use super::stack::{push_text, text_at};
use super::waits::{amount_at, need_wait, push_reason, wait_for};
use crate::script::wait::{FetchBuilder, FetchKey, Fetched, Waited};

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_resume` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// `rsp.fetch { pool =, method =, path =, headers =, body =, timeout =, max_body = }`
pub(super) unsafe extern "C-unwind" fn fetch(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
            refuse(state, "rsp.fetch: expected a table: rsp.fetch { pool = web, path = \"/\" }");
        }
        (*call).fetch = FetchBuilder::default();
        ffi::lua_settop(state, 1);
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 1) != 0 {
            read_entry(state, call);
            ffi::lua_settop(state, 2);
        }
        let made = guard(call, |call| {
            call.wait = Some(call.fetch.finish()?);
            Ok(())
        });
        if made.is_none() {
            raise(state, call);
        }
        need_wait(state, call);
        wait_for(state, call, fetched)
    }
}

/// One entry of the table: key at 2, value at 3.
unsafe fn read_entry(state: LuaState, call: *mut CallState) {
    // SAFETY: see above.
    unsafe {
        let Some(key) = text_at(state, 2) else { refuse(state, "rsp.fetch: keys are strings") };
        let Some(key) = guard(call, |_| FetchKey::of(key)) else { raise(state, call) };
        let done = match key {
            FetchKey::Pool => set_pool(state, call),
            FetchKey::Headers => {
                read_headers::<FetchBuilder>(state, call);
                Some(())
            }
            FetchKey::Timeout | FetchKey::MaxBody => {
                let amount = amount_at(state, 3);
                guard(call, |call| call.fetch.set_amount(key, amount))
            }
            FetchKey::Method | FetchKey::Path | FetchKey::Body => {
                let Some(text) = text_at(state, 3) else {
                    refuse(state, "rsp.fetch: method, path and body are strings")
                };
                guard(call, |call| call.fetch.set_text(key, text))
            }
        };
        if done.is_none() {
            raise(state, call);
        }
    }
}

unsafe fn set_pool(state: LuaState, call: *mut CallState) -> Option<()> {
    // SAFETY: see above.
    unsafe {
        let identity = ffi::lua_topointer(state, 3);
        let name = text_at(state, 3);
        guard(call, |call| match (call.directory.pool_of(identity), name) {
            (Some(pool), _) => {
                call.fetch.set_pool(pool);
                Ok(())
            }
            (None, Some(name)) => call.fetch.name_pool(name, &call.directory),
            (None, None) => Err("rsp.fetch: pool: expected a pool or its name".to_string()),
        })
    }
}

impl HeaderTable for FetchBuilder {
    const NO_TABLE: &str = "rsp.fetch: headers: expected a table";
    const NO_NAME: &str = "rsp.fetch: headers: names are strings";
    const NO_VALUE: &str = "rsp.fetch: headers: values are strings, numbers or lists of them";

    fn add(call: &mut CallState, name: &[u8], value: &[u8]) -> Result<(), String> {
        call.fetch.add_header(name, value)
    }
}

/// `{ status, headers, body }`, or nil and why there is no response.
unsafe extern "C-unwind" fn fetched(state: LuaState, _: c_int, _: ffi::lua_KContext) -> c_int {
    // SAFETY: see above; what was waited for stands in the call state while it is copied.
    unsafe {
        let call = call_state_of(state);
        match &(*call).waited {
            Some(Waited::Fetched(Ok(response))) => {
                let response: *const Fetched = &raw const **response;
                push_response(state, response)
            }
            Some(Waited::Fetched(Err(reason))) => push_reason(state, reason),
            _ => push_reason(state, "internal fault of rsp"),
        }
    }
}

unsafe fn push_response(state: LuaState, response: *const Fetched) -> c_int {
    // SAFETY: see above; the response stands in the call state, which is not written meanwhile.
    unsafe {
        let response = &*response;
        ffi::lua_createtable(state, 0, 3);
        ffi::lua_pushinteger(state, response.status.into());
        ffi::lua_setfield(state, -2, c"status".as_ptr());
        push_text(state, &response.body);
        ffi::lua_setfield(state, -2, c"body".as_ptr());
        ffi::lua_createtable(state, 0, response.headers.len() as c_int);
        for (name, value) in &response.headers {
            // The first of several stays.
            push_text(state, name);
            if ffi::lua_rawget(state, -2) == ffi::LUA_TNIL {
                push_text(state, name);
                push_text(state, value);
                ffi::lua_rawset(state, -4);
            }
            ffi::lua_settop(state, -2);
        }
        // Metatables of our own are out of scripts' reach.
        ffi::lua_createtable(state, 0, 2);
        ffi::lua_pushcclosure(state, any_case, 0);
        ffi::lua_setfield(state, -2, c"__index".as_ptr());
        push_text(state, b"headers");
        ffi::lua_setfield(state, -2, c"__metatable".as_ptr());
        ffi::lua_setmetatable(state, -2);
        ffi::lua_setfield(state, -2, c"headers".as_ptr());
        1
    }
}

/// `headers[name]` where that name was not sent in this very case.
unsafe extern "C-unwind" fn any_case(state: LuaState) -> c_int {
    // SAFETY: see above; the table is not changed during the loop.
    unsafe {
        ffi::lua_settop(state, 2);
        let Some(name) = text_at(state, 2) else {
            ffi::lua_pushnil(state);
            return 1;
        };
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 1) != 0 {
            if text_at(state, 3).is_some_and(|sent| sent.eq_ignore_ascii_case(name)) {
                return 1;
            }
            ffi::lua_settop(state, 3);
        }
        ffi::lua_pushnil(state);
        1
    }
}
