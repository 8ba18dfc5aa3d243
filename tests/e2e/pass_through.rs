//! TLS that passes through: the name in the ClientHello finds the pool, and every byte reaches the server and comes back.

use std::time::Duration;

use crate::support::*;

/// A listener whose function looks names up in a table of these Lua entries.
fn by_name(pools: &str, entries: &str, rest: &str) -> String {
    format!(
        "{pools}
        local names = {{ {entries} }}
        rsp.listen {{ '127.0.0.1:0', sni = function(name) return names[name or 'none'] end }}
        rsp.settings {{ access_log = {{ '-', format = 'rsp' }}, {rest} }}\n"
    )
}

fn pool(name: &str, servers: &[&str], keys: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|server| format!("'{server}'")).collect();
    format!("local {name} = rsp.pool {{ name = '{name}', servers = {{ {} }}, {keys} }}\n", servers.join(", "))
}

/// One pool of this server for every name.
fn all_to(server: &str) -> String {
    format!(
        "rsp.pool {{ name = 'web', servers = {{ '{server}' }} }}
        rsp.listen {{ '127.0.0.1:0', sni = function(name) return 'web' end }}
        rsp.settings {{ access_log = {{ '-', format = 'rsp' }} }}\n"
    )
}

/// Reads a ClientHello of one record, and gives it back.
fn hello_at(visit: &mut Visit) -> Vec<u8> {
    let header = visit.wire.read_exactly(5).expect("a record");
    let length = u16::from_be_bytes([header[3], header[4]]);
    [header, visit.wire.read_exactly(length.into()).expect("a record")].concat()
}

/// Sends all that it gets behind the hello back, and "bye" at the end.
fn echo() -> Origin {
    Origin::run(|visit| {
        hello_at(visit);
        let mut piece = [0; 1000];
        while let Ok(n @ 1..) = visit.wire.read_some(&mut piece) {
            visit.send(&piece[..n]);
        }
        visit.send("bye");
    })
}

/// A connection whose server has answered once.
fn opened(address: &str, hello: &[u8]) -> Client {
    let mut client = Client::connect(address);
    client.send(hello).send("ping");
    assert_eq!(client.wire.read_exactly(4).unwrap(), b"ping");
    client
}

#[test]
fn the_name_finds_the_pool_and_tls_is_between_client_and_server() {
    let authority = Authority::new();
    let (a, b) = (
        tls_origin(&authority.issue(&["a.example"]), "a"),
        tls_origin(&authority.issue(&["b.example"]), "b"),
    );
    let pools = format!("{}{}", pool("first", &[&a.address], ""), pool("second", &[&b.address], ""));
    let rsp = Rsp::start(&by_name(&pools, "['a.example'] = first, ['b.example'] = 'second'", ""));
    let tls = TlsClient::new(&authority);
    for (name, answer) in [("a.example", "a"), ("b.example", "b"), ("A.Example.", "a")] {
        let mut client = tls.named(name).connect(rsp.address());
        assert_eq!(client.get("/").text(), answer, "{name}");
        assert_eq!(client.get("/").text(), answer, "{name}");
        client.wire.finish_tls();
    }
    rsp.wait_for_output("host=b.example status=200");
    until("all are logged", || rsp.output().lines().count() == 3);
    for line in rsp.output().lines() {
        assert!(line.contains(" request=\"-\" host=") && line.contains(" end=complete"), "{line}");
        let sent = line.split_once(" sent=").unwrap().1.split(' ').next().unwrap().parse::<u64>().unwrap();
        assert!(sent > 1000 && line.contains("pool=") && !line.contains("connect=-"), "{line}");
    }
    assert!(rsp.output().contains(&format!("pool=second server={}", b.address)), "{}", rsp.output());
}

#[test]
fn a_hello_may_come_in_any_pieces() {
    let authority = Authority::new();
    let origin = tls_origin(&authority.issue(&["localhost"]), "web");
    let rsp = Rsp::start(&all_to(&origin.address));
    let tls = TlsClient::new(&authority);
    let mut dripped = tls
        .try_after(Client::connect(rsp.address()), |client, hello| {
            for byte in hello {
                client.send([*byte]);
            }
        })
        .expect("a handshake");
    assert_eq!(dripped.get("/").text(), "web");
    for size in [1, 7, 500] {
        let mut client = tls
            .try_after(Client::connect(rsp.address()), |client, hello| {
                let record =
                    |piece: &[u8]| [&[22, 3, 1][..], &(piece.len() as u16).to_be_bytes(), piece].concat();
                let records: Vec<u8> = hello[5..].chunks(size).flat_map(record).collect();
                client.send(records);
            })
            .expect("a handshake");
        assert_eq!(client.get("/").text(), "web", "{size} bytes a record");
    }
}

