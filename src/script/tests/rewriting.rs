//! Assigning `req.path`, `req.query`, `req.host` and `req.cookies`.

use super::*;
use crate::h1::ClientCodec;
use crate::http::{Codec, Event, Fields, HeadLimits, Name, cookies};

/// The request after this body.
fn after(body: &str) -> RequestHead {
    let mut head = usual();
    run(&mut script(&format!("function on_request(req)\n{body}\nreturn web end")), &mut head).unwrap();
    head
}

fn target(body: &str) -> String {
    String::from_utf8(after(body).target().to_vec()).unwrap()
}

#[test]
fn path_and_query_are_replaced_apart_and_read_as_replaced() {
    assert_eq!(target("req.path = '/v2' .. req.path"), "/v2/static/a%20b?x=1");
    assert_eq!(target("req.query = 'y=2&z'"), "/static/a%20b?y=2&z");
    assert_eq!(target("req.query = nil"), "/static/a%20b");
    assert_eq!(target("req.query = ''"), "/static/a%20b?");
    assert_eq!(target("req.path = '/' req.query = nil req.path = '/b' req.query = 'c'"), "/b?c");
    let read = "req.path = '/new' req.query = 'k=%41' assert(req.path == '/new' and req.args.k == 'A') \
                req.path = '/old' assert(req.path == '/old' and req.query == 'k=%41')";
    assert_eq!(target(read), "/old?k=%41");
}

#[test]
fn what_the_client_asked_for_stays_readable_and_is_what_the_log_shows() {
    let head = after("req.path = '/new' req.host = 'b' assert(req.target == '/static/a%20b?x=1')");
    assert_eq!(head.original_target_and_host(), (&b"/static/a%20b?x=1"[..], &b"Example.COM:8080"[..]));
    assert_eq!((head.target(), head.fields.get(Name::Host)), (&b"/new?x=1"[..], Some(&b"b"[..])));
    for body in ["req.headers.Host = 'c'", "req.headers.host = nil"] {
        assert_eq!(after(body).original_target_and_host().1, b"Example.COM:8080", "{body}");
    }
    assert!(!after("req.headers.X = 'c'").is_rewritten);
}

#[test]
fn a_host_may_carry_a_port_and_replaces_the_field() {
    let head = after("req.host = 'Other.example:8443' assert(req.host == 'other.example')");
    assert_eq!(head.fields.get(Name::Host), Some(&b"Other.example:8443"[..]));
    assert_eq!(head.fields.iter().filter(|(tag, ..)| *tag == Name::Host).count(), 1);
    let mut without = super::head("GET", "/", &[]);
    run(&mut script("function on_request(req) req.host = 'a' return web end"), &mut without).unwrap();
    assert_eq!(without.fields.get(Name::Host), Some(&b"a"[..]));
}

#[test]
fn only_what_a_client_could_send_is_accepted_and_nothing_is_changed_otherwise() {
    let values =
        ["'/a b'", "'/a\\r\\nX: y'", "'/a\\0'", "'/a#b'", "'/\\xc3\\xa4'", "'/\\t'", "5", "{}", "true"];
    for value in values {
        for field in ["path", "query", "host"] {
            let mut head = usual();
            let source = format!("function on_request(req)\nreq.{field} = {value}\nreturn web end");
            let error = run(&mut script(&source), &mut head).unwrap_err();
            assert!(error.starts_with(&format!("site.lua:2: req.{field}: got ")), "{error}");
            assert!(!error.contains(['\r', '\n', '\0']), "{error}");
            assert_eq!((head.target(), head.host()), (usual().target(), usual().host()));
        }
    }
    for body in [
        "req.path = ''",
        "req.path = 'a'",
        "req.path = '*'",
        "req.path = '/a?b'",
        "req.path = 'http://a/'",
        "req.path = nil",
        "req.host = ''",
        "req.host = nil",
        "req.host = 'a/b'",
        "req.host = 'u@a'",
        "req.host = 'a:99999'",
        "req.host = '[::1'",
    ] {
        assert!(outcome(body).unwrap_err().contains("expected a "), "{body}");
    }
    let mut star = super::head("OPTIONS", "*", &[("Host", "a")]);
    let mut with = |body: &str| {
        run(&mut script(&format!("function on_request(req)\n{body}\nreturn web end")), &mut star)
    };
    refused(with("req.query = 'a'"), "site.lua:2: req.query: the target of this request has none");
    let mut connect = super::head("CONNECT", "a:80", &[("Host", "a:80")]);
    let source = "function on_request(req)\nreq.path = '/'\nreturn web end";
    assert!(run(&mut script(source), &mut connect).is_err());
}

