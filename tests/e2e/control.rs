//! The control socket, `rsp ctl`, and the admin address.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::support::*;

/// rsp with a control socket `c.sock` in its directory, with these options.
fn controlled(options: &str, more: &str) -> (Rsp, Origin) {
    let origin = Origin::named("ok");
    let directory = Directory::new();
    let config = controlled_config(&directory.join("c.sock"), options, &origin.address, more);
    (Rsp::start_in(directory, &config), origin)
}

fn controlled_config(socket: &Path, options: &str, server: &str, more: &str) -> String {
    on_any_port(&format!(
        "rsp.pool {{ servers = {{ '{server}' }} }}
         rsp.settings {{ control = {{ '{}', {options} }}, {more} }}",
        socket.display()
    ))
}

fn ctl(rsp: &Rsp, words: &[&str]) -> Finished {
    run(rsp.directory().path(), &[&["ctl", "c.sock"], words].concat())
}

/// What a client that sends this and closes its side gets.
fn talk(rsp: &Rsp, text: &str) -> String {
    let mut stream = UnixStream::connect(rsp.directory().join("c.sock")).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn ctl_reloads_and_says_what_is_wrong() {
    let (rsp, origin) = controlled("", "");
    let done = ctl(&rsp, &["reload"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "Success=1\n"), "{done:?}");
    assert!(rsp.log().contains("INFO Reloaded: config 2 is in use"), "{}", rsp.log());
    rsp.directory().write("rsp.lua", "rsp.listen '127.0.0.1:0'\nrsp.pol {}");
    let failed = ctl(&rsp, &["reload"]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.starts_with("Success=0\n"), "{failed:?}");
    assert!(failed.stderr.contains("rsp.lua:2: rsp.pol: unknown, did you mean rsp.pool?"), "{failed:?}");
    assert_eq!((get(rsp.address(), "/").text(), origin.request_count()), ("ok".into(), 1));
    rsp.stop();
}

#[test]
fn the_socket_speaks_as_haproxys_does() {
    let (rsp, _origin) = controlled("", "");
    assert_eq!(talk(&rsp, "reload\n"), "Success=1\n\n");
    assert_eq!(talk(&rsp, "prompt; reload\nquit\n"), "\n> Success=1\n\n> ");
    assert_eq!(
        talk(&rsp, "set severity-output number; reload; reload"),
        "\n[6]:Success=1\n\n[6]:Success=1\n\n"
    );
    assert!(talk(&rsp, "help\n").contains("\n  reload "));
    assert!(talk(&rsp, "shwo stat\n").starts_with("Unknown command: 'shwo stat'. Please enter"));
    let unknown = ctl(&rsp, &["shwo", "stat"]);
    assert_eq!(unknown.code, Some(1));
    rsp.stop();
}

#[test]
fn an_observer_may_not_reload() {
    let (rsp, _origin) = controlled("level = 'observe'", "");
    let refused = ctl(&rsp, &["reload"]);
    assert_eq!((refused.code, refused.stderr.as_str()), (Some(1), "Permission denied\n"));
    assert_eq!(ctl(&rsp, &["help"]).code, Some(0));
    rsp.stop();
}

#[test]
fn the_sockets_file_has_the_mode_that_was_set_and_goes_with_rsp() {
    for (options, mode) in [("", 0o600), ("mode = '660'", 0o660)] {
        let (mut rsp, _origin) = controlled(options, "");
        let path = rsp.directory().join("c.sock");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        rsp.signal(libc::SIGTERM);
        rsp.wait_for_exit();
        assert!(!path.exists());
    }
}

#[test]
fn a_reload_moves_the_socket_and_changes_its_mode() {
    let (rsp, origin) = controlled("", "");
    let (old, new) = (rsp.directory().join("c.sock"), rsp.directory().join("d.sock"));
    rsp.reload(&controlled_config(&old, "mode = '640'", &origin.address, ""));
    assert_eq!(std::fs::metadata(&old).unwrap().permissions().mode() & 0o777, 0o640);
    rsp.reload(&controlled_config(&new, "", &origin.address, ""));
    assert!(!old.exists());
    assert_eq!(run(rsp.directory().path(), &["ctl", "d.sock", "reload"]).code, Some(0));
    rsp.reload(&balanced(&[&origin.address]));
    assert!(!new.exists());
    assert_eq!(run(rsp.directory().path(), &["ctl", "d.sock", "reload"]).code, Some(1));
    rsp.stop();
}

#[test]
fn a_command_byte_by_byte_is_a_command_and_an_endless_one_is_refused() {
    let (rsp, _origin) = controlled("", "");
    let mut stream = UnixStream::connect(rsp.directory().join("c.sock")).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    for byte in b"reload\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "Success=1\n\n");
    let mut endless = UnixStream::connect(rsp.directory().join("c.sock")).unwrap();
    endless.set_read_timeout(Some(DEADLINE)).unwrap();
    endless.write_all(&[b'x'; 64 << 10]).unwrap();
    let mut answer = String::new();
    endless.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "The command is too long\n\n");
    rsp.stop();
}

