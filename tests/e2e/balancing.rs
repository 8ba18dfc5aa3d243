//! How requests are distributed: each `balance`, weights, backups and disabled servers.

use std::collections::HashMap;

use crate::support::*;

/// Three servers that answer with their names, with these options each.
fn three(options: [&str; 3], pool: &str) -> ([Origin; 3], Rsp) {
    let origins = ["a", "b", "c"].map(Origin::named);
    let servers: Vec<(&str, &str)> =
        origins.iter().zip(options).map(|(origin, options)| (origin.address.as_str(), options)).collect();
    let rsp = web(&servers, pool);
    (origins, rsp)
}

/// The servers that took so many requests of one client.
fn order(rsp: &Rsp, count: usize) -> String {
    let mut client = Client::connect(rsp.address());
    (0..count).map(|_| client.get("/").text()).collect()
}

fn shares(order: &str) -> HashMap<char, usize> {
    let mut shares = HashMap::new();
    order.chars().for_each(|server| *shares.entry(server).or_default() += 1);
    shares
}

/// The server of one GET with these fields, on a connection of its own.
fn server_of(rsp: &Rsp, path: &str, fields: &str) -> String {
    let mut client = Client::connect(rsp.address());
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    client.response().text()
}

#[test]
fn round_robin_is_the_default_and_alternates() {
    let (_origins, rsp) = three(["", "", ""], "");
    assert_eq!(order(&rsp, 9), "abcabcabc");
}

#[test]
fn round_robin_with_weights_is_smooth() {
    let (_origins, rsp) = three(["weight = 1", "weight = 2", "weight = 3"], "balance = 'round_robin'");
    let order = order(&rsp, 36);
    for six in order.as_bytes().chunks(6) {
        let shares = shares(std::str::from_utf8(six).expect("letters"));
        assert_eq!((shares[&'a'], shares[&'b'], shares[&'c']), (1, 2, 3), "{order}");
    }
    assert!(!order.contains("ccc") && !order.contains("bb"), "in turns, not in rows: {order}");
}

#[test]
fn a_server_of_weight_0_is_not_used() {
    for balance in ["round_robin", "least_connections", "least_latency", "random", "first", "source_hash"] {
        let (_origins, rsp) = three(["weight = 0", "", ""], &format!("balance = '{balance}'"));
        assert!(!order(&rsp, 20).contains('a'), "{balance}");
    }
    let (_origins, rsp) = three(["weight = 0", "weight = 0", "weight = 0"], "");
    assert_eq!(get(rsp.address(), "/").status(), 503, "none is left");
}

#[test]
fn a_disabled_server_is_not_used() {
    for balance in ["round_robin", "least_connections", "least_latency", "random", "first", "source_hash"] {
        let (origins, rsp) = three(["", "disabled = true", ""], &format!("balance = '{balance}'"));
        assert!(!order(&rsp, 20).contains('b'), "{balance}");
        assert_eq!(origins[1].connection_count(), 0);
    }
}

#[test]
fn a_backup_is_used_only_while_no_other_server_is_up() {
    let addresses = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let backup = Origin::named("backup");
    let first = Origin::named_at(&addresses[0], "a");
    let second = Origin::named_at(&addresses[1], "b");
    let servers = [(addresses[0].as_str(), ""), (&addresses[1], ""), (&backup.address, "backup = true")];
    let rsp = web(&servers, "health = { interval = '50ms', rise = 1, fall = 1 }");
    until("both are checked", || order(&rsp, 2).contains('a') && order(&rsp, 2).contains('b'));
    let before = backup.requests().iter().filter(|request| request.head.target() == "/x").count();
    assert_eq!(before, 0);
    drop(first);
    rsp.wait_for_log("web/s1 is down");
    assert_eq!(order(&rsp, 6), "bbbbbb");
    drop(second);
    rsp.wait_for_log("web/s2 is down");
    assert_eq!(get(rsp.address(), "/").text(), "backup");
    let _again = Origin::named_at(&addresses[0], "a");
    rsp.wait_for_log("web/s1 is up again");
    assert_eq!(order(&rsp, 4), "aaaa");
}

#[test]
fn a_request_waits_for_a_busy_server_and_does_not_take_the_backup() {
    let (slow, backup) = (Slow::named("a"), Origin::named("backup"));
    let servers = [(slow.address(), "max_connections = 1"), (backup.address.as_str(), "backup = true")];
    let rsp = web(&servers, "queue = { timeout = '60s' }");
    let mut busy = Client::connect(rsp.address());
    busy.ask("/slow");
    slow.origin.wait_for_requests(1);
    let mut waiting = Client::connect(rsp.address());
    waiting.ask("/");
    assert!(waiting.stays_open(std::time::Duration::from_millis(100)));
    slow.gate.open();
    assert_eq!((busy.response().text(), waiting.response().text()), ("a".into(), "a".into()));
    assert_eq!(backup.connection_count(), 0);
}

