//! Valid configs and their meaning.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::super::builder::{Builder, Loading};
use super::super::{Source, calls, load_again, modules};
use super::{Files, error, load, load_text};
use crate::config::{
    AccessLog, Account, Address, Admin, Balance, Config, Control, ControlLevel, LogFormat, LogTarget,
    OnResponseError, PerClient, PoolId, PoolTimeouts, ProxyVersion, Sample, ScriptLimits, Settings, Timeouts,
    Trusted, Workers,
};
use crate::script::vm::Vm;

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().unwrap())
}

fn settings(text: &str) -> Settings {
    let prefix =
        "rsp.listen '127.0.0.1:0' local web = rsp.pool { name = 'web', servers = { '127.0.0.1:1' } } ";
    load_text(&format!("{prefix} rsp.settings {{ {text} }}")).unwrap().settings
}

fn names(config: &Config) -> Vec<Vec<&str>> {
    config.pools.iter().map(|pool| pool.servers.iter().map(|server| server.name.as_str()).collect()).collect()
}

fn admin(address: &str) -> Admin {
    Admin { address: ip(address), token: None, hosts: Vec::new() }
}

#[test]
fn a_small_config_takes_the_defaults() {
    let config = load_text("rsp.listen '127.0.0.1:0'\nrsp.pool { servers = { '127.0.0.1:83' } }").unwrap();
    assert_eq!(config.listeners[0].address, ip("127.0.0.1:0"));
    let pool = &config.pools[0];
    assert_eq!(
        (pool.name.as_str(), pool.balance, pool.timeouts),
        ("pool1", Balance::RoundRobin, PoolTimeouts::default())
    );
    assert_eq!(config.settings, Settings::default());
    assert_eq!((config.classic, config.on_request, config.on_response), (None, false, false));
}

