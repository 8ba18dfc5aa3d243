//! How often requests are tried again: `retries`, the budget of a pool, and what the log says about each try.

use std::time::Duration;

use crate::support::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Servers that accept and close at once.
fn closing(count: usize) -> Vec<Origin> {
    (0..count).map(|_| Origin::run(|_| ())).collect()
}

fn pool(origins: &[Origin], options: &str) -> Rsp {
    let servers: Vec<(&str, &str)> = origins.iter().map(|origin| (origin.address.as_str(), "")).collect();
    web(&servers, options)
}

fn attempts(origins: &[Origin]) -> usize {
    origins.iter().map(Origin::connection_count).sum()
}

#[test]
fn retries_limits_how_many_others_are_tried() {
    for retries in [0, 1, 3] {
        let origins = closing(5);
        let rsp = pool(&origins, &format!("retries = {retries}, eject = false"));
        assert_eq!(get(rsp.address(), "/").status(), 502);
        until("all tries have arrived", || attempts(&origins) > retries);
        assert_eq!(attempts(&origins), retries + 1);
        assert_eq!(value(&logged(&rsp, "/"), "retries"), retries.to_string());
    }
}

#[test]
fn an_outage_is_not_multiplied_by_retries() {
    for (workers, eject) in [(1, "eject = false,"), (2, "eject = false,"), (2, "")] {
        let origins = closing(3);
        let servers: Vec<(&str, &str)> = origins.iter().map(|origin| (origin.address.as_str(), "")).collect();
        let rsp = web_of(workers, &servers, &format!("{eject} retries = 2"));
        let threads: Vec<_> = (0..6)
            .map(|_| {
                let address = rsp.address().to_owned();
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        assert_eq!(get(&address, "/").status(), 502);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let most = 300 * 5 / 4 + 30;
        let tried = attempts(&origins);
        assert!((300..=most).contains(&tried), "{tried} tries, {most} at most ({workers} workers, {eject})");
    }
}

#[test]
fn a_budget_of_nothing_still_allows_three_retries_a_second() {
    let origins = closing(2);
    let rsp = pool(&origins, "retry_budget = 0, eject = false");
    for _ in 0..100 {
        assert_eq!(get(rsp.address(), "/").status(), 502);
    }
    let tried = attempts(&origins);
    assert!((125..=130).contains(&tried), "{tried}");
}

#[test]
fn refused_connections_are_retried_within_the_budget_as_well() {
    let refusing = [(); 3].map(|()| RefusingAddress::new());
    let servers = refusing.each_ref().map(|one| (one.address.as_str(), ""));
    let rsp = web(&servers, "eject = false");
    for number in 0..300 {
        assert_eq!(get(rsp.address(), &format!("/{number}")).status(), 502);
    }
    let _ = logged(&rsp, "/299");
    let retries: usize = rsp
        .directory
        .read("access.log")
        .lines()
        .map(|line| value(line, "retries").parse::<usize>().expect("a number"))
        .sum();
    assert!((30..=90).contains(&retries), "{retries}");
}

#[test]
fn the_log_names_every_server_that_was_tried_and_why_it_was_left() {
    let (refusing, origin) = (RefusingAddress::new(), Origin::named("ok"));
    let (full, closing) = (FullListener::new(), Origin::run(|visit| _ = visit.head()));
    let servers =
        [(refusing.address.as_str(), ""), (&full.address, ""), (&closing.address, ""), (&origin.address, "")];
    let rsp = web(
        &servers,
        "balance = function(req, servers) return servers[1] end, retries = 3, timeouts = { connect = '200ms' }",
    );
    assert_eq!(get(rsp.address(), "/named").text(), "ok");
    let line = logged(&rsp, "/named");
    assert_eq!(
        value(&line, "left"),
        "s1:server-refused,s2:server-connect-timeout,s3:server-closed",
        "{line}"
    );
    assert_eq!((value(&line, "server").as_str(), value(&line, "retries").as_str()), ("s4", "3"));
}

#[test]
fn the_log_names_the_last_server_too_when_all_fail() {
    let refusing = [(); 2].map(|()| RefusingAddress::new());
    let servers = refusing.each_ref().map(|one| (one.address.as_str(), ""));
    let rsp = web(&servers, "balance = 'first'");
    assert_eq!(get(rsp.address(), "/none").status(), 502);
    let line = logged(&rsp, "/none");
    assert_eq!(value(&line, "left"), "s1:server-refused,s2:server-refused", "{line}");
}

#[test]
fn a_connection_that_was_kept_too_long_is_in_the_log_and_in_the_counts_at_the_end() {
    let origin = Origin::run(|visit| {
        // Dies with its second request.
        if visit.request().is_some() && visit.send(OK) {
            visit.request();
        }
    });
    let mut rsp = web(&[(&origin.address, "")], "");
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/1").text(), "ok");
    assert_eq!(client.get("/2").text(), "ok");
    let line = logged(&rsp, "/2");
    assert_eq!(value(&line, "left"), "s1:reused-stale", "{line}");
    assert!(line.ends_with("end=complete"), "{line}");
    assert_eq!(value(&logged(&rsp, "/1"), "left"), "-");
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    assert!(rsp.log().contains("1 reused-stale"), "{}", rsp.log());
}

#[test]
fn a_stale_connection_costs_none_of_the_budget_and_none_of_the_retries() {
    let origin = Origin::run(|visit| {
        if visit.request().is_some() && visit.send(OK) {
            visit.request();
        }
    });
    let rsp = web(&[(&origin.address, "")], "retries = 0, retry_budget = 0");
    let mut client = Client::connect(rsp.address());
    for _ in 0..200 {
        assert_eq!(client.get("/").text(), "ok");
    }
}

#[test]
fn a_post_is_never_sent_twice_whatever_its_servers_do() {
    let dies = |visit: &mut Visit| {
        while let Some(request) = visit.request() {
            if request.head.method() == "POST" || !visit.send(OK) {
                return;
            }
        }
    };
    let origins = [Origin::run(dies), Origin::run(dies), Origin::run(dies)];
    let rsp = pool(&origins, "eject = { pause = '10ms' }, timeouts = { idle = '1m' }");
    for number in 0..60 {
        let mut client = Client::connect(rsp.address());
        if number % 2 == 0 {
            assert_eq!(client.get("/").status(), 200);
        }
        assert_eq!(client.post(&format!("/{number}"), "order").status(), 502);
    }
    let mut posts: Vec<String> = origins.iter().flat_map(|origin| targets(&origin.requests())).collect();
    posts.retain(|target| target != "/");
    posts.sort_unstable();
    let all = posts.len();
    posts.dedup();
    assert_eq!((all, posts.len()), (60, 60));
}

#[test]
fn a_post_whose_server_never_answers_is_sent_once() {
    let origins = [
        Origin::run(|visit| while visit.request().is_some() {}),
        Origin::run(|visit| while visit.request().is_some() {}),
    ];
    let rsp = pool(&origins, "timeouts = { response = '200ms' }");
    for _ in 0..4 {
        assert_eq!(Client::connect(rsp.address()).post("/", "order").status(), 504);
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(origins.iter().map(Origin::request_count).sum::<usize>(), 4);
}

#[test]
fn a_get_whose_server_never_answers_is_not_sent_to_another_one() {
    let origins = [
        Origin::run(|visit| while visit.request().is_some() {}),
        Origin::run(|visit| while visit.request().is_some() {}),
    ];
    let rsp = pool(&origins, "timeouts = { response = '200ms' }");
    assert_eq!(get(rsp.address(), "/").status(), 504);
    assert_eq!(origins.iter().map(Origin::request_count).sum::<usize>(), 1);
}
