//! Everything in `examples/` runs with the command in its first line, with traffic through it. Only the addresses of
//! a config are replaced: by ports chosen by the kernel and origins of the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::*;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The example's text and the words of the command in its first line.
fn read(name: &str) -> (String, Vec<String>) {
    let text = std::fs::read_to_string(examples().join(name)).expect("an example");
    let first = text.lines().next().unwrap_or_default();
    let command =
        first.strip_prefix("-- ").unwrap_or_else(|| panic!("{name}: no command on line 1: {first}"));
    let words = command.split(' ').map(String::from).collect();
    (text, words)
}

/// Runs an example with these addresses (or ports) in place of its own; each of its addresses needs one.
pub fn start(name: &str, exchange: &[(&str, &str)]) -> Rsp {
    start_in(Directory::new(), name, exchange)
}

pub fn start_in(directory: Directory, name: &str, exchange: &[(&str, &str)]) -> Rsp {
    let (text, words) = read(name);
    directory.write(&words[1], exchanged(name, &text, exchange));
    let mut command = rsp_command();
    command.args(&words[1..]);
    Rsp::spawn(directory, command, text.matches("\nrsp.listen ").count().max(1))
}

fn exchanged(name: &str, text: &str, exchange: &[(&str, &str)]) -> String {
    let line = |line: &str| {
        let (code, comment) = line.split_once("--").unwrap_or((line, ""));
        let piece = |(at, piece): (usize, &str)| match at % 2 {
            1 if is_address(piece) => replacement(name, piece, exchange),
            _ => piece.to_string(),
        };
        let pieces: Vec<String> = code.split('"').enumerate().map(piece).collect();
        format!("{} --{comment}\n", pieces.join("\""))
    };
    text.lines().map(line).collect()
}

fn is_address(text: &str) -> bool {
    let port = text.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
    text.starts_with("unix:") || port || text.parse::<std::net::IpAddr>().is_ok()
}

fn replacement(name: &str, address: &str, exchange: &[(&str, &str)]) -> String {
    let found = exchange.iter().find(|(from, _)| *from == address);
    found.unwrap_or_else(|| panic!("{name}: nothing stands for {address} in its test")).1.to_string()
}

#[test]
fn every_example_is_run_by_a_test_by_the_command_in_its_first_line_and_passes_check() {
    let tests = [
        include_str!("examples.rs"),
        include_str!("examples_of_scripts.rs"),
        include_str!("examples_of_parts.rs"),
    ]
    .concat();
    let tests: String = tests.split_whitespace().collect();
    let mut count = 0;
    for entry in std::fs::read_dir(examples()).expect("examples/") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        if name.ends_with("_test.lua") {
            // Run by `script_tests`.
            continue;
        }
        if let Some(program) = name.strip_suffix(".rs") {
            assert!(tests.contains(&format!("program({program:?})")), "examples/{name} has no test");
            continue;
        }
        if name.ends_with(".map") || name.ends_with(".htpasswd") {
            assert!(tests.contains(&format!("shipped({name:?})")), "examples/{name} has no test");
            continue;
        }
        if !name.ends_with(".lua") {
            let tests = [
                include_str!("../peers/acme.rs"),
                include_str!("../peers/logrotate.rs"),
                include_str!("../peers/supervisors.rs"),
                include_str!("../peers/monitoring.rs"),
                include_str!("metrics.rs"),
            ];
            let used = tests.iter().any(|test| test.contains(&format!("examples/{name}")));
            assert!(used, "examples/{name} has no test");
            continue;
        }
        assert_eq!(read(&name).1, ["rsp".to_string(), format!("examples/{name}")], "line 1 of {name}");
        let run = ["start(", "start_in(directory,"].map(|call| format!("{call}{name:?},"));
        let run = run.iter().any(|call| tests.contains(call));
        assert!(run, "examples/{name} has no test in tests/e2e/examples*.rs");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let check = crate::support::run(root, &["check", &format!("examples/{name}")]);
        assert_eq!((check.code, check.said()), (Some(0), format!("examples/{name}: ok\n")));
        count += 1;
    }
    assert!(count >= 7, "{count} examples");
}

/// Builds the program beside the rsp under test, in the same profile, and returns its path. Line 1 of its source
/// shows how to run it.
fn program(name: &str) -> PathBuf {
    let text = std::fs::read_to_string(examples().join(format!("{name}.rs"))).expect("an example");
    assert!(
        text.starts_with(&format!("//! cargo run --release --example {name} -- ")),
        "line 1 of {name}.rs"
    );
    let folder = Path::new(env!("CARGO_BIN_EXE_rsp")).parent().expect("the profile's folder");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--profile", profile, "--example", name]);
    cargo.arg("--target-dir").arg(folder.parent().expect("the target folder"));
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(built.success(), "cargo build --example {name}: {built}");
    folder.join("examples").join(name)
}

