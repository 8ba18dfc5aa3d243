//! Notes what a script does, where somebody asks for it: which lines run (and for `tracing` in which order), and what is
//! read of requests. Only for VMs that serve no traffic: a line hook runs in everything, and the fields of `req` have
//! another `__index`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, c_char, c_int};

use mlua::ffi;

use super::call_state::{CallState, call_state_of, guard};
use super::calls::hook;
use super::fields::{index, pairs};
use super::objects::own;
use super::stack::{registry, text_at};
use super::{Job, LuaState, Machine};
use crate::script::budget;
use crate::script::request::ObjectKind;

/// What is known of a VM's runs.
#[derive(Default)]
pub struct Observed {
    /// The lines that ran, as a bit each, by file. The address of a file's name stands for it.
    files: HashMap<*const c_char, usize>,
    lines: Vec<(String, Vec<bool>)>,
    /// The file of the line that ran last.
    last: Option<(*const c_char, usize)>,
    /// Fields that were read at any time, and whether since the last `forget_reads`.
    reads: Vec<(ObjectKind, Read, bool)>,
}

/// Names that a script makes up are not kept for ever.
const MOST_READS: usize = 256;

/// A field that a script read: an object, and the field's name. An empty name stands for all of them.
pub type Read = (&'static str, String);

impl Observed {
    /// Lines that ran, by file.
    pub fn lines(&self) -> BTreeMap<&str, BTreeSet<usize>> {
        let numbers =
            |lines: &[bool]| (0..).zip(lines).filter(|(_, ran)| **ran).map(|(line, _)| line).collect();
        self.lines.iter().map(|(file, lines)| (file.as_str(), numbers(lines))).collect()
    }

    /// Fields that were read since the last `forget_reads`.
    pub fn reads(&self) -> impl Iterator<Item = &Read> {
        self.reads.iter().filter(|(_, _, now)| *now).map(|(_, read, _)| read)
    }

    pub fn forget_reads(&mut self) {
        if self.reads.len() > MOST_READS {
            self.reads.clear();
        }
        self.reads.iter_mut().for_each(|(_, _, now)| *now = false);
    }

    fn note_line(&mut self, source: *const c_char, line: usize) {
        let at = match self.last {
            Some((last, at)) if last == source => at,
            _ => self.file_at(source),
        };
        self.last = Some((source, at));
        let lines = &mut self.lines[at].1;
        if lines.len() <= line {
            lines.resize(line + 1, false);
        }
        lines[line] = true;
    }

    fn file_at(&mut self, source: *const c_char) -> usize {
        *self.files.entry(source).or_insert_with(|| {
            // SAFETY: Lua's name of a chunk, which ends with a zero and lives as long as the function that runs.
            let name = unsafe { CStr::from_ptr(source) }.to_string_lossy();
            let file = name.strip_prefix('@').unwrap_or_default();
            let known = self.lines.iter().position(|(known, _)| known == file);
            known.unwrap_or_else(|| {
                self.lines.push((file.to_owned(), Vec::new()));
                self.lines.len() - 1
            })
        })
    }

    pub(super) fn note_read(&mut self, kind: ObjectKind, name: &[u8]) {
        if !matches!(
            kind,
            ObjectKind::Request
                | ObjectKind::Headers
                | ObjectKind::Cookies
                | ObjectKind::Args
                | ObjectKind::Tls
                | ObjectKind::Connection
        ) {
            return;
        }
        let is_same = |known: &&mut (ObjectKind, Read, bool)| {
            let known_name = known.1.1.as_bytes();
            let is_header = kind == ObjectKind::Headers;
            known.0 == kind && (known_name == name || is_header && known_name.eq_ignore_ascii_case(name))
        };
        if let Some((_, _, now)) = self.reads.iter_mut().find(is_same) {
            *now = true;
            return;
        }
        let mut name = String::from_utf8_lossy(name).into_owned();
        if kind == ObjectKind::Headers {
            name.make_ascii_lowercase();
        }
        self.reads.push((kind, (kind.written(), name), true));
    }
}

impl Machine {
    /// Notes from now on what scripts do. The VM must not serve traffic: everything is slower.
    pub fn observe(&mut self) -> mlua::Result<()> {
        self.call_state().observed = Some(Box::default());
        self.watchdog.always([self.main, self.runner.thread]);
        let call = self.call_state;
        // SAFETY: the closure runs protected and owns nothing; the metatables are those that `make_kind` made.
        unsafe {
            self.lua.exec_raw::<()>((), |state| {
                use ObjectKind::{Args, Connection, Cookies, Headers, Request, Tls};
                for kind in [Request, Headers, Cookies, Args, Tls, Connection] {
                    registry(state, (*call).kinds[kind as usize].metatable);
                    ffi::lua_pushcclosure(state, index_noted, 0);
                    ffi::lua_setfield(state, -2, c"__index".as_ptr());
                    ffi::lua_pushcclosure(state, pairs_noted, 0);
                    ffi::lua_setfield(state, -2, c"__pairs".as_ptr());
                    ffi::lua_settop(state, -2);
                }
            })
        }
    }

    /// What was noted, between calls.
    pub fn observed(&mut self) -> Option<&mut Observed> {
        self.call_state().observed.as_deref_mut()
    }
}

/// Sets the hook of a thread whose script is observed or traced. Returns false if it is neither.
pub(super) fn watch_lines(thread: LuaState) -> bool {
    // SAFETY: callers have a thread of a prepared state that lives; setting a hook cannot raise.
    unsafe {
        let call = call_state_of(thread);
        let returns = match ((*call).trace.is_some(), (*call).observed.is_some()) {
            (false, false) => return false,
            (true, _) => ffi::LUA_MASKRET,
            (false, true) => 0,
        };
        let mask = ffi::LUA_MASKLINE | ffi::LUA_MASKCOUNT | returns;
        ffi::lua_sethook(thread, Some(line_hook), mask, budget::INSTRUCTIONS);
    }
    true
}

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

unsafe extern "C-unwind" fn line_hook(state: LuaState, at: *mut ffi::lua_Debug) {
    // SAFETY: see above.
    unsafe {
        if (*at).event == ffi::LUA_HOOKCOUNT {
            return hook(state, at);
        }
        ffi::lua_getinfo(state, c"Sl".as_ptr(), at);
        // Functions of C have none.
        let Ok(line @ 1..) = usize::try_from((*at).currentline) else { return };
        let is_line = (*at).event == ffi::LUA_HOOKLINE;
        guard(call_state_of(state), |call| {
            if let Some(observed) = call.observed.as_mut().filter(|_| is_line) {
                observed.note_line((*at).source, line);
            }
            match &mut call.trace {
                Some(trace) if is_line => trace.runs(at),
                Some(trace) if call.job == Job::Request => trace.returns(at),
                _ => {}
            }
            Ok(())
        });
    }
}

/// Notes something; a panic is not passed on to Lua.
unsafe fn note(call: *mut CallState, what: impl FnOnce(&mut Observed)) {
    // SAFETY: see above.
    unsafe {
        guard(call, |call| {
            if let Some(observed) = &mut call.observed {
                what(observed);
            }
            Ok(())
        });
    }
}

/// Notes a read that decides about the request: what chooses among the servers of a pool does not.
unsafe fn note_read(call: *mut CallState, kind: ObjectKind, name: &[u8]) {
    // SAFETY: see above.
    unsafe {
        if !matches!((*call).job, Job::Balance | Job::Key) {
            note(call, |observed| observed.note_read(kind, name));
        }
    }
}

/// `object[key]`, noted.
unsafe extern "C-unwind" fn index_noted(state: LuaState) -> c_int {
    // SAFETY: see above; the key stands on the stack as long as its text is used.
    unsafe {
        let object = own(state);
        if let Some(key) = text_at(state, 2) {
            // Methods of headers note what they read.
            if !(object.kind == ObjectKind::Headers && matches!(key, b"add" | b"all")) {
                note_read(call_state_of(state), object.kind, key);
            }
        }
        index(state)
    }
}

/// `pairs(object)`, noted.
unsafe extern "C-unwind" fn pairs_noted(state: LuaState) -> c_int {
    // SAFETY: see above.
    unsafe {
        let object = own(state);
        note_read(call_state_of(state), object.kind, b"");
        pairs(state)
    }
}
