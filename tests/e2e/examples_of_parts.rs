//! The examples of limits, splits, look-ups and tokens, run like the others.

use super::examples::{start, start_in};
use crate::support::*;

/// The status and the body of the response to a GET with these fields.
fn ask(client: &mut Client, path: &str, fields: &str) -> (u16, String) {
    let response = client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).response();
    (response.status(), response.text())
}

/// A directory with a file beside the examples' config.
fn beside(name: &str, text: &str) -> Directory {
    let directory = Directory::new();
    directory.write(&format!("examples/{name}"), text);
    directory
}

fn shipped(name: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name))
        .unwrap()
}

#[test]
fn rate_limit_lets_each_key_have_its_burst_and_says_what_is_left() {
    let api = Origin::named("api");
    let rsp = start("rate_limit.lua", &[("127.0.0.1:8080", "127.0.0.1:0"), ("127.0.0.1:8081", &api.address)]);
    let mut client = Client::connect(rsp.address());
    let mut ask = |key: &str| client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{key}\r\n")).response();
    let first = ask("X-Api-Key: k1\r\n");
    assert_eq!((first.status(), first.get("ratelimit")), (200, Some("\"api\";r=19;t=1")));
    let refused = (0..200).map(|_| ask("X-Api-Key: k1\r\n")).find(|answer| answer.status() == 429);
    let refused = refused.expect("more than the burst is refused");
    assert_eq!((refused.text().as_str(), refused.get("retry-after")), ("too many requests\n", Some("1")));
    assert!(refused.get("ratelimit").is_some_and(|rate| rate.starts_with("\"api\";r=0;t=")));
    assert_eq!([ask("X-Api-Key: k2\r\n").status(), ask("").status()], [200, 200]);
    rsp.stop();
}

#[test]
fn canary_takes_those_who_want_it_and_a_share_of_the_others() {
    let (stable, canary) = (Origin::named("stable"), Origin::named("canary"));
    let addresses = [
        ("127.0.0.1:8080", "127.0.0.1:0"),
        ("127.0.0.1:8081", stable.address.as_str()),
        ("127.0.0.1:8082", canary.address.as_str()),
    ];
    let rsp = start("canary.lua", &addresses);
    let mut client = Client::connect(rsp.address());
    assert_eq!(ask(&mut client, "/", "Cookie: canary=yes\r\n").1, "canary");
    assert_eq!(ask(&mut client, "/", "Cookie: canary=no\r\n").1, "stable");
    let version = |last: u8| {
        let mut client = Client::connect_from(&format!("127.0.0.{last}"), rsp.address());
        let first = ask(&mut client, "/", "").1;
        assert_eq!(ask(&mut client, "/", "").1, first, "a client stays where it is");
        first
    };
    let canaries = (1..=200).filter(|last| version(*last) == "canary").count();
    assert!((1..=30).contains(&canaries), "{canaries} of 200");
    rsp.stop();
}

#[test]
fn experiment_divides_visitors_and_remembers_them() {
    let web = Origin::named("web");
    let rsp = start("experiment.lua", &[("127.0.0.1:8080", "127.0.0.1:0"), ("127.0.0.1:8081", &web.address)]);
    let mut client = Client::connect(rsp.address());
    let new = client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response();
    let cookie = new.get("set-cookie").expect("a cookie");
    assert!(cookie.starts_with("visitor=") && cookie.len() > 24, "{cookie}");
    let mut variant = |visitor: usize| {
        let known =
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: visitor={visitor}\r\n\r\n")).response();
        assert_eq!(known.get("set-cookie"), None);
        web.last().get("x-variant").unwrap_or_default().to_owned()
    };
    let first: Vec<String> = (0..100).map(&mut variant).collect();
    let second: Vec<String> = (0..100).map(&mut variant).collect();
    assert_eq!(first, second);
    let a = first.iter().filter(|variant| *variant == "a").count();
    assert!(
        (25..=75).contains(&a) && first.iter().all(|variant| variant == "a" || variant == "b"),
        "{first:?}"
    );
    rsp.stop();
}

