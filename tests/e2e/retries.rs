//! Which failures are retried on another server or connection, and which never.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A pool that always prefers its first server, so that tests know the order of the tries.
fn in_order(servers: &[&str], more: &str) -> String {
    let list: Vec<String> = servers.iter().map(|server| format!("{server:?}")).collect();
    on_any_port(&format!(
        "rsp.pool {{ servers = {{ {} }}, balance = function(req, servers) return servers[1] end{more} }}",
        list.join(", ")
    ))
}

#[test]
fn a_refused_connection_goes_to_the_next_server() {
    let (refusing, origin) = (RefusingAddress::new(), Origin::named("alive"));
    let rsp = Rsp::over(&[&refusing.address, &origin.address]);
    for _ in 0..10 {
        assert_eq!(get(rsp.address(), "/").text(), "alive");
    }
}

#[test]
fn a_refused_connection_goes_to_the_next_server_for_a_post_with_its_body() {
    let (refusing, origin) = (RefusingAddress::new(), Origin::echo());
    let rsp = Rsp::over(&[&refusing.address, &origin.address]);
    for number in 0..10u64 {
        let body = content_bytes(number, 20_000);
        let answer = Client::connect(rsp.address()).post("/", &body);
        assert_eq!((answer.status(), hash_of(&answer.body)), (200, hash_of(&body)));
    }
    assert_eq!(origin.request_count(), 10);
}

