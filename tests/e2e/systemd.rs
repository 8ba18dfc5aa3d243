//! rsp as a service of systemd, which the tests play: what it says of itself, the watchdog, and sockets that it is
//! passed.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use crate::support::*;

/// Answers itself; `/busy` runs until its budget is spent, which gives time to stop its thread.
const SITE: &str = "rsp.pool { servers = { '127.0.0.1:1' } }
rsp.on_request(function(req)
  if req.path == '/busy' then
    while true do end
  end
  return rsp.respond { body = 'here' }
end)
";
const SLOW: &str = "rsp.settings { workers = 2, script = { time = '1s' } }";
/// The line of the loop in it, after `rsp.listen`.
const LINE: &str = "/rsp.lua:5";

/// A thread of another process that stands still, as if a system call or a page of memory took for ever; until it is
/// dropped.
struct StoppedThread(i32);

impl StoppedThread {
    /// Stops the thread that is running in this process.
    fn of(process: u32) -> StoppedThread {
        let mut busy = None;
        until("a thread is busy", || {
            busy = running_thread(process);
            // The hook has noted where it is.
            std::thread::sleep(Duration::from_millis(20));
            busy.is_some() && running_thread(process) == busy
        });
        let thread = busy.expect("a thread");
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: requests without pointers, about a thread of a child of ours.
        unsafe {
            assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, thread, none, none), 0, "tracing is allowed");
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, thread, none, none), 0);
            assert_eq!(libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL), thread);
        }
        StoppedThread(thread)
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: as above, by the thread that traces it.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, none, none) };
    }
}

fn running_thread(process: u32) -> Option<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let is_running = |path: &std::path::Path| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
    };
    let running = tasks.flatten().map(|task| task.path()).find(|path| is_running(path))?;
    running.file_name()?.to_str()?.parse().ok()
}

fn start(manager: &Manager, directory: Directory, listeners: usize, watchdog: &str, site: &str) -> Rsp {
    let mut command = manager.command();
    command.arg(directory.write("rsp.lua", site)).env("WATCHDOG_USEC", watchdog);
    Rsp::spawn(directory, command, listeners)
}

