//! Responses of pools with `buffer_response`: a slow client does not hold its server, nothing waits, nothing is lost, and
//! memory is bounded.

use std::io::ErrorKind;

use crate::support::*;

const LARGE: u64 = 6_000_000;

/// A pool of one server that takes one request at a time, and the admin address.
fn buffering(server: &str, pool: &str, more: &str) -> Rsp {
    Rsp::start(&config(server, pool, more))
}

fn config(server: &str, pool: &str, more: &str) -> String {
    on_any_port(&format!(
        "rsp.pool {{ name = 'web', servers = {{ {{ {server:?}, max_connections = 1 }} }},
           queue = {{ timeout = '90s' }}, {pool} }}
         rsp.settings {{ admin = '127.0.0.1:0', access_log = {{ path = 'access.log', format = 'rsp' }}, {more} }}"
    ))
}

/// A sample of the metrics, with its labels.
fn sample(rsp: &Rsp, name: &str) -> u64 {
    rsp.wait_for_log("Admin address: ");
    let log = rsp.log();
    let admin = log.lines().find_map(|line| line.split("Admin address: ").nth(1)).expect("its address");
    let mut client = Client::connect(admin.trim());
    client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let text = client.response().text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

const MEMORY: &str = "rsp_buffer_memory_bytes";
const SHORT: &str = "rsp_buffer_memory_short_total{body=\"response\"}";

fn slow_client(rsp: &Rsp, path: &str) -> Client {
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.ask(path);
    client
}

/// The rest of a response, hashed.
fn rest(mut client: Client) -> String {
    client.widen();
    hash_of(&client.response().body)
}

#[test]
fn the_server_of_a_client_that_does_not_read_takes_the_next_request() {
    let origin = bodies(Uploads::default());
    let rsp = buffering(&origin.address, "buffer_response = '16m'", "");
    for framing in ["length", "chunked", "close"] {
        let slow = slow_client(&rsp, &format!("/{framing}/{LARGE}/7"));
        // Its server takes one at a time.
        assert_eq!(get(rsp.address(), "/length/10/1").body, content_bytes(1, 10), "{framing}");
        assert_eq!(rest(slow), content_hash(7, LARGE), "{framing}");
    }
    until("the memory is free", || sample(&rsp, MEMORY) == 0);
    assert_eq!(sample(&rsp, SHORT), 0);
}

#[test]
fn a_response_longer_than_the_buffer_holds_its_server_only_until_the_rest_fits() {
    let origin = bodies(Uploads::default());
    let rsp = buffering(&origin.address, "buffer_response = '1m'", "");
    for framing in ["length", "chunked"] {
        let slow = slow_client(&rsp, &format!("/{framing}/{}/9", 4 * LARGE));
        let (address, gate) = (rsp.address().to_owned(), Gate::new());
        let answered = gate.clone();
        let beside = std::thread::spawn(move || {
            assert_eq!(get(&address, "/length/10/1").body, content_bytes(1, 10));
            answered.open();
        });
        until("it waits", || sample(&rsp, "rsp_queue_length{pool=\"web\"}") == 1);
        assert!(!gate.is_open());
        assert_eq!(rest(slow), content_hash(9, 4 * LARGE), "{framing}");
        beside.join().expect("an answer");
    }
}

#[test]
fn an_event_stream_passes_event_by_event() {
    let gates: Vec<Gate> = (0..4).map(|_| Gate::new()).collect();
    let seen = gates.clone();
    let origin = Origin::run(move |visit| {
        visit.request();
        visit
            .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for gate in &seen {
            visit.send("9\r\ndata: x\n\n\r\n");
            gate.wait();
        }
        visit.send("0\r\n\r\n");
    });
    let rsp = buffering(&origin.address, "buffer_response = '1m'", "");
    let mut client = Client::connect(rsp.address());
    client.ask("/events");
    assert_eq!(client.head().status(), 200);
    for gate in &gates {
        // The origin sends the next one only after this one was read.
        assert_eq!(client.wire.read_exactly(14).unwrap(), b"9\r\ndata: x\n\n\r\n");
        gate.open();
    }
    assert_eq!(client.wire.read_exactly(5).unwrap(), b"0\r\n\r\n");
}

#[test]
fn beyond_the_memory_of_the_process_responses_stream_and_are_counted() {
    let origin = bodies(Uploads::default());
    let rsp = buffering(&origin.address, "buffer_response = '64m'", "buffer_memory = '1m'");
    let slow = slow_client(&rsp, &format!("/chunked/{}/3", 4 * LARGE));
    until("it found no more memory", || sample(&rsp, SHORT) == 1);
    let used = sample(&rsp, MEMORY);
    assert!(used > 0 && used <= 1 << 20, "{used} bytes");
    let server = format!("rsp_server_in_flight{{pool=\"web\",server=\"{}\"}}", origin.address);
    assert_eq!(sample(&rsp, &server), 1, "it is held by its client");
    assert_eq!(rest(slow), content_hash(3, 4 * LARGE));
    until("the memory is free", || sample(&rsp, MEMORY) == 0);
    assert_eq!(sample(&rsp, SHORT), 1, "one response is counted once");
}

#[test]
fn a_client_that_leaves_gives_the_memory_back() {
    let origin = bodies(Uploads::default());
    let rsp = buffering(&origin.address, "buffer_response = '16m'", "");
    for reset in [true, false] {
        let slow = slow_client(&rsp, &format!("/length/{LARGE}/7"));
        assert_eq!(get(rsp.address(), "/length/10/1").status(), 200, "the server is free");
        until("much is held", || sample(&rsp, MEMORY) > 1_000_000);
        if reset {
            slow.wire.reset_on_close();
        }
        drop(slow);
        until("the memory is free", || sample(&rsp, MEMORY) == 0);
    }
}

#[test]
fn responses_on_one_connection_stay_in_order_with_and_without_bodies() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            let body = content_bytes(5, 300_000);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let answer = match (request.head.method(), request.head.target()) {
                ("HEAD", _) => head.into_bytes(),
                (_, "/none") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
                _ => [head.as_bytes(), &body].concat(),
            };
            if !visit.send(answer) {
                return;
            }
        }
    });
    let rsp = buffering(&origin.address, "buffer_response = '1m'", "");
    let mut client = Client::connect_with_small_buffer(rsp.address());
    let one = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let all = [one("GET", "/"), one("HEAD", "/"), one("GET", "/none"), one("GET", "/")];
    client.send(all.concat());
    assert_eq!(get(rsp.address(), "/none").status(), 204, "the first is read ahead");
    client.widen();
    assert_eq!(hash_of(&client.response().body), content_hash(5, 300_000));
    assert_eq!(client.response_to("HEAD").head.get("content-length"), Some("300000"));
    assert_eq!(client.response().status(), 204);
    assert_eq!(hash_of(&client.response().body), content_hash(5, 300_000));
    assert_eq!(origin.connection_count(), 1, "the server's connection is used again");
}