#[test]
fn a_client_without_host_gets_the_name_of_the_server_that_took_its_request() {
    let (refusing, origin) = (RefusingAddress::new(), Origin::named("alive"));
    let rsp = Rsp::start(&in_order(&[&refusing.address, &origin.address], ""));
    for _ in 0..2 {
        let mut client = Client::connect(rsp.address());
        client.send("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(client.response().text(), "alive");
        assert_eq!(origin.last().head.all("host"), [origin.address.as_str()]);
    }
}

#[test]
fn two_other_servers_are_tried_after_the_first() {
    let refusing = [RefusingAddress::new(), RefusingAddress::new()];
    let origin = Origin::named("third");
    let rsp = Rsp::start(&in_order(&[&refusing[0].address, &refusing[1].address, &origin.address], ""));
    assert_eq!(get(rsp.address(), "/").text(), "third");
}

#[test]
fn no_more_than_two_other_servers_are_tried() {
    let refusing = [RefusingAddress::new(), RefusingAddress::new(), RefusingAddress::new()];
    let origin = Origin::named("fourth");
    let addresses = [&refusing[0].address, &refusing[1].address, &refusing[2].address, &origin.address];
    let rsp = Rsp::start(&in_order(&addresses.map(String::as_str), ""));
    assert_eq!(get(rsp.address(), "/").status(), 502);
    assert_eq!(origin.connection_count(), 0);
}

#[test]
fn when_all_refuse_the_answer_is_502_and_the_clients_connection_stays_open() {
    let refusing = [RefusingAddress::new(), RefusingAddress::new()];
    let rsp = Rsp::over(&[&refusing[0].address, &refusing[1].address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!(answer.status(), 502);
        assert!(!answer.body.is_empty());
    }
}

#[test]
fn a_connect_timeout_goes_to_the_next_server() {
    let (full, origin) = (FullListener::new(), Origin::named("alive"));
    let rsp =
        Rsp::start(&in_order(&[&full.address, &origin.address], ", timeouts = { connect = \"300ms\" }"));
    assert_eq!(get(rsp.address(), "/").text(), "alive");
}

#[test]
fn when_all_connects_time_out_the_answer_is_504() {
    let full = FullListener::new();
    let rsp = Rsp::start(&in_order(&[&full.address], ", timeouts = { connect = \"300ms\" }"));
    assert_eq!(get(rsp.address(), "/").status(), 504);
}

#[test]
fn a_full_queue_sends_the_request_to_the_next_server_and_is_no_refusal() {
    let directory = Directory::new();
    let (full, origin) = (FullSocket::at(&directory.join("full")), Origin::named("alive"));
    let rsp = Rsp::start(&in_order(&[&full.address, &origin.address], ""));
    for _ in 0..3 {
        assert_eq!(get(rsp.address(), "/").text(), "alive");
    }
    assert!(!rsp.log().contains("does not accept"), "{}", rsp.log());
}

#[test]
fn a_request_waits_for_room_in_the_queue_of_the_only_server() {
    let directory = Directory::new();
    let full = FullSocket::at(&directory.join("full"));
    let rsp = Rsp::start(&in_order(&[&full.address], ", queue = { timeout = \"20s\" }"));
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut clients {
        client.ask("/");
        assert!(client.stays_open(Duration::from_millis(100)));
    }
    let _origin = full.serve("room");
    for client in &mut clients {
        assert_eq!(client.response().text(), "room");
    }
}

#[test]
fn when_an_accept_queue_stays_full_the_answer_is_503() {
    let directory = Directory::new();
    let full = FullSocket::at(&directory.join("full"));
    let rsp = Rsp::start(&in_order(&[&full.address], ", queue = { timeout = \"300ms\" }"));
    let answer = get(rsp.address(), "/");
    assert_eq!((answer.status(), answer.get("retry-after")), (503, Some("1")));
    assert!(!rsp.log().contains("does not accept"), "{}", rsp.log());
}

/// Answers the first request of its first connection and closes that connection on the second; later connections are
/// handled by the script.
fn dying_on_reuse(later: impl Fn(&mut Visit) + Send + Sync + 'static) -> Origin {
    Origin::run(move |visit| {
        if visit.number > 1 {
            return later(visit);
        }
        if visit.request().is_some() {
            visit.send(OK);
            visit.request();
        }
    })
}

fn answering(visit: &mut Visit) {
    while visit.request().is_some() && visit.send(OK) {}
}

#[test]
fn a_get_on_a_reused_connection_that_closes_is_retried_on_a_new_one() {
    let origin = dying_on_reuse(answering);
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/1").text(), "ok");
    assert_eq!(client.get("/2").text(), "ok");
    let targets: Vec<String> = origin.requests().iter().map(|r| r.head.target().to_string()).collect();
    assert_eq!(targets, ["/1", "/2", "/2"]);
    assert_eq!(origin.connection_count(), 2);
}

#[test]
fn a_get_is_retried_only_once() {
    let origin = dying_on_reuse(|visit| {
        visit.request();
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(client.get("/").status(), 502);
    assert_eq!((origin.connection_count(), origin.request_count()), (2, 3));
}

#[test]
fn a_post_on_a_connection_that_dies_is_never_sent_twice() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            if request.head.method() == "POST" || !visit.send(OK) {
                return;
            }
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    for _ in 0..5 {
        let mut client = Client::connect(rsp.address());
        assert_eq!(client.get("/").text(), "ok");
        let before = origin.request_count();
        assert_eq!(client.post("/", "order one pizza").status(), 502);
        assert_eq!(origin.request_count(), before + 1);
    }
}

#[test]
fn a_get_on_a_fresh_connection_that_dies_is_not_sent_to_the_same_server_again() {
    let origin = closing();
    let rsp = Rsp::over(&[&origin.address]);
    assert_eq!(get(rsp.address(), "/").status(), 502);
    assert_eq!(origin.request_count(), 1);
}

/// Reads a request and closes, like a process that is being killed.
fn closing() -> Origin {
    Origin::run(|visit| {
        visit.request();
    })
}

#[test]
fn a_get_on_a_fresh_connection_that_dies_goes_to_another_server() {
    let (dying, origin) = (closing(), Origin::named("alive"));
    let rsp = Rsp::start(&in_order(&[&dying.address, &origin.address], ", eject = false"));
    let mut client = Client::connect(rsp.address());
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response_to(method).status(), 200, "{method}");
    }
    assert_eq!((dying.request_count(), origin.request_count()), (5, 5));
}

#[test]
fn a_request_goes_to_two_other_servers_at_most_when_connections_die() {
    let servers = [(); 4].map(|()| closing());
    let addresses = servers.each_ref().map(|server| server.address.as_str());
    let rsp = Rsp::start(&in_order(&addresses, ""));
    assert_eq!(get(rsp.address(), "/").status(), 502);
    assert_eq!(servers.each_ref().map(Origin::request_count), [1, 1, 1, 0]);
}

#[test]
fn a_request_that_is_not_idempotent_or_has_a_body_never_goes_to_another_server() {
    let (dying, origin) = (closing(), Origin::named("alive"));
    let rsp = Rsp::start(&in_order(&[&dying.address, &origin.address], ""));
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ] {
        assert_eq!(Client::connect(rsp.address()).send(request).response().status(), 502, "{request}");
    }
    assert_eq!((dying.request_count(), origin.request_count()), (3, 0));
}

