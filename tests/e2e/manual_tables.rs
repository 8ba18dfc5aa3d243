//! The tables of the manual match the program: every config key and no other, every default, every reserved name, and
//! the figures of the README and of `scripts/instructions`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::manual::{chapter, root, spans};
use crate::support::*;
use rsp::config::{Config, Eject, Health, HealthKind, HttpCheck, Queue, Workers};
use rsp::script::{Source, TYPES, load};

/// The heading of the tables in tables of a pool.
const FAILURES: &str = "Checks, ejection, queue, sticky";

/// The rows of the tables below a heading, without their heads.
fn rows(chapter: &str, heading: &str) -> Vec<Vec<String>> {
    let start = format!("\n## {heading}\n");
    let section = chapter.split(&start).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines: Vec<&str> = section.lines().collect();
    let is_row = |at: &usize| {
        let next = lines.get(at + 1).is_some_and(|line| line.starts_with("|--"));
        lines[*at].starts_with("| ") && !next
    };
    let cells =
        |at: usize| lines[at].trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect();
    (0..lines.len()).filter(is_row).map(cells).collect()
}

/// The text between backticks, if the cell has nothing else.
fn word(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`').filter(|word| !word.contains('`'))
}

/// The `---@field`s of a class of `rsp types`, which another test compares with the config's keys.
fn fields(class: &str) -> BTreeSet<String> {
    let start = format!("---@class {class}");
    let lines = TYPES.lines().skip_while(|line| *line != start).skip(1);
    let fields = lines.take_while(|line| line.starts_with("---@field "));
    let name =
        |line: &str| line.split_whitespace().nth(1).unwrap_or_default().trim_end_matches('?').to_owned();
    fields.map(name).filter(|name| !name.starts_with('[')).collect()
}

#[test]
fn the_manual_has_every_key_of_the_config_and_no_other() {
    let text = chapter("configuration");
    for (heading, class) in [
        ("rsp.listen", "rsp.Listener"),
        ("rsp.pool", "rsp.PoolOptions"),
        ("Servers", "rsp.ServerOptions"),
        ("tls of a listener", "rsp.Tls"),
        ("rsp.settings", "rsp.Settings"),
    ] {
        let rows = rows(&text, heading);
        let keys = rows.iter().filter_map(|row| word(&row[0])).filter(|word| !word.starts_with('"'));
        assert_eq!(keys.map(str::to_owned).collect::<BTreeSet<_>>(), fields(class), "{heading}");
    }
    for (heading, place, class) in [
        ("Timeouts", "settings", "rsp.Timeouts"),
        ("Timeouts", "pool", "rsp.PoolTimeouts"),
        (FAILURES, "health", "rsp.Health"),
        (FAILURES, "eject", "rsp.Eject"),
        (FAILURES, "queue", "rsp.Queue"),
        (FAILURES, "sticky", "rsp.Sticky"),
        (FAILURES, "hedge", "rsp.Hedge"),
        (FAILURES, "mirror", "rsp.Mirror"),
    ] {
        let rows = rows(&text, heading);
        let keys = rows.iter().filter(|row| row[0] == place).filter_map(|row| word(&row[1]));
        assert_eq!(keys.map(str::to_owned).collect::<BTreeSet<_>>(), fields(class), "{place}");
    }
}

