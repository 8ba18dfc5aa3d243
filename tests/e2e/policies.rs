//! The policies of `lua/`: short enough to read, and correct under traffic, by their shipped name and as a copy
//! beside a config.

use std::path::{Path, PathBuf};

use crate::support::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lua")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("a policy")
}

/// rsp with these servers and a policy under its shipped name, or as `mine.lua` beside the config.
fn balanced_by(file: &str, copied: bool, origins: &[Origin]) -> Rsp {
    let directory = Directory::new();
    directory.write("mine.lua", text(file));
    let module = if copied { "mine".into() } else { format!("rsp.{}", file.trim_end_matches(".lua")) };
    let servers: Vec<String> = origins.iter().map(|origin| format!("{:?}", origin.address)).collect();
    let pool =
        format!("rsp.pool {{ servers = {{ {} }}, balance = require({module:?})() }}", servers.join(", "));
    Rsp::start_in(directory, &on_any_port(&pool))
}

fn names(rsp: &Rsp, count: usize) -> Vec<String> {
    let mut client = Client::connect(rsp.address());
    (0..count).map(|_| client.get("/").text()).collect()
}

#[test]
fn every_policy_is_under_30_lines_and_has_a_test() {
    let tests = include_str!("policies.rs");
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).expect("lua/") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a plain name");
        if !name.ends_with(".lua") {
            continue;
        }
        assert!(text(&name).lines().count() < 30, "{name} is too long to be read at a glance");
        assert!(tests.contains(&format!("{name:?}")), "lua/{name} has no test in tests/e2e/policies.rs");
        count += 1;
    }
    assert!(count >= 4, "{count} policies");
}

#[test]
fn round_robin_alternates() {
    for copied in [false, true] {
        let origins = ["a", "b", "c"].map(Origin::named);
        let rsp = balanced_by("round_robin.lua", copied, &origins);
        assert_eq!(names(&rsp, 7).concat(), "abcabca");
        rsp.stop();
    }
}

#[test]
fn least_busy_avoids_a_busy_server() {
    for copied in [false, true] {
        let gate = Gate::new();
        let named = |name: &'static str| {
            let gate = gate.clone();
            Origin::run(move |visit| {
                while let Some(request) = visit.request() {
                    if request.head.target() == "/slow" {
                        gate.wait();
                    }
                    visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}"));
                }
            })
        };
        let origins = [named("a"), named("b"), named("c")];
        let rsp = balanced_by("least_busy.lua", copied, &origins);
        let mut slow = Client::connect(rsp.address());
        slow.ask("/slow");
        until("a is held up", || origins[0].requests().len() == 1);
        assert_eq!(names(&rsp, 6).concat(), "bcbcbc", "the others take turns");
        gate.open();
        assert_eq!(slow.response().text(), "a");
        rsp.stop();
    }
}

#[test]
fn by_host_gives_each_name_its_pool_and_a_404_to_others() {
    for copied in [false, true] {
        let origins = ["one", "api", "any"].map(Origin::named);
        let directory = Directory::new();
        directory.write("mine.lua", text("by_host.lua"));
        let pools: String = origins
            .iter()
            .zip(["one", "api", "any"])
            .map(|(o, name)| format!("local {name} = rsp.pool {{ servers = {{ {:?} }} }}\n", o.address))
            .collect();
        let module = if copied { "mine" } else { "rsp.by_host" };
        let rules = format!(
            "{pools}rsp.on_request(require {module:?} {{ ['example.com'] = one,
               ['api.example.com'] = api, ['*.example.com'] = any }})"
        );
        let rsp = Rsp::start_in(directory, &on_any_port(&rules));
        let mut client = Client::connect(rsp.address());
        let mut ask = |host: &str| {
            let answer = client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).response();
            (answer.status(), answer.text())
        };
        for (host, name) in [
            ("example.com", "one"),
            ("API.Example.com:8080", "api"),
            ("a.b.example.com", "any"),
            ("Example.com.", "one"),
            ("api.example.com.:80", "api"),
        ] {
            assert_eq!(ask(host), (200, name.to_string()), "{host}");
        }
        assert_eq!(ask("example.org").0, 404);
        rsp.stop();
    }
}

#[test]
fn default_is_what_listen_and_backend_run_and_a_config_to_start_from() {
    let origins = ["a", "b"].map(Origin::named);
    let mut command = rsp_command();
    command.args(["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    for origin in &origins {
        command.args(["--backend", &origin.address]);
    }
    let rsp = Rsp::spawn(Directory::new(), command, 2);
    assert_eq!(names(&rsp, 4).concat(), "abab");
    assert_eq!(get(&rsp.addresses()[1], "/").text(), "a", "both listeners share the turns");
    rsp.stop();

    let addresses = format!("{{ '127.0.0.1:0' }}, {{ '{}', '{}' }}", origins[0].address, origins[1].address);
    let text = text("default.lua");
    assert!(text.contains(" = ...\n"), "where the addresses are to be written in:\n{text}");
    let rsp = Rsp::start(&text.replace(" = ...\n", &format!(" = {addresses}\n")));
    assert_eq!(names(&rsp, 4).concat(), "abab");
    rsp.stop();
}

#[test]
fn the_types_of_the_folder_are_what_rsp_types_prints() {
    let printed = run(&folder(), &["types"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    assert_eq!(printed.stdout, text("types/rsp.lua"));
}
