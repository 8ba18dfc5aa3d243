//! Signals: TERM, INT and QUIT drain and then exit with 0; repeated, they stop at once.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::support::*;

const SIZE: u64 = 6_000_000;

/// rsp with a drain timeout far longer than a test.
fn patient(origin: &Origin) -> Rsp {
    let drain = "rsp.settings { drain_timeout = '10m' }";
    Rsp::start(&format!("{}{drain}", balanced(&[&origin.address])))
}

/// A client in the middle of a download that it does not continue to read.
fn downloading(rsp: &Rsp) -> Client {
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.ask(&format!("/length/{SIZE}/11"));
    assert_eq!(client.head().status(), 200);
    client
}

fn read_rest(client: &mut Client) -> Vec<u8> {
    let mut body = Vec::new();
    client.wire.body(Framing::Exact(SIZE), &mut |bytes| body.extend_from_slice(bytes)).expect("a whole body");
    body
}

#[test]
fn each_stopping_signal_lets_a_running_download_finish() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        let origin = bodies(Uploads::default());
        let mut rsp = patient(&origin);
        let mut client = downloading(&rsp);
        rsp.signal(signal);
        until("new connections are refused", || Client::try_connect(rsp.address(), None).is_err());
        assert!(rsp.is_running());
        assert_eq!(hash_of(&read_rest(&mut client)), content_hash(11, SIZE));
        client.expect_end();
        assert_eq!(rsp.wait_for_exit().code(), Some(0));
    }
}

#[test]
fn a_request_that_waits_for_its_response_is_completed_too() {
    let gate = Gate::new();
    let wait = gate.clone();
    let origin = Origin::run(move |visit| {
        visit.request();
        wait.wait();
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    });
    let mut rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    origin.wait_for_requests(1);
    rsp.signal(libc::SIGTERM);
    until("new connections are refused", || Client::try_connect(rsp.address(), None).is_err());
    gate.open();
    let answer = client.response();
    assert_eq!(answer.text(), "late");
    assert!(answer.head.says("connection", "close"), "the client learns that this was the last");
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
}

#[test]
fn connections_that_wait_to_be_accepted_are_served_before_it_ends() {
    let origin = Origin::named("ok");
    let busy = "rsp.settings { drain_timeout = '10m' }
                rsp.on_request(function(req) while req.path == '/busy' do end end)";
    let mut rsp = Rsp::start(&format!("{}{busy}", balanced(&[&origin.address])));
    rsp.stop_with_full_accept_queue(64);
}

#[test]
fn one_idle_connection_does_not_delay_the_stop() {
    let origin = Origin::named("ok");
    for used in [true, false] {
        let mut rsp = patient(&origin);
        let mut client = Client::connect(rsp.address());
        if used {
            assert_eq!(client.get("/").text(), "ok");
        }
        let since = Instant::now();
        rsp.signal(libc::SIGTERM);
        assert_eq!(rsp.wait_for_exit().code(), Some(0));
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
        client.expect_end();
    }
}

#[test]
fn idle_connections_are_closed_one_after_the_other() {
    let origin = Origin::named("ok");
    let drain = "rsp.settings { drain_timeout = '4s' }";
    let mut rsp = Rsp::start(&format!("{}{drain}", balanced(&[&origin.address])));
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(rsp.address())).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "ok"));
    let since = Instant::now();
    rsp.signal(libc::SIGTERM);
    // After the second in which their next requests may come, one each 275 ms.
    let mut ends: Vec<Duration> = std::thread::scope(|scope| {
        let ends = clients.iter_mut().map(|client| {
            scope.spawn(move || {
                client.expect_end();
                since.elapsed()
            })
        });
        let ends: Vec<_> = ends.collect();
        ends.into_iter().map(|end| end.join().expect("no panic")).collect()
    });
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert!(!rsp.log().contains("drain_timeout is over"), "{}", rsp.log());
    ends.sort_unstable();
    assert!(ends[0] >= Duration::from_millis(900), "{ends:?}");
    let early = ends.iter().zip(0..).filter(|(end, i)| **end < Duration::from_millis(900 + 270 * i));
    assert_eq!(early.count(), 0, "closed before their time: {ends:?}");
}

#[test]
fn a_kept_connection_is_told_to_close_with_its_next_response() {
    let origin = Origin::named("ok");
    let mut rsp = patient(&origin);
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut clients {
        assert!(!client.get("/").head.says("connection", "close"));
    }
    rsp.signal(libc::SIGTERM);
    until("new connections are refused", || Client::try_connect(rsp.address(), None).is_err());
    // The first is closed at once, the second after two and a half seconds.
    let answer = clients[1].get("/");
    assert_eq!(answer.text(), "ok");
    assert!(answer.head.says("connection", "close"), "{:?}", answer.head);
    clients.iter_mut().for_each(Client::expect_end);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
}

