//! Second tries (`hedge`): which requests get one, which response wins, and what becomes of the other try.

use std::time::Duration;

use crate::support::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// A second try of each request, to the server that comes next in the list.
const HEDGE: &str =
    "hedge = { after = '30ms', budget = 1 }, balance = function(req, servers) return servers[1] end";

/// Never answers, and sees when it is left.
fn hanging() -> Origin {
    Origin::run(|visit| {
        if visit.head().is_some() {
            visit.wait_for_end();
        }
    })
}

/// Answers once the gate is open.
fn gated(answer: &'static str) -> (Origin, Gate) {
    let gate = Gate::new();
    let opens = gate.clone();
    let origin = Origin::run(move |visit| {
        while visit.request().is_some() {
            opens.wait();
            if !visit.send(answer) {
                return;
            }
        }
    });
    (origin, gate)
}

fn over(first: &str, second: &str) -> Rsp {
    web(&[(first, ""), (second, "")], HEDGE)
}

fn admin_of(rsp: &Rsp) -> String {
    rsp.wait_for_log("Admin address: ");
    let log = rsp.log();
    log.lines().find_map(|line| line.split("Admin address: ").nth(1)).unwrap().trim().to_owned()
}

fn over_with_admin(servers: &[(&str, &str)], options: &str) -> Rsp {
    let list: Vec<String> = servers
        .iter()
        .enumerate()
        .map(|(n, (at, more))| format!("{{ '{at}', name = 's{}', {more} }}", n + 1))
        .collect();
    Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ name = 'web', servers = {{ {} }}, timeouts = {{ idle = '1m' }}, {options} }}
         rsp.settings {{ admin = '127.0.0.1:0' }}",
        list.join(", ")
    )))
}

fn metric(admin: &str, name: &str) -> f64 {
    let text = get(admin, "/metrics").text();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn a_second_server_answers_where_the_first_takes_long_and_the_first_is_left() {
    let (slow, fast) = (hanging(), Origin::named("fast"));
    let rsp = over(&slow.address, &fast.address);
    assert_eq!(get(rsp.address(), "/a").text(), "fast");
    until("the slow server is left", || slow.open_count() == 0);
    let line = logged(&rsp, "/a");
    assert_eq!(["server", "left", "retries"].map(|key| value(&line, key)), ["s2", "s1:hedged", "0"]);
    assert_eq!((slow.head_count(), fast.request_count()), (1, 1));
}

#[test]
fn the_first_server_wins_if_its_head_comes_first_and_the_second_is_left() {
    let (first, gate) = gated(OK);
    let second = hanging();
    let rsp = over(&first.address, &second.address);
    let mut client = Client::connect(rsp.address());
    client.ask("/a");
    until("a second try", || second.head_count() == 1);
    gate.open();
    assert_eq!(client.response().text(), "ok");
    until("the second server is left", || second.open_count() == 0);
    let line = logged(&rsp, "/a");
    assert_eq!(["server", "left"].map(|key| value(&line, key)), ["s1", "-"]);
    assert_eq!(client.get("/b").text(), "ok");
    assert_eq!(first.connection_count(), 1, "its connection is kept");
}

#[test]
fn the_second_try_is_the_same_request_and_its_body_comes_whole() {
    let body = content_bytes(7, 3 << 20);
    let bytes = body.clone();
    let slow = hanging();
    let fast = Origin::run(move |visit| {
        while visit.request().is_some() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            if !visit.send([head.as_bytes(), &bytes].concat()) {
                return;
            }
        }
    });
    let rsp = over(&slow.address, &fast.address);
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        client.send("GET /x?y=1 HTTP/1.1\r\nHost: example.com\r\nCookie: a=b\r\nX-Own: 1\r\n\r\n");
        assert_eq!(hash_of(&client.response().body), hash_of(&body));
    }
    let seen = fast.last().head;
    assert_eq!((seen.line.as_str(), seen.get("host")), ("GET /x?y=1 HTTP/1.1", Some("example.com")));
    assert_eq!((seen.get("cookie"), seen.get("x-own")), (Some("a=b"), Some("1")));
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn chunks_trailers_and_an_end_by_close_of_a_second_server_pass() {
    for (answer, text) in [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", "abc"),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil close", "until close"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", ""),
    ] {
        let slow = hanging();
        let fast = Origin::run(move |visit| {
            if visit.request().is_some() {
                visit.send(answer);
            }
        });
        let rsp = over(&slow.address, &fast.address);
        assert_eq!(get(rsp.address(), "/").text(), text);
    }
}

