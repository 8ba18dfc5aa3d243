//! What scripts may change in a request and a response.

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
fn setting_or_removing_a_header_removes_its_lookalikes() {
    for (line, left) in [
        ("req.headers['X-User'] = 'alice'", vec!["X-User: alice"]),
        ("req.headers['X-User'] = nil", vec![]),
        ("req.headers['X-User'] = { 'a', 'b' }", vec!["X-User: a", "X-User: b"]),
        ("req.headers:add('X-User', 'you')", vec!["X-User: me", "X-User: you"]),
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
    let head = after("req.headers['X-TWICE'] = 'once' req.headers.Cookie = nil req.headers['X-New'] = '42'");
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
fn framing_fields_are_read_only() {
    let names = [
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "UPGRADE",
        "TE",
        "Trailer",
        "keep-alive",
        "Expect",
    ];
    for name in names {
        for value in ["'x'", "nil", "{ 'x', 'y' }"] {
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
fn a_value_that_is_no_string_and_no_list_of_strings_raises_and_changes_nothing() {
    let list = "got a table, expected a list of strings, one at least, and nothing else in it";
    let single = |what: &str| format!("got a {what}, expected a string, a list of strings or nil");
    for (value, message) in [
        ("5", single("number")),
        ("1.5", single("number")),
        ("true", single("boolean")),
        ("print", single("function")),
        ("{}", list.to_owned()),
        ("{ 1 }", list.to_owned()),
        ("{ 'a', 2 }", list.to_owned()),
        ("{ 'a', nil, 'c' }", list.to_owned()),
        ("{ 'a', b = 'c' }", list.to_owned()),
        ("{ b = 'c' }", list.to_owned()),
        ("{ 'a', 'b\\n' }", "the value has a CR, LF, NUL or another control byte".to_owned()),
    ] {
        let mut head = usual();
        let before = lines(&head.fields);
        let source = format!("function on_request(req)\nreq.headers.A = {value}\nreturn web end");
        let error = run(&mut script(&source), &mut head).unwrap_err();
        assert_eq!(error, format!("site.lua:2: req.headers[\"A\"]: {message}"), "{value}");
        assert_eq!(lines(&head.fields), before);
    }
}

#[test]
fn a_list_gives_a_header_several_values() {
    let head = after("req.headers['X-TWICE'] = { 'a', 'b', 'c' } req.headers.New = { 'd' }");
    let cookie = "Cookie: canary=1; theme=\"dark\"|";
    let shown = format!("Host: Example.COM:8080|{cookie}X-Twice: a|X-TWICE: b|X-TWICE: c|New: d|");
    assert_eq!(lines(&head.fields), shown);
}

#[test]
fn add_adds_one_more_and_all_and_pairs_give_all_in_order() {
    let body = "req.headers:add('x-TWICE', '3')\n\
                assert(table.concat(req.headers:all('X-twice'), ',') == '1,2,3' and req.headers['x-twice'] == '1')\n\
                assert(#req.headers:all('none') == 0)\n\
                local seen = {}\n\
                for name, value in pairs(req.headers) do seen[#seen + 1] = name .. '=' .. value end\n\
                req.headers.Cookie = nil\n\
                req.headers:add('Seen', table.concat(seen, '|'))";
    let seen = "Host=Example.COM:8080|Cookie=canary=1; theme=\"dark\"|X-Twice=1|x-twice=2|x-TWICE=3";
    let shown = format!("Host: Example.COM:8080|X-Twice: 1|x-twice: 2|x-TWICE: 3|Seen: {seen}|");
    assert_eq!(lines(&after(body).fields), shown);
}

#[test]
fn only_the_exact_names_of_the_functions_are_not_headers() {
    let body = "req.headers.Add = '1' req.headers['ALL'] = '2'\n\
                assert(req.headers.ADD == '1' and req.headers.All == '2' and type(req.headers.add) == 'function')";
    after(body);
}

#[test]
fn add_and_all_refuse_wrong_arguments() {
    let add = "expected headers:add(name, value), with a colon and two strings";
    let all = "expected headers:all(name), with a colon and a string";
    for (call, message) in [
        ("req.headers.add('X', 'y')", add),
        ("req.headers.add(req, 'X', 'y')", add),
        ("req.headers.add(rsp.respond {}, 'X', 'y')", add),
        ("req.headers.add(setmetatable({}, {}), 'X', 'y')", add),
        ("req.headers.add(io, 'X', 'y')", add),
        ("req.headers:add('X')", add),
        ("req.headers:add('X', 5)", add),
        ("req.headers:add('X', { 'a' })", add),
        ("req.headers:all()", all),
        ("req.headers.all('X')", all),
        ("req.headers.all(req.cookies, 'X')", all),
        (
            "req.headers:add('X', 'a\\r\\nb')",
            "req.headers:add(\"X\"): the value has a CR, LF, NUL or another control byte",
        ),
        (
            "req.headers:add('X Y', 'a')",
            "req.headers:add(\"X Y\"): not a header name (letters, digits and !#$%&'*+-.^_`|~)",
        ),
        (
            "req.headers:add('Transfer-Encoding', 'chunked')",
            "req.headers:add(\"Transfer-Encoding\"): read-only: rsp itself writes the fields that frame a message",
        ),
        (
            "req.headers:add('host', 'b')",
            "req.headers:add(\"host\"): this field has one value, and it is there: assign the new one",
        ),
        (
            "req.headers['Content-Type'] = { 'a', 'b' }",
            "req.headers[\"Content-Type\"]: this field has one value, got 2",
        ),
    ] {
        refused(
            outcome(&format!("\nlocal x = {call}").replace("local x = req.headers['", "req.headers['")),
            &{ format!("site.lua:3: {message}") },
        );
    }
    refused(
        outcome("local h = req.headers\nwhile true do h:add('a', '') end"),
        "site.lua:3: req.headers:add(\"a\"): there would be more than 2000 headers",
    );
    refused(
        outcome("local s, t = ('x'):rep(1000000), {}\nfor i = 1, 2000 do t[i] = s end\nreq.headers.a = t"),
        "site.lua:4: the list is larger than headers may be",
    );
}

#[test]
fn host_takes_one_valid_value() {
    for good in ["other.net", "other.net:8080", "[::1]:80", "10.0.0.1"] {
        let head = after(&format!("req.headers.host = '{good}'"));
        assert_eq!(head.fields.get_by_name(b"Host"), Some(good.as_bytes()));
    }
    for bad in ["'a b'", "'a/b'", "'http://a'", "'a:b'", "'a@b'", "'[::1'", "'\\195\\188'"] {
        let error = outcome(&format!("req.headers.Host = {bad}")).unwrap_err();
        assert_eq!(error, "site.lua:2: req.headers[\"Host\"]: expected a host, perhaps with a port", "{bad}");
    }
    refused(
        outcome("req.headers.Host = { 'a', 'b' }"),
        "site.lua:2: req.headers[\"Host\"]: this field has one value, got 2",
    );
}

#[test]
fn a_loop_cannot_fill_the_memory_outside_the_vm() {
    let error = outcome("local big = ('x'):rep(60000)\nwhile true do req.headers.a = big end").unwrap_err();
    assert_eq!(error, "site.lua:3: req.headers[\"a\"]: the headers would be larger than 256 KiB");
}

fn answered(source: &str) -> (Result<(), String>, ResponseHead) {
    answered_to(404, source)
}

fn answered_to(status: u16, source: &str) -> (Result<(), String>, ResponseHead) {
    let mut response = ResponseHead { status, ..ResponseHead::default() };
    response.reason = response.fields.store(b"Not Found");
    response.fields.append(b"Server", b"nginx");
    response.fields.append(b"Content-Length", b"5");
    let source = format!("function on_response(req, res)\n{source}\nend");
    let result = script(&source).on_response(&mut usual(), client(), &mut response);
    (result.map(Called::done).map_err(|ScriptError(line)| line), response)
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
        ("res.reason = 'x'", "res.reason: read-only, only status, headers and cookies can be changed"),
        ("local x = res.statsu", "res.statsu: no such field, did you mean \"status\"?"),
        (
            "res.headers['Content-Length'] = nil",
            "res.headers[\"Content-Length\"]: read-only: rsp itself writes the fields that frame a message",
        ),
        (
            "res.headers.X = 'a\\r\\nb'",
            "res.headers[\"X\"]: the value has a CR, LF, NUL or another control byte",
        ),
        ("req.headers.X = 'a'", "req.headers: the request was sent already, only res can be changed here"),
    ] {
        let (result, response) = answered(body);
        assert_eq!(result, Err(format!("site.lua:2: {message}")));
        assert_eq!(lines(&response.fields), "Server: nginx|Content-Length: 5|");
    }
}

#[test]
fn the_status_of_a_response_can_be_changed_but_not_whether_it_has_a_body() {
    for (status, phrase) in [(200, "OK"), (503, "Service Unavailable"), (299, ""), (404, "Not Found")] {
        let (result, response) = answered(&format!("res.status = {status}"));
        assert_eq!((result, response.status), (Ok(()), status));
        assert_eq!(response.reason(), phrase.as_bytes());
    }
    let expected = "expected a whole number from 200 to 599, but not 204, 205 or 304";
    for (value, got) in
        [("204", "got 204, "), ("205", "got 205, "), ("304", "got 304, "), ("101", "got 101, ")]
    {
        let (result, response) = answered(&format!("res.status = {value}"));
        assert_eq!(result, Err(format!("site.lua:2: res.status: {got}{expected}")));
        assert_eq!(response.status, 404);
    }
    for value in ["'200'", "nil", "{}", "200.5", "true"] {
        let (result, _) = answered(&format!("res.status = {value}"));
        assert_eq!(result, Err(format!("site.lua:2: res.status: {expected}")), "{value}");
    }
    for status in [101, 204, 205, 304] {
        let (result, response) = answered_to(status, "res.status = 200");
        let message = format!("site.lua:2: res.status: a {status} stays one, since it has no body");
        assert_eq!((result, response.status), (Err(message), status));
    }
}

#[test]
fn a_cookie_can_be_added_to_those_of_a_server() {
    let (result, response) = answered(
        "res.headers['Set-Cookie'] = { 'a=1', 'b=2' } res.headers:add('Set-Cookie', 'c=3')\n\
         assert(#res.headers:all('set-cookie') == 3)",
    );
    assert_eq!(result, Ok(()));
    assert_eq!(
        lines(&response.fields),
        "Server: nginx|Content-Length: 5|Set-Cookie: a=1|Set-Cookie: b=2|Set-Cookie: c=3|"
    );
    let (result, response) = answered("req.headers:add('A', 'b')");
    let message = "site.lua:2: req.headers: the request was sent already, only res can be changed here";
    assert_eq!((result, response.fields.len()), (Err(message.to_string()), 2));
}

#[test]
fn cookies_of_a_response_are_read_set_and_removed() {
    let (result, response) = answered(
        "res.headers['Set-Cookie'] = { 'a=1; Path=/', 'b=2' } res.cookies.a = nil res.cookies.c = 'v'\n\
         res.cookies.d = { 'w', max_age = '1m', path = '/', same_site = 'lax', secure = true, http_only = true }\n\
         assert(res.cookies.b == '2' and res.cookies.a == nil and res.cookies.d == 'w')\n\
         local n = 0 for k, v in pairs(res.cookies) do n = n + 1 end assert(n == 3)",
    );
    assert_eq!(result, Ok(()));
    assert_eq!(
        lines(&response.fields),
        "Server: nginx|Content-Length: 5|Set-Cookie: b=2|Set-Cookie: c=v|\
         Set-Cookie: d=w; Max-Age=60; Path=/; SameSite=Lax; Secure; HttpOnly|"
    );
    for (body, message) in [
        ("res.cookies.a = 'b c'", "got \"b c\", expected visible ASCII"),
        ("res.cookies.a = { 'b', 'c' }", "expected a string, nil or { \"value\""),
        ("res.cookies.a = { path = '/' }", "no value"),
        ("res.cookies.a = { 'b', [true] = 1 }", "expected a string, nil or { \"value\""),
        ("res.cookies.a = { 'b', max_age = {} }", "max_age: got a table"),
        ("res.cookies.a = { 'b', path = '/a\\r\\nX: y' }", "path: got "),
        ("res.cookies.a = 5", "got a number"),
    ] {
        let (result, response) = answered(body);
        let error = result.unwrap_err();
        assert!(error.starts_with("site.lua:2: res.cookies[\"a\"]: ") && error.contains(message), "{error}");
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
