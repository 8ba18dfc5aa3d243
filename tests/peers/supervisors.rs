//! The programs that keep rsp running: systemd accepts the units of `examples/systemd`, and runit starts rsp again with
//! `examples/runit`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::*;

/// Where the examples have rsp and its config.
const BINARY: &str = "/usr/local/bin/rsp";
const CONFIG: &str = "/etc/rsp/site.lua";

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    std::fs::read_to_string(path).expect("an example")
}

/// The example with the binary under test.
fn with_binary(name: &str) -> String {
    let binary = rsp_command().get_program().to_string_lossy().into_owned();
    let text = example(name);
    assert!(text.contains(BINARY) || name.ends_with("socket"), "{text}");
    text.replace(BINARY, &binary)
}

fn systemd_analyze(directory: &Directory, arguments: &[&str]) -> Finished {
    let mut command = Command::new(find("systemd-analyze").expect("systemd-analyze"));
    command.args(arguments).current_dir(directory.path()).env("SYSTEMD_PAGER", "");
    run_with_input(command, b"")
}

fn units() -> Directory {
    let directory = Directory::new();
    directory.write("rsp.service", with_binary("systemd/rsp.service"));
    directory.write("rsp.socket", with_binary("systemd/rsp.socket"));
    directory
}

#[test]
fn systemd_accepts_the_units() {
    if !have(&["systemd-analyze"]) {
        return;
    }
    let verified = systemd_analyze(&units(), &["verify", "./rsp.service", "./rsp.socket"]);
    assert_eq!((verified.code, verified.said().as_str()), (Some(0), ""));
    for name in ["rsp.service", "rsp.socket"] {
        let first = format!("# /etc/systemd/system/{name}\n");
        assert!(example(&format!("systemd/{name}")).starts_with(&first), "line 1 says where it belongs");
    }
}

#[test]
fn the_service_is_exposed_to_little() {
    if !have(&["systemd-analyze"]) {
        return;
    }
    let judged = systemd_analyze(&units(), &["security", "--offline=true", "--no-pager", "./rsp.service"]);
    let said = judged.said();
    let level = said.split("exposure level for rsp.service: ").nth(1).and_then(|rest| rest.split(' ').next());
    let level: f64 = level.and_then(|level| level.parse().ok()).unwrap_or_else(|| panic!("{said}"));
    assert!(level <= 2.0, "{said}");
}

/// `runsv` with a service directory.
struct Runit {
    child: Child,
    directory: Directory,
}

impl Runit {
    fn start(run: &str, config: &str) -> Runit {
        use std::os::unix::fs::PermissionsExt;
        let directory = Directory::new();
        let site = directory.write("site.lua", config);
        let run = run.replace(CONFIG, &site.display().to_string());
        let run = directory.write("rsp/run", run);
        std::fs::set_permissions(run, std::fs::Permissions::from_mode(0o755)).expect("mode 755");
        let log = std::fs::File::create(directory.join("log")).expect("a log");
        let mut command = Command::new(find("runsv").expect("runsv"));
        command.arg("rsp").current_dir(directory.path()).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().expect("a descriptor")).stderr(log).spawn();
        Runit { child: child.expect("runsv starts"), directory }
    }

    /// The process that runs as the service now.
    fn pid(&self) -> Option<u32> {
        self.directory.read("rsp/supervise/pid").trim().parse().ok()
    }
}

impl Drop for Runit {
    /// TERM makes runsv end its service first.
    fn drop(&mut self) {
        send_signal(self.child.id(), libc::SIGTERM);
        let ended =
            within(Duration::from_secs(20), || self.child.try_wait().is_ok_and(|status| status.is_some()));
        if !ended {
            self.pid().into_iter().for_each(|pid| send_signal(pid, libc::SIGKILL));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn runit_has_a_killed_rsp_serving_again_within_a_second() {
    if !have(&["runsv", "sh"]) {
        return;
    }
    let address = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "rsp.listen '{address}' rsp.pool {{ servers = {{ '127.0.0.1:1' }} }}
         rsp.on_request(function() return rsp.respond {{ body = 'here' }} end)"
    );
    let runit = Runit::start(&with_binary("runit/run"), &config);
    let serves = || Client::try_connect(&address, None).is_ok();
    until("it serves", serves);
    // A busy machine may need a second try; runit itself waits where a service ran for less than a second.
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(1100));
        let killed = runit.pid().expect("a process");
        send_signal(killed, libc::SIGKILL);
        let since = Instant::now();
        until("another one serves", || runit.pid().is_some_and(|pid| pid != killed) && serves());
        fastest = fastest.min(since.elapsed());
        assert_eq!(get(&address, "/").text(), "here");
        if fastest < Duration::from_secs(1) {
            return;
        }
    }
    panic!("at best {fastest:?}; it said:\n{}", runit.directory.read("log"));
}
