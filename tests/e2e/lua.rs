//! The routing script: what it can read and decide, and that its errors affect only one request.

use crate::support::*;

/// Two pools `a` and `b` with origins that answer with their names, and the rest of a config.
struct Two {
    origins: [Origin; 2],
    rsp: Rsp,
}

fn two(script: &str) -> Two {
    let origins = ["a", "b"].map(Origin::named);
    let config = format!(
        "local a = rsp.pool {{ name = 'a', servers = {{ {{ {:?}, name = 'a1' }} }} }}\n\
         local b = rsp.pool {{ name = 'b', servers = {{ {{ {:?}, name = 'b1' }} }} }}\n{script}",
        origins[0].address, origins[1].address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    Two { origins, rsp }
}

/// One pool with one echoing origin, and a script.
fn one(script: &str) -> (Origin, Rsp) {
    let origin = Origin::named("origin");
    let rsp = Rsp::start(&format!("{}{script}", balanced(&[&origin.address])));
    (origin, rsp)
}

fn asked(rsp: &Rsp, request: &str) -> Message {
    Client::connect(rsp.address()).send(request).response()
}

/// The answer of `return rsp.respond` with this expression as body.
fn evaluated(expression: &str, request: &str) -> String {
    let script = format!(
        "rsp.on_request(function(req) return rsp.respond {{ status = 200, body = tostring({expression}) }} end)"
    );
    let (_origin, rsp) = one(&script);
    asked(&rsp, request).text()
}

const REQUEST: &str = "GET /path/x?a=1&b=%20two&a=3 HTTP/1.1\r\nHost: WWW.Example.COM:8080\r\n\
                       X-Thing: First\r\nx-thing: second\r\nCookie: canary=1; other=\"q\"\r\n\r\n";

#[test]
fn the_script_chooses_a_pool_by_host() {
    let two = two("rsp.on_request(function(req) if req.host == 'b.example' then return b end return a end)");
    assert_eq!(asked(&two.rsp, "GET / HTTP/1.1\r\nHost: B.example:99\r\n\r\n").text(), "b");
    assert_eq!(asked(&two.rsp, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").text(), "a");
}

#[test]
fn the_script_chooses_a_pool_by_path() {
    let two = two(
        "rsp.on_request(function(req) if req.path:sub(1, 8) == '/static/' then return b end return a end)",
    );
    let mut client = Client::connect(two.rsp.address());
    assert_eq!(client.get("/static/x").text(), "b");
    assert_eq!(client.get("/x/static/").text(), "a");
}

#[test]
fn the_script_chooses_a_pool_by_its_name() {
    let two = two("rsp.on_request(function(req) return req.args.pool end)");
    assert_eq!(get(two.rsp.address(), "/?pool=a").text(), "a");
    assert_eq!(get(two.rsp.address(), "/?pool=b").text(), "b");
}

#[test]
fn the_name_of_a_pool_that_does_not_exist_is_an_error_of_the_script() {
    let two = two("rsp.on_request(function(req) return 'nosuch' end)");
    assert_eq!(get(two.rsp.address(), "/").status(), 500);
    two.rsp.wait_for_log("nosuch");
}

#[test]
fn the_script_chooses_a_server_of_the_pool() {
    let origins = ["one", "two", "three"].map(Origin::named);
    let config = format!(
        "local web = rsp.pool {{ servers = {{ {:?}, {{ {:?}, name = 'app2' }}, {:?} }} }}
         rsp.on_request(function(req) return web, req.headers['X-Server'] end)",
        origins[0].address, origins[1].address, origins[2].address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    for _ in 0..4 {
        assert_eq!(asked(&rsp, "GET / HTTP/1.1\r\nHost: a\r\nX-Server: app2\r\n\r\n").text(), "two");
        let by_address = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Server: {}\r\n\r\n", origins[2].address);
        assert_eq!(asked(&rsp, &by_address).text(), "three");
    }
    assert_eq!(asked(&rsp, "GET / HTTP/1.1\r\nHost: a\r\nX-Server: nosuch\r\n\r\n").status(), 500);
}

#[test]
fn the_script_answers_itself() {
    let (origin, rsp) = one("rsp.on_request(function(req) return rsp.respond {
           status = 405, headers = { Allow = 'GET', ['X-Why'] = 'because' }, body = 'no\\n' } end)");
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!((answer.status(), answer.text().as_str()), (405, "no\n"));
        assert_eq!((answer.get("allow"), answer.get("x-why")), (Some("GET"), Some("because")));
        assert_eq!(answer.get("content-length"), Some("3"));
        assert!(answer.get("date").is_some());
    }
    assert_eq!(origin.connection_count(), 0);
}

#[test]
fn an_answer_to_head_has_no_body_and_an_answer_to_an_upload_keeps_the_connection_in_sync() {
    let (_origin, rsp) =
        one("rsp.on_request(function(req) return rsp.respond { status = 200, body = 'text' } end)");
    let mut client = Client::connect(rsp.address());
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to("HEAD").get("content-length"), Some("4"));
    assert_eq!(client.get("/").text(), "text");
    assert_eq!(client.post("/", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").text(), "text");
    client.wire.finish_sending();
    client.expect_end();
}

#[test]
fn the_script_redirects_with_302_or_its_own_status() {
    let (_origin, rsp) = one("rsp.on_request(function(req)
           if req.path == '/moved' then return rsp.redirect('https://new.example' .. req.target, 301) end
           return rsp.redirect('/elsewhere') end)");
    let moved = get(rsp.address(), "/moved?x=1");
    assert_eq!((moved.status(), moved.get("location")), (301, Some("https://new.example/moved?x=1")));
    let found = get(rsp.address(), "/");
    assert_eq!((found.status(), found.get("location")), (302, Some("/elsewhere")));
}

#[test]
fn nil_takes_the_only_pool() {
    let (_origin, rsp) = one("rsp.on_request(function(req) end)");
    assert_eq!(get(rsp.address(), "/").text(), "origin");
}

#[test]
fn nil_with_several_pools_is_an_error_of_the_script() {
    let two = two("rsp.on_request(function(req) end)");
    assert_eq!(get(two.rsp.address(), "/").status(), 500);
    two.rsp.wait_for_log("rsp.lua:");
}

#[test]
fn all_fields_of_a_request_are_readable() {
    for (expression, value) in [
        ("req.method", "GET"),
        ("req.target", "/path/x?a=1&b=%20two&a=3"),
        ("req.path", "/path/x"),
        ("req.query", "a=1&b=%20two&a=3"),
        ("req.host", "www.example.com"),
        ("req.scheme", "http"),
        ("req.client_ip", "127.0.0.1"),
        ("req.client_port > 0", "true"),
        ("#req.id >= 8", "true"),
        ("req.headers['x-THING']", "First"),
        ("req.headers.Host", "WWW.Example.COM:8080"),
        ("req.headers['X-None']", "nil"),
        ("req.cookies.canary", "1"),
        ("req.cookies.none", "nil"),
        ("req.args.a", "1"),
        ("req.args.none", "nil"),
    ] {
        assert_eq!(evaluated(expression, REQUEST), value, "{expression}");
    }
}

#[test]
fn header_changes_of_the_script_reach_the_server() {
    let (origin, rsp) = one("rsp.on_request(function(req)
           req.headers['X-Set'] = 'new'; req.headers['X-Multi'] = 'only'; req.headers['X-Gone'] = nil;
           req.headers['Host'] = 'inner.example' end)");
    asked(
        &rsp,
        "GET / HTTP/1.1\r\nHost: outer\r\nX-Multi: 1\r\nx-gone: 1\r\nX-Multi: 2\r\nX-GONE: 2\r\nX-Kept: 3\r\n\r\n",
    );
    let head = origin.last().head;
    assert_eq!(head.all("x-set"), ["new"]);
    assert_eq!(head.all("x-multi"), ["only"]);
    assert_eq!(head.all("x-gone"), [] as [&str; 0]);
    assert_eq!(head.all("x-kept"), ["3"]);
    assert_eq!(head.all("host"), ["inner.example"]);
}

#[test]
fn on_response_changes_what_the_client_gets() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nServer: secret/1.0\r\nX-Old: 1\r\nContent-Length: 4\r\n\r\nbody",
    );
    let script = "rsp.on_response(function(req, res)
        res.headers['Server'] = nil; res.headers['X-Path'] = req.path .. ' ' .. res.status .. ' ' .. res.reason;
        res.headers['X-Old'] = 'new' end)";
    let rsp = Rsp::start(&format!("{}{script}", balanced(&[&origin.address])));
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        let answer = client.get("/p");
        assert_eq!(answer.get("server"), None);
        assert_eq!(answer.get("x-path"), Some("/p 200 OK"));
        assert_eq!((answer.get("x-old"), answer.text().as_str()), (Some("new"), "body"));
    }
}

