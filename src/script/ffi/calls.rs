//! Entry and exit of a call: its first function below `lua_pcall`, the hook that checks the budget, the text of an
//! error value that is not a string, and a `setmetatable` without finalizers.

use std::ffi::c_int;
use std::time::Duration;

use mlua::ffi;

use super::call_state::{CallState, call_state_of, guard, push_nearest, refuse};
use super::objects::{push_own, push_request};
use super::running::note_line;
use super::servers::push_servers;
use super::stack::{push_text, registry};
use super::watchdog::{hook_ran, take_over, used_at_least, watch_closely};
use super::{Job, LuaState};
use crate::script::budget;
use crate::script::request::ObjectKind;

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// The first function of every call: pushes the handler and its arguments, and calls it.
pub(super) unsafe extern "C-unwind" fn enter(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        registry(state, (*call).function.index);
        let (arguments, results) = push_arguments(state, call);
        ffi::lua_callk(state, arguments, results, results as ffi::lua_KContext, Some(entered));
        results
    }
}

/// Pushes the handler's arguments. Returns their number, and that of its results.
unsafe fn push_arguments(state: LuaState, call: *mut CallState) -> (c_int, c_int) {
    // SAFETY: see above.
    unsafe {
        match (*call).job {
            // `Request` is called without this detour.
            Job::Request | Job::Key => {
                push_request(state, call);
                (1, 3)
            }
            Job::Name => {
                push_name(state, call);
                (1, 3)
            }
            Job::Response | Job::Answer => {
                push_request(state, call);
                push_own(state, call, ObjectKind::Response);
                (2, 0)
            }
            Job::Balance => {
                push_request(state, call);
                push_servers(state, call);
                (2, 1)
            }
            Job::Log => {
                push_request(state, call);
                push_response(state, call);
                push_own(state, call, ObjectKind::Log);
                (3, 0)
            }
            Job::Connect => {
                push_own(state, call, ObjectKind::Connection);
                (1, 1)
            }
            Job::Plain => (0, 0),
        }
    }
}

/// Goes on after the handler has waited and returned.
unsafe extern "C-unwind" fn entered(_: LuaState, _: c_int, results: ffi::lua_KContext) -> c_int {
    results as c_int
}

/// The response, or nil where there is none.
unsafe fn push_response(state: LuaState, call: *mut CallState) {
    // SAFETY: see above; the subject lives as long as the call, and nothing else refers to it now.
    unsafe {
        match (*(*call).subject).response {
            Some(_) => push_own(state, call, ObjectKind::Response),
            None => ffi::lua_pushnil(state),
        }
    }
}

/// The name that a client asks for, or nil.
unsafe fn push_name(state: LuaState, call: *mut CallState) {
    // SAFETY: see above; the subject lives as long as the call, and nothing else refers to it now.
    unsafe {
        match (*(*call).subject).name() {
            Some(name) => push_text(state, name),
            None => ffi::lua_pushnil(state),
        }
    }
}

/// The text of an error value that is not a string.
pub(super) unsafe extern "C-unwind" fn describe(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        match ffi::lua_type(state, 1) {
            ffi::LUA_TTABLE if ffi::luaL_getmetafield(state, 1, c"__tostring".as_ptr()) == ffi::LUA_TNIL => {
                push_text(state, b"error object is a table without __tostring");
            }
            _ => {
                ffi::luaL_tolstring(state, 1, std::ptr::null_mut());
            }
        }
        1
    }
}

/// Lua's `setmetatable`, without finalizers: Lua runs those with hooks switched off, outside of any budget.
pub(super) unsafe extern "C-unwind" fn set_metatable(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        let new = ffi::lua_type(state, 2);
        if new != ffi::LUA_TNIL && new != ffi::LUA_TTABLE {
            ffi::luaL_argerror(state, 2, c"nil or table expected".as_ptr());
        }
        if ffi::luaL_getmetafield(state, 1, c"__metatable".as_ptr()) != ffi::LUA_TNIL {
            refuse(state, "cannot change a protected metatable");
        }
        ffi::lua_settop(state, 2);
        if new == ffi::LUA_TTABLE {
            ffi::lua_pushstring(state, c"__gc".as_ptr());
            if ffi::lua_rawget(state, 2) != ffi::LUA_TNIL {
                refuse(state, "__gc: finalizers are not available");
            }
            ffi::lua_settop(state, 2);
        }
        ffi::lua_setmetatable(state, 1);
        1
    }
}

/// Called every `budget::INSTRUCTIONS` VM instructions, or sooner if `watchdog` set it so; after every single one
/// once the budget is exhausted, so that no `pcall` continues.
pub(super) unsafe extern "C-unwind" fn hook(state: LuaState, at: *mut ffi::lua_Debug) {
    // SAFETY: see above.
    unsafe {
        let call = call_state_of(state);
        hook_ran();
        ffi::lua_getinfo(state, c"Sl".as_ptr(), at);
        note_line(at);
        if !check_budget(call, Duration::ZERO) {
            if ffi::lua_gethookcount(state) != budget::INSTRUCTIONS {
                // A signal shortened the interval, or this coroutine was stopped in an earlier call.
                watch_closely(state);
            }
            return;
        }
        note_exhausted(state, call);
        let before = ffi::lua_gettop(state);
        push_nearest(state, 0);
        push_text(state, (*call).message.as_bytes());
        ffi::lua_concat(state, ffi::lua_gettop(state) - before);
        ffi::lua_error(state);
    }
}

/// From now on every instruction raises; the message says why.
pub(super) unsafe fn note_exhausted(state: LuaState, call: *mut CallState) {
    // SAFETY: see above; setting a hook cannot raise.
    unsafe {
        take_over();
        for thread in [state, (*call).thread] {
            ffi::lua_sethook(thread, Some(hook), ffi::LUA_MASKCOUNT, 1);
        }
        guard(call, |call| {
            call.message = call.budget.text();
            Ok(())
        });
    }
}

/// Looks at the clock, if needed. Returns true if the call has to stop before work that takes at least so long.
pub(super) unsafe fn check_budget(call: *mut CallState, ahead: Duration) -> bool {
    // SAFETY: no other reference into the call state is alive in frames above.
    unsafe { (*call).budget.exhausts(cpu_time, used_at_least(), ahead) }
}

/// CPU time of this thread.
pub(super) fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours. The clock exists on every Linux; failing leaves zero.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
