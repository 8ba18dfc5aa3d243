//! Scripts without the loader: a chunk defines the globals `on_request`, `on_response` and `balance`, and finds the
//! pools as `web` (servers a, b, c) and `api` (server d), or `web` alone.

mod balance;
mod escapes;
mod headers;
mod hurt;
mod limits;
mod lookups;
mod parts;
mod parts_cost;
mod patterns;
mod phases;
mod request;
mod rewriting;
mod sandbox;
mod stores;
mod verdicts;
mod waits;

use std::sync::Arc;

use mlua::{Function, Lua, Value};

use super::ffi::Called;
use super::vm::{ScriptHandlers, Vm};
use super::{Offer, RequestMeta, Script, ScriptError, Verdict};
use crate::config::{Address, Balance, Config, PoolConfig, PoolId, ServerConfig, ServerId};
use crate::http::{Method, RequestHead, ResponseHead};
use crate::script::ServerNames;

impl<T> Called<T> {
    pub fn done(self) -> T {
        match self {
            Called::Done(result) => result,
            Called::Waits(suspended) => panic!("it waits for {:?}", suspended.wait),
        }
    }
}

fn server(name: &str, written: &str) -> ServerConfig {
    ServerConfig::new(name.into(), Address::Ip(written.parse().unwrap()), written.into())
}

fn pool(name: &str, servers: Vec<ServerConfig>) -> Arc<PoolConfig> {
    Arc::new(PoolConfig { servers, ..PoolConfig::named(name.into(), Balance::Function) })
}

fn config(pools: usize, on_request: bool, on_response: bool) -> Config {
    let web = vec![server("a", "10.0.0.1:80"), server("b", "10.0.0.2:80"), server("c", "10.0.0.3:80")];
    let mut all = vec![pool("web", web), pool("api", vec![server("d", "10.0.0.4:80")])];
    all.truncate(pools);
    Config { pools: all, on_request, on_response, ..Config::default() }
}

fn function(lua: &Lua, name: &str) -> Option<Function> {
    lua.globals().get(name).unwrap()
}

fn script_with(pools: usize, source: &str) -> Script {
    script_by(pools, source, |_, chunk| chunk)
}

fn script_by(pools: usize, source: &str, made: impl FnOnce(&Lua, Function) -> Function) -> Script {
    let vm = Vm::new().unwrap();
    let lua = vm.lua().clone();
    let tables: Vec<Value> = (0..pools).map(|_| Value::Table(lua.create_table().unwrap())).collect();
    for (name, table) in ["web", "api"].into_iter().zip(&tables) {
        lua.globals().set(name, table).unwrap();
    }
    let chunk = lua.load(source).set_name("@site.lua").into_function().unwrap();
    vm.run_config(&made(&lua, chunk)).unwrap();
    let (on_request, on_response) = (function(&lua, "on_request"), function(&lua, "on_response"));
    let balance = (0..pools).map(|_| function(&lua, "balance")).collect();
    let config = config(pools, on_request.is_some(), on_response.is_some());
    let hash_by = vec![None; pools];
    let handlers = ScriptHandlers {
        on_request,
        on_response,
        on_answer: function(&lua, "on_answer"),
        on_log: function(&lua, "on_log"),
        on_connect: function(&lua, "on_connect"),
        on_start: function(&lua, "on_start"),
        every: function(&lua, "every").into_iter().collect(),
        balance,
        hash_by,
        pools: tables,
        ..ScriptHandlers::default()
    };
    Script::new(vm, handlers, &config).unwrap()
}

/// A script with both pools.
fn script(source: &str) -> Script {
    script_with(2, source)
}

fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead { method: Method::of(method.as_bytes()), ..RequestHead::default() };
    head.method_text = head.fields.store(method.as_bytes());
    head.target = head.fields.store(target.as_bytes());
    for (name, value) in fields {
        head.fields.append(name.as_bytes(), value.as_bytes());
    }
    head
}

fn client() -> RequestMeta<'static> {
    RequestMeta {
        address: Some("10.9.8.7:4711".parse().unwrap()),
        scheme: "http",
        id: b"id-1",
        tls: None,
        listener: "public",
    }
}

/// A request for `http://Example.COM:8080/static/a%20b?x=1`.
fn usual() -> RequestHead {
    let cookie = ("Cookie", "canary=1; theme=\"dark\"");
    head(
        "GET",
        "/static/a%20b?x=1",
        &[("Host", "Example.COM:8080"), cookie, ("X-Twice", "1"), ("x-twice", "2")],
    )
}

fn run(script: &mut Script, head: &mut RequestHead) -> Result<Verdict, String> {
    script.on_request(head, client()).map(Called::done).map_err(|ScriptError(line)| line)
}

/// Runs `on_request` with this body on the usual request.
fn outcome(body: &str) -> Result<Verdict, String> {
    run(&mut script(&format!("function on_request(req)\n{body}\nend")), &mut usual())
}

/// The value of an expression, as text.
fn value(expression: &str) -> Result<String, String> {
    value_of(expression, &mut usual())
}

fn value_of(expression: &str, head: &mut RequestHead) -> Result<String, String> {
    let body = format!("return rsp.respond {{ status = 200, body = tostring({expression}) }}");
    match run(&mut script(&format!("function on_request(req) {body} end")), head)? {
        Verdict::Answer(answer) => Ok(String::from_utf8(answer.body.to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn refused(result: Result<Verdict, String>, message: &str) {
    assert_eq!(result.unwrap_err(), message);
}

const WEB: PoolId = PoolId(0);
const API: PoolId = PoolId(1);

/// An offer of these servers.
fn offer<'a>(pool: PoolId, candidates: &'a [ServerId], in_flight: &'a [u32]) -> Offer<'a> {
    Offer {
        pool,
        candidates,
        in_flight,
        weights: &[1, 2, 3],
        up: &[true, true, false],
        latencies: &[None, Some(1500), Some(2_000_000)],
    }
}
