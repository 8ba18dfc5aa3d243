//! One request, one response: bodies in every framing, both directions, complete and in order.

use crate::support::*;

#[test]
fn a_get_is_forwarded_with_path_and_query_and_its_body_comes_back() {
    let origin = Origin::named("hello");
    let rsp = Rsp::over(&[&origin.address]);
    let answer = get(rsp.address(), "/some/path?a=1&b=%20x");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    assert_eq!(origin.last().head.line, "GET /some/path?a=1&b=%20x HTTP/1.1");
}

#[test]
fn a_body_with_content_length_reaches_the_origin_and_comes_back() {
    let origin = Origin::echo();
    let rsp = Rsp::over(&[&origin.address]);
    let body = content_bytes(1, 300_000);
    let answer = Client::connect(rsp.address()).post("/", &body);
    assert_eq!(hash_of(&answer.body), hash_of(&body));
    assert_eq!(origin.last().framing, Framing::Exact(300_000));
}

#[test]
fn an_empty_body_with_content_length_zero_stays_one() {
    let origin = Origin::echo();
    let rsp = Rsp::over(&[&origin.address]);
    let answer = Client::connect(rsp.address()).post("/", "");
    assert_eq!((answer.status(), answer.framing), (200, Framing::Exact(0)));
    assert_eq!(origin.last().get("content-length"), Some("0"));
}

/// Sends a chunked request with trailers and returns what the origin received.
fn with_trailers(pool: &str) -> Message {
    let origin = Origin::named("ok");
    let rsp = Rsp::start(&on_any_port(&format!("rsp.pool {{ servers = {{ {:?} }}{pool} }}", origin.address)));
    let mut client = Client::connect(rsp.address());
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        client.send("5\r\nhello\r\n1;note=x\r\n \r\n6\r\nworld!\r\n0\r\nX-Sum: 42\r\n");
        client.send("Content_Length: 5\r\nAuthorization: x\r\nGET: /evil HTTP/1.1\r\n\r\n");
        assert_eq!(client.response().text(), "ok");
    }
    origin.last()
}

#[test]
fn a_chunked_request_reaches_the_origin_without_its_trailers() {
    let request = with_trailers("");
    assert_eq!((request.framing, request.text().as_str()), (Framing::Chunked, "hello world!"));
    assert_eq!((request.trailers, request.head.get("trailer")), (vec![], None));
}

#[test]
fn a_pool_that_wants_trailers_gets_those_that_are_safe() {
    let request = with_trailers(", trailers = true");
    assert_eq!((request.framing, request.text().as_str()), (Framing::Chunked, "hello world!"));
    assert_eq!(request.trailers, [("X-Sum".to_string(), "42".to_string())]);
    assert_eq!(request.head.get("trailer"), Some("X-Sum"));
}

#[test]
fn a_chunked_response_reaches_the_client_whole_with_its_trailers() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         3\r\nabc\r\n2;ext=\"q\"\r\nde\r\n0\r\nX-Sum: 42\r\n\r\n",
    );
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!((answer.framing, answer.text().as_str()), (Framing::Chunked, "abcde"));
        assert_eq!(answer.trailers, [("X-Sum".to_string(), "42".to_string())]);
    }
}

#[test]
fn a_chunked_request_sent_one_byte_at_a_time_arrives_whole() {
    let origin = Origin::echo();
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.wire.socket.set_tcp_nodelay(true).unwrap();
    let bytes = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
    for byte in bytes.as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "abc0123456789");
}

#[test]
fn bodies_of_every_size_around_the_block_size_come_back_whole() {
    let origin = bodies(Uploads::default());
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for size in [1, 2, 100, 16_383, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 1_000_003] {
        for framing in ["length", "chunked"] {
            let answer = client.get(&format!("/{framing}/{size}/{size}"));
            assert_eq!(hash_of(&answer.body), content_hash(size, size), "{framing}, {size} bytes");
        }
        let answer = client.post("/", content_bytes(size, size));
        assert_eq!(answer.text(), format!("{size} {}", content_hash(size, size)));
    }
}

#[test]
fn a_body_delimited_by_close_is_forwarded_with_a_visible_end() {
    let origin = bodies(Uploads::default());
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    let answer = client.get("/close/500000/3");
    assert_eq!(hash_of(&answer.body), content_hash(3, 500_000));
    if answer.framing == Framing::Chunked {
        // Re-framed by rsp, so the client's connection can be reused.
        assert_eq!(client.get("/length/10/1").status(), 200);
    }
}

