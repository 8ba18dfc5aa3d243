//! Servers that write sloppy HTTP/1: responses with only one reading reach the client, corrected, and bytes after
//! them reach nobody.

use std::sync::mpsc;

use crate::support::*;

fn strict(origin: &Origin) -> Rsp {
    Rsp::start(&on_any_port(&format!("rsp.pool {{ servers = {{ {:?} }}, strict = true }}", origin.address)))
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";

#[test]
fn a_server_that_sends_an_empty_line_after_each_body_answers_every_request() {
    let body = format!("{HEAD}ok\r\n");
    let origin = Origin::answering(&body);
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for number in 0..100 {
        assert_eq!(client.get(&format!("/{number}")).text(), "ok");
    }
}

/// As if the empty line and the next request crossed on the wire.
#[test]
fn an_empty_line_after_the_next_request_was_sent_is_not_part_of_its_response() {
    let origin = Origin::run(|visit| {
        let mut before = "";
        while visit.request().is_some() && visit.send(format!("{before}{HEAD}ok")) {
            before = "\r\n";
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(origin.connection_count(), 10, "a connection that sent an empty line is not used again");
    assert_eq!(origin.request_count(), 20, "no request is sent twice");
}

#[test]
fn a_connection_that_gets_an_empty_line_while_it_is_idle_is_closed() {
    let (ask, asked) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let (asked, tell) = (std::sync::Mutex::new(asked), std::sync::Mutex::new(tell));
    let origin = Origin::run(move |visit| {
        if visit.request().is_some() && visit.send(format!("{HEAD}ok")) && visit.number == 1 {
            asked.lock().expect("no panic").recv().expect("the test goes on");
            visit.send("\r\n");
            visit.wait_for_end();
            tell.lock().expect("no panic").send(()).expect("the test waits");
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    ask.send(()).expect("the origin waits");
    told.recv_timeout(DEADLINE).expect("the connection is closed");
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    assert_eq!(origin.connection_count(), 2);
}

/// It must not count as the beginning of a response, after which a request is not retried.
#[test]
fn a_reused_connection_that_closes_after_an_empty_line_is_retried_on_a_new_one() {
    let origin = Origin::run(|visit| {
        if visit.request().is_some() && visit.send(format!("{HEAD}ok")) && visit.request().is_some() {
            visit.send("\r\n");
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "ok");
    }
}

#[test]
fn a_leniently_parsed_response_is_the_last_on_its_connection() {
    for response in [
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: \x1b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.7  200 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let origin = Origin::answering(response);
        let rsp = Rsp::over(&[&origin.address]);
        for number in 1..=3 {
            assert_eq!(get(rsp.address(), "/").text(), "ok", "{response:?}");
            assert_eq!(origin.connection_count(), number, "{response:?}");
        }
        let rsp = strict(&origin);
        let mut client = Client::connect(rsp.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = client.try_response();
        assert!(answer.map_or(true, |answer| answer.status() == 502), "{response:?} from a strict pool");
    }
}

#[test]
fn bytes_after_a_leniently_parsed_response_reach_nobody() {
    let hidden = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let origin = Origin::answering(format!("HTTP/1.1 200 OK\nContent-Length: 2\n\nok{hidden}"));
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "ok");
    }
}

#[test]
fn a_status_above_599_is_passed_on_and_logged_as_599_by_combined() {
    let origin = Origin::answering("HTTP/1.1 999 Denied\r\nContent-Length: 2\r\n\r\nno");
    let log = "rsp.settings { access_log = '-' }";
    let rsp = Rsp::start(&format!("{}{log}", balanced(&[&origin.address])));
    let answer = get(rsp.address(), "/denied");
    assert_eq!((answer.status(), answer.text().as_str()), (999, "no"));
    rsp.wait_for_output("/denied HTTP/1.1\" 599 2 ");
}