#[test]
fn large_bodies_pass_whole_both_ways_and_at_once() {
    const SIZE: u64 = 64 << 20;
    let origin = Origin::run(|visit| {
        hello_at(visit);
        let mut back = visit.wire.socket.try_clone().unwrap();
        let pours = std::thread::spawn(move || {
            std::io::copy(&mut Content::new(2, SIZE), &mut back).unwrap();
            back.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        visit.wire.body(Framing::UntilClose, &mut |bytes| got.extend_from_slice(bytes)).unwrap();
        assert_eq!((got.len() as u64, hash_of(&got)), (SIZE, content_hash(1, SIZE)));
        pours.join().unwrap();
    });
    for splice in ["", "splice = false"] {
        let config =
            format!("{}\n", all_to(&origin.address)).replace("'rsp' }", &format!("'rsp' }}, {splice}"));
        let rsp = Rsp::start(&config);
        let mut client = Client::connect(rsp.address());
        client.send(TlsClient::new(&Authority::new()).hello());
        let mut out = client.wire.socket.try_clone().unwrap();
        let pours = std::thread::spawn(move || {
            std::io::copy(&mut Content::new(1, SIZE), &mut out).unwrap();
            out.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        client.wire.body(Framing::UntilClose, &mut |bytes| got.extend_from_slice(bytes)).unwrap();
        assert_eq!((got.len() as u64, hash_of(&got)), (SIZE, content_hash(2, SIZE)), "{splice}");
        pours.join().unwrap();
        rsp.wait_for_output(&format!("status=200 sent={SIZE} "));
        assert!(rsp.output().contains(" by=- phase=- end=complete"), "{}", rsp.output());
    }
}

#[test]
fn a_half_closed_side_still_gets_the_rest_and_a_cut_is_logged() {
    let origin = echo();
    let rsp = Rsp::start(&all_to(&origin.address));
    let hello = TlsClient::new(&Authority::new()).hello();
    let mut client = opened(rsp.address(), &hello);
    client.wire.finish_sending();
    assert_eq!(client.wire.read_exactly(3).unwrap(), b"bye");
    client.expect_end();
    rsp.wait_for_output(&format!("sent=7 received={} ", hello.len() + 4));
    let client = opened(rsp.address(), &hello);
    client.wire.reset_on_close();
    drop(client);
    rsp.wait_for_output("phase=tunnel end=client-cut-response");
    until("the server's side is closed", || origin.open_count() == 0);
}

#[test]
fn bytes_that_come_with_the_hello_follow_it() {
    let origin = echo();
    let rsp = Rsp::start(&all_to(&origin.address));
    let mut client = Client::connect(rsp.address());
    let early = content_bytes(5, 20_000);
    client.send([TlsClient::new(&Authority::new()).hello(), early.clone()].concat());
    client.wire.finish_sending();
    assert_eq!(client.wire.read_exactly(early.len()).unwrap(), early);
    assert_eq!(client.wire.read_exactly(3).unwrap(), b"bye");
    client.expect_end();
}

#[test]
fn a_server_that_refuses_is_ejected_and_found_again() {
    let refusing = RefusingAddress::new();
    let good = echo();
    let web = pool("web", &[&refusing.address, &good.address], "");
    let rsp = Rsp::start(&by_name(&web, "localhost = web", ""));
    let hello = TlsClient::new(&Authority::new()).hello();
    for _ in 0..8 {
        opened(rsp.address(), &hello);
    }
    rsp.wait_for_log(&format!("server web/{} is ejected for 1s: 3 failures in a row", refusing.address));
    rsp.wait_for_output(&format!("left={}:server-refused", refusing.address));
    let address = refusing.address.clone();
    drop(refusing);
    let back = Origin::run_at(&address, |visit| {
        hello_at(visit);
        visit.send("ping");
    });
    until("it is tried again", || {
        opened(rsp.address(), &hello);
        back.connection_count() > 0
    });
    rsp.wait_for_log(&format!("server web/{address} is up again"));
}

#[test]
fn connections_wait_for_a_server_at_its_limit_and_are_bound_to_the_one_that_is_named() {
    let (one, two) = (echo(), echo());
    let servers = format!(
        "local web = rsp.pool {{ name = 'web', servers = {{ {{ '{}', name = 'one', max_connections = 1 }},
           {{ '{}', name = 'two' }} }} }}
        rsp.listen {{ '127.0.0.1:0', sni = function(name) return web, 'one' end }}",
        one.address, two.address
    );
    let rsp = Rsp::start(&servers);
    let hello = TlsClient::new(&Authority::new()).hello();
    let first = opened(rsp.address(), &hello);
    let mut second = Client::connect(rsp.address());
    second.send([&hello[..], b"pong"].concat());
    assert!(second.stays_open(Duration::from_millis(200)));
    assert_eq!(one.connection_count(), 1);
    drop(first);
    assert_eq!(second.wire.read_exactly(4).unwrap(), b"pong");
    assert_eq!((one.connection_count(), two.connection_count()), (2, 0));
}

/// One after the other: a server that has more than its share at a time is not the one that a hash finds.
fn pass_four(rsp: &Rsp) {
    for count in 1..=4 {
        opened(rsp.address(), &TlsClient::new(&Authority::new()).hello());
        until("it has ended", || rsp.output().lines().count() == count);
    }
}

