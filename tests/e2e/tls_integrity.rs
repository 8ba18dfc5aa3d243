//! Every byte arrives, in order, whatever side speaks TLS: large bodies both ways, slow readers, many clients, tunnels.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;

/// rsp with TLS towards its clients, in front of `servers`.
fn ended_here(directory: Directory, servers: &str) -> Rsp {
    let tls = "tls = { cert = 'site.crt', key = 'site.key' }";
    let pool =
        format!("rsp.pool {{ servers = {{ {servers} }}, timeouts = {{ idle = '1m', connect = '30s' }} }}");
    Rsp::start_in(directory, &format!("rsp.listen {{ '127.0.0.1:0', {tls} }}\n{pool}"))
}

/// rsp with TLS on both sides, in front of one that ends it.
fn chain(origin: &Origin) -> (Authority, Rsp, Rsp) {
    let (directory, authority) = secured();
    let copy = Directory::new();
    for file in ["ca.pem", "site.crt", "site.key"] {
        copy.write(file, directory.read(file));
    }
    let inner = ended_here(directory, &format!("{:?}", origin.address));
    let outer = ended_here(copy, &format!("{{ 'https://{}', ca = 'ca.pem' }}", inner.address()));
    (authority, inner, outer)
}

const SIZES: [u64; 8] = [0, 1, 4095, 16_384, 16_385, 65_536, 1_000_003, 16 << 20];

#[test]
fn bodies_of_all_sizes_and_framings_pass_whole() {
    let origin = bodies(Uploads::default());
    let (authority, _inner, outer) = chain(&origin);
    let client = TlsClient::new(&authority);
    let mut connection = client.connect(outer.address());
    for (seed, size) in (1..).zip(SIZES) {
        for framing in ["length", "chunked", "close"] {
            let body = match framing {
                "close" => client.connect(outer.address()).get(&format!("/{framing}/{size}/{seed}")).body,
                _ => connection.get(&format!("/{framing}/{size}/{seed}")).body,
            };
            assert_eq!(hash_of(&body), content_hash(seed, size), "{framing} {size}");
        }
        let answer = connection.post("/", content_bytes(seed, size)).text();
        assert_eq!(answer, format!("{size} {}", content_hash(seed, size)), "upload {size}");
    }
}

#[test]
fn a_slow_reader_gets_everything_and_costs_bounded_memory() {
    let origin = bodies(Uploads::default());
    let (directory, authority) = secured();
    let rsp = ended_here(directory, &format!("{:?}", origin.address));
    let tls = TlsClient::new(&authority);
    let before = settled_memory_kib(rsp.pid());
    let mut readers: Vec<Client> =
        (0..20).map(|_| tls.try_on(Client::connect_with_small_buffer(rsp.address())).unwrap()).collect();
    for reader in &mut readers {
        reader.ask(&format!("/length/{}/7", 8 << 20));
    }
    until("rsp has read ahead as far as it may", || origin.head_count() >= 20);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let grown = memory_kib(rsp.pid()).saturating_sub(before);
    assert!(grown < 20 * 400, "{grown} KiB for 20 slow readers");
    let threads: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            std::thread::spawn(move || {
                reader.widen();
                hash_of(&reader.response().body)
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), content_hash(7, 8 << 20));
    }
}

#[test]
fn many_clients_at_once_get_their_own_bytes() {
    let origin = bodies(Uploads::default());
    let (authority, _inner, outer) = chain(&origin);
    let (tls, address) = (Arc::new(TlsClient::new(&authority)), outer.address().to_string());
    let threads: Vec<_> = (0..50u64)
        .map(|seed| {
            let (tls, address) = (tls.clone(), address.clone());
            std::thread::spawn(move || {
                let mut client = tls.connect(&address);
                for round in 0..5 {
                    let size = 1000 * (seed + 1) + round;
                    let body = client.get(&format!("/length/{size}/{seed}")).body;
                    assert_eq!(hash_of(&body), content_hash(seed, size));
                    let answer = client.post("/", content_bytes(seed, size)).text();
                    assert_eq!(answer, format!("{size} {}", content_hash(seed, size)));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::echo();
    let (authority, _inner, outer) = chain(&origin);
    let mut client = TlsClient::new(&authority).connect(outer.address());
    let all: String = (0..100).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(all);
    for _ in 0..100 {
        assert_eq!(client.response().status(), 200);
    }
    assert_eq!(targets(&origin.requests()), (0..100).map(|i| format!("/{i}")).collect::<Vec<_>>());
}

#[test]
fn a_tunnel_passes_bytes_and_ends_and_a_cut_as_one() {
    let cuts = Arc::new(AtomicUsize::new(0));
    let seen = cuts.clone();
    let origin = Origin::run(move |visit| {
        if visit.head().is_none() {
            return;
        }
        visit.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        let mut piece = [0; 1000];
        loop {
            match visit.wire.read_some(&mut piece) {
                Ok(0) => {
                    visit.send("bye");
                    return;
                }
                Ok(n) => _ = visit.send(&piece[..n]),
                Err(_) => {
                    seen.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    });
    let (directory, authority) = secured();
    let rsp = ended_here(directory, &format!("{:?}", origin.address));
    let opens = || {
        let mut client = TlsClient::new(&authority).connect(rsp.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        assert_eq!(client.head().status(), 101);
        client.send("hello");
        assert_eq!(client.wire.read_exactly(5).unwrap(), b"hello");
        client
    };
    let mut client = opens();
    client.wire.finish_tls();
    assert_eq!(client.wire.read_exactly(3).unwrap(), b"bye");
    client.expect_end();
    let client = opens();
    client.wire.finish_sending();
    until("both tunnels are closed", || origin.open_count() == 0);
    assert_eq!(cuts.load(Ordering::Relaxed), 1, "the cut is no end");
}

#[test]
fn handshakes_do_not_starve_running_requests() {
    let (directory, authority) = secured();
    authority.issue_rsa(&["localhost"]).write(&directory, "site");
    let origin = Origin::named("web");
    let rsp = ended_here(directory, &format!("{:?}", origin.address));
    let tls = TlsClient::new(&authority);
    let mut client = tls.connect(rsp.address());
    // Half of a handshake each, and whole ones one after the other.
    let half: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = Client::connect(rsp.address());
            client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
            client
        })
        .collect();
    let address = rsp.address().to_string();
    let stop = Gate::new();
    let flood = {
        let (tls, stop) = (TlsClient::new(&authority), stop.clone());
        std::thread::spawn(move || {
            let mut count = 0;
            while !stop.is_open() {
                count += usize::from(tls.try_on(Client::connect(&address)).is_ok());
            }
            count
        })
    };
    for _ in 0..200 {
        assert_eq!(client.get("/").text(), "web");
    }
    stop.open();
    assert!(flood.join().unwrap() > 0);
    drop(half);
}
