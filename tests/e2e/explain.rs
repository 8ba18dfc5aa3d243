//! `rsp explain`: what it says is what the running rsp does.

use std::fmt::Write;

use rsp::control::explain::{Question, offline};

use crate::support::*;

/// Random numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }
}

const HOSTS: [&str; 5] = ["a.example", "b.example", "c.example", "WWW.a.example:81", "x"];
const PATHS: [&str; 6] = ["/", "/api/items", "/api", "/static/a.css", "/a/../b", "/%7Euser/x"];
const METHODS: [&str; 5] = ["GET", "HEAD", "DELETE", "OPTIONS", "GET"];
const VALUES: [&str; 4] = ["1", "2", "gold", ""];

/// A rule of the config.
fn rule(random: &mut Random) -> String {
    let value = random.of(&VALUES);
    let (host, path) = (random.of(&HOSTS).to_lowercase(), random.of(&PATHS));
    let condition = match random.below(6) {
        0 => format!("req.host == '{}'", host.split(':').next().unwrap_or_default()),
        1 => format!("req.path:sub(1, {}) == '{path}'", path.len()),
        2 => format!("req.headers['X-Tier'] == '{value}'"),
        3 => format!("req.cookies.canary == '{value}'"),
        4 => format!("req.args.v == '{value}'"),
        _ => format!("req.method == '{}'", random.of(&METHODS)),
    };
    let more = format!("{condition} and req.args.w == '{}'", random.of(&VALUES));
    let pool = random.below(4);
    let action = match random.below(10) {
        0 => "return rsp.respond { status = 404, body = 'no' }".to_owned(),
        1 => "return rsp.redirect('https://elsewhere.example/', 307)".to_owned(),
        2 => "error('a seeded failure')".to_owned(),
        3 => "req.path = '/rewritten' req.headers['X-Tier'] = '2'".to_owned(),
        4 => "rsp.sleep('1ms')".to_owned(),
        5 | 6 => format!("return 'p{pool}', 's{pool}'"),
        _ => format!("return 'p{pool}'"),
    };
    format!("  if {more} then {action} end\n")
}

fn config(random: &mut Random, origins: &[Origin]) -> String {
    let mut text = String::new();
    for (at, origin) in origins.iter().enumerate() {
        let more = if at == 3 { ", balance = 'hash', hash_by = 'path'" } else { "" };
        let server = format!("{{ '{}', name = 's{at}' }}", origin.address);
        writeln!(text, "rsp.pool {{ name = 'p{at}', servers = {{ {server} }}{more} }}").unwrap();
    }
    let rules: String = (0..30).map(|_| rule(random)).collect();
    on_any_port(&format!("{text}rsp.on_request(function(req)\n{rules}  return 'p0'\nend)\n"))
}

fn question(random: &mut Random) -> Question {
    let (v, w) = (random.of(&VALUES), random.of(&VALUES));
    let url = format!("http://{}{}?v={v}&w={w}", random.of(&HOSTS), random.of(&PATHS));
    let mut headers = vec![("X-Tier".to_owned(), random.of(&VALUES).to_owned())];
    if random.below(2) == 0 {
        headers.push(("Cookie".into(), format!("canary={}", random.of(&VALUES))));
    }
    if random.below(50) == 0 {
        headers.push(("Max-Forwards".into(), "0".into()));
    }
    if random.below(50) == 0 {
        headers.push(("Bad Name".into(), "1".into()));
    }
    Question { method: random.of(&METHODS).into(), url, headers, ..Question::default() }
}

/// The request as a client sends it.
fn bytes(question: &Question) -> String {
    let rest = question.url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let mut text = format!("{} {path} HTTP/1.1\r\nHost: {host}\r\n", question.method);
    question.headers.iter().for_each(|(name, value)| write!(text, "{name}: {value}\r\n").unwrap());
    text + "\r\n"
}

#[test]
fn explain_agrees_with_what_rsp_does_for_ten_thousand_requests_over_thirty_rules() {
    let random = &mut Random(0x9e37_79b9_7f4a_7c15);
    let origins: Vec<Origin> = (0..4)
        .map(|at| {
            Origin::answering(format!("HTTP/1.1 200 OK\r\nX-Origin: s{at}\r\nContent-Length: 0\r\n\r\n"))
        })
        .collect();
    let rsp = Rsp::start(&config(random, &origins));
    let mut explainer = offline(&rsp.directory().join("rsp.lua")).map_err(|error| error.0).unwrap();
    let mut client = Client::connect(rsp.address());
    let mut kinds = [0; 3];
    for _ in 0..10_000 {
        let question = question(random);
        let report = explainer.explain(&question).unwrap();
        let answer = client.send(bytes(&question)).response_to(&question.method);
        if answer.head.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            client = Client::connect(rsp.address());
        }
        let by = answer.head.get("x-origin").map(str::to_owned);
        let seen = (by.clone(), by.is_none().then(|| answer.status()));
        assert_eq!((report.server.clone(), report.status), seen, "{question:?}\n{}", report.text());
        kinds[usize::from(report.status.is_some()) + usize::from(report.failed.is_some())] += 1;
    }
    assert!(kinds.iter().all(|count| *count > 100), "served, answered, failed: {kinds:?}");
}

