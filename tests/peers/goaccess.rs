//! GoAccess parses the combined log: every way in which a request can end over real sockets leaves a line that it
//! accepts.

use std::process::Command;

use rsp::exchange::end::End;

use crate::support::*;

const UPGRADE: &str = "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n";

/// Ends that need an internal fault, a limit of the whole process or of a server, or a very slow client.
const NOT_SHOWN: [End; 7] = [
    End::ScriptBusy,
    End::Internal,
    End::NoDescriptors,
    End::NoServer,
    End::QueueFull,
    End::QueueTimeout,
    End::ClientWriteRate,
];

fn site([servers, deaf, plain]: [&Origin; 3], refusing: &RefusingAddress, full: &FullListener) -> String {
    on_any_port(&format!(
        "local web = rsp.pool {{ servers = {{ {0:?} }}, timeouts = {{ response = '1s', gap = '1s' }} }}
         local patient = rsp.pool {{ servers = {{ {0:?} }} }}
         local dead = rsp.pool {{ servers = {{ {1:?} }} }}
         local full = rsp.pool {{ servers = {{ {2:?} }}, timeouts = {{ connect = '300ms' }} }}
         local deaf = rsp.pool {{ servers = {{ {3:?} }} }}
         local plain = rsp.pool {{ servers = {{ {{ 'https://{4}', verify = false }} }} }}
         rsp.on_request(function(req)
           if req.path == '/own' then return rsp.respond {{ status = tonumber(req.query), body = 'own' }} end
           if req.path == '/waits' then return patient end
           if req.path == '/deaf' then return deaf end
           if req.path == '/plain' then return plain end
           if req.path == '/dead' then return dead end
           if req.path == '/full' then return full end
           if req.path == '/plain' then return plain end
           if req.path == '/script' then error('x') end
           if req.path == '/abort' then return rsp.abort() end
           return web end)
         rsp.listen {{ '127.0.0.1:0', sni = function(name) return nil end }}
         rsp.settings {{ access_log = 'access.log', max_body = '100m', min_request_rate = '1m',
           timeouts = {{ head = '1s', body = '1s', write = '1s', tunnel = '1s', rate = '2s' }} }}",
        servers.address, refusing.address, full.address, deaf.address, plain.address
    ))
}

fn serve(visit: &mut Visit) {
    while let Some(request) = visit.request() {
        let target = request.head.target();
        match target {
            "/cut" | "/gap" => visit.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"),
            "/garbage" => visit.send("garbage\r\n\r\n"),
            "/large" => visit.send(large()),
            "/switch" => visit.send(ACCEPTED),
            "/close" | "/slow" | "/waits" => true,
            _ => {
                let status = target.strip_prefix("/status/").unwrap_or("200");
                visit.send(format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n"))
            }
        };
        match target {
            "/gap" | "/switch" | "/slow" | "/waits" => return visit.wait_for_end(),
            "/cut" | "/garbage" | "/large" | "/close" => return,
            _ => {}
        }
    }
}

/// More than all buffers on the way hold.
fn large() -> Vec<u8> {
    let size = 64 << 20;
    let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + size, b'x');
    bytes
}

