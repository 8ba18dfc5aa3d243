//! Lines of every format for a few records.

use super::*;
use crate::base::named_values::{NamedValue, put};
use crate::config::JSON_KEYS;
use crate::control::lines::text::FIRST_LINE;
use crate::exchange::record::{End, Load, Phase, Times};

const START: u64 = 971_186_136_000_123;

fn record() -> Record<'static> {
    Record {
        client: Some("10.1.2.3".parse().unwrap()),
        client_port: 4711,
        status: 200,
        end: End::Complete,
        phase: Phase::Request,
        version: 11,
        retries: 0,
        times: Times { head: 10, connected: 210, first_byte: 1_042, end: 12_003_456, ..Times::default() },
        sent: 2326,
        received: 17,
        method: b"GET",
        target: b"/x?y=1",
        host: b"www.example.com",
        referer: b"http://a/",
        user_agent: b"curl/8 (\"me\")",
        pool: b"web",
        server: b"127.0.0.1:83",
        id: b"0123abcd",
        listener: b"http-in",
        ..Record::default()
    }
}

fn unread() -> Record<'static> {
    Record {
        status: 400,
        end: End::BadRequest,
        version: 0,
        times: Times { end: 7, ..Times::default() },
        sent: 0,
        received: 0,
        method: b"",
        target: b"",
        host: b"",
        referer: b"",
        user_agent: b"",
        pool: b"",
        server: b"",
        id: b"",
        detail: b"malformed start line",
        ..record()
    }
}

