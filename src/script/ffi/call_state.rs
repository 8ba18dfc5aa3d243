//! What the C functions reach from wherever they are called: the cell, its objects' layouts, and how a refusal
//! becomes an error of Lua's.
//!
//! Safe code is called through `guard`, which turns a refusal into the cell's message and stops a panic before it
//! could cross Lua's frames; `raise` then hands the message to Lua.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlua::ffi;

use super::fields::{HOSTS, TEXTS};
use super::library::CUTS;
use super::stack::push_text;
use super::string_cache::Known;
use super::{Job, Slot, State};
use crate::config::PoolId;
use crate::script::answer::Draft;
use crate::script::budget::Budget;
use crate::script::cached_fields::Quick;
use crate::script::directory::Directory;
use crate::script::request::{Kind, Subject};

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// What the C functions reach, from whichever coroutine: the extra space of every Lua thread holds its address.
pub(super) struct Cell {
    /// The number of the call that runs now, 0 between calls. Objects of other calls have ended.
    pub(super) live: u64,
    /// The number of the last call: odd, so that it cannot be taken for the address of anything.
    pub(super) calls: u64,
    /// Points to the caller's `Subject` while a call runs, null otherwise.
    pub(super) subject: *mut Subject<'static>,
    pub(super) main: State,
    pub(super) job: Job,
    pub(super) function: Slot,
    pub(super) kinds: [KindOfObject; Kind::ALL.len()],
    pub(super) servers: Vec<ServersOfPool>,
    pub(super) directory: Directory,
    pub(super) budget: Budget,
    /// The names of the quick fields as Lua has them, by address.
    pub(super) names: [*const c_void; Quick::ALL.len()],
    pub(super) hosts: Known,
    pub(super) texts: Known,
    pub(super) cuts: Known,
    /// Comparisons of `table.sort`, to look at the clock now and then.
    pub(super) compared: u32,
    /// Why the last guarded step refused.
    pub(super) message: String,
    pub(super) scratch: Vec<u8>,
    pub(super) draft: Draft,
    pub(super) pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The values of a list that a script assigns, and those of one name that it asks for.
    pub(super) values: Vec<Vec<u8>>,
    pub(super) value_bytes: usize,
}

#[derive(Clone, Copy)]
pub(super) struct KindOfObject {
    pub(super) metatable: Slot,
    pub(super) identity: *const c_void,
    /// The object of this kind that the call `made` uses: `req.headers` and its like are made once a call.
    pub(super) part: Slot,
    pub(super) made: u64,
}

pub(super) struct ServersOfPool {
    /// The sequence of server objects: never shown to scripts.
    pub(super) objects: Slot,
    pub(super) identities: Vec<*const c_void>,
    /// The table of all of them that scripts were given last.
    pub(super) shown: Slot,
}

/// What a userdata of ours holds, answers excepted.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) pool: PoolId,
    /// Number of the call it belongs to, or index of the server.
    pub(super) stamp: u64,
}

/// Drops the cell with the Lua state: the state holds this as application data.
pub(super) struct Owner(pub(super) *mut Cell);

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::into_raw` in `Machine::new`, and is dropped only here.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

impl Cell {
    pub(super) fn new() -> Cell {
        let none = KindOfObject { metatable: Slot(0), identity: std::ptr::null(), part: Slot(0), made: 0 };
        Cell {
            live: 0,
            calls: 1,
            subject: std::ptr::null_mut(),
            main: std::ptr::null_mut(),
            job: Job::Request,
            function: Slot(0),
            kinds: [none; Kind::ALL.len()],
            servers: Vec::new(),
            directory: Directory::default(),
            budget: Budget::default(),
            names: [std::ptr::null(); Quick::ALL.len()],
            hosts: Known::new(HOSTS),
            texts: Known::new(TEXTS),
            cuts: Known::new(CUTS),
            compared: 0,
            message: String::new(),
            scratch: Vec::new(),
            draft: Draft::default(),
            pairs: Vec::new(),
            values: Vec::new(),
            value_bytes: 0,
        }
    }
}

pub(super) unsafe fn cell_of(state: State) -> *mut Cell {
    // SAFETY: see above: `Machine::new` put the pointer there, before any coroutine copied it.
    unsafe { *ffi::lua_getextraspace(state).cast::<*mut Cell>() }
}

/// Runs safe code that may refuse. `None` means refused: the cell's message says why.
pub(super) unsafe fn guard<T: Copy>(
    cell: *mut Cell,
    step: impl FnOnce(&mut Cell) -> Result<T, String>,
) -> Option<T> {
    // SAFETY: no other reference into the cell is alive in frames above, and none escapes.
    let cell = unsafe { &mut *cell };
    match catch_unwind(AssertUnwindSafe(|| step(cell))) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(message)) => cell.message = message,
        Err(_) => cell.message = "internal fault of rsp".to_string(),
    }
    None
}

/// Raises the cell's message with the script's position.
pub(super) unsafe fn raise(state: State, cell: *mut Cell) -> ! {
    // SAFETY: see above; the message is not touched until the next guarded step.
    unsafe { refuse(state, (*cell).message.as_str()) }
}

/// Raises a text with the position of the nearest caller that has one: C functions, `pairs` for one, have none.
pub(super) unsafe fn refuse(state: State, text: &str) -> ! {
    let mut at = std::mem::MaybeUninit::<ffi::lua_Debug>::uninit();
    // SAFETY: see above; `lua_getinfo` with "Sl" fills what is read, if there is that level.
    unsafe {
        ffi::lua_settop(state, 0);
        let mut level = 1;
        while ffi::lua_getstack(state, level, at.as_mut_ptr()) != 0 {
            ffi::lua_getinfo(state, c"Sl".as_ptr(), at.as_mut_ptr());
            if (*at.as_ptr()).currentline > 0 {
                push_position(state, at.as_ptr());
                break;
            }
            level += 1;
        }
        push_text(state, text.as_bytes());
        ffi::lua_concat(state, ffi::lua_gettop(state));
        ffi::lua_error(state)
    }
}

pub(super) unsafe fn push_position(state: State, at: *const ffi::lua_Debug) {
    // SAFETY: see above; `at` was filled with "Sl".
    unsafe {
        ffi::lua_pushfstring(state, c"%s:%d: ".as_ptr(), (*at).short_src.as_ptr(), (*at).currentline);
    }
}
