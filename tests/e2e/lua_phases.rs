//! The script's functions around routing: `on_answer`, `on_log`, `on_connect`, `on_start` and `rsp.every`.

use serde_json::Value;

use crate::support::*;

const JSON: &str = "rsp.settings { access_log = { '-', format = 'json' } } ";

fn lines(rsp: &Rsp, count: usize) -> Vec<Value> {
    until("all lines are written", || rsp.output().matches('\n').count() >= count);
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    rsp.output().lines().map(read).collect()
}

#[test]
fn on_answer_changes_answers_of_rsp_and_of_the_script_and_none_of_a_server() {
    let (refusing, origin) = (RefusingAddress::new(), Origin::named("a"));
    let rsp = Rsp::start(&on_any_port(&format!(
        "local dead = rsp.pool {{ name = 'dead', servers = {{ '{}' }} }}
         local web = rsp.pool {{ name = 'web', servers = {{ '{}' }} }}
         rsp.on_request(function(req)
           if req.path == '/dead' then return dead end
           if req.path == '/own' then return rsp.respond {{ status = 404, body = 'none' }} end
           if req.path == '/go' then return rsp.redirect('/') end
           if req.path == '/fails' then error('no') end
           return web
         end)
         rsp.on_answer(function(req, res)
           res.headers['X-Frame-Options'] = 'DENY'
           res.headers:add('X-Path', req.path)
           res.cookies.seen = '1'
           if res.status == 502 then res.status = 503 end
         end)",
        refusing.address, origin.address
    )));
    let mut client = Client::connect(rsp.address());
    for (path, status, text) in [
        ("/dead", 503, "502 Bad Gateway\nno server accepted the connection\n"),
        ("/own", 404, "none"),
        ("/go", 302, "See /\n"),
        ("/fails", 500, "500 Internal Server Error\nthe routing script failed\n"),
    ] {
        let answer = client.get(path);
        assert_eq!((answer.status(), answer.text().as_str()), (status, text), "{path}");
        assert_eq!((answer.get("x-frame-options"), answer.get("x-path")), (Some("DENY"), Some(path)));
        assert_eq!(answer.get("set-cookie"), Some("seen=1"));
    }
    let served = client.get("/");
    assert_eq!((served.status(), served.get("x-frame-options")), (200, None));
    // No request was understood, so there is none to tell of.
    let refused = Client::connect(rsp.address()).send("nonsense\r\n\r\n").response();
    assert_eq!((refused.status(), refused.get("x-frame-options")), (400, None));
}

#[test]
fn an_on_answer_that_fails_leaves_the_answer_as_it_was() {
    let rsp = Rsp::start(&on_any_port(
        "rsp.on_request(function(req) return rsp.respond { status = 201, headers = { A = 'b' }, body = 'text' } end)
         rsp.on_answer(function(req, res)
           res.status = 500
           res.headers.A = nil
           res.headers.B = 'c'
           if req.path == '/error' then error('broken by hand') end
           if req.path == '/spin' then while true do end end
           res.status = 204
         end)",
    ));
    let mut client = Client::connect(rsp.address());
    for path in ["/error", "/spin", "/status"] {
        let answer = client.get(path);
        assert_eq!((answer.status(), answer.text().as_str()), (201, "text"), "{path}");
        assert_eq!((answer.get("a"), answer.get("b")), (Some("b"), None));
    }
    rsp.wait_for_log("broken by hand (the answer stays as it was)");
    rsp.wait_for_log("res.status: got 204");
}