#[test]
fn a_config_with_every_key_is_loaded() {
    let config = load_text(
        r#"
        rsp.listen "0.0.0.0:80"
        rsp.listen { "[::]:80" }
        rsp.listen "unix:/run/rsp.sock"
        rsp.listen { "localhost:8080", proxy_protocol = true }
        local web = rsp.pool {
          servers = { "127.0.0.1:83", { "10.0.0.2:8080", name = "app2" }, "unix:/run/app.sock", "[::1]:8080", "localhost:1" },
          balance = "round_robin",
          timeouts = { connect = "500ms", response = 5, gap = "2m", idle = 1.5 },
        }
        local api = rsp.pool { name = "api", servers = { "127.0.0.1:84" }, balance = function(req, s) return s[1] end }
        assert(web.name == "pool1" and api.name == "api" and web ~= api)
        rsp.pool { servers = { "127.0.0.1:84" }, send_proxy = "v2", abort_on_close = true, strict = true }
        rsp.on_request(function(req) return web end)
        rsp.on_response(function(req, res) end)
        rsp.settings { max_connections = 500, access_log = { "/var/log/rsp", format = "rsp", sample = 0.25 }, trace = true, trusted = { "10.0.0.0/8", "unix:" },
          fallback = api, drain_timeout = "1h", drain_delay = "5s", upgrade_drain_timeout = "2h", user = "www-data", group = 33, via = "edge-1", workers = 3, acme_challenge_dir = "acme", resolver = "127.0.0.1:53", splice = "1m",
          max_head = "64k", max_fields = 1000, upgrades = { "websocket", "TCP", "SPDY/3.1" },
          timeouts = { handshake = 7, head = 1, body = 2, idle = 3, write = 4, tunnel = 5, rate = 6 },
          script = { time = "20ms", memory = "128m", waiting = 500, globals = true, on_response_error = "pass" }, max_connections_per_client = 20, new_connections_per_client = 30, max_body = "10m", buffer_memory = "32m", min_request_rate = "1k", min_response_rate = 0,
          admin = { "localhost:9180", token = "0123456789abcdef", hosts = { "Ops.example.com" } }, metrics = { hosts = 7 }, control = { "/run/rsp/control.sock", mode = "660", group = "ops", level = "observe" } }
        "#,
    )
    .unwrap();
    let listeners: Vec<Address> = config.listeners.iter().map(|listener| listener.address.clone()).collect();
    let unix = |path: &str| Address::Unix(path.into());
    assert_eq!(listeners, [ip("0.0.0.0:80"), ip("[::]:80"), unix("/run/rsp.sock"), ip("127.0.0.1:8080")]);
    let proxied: Vec<bool> = config.listeners.iter().map(|listener| listener.proxy_protocol).collect();
    assert_eq!(proxied, [false, false, false, true]);
    let sent: Vec<_> = config.pools.iter().map(|pool| pool.send_proxy).collect();
    assert_eq!(sent, [None, None, Some(ProxyVersion::V2)]);
    let aborts: Vec<bool> = config.pools.iter().map(|pool| pool.abort_on_close).collect();
    assert_eq!(aborts, [false, false, true]);
    let strict: Vec<bool> = config.pools.iter().map(|pool| pool.strict).collect();
    assert_eq!(strict, [false, false, true]);
    let servers = ["127.0.0.1:83", "app2", "unix:/run/app.sock", "[::1]:8080", "localhost:1"];
    assert_eq!(names(&config), [&servers[..], &["127.0.0.1:84"], &["127.0.0.1:84"]]);
    let web = &config.pools[0];
    let addresses: Vec<Address> = web.servers.iter().map(|server| server.address.clone()).collect();
    let name = Address::Name { host: "localhost".into(), port: 1 };
    assert_eq!(
        addresses,
        [ip("127.0.0.1:83"), ip("10.0.0.2:8080"), unix("/run/app.sock"), ip("[::1]:8080"), name]
    );
    assert_eq!(web.servers[1].written, "10.0.0.2:8080");
    let ms = Duration::from_millis;
    let timeouts = PoolTimeouts { connect: ms(500), response: ms(5000), gap: ms(120_000), idle: ms(1500) };
    assert_eq!(web.timeouts, timeouts);
    let kinds: Vec<_> = config.pools.iter().map(|pool| (pool.name.as_str(), pool.balance)).collect();
    assert_eq!(
        kinds,
        [("pool1", Balance::RoundRobin), ("api", Balance::Function), ("pool3", Balance::RoundRobin)]
    );
    assert!(config.on_request && config.on_response);
    let log = AccessLog {
        target: LogTarget::File("/var/log/rsp".into()),
        format: LogFormat::Rsp,
        sample: Sample::of(0.25),
    };
    let timeouts = Timeouts {
        handshake: ms(7000),
        head: ms(1000),
        body: ms(2000),
        idle: ms(3000),
        write: ms(4000),
        tunnel: ms(5000),
        rate: ms(6000),
    };
    let settings = Settings {
        workers: Workers::Number(3),
        max_connections: 500,
        max_connections_is_set: true,
        per_client: PerClient { connections: Some(20), new_a_second: Some(30) },
        max_body: Some(10 << 20),
        buffer_memory: 32 << 20,
        min_request_rate: 1024,
        min_response_rate: 0,
        access_log: Some(log),
        trace: true,
        trusted: Trusted { networks: vec!["10.0.0.0/8".parse().unwrap()], unix: true },
        fallback: Some(PoolId(1)),
        drain_timeout: Duration::from_secs(3600),
        drain_delay: Duration::from_secs(5),
        upgrade_drain_timeout: Some(Duration::from_secs(7200)),
        admin: Some(Admin {
            token: Some("0123456789abcdef".into()),
            hosts: vec!["ops.example.com".into()],
            ..admin("127.0.0.1:9180")
        }),
        hosts: Some(7),
        control: Some(Control {
            mode: 0o660,
            group: Some(Account::Name("ops".into())),
            level: ControlLevel::Observe,
            ..Control::at("/run/rsp/control.sock".into())
        }),
        user: Some(Account::Name("www-data".into())),
        group: Some(Account::Number(33)),
        resolver: Some("127.0.0.1:53".parse().unwrap()),
        on_response_error: OnResponseError::Pass,
        script: ScriptLimits {
            time: Duration::from_millis(20),
            memory: 128 << 20,
            waiting: 500,
            globals: true,
        },
        via: Some("edge-1".into()),
        max_head: 64 << 10,
        max_fields: 1000,
        upgrades: vec!["websocket".into(), "tcp".into(), "spdy/3.1".into()],
        splice: Some(1 << 20),
        timeouts,
        acme_challenge_dir: Some("acme".into()),
    };
    assert_eq!(config.settings, settings);
}

