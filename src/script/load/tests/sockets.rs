//! The keys of socket options.

use super::{error, load_text};
use crate::config::{BACKLOG, SocketOptions};

#[test]
fn socket_options_are_set_for_each_listener_and_pool() {
    let config = load_text(
        "rsp.listen '127.0.0.1:1'
         rsp.listen { '127.0.0.1:2', backlog = 100, defer_accept = true, receive_buffer = '64k', busy_poll = 50 }
         rsp.pool { servers = { '127.0.0.1:3' } }
         rsp.pool { servers = { '127.0.0.1:4' }, receive_buffer = 4096, send_buffer = '1g', busy_poll = 1 }
         rsp.on_request(function() return 'pool1' end)",
    )
    .unwrap();
    let told =
        |receive_buffer, send_buffer, busy_poll| SocketOptions { receive_buffer, send_buffer, busy_poll };
    let listeners: Vec<_> = config.listeners.iter().map(|l| (l.backlog, l.defer_accept, l.sockets)).collect();
    assert_eq!(
        listeners,
        [(BACKLOG, false, told(None, None, None)), (100, true, told(Some(65_536), None, Some(50))),]
    );
    let pools: Vec<_> = config.pools.iter().map(|pool| pool.sockets).collect();
    assert_eq!(pools, [told(None, None, None), told(Some(4096), Some(1 << 30), Some(1))]);
}

#[test]
fn values_out_of_range_or_of_another_type_are_errors() {
    let size = "expected a size from \"4k\" to \"1g\"";
    let cases = [
        ("backlog = 0", "backlog: got 0, expected a whole number from 1 to 65535"),
        ("backlog = '4k'", "backlog: got \"4k\", expected a whole number from 1 to 65535"),
        ("defer_accept = 1", "defer_accept: got 1, expected true or false"),
        ("receive_buffer = '64'", &format!("receive_buffer: got \"64\", {size}")),
        ("send_buffer = 1", &format!("send_buffer: got 1, {size}")),
        ("send_buffer = '2g'", &format!("send_buffer: got \"2g\", {size}")),
        ("busy_poll = '50us'", "busy_poll: got \"50us\", expected a whole number from 1 to 10000"),
        ("recieve_buffer = '64k'", "recieve_buffer: unknown listener key, did you mean receive_buffer?"),
        ("deferaccept = true", "deferaccept: unknown listener key, did you mean defer_accept?"),
    ];
    for (key, message) in cases {
        let text = format!("rsp.listen {{ '127.0.0.1:0',\n {key} }}");
        assert_eq!(error(&text), format!("site.lua:2: {message}"));
    }
    let pool = "rsp.pool { servers = { '127.0.0.1:1' },\n sendbuffer = 1 }";
    assert_eq!(error(pool), "site.lua:2: sendbuffer: unknown pool key, did you mean send_buffer?");
}

#[test]
fn a_unix_listener_has_no_tcp_options() {
    for key in ["defer_accept = true", "receive_buffer = '64k'", "send_buffer = '64k'", "busy_poll = 50"] {
        let name = key.split(' ').next().unwrap();
        assert_eq!(
            error(&format!("rsp.listen {{ 'unix:/tmp/none.sock',\n {key} }}")),
            format!(
                "site.lua:2: {name}: a unix socket has none, expected a TCP address such as \"0.0.0.0:80\""
            )
        );
    }
    let text = "rsp.listen { 'unix:/tmp/none.sock', backlog = 7 } rsp.pool { servers = { '127.0.0.1:1' } }";
    assert_eq!(load_text(text).unwrap().listeners[0].backlog, 7);
}

#[test]
fn a_pool_of_unix_sockets_has_no_tcp_options() {
    for key in ["receive_buffer = '64k'", "send_buffer = '64k'", "busy_poll = 50"] {
        let name = key.split(' ').next().unwrap();
        assert_eq!(
            error(&format!("rsp.pool {{ servers = {{ 'unix:/tmp/a.sock', 'unix:/tmp/b.sock' }},\n {key} }}")),
            format!(
                "site.lua:2: {name}: a unix socket has none, \
                 expected a server with a TCP address such as \"127.0.0.1:8080\""
            )
        );
    }
    let mixed = "rsp.listen '127.0.0.1:1'
                 rsp.pool { servers = { 'unix:/tmp/a.sock', '127.0.0.1:1' }, busy_poll = 7 }";
    assert_eq!(load_text(mixed).unwrap().pools[0].sockets.busy_poll, Some(7));
}
