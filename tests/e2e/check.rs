//! `rsp check`: each kind of mistake that an operator makes is found before a request comes, with its line.

use crate::support::*;

/// Two pools on lines 2 and 3; what follows begins on line 4.
const TWO: &str = "rsp.listen '127.0.0.1:0'
local web = rsp.pool { name = 'web', servers = { '127.0.0.1:1' } }
local api = rsp.pool { name = 'api', servers = { '127.0.0.1:2' } }
";

fn check(config: &str, more: &[&str]) -> Finished {
    let directory = Directory::new();
    directory.write("site.lua", config);
    run(directory.path(), &[&["check", "site.lua"], more].concat())
}

#[test]
fn each_kind_of_typo_is_found_with_its_line() {
    for (kind, script, line, words) in [
        (
            "wrong field",
            "rsp.on_request(function(req)\nif req.pth == '/' then return web end\nreturn api end)",
            5,
            "req.pth: no such field, did you mean \"path\"?",
        ),
        (
            "wrong function",
            "rsp.on_request(function(req)\nif req.path == '/x' then return rsp.redirct('/') end\nreturn web or api end)",
            5,
            "did you mean \"redirect\"?",
        ),
        (
            "wrong pool",
            "rsp.on_request(function(req)\nif req.path == '/x' then return 'wbe' end\nreturn web or api end)",
            5,
            "no pool is named \"wbe\"",
        ),
        (
            "wrong variable",
            "rsp.on_request(function(req)\nif req.path == '/x' then return wbe end\nreturn web or api end)",
            5,
            "global 'wbe' is nil here",
        ),
        (
            "nothing returned",
            "rsp.on_request(function(req)\nif req.path == '/x' then return web end\nif req.path == '/y' then return api end\nend)",
            7,
            "without returning anything",
        ),
        (
            "nothing returned by the table",
            "local routes = { a = web, b = api }\nrsp.on_request(function(req)\nreturn routes[req.path]\nend)",
            5,
            "on_request fails for each of",
        ),
        ("missing comma", "rsp.settings { workers = 1\n  drain_timeout = '1s' }", 5, "missing comma?"),
        (
            "wrong type",
            "rsp.on_request(function(req)\nif req.path == '/x' then return 42 end\nreturn web or api end)",
            5,
            "on_request returns a number",
        ),
        (
            "wrong type of a key",
            "rsp.settings {\n  workers = 'two' }\nrsp.on_request(function() return web or api end)",
            5,
            "workers",
        ),
        (
            "wrong type of a status",
            "rsp.on_request(function(req)\nif req.path == '/x' then return rsp.respond {\nstatus = '200' } end\nreturn web or api end)",
            6,
            "status: got a string",
        ),
        (
            "assignment instead of a call",
            "rsp.on_request = function() return web or api end",
            4,
            "expected a call",
        ),
        (
            "assignment to a field",
            "rsp.on_request(function(req)\nreq.headers = { X = '1' }\nreturn web or api end)",
            5,
            "expected req.headers[\"NAME\"] = …",
        ),
        (
            "a colon for a dot",
            "rsp.on_request(function(req)\nif req.path == '/x' then return rsp:redirect('/') end\nreturn web or api end)",
            5,
            "expected a dot",
        ),
        (
            "a forgotten local",
            "rsp.on_request(function(req)\nname = req.host\nreturn web or api end)",
            5,
            "global 'name' is assigned",
        ),
    ] {
        let check = check(&format!("{TWO}{script}"), &[]);
        let found = check
            .stderr
            .lines()
            .any(|text| text.starts_with(&format!("site.lua:{line}: ")) && text.contains(words));
        assert!(found, "{kind}: {check:?}");
    }
}

#[test]
fn a_warning_is_a_failure_only_with_strict() {
    let warned = format!("{TWO}rsp.on_request(function(req) return web end)");
    let lenient = check(&warned, &[]);
    assert_eq!((lenient.code, lenient.stdout.as_str()), (Some(0), "site.lua: ok\n"));
    assert_eq!(lenient.stderr, "site.lua:3: warning: pool \"api\" is never used\n");
    let strict = check(&warned, &["--strict"]);
    assert_eq!((strict.code, strict.stdout.as_str(), strict.stderr), (Some(1), "", lenient.stderr));
    let clean = check(
        &format!("{TWO}rsp.on_request(function(req) return req.host == 'a' and web or api end)"),
        &["--strict"],
    );
    assert_eq!((clean.code, clean.said().as_str()), (Some(0), "site.lua: ok\n"));
}

#[test]
fn a_handler_that_waits_for_others_is_not_said_to_fail() {
    let waits = "rsp.on_request(function(req)
        local answer = rsp.fetch { pool = api, path = '/who' }
        return answer.status == 200 and web or api end)";
    assert_eq!(check(&format!("{TWO}{waits}"), &["--strict"]).code, Some(0));
}
