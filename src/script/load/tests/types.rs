//! The editor's definitions list exactly the keys of this version.

use std::collections::BTreeSet;

use mlua::Lua;

use super::super::schema::Keys;
use super::super::{
    TYPES, access_log, admin, balancing, health, listen, lookups, pool, server, settings, stores, tls,
};

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

#[test]
fn every_function_of_rsp_is_documented() {
    let lua = Lua::new();
    lua.load(TYPES).exec().unwrap();
    let rsp: mlua::Table = lua.globals().get("rsp").unwrap();
    let documented: BTreeSet<String> =
        rsp.pairs::<String, mlua::Value>().map(|pair| pair.unwrap().0).collect();
    let mut there: BTreeSet<String> = super::super::calls::names().map(str::to_owned).collect();
    there.extend(["respond", "redirect", "abort", "sleep", "fetch", "resolve"].map(str::to_owned));
    there.extend(crate::script::parts::NAMES.map(str::to_owned));
    assert_eq!(documented, there);
}
