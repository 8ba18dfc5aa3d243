//! The per-request call into Lua through its C API: the only folder of the script floor with `unsafe`.
//!
//! ```text
//! Machine::call ── lua_resume ─► enter ──► the script's function ──► index, newindex, pairs, respond …
//!      ▲ results or error      (on_request is called without it)        (ask request.rs, answer.rs)
//!      ▲ or waits (waits.rs) ◄── sleep, fetch … yield; Machine::resume goes on
//! ```
//!
//! Lua raises with `longjmp`, which runs no destructors. So everything that can raise runs below `lua_resume` or
//! `lua_pcall`, in frames that own nothing (only `Copy` data); owned data, texts above all, is in the `CallState`. Safe
//! code that is called from there is wrapped in `guard`.
//!
//! Calls run on Lua threads of their own (`runners.rs`), so that they may wait: one that waits keeps its thread, and the
//! next call gets another.

mod answers;
mod call_state;
mod calls;
mod charge;
mod clock;
mod cookies;
mod coroutines;
mod fetches;
mod fields;
mod globals;
mod header_table;
mod headers;
mod library;
mod memory;
mod objects;
mod observe;
mod packed;
mod patterns;
mod rate_limit;
mod results;
mod runners;
mod running;
mod servers;
mod stack;
mod string_cache;
mod strings;
mod tables;
mod tracing;
mod waits;
mod watchdog;

use std::ffi::c_int;
use std::time::Duration;

use mlua::{Function, Lua, ffi};

use super::directory::Directory;
use super::request::{ObjectKind, Subject};
use crate::config::{PoolId, ScriptLimits};
use answers::{abort, redirect, respond};
use call_state::{CallState, Owner};
use calls::{enter, set_metatable};
pub use clock::{exhausted, is_loading, limits, live_request, monotonic, wall_clock};
use fetches::fetch;
pub use globals::{STANDS_BEFORE, guard_chunk, protect};
pub use library::watch;
use memory::Fill;
use objects::{make_kind, push_request};
pub use observe::{Observed, Read};
pub use packed::PackedScript;
pub use rate_limit::allow_function;
pub use results::{Results, Returned};
use runners::{Runner, Waiting};
pub use runners::{Suspended, Ticket};
use running::{FunctionId, KnownFunctions};
pub use running::{PublishedPosition, ScriptPosition};
use stack::registry;
pub use tracing::Trace;
pub use waits::check_function;
use waits::{resolve, sleep};
use watchdog::Watchdog;

type LuaState = *mut ffi::lua_State;

/// The kind of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    /// `(req)`, three results.
    Request,
    /// `(req, res)`, no result.
    Response,
    /// The same, and it may not wait.
    Answer,
    /// `(req, servers)`, one result.
    Balance,
    /// `(name)`, three results.
    Name,
    /// `(req)`, three results, and it may not wait.
    Key,
    /// `(req, res, log)`, no result.
    Log,
    /// `(conn)`, one result.
    Connect,
    /// No argument, no result.
    Plain,
}

impl Job {
    fn may_wait(self) -> bool {
        matches!(self, Job::Request | Job::Response | Job::Plain)
    }
}

