//! Keys about servers, the choice among them, and their failures: what they mean, and the errors of wrong ones.

use std::time::Duration;

use super::messages::all;
use super::{error, load_text};
use crate::config::{
    Address, Balance, Eject, HashBy, Health, HealthKind, HttpCheck, PoolConfig, Queue, ServerConfig,
    StatusRanges, Sticky,
};

/// The pool of a config with these keys, and two servers unless they are among the keys.
fn pool(keys: &str) -> PoolConfig {
    let servers = if keys.contains("servers =") { "" } else { "servers = { '127.0.0.1:1', '127.0.0.1:2' }," };
    let config = load_text(&format!("rsp.listen '127.0.0.1:0' rsp.pool {{ {servers} {keys} }}")).expect(keys);
    (*config.pools[0]).clone()
}

fn server(item: &str) -> ServerConfig {
    pool(&format!("servers = {{ {item} }}")).servers.remove(0)
}

/// Pools with one of these keys, in the second line, and the error of that line.
fn pools_with(cases: &[(&str, &str)]) {
    for (key, message) in cases {
        let text = format!("rsp.pool {{ servers = {{ '127.0.0.1:1', '127.0.0.1:2' }},\n {key} }}");
        assert_eq!(error(&text), format!("site.lua:2: {message}"), "{key}");
    }
}

#[test]
fn a_pool_without_keys_has_the_documented_defaults() {
    let pool = pool("");
    assert_eq!((pool.balance, pool.hash_by, pool.slow_start), (Balance::RoundRobin, None, None));
    assert_eq!((pool.max_idle, pool.min_idle, pool.retries, pool.retry_budget), (64, 0, 2, 0.2));
    assert_eq!(pool.queue, Queue { most: 1000, timeout: Duration::from_secs(5) });
    assert!(pool.sticky.is_none() && pool.health.is_none());
    let eject = Eject {
        failures: 3,
        error_rate: None,
        status: StatusRanges(vec![]),
        pause: Duration::from_secs(1),
        most: 0.5,
    };
    assert_eq!(pool.eject, Some(eject));
    let server = ServerConfig::new(
        "127.0.0.1:1".into(),
        Address::Ip("127.0.0.1:1".parse().unwrap()),
        "127.0.0.1:1".into(),
    );
    assert_eq!((server.weight, server.max_connections, server.resolve), (1, None, None));
    assert!(!server.backup && !server.disabled && !server.is_name());
    assert_eq!(pool.servers[0], server);
}

#[test]
fn a_server_has_keys_of_its_own() {
    let all = server(
        "{ 'localhost:80', name = 'a', weight = 0, max_connections = 200, backup = true, disabled = true, resolve = '10s' }",
    );
    assert_eq!((all.name.as_str(), all.weight, all.max_connections), ("a", 0, Some(200)));
    assert!(all.backup && all.disabled && all.is_name());
    assert_eq!(all.resolve, Some(Duration::from_secs(10)));
    assert_eq!(all.address, Address::Name { host: "localhost".into(), port: 80 });
    assert_eq!(server("{ '127.0.0.1:1', weight = 256 }").weight, 256);
    assert_eq!(server("'srv:_http._tcp.app'").address, Address::Srv("_http._tcp.app".into()));
}

#[test]
fn wrong_keys_of_a_server_are_errors_in_their_line() {
    for (key, message) in [
        ("weight = 257", "weight: got 257, expected a whole number from 0 to 256"),
        ("weight = '2'", "weight: got \"2\", expected a whole number from 0 to 256"),
        ("weight = 1.5", "weight: got 1.5, expected a whole number from 0 to 256"),
        ("max_connections = 0", "max_connections: got 0, expected a whole number from 1 to 1000000"),
        ("backup = 1", "backup: got 1, expected true or false"),
        ("disabled = 'no'", "disabled: got \"no\", expected true or false"),
        (
            "resolve = '10s'",
            "resolve: \"127.0.0.1:1\" has no name to resolve, expected an address such as \"app.internal:8080\"",
        ),
        ("wieght = 1", "wieght: unknown server key, did you mean weight?"),
        ("max_conn = 1", "max_conn: unknown server key, did you mean max_connections?"),
    ] {
        let text = format!("rsp.pool {{ servers = {{\n {{ '127.0.0.1:1',\n {key} }} }} }}");
        assert_eq!(error(&text), format!("site.lua:3: servers[1].{message}"), "{key}");
    }
    all(&[(
        "rsp.pool { servers = {\n 'srv:app:80' } }",
        "2: servers[1]: bad name in \"srv:app:80\", expected srv:NAME without a port, such as srv:_http._tcp.app.internal",
    )]);
}

