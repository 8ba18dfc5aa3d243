//! Header fields in forwarding: order and case stay, hop-by-hop fields are removed, forwarding fields are true.

use crate::support::*;

/// Sends a GET with these field lines and returns what the origin received.
fn received(settings: &str, fields: &str) -> Head {
    let origin = Origin::named("ok");
    let rsp = Rsp::start(&format!("{}{settings}", balanced(&[&origin.address])));
    let mut client = Client::connect(rsp.address());
    client.send(format!("GET / HTTP/1.1\r\n{fields}\r\n"));
    assert_eq!(client.response().status(), 200);
    origin.last().head
}

/// An origin answers with these field lines; returns what the client received.
fn answered(settings: &str, fields: &str) -> Head {
    let origin = Origin::answering(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"));
    let rsp = Rsp::start(&format!("{}{settings}", balanced(&[&origin.address])));
    get(rsp.address(), "/").head
}

fn pairs(head: &Head, prefix: &str) -> Vec<String> {
    let wanted = head.fields.iter().filter(|(name, _)| name.to_lowercase().starts_with(prefix));
    wanted.map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn order_and_case_of_request_fields_are_kept() {
    let head =
        received("", "hOSt: Example.COM:8080\r\nX-b: 1\r\nx-A: 2\r\nX-B: 3\r\nACCEPT: */*\r\nX-c:4\r\n");
    assert_eq!(pairs(&head, "x-"), {
        let mut expected =
            vec!["X-b: 1", "x-A: 2", "X-B: 3", "X-c: 4"].into_iter().map(String::from).collect::<Vec<_>>();
        expected.extend(pairs(&head, "x-forwarded").into_iter().chain(pairs(&head, "x-request")));
        expected
    });
    assert!(head.names().contains(&"ACCEPT"));
    assert_eq!(head.fields[0], ("hOSt".to_string(), "Example.COM:8080".to_string()));
}

#[test]
fn heads_longer_than_a_block_pass_if_allowed_by_the_config() {
    let cookie = "c".repeat(60 << 10);
    let answer = "a".repeat(120 << 10);
    let sent = answer.clone();
    let origin = Origin::run(move |visit| {
        while visit.head().is_some() {
            visit.send(format!("HTTP/1.1 200 OK\r\nX-Long: {sent}\r\nContent-Length: 2\r\n\r\nok"));
        }
    });
    let rsp = Rsp::start(&format!("{}rsp.settings {{ max_head = '64k' }}", balanced(&[&origin.address])));
    let mut client = Client::connect(rsp.address());
    for part in [1 << 20, 1000] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
        for piece in request.as_bytes().chunks(part) {
            client.send(piece);
        }
        let response = client.response();
        assert_eq!((response.status(), response.text().as_str()), (200, "ok"));
        assert!(response.get("x-long") == Some(&answer));
    }
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "ok", "and short ones after them");
}

#[test]
fn a_long_cookie_and_the_body_after_it_reach_the_server() {
    let origin = Origin::echo();
    let rsp = Rsp::start(&format!("{}rsp.settings {{ max_head = '64k' }}", balanced(&[&origin.address])));
    let (cookie, body) = ("c".repeat(60 << 10), content_bytes(7, 200_000));
    let mut client = Client::connect(rsp.address());
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nContent-Length: 200000\r\n\r\n");
    client.send([head.as_bytes(), &body].concat());
    assert!(client.response().body == body);
    assert!(origin.last().get("cookie") == Some(&cookie));
}

