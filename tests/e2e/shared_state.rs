//! What scripts share: exact over workers, kept over reloads and upgrades, and places that a request leaves however it
//! ends.

use crate::support::*;

const LIMITED: &str = "rsp.settings { workers = 2 }
local limit = rsp.rate { name = 'api', rate = 20, per = '1h' }
local seen = rsp.shared('seen')
rsp.on_request(function(req)
  local n = seen:incr('all')
  local allowed, wait = limit:allow(req.headers['X-Key'] or 'none')
  local answer = { status = allowed and 200 or 429, headers = {}, body = tostring(n) }
  limit:headers(answer, req.headers['X-Key'] or 'none')
  return rsp.respond(answer)
end)";

/// Asks so many times, each on a connection of its own, which goes to any of the workers. The number that passed.
fn passed(address: &str, key: &str, times: usize) -> usize {
    let one = |_| {
        let mut client = Client::connect(address);
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n\r\n")).response().status()
    };
    (0..times).map(one).filter(|status| *status == 200).count()
}

#[test]
fn a_rate_limit_is_exact_over_two_workers() {
    let rsp = Rsp::start(&on_any_port(LIMITED));
    let address = rsp.address();
    let both: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| passed(address, "a", 15))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((both, passed(address, "a", 5), passed(address, "b", 25)), (20, 0, 20));
    let refused = Client::connect(address).send("GET / HTTP/1.1\r\nHost: a\r\nX-Key: a\r\n\r\n").response();
    assert_eq!((refused.status(), refused.text().as_str()), (429, "91"), "the counter of all workers");
    let rate = refused.get("ratelimit").unwrap_or_default();
    assert!(rate.starts_with("\"api\";r=0;t=3"), "{rate}");
    let wait: u32 = refused.get("retry-after").unwrap_or_default().parse().unwrap();
    assert!((1..=180).contains(&wait), "{wait}");
    rsp.stop();
}

#[test]
fn limits_and_values_are_kept_over_a_reload() {
    let config = on_any_port(LIMITED);
    let rsp = Rsp::start(&config);
    assert_eq!(passed(rsp.address(), "a", 15), 15);
    rsp.reload(&config);
    assert_eq!(passed(rsp.address(), "a", 15), 5);
    // A larger one holds at once, for what was used already.
    rsp.reload(&config.replace("rate = 20", "rate = 20, burst = 40"));
    assert_eq!(passed(rsp.address(), "a", 40), 20);
    let counted = get(rsp.address(), "/").text();
    assert_eq!(counted, "71");
    rsp.stop();
}