#[test]
fn every_algorithm_has_its_word() {
    for (word, balance) in [
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
        ("least_latency", Balance::LeastLatency),
        ("random", Balance::Random),
        ("first", Balance::First),
        ("source_hash", Balance::SourceHash),
    ] {
        assert_eq!(pool(&format!("balance = '{word}'")).balance, balance);
    }
    let function = pool("balance = function(req, servers) return servers[1] end");
    assert_eq!((function.balance, function.hash_by), (Balance::Function, None));
}

#[test]
fn a_hash_goes_by_what_hash_by_says() {
    for (by, expected) in [
        ("'path'", HashBy::Path),
        ("'header:X-User'", HashBy::Header("X-User".into())),
        ("'cookie:session'", HashBy::Cookie("session".into())),
        ("'query:q:1'", HashBy::Query("q:1".into())),
        ("function(req) return req.path end", HashBy::Function),
    ] {
        let pool = pool(&format!("balance = 'hash', hash_by = {by}"));
        assert_eq!((pool.balance, pool.hash_by), (Balance::Hash, Some(expected)));
    }
    let forms = "\"path\", \"header:NAME\", \"cookie:NAME\", \"query:NAME\" or a function(req)";
    for by in ["'Path'", "'path:x'", "'header:'", "'header:a b'", "'cookie:a;b'", "'query:'", "'host'", "5"] {
        let text =
            format!("rsp.pool {{ servers = {{ '127.0.0.1:1' }}, balance = 'hash',\n hash_by = {by} }}");
        let shown = by.replace('\'', "\"");
        assert_eq!(error(&text), format!("site.lua:2: hash_by: got {shown}, expected {forms}"));
    }
    pools_with(&[(
        "balance = 'hash'",
        "balance: \"hash\" has no key, expected hash_by beside it, as in hash_by = \"path\"",
    )]);
}

#[test]
fn a_check_is_a_connection_or_a_request() {
    assert_eq!(pool("health = 'tcp'").health, Some(Health::of(HealthKind::Tcp)));
    let plain = Health::of(HealthKind::Http(HttpCheck {
        method: "GET".into(),
        path: "/".into(),
        host: None,
        status: StatusRanges(vec![200..=399]),
        body: None,
    }));
    assert_eq!((plain.interval, plain.timeout), (Duration::from_secs(2), Duration::from_secs(1)));
    assert_eq!((plain.rise, plain.fall, plain.port), (2, 3, None));
    assert_eq!(pool("health = {}").health, Some(plain));
    let all = pool(
        "health = { path = '/up?deep=1', interval = '500ms', timeout = 3, rise = 1, fall = 5, status = '200, 204',
                    body = 'ok', host = 'app.example.com:80', method = 'POST', port = 9000 }",
    );
    let http = HttpCheck {
        method: "POST".into(),
        path: "/up?deep=1".into(),
        host: Some("app.example.com:80".into()),
        status: StatusRanges(vec![200..=200, 204..=204]),
        body: Some("ok".into()),
    };
    let health = Health {
        kind: HealthKind::Http(http),
        interval: Duration::from_millis(500),
        timeout: Duration::from_secs(3),
        rise: 1,
        fall: 5,
        port: Some(9000),
    };
    assert_eq!(all.health, Some(health));
}

#[test]
fn statuses_are_numbers_ranges_and_lists() {
    let statuses = |written: &str| match pool(&format!("health = {{ status = {written} }}")).health.unwrap() {
        Health { kind: HealthKind::Http(http), .. } => http.status.to_string(),
        other => panic!("{other:?}"),
    };
    for (written, read) in [
        ("200", "200"),
        ("'200'", "200"),
        ("'200-399'", "200-399"),
        ("'200,204'", "200,204"),
        ("{ 200, '300-399', '404, 405' }", "200,300-399,404,405"),
    ] {
        assert_eq!(statuses(written), read);
    }
    let expected = "expected statuses from 200 to 599 such as \"200-399\" or 200";
    for written in ["'199'", "'200-'", "'2xx'", "'399-200'", "'+200'", "600", "200.5", "true", "''"] {
        let shown = written.replace('\'', "\"");
        let message = format!("health.status: got {shown}, {expected}");
        pools_with(&[(&format!("health = {{ status = {written} }}"), &message)]);
    }
    pools_with(&[
        ("health = { status = {} }", &format!("health.status: an empty list, {expected}")),
        ("health = { status = { 200, 'x' } }", &format!("health.status[2]: got \"x\", {expected}")),
    ]);
}

