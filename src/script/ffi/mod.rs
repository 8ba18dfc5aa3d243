//! The per-request call into Lua through its C API: the only folder of the script floor with `unsafe`.
//!
//! ```text
//! Machine::call ── lua_pcall ──► enter ──► the script's function ──► index, newindex, pairs, respond …
//!      ▲ results or error      (on_request is called without it)        (ask request.rs, answer.rs)
//! ```
//!
//! Lua raises with `longjmp`, which runs no destructors. So everything that can raise runs below `lua_pcall`, in
//! frames that own nothing (only `Copy` data); owned data, texts above all, is in the `CallState`. Safe code that is
//! called from there is wrapped in `guard`.

mod answers;
mod call_state;
mod calls;
mod charge;
mod cookies;
mod coroutines;
mod fields;
mod headers;
mod library;
mod limits;
mod objects;
mod packed;
mod results;
mod running;
mod servers;
mod stack;
mod string_cache;
mod watchdog;

use std::ffi::c_int;
use std::time::Duration;

use mlua::{Function, Lua, ffi};

use super::budget;
use super::directory::Directory;
use super::request::{ObjectKind, Subject};
use crate::config::PoolId;
use answers::{abort, redirect, respond};
use call_state::{CallState, Owner};
use calls::{enter, set_metatable};
pub use charge::{is_loading, live_request, monotonic, spent, wall_clock};
pub use library::watch;
pub use limits::allow_function;
use objects::{make_kind, push_request};
pub use packed::PackedScript;
pub use results::Returned;
use running::{FunctionId, KnownFunctions};
pub use running::{PublishedPosition, ScriptPosition};
use stack::registry;
use watchdog::Watchdog;

type LuaState = *mut ffi::lua_State;

/// The kind of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    /// `(req)`, three results.
    Request,
    /// `(req, res)`, no result.
    Response,
    /// `(req, servers)`, one result.
    Balance,
    /// `(name)`, three results.
    Name,
    /// `(req, res, log)`, no result.
    Log,
    /// `(conn)`, one result.
    Connect,
    /// No argument, no result.
    Plain,
}

/// A Lua value kept alive in the registry.
#[derive(Clone, Copy, Debug)]
pub struct RegistryIndex(c_int);

/// A function of a script, kept for calls.
#[derive(Clone, Copy, Debug)]
pub struct KeptFunction {
    index: RegistryIndex,
    id: FunctionId,
}

/// A Lua state prepared for calls.
pub struct Machine {
    /// First, so that it is dropped before the state, whose hook it may have to reset.
    watchdog: Watchdog,
    lua: Lua,
    main: LuaState,
    call_state: *mut CallState,
    known: KnownFunctions,
}

