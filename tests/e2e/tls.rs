//! TLS with clients: what is agreed on, what scripts and servers learn, who is refused.

use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};

use crate::support::*;

/// A listener with these keys beside its certificate, and the rest of the config.
fn listening(keys: &str, rest: &str) -> String {
    format!(
        "rsp.listen {{ '127.0.0.1:0', tls = {{ cert = 'site.crt', key = 'site.key', {keys} }} }}\n{rest}\n"
    )
}

fn pool(origin: &Origin) -> String {
    format!("rsp.pool {{ servers = {{ {:?} }}, timeouts = {{ idle = '1m' }} }}", origin.address)
}

/// Answers with what `req.tls` says.
const SAYS: &str = "rsp.on_request(function(req)
    local t = req.tls
    local said = t and table.concat({ t.version, t.cipher, tostring(t.sni), tostring(t.alpn),
      tostring(t.client_verified), tostring(t.client_subject) }, ' ') or 'none'
    return rsp.respond { status = 200, body = req.scheme .. ' ' .. said } end)";

#[test]
fn servers_and_scripts_learn_that_a_request_came_over_tls() {
    let (directory, authority) = secured();
    let origin = Origin::named("web");
    let script = format!("{}\n local web = rsp.pool {{ servers = {{ {:?} }} }}
        rsp.on_request(function(req) assert(req.scheme == 'https' and req.tls.version == '1.3') return web end)",
        "", origin.address);
    let rsp = Rsp::start_in(directory, &listening("", &script));
    let mut client = TlsClient::new(&authority).connect(rsp.address());
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "web");
    }
    assert_eq!(origin.last().get("X-Forwarded-Proto"), Some("https"));
    assert_eq!(origin.connection_count(), 1, "kept");
}

#[test]
fn what_was_agreed_on_is_readable_and_nothing_else() {
    let (directory, authority) = secured();
    let config = format!("{}rsp.listen '127.0.0.1:0'\n", listening("", SAYS));
    let rsp = Rsp::start_in(directory, &config);
    let said = |versions: &[&'static _]| {
        TlsClient::with(&authority, None, versions).connect(rsp.address()).get("/").text()
    };
    assert_eq!(said(&[&TLS13]), "https 1.3 TLS_AES_256_GCM_SHA384 localhost nil false nil");
    let old = said(&[&TLS12]);
    assert_eq!(old, "https 1.2 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 localhost nil false nil");
    assert_eq!(get(&rsp.addresses()[1], "/").text(), "http none");
    let misspelt =
        "rsp.on_request(function(req) return rsp.respond { status = 200, body = req.tls.vers } end)";
    let (directory, authority) = secured();
    let rsp = Rsp::start_in(directory, &listening("", misspelt));
    assert_eq!(TlsClient::new(&authority).connect(rsp.address()).get("/").status(), 500);
    rsp.wait_for_log("req.tls.vers: no such field, ");
}

#[test]
fn plain_http_on_a_tls_port_is_told_so_in_plain_and_tls_on_a_plain_port_ends_at_once() {
    let (directory, authority) = secured();
    let config = format!(
        "{}rsp.listen '127.0.0.1:0'\nrsp.settings {{ access_log = {{ '-', format = 'rsp' }} }}",
        listening("", SAYS)
    );
    let rsp = Rsp::start_in(directory, &config);
    let mut client = Client::connect(rsp.address());
    let answer = client.get("/path");
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (400, "400 Bad Request\nplain HTTP on a TLS port\n")
    );
    client.expect_end();
    rsp.wait_for_output("status=400");
    let line = rsp.output();
    assert!(line.contains("\"GET /path HTTP/1.1\"") && line.contains("end=client-bad-request"), "{line}");
    let before = Instant::now();
    let failed = TlsClient::new(&authority).try_on(Client::connect(&rsp.addresses()[1]));
    assert!(failed.is_err() && before.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_redirect_leads_to_https_before_anything_else() {
    let (directory, _) = secured();
    let config = format!("rsp.listen {{ '127.0.0.1:0', redirect = 'https' }}\n{}", listening("", SAYS));
    let rsp = Rsp::start_in(directory, &config);
    let mut client = Client::connect(rsp.address());
    let answer = client.send("GET /a?b HTTP/1.1\r\nHost: a.example:80\r\n\r\n").response();
    assert_eq!((answer.status(), answer.get("Location")), (301, Some("https://a.example/a?b")));
    let answer = client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n").response();
    assert_eq!((answer.status(), answer.get("Location")), (308, Some("https://a.example/")));
    let answer = client.send("GET / HTTP/1.0\r\n\r\n").response();
    assert_eq!((answer.status(), answer.get("Location")), (400, None));
}

#[test]
fn hsts_is_in_every_response_over_tls_but_a_server_s_own_stays() {
    let (directory, authority) = secured();
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            let own =
                if request.head.target() == "/own" { "Strict-Transport-Security: max-age=1\r\n" } else { "" };
            visit.send(format!("HTTP/1.1 200 OK\r\n{own}Content-Length: 0\r\n\r\n"));
        }
    });
    let script = format!(
        "local web = rsp.pool {{ servers = {{ {:?} }} }} rsp.on_request(function(req)
           if req.path == '/script' then return rsp.respond {{ status = 200 }} end return web end)",
        origin.address
    );
    let config = format!("{}rsp.listen '127.0.0.1:0'", listening("hsts = 31536000", &script));
    let rsp = Rsp::start_in(directory, &config);
    let mut client = TlsClient::new(&authority).connect(rsp.address());
    let mut age = |path| client.get(path).head.all("Strict-Transport-Security").join("|");
    assert_eq!(
        [age("/"), age("/own"), age("/script")],
        ["max-age=31536000", "max-age=1", "max-age=31536000"]
    );
    let malformed = client.send("GET / HTTP/1.1\r\n : \r\n\r\n").response();
    assert_eq!(
        (malformed.status(), malformed.get("Strict-Transport-Security")),
        (400, Some("max-age=31536000"))
    );
    let plain = Client::connect(rsp.address()).get("/");
    assert_eq!((plain.status(), plain.get("Strict-Transport-Security")), (400, None));
    assert_eq!(get(&rsp.addresses()[1], "/").get("Strict-Transport-Security"), None);
}

