//! Handlers that wait: `rsp.sleep`, `rsp.fetch`, `rsp.resolve`, and what their requests and others see of it.

use std::time::Duration;

use crate::support::*;

/// A pool `web` with an echoing origin, a pool `auth` at this address, and a script.
fn with_auth(auth: &str, script: &str) -> (Origin, Rsp) {
    let origin = Origin::named("origin");
    let config = format!(
        "local web = rsp.pool {{ name = 'web', servers = {{ {:?} }} }}\n\
         local auth = rsp.pool {{ name = 'auth', servers = {{ {auth:?} }}, retries = 0 }}\n{script}",
        origin.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    (origin, rsp)
}

const ASKS: &str = "rsp.on_request(function(req)
    local answer, why = rsp.fetch { pool = auth, path = '/auth' .. req.path, headers = { ['X-Token'] = req.headers['X-Token'] or 'none' } }
    if not answer then return rsp.respond { status = 503, body = why } end
    if answer.status ~= 200 then return rsp.respond { status = answer.status, body = answer.body } end
    req.headers['X-User'] = answer.headers['x-user']
    return web
end)";

/// Lets a request pass whose token is `good`, and says who it is.
fn guard() -> Origin {
    Origin::run(|visit| {
        while let Some(request) = visit.request() {
            let good = request.get("X-Token") == Some("good");
            let answer = match good {
                true => "HTTP/1.1 200 OK\r\nX-User: bob\r\nContent-Length: 0\r\n\r\n",
                false => "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n",
            };
            if !visit.send(answer) {
                return;
            }
        }
    })
}

fn silent() -> Origin {
    Origin::run(|visit| {
        visit.request();
        visit.wait_for_end();
    })
}

const GOOD: &str = "GET /a HTTP/1.1\r\nHost: x\r\nX-Token: good\r\n\r\n";

#[test]
fn an_authentication_server_lets_a_request_pass_or_answers_it() {
    let auth = guard();
    let (origin, rsp) = with_auth(&auth.address, ASKS);
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        let passed = client.send(GOOD).response();
        assert_eq!((passed.status(), passed.text()), (200, "origin".into()));
        assert_eq!(origin.last().get("X-User"), Some("bob"));
        let refused = client.get("/a");
        assert_eq!((refused.status(), refused.text()), (403, "no\n".into()));
    }
    assert_eq!(origin.request_count(), 3);
    assert_eq!(auth.last().head.target(), "/auth/a");
    assert_eq!(auth.connection_count(), 1, "it is asked over connections that are kept");
    assert_eq!(auth.last().get("Host"), Some(auth.address.as_str()));
}

#[test]
fn a_server_that_is_gone_or_too_slow_is_a_reason_for_the_script() {
    let gone = RefusingAddress::new();
    let (_origin, rsp) = with_auth(&gone.address, ASKS);
    assert_eq!(get(rsp.address(), "/").text(), "refused");
    let slow = silent();
    let (_origin, rsp) = with_auth(&slow.address, &ASKS.replace("path =", "timeout = '50ms', path ="));
    assert_eq!(get(rsp.address(), "/").text(), "timeout");
    until("the authentication server sees the close", || slow.open_count() == 0);
}

#[test]
fn a_response_larger_than_is_allowed_is_none() {
    let large =
        Origin::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{}", "x".repeat(2000)));
    let (_origin, rsp) = with_auth(&large.address, &ASKS.replace("path =", "max_body = '1k', path ="));
    assert_eq!(get(rsp.address(), "/").text(), "too large");
    let (_origin, rsp) = with_auth(&large.address, &ASKS.replace("path =", "max_body = 2000, path ="));
    assert_eq!(get(rsp.address(), "/").text(), "origin");
}

#[test]
fn a_client_that_leaves_ends_its_handler_and_what_that_waits_for() {
    let auth = silent();
    let (origin, rsp) = with_auth(&auth.address, ASKS);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    auth.wait_for_requests(1);
    drop(client);
    until("the authentication server sees the close", || auth.open_count() == 0);
    assert_eq!(origin.connection_count(), 0);
}

#[test]
fn others_go_on_while_a_handler_sleeps() {
    let script =
        "rsp.on_request(function(req) if req.path == '/sleep' then rsp.sleep(30) end return web end)";
    let (_origin, rsp) = with_auth("127.0.0.1:1", script);
    let mut sleepers: Vec<Client> = (0..50).map(|_| Client::connect(rsp.address())).collect();
    sleepers.iter_mut().for_each(|client| _ = client.ask("/sleep"));
    for _ in 0..20 {
        assert_eq!(get(rsp.address(), "/").status(), 200);
    }
    assert!(sleepers[0].stays_open(Duration::from_millis(50)));
}

