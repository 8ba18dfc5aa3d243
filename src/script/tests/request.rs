//! What scripts read from a request.

use super::*;
use crate::net::TlsInfo;

fn is(expression: &str, expected: &str) {
    assert_eq!(value(expression).as_deref(), Ok(expected), "{expression}");
}

#[test]
fn every_field_of_a_request_is_readable() {
    is("req.method", "GET");
    is("req.target", "/static/a%20b?x=1");
    is("req.path", "/static/a%20b");
    is("req.query", "x=1");
    is("req.host", "example.com");
    is("req.scheme", "http");
    is("req.version", "1.1");
    is("req.client_ip", "10.9.8.7");
    is("req.client_port", "4711");
    is("math.type(req.client_port)", "integer");
    is("req.id", "id-1");
    is("req.listener", "public");
    is("req", "request");
    is("req.headers", "headers");
    is("req.headers == req.headers", "true");
    is("getmetatable(req)", "request");
    assert_eq!(value_of("req.query", &mut head("GET", "/", &[])).as_deref(), Ok("nil"));
    assert_eq!(value_of("req.host", &mut head("GET", "/", &[])).as_deref(), Ok(""));
}

#[test]
fn a_client_on_a_unix_socket_has_no_address() {
    let source = "function on_request(r) return rsp.redirect('/' .. r.client_ip .. r.client_port) end";
    let client = RequestMeta { address: None, ..client() };
    let Ok(Verdict::Answer(answer)) = script(source).on_request(&mut usual(), client) else { panic!() };
    assert_eq!(*answer.body, b"See /unix:0\n");
}

#[test]
fn what_was_agreed_on_over_tls_is_readable_and_nil_without_it() {
    is("req.tls", "nil");
    let tls = TlsInfo {
        version: "1.3",
        cipher: "TLS_AES_128_GCM_SHA256".into(),
        sni: Some("a.example".into()),
        client_verified: true,
        client_subject: Some("CN=alice".into()),
        ..TlsInfo::default()
    };
    let said = |expression: &str| {
        let source =
            format!("function on_request(req) return rsp.redirect('/' .. tostring({expression})) end");
        let client = RequestMeta { tls: Some(&tls), ..client() };
        match script(&source).on_request(&mut usual(), client) {
            Ok(Verdict::Answer(answer)) => String::from_utf8_lossy(&answer.body).into_owned(),
            other => format!("{other:?}"),
        }
    };
    for (expression, wanted) in [
        ("req.tls", "tls"),
        ("req.tls.version", "1.3"),
        ("req.tls.cipher", "TLS_AES_128_GCM_SHA256"),
        ("req.tls.sni", "a.example"),
        ("req.tls.alpn", "nil"),
        ("req.tls.client_subject", "CN=alice"),
        ("req.tls.client_verified", "true"),
        ("req.tls == req.tls", "true"),
    ] {
        assert_eq!(said(expression), format!("See /{wanted}\n"), "{expression}");
    }
    assert!(said("req.tls.versio").contains("req.tls.versio: no such field, "));
    assert!(said("(function() req.tls.sni = 'x' end)()").contains("req.tls.sni: read-only"));
    assert!(said("pairs(req.tls)").contains("pairs: a tls has no list of fields"));
}

#[test]
fn headers_are_read_case_insensitively_and_the_first_value_counts() {
    is("req.headers['HOST']", "Example.COM:8080");
    is("req.headers['X-TWICE']", "1");
    is("req.headers['absent']", "nil");
}

#[test]
fn cookies_are_found_in_all_cookie_fields_case_sensitively() {
    is("req.cookies.canary", "1");
    is("req.cookies.theme", "\"dark\"");
    is("req.cookies.Canary", "nil");
    let mut two = head("GET", "/", &[("Cookie", "a=1;b = 2 ; ;c"), ("cookie", "d=x=y; a=9")]);
    let expression = "req.cookies.a .. req.cookies.b .. tostring(req.cookies.c) .. req.cookies.d";
    assert_eq!(value_of(expression, &mut two).as_deref(), Ok("12nilx=y"));
}

#[test]
fn args_are_decoded_and_the_first_value_counts() {
    let mut head = head("GET", "/?a=1&a=2&&b+c=%41%2b+%zz%4&d&%65=f=g&=h", &[]);
    for (expression, expected) in [
        ("req.args.a", "1"),
        ("req.args['b c']", "A+ %zz%4"),
        ("req.args.d", ""),
        ("req.args.e", "f=g"),
        ("req.args['']", "h"),
        ("req.args.absent", "nil"),
    ] {
        assert_eq!(value_of(expression, &mut head).as_deref(), Ok(expected), "{expression}");
    }
    assert_eq!(value_of("req.args.a", &mut super::head("GET", "/", &[])).as_deref(), Ok("nil"));
}

