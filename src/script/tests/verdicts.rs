//! Every value that `on_request` may return, and the errors for all others.

use super::super::Answer;
use super::*;

fn answer(body: &str) -> Answer {
    match outcome(body).unwrap() {
        Verdict::Answer(answer) => *answer,
        other => panic!("{other:?}"),
    }
}

fn named(server: u32, preferred: bool) -> Result<Verdict, String> {
    Ok(Verdict::Server { pool: WEB, server: ServerId(server), preferred })
}

fn shown(answer: Answer) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: String = answer.headers.iter().map(|(n, v)| format!("{}: {}|", text(n), text(v))).collect();
    format!("{} {headers} {}", answer.status, text(&answer.body))
}

#[test]
fn a_pool_is_returned_by_itself_or_by_its_name() {
    assert_eq!(outcome("return api"), Ok(Verdict::Pool(API)));
    assert_eq!(outcome("return 'api'"), Ok(Verdict::Pool(API)));
    assert_eq!(outcome("return 'web', nil"), Ok(Verdict::Pool(WEB)));
}

#[test]
fn a_server_is_named_by_its_name_or_its_address() {
    assert_eq!(outcome("return web, 'b'"), named(1, false));
    assert_eq!(outcome("return 'web', '10.0.0.3:80'"), named(2, false));
    refused(
        outcome("return web, 'd'"),
        "site.lua:1: on_request: pool \"web\" has no server \"d\", did you mean \"a\"?",
    );
}

#[test]
fn true_after_a_server_makes_it_only_preferred() {
    assert_eq!(outcome("return web, 'b', true"), named(1, true));
    assert_eq!(outcome("return web, 'b', false"), named(1, false));
    assert_eq!(outcome("return web, nil, true"), Ok(Verdict::Pool(WEB)));
    refused(
        outcome("return web, 'b', 'c'"),
        "site.lua:1: on_request returned a pool, a server and a string, expected true (the server is only preferred) \
         or nothing as third value",
    );
}

#[test]
fn a_server_object_may_be_kept_and_returned_with_its_own_pool_only() {
    let source = "function balance(req, servers) kept = servers[2] return servers[1] end\n\
                  function on_request(req) if req.path == '/other' then return api, kept end return web, kept end";
    let mut script = script(source);
    script.balance(&mut usual(), client(), offer(WEB, &[ServerId(0), ServerId(1)], &[0, 0, 0])).unwrap();
    assert_eq!(run(&mut script, &mut usual()), named(1, false));
    refused(
        run(&mut script, &mut head("GET", "/other", &[])),
        "site.lua:2: on_request returned pool \"api\" and a server of pool \"web\"",
    );
}

#[test]
fn nil_stands_for_the_only_pool() {
    let mut one = script_with(1, "function on_request() end");
    assert_eq!(run(&mut one, &mut usual()), Ok(Verdict::Pool(WEB)));
    refused(
        outcome("return nil"),
        "site.lua:1: on_request returned nil, which stands for the only pool, but there are 2",
    );
    assert_eq!(run(&mut script_with(1, ""), &mut usual()), Ok(Verdict::Pool(WEB)));
}

#[test]
fn anything_else_is_an_error_that_says_what_was_expected() {
    for (body, what) in [
        ("return 5", "a number"),
        ("return true", "a boolean"),
        ("return {}", "a table"),
        ("return print", "a function"),
        ("return req", "a request"),
        ("return req.headers", "a headers"),
        ("return nil, 'a'", "nil"),
    ] {
        let tail = "expected a pool or its name, rsp.respond, rsp.redirect, rsp.abort or nil";
        refused(outcome(body), &format!("site.lua:1: on_request returned {what}, {tail}"));
    }
    let message = "site.lua:1: on_request returned a pool and a number, expected a server or its name as second \
                   value";
    refused(outcome("return web, 7"), message);
    refused(
        outcome("return 'wep'"),
        "site.lua:1: on_request: no pool is named \"wep\", did you mean \"web\"?",
    );
    refused(
        outcome("return 'something'"),
        "site.lua:1: on_request: no pool is named \"something\", known are web, api",
    );
}

#[test]
fn respond_gives_status_headers_in_order_of_name_and_body() {
    let made = answer(
        "return rsp.respond { status = 405, headers = { ['X-N'] = 7, Allow = 'GET', V = { 'a', 'b' } }, body = 'no\\n' }",
    );
    assert_eq!(shown(made), "405 Allow: GET|V: a|V: b|X-N: 7| no\n");
    assert_eq!(shown(answer("return rsp.respond { status = 204 }")), "204  ");
}

#[test]
fn an_answer_may_be_made_once_and_returned_often() {
    let source =
        "local no = rsp.respond { status = 403, body = 'no' }\nfunction on_request(req) return no end";
    let mut script = script(source);
    for _ in 0..100 {
        let Ok(Verdict::Answer(answer)) = run(&mut script, &mut usual()) else { panic!() };
        assert_eq!((answer.status, &answer.body[..]), (403, &b"no"[..]));
    }
}

