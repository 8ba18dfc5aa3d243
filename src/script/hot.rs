//! The per-request call into Lua, through its C interface: the only file of the script floor with `unsafe`.
//!
//! ```text
//! Machine::call ── lua_pcall ──► enter ──► the script's function ──► index, newindex, pairs, respond …
//!      ▲ results or error          (pushes req, res, servers)              (ask request.rs, answer.rs)
//! ```
//!
//! Lua raises with `longjmp`, which runs no destructors. So everything that can raise runs below `lua_pcall`, in
//! frames that own nothing (only `Copy` data); what must be owned, texts above all, lives in the `Cell`. Safe
//! code that is called from here is fenced by `guard`, which turns a refusal into the cell's message and stops
//! a panic before it could cross Lua's frames.

use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mlua::{Function, Lua, ffi};

use super::answer::{self, Draft, Key};
use super::budget::{self, Budget};
use super::directory::Directory;
use super::request::{self, Kind, Subject, Value};
use crate::config::{PoolId, ServerId};

type State = *mut ffi::lua_State;

/// What a script's function is called with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    /// `(req)`, two results.
    Request,
    /// `(req, res)`, no result.
    Response,
    /// `(req, servers)`, one result.
    Balance,
}

/// A Lua value kept alive in the registry.
#[derive(Clone, Copy, Debug)]
pub struct Slot(c_int);