#[test]
fn least_connections_avoids_a_server_with_a_slow_request_also_one_of_another_worker() {
    for workers in [1, 2] {
        let slow = ["a", "b", "c"].map(Slow::named);
        let servers = slow.each_ref().map(|slow| (slow.address(), ""));
        let rsp = web_of(workers, &servers, "balance = 'least_connections'");
        let mut busy = Client::connect(rsp.address());
        busy.ask("/slow");
        until("one is busy", || slow.iter().any(|slow| slow.targets().contains(&"/slow".into())));
        let at = slow.iter().position(|slow| slow.origin.request_count() > 0).expect("one");
        let mut seen = std::collections::HashSet::new();
        for _ in 0..30 {
            seen.insert(get(rsp.address(), "/").text());
        }
        let others: Vec<&str> =
            ["a", "b", "c"].into_iter().enumerate().filter(|(n, _)| *n != at).map(|(_, name)| name).collect();
        assert!(!seen.contains(["a", "b", "c"][at]), "{workers} workers: {seen:?}");
        assert!(others.iter().all(|name| seen.contains(*name)), "{workers} workers: {seen:?}");
        slow[at].gate.open();
        busy.response();
    }
}

#[test]
fn least_latency_prefers_the_server_that_answers_first() {
    let fast = Origin::named("fast");
    let late = Origin::run(|visit| {
        while visit.request().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(60));
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
        }
    });
    let rsp = web(&[(&late.address, ""), (&fast.address, "")], "balance = 'least_latency'");
    (0..50).for_each(|_| _ = get(rsp.address(), "/"));
    assert!(late.request_count() <= 5, "{} of 50", late.request_count());
}

#[test]
fn random_uses_all_servers_about_evenly() {
    let (origins, rsp) = three(["", "", ""], "balance = 'random'");
    order(&rsp, 600);
    let counts = origins.each_ref().map(Origin::request_count);
    // Six standard deviations.
    assert!(counts.iter().all(|count| (130..=270).contains(count)), "{counts:?}");
}

#[test]
fn first_uses_the_next_server_only_when_the_first_is_at_its_limit() {
    let slow = ["a", "b"].map(Slow::named);
    let servers = [(slow[0].address(), "max_connections = 2"), (slow[1].address(), "")];
    let rsp = web(&servers, "balance = 'first'");
    assert_eq!(order(&rsp, 5), "aaaaa");
    let mut busy = [(); 2].map(|()| Client::connect(rsp.address()));
    busy.iter_mut().for_each(|client| _ = client.ask("/slow"));
    slow[0].origin.wait_for_requests(7);
    assert_eq!(order(&rsp, 3), "bbb");
    slow[0].gate.open();
    busy.iter_mut().for_each(|client| assert_eq!(client.response().text(), "a"));
    assert_eq!(order(&rsp, 3), "aaa");
}

#[test]
fn first_uses_the_next_server_while_the_first_is_ejected() {
    let (refusing, origin) = (RefusingAddress::new(), Origin::named("b"));
    let rsp =
        web(&[(&refusing.address, ""), (&origin.address, "")], "balance = 'first', eject = { pause = '1h' }");
    assert_eq!(order(&rsp, 6), "bbbbbb");
    rsp.wait_for_log("web/s1 is ejected");
    let _back = Origin::named_at(&refusing.address, "a");
    assert_eq!(order(&rsp, 3), "bbb");
}