/// Sends this head and half of `LARGE`, and ends.
fn cutting(head: String, reset: bool) -> Origin {
    Origin::run(move |visit| {
        visit.request();
        visit.send(&head);
        visit.send(vec![b'x'; LARGE as usize / 2]);
        if reset {
            visit.reset();
        }
    })
}

#[test]
fn a_response_that_is_cut_while_its_client_reads_slowly_is_delivered_and_looks_cut() {
    let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
    let until_close = "HTTP/1.1 200 OK\r\n\r\n".to_owned();
    for (head, reset) in [(length, false), (until_close, true)] {
        let origin = cutting(head, reset);
        let rsp = buffering(&origin.address, "buffer_response = '16m'", "");
        let mut slow = Client::connect_with_small_buffer(rsp.address());
        // A client of HTTP/1.1 would get chunks where the length is not known.
        slow.send("GET / HTTP/1.0\r\n\r\n");
        until("the origin is gone", || origin.open_count() == 0 && origin.connection_count() == 1);
        assert_eq!(slow.head().status(), 200);
        slow.widen();
        let mut count = 0;
        let end = slow.wire.body(Framing::UntilClose, &mut |piece| count += piece.len());
        if reset {
            // A reset by the server destroys what rsp has not read.
            assert_eq!(end.err().map(|error| error.kind()), Some(ErrorKind::ConnectionReset));
        } else {
            assert_eq!((end.is_ok(), count as u64), (true, LARGE / 2));
        }
        assert!(logged(&rsp, "/").contains("end=server-cut-response"));
    }
}