#[test]
fn a_handler_that_sleeps_goes_on_with_its_own_request() {
    let script = "rsp.on_request(function(req)
        local path = req.path
        rsp.sleep('20ms')
        return rsp.respond { body = path .. req.path .. req.headers['X-N'] }
    end)";
    let (_origin, rsp) = with_auth("127.0.0.1:1", script);
    let mut clients: Vec<Client> = (0..30).map(|_| Client::connect(rsp.address())).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: x\r\nX-N: {n}\r\n\r\n"));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), format!("/{n}/{n}{n}"));
    }
}

#[test]
fn a_response_waits_for_its_handler_and_nothing_of_it_is_lost() {
    let body = "0123456789".repeat(30_000);
    let script = "rsp.on_response(function(req, res)
        rsp.sleep('20ms')
        local answer = rsp.fetch { pool = auth, headers = { ['X-Token'] = 'good' } }
        res.headers['X-User'] = answer.headers['X-User']
    end)
    rsp.on_request(function(req) return web end)";
    let auth = guard();
    let large = Origin::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let config = format!(
        "local web = rsp.pool {{ servers = {{ {:?} }} }}\nlocal auth = rsp.pool {{ name = 'auth', servers = {{ {:?} }} }}\n{script}",
        large.address, auth.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.status(), response.get("X-User")), (200, Some("bob")));
        assert!(response.text() == body);
    }
    // Nothing follows this head.
    let mut client = Client::connect(rsp.address());
    let empty = client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").response_to("HEAD");
    assert_eq!(empty.get("X-User"), Some("bob"));
}

#[test]
fn a_body_that_is_uploaded_meanwhile_reaches_the_server() {
    let script = "rsp.on_request(function(req) rsp.sleep('30ms') return web end)
                  rsp.on_response(function(req, res) rsp.sleep('30ms') end)";
    let echo = Origin::echo();
    let config = format!("local web = rsp.pool {{ servers = {{ {:?} }} }}\n{script}", echo.address);
    let rsp = Rsp::start(&on_any_port(&config));
    let body = "abcdefghij".repeat(50_000);
    let mut client = Client::connect(rsp.address());
    assert!(client.post("/", &body).text() == body);
    assert!(client.post("/", "small").text() == "small");
}