#[test]
fn relay_copies_to_its_servers_in_turns_and_understands_nothing() {
    let relay = program("relay");
    let content = content_bytes(7, 3_000_000);
    let length = content.len();
    let origin = Origin::run(move |visit| {
        while let Some(request) = visit.request() {
            let body = if request.head.target() == "/big" { &content[..] } else { b"small" };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            visit.send([head.as_bytes(), body].concat());
        }
    });
    let other = Origin::named("other");
    let running = Program::start(&relay.display().to_string(), &|_, port| {
        vec![format!("127.0.0.1:{port}"), origin.address.clone(), other.address.clone()]
    });
    // Program::start connected to see that it accepts: that connection went to the first server.
    let mut second = Client::connect(&running.address);
    let mut first = Client::connect(&running.address);
    for _ in 0..3 {
        assert_eq!((second.get("/").text(), first.get("/").text()), ("other".into(), "small".into()));
    }
    let big = first.get("/big");
    assert_eq!((big.body.len(), hash_of(&big.body)), (length, content_hash(7, length as u64)));
}

#[test]
fn by_host_tells_sites_apart_by_their_name() {
    let origins = ["web1", "web2", "api"].map(Origin::named);
    let rsp = start(
        "by_host.lua",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0"),
            ("127.0.0.1:8081", &origins[0].address),
            ("127.0.0.1:8082", &origins[1].address),
            ("127.0.0.1:8083", &origins[2].address),
        ],
    );
    let mut client = Client::connect(rsp.address());
    let mut ask =
        |host: &str| client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).response().text();
    assert_eq!([ask("127.0.0.1"), ask("127.0.0.1"), ask("other.example")], ["web1", "web2", "web1"]);
    assert_eq!([ask("api.example.com"), ask("API.example.com:8080")], ["api", "api"]);
    rsp.stop();
}

#[test]
fn by_path_routes_answers_redirects_and_changes_headers() {
    let respond = |name: &str, status: &str| {
        format!("HTTP/1.1 {status}\r\nServer: {name}\r\nContent-Length: {}\r\n\r\n{name}", name.len())
    };
    let web = [Origin::answering(respond("web1", "200 OK")), Origin::answering(respond("web2", "200 OK"))];
    let files = Origin::answering(respond("static", "200 OK"));
    let rsp = start(
        "by_path.lua",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0"),
            ("127.0.0.1:8081", &web[0].address),
            ("127.0.0.1:8082", &web[1].address),
            ("127.0.0.1:8083", &files.address),
        ],
    );
    let mut client = Client::connect(rsp.address());
    let page = client.get("/");
    assert_eq!((page.text().as_str(), page.get("server"), page.get("cache-control")), ("web1", None, None));
    assert_eq!(client.get("/staticx").text(), "web2");

    client.send("GET /static/logo.png HTTP/1.1\r\nHost: a\r\nCookie: session=1\r\n\r\n");
    let file = client.response();
    assert_eq!((file.text().as_str(), file.get("cache-control")), ("static", Some("public, max-age=3600")));
    assert_eq!(files.requests()[0].get("cookie"), None);

    let moved = client.get("/old/page?x=1");
    assert_eq!((moved.status(), moved.get("location")), (301, Some("/new/page?x=1")));
    let health = client.get("/healthz");
    assert_eq!((health.status(), health.text().as_str()), (200, "fine\n"));
    assert_eq!(health.get("content-type"), Some("text/plain"));
    rsp.stop();
}

#[test]
fn gunicorn_gets_the_next_request_where_no_slow_page_holds_it_up() {
    let gate = Gate::new();
    let app = |name: &'static str| {
        let gate = gate.clone();
        Origin::run(move |visit| {
            while let Some(request) = visit.request() {
                if request.head.target() == "/slow" {
                    gate.wait();
                }
                visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{name}"));
            }
        })
    };
    let apps = [app("app1"), app("app2")];
    let rsp = start(
        "gunicorn.lua",
        &[
            ("127.0.0.1:8000", "127.0.0.1:0"),
            ("127.0.0.1:9001", &apps[0].address),
            ("127.0.0.1:9002", &apps[1].address),
        ],
    );
    let mut slow = Client::connect(rsp.address());
    slow.ask("/slow");
    until("the slow page is asked for", || apps.iter().any(|app| app.requests().len() == 1));
    let mut others = Client::connect(rsp.address());
    let answers: Vec<String> = (0..5).map(|_| others.get("/").text()).collect();
    gate.open();
    let held_up = slow.response().text();
    assert!(answers.iter().all(|answer| *answer != held_up), "{answers:?} beside {held_up}");
    rsp.stop();
}

