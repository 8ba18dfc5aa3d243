//! A Lua VM for one config: the standard library without functions that reach outside or escape the budget, a memory
//! limit, and the table `rsp` that the loader completes.
//!
//! Three holes are closed: `xpcall` calls its message function after the failed function has returned (Lua's own
//! calls it before, and inside a hook that would switch the budget off), `setmetatable` accepts no `__gc`
//! (ffi/calls.rs), and coroutines (ffi/coroutines.rs) and long loops of the library (ffi/library.rs) are checked. The
//! hook does not see a single long call that remains: `string.find` with a backtracking pattern, or work on strings
//! of many megabytes (`..`, `upper`, `gsub`), which is noticed only every so many instructions.

use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value};

use super::budget;
use super::failure;
use super::ffi::{self, Machine};
use super::parts;

pub(super) struct Vm {
    lua: Lua,
    pub(super) machine: Machine,
}

/// The handlers of the config, as the loader found them.
#[derive(Default)]
pub(super) struct ScriptHandlers {
    pub on_request: Option<Function>,
    pub on_response: Option<Function>,
    pub on_answer: Option<Function>,
    pub on_log: Option<Function>,
    pub on_connect: Option<Function>,
    pub on_start: Option<Function>,
    /// In the order of their calls.
    pub every: Vec<Function>,
    /// Per listener that has one.
    pub sni: Vec<Function>,
    /// Per pool.
    pub balance: Vec<Option<Function>>,
    /// Per pool.
    pub hash_by: Vec<Option<Function>>,
    /// Per pool: the table that `rsp.pool` returned, which identifies the pool.
    pub pools: Vec<Value>,
}

/// Runs before globals are replaced, with `log` (one line to the log) as its argument.
const PRELUDE: &str = r#"
local log = ...
local load, pcall, tostring, concat, pack = load, pcall, tostring, table.concat, table.pack
local collectgarbage, error = collectgarbage, error

function _G.load(chunk, name, _, ...) return load(chunk, name, "t", ...) end

function _G.print(...)
  local words = pack(...)
  for i = 1, words.n do words[i] = tostring(words[i]) end
  log(concat(words, "\t"))
end

local function finish(handler, ok, ...)
  if ok then return true, ... end
  local _, told = pcall(handler, ...)
  return false, told
end
function _G.xpcall(f, handler, ...) return finish(handler, pcall(f, ...)) end

function _G.collectgarbage(what)
  if what ~= "count" then error('collectgarbage: only "count" is available', 2) end
  return collectgarbage("count")
end
"#;

impl Vm {
    /// A new VM: sandboxed standard library, memory limit, budget hook, and a global table `rsp` with `rsp.respond`,
    /// `rsp.redirect` and `rsp.abort`.
    pub(super) fn new() -> mlua::Result<Vm> {
        let libraries =
            StdLib::COROUTINE | StdLib::TABLE | StdLib::STRING | StdLib::UTF8 | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let machine = Machine::new(&lua)?;
        ffi::watch(&lua)?;
        narrow(&lua)?;
        let [respond, redirect, abort, set_metatable] = machine.functions()?;
        let rsp = lua.create_table()?;
        rsp.set("respond", respond)?;
        rsp.set("redirect", redirect)?;
        parts::install(&lua, &rsp)?;
        rsp.set("abort", abort)?;
        lua.globals().set("rsp", rsp)?;
        lua.globals().set("setmetatable", set_metatable)?;
        lua.set_memory_limit(budget::MEMORY)?;
        Ok(Vm { lua, machine })
    }

    pub(super) fn lua(&self) -> &Lua {
        &self.lua
    }

    /// Runs a loaded config chunk within its budget of CPU time.
    pub(super) fn run_config(&self, function: &Function) -> mlua::Result<()> {
        self.machine.with_budget(budget::CONFIG, || function.call::<()>(()))
    }
}

fn narrow(lua: &Lua) -> mlua::Result<()> {
    let log = lua.create_function(|_, line: mlua::LuaString| {
        log::info!(target: "lua", "{}", failure::single_line(&line.to_string_lossy()));
        Ok(())
    })?;
    lua.load(PRELUDE).set_name("=rsp").call::<()>(log)?;
    let globals = lua.globals();
    for name in ["dofile", "loadfile", "warn"] {
        globals.raw_remove(name)?;
    }
    globals.get::<Table>("string")?.raw_remove("dump")?;
    keep_only(&globals.get("os")?, &["time", "clock", "date", "difftime"])
}

fn keep_only(table: &Table, names: &[&str]) -> mlua::Result<()> {
    let present: Vec<String> =
        table.pairs::<String, Value>().map(|p| Ok(p?.0)).collect::<mlua::Result<_>>()?;
    for name in present.iter().filter(|name| !names.contains(&name.as_str())) {
        table.raw_remove(name.as_str())?;
    }
    Ok(())
}
