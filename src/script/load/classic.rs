//! The config of the original program: a file that sets the globals `listenPort`, `backendAddress` and
//! `backendPort`, and nothing of `rsp`.

use mlua::{Lua, Value};

use super::address::{listener_address, server_address};
use super::builder::Builder;
use super::error::{ReadValue, ValueError, show};
use super::key_lines::Tokens;
use super::pool;
use super::position::Position;
use crate::config::{Balance, ListenerConfig, PoolConfig, ServerConfig};

const PORT: &str = "listenPort";
const BACKEND: &str = "backendAddress";
const BACKEND_PORT: &str = "backendPort";

/// Next to calls of `rsp` the globals would do nothing.
pub(super) fn refuse_beside(lua: &Lua, file: &str, builder: &Builder) -> Result<(), String> {
    let set = |name: &&str| !lua.globals().raw_get::<Value>(*name).unwrap_or(Value::Nil).is_nil();
    let Some(name) = [PORT, BACKEND, BACKEND_PORT].into_iter().find(|name| set(name)) else { return Ok(()) };
    let expected = match name {
        PORT => "rsp.listen \"0.0.0.0:8000\"",
        _ => "rsp.pool { servers = { \"127.0.0.1:8888\" } }",
    };
    let position = position_of(name, file, builder);
    Err(format!("{position}: {name}: does nothing beside calls of rsp, expected {expected} in its place"))
}

/// The position where a global is set, in any of the files.
fn position_of(name: &str, main: &str, builder: &Builder) -> Position {
    let line = |text: &[u8]| Tokens::of(text).line_of_global(name);
    let found = builder.texts.iter().find_map(|(file, text)| Some((file.clone(), line(text)?)));
    let (file, line) = found.unwrap_or((main.to_owned(), 1));
    Position { file, line }
}

/// Moves the classic globals into the builder, if there are any; returns `listenPort` as written.
pub(super) fn take(lua: &Lua, file: &str, builder: &mut Builder) -> Result<Option<String>, String> {
    let globals =
        [PORT, BACKEND, BACKEND_PORT].map(|name| (name, lua.globals().raw_get(name).unwrap_or(Value::Nil)));
    if globals.iter().all(|(_, value)| value.is_nil()) {
        return Ok(None);
    }
    let taken = read(&globals).and_then(|texts| add(lua, texts, builder));
    taken.map(Some).map_err(|error| {
        let line =
            |text| Tokens::of(text).line_of_global(error.line("").split(':').next().unwrap_or_default());
        let line = builder.texts.get(file).and_then(|text| line(text)).unwrap_or(1);
        format!("{}: {}", Position { file: file.to_owned(), line }, error.line("classic config"))
    })
}

fn read(globals: &[(&'static str, Value); 3]) -> ReadValue<[String; 3]> {
    let [port, backend, backend_port] = globals;
    Ok([one(port, "8000")?, one(backend, "127.0.0.1")?, one(backend_port, "8888")?])
}

fn one((name, value): &(&'static str, Value), example: &str) -> ReadValue<String> {
    let expected = format!("a text as in {name} = \"{example}\"");
    let text = match value {
        Value::String(text) => text.to_string_lossy(),
        Value::Integer(number) => number.to_string(),
        Value::Nil => return Err(ValueError::new(format!("missing, expected {expected}")).key(*name)),
        other => return Err(ValueError::new(format!("got {}, expected {expected}", show(other))).key(*name)),
    };
    if text.is_empty() { Err(ValueError::got(value, &expected).key(*name)) } else { Ok(text) }
}

fn add(lua: &Lua, [port, backend, backend_port]: [String; 3], builder: &mut Builder) -> ReadValue<String> {
    check_port(&port, 0).map_err(|error| error.key(PORT))?;
    check_port(&backend_port, 1).map_err(|error| error.key(BACKEND_PORT))?;
    let listen = format!("0.0.0.0:{port}");
    let host =
        if backend.contains(':') { format!("[{}]", backend.trim_matches(['[', ']'])) } else { backend };
    let written = format!("{host}:{backend_port}");
    let bad = |text: &str, key: &str, bad: super::address::AddressError| bad.in_config(text).key(key);
    let listener =
        listener_address(&listen, &mut builder.source).map_err(|error| bad(&listen, PORT, error))?;
    let server = server_address(&written).map_err(|error| bad(&written, BACKEND, error))?;
    let servers = vec![ServerConfig::new(written.clone(), server, written)];
    let pool = PoolConfig { servers, ..PoolConfig::named("pool1".into(), Balance::RoundRobin) };
    builder.listeners.push(ListenerConfig::at(listener));
    pool::add(lua, pool, [None, None], builder).map_err(|error| ValueError::new(error.to_string()))?;
    Ok(port)
}

fn check_port(port: &str, lowest: u16) -> ReadValue<()> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if digits && number >= lowest => Ok(()),
        _ => Err(ValueError::new(format!(
            "got {}, expected a port from 1 to 65535",
            super::error::quoted(port)
        ))),
    }
}
