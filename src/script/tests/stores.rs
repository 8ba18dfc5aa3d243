//! What scripts share: how the objects are called, and that every VM of a process finds the same.

use std::path::Path;

use super::*;
use crate::script::{Source, load, load_again};
use crate::store::Place;

const SITE: &str = "rsp.listen '127.0.0.1:0'
local web = rsp.pool { servers = { '127.0.0.1:1' }, name = 'web' }
local canary = rsp.pool { servers = { '127.0.0.1:2' }, name = 'canary' }\n";

/// A source of these lines after two pools, at line 4, and the config they make.
fn site(lines: &str) -> (Source, Config, Script) {
    let mut source = Source::in_memory(Path::new("site.lua"), format!("{SITE}{lines}").as_bytes());
    let (config, script) = load(&mut source).unwrap_or_else(|error| panic!("{lines}: {}", error.0));
    (source, config, script)
}

pub fn load_error(lines: &str) -> String {
    let mut source = Source::in_memory(Path::new("site.lua"), format!("{SITE}{lines}").as_bytes());
    load(&mut source).map(|_| ()).unwrap_err().0
}

/// Runs a handler that answers with what the expression is.
pub fn answers(setup: &str, expression: &str) -> Result<String, String> {
    let lines = format!(
        "{setup}\nrsp.on_request(function(req)\nlocal x = table.pack({expression})\n\
                         for i = 1, x.n do x[i] = tostring(x[i]) end\n\
                         return rsp.respond {{ body = table.concat(x, ' ') }} end)"
    );
    let (_, _, mut script) = site(&lines);
    answer(&mut script)
}

