//! PROXY headers that rsp sends: the first bytes of a connection to a server, correct, and never followed by a
//! request of another client.

use std::collections::HashSet;

use crate::support::*;

/// Parses a PROXY header by its specification: `TCP4 FROM TO`, `UNKNOWN` or `LOCAL`. Independent of rsp's own parser.
fn header_of(visit: &mut Visit) -> Option<String> {
    let first = visit.wire.read_exactly(1).ok()?;
    if first == b"P" {
        return line_of(visit);
    }
    let fixed = [first, visit.wire.read_exactly(15).ok()?].concat();
    assert_eq!(&fixed[..12], b"\r\n\r\n\0\r\nQUIT\n");
    let length = u16::from_be_bytes([fixed[14], fixed[15]]);
    let block = visit.wire.read_exactly(length.into()).ok()?;
    Some(match (fixed[12], fixed[13], length) {
        (0x20, 0, 0) => "LOCAL".into(),
        (0x21, 0x11, 12) => {
            let ip = |at: usize| std::net::Ipv4Addr::from(<[u8; 4]>::try_from(&block[at..at + 4]).unwrap());
            format!("TCP4 {}:{} {}:{}", ip(0), port(&block, 8), ip(4), port(&block, 10))
        }
        (0x21, 0x21, 36) => {
            let ip = |at: usize| std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&block[at..at + 16]).unwrap());
            format!("TCP6 [{}]:{} [{}]:{}", ip(0), port(&block, 32), ip(16), port(&block, 34))
        }
        odd => panic!("not what a sender may say: {odd:?}"),
    })
}

fn port(block: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([block[at], block[at + 1]])
}

fn line_of(visit: &mut Visit) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(visit.wire.read_exactly(1).ok()?);
    }
    let line = String::from_utf8(line).expect("text");
    let words: Vec<&str> =
        line.strip_prefix("ROXY ").expect("PROXY").trim_end_matches("\r\n").split(' ').collect();
    Some(match words[..] {
        ["TCP4", from, to, from_port, to_port] => format!("TCP4 {from}:{from_port} {to}:{to_port}"),
        ["TCP6", from, to, from_port, to_port] => format!("TCP6 [{from}]:{from_port} [{to}]:{to_port}"),
        ["UNKNOWN"] => "UNKNOWN".into(),
        _ => panic!("not a PROXY line: {line:?}"),
    })
}

/// Answers every request with the header of its connection and the connection's number.
fn told() -> Origin {
    told_at("127.0.0.1:0")
}

fn told_at(address: &str) -> Origin {
    Origin::run_at(address, |visit| {
        let Some(header) = header_of(visit) else { return };
        let body = format!("{header} on {}", visit.number);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        while visit.request().is_some() && visit.send(&answer) {}
    })
}

fn sending(version: &str, origins: &[&Origin], rest: &str) -> String {
    let servers: Vec<String> = origins.iter().map(|origin| format!("'{}'", origin.address)).collect();
    let servers = servers.join(", ");
    format!("rsp.pool {{ servers = {{ {servers} }}, send_proxy = '{version}', {rest} }}\n")
}

/// The header without the connection's number.
fn header(text: &str) -> &str {
    text.split_once(" on ").expect("an answer").0
}

#[test]
fn the_header_has_the_client_and_its_destination() {
    for version in ["v1", "v2"] {
        let origin = told();
        let rsp = Rsp::start(&on_any_port(&sending(version, &[&origin], "")));
        let mut client = Client::connect_from("127.0.0.5", rsp.address());
        let expected = format!("TCP4 {} {} on 1", client.address(), rsp.address());
        assert_eq!(client.get("/").text(), expected);
        assert_eq!(origin.last().get("x-forwarded-for"), Some("127.0.0.5"));
    }
}

#[test]
fn ipv6_clients_have_an_ipv6_header() {
    for version in ["v1", "v2"] {
        let origin = told();
        let rsp = Rsp::start(&format!("rsp.listen '[::1]:0'\n{}", sending(version, &[&origin], "")));
        let mut client = Client::connect(rsp.address());
        assert_eq!(client.get("/").text(), format!("TCP6 {} {} on 1", client.address(), rsp.address()));
    }
}