impl Machine {
    pub fn new(lua: &Lua) -> mlua::Result<Machine> {
        let call = Box::into_raw(Box::new(CallState::new()));
        lua.set_app_data(Owner(call));
        let mut main: LuaState = std::ptr::null_mut();
        // SAFETY: the closure runs protected and owns nothing. The extra space of the main thread is ours (mlua
        // does not use it), is as large as a pointer, and is copied into every coroutine made from now on. The call state
        // lives as long as the state.
        unsafe {
            lua.exec_raw::<()>((), |state| {
                ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, ffi::LUA_RIDX_MAINTHREAD);
                main = ffi::lua_tothread(state, -1);
                ffi::lua_pop(state, 1);
                (*call).main = main;
                *ffi::lua_getextraspace(main).cast::<*mut CallState>() = call;
                *ffi::lua_getextraspace(state).cast::<*mut CallState>() = call;
                for kind in ObjectKind::ALL {
                    (*call).kinds[kind as usize] = make_kind(state, call, kind);
                }
            })?;
        }
        let (watchdog, known) = (Watchdog::new(main), KnownFunctions::default());
        Ok(Machine { watchdog, lua: lua.clone(), main, call_state: call, known })
    }

    /// `rsp.respond`, `rsp.redirect`, `rsp.abort`, and `setmetatable` for scripts.
    pub fn functions(&self) -> mlua::Result<[Function; 4]> {
        // SAFETY: these follow the rules at the top of this file and find the call state in the thread's extra space.
        unsafe {
            Ok([
                self.lua.create_c_function(respond)?,
                self.lua.create_c_function(redirect)?,
                self.lua.create_c_function(abort)?,
                self.lua.create_c_function(set_metatable)?,
            ])
        }
    }

    /// Keeps a function for `call`; `origin` is the `FILE:LINE` where it begins.
    pub fn keep(&mut self, function: &Function, origin: &str) -> mlua::Result<KeptFunction> {
        let mut slot = RegistryIndex(0);
        // SAFETY: the closure runs protected, owns nothing, and takes the one value that was pushed for it.
        unsafe {
            self.lua.exec_raw::<()>(function, |state| {
                slot = RegistryIndex(ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX));
            })?;
        }
        Ok(KeptFunction { index: slot, id: self.known.add(origin) })
    }

    /// Sets the names of pools and servers and makes the server objects.
    pub fn set_directory(&mut self, directory: Directory) -> mlua::Result<()> {
        for pool in (0..directory.pools() as u32).map(PoolId) {
            let made = self.make_servers(pool, directory.in_use(pool).len())?;
            self.call_state().servers.push(made);
        }
        self.call_state().directory = directory;
        Ok(())
    }

    /// The names that handlers use.
    pub fn directory(&self) -> &Directory {
        // SAFETY: as in `call_state`.
        unsafe { &(*self.call_state).directory }
    }

    /// The call state, between calls.
    fn call_state(&mut self) -> &mut CallState {
        // SAFETY: the call state lives as long as the state, which `self.lua` keeps; only C functions below a call
        // touch it otherwise, and every call needs `&mut self` (or, in `with_budget`, leaves it alone).
        unsafe { &mut *self.call_state }
    }

    /// Runs `work`, which calls Lua through mlua, with a budget of CPU time.
    pub fn with_budget<R>(&self, limit: Duration, work: impl FnOnce() -> R) -> R {
        // SAFETY: no reference into the call state outlives these statements.
        unsafe { (*self.call_state).budget.begin(limit) };
        self.watchdog.begin();
        let result = work();
        self.watchdog.end();
        // SAFETY: as above.
        unsafe { (*self.call_state).budget.end() };
        result
    }

    /// The VM moves to another thread, which must call `enter_thread` first.
    pub fn leave_thread(&mut self) {
        self.watchdog.leave_thread();
    }

    pub fn enter_thread(&mut self) {
        self.watchdog.enter_thread();
    }

    /// Simulates a system without timers for the watchdog.
    #[cfg(test)]
    pub fn stop_timer(&mut self) {
        self.watchdog.stop();
    }

    /// Calls a script's function about `subject` and passes its results to `judge`. An error is Lua's message.
    pub fn call<R>(
        &mut self,
        job: Job,
        function: KeptFunction,
        subject: &mut Subject<'_>,
        judge: impl FnOnce([Returned<'_>; 3], &Directory) -> R,
    ) -> Result<R, Vec<u8>> {
        self.begin(job, function, subject);
        // SAFETY: `main` is the state's main thread, idle now, with Lua's guaranteed free slots on its stack.
        // Reading the registry by number, pushing a light userdata and pushing a C function without upvalues
        // cannot raise; all else runs inside `lua_pcall`.
        let status = unsafe {
            let arguments = if job == Job::Request {
                registry(self.main, function.index);
                push_request(self.main, self.call_state);
                1
            } else {
                ffi::lua_pushcclosure(self.main, enter, 0);
                0
            };
            ffi::lua_pcall(self.main, arguments, 3, 0)
        };
        // SAFETY: the call is over, so the C functions do not run and the call state is not written.
        let call = unsafe { &*self.call_state };
        let result = match status {
            // A script that caught the failure and finished has exceeded its budget all the same.
            ffi::LUA_OK if call.budget.was_spent() => Err(call.budget.text().into_bytes()),
            ffi::LUA_OK => Ok(judge(self.returned_all(), &call.directory)),
            ffi::LUA_ERRMEM => Err(budget::memory_text().into_bytes()),
            _ => Err(self.error_text()),
        };
        let left = if status == ffi::LUA_OK { 3 } else { 1 };
        // SAFETY: removes what the call left; no value of Lua's is referred to any more.
        unsafe { ffi::lua_settop(self.main, -left - 1) };
        self.end();
        result
    }

    fn begin(&mut self, job: Job, function: KeptFunction, subject: &mut Subject<'_>) {
        let call = self.call_state();
        call.calls += 2;
        call.live = call.calls;
        call.subject = std::ptr::from_mut(subject).cast();
        (call.job, call.function) = (job, function.index);
        call.budget.begin(budget::CALL);
        running::begin(function.id);
        self.watchdog.begin();
    }

    fn end(&mut self) {
        running::end();
        self.watchdog.end();
        let call = self.call_state();
        call.live = 0;
        call.subject = std::ptr::null_mut();
        call.budget.end();
    }
}
