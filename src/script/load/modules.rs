//! `require`: modules beside the config file, and the policies that come with rsp. Only Lua text is loaded, only
//! while the config is, and each file is read once (`Source` keeps it for the other workers).

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{Error, Function, Lua, Table, Value};

use super::super::failure::is_absent;
use super::super::source::Entry;
use super::builder::{Draft, Loading};
use super::position::{Place, SHIPPED};

/// The policies of `lua/`: name, text, and for those that make a balance function how they are called.
const POLICIES: &[(&str, &str, Option<&str>)] = &[
    ("rsp.round_robin", include_str!("../../../lua/round_robin.lua"), Some("require \"rsp.round_robin\" ()")),
    ("rsp.least_busy", include_str!("../../../lua/least_busy.lua"), Some("require \"rsp.least_busy\" ()")),
    ("rsp.by_host", include_str!("../../../lua/by_host.lua"), None),
];

const LIBRARIES: [&str; 7] = ["string", "table", "math", "utf8", "coroutine", "os", "rsp"];

/// A module found.
struct Found {
    /// As Lua's messages name it.
    file: String,
    text: Arc<[u8]>,
    /// The call that makes the function, for a policy that is no balance function itself.
    maker: Option<&'static str>,
}

/// Sets the global `require`, and `package.loaded` with what is there without it.
pub(super) fn install(lua: &Lua, loading: &Rc<Loading>) -> mlua::Result<()> {
    let globals = lua.globals();
    let package = table_in(lua, &globals, "package")?;
    let loaded = table_in(lua, &package, "loaded")?;
    for name in LIBRARIES {
        loaded.raw_set(name, globals.raw_get::<Value>(name)?)?;
    }
    let loading = Rc::clone(loading);
    let require = move |lua: &Lua, name: Value| {
        require(lua, &name, &loaded, &loading).map_err(|problem| match problem {
            Problem::Here(text) => Error::runtime(format!("{}{text}", here(lua))),
            Problem::Lua(error) => error,
        })
    };
    globals.raw_set("require", lua.create_function(require)?)
}

fn table_in(lua: &Lua, parent: &Table, name: &str) -> mlua::Result<Table> {
    if let Value::Table(table) = parent.raw_get(name)? {
        return Ok(table);
    }
    let table = lua.create_table()?;
    parent.raw_set(name, &table)?;
    Ok(table)
}

enum Problem {
    /// An error of the line that calls `require`.
    Here(String),
    /// An error inside the module, which has its place already.
    Lua(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::Lua(error)
    }
}

fn here(lua: &Lua) -> String {
    Place::of_call(lua).map(|place| format!("{place}: ")).unwrap_or_default()
}

fn require(lua: &Lua, name: &Value, loaded: &Table, loading: &Loading) -> Result<Value, Problem> {
    let wrong =
        || Problem::Here(format!("require: got {}, expected the name of a module", super::error::show(name)));
    let text = name.as_string().ok_or_else(wrong)?.to_string_lossy();
    let known: Value = loaded.raw_get(name)?;
    if !known.is_nil() {
        return Ok(known);
    }
    let late = || Problem::Here(format!("require \"{text}\": only while the config is loaded"));
    let found = loading.with(|draft| open(&text, draft)).ok_or_else(late)?;
    let found = found.map_err(|what| Problem::Here(format!("require \"{text}\": {what}")))?;
    let value = run(lua, &text, &found);
    loading.with(|draft| close(&found, &value, draft));
    // `require` gives what the module put into package.loaded when it returns nothing, as Lua's own does.
    let value = match (value?, loaded.raw_get(name)?) {
        (Value::Nil, Value::Nil) => Value::Boolean(true),
        (Value::Nil, set) => set,
        (value, _) => value,
    };
    loaded.raw_set(name, &value)?;
    Ok(value)
}

fn open(name: &str, draft: &mut Draft) -> Result<Found, String> {
    if draft.opening.iter().any(|other| other == name) {
        let circle: Vec<&str> = draft.opening.iter().map(String::as_str).chain([name]).collect();
        return Err(format!("modules require each other in a circle ({})", circle.join(", ")));
    }
    let found = find(name, draft)?;
    draft.texts.insert(found.file.clone(), Arc::clone(&found.text));
    draft.opening.push(name.to_owned());
    Ok(found)
}

fn close(found: &Found, value: &mlua::Result<Value>, draft: &mut Draft) {
    draft.opening.pop();
    if let (Some(call), Ok(Value::Function(function))) = (found.maker, value) {
        draft.makers.push((function.clone(), call.to_owned()));
    }
}

fn run(lua: &Lua, name: &str, found: &Found) -> mlua::Result<Value> {
    compile(lua, &found.file, &found.text)?.call((name, found.file.as_str()))
}

/// Lua text as a function. A mark of UTF-8 at the start and a first line with `#` are passed over, as Lua's own
/// reader of files does.
pub(super) fn compile(lua: &Lua, file: &str, text: &[u8]) -> mlua::Result<Function> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.first() == Some(&0x1b) {
        return Err(Error::runtime(format!("{file}:1: compiled Lua, expected Lua text")));
    }
    let text = match text.first() {
        Some(b'#') => &text[text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len())..],
        _ => text,
    };
    lua.load(text).set_name(format!("@{file}")).set_mode(ChunkMode::Text).into_function()
}

fn find(name: &str, draft: &mut Draft) -> Result<Found, String> {
    if let Some((name, text, maker)) = POLICIES.iter().find(|(policy, ..)| *policy == name) {
        let file = format!("{SHIPPED}{}.lua", name.trim_start_matches("rsp."));
        return Ok(Found { file, text: Arc::from(text.as_bytes()), maker: *maker });
    }
    let part =
        |part: &str| !part.is_empty() && !part.contains(['/', '\\']) && !part.contains(char::is_control);
    if !name.split('.').all(part) {
        return Err("bad name, expected words with dots between them, such as \"lib.sites\"".into());
    }
    let Entry::File(main) = draft.source.entry() else { return Err("no such module comes with rsp".into()) };
    let stem = main.parent().unwrap_or(Path::new("")).join(name.replace('.', "/"));
    let paths = [with_ending(&stem, ".lua"), stem.join("init.lua")];
    for path in &paths {
        match draft.source.read(path) {
            Ok(text) => return Ok(Found { file: path.display().to_string(), text, maker: None }),
            Err(reason) if reason == "No such file or directory" || reason == "Not a directory" => {}
            Err(reason) => return Err(format!("cannot open {}: {reason}", path.display())),
        }
    }
    if is_absent(name) {
        return Err(format!("{name} is not available in rsp"));
    }
    Err(format!("not found, looked for {} and {}", paths[0].display(), paths[1].display()))
}

fn with_ending(stem: &Path, ending: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(ending);
    PathBuf::from(path)
}
