//! What the admin address tells: metrics, the state as JSON, and changes of servers by its API.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::*;

/// rsp with an admin address: a pool `web` with these servers, `a` the first.
struct Observed {
    rsp: Rsp,
    admin: String,
}

impl Observed {
    fn start(servers: &[&str], more: &str) -> Observed {
        let rsp = Rsp::start(&config(servers, more));
        let admin = admin_of(&rsp);
        Observed { rsp, admin }
    }

    fn get(&self, path: &str) -> Message {
        ask(&self.admin, "GET", path, &[], "")
    }

    fn metrics(&self) -> BTreeMap<String, f64> {
        samples(&self.get("/metrics").text())
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.get("/api/state").text()).unwrap()
    }

    fn post(&self, path: &str, fields: &[&str], body: &str) -> Message {
        ask(&self.admin, "POST", path, fields, body)
    }
}

fn config(servers: &[&str], more: &str) -> String {
    let names = ["a", "b", "c"];
    let list: Vec<String> =
        servers.iter().zip(names).map(|(at, name)| format!("{{ '{at}', name = '{name}' }}")).collect();
    on_any_port(&format!(
        "local web = rsp.pool {{ name = 'web', servers = {{ {} }} }}
         rsp.settings {{ workers = 2, admin = {{ '127.0.0.1:0', token = 'secret' }}, metrics = {{ hosts = 5 }} }}
         {more}",
        list.join(", ")
    ))
}

fn admin_of(rsp: &Rsp) -> String {
    rsp.wait_for_log("Admin address: ");
    let log = rsp.log();
    let line = log.lines().find_map(|line| line.split("Admin address: ").nth(1)).unwrap();
    line.trim().to_owned()
}

fn ask(address: &str, method: &str, path: &str, fields: &[&str], body: &str) -> Message {
    let host = if fields.iter().any(|field| field.starts_with("Host:")) { "" } else { "Host: localhost\r\n" };
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let length = body.len();
    let text = format!("{method} {path} HTTP/1.1\r\n{host}{fields}Content-Length: {length}\r\n\r\n{body}");
    raw(address, &text)
}

fn raw(address: &str, text: &str) -> Message {
    let mut client = Client::connect(address);
    client.send(text);
    client.response()
}

/// Every sample by its name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample =
        |line: &str| line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
    lines.filter_map(sample).collect()
}

fn requests(metrics: &BTreeMap<String, f64>, what: &str) -> f64 {
    let of = |(name, _): &(&String, &f64)| name.starts_with("rsp_requests_total{") && name.contains(what);
    metrics.iter().filter(of).map(|(_, value)| value).sum()
}

#[test]
fn requests_count_at_the_server_that_answered_and_own_answers_without_one() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let observed = Observed::start(
        &[&a.address, &b.address],
        "rsp.on_request(function(req) if req.path == '/own' then return rsp.respond { status = 403 } end return web end)",
    );
    for _ in 0..10 {
        assert_eq!(get(observed.rsp.address(), "/").status(), 200);
    }
    assert_eq!(get(observed.rsp.address(), "/own").status(), 403);
    raw(observed.rsp.address(), "GET / HTTP/1.1\r\nBad Field: x\r\n\r\n");
    // An answer is counted when it is written: its client may be faster.
    until("all are counted", || requests(&observed.metrics(), "") == 12.0);
    let metrics = observed.metrics();
    assert_eq!(requests(&metrics, "server=\"a\""), a.request_count() as f64);
    assert_eq!(requests(&metrics, "server=\"b\""), b.request_count() as f64);
    assert_eq!(metrics["rsp_requests_total{pool=\"\",server=\"\",class=\"4xx\"}"], 2.0);
    assert_eq!(requests(&metrics, ""), 12.0, "a line of the access log each");
    assert_eq!(metrics["rsp_request_seconds_count{pool=\"web\"}"], 10.0);
    assert_eq!(metrics["rsp_ends_total{reason=\"complete\"}"], 10.0);
    assert_eq!(metrics["rsp_ends_total{reason=\"client-bad-request\"}"], 1.0);
    assert_eq!(metrics["rsp_script_seconds_count{handler=\"on_request\"}"], 11.0);
    assert_eq!(metrics["rsp_server_up{pool=\"web\",server=\"a\"}"], 1.0);
    assert!(metrics["rsp_bytes_total{side=\"client\",direction=\"in\"}"] > 10.0);
    assert!(metrics["rsp_bytes_total{side=\"server\",direction=\"in\"}"] > 10.0);
    observed.rsp.stop();
}

