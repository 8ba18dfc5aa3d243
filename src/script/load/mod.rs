//! Runs a config script once into a typed `Config`, and collects the handlers it set.
//!
//! The way of a value: the script calls a function of `rsp` (`calls`), whose table is read key by key (`keys`,
//! rows in `listen`, `pool`, `settings`) with readers of single values (`values`, `address`) into a `Draft`. What
//! is wrong returns as a `Wrong` that knows its way in the table, and becomes one line `FILE:LINE: key: what is
//! wrong, what was expected` (`place`, with the key's line found by `tokens`). What can only be known at the end
//! is checked here.

mod address;
mod builder;
mod calls;
mod classic;
mod error;
mod homes;
mod key_lines;
mod listen;
mod modules;
mod pool;
mod position;
mod schema;
mod settings;
mod sockets;
mod values;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

use mlua::{Function, Lua, Value};

use self::builder::{Draft, Loading, Set};
use self::error::{nearest, quoted, show};
use super::source::{Entry, Source};
use super::vm::{Handlers, Vm};
use super::{LoadError, Script};
use crate::config::{Config, PoolId, Settings};

/// Definitions for editors (LuaLS) of what a config of this version may say.
pub const TYPES: &str = include_str!("../../../lua/types/rsp.lua");

const DEFAULT: &str = include_str!("../../../lua/default.lua");
const DEFAULT_NAME: &str = "default.lua";

/// Runs the config and says what it set. The files read are kept in `source`: a second load of the same source
/// runs the same bytes.
pub fn load(source: &mut Source) -> Result<(Config, Script), LoadError> {
    if let Entry::Arguments { .. } = source.entry() {
        check_arguments(source).map_err(LoadError)?;
    }
    let loading = Rc::new(Loading::new(Draft::new(source.clone())));
    let outcome = run(&loading);
    let Some(draft) = loading.finish() else { return Err(LoadError("the config was loaded twice".into())) };
    *source = draft.source.clone();
    let vm = outcome.map_err(LoadError)?;
    let (config, handlers) = finish(draft, vm.lua()).map_err(LoadError)?;
    let script = Script::new(vm, handlers, &config).map_err(|error| LoadError(error.to_string()))?;
    Ok((config, script))
}

/// Runs a config that was loaded once more, for another VM. It must arrive at the same.
pub fn load_again(source: &mut Source, said: &Config) -> Result<Script, LoadError> {
    match load(source)? {
        (config, script) if config == *said => Ok(script),
        _ => Err(LoadError(
            "the config does not say the same when it is run a second time: \
             it must not depend on time, randomness or state outside"
                .into(),
        )),
    }
}

/// Runs the script in a new VM.
fn run(loading: &Rc<Loading>) -> Result<Vm, String> {
    let (name, text) = loading.with(main_text).unwrap_or(Err("no config".into()))?;
    let run = || -> mlua::Result<Vm> {
        let vm = Vm::new()?;
        calls::install(vm.lua(), loading)?;
        modules::install(vm.lua(), loading)?;
        let main = modules::compile(vm.lua(), &name, &text)?;
        vm.run_config(&with_arguments(vm.lua(), main, loading)?)?;
        Ok(vm)
    };
    let line =
        |error| loading.with(|draft| position::one_line(&error, &name, &draft.texts)).unwrap_or_default();
    run().map_err(line)
}

/// The name and text of what is run first.
fn main_text(draft: &mut Draft) -> Result<(String, Arc<[u8]>), String> {
    let (name, text) = match draft.source.entry().clone() {
        Entry::Arguments { .. } => (DEFAULT_NAME.to_owned(), Arc::from(DEFAULT.as_bytes())),
        Entry::File(path) => {
            let name = path.display().to_string();
            let text = draft.source.read(&path).map_err(|reason| format!("cannot open {name}: {reason}"))?;
            (name, text)
        }
    };
    draft.texts.insert(name.clone(), Arc::clone(&text));
    Ok((name, text))
}

/// The embedded config gets the addresses of the command line as its arguments.
fn with_arguments(lua: &Lua, main: Function, loading: &Loading) -> mlua::Result<Function> {
    match loading.with(|draft| draft.source.entry().clone()) {
        Some(Entry::Arguments { listens, backends }) => {
            main.bind((lua.create_sequence_from(listens)?, lua.create_sequence_from(backends)?))
        }
        _ => Ok(main),
    }
}

