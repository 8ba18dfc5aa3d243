//! A Lua VM for one config: the standard library without functions that reach outside or escape the budget, a memory
//! limit, and the table `rsp` that the loader completes.
//!
//! Three holes are closed: `xpcall` calls its message function after the failed function has returned (Lua's own
//! calls it before, and inside a hook that would switch the budget off), `setmetatable` accepts no `__gc`
//! (ffi/calls.rs), and coroutines (ffi/coroutines.rs) and functions of the library that may take long
//! (ffi/library.rs) keep to the budget. What is left is bounded by the memory of the VM: a single `..` or `<` of
//! strings of many megabytes.

use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value};

use super::budget;
use super::failure;
use super::ffi::{self, Machine};
use super::parts;
use crate::config::ScriptLimits;

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
local pcall, tostring, concat, pack = pcall, tostring, table.concat, table.pack
local collectgarbage, error = collectgarbage, error

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
    /// A new VM: sandboxed standard library, memory limit, budget hook, and a global table `rsp` with the functions
    /// that handlers call.
    pub(super) fn new() -> mlua::Result<Vm> {
        let libraries =
            StdLib::COROUTINE | StdLib::TABLE | StdLib::STRING | StdLib::UTF8 | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let machine = Machine::new(&lua)?;
        ffi::watch(&lua)?;
        narrow(&lua)?;
        let rsp = lua.create_table()?;
        for (name, function) in machine.functions()? {
            rsp.set(name, function)?;
        }
        parts::install(&lua, &rsp)?;
        lua.globals().set("rsp", rsp)?;
        lua.globals().set("setmetatable", machine.set_metatable()?)?;
        ffi::protect(&lua)?;
        lua.set_memory_limit(ScriptLimits::default().memory)?;
        Ok(Vm { lua, machine })
    }

    pub(super) fn lua(&self) -> &Lua {
        &self.lua
    }

    /// Sets what handlers may use.
    pub(super) fn limit(&mut self, limits: ScriptLimits) -> mlua::Result<()> {
        self.machine.set_limits(limits);
        if self.lua.used_memory() > limits.memory {
            self.lua.gc_collect()?;
        }
        if self.lua.used_memory() > limits.memory {
            let (used, most) = (self.lua.used_memory() >> 10, limits.memory >> 10);
            let text = format!(
                "script.memory: loading the config leaves {used} KiB in use, expected up to {most} KiB"
            );
            return Err(mlua::Error::runtime(text));
        }
        self.lua.set_memory_limit(limits.memory)?;
        Ok(())
    }

    /// Runs a loaded config chunk within its budget of CPU time.
    pub(super) fn run_config(&self, function: &Function) -> mlua::Result<()> {
        self.machine.with_budget(budget::CONFIG, || function.call::<()>(()))
    }
}

/// Bytes of what `print` was given that are looked at.
const LONGEST_LINE: usize = 16_000;

fn narrow(lua: &Lua) -> mlua::Result<()> {
    let log = lua.create_function(|_, line: mlua::LuaString| {
        let bytes = &line.as_bytes()[..line.as_bytes().len().min(LONGEST_LINE)];
        log::info!(target: "lua", "{}", failure::single_line(&String::from_utf8_lossy(bytes)));
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