#[test]
fn counters_go_on_over_reloads_that_remove_a_server_and_bring_it_back() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let observed = Observed::start(&[&a.address, &b.address], "");
    (0..6).for_each(|_| _ = get(observed.rsp.address(), "/"));
    observed.rsp.reload(&config(&[&a.address], ""));
    (0..4).for_each(|_| _ = get(observed.rsp.address(), "/"));
    until("all are counted", || requests(&observed.metrics(), "class=\"2xx\"") >= 10.0);
    let metrics = observed.metrics();
    assert_eq!(requests(&metrics, "class=\"2xx\""), 10.0, "those of the server that is gone too");
    assert!(!metrics.contains_key("rsp_server_up{pool=\"web\",server=\"b\"}"));
    let state = observed.state();
    assert_eq!((&state["pools"][0]["requests"], &state["totals"]["requests"]), (&10.into(), &10.into()));
    observed.rsp.reload(&config(&[&a.address, &b.address], ""));
    (0..10).for_each(|_| _ = get(observed.rsp.address(), "/"));
    until("all are counted", || requests(&observed.metrics(), "class=\"2xx\"") >= 20.0);
    let metrics = observed.metrics();
    assert_eq!(requests(&metrics, "server=\"b\""), b.request_count() as f64);
    assert_eq!(requests(&metrics, "class=\"2xx\""), 20.0);
    assert_eq!(metrics["rsp_config_generation"], 3.0);
    observed.rsp.stop();
}

#[test]
fn a_failed_reload_shows_until_one_succeeds() {
    let a = Origin::named("a");
    let observed = Observed::start(&[&a.address], "");
    assert_eq!(observed.metrics()["rsp_config_last_reload_successful"], 1.0);
    observed.rsp.reload_fails("rsp.pol {}");
    assert_eq!(observed.metrics()["rsp_config_last_reload_successful"], 0.0);
    let state = observed.state();
    assert_eq!(state["config"]["reloads"][0]["successful"], false);
    assert!(state["config"]["reloads"][0]["error"].as_str().unwrap().contains("rsp.pol: unknown"), "{state}");
    observed.rsp.reload(&config(&[&a.address], ""));
    assert_eq!(observed.metrics()["rsp_config_last_reload_successful"], 1.0);
    observed.rsp.stop();
}

