//! Clients that use more than their share: that keep sending after the answer, drip, or come in crowds; and rsp
//! without free connections or descriptors. None of it busy-loops or affects others.

use std::time::{Duration, Instant};

use crate::support::*;

fn with_settings(origin: &str, settings: &str) -> Rsp {
    Rsp::start(&format!("{}rsp.settings {{ {settings} }}", balanced(&[origin])))
}

const ANSWERS_HELLO: &str =
    "rsp.on_request(function(req) if req.path == '/hello' then return rsp.respond { status = 204 } end end)";

const LOGGED: &str = "access_log = { path = '-', format = 'rsp' }";

/// Asserts that a waiting process uses no CPU. Other tests' load does not count: this is its own time. Remaining work
/// may fall into the first second; a busy loop is idle in none.
fn assert_idle(rsp: &Rsp) {
    until("a second of waiting costs next to nothing", || {
        let before = cpu_time(rsp.pid());
        std::thread::sleep(Duration::from_secs(1));
        cpu_time(rsp.pid()) - before < Duration::from_millis(200)
    });
}

#[test]
fn the_client_of_a_refused_upload_can_read_the_answer_after_megabytes() {
    let origin = Origin::named("never");
    let rsp = with_settings(&origin.address, LOGGED);
    let piece = vec![b'x'; 100_000];
    let mut client = loop {
        let mut client = Client::connect(rsp.address());
        let start = Instant::now();
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        let all = (0..80).try_for_each(|_| client.wire.send(&piece));
        // Two seconds without a byte end it rightly; on a busy machine the test itself may be that slow.
        if all.is_ok() || start.elapsed() < Duration::from_secs(2) {
            all.expect("room for what comes after the answer");
            break client;
        }
    };
    let answer = client.response();
    assert_eq!(answer.status(), 400);
    assert!(answer.head.says("connection", "close"));
    client.expect_end();
    rsp.wait_for_output("by=client phase=request end=client-bad-request");
}

#[test]
fn a_client_that_keeps_sending_after_its_answer_is_closed() {
    let origin = Origin::named("never");
    let mut rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    let piece = vec![b'x'; 100_000];
    let ended = (0..10_000).any(|_| client.wire.send(&piece).is_err());
    assert!(ended, "a gigabyte was read and dropped");
    assert_eq!(get(rsp.address(), "/").text(), "never");
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert!(rsp.log().contains("1 client-bad-request, 1 client-lingered"), "{}", rsp.log());
}

#[test]
fn a_silent_client_after_its_last_answer_is_closed_soon() {
    let origin = Origin::named("never");
    let rsp = with_settings(&origin.address, "max_connections = 1");
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    // The only connection permit is taken until the lingering client is closed.
    assert_eq!(get(rsp.address(), "/").text(), "never");
}

#[test]
fn a_dripping_request_body_is_cut_by_the_minimum_rate() {
    let origin = Origin::named("never");
    let settings =
        format!("min_request_rate = 1000, timeouts = {{ rate = '500ms', body = '20s' }}, {LOGGED}");
    let rsp = with_settings(&origin.address, &settings);
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    let answered = within(DEADLINE, || {
        let _ = client.wire.send("x");
        !client.stays_open(Duration::from_millis(20))
    });
    assert!(answered, "it drips for ever");
    rsp.wait_for_output("status=408");
    rsp.wait_for_output("by=client phase=body end=client-body-rate");
}

#[test]
fn a_request_body_at_the_minimum_rate_arrives() {
    let origin = Origin::echo();
    // A window of three seconds asks for 30 bytes: one piece in each is enough.
    let rsp = with_settings(&origin.address, "min_request_rate = 10, timeouts = { rate = '3s' }");
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(350));
        client.send("x".repeat(1000));
    }
    assert_eq!(client.response().body.len(), 20_000);
}