#[test]
fn a_client_certificate_is_demanded_verified_and_shown_to_servers() {
    let (directory, authority) = secured();
    let clients = Authority::new();
    directory.write("clients.pem", &clients.pem);
    let origin = Origin::named("web");
    let keys = "client_ca = 'clients.pem', client_header = 'X-Client-Subject'";
    let optional = format!(
        "rsp.listen {{ '127.0.0.1:0', tls = {{ cert = 'site.crt', key = 'site.key', {keys}, client_auth = 'optional' }} }}"
    );
    let config = format!("{}{optional}\nrsp.listen '127.0.0.1:0'\n", listening(keys, &pool(&origin)));
    let rsp = Rsp::start_in(directory, &config);
    let (alice, mallory) = (clients.issue_to("alice"), Authority::new().issue_to("alice"));
    let asks = |identity: Option<&Pair>, version, listener: usize| {
        let client = TlsClient::with(&authority, identity, &[version]);
        let mut client = client.try_on(Client::connect(&rsp.addresses()[listener])).ok()?;
        let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Client-Subject: root\r\nx_client_subject: root\r\n\r\n";
        client.wire.send(request).ok()?;
        client.try_response().ok()?;
        Some(
            origin.last().head.all("X-Client-Subject").join("|")
                + &origin.last().head.all("x_client_subject").join("|"),
        )
    };
    for version in [&TLS12, &TLS13] {
        assert_eq!(asks(Some(&alice), version, 0).as_deref(), Some("CN=alice"));
        assert_eq!(asks(None, version, 0), None, "none where one is required");
        assert_eq!(asks(Some(&mallory), version, 0), None, "one of another authority");
        assert_eq!(asks(Some(&alice), version, 1).as_deref(), Some("CN=alice"));
        assert_eq!(asks(None, version, 1).as_deref(), Some(""), "none where it is optional");
        assert_eq!(asks(Some(&mallory), version, 1), None, "a bad one where it is optional");
    }
    let mut plain = Client::connect(&rsp.addresses()[2]);
    plain.send("GET / HTTP/1.1\r\nHost: a\r\nX-Client-Subject: root\r\n\r\n").response();
    assert_eq!(origin.last().get("X-Client-Subject"), None, "nobody else may send it");
    rsp.wait_for_log("with clients failed: ");
}

#[test]
fn the_subject_of_a_client_is_not_taken_from_trailers() {
    let (directory, authority) = secured();
    directory.write("clients.pem", &authority.pem);
    let origin = Origin::named("web");
    let keys = "client_ca = 'clients.pem', client_auth = 'optional', client_header = 'X-Client-Subject'";
    let trailers = format!("rsp.pool {{ servers = {{ {:?} }}, trailers = true }}", origin.address);
    let rsp = Rsp::start_in(directory, &listening(keys, &trailers));
    let mut client = TlsClient::new(&authority).connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    let answer =
        client.send("X-Sum: 1\r\nX-Client-Subject: CN=root\r\nx_client_subject: CN=root\r\n\r\n").response();
    assert_eq!(answer.text(), "web");
    assert_eq!(origin.last().trailers, [("X-Sum".to_string(), "1".to_string())]);
}

