//! Hop-by-hop behaviour: methods that are not forwarded, Max-Forwards, expectations and interim responses, and
//! responses that must not be forwarded unchanged.

use crate::support::*;

/// rsp with one origin and a script.
fn over(origin: &Origin, script: &str) -> Rsp {
    Rsp::start(&format!("{}{script}", balanced(&[&origin.address])))
}

#[test]
fn connect_and_trace_are_405_and_not_forwarded() {
    let origin = Origin::named("never");
    let rsp = over(&origin, "");
    for request in [
        "TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    ] {
        let mut client = Client::connect(rsp.address());
        let answer = client.send(request).response();
        assert_eq!(answer.status(), 405, "{request:?}");
        assert!(answer.head.says("allow", "GET") && !answer.head.says("allow", "TRACE"), "{:?}", answer.head);
        assert!(!answer.text().contains("secret"));
    }
    assert_eq!(origin.head_count(), 0);
}

#[test]
fn what_follows_a_connect_is_not_a_request() {
    let origin = Origin::named("never");
    for script in ["", "rsp.on_request(function() return rsp.respond { status = 403, body = 'no' } end)"] {
        let rsp = over(&origin, script);
        let mut client = Client::connect(rsp.address());
        client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.response().head.says("connection", "close"));
        client.expect_end();
    }
    assert_eq!(origin.head_count(), 0);
}

#[test]
fn the_config_may_answer_connect_and_trace() {
    let origin = Origin::named("never");
    let script = "rsp.on_request(function(req)
        if req.method == 'TRACE' then return rsp.respond { status = 200, body = 'traced ' .. req.path } end
        return rsp.respond { status = 200, headers = { ['X-For'] = req.target }, body = 'said' }
    end)";
    let rsp = over(&origin, script);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.send("TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n").response().text(), "traced /x");
    // A 2xx to CONNECT is a tunnel to the client: it has no length and is delimited by close.
    let answer = client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").response();
    assert_eq!((answer.status(), answer.get("x-for"), answer.text().as_str()), (200, Some("a:443"), "said"));
    assert_eq!((answer.get("content-length"), answer.get("transfer-encoding")), (None, None));
    client.expect_end();
}

#[test]
fn max_forwards_is_decremented_and_answered_at_0() {
    let origin = Origin::named("origin");
    let rsp = over(&origin, "");
    let mut client = Client::connect(rsp.address());
    let options = |value: &str| format!("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n");
    assert_eq!(client.send(options("3")).response().text(), "origin");
    let seen = origin.last().head;
    assert_eq!((seen.line.as_str(), seen.get("max-forwards")), ("OPTIONS * HTTP/1.1", Some("2")));
    let answer = client.send(options("0")).response();
    assert_eq!((answer.status(), answer.get("content-length")), (200, Some("0")));
    assert!(answer.head.says("allow", "OPTIONS"));
    assert_eq!(
        client.send("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n").response().text(),
        "origin"
    );
    assert_eq!(origin.last().get("max-forwards"), Some("0"), "it means nothing to other methods");
    assert_eq!(client.send(options("-1")).response().status(), 400);
    assert_eq!(origin.request_count(), 2);
}

#[test]
fn the_preface_of_http_2_is_505() {
    let origin = Origin::named("never");
    let rsp = over(&origin, "");
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").response().status(), 505);
    client.expect_end();
    assert_eq!(origin.head_count(), 0);
}

#[test]
fn an_expectation_of_http_1_0_is_not_forwarded() {
    let origin = Origin::echo();
    let rsp = over(&origin, "");
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().text(), "hi");
    assert_eq!(origin.last().get("expect"), None);
}

#[test]
fn an_interim_response_loses_its_hop_by_hop_fields() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Content-Length: 7\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone",
    );
    let rsp = over(&origin, "");
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.ask("/").head().names(), ["Link"]);
    assert_eq!(client.response().text(), "done");
}

#[test]
fn interim_responses_without_end_are_502() {
    let origin = Origin::run(|visit| {
        visit.request();
        while visit.send("HTTP/1.1 102 Processing\r\n\r\n") {}
    });
    let rsp = over(&origin, "");
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    let mut interim = 0;
    let status = loop {
        match client.head().status() {
            102 => interim += 1,
            status => break status,
        }
    };
    assert_eq!((interim, status), (100, 502));
}

#[test]
fn a_greeting_of_another_protocol_is_502_at_once() {
    // The server sends a greeting and waits, like mail and SSH servers.
    let origin = Origin::run(|visit| {
        visit.send("220 mail.example ESMTP\r\n");
        visit.wait_for_end();
    });
    let rsp = over(&origin, "");
    assert_eq!(get(rsp.address(), "/").status(), 502);
}

#[test]
fn a_chunked_response_that_becomes_malformed_looks_cut() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\nnot a size\r\n");
        visit.wait_for_end();
    });
    let rsp = over(&origin, "");
    let mut client = Client::connect(rsp.address());
    assert!(client.ask("/").try_response().is_err());
}

#[test]
fn a_body_of_a_bodiless_response_is_neither_forwarded_nor_the_next_response() {
    for (method, status) in [("GET", "204 No Content"), ("GET", "304 Not Modified"), ("HEAD", "200 OK")] {
        let origin = Origin::run(move |visit| {
            while visit.request().is_some() {
                let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
                visit.send(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{evil}", evil.len()));
            }
        });
        let rsp = over(&origin, "");
        let mut client = Client::connect(rsp.address());
        for count in 1..=3 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(client.response_to(method).head.line, format!("HTTP/1.1 {status}"));
            assert_eq!(
                origin.connection_count(),
                count,
                "a connection with bytes left over is not used again"
            );
        }
    }
}

#[test]
fn a_server_that_closes_during_the_upload_is_502() {
    let origin = Origin::run(|visit| {
        visit.head();
    });
    let rsp = over(&origin, "");
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
    for _ in 0..40 {
        if client.wire.send([b'x'; 10_000]).is_err() {
            break;
        }
    }
    assert_eq!(client.response().status(), 502);
    assert_eq!(origin.head_count(), 1, "an upload is never sent twice");
}

#[test]
fn a_101_is_accepted_only_for_the_requested_protocol() {
    for fields in ["", "Upgrade: websocket\r\n", "Connection: upgrade\r\nUpgrade: h2c\r\n"] {
        let origin = Origin::run(move |visit| {
            visit.head();
            visit.send(format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n"));
            visit.wait_for_end();
        });
        let rsp = over(&origin, "");
        let mut client = Client::connect(rsp.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(client.response().status(), 502, "{fields:?}");
    }
}

#[test]
fn an_upgrade_never_comes_from_http_1_0() {
    let origin = Origin::named("plain");
    let rsp = over(&origin, "");
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response().text(), "plain");
    let seen = origin.last().head;
    assert_eq!((seen.get("upgrade"), seen.says("connection", "upgrade")), (None, false));
}

#[test]
fn bytes_after_an_upgrade_request_wait_for_the_101() {
    let accept = Gate::new();
    let gate = accept.clone();
    let origin = Origin::run(move |visit| {
        visit.head();
        visit.wire.socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        let early = visit.wire.read_some(&mut [0; 64]);
        assert!(early.is_err(), "bytes came before the 101: {early:?}");
        visit.wire.socket.set_read_timeout(Some(DEADLINE)).unwrap();
        visit.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        if visit.wire.read_exactly(5).is_ok_and(|bytes| bytes == b"early") {
            gate.open();
        }
    });
    let rsp = over(&origin, "");
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly");
    assert_eq!(client.head().status(), 101);
    accept.wait();
}