#[test]
fn the_manual_has_every_field_of_what_a_script_gets() {
    let text = chapter("lua");
    for (heading, class) in
        [("req", "rsp.Request"), ("rsp.on_response", "rsp.Response"), ("Balance functions", "rsp.Server")]
    {
        let rows = rows(&text, heading);
        let names: Vec<&str> = rows.iter().flat_map(|row| spans(&row[0])).collect();
        let names: BTreeSet<String> =
            names.iter().map(|span| span.split('[').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(names, fields(class), "{heading}");
    }
}

/// A minimal config.
fn plain() -> Config {
    let directory = Directory::new();
    let path =
        directory.write("site.lua", balanced(&["127.0.0.1:83"]).replace(", timeouts = { idle = '1m' }", ""));
    load(&mut Source::file(&path)).map(|(config, _)| config).unwrap_or_else(|error| panic!("{}", error.0))
}

/// A time in the notation of the tables.
fn time(time: Duration) -> String {
    match time.as_secs() {
        hours if hours % 3600 == 0 => format!("{} h", hours / 3600),
        seconds => format!("{seconds} s"),
    }
}

fn kilobytes(bytes: u64) -> String {
    format!("`\"{}k\"`", bytes >> 10)
}

fn expect_defaults(heading: &str, key_column: usize, expected: &[(&str, String)]) {
    let rows = rows(&chapter("configuration"), heading);
    for (key, default) in expected {
        let row = rows.iter().find(|row| word(&row[key_column]) == Some(key));
        let row = row.unwrap_or_else(|| panic!("{heading}: no {key}"));
        assert_eq!(&row[key_column + 1], default, "{heading}: {key}");
    }
}

#[test]
fn the_defaults_of_the_settings_are_those_of_the_program() {
    let Config { settings, .. } = plain();
    let Workers::Number(workers) = settings.workers else { panic!("{:?}", settings.workers) };
    let unless = |is_set: bool, text: &str| if is_set { "set".into() } else { text.to_string() };
    let seconds = settings.drain_timeout.as_secs();
    let upgrades: Vec<String> = settings.upgrades.iter().map(|name| format!("{name:?}")).collect();
    expect_defaults(
        "rsp.settings",
        0,
        &[
            ("workers", workers.to_string()),
            ("max_connections", settings.max_connections.to_string()),
            ("max_connections_per_client", unless(settings.per_client.connections.is_some(), "no limit")),
            ("new_connections_per_client", unless(settings.per_client.new_a_second.is_some(), "no limit")),
            ("max_body", unless(settings.max_body.is_some(), "no limit")),
            ("max_head", kilobytes(settings.max_head.into())),
            ("max_fields", settings.max_fields.to_string()),
            ("min_request_rate", settings.min_request_rate.to_string()),
            ("min_response_rate", settings.min_response_rate.to_string()),
            ("access_log", unless(settings.access_log.is_some(), "off")),
            ("trusted", unless(settings.trusted.unix || !settings.trusted.networks.is_empty(), "none")),
            ("fallback", unless(settings.fallback.is_some(), "none")),
            ("drain_timeout", format!("`\"{seconds}s\"`")),
            ("resolver", unless(settings.resolver.is_some(), "/etc/resolv.conf")),
            ("upgrades", format!("`{{ {} }}`", upgrades.join(", "))),
            ("splice", kilobytes(settings.splice.unwrap_or_default())),
            ("via", unless(settings.via.is_some(), "off")),
        ],
    );
}

#[test]
fn the_default_timeouts_are_those_of_the_program() {
    let config = plain();
    let (client, pool) = (config.settings.timeouts, config.pools[0].timeouts);
    let rows = rows(&chapter("configuration"), "Timeouts");
    for (place, key, default) in [
        ("settings", "head", client.head),
        ("settings", "body", client.body),
        ("settings", "idle", client.idle),
        ("settings", "write", client.write),
        ("settings", "tunnel", client.tunnel),
        ("settings", "rate", client.rate),
        ("pool", "connect", pool.connect),
        ("pool", "response", pool.response),
        ("pool", "gap", pool.gap),
        ("pool", "idle", pool.idle),
    ] {
        let row = rows.iter().find(|row| row[0] == place && word(&row[1]) == Some(key));
        assert_eq!(row.map(|row| &row[2]), Some(&time(default)), "{place}: {key}");
    }
}

#[test]
fn the_defaults_of_listeners_and_pools_are_those_of_the_program() {
    let config = plain();
    let (listener, pool) = (&config.listeners[0], &config.pools[0]);
    let yes = |is: bool| format!("`{is}`");
    let unless = |is_set: bool, text: &str| if is_set { "set".into() } else { text.to_string() };
    for (heading, sockets) in [("rsp.listen", &listener.sockets), ("rsp.pool", &pool.sockets)] {
        expect_defaults(
            heading,
            0,
            &[
                ("receive_buffer", unless(sockets.receive_buffer.is_some(), "the kernel's")),
                ("send_buffer", unless(sockets.send_buffer.is_some(), "the kernel's")),
                ("busy_poll", unless(sockets.busy_poll.is_some(), "none")),
            ],
        );
    }
    expect_defaults(
        "rsp.listen",
        0,
        &[
            ("proxy_protocol", yes(listener.proxy_protocol)),
            ("backlog", listener.backlog.to_string()),
            ("defer_accept", yes(listener.defer_accept)),
        ],
    );
    expect_defaults(
        "rsp.pool",
        0,
        &[
            ("name", format!("`{}`, `pool2` …", pool.name)),
            ("abort_on_close", yes(pool.abort_on_close)),
            ("send_proxy", unless(pool.send_proxy.is_some(), "none")),
            ("strict", yes(pool.strict)),
            ("trailers", yes(pool.trailers)),
        ],
    );
}

#[test]
fn the_defaults_of_servers_and_their_failures_are_those_of_the_program() {
    let config = plain();
    let (pool, server) = (&config.pools[0], &config.pools[0].servers[0]);
    let unless = |is_set: bool, text: &str| if is_set { "set".into() } else { text.to_string() };
    expect_defaults(
        "rsp.pool",
        0,
        &[
            ("hash_by", unless(pool.hash_by.is_some(), "none")),
            ("slow_start", unless(pool.slow_start.is_some(), "none")),
            ("max_idle", pool.max_idle.to_string()),
            ("min_idle", pool.min_idle.to_string()),
            ("sticky", unless(pool.sticky.is_some(), "off")),
            ("health", unless(pool.health.is_some(), "off")),
            ("eject", unless(pool.eject.is_none(), "on")),
            ("retries", pool.retries.to_string()),
            ("retry_budget", pool.retry_budget.to_string()),
        ],
    );
    expect_defaults(
        "Servers",
        0,
        &[
            ("weight", server.weight.to_string()),
            ("max_connections", unless(server.max_connections.is_some(), "no limit")),
            ("backup", format!("`{}`", server.backup)),
            ("disabled", format!("`{}`", server.disabled)),
            ("resolve", unless(server.resolve.is_some(), "the record's TTL")),
        ],
    );
}

#[test]
fn the_defaults_of_checks_ejection_and_the_queue_are_those_of_the_program() {
    let (health, http) = (Health::of(HealthKind::Tcp), HttpCheck::default());
    let (eject, queue) = (Eject::default(), Queue::default());
    let unless = |is_set: bool, text: &str| if is_set { "set".into() } else { text.to_string() };
    let text = |text: &str| format!("`\"{text}\"`");
    let rows = rows(&chapter("configuration"), FAILURES);
    for (place, key, default) in [
        ("health", "path", text(&http.path)),
        ("health", "method", text(&http.method)),
        ("health", "status", text(&http.status.to_string())),
        ("health", "host", unless(http.host.is_some(), "the address")),
        ("health", "body", unless(http.body.is_some(), "any")),
        ("health", "port", unless(health.port.is_some(), "the server's")),
        ("health", "interval", time(health.interval)),
        ("health", "timeout", time(health.timeout)),
        ("health", "rise", health.rise.to_string()),
        ("health", "fall", health.fall.to_string()),
        ("eject", "failures", eject.failures.to_string()),
        ("eject", "error_rate", unless(eject.error_rate.is_some(), "none")),
        ("eject", "status", unless(!eject.status.is_empty(), "none")),
        ("eject", "pause", time(eject.pause)),
        ("eject", "most", eject.most.to_string()),
        ("queue", "most", queue.most.to_string()),
        ("queue", "timeout", time(queue.timeout)),
    ] {
        let row = rows.iter().find(|row| row[0] == place && word(&row[1]) == Some(key));
        assert_eq!(row.map(|row| &row[2]), Some(&default), "{place}: {key}");
    }
}

#[test]
fn the_limits_are_those_of_the_program() {
    let Config { settings, .. } = plain();
    let rows = rows(&chapter("configuration"), "Limits");
    for (what, times) in [("request head", 1), ("response head", 2)] {
        let row = rows.iter().find(|row| row[0] == what).expect(what);
        let limit =
            format!("{} KiB, {} fields ", times * (settings.max_head >> 10), times * settings.max_fields);
        assert!(row[1].starts_with(&limit), "{what}: {} is not {limit}", row[1]);
    }
}

#[test]
fn the_figures_of_the_readme_are_those_of_the_benchmarks() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let full = rows(&chapter("benchmarks"), "Results");
    let short = rows(&readme, "Compared with haproxy and nginx");
    assert!(short.len() > 5 && full.len() > short.len());
    for row in short {
        let all = full.iter().find(|all| all[0] == row[0]).unwrap_or_else(|| panic!("no {}", row[0]));
        let columns = [0, 1, 2, 4, 6, 7].map(|column| all[column].clone());
        assert_eq!(row, columns);
    }
}

#[test]
fn the_instructions_that_the_manual_claims_are_those_of_the_ratchet() {
    let ratchet =
        std::fs::read_to_string(root().join("scripts/bench/instructions.ratchet")).expect("the ratchet");
    let text = chapter("benchmarks");
    let limits =
        ratchet.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    let limits: Vec<String> = limits
        .map(|(_, number)| format!("{},{}", &number[..number.len() - 3], &number[number.len() - 3..]))
        .collect();
    assert_eq!(limits.len(), 3);
    for limit in limits {
        assert!(text.contains(&limit), "{limit} is not in the chapter on benchmarks");
    }
}
