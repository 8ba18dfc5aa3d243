//! Real programs on both sides: curl, ab, hey and wrk against nginx, Varnish and haproxy behind rsp, without a failed
//! request.

use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use crate::support::*;

/// Load tests run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Seconds after which the load tools give up on a request; their defaults are too short for a busy machine.
const PATIENCE: &str = "120";

/// Runs a client program and returns its result; it must succeed.
fn ran(program: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments);
    let finished = run_with_input(command, b"");
    assert_eq!(finished.code, Some(0), "{program} {arguments:?}: {finished:?}");
    finished
}

/// nginx behind rsp, with an access log that shows every end.
fn nginx_behind_rsp() -> (Nginx, Rsp) {
    let nginx = Nginx::start();
    let config = format!(
        "{}rsp.settings {{ access_log = {{ path = \"access.log\", format = \"rsp\" }} }}",
        balanced(&[nginx.address()])
    );
    (nginx, Rsp::start(&config))
}

/// The number after this label in a tool's report.
fn number_after(report: &str, label: &str) -> u64 {
    let rest = report
        .split_once(label)
        .map(|(_, rest)| rest)
        .unwrap_or_else(|| panic!("no {label:?} in:\n{report}"));
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number after {label:?} in:\n{report}"))
}

fn ab(rsp: &Rsp, requests: u64, more: &[&str]) {
    let (count, url) = (requests.to_string(), format!("http://{}/small", rsp.address()));
    let report =
        ran("ab", &[&["-q", "-s", PATIENCE, "-n", &count, "-c", "32"], more, &[&url]].concat()).stdout;
    assert_eq!(number_after(&report, "Complete requests:"), requests);
    assert_eq!(number_after(&report, "Failed requests:"), 0, "{report}");
    assert!(!report.contains("Non-2xx"), "{report}");
}

/// hey counts statuses and lists errors separately.
fn hey(rsp: &Rsp, requests: u64, more: &[&str]) {
    let (count, url) = (requests.to_string(), format!("http://{}/small", rsp.address()));
    let report = ran("hey", &[&["-t", PATIENCE, "-n", &count, "-c", "32"], more, &[&url]].concat()).stdout;
    assert_eq!(number_after(&report, "[200]"), requests, "{report}");
    assert!(!report.contains("Error distribution"), "{report}");
}

#[test]
fn the_servers_of_these_tests_start_and_serve() {
    if !have(&["nginx", "varnishd", "haproxy"]) {
        return;
    }
    let nginx = Nginx::start();
    let varnish = Varnish::start(nginx.address());
    let haproxy = Haproxy::start(varnish.address());
    let answer = get(haproxy.address(), "/small");
    assert_eq!(answer.text(), "hello from nginx\n");
    assert_eq!(answer.get("x-through"), Some("haproxy"));
    assert!(answer.get("x-varnish").is_some());
    nginx.expect_requests(1);
    until("Varnish counted the request", || varnish.counter("MAIN.client_req") >= 1);
}

#[test]
fn curl_downloads_and_uploads_through_nginx_whole() {
    if !have(&["curl", "nginx"]) {
        return;
    }
    let _alone = alone();
    let nginx = Nginx::start_with("location /put/ { dav_methods PUT; create_full_put_path on; }");
    let content = content_bytes(31, 10_000_000);
    nginx.publish("ten.bin", &content);
    let rsp = Rsp::over(&[nginx.address()]);
    let base = format!("http://{}", rsp.address());
    let down = rsp.directory.join("down.bin").display().to_string();

    ran("curl", &["-sSf", "-o", &down, &format!("{base}/ten.bin")]);
    assert_eq!(hash_of(&std::fs::read(&down).unwrap()), hash_of(&content));

    ran("curl", &["-sSf", "-r", "1000000-1999999", "-o", &down, &format!("{base}/ten.bin")]);
    assert_eq!(std::fs::read(&down).unwrap(), content[1_000_000..2_000_000]);

    let up = rsp.directory.write("up.bin", content_bytes(32, 10_000_000)).display().to_string();
    // curl asks to continue before a body of this size.
    ran("curl", &["-sSf", "-T", &up, &format!("{base}/put/one.bin")]);
    ran("curl", &["-sSf", "-T", &up, "-H", "Transfer-Encoding: chunked", &format!("{base}/put/two.bin")]);
    for name in ["one.bin", "two.bin"] {
        let stored = std::fs::read(nginx.program.directory.join(&format!("files/put/{name}"))).unwrap();
        assert_eq!(hash_of(&stored), content_hash(32, 10_000_000), "{name}");
    }
}