#[test]
fn an_http_1_0_client_gets_a_chunked_response_without_chunks() {
    let origin = bodies(Uploads::default());
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("GET /chunked/200000/5 HTTP/1.0\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.get("transfer-encoding"), None);
    assert_eq!(hash_of(&answer.body), content_hash(5, 200_000));
    client.expect_end();
}

#[test]
fn an_http_1_0_request_is_forwarded_as_http_1_1_with_the_servers_address_as_host() {
    let origin = Origin::named("old");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("GET /x HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "old");
    let request = origin.last();
    assert_eq!(request.head.line, "GET /x HTTP/1.1");
    assert_eq!(request.head.all("host"), [origin.address.as_str()]);
}

#[test]
fn an_http_1_0_response_is_accepted_and_its_connection_not_reused() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold");
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!((answer.head.line.as_str(), answer.text().as_str()), ("HTTP/1.1 200 OK", "old"));
    }
    assert_eq!(origin.connection_count(), 3);
}

#[test]
fn the_response_to_head_has_the_length_but_no_body_and_the_connection_stays_open() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            let body = if request.head.method() == "HEAD" { "" } else { "12345" };
            visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}"));
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to("HEAD").get("content-length"), Some("5"));
    assert_eq!(client.get("/").text(), "12345");
    assert_eq!(origin.connection_count(), 1);
}

#[test]
fn a_head_response_that_says_chunked_has_no_chunks() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to("HEAD").status(), 200);
    }
}

#[test]
fn responses_204_and_304_have_no_body_and_the_connection_stays_open() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            match request.head.target() {
                "/204" => visit.send("HTTP/1.1 204 No Content\r\n\r\n"),
                "/304" => {
                    visit.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: \"e\"\r\n\r\n")
                }
                _ => visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            };
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/204").status(), 204);
    let unchanged = client.get("/304");
    assert_eq!((unchanged.status(), unchanged.get("etag")), (304, Some("\"e\"")));
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(origin.connection_count(), 1);
}

#[test]
fn status_and_reason_are_forwarded_unchanged() {
    let origin = Origin::answering("HTTP/1.1 418 I'm a  teapot\r\nContent-Length: 0\r\n\r\n");
    let rsp = Rsp::over(&[&origin.address]);
    assert_eq!(get(rsp.address(), "/").head.line, "HTTP/1.1 418 I'm a  teapot");
}

#[test]
fn methods_that_rsp_does_not_know_pass() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for method in ["PUT", "DELETE", "PATCH", "PROPFIND", "M-SEARCH"] {
        client.send(format!("{method} /m HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response().status(), 200);
        assert_eq!(origin.last().head.method(), method);
    }
}

#[test]
fn options_asterisk_is_forwarded_unchanged() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    assert_eq!(origin.last().head.line, "OPTIONS * HTTP/1.1");
}

#[test]
fn an_absolute_target_is_forwarded_in_origin_form_with_its_authority_as_host() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("GET http://example.org/p?q HTTP/1.1\r\nHost: example.org\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    let request = origin.last();
    assert_eq!(request.head.line, "GET /p?q HTTP/1.1");
    assert_eq!(request.head.all("host"), ["example.org"]);
}

