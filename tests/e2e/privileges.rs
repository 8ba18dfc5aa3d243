//! `user` and `group`: rsp opens its sockets and logs as root and then becomes another user. These tests need root;
//! each listens on addresses of its own among 127.0.0.0/8, where port 80 is free.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::unistd::User;

use crate::support::*;

/// A user that every Debian has.
const USER: &str = "www-data";
/// CAP_NET_BIND_SERVICE.
const BIND: &str = "0000000000000400";
const NONE: &str = "0000000000000000";

fn is_root() -> bool {
    nix::unistd::geteuid().is_root() || skip("root")
}

fn user() -> User {
    User::from_name(USER).expect("users").expect(USER)
}

/// An address that no other test has, with this port.
fn own_address(port: u16) -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id();
    format!("127.{}.{}.{}:{port}", 100 + (pid >> 8) % 100, pid % 256, NEXT.fetch_add(1, Ordering::Relaxed))
}

fn site(listen: &str, settings: &str) -> String {
    format!(
        "rsp.listen '{listen}' rsp.pool {{ servers = {{ '127.0.0.1:1' }} }}
         rsp.on_request(function() return rsp.respond {{ body = 'here' }} end)
         rsp.settings {{ {settings} }}"
    )
}

/// A directory that belongs to the user.
fn directory() -> Directory {
    let directory = Directory::new();
    give(directory.path());
    directory
}

fn give(path: &Path) {
    chown(path, Some(user().uid.as_raw()), Some(user().gid.as_raw())).expect("chown");
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

/// A line of `/proc/PID/status` as each thread has it.
fn status(rsp: &Rsp, key: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", rsp.pid())).expect("threads");
    let of = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let line = text.lines().find(|line| line.split(':').next() == Some(key))?;
        Some(line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
    };
    let lines: Vec<String> = tasks.filter_map(of).collect();
    assert!(lines.len() > 3, "{key}: {lines:?}");
    lines
}

fn expect_status(rsp: &Rsp, key: &str, value: &str) {
    for line in status(rsp, key) {
        assert_eq!(line, value, "{key}");
    }
}

#[test]
fn every_thread_is_the_user_and_only_the_capability_for_low_ports_stays() {
    if !is_root() {
        return;
    }
    let (user, directory) = (user(), directory());
    let address = own_address(80);
    let settings = format!("user = '{USER}', access_log = 'access.log', workers = 2");
    let rsp = Rsp::start_in(directory, &site(&address, &settings));
    assert_eq!(get(&address, "/one").text(), "here");
    let ids = |id: u32| format!("{id} {id} {id} {id}");
    expect_status(&rsp, "Uid", &ids(user.uid.as_raw()));
    expect_status(&rsp, "Gid", &ids(user.gid.as_raw()));
    expect_status(&rsp, "Groups", &user.gid.to_string());
    expect_status(&rsp, "NoNewPrivs", "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        expect_status(&rsp, set, BIND);
    }
    // The log belongs to the user, who can open it again.
    until("a line", || rsp.directory.read("access.log").contains("/one"));
    std::fs::rename(rsp.directory.join("access.log"), rsp.directory.join("access.1")).expect("rotated");
    rsp.signal(libc::SIGUSR1);
    rsp.wait_for_log("reopened");
    get(&address, "/two");
    until("a line in the new file", || rsp.directory.read("access.log").contains("/two"));
    rsp.stop();
}

#[test]
fn the_user_serves_the_control_socket_and_reloads() {
    use std::os::unix::fs::MetadataExt;
    if !is_root() {
        return;
    }
    let directory = directory();
    let (address, socket) = (own_address(80), directory.join("control.sock"));
    let control =
        format!("user = '{USER}', control = {{ '{}', group = 'adm', mode = '660' }}", socket.display());
    let rsp = Rsp::start_in(directory, &site(&address, &control));
    let file = std::fs::metadata(&socket).expect("a socket");
    let adm = nix::unistd::Group::from_name("adm").expect("groups").expect("adm").gid;
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (user().uid.as_raw(), adm.as_raw(), 0o660));
    // Another low port, opened by the user.
    let other = own_address(81);
    let text = format!("rsp.listen '{other}'\n{}", site(&address, &control));
    rsp.directory.write("rsp.lua", text);
    let path = socket.display().to_string();
    let reloaded = run(rsp.directory.path(), &["ctl", &path, "reload"]);
    assert_eq!(
        (reloaded.code, reloaded.stdout.as_str()),
        (Some(0), "Success=1\n"),
        "{reloaded:?} {}",
        rsp.log()
    );
    assert_eq!(get(&other, "/").text(), "here");
    rsp.stop();
    assert!(!socket.exists(), "the user can remove it");
}

#[test]
fn without_a_low_port_no_capability_stays() {
    if !is_root() {
        return;
    }
    let directory = directory();
    let path = directory.join("front.sock");
    let numbers = format!("user = {}, group = {}", user().uid, user().gid);
    let rsp = Rsp::start_in(directory, &site(&format!("unix:{}", path.display()), &numbers));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        expect_status(&rsp, set, NONE);
    }
    expect_status(&rsp, "NoNewPrivs", "1");
    assert_eq!(get(rsp.address(), "/").text(), "here");
    rsp.stop();
    assert!(!path.exists(), "the user can remove it");
}