#[test]
fn heads_over_the_configured_limits_are_refused() {
    let origin = Origin::named("ok");
    let pool = balanced(&[&origin.address]);
    let status = |rsp: &Rsp, fields: &str| {
        Client::connect(rsp.address())
            .send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
            .response()
            .status()
    };
    let cookie = |kib: usize| format!("Cookie: {}\r\n", "c".repeat(kib << 10));
    let many = |count: usize| "X: y\r\n".repeat(count);
    let usual = Rsp::start(&pool);
    let wide = Rsp::start(&format!("{pool}rsp.settings {{ max_head = '64k', max_fields = 1000 }}"));
    let narrow = Rsp::start(&format!("{pool}rsp.settings {{ max_head = '2k', max_fields = 10 }}"));
    for (fields, expected) in [
        (cookie(1), [200, 200, 200]),
        (cookie(3), [200, 200, 431]),
        (cookie(20), [431, 200, 431]),
        (cookie(64), [431, 431, 431]),
        (many(9), [200, 200, 200]),
        (many(10), [200, 200, 431]),
        (many(999), [431, 200, 431]),
        (many(1000), [431, 431, 431]),
    ] {
        let seen = [&usual, &wide, &narrow].map(|rsp| status(rsp, &fields));
        assert_eq!(seen, expected, "{} bytes", fields.len());
    }
}

#[test]
fn order_and_case_of_response_fields_are_kept() {
    let head = answered(
        "",
        "Set-Cookie: a=1\r\nx-One: 1\r\nset-cookie: b=2\r\nX-TWO: 2\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
    );
    let names: Vec<&str> = head.names().into_iter().take(4).collect();
    assert_eq!(names, ["Set-Cookie", "x-One", "set-cookie", "X-TWO"]);
    assert_eq!(head.all("set-cookie"), ["a=1", "b=2"]);
}

#[test]
fn values_pass_byte_for_byte() {
    let head = received("", "Host: a\r\nX-Odd: a  b\t\"c\\d\" ,, ;\r\nX-Empty:\r\n");
    assert_eq!(head.get("x-odd"), Some("a  b\t\"c\\d\" ,, ;"));
    assert_eq!(head.get("x-empty"), Some(""));
}

#[test]
fn hop_by_hop_fields_of_a_request_are_removed() {
    let head = received(
        "",
        "Host: a\r\nConnection: keep-alive, X-Mine\r\nX-Mine: secret\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nX-Kept: yes\r\n",
    );
    for name in ["x-mine", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert_eq!(head.get(name), None, "{name}");
    }
    assert!(!head.says("connection", "x-mine"));
    assert_eq!(head.get("x-kept"), Some("yes"));
}

#[test]
fn hop_by_hop_fields_of_a_response_are_removed() {
    let head = answered(
        "",
        "Connection: keep-alive, X-Mine\r\nX-Mine: secret\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nX-Kept: yes\r\n",
    );
    for name in ["x-mine", "keep-alive", "proxy-connection"] {
        assert_eq!(head.get(name), None, "{name}");
    }
    assert!(!head.says("connection", "x-mine"));
    assert_eq!(head.get("x-kept"), Some("yes"));
}

#[test]
fn fields_that_connection_may_not_nominate_stay() {
    let head =
        received("", "Host: a\r\nConnection: close, Host, Authorization\r\nAuthorization: Basic x\r\n");
    assert_eq!(head.all("host"), ["a"], "Host is not hop-by-hop, whatever Connection says");
}

#[test]
fn a_clients_connection_field_removes_nothing_from_a_trusted_balancers_request() {
    let head = received(
        "rsp.settings { trusted = { \"127.0.0.0/8\" } }",
        "Host: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Client-CN: alice\r\n\
         X-Own: of the balancer\r\nKeep-Alive: timeout=5\r\n\
         Connection: X-Forwarded-For, X-Forwarded-Proto, X-Client-CN, X-Own, keep-alive, close\r\n",
    );
    assert_eq!(head.get("x-forwarded-for"), Some("192.0.2.7, 127.0.0.1"));
    assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    assert_eq!(head.get("x-client-cn"), Some("alice"));
    assert_eq!(head.get("x-own"), Some("of the balancer"));
    assert_eq!(head.get("keep-alive"), None);
}

#[test]
fn lookalikes_for_cgi_programs_are_removed() {
    let fields = "Host: a\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\nX_Forwarded_For: 6.6.6.6\r\n\
                  X_Request_ID: mine\r\nProxy: http://evil\r\nX_Real_IP: 6.6.6.6\r\nX-Forwarded-Port: 443\r\n\
                  Plain_Name: stays\r\n";
    let stranger = received("", fields);
    let trusted = received("rsp.settings { trusted = { \"127.0.0.0/8\" } }", fields);
    for name in ["content_length", "transfer_encoding", "x_forwarded_for", "x_request_id", "proxy"] {
        assert_eq!((stranger.get(name), trusted.get(name)), (None, None), "{name}");
    }
    for (name, value) in [("x_real_ip", "6.6.6.6"), ("x-forwarded-port", "443")] {
        assert_eq!((stranger.get(name), trusted.get(name)), (None, Some(value)), "{name}");
    }
    assert_eq!(stranger.get("plain_name"), Some("stays"));
}

