//! The Lua threads that calls run on, and calls that wait.
//!
//! ```text
//!            call                  yields
//!   runner ────────► runs ───────────────────► waits, with its runner ──► resume: runs again
//!     ▲                │ ends                    │ its ticket is dropped
//!     └────────────────┘                         └──► the runner is left to Lua's garbage collector
//! ```

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Lua, ffi};
use slab::Slab;

use super::call_state::CallState;
use super::{Called, Directory, Job, KeptFunction, LuaState, Machine, RegistryIndex, Results, running};
use crate::script::budget::Budget;
use crate::script::request::Subject;
use crate::script::wait::{Wait, Waited};

/// Idle threads that are kept for the next calls after calls that waited.
const SPARE: usize = 64;

/// A Lua thread for calls, kept alive in the registry.
pub(super) struct Runner {
    pub(super) thread: LuaState,
    anchor: RegistryIndex,
}

/// A call that waits.
struct SuspendedCall {
    runner: Runner,
    /// Its number, which its objects hold.
    stamp: u64,
    job: Job,
    function: KeptFunction,
    budget: Budget,
}

/// The calls that wait.
#[derive(Default)]
pub(super) struct Waiting {
    calls: Slab<SuspendedCall>,
    /// Those whose ticket was dropped.
    given_up: Rc<RefCell<Vec<usize>>>,
}

/// A call that waits, and what for.
#[derive(Debug)]
pub struct Suspended {
    pub ticket: Ticket,
    pub wait: Wait,
}

/// A call that waits. Dropping it ends the call.
#[derive(Debug)]
pub struct Ticket {
    call: usize,
    given_up: Option<Rc<RefCell<Vec<usize>>>>,
}

impl Ticket {
    fn spend(mut self) -> usize {
        self.given_up = None;
        self.call
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(given_up) = &self.given_up {
            given_up.borrow_mut().push(self.call);
        }
    }
}

impl Runner {
    pub(super) fn new(lua: &Lua) -> mlua::Result<Runner> {
        let mut made = Runner { thread: std::ptr::null_mut(), anchor: RegistryIndex(0) };
        // SAFETY: the closure runs protected and owns nothing. The new thread copies the main thread's extra space.
        unsafe {
            lua.exec_raw::<()>((), |state| {
                made.thread = ffi::lua_newthread(state);
                made.anchor = RegistryIndex(ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX));
            })?;
        }
        Ok(made)
    }
}

impl Machine {
    /// Continues a call that waited.
    pub fn resume<R>(
        &mut self,
        ticket: Ticket,
        waited: Waited,
        subject: &mut Subject<'_>,
        judge: impl FnOnce(Results<'_>, &Directory) -> R,
    ) -> Result<Called<R>, Vec<u8>> {
        let SuspendedCall { runner, stamp, job, function, budget } =
            self.waiting.calls.remove(ticket.spend());
        let before = std::mem::replace(&mut self.runner, runner);
        // A thread whose call failed for memory, or waits without a place, is not used again.
        match std::mem::take(&mut self.broken) {
            true => self.give_up(before),
            false => self.keep_spare(before),
        }
        let thread = self.runner.thread;
        let call = self.call_state();
        call.live = stamp;
        call.subject = std::ptr::from_mut(subject).cast();
        (call.job, call.function, call.thread) = (job, function, thread);
        call.waited = Some(waited);
        call.budget = budget;
        call.budget.resume(super::calls::cpu_time());
        running::begin(function.id);
        self.watchdog.begin(thread);
        let called = self.run(0, judge);
        self.call_state().waited = None;
        called
    }

    /// The number of calls that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.calls.len() - self.waiting.given_up.borrow().len()
    }

