//! Copies of requests (`mirror`): which are made, what is sent, and that clients never notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;

/// rsp with a pool `web` of one server and a pool `shadow`.
struct Mirrored {
    origin: Origin,
    rsp: Rsp,
    admin: String,
}

fn config(origin: &str, shadow: &str, web: &str, more: &str) -> String {
    on_any_port(&format!(
        "local web = rsp.pool {{ name = 'web', servers = {{ '{origin}' }}, timeouts = {{ idle = '1m' }}, {web} }}
         rsp.pool {{ name = 'shadow', servers = {{ {shadow} }} }}
         rsp.on_request(function(req) return web end)
         rsp.settings {{ access_log = {{ path = 'access.log', format = 'rsp' }}, admin = '127.0.0.1:0' }}
         {more}"
    ))
}

impl Mirrored {
    fn start(shadow: &str, web: &str) -> Mirrored {
        let origin = Origin::echo();
        let rsp = Rsp::start(&config(&origin.address, shadow, web, ""));
        let admin = admin_of(&rsp);
        Mirrored { origin, rsp, admin }
    }

    /// Copies that came to this end.
    fn count(&self, result: &str) -> f64 {
        self.metric(&copies_with(result))
    }

    fn metric(&self, name: &str) -> f64 {
        metric(&self.admin, name)
    }
}

fn admin_of(rsp: &Rsp) -> String {
    rsp.wait_for_log("Admin address: ");
    let log = rsp.log();
    log.lines().find_map(|line| line.split("Admin address: ").nth(1)).unwrap().trim().to_owned()
}

fn copies_with(result: &str) -> String {
    format!("rsp_mirrors_total{{pool=\"web\",result=\"{result}\"}}")
}

fn metric(admin: &str, name: &str) -> f64 {
    let text = get(admin, "/metrics").text();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn quoted(address: &str) -> String {
    format!("'{address}'")
}

#[test]
fn a_share_of_the_requests_is_copied_evenly_and_as_the_server_gets_it() {
    let shadow = Origin::named("shadow");
    let all = Mirrored::start(&quoted(&shadow.address), "mirror = { pool = 'shadow', share = 0.25 }");
    let mut client = Client::connect(all.rsp.address());
    for number in 1..=20 {
        client.send(format!("GET /{number}?q=1 HTTP/1.1\r\nHost: example.com\r\nCookie: a=b\r\n\r\n"));
        assert_eq!(client.response().text(), "");
    }
    shadow.wait_for_requests(5);
    let copies = shadow.requests();
    let mut seen = targets(&copies);
    // They are on connections of their own where one was not yet over.
    seen.sort_by_key(String::len);
    seen[..2].sort();
    seen[2..].sort();
    assert_eq!(seen, ["/4?q=1", "/8?q=1", "/12?q=1", "/16?q=1", "/20?q=1"]);
    let originals = all.origin.requests();
    for copy in copies {
        let same = |original: &&Message| original.head.line == copy.head.line;
        let original = originals.iter().find(same).expect("its original");
        assert_eq!(copy.head.fields, original.head.fields);
    }
}

#[test]
fn copies_count_at_the_shadow_pool_and_are_in_no_access_log() {
    let shadow = Origin::named("shadow");
    let all = Mirrored::start(&quoted(&shadow.address), "mirror = { pool = 'shadow' }");
    (0..3).for_each(|_| assert_eq!(get(all.rsp.address(), "/").status(), 200));
    until("copies are answered", || all.count("answered") == 3.0);
    until("requests are counted", || all.metric("rsp_ends_total{reason=\"complete\"}") == 3.0);
    let of = |pool: &str, server: &str| {
        all.metric(&format!("rsp_requests_total{{pool=\"{pool}\",server=\"{server}\",class=\"2xx\"}}"))
    };
    assert_eq!((of("web", &all.origin.address), of("shadow", &shadow.address), of("", "")), (3.0, 3.0, 0.0));
    assert_eq!(all.metric("rsp_request_seconds_count{pool=\"shadow\"}"), 3.0);
    let in_flight = format!("rsp_server_in_flight{{pool=\"shadow\",server=\"{}\"}}", shadow.address);
    assert_eq!(all.metric(&in_flight), 0.0);
    let log = || all.rsp.directory().read("access.log");
    until("the log is written", || log().lines().count() >= 3);
    assert_eq!((log().lines().count(), log().contains("pool=shadow")), (3, false), "{}", log());
}

#[test]
fn a_body_that_is_held_whole_is_copied_and_another_is_not() {
    let shadow = Origin::echo();
    let all =
        Mirrored::start(&quoted(&shadow.address), "buffer_request = '64k', mirror = { pool = 'shadow' }");
    let (small, large) = (content_bytes(1, 50_000), content_bytes(2, 100_000));
    let mut client = Client::connect(all.rsp.address());
    for body in [&small, &large, &small] {
        assert_eq!(hash_of(&client.post("/", body).body), hash_of(body));
    }
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "hello");
    until("copies are answered", || all.count("answered") == 3.0);
    assert_eq!(all.count("body"), 1.0);
    let bodies: Vec<_> = shadow.requests().iter().map(|request| hash_of(&request.body)).collect();
    for body in [&small[..], &small, b"hello"] {
        assert!(bodies.contains(&hash_of(body)));
    }
}

