//! The access log in both formats, and the error log, which never has a line a request.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use crate::support::*;

fn with_log(origin: &str, setting: &str) -> Rsp {
    Rsp::start(&format!("{}rsp.settings {{ access_log = {setting} }}", balanced(&[origin])))
}

const REQUEST: &str = "GET /page?x=1 HTTP/1.1\r\nHost: example.com\r\nReferer: http://from/\r\nUser-Agent: \
                       tester/1.0 (a \"quoted\" word)\r\n\r\n";

/// Checks a line of Apache's combined format part by part and returns (request, status, bytes, referer, agent).
fn parse_combined(line: &str) -> [String; 5] {
    let (address, rest) = line.split_once(" - - [").unwrap_or_else(|| panic!("no combined line: {line}"));
    assert_eq!(address, "127.0.0.1");
    let (time, rest) = rest.split_once("] \"").expect("a time");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape.replace(|c: char| c.is_ascii_alphabetic(), "A"), "99/AAA/9999:99:99:99 +9999");
    let (request, rest) = rest.split_once("\" ").expect("a request");
    let (numbers, quoted) = rest.split_once(" \"").expect("a referer");
    let (status, bytes) = numbers.split_once(' ').expect("status and bytes");
    let (referer, agent) =
        quoted.strip_suffix('"').expect("a final quote").split_once("\" \"").expect("an agent");
    [request, status, bytes, referer, agent].map(String::from)
}

#[test]
fn the_combined_format_is_written_to_a_file() {
    let origin = Origin::named("hello");
    let rsp = with_log(&origin.address, "\"access.log\"");
    Client::connect(rsp.address()).send(REQUEST).response();
    until("the line is written", || rsp.directory.read("access.log").ends_with('\n'));
    let log = rsp.directory.read("access.log");
    assert_eq!(log.lines().count(), 1);
    let [request, status, bytes, referer, agent] = parse_combined(log.trim_end());
    assert_eq!(request, "GET /page?x=1 HTTP/1.1");
    assert_eq!((status.as_str(), bytes.as_str(), referer.as_str()), ("200", "5", "http://from/"));
    assert!(
        agent.starts_with("tester/1.0 (a ") && !agent.contains(" \"quoted\" "),
        "quotes are escaped: {agent}"
    );
}

#[test]
fn the_combined_format_is_written_to_stdout() {
    let origin = Origin::named("hello");
    let rsp = with_log(&origin.address, "\"-\"");
    for number in 0..20 {
        get(rsp.address(), &format!("/{number}"));
    }
    until("twenty lines are written", || rsp.output().lines().count() == 20);
    for (number, line) in rsp.output().lines().enumerate() {
        let [request, _, _, referer, agent] = parse_combined(line);
        assert_eq!(request, format!("GET /{number} HTTP/1.1"));
        assert_eq!((referer.as_str(), agent.as_str()), ("-", "-"));
    }
}

