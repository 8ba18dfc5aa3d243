//! `rsp test`: the tests of a routing script run without sockets, each on a site of its own, and say what is wrong.

use std::path::Path;

use crate::support::*;

const SITE: &str = r#"
rsp.listen "127.0.0.1:8080"
local web = rsp.pool { name = "web", servers = { { "127.0.0.1:81", name = "a" }, { "127.0.0.1:82", name = "b" } } }
local seen = 0
rsp.on_request(function(req)
  seen = seen + 1
  if req.path == "/seen" then return rsp.respond { body = tostring(seen) } end
  if req.path == "/time" then return rsp.respond { body = os.date("!%X") .. " " .. math.random(1000) } end
  if req.path == "/sleep" then rsp.sleep("5s") end
  if req.path == "/auth" then
    local answer, why = rsp.fetch { pool = web, method = "POST", path = "/check?u=1", body = req.headers["X-User"] }
    if not answer then return rsp.respond { status = 503, body = why } end
    if answer.status ~= 200 then return rsp.respond { status = 403, body = answer.headers["x-why"] } end
  end
  if req.path == "/fail" then error("no way") end
  return web
end)
"#;

/// Runs these tests over `SITE`.
fn tested(tests: &str, options: &[&str]) -> (Directory, Finished) {
    let directory = Directory::new();
    directory.write("site.lua", SITE);
    directory.write("site_test.lua", tests);
    let finished = run(directory.path(), &[&["test", "site.lua"], options].concat());
    (directory, finished)
}

/// They pass.
fn passes(tests: &str) {
    let (_directory, finished) = tested(tests, &[]);
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
}

#[test]
fn every_example_has_tests_that_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut configs = vec!["lua/tests/site.lua".to_owned()];
    for entry in std::fs::read_dir(root.join("examples")).expect("examples/") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        if let Some(stem) = name.strip_suffix(".lua").filter(|stem| !stem.ends_with("_test")) {
            assert!(root.join(format!("examples/{stem}_test.lua")).exists(), "examples/{name} has no test");
            configs.push(format!("examples/{name}"));
        }
    }
    for config in configs {
        let finished = run(root, &["test", &config, "--coverage"]);
        assert_eq!(finished.code, Some(0), "{config}: {}{}", finished.stdout, finished.stderr);
        assert!(finished.stdout.contains("\nok 1 - "), "{config}: {}", finished.stdout);
    }
}

#[test]
fn a_failure_shows_both_values_and_the_line() {
    let (_directory, finished) = tested(
        r#"
        rsp.test("one", function(t) t:equal(t:request("/").pool, "api") end)
        rsp.test("two", function(t)
          t:ok(t:request("/").pol)
        end)
        rsp.test("three", function(t) t:equal({ 1, a = "x" }, { 1 }, "lists") end)
        rsp.test("four", function(t) t:request { ulr = "/" } end)
        rsp.test("five", function(t) t:equal(1, 1) end)
        "#,
        &[],
    );
    assert_eq!(finished.code, Some(1));
    for wanted in [
        "1..5\nnot ok 1 - one\n  ---\n  message: \"site_test.lua:2: got \\\"web\\\", expected \\\"api\\\"\"\n  ...\n",
        "message: \"site_test.lua:4: the result has no field \\\"pol\\\", did you mean \\\"pool\\\"?\"",
        "message: \"site_test.lua:6: got { 1, a = \\\"x\\\" }, expected { 1 } (lists)\"",
        "message: \"site_test.lua:7: t:request: unknown key \\\"ulr\\\", did you mean \\\"url\\\"?\"",
        "\nok 5 - five\n# 4 of 5 failed\n",
    ] {
        assert!(finished.stdout.contains(wanted), "{wanted}\nin\n{}", finished.stdout);
    }
}

#[test]
fn each_test_begins_anew_on_a_clock_of_its_own() {
    passes(
        r#"
        local before
        rsp.test("first", function(t)
          t:equal(before, nil)
          before = true
          t:equal(t:request("/seen").body, "1")
          local time = t:request("/time").body
          t:equal(time:sub(1, 8), "00:00:00")
          t:advance("90s")
          t:equal(t:request("/time").body:sub(1, 8), "00:01:30")
          t:request("/sleep")
          t:equal(t:request("/time").body:sub(1, 8), "00:01:35")
        end)
        rsp.test("second", function(t)
          t:equal(before, nil)
          t:equal(t:request("/seen").body, "1")
        end)
        "#,
    );
}

#[test]
fn chance_is_the_same_each_time() {
    let printed = || {
        let (_directory, finished) = tested(
            "rsp.test('x', function(t) print(t:request('/time').body, t:request('/time').body) end)",
            &[],
        );
        assert_eq!(finished.code, Some(0), "{}", finished.stdout);
        finished.stdout.lines().find(|line| line.starts_with("# 00:")).expect("it printed").to_owned()
    };
    assert_eq!(printed(), printed());
}

