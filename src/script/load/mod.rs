//! Runs a config script once, and returns a typed `Config` and the script's handlers.
//!
//! The script calls a function of `rsp` (`calls`), whose table is read key by key (`schema`, rows in `listen`,
//! `pool`, `settings`) with readers of single values (`values`, `address`) into a `Builder`. An error is a
//! `ValueError` with its path in the table, which becomes one line `FILE:LINE: key: what is wrong, what was expected`
//! (`position`, with the key's line from `key_lines`). What can only be known at the end is checked here.

mod access_log;
mod address;
mod admin;
mod balancing;
mod builder;
mod calls;
mod classic;
mod error;
mod health;
mod homes;
mod key_lines;
mod listen;
mod lookups;
mod modules;
mod pool;
mod position;
mod schema;
mod second_tries;
mod server;
mod settings;
mod stores;
mod tls;
mod values;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

use mlua::{Function, Lua, Value};

use self::builder::{Builder, Loading, SetOnce};
use self::error::{nearest, quoted, show};
pub use self::values::seconds;
pub(super) use self::values::{bytes, seconds_of};
use super::source::{EntryPoint, Source};
use super::vm::{ScriptHandlers, Vm};
use super::{LoadError, Script, offline};
use crate::config::{Config, LogFormat, PoolId, Settings, Warning};

/// LuaLS definitions of the config of this version, for editors.
pub const TYPES: &str = include_str!("../../../lua/types/rsp.lua");

const DEFAULT: &str = include_str!("../../../lua/default.lua");
const DEFAULT_NAME: &str = "default.lua";

/// Loads the config. The files read are kept in `source`: a second load of the same source runs the same bytes.
pub fn load(source: &mut Source) -> Result<(Config, Script), LoadError> {
    if let EntryPoint::Arguments { .. } = source.entry() {
        check_arguments(source).map_err(LoadError)?;
    }
    let loading = Rc::new(Loading::new(Builder::new(source.clone())));
    let outcome = run(&loading);
    let Some(builder) = loading.finish() else { return Err(LoadError("the config was loaded twice".into())) };
    *source = builder.source.clone();
    let vm = outcome.map_err(LoadError)?;
    let (config, handlers) = finish(builder, vm.lua()).map_err(LoadError)?;
    let script = Script::new(vm, handlers, &config).map_err(|error| {
        let text = error.to_string();
        LoadError(format!("{}:1: {}", source.name(), text.strip_prefix("runtime error: ").unwrap_or(&text)))
    })?;
    Ok((config, script))
}

/// Loads a config again for another VM. It must result in the same `Config`.
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
        let mut vm = Vm::new()?;
        if loading.with(|builder| builder.source.offline) == Some(true) {
            offline::prepare(&mut vm)?;
        }
        calls::install(vm.lua(), loading)?;
        modules::install(vm.lua(), loading)?;
        let main = modules::compile(vm.lua(), &name, &text)?;
        vm.run_config(&with_arguments(vm.lua(), main, loading)?)?;
        Ok(vm)
    };
    let line = |builder: &mut Builder, error: &mlua::Error| {
        let limits = builder.settings.as_ref().map(|set| set.value.script).unwrap_or_default();
        position::one_line(error, &name, &builder.texts, limits.while_loading())
    };
    run().map_err(|error| loading.with(|builder| line(builder, &error)).unwrap_or_default())
}

/// The name and text of the main chunk.
fn main_text(builder: &mut Builder) -> Result<(String, Arc<[u8]>), String> {
    let (name, text) = match builder.source.entry().clone() {
        EntryPoint::Arguments { .. } => (DEFAULT_NAME.to_owned(), Arc::from(DEFAULT.as_bytes())),
        EntryPoint::File(path) => {
            let name = path.display().to_string();
            let text =
                builder.source.read(&path).map_err(|reason| format!("cannot open {name}: {reason}"))?;
            (name, text)
        }
    };
    builder.texts.insert(name.clone(), Arc::clone(&text));
    Ok((name, text))
}

/// Passes the addresses of the command line to the embedded config.
fn with_arguments(lua: &Lua, main: Function, loading: &Loading) -> mlua::Result<Function> {
    match loading.with(|builder| builder.source.entry().clone()) {
        Some(EntryPoint::Arguments { listens, backends }) => {
            main.bind((lua.create_sequence_from(listens)?, lua.create_sequence_from(backends)?))
        }
        _ => Ok(main),
    }
}

/// Checks the command line's addresses before the embedded config runs, with errors in terms of options.
fn check_arguments(source: &mut Source) -> Result<(), String> {
    use self::address::{AddressUse, listener_address, server_address};
    let EntryPoint::Arguments { listens, backends } = source.entry().clone() else { return Ok(()) };
    for (option, side, texts) in
        [("--listen", AddressUse::Listener, listens), ("--backend", AddressUse::Server, backends)]
    {
        if texts.is_empty() {
            return Err(format!("{option}: missing, expected at least one, as in {option} 127.0.0.1:8080"));
        }
        for (index, text) in texts.iter().enumerate() {
            let address = match side {
                AddressUse::Listener => listener_address(text, source),
                AddressUse::Server => server_address(text),
            };
            let address = address.map_err(|bad| bad.on_command_line(option, text))?;
            let any_port = matches!(address, crate::config::Address::Ip(ip) if ip.port() == 0);
            if texts[..index].contains(text) && !any_port {
                return Err(format!("{option} {text}: given twice, expected each address once"));
            }
        }
    }
    Ok(())
}