#[test]
fn pairs_lists_headers_cookies_and_args_and_allows_changes_meanwhile() {
    let source = "function on_request(req)\n\
                  local t = {}\n\
                  for k, v in pairs(req.headers) do t[#t + 1] = k .. '=' .. v req.headers[k] = nil end\n\
                  for k, v in pairs(req.headers) do t[#t + 1] = 'left over ' .. k end\n\
                  for k, v in pairs(req.args) do t[#t + 1] = k .. '=' .. v end\n\
                  return rsp.respond { status = 200, body = table.concat(t, '|') } end";
    let fields = [("Host", "h"), ("A", "1"), ("a", "2"), ("Cookie", "c=d")];
    let Ok(Verdict::Answer(answer)) = run(&mut script(source), &mut head("GET", "/?x=%20&x=2", &fields))
    else {
        panic!()
    };
    assert_eq!(String::from_utf8_lossy(&answer.body), "Host=h|A=1|a=2|Cookie=c=d|x= |x=2");
    is(
        "(function() local s = '' for k, v in pairs(req.cookies) do s = s .. k .. v end return s end)()",
        "canary1theme\"dark\"",
    );
    refused(outcome("pairs(req)"), "site.lua:2: pairs: a request has no list of fields");
}

#[test]
fn an_iterator_of_pairs_ignores_its_arguments() {
    is("(function() local f = pairs(req.cookies) f(req, 5) f({}, 'x') return f() end)()", "nil");
}

#[test]
fn an_unknown_field_is_an_error_that_names_the_nearest() {
    refused(outcome("local x = req.hots"), "site.lua:2: req.hots: no such field, did you mean \"host\"?");
    refused(
        outcome("local x = req.uri or req.url"),
        "site.lua:2: req.uri: no such field, known are method, \
        target, path, query, host, scheme, version, client_ip, client_port, id, listener, headers, cookies, args, tls",
    );
    refused(outcome("local x = req[1]"), "site.lua:2: expected a name (a string) in the index");
}

#[test]
fn a_request_kept_past_its_end_raises() {
    let source = "function on_request(req)\n\
                  if kept then local x = kept.host end\n\
                  kept = req return web end";
    let mut script = script(source);
    assert!(run(&mut script, &mut usual()).is_ok());
    let message = "site.lua:2: this request has ended: copy what you need while its handler runs";
    for _ in 0..3 {
        refused(run(&mut script, &mut usual()), message);
    }
}

#[test]
fn parts_of_a_request_kept_past_its_end_raise_when_read_written_or_listed() {
    for (part, uses) in [
        ("headers", "local x = kept.a"),
        ("headers", "kept.a = 'x'"),
        ("headers", "for k in pairs(kept) do end"),
        ("cookies", "local x = kept.a"),
        ("args", "local x = kept.a"),
    ] {
        let source =
            format!("function on_request(req)\nif kept then {uses} end\nkept = req.{part} return web end");
        let mut script = script(&source);
        assert!(run(&mut script, &mut usual()).is_ok());
        let message = "site.lua:2: this request has ended: copy what you need while its handler runs";
        refused(run(&mut script, &mut usual()), message);
    }
}

#[test]
fn cached_fields_belong_to_their_request() {
    let source = "function on_request(req) local s = '' for _ = 1, 3 do s = s .. req.host .. req.method .. req.path end\n\
                  return rsp.respond { status = 200, body = s } end";
    let mut script = script(source);
    let longest = format!("/{}", "p".repeat(62));
    let hosts = ["a", "A:80", "a:81", "B.example", "[::1]:80", "", "GET", "get", "/x"];
    for n in 0..2000 {
        let path = format!("/{}{}", n % 100, &longest[..n % 64]);
        let (host, method) = (hosts[n % hosts.len()], ["GET", "get", "PUT"][n % 3]);
        let mut head = head(method, &format!("{path}?{n}"), &[("Host", host)]);
        let Ok(Verdict::Answer(answer)) = run(&mut script, &mut head) else { panic!("no answer") };
        let named =
            host.strip_suffix(":80").or(host.strip_suffix(":81")).unwrap_or(host).to_ascii_lowercase();
        assert_eq!(
            String::from_utf8(answer.body.to_vec()).unwrap(),
            format!("{named}{method}{path}").repeat(3)
        );
    }
}

#[test]
fn a_host_loses_its_trailing_dot_and_its_field_is_unchanged() {
    for (sent, host) in [
        ("shop.example.", "shop.example"),
        ("Shop.Example.:8080", "shop.example"),
        ("shop.example..", "shop.example"),
        (".", ""),
        (".:80", ""),
        ("a.b", "a.b"),
        ("[::1]:80", "[::1]"),
    ] {
        let mut head = head("GET", "/", &[("Host", sent)]);
        assert_eq!(value_of("req.host", &mut head).as_deref(), Ok(host), "{sent}");
        assert_eq!(value_of("req.headers.Host", &mut head).as_deref(), Ok(sent));
    }
}

#[test]
fn a_host_that_the_script_changes_is_read_as_changed() {
    let body = "local before = req.host req.headers.Host = 'Other:1'\n\
                return rsp.respond { status = 200, body = before .. ' ' .. req.host }";
    let Ok(Verdict::Answer(answer)) = outcome(body) else { panic!("no answer") };
    assert_eq!(*answer.body, b"example.com other");
}