/// rsp that goes on for so long after it was told to stop.
fn delayed(origin: &Origin, delay: &str) -> Rsp {
    let drain =
        format!("rsp.settings {{ drain_delay = '{delay}', drain_timeout = '10m', admin = '127.0.0.1:0' }}");
    Rsp::start(&format!("{}{drain}", balanced(&[&origin.address])))
}

#[test]
fn nothing_changes_during_the_drain_delay() {
    let origin = Origin::named("ok");
    let mut rsp = delayed(&origin, "1500ms");
    let log = rsp.log();
    let admin =
        log.split("Admin address: ").nth(1).and_then(|rest| rest.lines().next()).expect("its address");
    assert_eq!(get(admin, "/ready").status(), 200);
    let mut kept = Client::connect(rsp.address());
    let since = Instant::now();
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_log("Stopping in 1.5s (drain_delay)");
    assert_eq!(get(admin, "/ready").status(), 503);
    while since.elapsed() < Duration::from_millis(1000) {
        let answer = kept.get("/");
        assert_eq!((answer.text().as_str(), answer.get("connection")), ("ok", None));
        assert_eq!(get(rsp.address(), "/").text(), "ok", "on a new connection");
        rsp.signal(libc::SIGHUP);
    }
    assert!(!rsp.log().contains("Stopping: what runs"), "{}", rsp.log());
    kept.expect_end();
    assert!(since.elapsed() >= Duration::from_millis(1450), "{:?}", since.elapsed());
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert!(Client::try_connect(rsp.address(), None).is_err());
    assert!(rsp.log().contains("stays in use: rsp is stopping"), "{}", rsp.log());
}

#[test]
fn a_repeated_signal_ends_the_drain_delay_too() {
    let origin = Origin::named("ok");
    let mut rsp = delayed(&origin, "10m");
    let mut kept = Client::connect(rsp.address());
    assert_eq!(kept.get("/").text(), "ok");
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_log("Stopping in 600s (drain_delay)");
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    kept.expect_end();
    assert!(rsp.log().contains("Stopping at once: told again"), "{}", rsp.log());
}

#[test]
fn a_repeated_signal_ends_it_at_once() {
    let origin = bodies(Uploads::default());
    let mut rsp = patient(&origin);
    let mut client = downloading(&rsp);
    rsp.signal(libc::SIGTERM);
    until("new connections are refused", || Client::try_connect(rsp.address(), None).is_err());
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    let mut rest = Vec::new();
    let end = client.wire.socket.read_to_end(&mut rest);
    assert!(end.is_err() || rest.len() < SIZE as usize);
}

#[test]
fn draining_ends_at_its_timeout() {
    let origin = bodies(Uploads::default());
    let config = format!("{}rsp.settings {{ drain_timeout = \"500ms\" }}", balanced(&[&origin.address]));
    let mut rsp = Rsp::start(&config);
    let _client = downloading(&rsp);
    let since = Instant::now();
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert!(since.elapsed() >= Duration::from_millis(450));
    assert!(rsp.log().contains("drain_timeout is over"), "{}", rsp.log());
    assert!(rsp.log().contains("INFO 1 connection cut\n"), "{}", rsp.log());
}

#[test]
fn signals_that_it_cannot_obey_do_not_end_it() {
    let origin = Origin::named("ok");
    let rsp = Rsp::spawn(
        Directory::new(),
        {
            let mut command = rsp_command();
            command.args(["--listen", "127.0.0.1:0", "--backend", &origin.address]);
            command
        },
        1,
    );
    for signal in [libc::SIGHUP, libc::SIGUSR1] {
        rsp.signal(signal);
    }
    rsp.wait_for_log("rsp runs without a config file: there is nothing to reload");
    rsp.wait_for_log("no access log to reopen");
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    rsp.stop();
}

#[test]
fn a_unix_socket_is_removed_at_the_end_and_a_stale_one_replaced() {
    let origin = Origin::named("ok");
    let directory = Directory::new();
    let path = directory.join("front.sock");
    // A stale socket: bound by a program that is gone.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let config = format!(
        "rsp.listen \"unix:{}\"\nrsp.pool {{ servers = {{ {:?} }} }}",
        path.display(),
        origin.address
    );
    let rsp = Rsp::start(&config);
    assert_eq!(get(&format!("unix:{}", path.display()), "/").text(), "ok");
    rsp.stop();
    assert!(!path.exists(), "the socket's file is still there");
}