#[test]
fn it_says_when_it_is_ready_and_when_it_stops() {
    let directory = Directory::new();
    let manager = Manager::at_path(&directory);
    let mut rsp = start(&manager, directory, 0, "", &on_any_port(SITE));
    manager.wait_for("READY=1\nSTATUS=1 worker, config 1");
    assert_eq!(manager.messages().len(), 1);
    // Ready is said last: the address is in the log already.
    rsp.wait_for_log("Listening on ");
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    let messages = manager.messages();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(
        messages[1].starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=35500000\nSTATUS=stopping"),
        "{messages:?}"
    );
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end() {
    let manager = Manager::at_name();
    let rsp = start(&manager, Directory::new(), 1, "", &on_any_port(SITE));
    manager.wait_for("READY=1\nSTATUS=1 worker, config 1");
    rsp.signal(libc::SIGHUP);
    manager.wait_for("READY=1\nSTATUS=1 worker, config 2");
    rsp.directory.write("rsp.lua", "nonsense");
    rsp.signal(libc::SIGHUP);
    until("both have ended", || manager.messages().len() >= 5);
    let messages = manager.messages();
    for (at, start) in
        [(1, "RELOADING=1\nMONOTONIC_USEC="), (3, "RELOADING=1\n"), (4, "READY=1\nSTATUS=1 worker, config 2")]
    {
        assert!(messages[at].starts_with(start), "{messages:?}");
    }
    let micros = messages[1].split(['=', '\n']).nth(3).and_then(|micros| micros.parse::<u64>().ok());
    assert!(micros.is_some_and(|micros| micros > 0), "{messages:?}");
    rsp.stop();
}

#[test]
fn an_abstract_socket_is_told_as_well() {
    let manager = Manager::at_name();
    let rsp = start(&manager, Directory::new(), 1, "", &on_any_port(SITE));
    manager.wait_for("READY=1");
    rsp.stop();
    manager.wait_for("STOPPING=1");
}

#[test]
fn the_watchdog_hears_nothing_while_a_loop_stands_still_and_the_log_says_where() {
    let manager = Manager::at_name();
    let site = on_any_port(&format!("{SITE}{SLOW}"));
    let rsp = start(&manager, Directory::new(), 1, "2000000", &site);
    until("idle loops prove that they turn", || manager.count("WATCHDOG=1") >= 4);
    let mut client = Client::connect(rsp.address());
    client.ask("/busy");
    let _stopped = StoppedThread::of(rsp.pid());
    rsp.wait_for_log(" stood still for ");
    let line = rsp.log().lines().find(|line| line.contains("stood still")).expect("a line").to_string();
    assert!(line.contains(" WARN the loop of worker ") && line.ends_with(LINE), "{line}");
    let said = manager.count("WATCHDOG=1");
    assert!(!within(Duration::from_secs(3), || manager.count("WATCHDOG=1") > said), "it says it is alive");
    assert_eq!(rsp.log().matches("stood still").count(), 1, "once");
}

#[test]
fn a_watchdog_of_another_process_is_none_of_ours() {
    let manager = Manager::at_name();
    let directory = Directory::new();
    let mut command = manager.command();
    command.arg(directory.write("rsp.lua", on_any_port(SITE)));
    command.env("WATCHDOG_USEC", "100000").env("WATCHDOG_PID", "1");
    let rsp = Rsp::spawn(directory, command, 1);
    manager.wait_for("READY=1");
    assert!(!within(Duration::from_millis(500), || manager.count("WATCHDOG=1") > 0));
    rsp.stop();
}

#[test]
fn a_loop_that_turns_again_says_for_how_long_it_did_not() {
    let rsp = Rsp::start(&on_any_port(&format!("{SITE}{}", SLOW.replace("workers = 2, ", ""))));
    let mut client = Client::connect(rsp.address());
    client.ask("/busy");
    let stopped = StoppedThread::of(rsp.pid());
    rsp.wait_for_log(" stood still for ");
    drop(stopped);
    rsp.wait_for_log(" WARN the loop of the worker turns again after ");
    assert_eq!(client.response().status(), 500);
    let line = rsp.log().lines().find(|line| line.contains("stood still")).expect("a line").to_string();
    assert!(line.contains(" s, in the script, at /") && line.ends_with(LINE), "{line}");
    assert_eq!(Client::connect(rsp.address()).get("/").text(), "here");
}

/// A socket that listens, its address, and a copy to be passed.
fn opened() -> (TcpListener, String, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let copy = listener.try_clone().expect("a descriptor").into();
    (listener, address, copy)
}

fn named(name: &str) -> String {
    format!("rsp.listen 'systemd:{name}'\n{SITE}rsp.settings {{ workers = 2 }}")
}

#[test]
fn every_socket_of_a_name_is_accepted_from_and_outlives_rsp() {
    let (outside, directory) = (Directory::new(), Directory::new());
    let path = outside.join("front.sock");
    let unix = UnixListener::bind(&path).expect("a socket");
    let ((first, one, a), (_second, two, b), (_unused, _, c)) = (opened(), opened(), opened());
    let sockets =
        vec![("web", a), ("other", c), ("web", b), ("web", unix.try_clone().expect("a descriptor").into())];
    let site = directory.write("rsp.lua", named("web"));
    let command = with_sockets(sockets, &[&site.display().to_string()]);
    let rsp = Rsp::spawn(directory, command, 3);
    let local = format!("unix:{}", path.display());
    assert_eq!(rsp.addresses(), [one.clone(), two.clone(), local.clone()]);
    rsp.wait_for_log("WARN systemd:other was passed, and no rsp.listen names it\n");
    // Whichever worker is first has them: on each socket, more than once.
    for address in [&one, &two, &local].into_iter().cycle().take(12) {
        assert_eq!(Client::connect(address).get("/").text(), "here");
    }
    rsp.stop();
    assert!(path.exists(), "the file is the manager's");
    // The socket still listens: clients wait for the next rsp instead of being refused.
    let _waiting = Client::connect(&one);
    assert!(first.accept().is_ok());
}

/// What rsp says when it is started with this config and these sockets, and does not run.
fn refused(site: &str, sockets: Vec<(&str, OwnedFd)>) -> String {
    let directory = Directory::new();
    let site = directory.write("rsp.lua", site).display().to_string();
    let ended = run_with_input(with_sockets(sockets, &[&site]), b"");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.stderr
}

#[test]
fn a_socket_that_is_not_there_is_an_error_that_names_those_that_are() {
    let said = refused(&named("wbe"), vec![("web", opened().2), ("tls", opened().2)]);
    assert_eq!(said, "cannot listen on systemd:wbe: systemd passed no socket named wbe, but: web, tls\n");
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port").into();
    let said = refused(&named("web"), vec![("web", datagrams)]);
    assert!(said.contains("systemd:web that was passed: it is no listening stream socket"), "{said}");
}

#[test]
fn without_systemd_the_name_of_a_socket_means_nothing() {
    let directory = Directory::new();
    let site = directory.write("rsp.lua", named("web")).display().to_string();
    let check = run(directory.path(), &["check", &site]);
    assert_eq!(check.code, Some(0), "{check:?}");
    // Sockets of another process, perhaps of a shell that runs rsp.
    let mut command = rsp_command();
    command.arg(&site).env("LISTEN_PID", "1").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "web");
    let ended = run_with_input(command, b"");
    let said = "cannot listen on systemd:web: not started by systemd: no socket named web was passed\n";
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), said));
}