#[test]
fn the_busiest_hosts_are_told_by_name_and_the_others_together() {
    let a = Origin::named("a");
    let observed = Observed::start(&[&a.address], "");
    let ask = |host: &str| {
        raw(observed.rsp.address(), &format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    };
    (0..8).for_each(|_| _ = ask("Busy.Example:80"));
    (0..10).for_each(|number| _ = ask(&format!("{number}.example")));
    let of_hosts = |(name, _): &(String, f64)| name.starts_with("rsp_host_requests_total");
    let count = || observed.metrics().into_iter().filter(of_hosts).map(|(_, count)| count).sum::<f64>();
    until("all are counted", || count() == 18.0);
    let metrics = observed.metrics();
    assert_eq!(metrics["rsp_host_requests_total{host=\"busy.example\",class=\"2xx\"}"], 8.0);
    let hosts: Vec<_> =
        metrics.iter().filter(|(name, _)| name.starts_with("rsp_host_requests_total")).collect();
    assert_eq!(hosts.iter().map(|(_, count)| **count).sum::<f64>(), 18.0);
    assert_eq!(hosts.iter().filter(|(name, _)| name.contains("2xx")).count(), 6, "five and the others");
    observed.rsp.stop();
}

#[test]
fn connected_clients_count_at_their_listener() {
    let a = Origin::named("a");
    let observed = Observed::start(&[&a.address], "");
    let clients: Vec<_> = (0..3).map(|_| Client::connect(observed.rsp.address())).collect();
    let name = format!("rsp_client_connections{{listener=\"{}\"}}", "127.0.0.1:0");
    until("three clients", || observed.metrics().get(&name) == Some(&3.0));
    drop(clients);
    until("no client", || observed.metrics().get(&name) == Some(&0.0));
    observed.rsp.stop();
}

#[test]
fn the_state_is_json_that_tells_pools_servers_and_rates() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let observed = Observed::start(&[&a.address, &b.address], "");
    (0..4).for_each(|_| _ = get(observed.rsp.address(), "/"));
    raw(observed.rsp.address(), "GET /?secret HTTP/1.1\r\nHost: a\r\nBad Field: x\r\n\r\n");
    until("a rate", || observed.state()["totals"]["rates"]["requests"].as_f64() > Some(0.0));
    let state = observed.state();
    assert_eq!((&state["stage"], &state["ready"]), (&"serving".into(), &true.into()));
    let pool = &state["pools"][0];
    assert_eq!(
        (&pool["name"], &pool["requests"], &pool["latency_since_start_ms"]["count"]),
        (&"web".into(), &4.into(), &4.into())
    );
    for rates in
        [&pool["byte_rates"], &pool["servers"][0]["byte_rates"], &state["listeners"][0]["byte_rates"]]
    {
        assert!(rates["out"].as_f64() > Some(0.0) && rates["in"] == 0.0, "{state}");
    }
    let server = &pool["servers"][0];
    assert_eq!(
        (&server["name"], &server["state"], &server["address"]),
        (&"a".into(), &"up".into(), &a.address.clone().into())
    );
    let error = &state["errors"][0];
    assert_eq!((&error["side"], &error["line"]), (&"request".into(), &"Bad Field: x\\r".into()), "{error}");
    assert!(!state.to_string().contains("secret"), "the query is nobody's business");
    observed.rsp.stop();
}

#[test]
fn a_server_is_changed_with_the_token_alone() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let observed = Observed::start(&[&a.address, &b.address], "");
    const TOKEN: &str = "Authorization: Bearer secret";
    let drain = "{\"state\": \"drain\"}";
    let status = |path: &str, fields: &[&str], body: &str| observed.post(path, fields, body).status();
    let path = "/api/servers/web/a";
    for (path, fields, body, expected) in [
        (path, &[][..], drain, 401),
        (path, &["Authorization: Bearer secreT"], drain, 401),
        (path, &["Authorization: Basic secret"], drain, 401),
        (path, &[TOKEN, "Origin: http://evil.example"], drain, 403),
        (path, &[TOKEN, "Origin: null"], drain, 403),
        (path, &[TOKEN, "Sec-Fetch-Site: cross-site"], drain, 403),
        (path, &[TOKEN, "Host: evil.example"], drain, 403),
        ("/api/servers/web/z", &[TOKEN], drain, 404),
        ("/api/servers/zz/a", &[TOKEN], drain, 404),
        (path, &[TOKEN], "drain", 400),
        (path, &[TOKEN], "{\"state\": \"gone\"}", 400),
        (path, &[TOKEN], "{\"weight\": 100000}", 400),
    ] {
        assert_eq!(status(path, fields, body), expected, "{path} {fields:?} {body}");
    }
    assert_eq!(observed.state()["pools"][0]["servers"][0]["state"], "up", "nothing has changed it");
    let of_pool_with_slash = "/api/servers/web%2Fa/a";
    assert_eq!(
        status(of_pool_with_slash, &[TOKEN], drain),
        404,
        "the first / that is not escaped ends the pool"
    );
    let own = ["Origin: http://localhost", TOKEN, "Sec-Fetch-Site: same-origin"];
    assert_eq!(status(path, &own, drain), 200);
    (0..4).for_each(|_| assert_eq!(get(observed.rsp.address(), "/").text(), "b"));
    let server = &observed.state()["pools"][0]["servers"][0];
    assert_eq!((&server["state"], &server["by_hand"]["state"]), (&"drain".into(), &"drain".into()));
    assert_eq!(status(path, &[TOKEN], "{\"state\": \"ready\", \"weight\": 3}"), 200);
    assert_eq!(observed.state()["pools"][0]["servers"][0]["weight"], 3);
    assert_eq!(a.request_count(), 0);
    observed.rsp.stop();
}