#[test]
fn geo_sends_clients_where_their_network_belongs() {
    let (german, others) = (Origin::named("german"), Origin::named("others"));
    let directory = beside("countries.map", &shipped("countries.map"));
    let rsp = start_in(
        directory,
        "geo.lua",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0"),
            ("127.0.0.1:8081", &german.address),
            ("127.0.0.1:8082", &others.address),
        ],
    );
    let mut client = Client::connect(rsp.address());
    assert_eq!(ask(&mut client, "/", "X-Country: xx\r\n").1, "german");
    assert_eq!(german.last().get("x-country"), Some("de"));
    let mut client = Client::connect_from("127.0.0.2", rsp.address());
    assert_eq!(ask(&mut client, "/", "").1, "others");
    assert_eq!(others.last().get("x-country"), Some("fr"));
    rsp.stop();
}

/// Made by another implementation: `{"alg":"HS256","typ":"JWT"}`, `{"sub":"ada","exp":4102444800}`, "secret".
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDB9.QUMQHIKstvv14tJ35T1WmU09EraswkMJLlcOLsR75HI";

#[test]
fn jwt_believes_only_what_was_signed() {
    let web = Origin::named("web");
    let rsp = start("jwt.lua", &[("127.0.0.1:8080", "127.0.0.1:0"), ("127.0.0.1:8081", &web.address)]);
    let mut client = Client::connect(rsp.address());
    let mut with = |token: &str| {
        let authorization =
            format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: eve\r\nAuthorization: {token}\r\n\r\n");
        let answer = client.send(authorization).response();
        (answer.status(), answer.get("www-authenticate").unwrap_or_default().to_owned())
    };
    assert_eq!(with(&format!("Bearer {TOKEN}")).0, 200);
    assert_eq!(web.last().get("x-user"), Some("ada"));
    let [head, body, signature] = TOKEN.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let expired = EXPIRED;
    let unsigned = "eyJhbGciOiJub25lIn0";
    for (token, why) in [
        ("Basic YTpi".to_owned(), "no token"),
        (format!("Bearer {head}.{body}"), "no token"),
        (format!("Bearer {head}.{body}.{}", signature.replace('a', "b")), "wrong signature"),
        (format!("Bearer {head}.eyJzdWIiOiJldmUifQ.{signature}"), "wrong signature"),
        (format!("Bearer {unsigned}.{body}.AA"), "wrong signature"),
        (format!("Bearer {expired}"), "expired"),
    ] {
        let (status, challenge) = with(&token);
        assert_eq!(status, 401, "{token}");
        assert!(challenge.ends_with(&format!("error_description=\"{why}\"")), "{token}: {challenge}");
    }
    assert_eq!(web.request_count(), 1);
    rsp.stop();
}

/// The same with `"exp":1`.
const EXPIRED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjF9.lA6ZnWfU6l2prd3M9sXdVkalR0WZK5W2AyJE8Hd6jbE";

#[test]
fn bots_are_refused_and_our_own_networks_are_not() {
    let web = Origin::named("web");
    let own = [("127.0.0.1", "127.0.0.1"), ("::1", "::1")];
    let addresses =
        [("127.0.0.1:8080", "127.0.0.1:0"), ("127.0.0.1:8081", web.address.as_str()), own[0], own[1]];
    let rsp = start("bots.lua", &addresses);
    let mut foreign = Client::connect_from("127.0.0.2", rsp.address());
    assert_eq!(ask(&mut foreign, "/", "User-Agent: Mozilla/5.0 (compatible; BadBot/1.0)\r\n").0, 403);
    assert_eq!(ask(&mut foreign, "/blog/wp-login.php?x=1", "").0, 404);
    assert_eq!(ask(&mut foreign, "/.git/config", "").0, 404);
    assert_eq!(ask(&mut foreign, "/phpinfo", "User-Agent: Mozilla/5.0\r\n").1, "web");
    assert_eq!(ask(&mut foreign, "/", "").1, "web");
    let mut own = Client::connect(rsp.address());
    assert_eq!(ask(&mut own, "/x.php", "User-Agent: badbot\r\n").1, "web");
    rsp.stop();
}