/// What rsp says when it is started with this config and does not run.
fn refused(command: Command) -> String {
    let ended = run_with_input(command, b"");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.stderr
}

fn command(directory: &Directory, site: &str) -> Command {
    let mut command = rsp_command();
    command.arg(directory.write("rsp.lua", site)).current_dir(directory.path());
    command
}

#[test]
fn a_folder_that_the_user_cannot_use_is_an_error_with_the_command_that_helps() {
    if !is_root() {
        return;
    }
    let directory = Directory::new();
    let (closed, logs) = (directory.join("closed"), directory.join("closed/logs"));
    std::fs::create_dir_all(&logs).expect("folders");
    give(&logs);
    mode(&closed, 0o700);
    let log = logs.join("access.log");
    let site = site("127.0.0.1:0", &format!("user = '{USER}', access_log = '{}'", log.display()));
    let hint = |what: &str, mode: &str, path: &Path| {
        let path = path.display();
        format!(
            "cannot start: user {USER} cannot {what}: Permission denied (setfacl -m u:{USER}:{mode} {path} allows \
             it, or chgrp {USER} {path} && chmod g+{mode} {path})\n"
        )
    };
    let file = format!("write to {}", log.display());
    assert_eq!(refused(command(&directory, &site)), hint(&file, "x", &closed));
    mode(&closed, 0o711);
    chown(&logs, Some(0), Some(0)).expect("chown");
    mode(&logs, 0o755);
    let folder = format!("make files in {}", logs.display());
    assert_eq!(refused(command(&directory, &site)), hint(&folder, "rwx", &logs));
    // As the line says.
    chown(&logs, None, Some(user().gid.as_raw())).expect("chgrp");
    mode(&logs, 0o775);
    chown(&log, Some(0), Some(0)).expect("chown");
    mode(&log, 0o640);
    assert_eq!(refused(command(&directory, &site)), hint(&file, "rw", &log));
    give(&log);
    mode(&directory.join("rsp.lua"), 0o600);
    let rsp = Rsp::spawn(directory, command_of(&log), 1);
    rsp.wait_for_log("rsp.lua allows it");
    assert!(rsp.log().contains(": needed by a reload\n"), "{}", rsp.log());
    rsp.stop();
}

/// The config three folders up from its log.
fn command_of(log: &Path) -> Command {
    let mut command = rsp_command();
    command.arg(log.ancestors().nth(3).expect("a folder").join("rsp.lua"));
    command
}

#[test]
fn who_is_not_root_can_only_stay_who_he_is() {
    if !is_root() {
        return;
    }
    let directory = directory();
    // The binary may be in a folder that only root can enter.
    let binary = directory.join("rsp");
    std::fs::copy(rsp_command().get_program(), &binary).expect("a copy");
    let as_user = |directory: &Directory, settings: &str| {
        let path = directory.write("rsp.lua", site("127.0.0.1:0", settings));
        let mut command = Command::new(&binary);
        command.arg(path).uid(user().uid.as_raw()).gid(user().gid.as_raw());
        command
    };
    let said = refused(as_user(&directory, "user = 'root'"));
    assert_eq!(said, "cannot start: cannot switch to user root: not started as root\n");
    let said = refused(as_user(&directory, &format!("user = '{USER}', group = 'root'")));
    assert_eq!(said, "cannot start: cannot switch to group root: not started as root\n");
    let same = as_user(&directory, &format!("user = '{USER}'"));
    let rsp = Rsp::spawn(directory, same, 1);
    rsp.wait_for_log("WARN user: already started as www-data, so there is nothing to switch\n");
    expect_status(&rsp, "NoNewPrivs", "1");
    rsp.stop();
}

#[test]
fn a_user_that_is_not_there_is_a_warning_of_the_check_and_an_error_of_the_run() {
    let directory = Directory::new();
    let text = site("127.0.0.1:0", "user = 'no-such-user'");
    assert_eq!(refused(command(&directory, &text)), "cannot start: user: there is no user no-such-user\n");
    let check = run(directory.path(), &["check", "rsp.lua"]);
    assert_eq!(check.code, Some(0), "{check:?}");
    assert_eq!(check.stderr, "rsp.lua: warning: user: there is no user no-such-user\n");
}

#[test]
fn a_key_that_the_user_cannot_read_is_an_error_of_the_start() {
    if !is_root() {
        return;
    }
    let (directory, _) = secured();
    mode(directory.path(), 0o755);
    for (file, bits) in [("site.crt", 0o644), ("ca.pem", 0o644), ("site.key", 0o600)] {
        mode(&directory.join(file), bits);
    }
    let site = format!(
        "rsp.listen {{ '127.0.0.1:0', tls = {{ cert = 'site.crt', key = 'site.key', client_ca = 'ca.pem' }} }}
         rsp.pool {{ servers = {{ '127.0.0.1:1' }} }} rsp.settings {{ user = '{USER}' }}"
    );
    let key = directory.join("site.key");
    let said = refused(command(&directory, &site));
    assert!(
        said.starts_with(&format!("cannot start: user {USER} cannot read {}: Permission", key.display())),
        "{said}"
    );
    chown(&key, None, Some(user().gid.as_raw())).expect("chgrp");
    mode(&key, 0o640);
    let rsp = Rsp::start_in(directory, &site);
    rsp.signal(libc::SIGHUP);
    rsp.wait_for_log("Reloaded");
    rsp.stop();
}
