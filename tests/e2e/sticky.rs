//! Sticky sessions by a cookie of rsp's: set once, unforgeable, never seen by servers, and no reason for an error when
//! its server is gone.

use crate::support::*;

const STICKY: &str = "sticky = { cookie = 'srv', secret = 'quiet' }";

struct Three {
    origins: Vec<Option<Origin>>,
    addresses: Vec<String>,
    rsp: Rsp,
}

fn three_of(workers: usize, options: [&str; 3], pool: &str) -> Three {
    let addresses: Vec<String> = (0..3).map(|_| format!("127.0.0.1:{}", free_port())).collect();
    let origins =
        addresses.iter().zip(["a", "b", "c"]).map(|(at, name)| Some(Origin::named_at(at, name))).collect();
    let servers: Vec<(&str, &str)> = addresses.iter().map(String::as_str).zip(options).collect();
    let rsp = web_of(workers, &servers, pool);
    Three { origins, addresses, rsp }
}

fn three(pool: &str) -> Three {
    three_of(1, ["", "", ""], pool)
}

fn ask(rsp: &Rsp, cookies: &str) -> Message {
    let mut client = Client::connect(rsp.address());
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookies}\r\n\r\n"));
    client.response()
}

fn cookie_of(answer: &Message) -> Option<&str> {
    answer.get("set-cookie").and_then(|all| all.split(';').next())
}

/// A session with the server of this name.
fn session(three: &Three, name: &str) -> String {
    let mut cookie = None;
    until("a session with the server", || {
        let answer = get(three.rsp.address(), "/");
        cookie = cookie_of(&answer).map(str::to_owned);
        answer.text() == name
    });
    cookie.expect("a cookie")
}

#[test]
fn a_session_stays_with_its_server_in_every_worker_and_its_cookie_is_set_once() {
    let three = three_of(2, ["", "", ""], STICKY);
    for name in ["a", "b", "c"] {
        let cookie = session(&three, name);
        for _ in 0..10 {
            let answer = ask(&three.rsp, &cookie);
            assert_eq!((answer.text().as_str(), answer.get("set-cookie")), (name, None));
        }
    }
}

#[test]
fn the_cookie_is_opaque_and_has_its_attributes() {
    let three = three(STICKY);
    let answer = get(three.rsp.address(), "/");
    let set = answer.head.all("set-cookie");
    assert_eq!(set.len(), 1);
    let parts: Vec<&str> = set[0].split("; ").collect();
    assert!(parts[0].starts_with("srv=") && parts[0].len() > 20, "{set:?}");
    for word in ["s1", "s2", "s3", "web", "127.0.0.1", "quiet"] {
        assert!(!parts[0][4..].contains(word), "{set:?}");
    }
    assert_eq!(parts[1..], ["Path=/", "HttpOnly", "SameSite=Lax"]);
}

#[test]
fn the_cookie_may_have_an_age() {
    let three = three("sticky = { cookie = 'srv', secret = 'quiet', max_age = '1h' }");
    let answer = get(three.rsp.address(), "/");
    assert!(answer.get("set-cookie").expect("a cookie").contains("; Max-Age=3600;"), "{answer:?}");
}