#[test]
fn maintenance_is_switched_by_a_file() {
    let web = Origin::named("web");
    let directory = beside("maintenance.map", &shipped("maintenance.map"));
    let rsp = start_in(
        directory,
        "maintenance.lua",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0"),
            ("127.0.0.1:8081", &web.address),
            ("127.0.0.1", "127.0.0.1"),
            ("300", "300"),
        ],
    );
    let mut client = Client::connect_from("127.0.0.2", rsp.address());
    assert_eq!(ask(&mut client, "/", ""), (200, "web".into()));
    rsp.directory().write("examples/maintenance.map", "on yes\n");
    until("the page is shown", || ask(&mut client, "/", "").0 == 503);
    let page = client.get("/");
    assert!(page.text().contains("Back soon") && page.get("retry-after") == Some("300"), "{page:?}");
    assert_eq!(ask(&mut Client::connect(rsp.address()), "/", ""), (200, "web".into()));
    rsp.directory().write("examples/maintenance.map", "on no\n");
    until("the site is back", || ask(&mut client, "/", "").0 == 200);
    rsp.stop();
}

#[test]
fn cors_answers_preflights_and_names_the_origin() {
    let api = Origin::named("api");
    let rsp = start("cors.lua", &[("127.0.0.1:8080", "127.0.0.1:0"), ("127.0.0.1:8081", &api.address)]);
    let mut client = Client::connect(rsp.address());
    let mut preflight = |origin: &str| {
        let asked = "Access-Control-Request-Method: PUT\r\n";
        let head = format!("OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\n{asked}\r\n");
        client.send(head).response()
    };
    let fine = preflight("https://app.example.com");
    assert_eq!((fine.status(), fine.get("access-control-max-age")), (204, Some("86400")));
    assert_eq!(fine.get("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(preflight("https://evil.example").status(), 403);
    assert_eq!(api.request_count(), 0);
    let mut read =
        |origin: &str| client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{origin}\r\n")).response();
    let response = read("Origin: https://app.example.com\r\n");
    assert_eq!(response.get("access-control-allow-origin"), Some("https://app.example.com"));
    let response = read("Origin: https://evil.example\r\n");
    assert_eq!((response.get("access-control-allow-origin"), response.get("vary")), (None, Some("Origin")));
    assert_eq!(read("").text(), "api");
    rsp.stop();
}

#[test]
fn basic_auth_lets_users_pass_who_know_their_password() {
    let web = Origin::named("web");
    let directory = beside("users.htpasswd", &shipped("users.htpasswd"));
    let addresses = [
        ("127.0.0.1:8080", "127.0.0.1:0"),
        ("127.0.0.1:8081", web.address.as_str()),
        ("users.htpasswd", "users.htpasswd"),
    ];
    let rsp = start_in(directory, "basic_auth.lua", &addresses);
    let mut client = Client::connect(rsp.address());
    let asked = client.get("/");
    let challenge = "Basic realm=\"restricted\", charset=\"UTF-8\"";
    assert_eq!((asked.status(), asked.get("www-authenticate")), (401, Some(challenge)));
    let mut with = |credentials: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\n\r\n");
        client.send(head).response().status()
    };
    // The second time it is known.
    for _ in 0..2 {
        assert_eq!(with("YWRhOnNlY3JldA=="), 200);
        assert_eq!(with("YWRhOndyb25n"), 401);
        assert_eq!(with("ZXZlOnNlY3JldA=="), 401);
    }
    assert_eq!(with("!"), 401);
    assert_eq!((web.last().get("X-User"), web.last().get("Authorization")), (Some("ada"), None));
    rsp.stop();
}