#[test]
fn the_control_socket_is_a_path_or_a_table() {
    let plain = Control::at("/run/rsp.sock".into());
    assert_eq!((plain.mode, plain.level), (0o600, ControlLevel::Admin));
    for text in ["control = '/run/rsp.sock'", "control = { 'unix:/run/rsp.sock' }"] {
        assert_eq!(settings(text).control, Some(plain.clone()), "{text}");
    }
    assert_eq!(settings("admin = '[::1]:0'").admin, Some(admin("[::1]:0")));
}

#[test]
fn users_and_groups_have_a_name_or_a_number() {
    let user = |text: &str| settings(&format!("user = {text}")).user.unwrap();
    assert_eq!(user("'www-data'"), Account::Name("www-data".into()));
    for number in ["33", "'33'"] {
        assert_eq!(settings(&format!("user = 'a', group = {number}")).group, Some(Account::Number(33)));
    }
}

#[test]
fn a_bad_access_log_is_told_what_was_expected() {
    let log = "expected \"-\" for stdout, a path, \"syslog:/dev/log\", or { path, format = \"combined\" }";
    let cases: [(&str, &str); 8] = [
        ("rsp.settings { access_log = true }", &format!("1: access_log: got true, {log}")),
        ("rsp.settings { access_log = '' }", &format!("1: access_log: got \"\", {log}")),
        (
            "rsp.settings { access_log = {} }",
            "1: access_log: no path, expected a path, \"-\" for stdout or \"syslog:/dev/log\"",
        ),
        (
            "rsp.settings { access_log = 'syslog:udp:logs' }",
            "1: access_log: got \"syslog:udp:logs\", expected \"syslog:/dev/log\" or \"syslog:udp:ADDRESS\" with an \
             address such as 10.0.0.1:514",
        ),
        ("rsp.settings { access_log = { '-', path = '-' } }", "1: access_log: two paths, expected one"),
        (
            "rsp.settings { access_log = { '-',\n format = 'yaml' } }",
            "2: access_log.format: got \"yaml\", expected \"combined\" or \"rsp\" or \"haproxy\" or \"json\"",
        ),
        (
            "rsp.settings { access_log = { '-',\n sample = 2 } }",
            "2: access_log.sample: got 2, expected a number from 0 to 1",
        ),
        (
            "rsp.settings { access_log = { '-', formt = 'rsp' } }",
            "1: access_log.formt: unknown access_log key, did you mean format?",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(error(text), format!("site.lua:{message}"), "{text}");
    }
}

#[test]
fn the_access_log_has_three_forms() {
    let log = |text: &str| settings(text).access_log.map(|log| (log.target, log.format)).unwrap();
    let file = || LogTarget::File("a.log".into());
    assert_eq!(log("access_log = '-'"), (LogTarget::Stdout, LogFormat::Combined));
    assert_eq!(log("access_log = 'a.log'"), (file(), LogFormat::Combined));
    assert_eq!(log("access_log = { 'a.log' }"), (file(), LogFormat::Combined));
    assert_eq!(log("access_log = { path = 'a.log', format = 'combined' }"), (file(), LogFormat::Combined));
    assert_eq!(log("access_log = { '-', format = 'rsp' }"), (LogTarget::Stdout, LogFormat::Rsp));
    let syslog = LogTarget::Syslog("/dev/log".into());
    assert_eq!(log("access_log = 'syslog:/dev/log'"), (syslog.clone(), LogFormat::Combined));
    assert_eq!(log("access_log = { 'syslog:/dev/log', format = 'haproxy' }"), (syslog, LogFormat::Haproxy));
}

#[test]
fn a_fallback_is_a_pool_or_a_name_even_of_a_later_pool() {
    assert_eq!(settings("fallback = 'web'").fallback, Some(PoolId(0)));
    assert_eq!(settings("fallback = web").fallback, Some(PoolId(0)));
    let text = "rsp.settings { fallback = 'b' } rsp.listen '127.0.0.1:0'
        rsp.pool { name = 'a', servers = { '127.0.0.1:1' } } rsp.pool { name = 'b', servers = { '127.0.0.1:1' } }";
    assert_eq!(load_text(text).unwrap().settings.fallback, Some(PoolId(1)));
}

#[test]
fn workers_are_a_number_or_as_many_as_there_are_cores() {
    for (text, workers) in [("1", 1), ("256", 256), ("2.0", 2)] {
        assert_eq!(settings(&format!("workers = {text}")).workers, Workers::Number(workers));
    }
    assert_eq!(settings("workers = 'auto'").workers, Workers::Auto);
}

#[test]
fn a_config_that_differs_on_the_second_load_is_refused() {
    let text = "rsp.listen '127.0.0.1:0' rsp.pool { servers = { '127.0.0.1:1' } }";
    let mut steady = Source::in_memory(Path::new("site.lua"), text.as_bytes());
    let said = load(&mut steady).unwrap();
    assert!(load_again(&mut steady, &said).is_ok());
    let timed = format!("{text} rsp.settings {{ max_body = 1 + math.floor(os.clock() * 1e6) }}");
    let mut timed = Source::in_memory(Path::new("site.lua"), timed.as_bytes());
    let said = load(&mut timed).unwrap();
    let error = load_again(&mut timed, &said).err().unwrap().0;
    assert!(error.starts_with("the config does not say the same"), "{error}");
}

#[test]
fn a_script_that_answers_every_request_needs_no_pool() {
    let config =
        load_text("rsp.listen '127.0.0.1:0' rsp.on_request(function() return rsp.respond {} end)").unwrap();
    assert!(config.pools.is_empty() && config.on_request);
}

#[test]
fn classic_globals_are_one_listener_and_one_pool() {
    let text = "listenPort = '8000'\nbackendAddress = '127.0.0.1'\nbackendPort = '8888'\n";
    let config = load_text(text).unwrap();
    assert_eq!(config.classic.as_deref(), Some("8000"));
    assert_eq!(config.listeners[0].address, ip("0.0.0.0:8000"));
    assert_eq!(
        (config.pools[0].name.as_str(), &config.pools[0].servers[0].address),
        ("pool1", &ip("127.0.0.1:8888"))
    );
    let numbers = load_text("listenPort = 8000 backendAddress = 'localhost' backendPort = 8888").unwrap();
    assert_eq!(numbers.classic.as_deref(), Some("8000"));
    assert_eq!(numbers.pools[0].servers[0].name, "localhost:8888");
    let six = load_text("listenPort = 0 backendAddress = '::1' backendPort = 8888").unwrap();
    assert_eq!(six.pools[0].servers[0].address, ip("[::1]:8888"));
}

#[test]
fn the_command_line_makes_a_config_with_a_balance_function() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
    let mut source =
        Source::embedded(&texts(&["127.0.0.1:0", "[::1]:0"]), &texts(&["127.0.0.1:83", "unix:/run/a.sock"]));
    let config = load(&mut source).unwrap();
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(names(&config), [["127.0.0.1:83", "unix:/run/a.sock"]]);
    assert_eq!(config.pools[0].balance, Balance::Function);
}

