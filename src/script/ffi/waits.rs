//! The functions that wait: `rsp.sleep`, `rsp.resolve`, `req:body`, `auth:check` (and `rsp.fetch`, in `fetches`). Each reads its arguments, leaves in the call state
//! what is waited for, and yields; it goes on in a second function, which returns what came of it. What the arguments
//! mean is in `wait`, in safe code.

use std::ffi::c_int;
use std::sync::Arc;

use mlua::{Function, Lua, ffi};

use super::LuaState;
use super::call_state::{CallState, call_state_of, guard, numbered_function, raise, refuse};
use super::clock::monotonic;
use super::objects::{check_live, kind_at, own, subject};
use super::stack::{push_text, text_at, type_name};
use crate::http::Framing;
use crate::script::request::ObjectKind;
use crate::script::wait::{self, Amount, Check, Wait, Waited};
use crate::store::BasicAuth;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_resume` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// Yields, unless waiting is not possible here. The call state holds what is waited for.
pub(super) unsafe fn wait_for(state: LuaState, call: *mut CallState, then: ffi::lua_KFunction) -> c_int {
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
            // Nobody takes it: a body or a password would be kept until another call waits.
            (*call).wait = None;
            refuse(state, "cannot wait here");
        }
    }
}

pub(super) unsafe fn amount_at<'a>(state: LuaState, index: c_int) -> Amount<'a> {
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

pub(super) unsafe fn push_reason(state: LuaState, reason: &str) -> c_int {
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
            if !is_empty {
                call.wait = Some(Wait::Body(most));
            }
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

/// The function that checks a password: `check(user, password)` is true, false, or nil where too many are being checked.
pub fn check_function(lua: &Lua, users: Arc<BasicAuth>) -> mlua::Result<Function> {
    numbered_function(lua, check, |call| {
        call.users.push(users);
        call.users.len() - 1
    })
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

#[cfg(test)]
mod tests {
    use crate::script::vm::Vm;

    #[test]
    fn what_may_not_be_waited_for_is_not_kept() {
        let vm = Vm::new().expect("a VM");
        let refused: String = vm
            .lua()
            .load("return select(2, pcall(rsp.resolve, 'a.example'))")
            .eval()
            .expect("the error of rsp.resolve");
        assert!(refused.contains("cannot wait here"), "{refused}");
        // SAFETY: the call state lives as long as the VM, and no call into Lua runs.
        assert!(unsafe { (*vm.machine.call_state).wait.is_none() });
    }
}