#[test]
fn on_log_adds_fields_to_the_line_of_served_answered_and_unanswered_requests() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nX-Cache: hit \"it\"\r\nContent-Length: 2\r\n\r\nok");
    let config = balanced(&[&origin.address]);
    let rsp = Rsp::start(&format!(
        "{config} {JSON}
         rsp.on_request(function(req)
           if req.path == '/own' then return rsp.respond {{ status = 404 }} end
           if req.path == '/no' then return rsp.abort() end
           req.path = '/rewritten'
         end)
         rsp.on_log(function(req, res, log)
           log.tenant = req.headers['X-Tenant']
           log.cache = res and res.headers['X-Cache']
           log.answered = res ~= nil
           log.tenth = (res and res.status or 0) / 10
           log.asked = req.target
         end)"
    ));
    for path in ["/", "/own"] {
        let mut client = Client::connect(rsp.address());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Tenant: acme\r\n\r\n")).response();
    }
    Client::connect(rsp.address()).send("GET /no HTTP/1.1\r\nHost: a\r\n\r\n").expect_end();
    Client::connect(rsp.address()).send("nonsense\r\n\r\n").response();
    let lines = lines(&rsp, 4);
    let of = |target: &str| lines.iter().find(|line| line["target"] == target).expect(target);
    let (served, own, none, bad) = (of("/"), of("/own"), of("/no"), of("nonsense"));
    assert_eq!(served["tenant"], "acme");
    assert_eq!(served["cache"], "hit \"it\"");
    assert_eq!((&served["answered"], served["tenth"].as_f64()), (&Value::from(true), Some(20.0)));
    assert_eq!(served["asked"], "/");
    assert_eq!((&own["tenant"], own.get("cache")), (&Value::from("acme"), None));
    assert_eq!(own["tenth"], 40.4);
    assert_eq!((&none["answered"], &none["status"]), (&Value::from(false), &Value::from(444)));
    assert!(bad.get("answered").is_none(), "no request was understood: {bad}");
}

#[test]
fn an_on_log_that_fails_leaves_the_line_and_says_where() {
    let rsp = Rsp::start(&format!(
        "rsp.listen '127.0.0.1:0' {JSON}
         rsp.on_request(function() return rsp.respond {{}} end)
         rsp.on_log(function(req, res, log)\nlog.fine = 1\nlog.status = 2 end)"
    ));
    assert_eq!(get(rsp.address(), "/").status(), 200);
    let line = &lines(&rsp, 1)[0];
    assert_eq!((&line["status"], line.get("fine")), (&Value::from(200), None));
    rsp.wait_for_log("log[\"status\"]: every line has this field, expected another name");
}

