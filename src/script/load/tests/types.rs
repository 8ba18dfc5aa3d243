//! The editor's definitions list exactly the keys of this version.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use mlua::Lua;

use super::super::builder::{Builder, Loading};
use super::super::calls;
use super::super::schema::Keys;
use super::super::{
    TYPES, access_log, admin, balancing, health, listen, lookups, pool, second_tries, server, settings,
    stores, tls,
};
use crate::script::Source;
use crate::script::vm::Vm;

/// The `---@field`s of a class, without positional ones.
fn documented(class: &str) -> BTreeSet<String> {
    let start = format!("---@class {class}");
    let lines = TYPES.lines().skip_while(|line| *line != start).skip(1);
    let fields = lines.take_while(|line| line.starts_with("---@field "));
    let name =
        |line: &str| line.split_whitespace().nth(1).unwrap_or_default().trim_end_matches('?').to_owned();
    fields.map(name).filter(|name| !name.starts_with('[')).collect()
}

fn taken<T>(keys: &Keys<T>) -> BTreeSet<String> {
    keys.taken().map(str::to_owned).collect()
}

#[test]
fn documented_keys_are_the_supported_keys() {
    assert!(TYPES.contains("---@class rsp.Listener\n"));
    assert_eq!(documented("rsp.Listener"), taken(&listen::KEYS));
    assert_eq!(documented("rsp.Tls"), taken(&tls::KEYS));
    assert_eq!(documented("rsp.Certificate"), taken(&tls::PAIR));
    assert_eq!(documented("rsp.PoolOptions"), taken(&pool::KEYS));
    assert_eq!(documented("rsp.ServerOptions"), taken(&server::SERVER));
    assert_eq!(documented("rsp.Health"), taken(&health::HEALTH));
    assert_eq!(documented("rsp.Eject"), taken(&health::EJECT));
    assert_eq!(documented("rsp.Queue"), taken(&balancing::QUEUE));
    assert_eq!(documented("rsp.Sticky"), taken(&balancing::STICKY));
    assert_eq!(documented("rsp.Hedge"), taken(&second_tries::HEDGE));
    assert_eq!(documented("rsp.Mirror"), taken(&second_tries::MIRROR));
    assert_eq!(documented("rsp.PoolTimeouts"), taken(&pool::TIMEOUTS));
    assert_eq!(documented("rsp.Settings"), taken(&settings::KEYS));
    assert_eq!(documented("rsp.Script"), taken(&settings::SCRIPT));
    assert_eq!(documented("rsp.AccessLog"), taken(&access_log::KEYS));
    assert_eq!(documented("rsp.Admin"), taken(&admin::ADMIN));
    assert_eq!(documented("rsp.Metrics"), taken(&admin::METRICS));
    assert_eq!(documented("rsp.Control"), taken(&admin::CONTROL));
    assert_eq!(documented("rsp.SharedOptions"), taken(&stores::SHARED));
    assert_eq!(documented("rsp.RateOptions"), taken(&stores::RATE));
    assert_eq!(documented("rsp.ConcurrencyOptions"), taken(&stores::CONCURRENCY));
    assert_eq!(documented("rsp.SplitOptions"), taken(&stores::SPLIT));
    assert_eq!(documented("rsp.MapOptions"), taken(&lookups::MAP));
    assert_eq!(documented("rsp.Timeouts"), taken(&settings::TIMEOUTS));
}

/// Only in tests of scripts.
const OF_TESTS: &str = "test";

/// The functions and tables of `rsp` that a script finds.
fn offered(lua: &Lua) -> BTreeSet<String> {
    let rsp: mlua::Table = lua.globals().get("rsp").unwrap();
    let functions: mlua::Table = rsp.metatable().unwrap().raw_get("__index").unwrap();
    functions.pairs::<String, mlua::Value>().map(|pair| pair.unwrap().0).collect()
}

#[test]
fn what_a_script_finds_in_rsp_is_documented_and_nothing_else() {
    let lua = Lua::new();
    lua.load(TYPES).exec().unwrap();
    let rsp: mlua::Table = lua.globals().get("rsp").unwrap();
    let mut documented: BTreeSet<String> =
        rsp.pairs::<String, mlua::Value>().map(|pair| pair.unwrap().0).collect();
    assert!(documented.remove(OF_TESTS));
    let vm = Vm::new().unwrap();
    let source = Source::in_memory(Path::new("site.lua"), b"");
    let loading = Rc::new(Loading::new(Builder::new(source)));
    calls::install(vm.lua(), &loading).unwrap();
    assert_eq!(documented, offered(vm.lua()));
}

#[test]
fn documented_fields_are_those_that_a_script_can_read() {
    use crate::script::request::{
        CONNECTION_FIELDS, REQUEST_FIELDS, RESPONSE_FIELDS, SERVER_FIELDS, TLS_FIELDS,
    };
    let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(documented("rsp.Request"), set(&REQUEST_FIELDS));
    assert_eq!(documented("rsp.Response"), set(&RESPONSE_FIELDS));
    assert_eq!(documented("rsp.TlsInfo"), set(&TLS_FIELDS));
    assert_eq!(documented("rsp.Connection"), set(&CONNECTION_FIELDS));
    assert_eq!(documented("rsp.Server"), set(&SERVER_FIELDS));
}

/// What follows the type of a field: types may have blanks within brackets, quotes and around `|`, `:` and `,`.
fn doc_of(field: &str) -> &str {
    let (mut depth, mut in_quotes, mut before) = (0, false, ' ');
    for (at, letter) in field.char_indices() {
        match letter {
            '"' => in_quotes = !in_quotes,
            '(' | '<' | '{' | '[' if !in_quotes => depth += 1,
            ')' | '>' | '}' | ']' if !in_quotes => depth -= 1,
            ' ' if depth == 0
                && !in_quotes
                && !"|:,".contains(before)
                && !field[at + 1..].starts_with('|') =>
            {
                return field[at..].trim();
            }
            _ => {}
        }
        before = letter;
    }
    ""
}

#[test]
fn every_field_and_function_has_a_line_about_it() {
    let lines: Vec<&str> = TYPES.lines().collect();
    for (line, number) in lines.iter().zip(1..) {
        if let Some(field) = line.strip_prefix("---@field ") {
            let (_, typed) = field.split_once(' ').unwrap_or_default();
            assert!(!doc_of(typed).is_empty(), "line {number} has no text: {line}");
        }
        if line.starts_with("function ") {
            let annotated = lines[..number - 1].iter().rev().take_while(|line| line.starts_with("---"));
            let told = annotated.filter(|line| !line.starts_with("---@")).count();
            assert!(told > 0, "line {number} has no text: {line}");
        }
    }
    assert_eq!(doc_of("fun(a: b): c? what it is"), "what it is");
    assert_eq!((doc_of("string | nil"), doc_of("\"a b\"|\"c\" x y")), ("", "x y"));
}

#[test]
fn every_class_that_is_named_is_defined() {
    let named = |at: usize| {
        let rest = &TYPES[at..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '.')).unwrap_or(rest.len());
        rest[..end].trim_end_matches('.')
    };
    for (at, _) in TYPES.match_indices("rsp.") {
        let name = named(at);
        let is_type = name["rsp.".len()..].starts_with(|c: char| c.is_uppercase());
        let definitions = [format!("---@class {name}\n"), format!("---@alias {name} ")];
        assert!(!is_type || definitions.iter().any(|line| TYPES.contains(line)), "{name} is not defined");
    }
}
