//! `require`: modules beside the config file, and the policies shipped with rsp. Only Lua text is loaded, only during
//! the load of the config, and each file is read once (`Source` keeps it for the other workers).

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{Error, Function, Lua, Table, Value};

use super::super::failure::is_absent;
use super::super::ffi::guard_chunk;
use super::super::source::EntryPoint;
use super::builder::{Builder, Loading};
use super::position::{Position, SHIPPED};

/// The policies of `lua/`: name, text, and for those that make a balance function an example of the call.
const POLICIES: &[(&str, &str, Option<&str>)] = &[
    ("rsp.round_robin", include_str!("../../../lua/round_robin.lua"), Some("require \"rsp.round_robin\" ()")),
    ("rsp.least_busy", include_str!("../../../lua/least_busy.lua"), Some("require \"rsp.least_busy\" ()")),
    ("rsp.by_host", include_str!("../../../lua/by_host.lua"), None),
];

const LIBRARIES: [&str; 7] = ["string", "table", "math", "utf8", "coroutine", "os", "rsp"];

/// A module that was found.
struct Module {
    /// Its name in Lua's messages.
    file: String,
    text: Arc<[u8]>,
    /// The call that makes the function, for a policy that is not a balance function itself.
    maker: Option<&'static str>,
}

/// Sets the global `require`, and `package.loaded` with the available libraries.
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
            RequireError::Here(text) => Error::runtime(format!("{}{text}", here(lua))),
            RequireError::Lua(error) => error,
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

enum RequireError {
    /// An error of the line that calls `require`.
    Here(String),
    /// An error inside the module, which has its position already.
    Lua(Error),
}

impl From<Error> for RequireError {
    fn from(error: Error) -> RequireError {
        RequireError::Lua(error)
    }
}

fn here(lua: &Lua) -> String {
    Position::of_call(lua).map(|position| format!("{position}: ")).unwrap_or_default()
}

fn require(lua: &Lua, name: &Value, loaded: &Table, loading: &Loading) -> Result<Value, RequireError> {
    let error = || {
        RequireError::Here(format!(
            "require: got {}, expected the name of a module",
            super::error::show(name)
        ))
    };
    let text = name.as_string().ok_or_else(error)?.to_string_lossy();
    let known: Value = loaded.raw_get(name)?;
    if !known.is_nil() {
        return Ok(known);
    }
    let late = || RequireError::Here(format!("require \"{text}\": only while the config is loaded"));
    let found = loading.with(|builder| open(&text, builder)).ok_or_else(late)?;
    let found = found.map_err(|what| RequireError::Here(format!("require \"{text}\": {what}")))?;
    let value = run(lua, &text, &found);
    loading.with(|builder| close(&found, &value, builder));
    // Like Lua's own, `require` returns what the module put into package.loaded if it returns nothing.
    let value = match (value?, loaded.raw_get(name)?) {
        (Value::Nil, Value::Nil) => Value::Boolean(true),
        (Value::Nil, set) => set,
        (value, _) => value,
    };
    loaded.raw_set(name, &value)?;
    Ok(value)
}

fn open(name: &str, builder: &mut Builder) -> Result<Module, String> {
    if builder.opening.iter().any(|other| other == name) {
        let circle: Vec<&str> = builder.opening.iter().map(String::as_str).chain([name]).collect();
        return Err(format!("modules require each other in a circle ({})", circle.join(", ")));
    }
    let found = find(name, builder)?;
    builder.texts.insert(found.file.clone(), Arc::clone(&found.text));
    builder.opening.push(name.to_owned());
    Ok(found)
}

fn close(found: &Module, value: &mlua::Result<Value>, builder: &mut Builder) {
    builder.opening.pop();
    if let (Some(call), Ok(Value::Function(function))) = (found.maker, value) {
        builder.makers.push((function.clone(), call.to_owned()));
    }
}

fn run(lua: &Lua, name: &str, found: &Module) -> mlua::Result<Value> {
    compile(lua, &found.file, &found.text)?.call((name, found.file.as_str()))
}

/// Compiles Lua text. A UTF-8 byte order mark and a first line with `#` are skipped, as Lua does for files.
pub(super) fn compile(lua: &Lua, file: &str, text: &[u8]) -> mlua::Result<Function> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.first() == Some(&0x1b) {
        return Err(Error::runtime(format!("{file}:1: compiled Lua, expected Lua text")));
    }
    let text = match text.first() {
        Some(b'#') => &text[text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len())..],
        _ => text,
    };
    let chunk = lua.load(text).set_name(format!("@{file}")).set_mode(ChunkMode::Text).into_function()?;
    guard_chunk(lua, chunk)
}

fn find(name: &str, builder: &mut Builder) -> Result<Module, String> {
    if let Some((name, text, maker)) = POLICIES.iter().find(|(policy, ..)| *policy == name) {
        let file = format!("{SHIPPED}{}.lua", name.trim_start_matches("rsp."));
        return Ok(Module { file, text: Arc::from(text.as_bytes()), maker: *maker });
    }
    let part =
        |part: &str| !part.is_empty() && !part.contains(['/', '\\']) && !part.contains(char::is_control);
    if !name.split('.').all(part) {
        return Err("bad name, expected words with dots between them, such as \"lib.sites\"".into());
    }
    let EntryPoint::File(main) = builder.source.entry() else {
        return Err("no such module comes with rsp".into());
    };
    let folder = main.parent().unwrap_or(Path::new("")).to_owned();
    let stem = folder.join(name.replace('.', "/"));
    let paths = [with_ending(&stem, ".lua"), stem.join("init.lua")];
    for path in &paths {
        if leads_out(path, &folder) {
            return Err(format!("{} is a link that leads out of the config's folder", path.display()));
        }
        match builder.source.read(path) {
            Ok(text) => return Ok(Module { file: path.display().to_string(), text, maker: None }),
            Err(reason) if reason == "No such file or directory" || reason == "Not a directory" => {}
            Err(reason) => return Err(format!("cannot open {}: {reason}", path.display())),
        }
    }
    if is_absent(name) {
        return Err(format!("{name} is not available in rsp"));
    }
    Err(format!("not found, looked for {} and {}", paths[0].display(), paths[1].display()))
}

/// Whether links on the way to a file lead out of this folder.
fn leads_out(path: &Path, folder: &Path) -> bool {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    match (path.canonicalize(), folder.canonicalize()) {
        (Ok(path), Ok(folder)) => !path.starts_with(folder),
        // It cannot be read either, or was read before.
        _ => false,
    }
}

fn with_ending(stem: &Path, ending: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(ending);
    PathBuf::from(path)
}