#[test]
fn the_test_answers_what_handlers_fetch() {
    passes(
        r#"
        rsp.test("fetch", function(t)
          t:equal(t:request("/auth").body, "no fetch in this test")
          local asked
          t:fetch(function(req)
            asked = req
            return { status = 403, headers = { ["X-Why"] = "banned" } }
          end)
          local answer = t:request { url = "/auth", headers = { ["X-User"] = "ann" } }
          t:equal(answer.status, 403)
          t:equal(answer.body, "banned")
          t:equal({ asked.pool, asked.method, asked.path, asked.body }, { "web", "POST", "/check?u=1", "ann" })
          t:fetch(function() return { status = 200 } end)
          t:equal(t:request("/auth").pool, "web")
          t:fetch(function() return nil, "timeout" end)
          t:equal(t:request("/auth").body, "timeout")
        end)
        "#,
    );
}

#[test]
fn servers_are_in_the_state_that_the_test_sets() {
    passes(
        r#"
        rsp.test("states", function(t)
          t:server("web/a", { up = false })
          for _ = 1, 3 do t:equal(t:request("/").server, "b") end
          t:server("web/b", { state = "maint" })
          local answer = t:request("/")
          t:equal(answer.status, 503)
          t:equal(answer.error, "no server is available")
          t:server("web/a", { up = true })
          t:equal(t:request("/").server, "a")
        end)
        rsp.test("failures of the script", function(t)
          local answer = t:request("/fail")
          t:equal(answer.status, 500)
          t:equal(answer.error, "site.lua:16: no way")
        end)
        "#,
    );
}

#[test]
fn results_go_to_a_file_for_build_servers_and_coverage_names_lines() {
    let (directory, finished) =
        tested("rsp.test('a <b>', function(t) t:request('/') end)", &["--junit", "out.xml", "--coverage"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(
        finished.stdout.contains("# coverage: site.lua: 11 of 14 lines (78 %), not reached: 11-13\n"),
        "{}",
        finished.stdout
    );
    let xml = std::fs::read_to_string(directory.path().join("out.xml")).expect("the results");
    assert!(xml.contains("<testcase classname=\"site_test.lua\" name=\"a &lt;b&gt;\""), "{xml}");
}

#[test]
fn configs_and_tests_that_cannot_be_loaded_are_named_with_their_line() {
    let directory = Directory::new();
    directory.write("site.lua", SITE);
    let said = |arguments: &[&str]| {
        let finished = run(directory.path(), arguments);
        (finished.code, finished.stderr)
    };
    let (code, line) = said(&["test", "site.lua"]);
    assert_eq!(code, Some(1));
    assert!(
        line.contains("no tests: expected files *_test.lua beside the config, as site_test.lua"),
        "{line}"
    );
    directory.write("odd.lua", "\nx = = 1");
    assert!(said(&["test", "site.lua", "odd.lua"]).1.starts_with("odd.lua:2: "));
    assert!(said(&["test", "odd.lua"]).1.starts_with("odd.lua:2: "));
    directory.write("empty_test.lua", "");
    assert!(said(&["test", "site.lua", "empty_test.lua"]).1.starts_with("empty_test.lua:1: no tests"));
    assert_eq!(said(&["test"]).0, Some(2));
}

/// Runs rsp with these arguments under strace and returns the system calls of the network's kind that it made.
fn network_calls(directory: &Path, arguments: &[&str]) -> String {
    let traces = Directory::new();
    let trace = traces.join("trace");
    let mut command = std::process::Command::new(find("strace").expect("strace"));
    command.args(["-f", "-qq", "-e", "trace=network", "-o"]).arg(&trace);
    command.arg(rsp_command().get_program()).args(arguments).current_dir(directory);
    let finished = run_with_input(command, b"");
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    std::fs::read_to_string(trace).expect("a trace")
}

#[test]
fn tests_open_no_socket_whatever_the_config_names() {
    if !can_trace() {
        return;
    }
    let directory = Directory::new();
    directory.write(
        "site.lua",
        r#"
        rsp.listen "localhost:8080"
        rsp.pool { servers = { "app.internal:80", { "127.0.0.1:82" } }, health = "tcp" }
        rsp.on_request(function(req) rsp.resolve("elsewhere.example") end)
        rsp.settings { admin = "127.0.0.1:9180", control = "rsp.sock", access_log = "syslog:udp:127.0.0.1:514" }
        "#,
    );
    directory.write(
        "site_test.lua",
        "rsp.test('a', function(t) t:equal(t:request('/').server, 'app.internal:80/192.0.2.1') end)",
    );
    assert_eq!(network_calls(directory.path(), &["test", "site.lua"]), "");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(network_calls(root, &["test", "lua/tests/site.lua"]), "");
}
