//! The policies of `lua/` as plain functions: which server they pick.

use mlua::{Function, Lua, Table, Value};

fn policy(lua: &Lua, text: &str) -> Function {
    lua.load(text).eval::<Function>().unwrap().call(()).unwrap()
}

const ROUND_ROBIN: &str = include_str!("../../../../lua/round_robin.lua");
const LEAST_BUSY: &str = include_str!("../../../../lua/least_busy.lua");
const BY_HOST: &str = include_str!("../../../../lua/by_host.lua");

/// The policy's pick from `"a=0 b=2"`: names with their requests in flight.
fn pick(lua: &Lua, policy: &Function, servers: &str) -> String {
    let server = |text: &str| {
        let (name, busy) = text.split_once('=').unwrap_or((text, "0"));
        let server = lua.create_table().unwrap();
        server.set("name", name).unwrap();
        server.set("in_flight", busy.parse::<i64>().unwrap()).unwrap();
        server
    };
    let servers: Vec<Table> = servers.split_whitespace().map(server).collect();
    let servers = lua.create_sequence_from(servers).unwrap();
    match policy.call::<Value>((Value::Nil, servers)).unwrap() {
        Value::Table(server) => server.get("name").unwrap(),
        _ => "nobody".to_owned(),
    }
}

#[test]
fn round_robin_alternates_strictly_even_if_a_server_is_missing_for_a_while() {
    let lua = Lua::new();
    let policy = policy(&lua, ROUND_ROBIN);
    let turns = ["a b c", "a b c", "a b c", "a b c", "a c", "a b c", "a b c", "b c", "a b c", "", "a b c"];
    let picked: Vec<String> = turns.iter().map(|servers| pick(&lua, &policy, servers)).collect();
    assert_eq!(picked.join(" "), "a b c a c b a c b nobody a");
}

#[test]
fn policies_of_two_pools_share_nothing() {
    let lua = Lua::new();
    for text in [ROUND_ROBIN, LEAST_BUSY] {
        let (one, two) = (policy(&lua, text), policy(&lua, text));
        for (policy, name) in [(&one, "a"), (&two, "a"), (&one, "b"), (&one, "a"), (&two, "b")] {
            assert_eq!(pick(&lua, policy, "a b"), name);
        }
    }
}

#[test]
fn least_busy_picks_the_fewest_in_flight_and_rotates_among_equals() {
    let lua = Lua::new();
    let policy = policy(&lua, LEAST_BUSY);
    let turns = ["a=3 b=1 c=2", "a=1 b=1 c=1", "a=1 b=1 c=1", "a=1 b=1 c=1", "a=0 b=9 c=0", "a=5", ""];
    let picked: Vec<String> = turns.iter().map(|servers| pick(&lua, &policy, servers)).collect();
    assert_eq!(picked.join(" "), "b a c b a a nobody");
}

/// The route of a host in the table of `by_host`; 404 if there is none.
fn route(lua: &Lua, routes: &str, host: &str) -> String {
    lua.globals()
        .set("rsp", lua.load("{ respond = function(a) return a.status end }").eval::<Table>().unwrap())
        .unwrap();
    let policy: Function = lua.load(BY_HOST).eval().unwrap();
    let routes: Table = lua.load(routes).eval().unwrap();
    let on_request: Function = policy.call(routes).unwrap();
    let request = lua.create_table().unwrap();
    request.set("host", host).unwrap();
    on_request.call::<mlua::Value>(request).unwrap().to_string().unwrap()
}

#[test]
fn by_host_prefers_names_to_wildcards_and_long_wildcards_to_short_ones() {
    let lua = Lua::new();
    let routes = "{ ['example.com'] = 'bare', ['*.example.com'] = 'any', ['API.example.com'] = 'api',
        ['*.eu.example.com'] = 'eu', default = 'other' }";
    for (host, pool) in [
        ("example.com", "bare"),
        ("api.example.com", "api"),
        ("www.example.com", "any"),
        ("a.b.example.com", "any"),
        ("www.eu.example.com", "eu"),
        ("eu.example.com", "any"),
        ("badexample.com", "other"),
        (".example.com", "any"),
        ("default", "other"),
        ("com", "other"),
        ("", "other"),
    ] {
        assert_eq!(route(&lua, routes, host), pool, "{host}");
    }
    assert_eq!(route(&lua, "{ a = 'a' }", "b"), "404");
}

#[test]
fn policies_are_short_enough_to_read() {
    for text in [ROUND_ROBIN, LEAST_BUSY, BY_HOST, super::super::DEFAULT] {
        assert!(text.lines().count() < 30);
    }
}
