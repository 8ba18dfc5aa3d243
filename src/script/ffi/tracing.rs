//! The lines that a script runs, for `rsp explain`. A VM that is traced has a hook at every line from then on; the others
//! do not know of it.

use std::ffi::{CStr, c_int};

use mlua::ffi;

use super::call_state::{call_state_of, guard, is_ours};
use super::calls::hook;
use super::{Job, LuaState, Machine};
use crate::script::budget;

/// Lines that are kept: a loop may run any number.
const MOST: usize = 1000;

/// What was run since it was last taken.
#[derive(Default, Debug)]
pub struct Trace {
    /// `FILE:LINE`, in the order they ran, without the same one twice in a row.
    pub lines: Vec<String>,
    /// There were more.
    pub is_cut: bool,
    /// The line that ran last.
    last: String,
    /// The line on which `on_request` returned, or the function that it ended with a call of.
    pub returned: Option<String>,
}

impl Trace {
    fn note(&mut self, line: String) {
        match self.lines.len() {
            _ if self.lines.last() == Some(&line) => {}
            MOST => self.is_cut = true,
            _ => self.lines.push(line.clone()),
        }
        self.last = line;
    }
}

impl Machine {
    /// Notes the lines of calls from now on.
    pub fn trace(&mut self) {
        self.call_state().trace = Some(Box::default());
        self.watchdog.trace([self.main, self.runner.thread]);
    }

    pub fn take_trace(&mut self) -> Trace {
        self.call_state().trace.as_deref_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// Sets the hook of this Lua thread.
pub(super) fn trace(thread: LuaState) {
    let events = ffi::LUA_MASKLINE | ffi::LUA_MASKRET | ffi::LUA_MASKCOUNT;
    // SAFETY: callers have a thread of a state that lives, on this thread; setting a hook cannot raise.
    unsafe { ffi::lua_sethook(thread, Some(line_hook), events, budget::INSTRUCTIONS) }
}

/// Whether a coroutine has got this hook from the thread that made it.
pub(super) fn is_traced(thread: LuaState) -> bool {
    // SAFETY: as in `trace`; asking touches nothing.
    unsafe { ffi::lua_gethookmask(thread) & ffi::LUA_MASKLINE != 0 }
}

unsafe extern "C-unwind" fn line_hook(state: LuaState, at: *mut ffi::lua_Debug) {
    // SAFETY: `state` is the running thread of a state made ready by `Machine::new`, and this frame owns nothing where
    // Lua may raise. `source` ends with a zero and lives as long as the function that runs.
    unsafe {
        let event: c_int = (*at).event;
        if event == ffi::LUA_HOOKCOUNT {
            return hook(state, at);
        }
        if !matches!(event, ffi::LUA_HOOKLINE | ffi::LUA_HOOKRET) {
            return;
        }
        ffi::lua_getinfo(state, c"Sl".as_ptr(), at);
        let (line, source) = ((*at).currentline, (*at).source);
        if line <= 0 || source.is_null() {
            return;
        }
        guard(call_state_of(state), |call| {
            let is_ours = is_ours(at);
            let source = CStr::from_ptr(source).to_string_lossy();
            let place = format!("{}:{line}", source.strip_prefix(['@', '=']).unwrap_or(&source));
            let is_request = call.job == Job::Request;
            if let Some(trace) = &mut call.trace {
                match event {
                    ffi::LUA_HOOKLINE if is_ours => {}
                    ffi::LUA_HOOKLINE => trace.note(place),
                    // A part that the handler ended with a call of.
                    _ if is_request && is_ours => trace.returned = Some(trace.last.clone()),
                    _ if is_request => trace.returned = Some(place),
                    _ => {}
                }
            }
            Ok(())
        });
    }
}