fn answer(script: &mut Script) -> Result<String, String> {
    match run(script, &mut usual())? {
        Verdict::Answer(answer) => Ok(String::from_utf8(answer.body.to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

pub fn is(setup: &str, expression: &str, shown: &str) {
    assert_eq!(answers(setup, expression).as_deref(), Ok(shown), "{expression}");
}

#[test]
fn shared_values_keep_their_kind() {
    const S: &str = "local s = rsp.shared('s')";
    is(S, "s:get 'a', s:set('a', 'x'), s:get 'a'", "nil true x");
    is(
        S,
        "s:set('a', 1), math.type(s:get 'a'), s:set('a', 1.0), math.type(s:get 'a')",
        "true integer true float",
    );
    is(S, "s:set('a', false), s:get 'a', s:delete 'a', s:delete 'a', s:get 'a'", "true false true false nil");
    is(S, "s:add('a', 1), s:add('a', 2), s:get 'a'", "true false 1");
    is(S, "s:incr 'n', s:incr('n', 2), s:incr('n', 0.5), s:incr('f', 1.5, '10s')", "1 3 3.5 1.5");
    is(S, "s:set(1, 'one'), s:get '1'", "true one");
    is(S, "s:set('long', ('x'):rep(65536)), #s:get 'long', s:get(('k'):rep(1024))", "true 65536 nil");
    is(
        "local s = rsp.shared('s', { entries = 2 })",
        "s:set('a', 1), s:set('b', 2), s:set('c', 3), s:get 'a', s:get 'c'",
        "true true true nil 3",
    );
}

#[test]
fn wrong_calls_of_shared_values_raise() {
    const S: &str = "local s = rsp.shared('s')";
    for (call, why) in [
        ("s.get('a')", "get: called with a dot, expected a colon"),
        ("s:get()", "get: key: got nil, expected a string"),
        ("s:get(('k'):rep(1025))", "get: a key of 1025 bytes, expected at most 1024"),
        ("s:set('a', ('x'):rep(65537))", "set: a value of 65537 bytes, expected at most 65536"),
        ("s:set('a', {})", "set: got a table, expected a string, a number or a boolean"),
        ("s:set('a', nil)", "set: got a nil, expected a string, a number or a boolean"),
        ("s:set('a', 1, 'soon')", "set: expected a time to live such as \"10s\" or a number of seconds"),
        ("s:set('a', 1, 0)", "set: expected a time to live such as \"10s\" or a number of seconds"),
        ("s:incr('a', 'x')", "incr: got a string, expected a number to add"),
        ("s:set('a', 'x') and s:incr 'a'", "incr: the value is no number"),
        ("s:gett 'a'", "rsp.shared: gett: unknown, expected one of add, delete, get, incr, set"),
    ] {
        assert_eq!(answers(S, call), Err(format!("site.lua:6: {why}")));
    }
    assert_eq!(
        answers(S, "(function() s.x = 1 end)()"),
        Err("site.lua:6: rsp.shared: cannot be changed".into())
    );
}

#[test]
fn a_rate_passes_its_burst_and_then_says_how_long_to_wait() {
    const L: &str = "local l = rsp.rate { name = 'l', rate = 1, per = '1h', burst = 2 }";
    is(L, "l:allow 'a', l:allow 'a', (l:allow 'a'), (l:allow 'b')", "true true false true");
    is(L, "l:allow 'a' and l:allow 'a' and select(2, l:allow 'a') > 3590", "true");
    is("local l = rsp.rate { rate = 2 }", "l:allow 'a', l:allow 'a', (l:allow 'a')", "true true false");
    is("local l = rsp.rate { rate = 1, dry_run = true }", "l:allow 'a', l:allow 'a'", "true true");
    is(L, "l:allow(7), l:allow '7', (l:allow(7))", "true true false");
    for (call, why) in [
        ("l:allow()", "allow: expected a string as key, as in limit:allow(req.client_ip)"),
        ("l:allow(nil)", "allow: expected a string as key, as in limit:allow(req.client_ip)"),
        ("l.allow('a')", "allow: expected a string as key, as in limit:allow(req.client_ip)"),
        ("l:allow(('k'):rep(1025))", "allow: a key of 1025 bytes, expected at most 1024"),
    ] {
        assert_eq!(answers(L, call), Err(format!("site.lua:6: {why}")));
    }
}

#[test]
fn the_headers_of_a_rate_say_what_is_left() {
    const L: &str =
        "local l = rsp.rate { name = 'l', rate = 1, per = '1h', burst = 2 } local t = { headers = {} }";
    is(L, "l:headers(t, 'a'), t.headers.RateLimit, t.headers['Retry-After']", "nil \"l\";r=2;t=0 nil");
    is(L, "l:allow 'a', l:headers(t, 'a'), t.headers.RateLimit", "true nil \"l\";r=1;t=3600");
    is(
        L,
        "l:allow 'a', l:allow 'a', l:headers(t, 'a'), t.headers.RateLimit, t.headers['Retry-After']",
        "true true nil \"l\";r=0;t=7200 3600",
    );
    is(L, "(function() local a = {} l:headers(a, 'x') return a.headers.RateLimit end)()", "\"l\";r=2;t=0");
}

#[test]
fn places_belong_to_the_request_that_took_them() {
    let lines = "local c = rsp.concurrency { name = 'c', most = 2 }
rsp.on_request(function(req)
local a, b, d = c:enter(req, 'k'), c:enter(req, 'k'), c:enter(req, 'k')
return rsp.respond { body = tostring(a) .. tostring(b) .. tostring(d) } end)";
    let (mut source, config, mut script) = site(lines);
    assert_eq!(answer(&mut script).as_deref(), Ok("truetruefalse"));
    let mut held: Vec<Place> = Vec::new();
    script.take_places(&mut held);
    assert_eq!(held.len(), 2);
    let mut other = load_again(&mut source, &config).unwrap();
    assert_eq!(answer(&mut other).as_deref(), Ok("falsefalsefalse"), "in another VM of the process");
    held.pop();
    assert_eq!(answer(&mut other).as_deref(), Ok("truefalsefalse"));
    other.take_places(&mut held);
    held.clear();
    assert_eq!(answer(&mut script).as_deref(), Ok("truetruefalse"));
}

#[test]
fn only_the_request_that_runs_can_enter() {
    const C: &str = "local c = rsp.concurrency { most = 1 } local kept";
    let why = "expected the request that runs, as in limit:enter(req, key)";
    for call in ["c:enter('k')", "c:enter(nil, 'k')", "c:enter({}, 'k')"] {
        assert_eq!(answers(C, call), Err(format!("site.lua:6: enter: {why}")), "{call}");
    }
    assert_eq!(answers(C, "c:enter(req)"), Err("site.lua:6: enter: key: got nil, expected a string".into()));
    let many = "(function() local c = rsp for i = 1, 17 do big:enter(req, i) end end)()";
    let told = answers("big = rsp.concurrency { most = 100 }", many).unwrap_err();
    assert_eq!(told, "site.lua:6: enter: a request may hold 16 places");
}

#[test]
fn a_split_gives_exact_turns_or_goes_by_a_key() {
    let count = |by: &str| {
        let setup = format!(
            "local s = rsp.split {{ {{ web, 3 }}, {{ canary, 1 }}{by} }}
            local function count(req) local n = {{ web = 0, canary = 0 }}
              for i = 1, 8 do local p = s:pick(req) n[p.name] = n[p.name] + 1 end
              return n.web .. ':' .. n.canary end"
        );
        answers(&setup, "count(req)").map(|shown| shown.replace("8:0", "all one").replace("0:8", "all one"))
    };
    let site = |shown: &str| Ok(shown.to_owned());
    assert_eq!(count(""), site("6:2"));
    assert_eq!(count(", by = 'header:Absent'"), site("6:2"), "without a key they take turns");
    for by in ["client_ip", "path", "host", "header:X-Twice", "cookie:theme", "query:x"] {
        assert_eq!(count(&format!(", by = '{by}'")), site("all one"), "{by}");
    }
    assert_eq!(count(", by = function(req) return req.id end"), site("all one"));
    is("local s = rsp.split { { 'a', 1 } }", "s:pick(req)", "a");
}

#[test]
fn every_vm_of_a_process_shares_and_a_reload_keeps_it() {
    let lines = "local s, l = rsp.shared 's', rsp.rate { name = 'l', rate = 3, per = '1h' }
rsp.on_request(function() return rsp.respond { body = s:incr 'n' .. ' ' .. tostring((l:allow 'k')) } end)";
    let (mut source, config, mut first) = site(lines);
    let mut second = load_again(&mut source, &config).unwrap();
    assert_eq!(answer(&mut first).as_deref(), Ok("1 true"));
    assert_eq!(answer(&mut second).as_deref(), Ok("2 true"));
    assert_eq!(answer(&mut first).as_deref(), Ok("3 true"));
    let store = source.store().clone();
    assert_eq!(store.counts().len(), 2);
    // A later config, with another limit, while scripts of this one are still there.
    let lines = lines.replace("rate = 3", "rate = 3, burst = 5");
    let mut source =
        Source::in_memory(Path::new("site.lua"), format!("{SITE}{lines}").as_bytes()).sharing(store);
    let mut third = load(&mut source).unwrap().1;
    assert_eq!(answer(&mut second).as_deref(), Ok("4 false"));
    assert_eq!(answer(&mut third).as_deref(), Ok("5 true"));
    assert_eq!(answer(&mut third).as_deref(), Ok("6 true"));
    assert_eq!(answer(&mut third).as_deref(), Ok("7 false"));
}

#[test]
fn wrong_definitions_are_errors_of_the_config() {
    for (lines, line) in [
        (
            "rsp.shared()",
            "4: shared: got nothing (nil), expected a name without blanks and quotes, at most 128 bytes",
        ),
        ("rsp.shared('s', { entries = 0 })", "4: entries: got 0, expected a whole number from 1 to 10000000"),
        ("rsp.shared('s', { memory = '1k' })", "4: memory: got \"1k\", expected a size from \"128k\""),
        ("rsp.shared('s', { entrie = 1 })", "4: entrie: unknown key of rsp.shared, did you mean entries?"),
        ("rsp.rate { name = 'l' }", "4: rate: no rate, expected one as in rate = 10"),
        ("rsp.rate { rate = 0 }", "4: rate: got 0, expected a whole number from 1 to 1000000"),
        (
            "rsp.rate { name = 'l', rate = 1 }\nrsp.rate { name = 'l', rate = 2 }",
            "5: rate: \"l\" is already the name of another one, at site.lua:4",
        ),
        ("rsp.concurrency { name = 'c' }", "4: concurrency: no most, expected one as in most = 10"),
        (
            "rsp.split {}",
            "4: split: no share, expected a table such as { { web, 95 }, { canary, 5 }, by = \"client_ip\" }",
        ),
        ("rsp.split { web }", "4: split[1]: got a table, expected a pool and its weight, as in { web, 95 }"),
        ("rsp.split { { web, -1 } }", "4: split[1][2]: got -1, expected a whole number from 0 to 1000000"),
        (
            "rsp.split { { web, 1 }, by = 'ip' }",
            "4: by: got \"ip\", expected \"client_ip\", \"host\", \"path\", \"header:NAME\", \"cookie:NAME\", \
             \"query:NAME\" or a function(req)",
        ),
    ] {
        assert_eq!(load_error(lines), format!("site.lua:{line}"), "{lines}");
    }
    site("rsp.shared 's' rsp.shared 's' rsp.shared 't' rsp.on_request(function() return web end)");
    let told = answers("", "rsp.rate { rate = 1 }").unwrap_err();
    assert!(told.ends_with("rsp.rate: only while the config is loaded"), "{told}");
}
