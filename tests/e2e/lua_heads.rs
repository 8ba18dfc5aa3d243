//! What a script can do to heads: repeated headers, the status of a response, and the client's response when
//! `on_response` fails.

use crate::support::*;

/// A server whose responses set two cookies.
const COOKIES: &str = "HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nServer: secret/1.0\r\nset-cookie: b=2\r\n\
                       Content-Length: 4\r\n\r\nbody";

/// One pool with an origin that always answers this, and a script.
fn over(response: &str, script: &str) -> (Origin, Rsp) {
    let origin = Origin::answering(response);
    let rsp = Rsp::start(&format!("{}{script}", balanced(&[&origin.address])));
    (origin, rsp)
}

#[test]
fn a_cookie_is_added_to_those_of_the_server() {
    let (_origin, rsp) = over(
        COOKIES,
        "rsp.on_response(function(req, res) res.headers:add('Set-Cookie', 'seen=1; Path=/') end)",
    );
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2", "seen=1; Path=/"]);
        assert_eq!(answer.text(), "body");
    }
}

#[test]
fn all_cookies_are_read_changed_and_set_as_a_list() {
    let (_origin, rsp) = over(
        COOKIES,
        "rsp.on_response(function(req, res)
           local cookies = res.headers:all('Set-Cookie')
           for i, cookie in ipairs(cookies) do cookies[i] = cookie .. '; Secure' end
           res.headers['Set-Cookie'] = cookies
         end)",
    );
    assert_eq!(get(rsp.address(), "/").head.all("set-cookie"), ["a=1; Secure", "b=2; Secure"]);
}

#[test]
fn a_string_that_is_assigned_replaces_all_values_and_nil_removes_them() {
    let (_origin, rsp) =
        over(COOKIES, "rsp.on_response(function(req, res) res.headers['SET-cookie'] = req.args.only end)");
    assert_eq!(get(rsp.address(), "/?only=c").head.all("set-cookie"), ["c"]);
    assert_eq!(get(rsp.address(), "/").head.all("set-cookie"), [] as [&str; 0]);
}

#[test]
fn pairs_lists_headers_in_order_with_repeated_ones() {
    let (_origin, rsp) = over(
        COOKIES,
        "rsp.on_response(function(req, res)
           local seen = {}
           for name, value in pairs(res.headers) do seen[#seen + 1] = name .. '=' .. value end
           res.headers['X-Seen'] = table.concat(seen, ' ', 1, 3)
         end)",
    );
    assert_eq!(
        get(rsp.address(), "/").head.get("x-seen"),
        Some("Set-Cookie=a=1 Server=secret/1.0 set-cookie=b=2")
    );
}

#[test]
fn a_request_header_with_several_values_reaches_the_server() {
    let (origin, rsp) = over(
        COOKIES,
        "rsp.on_request(function(req) req.headers['X-List'] = { 'one', 'two' } req.headers:add('X-List', 'three') end)",
    );
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: a\r\nX-List: old\r\n\r\n").response().status(), 200);
    assert_eq!(origin.last().head.all("x-list"), ["one", "two", "three"]);
}

#[test]
fn the_status_that_the_script_sets_is_what_the_client_and_the_log_get() {
    let origin = Origin::answering("HTTP/1.1 500 Oh dear\r\nContent-Length: 4\r\n\r\nbody");
    let config = balanced(&[&origin.address]);
    let rsp = Rsp::start(&format!(
        "{config} rsp.settings {{ access_log = '-' }}
         rsp.on_response(function(req, res) if res.status == 500 then res.status = 503 end end)"
    ));
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!(answer.head.line, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(answer.text(), "body");
    }
    until("the access log has it", || rsp.output().matches("\" 503 4 \"").count() == 3);
}