#[test]
fn a_body_that_is_not_held_is_not_copied() {
    let shadow = Origin::echo();
    let all = Mirrored::start(&quoted(&shadow.address), "mirror = { pool = 'shadow' }");
    let mut client = Client::connect(all.rsp.address());
    assert_eq!(client.post("/", "body").text(), "body");
    assert_eq!(client.get("/get").status(), 200);
    shadow.wait_for_requests(1);
    assert_eq!(targets(&shadow.requests()), ["/get"]);
    assert_eq!(all.count("body"), 1.0);
}

#[test]
fn a_shadow_pool_that_hangs_resets_closes_refuses_or_talks_nonsense_changes_nothing() {
    let hangs = Origin::run(|visit| {
        visit.head();
        visit.wait_for_end();
    });
    let resets = Origin::run(|visit| {
        visit.head();
        visit.reset();
    });
    let closes = Origin::run(|visit| _ = visit.request());
    let talks = Origin::answering("nonsense\r\n\r\n");
    let cuts = Origin::run(|visit| {
        if visit.request().is_some() {
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.");
        }
    });
    let (refuses, full) = (RefusingAddress::new(), FullListener::new());
    for shadow in [
        &hangs.address,
        &resets.address,
        &closes.address,
        &talks.address,
        &cuts.address,
        &refuses.address,
        &full.address,
    ] {
        let all = Mirrored::start(&quoted(shadow), "buffer_request = '64k', mirror = { pool = 'shadow' }");
        let mut client = Client::connect(all.rsp.address());
        for number in 0..30_u64 {
            let body = content_bytes(number, 1000);
            assert_eq!(client.get("/").status(), 200);
            assert_eq!(hash_of(&client.post("/", &body).body), hash_of(&body));
        }
        assert_eq!(all.count("answered"), 0.0);
        let log = all.rsp.directory().read("access.log");
        assert!(!log.contains("pool=shadow"), "{log}");
        assert_eq!(all.origin.connection_count(), 1);
        all.rsp.stop();
    }
}

#[test]
fn copies_that_run_are_bounded_and_what_is_over_is_counted() {
    let shadow = Origin::run(|visit| {
        visit.head();
        visit.wait_for_end();
    });
    let all = Mirrored::start(&quoted(&shadow.address), "mirror = { pool = 'shadow' }");
    let mut client = Client::connect(all.rsp.address());
    (0..300).for_each(|_| assert_eq!(client.get("/").status(), 200));
    until("256 copies run", || shadow.head_count() == 256);
    assert_eq!(all.count("full"), 44.0);
    all.rsp.stop();
    until("they end with rsp", || shadow.open_count() == 0);
}

#[test]
fn a_response_without_an_end_is_given_up() {
    let sent = Arc::new(AtomicUsize::new(0));
    let total = sent.clone();
    let shadow = Origin::run(move |visit| {
        if visit.request().is_some() && visit.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") {
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536));
            while visit.send(&chunk) {
                total.fetch_add(65_536, Ordering::SeqCst);
            }
        }
    });
    let all = Mirrored::start(&quoted(&shadow.address), "mirror = { pool = 'shadow' }");
    assert_eq!(get(all.rsp.address(), "/").status(), 200);
    until("it is given up", || all.count("cut") == 1.0);
    until("its connection is closed", || shadow.open_count() == 0);
    assert!(sent.load(Ordering::SeqCst) >= 15 << 20);
}

#[test]
fn a_large_response_is_read_to_its_end_and_the_connection_kept() {
    let body = vec![7; 5 << 20];
    let shadow = Origin::run(move |visit| {
        while visit.request().is_some() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            if !visit.send([head.as_bytes(), &body].concat()) {
                return;
            }
        }
    });
    let all = Mirrored::start(&quoted(&shadow.address), "mirror = { pool = 'shadow' }");
    for count in 1..=3 {
        assert_eq!(get(all.rsp.address(), "/").status(), 200);
        until("the copy is answered", || all.count("answered") == f64::from(count));
    }
    assert_eq!(shadow.connection_count(), 1);
}