#[test]
fn the_dashboard_is_for_who_asks_for_it_here_and_for_nobody_else() {
    let a = Origin::named("a");
    let observed = Observed::start(&[&a.address], "");
    let status = |fields: &[&str]| ask(&observed.admin, "GET", "/", fields, "").status();
    let page = observed.get("/");
    let policy = page.get("content-security-policy").expect("a policy").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.get("cache-control"), Some("no-store"));
    assert_eq!(page.get("content-type"), Some("text/html; charset=utf-8"));
    for (fields, expected) in [
        (&["Sec-Fetch-Site: none"][..], 200),
        (&["Sec-Fetch-Site: same-origin", "Origin: http://localhost"], 200),
        (&["Host: evil.example"], 403),
        (&["Host: evil.example", "Sec-Fetch-Site: none"], 403),
        (&["Origin: http://evil.example"], 403),
        (&["Sec-Fetch-Site: cross-site"], 403),
        (&["Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: iframe"], 403),
        (&["Sec-Fetch-Site: same-site", "Sec-Fetch-Dest: script"], 403),
        // Somebody follows a link.
        (&["Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: document"], 200),
        (&["Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: document", "Host: evil.example"], 403),
    ] {
        assert_eq!(status(fields), expected, "{fields:?}");
    }
    let link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: document"];
    assert_eq!(ask(&observed.admin, "GET", "/api/state", &link, "").status(), 403);
    assert_eq!(observed.post("/", &[], "x").status(), 405);
    observed.rsp.stop();
}

#[test]
fn without_a_token_nobody_changes_anything() {
    let a = Origin::named("a");
    let rsp = Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ name = 'web', servers = {{ {{ '{}', name = 'a' }} }} }} rsp.settings {{ admin = '127.0.0.1:0' }}",
        a.address
    )));
    let admin = admin_of(&rsp);
    for fields in [&[][..], &["Authorization: Bearer "], &["Authorization: Bearer x"]] {
        assert_eq!(ask(&admin, "POST", "/api/servers/web/a", fields, "{\"state\": \"maint\"}").status(), 401);
    }
    rsp.stop();
}

#[test]
fn every_metric_that_the_dashboard_and_the_alerts_name_exists() {
    let a = Origin::named("a");
    let observed = Observed::start(&[&a.address], "");
    get(observed.rsp.address(), "/");
    let there = observed.get("/metrics").text();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for file in ["examples/grafana/rsp.json", "examples/prometheus/rsp.rules.yml"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for name in words.filter(|word| word.starts_with("rsp_") || word.starts_with("process_")) {
            let base =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let known = |name: &str| {
                there.contains(&format!("\n# TYPE {name} ")) || there.starts_with(&format!("# HELP {name} "))
            };
            assert!(known(name) || known(base), "{file}: {name} does not exist");
            found += 1;
        }
    }
    assert!(found > 50, "{found}");
    observed.rsp.stop();
}
