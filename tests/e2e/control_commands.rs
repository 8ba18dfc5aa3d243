//! The commands of the control socket that look at servers and connections and change them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::support::*;

fn config(servers: &[&Origin], more: &str) -> String {
    let list: Vec<String> = servers
        .iter()
        .zip(["a", "b", "c"])
        .map(|(origin, name)| format!("{{ '{}', name = '{name}', weight = 2 }}", origin.address))
        .collect();
    on_any_port(&format!(
        "local web = rsp.pool {{ name = 'web', servers = {{ {} }} }}
         rsp.settings {{ control = 'c.sock', {more} }}",
        list.join(", ")
    ))
}

fn start(servers: &[&Origin], more: &str) -> Rsp {
    let directory = Directory::new();
    let socket = directory.join("c.sock").display().to_string();
    Rsp::start_in(directory, &config(servers, more).replace("c.sock", &socket))
}

fn reload(rsp: &Rsp, servers: &[&Origin], more: &str) {
    let socket = rsp.directory().join("c.sock").display().to_string();
    rsp.reload(&config(servers, more).replace("c.sock", &socket));
}

/// The answer to a command, without the empty line at its end.
fn ask(rsp: &Rsp, command: &str) -> String {
    let mut stream = UnixStream::connect(rsp.directory().join("c.sock")).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("{command}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.strip_suffix('\n').unwrap_or(&answer).to_owned()
}

/// A column of a row of `show stat`.
fn stat(rsp: &Rsp, proxy: &str, name: &str, column: &str) -> String {
    let text = ask(rsp, "show stat");
    let head: Vec<&str> = text.lines().next().unwrap().trim_start_matches("# ").split(',').collect();
    let at = head.iter().position(|of| *of == column).unwrap();
    let row = text.lines().find(|line| line.starts_with(&format!("{proxy},{name},"))).expect("a row");
    row.split(',').nth(at).unwrap().to_owned()
}

fn answers(rsp: &Rsp, count: usize) -> Vec<String> {
    (0..count).map(|_| get(rsp.address(), "/").text()).collect()
}

#[test]
fn a_server_is_drained_and_enabled_and_a_reload_keeps_that() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rsp = start(&[&a, &b], "");
    assert_eq!(ask(&rsp, "set server web/a state drain"), "");
    assert_eq!(answers(&rsp, 4), ["b"; 4]);
    reload(&rsp, &[&a, &b], "");
    assert_eq!(answers(&rsp, 4), ["b"; 4], "a reload keeps it");
    assert_eq!(stat(&rsp, "web", "a", "status"), "DRAIN");
    assert_eq!(ask(&rsp, "enable server web/a; disable server web/b"), "\n");
    assert_eq!(answers(&rsp, 4), ["a"; 4]);
    assert_eq!(stat(&rsp, "web", "b", "status"), "MAINT");
    assert!(rsp.log().contains("server web/a: drain by hand"), "{}", rsp.log());
    rsp.stop();
}

#[test]
fn weights_are_set_and_said_and_shown_as_config() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rsp = start(&[&a, &b], "");
    assert_eq!(ask(&rsp, "get weight web/a"), "2 (initial 2)\n");
    assert_eq!(ask(&rsp, "set weight web/a 0; get weight web/a"), "\n0 (initial 2)\n");
    assert_eq!(answers(&rsp, 4), ["b"; 4]);
    let address = &a.address;
    let changes = format!("-- web/a: weight 0 (config 2)\n{{ \"{address}\", name = \"a\", weight = 0 }},\n");
    assert_eq!(ask(&rsp, "show changes"), changes);
    assert_eq!(ask(&rsp, "set server web/a weight 50%; get weight web/a"), "\n1 (initial 2)\n");
    assert_eq!(ask(&rsp, "set weight web/a 100%; show changes"), "\n");
    assert_eq!(ask(&rsp, "set weight web/z 1"), "No such server.\n");
    assert_eq!(ask(&rsp, "set weight zz/a 1"), "No such backend.\n");
    assert_eq!(
        ask(&rsp, "set weight web/a 257"),
        "Absolute weight can only be between 0 and 256 inclusive.\n"
    );
    rsp.stop();
}