#[test]
fn behind_a_balancer_knows_the_client_and_tells_the_server() {
    let origin = Origin::run(|visit| {
        // 16 bytes, two addresses, two ports.
        let Ok(header) = visit.wire.read_exactly(28) else { return };
        let body = format!("{}.{}.{}.{}", header[16], header[17], header[18], header[19]);
        while visit.request().is_some()
            && visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        {
        }
    });
    let rsp = start(
        "behind_a_balancer.lua",
        &[
            ("0.0.0.0:8080", "127.0.0.1:0"),
            ("0.0.0.0:8081", "127.0.0.1:0"),
            ("127.0.0.1:8082", &origin.address),
            ("127.0.0.1", "127.0.0.1"),
            ("192.0.2.66", "192.0.2.66"),
        ],
    );
    let [proxied, forwarded] = rsp.addresses() else { panic!("{:?}", rsp.addresses()) };
    let mut client = Client::connect(proxied);
    assert_eq!(client.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n").get("/").text(), "192.0.2.7");
    assert_eq!(origin.last().get("x-real-ip"), Some("192.0.2.7"));
    rsp.wait_for_output("client=192.0.2.7:4711 ");
    let mut balancer = Client::connect(forwarded);
    for (ip, answer) in [("192.0.2.8", "192.0.2.8"), ("192.0.2.66", "no\n")] {
        balancer.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {ip}\r\n\r\n"));
        assert_eq!(balancer.response().text(), answer);
    }
    Client::connect_from("127.0.0.9", proxied).expect_end();
}

#[test]
fn health_uses_the_spare_server_while_the_checks_of_the_others_fail() {
    let down = Arc::new(AtomicBool::new(false));
    let server = |name: &'static str| {
        let down = down.clone();
        Origin::run(move |visit| {
            while let Some(request) = visit.request() {
                let checked = name != "spare" && request.head.target() == "/up";
                let status = if checked && down.load(Ordering::SeqCst) { 503 } else { 200 };
                visit.send(format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{name}", name.len()));
            }
        })
    };
    let origins = ["web1", "web2", "spare"].map(server);
    let rsp = start(
        "health.lua",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0"),
            ("127.0.0.1:8081", &origins[0].address),
            ("127.0.0.1:8082", &origins[1].address),
            ("127.0.0.1:8083", &origins[2].address),
        ],
    );
    for name in ["web1", "web2", "spare"] {
        rsp.wait_for_log(&format!("server web/{name} is up: the first check passed: status 200"));
    }
    let mut client = Client::connect(rsp.address());
    assert!((0..4).all(|_| ["web1", "web2"].contains(&client.get("/").text().as_str())));
    down.store(true, Ordering::SeqCst);
    for name in ["web1", "web2"] {
        rsp.wait_for_log(&format!(
            "server web/{name} is down: 3 failed checks in a row, the last one: status 503"
        ));
    }
    assert!((0..4).all(|_| client.get("/").text() == "spare"));
    rsp.stop();
}

#[test]
fn hash_asks_the_same_cache_for_the_same_path() {
    let caches = ["cache1", "cache2", "cache3"].map(Origin::named);
    let rsp = start(
        "hash.lua",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0"),
            ("127.0.0.1:6081", &caches[0].address),
            ("127.0.0.1:6082", &caches[1].address),
            ("127.0.0.1:6083", &caches[2].address),
        ],
    );
    let mut client = Client::connect(rsp.address());
    let mut ask = || -> Vec<String> { (0..30).map(|n| client.get(&format!("/{n}?x")).text()).collect() };
    let first = ask();
    assert_eq!(first, ask());
    assert!(["cache1", "cache2", "cache3"].iter().all(|cache| first.iter().any(|name| name == cache)));
    rsp.stop();
}

#[test]
fn sticky_keeps_a_browser_at_its_server_until_that_is_gone() {
    let mut shops = vec![Origin::named("shop1"), Origin::named("shop2")];
    let addresses: Vec<String> = shops.iter().map(|shop| shop.address.clone()).collect();
    let rsp = start(
        "sticky.lua",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0"),
            ("127.0.0.1:9001", &addresses[0]),
            ("127.0.0.1:9002", &addresses[1]),
        ],
    );
    rsp.wait_for_log("server shop/shop1 is up: the first check passed: connected");
    rsp.wait_for_log("server shop/shop2 is up: the first check passed: connected");
    let mut client = Client::connect(rsp.address());
    let first = client.get("/");
    let cookie = first.get("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie");
    let ask = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: lang=en; {cookie}\r\n\r\n");
    for _ in 0..4 {
        let again = client.send(&ask).response();
        assert_eq!((again.text(), again.get("set-cookie")), (first.text(), None));
    }
    let (its, other) = if first.text() == "shop1" { (0, "shop2") } else { (1, "shop1") };
    assert_eq!(shops[its].last().get("cookie"), Some("lang=en"));
    drop(shops.remove(its));
    let moved = client.send(&ask).response();
    assert_eq!((moved.text().as_str(), moved.get("set-cookie").is_some()), (other, true));
    rsp.stop();
}

