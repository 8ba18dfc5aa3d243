//! Servers written in Python: one that does not read trailers, and one that behaves like docker.

use crate::support::*;

/// A server written in Python behind rsp; run by Debian's interpreter, which has Debian's packages.
fn python(script: &str) -> Program {
    let script = script.to_string();
    Program::start("/usr/bin/python3", &move |directory, port| {
        vec![directory.write("server.py", &script).display().to_string(), port.to_string()]
    })
}

/// Answers each request with its path. cheroot reads a chunked body up to its last chunk and no further.
const CHEROOT: &str = r#"
import sys
from cheroot import wsgi

def answer(environ, start_response):
    environ["wsgi.input"].read()
    body = environ["PATH_INFO"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

wsgi.Server(("127.0.0.1", int(sys.argv[1])), answer).start()
"#;

#[test]
fn trailers_do_not_become_a_request_to_a_server_that_does_not_read_them() {
    if !have(&["/usr/bin/python3", "/usr/lib/python3/dist-packages/cheroot/wsgi.py"]) {
        return;
    }
    let server = python(CHEROOT);
    let rsp = Rsp::over(&[&server.address]);
    let (mut evil, mut victim) = (Client::connect(rsp.address()), Client::connect(rsp.address()));
    for round in 0..20 {
        evil.send(
            "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\nGET: /evil HTTP/1.1\r\nHost: a\r\n\r\n",
        );
        assert_eq!(evil.response().text(), "/upload", "round {round}");
        assert_eq!(victim.get("/mine").text(), "/mine", "round {round}");
    }
}

/// `docker attach` as the daemon answers it: reads the request's body, switches, and echoes line by line.
const DOCKER: &str = r#"
import http.server, sys

class Daemon(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Upgrade") != "tcp":
            self.send_error(400)
            return
        self.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
                         b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + body + b"\n")
        for line in self.rfile:
            self.wfile.write(b"\0" + line)
        self.close_connection = True

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Daemon).serve_forever()
"#;

#[test]
fn docker_attach_passes_where_the_config_names_its_protocol() {
    if !have(&["/usr/bin/python3"]) {
        return;
    }
    let server = python(DOCKER);
    let pool = balanced(&[&server.address]);
    let attach = "POST /v1.41/containers/x/attach?stream=1 HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n\
                  Upgrade: tcp\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody";
    let rsp = Rsp::start(&format!("{pool}rsp.settings {{ upgrades = {{ \"tcp\" }} }}"));
    let mut client = Client::connect(rsp.address());
    let head = client.send(attach).head();
    assert_eq!((head.status(), head.get("upgrade")), (101, Some("tcp")));
    assert_eq!(client.wire.read_exactly(5).unwrap(), b"body\n");
    for line in ["ls\n", "GET / HTTP/1.1\n", "\u{1}\u{0}\n"] {
        client.send(line);
        assert_eq!(client.wire.read_exactly(1 + line.len()).unwrap(), [b"\0", line.as_bytes()].concat());
    }
    client.wire.finish_sending();
    client.expect_end();
    let usual = Rsp::start(&pool);
    assert_eq!(Client::connect(usual.address()).send(attach).head().status(), 400, "the wish does not pass");
}