#[test]
fn a_reload_lets_handlers_that_wait_finish_with_their_own_config() {
    let gate = Gate::new();
    let opened = gate.clone();
    let auth = Origin::run(move |visit| {
        while visit.request().is_some() {
            opened.wait();
            visit.send("HTTP/1.1 200 OK\r\nX-User: old\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let (origin, rsp) = with_auth(&auth.address, ASKS);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    auth.wait_for_requests(1);
    rsp.reload(&on_any_port("rsp.on_request(function() return rsp.respond { body = 'new' } end)"));
    gate.open();
    assert_eq!(client.response().text(), "origin");
    assert_eq!(origin.last().get("X-User"), Some("old"));
}

#[test]
fn a_fetch_after_a_reload_goes_through_a_pool_of_its_handlers_own_config() {
    let (gate, chosen) = (Gate::new(), Origin::named("chosen"));
    let opened = gate.clone();
    let auth = Origin::run(move |visit| {
        while visit.request().is_some() {
            opened.wait();
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let script = format!(
        "rsp.pool {{ name = 'chosen', servers = {{ {:?} }}, balance = function(_, all) return all[1] end }}
         rsp.on_request(function(req)
           rsp.fetch {{ pool = auth }}
           local answer, why = rsp.fetch {{ pool = 'chosen' }}
           return rsp.respond {{ body = answer and answer.body or why }}
         end)",
        chosen.address
    );
    let (_origin, rsp) = with_auth(&auth.address, &script);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    auth.wait_for_requests(1);
    rsp.reload(&on_any_port("rsp.on_request(function() return rsp.respond { body = 'new' } end)"));
    gate.open();
    assert_eq!(client.response().text(), "chosen");
}

#[test]
fn the_end_of_a_drain_finds_a_handler_that_waits() {
    let auth = silent();
    let script = format!("{ASKS}\nrsp.settings {{ drain_timeout = '200ms' }}");
    let (_origin, mut rsp) = with_auth(&auth.address, &script);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    auth.wait_for_requests(1);
    rsp.signal(libc::SIGTERM);
    assert_eq!(client.response().status(), 503);
    rsp.wait_for_exit();
}

#[test]
fn a_name_is_resolved_and_one_that_there_is_not_is_a_reason() {
    let script = "rsp.on_request(function(req)
        local list, why = rsp.resolve(req.headers['X-Name'])
        return rsp.respond { body = list and table.concat(list, ' ') or 'none: ' .. why }
    end)";
    let (_origin, rsp) = with_auth("127.0.0.1:1", script);
    let mut client = Client::connect(rsp.address());
    let mut ask = |name: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: x\r\nX-Name: {name}\r\n\r\n")).response().text()
    };
    assert_eq!(ask("127.0.0.9"), "127.0.0.9");
    let local = ask("localhost");
    assert!(local.contains("127.0.0.1") || local.contains("::1"), "{local}");
    let none = ask("no-such-host.invalid");
    assert!(none.starts_with("none: "), "{none}");
}

#[test]
fn a_handler_that_fails_after_it_waited_costs_its_request_only_and_the_fallback_gets_it_as_it_came() {
    let script = "rsp.settings { fallback = 'web' }
    rsp.on_request(function(req)
        req.headers['X-Changed'] = 'yes'
        rsp.sleep('5ms')
        error('broken')
    end)";
    let (origin, rsp) = with_auth("127.0.0.1:1", script);
    assert_eq!(get(rsp.address(), "/").text(), "origin");
    assert_eq!(origin.last().get("X-Changed"), None);
    rsp.wait_for_log("broken (the fallback pool web takes the request)");
}

/// An echoing origin whose pool holds bodies up to 64 KiB, and a handler.
fn holding(handler: &str) -> (Origin, Rsp) {
    let echo = Origin::echo();
    let config = format!(
        "local web = rsp.pool {{ servers = {{ {:?} }}, buffer_request = '64k' }}\n\
         rsp.on_request(function(req) {handler} end)",
        echo.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    (echo, rsp)
}

#[test]
fn a_handler_reads_the_body_and_the_server_gets_all_of_it_too() {
    let (origin, rsp) = holding(
        "local body, why = req:body()
         req.headers['X-Length'] = body and #body .. body:sub(1, 3) or why
         if req.path == '/own' then return rsp.respond { body = 'own ' .. req:body() } end
         return web",
    );
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.post("/", "hello").text(), "hello");
    assert_eq!(origin.last().get("X-Length"), Some("5hel"));
    let chunked =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(client.send(chunked).response().text(), "abcde");
    assert_eq!(origin.last().get("X-Length"), Some("5abc"));
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(origin.last().get("X-Length"), Some("0"));
    // The body of a request that the script answers was read, so the connection goes on.
    assert_eq!(client.post("/own", "mine").text(), "own mine");
    let exact = "x".repeat(64 * 1024);
    assert!(client.post("/", &exact).text() == exact);
    assert_eq!(origin.last().get("X-Length"), Some("65536xxx"));
    assert_eq!(origin.connection_count(), 1, "one connection carried all of it");
}

#[test]
fn a_body_larger_than_is_held_is_a_reason_for_the_script_and_reaches_the_server_whole() {
    let (origin, rsp) = holding("local body, why = req:body() req.headers['X-Why'] = why return web");
    let mut client = Client::connect(rsp.address());
    let large = "0123456789".repeat(20_000);
    assert!(client.post("/", &large).text() == large);
    assert_eq!(origin.last().get("X-Why"), Some("too large"));
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let chunked = format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
    assert!(client.send(chunked).response().text() == large);
    assert_eq!(origin.last().get("X-Why"), Some("too large"));
}

#[test]
fn a_fallback_that_gets_the_request_as_it_came_does_not_hear_that_its_client_waited_to_be_asked() {
    let (held, spare) = (Origin::named("never"), Origin::echo());
    let rsp = Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ servers = {{ {:?} }}, buffer_request = '64k' }}
         rsp.pool {{ name = 'spare', servers = {{ {:?} }} }}
         rsp.settings {{ fallback = 'spare' }}
         rsp.on_request(function(req) req.path = '/changed' req:body() error('broken') end)",
        held.address, spare.address
    )));
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status(), 100);
    assert_eq!(client.send("ok").response().text(), "ok");
    let got = spare.last();
    assert_eq!((got.head.target(), got.get("Expect")), ("/", None));
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked_by_rsp_and_the_server_never_hears_of_it() {
    for handler in ["req:body() return web", "return web"] {
        let (origin, rsp) = holding(handler);
        let mut client = Client::connect(rsp.address());
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.head().status(), 100);
        assert_eq!(origin.connection_count(), 0);
        assert_eq!(client.send("ok").response().text(), "ok");
        assert_eq!(origin.last().get("Expect"), None);
    }
}