#[test]
fn cookies_are_changed_in_their_place_and_become_one_field() {
    let line = |body: &str| {
        let head = after(body);
        let lines: Vec<String> =
            head.fields.values(Name::Cookie).map(|v| String::from_utf8_lossy(v).into_owned()).collect();
        lines.join("|")
    };
    assert_eq!(line("req.cookies.canary = '0'"), "canary=0; theme=\"dark\"");
    assert_eq!(
        line("req.cookies.new = 'a=b' assert(req.cookies.new == 'a=b')"),
        "canary=1; theme=\"dark\"; new=a=b"
    );
    assert_eq!(line("req.cookies.canary = nil"), "theme=\"dark\"");
    assert_eq!(line("req.cookies.canary = nil req.cookies.theme = nil"), "");
    assert_eq!(line("req.cookies.theme = req.cookies.theme"), "canary=1; theme=\"dark\"");
    for (name, value) in [
        ("a", "'b;c'"),
        ("a", "'b\\nc'"),
        ("a", "' b'"),
        ("a", "5"),
        ("a", "{}"),
        ("a b", "'c'"),
        ("a=b", "'c'"),
        ("", "'c'"),
    ] {
        let error = outcome(&format!("req.cookies['{name}'] = {value}")).unwrap_err();
        assert!(error.starts_with(&format!("site.lua:2: req.cookies[\"{name}\"]: ")), "{error}");
    }
}

#[test]
fn everything_else_is_read_only() {
    let only = "read-only, only path, query, host, headers and cookies can be changed";
    for field in
        ["method", "target", "scheme", "version", "client_ip", "id", "listener", "headers", "cookies", "tls"]
    {
        refused(outcome(&format!("req.{field} = 'x'")), &format!("site.lua:2: req.{field}: {only}"));
    }
    refused(outcome("req.args.a = nil"), "site.lua:2: req.args.a: read-only, assign req.query");
    refused(outcome("req.headers[1] = 'x'"), "site.lua:2: expected a name (a string) in the index");
}

#[test]
fn a_loop_of_changes_cannot_fill_the_memory_outside_the_vm() {
    for body in [
        "req.path = '/' .. ('x'):rep(5000)",
        "req.query = ('x'):rep(5000)",
        "req.host = ('x'):rep(200)",
        "req.cookies.a = ('x'):rep(5000)",
    ] {
        let mut head = usual();
        let source = format!("function on_request(req)\nwhile true do {body} end end");
        let error = run(&mut script(&source), &mut head).unwrap_err();
        assert!(
            error.contains("would be larger than 256 KiB") || error.contains("more than 10 ms"),
            "{error}"
        );
        assert!(head.fields.bytes().len() < 600 * 1024);
    }
}

/// The request as it would be sent, read by the parser that reads clients' requests.
fn read_back(head: &RequestHead) -> Option<RequestHead> {
    let mut bytes = [head.method_text(), b" ", head.target(), b" HTTP/1.1\r\n"].concat();
    for (_, name, value) in head.fields.iter() {
        bytes.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    let (mut read, mut trailers) = (RequestHead::default(), Fields::default());
    let limits = HeadLimits { bytes: 64 << 10, fields: 1000 };
    let decoded = ClientCodec::default().decode(&bytes, false, 0, &limits, &mut read, &mut trailers);
    matches!(decoded, Ok(Some(step)) if step.event == Event::Head && step.consumed == bytes.len())
        .then_some(read)
}

#[test]
fn whatever_is_accepted_is_read_back_as_the_same_request() {
    let mut script = script(
        "function on_request(req)\n\
         local char = string.char(tonumber(req.headers['X-Byte']))\n\
         local field = req.headers['X-Field']\n\
         if field == 'cookie' then req.cookies.a = 'x' .. char .. 'y'\n\
         elseif field == 'cookie name' then req.cookies['x' .. char] = 'y'\n\
         else req[field] = (field == 'path' and '/' or '') .. 'x' .. char .. 'y' end\n\
         return web end",
    );
    let mut accepted = 0;
    for field in ["path", "query", "host", "cookie", "cookie name"] {
        for byte in 0..=255_u8 {
            let fields =
                [("Host", "a"), ("X-Byte", &byte.to_string()), ("X-Field", field), ("Cookie", "b=c; d=e")];
            let mut head = head("GET", "/p?q", &fields);
            if run(&mut script, &mut head).is_err() {
                assert!(head.target() == b"/p?q" && head.fields.get(Name::Host) == Some(b"a"));
                continue;
            }
            accepted += 1;
            let read = read_back(&head).unwrap_or_else(|| panic!("{field} {byte}: {:?}", head.fields));
            assert_eq!(read.target(), head.target(), "{field} {byte}");
            assert_eq!(format!("{:?}", read.fields), format!("{:?}", head.fields), "{field} {byte}");
            let names: Vec<&[u8]> = cookies(&read.fields).map(|(name, _)| name).collect();
            assert_eq!(names.len(), if field.starts_with("cookie") { 3 } else { 2 }, "{field} {byte}");
        }
    }
    assert!(accepted > 400, "{accepted}");
}
