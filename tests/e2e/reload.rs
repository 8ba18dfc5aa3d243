//! HUP and `rsp ctl SOCKET reload`: another config takes the place of the present one, and nobody notices but by what it
//! says. A config that cannot be used changes nothing.

use std::time::Duration;

use crate::support::*;

/// One pool `web` over this server, with an answer of the script's own that tells configs apart.
fn config(server: &str, generation: &str, more: &str) -> String {
    format!(
        "rsp.listen '127.0.0.1:0'
         local web = rsp.pool {{ name = 'web', servers = {{ '{server}' }}, timeouts = {{ idle = '1m' }} }}
         rsp.on_request(function(req)
           if req.path == '/generation' then return rsp.respond {{ body = '{generation}' }} end
           return web
         end)
         {more}"
    )
}

fn generation(client: &mut Client) -> String {
    client.get("/generation").text()
}

/// A server that answers `/slow…` once the gate is open.
fn gated() -> (Origin, Gate) {
    let gate = Gate::new();
    let wait = gate.clone();
    let origin = Origin::run(move |visit| {
        while let Some(request) = visit.request() {
            if request.head.target().starts_with("/slow") {
                wait.wait();
            }
            let body = request.body.len().to_string();
            visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    (origin, gate)
}

#[test]
fn the_next_request_of_a_connection_uses_the_new_config() {
    let origin = Origin::named("ok");
    let rsp = Rsp::start(&config(&origin.address, "first", ""));
    let mut client = Client::connect(rsp.address());
    assert_eq!(generation(&mut client), "first");
    assert_eq!(client.get("/").text(), "ok");
    for name in ["second", "third"] {
        rsp.reload(&config(&origin.address, name, ""));
        assert_eq!(generation(&mut client), name);
        assert_eq!(generation(&mut Client::connect(rsp.address())), name);
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(origin.connection_count(), 1, "the idle connection stays");
    rsp.stop();
}

#[test]
fn with_several_workers_all_of_them_use_it_when_the_log_says_so() {
    let origin = Origin::named("ok");
    let workers = "rsp.settings { workers = 4 }";
    let rsp = Rsp::start(&config(&origin.address, "0", workers));
    let mut clients: Vec<Client> = (0..16).map(|_| Client::connect(rsp.address())).collect();
    for round in 1..=5 {
        rsp.reload(&config(&origin.address, &round.to_string(), workers));
        assert!(clients.iter_mut().all(|client| generation(client) == round.to_string()));
    }
    rsp.stop();
}

#[test]
fn requests_that_run_end_with_the_config_they_began_with() {
    let (origin, gate) = gated();
    let more = "rsp.on_response(function(req, res) res.headers['X-Generation'] = 'first' end)";
    let rsp = Rsp::start(&config(&origin.address, "first", more));
    let mut post = Client::connect(rsp.address());
    post.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
    let mut expecting = Client::connect(rsp.address());
    expecting.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let mut waiting = Client::connect(rsp.address());
    waiting.ask("/slow");
    until("all are at the server", || origin.connection_count() == 3);
    rsp.reload(&config(&origin.address, "second", ""));
    gate.open();
    post.send("56789");
    let answer = post.response();
    assert_eq!((answer.text().as_str(), answer.head.get("x-generation")), ("10", Some("first")));
    expecting.send("01234");
    let answer = expecting.response();
    assert_eq!((answer.text().as_str(), answer.head.get("x-generation")), ("5", Some("first")));
    assert_eq!(waiting.response().head.get("x-generation"), Some("first"));
    assert_eq!(post.get("/").head.get("x-generation"), None);
    rsp.stop();
}

#[test]
fn a_queued_request_survives_two_reloads() {
    let (origin, gate) = gated();
    let narrow = |generation: &str| {
        format!(
            "rsp.listen '127.0.0.1:0'
             local web = rsp.pool {{ name = 'web', servers = {{ {{ '{}', max_connections = 1 }} }},
               queue = {{ timeout = '60s' }} }}
             rsp.on_request(function(req)
               if req.path == '/generation' then return rsp.respond {{ body = '{generation}' }} end
               return web
             end)",
            origin.address
        )
    };
    let rsp = Rsp::start(&narrow("1"));
    let mut first = Client::connect(rsp.address());
    first.ask("/slow");
    until("it is at the server", || origin.connection_count() == 1);
    let mut second = Client::connect(rsp.address());
    second.ask("/queued");
    rsp.reload(&narrow("2"));
    rsp.reload(&narrow("3"));
    assert_eq!(generation(&mut Client::connect(rsp.address())), "3");
    assert_eq!(origin.connection_count(), 1, "the limit holds");
    gate.open();
    assert_eq!(first.response().status(), 200);
    assert_eq!(second.response().status(), 200);
    rsp.stop();
}

#[test]
fn a_download_and_a_websocket_go_on_over_reloads() {
    const SIZE: u64 = 6_000_000;
    let origin = bodies(Uploads::default());
    let echo = Origin::run(|visit| {
        visit.head();
        visit.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        while let Ok(bytes) = visit.wire.read_exactly(4) {
            visit.send(bytes);
        }
    });
    let text = |name: &str| {
        format!(
            "rsp.listen '127.0.0.1:0'
             local web = rsp.pool {{ name = 'web', servers = {{ '{}' }} }}
             local chat = rsp.pool {{ name = 'chat', servers = {{ '{}' }} }}
             rsp.on_request(function(req)
               if req.path == '/generation' then return rsp.respond {{ body = '{name}' }} end
               return req.path == '/chat' and chat or web
             end)",
            origin.address, echo.address
        )
    };
    let rsp = Rsp::start(&text("1"));
    let mut download = Client::connect_with_small_buffer(rsp.address());
    download.ask(&format!("/length/{SIZE}/11"));
    assert_eq!(download.head().status(), 200);
    let mut socket = Client::connect(rsp.address());
    socket.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(socket.head().status(), 101);
    for round in 2..6 {
        rsp.reload(&text(&round.to_string()));
        socket.send("ping");
        assert_eq!(socket.wire.read_exactly(4).expect("an echo"), b"ping");
    }
    let mut body = Vec::new();
    download
        .wire
        .body(Framing::Exact(SIZE), &mut |bytes| body.extend_from_slice(bytes))
        .expect("a whole body");
    assert_eq!(hash_of(&body), content_hash(11, SIZE));
    rsp.stop();
}

#[test]
fn listeners_that_stay_are_not_closed_new_ones_open_and_removed_ones_close() {
    let origin = Origin::named("ok");
    let port = free_port();
    let first = config(&origin.address, "1", "");
    let second = format!("rsp.listen '127.0.0.1:{port}'\n{first}");
    let rsp = Rsp::start(&first);
    let added = format!("127.0.0.1:{port}");
    for _ in 0..3 {
        rsp.reload(&second);
        assert_eq!(get(&added, "/").text(), "ok");
        assert_eq!(get(rsp.address(), "/").text(), "ok");
        rsp.reload(&first);
        until("it is closed", || Client::try_connect(&added, None).is_err());
        assert_eq!(get(rsp.address(), "/").text(), "ok");
    }
    rsp.stop();
}

#[test]
fn clients_of_a_removed_listener_are_drained() {
    let (origin, gate) = gated();
    let port = free_port();
    let first = config(&origin.address, "1", "");
    let rsp = Rsp::start(&format!("{first}\nrsp.listen '127.0.0.1:{port}'"));
    let removed = format!("127.0.0.1:{port}");
    let mut idle = Client::connect(&removed);
    assert_eq!(idle.get("/").status(), 200);
    let mut running = Client::connect(&removed);
    running.ask("/slow");
    until("it is at the server", || origin.head_count() == 2);
    let mut other = Client::connect(rsp.address());
    assert_eq!(other.get("/").head.get("connection"), None);
    rsp.reload(&first);
    idle.expect_end();
    gate.open();
    assert_eq!(running.response().status(), 200);
    running.ask("/");
    let last = running.response();
    assert_eq!((last.status(), last.head.get("connection")), (200, Some("close")));
    running.expect_end();
    assert_eq!(other.get("/").head.get("connection"), None);
    rsp.stop();
}

#[test]
fn a_listener_that_stays_takes_over_its_new_options() {
    let origin = Origin::named("ok");
    let first = config(&origin.address, "1", "");
    let rsp = Rsp::start(&first);
    let second = first.replace("'127.0.0.1:0'", "{ '127.0.0.1:0', proxy_protocol = true }")
        + "rsp.settings { trusted = { '127.0.0.1' } }";
    rsp.reload(&second);
    let mut client = Client::connect(rsp.address());
    client.send("PROXY TCP4 10.9.9.9 10.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
    assert_eq!(origin.last().head.get("x-forwarded-for"), Some("10.9.9.9"));
    rsp.reload(&first);
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    rsp.stop();
}

#[test]
fn a_config_that_cannot_be_used_changes_nothing() {
    let origin = Origin::named("ok");
    let good = config(&origin.address, "good", "");
    let rsp = Rsp::start(&good);
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let new = format!("127.0.0.1:{}", free_port());
    let listens = |more: &str| format!("rsp.listen '{new}'\n{}", config(&origin.address, "bad", more));
    for (text, why) in [
        (listens("rsp.sittings {}"), "rsp.lua:8: rsp.sittings: unknown, did you mean rsp.settings?"),
        (listens(")"), "rsp.lua:8: "),
        (listens(&format!("rsp.listen '{taken}'")), "Address already in use"),
        (listens("rsp.settings { access_log = '/no/such/directory/a.log' }"), "cannot open access log"),
        (listens("rsp.settings { control = '/no/such/directory/c.sock' }"), "/no/such/directory/c.sock"),
        (listens("require 'missing'"), "rsp.lua:8: "),
        (listens("while true do end"), "rsp.lua:8: "),
    ] {
        let said = rsp.reload_fails(&text);
        assert!(said.contains(why), "{said}");
        assert_eq!(generation(&mut Client::connect(rsp.address())), "good");
        assert!(Client::try_connect(&new, None).is_err(), "half of it is in use");
    }
    rsp.reload(&config(&origin.address, "better", ""));
    assert_eq!(generation(&mut Client::connect(rsp.address())), "better");
    rsp.stop();
}

#[test]
fn servers_that_stay_keep_their_state_and_removed_ones_get_no_request() {
    let (good, other) = (Origin::named("good"), Origin::named("other"));
    let dead = RefusingAddress::new();
    let text = |servers: &[&str]| {
        let list: Vec<String> = servers.iter().map(|server| format!("'{server}'")).collect();
        format!(
            "rsp.listen '127.0.0.1:0'
             rsp.pool {{ name = 'web', servers = {{ {} }}, eject = {{ failures = 1, pause = '10m' }} }}",
            list.join(", ")
        )
    };
    let rsp = Rsp::start(&text(&[&good.address, &dead.address, &other.address]));
    let mut client = Client::connect(rsp.address());
    until("the dead one is ejected", || {
        client.get("/");
        rsp.log().contains("is ejected for")
    });
    rsp.reload(&text(&[&dead.address, &good.address, &other.address]));
    let before = rsp.log().matches("is ejected").count();
    assert!((0..6).all(|_| client.get("/").status() == 200));
    assert_eq!(rsp.log().matches("is ejected").count(), before, "it was not tried again");
    rsp.reload(&text(&[&dead.address, &good.address]));
    let count = other.request_count();
    assert!((0..6).all(|_| client.get("/").text() == "good"));
    assert_eq!(other.request_count(), count);
    until("its idle connection is closed", || other.open_count() == 0);
    rsp.stop();
}

#[test]
fn the_access_log_can_be_changed_switched_off_and_on() {
    let origin = Origin::named("ok");
    let logged = |settings: &str| config(&origin.address, "1", settings);
    let rsp = Rsp::start(&logged(""));
    let lines = |name: &str| rsp.directory().read(name).lines().map(str::to_owned).collect::<Vec<_>>();
    let mut client = Client::connect(rsp.address());
    client.get("/unlogged");
    rsp.reload(&logged("rsp.settings { access_log = 'a.log' }"));
    client.get("/a");
    rsp.reload(&logged("rsp.settings { access_log = { 'b.log', format = 'rsp' } }"));
    client.get("/b");
    rsp.reload(&logged(""));
    client.get("/unlogged");
    until("both are written", || lines("a.log").len() == 1 && lines("b.log").len() == 1);
    assert!(lines("a.log")[0].contains("\"GET /a HTTP/1.1\" 200"), "{:?}", lines("a.log"));
    assert!(
        lines("b.log")[0].contains("target=/b") || lines("b.log")[0].contains("/b"),
        "{:?}",
        lines("b.log")
    );
    rsp.stop();
}

#[test]
fn limits_change_with_the_config() {
    let origin = Origin::named("ok");
    let limited =
        |most: u32| config(&origin.address, "1", &format!("rsp.settings {{ max_connections = {most} }}"));
    let rsp = Rsp::start(&limited(1));
    let mut first = Client::connect(rsp.address());
    assert_eq!(first.get("/").text(), "ok");
    let mut second = Client::connect(rsp.address());
    second.ask("/");
    assert!(second.stays_open(Duration::from_millis(100)));
    rsp.reload(&limited(2));
    assert_eq!(second.response().text(), "ok", "it had waited for a permit");
    rsp.reload(&limited(1));
    assert_eq!((first.get("/").text(), second.get("/").text()), ("ok".into(), "ok".into()));
    drop(first);
    drop(second);
    let mut third = Client::connect(rsp.address());
    assert_eq!(third.get("/").text(), "ok");
    rsp.stop();
}

#[test]
fn what_only_a_restart_changes_is_said() {
    let origin = Origin::named("ok");
    let rsp = Rsp::start(&config(&origin.address, "1", ""));
    rsp.reload(&config(&origin.address, "2", "rsp.settings { workers = 3 }"));
    rsp.wait_for_log("WARN workers: changed, but stays as it is until rsp is restarted");
    assert_eq!(generation(&mut Client::connect(rsp.address())), "2");
    rsp.stop();
}

#[test]
fn many_signals_at_once_end_with_the_last_config() {
    let origin = Origin::named("ok");
    let rsp = Rsp::start(&config(&origin.address, "0", ""));
    for round in 1..=30 {
        rsp.directory().write("rsp.lua", config(&origin.address, &round.to_string(), ""));
        rsp.signal(libc::SIGHUP);
    }
    let mut client = Client::connect(rsp.address());
    until("the last one is in use", || generation(&mut client) == "30");
    rsp.stop();
}

#[test]
fn a_reload_while_it_stops_is_refused() {
    let (origin, gate) = gated();
    let mut rsp = Rsp::start(&config(&origin.address, "1", ""));
    let mut client = Client::connect(rsp.address());
    client.ask("/slow");
    until("it is at the server", || origin.connection_count() == 1);
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_log("Stopping: ");
    assert_eq!(rsp.reload_fails(&config(&origin.address, "2", "")), "rsp is stopping");
    gate.open();
    assert_eq!(client.response().status(), 200);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
}