#[test]
fn the_rsp_format_adds_pool_server_times_and_the_reason_of_the_end() {
    let origin = Origin::named("hello");
    let config = format!(
        "rsp.pool {{ name = \"web\", servers = {{ {{ {:?}, name = \"app1\" }} }} }}
         rsp.settings {{ access_log = {{ path = \"-\", format = \"rsp\" }} }}",
        origin.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    Client::connect(rsp.address()).post("/page", "12345678");
    rsp.wait_for_output("\n");
    let line = rsp.output();
    let id = origin.last().get("x-request-id").unwrap().to_string();
    for part in ["/page", "200", "web", "app1", "complete", id.as_str(), "sent=5", "received=8"] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
}

#[test]
fn every_end_has_its_reason_in_the_rsp_format() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            match request.head.target() {
                "/cut" => {
                    visit.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
                    return;
                }
                "/close" => return,
                "/garbage" => {
                    visit.send("garbage\r\n\r\n");
                    return;
                }
                "/slow" => return visit.wait_for_end(),
                _ => visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            };
        }
    });
    let refusing = RefusingAddress::new();
    let config = format!(
        "local web = rsp.pool {{ servers = {{ {:?} }}, timeouts = {{ response = \"2s\" }} }}
         local dead = rsp.pool {{ servers = {{ {:?} }} }}
         rsp.on_request(function(req)
           if req.path == '/own' then return rsp.respond {{ status = 200 }} end
           if req.path == '/dead' then return dead end
           if req.path == '/script' then error('x') end
           return web end)
         rsp.settings {{ access_log = {{ path = \"-\", format = \"rsp\" }}, timeouts = {{ head = \"2s\" }} }}",
        origin.address, refusing.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    for (path, end) in [
        ("/", "by=- phase=- end=complete"),
        ("/own", "by=rsp phase=- end=answered"),
        ("/dead", "by=server phase=connect end=server-refused"),
        ("/script", "by=rsp phase=request end=script-failed"),
        ("/cut", "by=server phase=data end=server-cut-response"),
        ("/close", "by=server phase=headers end=server-closed"),
        ("/garbage", "by=server phase=headers end=server-bad-response"),
        ("/slow", "by=server phase=headers end=server-response-timeout"),
    ] {
        let _ = Client::connect(rsp.address()).ask(path).try_response();
        until(&format!("{path} is logged as {end}"), || {
            rsp.output()
                .lines()
                .any(|line| line.contains(&format!(" {path} ")) || line.contains(&format!(" {path}\"")))
        });
        let output = rsp.output();
        let line = output.lines().last().unwrap();
        assert!(line.contains(end), "{path}: no {end} in {line}");
    }
    Client::connect(rsp.address()).send("nonsense\r\n\r\n").response();
    rsp.wait_for_output("by=client phase=request end=client-bad-request");
    Client::connect(rsp.address()).send("GET / HTTP/1.1\r\n").response();
    rsp.wait_for_output("by=client phase=request end=client-head-timeout");
    let before = origin.head_count();
    let mut leaving = Client::connect(rsp.address());
    leaving.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart");
    until("the upload reached the origin", || origin.head_count() > before);
    leaving.wire.reset_on_close();
    drop(leaving);
    rsp.wait_for_output("by=client phase=body end=client-cut-request");
}

#[test]
fn a_client_that_leaves_during_the_response_is_logged_as_such() {
    let origin = bodies(Uploads::default());
    let rsp = with_log(&origin.address, "{ path = \"-\", format = \"rsp\" }");
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.ask("/length/50000000/1").head();
    client.wire.reset_on_close();
    drop(client);
    rsp.wait_for_output("by=client phase=data end=client-cut-response");
}

#[test]
fn a_client_that_leaves_within_its_head_is_logged_and_a_silent_one_is_not() {
    let origin = Origin::named("never");
    let mut rsp = with_log(&origin.address, "{ path = \"-\", format = \"rsp\" }");
    drop(Client::connect(rsp.address()));
    Client::connect(rsp.address()).send("GET / HTTP/1.1\r\nHost:").wire.finish_sending();
    rsp.wait_for_output("by=client phase=request end=client-cut-request");
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    assert_eq!(rsp.output().lines().count(), 1, "{}", rsp.output());
    assert!(rsp.log().contains("Abnormal ends since start: 1 client-cut-request\n"));
}

#[test]
fn a_malformed_request_is_logged_with_its_first_line_and_the_reason() {
    let origin = Origin::named("never");
    let (combined, rsp) =
        (with_log(&origin.address, "\"-\""), with_log(&origin.address, "{ path = \"-\", format = \"rsp\" }"));
    for (sent, line, why) in [
        ("\x01\x02\"\x03\r\n\r\n", "\\x01\\x02\\x22\\x03", "malformed start line"),
        ("GET /a HTTP/1.1\r\nHost : a\r\n\r\n", "GET /a HTTP/1.1", "malformed header field"),
        ("GET /a HTTP/3.0\r\nHost: a\r\n\r\n", "GET /a HTTP/3.0", "unsupported HTTP version"),
        ("\x16\x03\x01\x02\0\x01", "\\x16\\x03\\x01\\x02\\x00\\x01", "TLS hello on a plain HTTP port"),
    ] {
        for (running, is_combined) in [(&combined, true), (&rsp, false)] {
            let before = running.output().len();
            let status = Client::connect(running.address()).send(sent).response().status();
            until("its line is written", || running.output()[before..].ends_with('\n'));
            let logged = running.output()[before..].trim_end().to_string();
            if is_combined {
                let [request, logged_status, _, referer, agent] = parse_combined(&logged);
                assert_eq!((request.as_str(), logged_status), (line, status.to_string()));
                assert_eq!((referer.as_str(), agent.as_str()), ("-", why));
            } else {
                assert!(logged.contains(&format!(" request=\"{line}\" host=- status={status} ")), "{logged}");
                assert!(logged.ends_with(&format!(" end=client-bad-request detail=\"{why}\"")), "{logged}");
            }
        }
    }
}

#[test]
fn an_unanswered_request_has_the_status_of_the_party_that_caused_it() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.wait_for_end();
    });
    let rsp = with_log(&origin.address, "\"-\"");
    let mut leaving = Client::connect(rsp.address());
    leaving.ask("/leaves");
    origin.wait_for_requests(1);
    leaving.wire.reset_on_close();
    drop(leaving);
    rsp.wait_for_output("\"GET /leaves HTTP/1.1\" 499 0 ");
    let mut uploading = Client::connect(rsp.address());
    uploading.send("POST /uploads HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart");
    until("the upload reached the origin", || origin.head_count() == 2);
    uploading.wire.reset_on_close();
    drop(uploading);
    rsp.wait_for_output("\"POST /uploads HTTP/1.1\" 400 0 ");
    Client::connect(rsp.address()).send("GET /cut HTTP/1.1\r\nHost:").wire.finish_sending();
    rsp.wait_for_output("\"GET /cut HTTP/1.1\" 400 0 ");
    let mut waiting = Client::connect(rsp.address());
    waiting.ask("/stopped");
    origin.wait_for_requests(2);
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_log("Stopping: ");
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_output("\"GET /stopped HTTP/1.1\" 503 0 ");
}

#[test]
fn a_malformed_response_is_logged_with_the_reason() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    });
    let rsp = with_log(&origin.address, "{ path = \"-\", format = \"rsp\" }");
    assert_eq!(get(rsp.address(), "/").status(), 502);
    rsp.wait_for_output(" end=server-bad-response detail=\"malformed start line\"\n");
}

