//! Requests that a script rewrites: what servers and logs get, and the connection that it closes without an answer.

use crate::support::*;

/// One pool with an origin, a script, and an access log of these lines.
fn over(origin: &Origin, script: &str) -> Rsp {
    let config = balanced(&[&origin.address]);
    Rsp::start(&format!("{config} rsp.settings {{ access_log = {{ '-', format = 'json' }} }} {script}"))
}

#[test]
fn the_server_gets_the_request_as_rewritten_and_the_log_what_the_client_asked_for() {
    let origin = Origin::named("a");
    let rsp = over(
        &origin,
        "rsp.on_request(function(req)
           req.path = req.path:gsub('^/api', '', 1)
           req.query = 'v=2'
           req.host = 'internal.example:8080'
           req.cookies.canary = '1'
           req.cookies.secret = nil
           assert(req.path == '/users' and req.target == '/api/users?page=1' and req.args.v == '2')
         end)",
    );
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        client.send("GET /api/users?page=1 HTTP/1.1\r\nHost: Shop.example\r\nCookie: a=b; secret=x\r\n\r\n");
        assert_eq!(client.response().status(), 200);
        let got = origin.last().head;
        assert_eq!(got.line, "GET /users?v=2 HTTP/1.1");
        assert_eq!(got.all("host"), ["internal.example:8080"]);
        assert_eq!(got.get("x-forwarded-host"), Some("Shop.example"));
        assert_eq!(got.all("cookie"), ["a=b; canary=1"]);
    }
    let line = "\"host\":\"Shop.example\",\"target\":\"/api/users?page=1\"";
    until("the log has the requests", || rsp.output().matches(line).count() == 3);
}

#[test]
fn a_request_without_host_gets_that_of_the_script() {
    let origin = Origin::named("a");
    let rsp = over(&origin, "rsp.on_request(function(req) req.host = 'given' end)");
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    assert_eq!(origin.last().head.all("host"), ["given"]);
    rsp.wait_for_output("\"host\":null");
}

#[test]
fn the_fallback_gets_the_request_as_it_came() {
    let origin = Origin::named("a");
    let rsp = Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ name = 'web', servers = {{ '{}' }} }}
         rsp.settings {{ fallback = 'web' }}
         rsp.on_request(function(req)
           req.path = '/changed' req.query = nil req.host = 'changed' req.cookies.a = 'changed'
           req.path = '/a b'
         end)",
        origin.address
    )));
    let mut client = Client::connect(rsp.address());
    client.send("GET /x?y HTTP/1.1\r\nHost: came\r\nCookie: a=1\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    let got = origin.last().head;
    assert_eq!((got.line.as_str(), got.get("host")), ("GET /x?y HTTP/1.1", Some("came")));
    assert_eq!(got.get("cookie"), Some("a=1"));
}

#[test]
fn a_rewrite_that_no_client_could_send_is_a_500_with_its_line_in_the_log() {
    let origin = Origin::named("a");
    for value in ["'/a\\r\\nX: y'", "'/a b'", "'/a#b'", "'http://a/'"] {
        let rsp = over(&origin, &format!("rsp.on_request(function(req)\nreq.path = {value} end)"));
        assert_eq!(get(rsp.address(), "/").status(), 500, "{value}");
        rsp.wait_for_log("req.path: got ");
    }
    assert_eq!(origin.request_count(), 0);
}

#[test]
fn abort_closes_without_an_answer_and_is_logged_as_444() {
    let origin = Origin::named("a");
    let rsp =
        over(&origin, "rsp.on_request(function(req) if req.path == '/no' then return rsp.abort() end end)");
    let mut client = Client::connect(rsp.address());
    client.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").expect_end();
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/").status(), 200);
    client.send("GET /no HTTP/1.1\r\nHost: a\r\n\r\n").expect_end();
    until("both are logged", || rsp.output().matches("\"status\":444").count() == 2);
    assert!(
        rsp.output().contains("\"end\":\"aborted\",\"by\":\"rsp\",\"phase\":\"request\""),
        "{}",
        rsp.output()
    );
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn an_abort_does_not_destroy_the_answer_before_it() {
    let rsp = Rsp::start(&on_any_port(
        "rsp.on_request(function(req)
           if req.path == '/no' then return rsp.abort() end
           return rsp.respond { body = ('x'):rep(200000) }
         end)",
    ));
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /no HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nunread",
    );
    assert_eq!(client.response().body.len(), 200_000);
    client.expect_end();
}

#[test]
fn the_listener_of_a_request_is_known_by_its_name() {
    let rsp = Rsp::start(
        "rsp.listen { '127.0.0.1:0', name = 'inside' }
         rsp.listen '127.0.0.1:0'
         rsp.on_request(function(req) return rsp.respond { body = req.listener } end)",
    );
    let [named, unnamed] = rsp.addresses() else { panic!("{:?}", rsp.addresses()) };
    assert_eq!(get(named, "/").text(), "inside");
    assert_eq!(get(unnamed, "/").text(), "127.0.0.1:0");
    rsp.reload(
        "rsp.listen { '127.0.0.1:0', name = 'renamed' }
         rsp.listen '127.0.0.1:0'
         rsp.on_request(function(req) return rsp.respond { body = req.listener } end)",
    );
    assert_eq!(get(named, "/").text(), "renamed");
}

#[test]
fn cookies_that_a_script_sets_reach_the_client_beside_those_of_the_server() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\r\n");
    let rsp = over(
        &origin,
        "rsp.on_response(function(req, res)
           res.cookies.seen = 'yes'
           res.cookies.canary = { '1', max_age = '1h', path = '/', same_site = 'lax', secure = true, http_only = true }
         end)",
    );
    assert_eq!(
        get(rsp.address(), "/").head.all("set-cookie"),
        ["a=1; Path=/", "seen=yes", "canary=1; Max-Age=3600; Path=/; SameSite=Lax; Secure; HttpOnly"]
    );
}
