//! The examples of `examples/` whose point is the script, run like the others.

use crate::examples::start;
use crate::support::*;

#[test]
fn security_headers_are_on_responses_of_servers_and_on_answers_of_rsp() {
    let web = Origin::answering(
        "HTTP/1.1 200 OK\r\nServer: x\r\nX-Frame-Options: SAMEORIGIN\r\nContent-Length: 0\r\n\r\n",
    );
    let rsp =
        start("security_headers.lua", &[("127.0.0.1:8080", "127.0.0.1:0"), ("127.0.0.1:8081", &web.address)]);
    let served = get(rsp.address(), "/");
    assert_eq!((served.get("x-frame-options"), served.get("server")), (Some("SAMEORIGIN"), None));
    assert_eq!(served.get("x-content-type-options"), Some("nosniff"));
    let own = get(rsp.address(), "/old");
    assert_eq!((own.status(), own.get("x-frame-options")), (301, Some("DENY")));
    drop(web);
    let failed = get(rsp.address(), "/");
    assert_eq!((failed.status(), failed.get("x-frame-options")), (502, Some("DENY")));
    rsp.stop();
}

#[test]
fn prefix_rewrite_takes_the_prefix_away_and_gives_it_to_redirects() {
    let web = Origin::named("web");
    let shop = Origin::answering("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n");
    let rsp = start(
        "prefix_rewrite.lua",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0"),
            ("127.0.0.1:8081", &web.address),
            ("127.0.0.1:8082", &shop.address),
        ],
    );
    let answer = get(rsp.address(), "/shop/cart?id=1");
    assert_eq!((answer.status(), answer.get("location")), (302, Some("/shop/login")));
    assert_eq!(shop.last().head.line, "GET /cart?id=1 HTTP/1.1");
    assert_eq!(get(rsp.address(), "/shop").get("location"), Some("/shop/"));
    assert_eq!(get(rsp.address(), "/shopping").text(), "web");
    assert_eq!(web.last().head.line, "GET /shopping HTTP/1.1");
    rsp.stop();
}

#[test]
fn to_https_sends_away_who_came_over_http_to_the_proxy() {
    let web = Origin::named("web");
    let rsp = start(
        "to_https.lua",
        &[("127.0.0.1:8080", "127.0.0.1:0"), ("127.0.0.1:8081", &web.address), ("127.0.0.1", "127.0.0.1")],
    );
    let mut client = Client::connect(rsp.address());
    let answer = client.send("GET /a?b HTTP/1.1\r\nHost: shop.example:80\r\n\r\n").response();
    assert_eq!((answer.status(), answer.get("location")), (308, Some("https://shop.example/a?b")));
    client.send("GET /a?b HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Proto: https\r\n\r\n");
    let served = client.response();
    assert_eq!(
        (served.text().as_str(), served.get("strict-transport-security")),
        ("web", Some("max-age=31536000"))
    );
    assert_eq!(client.get("/healthz").text(), "fine\n");
    rsp.stop();
}

/// Answers with its name, to a WebSocket's request in the head of a 101.
fn chat_server(name: &'static str) -> Origin {
    Origin::run(move |visit| {
        while let Some(request) = visit.request() {
            if request.head.get("upgrade").is_none() {
                let length = name.len();
                visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}"));
                continue;
            }
            visit.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Name: {name}\r\n\r\n"
            ));
            return visit.wait_for_end();
        }
    })
}

#[test]
fn sticky_websocket_meets_the_server_of_its_browser() {
    let (one, two) = (chat_server("chat1"), chat_server("chat2"));
    let rsp = start(
        "sticky_websocket.lua",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0"),
            ("127.0.0.1:9001", &one.address),
            ("127.0.0.1:9002", &two.address),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ],
    );
    for _ in 0..4 {
        let first = get(rsp.address(), "/");
        let cookie = first.get("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie");
        let upgrade = format!(
            "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: {cookie}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        let mut client = Client::connect(rsp.address());
        let switched = client.send(format!("{upgrade}Origin: https://chat.example.com\r\n\r\n")).head();
        assert_eq!((switched.status(), switched.get("x-name")), (101, Some(first.text().as_str())));
        let mut other = Client::connect(rsp.address());
        assert_eq!(
            other.send(format!("{upgrade}Origin: https://evil.example\r\n\r\n")).response().status(),
            403
        );
    }
    rsp.stop();
}

#[test]
fn api_version_goes_by_either_header_to_servers_of_its_own() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let rsp = start(
        "api_version.lua",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0"),
            ("127.0.0.1:8081", &one.address),
            ("127.0.0.1:8082", &two.address),
            // Versions, which look like ports.
            ("1", "1"),
            ("2", "2"),
        ],
    );
    let mut client = Client::connect(rsp.address());
    let mut ask =
        |field: &str| client.send(format!("GET /users?a HTTP/1.1\r\nHost: a\r\n{field}\r\n")).response();
    assert_eq!(ask("X-API-Version: 1\r\n").text(), "one");
    assert_eq!(one.last().head.line, "GET /v1/users?a HTTP/1.1");
    assert_eq!(ask("Accept: application/vnd.example.v1+json\r\n").text(), "one");
    let newest = ask("");
    assert_eq!((newest.text().as_str(), newest.get("vary")), ("two", Some("X-API-Version, Accept")));
    assert_eq!(two.last().head.line, "GET /v2/users?a HTTP/1.1");
    assert_eq!(ask("X-API-Version: 9\r\n").status(), 406);
    rsp.stop();
}

#[test]
fn external_auth_asks_another_server_who_may_pass() {
    let web = Origin::named("web");
    let auth = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            let answer = match request.get("Authorization") {
                Some("Bearer good") => "HTTP/1.1 200 OK\r\nX-User: ada\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 3\r\n\r\nno\n",
            };
            if !visit.send(answer) {
                return;
            }
        }
    });
    let rsp = start(
        "external_auth.lua",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0"),
            ("127.0.0.1:8081", &web.address),
            ("127.0.0.1:9000", &auth.address),
        ],
    );
    let mut client = Client::connect(rsp.address());
    let refused = client.get("/private/x?y");
    assert_eq!(
        (refused.status(), refused.get("www-authenticate"), refused.text().as_str()),
        (401, Some("Bearer"), "no\n")
    );
    assert_eq!(auth.last().get("X-Original-URI"), Some("/private/x?y"));
    let passed =
        client.send("GET /private/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n").response();
    assert_eq!((passed.text().as_str(), web.last().get("X-User")), ("web", Some("ada")));
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-User: root\r\n\r\n").response();
    assert_eq!(web.last().get("X-User"), None);
    drop(auth);
    assert_eq!(client.get("/private/").status(), 503);
    rsp.stop();
}