#[test]
fn a_session_is_resumed_by_the_same_listener_and_by_no_other() {
    let (directory, authority) = secured();
    directory.write("clients.pem", &authority.pem);
    directory.write("tickets", format!("{}\n", "A".repeat(64)));
    let listener = |name: &str, keys: &str| {
        format!(
            "rsp.listen {{ '127.0.0.1:0', name = '{name}', tls = {{ cert = 'site.crt', key = 'site.key', tickets = 'tickets', {keys} }} }}\n"
        )
    };
    let config = format!("{}{}{SAYS}", listener("open", ""), listener("closed", "client_ca = 'clients.pem'"));
    let alice = authority.issue_to("alice");
    let kind = |client: &TlsClient, address: &str| {
        let mut client = client.try_on(Client::connect(address)).ok()?;
        client.wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
        client.try_response().ok()?;
        Some(format!("{:?}", client.wire.tls().handshake_kind().unwrap()))
    };
    let copy = Directory::new();
    for file in ["site.crt", "site.key", "tickets", "clients.pem"] {
        copy.write(file, directory.read(file));
    }
    let rsp = Rsp::start_in(directory, &config);
    for version in [&TLS12, &TLS13] {
        let client = TlsClient::with(&authority, None, &[version]);
        assert_eq!(kind(&client, rsp.address()).as_deref(), Some("Full"));
        assert_eq!(kind(&client, rsp.address()).as_deref(), Some("Resumed"));
        assert_eq!(kind(&client, &rsp.addresses()[1]), None, "a ticket is no certificate");
        let with = TlsClient::with(&authority, Some(&alice), &[version]);
        assert_eq!(kind(&with, &rsp.addresses()[1]).as_deref(), Some("Full"));
        assert_eq!(kind(&with, &rsp.addresses()[1]).as_deref(), Some("Resumed"));
    }
    let client = TlsClient::new(&authority);
    assert_eq!(kind(&client, rsp.address()).as_deref(), Some("Full"));
    rsp.stop();
    let again = Rsp::start_in(copy, &config);
    assert_eq!(kind(&client, again.address()).as_deref(), Some("Resumed"), "the keys are in a file");
}

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let (directory, authority) = secured();
    std::fs::create_dir(directory.join("all")).unwrap();
    for name in ["a.example", "b.example", "*.c.example"] {
        let Pair { cert, key } = authority.issue(&[name]);
        directory.write(&format!("all/{}.pem", name.replace('*', "any")), format!("{cert}{key}"));
    }
    let rsp =
        Rsp::start_in(directory, &format!("rsp.listen {{ '127.0.0.1:0', tls = {{ dir = 'all' }} }}{SAYS}"));
    let asks = |name: &'static str| {
        let client = TlsClient::new(&authority).named(name).try_on(Client::connect(rsp.address()));
        client.map(|mut client| client.get("/").status()).map_err(|error| error.to_string())
    };
    for name in ["a.example", "b.example", "x.c.example"] {
        assert_eq!(asks(name), Ok(200), "{name}");
    }
    assert!(asks("d.example").unwrap_err().contains("not valid for name"), "the default is another's");
}

#[test]
fn a_minimum_version_is_held() {
    let (directory, authority) = secured();
    let rsp = Rsp::start_in(directory, &listening("min_version = '1.3'", SAYS));
    let works = |version| {
        TlsClient::with(&authority, None, &[version]).try_on(Client::connect(rsp.address())).is_ok()
    };
    assert!(works(&TLS13) && !works(&TLS12));
}

#[test]
fn a_handshake_that_does_not_go_on_is_ended() {
    let (directory, _) = secured();
    let rsp = Rsp::start_in(
        directory,
        &format!("{}rsp.settings {{ timeouts = {{ handshake = '300ms' }} }}", listening("", SAYS)),
    );
    let before = Instant::now();
    for hello in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"\x16"] {
        let mut client = Client::connect(rsp.address());
        client.send(hello);
        client.expect_end();
    }
    assert!(before.elapsed() < Duration::from_secs(5));
    for garbage in [&b"\x00\x01\x02"[..], &[0x16; 4000], b"\x80\x2e\x01\x03\x01", &[0xff; 70_000]] {
        let mut client = Client::connect(rsp.address());
        let _ = client.wire.send(garbage);
        while matches!(client.wire.read_some(&mut [0; 100]), Ok(n) if n > 0) {}
    }
    rsp.stop();
}