/// One after the other, each on its own connection: successful requests and refused ones. Returns their number.
fn ask_whole(rsp: &Rsp) -> usize {
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET /many HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    let mut requests = vec![
        "GET / HTTP/1.1\r\nHost: a\r\nReferer: http://a/\"\\ \t\u{e9}\r\nUser-Agent: \"q\" \\x \u{e9}\t%00%22\r\n\r\n".into(),
        "GET /%00%22%0a%ff?'%5c\"\\&<>|^`{} HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET http://a/absolute HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /old HTTP/1.0\r\n\r\n".into(),
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "FROBNICATE / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody".into(),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n".into(),
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".into(),
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".into(),
        "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(),
        "GET / HTTP/3.0\r\nHost: a\r\n\r\n".into(),
        "GET /\r\n\r\n".into(),
        "GET\r\n\r\n".into(),
        "\r\n\r\n\r\n".into(),
        " \r\n\r\n".into(),
        "\"GET / HTTP/1.1\" 200 1 \"-\"\r\n\r\n".into(),
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03 and so on".into(),
        "\0\x01\x1b[31m\u{ff}\r\n\r\n".into(),
        long,
        many,
    ];
    for status in [200, 204, 206, 299, 301, 304, 404, 418, 451, 500, 503, 599, 600, 999] {
        requests.push(format!("GET /status/{status} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    for status in [200, 302, 404, 429, 503] {
        requests.push(format!("GET /own?{status} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    for path in ["/dead", "/plain", "/full", "/script", "/cut", "/gap", "/close", "/garbage", "/slow"] {
        requests.push(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    for request in &requests {
        let mut client = Client::connect(rsp.address());
        client.send(request.as_bytes());
        let _ = client.try_response();
    }
    requests.len()
}

/// Clients that stop or leave early. Returns their number.
fn ask_badly(rsp: &Rsp, servers: &Origin) -> usize {
    for begun in
        ["GET /late HTTP/1.1\r\nHos", "POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx", UPGRADE]
    {
        let mut client = Client::connect(rsp.address());
        let _ = client.send(begun).wire.head();
        let _ = client.wire.read_some(&mut [0; 1]);
    }
    let mut dripping = Client::connect(rsp.address());
    dripping.send("POST /drips HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    until("it was too slow", || {
        let _ = dripping.wire.send("x");
        !dripping.stays_open(std::time::Duration::from_millis(100))
    });
    Client::connect(rsp.address()).send("GET /leaves HTTP/1.1\r\n").wire.finish_sending();
    let leaving = [
        "POST /leaves HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx",
        "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for request in leaving {
        let before = servers.head_count();
        let mut client = Client::connect_with_small_buffer(rsp.address());
        client.send(request);
        until("it has reached the server", || servers.head_count() > before);
        client.wire.reset_on_close();
    }
    let mut not_reading = Client::connect_with_small_buffer(rsp.address());
    not_reading.ask("/large").head();
    until("rsp has closed it", || not_reading.wire.send("x").is_err());
    let mut uploading = Client::connect(rsp.address());
    uploading.send(format!("POST /deaf HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", large().len()));
    assert!(uploading.wire.send(large()).is_err(), "nobody takes all of it");
    4 + 1 + leaving.len() + 1 + 1
}

#[test]
fn goaccess_accepts_the_line_of_every_end() {
    if !have(&["goaccess"]) {
        return;
    }
    let (servers, refusing, full) = (Origin::run(serve), RefusingAddress::new(), FullListener::new());
    let done = Gate::new();
    let hears = done.clone();
    let deaf = Origin::run(move |visit| {
        visit.head();
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        hears.wait();
    });
    let plain = Origin::run(|visit| _ = visit.send("no TLS\r\n\r\n"));
    let mut rsp = Rsp::start(&site([&servers, &deaf, &plain], &refusing, &full));
    let asked = ask_whole(&rsp) + ask_badly(&rsp, &servers) + 2 + 1 + 1;
    let mut aborted = Client::connect(rsp.address());
    aborted.ask("/abort");
    aborted.expect_end();
    let unknown = TlsClient::new(&Authority::new()).try_on(Client::connect(&rsp.addresses()[1]));
    assert!(unknown.is_err_and(|error| error.to_string().contains("UnrecognisedName")));
    let before = servers.head_count();
    let mut waiting = Client::connect(rsp.address());
    waiting.ask("/waits");
    until("it waits for its response", || servers.head_count() > before);
    let mut tunnel = Client::connect(rsp.address());
    tunnel.send(UPGRADE);
    assert_eq!(tunnel.head().status(), 101);
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_log("Stopping: ");
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    done.open();
    for end in End::ALL.into_iter().filter(|end| !end.is_normal() && !NOT_SHOWN.contains(end)) {
        assert!(rsp.log().contains(&format!(" {}", end.text())), "no {}: {}", end.text(), rsp.log());
    }
    let report = report(&rsp.directory);
    for (what, count) in [("total", asked), ("valid", asked), ("failed", 0)] {
        assert!(report.contains(&format!("\"{what}_requests\": {count},")), "{what}: {report}");
    }
}

/// GoAccess's report on `access.log`, and the lines that it rejects.
fn report(directory: &Directory) -> String {
    let mut command = Command::new(find("goaccess").expect("goaccess"));
    command.current_dir(directory.path()).args([
        "access.log",
        "--log-format=COMBINED",
        "--no-global-config",
        "--no-progress",
        "--invalid-requests=rejected",
        "--output=report.json",
    ]);
    let read = run_with_input(command, b"");
    assert_eq!(read.code, Some(0), "{read:?}");
    format!("{}{}", directory.read("report.json"), directory.read("rejected"))
}