#[test]
fn a_byte_order_mark_and_a_first_line_with_a_hash_are_skipped() {
    let files = Files::new(&[]);
    let body = "rsp.listen '127.0.0.1:0'\nrsp.pool { servers = { '127.0.0.1:1' }, nam = 1 }";
    files.write("site.lua", format!("\u{feff}#!/usr/bin/env rsp\n{body}").as_bytes());
    assert_eq!(files.load().unwrap_err(), "site.lua:3: nam: unknown pool key, did you mean name?");
}

#[test]
fn the_same_source_makes_the_same_config_after_the_files_change() {
    let files = Files::new(&[
        ("site.lua", "rsp.listen '127.0.0.1:0' require 'pools'"),
        ("pools.lua", "rsp.pool { name = 'a', servers = { 'localhost:1' } }"),
    ]);
    let mut source = files.source();
    let first = load(&mut source).unwrap();
    files.write("pools.lua", b"rsp.pool { name = 'b', servers = { 'localhost:2' } }");
    files.write("site.lua", b"error 'changed'");
    let mut copy = source.clone();
    let second = std::thread::spawn(move || load(&mut copy).unwrap()).join().unwrap();
    assert_eq!(first, second);
    assert!(load(&mut files.source()).unwrap_err().ends_with("site.lua:1: changed"));
}

