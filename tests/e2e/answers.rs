//! Answers of scripts that are larger than a client's output buffer.

use crate::support::*;

const SIZE: usize = 4 << 20;

/// Answers every request with the same page. Its bytes repeat every 251, so that a lost, repeated or misplaced piece
/// is noticed.
fn site() -> Rsp {
    Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ servers = {{ '127.0.0.1:1' }} }}
         local bytes = {{}}
         for i = 0, 250 do bytes[i + 1] = string.char(i) end
         local page = table.concat(bytes):rep({SIZE} // 251 + 1):sub(1, {SIZE})
         local kept = rsp.respond {{ body = page }}
         rsp.on_request(function(req)
           if req.path == '/small' then return rsp.respond {{ body = 'small' }} end
           if req.path == '/new' then return rsp.respond {{ body = page }} end
           return kept
         end)
         rsp.settings {{ access_log = {{ path = \"-\", format = \"rsp\" }} }}"
    )))
}

fn is_page(bytes: &[u8]) -> bool {
    bytes.len() == SIZE && bytes.iter().enumerate().all(|(i, byte)| usize::from(*byte) == i % 251)
}

#[test]
fn a_large_answer_is_complete_and_the_connection_stays_open() {
    let rsp = site();
    let mut client = Client::connect(rsp.address());
    // The second request arrives before the first is answered.
    client.ask("/").ask("/small");
    assert!(is_page(&client.response().body));
    assert_eq!(client.response().text(), "small");
    assert!(is_page(&client.get("/new").body));
    rsp.wait_for_output(&format!("sent={SIZE} "));
}

#[test]
fn a_large_answer_to_head_has_its_length_and_no_body() {
    let rsp = site();
    let mut client = Client::connect(rsp.address());
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.response_to("HEAD");
    assert_eq!((answer.get("content-length"), answer.body.len()), (Some(SIZE.to_string().as_str()), 0));
    assert_eq!(client.get("/small").text(), "small");
    rsp.wait_for_output("sent=0 ");
}

#[test]
fn a_large_answer_to_http_10_is_complete_before_the_close() {
    let rsp = site();
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(is_page(&client.response().body));
    client.expect_end();
}

#[test]
fn clients_that_do_not_read_the_same_answer_share_one_copy() {
    const CLIENTS: usize = 60;
    for path in ["/", "/new"] {
        let rsp = site();
        get(rsp.address(), path);
        let before = settled_memory_kib(rsp.pid());
        // One after the other: a client that says nothing for too long is closed.
        let ask = |_| {
            let mut client = Client::connect_with_small_buffer(rsp.address());
            client.ask(path);
            assert_eq!(client.head().status(), 200);
            client
        };
        let mut clients: Vec<Client> = (0..CLIENTS).map(ask).collect();
        let each = settled_memory_kib(rsp.pid()).saturating_sub(before) / CLIENTS as u64;
        // A block and its share of the copy; answers made anew also include what Lua has not collected yet.
        assert!(each < 2048, "{path}: {each} KiB for each client");
        for client in clients.iter_mut().take(3) {
            client.widen();
            let mut body = vec![0; SIZE];
            let mut at = 0;
            while at < SIZE {
                let n = client.wire.read_some(&mut body[at..]).expect("the body");
                assert!(n > 0, "cut after {at} bytes");
                at += n;
            }
            assert!(is_page(&body));
        }
    }
}