#[test]
fn a_client_on_a_unix_socket_has_a_header_without_address() {
    for (version, header) in [("v1", "UNKNOWN on 1"), ("v2", "LOCAL on 1")] {
        let (origin, directory) = (told(), Directory::new());
        let socket = format!("unix:{}", directory.join("rsp.sock").display());
        let config = format!("rsp.listen '{socket}'\n{}", sending(version, &[&origin], ""));
        let rsp = Rsp::start_in(directory, &config);
        assert_eq!(get(rsp.address(), "/").text(), header);
    }
}

#[test]
fn servers_on_unix_sockets_get_headers_too() {
    let directory = Directory::new();
    let origin = told_at(&format!("unix:{}", directory.join("app.sock").display()));
    let rsp = Rsp::start(&on_any_port(&sending("v2", &[&origin], "")));
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/").text(), format!("TCP4 {} {} on 1", client.address(), rsp.address()));
}

#[test]
fn a_connection_is_reused_for_the_client_it_was_made_for_and_for_no_other() {
    let origin = told();
    let rsp = Rsp::start(&on_any_port(&sending("v2", &[&origin], "timeouts = { idle = '1m' }")));
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(rsp.address())).collect();
    for _ in 0..4 {
        for client in &mut clients {
            let expected = format!("TCP4 {} {}", client.address(), rsp.address());
            assert_eq!(header(&client.get("/").text()), expected);
        }
    }
    assert_eq!(origin.connection_count(), 5);
}

#[test]
fn the_connection_is_closed_with_its_client() {
    let origin = told();
    let rsp = Rsp::start(&on_any_port(&sending("v1", &[&origin], "timeouts = { idle = '1m' }")));
    for _ in 0..20 {
        get(rsp.address(), "/");
    }
    until("the servers' connections are closed", || origin.open_count() == 0);
    assert_eq!(origin.connection_count(), 20);
}

#[test]
fn a_client_keeps_one_connection_to_each_server() {
    let origins = [told(), told(), told()];
    let all: Vec<&Origin> = origins.iter().collect();
    let rsp = Rsp::start(&on_any_port(&sending("v2", &all, "timeouts = { idle = '1m' }")));
    let mut client = Client::connect(rsp.address());
    for _ in 0..9 {
        client.get("/");
    }
    assert_eq!(origins.each_ref().map(Origin::connection_count), [1, 1, 1]);
}

#[test]
fn a_client_of_many_servers_keeps_only_the_last_connections() {
    let origins: Vec<Origin> = (0..7).map(|_| told()).collect();
    let all: Vec<&Origin> = origins.iter().collect();
    let rsp = Rsp::start(&on_any_port(&sending("v2", &all, "timeouts = { idle = '1m' }")));
    let mut client = Client::connect(rsp.address());
    for _ in 0..7 {
        client.get("/");
    }
    let open = || origins.iter().map(Origin::open_count).sum::<usize>();
    until("four are left", || open() == 4);
}

#[test]
fn an_idle_connection_is_closed_by_its_timeout_and_a_new_one_has_a_header() {
    let origin = told();
    let rsp = Rsp::start(&on_any_port(&sending("v2", &[&origin], "timeouts = { idle = '50ms' }")));
    let mut client = Client::connect(rsp.address());
    let first = client.get("/").text();
    until("the idle connection is closed", || origin.open_count() == 0);
    let second = client.get("/").text();
    assert_eq!((first.ends_with("on 1"), second.ends_with("on 2")), (true, true), "{first} {second}");
    assert_eq!(header(&first), header(&second));
}

#[test]
fn a_kept_connection_that_the_server_closes_is_replaced_with_a_new_header() {
    let origin = Origin::run(|visit| {
        let Some(header) = header_of(visit) else { return };
        visit.request();
        visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{header}", header.len()));
    });
    let rsp = Rsp::start(&on_any_port(&sending("v1", &[&origin], "")));
    let mut client = Client::connect(rsp.address());
    let expected = format!("TCP4 {} {}", client.address(), rsp.address());
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), expected);
    }
    assert_eq!(origin.connection_count(), 20);
}

#[test]
fn after_a_refused_connection_the_next_server_gets_the_header() {
    let (refusing, origin) = (RefusingAddress::new(), told());
    let rsp = Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ servers = {{ '{}', '{}' }}, send_proxy = 'v2' }}",
        refusing.address, origin.address
    )));
    for _ in 0..4 {
        let mut client = Client::connect(rsp.address());
        let told = format!("TCP4 {} {}", client.address(), rsp.address());
        assert_eq!(header(&client.get("/").text()), told);
    }
}