#[test]
fn a_head_request_is_hedged_and_a_head_in_pieces_does_not_win_before_it_is_whole() {
    let first = Origin::run(|visit| {
        if visit.request().is_some() {
            visit.send("HTTP/1.1 200 OK\r\nX-From: first\r\n");
            visit.wait_for_end();
        }
    });
    let second = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-From: second\r\n\r\n");
    let rsp = over(&first.address, &second.address);
    let mut client = Client::connect(rsp.address());
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to("HEAD").get("x-from"), Some("second"));
    }
}

#[test]
fn an_interim_response_passes_and_is_not_the_head_that_wins() {
    let first = Origin::run(|visit| {
        if visit.request().is_some() {
            visit.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            visit.wait_for_end();
        }
    });
    let second = Origin::run(|visit| {
        while visit.request().is_some() && visit.send("HTTP/1.1 102 Processing\r\n\r\n") && visit.send(OK) {}
    });
    let rsp = over(&first.address, &second.address);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    assert_eq!(client.head().status(), 103);
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn requests_with_a_body_and_other_methods_stay_with_their_server() {
    let (first, gate) = gated(OK);
    let second = Origin::named("second");
    let rsp = over(&first.address, &second.address);
    let heads = [
        "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "DELETE /delete HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok",
    ];
    let mut clients: Vec<Client> = heads.iter().map(|_| Client::connect(rsp.address())).collect();
    clients.iter_mut().zip(heads).for_each(|(client, head)| _ = client.send(head));
    first.wait_for_requests(3);
    // A later request has its second try: theirs would have been before it.
    assert_eq!(get(rsp.address(), "/get").text(), "second");
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "ok"));
    assert_eq!(targets(&second.requests()), ["/get"]);
}

#[test]
fn the_budget_is_a_share_of_the_requests_without_a_floor() {
    let (first, gate) = gated(OK);
    let second = hanging();
    let servers = [(first.address.as_str(), ""), (second.address.as_str(), "")];
    let rsp = web(&servers, &HEDGE.replace("budget = 1", "budget = 0.2"));
    let mut clients: Vec<Client> = (0..14).map(|_| Client::connect(rsp.address())).collect();
    clients.iter_mut().for_each(|client| _ = client.ask("/"));
    until("second tries", || second.head_count() == 2);
    assert!(clients[0].stays_open(Duration::from_millis(200)));
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "ok"));
    assert_eq!(second.head_count(), 2, "a fifth of 14");
}

#[test]
fn without_another_server_that_may_take_it_there_is_no_second_try() {
    for [first_options, second_options] in
        [["", "backup = true"], ["", "disabled = true"], ["", "weight = 0"]]
    {
        let (first, gate) = gated(OK);
        let second = Origin::named("second");
        let rsp = web(
            &[(&first.address, first_options), (&second.address, second_options)],
            "hedge = { after = '20ms', budget = 1 }",
        );
        let mut client = Client::connect(rsp.address());
        client.ask("/");
        first.wait_for_requests(1);
        assert!(client.stays_open(Duration::from_millis(150)));
        gate.open();
        assert_eq!(client.response().text(), "ok");
        assert_eq!((first.request_count(), second.connection_count()), (1, 0), "{second_options}");
    }
}

#[test]
fn a_second_server_at_its_limit_is_not_waited_for() {
    let (first, second) = (Slow::named("first"), Slow::named("second"));
    let servers = [(first.address(), "max_connections = 1"), (second.address(), "max_connections = 1")];
    let rsp = web(&servers, "hedge = { after = '20ms', budget = 1 }");
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(rsp.address())).collect();
    clients.iter_mut().for_each(|client| _ = client.ask("/slow"));
    until("both are busy", || first.origin.request_count() + second.origin.request_count() == 2);
    assert!(clients[0].stays_open(Duration::from_millis(150)));
    for slow in [&first, &second] {
        slow.gate.open();
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    for _ in 0..10 {
        assert_eq!(get(rsp.address(), "/").status(), 200);
    }
    assert_eq!(first.origin.request_count() + second.origin.request_count(), 12);
    assert_eq!((first.most(), second.most()), (1, 1));
}

#[test]
fn limits_of_servers_are_kept_and_given_back_whoever_wins() {
    let (slow, fast) = (hanging(), Origin::named("fast"));
    let servers =
        [(slow.address.as_str(), "max_connections = 2"), (fast.address.as_str(), "max_connections = 2")];
    let rsp = web(&servers, &HEDGE.replace("30ms", "5ms"));
    for round in 0..20 {
        assert_eq!(get(rsp.address(), "/").text(), "fast", "{round}");
    }
    until("the slow server is left", || slow.open_count() == 0);
}

