//! Health checks: what a check sends and how, and which answers pass.

use std::time::Duration;

use crate::support::*;

/// The line of the log that says how the first check of a server with this answer ended.
fn verdict(answer: impl Fn(&mut Visit) + Send + Sync + 'static, health: &str) -> String {
    let origin = Origin::run(answer);
    let rsp = web(&[(&origin.address, "")], &format!("health = {{ interval = '1h', {health} }}"));
    let mut line = String::new();
    until("its check has ended", || {
        line = rsp.log().lines().find(|line| line.contains("server web/s1 is")).unwrap_or("").to_owned();
        !line.is_empty()
    });
    line.split_once("web/s1 is ").expect("it").1.to_owned()
}

fn answered(answer: &'static str, health: &str) -> String {
    verdict(move |visit| while visit.request().is_some() && visit.send(answer) {}, health)
}

const EMPTY: &str = "Content-Length: 0\r\n\r\n";

#[test]
fn statuses_that_pass_are_those_of_the_config() {
    for (status, health, expected) in [
        ("200 OK", "", "up: the first check passed: status 200"),
        ("302 Found", "", "up: the first check passed: status 302"),
        ("404 No", "", "down: the first check failed: status 404, expected 200-399"),
        ("404 No", "status = '200-299,404'", "up: the first check passed: status 404"),
        (
            "301 Moved",
            "status = '200-299,404'",
            "down: the first check failed: status 301, expected 200-299,404",
        ),
        ("200 OK", "status = 204", "down: the first check failed: status 200, expected 204"),
        ("500 Bad", "status = { '200-299', 500 }", "up: the first check passed: status 500"),
    ] {
        let answer: &'static str = format!("HTTP/1.1 {status}\r\n{EMPTY}").leak();
        assert_eq!(answered(answer, health), expected, "{status} {health}");
    }
}

#[test]
fn the_body_has_to_contain_the_text_of_the_config() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall is ok", "up: the first check passed: status 200"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nis \r\n2\r\nok\r\n0\r\n\r\n",
            "up: the first check passed: status 200",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nis o\r\n1\r\nk\r\n0\r\n\r\n",
            "up: the first check passed: status 200",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall is KO",
            "down: the first check failed: the body does not contain \"is ok\"",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "down: the first check failed: the body does not contain \"is ok\"",
        ),
        (
            "HTTP/1.1 503 Bad\r\nContent-Length: 5\r\n\r\nis ok",
            "down: the first check failed: status 503, expected 200-399",
        ),
    ] {
        assert_eq!(answered(answer, "body = 'is ok'"), expected, "{answer}");
    }
}

#[test]
fn a_body_until_the_connection_closes_and_one_that_is_large_pass() {
    let until_close = |visit: &mut Visit| {
        visit.request();
        visit.send("HTTP/1.0 200 OK\r\n\r\nis ok");
    };
    assert_eq!(verdict(until_close, "body = 'is ok'"), "up: the first check passed: status 200");
    let large = |visit: &mut Visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nis ok");
        visit.send(vec![b'x'; 1_000_000 - 5]);
    };
    assert_eq!(verdict(large, ""), "up: the first check passed: status 200");
    assert_eq!(verdict(large, "body = 'is ok'"), "up: the first check passed: status 200");
}

#[test]
fn an_answer_that_is_cut_malformed_or_missing_fails() {
    let cut = answered("HTTP/1.1 200 OK\r\nContent-Le", "timeout = '300ms'");
    assert!(cut.starts_with("down: the first check failed: no response within 300ms"), "{cut}");
    let closed = verdict(|visit| _ = visit.request(), "");
    assert!(closed.starts_with("down: the first check failed: the server closed the connection"), "{closed}");
    let malformed = answered("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nxx", "");
    assert!(malformed.starts_with("down: the first check failed: "), "{malformed}");
    let part = verdict(
        |visit| {
            visit.request();
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart");
        },
        "",
    );
    assert!(part.starts_with("down: the first check failed: "), "{part}");
    let refused = RefusingAddress::new();
    let rsp = web(&[(&refused.address, "")], "health = {}");
    rsp.wait_for_log("web/s1 is down: the first check failed: cannot connect");
}