#[test]
fn curl_sees_head_redirects_compression_and_http_1_0() {
    if !have(&["curl", "nginx"]) {
        return;
    }
    let _alone = alone();
    let nginx =
        Nginx::start_with("gzip on; gzip_types *; gzip_min_length 0; location = /old { return 301 /small; }");
    nginx.publish("text.txt", "the same line\n".repeat(10_000).as_bytes());
    let rsp = Rsp::over(&[nginx.address()]);
    let base = format!("http://{}", rsp.address());
    assert!(ran("curl", &["-sSfI", &format!("{base}/small")]).stdout.contains("200 OK"));
    assert_eq!(ran("curl", &["-sSfL", &format!("{base}/old")]).stdout, "hello from nginx\n");
    assert_eq!(ran("curl", &["-sSf", "--http1.0", &format!("{base}/small")]).stdout, "hello from nginx\n");
    let text = ran("curl", &["-sSf", "--compressed", &format!("{base}/text.txt")]).stdout;
    assert_eq!(text.len(), 140_000);
    let head = ran(
        "curl",
        &["-sSf", "-D", "-", "-o", "/dev/null", "-H", "Accept-Encoding: gzip", &format!("{base}/text.txt")],
    );
    assert!(
        head.stdout.to_lowercase().contains("content-encoding: gzip"),
        "nginx compresses: {}",
        head.stdout
    );
}

#[test]
fn ab_has_no_failure_in_100_000_requests_with_keep_alive() {
    if !have(&["ab", "nginx"]) {
        return;
    }
    let _alone = alone();
    let (nginx, rsp) = nginx_behind_rsp();
    ab(&rsp, 100_000, &["-k"]);
    nginx.expect_requests(100_000);
}

#[test]
fn ab_has_no_failure_in_20_000_requests_without_keep_alive() {
    if !have(&["ab", "nginx"]) {
        return;
    }
    let _alone = alone();
    let (nginx, rsp) = nginx_behind_rsp();
    ab(&rsp, 20_000, &[]);
    nginx.expect_requests(20_000);
}

#[test]
fn hey_has_no_failure_in_100_000_requests_with_keep_alive() {
    if !have(&["hey", "nginx"]) {
        return;
    }
    let _alone = alone();
    let (nginx, rsp) = nginx_behind_rsp();
    hey(&rsp, 100_000, &[]);
    nginx.expect_requests(100_000);
}

#[test]
fn hey_has_no_failure_in_20_000_requests_without_keep_alive() {
    if !have(&["hey", "nginx"]) {
        return;
    }
    let _alone = alone();
    let (nginx, rsp) = nginx_behind_rsp();
    hey(&rsp, 20_000, &["-disable-keepalive"]);
    nginx.expect_requests(20_000);
}

fn wrk(address: &str, path: &str) -> u64 {
    let url = format!("http://{address}{path}");
    let report = ran("wrk", &["-t1", "-c64", "-d3s", "--timeout", PATIENCE, &url]).stdout;
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    let line = report.lines().find(|line| line.contains(" requests in ")).expect("a report");
    number_after(line, "")
}

