//! gunicorn with one sync worker, which serves one connection at a time, behind rsp that buffers: clients that read or
//! upload slowly do not keep it from others.

use crate::support::*;

const DOWN: u64 = 6_000_000;
const UP: u64 = 1_000_000;
const CLIENTS: u64 = 5;

/// A file at `/large`, a word at any other path; an upload is answered with its size and SHA-256.
const APP: &str = "
import hashlib

def app(environ, start_response):
    if environ['REQUEST_METHOD'] == 'POST':
        body = environ['wsgi.input'].read()
        body = f'{len(body)} {hashlib.sha256(body).hexdigest()}'.encode()
    elif environ['PATH_INFO'] == '/large':
        body = open('large.bin', 'rb').read()
    else:
        body = b'small'
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
";

fn gunicorn() -> Program {
    Program::start("gunicorn", &|directory, port| {
        directory.write("slow.py", APP);
        directory.write("large.bin", content_bytes(1, DOWN));
        let (folder, bind) = (directory.path().display().to_string(), format!("127.0.0.1:{port}"));
        let words =
            ["--worker-class", "sync", "--workers", "1", "--chdir", &folder, "--bind", &bind, "slow:app"];
        words.map(String::from).to_vec()
    })
}

fn buffering(server: &str) -> Rsp {
    Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ servers = {{ {{ {server:?}, max_connections = 1 }} }}, queue = {{ timeout = '90s' }},
           buffer_request = '2m', buffer_response = '8m' }}"
    )))
}

#[test]
fn slow_readers_do_not_keep_gunicorn_from_others_and_get_everything() {
    if !have(&["gunicorn"]) {
        return;
    }
    let gunicorn = gunicorn();
    let rsp = buffering(&gunicorn.address);
    let mut slow: Vec<Client> =
        (0..CLIENTS).map(|_| Client::connect_with_small_buffer(rsp.address())).collect();
    for client in &mut slow {
        client.ask("/large");
        assert_eq!(client.head().status(), 200);
        assert_eq!(get(rsp.address(), "/").text(), "small", "answered while they still read");
    }
    for mut client in slow {
        client.widen();
        let mut body = Vec::new();
        client
            .wire
            .body(Framing::Exact(DOWN), &mut |piece| body.extend_from_slice(piece))
            .expect("all of it");
        assert_eq!(hash_of(&body), content_hash(1, DOWN));
    }
}

#[test]
fn slow_uploads_do_not_keep_gunicorn_from_others_and_arrive_whole() {
    if !have(&["gunicorn"]) {
        return;
    }
    let gunicorn = gunicorn();
    let rsp = buffering(&gunicorn.address);
    let mut slow: Vec<(Client, Vec<u8>)> =
        (0..CLIENTS).map(|seed| (Client::connect(rsp.address()), content_bytes(seed, UP))).collect();
    let half = UP as usize / 2;
    for (client, body) in &mut slow {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {UP}\r\n\r\n"));
        client.send(&body[..half]);
        assert_eq!(get(rsp.address(), "/").text(), "small", "answered while they still upload");
    }
    for (client, body) in &mut slow {
        assert_eq!(client.send(&body[half..]).response().text(), format!("{UP} {}", hash_of(body)));
    }
}
