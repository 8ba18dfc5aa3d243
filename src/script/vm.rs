//! Stand-in for the VM while the loader is written beside it.

use mlua::{Function, Lua, LuaOptions, StdLib};

pub(super) struct Vm {
    lua: Lua,
}

impl Vm {
    pub(super) fn new() -> mlua::Result<Vm> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::UTF8 | StdLib::COROUTINE;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let rsp = lua.create_table()?;
        rsp.raw_set("respond", lua.create_function(|_, answer: mlua::Table| Ok(answer))?)?;
        rsp.raw_set("redirect", lua.create_function(|_, url: String| Ok(url))?)?;
        lua.globals().raw_set("rsp", rsp)?;
        Ok(Vm { lua })
    }

    pub(super) fn lua(&self) -> &Lua {
        &self.lua
    }

    pub(super) fn run_config(&self, function: &Function) -> mlua::Result<()> {
        function.call(())
    }
}