#[test]
fn a_100_continue_of_the_server_reaches_the_client() {
    let origin = Origin::run(|visit| {
        while let Some(head) = visit.head() {
            assert_eq!(head.get("expect"), Some("100-continue"));
            visit.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = visit.wire.read_exactly(5).unwrap();
            visit.send([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &body[..]].concat());
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for body in ["first", "again"] {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.head().status(), 100);
        client.send(body);
        assert_eq!(client.response().text(), body);
    }
}

#[test]
fn a_refusal_instead_of_100_continue_reaches_the_client_before_the_body() {
    let origin = Origin::run(|visit| {
        visit.head();
        visit.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text().as_str()), (417, "no"));
}

#[test]
fn a_response_that_comes_before_the_upload_is_complete_reaches_the_client() {
    let origin = Origin::run(|visit| {
        visit.head();
        visit.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nConnection: close\r\n\r\nstop");
        visit.wait_for_end();
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nonly the beginning");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text().as_str()), (403, "stop"));
}

#[test]
fn interim_responses_pass_before_the_final_one() {
    let origin = Origin::answering(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone",
    );
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    assert_eq!(client.head().status(), 102);
    let hints = client.head();
    assert_eq!((hints.status(), hints.get("link")), (103, Some("</s.css>; rel=preload")));
    assert_eq!(client.response().text(), "done");
    assert_eq!(client.ask("/").head().status(), 102);
}

#[test]
fn an_http_1_0_client_gets_no_interim_response() {
    let origin =
        Origin::answering("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.0\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "done"));
}

#[test]
fn a_half_closed_client_gets_its_response() {
    let origin = Origin::run(|visit| {
        visit.request();
        std::thread::sleep(std::time::Duration::from_millis(150));
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.ask("/").wire.finish_sending();
    assert_eq!(client.response().text(), "late");
    client.expect_end();
}

#[test]
fn a_response_cut_short_looks_cut_short_with_a_length() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    });
    let rsp = Rsp::over(&[&origin.address]);
    let error = Client::connect(rsp.address()).ask("/").try_response().expect_err("a cut");
    assert!(error.kind() != std::io::ErrorKind::WouldBlock, "it hangs instead of ending: {error}");
}

#[test]
fn a_response_cut_short_looks_cut_short_in_chunks() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n50\r\nthis");
    });
    let rsp = Rsp::over(&[&origin.address]);
    let error = Client::connect(rsp.address()).ask("/").try_response().expect_err("a cut");
    assert!(error.kind() != std::io::ErrorKind::WouldBlock, "it hangs instead of ending: {error}");
}

#[test]
fn a_response_that_ends_with_a_reset_does_not_end_cleanly() {
    // The reset must not overtake the bytes: it waits until the client has them.
    let received = Gate::new();
    let gate = received.clone();
    let origin = Origin::run(move |visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\n\r\nonly this");
        gate.wait();
        visit.reset();
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.wire.read_exactly(9).unwrap(), b"only this");
    received.open();
    let error = client
        .wire
        .read_some(&mut [0; 8])
        .expect_err("a reset where only the end of the connection ends a body");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_request_cut_short_never_looks_complete_to_the_server() {
    let origin = Origin::named("never");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n");
    until("the head reached the origin", || origin.head_count() == 1);
    client.wire.reset_on_close();
    drop(client);
    until("the origin's connection ended", || origin.open_count() == 0);
    assert_eq!(origin.request_count(), 0);
}

#[test]
fn a_large_head_passes_both_ways() {
    let big = "v".repeat(12_000);
    let answer = format!("HTTP/1.1 200 OK\r\nX-Big: {big}{big}\r\nContent-Length: 0\r\n\r\n");
    let origin = Origin::answering(answer);
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {big}\r\n\r\n"));
    assert_eq!(client.response().get("x-big").map(str::len), Some(24_000));
    assert_eq!(origin.last().get("cookie"), Some(big.as_str()));
}

#[test]
fn a_server_on_a_unix_socket_is_reached() {
    let directory = Directory::new();
    let address = format!("unix:{}", directory.join("app.sock").display());
    let origin = Origin::named_at(&address, "by unix");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/").text(), "by unix");
    assert_eq!(client.get("/").text(), "by unix");
    assert_eq!(origin.connection_count(), 1);
}

#[test]
fn a_listener_on_a_unix_socket_is_served() {
    let directory = Directory::new();
    let path = directory.join("front.sock");
    let origin = Origin::named("behind");
    let config = format!(
        "rsp.listen \"unix:{}\"\nrsp.pool {{ servers = {{ \"{}\" }} }}",
        path.display(),
        origin.address
    );
    let rsp = Rsp::start(&config);
    assert_eq!(get(&format!("unix:{}", path.display()), "/").text(), "behind");
    rsp.stop();
}

#[test]
fn listeners_on_ipv4_and_ipv6_are_served_side_by_side() {
    let origin = Origin::named("both");
    let config = format!("rsp.listen \"[::1]:0\"\n{}", balanced(&[&origin.address]));
    let rsp = Rsp::start(&config);
    assert_eq!(rsp.addresses().len(), 2);
    for address in rsp.addresses() {
        assert_eq!(get(address, "/").text(), "both");
    }
}

#[test]
fn a_server_name_from_the_hosts_file_is_resolved() {
    let origin = Origin::named("named");
    let port = origin.address.rsplit(':').next().unwrap();
    let rsp = Rsp::over(&[&format!("localhost:{port}")]);
    assert_eq!(get(rsp.address(), "/").text(), "named");
}
