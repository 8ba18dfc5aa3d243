//! Servers that are names: each of their addresses is a server, as a name server's answers come and go. All origins of
//! a test have the same port, at 127.0.0.1, 127.0.0.2 and 127.0.0.3.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::*;

/// An origin at 127.0.0.N that answers with its name, `/slow` only when the gate is open.
fn origin(port: u16, last: u8, name: &str, gate: &Gate) -> Origin {
    let (gate, address) = (gate.clone(), format!("127.0.0.{last}:{port}"));
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    Origin::run_at(&address, move |visit| {
        while let Some(request) = visit.request() {
            if request.head.target() == "/slow" {
                gate.wait();
            }
            if !visit.send(&answer) {
                return;
            }
        }
    })
}

fn origins<const N: usize>(names: [&str; N]) -> (u16, [Origin; N]) {
    let (port, gate) = (free_port(), Gate::new());
    let mut number = 0;
    let at = |name| {
        number += 1;
        origin(port, number, name, &gate)
    };
    (port, names.map(at))
}

/// rsp with one pool `web` of these servers, which asks this name server.
fn start(names: &NameServer, servers: &str, options: &str) -> Rsp {
    Rsp::start(&config(names, servers, options))
}

fn config(names: &NameServer, servers: &str, options: &str) -> String {
    on_any_port(&format!(
        "local web = rsp.pool {{ name = 'web', servers = {{ {servers} }}, timeouts = {{ idle = '1m' }}, {options} }}
         rsp.settings {{ resolver = {:?} }}",
        names.address
    ))
}

