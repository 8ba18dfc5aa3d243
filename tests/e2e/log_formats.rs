//! The formats `json` and `haproxy` as a running rsp writes them, `sample`, and the times that explain a slow request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use serde_json::Value;

use crate::support::*;

/// The keys of a line, in their order.
const KEYS: [&str; 29] = [
    "ts",
    "client_ip",
    "client_port",
    "listener",
    "tls_version",
    "sni",
    "method",
    "scheme",
    "host",
    "target",
    "version",
    "status",
    "sent",
    "received",
    "pool",
    "server",
    "reused",
    "retries",
    "queue_ms",
    "connect_ms",
    "first_byte_ms",
    "total_ms",
    "script_us",
    "end",
    "by",
    "phase",
    "id",
    "referer",
    "user_agent",
];

fn settings(format: &str, more: &str) -> String {
    format!("rsp.settings {{ access_log = {{ '-', format = '{format}'{more} }} }}")
}

/// The lines of stdout, once there are so many.
fn lines(rsp: &Rsp, count: usize) -> Vec<String> {
    until(&format!("{count} lines are written"), || rsp.output().matches('\n').count() >= count);
    rsp.output().lines().map(str::to_owned).collect()
}

fn objects(rsp: &Rsp, count: usize) -> Vec<Value> {
    let read = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    lines(rsp, count).iter().map(read).collect()
}

fn ms(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("{key}: {line}"))
}