#[test]
fn source_hash_keeps_a_client_with_its_server_and_spreads_clients() {
    for workers in [1, 2] {
        let origins = ["a", "b", "c"].map(Origin::named);
        let servers = origins.each_ref().map(|origin| (origin.address.as_str(), ""));
        let rsp = web_of(workers, &servers, "balance = 'source_hash'");
        let mut of_client = HashMap::new();
        for round in 0..3 {
            for number in 1..=40 {
                let source = format!("127.0.0.{number}");
                let server = Client::connect_from(&source, rsp.address()).get("/").text();
                let known = of_client.entry(source.clone()).or_insert_with(|| server.clone());
                assert_eq!(*known, server, "{source} in round {round}");
            }
        }
        let counts = origins.each_ref().map(Origin::request_count);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}

#[test]
fn hash_sends_equal_keys_to_one_server_and_other_keys_to_all() {
    type Ask = fn(usize) -> (String, String);
    let kinds: [(&str, Ask); 5] = [
        ("'path'", |key| (format!("/{key}?a"), String::new())),
        ("'header:X-Key'", |key| (format!("/{}", key % 3), format!("x-key: {key}\r\n"))),
        ("'cookie:id'", |key| ("/".into(), format!("Cookie: a=1; id={key}; b=2\r\n"))),
        ("'query:id'", |key| (format!("/?a=1&id={key}&b=2"), String::new())),
        ("function(req) return req.args.k end", |key| (format!("/?k={key}"), String::new())),
    ];
    for (by, ask) in kinds {
        let origins = ["a", "b", "c"].map(Origin::named);
        let servers = origins.each_ref().map(|origin| (origin.address.as_str(), ""));
        // One worker: where another one has just ended a request, the bound of a server's share may move a key.
        let rsp = web(&servers, &format!("balance = 'hash', hash_by = {by}"));
        let mut of_key = HashMap::new();
        for _ in 0..3 {
            for key in 0..40 {
                let (path, fields) = ask(key);
                let server = server_of(&rsp, &path, &fields);
                assert_eq!(*of_key.entry(key).or_insert_with(|| server.clone()), server, "{by}: {key}");
            }
        }
        let counts = origins.each_ref().map(Origin::request_count);
        assert!(counts.iter().all(|count| *count > 0), "{by}: {counts:?}");
    }
}

#[test]
fn a_missing_key_of_hash_takes_each_server_in_turn() {
    for by in ["'header:X-Key'", "'cookie:id'", "'query:id'", "function(req) return nil end"] {
        let (_origins, rsp) = three(["", "", ""], &format!("balance = 'hash', hash_by = {by}"));
        let mut seen = order(&rsp, 3).into_bytes();
        seen.sort_unstable();
        assert_eq!(seen, b"abc", "{by}");
    }
}

#[test]
fn a_key_that_is_percent_encoded_is_the_same_key() {
    let (_origins, rsp) = three(["", "", ""], "balance = 'hash', hash_by = 'query:id'");
    for key in ["abc", "x y", "ä"] {
        let encoded: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let plain = key.replace(' ', "+").replace('ä', "%c3%a4");
        let [one, other] = [encoded, plain].map(|key| server_of(&rsp, &format!("/?id={key}"), ""));
        assert_eq!(one, other, "{key}");
    }
}

#[test]
fn one_hot_key_does_not_take_its_server_down_alone() {
    let slow = ["a", "b", "c"].map(Slow::named);
    let servers = slow.each_ref().map(|slow| (slow.address(), ""));
    let rsp = web(&servers, "balance = 'hash', hash_by = 'path'");
    let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(rsp.address())).collect();
    clients.iter_mut().for_each(|client| _ = client.ask("/slow"));
    let total = || slow.iter().map(|slow| slow.origin.request_count()).sum::<usize>();
    until("all are in flight", || total() == 60);
    let most = slow.iter().map(|slow| slow.origin.request_count()).max().expect("three");
    assert!(most <= 27, "1.35 times the average of 20: {most}");
    slow.iter().for_each(|slow| slow.gate.open());
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
}

#[test]
fn a_balance_function_sees_weight_up_and_latency() {
    let (origins, refusing) = (["a", "b"].map(Origin::named), RefusingAddress::new());
    let servers = [
        (origins[0].address.as_str(), "weight = 7"),
        (&refusing.address, "weight = 2"),
        (&origins[1].address, "weight = 0"),
    ];
    let rsp = web(
        &servers,
        "eject = { pause = '1h' }, balance = function(req, servers)
           local all = {}
           for i, s in ipairs(servers) do
             all[i] = s.name .. ' ' .. s.weight .. ' ' .. tostring(s.up) .. ' ' .. s.in_flight .. ' ' .. tostring(s.latency ~= nil)
           end
           req.headers['X-Servers'] = table.concat(all, ', ')
           return servers[#servers]
         end",
    );
    for _ in 0..4 {
        assert_eq!(get(rsp.address(), "/").status(), 200);
    }
    let seen: Vec<String> = origins[0]
        .requests()
        .iter()
        .map(|request| request.get("x-servers").expect("it").to_owned())
        .collect();
    // The last server that it sees fails: it runs again without it, and no more once it is ejected.
    assert_eq!(seen, ["s1 7 true 0 false", "s1 7 true 0 true", "s1 7 true 0 true", "s1 7 true 0 true"]);
    rsp.wait_for_log("web/s2 is ejected");
}
