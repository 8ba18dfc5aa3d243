//! The access log to syslog daemons, and what happens to requests while a log cannot be written: nothing.

use std::net::UdpSocket;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::support::*;

fn start(directory: Directory, target: &str, format: &str) -> (Rsp, Origin) {
    let origin = Origin::named("ok");
    let log = format!("rsp.settings {{ access_log = {{ {target:?}, format = '{format}' }} }}");
    (Rsp::start_in(directory, &format!("{}{log}", balanced(&[&origin.address]))), origin)
}

fn daemon(directory: &Directory) -> UnixDatagram {
    let socket = UnixDatagram::bind(directory.join("log")).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("an option");
    socket
}

fn next(daemon: &UnixDatagram) -> String {
    let mut buffer = vec![0; 1 << 16];
    let length = daemon.recv(&mut buffer).expect("a datagram");
    String::from_utf8(buffer[..length].to_vec()).expect("text")
}

#[test]
fn a_local_daemon_gets_a_datagram_a_line_and_is_found_again_after_its_restart() {
    let directory = Directory::new();
    let socket = daemon(&directory);
    let target = format!("syslog:{}", directory.join("log").display());
    let (rsp, _origin) = start(directory, &target, "haproxy");
    let mut client = Client::connect(rsp.address());
    client.get("/1");
    let line = next(&socket);
    assert!(
        line.starts_with("<134>") && line.contains(&format!(" rsp[{}]: 127.0.0.1:", rsp.pid())),
        "{line}"
    );
    assert!(line.ends_with(" \"GET /1 HTTP/1.1\""), "{line}");
    drop(socket);
    std::fs::remove_file(rsp.directory.join("log")).expect("a file");
    client.get("/lost");
    rsp.wait_for_log("cannot write: ");
    let socket = daemon(&rsp.directory);
    client.get("/2");
    assert!(next(&socket).ends_with(" \"GET /2 HTTP/1.1\""));
    rsp.wait_for_log("the daemon takes lines again, 1 line lost");
    // Told to open its logs anew, as after a rotation, it goes on as before.
    rsp.signal(libc::SIGUSR1);
    client.get("/3");
    assert!(next(&socket).ends_with(" \"GET /3 HTTP/1.1\""));
}

#[test]
fn a_daemon_that_is_not_there_yet_is_no_error_at_the_start() {
    let directory = Directory::new();
    let target = format!("syslog:{}", directory.join("log").display());
    let (rsp, _origin) = start(directory, &target, "combined");
    rsp.wait_for_log(&format!("access log {target}: cannot write: No such file or directory"));
    let socket = daemon(&rsp.directory);
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    assert!(next(&socket).contains("\"GET / HTTP/1.1\" 200 2 "));
}

#[test]
fn over_udp_a_line_is_a_message_of_rfc_5424() {
    let daemon = UdpSocket::bind("127.0.0.1:0").expect("a port");
    daemon.set_read_timeout(Some(DEADLINE)).expect("an option");
    let target = format!("syslog:udp:{}", daemon.local_addr().expect("its address"));
    let (rsp, _origin) = start(Directory::new(), &target, "json");
    get(rsp.address(), "/page");
    let mut buffer = [0; 4096];
    let length = daemon.recv(&mut buffer).expect("a datagram");
    let text = std::str::from_utf8(&buffer[..length]).expect("text");
    let (header, json) = text.split_at(text.find('{').expect("an object"));
    let [version, time, _host, name, id, kind, data, ""] = header.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{header}")
    };
    assert_eq!((version, name, kind, data), ("<134>1", "rsp", "access", "-"));
    assert_eq!(id, rsp.pid().to_string());
    assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
    let line: serde_json::Value = serde_json::from_str(json).expect("an object");
    assert_eq!((&line["target"], &line["status"]), (&"/page".into(), &200.into()));
}

