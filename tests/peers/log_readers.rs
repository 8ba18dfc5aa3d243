//! Programs that read access logs, on what a running rsp writes: GoAccess the format `json`, as the manual says, and
//! halog the format `haproxy`.

use std::process::Command;

use crate::support::*;

/// Answers with the status that the path names.
fn origin() -> Origin {
    Origin::run(|visit| {
        while let Some(request) = visit.request() {
            let target = request.head.target().to_owned();
            let status =
                target.trim_start_matches('/').split(['?', '/']).next().unwrap_or_default().to_owned();
            visit.send(format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 4\r\n\r\nbody"));
        }
    })
}

/// Requests with every kind of text in them, of which the last are malformed. Returns their numbers.
fn ask(rsp: &Rsp) -> (usize, usize) {
    let plain: [&[u8]; 7] = [
        b"GET /200 HTTP/1.1\r\nHost: a.example\r\nReferer: http://b.example/\r\nUser-Agent: Mozilla/5.0\r\n\r\n",
        b"GET /200?a=b&c=%20d HTTP/1.1\r\nHost: a.example\r\nUser-Agent: \"q\" \\x \xc3\xa9\t\xff\r\n\r\n",
        b"GET /200/(a:b)'%22%5c HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"POST /404 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody",
        b"GET /500 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET /999 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET /200 HTTP/1.0\r\n\r\n",
    ];
    let malformed: [&[u8]; 3] =
        [b"GET\r\n\r\n", b"\x16\x03\x01\"\r\n\r\n", b"GET /200 HTTP/1.1\r\nHost : a\r\n\r\n"];
    for request in plain.iter().chain(&malformed) {
        let _ = Client::connect(rsp.address()).send(request).try_response();
    }
    (plain.len(), malformed.len())
}

/// An rsp that has been asked and has written a line for each request.
fn asked(format: &str) -> (Rsp, usize, usize) {
    let (origin, refusing) = (origin(), RefusingAddress::new());
    let config = format!(
        "local web = rsp.pool {{ name = 'web', servers = {{ {{ {:?}, name = 'app1' }} }} }}
         local dead = rsp.pool {{ name = 'dead', servers = {{ {{ {:?}, name = 'app2' }} }} }}
         rsp.on_request(function(req)
           if req.path == '/own' then return rsp.respond {{ status = 200, body = 'own' }} end
           return req.path == '/dead' and dead or web end)
         rsp.settings {{ access_log = {{ 'access.log', format = '{format}' }} }}",
        origin.address, refusing.address
    );
    let mut rsp = Rsp::start(&on_any_port(&config));
    let (read, malformed) = ask(&rsp);
    assert_eq!(get(rsp.address(), "/dead").status(), 502);
    assert_eq!(get(rsp.address(), "/own").status(), 200);
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    assert_eq!(rsp.directory.read("access.log").lines().count(), read + 2 + malformed);
    (rsp, read + 2, malformed)
}

/// The command of the manual.
fn manual() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/logs.md");
    let text = std::fs::read_to_string(path).expect("a chapter");
    let (_, command) = text.split_once("```\ngoaccess ").expect("how GoAccess reads it");
    format!("goaccess {}", command.split("```").next().unwrap_or_default().trim_end())
}

fn report(directory: &Directory, command: &str) -> serde_json::Value {
    let mut shell = Command::new("sh");
    let more = "--no-global-config --no-progress --invalid-requests=rejected --output=report.json";
    shell.current_dir(directory.path()).arg("-c").arg(format!("{command} {more}"));
    let read = run_with_input(shell, b"");
    assert_eq!(read.code, Some(0), "{read:?}");
    serde_json::from_str(&directory.read("report.json")).expect("a report")
}

#[test]
fn goaccess_reads_json_with_the_format_of_the_manual() {
    if !have(&["goaccess", "sh"]) {
        return;
    }
    let (rsp, read, malformed) = asked("json");
    let whole = report(&rsp.directory, &manual());
    let general = &whole["general"];
    assert_eq!(general["total_requests"], read + malformed, "{general}");
    assert_eq!(general["valid_requests"], read, "{general}: {}", rsp.directory.read("rejected"));
    assert_eq!(general["failed_requests"], malformed, "{general}");
    let hosts = whole["vhosts"]["data"].to_string();
    assert!(hosts.contains("a.example"), "{hosts}");
    let referrers = whole["referring_sites"]["data"].to_string();
    assert!(referrers.contains("b.example"), "{referrers}");
    let statuses = whole["status_codes"]["data"].to_string();
    for status in ["200", "404", "500", "502"] {
        assert!(statuses.contains(status), "{statuses}");
    }
    let without_method = manual().replace("\"method\":\"%m\",", "");
    assert_eq!(report(&rsp.directory, &without_method)["general"]["valid_requests"], read + malformed);
}

/// What halog says about the log.
fn halog(directory: &Directory, option: &str) -> String {
    let mut command = Command::new(find("halog").expect("halog"));
    command.arg("-q").arg(option);
    let read = run_with_input(command, directory.read("access.log").as_bytes());
    assert_eq!(read.code, Some(0), "{read:?}");
    read.stdout
}

/// Its lines with these first words, each as numbers and words.
fn row<'a>(table: &'a str, first: &str) -> Vec<&'a str> {
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.find(|row| row.first() == Some(&first)).unwrap_or_else(|| panic!("no {first}: {table}"))
}

#[test]
fn halog_reads_the_format_of_haproxy() {
    if !have(&["halog"]) {
        return;
    }
    let (rsp, read, malformed) = asked("haproxy");
    let lines = halog(&rsp.directory, "-c");
    assert_eq!(lines.trim(), (read + malformed).to_string());
    let statuses = halog(&rsp.directory, "-st");
    for (status, count) in
        [("200", "5"), ("404", "1"), ("500", "1"), ("502", "1"), ("999", "1"), ("400", "3")]
    {
        assert_eq!(row(&statuses, status)[1], count, "{statuses}");
    }
    let ends = halog(&rsp.directory, "-tc");
    for (state, count) in [("--", "7"), ("PR", "3"), ("SC", "1"), ("LR", "1")] {
        assert_eq!(row(&ends, state)[1], count, "{ends}");
    }
    let servers = halog(&rsp.directory, "-srv");
    assert!(servers.contains("web/app1") && servers.contains("dead/app2"), "{servers}");
    let urls = halog(&rsp.directory, "-u");
    assert!(urls.contains("/404"), "{urls}");
    assert!(halog(&rsp.directory, "-pct").lines().count() > 2);
}