#[test]
fn respond_refuses_at_the_line_of_the_call() {
    for (call, message) in [
        (
            "rsp.respond()",
            "rsp.respond: expected a table: rsp.respond { status = 200, headers = {}, body = \"\" }",
        ),
        ("rsp.respond { status = true }", "rsp.respond: status: expected an integer from 200 to 599"),
        ("rsp.respond { status = 99 }", "rsp.respond: status: expected an integer from 200 to 599, got 99"),
        ("rsp.respond { status = 200.5 }", "rsp.respond: status: expected an integer from 200 to 599"),
        ("rsp.respond { status = '200' }", "rsp.respond: status: expected an integer from 200 to 599"),
        (
            "rsp.respond { status = 200, boddy = '' }",
            "rsp.respond: unknown key \"boddy\", did you mean \"body\"?",
        ),
        ("rsp.respond { status = 200, body = {} }", "rsp.respond: body: expected a string"),
        ("rsp.respond { 200 }", "rsp.respond: keys are status, headers, body"),
        ("rsp.respond { status = 200, headers = 'x' }", "rsp.respond: headers: expected a table"),
        ("rsp.respond { status = 200, headers = { 'x' } }", "rsp.respond: headers: names are strings"),
        (
            "rsp.respond { status = 200, headers = { a = true } }",
            "rsp.respond: headers: values are strings, numbers or lists of them",
        ),
        (
            "rsp.respond { status = 200, headers = { a = 'x\\r\\nSet-Cookie: y' } }",
            "rsp.respond: headers[\"a\"]: the value has a CR, LF, NUL or another control byte",
        ),
        (
            "rsp.respond { status = 200, headers = { ['a b'] = 'x' } }",
            "rsp.respond: headers[\"a b\"]: not a header name (letters, digits and !#$%&'*+-.^_`|~)",
        ),
        (
            "rsp.respond { status = 200, headers = { ['content-length'] = '5' } }",
            "rsp.respond: headers[\"content-length\"]: read-only: rsp itself writes the fields that frame a message",
        ),
        (
            "rsp.respond { headers = { TE = 'trailers' } }",
            "rsp.respond: headers[\"TE\"]: read-only: rsp itself writes the fields that frame a message",
        ),
        ("rsp.respond { status = 304, body = 'x' }", "rsp.respond: an answer with status 304 has no body"),
        ("rsp.respond { status = 205, body = 'x' }", "rsp.respond: an answer with status 205 has no body"),
    ] {
        refused(outcome(&format!("\nlocal x = {call} return x")), &format!("site.lua:3: {message}"));
    }
}

#[test]
fn redirect_writes_a_location_and_a_short_body() {
    let made = shown(answer("return rsp.redirect('https://a/b')"));
    assert_eq!(made, "302 Content-Type: text/plain|Location: https://a/b| See https://a/b\n");
    assert_eq!(answer("return rsp.redirect('/x', 308)").status, 308);
    for (call, message) in [
        ("rsp.redirect()", "rsp.redirect: expected a url: rsp.redirect(url, status)"),
        ("rsp.redirect('/a', 304)", "rsp.redirect: status: expected 301, 302, 303, 307 or 308, got 304"),
        (
            "rsp.redirect('/a\\r\\nX: y')",
            "rsp.redirect: expected a url without control bytes, got \"/a\\r\\nX: y\"",
        ),
        ("rsp.redirect('')", "rsp.redirect: expected a url without control bytes, got \"\""),
    ] {
        refused(outcome(&format!("\nlocal x = {call} return x")), &format!("site.lua:3: {message}"));
    }
}

#[test]
fn a_script_error_is_one_line_with_its_position_and_the_next_request_works() {
    let source = "function on_request(req)\n\
                  if req.path == '/a' then error('a\\nb') end\n\
                  if req.path == '/b' then error({}) end\n\
                  if req.path == '/c' then error(setmetatable({}, { __tostring = function() return 'told' end })) end\n\
                  if req.path == '/d' then error() end\n\
                  if req.path == '/e' then local x = req.query.nothing end\n\
                  if req.path == '/f' then error('bare', 0) end\n\
                  if req.path == '/g' then error(setmetatable({}, { __tostring = function() error('x') end })) end\n\
                  return web end";
    let mut script = script(source);
    for (path, line) in [
        ("/a", "site.lua:2: a b"),
        ("/b", "site.lua:1: error object is a table without __tostring"),
        ("/c", "site.lua:1: told"),
        ("/d", "site.lua:1: nil"),
        ("/e", "site.lua:6: attempt to index a nil value (field 'query')"),
        ("/f", "site.lua:1: bare"),
        ("/g", "site.lua:8: x"),
    ] {
        refused(run(&mut script, &mut head("GET", path, &[])), line);
        assert_eq!(run(&mut script, &mut head("GET", "/", &[])), Ok(Verdict::Pool(WEB)));
    }
}
