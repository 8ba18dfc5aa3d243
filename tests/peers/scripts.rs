//! The scripts that are run by hand work with the rsp under test: the chain answers at each of its programs, the
//! comparison measures all three proxies without an error. No figure is checked.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn script(name: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new(root().join("scripts").join(name));
    command.args(arguments).current_dir(std::env::temp_dir());
    run_with_input(command, b"")
}

fn binary() -> String {
    rsp_command().get_program().to_string_lossy().into_owned()
}

#[test]
fn varnish_chain_answers_at_each_of_its_programs() {
    if !have(&["python3", "nginx", "varnishd", "haproxy", "curl"]) {
        return;
    }
    let ports: Vec<String> = (0..4).map(|_| free_port().to_string()).collect();
    let binary = binary();
    let mut arguments = vec!["--check", "--binary", &binary];
    for (name, port) in ["--rsp", "--nginx", "--haproxy", "--varnish"].iter().zip(&ports) {
        arguments.extend([*name, port]);
    }
    let check = script("varnish-chain", &arguments);
    assert_eq!(check.code, Some(0), "{check:?}");
    assert_eq!(check.stdout.lines().filter(|line| line.ends_with("  ok")).count(), 4, "{check:?}");
}

#[test]
fn compare_measures_rsp_haproxy_and_nginx_without_an_error() {
    // nginx has its rule in Lua, too.
    if !have(&["python3", "nginx", "/usr/lib/nginx/modules/ngx_http_lua_module.so", "haproxy", "wrk"]) {
        return;
    }
    let out = Directory::new();
    let folder = out.path().display().to_string();
    let mut quick = vec!["--quick", "--rounds", "1", "--scenario", "rule", "--scenario", "1m-up"];
    quick.extend(["--scenario", "frames", "--out", &folder]);
    let binary = binary();
    quick.extend(["--rsp", &binary]);
    for name in ["rsp", "haproxy", "nginx"] {
        quick.extend(["--subject", name]);
    }
    let compared = script("compare", &quick);
    assert_eq!(compared.code, Some(0), "{compared:?}");
    for name in ["rsp", "haproxy", "nginx"] {
        assert!(compared.stdout.contains(name), "no {name} in:\n{}", compared.stdout);
    }
    assert_eq!(out.read("compare.csv").lines().count(), 1 + 3 * 3, "one line a round: {compared:?}");
    assert!(out.read("compare.json").contains("\"cpu_us\""), "figures for later");
    assert!(out.read("compare.html").contains("<svg"), "plots");
}

#[test]
fn varnish_chain_check_ends_at_once_if_a_port_is_taken_and_sends_no_request() {
    if !have(&["python3"]) {
        return;
    }
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("its address").port().to_string();
    let free: Vec<String> = (0..3).map(|_| free_port().to_string()).collect();
    let mut arguments = vec!["--check", "--varnish", &port];
    for (name, port) in ["--rsp", "--nginx", "--haproxy"].iter().zip(&free) {
        arguments.extend([*name, port]);
    }
    let check = script("varnish-chain", &arguments);
    assert_eq!((check.code, check.stdout.as_str()), (Some(1), ""), "{check:?}");
    assert!(check.stderr.contains(&format!("port {port}: Address already in use")), "{check:?}");
    assert!(check.stderr.contains("--varnish PORT"), "{check:?}");
    silent.set_nonblocking(true).expect("an option");
    assert!(silent.accept().is_err(), "it was asked");
}

/// A PATH directory with only these programs, each of them being `true`, and what a shell script needs; `id` reports
/// a plain user.
fn bare_path(programs: &[&str]) -> Directory {
    let bare = Directory::new();
    let link = |name: &str, to: PathBuf| std::os::unix::fs::symlink(to, bare.join(name)).expect("a link");
    for name in ["awk", "bash", "dirname", "grep", "mkdir", "paste", "readlink", "sed", "sort", "tee", "true"]
    {
        link(name, find(name).expect("a part of every system"));
    }
    programs.iter().for_each(|name| link(name, bare.join("true")));
    let id = bare.write("id", "#!/bin/bash\necho 1000\n");
    std::fs::set_permissions(&id, std::fs::Permissions::from_mode(0o755)).expect("a program");
    bare
}

#[test]
fn scripts_test_shows_a_plain_user_the_install_command() {
    let bare = bare_path(&["cargo", "cc", "apt-get"]);
    let mut command = Command::new(root().join("scripts/test"));
    command.arg("programs").env("PATH", bare.path()).env_remove("CI");
    let run = run_with_input(command, b"");
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("missing: ") && run.stdout.contains(" hey "), "{run:?}");
    assert!(run.stdout.contains("sudo scripts/test programs\n"), "{run:?}");
}

#[test]
fn scripts_fresh_says_that_it_needs_root() {
    let bare = bare_path(&[]);
    let mut command = Command::new(root().join("scripts/fresh"));
    command.env("PATH", bare.path());
    let run = run_with_input(command, b"");
    assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""), "{run:?}");
    assert!(run.stderr.contains("needs root") && run.stderr.contains("sudo scripts/fresh"), "{run:?}");
}
