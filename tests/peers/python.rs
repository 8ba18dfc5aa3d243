//! Servers written in Python: one that leaves trailers unread.

use crate::support::*;

/// A server written in Python behind rsp; by Debian's, which has Debian's packages.
fn python(script: &str) -> Program {
    let script = script.to_string();
    Program::start("/usr/bin/python3", &move |directory, port| {
        vec![directory.write("server.py", &script).display().to_string(), port.to_string()]
    })
}

/// Answers each request with its path. cheroot takes a chunked body to its last chunk and not further.
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
fn trailers_are_no_request_to_a_server_that_leaves_them_unread() {
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