/// What can be checked before the embedded config runs, in the words of the command line.
fn check_arguments(source: &mut Source) -> Result<(), String> {
    use self::address::{Side, resolve};
    let Entry::Arguments { listens, backends } = source.entry().clone() else { return Ok(()) };
    for (option, side, texts) in
        [("--listen", Side::Listener, listens), ("--backend", Side::Server, backends)]
    {
        if texts.is_empty() {
            return Err(format!("{option}: missing, expected at least one, as in {option} 127.0.0.1:8080"));
        }
        for (index, text) in texts.iter().enumerate() {
            let address = resolve(text, side, source).map_err(|bad| bad.on_command_line(option, text))?;
            let any_port = matches!(address, crate::config::Address::Ip(ip) if ip.port() == 0);
            if texts[..index].contains(text) && !any_port {
                return Err(format!("{option} {text}: given twice, expected each address once"));
            }
        }
    }
    Ok(())
}

/// The draft as a config, once everything in it belongs together.
fn finish(mut draft: Draft, lua: &Lua) -> Result<(Config, Handlers), String> {
    let main = match draft.source.entry() {
        Entry::File(path) => path.display().to_string(),
        Entry::Arguments { .. } => DEFAULT_NAME.to_owned(),
    };
    let classic = match draft.is_untouched() {
        true => classic::take(lua, &main, &mut draft)?,
        false => classic::refuse_beside(lua, &main, &draft).map(|()| None)?,
    };
    let fallback = draft.fallback.as_ref().map(|set| find_fallback(set, &draft)).transpose()?;
    check_whole(&draft, &main)?;
    listen::check_trust(&draft)?;
    let settings = Settings { fallback, ..draft.settings.map(|set| set.value).unwrap_or_default() };
    let handlers = Handlers {
        on_request: draft.on_request.map(|set| set.value),
        on_response: draft.on_response.map(|set| set.value),
        balance: draft.pools.iter().map(|pool| pool.balance.clone()).collect(),
        pools: draft.pools.iter().map(|pool| Value::Table(pool.object.clone())).collect(),
    };
    let config = Config {
        listeners: draft.listeners,
        pools: draft.pools.into_iter().map(|pool| Arc::new(pool.pool)).collect(),
        settings,
        classic,
        on_request: handlers.on_request.is_some(),
        on_response: handlers.on_response.is_some(),
    };
    Ok((config, handlers))
}

/// Nothing that is needed is missing.
fn check_whole(draft: &Draft, main: &str) -> Result<(), String> {
    let missing = if draft.listeners.is_empty() {
        "rsp.listen: missing, expected at least one, as in rsp.listen \"0.0.0.0:80\"".to_owned()
    } else if draft.on_request.is_some() {
        return Ok(());
    } else if draft.pools.is_empty() {
        "rsp.pool: missing, expected at least one, as in rsp.pool { servers = { \"127.0.0.1:8080\" } }"
            .to_owned()
    } else if draft.pools.len() > 1 && draft.fallback.is_none() {
        format!("rsp.on_request: missing, expected one that picks among the {} pools", draft.pools.len())
    } else {
        return Ok(());
    };
    Err(format!("{main}:1: {missing}"))
}

/// A pool by its object or its name.
fn find_fallback(fallback: &Set<Value>, draft: &Draft) -> Result<PoolId, String> {
    let names = || draft.pools.iter().map(|pool| pool.pool.name.as_str());
    let (found, what) = match &fallback.value {
        Value::String(name) => {
            let name = name.to_string_lossy();
            let hint = match nearest(&name, names()) {
                Some(near) => format!("did you mean {}?", quoted(near)),
                None if draft.pools.is_empty() => "expected the name of a pool".to_owned(),
                None => format!("expected one of {}", names().map(quoted).collect::<Vec<_>>().join(", ")),
            };
            (names().position(|other| other == name), format!("no pool is named {}, {hint}", quoted(&name)))
        }
        other => {
            let same = |pool: &builder::DraftPool| other.as_table() == Some(&pool.object);
            (
                draft.pools.iter().position(same),
                format!("got {}, expected a pool or the name of one", show(other)),
            )
        }
    };
    let id = found.and_then(|index| u32::try_from(index).ok()).map(PoolId);
    id.ok_or_else(|| format!("{}: fallback: {what}", fallback.place))
}