#[test]
fn lookalikes_of_a_header_that_the_script_sets_are_removed() {
    let script = "rsp.on_request(function(req) req.headers['X-User'] = 'alice' end)";
    let head = received(script, "Host: a\r\nX_User: root\r\nx-user: root\r\n");
    assert_eq!((head.all("x-user"), head.get("x_user")), (vec!["alice"], None));
}

#[test]
fn forwarding_fields_of_an_untrusted_client_are_replaced() {
    let head = received(
        "",
        "Host: shop.example:8080\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nX-Request-ID: forged\r\nx-forwarded-for: 7.7.7.7\r\n",
    );
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["shop.example:8080"]);
    assert_eq!(head.get("forwarded"), None);
    assert_eq!(head.all("x-request-id").len(), 1);
    assert_ne!(head.get("x-request-id"), Some("forged"));
}

#[test]
fn forwarding_fields_of_a_trusted_client_are_kept_and_appended_to() {
    let head = received(
        "rsp.settings { trusted = { \"127.0.0.0/8\" } }",
        "Host: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n\
         Forwarded: for=6.6.6.6\r\nX-Request-ID: given-before\r\n",
    );
    let all: Vec<&str> = head.all("x-forwarded-for").iter().flat_map(|v| v.split(", ")).collect();
    assert_eq!(all, ["6.6.6.6", "127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["https"]);
    assert_eq!(head.all("x-forwarded-host"), ["outer"]);
    assert_eq!(head.all("forwarded"), ["for=6.6.6.6"]);
    assert_eq!(head.all("x-request-id"), ["given-before"]);
}

#[test]
fn missing_forwarding_fields_of_a_trusted_client_are_added() {
    let head = received("rsp.settings { trusted = { \"127.0.0.1\" } }", "Host: a\r\n");
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-request-id").len(), 1);
}

#[test]
fn a_client_outside_the_trusted_networks_is_not_believed() {
    let head =
        received("rsp.settings { trusted = { \"10.0.0.0/8\" } }", "Host: a\r\nX-Forwarded-For: 6.6.6.6\r\n");
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn every_request_gets_an_id_of_its_own() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..50 {
        client.get("/");
    }
    let mut ids: Vec<String> =
        origin.requests().iter().map(|r| r.get("x-request-id").unwrap_or_default().to_string()).collect();
    assert!(ids.iter().all(|id| id.len() >= 8), "{ids:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 50);
}

#[test]
fn traceparent_passes() {
    let value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(received("", &format!("Host: a\r\ntraceparent: {value}\r\n")).get("traceparent"), Some(value));
}

#[test]
fn via_is_added_only_if_configured() {
    assert_eq!(received("", "Host: a\r\n").get("via"), None);
    assert_eq!(received("rsp.settings { via = \"edge\" }", "Host: a\r\n").get("via"), Some("1.1 edge"));
    assert_eq!(answered("", "").get("via"), None);
}

#[test]
fn a_response_without_date_gains_one_and_one_with_it_keeps_it() {
    let head = answered("", "");
    let date = head.get("date").expect("a Date");
    let age = std::time::SystemTime::now().duration_since(httpdate::parse_http_date(date).unwrap());
    assert!(age.map_or(true, |age| age.as_secs() < 30), "{date}");

    let old = "Thu, 01 Jan 1970 00:00:00 GMT";
    assert_eq!(answered("", &format!("Date: {old}\r\n")).all("date"), [old]);
}

#[test]
fn a_response_has_one_length_and_one_framing() {
    let head = answered("", "X-A: 1\r\n");
    assert_eq!(head.all("content-length"), ["2"]);
    assert_eq!(head.get("transfer-encoding"), None);
}