fn text(format: LogFormat, record: Record<'_>) -> String {
    let mut out = Vec::new();
    line(format, &LogTarget::Stdout)(&record, START, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn combined_is_what_apache_and_nginx_write() {
    let combined = |record| text(LogFormat::Combined, record);
    assert_eq!(
        combined(record()),
        "10.1.2.3 - - [10/Oct/2000:13:55:36 +0000] \"GET /x?y=1 HTTP/1.1\" 200 2326 \
         \"http://a/\" \"curl/8 (\\x22me\\x22)\"\n"
    );
    assert_eq!(
        combined(Record { client: Some("2001:db8::1".parse().unwrap()), version: 10, ..record() }),
        "2001:db8::1 - - [10/Oct/2000:13:55:36 +0000] \"GET /x?y=1 HTTP/1.0\" 200 2326 \
         \"http://a/\" \"curl/8 (\\x22me\\x22)\"\n"
    );
}

#[test]
fn a_status_above_599_is_599_in_combined_and_unchanged_in_rsp() {
    for (status, shown) in [(599, " 599 "), (600, " 599 "), (999, " 599 ")] {
        let record = Record { status, ..record() };
        assert!(text(LogFormat::Combined, record).contains(shown), "{status}");
        assert!(text(LogFormat::Rsp, record).contains(&format!(" status={status} ")), "{status}");
    }
}

#[test]
fn combined_logs_a_dash_for_unknown_fields_and_the_reason_of_a_malformed_request() {
    let combined = |record| text(LogFormat::Combined, record);
    let unread = |target, detail| Record { target, detail, ..unread() };
    assert_eq!(
        combined(unread(b"\x16\x03\x01\"", b"TLS hello")),
        "10.1.2.3 - - [10/Oct/2000:13:55:36 +0000] \"\\x16\\x03\\x01\\x22\" 400 0 \"-\" \"TLS hello\"\n"
    );
    assert_eq!(
        combined(Record { client: None, status: 408, ..unread(b"", b"") }),
        "unix: - - [10/Oct/2000:13:55:36 +0000] \"-\" 408 0 \"-\" \"-\"\n"
    );
    let long = combined(unread(&[b'a'; 256], b""));
    assert!(long.contains(&format!("\"{}...\" 400", "a".repeat(FIRST_LINE))), "{long}");
}

#[test]
fn rsp_adds_server_times_and_end() {
    assert_eq!(
        text(LogFormat::Rsp, record()),
        "time=2000-10-10T13:55:36.000123Z client=10.1.2.3:4711 request=\"GET /x?y=1\" host=www.example.com \
         status=200 sent=2326 received=17 pool=web server=127.0.0.1:83 queue=- connect=0.200 \
         first=0.832 total=12003.456 script=- retries=0 left=- id=0123abcd by=- phase=- end=complete\n"
    );
    let named = Record { client_port: 0, ..record() };
    assert!(text(LogFormat::Rsp, named).contains(" client=10.1.2.3 request="));
    let failed = Record { client: Some("::1".parse().unwrap()), pool: b"my pool", retries: 2, ..unread() };
    assert_eq!(
        text(LogFormat::Rsp, failed),
        "time=2000-10-10T13:55:36.000123Z client=[::1]:4711 request=\"-\" host=- status=400 sent=0 received=0 \
         pool=my\\x20pool server=- queue=- connect=- first=- total=0.007 script=- retries=2 left=- id=- by=client \
         phase=request end=client-bad-request detail=\"malformed start line\"\n"
    );
}

/// As it goes to a syslog daemon.
fn haproxy(record: Record<'_>) -> String {
    let mut out = Vec::new();
    line(LogFormat::Haproxy, &LogTarget::Syslog("/dev/log".into()))(&record, START, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn haproxys_format_has_all_of_its_fields() {
    let times =
        Times { queued: 30_000, connected: 99_000, first_byte: 168_100, head: 10_500, ..record().times };
    let load = Load { process: 9, listener: 8, pool: 7, server: 6, server_queue: 5, pool_queue: 4 };
    let whole = Record {
        times: Times { end: 309_999, ..times },
        load,
        sent_heads: 424,
        tls_version: b"1.3",
        ..record()
    };
    assert_eq!(
        haproxy(whole),
        "10.1.2.3:4711 [10/Oct/2000:13:55:36.000] http-in~ web/127.0.0.1:83 10/30/58/69/309 200 2750 - - ---- \
         9/8/7/6/0 5/4 \"GET /x?y=1 HTTP/1.1\"\n"
    );
    let retried = Record { client: Some("2001:db8::1".parse().unwrap()), retries: 2, ..whole };
    assert!(haproxy(retried).starts_with("2001:db8::1:4711 ["));
    assert!(haproxy(retried).contains(" 9/8/7/6/+2 5/4 "));
    let unix = Record { client: None, client_port: 0, ..whole };
    assert!(haproxy(unix).starts_with("unix:0 ["), "{}", haproxy(unix));
}

#[test]
fn in_haproxys_format_a_request_that_reached_no_server_has_minus_ones() {
    assert_eq!(
        haproxy(unread()),
        "10.1.2.3:4711 [10/Oct/2000:13:55:36.000] http-in http-in/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- \
         0/0/0/0/0 0/0 \"<BADREQ>\"\n"
    );
    let times = Times { head: 1_000, end: 5_000_000, queued: 4_999_000, ..Times::default() };
    let waited = Record { times, end: End::QueueTimeout, phase: Phase::Connect, server: b"", ..record() };
    assert!(haproxy(waited).contains(" web/<NOSRV> 1/4999/-1/-1/5000 200 "), "{}", haproxy(waited));
    assert!(haproxy(waited).contains(" sQ-- "));
}

#[test]
fn in_haproxys_format_a_connection_that_is_passed_through_is_no_bad_request() {
    let line = haproxy(Record { end: End::Complete, pool: b"web", detail: b"", ..unread() });
    assert!(line.ends_with(" ---- 0/0/0/0/0 0/0 \"-\"\n"), "{line}");
}

#[test]
fn in_a_file_haproxys_lines_begin_as_syslog_daemons_write_them() {
    let whole = text(LogFormat::Haproxy, record());
    let header =
        format!("Oct 10 13:55:48 {} rsp[{}]: ", crate::control::syslog::host_name(), std::process::id());
    assert_eq!(whole.strip_prefix(&header), Some(haproxy(record()).as_str()), "{whole}");
}

#[test]
fn haproxys_termination_state_says_who_ended_it_and_when() {
    for (end, phase, state) in [
        (End::Complete, Phase::Request, "----"),
        (End::Answered, Phase::Request, "LR--"),
        (End::BadRequest, Phase::Request, "PR--"),
        (End::BadRequest, Phase::Body, "PH--"),
        (End::ClientHeadTimeout, Phase::Request, "cR--"),
        (End::ClientCutRequest, Phase::Body, "CH--"),
        (End::ClientCutResponse, Phase::Data, "CD--"),
        (End::ClientWriteTimeout, Phase::Last, "cL--"),
        (End::NoServer, Phase::Connect, "SC--"),
        (End::QueueFull, Phase::Connect, "PQ--"),
        (End::ServerRefused, Phase::Connect, "SC--"),
        (End::ServerConnectTimeout, Phase::Connect, "sC--"),
        (End::ServerResponseTimeout, Phase::Headers, "sH--"),
        (End::ServerBadResponse, Phase::Headers, "PH--"),
        (End::ServerClosed, Phase::Headers, "SH--"),
        (End::ServerGapTimeout, Phase::Data, "sD--"),
        (End::ServerCutResponse, Phase::Data, "SD--"),
        (End::TunnelTimeout, Phase::Tunnel, "cD--"),
        (End::NoDescriptors, Phase::Connect, "RC--"),
        (End::Stopped, Phase::Data, "KD--"),
        (End::ScriptFailed, Phase::Request, "IR--"),
        (End::Aborted, Phase::Request, "PR--"),
    ] {
        let line = haproxy(Record { end, phase, ..record() });
        assert!(line.contains(&format!(" - - {state} ")), "{}: {line}", end.text());
    }
    let times = Times { queued: 5, head: 1, end: 9, ..Times::default() };
    let left = Record { end: End::ClientCutResponse, phase: Phase::Connect, server: b"", times, ..record() };
    assert!(haproxy(left).contains(" CQ-- "), "it left while it waited for a server");
}

#[test]
fn haproxys_escapes_are_its_own() {
    let line = haproxy(Record { method: b"G", target: b"/\"#\x01\xff\\ {|}", ..record() });
    assert!(line.ends_with(" \"G /#22#23#01#FF\\ {|} HTTP/1.1\"\n"), "{line}");
}

fn json(record: Record<'_>) -> serde_json::Map<String, serde_json::Value> {
    let line = text(LogFormat::Json, record);
    assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn json_has_the_keys_of_the_manual_in_their_order() {
    let times = Times { head: 10, queued: 1_500, script: 77, ..record().times };
    let whole = Record {
        times: Times { connected: 2_010, first_byte: 3_042, ..times },
        https: true,
        reused: Some(false),
        tls_version: b"1.3",
        sni: b"www.example.com",
        ..record()
    };
    assert_eq!(
        text(LogFormat::Json, whole),
        "{\"ts\":\"2000-10-10T13:55:36.000123Z\",\"client_ip\":\"10.1.2.3\",\"client_port\":4711,\
         \"listener\":\"http-in\",\"tls_version\":\"1.3\",\"sni\":\"www.example.com\",\"method\":\"GET\",\
         \"scheme\":\"https\",\"host\":\"www.example.com\",\"target\":\"/x?y=1\",\"version\":\"1.1\",\
         \"status\":200,\"sent\":2326,\"received\":17,\"pool\":\"web\",\"server\":\"127.0.0.1:83\",\
         \"reused\":false,\"retries\":0,\"queue_ms\":1.500,\"connect_ms\":0.500,\"first_byte_ms\":1.032,\
         \"total_ms\":12003.456,\"script_us\":77,\"end\":\"complete\",\"by\":null,\"phase\":null,\
         \"id\":\"0123abcd\",\"referer\":\"http://a/\",\"user_agent\":\"curl/8 (\\\"me\\\")\"}\n"
    );
}

#[test]
fn in_json_what_is_not_known_is_null_and_a_time_that_did_not_occur_0() {
    let line = json(Record { client: None, client_port: 0, target: b"G\"\x01\n", ..unread() });
    for key in [
        "client_ip",
        "client_port",
        "tls_version",
        "sni",
        "method",
        "host",
        "version",
        "pool",
        "server",
        "reused",
        "id",
    ] {
        assert!(line[key].is_null(), "{key}: {line:?}");
    }
    for key in ["queue_ms", "connect_ms", "first_byte_ms", "script_us"] {
        assert_eq!(line[key].as_f64(), Some(0.0), "{key}");
    }
    assert_eq!(line["target"], "G\\x22\\x01\\x0A");
    assert_eq!(
        (&line["end"], &line["by"], &line["phase"]),
        (&"malformed start line".into(), &"client".into(), &"request".into())
    );
    let answered = json(Record { end: End::Answered, ..record() });
    assert_eq!((&answered["end"], &answered["by"]), (&"answered".into(), &"rsp".into()));
    assert!(answered["phase"].is_null());
}

#[test]
fn json_is_valid_whatever_a_client_sends() {
    let all: Vec<u8> = (0..=255).collect();
    let line = json(Record { target: &all, ..record() });
    let wanted: String = all.iter().map(|byte| char::from(*byte)).collect();
    assert_eq!(line["target"], wanted.as_str(), "each byte is its own character");
    for (given, written) in [
        ("größe €😀".as_bytes(), "größe €😀"),
        (b"\xc3", "\\u00c3"),
        (b"a\xc3\xa4\xff\xc3", "aä\\u00ff\\u00c3"),
        (b"\x7f\x1b[31m\t\r\n\"\\", "\\u007f\\u001b[31m\\t\\r\\n\\\"\\\\"),
        (b"\xed\xa0\x80", "\\u00ed\\u00a0\\u0080"),
    ] {
        let line = text(LogFormat::Json, Record { user_agent: given, ..record() });
        assert!(line.ends_with(&format!(",\"user_agent\":\"{written}\"}}\n")), "{line}");
        json(Record { user_agent: given, ..record() });
    }
}

#[test]
fn json_escapes_a_byte_wherever_it_stands_in_a_text_of_any_length() {
    for (len, special) in
        (1..40).flat_map(|len| b"\"\\\x00\x1f\x7f\x80\xff".iter().map(move |byte| (len, *byte)))
    {
        for at in 0..len {
            let mut host = vec![b'~'; len];
            host[at] = special;
            let wanted: String = host.iter().map(|byte| char::from(*byte)).collect();
            assert_eq!(
                json(Record { host: &host, ..record() })["host"],
                wanted.as_str(),
                "{special} at {at} of {len}"
            );
        }
    }
}

#[test]
fn what_a_script_adds_follows_the_fixed_keys_and_is_escaped() {
    let mut added = Vec::new();
    for (name, value, is_text) in
        [("tenant", &b"a\"\xff\n"[..], true), ("cost", b"1.5", false), ("ok", b"true", false)]
    {
        put(NamedValue { name: name.as_bytes(), value, is_text }, &mut added);
    }
    let line = text(LogFormat::Json, Record { added: &added, ..record() });
    assert!(line.ends_with(",\"tenant\":\"a\\\"\\u00ff\\n\",\"cost\":1.5,\"ok\":true}\n"), "{line}");
    let line = json(Record { added: &added, ..record() });
    assert_eq!((line["tenant"].as_str(), line["cost"].as_f64()), (Some("a\"\u{ff}\n"), Some(1.5)));
    let known: Vec<&str> = JSON_KEYS.to_vec();
    assert!(line.len() == known.len() + 3 && known.iter().all(|key| line.contains_key(*key)));
    assert!(text(LogFormat::Rsp, Record { added: &added, ..record() }) == text(LogFormat::Rsp, record()));
}

#[test]
fn a_client_cannot_forge_a_line() {
    let evil = Record { target: b"/\" 200 1\n6.6.6.6", user_agent: b"\n\"", host: b"a end=x", ..record() };
    for format in [LogFormat::Haproxy, LogFormat::Json] {
        assert_eq!(text(format, evil).matches('\n').count(), 1, "{}", text(format, evil));
    }
    for format in [LogFormat::Combined, LogFormat::Rsp] {
        let line = text(format, evil);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.contains("\"GET /\\x22 200 1\\x0A6.6.6.6"), "{line}");
    }
    assert!(text(LogFormat::Rsp, evil).contains(" host=a\\x20end=x "));
}
