//! The functions that wait: `rsp.sleep`, `rsp.fetch`, `rsp.resolve`, `req:body`,
//! `auth:check`. Each reads its arguments, leaves in the call state
//! what is waited for, and yields; it goes on in a second function, which returns what came of it. What the arguments
//! mean is in `wait`, in safe code.

use std::ffi::c_int;
use std::sync::Arc;

use mlua::{Function, Lua, ffi};

use super::LuaState;
use super::call_state::{CallState, Owner, call_state_of, guard, raise, refuse};
use super::clock::monotonic;
use super::objects::{check_live, kind_at, own, subject};
use super::stack::{push_text, text_at, type_name, written_at};
use crate::http::Framing;
use crate::script::request::ObjectKind;
use crate::script::wait::{self, Amount, Check, FetchBuilder, FetchKey, Fetched, Wait, Waited};
use crate::store::BasicAuth;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_resume` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// Yields, unless waiting is not possible here. The call state holds what is waited for.
unsafe fn wait_for(state: LuaState, call: *mut CallState, then: ffi::lua_KFunction) -> c_int {
    // SAFETY: see above.
    unsafe {
        if guard(call, |call| call.wait.as_ref().map(|_| ()).ok_or_else(String::new)).is_none() {
            raise(state, call);
        }
        ffi::lua_yieldk(state, 0, 0, Some(then))
    }
}

/// Raises where the running function may not wait: in a coroutine of the script's, in a callback of the library, and in
/// handlers whose result cannot be waited for.
pub(super) unsafe fn need_wait(state: LuaState, call: *mut CallState) {
    // SAFETY: see above.
    unsafe {
        let may = (*call).live != 0 && (*call).job.may_wait() && (*call).thread == state;
        if !may || ffi::lua_isyieldable(state) == 0 {
            refuse(state, "cannot wait here");
        }
    }
}

unsafe fn amount_at<'a>(state: LuaState, index: c_int) -> Amount<'a> {
    // SAFETY: see above.
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TNUMBER => Amount::Number(ffi::lua_tonumberx(state, index, std::ptr::null_mut())),
            other => text_at(state, index).map_or(Amount::Other(type_name(state, other)), Amount::Text),
        }
    }
}

/// `rsp.sleep(time)`
pub(super) unsafe extern "C-unwind" fn sleep(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        let time = amount_at(state, 1);
        let made = guard(call, |call| {
            call.wait = Some(wait::sleep(time)?);
            Ok(())
        });
        if made.is_none() {
            raise(state, call);
        }
        need_wait(state, call);
        wait_for(state, call, slept)
    }
}

unsafe extern "C-unwind" fn slept(_: LuaState, _: c_int, _: ffi::lua_KContext) -> c_int {
    0
}

/// `rsp.resolve(name)`
pub(super) unsafe extern "C-unwind" fn resolve(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        let Some(name) = text_at(state, 1) else { refuse(state, "rsp.resolve: expected the name of a host") };
        let made = guard(call, |call| {
            call.wait = Some(wait::resolve(name)?);
            Ok(())
        });
        if made.is_none() {
            raise(state, call);
        }
        need_wait(state, call);
        wait_for(state, call, resolved)
    }
}

/// A list of addresses, or nil and why there is none.
unsafe extern "C-unwind" fn resolved(state: LuaState, _: c_int, _: ffi::lua_KContext) -> c_int {
    // SAFETY: see above; what was waited for stands in the call state while it is copied.
    unsafe {
        let call = call_state_of(state);
        match &(*call).waited {
            Some(Waited::Resolved(Ok(addresses))) => {
                let addresses: &[String] = addresses;
                ffi::lua_createtable(state, addresses.len() as c_int, 0);
                for (address, at) in addresses.iter().zip(1..) {
                    push_text(state, address.as_bytes());
                    ffi::lua_rawseti(state, -2, at);
                }
                1
            }
            Some(Waited::Resolved(Err(reason))) => push_reason(state, reason),
            _ => push_reason(state, "internal fault of rsp"),
        }
    }
}

unsafe fn push_reason(state: LuaState, reason: &str) -> c_int {
    // SAFETY: see above.
    unsafe {
        ffi::lua_pushnil(state);
        push_text(state, reason.as_bytes());
        2
    }
}

/// `req:body()`
pub(super) unsafe extern "C-unwind" fn body(state: LuaState) -> c_int {
    // SAFETY: see above; what is in argument 1 is checked before it is used.
    unsafe {
        let call = call_state_of(state);
        if kind_at(state, call, 1) != Some(ObjectKind::Request) {
            refuse(state, "expected req:body(), with a colon");
        }
        let object = own(state);
        let body = guard(call, |call| {
            check_live(object, call)?;
            let most =
                call.most_body.ok_or("req:body(): no pool has buffer_request, which limits its size")?;
            let subject = subject(call).0;
            if subject.response.is_some() {
                return Err("req:body(): the request was sent already".to_string());
            }
            let is_empty = subject.head.framing == Framing::None;
            call.wait = Some(Wait::Body(most));
            Ok(is_empty)
        });
        match body {
            None => raise(state, call),
            Some(true) => {
                push_text(state, b"");
                1
            }
            Some(false) => {
                need_wait(state, call);
                wait_for(state, call, body_came)
            }
        }
    }
}

/// The body, or nil and why it is not here.
unsafe extern "C-unwind" fn body_came(state: LuaState, _: c_int, _: ffi::lua_KContext) -> c_int {
    // SAFETY: see above; what was waited for stands in the call state while it is copied.
    unsafe {
        let call = call_state_of(state);
        match &(*call).waited {
            Some(Waited::Body(Ok(body))) => {
                let body: *const [u8] = &raw const body[..];
                push_text(state, &*body);
                1
            }
            Some(Waited::Body(Err(reason))) => push_reason(state, reason),
            _ => push_reason(state, "internal fault of rsp"),
        }
    }
}

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
                read_headers(state, call);
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

/// The `headers` table at 3: values are texts, or sequences of texts for repeated fields.
unsafe fn read_headers(state: LuaState, call: *mut CallState) {
    // SAFETY: see above.
    unsafe {
        if ffi::lua_type(state, 3) != ffi::LUA_TTABLE {
            refuse(state, "rsp.fetch: headers: expected a table");
        }
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 3) != 0 {
            let Some(name) = text_at(state, 4) else {
                refuse(state, "rsp.fetch: headers: names are strings")
            };
            if ffi::lua_type(state, 5) == ffi::LUA_TTABLE {
                for at in 1..=ffi::lua_rawlen(state, 5) as i64 {
                    ffi::lua_rawgeti(state, 5, at);
                    read_header(state, call, name, 6);
                    ffi::lua_settop(state, 5);
                }
            } else {
                read_header(state, call, name, 5);
            }
            ffi::lua_settop(state, 4);
        }
    }
}

unsafe fn read_header(state: LuaState, call: *mut CallState, name: &[u8], index: c_int) {
    // SAFETY: see above.
    unsafe {
        let Some(value) = written_at(state, index) else {
            refuse(state, "rsp.fetch: headers: values are strings, numbers or lists of them")
        };
        if guard(call, |call| call.fetch.add_header(name, value)).is_none() {
            raise(state, call);
        }
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

/// The function that checks a password: `check(user, password)` is true, false, or nil where too many are being checked.
pub fn check_function(lua: &Lua, users: Arc<BasicAuth>) -> mlua::Result<Function> {
    let Some(owner) = lua.app_data_ref::<Owner>() else {
        return Err(mlua::Error::runtime("internal fault of rsp"));
    };
    // SAFETY: the call state lives as long as the Lua state, and no other reference into it is alive while a config
    // calls `rsp.basic_auth`. The closure runs protected and owns nothing.
    unsafe {
        let all = &mut (*owner.0).users;
        all.push(users);
        let number = all.len() as i64 - 1;
        lua.exec_raw((), |state| {
            ffi::lua_pushinteger(state, number);
            ffi::lua_pushcclosure(state, check, 1);
        })
    }
}

unsafe extern "C-unwind" fn check(state: LuaState) -> c_int {
    // SAFETY: see above; the texts stand on the stack as long as they are used.
    unsafe {
        let call = call_state_of(state);
        let number = ffi::lua_tointegerx(state, ffi::lua_upvalueindex(1), std::ptr::null_mut());
        let (Some(user), Some(password)) = (text_at(state, 1), text_at(state, 2)) else {
            refuse(state, "expected a user and a password");
        };
        let known = guard(call, |call| {
            let users = call.users.get(number as usize).ok_or("internal fault of rsp")?.clone();
            let known = users.known(user, password, monotonic());
            if known.is_none() {
                let (user, password) = (user.to_vec(), password.to_vec());
                call.wait = Some(Wait::Check(Box::new(Check { users, user, password })));
            }
            Ok(known)
        });
        match known {
            None => raise(state, call),
            Some(Some(is_right)) => {
                ffi::lua_pushboolean(state, is_right.into());
                1
            }
            Some(None) => {
                need_wait(state, call);
                wait_for(state, call, checked)
            }
        }
    }
}

unsafe extern "C-unwind" fn checked(state: LuaState, _: c_int, _: ffi::lua_KContext) -> c_int {
    // SAFETY: see above.
    unsafe {
        match (*call_state_of(state)).waited {
            Some(Waited::Checked(Some(is_right))) => ffi::lua_pushboolean(state, is_right.into()),
            _ => ffi::lua_pushnil(state),
        }
        1
    }
}
