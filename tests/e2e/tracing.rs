//! `traceparent` passes; with `trace = true` a request without a valid one begins a trace.

use std::collections::HashSet;

use crate::support::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn start(origin: &Origin, settings: &str) -> Rsp {
    let log = "access_log = { '-', format = 'json' }";
    Rsp::start(&format!("{}rsp.settings {{ {log}, {settings} }}", balanced(&[&origin.address])))
}

/// Sends a request with these fields and returns it as the server saw it.
fn received(rsp: &Rsp, origin: &Origin, fields: &str) -> Message {
    let before = origin.request_count();
    Client::connect(rsp.address()).send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).response();
    assert_eq!(origin.request_count(), before + 1);
    origin.last()
}

/// Checks a new `traceparent` and returns its trace-id.
fn new_trace(message: &Message) -> String {
    let value = message.get("traceparent").expect("a traceparent");
    let [version, trace, parent, flags] = value.split('-').collect::<Vec<_>>()[..] else { panic!("{value}") };
    let is_hex = |text: &str| text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    assert_eq!((version, flags), ("00", "01"), "{value}");
    assert!(trace.len() == 32 && parent.len() == 16 && is_hex(trace) && is_hex(parent), "{value}");
    trace.to_owned()
}

#[test]
fn without_trace_nothing_is_made_and_nothing_changed() {
    let origin = Origin::named("ok");
    let rsp = start(&origin, "trace = false");
    assert_eq!(received(&rsp, &origin, "").get("traceparent"), None);
    let invalid = received(&rsp, &origin, "traceparent: 00-x\r\ntracestate: a=1\r\n");
    assert_eq!((invalid.get("traceparent"), invalid.get("tracestate")), (Some("00-x"), Some("a=1")));
}

#[test]
fn a_request_without_a_trace_begins_one_whose_id_is_the_requests() {
    let origin = Origin::named("ok");
    let rsp = start(&origin, "trace = true");
    let mut seen = HashSet::new();
    for fields in [
        "",
        "tracestate: a=1\r\n",
        &format!("traceparent: ff-{TRACE}-00f067aa0ba902b7-01\r\ntracestate: a=1\r\n"),
    ] {
        let message = received(&rsp, &origin, fields);
        let trace = new_trace(&message);
        assert_eq!(message.get("x-request-id"), Some(trace.as_str()));
        assert_eq!(message.get("tracestate"), None, "it says something of no trace");
        rsp.wait_for_output(&format!("\"id\":\"{trace}\""));
        assert!(seen.insert(trace));
    }
}

#[test]
fn a_valid_trace_passes_unchanged_and_its_id_is_the_requests() {
    let origin = Origin::named("ok");
    let rsp = start(&origin, "trace = true");
    for version in ["00", "01"] {
        let parent = format!("{version}-{TRACE}-00f067aa0ba902b7-00");
        let message = received(&rsp, &origin, &format!("traceparent: {parent}\r\ntracestate: a=1,b=2\r\n"));
        assert_eq!(message.get("traceparent"), Some(parent.as_str()));
        assert_eq!((message.get("tracestate"), message.get("x-request-id")), (Some("a=1,b=2"), Some(TRACE)));
    }
    rsp.wait_for_output(&format!("\"id\":\"{TRACE}\""));
}

#[test]
fn the_id_of_a_trusted_proxy_stays_and_no_clients_id_is_believed() {
    let origin = Origin::named("ok");
    let sent = "X-Request-ID: theirs\r\n";
    let trusting = start(&origin, "trace = true, trusted = { '127.0.0.1' }");
    let message = received(&trusting, &origin, sent);
    assert_eq!(message.get("x-request-id"), Some("theirs"));
    new_trace(&message);
    let message = received(&start(&origin, "trace = true"), &origin, sent);
    assert_eq!(message.get("x-request-id"), Some(new_trace(&message).as_str()));
}

#[test]
fn a_script_sees_and_may_change_the_trace() {
    let origin = Origin::named("ok");
    let config = format!(
        "local web = rsp.pool {{ servers = {{ {:?} }} }}
         rsp.on_request(function(req)
           req.headers['X-Seen'] = req.headers.traceparent
           if req.path == '/drop' then req.headers.traceparent = nil end
           return web end)
         rsp.settings {{ trace = true }}",
        origin.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    get(rsp.address(), "/");
    let message = origin.last();
    assert_eq!((message.get("x-seen"), new_trace(&message).len()), (message.get("traceparent"), 32));
    get(rsp.address(), "/drop");
    assert_eq!(origin.last().get("traceparent"), None);
}