#[test]
fn a_server_that_stops_in_the_middle_is_not_waited_for_though_the_client_has_yet_to_read() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
    let origin = Origin::run(move |visit| {
        visit.request();
        visit.send(&head);
        visit.send(vec![b'x'; LARGE as usize / 2]);
        visit.wait_for_end();
    });
    let rsp = buffering(&origin.address, "buffer_response = '16m', timeouts = { gap = '300ms' }", "");
    let mut slow = slow_client(&rsp, "/");
    until("rsp has let go of the server", || origin.open_count() == 0 && origin.connection_count() == 1);
    assert_eq!(slow.head().status(), 200);
    slow.widen();
    let mut count = 0;
    assert!(slow.wire.body(Framing::UntilClose, &mut |piece| count += piece.len()).is_ok());
    assert_eq!(count as u64, LARGE / 2);
    assert!(logged(&rsp, "/").contains("end=server-gap-timeout"));
}

#[test]
fn a_client_that_takes_nothing_of_what_was_read_ahead_is_closed() {
    let origin = bodies(Uploads::default());
    let rsp = buffering(&origin.address, "buffer_response = '16m'", "timeouts = { write = '300ms' }");
    let path = format!("/length/{LARGE}/7");
    let slow = slow_client(&rsp, &path);
    let line = logged(&rsp, &path);
    assert!(line.contains("end=client-write-timeout"), "{line}");
    let sent: u64 = value(&line, "sent").parse().expect("a number");
    assert!(sent < LARGE, "{line}");
    assert_eq!(sample(&rsp, MEMORY), 0);
    drop(slow);
}

#[test]
fn what_was_read_ahead_outlives_a_reload_that_removes_its_server() {
    let (origin, other) = (bodies(Uploads::default()), Origin::named("other"));
    let rsp = buffering(&origin.address, "buffer_response = '16m'", "");
    let slow = slow_client(&rsp, &format!("/length/{LARGE}/7"));
    assert_eq!(get(rsp.address(), "/length/10/1").status(), 200);
    rsp.reload(&config(&other.address, "", ""));
    assert_eq!(get(rsp.address(), "/").text(), "other");
    assert_eq!(rest(slow), content_hash(7, LARGE));
}

#[test]
fn a_drain_waits_for_the_client_of_a_response_that_was_read_ahead() {
    let origin = bodies(Uploads::default());
    let mut rsp = buffering(&origin.address, "buffer_response = '16m'", "");
    let slow = slow_client(&rsp, &format!("/length/{LARGE}/7"));
    assert_eq!(get(rsp.address(), "/length/10/1").status(), 200);
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_log("what runs may finish");
    assert_eq!(rest(slow), content_hash(7, LARGE));
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
}

#[test]
fn a_slow_client_over_tls_does_not_hold_its_server() {
    let origin = bodies(Uploads::default());
    let (directory, authority) = secured();
    let config = format!(
        "rsp.listen {{ '127.0.0.1:0', tls = {{ cert = 'site.crt', key = 'site.key' }} }}
         rsp.pool {{ servers = {{ {{ {:?}, max_connections = 1 }} }}, buffer_response = '16m',
           queue = {{ timeout = '90s' }} }}",
        origin.address
    );
    let rsp = Rsp::start_in(directory, &config);
    let tls = TlsClient::new(&authority);
    let mut slow = tls.try_on(Client::connect_with_small_buffer(rsp.address())).expect("a handshake");
    slow.ask(&format!("/length/{LARGE}/7"));
    assert_eq!(tls.connect(rsp.address()).get("/length/10/1").body, content_bytes(1, 10));
    assert_eq!(rest(slow), content_hash(7, LARGE));
}

#[test]
fn a_websocket_is_not_read_ahead() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        visit.send(vec![b'x'; LARGE as usize]);
        visit.wait_for_end();
    });
    let rsp = buffering(&origin.address, "buffer_response = '16m'", "");
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    assert!(client.wire.read_exactly(100_000).is_ok());
    assert_eq!(sample(&rsp, MEMORY), 0);
}