#[test]
fn an_observer_sees_and_changes_nothing() {
    let a = Origin::named("a");
    let directory = Directory::new();
    let socket = directory.join("c.sock").display().to_string();
    let text = config(&[&a], "").replace("'c.sock'", &format!("{{ '{socket}', level = 'observe' }}"));
    let rsp = Rsp::start_in(directory, &text);
    for command in
        ["set server web/a state maint", "disable server web/a", "clear counters", "shutdown session 0x1"]
    {
        assert_eq!(ask(&rsp, command), "Permission denied\n", "{command}");
    }
    assert!(ask(&rsp, "show stat").contains("web,BACKEND,"));
    assert_eq!(answers(&rsp, 1), ["a"]);
    rsp.stop();
}

#[test]
fn a_server_is_added_and_deleted_while_rsp_runs() {
    let (a, c) = (Origin::named("a"), Origin::named("c"));
    let rsp = start(&[&a], "");
    assert_eq!(ask(&rsp, &format!("add server web/new {} weight 3", c.address)), "New server registered.\n");
    assert_eq!(answers(&rsp, 2), ["a"; 2], "it is in maint");
    assert_eq!(ask(&rsp, "enable server web/new; disable server web/a"), "\n");
    assert_eq!(answers(&rsp, 2), ["c"; 2]);
    reload(&rsp, &[&a], "");
    assert_eq!(answers(&rsp, 2), ["c"; 2], "a reload keeps it");
    let changes = ask(&rsp, "show changes");
    assert!(changes.contains("-- web/new: added\n") && changes.contains("-- web/a: maint\n"), "{changes}");
    assert_eq!(ask(&rsp, "del server web/new"), "Only servers in maintenance mode can be deleted.\n");
    assert_eq!(ask(&rsp, "enable server web/a; disable server web/new"), "\n");
    until("it has no connection", || ask(&rsp, "del server web/new") == "Server deleted.\n");
    assert_eq!(ask(&rsp, "get weight web/new"), "No such server.\n");
    assert_eq!(answers(&rsp, 2), ["a"; 2]);
    rsp.stop();
}

#[test]
fn stat_counts_what_servers_answered_and_can_be_cleared() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rsp = start(&[&a, &b], "");
    // A request is counted after its response was written.
    let counted = |n: &str| until("they are counted", || stat(&rsp, "web", "BACKEND", "hrsp_2xx") == n);
    answers(&rsp, 6);
    counted("6");
    assert_eq!(stat(&rsp, "web", "a", "hrsp_2xx"), a.request_count().to_string());
    until("all are counted", || stat(&rsp, "127.0.0.1:0", "FRONTEND", "req_tot") == "6");
    assert_eq!(ask(&rsp, "clear counters all"), "");
    assert_eq!(
        (stat(&rsp, "web", "a", "hrsp_2xx"), stat(&rsp, "web", "BACKEND", "stot")),
        ("0".into(), "0".into())
    );
    answers(&rsp, 2);
    counted("2");
    let only_servers = ask(&rsp, "show stat web 4 -1");
    assert_eq!(only_servers.lines().filter(|line| line.starts_with("web,")).count(), 2, "{only_servers}");
    assert!(
        ask(&rsp, "show stat -1 2 -1")
            .lines()
            .skip(1)
            .all(|line| line.is_empty() || line.contains(",BACKEND,"))
    );
    rsp.stop();
}

#[test]
fn info_backends_and_states_are_in_haproxys_format() {
    let a = Origin::named("a");
    let rsp = start(&[&a], "");
    let info = ask(&rsp, "show info");
    for line in [
        format!("Pid: {}\n", rsp.pid()),
        "Nbthread: 1\n".into(),
        "Uptime_sec: ".into(),
        "CurrConns: 0\n".into(),
    ] {
        assert!(info.contains(&line), "{line} in {info}");
    }
    assert_eq!(ask(&rsp, "show backend"), "# name\nweb\n");
    let state = ask(&rsp, "show servers state web");
    let lines: Vec<&str> = state.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "1"));
    assert_eq!(lines[2].split(' ').count(), lines[1].trim_start_matches("# ").split(' ').count());
    assert!(lines[2].starts_with("2 web 1 a 127.0.0.1 2 0 2 2 "), "{state}");
    assert_eq!(ask(&rsp, "show servers state zz"), "Can't find backend.\n");
    assert!(ask(&rsp, "show pools").contains("web/a"));
    rsp.stop();
}