#[test]
fn where_the_first_server_fails_the_second_try_takes_its_place() {
    let (second, gate) = gated(OK);
    let leaves = gate.clone();
    let first = Origin::run(move |visit| {
        if visit.request().is_some() {
            leaves.wait();
        }
    });
    let rsp = over(&first.address, &second.address);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    second.wait_for_requests(1);
    gate.open();
    assert_eq!(client.response().text(), "ok");
    assert_eq!((first.request_count(), second.request_count()), (1, 1), "nothing was sent again");
}

#[test]
fn where_the_second_try_fails_the_first_goes_on() {
    let refusing = RefusingAddress::new();
    let closing = Origin::run(|visit| _ = visit.request());
    let garbage = Origin::answering("no HTTP\r\n\r\n");
    for second in [&refusing.address, &closing.address, &garbage.address] {
        let (first, gate) = gated(OK);
        let rsp = web(&[(&first.address, ""), (second, "")], &format!("{HEDGE}, eject = false"));
        let mut client = Client::connect(rsp.address());
        client.ask("/");
        first.wait_for_requests(1);
        assert!(client.stays_open(Duration::from_millis(150)));
        gate.open();
        assert_eq!(client.response().text(), "ok");
        assert_eq!(value(&logged(&rsp, "/"), "server"), "s1");
        assert_eq!(first.request_count(), 1);
    }
}

#[test]
fn a_client_that_leaves_takes_both_tries_with_it() {
    let (first, second) = (hanging(), hanging());
    let rsp = over_with_admin(&[(&first.address, ""), (&second.address, "")], HEDGE);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    until("both have it", || first.head_count() + second.head_count() == 2);
    client.wire.reset_on_close();
    drop(client);
    until("both are left", || first.open_count() + second.open_count() == 0);
    let admin = admin_of(&rsp);
    until("it is counted", || metric(&admin, "rsp_hedges_total{pool=\"web\",won=\"none\"}") == 1.0);
    for server in ["s1", "s2"] {
        assert_eq!(metric(&admin, &format!("rsp_server_in_flight{{pool=\"web\",server=\"{server}\"}}")), 0.0);
    }
}

#[test]
fn second_tries_are_counted_by_who_won() {
    let (slow, fast) = (hanging(), Origin::named("fast"));
    let rsp = over_with_admin(&[(&slow.address, ""), (&fast.address, "")], HEDGE);
    let admin = admin_of(&rsp);
    assert_eq!(metric(&admin, "rsp_hedges_total{pool=\"web\",won=\"second\"}"), 0.0);
    for _ in 0..3 {
        assert_eq!(get(rsp.address(), "/").text(), "fast");
    }
    // A request is counted after its response was written.
    until("they are counted", || metric(&admin, "rsp_request_seconds_count{pool=\"web\"}") == 3.0);
    assert_eq!(metric(&admin, "rsp_hedges_total{pool=\"web\",won=\"second\"}"), 3.0);
    assert_eq!(metric(&admin, "rsp_requests_total{pool=\"web\",server=\"s2\",class=\"2xx\"}"), 3.0);
    assert_eq!(metric(&admin, "rsp_requests_total{pool=\"web\",server=\"s1\",class=\"2xx\"}"), 0.0);
    assert_eq!(metric(&admin, "rsp_server_in_flight{pool=\"web\",server=\"s1\"}"), 0.0);
    assert_eq!(metric(&admin, "rsp_retries_total{pool=\"web\"}"), 0.0);
}

#[test]
fn a_server_that_loses_is_not_ejected() {
    let (slow, fast) = (hanging(), Origin::named("fast"));
    let servers = [(slow.address.as_str(), ""), (fast.address.as_str(), "")];
    let rsp = web(&servers, &format!("{}, eject = {{ failures = 1 }}", HEDGE.replace("30ms", "5ms")));
    for _ in 0..10 {
        assert_eq!(get(rsp.address(), "/").text(), "fast");
    }
    assert_eq!(slow.head_count(), 10);
    assert!(!rsp.log().contains("ejected"), "{}", rsp.log());
}

#[test]
fn a_server_that_the_script_named_keeps_its_request_and_a_preferred_one_does_not() {
    let (first, gate) = gated(OK);
    let second = Origin::named("second");
    let script = "rsp.on_request(function(req) return web, 's1', req.path == '/preferred' end)";
    let servers = [(first.address.as_str(), ""), (second.address.as_str(), "")];
    let rsp = web_with(1, &servers, HEDGE, script);
    let mut client = Client::connect(rsp.address());
    client.ask("/named");
    first.wait_for_requests(1);
    assert_eq!(get(rsp.address(), "/preferred").text(), "second");
    gate.open();
    assert_eq!(client.response().text(), "ok");
    assert_eq!(targets(&second.requests()), ["/preferred"]);
}