#[test]
fn a_script_cannot_change_whether_a_response_has_a_body() {
    for (status, framing) in
        [("204 No Content", ""), ("304 Not Modified", ""), ("200 OK", "Content-Length: 2\r\n")]
    {
        let body = if framing.is_empty() { "" } else { "ok" };
        let (_origin, rsp) = over(
            &format!("HTTP/1.1 {status}\r\n{framing}\r\n{body}"),
            "rsp.on_response(function(req, res) res.status = res.status == 200 and 204 or 200 end)",
        );
        assert_eq!(get(rsp.address(), "/").status(), 500, "{status}");
        rsp.wait_for_log("rsp.lua:3: res.status: ");
    }
}

#[test]
fn a_response_whose_handler_failed_is_forwarded_unchanged_if_configured() {
    let origin = Origin::answering(COOKIES);
    let config = balanced(&[&origin.address]);
    let rsp = Rsp::start(&format!(
        "{config} rsp.settings {{ script = {{ on_response_error = 'pass' }}, access_log = '-' }}
         rsp.on_response(function(req, res)
           res.headers['Set-Cookie'] = nil
           res.headers:add('X-Half', 'done')
           res.status = 404
           if req.path == '/error' then error('broken by hand') end
           if req.path == '/spin' then while true do end end
         end)"
    ));
    let mut client = Client::connect(rsp.address());
    for path in ["/error", "/spin"] {
        let answer = client.get(path);
        assert_eq!(answer.head.line, "HTTP/1.1 200 Fine", "{path}");
        assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!((answer.get("server"), answer.get("x-half")), (Some("secret/1.0"), None));
        assert_eq!(answer.text(), "body");
    }
    let changed = client.get("/");
    assert_eq!(
        (changed.status(), changed.get("x-half"), changed.get("set-cookie")),
        (404, Some("done"), None)
    );
    rsp.wait_for_log("broken by hand (the response passes as it came)");
    until("the access log has them", || {
        (rsp.output().matches("\" 200 4 \"").count(), rsp.output().matches("\" 404 4 \"").count()) == (2, 1)
    });
}

/// A pool with one server that refuses and one that works, and a script that names the first.
fn naming_a_refusing_server(more: &str) -> (RefusingAddress, Origin, Rsp) {
    let (refusing, other) = (RefusingAddress::new(), Origin::named("other"));
    let config = on_any_port(&format!(
        "local web = rsp.pool {{ servers = {{ {{ {:?}, name = 'a' }}, {:?} }} }}
         rsp.on_request(function(req) return web, 'a'{more} end)",
        refusing.address, other.address
    ));
    let rsp = Rsp::start(&config);
    (refusing, other, rsp)
}

#[test]
fn a_server_that_the_script_names_is_tried_although_ejected_and_no_other_is() {
    let (refusing, other, rsp) = naming_a_refusing_server("");
    let mut client = Client::connect(rsp.address());
    for _ in 0..5 {
        assert_eq!(client.get("/").status(), 502);
    }
    assert_eq!(other.connection_count(), 0);
    // It is ejected now, and is used again at once when it is back.
    let address = refusing.address.clone();
    drop(refusing);
    let _there = Origin::named_at(&address, "named");
    assert_eq!(client.get("/").text(), "named");
}

#[test]
fn a_server_that_the_script_only_prefers_is_replaced_by_another_one() {
    let (_refusing, other, rsp) = naming_a_refusing_server(", true");
    let mut client = Client::connect(rsp.address());
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "other");
    }
    assert_eq!(other.request_count(), 5);
}

#[test]
fn a_server_that_the_script_prefers_gets_the_request_if_it_can() {
    let origins = ["a", "b"].map(Origin::named);
    let rsp = Rsp::start(&on_any_port(&format!(
        "local web = rsp.pool {{ servers = {{ {:?}, {{ {:?}, name = 'b' }} }} }}
         rsp.on_request(function(req) return web, 'b', true end)",
        origins[0].address, origins[1].address
    )));
    let mut client = Client::connect(rsp.address());
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "b");
    }
}

#[test]
fn arguments_of_print_are_separated_in_the_log() {
    let (_origin, rsp) = over(COOKIES, "rsp.on_request(function(req) print('one', 2, nil, 'a\\tb') end)");
    assert_eq!(get(rsp.address(), "/").status(), 200);
    rsp.wait_for_log("INFO one\t2\tnil\ta\tb\n");
}
