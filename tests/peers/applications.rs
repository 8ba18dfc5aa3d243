//! Applications behind rsp: gunicorn whose application raises in the middle of its response, node that answers before
//! it has read the request.

use crate::support::*;

/// Writes a file into the program's directory before it starts, and returns its path.
fn script(directory: &Directory, name: &str, text: &str) -> String {
    directory.write(name, text);
    directory.join(name).display().to_string()
}

/// Yields a body without a length and raises.
const RAISING: &str = "
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    yield b'x' * 9000
    raise RuntimeError('in the middle')
";

#[test]
fn what_gunicorn_sent_before_its_application_raised_is_delivered() {
    if !have(&["gunicorn"]) {
        return;
    }
    let gunicorn = Program::start("gunicorn", &|directory, port| {
        script(directory, "raising.py", RAISING);
        let (folder, bind) = (directory.path().display().to_string(), format!("127.0.0.1:{port}"));
        let threads = ["--worker-class", "gthread", "--threads", "4", "--workers", "1"].map(String::from);
        let place = ["--chdir".into(), folder, "--bind".into(), bind, "raising:app".into()];
        [&threads[..], &place].concat()
    });
    let rsp = Rsp::over(&[&gunicorn.address]);
    for _ in 0..20 {
        let mut client = Client::connect(rsp.address());
        client.ask("/");
        assert_eq!(client.head().status(), 200);
        let mut bytes = Vec::new();
        // Up to the end, which must be a FIN.
        client
            .wire
            .body(Framing::UntilClose, &mut |piece| bytes.extend_from_slice(piece))
            .expect("a plain end");
        assert_eq!(bytes.iter().filter(|byte| **byte == b'x').count(), 9000);
        assert!(!bytes.ends_with(b"0\r\n\r\n"), "the last chunk would say that it is whole");
    }
}

/// Answers at once, reads on, and reports at `/` how much has arrived.
const ACCEPTING: &str = "
let got = 0;
require('http').createServer((req, res) => {
  if (req.method === 'POST') {
    res.writeHead(202, { 'Content-Length': 2 });
    res.end('ok');
    req.on('data', (data) => { got += data.length; });
  } else {
    res.end(String(got));
  }
}).listen(Number(process.argv[2]), '127.0.0.1');
";

#[test]
fn node_that_answers_early_gets_the_whole_upload() {
    const SIZE: usize = 20_000_000;
    if !have(&["node"]) {
        return;
    }
    let node = Program::start("node", &|directory, port| {
        vec![script(directory, "accepting.js", ACCEPTING), port.to_string()]
    });
    let rsp = Rsp::over(&[&node.address]);
    let mut client = Client::connect(rsp.address());
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    let answer = client.send(vec![b'b'; 1000]).response();
    assert_eq!((answer.status(), answer.head.says("connection", "close")), (202, false));
    client.send(vec![b'b'; SIZE - 1000]);
    until("node has all of it", || get(rsp.address(), "/").text() == SIZE.to_string());
    assert_eq!(client.get("/").status(), 200, "the client's connection goes on");
}
