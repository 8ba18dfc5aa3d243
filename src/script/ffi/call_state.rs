//! State shared by the C functions of a VM, layouts of its objects, and conversion of a refusal into a Lua error.
//!
//! Safe code is called through `guard`, which stores a refusal as message and stops a panic before it crosses Lua's
//! frames; `raise` then raises the message.

use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mlua::{Function, Lua, ffi};

use super::fields::{HOSTS, TEXTS};
use super::observe::Observed;
use super::running::FunctionId;
use super::stack::push_text;
use super::string_cache::StringCache;
use super::strings::CUTS;
use super::tracing::Trace;
use super::{Job, KeptFunction, LuaState, RegistryIndex};
use crate::config::{PoolId, ScriptLimits};
use crate::script::answer::AnswerBuilder;
use crate::script::budget::Budget;
use crate::script::cached_fields::CachedField;
use crate::script::directory::Directory;
use crate::script::request::{ObjectKind, Subject};
use crate::script::set_cookie::SetCookie;
use crate::script::wait::{FetchBuilder, Wait, Waited};
use crate::store::{BasicAuth, Limiter};

// SAFETY, for every function here: `state` is the running thread of a state made ready by `Machine::new`, the
// function runs below `lua_pcall` and may raise, so its frame owns nothing; C functions are entered with at least
// LUA_MINSTACK free slots.

/// State of the C functions of a VM: the extra space of every Lua thread holds its address.
pub(super) struct CallState {
    /// Number of the running call, 0 between calls. Objects of other calls have ended.
    pub(super) live: u64,
    /// Number of the last call: odd, so that it cannot equal an address.
    pub(super) calls: u64,
    /// Points to the caller's `Subject` while a call runs, null otherwise.
    pub(super) subject: *mut Subject<'static>,
    /// The thread that the call runs on: a script's own coroutines are others.
    pub(super) thread: LuaState,
    pub(super) job: Job,
    pub(super) function: KeptFunction,
    /// The most that `req:body()` reads, if it may, in bytes.
    pub(super) most_body: Option<usize>,
    /// What the running call is about to wait for.
    pub(super) wait: Option<Wait>,
    /// What came of it.
    pub(super) waited: Option<Waited>,
    pub(super) kinds: [KindState; ObjectKind::ALL.len()],
    pub(super) servers: Vec<ServersOfPool>,
    pub(super) directory: Directory,
    pub(super) limits: ScriptLimits,
    pub(super) budget: Budget,
    /// Work of C functions since the clock was read, see `charge`.
    pub(super) work: i64,
    /// Addresses of the cached fields' names in Lua.
    pub(super) names: [*const c_void; CachedField::ALL.len()],
    pub(super) hosts: StringCache,
    pub(super) texts: StringCache,
    pub(super) cuts: StringCache,
    /// Of each `rsp.rate`.
    pub(super) limiters: Vec<Limiter>,
    /// Of each `rsp.basic_auth`.
    pub(super) users: Vec<Arc<BasicAuth>>,
    /// Why the last guarded step was refused.
    pub(super) message: String,
    pub(super) scratch: Vec<u8>,
    pub(super) builder: AnswerBuilder,
    pub(super) fetch: FetchBuilder,
    /// Read from the table that a script assigns.
    pub(super) cookie: SetCookie,
    pub(super) pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Values of a list that a script assigns, and those of `headers:all`.
    pub(super) values: Vec<Vec<u8>>,
    pub(super) value_bytes: usize,
    /// What is run, if that is noted.
    pub(super) trace: Option<Box<Trace>>,
    /// Set if somebody asks what scripts do.
    pub(super) observed: Option<Box<Observed>>,
}

#[derive(Clone, Copy)]
pub(super) struct KindState {
    pub(super) metatable: RegistryIndex,
    pub(super) identity: *const c_void,
    /// The object of this kind that belongs to the call `made`: `req.headers` and the like are made once a call.
    pub(super) part: RegistryIndex,
    pub(super) made: u64,
}

impl KindState {
    const NONE: KindState = KindState {
        metatable: RegistryIndex(0),
        identity: std::ptr::null(),
        part: RegistryIndex(0),
        made: 0,
    };
}

pub(super) struct ServersOfPool {
    /// The sequence of server objects: internal.
    pub(super) objects: RegistryIndex,
    pub(super) identities: Vec<*const c_void>,
    /// The table of all servers that was last given to a script.
    pub(super) shown: RegistryIndex,
}

/// Contents of our userdata, except answers.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Object {
    pub(super) kind: ObjectKind,
    pub(super) pool: PoolId,
    /// Number of the call it belongs to, or index of the server.
    pub(super) stamp: u64,
}

