//! The scripts a person runs by hand do what they say, with the rsp under test: the chain answers at each of its
//! programs, the comparison measures all three proxies without an error. No figure is looked at.

use std::process::Command;

use crate::support::*;

fn script(name: &str, arguments: &[&str]) -> Finished {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
    let mut command = Command::new(path);
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