#[test]
fn the_shadow_pool_chooses_by_its_own_rules() {
    let shadows = [Origin::named("a"), Origin::named("b"), Origin::named("c")];
    let list: Vec<String> = shadows.iter().map(|shadow| quoted(&shadow.address)).collect();
    let origin = Origin::named("web");
    let sticky = "sticky = { cookie = 'srv', secret = 'quiet' }";
    let pool = |more: &str| format!("{} }}, {more}, timeouts = {{ idle = '1m'", list.join(", "));
    let hashed = "balance = 'hash', hash_by = 'path'";
    let rsp = Rsp::start(&config(
        &origin.address,
        &pool(hashed),
        &format!("mirror = {{ pool = 'shadow' }}, {sticky}"),
        "",
    ));
    let mut client = Client::connect(rsp.address());
    let admin = admin_of(&rsp);
    for copies in 1..=10 {
        assert_eq!(client.get("/same").text(), "web");
        // Copies that overlap would go to the next on the ring: the load of a server is bounded.
        until("the copy is done", || metric(&admin, &copies_with("answered")) == f64::from(copies));
    }
    let counts = || shadows.each_ref().map(Origin::request_count);
    assert!(counts().contains(&10), "{:?}", counts());
    let by_function = "balance = function(req, servers) return servers[3] end";
    rsp.reload(&config(&origin.address, &pool(by_function), "mirror = { pool = 'shadow' }", ""));
    assert_eq!(get(rsp.address(), "/other").text(), "web");
    until("its copy is there", || targets(&shadows[2].requests()).contains(&"/other".to_owned()));
}

#[test]
fn a_sticky_cookie_is_the_pools_own_and_never_the_shadows() {
    let (origin, shadow) = (Origin::named("web"), Origin::named("shadow"));
    let sticky = |name: &str| format!("sticky = {{ cookie = '{name}', secret = 'quiet' }}");
    let shadows = format!("{} }}, {}, timeouts = {{ idle = '1m'", quoted(&shadow.address), sticky("theirs"));
    let web = format!("mirror = {{ pool = 'shadow' }}, {}", sticky("ours"));
    let rsp = Rsp::start(&config(&origin.address, &shadows, &web, ""));
    let answer = get(rsp.address(), "/");
    let cookies = answer.head.all("set-cookie");
    assert!(cookies.len() == 1 && cookies[0].starts_with("ours="), "{cookies:?}");
    shadow.wait_for_requests(1);
}

#[test]
fn a_client_without_host_has_a_copy_with_the_name_of_the_shadow() {
    let shadow = Origin::named("shadow");
    let all = Mirrored::start(&quoted(&shadow.address), "mirror = { pool = 'shadow' }");
    let mut client = Client::connect(all.rsp.address());
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    shadow.wait_for_requests(1);
    assert_eq!(shadow.last().head.all("host"), [shadow.address.as_str()]);
    assert_eq!(all.origin.last().head.all("host"), [all.origin.address.as_str()]);
}

#[test]
fn an_upgrade_is_not_copied() {
    let shadow = Origin::named("shadow");
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            let switch =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
            let plain = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            if !visit.send(if request.head.get("upgrade").is_some() { switch } else { plain }) {
                return;
            }
        }
    });
    let rsp =
        Rsp::start(&config(&origin.address, &quoted(&shadow.address), "mirror = { pool = 'shadow' }", ""));
    let mut client = Client::connect(rsp.address());
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    assert_eq!(client.head().status(), 101);
    assert_eq!(get(rsp.address(), "/get").status(), 200);
    shadow.wait_for_requests(1);
    assert_eq!(targets(&shadow.requests()), ["/get"]);
}

#[test]
fn a_reload_lets_copies_go_on_and_a_stop_does_not_wait_for_them() {
    let (shadow, origin) = (Slow::named("shadow"), Origin::named("web"));
    let (with, without) = ("mirror = { pool = 'shadow' }", "");
    let of = |web: &str| config(&origin.address, &quoted(shadow.address()), web, "");
    let rsp = Rsp::start(&of(with));
    assert_eq!(get(rsp.address(), "/slow").text(), "web");
    shadow.origin.wait_for_requests(1);
    rsp.reload(&of(without));
    assert_eq!(get(rsp.address(), "/slow").text(), "web");
    assert_eq!(shadow.origin.open_count(), 1, "it goes on");
    rsp.reload(&of(with));
    assert_eq!(get(rsp.address(), "/slow").text(), "web");
    shadow.origin.wait_for_requests(2);
    rsp.stop();
    shadow.gate.open();
}

#[test]
fn a_client_that_leaves_does_not_take_its_copy_with_it() {
    let (origin, shadow) = (Slow::named("web"), Slow::named("shadow"));
    let rsp =
        Rsp::start(&config(origin.address(), &quoted(shadow.address()), "mirror = { pool = 'shadow' }", ""));
    let mut client = Client::connect(rsp.address());
    client.ask("/slow");
    shadow.origin.wait_for_requests(1);
    client.wire.reset_on_close();
    drop(client);
    for slow in [&origin, &shadow] {
        slow.gate.open();
    }
    assert_eq!(get(rsp.address(), "/").text(), "web");
}