#[test]
fn a_hostile_request_cannot_forge_a_line() {
    let origin = Origin::named("ok");
    let rsp = with_log(&origin.address, "\"-\"");
    let request = "GET /a\"%0d%0a\\x HTTP/1.1\r\nHost: a\r\nUser-Agent: \u{1b}[31mred\t\"x\r\n\r\n";
    let _ = Client::connect(rsp.address()).send(request).try_response();
    rsp.wait_for_output("\n");
    let output = rsp.output();
    assert_eq!(output.lines().count(), 1);
    assert!(!output.contains('\u{1b}'), "{output:?}");
}

/// A directory with a named pipe.
fn with_pipe(name: &str) -> Directory {
    let directory = Directory::new();
    make_pipe(&directory.join(name));
    directory
}

#[test]
fn a_pipe_without_a_reader_is_an_error_at_start() {
    let directory = with_pipe("log");
    directory
        .write("site.lua", format!("{}rsp.settings {{ access_log = 'log' }}", balanced(&["127.0.0.1:1"])));
    let started = run(directory.path(), &["site.lua"]);
    assert_eq!(started.code, Some(1), "{started:?}");
    let said = "cannot open access log log: nobody reads this pipe (start its reader first)";
    assert!(started.stderr.contains(said), "{started:?}");
}

#[test]
fn lines_not_written_to_a_pipe_before_the_stop_are_counted() {
    let (origin, directory) = (Origin::named("ok"), with_pipe("log"));
    let mut reader = std::fs::OpenOptions::new();
    let mut reader =
        reader.read(true).custom_flags(libc::O_NONBLOCK).open(directory.join("log")).expect("a pipe");
    let config = format!("{}rsp.settings {{ access_log = 'log' }}", balanced(&[&origin.address]));
    let mut rsp = Rsp::start_in(directory, &config);
    let mut client = Client::connect(rsp.address());
    let long = "x".repeat(1_000);
    for number in 0..300 {
        client.get(&format!("/{number}/{long}"));
    }
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    let mut taken = String::new();
    reader.read_to_string(&mut taken).expect("all that is in the pipe, whose writer is gone");
    for (number, line) in taken.lines().enumerate() {
        assert!(line.contains(&format!("\"GET /{number}/{long} HTTP/1.1\" 200 2 ")), "{line}");
    }
    let taken = taken.lines().count() as u64;
    assert_eq!(numbers(&rsp.log(), "access log: "), [300 - taken], "{taken} lines taken: {}", rsp.log());
}