#[test]
fn a_request_is_never_retried_after_its_response_began() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            if request.head.target() == "/cut" {
                visit.send("HTTP/1.1 200 OK\r\nContent-Le");
                return;
            }
            visit.send(OK);
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(client.get("/cut").status(), 502);
    assert_eq!(origin.request_count(), 2);
}

#[test]
fn a_post_does_not_take_a_connection_that_was_idle_for_over_a_second() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/").text(), "ok");
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(client.post("/", "x").text(), "ok");
    assert_eq!(origin.connection_count(), 2);
}

#[test]
fn a_get_takes_a_connection_that_was_idle_for_over_a_second() {
    let origin = Origin::named("ok");
    let rsp = Rsp::start(&in_order(&[&origin.address], ", timeouts = { idle = \"2m\" }"));
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/").text(), "ok");
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(origin.connection_count(), 1);
}

#[test]
fn a_refused_server_gets_requests_again_when_it_is_back() {
    let address = format!("127.0.0.1:{}", free_port());
    let origin = Origin::named("alive");
    let rsp = Rsp::over(&[&address, &origin.address]);
    for _ in 0..5 {
        assert_eq!(get(rsp.address(), "/").text(), "alive");
    }
    let _back = Origin::named_at(&address, "back");
    until("the server that is back gets a request", || get(rsp.address(), "/").text() == "back");
    let mut shares = [0; 2];
    for _ in 0..20 {
        shares[usize::from(get(rsp.address(), "/").text() == "back")] += 1;
    }
    assert_eq!(shares, [10, 10]);
}

#[test]
fn an_only_server_is_tried_at_once_although_it_refused_before() {
    let address = format!("127.0.0.1:{}", free_port());
    let rsp = Rsp::over(&[&address]);
    for _ in 0..5 {
        assert_eq!(get(rsp.address(), "/").status(), 502);
    }
    let _origin = Origin::named_at(&address, "back");
    assert_eq!(get(rsp.address(), "/").text(), "back");
}

#[test]
fn a_server_killed_under_load_costs_no_get_an_error() {
    let dying = Origin::named("dying");
    let origin = Origin::named("alive");
    let rsp = Rsp::over(&[&dying.address, &origin.address]);
    let asked = Arc::new(AtomicUsize::new(0));
    let address = rsp.address().to_string();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, asked) = (address.clone(), asked.clone());
            std::thread::spawn(move || {
                let mut statuses = Vec::new();
                let mut client = Client::connect(&address);
                for _ in 0..300 {
                    statuses.push(client.get("/").status());
                    asked.fetch_add(1, Ordering::SeqCst);
                }
                statuses
            })
        })
        .collect();
    until("the load is on", || asked.load(Ordering::SeqCst) > 200);
    drop(dying);
    let statuses: Vec<u16> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let failed = statuses.iter().filter(|status| **status != 200).count();
    assert_eq!(failed, 0, "of {}", statuses.len());
}