#[test]
fn a_server_that_drips_a_byte_a_second_fails_by_timeout() {
    let drip = |visit: &mut Visit| {
        visit.request();
        for byte in "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".bytes() {
            std::thread::sleep(Duration::from_millis(100));
            if !visit.send([byte]) {
                return;
            }
        }
    };
    assert_eq!(verdict(drip, "timeout = '300ms'"), "down: the first check failed: no response within 300ms");
    let body = |visit: &mut Visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        while visit.send("x") {
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    assert_eq!(verdict(body, "timeout = '300ms'"), "down: the first check failed: no response within 300ms");
}

#[test]
fn a_check_that_is_late_is_ended() {
    let origin = Origin::run(Visit::wait_for_end);
    let rsp = web(&[(&origin.address, "")], "health = { interval = '100ms', timeout = '100ms' }");
    until("five checks were late", || origin.connection_count() >= 5);
    assert!(origin.open_count() <= 2, "{}", origin.open_count());
    assert_eq!(rsp.log().matches("web/s1 is").count(), 1, "{}", rsp.log());
}

#[test]
fn a_check_asks_for_what_the_config_says() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let _rsp = web(&[(&origin.address, "")], "health = {}");
    origin.wait_for_requests(1);
    let plain = origin.last();
    assert_eq!(
        (plain.head.line.as_str(), plain.get("host")),
        ("GET / HTTP/1.1", Some(origin.address.as_str()))
    );
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    let rsp = web(
        &[(&origin.address, "")],
        "health = { path = '/up?deep=1', method = 'HEAD', host = 'app.internal' }",
    );
    origin.wait_for_requests(1);
    let head = origin.last();
    assert_eq!(head.head.line, "HEAD /up?deep=1 HTTP/1.1");
    assert_eq!(head.head.all("host"), ["app.internal"]);
    rsp.wait_for_log("web/s1 is up: the first check passed: status 200");
}

#[test]
fn a_check_may_go_to_another_port() {
    let (origin, other) = (Origin::named("a"), Origin::named("b"));
    let port = other.address.rsplit(':').next().expect("a port").to_owned();
    let rsp = web(&[(&origin.address, "")], &format!("health = {{ port = {port} }}"));
    rsp.wait_for_log("web/s1 is up");
    assert_eq!((origin.connection_count(), other.request_count()), (0, 1));
    assert_eq!(get(rsp.address(), "/").text(), "a");
    drop(other);
    rsp.wait_for_log("web/s1 is down: 3 failed checks in a row, the last one: cannot connect");
}

#[test]
fn a_tcp_check_only_connects() {
    let origin = Origin::run(Visit::wait_for_end);
    let refusing = RefusingAddress::new();
    let rsp = web(&[(&origin.address, ""), (&refusing.address, "")], "health = 'tcp'");
    rsp.wait_for_log("web/s1 is up: the first check passed: connected");
    rsp.wait_for_log("web/s2 is down: the first check failed: cannot connect");
    until("its connection is closed", || origin.open_count() == 0);
    assert_eq!(origin.head_count(), 0);
}

#[test]
fn a_tcp_check_of_a_full_accept_queue_fails_by_timeout() {
    let full = FullListener::new();
    let rsp = web(&[(&full.address, "")], "health = 'tcp'");
    rsp.wait_for_log("web/s1 is down: the first check failed:");
}

#[test]
fn servers_on_unix_sockets_are_checked() {
    let directory = Directory::new();
    let address = format!("unix:{}", directory.join("app.sock").display());
    let missing = format!("unix:{}", directory.join("none.sock").display());
    let origin = Origin::named_at(&address, "socket");
    let rsp = web_in(directory, 1, &[(&address, ""), (&missing, "")], "health = { path = '/up' }", "");
    rsp.wait_for_log("web/s1 is up");
    rsp.wait_for_log("web/s2 is down");
    assert_eq!(targets(&origin.requests()), ["/up"]);
    assert_eq!(get(rsp.address(), "/").text(), "socket");
}

#[test]
fn checks_of_a_pool_with_send_proxy_v2_announce_local() {
    let origin = Origin::run(|visit| {
        let start = visit.wire.read_exactly(16).expect("a header");
        let length = u16::from_be_bytes([start[14], start[15]]).into();
        visit.wire.read_exactly(length).expect("its addresses");
        let Some(_) = visit.request() else { return };
        visit.send(format!("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", 200 + u16::from(start[12])));
    });
    let rsp = web(&[(&origin.address, "")], "send_proxy = 'v2', health = { status = '200-399' }");
    // 0x20: version 2, LOCAL.
    rsp.wait_for_log("web/s1 is up: the first check passed: status 232");
    assert_eq!(get(rsp.address(), "/").status(), 233, "PROXY");
}

#[test]
fn checks_of_a_pool_with_send_proxy_v1_announce_their_own_addresses() {
    let origin = Origin::run(|visit| {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(visit.wire.read_exactly(1).expect("a header"));
        }
        let known = line.starts_with(b"PROXY TCP4 127.0.0.1 127.0.0.1 ");
        let Some(_) = visit.request() else { return };
        visit.send(
            format!("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", if known { 204 } else { 500 })
                .replace("Content-Length: 0\r\n", ""),
        );
    });
    let rsp = web(&[(&origin.address, "")], "send_proxy = 'v1', health = {}");
    rsp.wait_for_log("web/s1 is up: the first check passed: status 204");
}

#[test]
fn a_check_uses_a_connection_of_its_own_and_leaves_none() {
    let origin = Origin::named("a");
    let rsp = web(&[(&origin.address, "")], "health = { interval = '30ms' }");
    rsp.wait_for_log("web/s1 is up");
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/one").text(), "a");
    until("many checks were made", || origin.connection_count() > 10);
    until("only the client's connection is left", || origin.open_count() == 1);
    let before = origin.requests().iter().filter(|request| request.head.target() != "/").count();
    assert_eq!((client.get("/two").text().as_str(), before), ("a", 1));
}