    /// A call waits, or has failed: its message.
    pub(super) fn stopped(&mut self, status: i32) -> Result<Suspended, Vec<u8>> {
        // A script that caught the failure and finished has exceeded its budget all the same.
        let exhausted = self.call_state().budget.is_exhausted();
        let result = match status {
            ffi::LUA_YIELD if !exhausted => self.suspend(),
            ffi::LUA_YIELD | ffi::LUA_OK => {
                // It may hold a password.
                self.call_state().wait = None;
                Err(self.call_state().budget.text().into_bytes())
            }
            status => Err(self.failed(status)),
        };
        let exhausted_at_last = self.call_state().budget.is_exhausted();
        self.end(status == ffi::LUA_ERRMEM);
        if exhausted_at_last || status == ffi::LUA_ERRMEM {
            self.renew_runner();
        } else {
            // SAFETY: the runner is idle: nothing of what is left is referred to.
            unsafe { ffi::lua_settop(self.runner.thread, 0) };
        }
        result
    }

    /// The message of an error. Where the budget is not exhausted, `__close` methods run, with the hook of this call.
    fn failed(&mut self, status: i32) -> Vec<u8> {
        if status == ffi::LUA_ERRMEM {
            return self.call_state().limits.memory_text().into_bytes();
        }
        if !self.call_state().budget.is_exhausted() {
            // SAFETY: the thread has failed: closing it leaves the error on its stack and makes it usable again.
            unsafe { ffi::lua_closethread(self.runner.thread, self.main) };
        }
        self.error_text()
    }

    /// Where the hook raised an error, Lua leaves the hooks of the thread off: nothing may run on it any more, not even
    /// `__close` methods.
    fn renew_runner(&mut self) {
        match self.replace_runner() {
            Ok(before) => self.give_up(before),
            Err(_) => self.broken = true,
        }
    }

    /// Tries again to get a thread for calls.
    pub(super) fn mend(&mut self) -> Result<(), Vec<u8>> {
        self.broken = false;
        self.renew_runner();
        if self.broken { Err(self.call_state().limits.memory_text().into_bytes()) } else { Ok(()) }
    }

    fn suspend(&mut self) -> Result<Suspended, Vec<u8>> {
        let Some(wait) = self.call_state().wait.take() else {
            self.renew_runner();
            return Err(b"internal fault of rsp: a call stopped that does not wait".to_vec());
        };
        self.watchdog.end();
        let call = self.call_state();
        let budget = std::mem::take(&mut call.budget).pause(super::calls::cpu_time);
        if budget.is_over_limit() {
            call.budget = budget;
            call.budget.exhaust();
            return Err(call.budget.text().into_bytes());
        }
        let Ok(runner) = self.replace_runner() else {
            self.broken = true;
            return Err(self.call_state().limits.memory_text().into_bytes());
        };
        let CallState { live: stamp, job, function, .. } = *self.call_state();
        let waiting = SuspendedCall { runner, stamp, job, function, budget };
        let given_up = Some(self.waiting.given_up.clone());
        Ok(Suspended { ticket: Ticket { call: self.waiting.calls.insert(waiting), given_up }, wait })
    }

    /// Prepares a thread for the next call and returns the one that was used.
    fn replace_runner(&mut self) -> mlua::Result<Runner> {
        self.forget_given_up();
        let next = match self.spare.pop() {
            Some(spare) => spare,
            None => Runner::new(&self.lua)?,
        };
        self.watchdog.rest(next.thread);
        Ok(std::mem::replace(&mut self.runner, next))
    }

    fn keep_spare(&mut self, runner: Runner) {
        if self.spare.len() < SPARE {
            self.spare.push(runner);
        } else {
            self.give_up(runner);
        }
    }

    /// Ends the calls whose tickets were dropped. Their `__close` methods do not run.
    pub fn forget_given_up(&mut self) {
        let given_up = std::mem::take(&mut *self.waiting.given_up.borrow_mut());
        for call in given_up {
            let call = self.waiting.calls.remove(call);
            self.give_up(call.runner);
        }
    }

    fn give_up(&mut self, runner: Runner) {
        // SAFETY: the closure runs protected and owns nothing. Failing leaves the thread where it is.
        let freed = unsafe {
            self.lua.exec_raw::<()>((), |state| {
                ffi::luaL_unref(state, ffi::LUA_REGISTRYINDEX, runner.anchor.0);
            })
        };
        debug_assert!(freed.is_ok());
    }
}