#[test]
fn json_says_all_about_a_request_over_tls() {
    let (directory, authority) = secured();
    let origin = Origin::named("hello");
    let config = format!(
        "rsp.listen {{ '127.0.0.1:0', name = 'front', tls = {{ cert = 'site.crt', key = 'site.key' }} }}
         local web = rsp.pool {{ name = 'web', servers = {{ {{ {:?}, name = 'app1' }} }} }}
         rsp.on_request(function(req) for n = 1, 20000 do local x = n * n end return web end)
         {}",
        origin.address,
        settings("json", "")
    );
    let rsp = Rsp::start_in(directory, &config);
    let mut client = TlsClient::new(&authority).connect(rsp.address());
    client.post("/a?b=c", "12345678");
    client.get("/again");
    let [first, second] = &objects(&rsp, 2)[..] else { panic!("two lines") };
    let written = lines(&rsp, 2)[0].clone();
    let mut rest = written.as_str();
    for key in KEYS {
        let (before, after) =
            rest.split_once(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key}: {rest}"));
        assert!(!before.contains("\":"), "another key before {key}: {before}");
        rest = after;
    }
    for (key, value) in [
        ("client_ip", "127.0.0.1"),
        ("listener", "front"),
        ("tls_version", "1.3"),
        ("sni", "localhost"),
        ("method", "POST"),
        ("scheme", "https"),
        ("target", "/a?b=c"),
        ("version", "1.1"),
        ("pool", "web"),
        ("server", "app1"),
        ("end", "complete"),
    ] {
        assert_eq!(first[key], value, "{key}");
    }
    assert_eq!(first["id"], origin.requests()[0].get("x-request-id").unwrap());
    assert_eq!((&first["status"], &first["sent"], &first["received"]), (&200.into(), &5.into(), &8.into()));
    assert_eq!((&first["reused"], &second["reused"]), (&false.into(), &true.into()));
    assert_eq!(
        (&first["by"], &first["phase"], &first["referer"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!((ms(first, "queue_ms"), ms(second, "connect_ms")), (0.0, 0.0), "neither took place");
    let script = first["script_us"].as_f64().expect("a number") / 1000.0;
    assert!(script > 0.0, "{first}");
    assert!(
        script + ms(first, "connect_ms") + ms(first, "first_byte_ms") <= ms(first, "total_ms") + 0.001,
        "{first}"
    );
}

#[test]
fn each_phase_of_a_slow_request_has_its_time() {
    // The rest is held back from the moment the client has the head, so that rsp cannot have seen the head later.
    let (has_head, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, sent) = (has_head.clone(), heads.clone());
    let origin = Origin::run(move |visit| {
        while visit.request().is_some() {
            std::thread::sleep(Duration::from_millis(300));
            let number = sent.fetch_add(1, SeqCst) + 1;
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
            until("the client has the head", || seen.load(SeqCst) == number);
            std::thread::sleep(Duration::from_millis(200));
            visit.send("slow");
        }
    });
    let config = format!(
        "rsp.pool {{ servers = {{ {{ {:?}, max_connections = 1 }} }} }}\n{}",
        origin.address,
        settings("json", "")
    );
    let rsp = Rsp::start(&on_any_port(&config));
    let mut clients = [Client::connect(rsp.address()), Client::connect(rsp.address())];
    clients[0].ask("/first");
    origin.wait_for_requests(1);
    clients[1].ask("/second");
    for client in &mut clients {
        client.head();
        has_head.fetch_add(1, SeqCst);
        assert_eq!(client.wire.read_exactly(4).expect("the body"), b"slow");
    }
    let [first, second] = &objects(&rsp, 2)[..] else { panic!("two lines") };
    assert_eq!((&first["target"], &second["target"]), (&"/first".into(), &"/second".into()));
    for line in [first, second] {
        let (connect, first_byte) = (ms(line, "connect_ms"), ms(line, "first_byte_ms"));
        assert!(first_byte >= 300.0 && connect < first_byte, "{line}");
        assert!(ms(line, "total_ms") >= ms(line, "queue_ms") + connect + first_byte + 199.0, "{line}");
    }
    assert_eq!(first["queue_ms"].as_f64(), Some(0.0));
    assert!(ms(second, "queue_ms") > 100.0, "it waited for the first: {second}");
}

#[test]
fn the_time_of_a_server_that_was_left_is_not_that_of_the_next_ones_response() {
    let closing = Origin::run(|visit| {
        visit.request();
        std::thread::sleep(Duration::from_millis(300));
    });
    let refusing = RefusingAddress::new();
    let config = format!(
        "rsp.pool {{ servers = {{ {:?}, {:?} }}, retries = 1 }}\n{}",
        closing.address,
        refusing.address,
        settings("json", "")
    );
    let rsp = Rsp::start(&on_any_port(&config));
    get(rsp.address(), "/");
    get(rsp.address(), "/");
    let lines = objects(&rsp, 2);
    let line =
        lines.iter().find(|line| line["end"] == "server-refused").unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!((&line["retries"], &line["reused"]), (&1.into(), &Value::Null), "{line}");
    assert_eq!((ms(line, "connect_ms"), ms(line, "first_byte_ms")), (0.0, 0.0), "the second never answered");
    assert!(ms(line, "total_ms") >= 299.0);
}

#[test]
fn a_malformed_request_in_json_has_its_first_line_and_the_reason() {
    let origin = Origin::named("never");
    let rsp = Rsp::start(&format!("{}{}", balanced(&[&origin.address]), settings("json", "")));
    Client::connect(rsp.address()).send("GET /\x01\"\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n").response();
    Client::connect(rsp.address()).send("GET /a HTTP/1.1\r\nHost : a\r\n\r\n").response();
    let [first, second] = &objects(&rsp, 2)[..] else { panic!("two lines") };
    assert_eq!(first["target"], "GET /\\x01\\x22\\xC3\\xBC HTTP/1.1");
    assert_eq!(
        (&second["target"], &second["end"]),
        (&"GET /a HTTP/1.1".into(), &"malformed header field".into())
    );
    for line in [first, second] {
        assert_eq!(
            (&line["status"], &line["by"], &line["phase"]),
            (&400.into(), &"client".into(), &"request".into())
        );
        assert!(line["method"].is_null() && line["version"].is_null() && line["server"].is_null(), "{line}");
    }
}

#[test]
fn a_listener_keeps_its_name_over_reloads_and_each_client_has_its_own() {
    let origin = Origin::named("ok");
    let config = |first: &str| {
        format!(
            "rsp.listen {{ '127.0.0.1:0', name = '{first}' }}
             rsp.listen '127.0.0.1:0'
             rsp.pool {{ servers = {{ {:?} }} }}
             {}",
            origin.address,
            settings("json", "")
        )
    };
    let rsp = Rsp::start(&config("first"));
    let mut kept = Client::connect(rsp.address());
    kept.get("/");
    get(&rsp.addresses()[1], "/");
    rsp.reload(&config("renamed"));
    kept.get("/");
    let names: Vec<Value> = objects(&rsp, 3).iter().map(|line| line["listener"].clone()).collect();
    assert_eq!(names, ["first", "127.0.0.1:0", "renamed"]);
}

#[test]
fn a_sample_leaves_out_what_went_well_and_never_an_error() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            let status = request.head.target().trim_start_matches('/').to_owned();
            visit.send(format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let config = format!("{}{}", balanced(&[&origin.address]), settings("json", ", sample = 0"));
    let mut rsp = Rsp::start(&config);
    let mut client = Client::connect(rsp.address());
    for _ in 0..20 {
        client.get("/200");
        client.get("/302");
    }
    for status in ["/404", "/500", "/503"] {
        client.get(status);
    }
    Client::connect(rsp.address()).send("nonsense\r\n\r\n").response();
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    let statuses: Vec<Value> = objects(&rsp, 4).iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, [404, 500, 503, 400]);
}

/// The fields of a line of haproxy's format behind the header of syslog daemons, which is checked.
fn fields(line: &str, rsp: &Rsp) -> Vec<String> {
    let header = format!(" rsp[{}]: ", rsp.pid());
    let (before, after) = line.split_once(&header).unwrap_or_else(|| panic!("no header: {line}"));
    let shape: String = before.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert!(shape[3..].starts_with(" 99 99:99:99 ") || shape[3..].starts_with("  9 99:99:99 "), "{line}");
    let (words, request) = after.split_once(" \"").expect("a request");
    words.split(' ').chain([request.strip_suffix('"').expect("a quote")]).map(str::to_owned).collect()
}

#[test]
fn haproxys_format_has_its_fields() {
    let (slow, gate) = (Gate::new(), Gate::new());
    let (hears, opens) = (slow.clone(), gate.clone());
    let origin = Origin::run(move |visit| {
        while let Some(request) = visit.request() {
            if request.head.target() == "/slow" {
                opens.open();
                hears.wait();
                // The field is in whole milliseconds, of which those who wait shall see some.
                std::thread::sleep(Duration::from_millis(20));
            }
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody");
        }
    });
    let config = format!(
        "rsp.listen {{ '127.0.0.1:0', name = 'http-in' }}
         local web = rsp.pool {{ name = 'web', servers = {{ {{ {:?}, name = 'app1', max_connections = 1 }} }} }}
         local seen = 0
         rsp.on_request(function(req)
           if req.path == '/seen' then return rsp.respond {{ body = tostring(seen) }} end
           seen = seen + 1
           return web end)
         {}",
        origin.address,
        settings("haproxy", "")
    );
    let rsp = Rsp::start(&config);
    let mut looking = Client::connect(rsp.address());
    let mut slow_client = Client::connect(rsp.address());
    slow_client.ask("/slow");
    gate.wait();
    let mut waiting = [Client::connect(rsp.address()), Client::connect(rsp.address())];
    // One after the other, so that the second stands behind the first.
    for (number, client) in waiting.iter_mut().enumerate() {
        client.ask(&format!("/waits/{number}"));
        until("it waits", || looking.get("/seen").text() == (number + 2).to_string());
    }
    slow.open();
    slow_client.response();
    let answers: Vec<usize> = waiting.iter_mut().map(|client| client.response().text().len()).collect();
    assert_eq!(answers, [4, 4]);
    Client::connect(rsp.address()).send("nonsense\r\n\r\n").response();
    rsp.wait_for_output(" PR-- ");
    let written = rsp.output();
    let (looks, lines): (Vec<&str>, Vec<&str>) =
        written.lines().partition(|line| line.contains("\"GET /seen "));
    assert!(
        looks[0].contains(" http-in http-in/<NOSRV> 0/-1/-1/-1/0 200 ")
            && looks[0].contains(" LR-- 4/4/0/0/0 0/0 "),
        "{}",
        looks[0]
    );
    let lines: Vec<Vec<String>> = lines.iter().map(|line| fields(line, &rsp)).collect();
    for (number, line) in lines[..3].iter().enumerate() {
        let [
            client,
            date,
            frontend,
            server,
            times,
            status,
            bytes,
            cookie,
            set_cookie,
            state,
            load,
            queue,
            request,
        ] = &line[..]
        else {
            panic!("{line:?}")
        };
        assert!(client.starts_with("127.0.0.1:") && date.starts_with('[') && date.ends_with(']'), "{line:?}");
        assert_eq!([frontend, server, status, state], ["http-in", "web/app1", "200", "----"], "{line:?}");
        assert_eq!([cookie, set_cookie], ["-", "-"]);
        assert!(bytes.parse::<u32>().expect("a number") > 4 + "HTTP/1.1 200 OK\r\n".len() as u32, "{line:?}");
        let times: Vec<i64> = times.split('/').map(|time| time.parse().expect("a number")).collect();
        assert!(times[..4].iter().sum::<i64>() <= times[4] && times[4] < 60_000, "{line:?}");
        let load: Vec<&str> = load.split('/').collect();
        assert_eq!((load[0], load[1], load[4]), ("4", "4", "0"), "four clients: {line:?}");
        // One that was given the server's place a moment ago is counted neither as waiting nor as at the server.
        assert!(["1", "2", "3"][..3 - number].contains(&load[2]) && load[3] == "1", "{line:?}");
        assert_eq!(queue, ["0/0", "0/0", "0/1"][number], "{line:?}");
        assert_eq!(request, &format!("GET {} HTTP/1.1", ["/slow", "/waits/0", "/waits/1"][number]));
    }
    let waited: i64 = lines[2][4].split('/').nth(1).and_then(|time| time.parse().ok()).expect("a time");
    assert!(waited > 0, "{:?}", lines[2]);
    let bad = &lines[3];
    assert_eq!((bad[3].as_str(), bad[9].as_str(), bad[12].as_str()), ("http-in/<NOSRV>", "PR--", "<BADREQ>"));
    assert!(bad[4].starts_with("-1/-1/-1/-1/"), "{bad:?}");
}