#[test]
fn scripts_that_balance_get_the_name_and_the_client_and_an_empty_request() {
    let (one, two) = (echo(), echo());
    let says = "assert(req.host == 'localhost' and req.client_ip == '127.0.0.1' and req.client_port > 0)
        assert(req.scheme == 'https' and req.method == '' and req.path == '' and req.tls == nil)
        assert(req.headers['Host'] == 'localhost' and req.cookies.x == nil and req.query == nil)";
    for keys in [
        format!("balance = function(req, servers) {says} return servers[2] end"),
        format!("balance = 'hash', hash_by = function(req) {says} return req.host end"),
        "balance = 'hash', hash_by = 'header:Host'".into(),
        "balance = 'source_hash'".into(),
    ] {
        let web = pool("web", &[&one.address, &two.address], &keys);
        let rsp = Rsp::start(&by_name(&web, "localhost = web", ""));
        let before = (one.connection_count(), two.connection_count());
        pass_four(&rsp);
        let counts = (one.connection_count() - before.0, two.connection_count() - before.1);
        assert!(counts == (0, 4) || counts == (4, 0) && keys.contains("hash"), "{keys}: {counts:?}");
    }
    let web = pool("web", &[&one.address, &two.address], "balance = 'hash', hash_by = 'path'");
    let rsp = Rsp::start(&by_name(&web, "localhost = web", ""));
    let before = one.connection_count();
    pass_four(&rsp);
    assert_eq!(one.connection_count() - before, 2, "without a path they take turns");
}

#[test]
fn proxy_headers_go_before_the_hello_on_both_sides() {
    let origin = Origin::run(|visit| {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(visit.wire.read_exactly(1).unwrap());
        }
        hello_at(visit);
        visit.send(line);
    });
    let config = format!(
        "local web = rsp.pool {{ servers = {{ '{}' }}, send_proxy = 'v1' }}
        rsp.listen {{ '127.0.0.1:0', proxy_protocol = true, sni = function(name)
          return name == 'localhost' and web end }}
        rsp.listen {{ '127.0.0.1:0', sni = function(name) return web end }}
        rsp.settings {{ trusted = {{ '127.0.0.1' }} }}",
        origin.address
    );
    let rsp = Rsp::start(&config);
    let hello = TlsClient::new(&Authority::new()).hello();
    let announced = "PROXY TCP4 192.0.2.7 192.0.2.8 4711 443\r\n";
    for pieces in [vec![[announced.as_bytes(), &hello].concat()], vec![announced.into(), hello.clone()]] {
        let mut client = Client::connect(rsp.address());
        for piece in pieces {
            client.send(piece);
            std::thread::yield_now();
        }
        assert_eq!(client.wire.read_exactly(announced.len()).unwrap(), announced.as_bytes());
    }
    let mut client = Client::connect(&rsp.addresses()[1]);
    client.send(&hello);
    let own = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} ", client.address().port());
    assert_eq!(client.wire.read_exactly(own.len()).unwrap(), own.as_bytes());
}

#[test]
fn a_server_with_https_gets_the_client_s_own_tls() {
    let (directory, authority) = secured();
    let origin = tls_origin(&authority.issue(&["localhost"]), "web");
    let config = all_to(&origin.address).replace(
        &format!("'{}'", origin.address),
        &format!("{{ 'https://{}', ca = 'ca.pem' }}", origin.address),
    );
    let rsp = Rsp::start_in(directory, &config);
    assert_eq!(TlsClient::new(&authority).connect(rsp.address()).get("/").text(), "web");
}

#[test]
fn a_reload_leaves_connections_alone_and_new_ones_get_the_new_function() {
    let (old, new) = (
        echo(),
        Origin::run(|visit| {
            hello_at(visit);
            visit.send("new");
        }),
    );
    let rsp = Rsp::start(&all_to(&old.address));
    let hello = TlsClient::new(&Authority::new()).hello();
    let mut client = opened(rsp.address(), &hello);
    // One whose hello is only half there is asked about in the new config.
    let mut half = Client::connect(rsp.address());
    half.send(&hello[..100]);
    std::thread::sleep(Duration::from_millis(50));
    rsp.reload(&all_to(&new.address));
    half.send(&hello[100..]);
    assert_eq!(half.wire.read_exactly(3).unwrap(), b"new");
    client.send("more");
    assert_eq!(client.wire.read_exactly(4).unwrap(), b"more");
    client.wire.finish_sending();
    assert_eq!(client.wire.read_exactly(3).unwrap(), b"bye");
}

#[test]
fn a_stop_closes_connections_that_are_passed_through_one_after_the_other() {
    let origin = echo();
    let config = all_to(&origin.address).replace("'rsp' }", "'rsp' }, drain_timeout = '2s'");
    let mut rsp = Rsp::start(&config);
    let hello = TlsClient::new(&Authority::new()).hello();
    let mut clients: Vec<Client> = (0..4).map(|_| opened(rsp.address(), &hello)).collect();
    rsp.signal(libc::SIGTERM);
    for client in &mut clients {
        client.expect_end();
    }
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert_eq!(rsp.output().matches("phase=tunnel end=drained").count(), 4, "{}", rsp.output());
}
