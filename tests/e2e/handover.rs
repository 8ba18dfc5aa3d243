//! USR2: a new process takes over the sockets, and the old one drains. Nobody notices, and a new process that is not
//! ready changes nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::*;

/// A copy of the binary and a config beside it, so that a test can put others in their places.
struct Installed {
    rsp: Rsp,
}

fn install(config: &str, prepare: impl Fn(&mut std::process::Command)) -> Installed {
    let directory = Directory::new();
    let program = directory.join("rsp");
    // A link: a copy could still be open for writing in a child that another test is starting.
    let original = std::path::PathBuf::from(rsp_command().get_program());
    if std::fs::hard_link(&original, &program).is_err() {
        std::fs::copy(original, &program).unwrap();
    }
    directory.write("rsp.lua", config);
    let mut command = std::process::Command::new(&program);
    command.arg("rsp.lua");
    prepare(&mut command);
    let listeners = config.matches("rsp.listen").count();
    Installed { rsp: Rsp::spawn(directory, command, listeners) }
}

impl Installed {
    /// Replaces the binary, as a package does: the file of the running one stays where it was.
    fn replace(&self, program: &str) {
        let (path, new) = (self.rsp.directory().join("rsp"), self.rsp.directory().join("new"));
        std::fs::write(&new, program).unwrap();
        std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// Has a new process take over. Returns its process id.
    fn upgrade(&self) -> u32 {
        self.rsp.signal(libc::SIGUSR2);
        let mut process = None;
        until("another process has taken over", || {
            let log = self.rsp.log();
            let line = log.lines().find_map(|line| line.split_once("Handed over to process "));
            process = line.and_then(|(_, rest)| rest.split(':').next()?.parse().ok());
            process.is_some()
        });
        process.expect("a number")
    }
}

/// Ends a process that is nobody's child, and waits for it.
struct Successor(u32);

impl Drop for Successor {
    fn drop(&mut self) {
        send_signal(self.0, libc::SIGTERM);
        let gone = within(DEADLINE, || !std::path::Path::new(&format!("/proc/{}/exe", self.0)).exists());
        if !gone {
            send_signal(self.0, libc::SIGKILL);
        }
    }
}

fn config(server: &str, workers: usize, generation: &str, more: &str) -> String {
    format!(
        "rsp.listen '127.0.0.1:0'
         local web = rsp.pool {{ name = 'web', servers = {{ '{server}' }} }}
         rsp.on_request(function(req)
           if req.path == '/generation' then return rsp.respond {{ body = '{generation}' }} end
           return web
         end)
         rsp.settings {{ workers = {workers}, drain_timeout = '60s', {more} }}"
    )
}

#[test]
fn what_scripts_share_goes_over_to_the_new_process() {
    let config = "rsp.listen '127.0.0.1:0'
         local limit = rsp.rate { name = 'l', rate = 5, per = '1h' }
         local values = rsp.shared 'values'
         rsp.on_request(function(req)
           local n = values:incr 'n'
           return rsp.respond { status = limit:allow('k') and 200 or 429, body = tostring(n) }
         end)
         rsp.settings { workers = 2, drain_timeout = '60s' }";
    let installed = install(config, |_| {});
    let ask = || {
        let answer = get(installed.rsp.address(), "/");
        (answer.status(), answer.text())
    };
    for n in 1..=4 {
        assert_eq!(ask(), (200, n.to_string()));
    }
    let _successor = Successor(installed.upgrade());
    assert_eq!([ask(), ask()], [(200, "5".to_owned()), (429, "6".to_owned())]);
}

#[test]
fn no_request_fails_over_upgrades_from_one_worker_to_two_and_back() {
    for (from, to) in [(1, 2), (2, 1)] {
        let origin = Origin::named("ok");
        let mut installed = install(&config(&origin.address, from, "old", ""), |_| ());
        let address = installed.rsp.address().to_owned();
        let (stop, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
        let successor = std::thread::scope(|scope| {
            for number in 0..6 {
                let (address, stop, requests) = (&address, &stop, &requests);
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    while !stop.load(Ordering::SeqCst) {
                        // Half of them connect anew each time, and all when they are told to.
                        let answer = client.get("/");
                        assert_eq!(answer.text(), "ok", "{}", answer.head.line);
                        let closes = answer.head.get("connection") == Some("close");
                        if number % 2 == 0 || closes {
                            client = Client::connect(address);
                        }
                        requests.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let some_more = || {
                let before = requests.load(Ordering::SeqCst);
                until("requests go on", || requests.load(Ordering::SeqCst) > before + 200);
            };
            some_more();
            installed.rsp.directory().write("rsp.lua", config(&origin.address, to, "new", ""));
            let successor = Successor(installed.upgrade());
            some_more();
            assert_eq!(installed.rsp.wait_for_end(), Some(0), "{}", installed.rsp.log());
            some_more();
            stop.store(true, Ordering::SeqCst);
            successor
        });
        assert_eq!(get(&address, "/generation").text(), "new");
        drop(successor);
        assert!(Client::try_connect(&address, None).is_err());
    }
}

#[test]
fn a_download_is_finished_by_the_old_process() {
    const SIZE: u64 = 6_000_000;
    let origin = bodies(Uploads::default());
    let mut installed = install(&config(&origin.address, 1, "1", ""), |_| ());
    let mut client = Client::connect_with_small_buffer(installed.rsp.address());
    client.ask(&format!("/length/{SIZE}/11"));
    assert_eq!(client.head().status(), 200);
    let _successor = Successor(installed.upgrade());
    assert!(installed.rsp.is_running());
    let mut body = Vec::new();
    client.wire.body(Framing::Exact(SIZE), &mut |bytes| body.extend_from_slice(bytes)).expect("a whole body");
    assert_eq!(hash_of(&body), content_hash(11, SIZE));
    assert_eq!(installed.rsp.wait_for_end(), Some(0));
}

#[test]
fn a_new_binary_that_cannot_start_changes_nothing() {
    let origin = Origin::named("ok");
    let mut installed = install(&config(&origin.address, 1, "old", ""), |_| ());
    let mut client = Client::connect(installed.rsp.address());
    for (program, why) in [
        ("#!/bin/sh\nexit 3\n", "it ended (exit status: 3)"),
        ("#!/bin/sh\nkill -9 $$\n", "it ended"),
        ("\x7fELF but no program", "it ended"),
        ("#!/bin/bash\necho nonsense >&$RSP_UPGRADE; exec sleep 100\n", "it says \"nonsense\""),
    ] {
        installed.replace(program);
        let before = installed.rsp.log().matches("Not upgraded, this process goes on").count();
        installed.rsp.signal(libc::SIGUSR2);
        until("the upgrade has failed", || {
            installed.rsp.log().matches("Not upgraded, this process goes on").count() > before
        });
        let log = installed.rsp.log();
        if log
            .lines()
            .rfind(|line| line.contains("Not upgraded"))
            .is_some_and(|line| line.contains("file busy"))
        {
            continue;
        }
        let line = log.lines().rfind(|line| line.contains("Not upgraded")).expect("a line");
        assert!(line.contains(why), "{line}");
        assert_eq!(client.get("/").text(), "ok");
        assert_eq!(get(installed.rsp.address(), "/generation").text(), "old");
    }
    assert!(installed.rsp.is_running());
    installed.rsp.reload(&config(&origin.address, 1, "reloaded", ""));
    assert_eq!(client.get("/generation").text(), "reloaded");
    installed.rsp.stop();
}

#[test]
fn a_config_that_cannot_be_loaded_leaves_the_old_process() {
    let origin = Origin::named("ok");
    let installed = install(&config(&origin.address, 1, "old", ""), |_| ());
    installed.rsp.directory().write("rsp.lua", "rsp.pol {}");
    installed.rsp.signal(libc::SIGUSR2);
    installed.rsp.wait_for_log("Not upgraded, this process goes on");
    assert!(installed.rsp.log().contains("rsp.lua:1: rsp.pol: unknown"), "{}", installed.rsp.log());
    assert_eq!(get(installed.rsp.address(), "/generation").text(), "old");
    installed.rsp.stop();
}

#[test]
fn a_start_that_fails_late_leaves_the_socket_files() {
    let origin = Origin::named("ok");
    let more = "control = 'c.sock'";
    let front = "rsp.listen 'unix:front.sock'\n";
    let good = format!("{front}{}", config(&origin.address, 1, "old", more));
    let installed = install(&good, |_| ());
    let bad = good.replace("control =", "access_log = '/no/such/directory/a.log', control =");
    installed.rsp.directory().write("rsp.lua", &bad);
    installed.rsp.signal(libc::SIGUSR2);
    installed.rsp.wait_for_log("Not upgraded, this process goes on");
    let directory = installed.rsp.directory();
    assert_eq!(get(&format!("unix:{}", directory.join("front.sock").display()), "/").text(), "ok");
    directory.write("rsp.lua", &good);
    assert_eq!(run(directory.path(), &["ctl", "c.sock", "reload"]).code, Some(0));
    installed.rsp.stop();
}

#[test]
fn a_stop_ends_the_new_process_that_is_starting() {
    let origin = Origin::named("ok");
    let mut installed = install(&config(&origin.address, 1, "old", ""), |_| ());
    installed.replace("#!/bin/sh\nexec sleep 100\n");
    installed.rsp.signal(libc::SIGUSR2);
    installed.rsp.wait_for_log("INFO Upgrade: process ");
    installed.rsp.signal(libc::SIGTERM);
    assert_eq!(installed.rsp.wait_for_exit().code(), Some(0));
    assert!(installed.rsp.log().contains("rsp is stopping"), "{}", installed.rsp.log());
}

#[test]
fn a_request_on_a_listener_that_the_new_config_lacks_is_answered() {
    let origin = Origin::named("ok");
    let text = config(&origin.address, 1, "old", "");
    let port = free_port();
    let mut installed = install(&format!("rsp.listen '127.0.0.1:{port}'\n{text}"), |_| ());
    installed.rsp.directory().write("rsp.lua", &text);
    let removed = format!("127.0.0.1:{port}");
    let mut client = Client::connect(&removed);
    client.ask("/");
    let address = installed.rsp.addresses()[1].clone();
    let _successor = Successor(installed.upgrade());
    assert_eq!(client.response().text(), "ok");
    assert_eq!(installed.rsp.wait_for_end(), Some(0));
    assert!(Client::try_connect(&removed, None).is_err());
    assert_eq!(get(&address, "/generation").text(), "old");
}

#[test]
fn control_socket_and_admin_address_go_over_and_no_socket_file_is_removed() {
    let origin = Origin::named("ok");
    let more = "control = 'c.sock', admin = '127.0.0.1:0'";
    let front = "rsp.listen 'unix:front.sock'\n";
    let mut installed = install(&format!("{front}{}", config(&origin.address, 1, "old", more)), |_| ());
    let log = installed.rsp.log();
    let admin = log.lines().find_map(|line| line.split_once("Admin address: ")).expect("a line").1.to_owned();
    let _successor = Successor(installed.upgrade());
    assert_eq!(installed.rsp.wait_for_end(), Some(0));
    assert_eq!(get(&admin, "/ready").status(), 200);
    let directory = installed.rsp.directory();
    assert_eq!(run(directory.path(), &["ctl", "c.sock", "reload"]).code, Some(0));
    assert_eq!(get(&format!("unix:{}", directory.join("front.sock").display()), "/").text(), "ok");
}

#[test]
fn servers_that_were_checked_are_not_waited_for() {
    let checked = std::sync::Arc::new(AtomicBool::new(false));
    let is_checked = checked.clone();
    let origin = Origin::run(move |visit| {
        while let Some(request) = visit.request() {
            // Only the first process gets an answer to its checks.
            if request.head.target() == "/up" && is_checked.swap(true, Ordering::SeqCst) {
                return visit.wait_for_end();
            }
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let text = format!(
        "rsp.listen '127.0.0.1:0'
         rsp.pool {{ servers = {{ '{}' }}, health = {{ path = '/up', interval = '60s', timeout = '60s' }} }}",
        origin.address
    );
    let installed = install(&text, |_| ());
    installed.rsp.wait_for_log("is up: the first check passed");
    assert_eq!(get(installed.rsp.address(), "/").text(), "ok");
    let address = installed.rsp.address().to_owned();
    let _successor = Successor(installed.upgrade());
    assert_eq!(get(&address, "/").text(), "ok", "it does not wait for a check of its own");
}

#[test]
fn the_old_process_takes_no_further_orders() {
    let origin = bodies(Uploads::default());
    let mut installed = install(&config(&origin.address, 1, "1", "upgrade_drain_timeout = '300ms'"), |_| ());
    let mut client = Client::connect_with_small_buffer(installed.rsp.address());
    client.ask("/length/6000000/11");
    assert_eq!(client.head().status(), 200);
    let _successor = Successor(installed.upgrade());
    installed.rsp.signal(libc::SIGHUP);
    installed.rsp.wait_for_log("rsp is stopping");
    // The time for an upgrade is its own.
    assert_eq!(installed.rsp.wait_for_end(), Some(0));
    assert!(installed.rsp.log().contains("drain_timeout is over"), "{}", installed.rsp.log());
    assert!(client.stays_open(Duration::ZERO) || client.try_response().is_err());
}

#[test]
fn sessions_are_resumed_by_the_new_process() {
    let (certificates, authority) = secured();
    let config = "rsp.listen { '127.0.0.1:0', name = 'https', tls = { cert = 'site.crt', key = 'site.key' } }
        rsp.on_request(function() return rsp.respond { status = 200 } end)";
    let directory = certificates.path().display().to_string();
    let installed = install(&config.replace("'site.", &format!("'{directory}/site.")), |_| {});
    let (tls, address) = (TlsClient::new(&authority), installed.rsp.address().to_owned());
    let kind = || {
        let mut client = tls.connect(&address);
        assert_eq!(client.get("/").status(), 200);
        format!("{:?}", client.wire.tls().handshake_kind().expect("a handshake"))
    };
    assert_eq!([kind(), kind()], ["Full", "Resumed"]);
    let second = Successor(installed.upgrade());
    assert_eq!([kind(), kind()], ["Resumed", "Resumed"]);
    drop(second);
}

#[test]
fn what_was_set_by_hand_and_the_added_servers_go_over() {
    let (a, b, c) = (Origin::named("a"), Origin::named("b"), Origin::named("c"));
    let config = on_any_port(&format!(
        "rsp.pool {{ name = 'web', servers = {{ {{ '{}', name = 'a' }}, {{ '{}', name = 'b' }} }} }}
         rsp.settings {{ control = 'c.sock' }}",
        a.address, b.address
    ));
    let installed = install(&config, |_| {});
    let ctl = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let done = run(installed.rsp.directory().path(), &[&["ctl", "c.sock"], &words[..]].concat());
        assert_eq!(done.code, Some(0), "{words:?}: {done:?}");
        done.stdout
    };
    ctl(&format!("add server web/new {} weight 3 maxconn 7 backup", c.address));
    ctl("enable server web/new");
    ctl("set server web/a state drain");
    ctl("set weight web/b 5");
    let changes = ctl("show changes");
    let successor = Successor(installed.upgrade());
    assert!(ctl("show info").contains(&format!("\nPid: {}\n", successor.0)), "the new process answers");
    assert_eq!(ctl("show changes"), changes);
    assert!(changes.contains("weight = 3, max_connections = 7, backup = true"), "{changes}");
    assert_eq!(ctl("get weight web/b"), "5 (initial 1)\n");
    (0..4).for_each(|_| {
        assert_eq!(get(installed.rsp.address(), "/").text(), "b", "a is drained, new is a backup")
    });
    ctl("disable server web/b");
    assert_eq!(get(installed.rsp.address(), "/").text(), "c");
}