#[test]
fn the_cookie_is_secure_only_for_clients_of_https() {
    let origin = Origin::named("a");
    let rsp = web_with(1, &[(&origin.address, "")], STICKY, "");
    let secure = |rsp: &Rsp| {
        let mut client = Client::connect(rsp.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n");
        client.response().get("set-cookie").expect("a cookie").contains("; Secure")
    };
    assert!(!secure(&rsp), "this peer is not trusted");
    let text = format!(
        "rsp.pool {{ servers = {{ {:?} }}, {STICKY} }} rsp.settings {{ trusted = {{ '127.0.0.0/8' }} }}",
        origin.address
    );
    let rsp = Rsp::start(&on_any_port(&text));
    assert!(secure(&rsp));
    assert!(!get(rsp.address(), "/").get("set-cookie").expect("a cookie").contains("Secure"));
}

#[test]
fn the_cookie_does_not_reach_the_server_and_others_do() {
    let three = three(STICKY);
    let cookie = session(&three, "a");
    let origin = three.origins[0].as_ref().expect("it runs");
    for (sent, expected) in [
        (cookie.clone(), None),
        (format!("{cookie}; a=1"), Some("a=1")),
        (format!("a=1; {cookie}"), Some("a=1")),
        (format!("a=1; {cookie}; b=2"), Some("a=1; b=2")),
        (format!("asrv=1; {cookie}; srvb=2"), Some("asrv=1; srvb=2")),
        (format!("{cookie}; {cookie}"), None),
        (format!("{cookie}; srv=other; a=1"), Some("a=1")),
    ] {
        assert_eq!(ask(&three.rsp, &sent).text(), "a", "{sent}");
        assert_eq!(origin.last().get("cookie"), expected, "{sent}");
    }
}

#[test]
fn a_cookie_in_a_second_field_is_found_and_removed() {
    let three = three(STICKY);
    let cookie = session(&three, "b");
    let mut client = Client::connect(three.rsp.address());
    for _ in 0..4 {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: {cookie}\r\n\r\n"));
        assert_eq!(client.response().text(), "b");
    }
    let cookies = three.origins[1].as_ref().expect("it runs").last().head.all("cookie").join("; ");
    assert_eq!(cookies, "a=1");
}

#[test]
fn a_forged_cookie_is_ignored_removed_and_replaced() {
    let three = three(STICKY);
    let real = session(&three, "a");
    let other = three_other_secret();
    let foreign = session(&other, "a");
    assert_ne!(real, foreign, "the secret matters");
    let mut cut = real.clone();
    cut.pop();
    for forged in [
        "srv=",
        "srv=s1",
        "srv=web/s1",
        "srv=127.0.0.1",
        &cut,
        &format!("{real}0"),
        &real.to_uppercase().replace("SRV", "srv"),
    ] {
        let answers: Vec<Message> = (0..3).map(|_| ask(&three.rsp, &format!("{forged}; a=1"))).collect();
        let mut servers: Vec<String> = answers.iter().map(Message::text).collect();
        servers.sort_unstable();
        // A token whose digits happen to be no letters reads the same in capitals.
        if *forged != real {
            assert_eq!(servers, ["a", "b", "c"], "{forged}");
            assert!(answers.iter().all(|answer| cookie_of(answer).is_some()), "{forged}");
        }
    }
    for origin in three.origins.iter().flatten() {
        assert!(!origin.last().get("cookie").unwrap_or("").contains("srv="), "{:?}", origin.last());
    }
}

fn three_other_secret() -> Three {
    three("sticky = { cookie = 'srv', secret = 'another' }")
}

#[test]
fn a_session_whose_server_is_gone_falls_back_and_gets_a_new_cookie() {
    let mut three = three(STICKY);
    let cookie = session(&three, "b");
    three.origins[1] = None;
    let answer = ask(&three.rsp, &cookie);
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.text(), "b");
    let new = cookie_of(&answer).expect("a new cookie").to_owned();
    assert_ne!(new, cookie);
    for _ in 0..5 {
        assert_eq!(ask(&three.rsp, &new).text(), answer.text());
    }
    // The old one holds again when its server is back.
    three.origins[1] = Some(Origin::named_at(&three.addresses[1], "b"));
    until("the server is back", || ask(&three.rsp, &cookie).text() == "b");
}

#[test]
fn a_session_falls_back_while_its_server_is_down_by_its_checks() {
    let mut three = three(&format!("{STICKY}, health = {{ interval = '50ms', fall = 1, rise = 1 }}"));
    let cookie = session(&three, "c");
    three.origins[2] = None;
    three.rsp.wait_for_log("web/s3 is down");
    let line_of = |rsp: &Rsp| logged_so_far(rsp, "/").pop().unwrap_or_default();
    let answer = ask(&three.rsp, &cookie);
    assert_eq!((answer.status(), cookie_of(&answer).is_some()), (200, true));
    until("it is in the log", || line_of(&three.rsp).contains("left=-"));
}

#[test]
fn a_server_of_weight_0_keeps_its_sessions_and_gets_no_others() {
    let three_before = three(STICKY);
    // The same secret and names give the same tokens in another process.
    let cookie = session(&three_before, "a");
    let three = three_of(1, ["weight = 0", "", ""], STICKY);
    for _ in 0..5 {
        let answer = ask(&three.rsp, &cookie);
        assert_eq!((answer.text().as_str(), answer.get("set-cookie")), ("a", None));
        assert_ne!(get(three.rsp.address(), "/").text(), "a");
    }
}

#[test]
fn a_disabled_server_keeps_no_session() {
    let cookie = session(&three(STICKY), "a");
    let three = three_of(1, ["disabled = true", "", ""], STICKY);
    let answer = ask(&three.rsp, &cookie);
    assert_ne!(answer.text(), "a");
    assert!(cookie_of(&answer).is_some());
}

#[test]
fn rsps_own_answers_set_no_session() {
    let refusing = RefusingAddress::new();
    let rsp = web_with(
        1,
        &[(&refusing.address, "")],
        STICKY,
        "rsp.on_request(function(req) if req.path == '/own' then return rsp.respond { body = 'x' } end end)",
    );
    for (path, status) in [("/own", 200), ("/", 502)] {
        let answer = get(rsp.address(), path);
        assert_eq!((answer.status(), answer.get("set-cookie")), (status, None));
    }
}

#[test]
fn cookies_of_the_server_stay_beside_that_of_rsp() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n",
    );
    let rsp = web(&[(&origin.address, "")], STICKY);
    let answer = get(rsp.address(), "/");
    let all = answer.head.all("set-cookie");
    assert_eq!((all.len(), all.contains(&"a=1"), all.contains(&"b=2")), (3, true, true), "{all:?}");
}