#[test]
fn a_session_stays_with_its_server_and_a_new_one_is_with_the_winner() {
    let (first, second) = (Slow::named("first"), Slow::named("second"));
    let sticky = format!("sticky = {{ cookie = 'srv', secret = 'quiet' }}, {HEDGE}");
    let rsp = web(&[(first.address(), ""), (second.address(), "")], &sticky);
    let of = |path: &str, cookie: &str| {
        let mut client = Client::connect(rsp.address());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{cookie}\r\n"));
        client
    };
    let cookie = |answer: &Message| answer.get("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let with_first = cookie(&of("/", "").response());
    let mut bound = of("/slow-bound", &format!("Cookie: {with_first}\r\n"));
    until("it is there", || first.targets().contains(&"/slow-bound".to_owned()));
    second.gate.open();
    let free = of("/slow-free", "").response();
    assert_eq!(free.text(), "second");
    assert_ne!(cookie(&free), with_first);
    first.gate.open();
    assert_eq!(bound.response().text(), "first");
    assert_eq!(second.targets(), ["/slow-free"]);
    assert_eq!(of("/", &format!("Cookie: {}\r\n", cookie(&free))).response().text(), "second");
}

#[test]
fn on_response_sees_the_winners_head_once_and_may_wait() {
    for wait in ["", "rsp.sleep('20ms')"] {
        let (slow, fast) = (hanging(), Origin::named("fast"));
        let script = format!(
            "local calls = 0
             rsp.on_response(function(req, res) calls = calls + 1 {wait} res.headers['X-Calls'] = tostring(calls) end)"
        );
        let rsp = web_with(1, &[(&slow.address, ""), (&fast.address, "")], HEDGE, &script);
        let mut client = Client::connect(rsp.address());
        for calls in ["1", "2", "3"] {
            let answer = client.get("/");
            assert_eq!((answer.text().as_str(), answer.get("x-calls")), ("fast", Some(calls)));
        }
    }
}

#[test]
fn an_on_response_that_fails_answers_500_also_for_a_second_try() {
    let (slow, fast) = (hanging(), Origin::named("fast"));
    let servers = [(slow.address.as_str(), ""), (fast.address.as_str(), "")];
    let rsp = web_with(1, &servers, HEDGE, "rsp.on_response(function() error('no') end)");
    let mut client = Client::connect(rsp.address());
    (0..2).for_each(|_| assert_eq!(client.get("/").status(), 500));
}

#[test]
fn what_is_usual_is_learnt_and_what_takes_longer_is_tried_elsewhere() {
    let (slow, fast) = (Slow::named("slow"), Origin::named("fast"));
    let servers = [(slow.address(), ""), (fast.address.as_str(), "")];
    let rsp = web(&servers, &HEDGE.replace("'30ms'", "'p95'"));
    let mut client = Client::connect(rsp.address());
    let mut early = Client::connect(rsp.address());
    early.ask("/slow-early");
    until("it is there", || slow.origin.request_count() == 1);
    for number in 0..120 {
        assert_eq!(client.get(&format!("/{number}")).text(), "slow");
    }
    // What is usual is looked up once a second.
    until("there is a second try", || {
        let mut client = Client::connect(rsp.address());
        client.ask("/slow");
        !client.stays_open(Duration::from_millis(300))
    });
    assert!(targets(&fast.requests()).iter().all(|target| target == "/slow"));
    assert!(early.stays_open(Duration::from_millis(1)), "too little was known when it came");
}

#[test]
fn a_reload_and_a_stop_leave_a_request_with_both_tries() {
    let (first, second) = (hanging(), Slow::named("second"));
    let config = |after: &str| {
        on_any_port(&format!(
            "rsp.pool {{ servers = {{ '{}', '{}' }}, {} }}",
            first.address,
            second.address(),
            HEDGE.replace("30ms", after)
        ))
    };
    let rsp = Rsp::start(&config("30ms"));
    let mut client = Client::connect(rsp.address());
    client.ask("/slow");
    until("both have it", || second.origin.request_count() == 1);
    rsp.reload(&config("40ms"));
    let mut later = Client::connect(rsp.address());
    later.ask("/slow");
    until("both have it", || second.origin.request_count() == 2);
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_log("Stopping");
    second.gate.open();
    assert_eq!(client.response().text(), "second");
    assert_eq!(later.response().text(), "second");
    rsp.stop();
}
