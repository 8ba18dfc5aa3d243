//! What scripts may change of a request and a response, and what not.

use super::*;
use crate::http::Fields;

fn after(body: &str) -> RequestHead {
    let mut head = usual();
    let source = format!("function on_request(req)\n{body}\nreturn web end");
    run(&mut script(&source), &mut head).unwrap();
    head
}

fn lines(fields: &Fields) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields.iter().map(|(_, n, v)| format!("{}: {}|", text(n), text(v))).collect()
}

#[test]
fn a_header_that_the_script_sets_or_removes_has_no_lookalike() {
    for (line, left) in [
        ("req.headers['X-User'] = 'alice'", vec!["X-User: alice"]),
        ("req.headers['X-User'] = nil", vec![]),
        ("local x = req.headers['X-User']", vec!["X_User: root", "X-User: me", "x_USER: 0"]),
    ] {
        let fields = [("X_User", "root"), ("X-User", "me"), ("x_USER", "0")];
        let mut head = head("GET", "/", &fields);
        let source = format!("function on_request(req) {line} return rsp.respond {{ status = 200 }} end");
        assert!(script(&source).on_request(&mut head, client()).is_ok());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let shown: Vec<String> =
            head.fields.iter().map(|(_, n, v)| format!("{}: {}", text(n), text(v))).collect();
        assert_eq!(shown, left, "{line}");
    }
}

#[test]
fn assigning_replaces_all_values_and_nil_removes_them() {
    let head = after("req.headers['X-TWICE'] = 'once' req.headers.Cookie = nil req.headers['X-New'] = 42");
    assert_eq!(lines(&head.fields), "Host: Example.COM:8080|X-Twice: once|X-New: 42|");
    let head = after("req.headers['x-twice'] = nil req.headers.cookie = nil req.headers.none = nil");
    assert_eq!(lines(&head.fields), "Host: Example.COM:8080|");
}

#[test]
fn a_changed_header_is_what_the_script_reads_next() {
    let body =
        "req.headers.Host = 'Other.Net' assert(req.host == 'other.net' and req.headers.host == 'Other.Net')";
    assert_eq!(after(body).host(), b"Other.Net");
}

#[test]
fn header_injection_is_refused_and_nothing_is_changed() {
    for (name, value) in [
        ("'X'", "'a\\r\\nY: b'"),
        ("'X'", "'a\\nb'"),
        ("'X'", "'a\\rb'"),
        ("'X'", "'a\\0b'"),
        ("'X\\r\\nY'", "'a'"),
        ("'X\\0'", "'a'"),
        ("''", "'a'"),
        ("'X Y'", "'a'"),
        ("'X:'", "'a'"),
        ("'X\\r\\n'", "nil"),
    ] {
        let mut head = usual();
        let before = lines(&head.fields);
        let source = format!("function on_request(req)\nreq.headers[{name}] = {value}\nreturn web end");
        let error = run(&mut script(&source), &mut head).unwrap_err();
        assert!(error.starts_with("site.lua:2: req.headers["), "{error}");
        assert!(!error.contains(['\r', '\n', '\0']), "{error}");
        assert_eq!(lines(&head.fields), before);
    }
}

#[test]
fn the_fields_that_frame_a_message_are_read_only() {
    for name in ["Content-Length", "transfer-encoding", "Connection", "UPGRADE"] {
        for value in ["'x'", "nil"] {
            refused(
                outcome(&format!("req.headers['{name}'] = {value}")),
                &format!(
                    "site.lua:2: req.headers[\"{name}\"]: read-only: rsp itself writes the fields that frame a message"
                ),
            );
        }
    }
}

#[test]
fn everything_but_headers_is_read_only() {
    let only = "read-only, only req.headers[name] can be changed";
    refused(outcome("req.path = '/x'"), &format!("site.lua:2: req.path: {only}"));
    refused(outcome("req.headers = {}"), "site.lua:2: a header's value: expected a string, a number or nil");
    refused(outcome("req.cookies.a = 'b'"), &format!("site.lua:2: req.cookies.a: {only}"));
    refused(outcome("req.args.a = nil"), &format!("site.lua:2: req.args.a: {only}"));
    let wrong = "site.lua:2: a header's value: expected a string, a number or nil";
    refused(outcome("req.headers.a = {}"), wrong);
    refused(outcome("req.headers.a = true"), wrong);
    refused(outcome("req.headers[1] = 'x'"), "site.lua:2: expected a name (a string) in the index");
}

#[test]
fn a_loop_cannot_fill_the_memory_outside_the_vm() {
    let error = outcome("local big = ('x'):rep(60000)\nwhile true do req.headers.a = big end").unwrap_err();
    assert_eq!(error, "site.lua:3: req.headers[\"a\"]: the headers would be larger than 256 KiB");
}

fn answered(source: &str) -> (Result<(), String>, ResponseHead) {
    let mut response = ResponseHead { status: 404, ..ResponseHead::default() };
    response.reason = response.fields.store(b"Not Found");
    response.fields.append(b"Server", b"nginx");
    response.fields.append(b"Content-Length", b"5");
    let source = format!("function on_response(req, res)\n{source}\nend");
    let result = script(&source).on_response(&mut usual(), client(), &mut response);
    (result.map_err(|ScriptError(line)| line), response)
}

#[test]
fn on_response_reads_both_heads_and_changes_the_headers_of_the_response() {
    let source = "res.headers.Server = nil\n\
                  res.headers['X-Was'] = res.status .. ' ' .. res.reason .. ' ' .. req.host .. ' ' .. tostring(res)";
    let (result, response) = answered(source);
    assert_eq!(result, Ok(()));
    assert_eq!(lines(&response.fields), "Content-Length: 5|X-Was: 404 Not Found example.com response|");
}

#[test]
fn on_response_refuses_all_other_changes() {
    for (body, message) in [
        ("res.status = 200", "res.status: read-only, only res.headers[name] can be changed"),
        ("res.reason = 'x'", "res.reason: read-only, only res.headers[name] can be changed"),
        ("local x = res.statsu", "res.statsu: no such field, did you mean \"status\"?"),
        (
            "res.headers['Content-Length'] = nil",
            "res.headers[\"Content-Length\"]: read-only: rsp itself writes the fields that frame a message",
        ),
        (
            "res.headers.X = 'a\\r\\nb'",
            "res.headers[\"X\"]: the value has a CR, LF, NUL or another control byte",
        ),
        (
            "req.headers.X = 'a'",
            "req.headers: the request was sent already, only res.headers can be changed here",
        ),
    ] {
        let (result, response) = answered(body);
        assert_eq!(result, Err(format!("site.lua:2: {message}")));
        assert_eq!(lines(&response.fields), "Server: nginx|Content-Length: 5|");
    }
}

#[test]
fn a_response_kept_past_its_end_raises() {
    let source = "function on_response(req, res)\nif kept then local x = kept.status end\nkept = res end\n\
                  function on_request(req)\nlocal x = kept.status\nend";
    let mut script = script(source);
    let mut response = ResponseHead::default();
    script.on_response(&mut usual(), client(), &mut response).unwrap();
    let ended = "this request has ended: copy what you need while its handler runs";
    let again = script.on_response(&mut usual(), client(), &mut response).unwrap_err().0;
    assert_eq!(again, format!("site.lua:2: {ended}"));
    refused(run(&mut script, &mut usual()), &format!("site.lua:5: {ended}"));
}
