//! Positions in scripts: file and line of a running call, and Lua's errors as one line. Lua cuts file names to 59
//! bytes in its messages; they are restored here.

use std::collections::BTreeMap;
use std::sync::Arc;

use mlua::{Error, Lua};

use super::super::failure::with_hints;
use super::error::PathStep;
use super::key_lines::Tokens;
use crate::config::ScriptLimits;

/// Scripts by their name in Lua.
pub(super) type Texts = BTreeMap<String, Arc<[u8]>>;

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Position {
    pub file: String,
    pub line: usize,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Prefix of chunk names shipped with rsp: positions in them are useless to operators.
pub(super) const SHIPPED: &str = "rsp/";

impl Position {
    /// The line that called the running function. Frames of Rust and of shipped modules are skipped.
    pub(super) fn of_call(lua: &Lua) -> Option<Position> {
        let mut shipped = None;
        for level in 1.. {
            match lua.inspect_stack(level, frame) {
                None => break,
                Some(Some(position)) if position.file.starts_with(SHIPPED) => {
                    shipped = shipped.or(Some(position))
                }
                Some(Some(position)) => return Some(position),
                Some(None) => {}
            }
        }
        shipped
    }

    /// The position of a key in the call's table, as far as the text shows it.
    pub(super) fn of_key(&self, texts: &Texts, path: &[PathStep]) -> Position {
        let line = texts.get(&self.file).and_then(|text| Tokens::of(text).line_of(self.line, path));
        Position { file: self.file.clone(), line: line.unwrap_or(self.line) }
    }
}

fn frame(debug: &mlua::debug::Debug) -> Option<Position> {
    let source = debug.source();
    let file = source.source.as_deref()?.strip_prefix('@')?.to_owned();
    Some(Position { file, line: debug.current_line()? })
}

/// What Lua says.
const SHORT: &str = "not enough memory";

/// A Lua error as one line `FILE:LINE: message`. `main` is used if the error has no position.
pub(super) fn one_line(error: &Error, main: &str, texts: &Texts, limits: ScriptLimits) -> String {
    let (message, trace) = parts(error);
    // Lua's message has neither the limit nor a position.
    let message = if message == SHORT { limits.memory_text() } else { message };
    let message = with_hints(&restore_name(&flat(message), texts));
    if texts.keys().any(|file| starts_with_position(&message, file)) {
        return message;
    }
    let known = |line: &str| {
        let line = restore_name(line.trim(), texts);
        texts.keys().find_map(|file| starts_with_position(&line, file).then(|| position_of(&line, file)))
    };
    let position = trace.lines().find_map(known).unwrap_or_else(|| format!("{main}:1"));
    format!("{position}: {message}")
}

/// The message at the root of an error, and its stack trace.
fn parts(error: &Error) -> (String, String) {
    match error {
        Error::CallbackError { cause, traceback } => match parts(cause) {
            (message, trace) if trace.is_empty() => (message, traceback.clone()),
            inner => inner,
        },
        Error::WithContext { cause, .. } => parts(cause),
        Error::RuntimeError(text) | Error::SyntaxError { message: text, .. } => {
            let (message, trace) = text.split_once("\nstack traceback:").unwrap_or((text, ""));
            (message.to_owned(), trace.to_owned())
        }
        Error::MemoryError(_) => (SHORT.into(), String::new()),
        other => (other.to_string(), String::new()),
    }
}

/// The text on one line.
pub(super) fn flat(text: String) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_control()).map(str::trim).filter(|part| !part.is_empty()).collect();
    words.join(" ")
}

const CUT: usize = 59;

/// Restores the file name that Lua cut to `...` and its last 56 bytes.
fn restore_name(message: &str, texts: &Texts) -> String {
    for file in texts.keys().filter(|file| file.len() > CUT) {
        let tail = &file.as_bytes()[file.len() - (CUT - 3)..];
        let cut = [b"...", tail, b":"].concat();
        if message.as_bytes().starts_with(&cut) {
            return format!("{file}:{}", String::from_utf8_lossy(&message.as_bytes()[cut.len()..]));
        }
    }
    message.to_owned()
}

fn starts_with_position(line: &str, file: &str) -> bool {
    let rest = line.strip_prefix(file).and_then(|rest| rest.strip_prefix(':'));
    rest.and_then(|rest| rest.split_once(':')).is_some_and(|(line, _)| line.parse::<usize>().is_ok())
}

fn position_of(line: &str, file: &str) -> String {
    let rest = &line[file.len() + 1..];
    format!("{file}:{}", rest.split(':').next().unwrap_or("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &[&str]) -> Texts {
        names.iter().map(|name| ((*name).to_owned(), Arc::from(&b""[..]))).collect()
    }

    fn run(name: &str, text: &str) -> String {
        let lua = Lua::new();
        let chunk = lua.load(text).set_name(format!("@{name}"));
        one_line(&chunk.exec().unwrap_err(), "main.lua", &texts(&[name]), ScriptLimits::default())
    }

    #[test]
    fn errors_of_lua_are_one_line_with_file_and_line() {
        let long = format!("/{}/site.lua", "directory/".repeat(9));
        for name in ["site.lua", &long] {
            for (text, message) in [
                ("x = = 1", "1: unexpected symbol near '='"),
                ("\nlocal x = nil + 1", "2: attempt to perform arithmetic on a nil value"),
                ("\n\nerror('a\\nb')", "3: a b"),
                ("\nerror('no place', 0)", "2: no place"),
                ("\nlocal function f() error('up', 2) end\nf()", "3: up"),
            ] {
                assert_eq!(run(name, text), format!("{name}:{message}"));
            }
        }
    }

    #[test]
    fn an_error_value_that_is_no_string_has_a_line() {
        let line = run("site.lua", "\nerror({})");
        assert!(line.starts_with("site.lua:2: ") || line.starts_with("main.lua:1: "), "{line}");
        assert_eq!(
            one_line(&Error::runtime("odd"), "main.lua", &texts(&[]), ScriptLimits::default()),
            "main.lua:1: odd"
        );
    }

    #[test]
    fn a_call_has_its_line() {
        let lua = Lua::new();
        let position =
            lua.create_function(|lua, ()| Ok(Position::of_call(lua).unwrap().to_string())).unwrap();
        lua.globals().set("position", position).unwrap();
        let wrap = lua.load("return function() local x = position() return x end").set_name("@rsp/x.lua");
        lua.globals().set("shipped", wrap.eval::<mlua::Function>().unwrap()).unwrap();
        for text in ["\nlocal p = position() return p", "\nlocal p = shipped {\n} return p"] {
            let found: String = lua.load(text).set_name("@site.lua").eval().unwrap();
            assert_eq!(found, "site.lua:2");
        }
    }
}
