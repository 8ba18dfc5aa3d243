//! Connections that are reused, on both sides, and those that must not be.

use std::time::{Duration, Instant};

use crate::support::*;

#[test]
fn many_requests_share_one_connection_on_both_sides() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for number in 0..200 {
        assert_eq!(client.get(&format!("/{number}")).text(), "ok");
    }
    assert_eq!((origin.request_count(), origin.connection_count()), (200, 1));
}

#[test]
fn clients_one_after_another_share_a_backend_connection() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    for _ in 0..20 {
        assert_eq!(get(rsp.address(), "/").text(), "ok");
    }
    assert_eq!(origin.connection_count(), 1);
}

#[test]
fn a_client_that_closes_leaves_its_backend_connection_for_others() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = client.response();
    assert!(answer.head.says("connection", "close"));
    client.expect_end();
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    assert_eq!(origin.connection_count(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            let text = request.head.target().to_string();
            visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    let all: String = (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(all);
    for number in 0..50 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
}

#[test]
fn pipelined_requests_with_bodies_keep_their_boundaries() {
    let origin = Origin::echo();
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    let mut all = String::new();
    for number in 0..20 {
        let body = format!("GET /{number} HTTP/1.1 is only a body");
        all += &format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        all += &format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
    }
    client.send(all);
    for number in 0..40 {
        assert_eq!(client.response().text(), format!("GET /{} HTTP/1.1 is only a body", number / 2));
    }
    assert_eq!(origin.request_count(), 40);
}

#[test]
fn a_pipelined_request_waits_for_the_response_before_it() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            if request.head.target() == "/slow" {
                std::thread::sleep(Duration::from_millis(200));
            }
            let text = request.head.target().to_string();
            visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.ask("/slow").ask("/fast");
    assert_eq!(client.response().text(), "/slow");
    assert_eq!(client.response().text(), "/fast");
}

#[test]
fn a_server_that_closes_after_its_response_does_not_end_the_clients_connection() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..10 {
        let answer = client.get("/");
        assert_eq!(answer.text(), "ok");
        assert!(!answer.head.says("connection", "close"), "the server's Connection is its own");
    }
    assert_eq!(origin.connection_count(), 10);
}

#[test]
fn clients_do_not_notice_a_server_that_closes_idle_connections() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "ok");
    }
}

#[test]
fn an_http_1_0_client_is_closed_after_its_response() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
    client.expect_end();
}

#[test]
fn an_http_1_0_client_that_asks_for_keep_alive_gets_it() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.response();
        assert_eq!(answer.text(), "ok");
        assert!(answer.head.says("connection", "keep-alive"));
    }
    assert_eq!(origin.connection_count(), 1);
}

#[test]
fn unsolicited_bytes_of_a_server_are_never_a_response() {
    let origin = Origin::run(|visit| {
        while visit.request().is_some() {
            let more =
                if visit.number == 1 { "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" } else { "" };
            visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood{more}"));
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert_eq!(origin.connection_count(), 2);
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn an_idle_backend_connection_is_closed_by_its_timeout() {
    let origin = Origin::named("ok");
    let config =
        format!("rsp.pool {{ servers = {{ {:?} }}, timeouts = {{ idle = \"200ms\" }} }}", origin.address);
    let rsp = Rsp::start(&on_any_port(&config));
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    until("the idle connection was closed", || origin.open_count() == 0);
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    assert_eq!(origin.connection_count(), 2);
}

#[test]
fn an_idle_client_is_closed_by_its_timeout_and_not_before() {
    let origin = Origin::named("ok");
    let config =
        format!("{}rsp.settings {{ timeouts = {{ idle = \"400ms\" }} }}", balanced(&[&origin.address]));
    let rsp = Rsp::start(&config);
    let mut client = Client::connect(rsp.address());
    let since = Instant::now();
    assert_eq!(client.get("/").text(), "ok");
    client.expect_end();
    assert!(since.elapsed() >= Duration::from_millis(350), "closed after {:?}", since.elapsed());
}

#[test]
fn requests_alternate_strictly_between_the_servers() {
    let origins = ["a", "b", "c"].map(Origin::named);
    let rsp = Rsp::over(&[&origins[0].address, &origins[1].address, &origins[2].address]);
    let mut client = Client::connect(rsp.address());
    let mut order: Vec<String> = (0..30).map(|_| client.get("/").text()).collect();
    order.extend((0..30).map(|_| get(rsp.address(), "/").text()));
    for three in order.windows(3) {
        assert!(three[0] != three[1] && three[1] != three[2] && three[0] != three[2], "{order:?}");
    }
}

#[test]
fn pools_alternate_independently() {
    let origins = ["a", "b", "x", "y"].map(Origin::named);
    let config = format!(
        "local one = rsp.pool {{ name = 'one', servers = {{ {:?}, {:?} }} }}
         local two = rsp.pool {{ name = 'two', servers = {{ {:?}, {:?} }} }}
         rsp.on_request(function(req) if req.path == '/two' then return two end return one end)",
        origins[0].address, origins[1].address, origins[2].address, origins[3].address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    let mut client = Client::connect(rsp.address());
    let order: Vec<String> =
        (0..6).flat_map(|_| [client.get("/one").text(), client.get("/two").text()]).collect();
    for four in order.windows(4) {
        assert!(four[0] != four[2] && four[1] != four[3], "{order:?}");
    }
}

#[test]
fn a_line_end_after_a_body_does_not_start_the_head_timeout() {
    let origin = Origin::echo();
    let config = format!(
        "{}rsp.settings {{ timeouts = {{ head = '3s', idle = '2m' }} }}",
        balanced(&[&origin.address])
    );
    let rsp = Rsp::start(&config);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.post("/", "body").text(), "body");
    client.send("\r\n");
    assert!(client.stays_open(Duration::from_millis(4500)), "nothing is due");
    assert_eq!(client.post("/", "more").text(), "more");
}
