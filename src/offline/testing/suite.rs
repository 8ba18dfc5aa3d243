//! The tests of one file: `rsp.test("name", function(t) … end)`. The file runs anew for each of its tests, so that none
//! sees what another one left behind.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::chunk::ChunkMode;
use mlua::{Error, Function, HookTriggers, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, VmState};

use super::Tested;
use super::coverage::Coverage;
use super::tester::Tester;
use super::values::show;
use crate::base::os_error::os_error;
use crate::offline::OfflineSite;
use crate::script::Source;

/// A test that runs longer does not end.
const LONGEST: Duration = Duration::from_secs(10);
/// Lua's instructions between two looks at the clock.
const INSTRUCTIONS: u32 = 100_000;

pub struct Suite {
    file: String,
    text: Vec<u8>,
    names: Vec<String>,
}

/// The file's Lua, with the tests that it named.
struct Loaded {
    /// Keeps the functions alive.
    _lua: Lua,
    tests: Vec<(String, Function)>,
    printed: Rc<RefCell<Vec<String>>>,
}

impl Suite {
    pub fn load(path: &Path) -> Result<Suite, String> {
        let file = path.display().to_string();
        let text =
            std::fs::read(path).map_err(|error| format!("cannot open {file}: {}", os_error(&error)))?;
        let mut suite = Suite { file, text, names: Vec::new() };
        let loaded = suite.run_file()?;
        suite.names = loaded.tests.into_iter().map(|(name, _)| name).collect();
        if suite.names.is_empty() {
            return Err(format!(
                "{}:1: no tests, expected rsp.test(\"name\", function(t) … end)",
                suite.file
            ));
        }
        Ok(suite)
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Runs one test.
    pub fn run(&self, at: usize, source: &Source, coverage: &mut Coverage) -> Tested {
        let began = Instant::now();
        let mut printed = Vec::new();
        let failure = self.try_run(at, source, coverage, &mut printed).err();
        let seconds = began.elapsed().as_secs_f64();
        Tested { file: self.file.clone(), name: self.names[at].clone(), failure, printed, seconds }
    }

    fn try_run(
        &self,
        at: usize,
        source: &Source,
        coverage: &mut Coverage,
        printed: &mut Vec<String>,
    ) -> Result<(), String> {
        let mut loaded = self.run_file()?;
        if at >= loaded.tests.len() {
            return Err(format!("{}:1: the file has other tests each time it runs", self.file));
        }
        let (_, test) = loaded.tests.swap_remove(at);
        let site = Rc::new(OfflineSite::load(&mut source.apart()).map_err(|error| error.0)?);
        let began = Tester::new(site.clone()).begin();
        let ran = began.and_then(|tester| test.call::<()>(tester).map_err(|error| one_line(&error)));
        coverage.add(&site);
        printed.append(&mut loaded.printed.borrow_mut());
        ran
    }

    fn run_file(&self) -> Result<Loaded, String> {
        let libraries =
            StdLib::COROUTINE | StdLib::TABLE | StdLib::STRING | StdLib::UTF8 | StdLib::MATH | StdLib::OS;
        let failed = |error: Error| one_line(&error);
        let lua = Lua::new_with(libraries, LuaOptions::default()).map_err(failed)?;
        let (tests, printed) = (Rc::new(RefCell::new(Vec::new())), Rc::default());
        prepare(&lua, &tests, &printed).map_err(failed)?;
        let chunk = lua.load(&self.text).set_name(format!("@{}", self.file)).set_mode(ChunkMode::Text);
        chunk.exec().map_err(failed)?;
        let tests = tests.take();
        Ok(Loaded { _lua: lua, tests, printed })
    }
}

type Tests = Rc<RefCell<Vec<(String, Function)>>>;

/// Sets `rsp.test` and `print`, takes away what reaches the system, and limits the time.
fn prepare(lua: &Lua, tests: &Tests, printed: &Rc<RefCell<Vec<String>>>) -> mlua::Result<()> {
    let globals = lua.globals();
    let os: Table = globals.get("os")?;
    for name in
        ["execute", "exit", "getenv", "remove", "rename", "setlocale", "tmpname", "time", "clock", "date"]
    {
        os.raw_remove(name)?;
    }
    for name in ["dofile", "loadfile"] {
        globals.raw_remove(name)?;
    }
    globals.get::<Table>("math")?.get::<Function>("randomseed")?.call::<()>(1)?;
    let (rsp, tests) = (lua.create_table()?, tests.clone());
    let test = move |_: &Lua, (name, function): (LuaString, Function)| {
        tests.borrow_mut().push((name.to_string_lossy(), function));
        Ok(())
    };
    rsp.set("test", lua.create_function(test)?)?;
    globals.set("rsp", rsp)?;
    let printed = printed.clone();
    let print = move |_: &Lua, words: MultiValue| {
        let words: Vec<String> = words
            .iter()
            .map(|word| match word.as_string() {
                Some(text) => text.to_string_lossy(),
                None => show(word),
            })
            .collect();
        printed.borrow_mut().extend(words.join("\t").lines().map(str::to_owned));
        Ok(())
    };
    globals.set("print", lua.create_function(print)?)?;
    let until = Instant::now() + LONGEST;
    lua.set_hook(HookTriggers::new().every_nth_instruction(INSTRUCTIONS), move |_, _| {
        match Instant::now() > until {
            true => Err(Error::runtime(format!("ran longer than {} s", LONGEST.as_secs()))),
            false => Ok(VmState::Continue),
        }
    })
}

/// Lua's message in one line, without its trace.
pub fn one_line(error: &Error) -> String {
    let text = match error {
        Error::CallbackError { cause, .. } => return one_line(cause),
        Error::RuntimeError(text) => text.clone(),
        other => other.to_string(),
    };
    text.split("\nstack traceback:").next().unwrap_or_default().replace('\n', " ")
}