#[test]
fn wrk_reports_no_error_against_nginx() {
    if !have(&["wrk", "nginx"]) {
        return;
    }
    let _alone = alone();
    let (nginx, rsp) = nginx_behind_rsp();
    let count = wrk(rsp.address(), "/small");
    assert!(count > 64, "{count} requests: not each connection had one");
    until("nginx has logged them", || nginx.request_count() as u64 >= count);
}

#[test]
fn wrk_reports_no_error_with_the_lua_policies_in_place() {
    if !have(&["wrk", "nginx"]) {
        return;
    }
    let _alone = alone();
    let nginx = [Nginx::start(), Nginx::start()];
    let config = format!(
        "local web = rsp.pool {{ servers = {{ {:?}, {:?} }}, balance = function(req, servers)
           local best = servers[1]
           for i = 2, #servers do if servers[i].in_flight < best.in_flight then best = servers[i] end end
           return best end }}
         rsp.on_request(function(req) if req.host == '127.0.0.1' and req.path == '/small' then return web end
           return rsp.respond {{ status = 404 }} end)
         rsp.on_response(function(req, res) res.headers['Server'] = nil end)",
        nginx[0].address(),
        nginx[1].address()
    );
    let rsp = Rsp::start(&on_any_port(&config));
    let count = wrk(rsp.address(), "/small") as usize;
    until("nginx has logged them", || nginx.iter().map(Nginx::request_count).sum::<usize>() >= count);
    let shares = nginx.each_ref().map(Nginx::request_count);
    assert!(shares.iter().all(|share| share * 4 > count), "{shares:?} of {count}");
    assert_eq!(get(rsp.address(), "/small").status(), 404, "the host is example.com");
}

#[test]
fn varnish_behind_rsp_answers_100_000_requests_from_its_cache() {
    if !have(&["ab", "wrk", "nginx", "varnishd"]) {
        return;
    }
    let _alone = alone();
    let nginx = Nginx::start_with("add_header Cache-Control 'max-age=600';");
    let varnish = Varnish::start(nginx.address());
    let rsp = Rsp::over(&[varnish.address()]);
    ab(&rsp, 100_000, &["-k"]);
    ab(&rsp, 20_000, &[]);
    until("Varnish has counted them all", || varnish.counter("MAIN.client_req") >= 120_000);
    assert!(nginx.request_count() < 100, "Varnish cached");
    wrk(rsp.address(), "/small");
}

#[test]
fn large_bodies_pass_varnish_and_nginx_whole() {
    if !have(&["nginx", "varnishd"]) {
        return;
    }
    let _alone = alone();
    let nginx = Nginx::start();
    nginx.publish("big.bin", &content_bytes(41, 20_000_000));
    let varnish = Varnish::start(nginx.address());
    let rsp = Rsp::over(&[varnish.address()]);
    for _ in 0..3 {
        let mut client = Client::connect_with_small_buffer(rsp.address());
        assert_eq!(hash_of(&client.get("/big.bin").body), content_hash(41, 20_000_000));
    }
}

#[test]
fn requests_pass_through_rsp_haproxy_varnish_and_nginx_in_a_row() {
    if !have(&["nginx", "varnishd", "haproxy"]) {
        return;
    }
    let _alone = alone();
    let nginx = Nginx::start();
    let varnish = Varnish::start(nginx.address());
    let haproxy = Haproxy::start(varnish.address());
    let rsp = Rsp::over(&[haproxy.address()]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..100 {
        let answer = client.get("/small");
        assert_eq!(answer.text(), "hello from nginx\n");
        assert!(answer.get("x-varnish").is_some() && answer.get("x-through").is_some());
    }
}

#[test]
fn rsp_stands_behind_haproxy_too() {
    if !have(&["nginx", "haproxy", "ab"]) {
        return;
    }
    let _alone = alone();
    let (nginx, rsp) = nginx_behind_rsp();
    let haproxy = Haproxy::start(rsp.address());
    for _ in 0..100 {
        assert_eq!(get(haproxy.address(), "/small").text(), "hello from nginx\n");
    }
    nginx.expect_requests(100);
}