/// The bodies of ten answers.
fn answers(rsp: &Rsp) -> BTreeSet<String> {
    (0..10).map(|_| get(rsp.address(), "/").text()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn counted(rsp: &Rsp, words: &str) -> usize {
    rsp.log().matches(words).count()
}

#[test]
fn every_address_of_a_name_is_a_server() {
    let (port, _origins) = origins(["one", "two", "three"]);
    let names = NameServer::with("app.test", &[1, 2, 3]);
    let rsp = start(&names, &format!("{{ 'app.test:{port}', resolve = '100ms' }}"), "");
    let served: Vec<String> = (0..6).map(|_| get(rsp.address(), "/").text()).collect();
    assert_eq!(served[..3], served[3..], "in turn");
    assert_eq!(served.into_iter().collect::<BTreeSet<_>>(), set(&["one", "two", "three"]));
    for last in 1..=3 {
        rsp.wait_for_log(&format!("server web/app.test:{port}/127.0.0.{last} is new"));
    }
    assert!(!rsp.log().contains("WARN"), "{}", rsp.log());
}

#[test]
fn a_changed_answer_adds_and_removes_servers() {
    let (port, _origins) = origins(["one", "two", "three"]);
    let names = NameServer::with("app.test", &[1, 2]);
    let rsp = start(&names, &format!("{{ 'app.test:{port}', name = 'app', resolve = '100ms' }}"), "");
    assert_eq!(answers(&rsp), set(&["one", "two"]));
    names.set("app.test", &[2, 3]);
    rsp.wait_for_log("server web/app/127.0.0.3 is new");
    rsp.wait_for_log("server web/app/127.0.0.1 is gone: app does not have this address any more");
    assert_eq!(answers(&rsp), set(&["two", "three"]));
    let asked = names.asked();
    until("it was asked again", || names.asked() > asked + 8);
    assert_eq!((counted(&rsp, "is new"), counted(&rsp, "is gone")), (3, 1), "{}", rsp.log());
}

#[test]
fn requests_at_a_server_that_is_gone_finish_and_its_idle_connections_are_not_used_again() {
    let (port, gate) = (free_port(), Gate::new());
    let [one, _two] = [(1, "one"), (2, "two")].map(|(last, name)| origin(port, last, name, &gate));
    let names = NameServer::with("app.test", &[1]);
    let rsp = start(&names, &format!("{{ 'app.test:{port}', name = 'app', resolve = '100ms' }}"), "");
    let mut slow = Client::connect(rsp.address());
    slow.ask("/slow");
    until("it is at the first server", || one.head_count() == 1);
    assert_eq!(get(rsp.address(), "/").text(), "one");
    assert_eq!((one.connection_count(), one.open_count()), (2, 2), "one of them idle");
    names.set("app.test", &[2]);
    rsp.wait_for_log("server web/app/127.0.0.1 is gone");
    assert_eq!(answers(&rsp), set(&["two"]));
    until("its idle connection is closed", || one.open_count() == 1);
    gate.open();
    assert_eq!(slow.response().text(), "one");
    until("nor is the other one kept", || one.open_count() == 0);
    names.set("app.test", &[1]);
    until("it is back", || counted(&rsp, "server web/app/127.0.0.1 is new") == 2);
    assert_eq!(answers(&rsp), set(&["one"]));
    assert_eq!(slow.get("/").text(), "one");
    assert!(one.connection_count() > 2);
}

#[test]
fn a_resolver_that_fails_keeps_the_last_answer_and_says_so_once() {
    let (port, _origins) = origins(["one", "two"]);
    for mood in [Mood::Fails, Mood::Answers] {
        let names = NameServer::with("app.test", &[1, 2]);
        let rsp = start(&names, &format!("{{ 'app.test:{port}', name = 'app', resolve = '100ms' }}"), "");
        names.set_mood(mood);
        if mood == Mood::Answers {
            names.remove("app.test");
        }
        let why = match mood {
            Mood::Answers => "no such name".into(),
            _ => format!("name server {} answers with SERVFAIL", names.address),
        };
        rsp.wait_for_log(&format!("pool web: app does not resolve: {why}; its last addresses stay in use"));
        let asked = names.asked();
        until("it was asked again", || names.asked() > asked + 8);
        assert_eq!(answers(&rsp), set(&["one", "two"]));
        names.set_mood(Mood::Answers);
        names.set("app.test", &[1, 2]);
        rsp.wait_for_log("pool web: app resolves again");
        let asked = names.asked();
        until("it was asked again", || names.asked() > asked + 8);
        assert_eq!(
            (counted(&rsp, "does not resolve"), counted(&rsp, "resolves again")),
            (1, 1),
            "{}",
            rsp.log()
        );
        assert_eq!((counted(&rsp, "is new"), counted(&rsp, "is gone")), (2, 0), "{}", rsp.log());
    }
}

#[test]
fn a_silent_resolver_holds_up_no_request_and_keeps_the_last_answer() {
    let (port, _origins) = origins(["one"]);
    let names = NameServer::with("app.test", &[1]);
    let rsp = start(&names, &format!("{{ 'app.test:{port}', resolve = '100ms' }}"), "");
    names.set_mood(Mood::Silent);
    let asked = names.asked();
    until("it was asked in vain", || names.asked() > asked + 2);
    let began = Instant::now();
    assert_eq!(answers(&rsp), set(&["one"]));
    assert!(began.elapsed() < Duration::from_secs(5));
    rsp.wait_for_log("does not answer; its last addresses stay in use");
}

#[test]
fn a_name_that_does_not_resolve_at_the_start_is_a_server_that_is_down_until_it_does() {
    let (port, _origins) = origins(["one"]);
    let names = NameServer::new();
    let rsp = start(&names, &format!("{{ 'app.test:{port}', name = 'app', resolve = '100ms' }}"), "");
    rsp.wait_for_log("WARN pool web: app does not resolve: no such name; it has no address yet");
    assert_eq!(get(rsp.address(), "/").status(), 503);
    names.set("app.test", &[1]);
    rsp.wait_for_log("server web/app/127.0.0.1 is new");
    assert_eq!(get(rsp.address(), "/").text(), "one");
    rsp.wait_for_log("pool web: app resolves now");
    assert_eq!((counted(&rsp, "does not resolve"), counted(&rsp, "is gone")), (1, 0), "{}", rsp.log());
}

#[test]
fn rsp_starts_while_the_resolver_is_silent_and_serves_its_other_servers() {
    let (port, _origins) = origins(["one"]);
    let names = NameServer::with("app.test", &[1]);
    names.set_mood(Mood::Silent);
    let other = Origin::named("other");
    let servers = format!("{:?}, {{ 'app.test:{port}', resolve = '100ms' }}", other.address);
    let rsp = start(&names, &servers, "");
    assert_eq!(answers(&rsp), set(&["other"]));
    names.set_mood(Mood::Answers);
    until("both serve", || answers(&rsp) == set(&["one", "other"]));
}

#[test]
fn srv_records_bring_port_weight_and_priority() {
    let gate = Gate::new();
    let ports = [(); 3].map(|()| free_port());
    let at = [(0, "heavy"), (1, "light"), (2, "spare")];
    let [heavy, light, spare] = at.map(|(at, name)| origin(ports[at], 1, name, &gate));
    let names = NameServer::with("a.test", &[1]);
    let records = |heaviest: bool| {
        let mut records =
            vec![Record::Srv([10, 10, ports[1]], "a.test"), Record::Srv([20, 10, ports[2]], "a.test")];
        if heaviest {
            records.push(Record::Srv([10, 30, ports[0]], "a.test"));
        }
        records
    };
    names.set_records("_http._tcp.test", records(true));
    let rsp = start(&names, "{ 'srv:_http._tcp.test', name = 'app', resolve = '100ms' }", "");
    for _ in 0..40 {
        assert_ne!(get(rsp.address(), "/").text(), "spare");
    }
    assert_eq!((heavy.request_count(), light.request_count()), (30, 10));
    for port in ports {
        rsp.wait_for_log(&format!("server web/app/127.0.0.1:{port} is new"));
    }
    names.set_records("_http._tcp.test", records(false));
    rsp.wait_for_log(&format!("server web/app/127.0.0.1:{} is gone", ports[0]));
    assert_eq!(answers(&rsp), set(&["light"]));
    drop(light);
    assert_eq!(answers(&rsp), set(&["spare"]));
    // The name of the records is no host.
    let mut old = Client::connect(rsp.address());
    assert_eq!(old.send("GET / HTTP/1.0\r\n\r\n").response().text(), "spare");
    assert_eq!(spare.last().get("host"), Some(&*format!("127.0.0.1:{}", ports[2])));
}

#[test]
fn localhost_works_whatever_of_its_addresses_the_server_listens_on() {
    let origin = Origin::named("here");
    let port = origin.address.rsplit(':').next().unwrap_or_default();
    for workers in [1, 2] {
        let rsp = Rsp::start(&on_any_port(&format!(
            "rsp.pool {{ name = 'web', servers = {{ 'localhost:{port}' }} }} rsp.settings {{ workers = {workers} }}"
        )));
        rsp.wait_for_log(&format!("server web/localhost:{port}/127.0.0.1 is new"));
        for _ in 0..20 {
            assert_eq!(get(rsp.address(), "/").text(), "here");
            let mut client = Client::connect(rsp.address());
            assert_eq!(client.post("/", "x").text(), "here");
        }
    }
}

#[test]
fn an_ipv6_address_where_nothing_listens_costs_no_request_an_error() {
    let (port, _origins) = origins(["one"]);
    let names = NameServer::new();
    let both = vec![Record::A([127, 0, 0, 1]), Record::Aaaa("::1")];
    names.set_records("app.test", both);
    let rsp = start(&names, &format!("{{ 'app.test:{port}', name = 'app', resolve = '100ms' }}"), "");
    rsp.wait_for_log("server web/app/::1 is new");
    for _ in 0..20 {
        assert_eq!(get(rsp.address(), "/").text(), "one");
        assert_eq!(Client::connect(rsp.address()).post("/", "x").text(), "one");
    }
}

#[test]
fn a_name_with_health_checks_gets_requests_after_the_first_check_of_each_address() {
    let (port, origins) = origins(["one", "two"]);
    let names = NameServer::with("app.test", &[1, 2]);
    let rsp = start(
        &names,
        &format!("{{ 'app.test:{port}', name = 'app', resolve = '100ms' }}"),
        "health = { path = '/up', interval = '100ms' }",
    );
    until("both are up", || answers(&rsp) == set(&["one", "two"]));
    for origin in &origins {
        assert!(targets(&origin.requests()).contains(&"/up".to_owned()));
    }
    names.set("app.test", &[1, 2, 3]);
    rsp.wait_for_log("server web/app/127.0.0.3 is down: the first check failed");
    let _third = origin(port, 3, "three", &Gate::new());
    until("the third is up", || answers(&rsp) == set(&["one", "two", "three"]));
    names.set("app.test", &[1]);
    rsp.wait_for_log("server web/app/127.0.0.2 is gone");
    let checked = || targets(&origins[1].requests()).len();
    // One that was on its way may still come.
    let mut before = checked();
    until("checks of it end", || {
        std::thread::sleep(Duration::from_millis(500));
        std::mem::replace(&mut before, checked()) == checked()
    });
}

#[test]
fn check_warns_of_a_name_that_does_not_resolve_and_passes_soon() {
    let names = NameServer::new();
    let directory = Directory::new();
    directory.write("rsp.lua", config(&names, "{ 'app.test:80', name = 'app' }, '127.0.0.1:1'", ""));
    for (mood, why) in [(Mood::Answers, "no such name"), (Mood::Silent, "no answer yet")] {
        names.set_mood(mood);
        let began = Instant::now();
        let done = run(directory.path(), &["check", "rsp.lua"]);
        assert_eq!((done.code, &*done.stdout), (Some(0), "rsp.lua: ok\n"), "{}", done.stderr);
        assert_eq!(done.stderr, format!("rsp.lua: warning: pool web: app does not resolve: {why}\n"));
        assert!(began.elapsed() < Duration::from_secs(15));
    }
}