#[test]
fn on_log_runs_in_the_site_that_is_current_at_the_end() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::run(move |visit| {
        while visit.request().is_some() {
            opened.wait();
            visit.send("HTTP/1.1 200 OK\r\nX-Cache: hit\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let config = |more: &str| format!("{} {JSON} {more}", balanced(&[&origin.address]));
    let rsp = Rsp::start(&config("rsp.on_log(function(req, res, log) log.site = 'old' end)"));
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    origin.wait_for_requests(1);
    rsp.reload(&config(
        "rsp.on_log(function(req, res, log) log.site = 'new' log.cache = res.headers['X-Cache'] end)",
    ));
    gate.open();
    assert_eq!(client.response().status(), 200);
    let line = &lines(&rsp, 1)[0];
    assert_eq!((&line["site"], &line["cache"]), (&Value::from("new"), &Value::from("hit")));
}

#[test]
fn on_connect_closes_a_client_unread_and_counts_it() {
    let mut rsp = Rsp::start(
        "rsp.listen { '127.0.0.1:0', name = 'shut' }
         rsp.listen { '127.0.0.1:0', name = 'open' }
         rsp.on_connect(function(conn)
           assert(conn.client_ip == '127.0.0.1')
           return conn.listener ~= 'shut'
         end)
         rsp.on_request(function() return rsp.respond {} end)",
    );
    let (shut, open) = (rsp.addresses()[0].clone(), rsp.addresses()[1].clone());
    Client::connect(&shut).expect_end();
    assert_eq!(get(&open, "/").status(), 200);
    rsp.wait_for_log("on_connect: 1 connection closed; the last was from 127.0.0.1");
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    assert!(rsp.log().contains("Abnormal ends since start: 1 script-refused\n"), "{}", rsp.log());
}

#[test]
fn on_connect_knows_the_client_of_a_proxy_header() {
    let rsp = Rsp::start(
        "rsp.listen { '127.0.0.1:0', proxy_protocol = true }
         rsp.settings { trusted = { '127.0.0.1' } }
         rsp.on_connect(function(conn) return conn.client_ip ~= '192.0.2.7' end)
         rsp.on_request(function() return rsp.respond {} end)",
    );
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut shut = Client::connect(rsp.address());
    shut.send(format!("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n{request}")).expect_end();
    let mut open = Client::connect(rsp.address());
    open.send(format!("PROXY TCP4 192.0.2.8 192.0.2.1 4711 80\r\n{request}"));
    assert_eq!(open.response().status(), 200);
}

#[test]
fn nobody_gets_past_an_on_connect_that_fails() {
    let rsp = Rsp::start(&on_any_port(
        "rsp.on_connect(function(conn) error('broken by hand') end)
         rsp.on_request(function() return rsp.respond {} end)",
    ));
    Client::connect(rsp.address()).expect_end();
    rsp.wait_for_log("broken by hand (the connection is closed)");
}

#[test]
fn on_connect_comes_before_the_handshake() {
    let (directory, authority) = secured();
    let rsp = Rsp::start_in(
        directory,
        "rsp.listen { '127.0.0.1:0', tls = { cert = 'site.crt', key = 'site.key' } }
         rsp.on_connect(function() return false end)
         rsp.on_request(function() return rsp.respond {} end)",
    );
    let hello = TlsClient::new(&authority).hello();
    Client::connect(rsp.address()).send(hello).expect_end();
}

#[test]
fn on_start_runs_before_the_first_request_and_every_in_its_period_until_a_reload() {
    let config = |word: &str| {
        on_any_port(&format!(
            "local state = {{ started = 0, ticks = 0 }}
             rsp.on_start(function() state.started = state.started + 1 end)
             rsp.every('100ms', function() state.ticks = state.ticks + 1 end)
             rsp.every('100ms', function() print('tick {word}') end)
             rsp.on_request(function(req)
               return rsp.respond {{ body = '{word} ' .. state.started .. ' ' .. state.ticks }}
             end)"
        ))
    };
    let rsp = Rsp::start(&config("one"));
    assert!(get(rsp.address(), "/").text().starts_with("one 1 "));
    until("it ticks", || {
        get(rsp.address(), "/").text().rsplit(' ').next().unwrap().parse::<u32>().unwrap() >= 2
    });
    rsp.reload(&config("two"));
    assert!(get(rsp.address(), "/").text().starts_with("two 1 "));
    let ticks = |word: &str| rsp.log().matches(&format!("tick {word}")).count();
    let before = ticks("one");
    until("the new one ticks", || ticks("two") >= 3);
    assert!(ticks("one") <= before + 1, "the old one has ended");
}

#[test]
fn failures_of_on_start_and_every_are_logged_and_harm_nothing() {
    let rsp = Rsp::start(&on_any_port(
        "rsp.on_start(function() error('at start') end)
         rsp.every('100ms', function() error('at times') end)
         rsp.on_request(function() return rsp.respond {} end)",
    ));
    rsp.wait_for_log("rsp.lua:2: at start");
    rsp.wait_for_log("rsp.lua:3: at times");
    assert_eq!(get(rsp.address(), "/").status(), 200);
    assert_eq!(rsp.log().matches("at times").count(), 1, "at most every ten seconds");
}

#[test]
fn functions_of_other_phases_are_counted() {
    let rsp = Rsp::start(&on_any_port(
        "rsp.settings { admin = '127.0.0.1:0', access_log = { '-', format = 'json' } }
         rsp.on_connect(function() end)
         rsp.on_request(function() return rsp.respond {} end)
         rsp.on_answer(function() error('no') end)
         rsp.on_log(function() end)
         rsp.every('100ms', function() end)",
    ));
    rsp.wait_for_log("Admin address: ");
    let log = rsp.log();
    let admin = log.lines().find_map(|line| line.split("Admin address: ").nth(1)).unwrap().trim().to_owned();
    assert_eq!(get(rsp.address(), "/").status(), 200);
    let metrics = || get(&admin, "/metrics").text();
    for sample in [
        "rsp_script_seconds_count{handler=\"on_connect\"} 1",
        "rsp_script_seconds_count{handler=\"on_answer\"} 1",
        "rsp_script_seconds_count{handler=\"on_log\"} 1",
        "rsp_script_failures_total{handler=\"on_answer\",reason=\"error\"} 1",
    ] {
        until(sample, || metrics().contains(sample));
    }
    until("it ticks", || !metrics().contains("rsp_script_seconds_count{handler=\"every\"} 0\n"));
}