#[test]
fn on_response_runs_once_and_neither_on_interim_nor_on_own_answers() {
    let origin =
        Origin::answering("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let script = "rsp.on_request(function(req) if req.path == '/own' then return rsp.respond { status = 200 } end end)
        rsp.on_response(function(req, res) res.headers['X-Ran'] = (res.headers['X-Ran'] or '') .. res.status end)";
    let rsp = Rsp::start(&format!("{}{script}", balanced(&[&origin.address])));
    let mut client = Client::connect(rsp.address());
    let hints = client.ask("/").head();
    assert_eq!((hints.status(), hints.get("x-ran")), (103, None));
    assert_eq!(client.response().get("x-ran"), Some("200"));
    assert_eq!(client.get("/own").get("x-ran"), None);
}

#[test]
fn an_error_in_on_response_is_a_500_logged_with_its_position() {
    let (_origin, rsp) = one("rsp.on_response(function(req, res) error('broken by hand') end)");
    assert_eq!(get(rsp.address(), "/").status(), 500);
    rsp.wait_for_log("broken by hand");
    rsp.wait_for_log("rsp.lua:");
}

#[test]
fn line_ends_in_header_names_and_values_raise() {
    for change in [
        "req.headers['X-A'] = 'a\\r\\nX-Evil: 1'",
        "req.headers['X-A\\r\\nX-Evil'] = '1'",
        "req.headers['X-A'] = 'nul\\0'",
        "req.headers['X A'] = 'b'",
        "req.headers['Content-Length'] = '5'",
        "req.headers['Transfer-Encoding'] = 'chunked'",
        "req.headers['Connection'] = 'close'",
        "req.headers['Upgrade'] = 'websocket'",
        "req.headers['TE'] = 'trailers'",
        "req.headers['Trailer'] = 'X-A'",
        "req.headers['Keep-Alive'] = 'timeout=1'",
        "req.headers['Expect'] = '100-continue'",
        "req.headers:add('X-A', 'a\\nb')",
        "req.headers['X-A'] = { 'a', 'b\\r\\nX-Evil: 1' }",
        "req.headers['X-A'] = 5",
        "req.headers['Host'] = 'a b'",
        "req.headers:add('Host', 'b')",
        "return rsp.respond { status = 200, headers = { ['X-A'] = 'a\\nb' } }",
        "return rsp.redirect('/a\\r\\nX-Evil: 1')",
    ] {
        let (origin, rsp) = one(&format!("rsp.on_request(function(req) {change} end)"));
        assert_eq!(get(rsp.address(), "/").status(), 500, "{change}");
        assert_eq!(origin.connection_count(), 0, "{change}");
        rsp.wait_for_log("rsp.lua:3");
    }
}

#[test]
fn a_request_kept_past_its_end_raises_a_clear_error() {
    let (_origin, rsp) = one("local kept; rsp.on_request(function(req)
           if kept then return rsp.respond { status = 200, body = kept.path } end kept = req end)");
    assert_eq!(get(rsp.address(), "/first").text(), "origin");
    assert_eq!(get(rsp.address(), "/second").status(), 500);
    rsp.wait_for_log("rsp.lua:");
    assert!(!rsp.log().contains("/first"));
}

#[test]
fn an_error_of_the_script_is_a_500_logged_with_its_position_and_the_connection_stays_open() {
    let (_origin, rsp) = one(
        "rsp.on_request(function(req)\n  if req.path == '/bad' then\n    error('broken by hand')\n  end\nend)",
    );
    let mut client = Client::connect(rsp.address());
    let answer = client.get("/bad");
    assert_eq!(answer.status(), 500);
    assert!(!answer.text().contains("broken by hand"), "the client does not learn about the script");
    assert_eq!(client.get("/good").text(), "origin");
    rsp.wait_for_log("rsp.lua:5: broken by hand");
}

#[test]
fn repeated_errors_are_logged_once_and_other_errors_separately() {
    let (_origin, rsp) = one("rsp.on_request(function(req)
          if req.path:sub(1, 4) == '/bad' then error('bad ' .. req.path) end
          if req.path == '/worse' then error('worse') end end)
          rsp.on_response(function(req) if req.path == '/late' then error('late') end end)");
    let mut client = Client::connect(rsp.address());
    for n in 0..200 {
        assert_eq!(client.get(&format!("/bad{n}")).status(), 500);
    }
    assert_eq!(client.get("/worse").status(), 500);
    assert_eq!(client.get("/late").status(), 500);
    rsp.wait_for_log("rsp.lua:6: late");
    rsp.wait_for_log("rsp.lua:5: worse");
    rsp.wait_for_log("rsp.lua:4: bad /bad0");
    // Four messages of the place have lines of their own, and all others share one. On a very busy machine ten seconds may
    // pass: then more lines have the counts.
    let lines = rsp.log().lines().filter(|line| line.contains("bad /bad")).count();
    assert!((2..=10).contains(&lines), "{lines} lines");
}

#[test]
fn an_endless_script_fails_only_its_own_request() {
    let (_origin, rsp) = one(
        "rsp.on_request(function(req)\n  if req.path == '/spin' then\n    while true do end\n  end\nend)",
    );
    let mut others = Client::connect(rsp.address());
    for _ in 0..5 {
        let mut spinning = Client::connect(rsp.address());
        spinning.ask("/spin");
        assert_eq!(others.get("/").text(), "origin");
        assert_eq!(spinning.response().status(), 500);
    }
    rsp.wait_for_log("rsp.lua:");
}

#[test]
fn pcall_cannot_swallow_a_spent_budget() {
    let (_origin, rsp) = one("rsp.on_request(function(req)
           if req.path == '/spin' then while true do pcall(function() while true do end end) end end end)");
    assert_eq!(get(rsp.address(), "/spin").status(), 500);
    assert_eq!(get(rsp.address(), "/").text(), "origin");
}

#[test]
fn a_script_that_exceeds_its_memory_fails_only_its_own_request() {
    let (_origin, rsp) = one(
        "rsp.on_request(function(req)
           if req.path == '/eat' then local all = {} for i = 1, 1e9 do all[i] = string.rep('x', 1000000) .. i end end end)",
    );
    for _ in 0..5 {
        assert_eq!(get(rsp.address(), "/eat").status(), 500);
        assert_eq!(get(rsp.address(), "/").text(), "origin");
    }
    assert!(memory_kib(rsp.pid()) < 400 << 10, "{} KiB", memory_kib(rsp.pid()));
}