/// How a call has come out.
#[derive(Debug)]
pub enum Called<T> {
    Done(T),
    /// It waits, and goes on with `Machine::resume`.
    Waits(Suspended),
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
    /// For what mlua runs.
    main: LuaState,
    /// For the next call.
    runner: Runner,
    /// Runners of calls that waited and have ended.
    spare: Vec<Runner>,
    /// There is no thread for calls: memory was too short for it.
    broken: bool,
    waiting: Waiting,
    call_state: *mut CallState,
    known: KnownFunctions,
    fill: Fill,
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
                *ffi::lua_getextraspace(main).cast::<*mut CallState>() = call;
                *ffi::lua_getextraspace(state).cast::<*mut CallState>() = call;
                for kind in ObjectKind::ALL {
                    (*call).kinds[kind as usize] = make_kind(state, call, kind);
                }
            })?;
        }
        let runner = Runner::new(lua)?;
        let (watchdog, known) = (Watchdog::new([main, runner.thread]), KnownFunctions::default());
        let (spare, waiting, broken) = (Vec::new(), Waiting::default(), false);
        let (lua, fill) = (lua.clone(), Fill::default());
        Ok(Machine { watchdog, lua, main, runner, spare, broken, waiting, call_state: call, known, fill })
    }

    /// The functions of `rsp` that handlers call.
    pub fn functions(&self) -> mlua::Result<[(&'static str, Function); 6]> {
        let named = |name, function| self.c_function(function).map(|function| (name, function));
        Ok([
            named("respond", respond)?,
            named("redirect", redirect)?,
            named("abort", abort)?,
            named("sleep", sleep)?,
            named("fetch", fetch)?,
            named("resolve", resolve)?,
        ])
    }

    /// `setmetatable` for scripts.
    pub fn set_metatable(&self) -> mlua::Result<Function> {
        self.c_function(set_metatable)
    }

    fn c_function(&self, function: ffi::lua_CFunction) -> mlua::Result<Function> {
        // SAFETY: these follow the rules at the top of this file and find the call state in the thread's extra space.
        unsafe { self.lua.create_c_function(function) }
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

    /// Sets the most that `req:body()` reads, in bytes.
    pub fn set_most_body(&mut self, most: Option<usize>) {
        self.call_state().most_body = most;
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
        unsafe {
            (*self.call_state).budget.begin(limit);
            (*self.call_state).thread = self.main;
        }
        self.watchdog.begin(self.main);
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
        self.watchdog.enter_thread([self.main, self.runner.thread]);
    }

    /// Simulates a system without timers for the watchdog.
    #[cfg(test)]
    pub fn stop_timer(&mut self) {
        self.watchdog.always([self.main, self.runner.thread]);
    }

    /// What calls may use from now on.
    pub fn set_limits(&mut self, limits: ScriptLimits) {
        self.call_state().limits = limits;
    }

    /// Calls a script's function about `subject` and passes its results to `judge`. An error is Lua's message.
    pub fn call<R>(
        &mut self,
        job: Job,
        function: KeptFunction,
        subject: &mut Subject<'_>,
        judge: impl FnOnce(Results<'_>, &Directory) -> R,
    ) -> Result<Called<R>, Vec<u8>> {
        if self.fill != Fill::Fine && self.refuses() {
            return Err(self.call_state().limits.memory_text().into_bytes());
        }
        if self.broken {
            self.mend()?;
        }
        self.begin(job, function, subject);
        let thread = self.runner.thread;
        // SAFETY: the thread is idle, with Lua's guaranteed free slots on its stack. Reading the registry by number,
        // pushing a light userdata and pushing a C function without upvalues cannot raise.
        let arguments = unsafe {
            if job == Job::Request {
                registry(thread, function.index);
                push_request(thread, self.call_state);
                1
            } else {
                ffi::lua_pushcclosure(thread, enter, 0);
                0
            }
        };
        self.run(arguments, judge)
    }

    /// Runs the runner's thread from its start, or from where it waited, until it waits or ends.
    fn run<R>(
        &mut self,
        arguments: c_int,
        judge: impl FnOnce(Results<'_>, &Directory) -> R,
    ) -> Result<Called<R>, Vec<u8>> {
        let (thread, mut left) = (self.runner.thread, 0);
        // SAFETY: the thread is ready to be resumed, and all that can raise runs within.
        let status = unsafe { ffi::lua_resume(thread, self.main, arguments, &mut left) };
        // SAFETY: the call has ended or waits, so the C functions do not run and the call state is not written.
        let call = unsafe { &*self.call_state };
        if status != ffi::LUA_OK || call.budget.is_exhausted() {
            return self.stopped(status).map(Called::Waits);
        }
        let result = judge(Results::new(self, left), &call.directory);
        // SAFETY: removes the results; `judge` keeps no value of Lua's.
        unsafe { ffi::lua_settop(thread, -left - 1) };
        self.end(false);
        Ok(Called::Done(result))
    }

    fn begin(&mut self, job: Job, function: KeptFunction, subject: &mut Subject<'_>) {
        let thread = self.runner.thread;
        let call = self.call_state();
        call.calls += 2;
        call.live = call.calls;
        call.subject = std::ptr::from_mut(subject).cast();
        (call.job, call.function, call.thread) = (job, function, thread);
        call.budget.begin(call.limits.time);
        call.work = 0;
        running::begin(function.id);
        self.watchdog.begin(thread);
    }

    fn end(&mut self, out_of_memory: bool) {
        running::end();
        let took_long = self.watchdog.end();
        let call = self.call_state();
        call.live = 0;
        call.subject = std::ptr::null_mut();
        call.budget.end();
        if took_long || out_of_memory {
            self.look_at_memory(out_of_memory);
        }
    }
}