#[test]
fn the_65th_connection_waits_for_another_to_end() {
    let (rsp, _origin) = controlled("", "");
    let connect = || UnixStream::connect(rsp.directory().join("c.sock")).unwrap();
    let mut waiting: Vec<UnixStream> = (0..64).map(|_| connect()).collect();
    // Accepted in the order in which they came.
    let mut next = connect();
    next.set_nonblocking(true).unwrap();
    next.write_all(b"help\n").unwrap();
    let mut first = waiting.remove(0);
    let mut byte = [0];
    // The 64 are served, and the one after them is not.
    let mut last = waiting.pop().expect("one");
    last.set_read_timeout(Some(DEADLINE)).unwrap();
    last.write_all(b"prompt\n").unwrap();
    last.read_exact(&mut byte).unwrap();
    assert!(next.read(&mut byte).is_err(), "it is served too");
    first.write_all(b"quit\n").unwrap();
    until("it is served", || matches!(next.read(&mut byte), Ok(1)));
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    rsp.stop();
}

/// The admin address, from the log.
fn admin(rsp: &Rsp) -> String {
    rsp.wait_for_log("Admin address: ");
    let log = rsp.log();
    let line = log.lines().find_map(|line| line.split_once("Admin address: ")).expect("a line");
    line.1.to_owned()
}