#[test]
fn sessions_say_what_they_wait_for_and_can_be_shut() {
    let gate = Gate::new();
    let wait = gate.clone();
    let slow = Origin::run(move |visit| {
        while visit.request().is_some() {
            wait.wait();
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let rsp = start(&[&slow], "");
    let (mut asks, idle) = (Client::connect(rsp.address()), Client::connect(rsp.address()));
    asks.send("GET /slow?secret HTTP/1.1\r\nHost: a\r\n\r\n");
    let of = |client: &Client| {
        let source = format!("src={} ", client.address());
        ask(&rsp, "show sess").lines().find(|line| line.contains(&source)).map(str::to_owned)
    };
    until("it waits for the server", || {
        of(&asks).is_some_and(|line| line.contains(" waits=server-response "))
    });
    let line = of(&asks).unwrap();
    assert!(
        line.contains(" be=web srv=a ") && line.contains(" request=\"GET /slow\"") && line.contains(" exp="),
        "{line}"
    );
    assert!(!line.contains("secret"));
    assert!(of(&idle).unwrap().contains(" waits=first-request "), "{:?}", of(&idle));
    let id = line.split(':').next().unwrap();
    assert_eq!(ask(&rsp, &format!("show sess {id}")).split(" age=").next(), line.split(" age=").next());
    assert_eq!(ask(&rsp, &format!("shutdown session {id}")), "");
    asks.expect_end();
    for gone in [id, "0x0", "0xffffffffffffffffffffffffffffffff"] {
        assert_eq!(ask(&rsp, &format!("shutdown session {gone}")), "No such session (use 'show sess').\n");
    }
    gate.open();
    rsp.stop();
}

#[test]
fn a_long_list_of_sessions_comes_in_pieces_and_whole() {
    let a = Origin::named("a");
    let rsp = start(&[&a], "workers = 2");
    let clients: Vec<Client> = (0..600).map(|_| Client::connect(rsp.address())).collect();
    let lines = || ask(&rsp, "show sess").lines().filter(|line| line.starts_with("0x")).count();
    until("all are there", || lines() == clients.len());
    let both = ask(&rsp, "show sess; show backend");
    assert!(both.ends_with("\n\n# name\nweb\n"), "the next command is answered after it");
    rsp.stop();
}

#[test]
fn malformed_messages_are_shown_with_the_offending_byte_and_without_credentials() {
    let bad = Origin::answering("HTTP/1.1 200 OK\r\nSet-Cookie: id=hidden\r\nBad Name: x\r\n\r\nbody");
    let rsp = start(&[&bad], "");
    let mut client = Client::connect(rsp.address());
    client.send("POST /?hidden HTTP/1.1\r\nHost: a\r\nAuthorization: Basic hidden\r\nX: a\0b\r\n\r\nhidden");
    assert_eq!(client.response().status(), 400);
    assert_eq!(get(rsp.address(), "/").status(), 502);
    let errors = ask(&rsp, "show errors");
    assert!(errors.starts_with("Total events captured on ["), "{errors}");
    assert!(
        errors.contains("] : 2\n")
            && errors.contains("invalid request: ")
            && errors.contains("invalid response: ")
    );
    assert!(errors.contains("backend web, server a, event #1"), "{errors}");
    assert!(errors.contains("X: a\\x00b\\r\\n\n") && errors.contains("Bad Name: x\\r\\n\n"), "{errors}");
    let lines: Vec<&str> = errors.lines().collect();
    let marked = |text: &str| {
        let at = lines.iter().position(|line| line.contains(text)).unwrap();
        let column = lines[at + 1].find('^').expect("a mark");
        lines[at][column..].to_owned()
    };
    assert_eq!(marked("X: a"), "\\x00b\\r\\n");
    assert!(marked("Bad Name").starts_with(' ') || marked("Bad Name").starts_with("Name"), "{errors}");
    assert!(!errors.contains("hidden") && !errors.contains("body"), "{errors}");
    rsp.stop();
}

#[test]
fn the_level_of_the_log_is_changed_while_rsp_runs() {
    let a = Origin::named("a");
    let rsp = start(&[&a], "");
    assert_eq!(ask(&rsp, "log level"), "info\n");
    assert_eq!(
        ask(&rsp, "log level error; disable server web/a; log level debug; log level"),
        "\n\n\ndebug\n"
    );
    assert_eq!(ask(&rsp, "enable server web/a"), "");
    rsp.wait_for_log("server web/a: ready by hand");
    assert!(!rsp.log().contains("maint by hand"), "{}", rsp.log());
    rsp.stop();
}

#[test]
fn ctl_says_tables_nowhere_but_on_a_terminal_and_exits_by_the_answer() {
    let a = Origin::named("a");
    let rsp = start(&[&a], "");
    let ctl = |words: &[&str]| run(rsp.directory().path(), &[&["ctl", "c.sock"], words].concat());
    assert!(ctl(&["show", "stat"]).stdout.starts_with("# pxname,svname,"));
    assert_eq!(ctl(&["set", "server", "web/a", "state", "maint"]).code, Some(0));
    let failed = ctl(&["set", "server", "web/z", "state", "maint"]);
    assert_eq!((failed.code, failed.stderr.as_str()), (Some(1), "No such server.\n"));
    rsp.stop();
}

#[test]
fn stat_and_info_are_told_typed_and_as_json_and_only_what_is_asked_for() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rsp = start(&[&a, &b], "");
    answers(&rsp, 2);
    until("both are counted", || stat(&rsp, "web", "BACKEND", "hrsp_2xx") == "2");
    let typed = ask(&rsp, "show stat web 4 2 typed");
    assert!(typed.starts_with("S.2.2.0.pxname.1:KNS:str:web\nS.2.2.1.svname.1:KNS:str:b\n"), "{typed}");
    assert!(typed.contains("\nS.2.2.40.hrsp_2xx.1:MCP:u64:1\n"), "{typed}");
    let json = |command: &str| -> serde_json::Value { serde_json::from_str(&ask(&rsp, command)).unwrap() };
    let rows = json("show stat -1 3 -1 json");
    let kinds: Vec<&str> =
        rows.as_array().unwrap().iter().filter_map(|row| row[0]["objType"].as_str()).collect();
    assert_eq!(kinds, ["Frontend", "Backend"]);
    assert!(ask(&rsp, "show info typed").contains(&format!("\n6.Pid.1:SGP:u32:{}\n", rsp.pid())));
    assert_eq!(json("show info json")[0]["value"]["value"], "rsp");
    assert_eq!(ask(&rsp, "show stat zz 4 -1"), "No such proxy.\n");
    assert!(ask(&rsp, "show stat yaml").starts_with("expected 'show stat', "));
    let servers =
        |options: &str| ask(&rsp, &format!("show stat web 4 -1 {options}")).matches("\nweb,").count();
    ask(&rsp, "disable server web/a; set server web/b state drain");
    assert_eq!((servers(""), servers("no-maint"), servers("up")), (2, 1, 0));
    rsp.stop();
}

#[test]
fn stat_tells_who_broke_off_and_how_long_requests_took() {
    let origin = Origin::run(|visit| {
        while let Some(head) = visit.head() {
            match head.target() {
                "/cut" => {
                    visit.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nonly");
                    return;
                }
                "/held" => visit.wait_for_end(),
                _ => {
                    std::thread::sleep(std::time::Duration::from_millis(30));
                    visit.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            }
        }
    });
    let rsp = start(&[&origin], "");
    assert_eq!(get(rsp.address(), "/").status(), 200);
    until("it is counted", || stat(&rsp, "web", "BACKEND", "hrsp_2xx") == "1");
    for column in ["rtime", "ttime", "rtime_max", "ttime_max"] {
        let told = stat(&rsp, "web", "a", column);
        assert!(told.parse::<u64>().unwrap() >= 30, "{column} {told}");
        assert_eq!(stat(&rsp, "web", "BACKEND", column), told, "{column}");
    }
    assert!(Client::connect(rsp.address()).ask("/cut").try_response().is_err());
    let mut client = Client::connect(rsp.address());
    client.ask("/held");
    until("the server has it", || origin.head_count() == 3);
    client.wire.reset_on_close();
    drop(client);
    until("the client has left", || stat(&rsp, "web", "a", "cli_abrt") == "1");
    Client::connect(rsp.address()).send("GET / HTTP/1.1\r\nBad Name: x\r\n\r\n").response();
    let of_server = || ["eresp", "srv_abrt", "cli_abrt", "econ"].map(|column| stat(&rsp, "web", "a", column));
    until("both are counted", || of_server() == ["1", "1", "1", "0"]);
    until("it is counted", || stat(&rsp, "127.0.0.1:0", "FRONTEND", "ereq") == "1");
    ask(&rsp, "clear counters");
    assert_eq!(stat(&rsp, "web", "a", "rtime_max"), "0");
    rsp.stop();
}