#[test]
fn the_end_of_a_response_is_announced_and_a_cut_is_not() {
    let (directory, authority) = secured();
    let origin = Origin::run(|visit| {
        let Some(request) = visit.request() else { return };
        visit.send("HTTP/1.1 200 OK\r\n\r\nall of it");
        if request.head.target() == "/cut" {
            visit.reset();
        }
    });
    let rsp = Rsp::start_in(directory, &listening("", &pool(&origin)));
    let client = TlsClient::new(&authority);
    assert_eq!(client.connect(rsp.address()).get("/").text(), "all of it");
    let mut cut = client.connect(rsp.address());
    cut.ask("/cut");
    let end = cut.try_response();
    // The reset may overtake what the server sent.
    assert!(end.is_err() || end.unwrap().status() == 502, "a cut body is no whole one");
}

#[test]
fn the_proxy_header_comes_before_the_handshake() {
    let (directory, authority) = secured();
    let config = "rsp.listen { '127.0.0.1:0', proxy_protocol = true, tls = { cert = 'site.crt', key = 'site.key' } }
        rsp.on_request(function(req) return rsp.respond { status = 200, body = req.client_ip .. ' ' .. req.scheme } end)
        rsp.settings { trusted = { '127.0.0.1' } }";
    let rsp = Rsp::start_in(directory, config);
    let mut client = Client::connect(rsp.address());
    client.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n");
    let mut client = TlsClient::new(&authority).try_on(client).expect("a handshake");
    assert_eq!(client.get("/").text(), "192.0.2.7 https");
    let mut plain = Client::connect(rsp.address());
    plain.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(plain.response().status(), 400, "plain HTTP right behind the header");
    assert!(TlsClient::new(&authority).try_on(Client::connect(rsp.address())).is_err(), "it has to be there");
}

#[test]
fn certificates_are_read_again_when_their_files_change_and_no_request_fails() {
    let (directory, authority) = secured();
    let rsp = Rsp::start_in(directory, &listening("watch = true", SAYS));
    let shown = || {
        // A resumed session shows none.
        let mut client = TlsClient::new(&authority).connect(rsp.address());
        assert_eq!(client.get("/").status(), 200);
        client.wire.tls().peer_certificates().expect("a certificate")[0].to_vec()
    };
    let mut kept = TlsClient::new(&authority).connect(rsp.address());
    let first = shown();
    let second = authority.issue(&["localhost"]);
    // The certificate alone does not fit the key.
    rsp.directory.write("site.crt", &second.cert);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(shown(), first);
    rsp.directory.write("site.key", &second.key);
    until("a handshake sees the new certificate", || shown() != first);
    assert_eq!(kept.get("/").status(), 200);
    rsp.wait_for_log("listener 127.0.0.1:0: new certificates: localhost");
    authority.issue_for_days(&["localhost"], 4).write(&rsp.directory, "site");
    rsp.wait_for_log("listener 127.0.0.1:0: the certificate of localhost ends in 4 days");
}

#[test]
fn a_stop_lets_clients_finish_their_handshakes_and_ask() {
    let (directory, authority) = secured();
    let origin = Origin::named("web");
    let rsp = Rsp::start_in(directory, &listening("", &pool(&origin)));
    let tls = TlsClient::new(&authority);
    let (mut fresh, mut begun) = (tls.connect(rsp.address()), Client::connect(rsp.address()));
    let mut hello = Vec::new();
    let connection = tls.begin(&mut hello);
    begun.send(&hello[..100]);
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_log("Stopping");
    begun.send(&hello[100..]);
    assert_eq!(fresh.get("/").text(), "web", "its handshake is just over");
    begun.wire.go_on_with_tls(connection).expect("a handshake");
    assert_eq!(begun.get("/").text(), "web");
}

#[test]
fn secrets_are_written_where_keylog_is_on_and_the_log_warns_of_it() {
    let (directory, authority) = secured();
    let start = |directory: Directory, file: Option<&str>| {
        let mut command = rsp_command();
        command.arg(directory.write("rsp.lua", listening("keylog = true", SAYS)));
        command.env_remove("SSLKEYLOGFILE").envs(file.map(|file| ("SSLKEYLOGFILE", file)));
        Rsp::spawn(directory, command, 1)
    };
    let rsp = start(directory, Some("keys"));
    rsp.wait_for_log("listener 127.0.0.1:0: keylog: whoever reads keys can read what clients send and get");
    assert!(!rsp.directory.join("keys").exists(), "nobody has come yet");
    TlsClient::new(&authority).connect(rsp.address()).get("/");
    until("secrets", || rsp.directory.read("keys").contains("CLIENT_TRAFFIC_SECRET_0 "));
    let (directory, _) = secured();
    let rsp = start(directory, None);
    rsp.wait_for_log("listener 127.0.0.1:0: keylog: nothing is written, SSLKEYLOGFILE is not set");
}