#[test]
fn the_fallback_pool_gets_the_requests_of_a_failed_script() {
    let two = two("rsp.on_request(function(req)
            if req.path == '/error' then error('broken') end
            if req.path == '/spin' then while true do end end
            if req.path == '/nil' then return nil end
            return a end)
          rsp.settings { fallback = 'b' }");
    assert_eq!(get(two.rsp.address(), "/").text(), "a");
    for path in ["/error", "/spin", "/nil"] {
        assert_eq!(get(two.rsp.address(), path).text(), "b", "{path}");
    }
    two.rsp.wait_for_log("broken");
    assert_eq!(two.origins[1].request_count(), 3);
}

#[test]
fn the_fallback_gets_the_request_without_the_changes_of_the_failed_script() {
    let two = two("rsp.on_request(function(req) req.headers['X-Half'] = 'done'; error('broken') end)
          rsp.settings { fallback = 'b' }");
    assert_eq!(get(two.rsp.address(), "/").text(), "b");
    assert_eq!(two.origins[1].last().head.all("host"), ["example.com"]);
    assert_eq!(two.origins[1].last().get("x-half"), None, "the fallback gets the request as it came");
}

#[test]
fn modules_beside_the_config_are_found() {
    let origin = Origin::named("origin");
    let directory = Directory::new();
    directory.write(
        "rules.lua",
        "local names = require 'lists.names'\nreturn function(req) req.headers['X-Rule'] = names[1] end",
    );
    directory.write("lists/names.lua", "return { 'from a module' }");
    let config = format!("{}rsp.on_request(require 'rules')", balanced(&[&origin.address]));
    let rsp = Rsp::start_in(directory, &config);
    assert_eq!(get(rsp.address(), "/").text(), "origin");
    assert_eq!(origin.last().get("x-rule"), Some("from a module"));
}

#[test]
fn state_of_the_script_persists_across_requests() {
    let (_origin, rsp) = one(
        "local count = 0
         rsp.on_request(function(req) count = count + 1 return rsp.respond { status = 200, body = tostring(count) } end)",
    );
    let counts: Vec<String> = (0..5).map(|_| get(rsp.address(), "/").text()).collect();
    assert_eq!(counts, ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_script_cannot_touch_files_or_run_programs() {
    for name in [
        "io",
        "os.execute",
        "os.exit",
        "os.remove",
        "os.getenv",
        "loadfile",
        "dofile",
        "debug",
        "package.loadlib",
    ] {
        let guarded =
            format!("(function() local ok, it = pcall(function() return {name} end) return ok and it end)()");
        let found = evaluated(&guarded, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(found == "nil" || found == "false", "{name} is {found}");
    }
}

#[test]
fn memory_of_the_script_does_not_grow_with_requests() {
    let (_origin, rsp) = one(
        "rsp.on_request(function(req)
           req.headers['X-Seen'] = req.host .. req.path .. (req.args.n or '') .. (req.headers['user-agent'] or '') end)",
    );
    let mut client = Client::connect(rsp.address());
    let ask = |client: &mut Client, count: usize| {
        for number in 0..count {
            assert_eq!(client.get(&format!("/some/path?n={number}")).status(), 200);
        }
    };
    ask(&mut client, 3_000);
    let before = memory_kib(rsp.pid());
    ask(&mut client, 10_000);
    let grown = memory_kib(rsp.pid()).saturating_sub(before);
    assert!(grown < 2_000, "grew by {grown} KiB in 10,000 requests");
}