/// Turns the builder into a config, after the checks across calls.
fn finish(mut builder: Builder, lua: &Lua) -> Result<(Config, ScriptHandlers), String> {
    let main = match builder.source.entry() {
        EntryPoint::File(path) => path.display().to_string(),
        EntryPoint::Arguments { .. } => DEFAULT_NAME.to_owned(),
    };
    let classic = match builder.is_untouched() {
        true => classic::take(lua, &main, &mut builder)?,
        false => classic::refuse_beside(lua, &main, &builder).map(|()| None)?,
    };
    let fallback = builder.fallback.as_ref().map(|set| find_fallback(set, &builder)).transpose()?;
    second_tries::settle_mirrors(&mut builder)?;
    check_whole(&builder, &main)?;
    listen::check_trust(&builder)?;
    listen::settle_redirects(&mut builder.listeners);
    let challenges = builder.settings.as_ref().and_then(|set| set.value.acme_challenge_dir.as_deref());
    let challenges = challenges.map(|written| Arc::from(builder.source.path(written)));
    listen::settle_challenges(&mut builder.listeners, challenges.as_ref());
    warn_of_unused_fields(&mut builder);
    let settings = Settings { fallback, ..builder.settings.take().map(|set| set.value).unwrap_or_default() };
    let handlers = take_handlers(&mut builder);
    let of_tls = builder.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let client_headers = of_tls.filter_map(|tls| tls.client_header.clone()).collect();
    let config = Config {
        listeners: builder.listeners,
        pools: builder.pools.into_iter().map(|pool| Arc::new(pool.pool)).collect(),
        settings,
        classic,
        on_request: handlers.on_request.is_some(),
        on_response: handlers.on_response.is_some(),
        on_answer: handlers.on_answer.is_some(),
        on_log: handlers.on_log.is_some(),
        on_connect: handlers.on_connect.is_some(),
        on_start: handlers.on_start.is_some(),
        every: builder.every.iter().map(|(period, _)| *period).collect(),
        client_headers,
        parts: builder.parts.into_iter().map(|part| part.value).collect(),
        warnings: builder.warnings,
    };
    Ok((config, handlers))
}

fn take_handlers(builder: &mut Builder) -> ScriptHandlers {
    let function = |set: &mut Option<SetOnce<Function>>| set.take().map(|set| set.value);
    ScriptHandlers {
        on_request: function(&mut builder.on_request),
        on_response: function(&mut builder.on_response),
        on_answer: function(&mut builder.on_answer),
        on_log: function(&mut builder.on_log),
        on_connect: function(&mut builder.on_connect),
        on_start: function(&mut builder.on_start),
        every: builder.every.iter().map(|(_, function)| function.clone()).collect(),
        sni: std::mem::take(&mut builder.sni),
        balance: builder.pools.iter().map(|pool| pool.balance.clone()).collect(),
        hash_by: builder.pools.iter().map(|pool| pool.hash_by.clone()).collect(),
        pools: builder.pools.iter().map(|pool| Value::Table(pool.object.clone())).collect(),
    }
}

/// `on_log` without a line that shows what it adds.
fn warn_of_unused_fields(builder: &mut Builder) {
    let log = builder.settings.as_ref().and_then(|set| set.value.access_log.as_ref());
    if let Some(set) = &builder.on_log
        && log.is_none_or(|log| log.format != LogFormat::Json)
    {
        builder.warnings.push(Warning {
            position: set.position.to_string(),
            text: "on_log: never called, expected access_log = { \"…\", format = \"json\" } beside it"
                .to_owned(),
        });
    }
}

/// Checks that nothing required is missing.
fn check_whole(builder: &Builder, main: &str) -> Result<(), String> {
    let missing = if builder.listeners.is_empty() {
        "rsp.listen: missing, expected at least one, as in rsp.listen \"0.0.0.0:80\"".to_owned()
    } else if builder.on_request.is_some() {
        return Ok(());
    } else if builder.pools.is_empty() {
        "rsp.pool: missing, expected at least one, as in rsp.pool { servers = { \"127.0.0.1:8080\" } }"
            .to_owned()
    } else if builder.pools.len() > 1 && builder.fallback.is_none() && takes_requests(builder) {
        format!("rsp.on_request: missing, expected one that picks among the {} pools", builder.pools.len())
    } else {
        return Ok(());
    };
    Err(format!("{main}:1: {missing}"))
}

/// Whether a listener takes requests, rather than passing TLS through.
fn takes_requests(builder: &Builder) -> bool {
    builder.listeners.iter().any(|listener| listener.sni.is_none())
}

/// A pool by its object or its name.
fn find_fallback(fallback: &SetOnce<Value>, builder: &Builder) -> Result<PoolId, String> {
    let found = find_pool(&fallback.value, builder);
    found.map_err(|what| format!("{}: fallback: {what}", fallback.position))
}

fn find_pool(value: &Value, builder: &Builder) -> Result<PoolId, String> {
    let names = || builder.pools.iter().map(|pool| pool.pool.name.as_str());
    let (found, what) = match value {
        Value::String(name) => {
            let name = name.to_string_lossy();
            let hint = match nearest(&name, names()) {
                Some(near) => format!("did you mean {}?", quoted(near)),
                None if builder.pools.is_empty() => "expected the name of a pool".to_owned(),
                None => format!("expected one of {}", names().map(quoted).collect::<Vec<_>>().join(", ")),
            };
            (names().position(|other| other == name), format!("no pool is named {}, {hint}", quoted(&name)))
        }
        other => {
            let same = |pool: &builder::PoolBuilder| other.as_table() == Some(&pool.object);
            (
                builder.pools.iter().position(same),
                format!("got {}, expected a pool or the name of one", show(other)),
            )
        }
    };
    found.and_then(|index| u32::try_from(index).ok()).map(PoolId).ok_or(what)
}