/// Sends requests with long lines until this log has told of losses; none may wait.
fn ask_until_lines_are_lost(rsp: &Rsp) -> u64 {
    let (mut client, long) = (Client::connect(rsp.address()), "x".repeat(8_000));
    let mut asked = 0;
    until("lines are lost", || {
        for _ in 0..50 {
            let before = Instant::now();
            assert_eq!(client.get(&format!("/{asked}/{long}")).text(), "ok");
            assert!(before.elapsed() < Duration::from_secs(5), "a request was held");
            asked += 1;
        }
        rsp.log().contains(" lost") || rsp.log().contains("cannot write")
    });
    asked
}

/// The numbers of lines that the log says were lost.
fn lost(rsp: &Rsp) -> u64 {
    let log = rsp.log();
    let counts = log.lines().filter(|line| line.contains("access log") && line.contains(" lost"));
    let count = |line: &str| {
        let before = line.rsplit_once(" line").expect("a number of lines").0;
        before.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok()).expect("a number")
    };
    counts.map(count).sum()
}

#[test]
fn a_reader_that_stops_costs_lines_and_holds_no_request_and_every_line_is_counted() {
    let directory = Directory::new();
    make_pipe(&directory.join("log"));
    let mut reader = std::fs::OpenOptions::new();
    let mut reader =
        reader.read(true).custom_flags(libc::O_NONBLOCK).open(directory.join("log")).expect("a pipe");
    let (mut rsp, _origin) = start(directory, "log", "combined");
    let asked = ask_until_lines_are_lost(&rsp);
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    let mut taken = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut taken).expect("what is in the pipe");
    let written = taken.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert_eq!(written + lost(&rsp), asked, "{}", rsp.log());
}

#[test]
fn a_daemon_that_stops_reading_costs_lines_and_holds_no_request_and_every_line_is_counted() {
    let directory = Directory::new();
    let socket = daemon(&directory);
    let target = format!("syslog:{}", directory.join("log").display());
    let (mut rsp, _origin) = start(directory, &target, "combined");
    let asked = ask_until_lines_are_lost(&rsp);
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    socket.set_nonblocking(true).expect("an option");
    let mut buffer = vec![0; 1 << 16];
    let mut written = 0;
    while socket.recv(&mut buffer).is_ok() {
        written += 1;
    }
    assert_eq!(written + lost(&rsp), asked, "{}", rsp.log());
}

#[test]
fn a_full_disk_costs_lines_and_holds_no_request() {
    let (rsp, _origin) = start(Directory::new(), "/dev/full", "json");
    let mut client = Client::connect(rsp.address());
    for _ in 0..200 {
        assert_eq!(client.get("/").text(), "ok");
    }
    rsp.wait_for_log(
        "access log /dev/full: cannot write: No space left on device; requests go on without it",
    );
}

#[test]
fn a_file_that_is_rotated_under_load_loses_and_doubles_no_line() {
    const ROTATIONS: usize = 20;
    let (rsp, _origin) = start(Directory::new(), "access.log", "json");
    let mut client = Client::connect(rsp.address());
    let mut asked = 0;
    for rotation in 0..ROTATIONS {
        for _ in 0..100 {
            client.get(&format!("/{asked}"));
            asked += 1;
        }
        let log = |name: String| rsp.directory.join(&name);
        until("there is a file", || log("access.log".into()).exists());
        std::fs::rename(log("access.log".into()), log(format!("access.log.{rotation}"))).expect("renamed");
        rsp.signal(libc::SIGUSR1);
    }
    let all = || {
        let rotated = (0..ROTATIONS).map(|rotation| rsp.directory.read(&format!("access.log.{rotation}")));
        let last = rsp.directory.join("access.log").exists().then(|| rsp.directory.read("access.log"));
        rotated.chain(last).collect::<String>()
    };
    until("all is written", || all().matches('\n').count() >= asked);
    for (number, line) in all().lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a whole line");
        assert_eq!(line["target"], format!("/{number}"));
    }
    assert_eq!(all().lines().count(), asked);
}
