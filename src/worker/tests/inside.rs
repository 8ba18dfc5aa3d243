//! Internal requests through the real event loop and real sockets.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Instant;

use super::*;
use crate::balance::Servers;
use crate::exchange::Failure;
use crate::exchange::end::End;
use crate::http::Method;
use crate::net::mailbox_queue;
use crate::worker::event_loop::EventLoop;
use crate::worker::pair::inside::{InsideEnd, InsideRequest, InsideTarget};
use crate::worker::{Message, Setup};

/// Starts a server that answers one request per connection, with these bytes in turn. Its thread returns the heads.
fn server(answers: &'static [&'static [u8]]) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            heads.push(String::from_utf8(head).unwrap());
            stream.write_all(answer).unwrap();
        }
        heads
    });
    (port, thread)
}

/// Makes one request to the pool through a loop without a listener. Returns how it ended.
fn ask(pool: &str, method: Method, bytes: &[u8], most: usize) -> InsideEnd {
    let text = format!("rsp.listen '127.0.0.1:1' rsp.pool {{ {pool} }}");
    let mut source = Source::in_memory(Path::new("site.lua"), text.as_bytes());
    let (config, script) = load(&mut source).map_err(|e| e.0).unwrap();
    let config = Arc::new(config);
    let Setup { servers, shared, .. } =
        Setup::each(1, &Servers::new(1), &config, &config, &source, Instant::now()).remove(0);
    let site = SiteParts { generation: 1, config, servers, script };
    let (queue, messages) = mailbox_queue();
    let (mut event_loop, waker) =
        EventLoop::new(site, Vec::new(), None, Instant::now(), messages, shared).unwrap();
    let ended = Rc::new(RefCell::new(None));
    let end = ended.clone();
    let done = Box::new(move |how| {
        *end.borrow_mut() = Some(how);
        queue.send(Message::Stop).unwrap();
        waker.wake().unwrap();
    });
    event_loop.core.request_inside(InsideRequest {
        pool: "pool1".into(),
        target: InsideTarget::Pool,
        method,
        bytes: bytes.to_vec(),
        most,
        done,
    });
    event_loop.run().unwrap();
    let counters = event_loop.counters();
    assert!(counters.all().all(|(_, count)| count == 0), "it is none of the clients' requests");
    ended.take().unwrap()
}

const GET: &[u8] = b"GET /up HTTP/1.1\r\nHost: check\r\n\r\n";

#[test]
fn an_internal_request_is_forwarded_and_returns_its_response() {
    let (port, server) = server(&[
        b"HTTP/1.1 200 OK\r\nX-Said: so\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n2\r\nne\r\n0\r\n\r\n",
    ]);
    let end = ask(&format!("servers = {{ '127.0.0.1:{port}' }}"), Method::Get, GET, 1000);
    assert_eq!((end.end, end.failure), (End::Complete, None));
    let response = end.response.unwrap();
    assert_eq!((response.head.status, &response.body[..]), (200, &b"fine"[..]));
    assert_eq!(response.head.fields.get_by_name(b"x-said"), Some(&b"so"[..]));
    let heads = server.join().unwrap();
    assert!(heads[0].starts_with("GET /up HTTP/1.1\r\nHost: check\r\n"), "{heads:?}");
    assert!(!heads[0].to_lowercase().contains("x-forwarded"), "nobody is behind it: {heads:?}");
}

#[test]
fn a_response_to_head_has_no_body() {
    let (port, _) = server(&[b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"]);
    let head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let end = ask(&format!("servers = {{ '127.0.0.1:{port}' }}"), Method::Head, head, 1000);
    assert_eq!(end.response.unwrap().body, b"");
}

#[test]
fn an_internal_request_is_retried_and_a_failure_has_no_response() {
    let (port, _server) = server(&[b"HTTP/1.1 204 No Content\r\n\r\n"]);
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let end = ask(&format!("servers = {{ '{refusing}', '127.0.0.1:{port}' }}"), Method::Get, GET, 1000);
    assert_eq!(end.response.map(|response| response.head.status), Some(204));
    let end = ask(&format!("servers = {{ '{refusing}' }}"), Method::Get, GET, 1000);
    assert_eq!((end.end, end.failure), (End::ServerRefused, Some(Failure::Refused)));
    assert!(end.response.is_none());
}

#[test]
fn a_cut_response_is_not_returned_and_of_one_that_is_too_long_the_first_part() {
    let (port, _server) = server(&[b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"]);
    let end = ask(&format!("servers = {{ '127.0.0.1:{port}' }}"), Method::Get, GET, 1000);
    assert_eq!(end.end, End::ServerCutResponse);
    assert!(end.response.is_none() && !end.too_long);
    let (port, _server) = server(&[
        b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n01234567890123456789012345678901234567890123456789\
        01234567890123456789012345678901234567890123456789\
        01234567890123456789012345678901234567890123456789\
        01234567890123456789012345678901234567890123456789",
    ]);
    let end = ask(&format!("servers = {{ '127.0.0.1:{port}' }}"), Method::Get, GET, 150);
    assert!(end.too_long);
    let response = end.response.expect("its head is whole");
    assert_eq!(response.head.status, 200);
    assert!(!response.body.is_empty() && response.body.len() < 200);
}

#[test]
fn a_silent_server_ends_an_internal_request_by_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pool = format!("servers = {{ '127.0.0.1:{port}' }}, timeouts = {{ response = '200ms' }}");
    assert_eq!(ask(&pool, Method::Get, GET, 1000).end, End::ServerResponseTimeout);
}