#[test]
fn a_server_is_not_asked_before_a_slow_body_is_whole() {
    let (origin, rsp) = holding("return web");
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
    assert!(client.stays_open(Duration::from_millis(50)));
    assert_eq!(origin.connection_count(), 0);
    assert_eq!(client.send("def").response().text(), "abcdef");
}

#[test]
fn a_body_that_never_comes_times_out_and_one_that_is_cut_goes_nowhere() {
    let echo = Origin::echo();
    let config = format!(
        "rsp.settings {{ timeouts = {{ body = '100ms' }} }}\n\
         local web = rsp.pool {{ servers = {{ {:?} }}, buffer_request = '64k' }}\n\
         rsp.on_request(function(req) if req.path == '/read' then req:body() end return web end)",
        echo.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    for path in ["/", "/read"] {
        let mut client = Client::connect(rsp.address());
        client.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc"));
        assert_eq!(client.response().status(), 408, "{path}");
        let mut client = Client::connect(rsp.address());
        client.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc"));
        drop(client);
    }
    assert_eq!(echo.connection_count(), 0);
}

#[test]
fn without_buffer_request_reading_the_body_is_an_error_that_names_it() {
    let (_origin, rsp) = with_auth("127.0.0.1:1", "rsp.on_request(function(req) req:body() return web end)");
    assert_eq!(get(rsp.address(), "/").status(), 500);
    rsp.wait_for_log("req:body(): no pool has buffer_request");
}

#[test]
fn one_handler_more_than_may_wait_costs_its_request_a_503() {
    let auth = silent();
    let script = format!("rsp.settings {{ script = {{ waiting = 2 }} }}\n{ASKS}");
    let (_origin, rsp) = with_auth(&auth.address, &script);
    let mut waiting: Vec<Client> = (0..2).map(|_| Client::connect(rsp.address())).collect();
    waiting.iter_mut().for_each(|client| _ = client.ask("/"));
    auth.wait_for_requests(2);
    assert_eq!(get(rsp.address(), "/").status(), 503);
    waiting.pop();
    until("a place is free again", || auth.open_count() == 1);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    auth.wait_for_requests(3);
}

#[test]
fn a_response_whose_handler_fails_after_it_waited_is_answered() {
    let script = "rsp.settings { script = { waiting = 1 } }
    rsp.on_request(function(req) return web end)
    rsp.on_response(function(req, res)
        rsp.sleep(req.path == '/long' and 30 or '5ms')
        if req.path == '/fails' then error('broken') end
        rsp.sleep('5ms')
    end)";
    let (_origin, rsp) = with_auth("127.0.0.1:1", script);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/fails").status(), 500);
    assert_eq!(client.get("/").status(), 200, "it waits twice, as one handler");
    let mut long = None;
    until("a handler waits", || {
        if get(rsp.address(), "/").status() == 503 {
            return true;
        }
        // It was not there yet, or that request had the only place when it came.
        long.insert(Client::connect(rsp.address())).ask("/long");
        false
    });
    drop(long);
}

#[test]
fn a_reload_keeps_a_response_whose_handler_waits() {
    let script = "rsp.on_request(function(req) return web end)
    rsp.on_response(function(req, res) rsp.fetch { pool = auth } res.headers['X-Old'] = 'yes' end)";
    let gate = Gate::new();
    let opened = gate.clone();
    let auth = Origin::run(move |visit| {
        while visit.request().is_some() {
            opened.wait();
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let (_origin, rsp) = with_auth(&auth.address, script);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    auth.wait_for_requests(1);
    rsp.reload(&on_any_port("rsp.on_request(function() return rsp.respond { body = 'new' } end)"));
    gate.open();
    let response = client.response();
    assert_eq!((response.text().as_str(), response.get("X-Old")), ("origin", Some("yes")));
}

#[test]
fn a_body_that_is_asked_for_again_and_again_costs_its_own_request_only() {
    let (_origin, rsp) = holding("while not req:body() do end return web");
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.post("/", "x".repeat(70_000)).status(), 500);
    assert_eq!(get(rsp.address(), "/").status(), 200);
}

#[test]
fn a_client_that_ends_its_side_after_its_body_is_served() {
    let (_origin, rsp) = holding("return rsp.respond { body = req:body() }");
    let mut stream = std::net::TcpStream::connect(rsp.address()).expect("a connection");
    std::io::Write::write_all(&mut stream, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        .expect("a head");
    std::io::Write::write_all(&mut stream, b"body").expect("a body");
    stream.shutdown(std::net::Shutdown::Write).expect("an end");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("an answer");
    assert!(answer.ends_with("body"), "{answer}");
}