/// A value that a handler returned.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Seen<'a> {
    Nil,
    Pool(PoolId),
    Text(&'a [u8]),
    Server(PoolId, ServerId),
    /// For `answer::decode`.
    Answer(&'a [u8]),
    /// Something else, of this type.
    Other(&'static str),
}

/// What the C functions reach, from whichever coroutine: the extra space of every Lua thread holds its address.
struct Cell {
    /// The number of the call that runs now, 0 between calls. Objects of other calls have ended.
    live: u64,
    calls: u64,
    /// Points to the caller's `Subject` while a call runs, null otherwise.
    subject: *mut Subject<'static>,
    main: State,
    job: Job,
    function: Slot,
    kinds: [KindOfObject; Kind::ALL.len()],
    servers: Vec<ServersOfPool>,
    directory: Directory,
    budget: Budget,
    /// Why the last guarded step refused.
    message: String,
    scratch: Vec<u8>,
    draft: Draft,
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Copy)]
struct KindOfObject {
    metatable: Slot,
    identity: *const c_void,
    /// The object of this kind that the call `made` uses: `req.headers` and its like are made once a call.
    part: Slot,
    made: u64,
}

struct ServersOfPool {
    /// The sequence of server objects: never shown to scripts.
    objects: Slot,
    identities: Vec<*const c_void>,
    /// The table of all of them that scripts were given last.
    shown: Slot,
}

/// What a userdata of ours holds, answers excepted.
#[derive(Clone, Copy)]
#[repr(C)]
struct Object {
    kind: Kind,
    pool: PoolId,
    /// Number of the call it belongs to, or index of the server.
    stamp: u64,
}

/// Drops the cell with the Lua state: the state holds this as application data.
struct Owner(*mut Cell);

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::into_raw` in `Machine::new`, and is dropped only here.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// A Lua state prepared for calls.
pub struct Machine {
    lua: Lua,
    main: State,
    cell: *mut Cell,
}

impl Machine {
    pub fn new(lua: &Lua) -> mlua::Result<Machine> {
        let cell = Box::into_raw(Box::new(Cell::new()));
        lua.set_app_data(Owner(cell));
        let mut main: State = std::ptr::null_mut();
        // SAFETY: the closure runs protected and owns nothing. The extra space of the main thread is ours (mlua
        // does not use it), is as large as a pointer, and is copied into every coroutine made from now on. The
        // cell lives as long as the state.
        unsafe {
            lua.exec_raw::<()>((), |state| {
                ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, ffi::LUA_RIDX_MAINTHREAD);
                main = ffi::lua_tothread(state, -1);
                ffi::lua_pop(state, 1);
                (*cell).main = main;
                *ffi::lua_getextraspace(main).cast::<*mut Cell>() = cell;
                *ffi::lua_getextraspace(state).cast::<*mut Cell>() = cell;
                for kind in Kind::ALL {
                    (*cell).kinds[kind as usize] = make_kind(state, kind);
                }
                ffi::lua_sethook(main, Some(hook), ffi::LUA_MASKCOUNT, budget::INSTRUCTIONS);
            })?;
        }
        Ok(Machine { lua: lua.clone(), main, cell })
    }

    /// `rsp.respond`, `rsp.redirect`, and the `setmetatable` for scripts.
    pub fn functions(&self) -> mlua::Result<[Function; 3]> {
        // SAFETY: these follow the rules at the top of this file and find the cell in the thread's extra space.
        unsafe {
            Ok([
                self.lua.create_c_function(respond)?,
                self.lua.create_c_function(redirect)?,
                self.lua.create_c_function(set_metatable)?,
            ])
        }
    }

    /// Keeps a function for `call`.
    pub fn keep(&self, function: &Function) -> mlua::Result<Slot> {
        let mut slot = Slot(0);
        // SAFETY: the closure runs protected, owns nothing, and takes the one value that was pushed for it.
        unsafe {
            self.lua.exec_raw::<()>(function, |state| {
                slot = Slot(ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX));
            })?;
        }
        Ok(slot)
    }

    /// Takes the names of pools and servers and makes the server objects.
    pub fn set_directory(&mut self, directory: Directory) -> mlua::Result<()> {
        for pool in (0..directory.pools() as u32).map(PoolId) {
            let count = directory.servers(pool).len();
            let cell = self.cell;
            let mut made =
                ServersOfPool { objects: Slot(0), identities: vec![std::ptr::null(); count], shown: Slot(0) };
            let identities = made.identities.as_mut_slice();
            let slots = (&mut made.objects, &mut made.shown);
            // SAFETY: the closure runs protected and owns nothing (what it fills is owned outside).
            unsafe {
                self.lua.exec_raw::<()>((), |state| {
                    ffi::lua_createtable(state, count as c_int, 0);
                    for (i, identity) in identities.iter_mut().enumerate() {
                        push_object(state, cell, Object { kind: Kind::Server, pool, stamp: i as u64 });
                        *identity = ffi::lua_touserdata(state, -1);
                        ffi::lua_rawseti(state, -2, i as i64 + 1);
                    }
                    *slots.0 = Slot(ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX));
                    ffi::lua_createtable(state, 0, 0);
                    *slots.1 = Slot(ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX));
                })?;
            }
            self.cell().servers.push(made);
        }
        self.cell().directory = directory;
        Ok(())
    }

    /// The cell, between calls.
    fn cell(&mut self) -> &mut Cell {
        // SAFETY: the cell lives as long as the state, which `self.lua` keeps; only C functions below a call
        // touch it otherwise, and every call needs `&mut self` (or, in `with_budget`, leaves it alone).
        unsafe { &mut *self.cell }
    }

    /// Runs `work` (which calls Lua by way of mlua) with a budget of CPU time.
    pub fn with_budget<R>(&self, limit: Duration, work: impl FnOnce() -> R) -> R {
        // SAFETY: no reference into the cell outlives these statements.
        unsafe { (*self.cell).budget.begin(limit) };
        let result = work();
        self.end_budget();
        result
    }

    fn end_budget(&self) {
        // SAFETY: no reference into the cell outlives this; setting a hook cannot raise.
        unsafe {
            if (*self.cell).budget.end() {
                ffi::lua_sethook(self.main, Some(hook), ffi::LUA_MASKCOUNT, budget::INSTRUCTIONS);
            }
        }
    }

    /// Calls a script's function about `subject` and hands what it returned to `judge`. An error is the message
    /// as Lua gave it.
    pub fn call<R>(
        &mut self,
        job: Job,
        function: Slot,
        subject: &mut Subject<'_>,
        judge: impl FnOnce(Seen<'_>, Seen<'_>, &Directory) -> R,
    ) -> Result<R, Vec<u8>> {
        self.begin(job, function, subject);
        // SAFETY: `main` is the state's main thread, idle now, with Lua's guaranteed free slots on its stack.
        // Reading the registry by number, pushing a light userdata and pushing a C function without upvalues
        // cannot raise; all else runs inside `lua_pcall`.
        let (below, status) = unsafe {
            let below = ffi::lua_gettop(self.main);
            let arguments = if job == Job::Request {
                registry(self.main, function);
                push_request(self.main, self.cell);
                1
            } else {
                ffi::lua_pushcclosure(self.main, enter, 0);
                0
            };
            (below, ffi::lua_pcall(self.main, arguments, 2, 0))
        };
        // SAFETY: the call is over, so the C functions do not run and the cell is not written.
        let cell = unsafe { &*self.cell };
        let result = match status {
            // A script that caught the failure and got to its end has run too long all the same.
            ffi::LUA_OK if cell.budget.was_spent() => Err(cell.budget.text().into_bytes()),
            ffi::LUA_OK => Ok(judge(self.seen(-2), self.seen(-1), &cell.directory)),
            ffi::LUA_ERRMEM => Err(budget::memory_text().into_bytes()),
            _ => Err(self.error_text()),
        };
        // SAFETY: removes what the call left; no value of Lua's is referred to any more.
        unsafe { ffi::lua_settop(self.main, below) };
        self.end();
        result
    }

    fn begin(&mut self, job: Job, function: Slot, subject: &mut Subject<'_>) {
        let cell = self.cell();
        cell.calls += 1;
        cell.live = cell.calls;
        cell.subject = std::ptr::from_mut(subject).cast();
        (cell.job, cell.function) = (job, function);
        cell.budget.begin(budget::CALL);
    }

    fn end(&mut self) {
        let cell = self.cell();
        cell.live = 0;
        cell.subject = std::ptr::null_mut();
        self.end_budget();
    }

    /// The returned value at `index`; it stays valid until the stack is cleared.
    fn seen(&self, index: c_int) -> Seen<'_> {
        // SAFETY: none of these raise or allocate for values of the types they are asked about, and the
        // pointers stay valid while the values stand on the stack.
        unsafe {
            match ffi::lua_type(self.main, index) {
                ffi::LUA_TNIL => Seen::Nil,
                ffi::LUA_TSTRING => text_at(self.main, index).map_or(Seen::Nil, Seen::Text),
                ffi::LUA_TTABLE => {
                    let directory = &(*self.cell).directory;
                    directory
                        .pool_of(ffi::lua_topointer(self.main, index))
                        .map_or(Seen::Other("table"), Seen::Pool)
                }
                ffi::LUA_TUSERDATA => self.seen_object(index),
                ffi::LUA_TLIGHTUSERDATA => Seen::Other(Kind::Request.name()),
                other => Seen::Other(type_name(self.main, other)),
            }
        }
    }

    fn seen_object(&self, index: c_int) -> Seen<'_> {
        // SAFETY: the metatable says which of our layouts the userdata has; metatables of ours are out of
        // scripts' reach (`__metatable`), so no other userdata can carry them.
        unsafe {
            let data = ffi::lua_touserdata(self.main, index);
            match kind_at(self.main, self.cell, index) {
                Some(Kind::Answer) => {
                    let len = ffi::lua_rawlen(self.main, index);
                    Seen::Answer(std::slice::from_raw_parts(data.cast(), len))
                }
                Some(Kind::Server) => {
                    let object = *data.cast::<Object>();
                    Seen::Server(object.pool, ServerId(object.stamp as u32))
                }
                Some(kind) => Seen::Other(kind.name()),
                None => Seen::Other("userdata"),
            }
        }
    }

    /// The error value on top of the stack as text.
    fn error_text(&self) -> Vec<u8> {
        // SAFETY: an error that is not a string may have a `__tostring`, so it is asked inside `lua_pcall`;
        // pushing a C function without upvalues cannot raise.
        unsafe {
            if ffi::lua_type(self.main, -1) != ffi::LUA_TSTRING {
                ffi::lua_pushcclosure(self.main, describe, 0);
                ffi::lua_rotate(self.main, -2, 1);
                ffi::lua_pcall(self.main, 1, 1, 0);
            }
            let text = text_at(self.main, -1).map(<[u8]>::to_vec);
            text.unwrap_or_else(|| b"an error object that cannot be shown".to_vec())
        }
    }
}

impl Cell {
    fn new() -> Cell {
        let none = KindOfObject { metatable: Slot(0), identity: std::ptr::null(), part: Slot(0), made: 0 };
        Cell {
            live: 0,
            calls: 0,
            subject: std::ptr::null_mut(),
            main: std::ptr::null_mut(),
            job: Job::Request,
            function: Slot(0),
            kinds: [none; Kind::ALL.len()],
            servers: Vec::new(),
            directory: Directory::default(),
            budget: Budget::default(),
            message: String::new(),
            scratch: Vec::new(),
            draft: Draft::default(),
            pairs: Vec::new(),
        }
    }
}

// ---- Below `lua_pcall`: frames that own nothing.
//
// SAFETY, for every function from here on: `state` is the running thread of a state made ready by
// `Machine::new`, the functions may raise, and C functions are entered with at least LUA_MINSTACK free slots.

unsafe fn cell_of(state: State) -> *mut Cell {
    // SAFETY: see above: `Machine::new` put the pointer there, before any coroutine copied it.
    unsafe { *ffi::lua_getextraspace(state).cast::<*mut Cell>() }
}

/// Runs safe code that may refuse. `None` means refused: the cell's message says why.
unsafe fn guard<T: Copy>(cell: *mut Cell, step: impl FnOnce(&mut Cell) -> Result<T, String>) -> Option<T> {
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
unsafe fn raise(state: State, cell: *mut Cell) -> ! {
    // SAFETY: see above; the message is not touched until the next guarded step.
    unsafe { refuse(state, (*cell).message.as_str()) }
}

/// Raises a text with the position of the nearest caller that has one: C functions, `pairs` for one, have none.
unsafe fn refuse(state: State, text: &str) -> ! {
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

unsafe fn push_position(state: State, at: *const ffi::lua_Debug) {
    // SAFETY: see above; `at` was filled with "Sl".
    unsafe {
        ffi::lua_pushfstring(state, c"%s:%d: ".as_ptr(), (*at).short_src.as_ptr(), (*at).currentline);
    }
}

unsafe fn push_text(state: State, text: &[u8]) {
    // SAFETY: see above; Lua copies the bytes.
    unsafe { ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len()) };
}

/// The string at `index`, as long as it stands there; `None` for any other type (a number is left a number).
unsafe fn text_at<'a>(state: State, index: c_int) -> Option<&'a [u8]> {
    // SAFETY: see above; for a string `lua_tolstring` neither converts nor raises.
    unsafe { if ffi::lua_type(state, index) == ffi::LUA_TSTRING { written_at(state, index) } else { None } }
}

/// The same, where a number counts as what it looks like in text (and becomes that on the stack).
unsafe fn written_at<'a>(state: State, index: c_int) -> Option<&'a [u8]> {
    let mut len = 0;
    // SAFETY: see above; the pointer is null or valid for `len` bytes while the string stands on the stack.
    unsafe {
        let text = ffi::lua_tolstring(state, index, &mut len);
        if text.is_null() { None } else { Some(std::slice::from_raw_parts(text.cast(), len)) }
    }
}

unsafe fn type_name(state: State, of: c_int) -> &'static str {
    // SAFETY: Lua's type names are constants.
    unsafe { CStr::from_ptr(ffi::lua_typename(state, of)) }.to_str().unwrap_or("value")
}

unsafe fn registry(state: State, slot: Slot) {
    // SAFETY: see above.
    unsafe { ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, slot.0.into()) };
}

/// Which of our objects the userdata at `index` is.
unsafe fn kind_at(state: State, cell: *mut Cell, index: c_int) -> Option<Kind> {
    // SAFETY: see above.
    unsafe {
        if ffi::lua_getmetatable(state, index) == 0 {
            return None;
        }
        let identity = ffi::lua_topointer(state, -1);
        ffi::lua_settop(state, -2);
        let kinds = &(*cell).kinds;
        Kind::ALL.into_iter().find(|kind| kinds[*kind as usize].identity == identity)
    }
}

unsafe fn push_object(state: State, cell: *mut Cell, object: Object) {
    // SAFETY: see above; Lua's blocks are aligned for any type.
    unsafe {
        let data = ffi::lua_newuserdatauv(state, size_of::<Object>(), 0);
        data.cast::<Object>().write(object);
        registry(state, (*cell).kinds[object.kind as usize].metatable);
        ffi::lua_setmetatable(state, -2);
    }
}

/// Pushes the running call's `req`: a light userdata, that is a bare number, the call's own. It costs no memory,
/// and one that a script kept is known by its number, since no call's number comes again.
unsafe fn push_request(state: State, cell: *mut Cell) {
    // SAFETY: see above; the pointer is never followed.
    unsafe { ffi::lua_pushlightuserdata(state, std::ptr::without_provenance_mut((*cell).live as usize)) }
}

/// Pushes an object of the running call.
unsafe fn push_own(state: State, cell: *mut Cell, kind: Kind) {
    // SAFETY: see above.
    unsafe { push_object(state, cell, Object { kind, pool: PoolId(0), stamp: (*cell).live }) }
}

/// Pushes `headers`, `cookies` or `args` of the running call, making it the first time it is asked for.
unsafe fn push_part(state: State, cell: *mut Cell, kind: Kind) {
    // SAFETY: see above.
    unsafe {
        let known = (*cell).kinds[kind as usize];
        if known.made == (*cell).live {
            return registry(state, known.part);
        }
        push_own(state, cell, kind);
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawseti(state, ffi::LUA_REGISTRYINDEX, known.part.0.into());
        (*cell).kinds[kind as usize].made = (*cell).live;
    }
}

unsafe fn make_kind(state: State, kind: Kind) -> KindOfObject {
    const METHODS: [(&CStr, ffi::lua_CFunction); 4] =
        [(c"__index", index), (c"__newindex", new_index), (c"__pairs", pairs), (c"__tostring", to_string)];
    // SAFETY: see above.
    unsafe {
        ffi::lua_createtable(state, 0, 6);
        let identity = ffi::lua_topointer(state, -1);
        let methods = if kind == Kind::Answer { &METHODS[..0] } else { &METHODS[..] };
        for (name, function) in methods {
            ffi::lua_pushcclosure(state, *function, 0);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
        for name in [c"__name", c"__metatable"] {
            push_text(state, kind.name().as_bytes());
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
        if kind == Kind::Request {
            // The metatable of all light userdata; scripts get hold of no others.
            ffi::lua_pushlightuserdata(state, std::ptr::null_mut());
            ffi::lua_pushvalue(state, -2);
            ffi::lua_setmetatable(state, -2);
            ffi::lua_settop(state, -2);
        }
        let metatable = Slot(ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX));
        ffi::lua_pushboolean(state, 0);
        let part = Slot(ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX));
        KindOfObject { metatable, identity, part, made: 0 }
    }
}

/// The bottom of every call: pushes the function and its arguments, and calls it.
unsafe extern "C-unwind" fn enter(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        registry(state, (*cell).function);
        push_request(state, cell);
        let (arguments, results) = match (*cell).job {
            Job::Request => (1, 2), // which is called without this detour
            Job::Response => {
                push_own(state, cell, Kind::Response);
                (2, 0)
            }
            Job::Balance => {
                push_servers(state, cell);
                (2, 1)
            }
        };
        ffi::lua_callk(state, arguments, results, 0, None);
        results
    }
}

/// Pushes the table of candidates: the one shown last time if all servers are candidates and the script left
/// it as it was, a new one otherwise.
unsafe fn push_servers(state: State, cell: *mut Cell) {
    // SAFETY: see above; `subject` is valid while a call runs.
    unsafe {
        let (Some(offer), all) = ((*(*cell).subject).offer, &(*cell).servers) else {
            return ffi::lua_createtable(state, 0, 0);
        };
        let Some(servers) = all.get(offer.pool.0 as usize) else {
            return ffi::lua_createtable(state, 0, 0);
        };
        let whole = offer.candidates.len() == servers.identities.len();
        if whole && push_shown(state, servers) {
            return;
        }
        ffi::lua_createtable(state, offer.candidates.len() as c_int, 0);
        registry(state, servers.objects);
        for (i, server) in offer.candidates.iter().enumerate() {
            ffi::lua_rawgeti(state, -1, i64::from(server.0) + 1);
            ffi::lua_rawseti(state, -3, i as i64 + 1);
        }
        ffi::lua_settop(state, -2);
        if whole {
            ffi::lua_pushvalue(state, -1);
            ffi::lua_rawseti(state, ffi::LUA_REGISTRYINDEX, servers.shown.0.into());
        }
    }
}

/// Pushes the table that was shown last and says true, unless the script has changed it.
unsafe fn push_shown(state: State, servers: &ServersOfPool) -> bool {
    // SAFETY: see above.
    unsafe {
        registry(state, servers.shown);
        let mut same = ffi::lua_rawlen(state, -1) == servers.identities.len();
        for (i, identity) in servers.identities.iter().enumerate() {
            ffi::lua_rawgeti(state, -1, i as i64 + 1);
            same &= ffi::lua_touserdata(state, -1).cast_const() == *identity;
            ffi::lua_settop(state, -2);
        }
        if !same {
            ffi::lua_settop(state, -2);
        }
        same
    }
}

/// The object a metamethod was called on. Scripts cannot reach the metamethods themselves, so argument 1 is
/// always one of ours.
unsafe fn own(state: State) -> Object {
    // SAFETY: see above; all userdata with these metamethods hold an `Object`, but for the light ones.
    unsafe {
        let data = ffi::lua_touserdata(state, 1);
        if ffi::lua_type(state, 1) == ffi::LUA_TLIGHTUSERDATA {
            return Object { kind: Kind::Request, pool: PoolId(0), stamp: data.addr() as u64 };
        }
        *data.cast::<Object>()
    }
}

/// Whether the object may be used now.
fn check_live(object: Object, cell: &Cell) -> Result<(), String> {
    if object.stamp == cell.live { Ok(()) } else { Err(request::ENDED.to_string()) }
}

/// The subject of the running call and the scratch space beside it. Called only after `check_live`, that is
/// while a call runs.
fn subject(cell: &mut Cell) -> (&mut Subject<'_>, &mut Vec<u8>) {
    // SAFETY: `begin` set the pointer to a subject that its caller lends for the whole call and does not touch
    // meanwhile; the lifetime given out is that of the borrowed cell.
    (unsafe { &mut *cell.subject.cast() }, &mut cell.scratch)
}

/// `object[key]`
unsafe extern "C-unwind" fn index(state: State) -> c_int {
    // SAFETY: see above; a text stays where it is until the next step that is guarded.
    unsafe {
        let cell = cell_of(state);
        let object = own(state);
        let Some(key) = text_at(state, 2) else { refuse(state, "expected a name (a string) in the index") };
        match guard(cell, |cell| look(object, key, cell)) {
            Some(Value::Nil) => ffi::lua_pushnil(state),
            Some(Value::Text(text)) => push_text(state, text),
            Some(Value::Number(number)) => ffi::lua_pushinteger(state, number),
            Some(Value::Object(kind)) => push_part(state, cell, kind),
            None => raise(state, cell),
        }
        1
    }
}

fn look<'a>(object: Object, key: &[u8], cell: &'a mut Cell) -> Result<Value<'static>, String> {
    let value: Value<'a> = if object.kind == Kind::Server {
        server_field(object, key, cell)?
    } else {
        check_live(object, cell)?;
        let (subject, scratch) = subject(cell);
        request::read(object.kind, key, subject, scratch)?
    };
    // SAFETY: only the lifetime changes: `index` copies the text to Lua before anything can move or change it.
    Ok(unsafe { std::mem::transmute::<Value<'a>, Value<'static>>(value) })
}

fn server_field<'a>(object: Object, key: &[u8], cell: &'a Cell) -> Result<Value<'a>, String> {
    let at = object.stamp as usize;
    let Some(server) = cell.directory.servers(object.pool).get(at) else { return Ok(Value::Nil) };
    match key {
        b"name" => Ok(Value::Text(server.name.as_bytes())),
        b"address" => Ok(Value::Text(server.address.as_bytes())),
        b"in_flight" => in_flight(object, cell).map(|n| Value::Number(n.into())),
        _ => Err(request::unknown(Kind::Server, key, &["name", "address", "in_flight"])),
    }
}

fn in_flight(object: Object, cell: &Cell) -> Result<u32, String> {
    // SAFETY: the pointer is null or lent for the running call (see `subject`).
    let offer = unsafe { cell.subject.as_ref() }.and_then(|subject| subject.offer);
    let here = offer.filter(|offer| offer.pool == object.pool);
    here.and_then(|offer| offer.in_flight.get(object.stamp as usize).copied())
        .ok_or_else(|| "server.in_flight: known only while the balance function of its pool runs".to_string())
}

/// `object[key] = value`
unsafe extern "C-unwind" fn new_index(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        let object = own(state);
        let Some(key) = text_at(state, 2) else { refuse(state, "expected a name (a string) in the index") };
        let value = match ffi::lua_type(state, 3) {
            ffi::LUA_TNIL => None,
            ffi::LUA_TSTRING | ffi::LUA_TNUMBER => written_at(state, 3),
            _ => refuse(state, "a header's value: expected a string, a number or nil"),
        };
        if guard(cell, |cell| store(object, key, value, cell)).is_none() {
            raise(state, cell);
        }
        0
    }
}

fn store(object: Object, key: &[u8], value: Option<&[u8]>, cell: &mut Cell) -> Result<(), String> {
    if object.kind == Kind::Server {
        return Err("a server is read-only".to_string());
    }
    check_live(object, cell)?;
    request::write(object.kind, key, value, subject(cell).0)
}

/// `pairs(object)`: an iterator over a copy of the names and values.
unsafe extern "C-unwind" fn pairs(state: State) -> c_int {
    // SAFETY: see above; the texts of `pairs` stand in the cell and are not touched while they are copied.
    unsafe {
        let cell = cell_of(state);
        let object = own(state);
        if guard(cell, |cell| copy_pairs(object, cell)).is_none() {
            raise(state, cell);
        }
        let pairs: &[(Vec<u8>, Vec<u8>)] = &(*cell).pairs;
        ffi::lua_createtable(state, 2 * pairs.len() as c_int, 0);
        let texts = pairs.iter().flat_map(|(name, value)| [name, value]);
        for (text, at) in texts.zip(1..) {
            push_text(state, text);
            ffi::lua_rawseti(state, -2, at);
        }
        ffi::lua_pushinteger(state, 0);
        ffi::lua_pushcclosure(state, next_pair, 2);
        1
    }
}

fn copy_pairs(object: Object, cell: &mut Cell) -> Result<(), String> {
    if matches!(object.kind, Kind::Request | Kind::Response | Kind::Server) {
        return Err(format!("pairs: a {} has no list of fields", object.kind.name()));
    }
    check_live(object, cell)?;
    cell.pairs = request::pairs(object.kind, subject(cell).0);
    Ok(())
}

/// The iterator: upvalues are the sequence of names and values, and how much of it was given out.
unsafe extern "C-unwind" fn next_pair(state: State) -> c_int {
    // SAFETY: see above; the upvalues are what `pairs` set.
    unsafe {
        let at = ffi::lua_tointegerx(state, ffi::lua_upvalueindex(2), std::ptr::null_mut());
        ffi::lua_pushinteger(state, at + 2);
        ffi::lua_copy(state, -1, ffi::lua_upvalueindex(2));
        ffi::lua_rawgeti(state, ffi::lua_upvalueindex(1), at + 1);
        ffi::lua_rawgeti(state, ffi::lua_upvalueindex(1), at + 2);
        2
    }
}

/// `tostring(object)`: a server's name, the sort of thing for all others.
unsafe extern "C-unwind" fn to_string(state: State) -> c_int {
    // SAFETY: see above; as in `index`.
    unsafe {
        let cell = cell_of(state);
        let object = own(state);
        match object.kind {
            Kind::Server => match guard(cell, |cell| look(object, b"name", cell)) {
                Some(Value::Text(name)) => push_text(state, name),
                _ => raise(state, cell),
            },
            kind => push_text(state, kind.name().as_bytes()),
        }
        1
    }
}

/// `rsp.respond { status =, headers =, body = }`
unsafe extern "C-unwind" fn respond(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
            refuse(
                state,
                "rsp.respond: expected a table: rsp.respond { status = 200, headers = {}, body = \"\" }",
            );
        }
        (*cell).draft = Draft::default();
        ffi::lua_settop(state, 1);
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 1) != 0 {
            draft_entry(state, cell);
            ffi::lua_settop(state, 2);
        }
        let finished = guard(cell, |cell| {
            let finished = cell.draft.finish()?;
            answer::encode(&finished, &mut cell.scratch);
            Ok(())
        });
        if finished.is_none() {
            raise(state, cell);
        }
        push_answer(state, cell)
    }
}

/// One entry of `rsp.respond`'s table: key at 2, value at 3.
unsafe fn draft_entry(state: State, cell: *mut Cell) {
    // SAFETY: see above.
    unsafe {
        let Some(key) = text_at(state, 2) else {
            refuse(state, "rsp.respond: keys are status, headers, body")
        };
        let done = match guard(cell, |_| Key::of(key)) {
            Some(Key::Status) => {
                let status = integer_at(state, 3);
                guard(cell, |cell| cell.draft.set_status(status))
            }
            Some(Key::Body) => {
                let Some(body) = written_at(state, 3) else {
                    refuse(state, "rsp.respond: body: expected a string")
                };
                guard(cell, |cell| {
                    cell.draft.set_body(body);
                    Ok(())
                })
            }
            Some(Key::Headers) => {
                draft_headers(state, cell);
                Some(())
            }
            None => None,
        };
        if done.is_none() {
            raise(state, cell);
        }
    }
}

/// A whole number at `index`.
unsafe fn integer_at(state: State, index: c_int) -> Option<i64> {
    let mut whole = 0;
    // SAFETY: see above.
    let number = unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TNUMBER {
            return None;
        }
        ffi::lua_tointegerx(state, index, &mut whole)
    };
    if whole != 0 { Some(number) } else { None }
}

/// The `headers` table at 3: values are texts, or sequences of texts for fields that stand several times.
unsafe fn draft_headers(state: State, cell: *mut Cell) {
    // SAFETY: see above.
    unsafe {
        if ffi::lua_type(state, 3) != ffi::LUA_TTABLE {
            refuse(state, "rsp.respond: headers: expected a table");
        }
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 3) != 0 {
            let Some(name) = text_at(state, 4) else {
                refuse(state, "rsp.respond: headers: names are strings")
            };
            if ffi::lua_type(state, 5) == ffi::LUA_TTABLE {
                for at in 1..=ffi::lua_rawlen(state, 5) as i64 {
                    ffi::lua_rawgeti(state, 5, at);
                    draft_header(state, cell, name, 6);
                    ffi::lua_settop(state, 5);
                }
            } else {
                draft_header(state, cell, name, 5);
            }
            ffi::lua_settop(state, 4);
        }
    }
}

unsafe fn draft_header(state: State, cell: *mut Cell, name: &[u8], index: c_int) {
    // SAFETY: see above.
    unsafe {
        let Some(value) = written_at(state, index) else {
            refuse(state, "rsp.respond: headers: values are strings, numbers or lists of them")
        };
        if guard(cell, |cell| cell.draft.add_header(name, value)).is_none() {
            raise(state, cell);
        }
    }
}

/// Pushes the encoded answer that stands in the scratch space.
unsafe fn push_answer(state: State, cell: *mut Cell) -> c_int {
    // SAFETY: see above; the new block has the size of the bytes.
    unsafe {
        let bytes: &[u8] = &(*cell).scratch;
        let data = ffi::lua_newuserdatauv(state, bytes.len(), 0);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.cast(), bytes.len());
        registry(state, (*cell).kinds[Kind::Answer as usize].metatable);
        ffi::lua_setmetatable(state, -2);
        1
    }
}

/// `rsp.redirect(url, status)`
unsafe extern "C-unwind" fn redirect(state: State) -> c_int {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        let Some(url) = text_at(state, 1) else {
            refuse(state, "rsp.redirect: expected a url: rsp.redirect(url, status)")
        };
        let status = match ffi::lua_type(state, 2) {
            ffi::LUA_TNONE | ffi::LUA_TNIL => None,
            _ => Some(integer_at(state, 2).unwrap_or_default()),
        };
        let made = guard(cell, |cell| {
            answer::encode(&answer::redirect(url, status)?, &mut cell.scratch);
            Ok(())
        });
        if made.is_none() {
            raise(state, cell);
        }
        push_answer(state, cell)
    }
}

/// Lua's `setmetatable`, without finalizers: Lua runs those with hooks switched off, outside of any budget.
unsafe extern "C-unwind" fn set_metatable(state: State) -> c_int {
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

/// The text of an error value that is not a string.
unsafe extern "C-unwind" fn describe(state: State) -> c_int {
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

/// Called every `budget::INSTRUCTIONS` VM instructions; after every single one once the budget is spent, so
/// that no `pcall` gets anywhere. Coroutines inherit it.
unsafe extern "C-unwind" fn hook(state: State, at: *mut ffi::lua_Debug) {
    // SAFETY: see above.
    unsafe {
        let cell = cell_of(state);
        if !(*cell).budget.is_spent(cpu_time) {
            if ffi::lua_gethookcount(state) != budget::INSTRUCTIONS {
                // A coroutine that was stopped in an earlier call and lived on.
                ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, budget::INSTRUCTIONS);
            }
            return;
        }
        for thread in [state, (*cell).main] {
            ffi::lua_sethook(thread, Some(hook), ffi::LUA_MASKCOUNT, 1);
        }
        guard(cell, |cell| {
            cell.message = cell.budget.text();
            Ok(())
        });
        ffi::lua_getinfo(state, c"Sl".as_ptr(), at);
        push_position(state, at);
        push_text(state, (*cell).message.as_bytes());
        ffi::lua_concat(state, 2);
        ffi::lua_error(state);
    }
}

/// What this thread has spent since it began.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours. The clock exists on every Linux; failing leaves zero.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
