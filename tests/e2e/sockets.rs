//! Socket options of the config: set if the kernel allows, warned about if not, and no byte is lost with any of them.

use crate::support::{Client, Origin, Rsp, balanced};

const ANSWER: &str = "rsp.pool { servers = { '127.0.0.1:1' } }
    rsp.on_request(function() return rsp.respond { body = 'here' } end)";

#[test]
fn options_that_the_kernel_does_not_grant_are_warnings() {
    let rsp = Rsp::start(
        "rsp.listen { '127.0.0.1:0', send_buffer = '1g', backlog = 65535 }
         rsp.pool { name = 'web', servers = { '127.0.0.1:1' }, receive_buffer = '1g' }
         rsp.on_request(function() return rsp.respond { body = 'here' } end)",
    );
    rsp.wait_for_log("WARN 127.0.0.1:0: send_buffer lowered from 1073741824 to ");
    rsp.wait_for_log("WARN pool web: receive_buffer lowered from 1073741824 to ");
    assert_eq!(Client::connect(rsp.address()).get("/").text(), "here");
    rsp.stop();
}

#[test]
fn large_bodies_pass_whole_through_the_smallest_buffers() {
    let origin = Origin::echo();
    let rsp = Rsp::start(&format!(
        "rsp.listen {{ '127.0.0.1:0', receive_buffer = '4k', send_buffer = '4k' }}
         rsp.pool {{ servers = {{ '{}' }}, receive_buffer = '4k', send_buffer = '4k' }}",
        origin.address
    ));
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let response = Client::connect(rsp.address()).post("/", &body);
    assert!(response.body == body, "{} bytes came back", response.body.len());
}

#[test]
fn a_silent_client_is_closed_with_deferred_accept() {
    let rsp = Rsp::start(&format!(
        "rsp.listen {{ '127.0.0.1:0', defer_accept = true }} {ANSWER}
         rsp.settings {{ timeouts = {{ head = '200ms' }} }}"
    ));
    Client::connect(rsp.address()).expect_end();
}

#[test]
fn a_deferred_connection_may_begin_with_a_proxy_header() {
    let rsp = Rsp::start(&format!(
        "rsp.listen {{ '127.0.0.1:0', defer_accept = true, proxy_protocol = true }} {}
         rsp.settings {{ trusted = {{ '127.0.0.1' }} }}",
        ANSWER.replace("'here'", "req.client_ip").replace("function()", "function(req)")
    ));
    let mut client = Client::connect(rsp.address());
    client.send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n");
    assert_eq!(client.get("/").text(), "192.0.2.7");
}

#[test]
fn hundreds_of_waiting_connections_are_all_accepted() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let rsp = Rsp::start(&balanced(&[&origin.address]));
    rsp.signal(libc::SIGSTOP);
    let mut clients: Vec<Client> = (0..300).map(|_| Client::connect(rsp.address())).collect();
    rsp.signal(libc::SIGCONT);
    // From the last to the first: a forgotten one would be found.
    clients.iter_mut().rev().for_each(|client| assert_eq!(client.get("/").text(), "hello"));
}
