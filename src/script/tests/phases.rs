//! `on_answer`, `on_log`, `on_connect`, `on_start` and the functions of `rsp.every`.

use super::*;
use crate::base::named_values::take;
use crate::script::TaskFunction;

/// What `on_log` with this body adds, as `name=value`.
fn logged(body: &str, response: Option<&mut ResponseHead>) -> Result<String, String> {
    let mut script = script(&format!("function on_log(req, res, log)\n{body}\nend"));
    let mut bytes = Vec::new();
    let done = script.on_log(&mut usual(), client(), response, &mut bytes);
    done.map_err(|ScriptError(line)| line)?;
    let mut rest = &bytes[..];
    let all = std::iter::from_fn(|| take(&mut rest));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(all.map(|field| format!("{}={}", text(field.name), text(field.value))).collect::<Vec<_>>().join(" "))
}

#[test]
fn on_log_reads_request_and_response_and_adds_fields() {
    let mut response = ResponseHead { status: 404, ..ResponseHead::default() };
    response.fields.append(b"X-Cache", b"hit");
    let body = "log.path = req.path log.cache = res.headers['X-Cache'] log.status_again = res.status\n\
                log.is_error = res.status >= 400 log.third = log.status_again / 8 log.cache2 = nil";
    assert_eq!(
        logged(body, Some(&mut response)).as_deref(),
        Ok("path=/static/a%20b cache=hit status_again=404 is_error=true third=50.5")
    );
    assert_eq!(logged("log.none = res == nil", None).as_deref(), Ok("none=true"));
    assert_eq!(logged("", None).as_deref(), Ok(""));
}

#[test]
fn on_log_changes_nothing_else_and_adds_nothing_where_it_fails() {
    for (body, message) in [
        ("log.a = 1 log.status = 2", "log[\"status\"]: every line has this field, expected another name"),
        ("log.a = {}", "log[\"a\"]: got a table, expected a string, number or boolean"),
        ("req.path = '/x'", "req: the request is over, nothing of it can be changed here"),
        ("req.headers.A = 'x'", "req.headers: the request is over, nothing of it can be changed here"),
        ("req.cookies.A = 'x'", "req.cookies: the request is over, nothing of it can be changed here"),
        ("res.status = 200", "res: the request is over, nothing of it can be changed here"),
        ("res.headers.A = 'x'", "res.headers: the request is over, nothing of it can be changed here"),
        ("res.cookies.A = 'x'", "res.cookies: the request is over, nothing of it can be changed here"),
        ("res.cookies.A = { 'x' }", "res.cookies: the request is over, nothing of it can be changed here"),
        ("pairs(log)", "pairs: a log has no list of fields"),
    ] {
        let mut response = ResponseHead { status: 404, ..ResponseHead::default() };
        let error = logged(body, Some(&mut response)).unwrap_err();
        assert_eq!(error, format!("site.lua:2: {message}"), "{body}");
        assert!(response.fields.is_empty() && response.status == 404);
    }
}

#[test]
fn a_log_kept_past_its_call_raises() {
    let mut script = script("function on_log(req, res, log)\nif kept then kept.a = 1 end kept = log end");
    let mut log = |out: &mut Vec<u8>| script.on_log(&mut usual(), client(), None, out);
    assert!(log(&mut Vec::new()).is_ok());
    let ended = "site.lua:2: this request has ended: copy what you need while its handler runs";
    assert_eq!(log(&mut Vec::new()).unwrap_err().0, ended);
}

#[test]
fn on_answer_changes_the_answer_as_on_response_does() {
    let source = "function on_answer(req, res)\n\
                  res.headers['X-Frame-Options'] = 'DENY' res.cookies.seen = { '1', path = '/' }\n\
                  if req.path == '/bad' then req.path = '/' end\nif res.status == 502 then res.status = 503 end end";
    let mut script = script(source);
    let mut response = ResponseHead { status: 502, ..ResponseHead::default() };
    script.on_answer(&mut usual(), client(), &mut response).unwrap();
    assert_eq!(response.status, 503);
    assert_eq!(
        format!("{:?}", response.fields),
        r#"{"X-Frame-Options": "DENY", "Set-Cookie": "seen=1; Path=/"}"#
    );
    let error = script.on_answer(&mut head("GET", "/bad", &[]), client(), &mut response).unwrap_err();
    assert_eq!(error.0, "site.lua:3: req: the request was sent already, only res can be changed here");
}

#[test]
fn on_connect_decides_by_address_and_listener_and_anything_odd_is_an_error() {
    let connects = |returned: &str| {
        let source = format!("function on_connect(conn)\nreturn {returned} end");
        script(&source).on_connect(client()).map_err(|ScriptError(line)| line)
    };
    for (returned, may) in [
        ("false", false),
        ("true", true),
        ("nil", true),
        ("conn.client_ip == '10.9.8.7' and conn.listener == 'public'", true),
        ("conn.client_ip ~= '10.9.8.7'", false),
    ] {
        assert_eq!(connects(returned), Ok(may), "{returned}");
    }
    for (returned, message) in [
        ("'no'", "on_connect returned a string, expected true, false or nothing"),
        ("conn", "on_connect returned a conn, expected true, false or nothing"),
        ("conn.address", "site.lua:2: conn.address: no such field, known are client_ip, listener"),
        ("(function() conn.listener = 'x' end)()", "conn.listener: read-only, nothing of it can be changed"),
    ] {
        assert!(connects(returned).unwrap_err().contains(message), "{returned}: {:?}", connects(returned));
    }
    assert!(matches!(script("").on_connect(client()), Ok(true)));
}

#[test]
fn on_start_and_every_get_no_arguments_and_keep_state_in_the_vm() {
    let source = "n = 0\nfunction on_start(...) assert(select('#', ...) == 0) n = n + 1 end\n\
                  function every(...) assert(select('#', ...) == 0) n = n + 10 end\n\
                  function on_request() return rsp.respond { body = tostring(n) } end";
    let mut script = script(source);
    script.run_task(TaskFunction::OnStart).unwrap();
    script.run_task(TaskFunction::Every(0)).unwrap();
    script.run_task(TaskFunction::Every(1)).unwrap();
    let Ok(Verdict::Answer(answer)) = run(&mut script, &mut usual()) else { panic!() };
    assert_eq!(*answer.body, b"11");
    assert!(
        super::script("function on_start() error('no') end")
            .run_task(TaskFunction::OnStart)
            .unwrap_err()
            .0
            .contains("no")
    );
}

#[test]
fn abort_is_a_verdict_of_its_own() {
    assert_eq!(outcome("return rsp.abort()"), Ok(Verdict::Abort));
    assert_eq!(outcome("local gone = rsp.abort() return gone"), Ok(Verdict::Abort));
}