/// The numbers after `before` in the log lines that contain it.
fn numbers(log: &str, before: &str) -> Vec<u64> {
    let behind = log.lines().filter_map(|line| line.split_once(before)).map(|(_, rest)| rest);
    behind.map(|rest| rest.split(' ').next().unwrap_or_default().parse().expect("a number")).collect()
}

#[test]
fn answers_with_502_are_logged_rarely_by_pool_and_reason_with_their_number() {
    for workers in [1, 2] {
        let (refusing, closing) = (RefusingAddress::new(), Origin::run(|visit| _ = visit.request()));
        let config = format!(
            "local closing = rsp.pool {{ name = 'closing', servers = {{ {{ {:?}, name = 'app1' }} }} }}
             local dead = rsp.pool {{ name = 'dead', servers = {{ {:?} }} }}
             rsp.on_request(function(req) return req.path == '/dead' and dead or closing end)
             rsp.settings {{ workers = {workers} }}",
            closing.address, refusing.address
        );
        let (mut rsp, since) = (Rsp::start(&on_any_port(&config)), Instant::now());
        for _ in 0..50 {
            for path in ["/dead", "/closing"] {
                assert_eq!(get(rsp.address(), path).status(), 502);
            }
        }
        rsp.wait_for_log(
            "pool dead: 1 request answered with 502, server-refused: no server accepted the connection",
        );
        rsp.wait_for_log(
            "pool closing: 1 request answered with 502, server-closed: the server closed the connection",
        );
        rsp.signal(libc::SIGTERM);
        rsp.wait_for_exit();
        let log = rsp.log();
        for pool in ["pool dead: ", "pool closing: "] {
            let told = numbers(&log, pool);
            // And one for each worker at its end.
            assert!(told.len() as u64 <= 1 + workers + since.elapsed().as_secs() / 10, "{log}");
            assert_eq!(told.iter().sum::<u64>(), 50, "{log}");
        }
        assert!(log.contains("(the last one's server: app1)"), "{log}");
    }
}

#[test]
fn there_is_no_access_log_by_default_and_the_error_log_has_no_line_a_request() {
    let origin = Origin::named("ok");
    let mut rsp = Rsp::over(&[&origin.address]);
    for _ in 0..50 {
        get(rsp.address(), "/");
    }
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    let lines = rsp.log().lines().count();
    assert!(lines < 10, "{lines} lines for its start, 50 requests and its end: {}", rsp.log());
    assert_eq!(rsp.output(), "");
}

#[test]
fn usr1_reopens_the_access_log_after_it_was_moved() {
    let origin = Origin::named("ok");
    let rsp = with_log(&origin.address, "\"access.log\"");
    get(rsp.address(), "/before");
    until("the first line is written", || rsp.directory.read("access.log").contains("/before"));
    std::fs::rename(rsp.directory.join("access.log"), rsp.directory.join("access.log.1")).unwrap();
    rsp.signal(libc::SIGUSR1);
    until("the file is there again", || rsp.directory.join("access.log").exists());
    get(rsp.address(), "/after");
    until("the second line is written", || rsp.directory.read("access.log").contains("/after"));
    assert!(!rsp.directory.read("access.log.1").contains("/after"));
}

#[test]
fn every_request_of_a_burst_is_in_the_log_when_rsp_has_stopped() {
    let origin = Origin::named("ok");
    let mut rsp = with_log(&origin.address, "\"access.log\"");
    let mut client = Client::connect(rsp.address());
    for number in 0..3_000 {
        client.get(&format!("/{number}"));
    }
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    let log = rsp.directory.read("access.log");
    for (number, line) in log.lines().enumerate() {
        assert!(line.contains(&format!("GET /{number} HTTP/1.1")), "{line}");
    }
    assert_eq!(log.lines().count(), 3_000);
}

#[test]
fn a_closed_stdout_does_not_stop_rsp() {
    let origin = Origin::named("ok");
    let config = format!("{}rsp.settings {{ access_log = \"-\" }}", balanced(&[&origin.address]));
    let rsp = Rsp::start_without_reader(&config);
    for _ in 0..200 {
        assert_eq!(get(rsp.address(), "/").text(), "ok");
    }
    rsp.stop();
}