#[test]
fn wrong_checks_are_errors() {
    let path = "expected a path such as \"/up\", without blanks and \"#\"";
    let method = "expected a method such as \"GET\" or \"HEAD\"";
    let host = "expected a host, perhaps with a port, such as \"www.example.com\"";
    pools_with(&[
        ("health = 'http'", "health: got \"http\", expected \"tcp\" or a table such as { path = \"/up\" }"),
        ("health = true", "health: got true, expected \"tcp\" or a table such as { path = \"/up\" }"),
        ("health = { path = 'up' }", &format!("health.path: got \"up\", {path}")),
        ("health = { path = '/a b' }", &format!("health.path: got \"/a b\", {path}")),
        ("health = { path = '/a#b' }", &format!("health.path: got \"/a#b\", {path}")),
        ("health = { path = '/\\r\\n' }", &format!("health.path: got \"/\\r\\n\", {path}")),
        ("health = { path = '/ü' }", &format!("health.path: got \"/ü\", {path}")),
        ("health = { method = 'G T' }", &format!("health.method: got \"G T\", {method}")),
        ("health = { method = 'CONNECT' }", &format!("health.method: got \"CONNECT\", {method}")),
        ("health = { host = 'a/b' }", &format!("health.host: got \"a/b\", {host}")),
        (
            "health = { method = 'HEAD', body = 'ok' }",
            "health.body: a response to HEAD has none, expected method = \"GET\"",
        ),
        ("health = { rise = 0 }", "health.rise: got 0, expected a whole number from 1 to 1000"),
        ("health = { fall = '3' }", "health.fall: got \"3\", expected a whole number from 1 to 1000"),
        ("health = { interval = 0 }", "health.interval: got 0, expected a time from 1ms to 24h"),
        ("health = { port = 65536 }", "health.port: got 65536, expected a whole number from 1 to 65535"),
        ("health = { pth = '/' }", "health.pth: unknown health key, did you mean path?"),
    ]);
    all(&[(
        "rsp.pool { servers = { 'unix:/tmp/a.sock' }, health = {\n port = 80 } }",
        "2: health.port: a unix socket has none, expected a server with a TCP address such as \"127.0.0.1:8080\"",
    )]);
}

#[test]
fn ejection_can_be_changed_and_switched_off() {
    assert_eq!(pool("eject = false").eject, None);
    assert_eq!(pool("eject = true").eject, Some(Eject::default()));
    assert_eq!(pool("eject = {}").eject, Some(Eject::default()));
    let all = "eject = { failures = 5, error_rate = 0.5, status = '500-599', pause = '10s', most = 1 }";
    let eject = Eject {
        failures: 5,
        error_rate: Some(0.5),
        status: StatusRanges(vec![500..=599]),
        pause: Duration::from_secs(10),
        most: 1.0,
    };
    assert_eq!(pool(all).eject, Some(eject));
    pools_with(&[
        ("eject = 5", "eject: got 5, expected false or a table such as { failures = 5 }"),
        ("eject = { failures = 0 }", "eject.failures: got 0, expected a whole number from 1 to 1000000"),
        ("eject = { error_rate = 0 }", "eject.error_rate: got 0, expected a number from 0.01 to 1"),
        ("eject = { most = 1.5 }", "eject.most: got 1.5, expected a number from 0 to 1"),
        ("eject = { most = 0/0 }", "eject.most: got NaN, expected a number from 0 to 1"),
        (
            "eject = { status = 429 }",
            "eject.status: got 429, expected statuses from 500 to 599 such as \"500-599\" or 500",
        ),
        ("eject = { pauze = 1 }", "eject.pauze: unknown eject key, did you mean pause?"),
    ]);
}

#[test]
fn sticky_sessions_have_a_cookie_and_a_secret() {
    let (cookie, secret) = ("srv".to_owned(), "s3cret".to_owned());
    let plain = Sticky { cookie, secret, max_age: None };
    assert_eq!(pool("sticky = { cookie = 'srv', secret = 's3cret' }").sticky, Some(plain.clone()));
    let month = pool("sticky = { cookie = 'srv', secret = 's3cret', max_age = '720h' }").sticky;
    assert_eq!(month, Some(Sticky { max_age: Some(Duration::from_secs(30 * 24 * 3600)), ..plain }));
    let guess = "expected a text without control characters that nobody can guess";
    pools_with(&[
        (
            "sticky = 'srv'",
            "sticky: got \"srv\", expected a table such as { cookie = \"srv\", secret = \"…\" }",
        ),
        ("sticky = { secret = 'a' }", "sticky: no cookie, expected its name, as in cookie = \"srv\""),
        ("sticky = { cookie = 'srv' }", "sticky: no secret, expected a text that nobody can guess"),
        (
            "sticky = { cookie = 'a b', secret = 'a' }",
            "sticky.cookie: got \"a b\", expected the name of a cookie, such as \"srv\"",
        ),
        ("sticky = { cookie = 'srv', secret = 'hidden\\n' }", &format!("sticky.secret: not usable, {guess}")),
        ("sticky = { cookie = 'srv', secret = 5 }", &format!("sticky.secret: got 5, {guess}")),
        (
            "sticky = { cookie = 'srv', secret = 'a', max_age = 0.5 }",
            "sticky.max_age: got 0.5, expected a time from 1s to 8760h",
        ),
        ("sticky = { cokie = 'srv' }", "sticky.cokie: unknown sticky key, did you mean cookie?"),
    ]);
}