#[test]
fn queue_sends_no_more_than_a_server_takes_and_the_rest_in_order() {
    let gate = Gate::new();
    let app = || {
        let gate = gate.clone();
        Origin::run(move |visit| {
            while visit.request().is_some() {
                gate.wait();
                visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        })
    };
    let apps = [app(), app()];
    let rsp = start(
        "queue.lua",
        &[
            ("127.0.0.1:8000", "127.0.0.1:0"),
            ("127.0.0.1:9001", &apps[0].address),
            ("127.0.0.1:9002", &apps[1].address),
        ],
    );
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(rsp.address())).collect();
    clients.iter_mut().for_each(|client| _ = client.ask("/"));
    until("both are full", || apps.iter().all(|app| app.requests().len() == 2));
    assert!(clients[5].stays_open(Duration::from_millis(200)));
    assert!(apps.iter().all(|app| app.requests().len() == 2), "two wait");
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "ok"));
    rsp.wait_for_output("retries=0 left=- ");
    rsp.stop();
}

#[test]
fn unix_socket_reaches_an_application_on_a_unix_socket() {
    let directory = Directory::new();
    let socket = format!("unix:{}", directory.join("app.sock").display());
    let origin = Origin::named_at(&socket, "app");
    let exchange = [("127.0.0.1:8080", "127.0.0.1:0"), ("unix:/tmp/app.sock", origin.address.as_str())];
    let rsp = start_in(directory, "unix_socket.lua", &[exchange[0], exchange[1]]);
    assert_eq!(get(rsp.address(), "/").text(), "app");
    rsp.stop();
}

#[test]
fn varnish_caches_for_nginx_behind_rsp() {
    if !have(&["nginx", "varnishd"]) {
        return;
    }
    let nginx = Nginx::start_with("add_header Cache-Control 'max-age=600';");
    let varnish = Varnish::start(nginx.address());
    let rsp = start("varnish.lua", &[("0.0.0.0:80", "127.0.0.1:0"), ("127.0.0.1:83", varnish.address())]);
    for _ in 0..3 {
        let page = get(rsp.address(), "/small");
        assert_eq!(page.text(), "hello from nginx\n");
        assert!(page.get("x-varnish").is_some(), "{page:?}");
    }
    nginx.expect_requests(1);
    rsp.stop();
}

/// A WebSocket server for one client that echoes until the client closes.
fn echo_server() -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let mut socket = tungstenite::accept(stream).expect("a handshake");
        while let Ok(message) = socket.read() {
            if message.is_text() {
                socket.send(message).expect("an echo");
            }
        }
    });
    (address, server)
}

#[test]
fn websocket_tunnels_beside_ordinary_pages() {
    let (ws, server) = echo_server();
    let web = Origin::named("page");
    let rsp = start(
        "websocket.lua",
        &[("127.0.0.1:8080", "127.0.0.1:0"), ("127.0.0.1:8081", &web.address), ("127.0.0.1:8082", &ws)],
    );
    let stream = std::net::TcpStream::connect(rsp.address()).expect("rsp");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let (mut socket, _) =
        tungstenite::client(format!("ws://{}/ws/chat", rsp.address()), stream).expect("a handshake");
    for number in 0..100 {
        socket.send(format!("message {number}").into()).expect("a message");
        assert_eq!(socket.read().expect("an echo").into_text().expect("text"), format!("message {number}"));
        assert_eq!(get(rsp.address(), "/page").text(), "page");
    }
    socket.close(None).expect("a farewell");
    while socket.read().is_ok() {}
    drop(socket);
    server.join().expect("the server ended well");
    rsp.stop();
}

#[test]
fn classic_runs_as_the_original_did() {
    let origin = Origin::named("classic");
    let port = free_port().to_string();
    let backend = origin.address.rsplit(':').next().expect("a port");
    let rsp = start("classic.lua", &[("8000", &port), ("127.0.0.1", "127.0.0.1"), ("8888", backend)]);
    rsp.wait_for_log(&format!("Started.  Listening on port {port}."));
    assert_eq!(get(rsp.address(), "/").text(), "classic");
    rsp.stop();
}
