//! Which script a thread runs, for other threads to read: a loop that stands still can no longer say it itself.
//!
//! A call costs two stores. The line is noted only in calls that take long: when the hook runs, and before a pattern
//! function that may take long, because no hook runs within it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlua::ffi;

use super::LuaState;
use super::call_state::is_ours;

// SAFETY, for every function here that takes a state: it is the running thread of a state made ready by
// `Machine::new`, the function runs below `lua_pcall`, and its frame owns nothing when Lua is called.

/// The number of a function in this process, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FunctionId(u32);

impl FunctionId {
    pub(super) const NONE: FunctionId = FunctionId(0);
}

/// What runs on one thread.
#[derive(Default, Debug)]
struct Running {
    /// The number of the function, 0 between calls.
    function: AtomicU32,
    /// `FILE:LINE` in that call, if it was noted.
    line: Mutex<String>,
}

/// Where threads that nobody reads write to.
static UNREAD: Running = Running { function: AtomicU32::new(0), line: Mutex::new(String::new()) };

thread_local! {
    static RUNNING: Cell<*const Running> = const { Cell::new(&raw const UNREAD) };
}

/// The functions of all VMs, with the `FILE:LINE` where each begins.
static ORIGINS: Mutex<(u32, BTreeMap<u32, String>)> = Mutex::new((0, BTreeMap::new()));

/// The functions of one VM, known until it is dropped.
#[derive(Default)]
pub(super) struct KnownFunctions(Vec<FunctionId>);

impl KnownFunctions {
    pub(super) fn add(&mut self, origin: &str) -> FunctionId {
        let mut origins = lock(&ORIGINS);
        // It takes years of reloads to come round; 0 is none.
        origins.0 = origins.0.wrapping_add(1).max(1);
        let id = FunctionId(origins.0);
        origins.1.insert(id.0, origin.to_owned());
        self.0.push(id);
        id
    }
}

impl Drop for KnownFunctions {
    fn drop(&mut self) {
        let mut origins = lock(&ORIGINS);
        self.0.iter().for_each(|id| _ = origins.1.remove(&id.0));
    }
}

/// Reads what runs on a thread.
#[derive(Clone, Default, Debug)]
pub struct ScriptPosition(Arc<Running>);

impl ScriptPosition {
    /// `FILE:LINE` of the line that was noted last, or of the function that runs; `None` if no script runs.
    pub fn now(&self) -> Option<String> {
        let function = self.0.function.load(Ordering::Relaxed);
        if function == 0 {
            return None;
        }
        let line = lock(&self.0.line).clone();
        if !line.is_empty() {
            return Some(line);
        }
        let origin = lock(&ORIGINS).1.get(&function).cloned();
        Some(origin.map_or_else(|| "unknown".into(), |origin| format!("the function at {origin}")))
    }

    /// What this thread runs can be read from now on, as long as the result lives.
    pub fn publish(&self) -> PublishedPosition {
        RUNNING.set(Arc::as_ptr(&self.0));
        PublishedPosition { running: self.0.clone(), _of_this_thread: PhantomData }
    }
}

/// Stays on its thread.
pub struct PublishedPosition {
    running: Arc<Running>,
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for PublishedPosition {
    fn drop(&mut self) {
        if RUNNING.get() == Arc::as_ptr(&self.running) {
            RUNNING.set(&raw const UNREAD);
        }
    }
}

/// A call of this function begins on this thread.
pub(super) fn begin(function: FunctionId) {
    here().function.store(function.0, Ordering::Relaxed);
}

/// It has ended.
pub(super) fn end() {
    here().function.store(0, Ordering::Relaxed);
}

/// Forgets the line of a call that has ended, if one was noted.
pub(super) fn forget_line() {
    lock(&here().line).clear();
}

fn here<'a>() -> &'a Running {
    // SAFETY: the pointer is to a static, or to what a `PublishedPosition` of this thread holds, which resets the
    // pointer before it lets go. Callers do not keep the reference.
    unsafe { &*RUNNING.get() }
}

/// Notes the position in `at`, which was filled with "Sl", unless it is in Lua of our own.
pub(super) unsafe fn note_line(at: *const ffi::lua_Debug) {
    let running = here();
    if std::ptr::eq(running, &raw const UNREAD) {
        return;
    }
    // SAFETY: as the caller says.
    if unsafe { is_ours(at) } {
        return;
    }
    // SAFETY: `short_src` is a text that ends with a zero.
    let (file, line) = unsafe { (CStr::from_ptr((*at).short_src.as_ptr()), (*at).currentline) };
    let mut noted = lock(&running.line);
    noted.clear();
    noted.push_str(&file.to_string_lossy());
    noted.push(':');
    noted.push_str(&line.to_string());
}

/// Notes the line that calls the C function which runs now.
pub(super) unsafe fn note_caller(state: LuaState) {
    let mut at = std::mem::MaybeUninit::<ffi::lua_Debug>::uninit();
    // SAFETY: see above; `lua_getinfo` with "Sl" fills what is read, if there is that level.
    unsafe {
        if ffi::lua_getstack(state, 1, at.as_mut_ptr()) != 0 {
            ffi::lua_getinfo(state, c"Sl".as_ptr(), at.as_mut_ptr());
            note_line(at.as_ptr());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_read_only_while_its_position_is_published() {
        let (position, mut known) = (ScriptPosition::default(), KnownFunctions::default());
        let function = known.add("site.lua:7");
        begin(function);
        assert_eq!(position.now(), None, "not published");
        let published = position.publish();
        begin(function);
        let elsewhere = position.clone();
        let read = std::thread::spawn(move || elsewhere.now()).join().unwrap();
        assert_eq!(read.as_deref(), Some("the function at site.lua:7"));
        end();
        assert_eq!(position.now(), None);
        begin(function);
        drop(known);
        assert_eq!(position.now().as_deref(), Some("unknown"));
        drop(published);
        end();
        assert!(position.now().is_some(), "writes go elsewhere");
    }
}