#[test]
fn the_numbers_of_a_pool_have_limits() {
    let some = pool(
        "slow_start = '30s', max_idle = 8, min_idle = 8, retries = 10, retry_budget = 1, queue = { most = 0, timeout = '1m' }",
    );
    assert_eq!((some.slow_start, some.max_idle, some.min_idle), (Some(Duration::from_secs(30)), 8, 8));
    assert_eq!((some.retries, some.retry_budget), (10, 1.0));
    assert_eq!(some.queue, Queue { most: 0, timeout: Duration::from_secs(60) });
    let time = "expected a time such as \"500ms\", \"5s\", \"2m\", \"1h\" or a number of seconds";
    assert_eq!(pool("queue = { most = 5 }").queue, Queue { most: 5, ..Queue::default() });
    pools_with(&[
        ("slow_start = 0", "slow_start: got 0, expected a time from 1ms to 24h"),
        ("max_idle = 65536", "max_idle: got 65536, expected a whole number from 0 to 65535"),
        ("min_idle = -1", "min_idle: got -1, expected a whole number from 0 to 65535"),
        ("min_idle = 65", "min_idle: got 65, expected at most max_idle, which is 64"),
        ("retries = 11", "retries: got 11, expected a whole number from 0 to 10"),
        ("retry_budget = -0.1", "retry_budget: got -0.1, expected a number from 0 to 10"),
        ("retry_budget = '20%'", "retry_budget: got \"20%\", expected a number from 0 to 10"),
        ("queue = 100", "queue: got 100, expected a table such as { most = 1000, timeout = \"5s\" }"),
        ("queue = { most = 1000001 }", "queue.most: got 1000001, expected a whole number from 0 to 1000000"),
        ("queue = { timeout = {} }", &format!("queue.timeout: got a table, {time}")),
        ("queue = { max = 5 }", "queue.max: unknown queue key, expected one of most, timeout"),
        ("retrys = 1", "retrys: unknown pool key, did you mean retries?"),
        ("helth = {}", "helth: unknown pool key, did you mean health?"),
    ]);
}

/// The warnings of a pool with these keys, in their lines.
fn warnings(pool: &str) -> Vec<String> {
    let config = load_text(&format!("rsp.listen '127.0.0.1:0'\nrsp.pool {{\n {pool} }}")).expect(pool);
    let line = |text: String| text.rsplit_once("site.lua").map_or(text.clone(), |(_, line)| line.to_owned());
    config.warnings.iter().map(|warning| line(warning.to_string())).collect()
}

#[test]
fn what_is_probably_a_mistake_is_a_warning() {
    let one = "servers = { '127.0.0.1:1' },";
    for (pool, expected) in [
        (
            "servers = {\n { '127.0.0.1:1', backup = true }, { '127.0.0.1:2', backup = true } }",
            ":3: servers: all are backups, expected at least one without backup = true",
        ),
        (&format!("{one}\n retries = 1"), ":4: retries: nothing to try, expected at least two servers"),
        (
            &format!("{one}\n hash_by = 'path'"),
            ":4: hash_by: does nothing, expected balance = \"hash\" beside it",
        ),
    ] {
        assert_eq!(warnings(pool), [expected], "{pool}");
    }
    let both = format!("{one}\n\n hash_by = 'path', retries = 3");
    assert_eq!(warnings(&both).len(), 2);
    for fine in [
        one,
        "servers = { '127.0.0.1:1' }, retries = 0",
        "servers = { 'localhost:1' }, retries = 2",
        "servers = { { '127.0.0.1:1', backup = true }, '127.0.0.1:2' }, retries = 1",
        "servers = { '127.0.0.1:1' }, balance = 'hash', hash_by = 'path'",
    ] {
        assert_eq!(warnings(fine), [""; 0], "{fine}");
    }
}