#[test]
fn a_refused_call_that_the_script_catches_has_no_effect() {
    let text = "rsp.listen '127.0.0.1:0' assert(not pcall(rsp.pool, { name = 'a', servers = {} }))
        rsp.pool { name = 'a', servers = { '127.0.0.1:1' } }";
    assert_eq!(load_text(text).unwrap().pools.len(), 1);
}

#[test]
fn nothing_can_be_configured_after_the_load() {
    let vm = Vm::new().unwrap();
    let loading = Rc::new(Loading::new(Builder::new(Source::embedded(&[], &[]))));
    calls::install(vm.lua(), &loading).unwrap();
    modules::install(vm.lua(), &loading).unwrap();
    vm.lua().load("require 'rsp.round_robin'").exec().unwrap();
    loading.finish().unwrap();
    for (call, name) in [
        ("rsp.listen '127.0.0.1:0'", "rsp.listen"),
        ("rsp.pool { servers = { '127.0.0.1:1' } }", "rsp.pool"),
        ("rsp.settings {}", "rsp.settings"),
        ("rsp.on_request(print)", "rsp.on_request"),
        ("rsp.on_response(print)", "rsp.on_response"),
        ("require 'later'", "require \"later\""),
    ] {
        let error = vm.lua().load(format!("\n{call}")).set_name("@site.lua").exec().unwrap_err().to_string();
        let line = format!("site.lua:2: {name}: only while the config is loaded");
        assert!(error.contains(&line), "{error}");
    }
    // What was loaded is still available.
    vm.lua().load("assert(require 'rsp.round_robin')").exec().unwrap();
}

#[test]
fn a_script_may_use_more_memory_while_it_is_loaded_than_the_default_and_less_afterwards() {
    let kept = |settings: &str, mib: usize| {
        let fill = format!("kept = {{}} for i = 1, {mib} do kept[i] = i .. ('x'):rep(1 << 20) end");
        load_text(&format!(
            "{settings} {fill} rsp.listen '127.0.0.1:0' rsp.pool {{ servers = {{ '127.0.0.1:1' }} }}"
        ))
    };
    assert!(kept("rsp.settings { script = { memory = '128m' } }", 80).is_ok());
    let told = kept("", 80).unwrap_err();
    assert_eq!(told, "site.lua:1: not enough memory: a script may use 64 MiB");
    let told = kept("rsp.settings { script = { memory = '4m' } }", 8).unwrap_err();
    assert!(told.starts_with("site.lua:1: script.memory: loading the config leaves "), "{told}");
    assert!(told.ends_with(" KiB in use, expected up to 4096 KiB"), "{told}");
}