#[test]
fn a_server_that_reads_slowly_does_not_count_against_the_clients_rate() {
    let gate = Gate::new();
    let opens = gate.clone();
    let origin = Origin::run_with_small_buffer(move |visit| {
        gate.wait();
        if let Some(request) = visit.request() {
            let text = request.body.len().to_string();
            visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let rsp = with_settings(&origin.address, "min_request_rate = 1000, timeouts = { rate = '2s' }");
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n");
    let upload = std::thread::spawn(move || {
        client.send(vec![b'x'; 8_000_000]);
        client.response().text()
    });
    until("the request reached the origin", || origin.connection_count() == 1);
    // More than two windows.
    std::thread::sleep(Duration::from_secs(5));
    opens.open();
    assert_eq!(upload.join().expect("an upload"), "8000000");
}

#[test]
fn a_client_that_reads_a_response_too_slowly_is_cut() {
    let origin = bodies(Uploads::default());
    // What it reads restarts the write timeout, unless this machine delays it longer than that.
    let settings =
        format!("min_response_rate = '100k', timeouts = {{ rate = '500ms', write = '5s' }}, {LOGGED}");
    let rsp = with_settings(&origin.address, &settings);
    let mut slow = Client::connect_with_small_buffer(rsp.address());
    slow.ask("/length/50000000/9");
    slow.head();
    let given_up = within(DEADLINE, || {
        std::thread::sleep(Duration::from_millis(50));
        let _ = slow.wire.read_exactly(2_000);
        rsp.output().contains("end=client-write-")
    });
    assert!(given_up, "it takes 40 kB a second for ever");
    assert!(rsp.output().contains("by=client phase=data end=client-write-rate"), "{}", rsp.output());
}

#[test]
fn a_client_that_reads_slowly_but_above_the_minimum_rate_gets_the_response() {
    let origin = bodies(Uploads::default());
    let settings = "min_response_rate = '1k', timeouts = { rate = '3s', write = '3s' }";
    let rsp = with_settings(&origin.address, settings);
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.ask("/length/3000000/9");
    let mut body = Vec::new();
    client.head();
    while body.len() < 3_000_000 {
        std::thread::sleep(Duration::from_millis(120));
        let left = 3_000_000 - body.len();
        body.extend(client.wire.read_exactly(left.min(50_000)).expect("the next piece"));
    }
    assert_eq!(hash_of(&body), content_hash(9, 3_000_000));
}

#[test]
fn connections_of_an_address_are_limited_and_closed_ones_can_be_replaced() {
    let origin = Origin::named("ok");
    let mut rsp = with_settings(&origin.address, "max_connections_per_client = 3");
    let mut held: Vec<Client> = (0..3).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut held {
        assert_eq!(client.get("/").text(), "ok");
    }
    let since = Instant::now();
    for _ in 0..5 {
        Client::connect(rsp.address()).expect_end();
    }
    assert_eq!(Client::connect_from("127.0.0.2", rsp.address()).get("/").text(), "ok", "another address");
    held.pop();
    until("its place is free", || {
        let mut client = Client::connect(rsp.address());
        let _ = client.wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response().is_ok()
    });
    rsp.expect_limited_log("limits for one client", since);
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    assert!(rsp.log().contains(" client-too-many"), "{}", rsp.log());
}

#[test]
fn new_connections_of_an_address_are_rate_limited_unless_it_is_trusted() {
    let origin = Origin::named("ok");
    let settings = "new_connections_per_client = 1, trusted = { '127.0.0.2' }";
    let rsp = with_settings(&origin.address, settings);
    let count = |source: &str| {
        (0..40)
            .filter(|_| {
                let mut client = Client::connect_from(source, rsp.address());
                client.wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok() && client.try_response().is_ok()
            })
            .count()
    };
    assert_eq!(count("127.0.0.2"), 40);
    let few = count("127.0.0.1");
    assert!((1..40).contains(&few), "{few} of 40 were served");
}

#[test]
fn waiting_at_the_connection_limit_uses_no_cpu() {
    let origin = Origin::named("ok");
    let rsp = with_settings(&origin.address, "max_connections = 2");
    let mut held: Vec<Client> = (0..2).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut held {
        assert_eq!(client.get("/").text(), "ok");
    }
    let mut waiting = Client::connect(rsp.address());
    waiting.ask("/");
    rsp.wait_for_log("2 connections (max_connections)");
    assert_idle(&rsp);
    held.pop();
    assert_eq!(waiting.response().text(), "ok");
}

#[test]
fn the_connection_limit_is_logged_again_when_reached_again() {
    let origin = Origin::named("ok");
    let rsp = with_settings(&origin.address, "max_connections = 1");
    // At most once in ten seconds, so it takes that long.
    until("the log has told it twice", || {
        let _ = Client::connect(rsp.address()).get("/");
        rsp.log().matches("1 connection (max_connections)").count() >= 2
    });
}

#[test]
fn too_few_descriptors_for_a_client_are_an_error_at_start() {
    let origin = Origin::named("ok");
    let (mut refused, mut serving) = (0, 0);
    for limit in 8..56 {
        let directory = Directory::new();
        let mut command = rsp_command();
        command.arg(directory.write("rsp.lua", balanced(&[&origin.address])));
        let command = with_descriptors(command, limit);
        match Rsp::spawn_or_end(directory, command) {
            Ok(rsp) => {
                for _ in 0..3 {
                    assert_eq!(get(rsp.address(), "/").text(), "ok", "{limit}");
                }
                serving += 1;
            }
            Err(ended) => {
                assert_eq!((ended.code, serving), (Some(1), 0), "{limit}: {ended:?}");
                assert!(ended.stderr.contains("open files"), "{limit}: {ended:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && serving > 0, "{refused} refused, {serving} serving");
}

#[test]
fn without_descriptors_accepting_pauses_and_resumes() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    let since = Instant::now();
    leave_descriptors(rsp.pid(), 3);
    let mut many: Vec<Client> = (0..12).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut many {
        client.ask("/");
    }
    rsp.wait_for_log("cannot accept connections");
    assert_idle(&rsp);
    rsp.expect_limited_log("cannot accept connections", since);
    limit_descriptors(rsp.pid(), 4096);
    for client in &mut many {
        assert_eq!(client.response().text(), "ok");
    }
}

#[test]
fn without_descriptors_for_a_server_the_answer_is_503_and_the_server_is_not_ejected() {
    let gate = Gate::new();
    let opens = gate.clone();
    let origin = Origin::run(move |visit| {
        while visit.request().is_some() {
            gate.wait();
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let config = balanced(&[&origin.address]);
    let rsp = Rsp::start(&format!("{config} {ANSWERS_HELLO} rsp.settings {{ {LOGGED} }}"));
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut clients {
        assert_eq!(client.get("/hello").status(), 204, "accepted, and without a server");
    }
    leave_descriptors(rsp.pid(), 0);
    for client in &mut clients {
        client.ask("/");
    }
    rsp.wait_for_output("status=503");
    rsp.wait_for_output("by=rsp phase=connect end=no-descriptors");
    opens.open();
    let mut served: Vec<u16> = clients.iter_mut().map(|client| client.response().status()).collect();
    served.sort_unstable();
    served.dedup();
    assert_eq!(served, [200, 503], "those for whom a descriptor was held back are served");
    assert!(!rsp.log().contains("does not accept connections"), "{}", rsp.log());
    limit_descriptors(rsp.pid(), 4096);
    assert_eq!(get(rsp.address(), "/").text(), "ok");
}
