//! `rsp replay`: finds what a new config changes for the requests of a log, all of it and nothing else.

use crate::support::*;

const OLD: &str = r#"
rsp.listen "127.0.0.1:8080"
local web = rsp.pool { name = "web", servers = { { "127.0.0.1:81", name = "a" }, { "127.0.0.1:82", name = "b" } } }
local api = rsp.pool { name = "api", servers = { "127.0.0.1:83" } }
rsp.on_request(function(req)
  if req.path:sub(1, 5) == "/api/" then return api end
  if req.path == "/old" then return rsp.redirect("/new") end
  if req.path == "/never" then
    return rsp.respond { status = 410 }
  end
  if req.path == "/agent" and req.headers["User-Agent"] == "bad" then return rsp.respond { status = 403 } end
  return web
end)
"#;

fn replayed(old: &str, new: &str, log: &str) -> serde_json::Value {
    let directory = Directory::new();
    directory.write("old.lua", old);
    directory.write("new.lua", new);
    directory.write("access.log", log);
    let finished = run(directory.path(), &["replay", "old.lua", "new.lua", "access.log", "--json"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    serde_json::from_str(&finished.stdout).expect("JSON")
}

fn combined(target: &str, agent: &str) -> String {
    format!("192.0.2.7 - - [10/Oct/2025:13:55:36 +0000] \"GET {target} HTTP/1.1\" 200 5 \"-\" \"{agent}\"\n")
}

fn json(host: &str, target: &str) -> String {
    format!(
        "{{\"ts\":\"2025-10-10T13:55:36.000000Z\",\"client_ip\":\"192.0.2.7\",\"client_port\":4711,\"listener\":\
         \"127.0.0.1:8080\",\"tls_version\":null,\"sni\":null,\"method\":\"GET\",\"scheme\":\"http\",\"host\":\"{host}\",\
         \"target\":\"{target}\",\"version\":\"1.1\",\"status\":200,\"referer\":null,\"user_agent\":\"x\"}}\n"
    )
}

#[test]
fn exactly_the_changes_of_a_second_config_are_found_in_a_long_log() {
    let changes = [
        // What changes, in the order of `kind`: another pool, another answer, a new answer, a server of the pool.
        (
            "if req.path:sub(1, 5) == \"/api/\" then return api end",
            "if req.path:sub(1, 8) == \"/api/v1/\" then return api end",
        ),
        ("rsp.redirect(\"/new\")", "rsp.redirect(\"/new\", 308)"),
        ("  return web\nend)", "  if req.args.beta == \"1\" then return web, \"b\" end\n  return web\nend)"),
    ];
    let new = changes.iter().fold(OLD.to_owned(), |text, (from, to)| text.replacen(from, to, 1));
    let (mut log, mut seeded, mut number) = (String::new(), [0_u64; 3], 1_u64);
    for row in 0..100_000 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let agent = if row % 7 == 0 { "bad" } else { "curl/8" };
        let target = match (number >> 33) % 100 {
            0 => {
                seeded[0] += 1;
                format!("/api/v2/{row}")
            }
            1 => {
                seeded[1] += 1;
                "/old".to_owned()
            }
            2 => {
                seeded[2] += 1;
                format!("/page?x={row}&beta=1")
            }
            3..20 => format!("/api/v1/{row}?beta=1"),
            20..30 => "/agent".to_owned(),
            _ => format!("/page/{row}?beta=0"),
        };
        log.push_str(&combined(&target, agent));
    }
    log.push_str("what is this\n");
    let found = replayed(OLD, &new, &log);
    assert_eq!(found["rows"], 100_001);
    assert_eq!(found["unreadable"], 1);
    assert_eq!(found["undecided"], 0);
    assert_eq!(found["changed"], seeded.iter().sum::<u64>());
    let groups = found["groups"].as_array().expect("a list");
    let count = |old: &str, new: &str| {
        let group = groups.iter().find(|group| group["old"] == old && group["new"] == new);
        group
            .and_then(|group| group["count"].as_u64())
            .unwrap_or_else(|| panic!("{old} -> {new} in {groups:?}"))
    };
    assert_eq!(count("pool api", "pool web"), seeded[0]);
    assert_eq!(count("answer 302", "answer 308"), seeded[1]);
    assert_eq!(count("pool web", "pool web, server b"), seeded[2]);
    assert_eq!(groups.len(), 3);
    assert_eq!(found["unreached"]["new.lua"], serde_json::json!([9]), "the line of 410");
}

#[test]
fn a_row_is_undecided_where_the_script_reads_what_the_log_does_not_tell() {
    let by_host = OLD.replace("req.path == \"/old\"", "req.host == \"api.example\"");
    let rows =
        [combined("/api/x", "-"), combined("/", "-"), json("api.example", "/"), json("b.example", "/")];
    let found = replayed(OLD, &by_host, &rows.concat());
    assert_eq!((&found["undecided"], &found["changed"]), (&1.into(), &1.into()));
    assert_eq!(found["lacking"]["req.host"], 1);
    let by_cookie = OLD.replace("req.path == \"/old\"", "req.cookies.beta");
    let found = replayed(OLD, &by_cookie, &json("a.example", "/"));
    assert_eq!(found["lacking"]["req.cookies[\"beta\"]"], 1);
    let by_fetch = OLD.replace("req.path == \"/old\"", "rsp.fetch { pool = web }");
    let found = replayed(OLD, &by_fetch, &json("a.example", "/"));
    assert_eq!(found["lacking"]["rsp.fetch"], 1);
}

#[test]
fn what_only_chooses_a_server_of_the_pool_decides_nothing() {
    let hashed = OLD.replace(
        "{ \"127.0.0.1:82\", name = \"b\" } } }",
        "{ \"127.0.0.1:82\", name = \"b\" } }, balance = \"hash\", hash_by = function(req) return req.cookies.u end }",
    );
    assert_ne!(hashed, OLD);
    let found = replayed(OLD, &hashed, &combined("/", "-"));
    assert_eq!((&found["undecided"], &found["changed"]), (&0.into(), &0.into()));
}

#[test]
fn rewritten_paths_failures_and_chance_are_compared() {
    let rewritten = OLD.replace("  return web\nend)", "  req.path = \"/v2\" .. req.path\n  return web\nend)");
    let found = replayed(OLD, &rewritten, &combined("/a", "-"));
    assert_eq!(found["groups"][0]["new"], "pool web with another path or query");
    let failing = OLD.replace("  return web\nend)", "  error('no')\nend)");
    let found = replayed(OLD, &failing, &combined("/a", "-"));
    assert_eq!(found["groups"][0]["new"], "answer 500: new.lua:12: no");
    let chance =
        OLD.replace("  return web\nend)", "  if math.random(2) == 1 then return api end\n  return web\nend)");
    let log: String = (0..200).map(|row| combined(&format!("/{row}"), "-")).collect();
    assert_eq!(replayed(&chance, &chance, &log)["changed"], 0);
}

#[test]
fn the_report_for_people_shows_groups_with_rows() {
    let directory = Directory::new();
    directory.write("old.lua", OLD);
    directory.write("new.lua", OLD.replace("status = 403", "status = 404"));
    directory.write("access.log", combined("/agent", "bad") + &combined("/", "-") + "odd\n");
    let finished = run(directory.path(), &["replay", "old.lua", "new.lua", "access.log"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        finished.stdout,
        "1 of 2 requests change\n\n       1  answer 403  ->  answer 404\n             row 1: GET /agent\n\n       \
         1  not readable, or no request\n             row 3: odd\n\n\
         lines that no request reached (what follows a response does not run here):\n  new.lua: 9\n"
    );
    let missing = run(directory.path(), &["replay", "old.lua", "new.lua", "none.log"]);
    assert_eq!(missing.code, Some(1));
    assert_eq!(missing.stderr, "cannot open none.log: No such file or directory\n");
    assert_eq!(run(directory.path(), &["replay", "old.lua"]).code, Some(2));
}
