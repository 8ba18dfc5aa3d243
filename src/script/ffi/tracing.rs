//! The lines that a script runs, in their order, for `rsp explain`. The hook is that of `observe`.

use std::ffi::CStr;

use mlua::ffi;

use super::Machine;
use super::call_state::is_ours;

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
    /// The line in `at`, which was filled with "Sl", runs.
    pub(super) unsafe fn runs(&mut self, at: *const ffi::lua_Debug) {
        // SAFETY: as the caller says.
        if unsafe { is_ours(at) } {
            return;
        }
        // SAFETY: as the caller says.
        self.last = unsafe { place(at) };
        match self.lines.len() {
            _ if self.lines.last() == Some(&self.last) => {}
            MOST => self.is_cut = true,
            _ => self.lines.push(self.last.clone()),
        }
    }

    /// A function of `on_request` returns at the line in `at`, which was filled with "Sl": the last one is the handler,
    /// or what it ended with a call of.
    pub(super) unsafe fn returns(&mut self, at: *const ffi::lua_Debug) {
        // SAFETY: as the caller says.
        self.returned = Some(unsafe { if is_ours(at) { self.last.clone() } else { place(at) } });
    }
}

/// `FILE:LINE`.
unsafe fn place(at: *const ffi::lua_Debug) -> String {
    // SAFETY: as the caller says; `source` is a text that ends with a zero.
    let source = unsafe { CStr::from_ptr((*at).source) }.to_string_lossy();
    // SAFETY: as the caller says.
    format!("{}:{}", source.strip_prefix(['@', '=']).unwrap_or(&source), unsafe { (*at).currentline })
}

impl Machine {
    /// Notes the lines of calls from now on, which makes everything slower.
    pub fn trace(&mut self) {
        self.call_state().trace = Some(Box::default());
        self.watchdog.always([self.main, self.runner.thread]);
    }

    pub fn take_trace(&mut self) -> Trace {
        self.call_state().trace.as_deref_mut().map(std::mem::take).unwrap_or_default()
    }
}
