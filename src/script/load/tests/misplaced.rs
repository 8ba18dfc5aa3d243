//! Values in the wrong place would silently do nothing: the error says where they belong.

use super::messages::{LISTEN, POOL, all};
use super::{Files, load_text};

/// Assignments would have no effect.
#[test]
fn the_functions_of_rsp_are_called_and_not_assigned() {
    all(&[
        (
            "\nrsp.on_request = function(req) return 'web' end",
            "2: rsp.on_request: cannot be assigned, expected a call: rsp.on_request(function(req) … end)",
        ),
        (
            "function rsp.on_response(req, res) end",
            "1: rsp.on_response: cannot be assigned, expected a call: rsp.on_response(function(req, res) … end)",
        ),
        (
            "rsp.listen = '0.0.0.0:80'",
            "1: rsp.listen: cannot be assigned, expected a call: rsp.listen \"0.0.0.0:80\"",
        ),
        (
            "rsp.pool = { servers = {} }",
            "1: rsp.pool: cannot be assigned, expected a call: rsp.pool { servers = { \"127.0.0.1:8080\" } }",
        ),
        ("rsp.settings = {}", "1: rsp.settings: cannot be assigned, expected a call: rsp.settings { … }"),
        ("rsp.respond = print", "1: rsp.respond: cannot be replaced, expected a call of it"),
        ("rsp.fetch = print", "1: rsp.fetch: cannot be replaced, expected a call of it"),
        ("rsp.workers = 4", "1: rsp.workers: cannot be assigned, it belongs in rsp.settings { workers = … }"),
        (
            "rsp.on_requst = print",
            "1: rsp.on_requst: cannot be assigned, unknown, did you mean rsp.on_request?",
        ),
        (
            "rsp[1] = 'x'",
            "1: rsp[1]: cannot be assigned, unknown, expected one of abort, base64, basic_auth, cidr, concurrency, equal, every, fetch, hex, hmac_sha256, json, listen, log, map, now, on_answer, on_connect, on_log, on_request, on_response, on_start, pool, random, rate, redirect, regex, resolve, respond, settings, sha256, shared, sleep, split, url",
        ),
    ]);
    let in_handler = "rsp.on_request(function(req) rsp.on_response = print end)";
    load_text(&format!("{LISTEN}{POOL}{in_handler}")).unwrap();
}

/// Next to calls of `rsp` the three globals of a classic config would have no effect.
#[test]
fn classic_globals_beside_calls_of_rsp_are_refused() {
    let beside = |name, expected| {
        format!("{name}: does nothing beside calls of rsp, expected {expected} in its place")
    };
    let (listen, pool) = ("rsp.listen \"0.0.0.0:8000\"", "rsp.pool { servers = { \"127.0.0.1:8888\" } }");
    all(&[
        (&format!("{LISTEN}{POOL}\nlistenPort = '8000'"), &format!("2: {}", beside("listenPort", listen))),
        (
            &format!("{LISTEN}{POOL}\n\nbackendAddress = '127.0.0.1'"),
            &format!("3: {}", beside("backendAddress", pool)),
        ),
        (&format!("backendPort = 1 {LISTEN}{POOL}"), &format!("1: {}", beside("backendPort", pool))),
        (&format!("{LISTEN}\nlistenPort = '8000'"), &format!("2: {}", beside("listenPort", listen))),
    ]);
    let files = Files::new(&[
        ("site.lua", &format!("{LISTEN}{POOL} require 'old'")),
        ("old.lua", "\nlistenPort = '8000'"),
    ]);
    assert_eq!(files.load().unwrap_err(), format!("old.lua:2: {}", beside("listenPort", listen)));
    let local = "local listenPort = 8000 rsp.listen('127.0.0.1:' .. listenPort)";
    load_text(&format!("{local} {POOL}")).unwrap();
}

#[test]
fn an_error_about_a_misplaced_key_names_its_table() {
    all(&[
        (
            "rsp.pool {\n access_log = '-' }",
            "2: access_log: unknown pool key, it belongs in rsp.settings { access_log = … }",
        ),
        (
            "rsp.settings { servers = {} }",
            "1: servers: unknown setting, it belongs in rsp.pool { servers = … }",
        ),
        ("rsp.settings { health = {} }", "1: health: unknown setting, it belongs in rsp.pool { health = … }"),
        (
            "rsp.settings { backlog = 5 }",
            "1: backlog: unknown setting, it belongs in rsp.listen { \"ADDRESS\", backlog = … }",
        ),
        (
            "rsp.pool { weight = 5 }",
            "1: weight: unknown pool key, it belongs in rsp.pool { servers = { { \"ADDRESS\", weight = … } } }",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:1' }, timeouts = {\n head = 1 } }",
            "2: timeouts.head: unknown timeout of a pool, it belongs in rsp.settings { timeouts = { head = … } }",
        ),
        (
            "rsp.pool { connect = 1 }",
            "1: connect: unknown pool key, it belongs in rsp.pool { timeouts = { connect = … } }",
        ),
    ]);
}

#[test]
fn the_line_is_that_of_the_key_or_of_the_call() {
    all(&[
        (
            "local t = {\n weigth = 1 }\nrsp.settings(t)",
            "3: weigth: unknown setting, expected one of workers, max_connections, max_connections_per_client, new_connections_per_client, buffer_memory, max_body, max_head, max_fields, min_request_rate, min_response_rate, access_log, trusted, fallback, drain_timeout, drain_delay, upgrade_drain_timeout, admin, control, metrics, user, group, resolver, trace, via, upgrades, splice, timeouts, acme_challenge_dir, script",
        ),
        ("local set = rsp.settings\nset {\n\n vai = 1 }", "4: vai: unknown setting, did you mean via?"),
        ("rsp.settings\n{\n vai = 1 }", "3: vai: unknown setting, did you mean via?"),
        (
            "rsp.settings { -- vai = 0\n via = 'vai = ',\n\n vai = 1 }",
            "4: vai: unknown setting, did you mean via?",
        ),
    ]);
}