/// Drops the call state with the Lua state, which holds this as application data.
pub(super) struct Owner(pub(super) *mut CallState);

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::into_raw` in `Machine::new`, and is dropped only here.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// Returns a function for configs. Its upvalue is the number under which `keep` has put what it works on into the call
/// state.
pub(super) fn numbered_function(
    lua: &Lua,
    function: ffi::lua_CFunction,
    keep: impl FnOnce(&mut CallState) -> usize,
) -> mlua::Result<Function> {
    let Some(owner) = lua.app_data_ref::<Owner>() else {
        return Err(mlua::Error::runtime("internal fault of rsp"));
    };
    // SAFETY: the call state lives as long as the Lua state, and no other reference into it is alive while a config calls
    // the function of rsp's that makes this one. The closure runs protected and owns nothing.
    unsafe {
        let number = keep(&mut *owner.0) as i64;
        lua.exec_raw((), |state| {
            ffi::lua_pushinteger(state, number);
            ffi::lua_pushcclosure(state, function, 1);
        })
    }
}

impl CallState {
    pub(super) fn new() -> CallState {
        CallState {
            live: 0,
            calls: 1,
            subject: std::ptr::null_mut(),
            thread: std::ptr::null_mut(),
            job: Job::Request,
            function: KeptFunction { index: RegistryIndex(0), id: FunctionId::NONE },
            most_body: None,
            wait: None,
            waited: None,
            kinds: [KindState::NONE; ObjectKind::ALL.len()],
            servers: Vec::new(),
            directory: Directory::default(),
            limits: ScriptLimits::default(),
            budget: Budget::default(),
            work: 0,
            names: [std::ptr::null(); CachedField::ALL.len()],
            hosts: StringCache::new(HOSTS),
            texts: StringCache::new(TEXTS),
            cuts: StringCache::new(CUTS),
            limiters: Vec::new(),
            users: Vec::new(),
            message: String::new(),
            scratch: Vec::new(),
            builder: AnswerBuilder::default(),
            fetch: FetchBuilder::default(),
            cookie: SetCookie::default(),
            pairs: Vec::new(),
            values: Vec::new(),
            value_bytes: 0,
            trace: None,
            observed: None,
        }
    }
}

pub(super) unsafe fn call_state_of(state: LuaState) -> *mut CallState {
    // SAFETY: see above: `Machine::new` put the pointer there, before any coroutine copied it.
    unsafe { *ffi::lua_getextraspace(state).cast::<*mut CallState>() }
}

/// Runs safe code that may refuse. `None` if it did: the message says why.
pub(super) unsafe fn guard<T: Copy>(
    call: *mut CallState,
    step: impl FnOnce(&mut CallState) -> Result<T, String>,
) -> Option<T> {
    // SAFETY: no other reference into the call state is alive in frames above, and none escapes.
    let call = unsafe { &mut *call };
    match catch_unwind(AssertUnwindSafe(|| step(call))) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(message)) => call.message = message,
        Err(_) => call.message = "internal fault of rsp".to_string(),
    }
    None
}

/// Raises the message with the script's position.
pub(super) unsafe fn raise(state: LuaState, call: *mut CallState) -> ! {
    // SAFETY: see above; the message is not touched until the next guarded step.
    unsafe { refuse(state, (*call).message.as_str()) }
}

/// Raises a text with the position of the nearest caller that has one: C functions such as `pairs` have none.
pub(super) unsafe fn refuse(state: LuaState, text: &str) -> ! {
    // SAFETY: see above.
    unsafe {
        ffi::lua_settop(state, 0);
        push_nearest(state, 1);
        push_text(state, text.as_bytes());
        ffi::lua_concat(state, ffi::lua_gettop(state));
        ffi::lua_error(state)
    }
}

/// Pushes the position of the nearest function of the script, if there is one from this level on: not of the Lua around
/// our own parts.
pub(super) unsafe fn push_nearest(state: LuaState, mut level: c_int) {
    let mut at = std::mem::MaybeUninit::<ffi::lua_Debug>::uninit();
    // SAFETY: see above; `lua_getinfo` with "Sl" fills what is read, if there is that level.
    unsafe {
        while ffi::lua_getstack(state, level, at.as_mut_ptr()) != 0 {
            ffi::lua_getinfo(state, c"Sl".as_ptr(), at.as_mut_ptr());
            if (*at.as_ptr()).currentline > 0 && !is_ours(at.as_ptr()) {
                return push_position(state, at.as_ptr());
            }
            level += 1;
        }
    }
}

/// Whether `at`, which was filled with "S", is in the Lua around our own parts.
pub(super) unsafe fn is_ours(at: *const ffi::lua_Debug) -> bool {
    // SAFETY: see above; `source` is a text that ends with a zero.
    unsafe { CStr::from_ptr((*at).source) == c"=rsp" }
}

pub(super) unsafe fn push_position(state: LuaState, at: *const ffi::lua_Debug) {
    // SAFETY: see above; `at` was filled with "Sl".
    unsafe {
        ffi::lua_pushfstring(state, c"%s:%d: ".as_ptr(), (*at).short_src.as_ptr(), (*at).currentline);
    }
}