const SITE: &str = "rsp.listen '127.0.0.1:0'
local web = rsp.pool { name = 'web', servers = { { '127.0.0.1:1', name = 'a' }, { '127.0.0.1:2', name = 'b' } } }
local api = rsp.pool { name = 'api', servers = { { '127.0.0.1:3', name = 'c' } } }
rsp.on_request(function(req)
  if req.path == '/no' then
    return rsp.respond { status = 404 }
  end
  if req.path == '/bad' then return req.nothing end
  if req.path == '/fetch' then req.headers['X-Why'] = select(2, rsp.fetch { pool = api }) end
  req.headers['X-Added'] = '1'
  req.headers['Accept'] = nil
  return web, 'b'
end)
";

fn explained(directory: &Directory, arguments: &[&str]) -> Finished {
    run(directory.path(), &[&["explain", "site.lua"], arguments].concat())
}

#[test]
fn explain_says_route_headers_servers_and_timeouts() {
    let directory = Directory::new();
    directory.write("site.lua", SITE);
    let text =
        explained(&directory, &["GET", "http://a.example/x", "-H", "Accept: */*", "--from", "192.0.2.7"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    for line in [
        "request   GET /x from 192.0.2.7 at 127.0.0.1:0 (http)",
        "route     site.lua:12: on_request chose pool web, server b and no other",
        "        ► b  up, weight 1, 0 in flight, 127.0.0.1:2",
        "server    b",
        "            Host: a.example",
        "          - Accept: */*",
        "          + X-Added: 1",
        "lines     site.lua:5 8 9 10 11 12",
    ] {
        assert!(text.stdout.lines().any(|have| have == line), "{line}\n{}", text.stdout);
    }
    assert!(text.stdout.contains("connect 3s, response 60s, gap 60s"), "{}", text.stdout);
}

#[test]
fn explain_gives_json_with_pool_server_status_and_route_on_top() {
    let directory = Directory::new();
    directory.write("site.lua", SITE);
    let json = |url: &str| -> serde_json::Value {
        serde_json::from_str(&explained(&directory, &["GET", url, "--json"]).stdout).unwrap()
    };
    let four =
        |value: &serde_json::Value| ["pool", "server", "status", "route"].map(|key| value[key].clone());
    let null = serde_json::Value::Null;
    assert_eq!(four(&json("/")), ["web".into(), "b".into(), null.clone(), "site.lua:12".into()]);
    assert_eq!(four(&json("/no")), [null.clone(), null.clone(), 404.into(), "site.lua:6".into()]);
    let bad = json("/bad");
    assert_eq!(four(&bad), [null.clone(), null, 500.into(), "site.lua:8".into()]);
    assert!(bad["why"].as_str().unwrap().contains("req.nothing: no such field"), "{bad}");
    assert_eq!(bad["answered_by"], "rsp");
}

#[test]
fn explain_asks_nobody_unless_told_to() {
    let directory = Directory::new();
    let origin = Origin::named("c");
    directory.write("site.lua", SITE.replace("127.0.0.1:3", &origin.address));
    let not = explained(&directory, &["GET", "/fetch"]).stdout;
    assert!(not.contains("+ X-Why: not asked: use --fetch"), "{not}");
    assert_eq!(origin.request_count(), 0);
    let asked = explained(&directory, &["GET", "/fetch", "--fetch"]).stdout;
    assert!(asked.contains("rsp.fetch: pool api answered 200"), "{asked}");
    assert_eq!(origin.last().head.target(), "/");
}

#[test]
fn a_running_rsp_explains_by_the_state_of_its_servers_and_the_config_it_runs() {
    let directory = Directory::new();
    let socket = directory.join("c.sock").display().to_string();
    let config = format!("{SITE}rsp.settings {{ control = '{socket}' }}").replace("web, 'b'", "'web'");
    let rsp = Rsp::start_in(directory, &config);
    let there = rsp.directory().path();
    let ask = |more: &[&str]| run(there, &[&["explain", "--socket", "c.sock"], more].concat());
    assert_eq!(run(there, &["ctl", "c.sock", "set server web/a state maint"]).code, Some(0));
    // What is in the file now is not what runs.
    rsp.directory().write("rsp.lua", SITE.replace("'1'", "'2'"));
    let text = ask(&["GET", "http://a; b=c/x y", "-H", "X-Odd: a;b \\ c"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    let text = ask(&["GET", "http://a/", "-H", "X-Odd: a;b \\ c"]).stdout;
    for words in
        ["a  maint", "► b  up", "X-Odd: a;b \\ c", "+ X-Added: 1", "rsp.lua:12: on_request chose pool web"]
    {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let plain = run(there, &["ctl", "c.sock", "explain", "GET", "http://a/no"]).stdout;
    assert!(plain.contains("answer    404 by script"), "{plain}");
    let wrong = ask(&["GET", "ftp://a/"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("expected a URL"), "{wrong:?}");
}

#[test]
fn what_cannot_be_asked_is_said() {
    let directory = Directory::new();
    directory.write("site.lua", SITE);
    assert_eq!(explained(&directory, &["GET"]).code, Some(2));
    assert_eq!(explained(&directory, &["GET", "nothing"]).code, Some(2));
    let missing = run(directory.path(), &["explain", "none.lua", "GET", "/"]);
    assert_eq!(
        (missing.code, missing.stderr.as_str()),
        (Some(1), "cannot open none.lua: No such file or directory\n")
    );
    let malformed = explained(&directory, &["GET", "/", "-H", "Bad Name: x"]);
    assert!(malformed.stdout.contains("answer    400 by rsp"), "{malformed:?}");
}

#[test]
fn a_running_rsp_explains_by_what_scripts_share_and_spends_nothing_of_it() {
    let directory = Directory::new();
    let (origin, socket) = (Origin::named("a"), directory.join("c.sock").display().to_string());
    let config = on_any_port(&format!(
        "rsp.pool {{ name = 'web', servers = {{ '{}' }} }}
         local limit = rsp.rate {{ name = 'r', rate = 1, per = '1h' }}
         rsp.on_request(function(req)
           if limit:allow(req.client_ip) then return 'web' end
           return rsp.respond {{ status = 429 }}
         end)
         rsp.settings {{ control = '{socket}' }}",
        origin.address
    ));
    let rsp = Rsp::start_in(directory, &config);
    let ask = || run(rsp.directory().path(), &["explain", "--socket", "c.sock", "GET", "/"]).stdout;
    for _ in 0..3 {
        assert!(ask().contains("on_request chose pool web"), "{}", ask());
    }
    assert_eq!(get(rsp.address(), "/").status(), 200, "its only one was not spent");
    assert!(ask().contains("answer    429 by script"), "{}", ask());
}

#[test]
fn lines_of_the_lua_around_our_own_parts_are_not_listed() {
    let directory = Directory::new();
    directory.write(
        "site.lua",
        "rsp.listen '127.0.0.1:0'
local web = rsp.pool { name = 'web', servers = { { '127.0.0.1:1', name = 'a' } } }
local split = rsp.split { { web, 100 }, by = 'client_ip' }
local limit = rsp.rate { name = 'r', rate = 10 }
rsp.on_request(function(req)
  local allowed = limit:allow(req.client_ip)
  return split:pick(req)
end)",
    );
    let text = explained(&directory, &["GET", "/"]).stdout;
    assert!(text.contains("\nlines     site.lua:6 7\n"), "{text}");
    assert!(text.contains("route     site.lua:7: on_request chose pool web"), "{text}");
}

#[test]
fn the_fallback_pool_of_a_failed_balance_function_is_explained_as_it_takes_the_request() {
    let directory = Directory::new();
    let site = "rsp.listen '127.0.0.1:0'
rsp.pool { name = 'web', servers = { '127.0.0.1:1' }, balance = function() error('broken') end }
rsp.pool { name = 'spare', servers = { { '127.0.0.1:2', name = 'b' } } }
rsp.on_request(function(req) req.path = '/changed' return 'web' end)
";
    directory.write("site.lua", format!("{site}rsp.settings {{ fallback = 'spare' }}"));
    let text = explained(&directory, &["GET", "/came"]).stdout;
    assert!(text.contains("balance failed, the fallback pool spare takes it: "), "{text}");
    assert!(text.contains("server    b"), "{text}");
    directory
        .write("site_test.lua", "rsp.test('one', function(t) t:equal(t:request('/').pool, 'spare') end)");
    assert_eq!(run(directory.path(), &["test", "site.lua"]).code, Some(0));
    directory.write("site.lua", site);
    let text = explained(&directory, &["GET", "/came"]).stdout;
    assert!(text.contains("answer    500 by rsp"), "{text}");
}

#[test]
fn it_says_where_else_a_request_may_go() {
    let directory = Directory::new();
    directory.write(
        "site.lua",
        "rsp.listen '127.0.0.1:0'
         rsp.pool { name = 'web', servers = { '127.0.0.1:1', '127.0.0.1:2' }, hedge = { after = '20ms' },
           mirror = { pool = 'shadow', share = 0.5 } }
         rsp.pool { name = 'shadow', servers = { '127.0.0.1:3' } }
         rsp.on_request(function() return 'web' end)",
    );
    let said = explained(&directory, &["GET", "http://a/"]).stdout;
    for words in ["a second server is tried after 20ms", "a copy goes to pool shadow for a share of 0.5"] {
        assert!(said.contains(words), "{words}\n{said}");
    }
}