#[test]
fn clients_behind_one_proxy_share_no_server_connection() {
    let origin = told();
    let rsp = Rsp::start(&on_any_port(&format!(
        "{}rsp.settings {{ trusted = {{ '127.0.0.1' }} }}",
        sending("v2", &[&origin], "timeouts = { idle = '1m' }")
    )));
    let mut proxy = Client::connect(rsp.address());
    let mut numbers = HashSet::new();
    for _ in 0..3 {
        for from in ["192.0.2.7", "192.0.2.8"] {
            proxy.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {from}\r\n\r\n"));
            let text = proxy.response().text();
            assert_eq!(header(&text), format!("TCP4 {from}:0 {}", rsp.address()));
            numbers.insert((from, text.rsplit(' ').next().map(str::to_owned)));
        }
    }
    assert_eq!((numbers.len(), origin.connection_count()), (2, 2));
    proxy.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 2001:db8::7\r\n\r\n");
    let mapped = rsp.address().replace("127.0.0.1", "[::ffff:127.0.0.1]");
    assert_eq!(header(&proxy.response().text()), format!("TCP6 [2001:db8::7]:0 {mapped}"));
}

#[test]
fn a_received_header_is_forwarded() {
    let origin = told();
    let rsp = Rsp::start(&format!(
        "rsp.listen {{ '127.0.0.1:0', proxy_protocol = true }}\n{}rsp.settings {{ trusted = {{ '127.0.0.1' }} }}",
        sending("v1", &[&origin], "")
    ));
    let mut client = Client::connect(rsp.address());
    client.send("PROXY TCP4 192.0.2.7 203.0.113.1 4711 80\r\n");
    assert_eq!(client.get("/").text(), "TCP4 192.0.2.7:4711 203.0.113.1:80 on 1");
    let mut client = Client::connect(rsp.address());
    client.send("PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n");
    assert_eq!(client.get("/").text(), "TCP6 [2001:db8::7]:4711 [2001:db8::1]:80 on 2");
}

#[test]
fn pools_with_and_without_headers_share_no_connection() {
    let (with, without) = (told(), Origin::named("plain"));
    let rsp = Rsp::start(&on_any_port(&format!(
        "local with = {} local without = rsp.pool {{ servers = {{ '{}' }} }}
         rsp.on_request(function(req) return req.path == '/with' and with or without end)",
        sending("v1", &[&with], ""),
        without.address
    )));
    let mut clients = [Client::connect(rsp.address()), Client::connect(rsp.address())];
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(
                header(&client.get("/with").text()),
                format!("TCP4 {} {}", client.address(), rsp.address())
            );
            assert_eq!(client.get("/").text(), "plain");
        }
    }
    assert_eq!((with.connection_count(), without.connection_count()), (2, 1));
}

#[test]
fn large_bodies_after_a_header_are_complete() {
    let origin = Origin::run(|visit| {
        header_of(visit);
        while let Some(request) = visit.request() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
            visit.send([head.as_bytes(), &request.body].concat());
        }
    });
    let rsp = Rsp::start(&on_any_port(&sending("v2", &[&origin], "")));
    let mut client = Client::connect(rsp.address());
    for seed in 61..64 {
        let body = content_bytes(seed, 3_000_000);
        assert_eq!(hash_of(&client.post("/", &body).body), hash_of(&body));
    }
}

#[test]
fn nothing_is_left_open_after_many_clients() {
    let origins = [told(), told()];
    let rsp =
        Rsp::start(&on_any_port(&sending("v2", &[&origins[0], &origins[1]], "timeouts = { idle = '1m' }")));
    get(rsp.address(), "/");
    until("the first is gone", || origins.iter().all(|origin| origin.open_count() == 0));
    let before = descriptors(rsp.pid());
    for _ in 0..10 {
        let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(rsp.address())).collect();
        for client in &mut clients {
            client.ask("/");
        }
        for client in &mut clients {
            client.response();
            client.get("/");
        }
    }
    until("every descriptor is back", || descriptors(rsp.pid()) <= before);
    until("every origin is left", || origins.iter().all(|origin| origin.open_count() == 0));
}