#[test]
fn metrics_count_what_was_refused() {
    let config = LIMITED.replace("workers = 2", "workers = 2, admin = '127.0.0.1:0'");
    let rsp = Rsp::start(&on_any_port(&config));
    assert_eq!(passed(rsp.address(), "a", 25), 20);
    rsp.wait_for_log("Admin address: ");
    let log = rsp.log();
    let admin = log.split("Admin address: ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let metrics = Client::connect(admin.trim()).send(ask).response().text();
    for line in [
        "rsp_limit_refused_total{kind=\"rate\",name=\"api\"} 5",
        "rsp_shared_entries{kind=\"rate\",name=\"api\"} 1",
        "rsp_shared_entries{kind=\"shared\",name=\"seen\"} 1",
        "rsp_shared_evicted_total{kind=\"shared\",name=\"seen\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    rsp.stop();
}

/// One place, for whoever asks for `/`. The answer 503 says that it is taken.
fn one_place(server: &str, more: &str) -> String {
    on_any_port(&format!(
        "rsp.settings {{ workers = 2 }}
         local limit = rsp.concurrency {{ name = 'one', most = 1 }}
         local web = rsp.pool {{ servers = {{ {server} }}, retries = 1, {more} }}
         rsp.on_request(function(req)
           if not limit:enter(req, 'all') then return rsp.respond {{ status = 503, body = 'taken' }} end
           if req.path == '/own' then return rsp.respond {{ body = 'own' }} end
           if req.path == '/error' then error('on purpose') end
           return web
         end)"
    ))
}

/// Waits until the place is free again: `/own` takes it and leaves it.
fn is_left(rsp: &Rsp, after: &str) {
    until(&format!("the place is left after {after}"), || get(rsp.address(), "/own").text() == "own");
}

#[test]
fn a_place_is_held_until_the_response_is_over() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::run(move |visit| {
        while visit.request().is_some() {
            opened.wait();
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let rsp = Rsp::start(&one_place(&format!("'{}'", origin.address), ""));
    let mut first = Client::connect(rsp.address());
    first.ask("/");
    until("the server has the request", || origin.head_count() == 1);
    for _ in 0..6 {
        assert_eq!(get(rsp.address(), "/").status(), 503, "from either worker");
    }
    gate.open();
    assert_eq!(first.response().text(), "ok");
    is_left(&rsp, "a response");
    rsp.stop();
}

#[test]
fn a_place_is_left_however_the_request_ends() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            match request.head.target() {
                "/cut" => {
                    visit.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ncut");
                    return;
                }
                "/reset" => return visit.reset(),
                "/silent" => visit.wait_for_end(),
                _ => {
                    visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
            }
        }
    });
    let refusing = RefusingAddress::new();
    let servers = format!("'{}', '{}'", origin.address, refusing.address);
    let rsp = Rsp::start(&one_place(&servers, "eject = false, timeouts = { response = '200ms' }"));
    for (path, is_fine) in
        [("/ok", true), ("/reset", false), ("/silent", false), ("/error", false), ("/own", true)]
    {
        // The request before may leave it a moment after its response was read.
        let mut answer = get(rsp.address(), path);
        until("the place is left", || {
            let was_taken = answer.text() == "taken";
            if was_taken {
                answer = get(rsp.address(), path);
            }
            !was_taken
        });
        assert_eq!(answer.status() == 200, is_fine, "{path}");
        is_left(&rsp, path);
    }
    let mut cut = Client::connect(rsp.address());
    assert!(cut.ask("/cut").try_response().is_err());
    is_left(&rsp, "/cut");
    // A client that resets its connection while the server works.
    let before = origin.head_count();
    let mut gone = Client::connect(rsp.address());
    gone.ask("/silent");
    until("the request has reached the server", || origin.head_count() > before);
    gone.wire.reset_on_close();
    drop(gone);
    is_left(&rsp, "a client that left");
    rsp.stop();
}

const MAPPED: &str = "local countries = rsp.map('countries.map', { kind = 'cidr' })
rsp.on_request(function(req)
  return rsp.respond { body = countries:get(req.headers['X-Ip']) or 'nowhere' }
end)";

fn country(client: &mut Client, ip: &str) -> String {
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Ip: {ip}\r\n\r\n")).response().text()
}

#[test]
fn a_changed_map_is_in_use_under_load_and_a_bad_one_is_not() {
    let directory = Directory::new();
    directory.write("countries.map", "10.0.0.0/8 old\n");
    let rsp = Rsp::start_in(directory, &on_any_port(MAPPED));
    let mut client = Client::connect(rsp.address());
    assert_eq!([country(&mut client, "10.1.2.3"), country(&mut client, "11.1.2.3")], ["old", "nowhere"]);
    let lines: String = (0..300_000)
        .map(|n| format!("{}.{}.{}.0/24 new\n", 10 + n / 65536, n / 256 % 256, n % 256))
        .collect();
    rsp.directory().write("new.map", lines);
    std::fs::rename(rsp.directory().join("new.map"), rsp.directory().join("countries.map")).unwrap();
    until("the new map is in use", || match country(&mut client, "10.1.2.3").as_str() {
        "new" => true,
        other => panic_unless(other == "old", other),
    });
    assert_eq!([country(&mut client, "13.1.2.3"), country(&mut client, "99.1.2.3")], ["new", "nowhere"]);
    rsp.directory().write("countries.map", "10.0.0.0/8 bad\n10.0.0.0/99 bad\n");
    rsp.wait_for_log("countries.map:2: expected a network or an address; what was read before stays in use");
    assert_eq!(country(&mut client, "10.1.2.3"), "new");
    let why = rsp.reload_fails(&on_any_port(MAPPED));
    assert!(why.contains("countries.map:2: expected a network"), "{why}");
    rsp.directory().write("countries.map", "10.0.0.0/8 good\n");
    until("the map is in use", || country(&mut client, "10.1.2.3") == "good");
    rsp.reload(&on_any_port(MAPPED));
    assert_eq!(country(&mut Client::connect(rsp.address()), "10.1.2.3"), "good");
    rsp.stop();
}

fn panic_unless(fine: bool, seen: &str) -> bool {
    assert!(fine, "neither the old map nor the new one: {seen}");
    false
}