#[test]
fn ready_and_live_say_how_it_stands() {
    let gate = Gate::new();
    let wait = gate.clone();
    let origin = Origin::run(move |visit| {
        while let Some(request) = visit.request() {
            if request.head.target() == "/slow" {
                wait.wait();
            }
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let config = on_any_port(&format!(
        "rsp.pool {{ servers = {{ '{}' }} }} rsp.settings {{ admin = '127.0.0.1:0', drain_timeout = '10m' }}",
        origin.address
    ));
    let mut rsp = Rsp::start(&config);
    let admin = admin(&rsp);
    let status = |path: &str| get(&admin, path).status();
    assert_eq!((status("/ready"), status("/live"), status("/other")), (200, 200, 404));
    let mut client = Client::connect(&admin);
    client.send("HEAD /ready HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to("HEAD").head.get("content-length"), Some("6"));
    client.expect_end();
    assert_eq!(Client::connect(&admin).post("/ready", "x").status(), 405);
    let mut slow = Client::connect(rsp.address());
    slow.ask("/slow");
    until("it is at the server", || origin.connection_count() == 1);
    rsp.signal(libc::SIGTERM);
    until("it is not ready any more", || status("/ready") == 503);
    assert_eq!((get(&admin, "/ready").text().as_str(), status("/live")), ("draining\n", 200));
    gate.open();
    assert_eq!(slow.response().status(), 200);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
}

#[test]
fn it_is_ready_once_the_first_checks_have_ended() {
    let gate = Gate::new();
    let wait = gate.clone();
    let origin = Origin::run(move |visit| {
        while visit.request().is_some() {
            wait.wait();
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let config = on_any_port(&format!(
        "rsp.pool {{ servers = {{ '{}' }}, health = {{ timeout = '60s', interval = '60s' }} }}
         rsp.settings {{ admin = '127.0.0.1:0' }}",
        origin.address
    ));
    let rsp = Rsp::start(&config);
    let admin = admin(&rsp);
    let answer = get(&admin, "/ready");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.text(), "starting: no check of 1 server has ended yet\n");
    gate.open();
    until("it is ready", || get(&admin, "/ready").status() == 200);
    rsp.stop();
}

#[test]
fn a_client_that_never_stops_sending_is_cut_off() {
    let (rsp, _origin) = controlled("", "admin = '127.0.0.1:0'");
    let mut endless = std::net::TcpStream::connect(admin(&rsp)).unwrap();
    endless.set_write_timeout(Some(DEADLINE)).unwrap();
    endless.write_all(b"GET /live HTTP/1.1\r\n\r\n").unwrap();
    until("it is cut off", || endless.write_all(&[0; 4096]).is_err());
    assert_eq!(ctl(&rsp, &["reload"]).code, Some(0));
    rsp.stop();
}

#[test]
fn a_server_that_a_reload_adds_is_no_reason_not_to_be_ready() {
    let gate = Gate::new();
    let wait = gate.clone();
    let silent = Origin::run(move |visit| {
        visit.request();
        wait.wait();
    });
    let origin = Origin::named("ok");
    let config = |servers: &str| {
        on_any_port(&format!(
            "rsp.pool {{ servers = {{ {servers} }}, health = {{ timeout = '60s' }} }}
             rsp.settings {{ admin = '127.0.0.1:0' }}"
        ))
    };
    let rsp = Rsp::start(&config(&format!("'{}'", origin.address)));
    let admin = admin(&rsp);
    until("it is ready", || get(&admin, "/ready").status() == 200);
    rsp.reload(&config(&format!("'{}', '{}'", origin.address, silent.address)));
    assert_eq!(get(&admin, "/ready").status(), 200);
    gate.open();
    rsp.stop();
}

#[test]
fn a_client_that_says_nothing_holds_up_nobody() {
    let (rsp, _origin) = controlled("", "admin = '127.0.0.1:0'");
    let admin = admin(&rsp);
    let mut silent = Client::connect(&admin);
    silent.send("GET /rea");
    assert_eq!(get(&admin, "/ready").status(), 200);
    assert_eq!(ctl(&rsp, &["reload"]).code, Some(0));
    assert!(silent.stays_open(Duration::from_millis(50)));
    rsp.stop();
}

/// 63 that have sent a part of a command, 64 that do not read what they asked for, and one that sends byte by byte.
#[test]
fn requests_and_other_operators_go_on_while_64_dawdle() {
    let (rsp, origin) = controlled("", "workers = 2, admin = '127.0.0.1:0', timeouts = { idle = '1m' }");
    let connect = || UnixStream::connect(rsp.directory().join("c.sock")).unwrap();
    let halves: Vec<UnixStream> = (0..63).map(|_| connect()).collect();
    halves.iter().for_each(|mut half| half.write_all(b"show st").unwrap());
    let admin = admin(&rsp);
    let scrape = |_| {
        let mut slow = Client::connect_with_small_buffer(&admin);
        slow.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        slow
    };
    let _scrapers: Vec<Client> = (0..64).map(scrape).collect();
    let mut slow = connect();
    slow.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut client = Client::connect(rsp.address());
    for byte in b"show backend; show backend; show backend\n" {
        slow.write_all(&[*byte]).unwrap();
        for _ in 0..5 {
            assert_eq!(client.get("/").text(), "ok");
        }
        assert_eq!(get(rsp.address(), "/").text(), "ok");
    }
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("# name\n").count(), 3, "{answer}");
    assert_eq!(origin.request_count(), 41 * 6);
    // The place that it had is free, and is had by the next one while the others still dawdle.
    assert!(talk(&rsp, "show info\n").contains("\nCumReq: 246\n"));
    rsp.stop();
}

#[test]
fn who_has_not_asked_within_ten_seconds_makes_room() {
    let (rsp, _origin) = controlled("", "");
    let connect = || UnixStream::connect(rsp.directory().join("c.sock")).unwrap();
    let silent: Vec<UnixStream> = (0..64).map(|_| connect()).collect();
    silent.iter().for_each(|mut half| half.write_all(b"show st").unwrap());
    assert!(talk(&rsp, "show backend\n").starts_with("# name\n"), "the 65th has its turn");
    for mut closed in silent {
        closed.set_read_timeout(Some(DEADLINE)).unwrap();
        assert!(!matches!(closed.read(&mut [0; 1]), Ok(1)), "it was not answered");
    }
    rsp.stop();
}
