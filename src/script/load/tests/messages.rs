//! Invalid configs, and the one-line error of each.

use super::super::Source;
use super::{Files, error, load};

pub(super) const LISTEN: &str = "rsp.listen '127.0.0.1:0' ";
pub(super) const POOL: &str = "rsp.pool { servers = { '127.0.0.1:1' } } ";

/// Each text alone gets `site.lua:` and this message.
pub(super) fn all(cases: &[(&str, &str)]) {
    for (text, message) in cases {
        assert_eq!(error(text), format!("site.lua:{message}"), "{text}");
    }
}

#[test]
fn listeners() {
    let address =
        "expected an address such as \"0.0.0.0:80\", \"[::]:80\", \"unix:/run/rsp.sock\" or \"systemd:web\"";
    all(&[
        (
            "rsp.listen '127.0.0.1'",
            "1: listen: missing port in \"127.0.0.1\", expected HOST:PORT or unix:PATH",
        ),
        (
            "\nrsp.listen { '127.0.0.1' }",
            "2: listen: missing port in \"127.0.0.1\", expected HOST:PORT or unix:PATH",
        ),
        ("rsp.listen()", &format!("1: listen: got nothing (nil), {address}")),
        ("rsp.listen {}", &format!("1: listen: got nothing (nil), {address}")),
        ("rsp.listen(80)", &format!("1: listen: got 80, {address}")),
        (
            "rsp.listen { '127.0.0.1:0', proxy_protocol = 'v2' }",
            "1: proxy_protocol: got \"v2\", expected true or false",
        ),
        (
            "rsp.listen { '127.0.0.1:1', '127.0.0.1:2' }",
            "1: listen[2]: \"127.0.0.1:2\" without a key, expected only one such value",
        ),
        ("rsp.listen('127.0.0.1:1', '127.0.0.1:2')", "1: listen: got 2 arguments, expected one"),
        ("rsp:listen '127.0.0.1:1'", "1: listen: called with a colon, expected a dot: rsp.listen"),
        (
            "rsp.listen '127.0.0.1:1'\nrsp.listen '127.0.0.1:1'",
            "2: listen: 127.0.0.1:1 is listened on twice, expected one rsp.listen for it",
        ),
        ("rsp.lisen '127.0.0.1:1'", "1: rsp.lisen: unknown, did you mean rsp.listen?"),
        ("rsp.on_logs(1)", "1: rsp.on_logs: unknown, did you mean rsp.on_log?"),
        (
            "rsp.every(function() end)",
            "1: every: got a function, expected a time such as \"500ms\", \"5s\", \"2m\", \"1h\" or a number of seconds",
        ),
        ("rsp.every(0.01, function() end)", "1: every: got 0.01, expected a time from 100ms to 24h"),
        ("rsp.every '1s'", "1: every: got nothing (nil), expected a function() after the time"),
        ("rsp.every('1s', print, 1)", "1: every: got 3 arguments, expected two"),
        ("rsp.on_log {}", "1: on_log: got a table, expected a function(req, res, log)"),
        (
            "rsp.on_log(print) rsp.on_log(print)",
            "1: on_log: called twice, expected one call (the first is at site.lua:1)",
        ),
        (
            "rsp.quux()",
            "1: rsp.quux: unknown, expected one of abort, base64, basic_auth, cidr, concurrency, equal, every, fetch, hex, hmac_sha256, json, listen, log, map, now, on_answer, on_connect, on_log, on_request, on_response, on_start, pool, random, rate, redirect, regex, resolve, respond, settings, sha256, shared, sleep, split, url",
        ),
    ]);
}

#[test]
fn pools() {
    let list = "expected a list such as { \"127.0.0.1:8080\" }";
    let address = "expected an address such as \"127.0.0.1:8080\" or { \"127.0.0.1:8080\", name = \"app1\" }";
    let name = "expected a name without blanks and quotes, at most 128 bytes";
    all(&[
        (
            "rsp.pool()",
            "1: pool: got nothing (nil), expected a table such as { servers = { \"127.0.0.1:8080\" } }",
        ),
        (
            "rsp.pool '127.0.0.1:1'",
            "1: pool: got \"127.0.0.1:1\", expected a table such as { servers = { \"127.0.0.1:8080\" } }",
        ),
        (
            "rsp.pool { '127.0.0.1:1' }",
            "1: pool[1]: \"127.0.0.1:1\" without a key, expected one of name, servers, balance, hash_by, slow_start, max_idle, min_idle, sticky, health, eject, retries, retry_budget, queue, send_proxy, abort_on_close, strict, receive_buffer, send_buffer, busy_poll, buffer_request, buffer_response, hedge, mirror, trailers, timeouts",
        ),
        (
            "rsp.pool {}",
            "1: servers: no server, expected at least one, as in servers = { \"127.0.0.1:8080\" }",
        ),
        (
            "rsp.pool {\n servers = {} }",
            "2: servers: no server, expected at least one, as in servers = { \"127.0.0.1:8080\" }",
        ),
        ("rsp.pool { servers = '127.0.0.1:1' }", &format!("1: servers: got \"127.0.0.1:1\", {list}")),
        (
            "rsp.pool { servers = { '127.0.0.1:1', web = 'x' } }",
            &format!("1: servers.web: a named key in a list, {list}"),
        ),
        (
            "rsp.pool { servers = {\n '127.0.0.1:1',\n '127.0.0.1' } }",
            "3: servers[2]: missing port in \"127.0.0.1\", expected HOST:PORT or unix:PATH",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:0' } }",
            "1: servers[1]: bad port in \"127.0.0.1:0\", expected a port from 1 to 65535",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:65536' } }",
            "1: servers[1]: bad port in \"127.0.0.1:65536\", expected a port from 1 to 65535",
        ),
        ("rsp.pool { servers = { 8080 } }", &format!("1: servers[1]: got 8080, {address}")),
        (
            "rsp.pool { servers = { { name = 'a' } } }",
            &format!("1: servers[1]: got nothing (nil), {address}"),
        ),
        (
            "rsp.pool { servers = {\n { '127.0.0.1:1',\n sni = 'a' } } }",
            "3: servers[1].sni: \"127.0.0.1:1\" has no TLS, expected an address such as \"https://app.internal:8443\"",
        ),
        (
            "rsp.pool { servers = { { '127.0.0.1:1', nmae = 'a' } } }",
            "1: servers[1].nmae: unknown server key, did you mean name?",
        ),
        (
            "rsp.pool { servers = { { '127.0.0.1:1', colour = 1 } } }",
            "1: servers[1].colour: unknown server key, expected one of name, weight, max_connections, backup, disabled, resolve, sni, ca, verify, cert, key",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:1', '127.0.0.1:1' } }",
            "1: servers[2]: server 1 has the name \"127.0.0.1:1\" too, expected a name of its own",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:1', { '127.0.0.1:2', name = '127.0.0.1:1' } } }",
            "1: servers[2]: server 1 has the name \"127.0.0.1:1\" too, expected a name of its own",
        ),
        ("rsp.pool { name = 'a b', servers = { '127.0.0.1:1' } }", &format!("1: name: got \"a b\", {name}")),
        ("rsp.pool { name = '', servers = { '127.0.0.1:1' } }", &format!("1: name: got \"\", {name}")),
        (
            "rsp.pool { servers = { { '127.0.0.1:1', name = 5 } } }",
            &format!("1: servers[1].name: got 5, {name}"),
        ),
        (
            "rsp.pool { name = 'a', servers = { '127.0.0.1:1' } }\nrsp.pool {\n  name = 'a', servers = { '127.0.0.1:1' } }",
            "3: name: \"a\" is taken, expected a name that no other pool has",
        ),
        (
            "rsp.pool { name = 'pool2', servers = { '127.0.0.1:1' } }\nrsp.pool { servers = { '127.0.0.1:1' } }",
            "2: pool: its name would be \"pool2\", which is taken, expected a name key",
        ),
        (
            "rsp.pool { buffer_response = true, servers = { '127.0.0.1:1' } }",
            "1: buffer_response: got true, expected a size from 1 byte to \"1g\", such as \"1m\"",
        ),
        ("rsp.pool { trailers = 'yes' }", "1: trailers: got \"yes\", expected true or false"),
        ("rsp.pool { server = { '127.0.0.1:1' } }", "1: server: unknown pool key, did you mean servers?"),
        (
            "rsp.pool { servers = { '127.0.0.1:1' }, balance = 'least_conn' }",
            "1: balance: got \"least_conn\", expected \"round_robin\", \"least_connections\", \"least_latency\", \"random\", \"first\", \"source_hash\", \"hash\" or a function(req, servers)",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:1' },\n timeouts = {\n conect = 1 } }",
            "3: timeouts.conect: unknown timeout of a pool, did you mean connect?",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:1' }, timeouts = { connect = 0 } }",
            "1: timeouts.connect: got 0, expected a time from 1ms to 24h",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:1' }, timeouts = 5 }",
            "1: timeouts: got 5, expected a table of times",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:1' },\n send_proxy = true }",
            "2: send_proxy: got true, expected \"v1\" or \"v2\"",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:1' },\n balance = require 'rsp.round_robin' }",
            "2: balance: the module makes the function, expected a call: require \"rsp.round_robin\" ()",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:1' }, balance = require 'rsp.least_busy' }",
            "1: balance: the module makes the function, expected a call: require \"rsp.least_busy\" ()",
        ),
        (
            "local p = rsp.pool { servers = { '127.0.0.1:1' } }\np.name = 'x'",
            "2: a pool cannot be changed after rsp.pool made it",
        ),
    ]);
}

/// Without trusted peers nobody could use a listener for proxies.
#[test]
fn proxy_protocol_needs_trusted_peers() {
    let error = |line, as_in| {
        format!(
            "{line}: proxy_protocol: nobody is trusted to send it, expected the addresses of the proxies in front, \
             as in rsp.settings {{ {as_in} }}"
        )
    };
    let (tcp, unix) = ("trusted = { \"10.0.0.0/8\" }", "trusted = { \"unix:\" }");
    let listen = format!("{POOL}\nrsp.listen {{ '127.0.0.1:0',\n proxy_protocol = true }}\n");
    let on_unix = format!("{POOL}\nrsp.listen {{ 'unix:/tmp/none.sock', proxy_protocol = true }}\n");
    all(&[
        (&listen, &error(3, tcp)),
        (&format!("{listen} rsp.settings {{ trusted = {{}} }}"), &error(3, tcp)),
        (&format!("{listen} rsp.settings {{ trusted = {{ 'unix:' }} }}"), &error(3, tcp)),
        (&format!("{on_unix} rsp.settings {{ trusted = {{ '10.0.0.0/8' }} }}"), &error(2, unix)),
    ]);
}

#[test]
fn settings() {
    let time = "expected a time such as \"500ms\", \"5s\", \"2m\", \"1h\" or a number of seconds";
    let keys = "workers, max_connections, max_connections_per_client, new_connections_per_client, \
                buffer_memory, max_body, max_head, max_fields, min_request_rate, min_response_rate, access_log, trusted, fallback, drain_timeout, drain_delay, upgrade_drain_timeout, admin, control, metrics, user, group, resolver, trace, via, upgrades, splice, timeouts, acme_challenge_dir, script";
    all(&[
        (
            "rsp.settings()",
            "1: settings: got nothing (nil), expected a table such as { max_connections = 10000 }",
        ),
        (
            "rsp.settings {\n max_conections = 1 }",
            "2: max_conections: unknown setting, did you mean max_connections?",
        ),
        ("rsp.settings { colour = 1 }", &format!("1: colour: unknown setting, expected one of {keys}")),
        ("rsp.settings { 5 }", &format!("1: settings[1]: 5 without a key, expected one of {keys}")),
        (
            "rsp.settings { workers = 'many' }",
            "1: workers: got \"many\", expected a whole number from 1 to 256, or \"auto\" for one a core",
        ),
        (
            "rsp.settings { workers = 0 }",
            "1: workers: got 0, expected a whole number from 1 to 256, or \"auto\" for one a core",
        ),
        (
            "rsp.settings { admin = '9180' }",
            "1: admin: missing port in \"9180\", expected HOST:PORT or unix:PATH",
        ),
        (
            "rsp.settings { admin = 'host:1' }",
            "1: admin: name in \"host:1\", expected an IP address with a port, or unix:PATH",
        ),
        (
            "rsp.settings { admin = { '127.0.0.1:1', token = 'x y' } }",
            "1: admin.token: not usable, expected up to 256 printable characters without blanks",
        ),
        (
            "rsp.settings { control = '' }",
            "1: control: got \"\", expected a path such as \"/run/rsp/control.sock\"",
        ),
        (
            "rsp.settings { control = { '/a', mode = '999' } }",
            "1: control.mode: got \"999\", expected permissions such as \"660\"",
        ),
        (
            "rsp.settings { control = { '/a', level = 'root' } }",
            "1: control.level: got \"root\", expected \"admin\" or \"observe\"",
        ),
        (
            "rsp.settings { control = { '/a', mod = '660' } }",
            "1: control.mod: unknown control key, did you mean mode?",
        ),
        (
            "rsp.settings { max_connections = 'many' }",
            "1: max_connections: got \"many\", expected a whole number from 1 to 1000000",
        ),
        (
            "rsp.settings { max_connections = 0 }",
            "1: max_connections: got 0, expected a whole number from 1 to 1000000",
        ),
        (
            "rsp.settings { script = true }",
            "1: script: got true, expected a table such as { on_response_error = \"pass\" }",
        ),
        (
            "rsp.settings { script = {\n on_response_error = 'ignore' } }",
            "2: script.on_response_error: got \"ignore\", expected \"answer\" or \"pass\"",
        ),
        (
            "rsp.settings { script = { time = '2s' } }",
            "1: script.time: got \"2s\", expected a time from 1ms to 1s",
        ),
        (
            "rsp.settings { script = { memory = '1m' } }",
            "1: script.memory: got \"1m\", expected a size from \"4m\" to \"1g\"",
        ),
        ("rsp.settings { script = { globals = 1 } }", "1: script.globals: got 1, expected true or false"),
        ("rsp.settings { script = { tme = '1s' } }", "1: script.tme: unknown script key, did you mean time?"),
        ("rsp.settings { trace = 1 }", "1: trace: got 1, expected true or false"),
        (
            "rsp.settings { trusted = '10.0.0.0/8' }",
            "1: trusted: got \"10.0.0.0/8\", expected a list such as { \"10.0.0.0/8\" }",
        ),
        (
            "rsp.settings { trusted = { '10.0.0.0/8',\n'lan' } }",
            "2: trusted[2]: got \"lan\", expected a network such as \"10.0.0.0/8\" or an address",
        ),
        ("rsp.settings { drain_timeout = '5x' }", &format!("1: drain_timeout: got \"5x\", {time}")),
        ("rsp.settings { drain_delay = '5x' }", &format!("1: drain_delay: got \"5x\", {time}")),
        ("rsp.settings { drain_delay = -1 }", "1: drain_delay: got -1, expected a time from 0 to 24h"),
        (
            "rsp.settings { upgrade_drain_timeout = 0 }",
            "1: upgrade_drain_timeout: got 0, expected a time from 1ms to 24h",
        ),
        (
            "rsp.settings { via = 'a b' }",
            "1: via: got \"a b\", expected a name of letters, digits and \"-\", \".\", \"_\", \":\"",
        ),
        (
            "rsp.settings { user = 'www data' }",
            "1: user: got \"www data\", expected a name such as \"www-data\" or a number",
        ),
        ("rsp.settings { user = -1 }", "1: user: got -1, expected a whole number from 0 to 4294967294"),
        (
            "rsp.settings { user = '4294967295' }",
            "1: user: got \"4294967295\", expected a name such as \"www-data\" or a number",
        ),
        (
            "rsp.settings { group = 'adm' }",
            "1: group: no user, expected one as well, as in user = \"www-data\"",
        ),
        (
            "rsp.settings { upgrades = 'tcp' }",
            "1: upgrades: got \"tcp\", expected a list such as { \"websocket\", \"tcp\" }",
        ),
        (
            "rsp.settings { upgrades = { 'websocket', 'a b' } }",
            "1: upgrades[2]: got \"a b\", expected a protocol such as \"websocket\" or \"tcp\"",
        ),
        (
            "rsp.settings { upgrades = { 'H2C' } }",
            "1: upgrades[1]: got \"H2C\", expected a protocol that is not HTTP itself: its requests would pass unseen",
        ),
        (
            "rsp.settings { upgrades = { 'TLS/1.0' } }",
            "1: upgrades[1]: got \"TLS/1.0\", expected a protocol that is not HTTP itself: its requests would pass unseen",
        ),
        (
            "rsp.settings { max_head = '65k' }",
            "1: max_head: got \"65k\", expected a size from \"1k\" to \"64k\"",
        ),
        (
            "rsp.settings { max_fields = 1001 }",
            "1: max_fields: got 1001, expected a whole number from 10 to 1000",
        ),
        ("rsp.settings { timeouts = { head = {} } }", &format!("1: timeouts.head: got a table, {time}")),
        (
            "rsp.settings { timeouts = { connect = 1 } }",
            "1: timeouts.connect: unknown timeout of the client's side, it belongs in rsp.pool { timeouts = { connect = … } }",
        ),
    ]);
}

#[test]
fn a_second_call_names_the_line_of_the_first() {
    for (call, name) in [
        ("rsp.settings {}", "settings"),
        ("rsp.on_request(function() end)", "on_request"),
        ("rsp.on_response(function() end)", "on_response"),
    ] {
        let line = error(&format!("\n{call}\n\n{call}"));
        let (start, end) =
            (format!("site.lua:4: {name}: called twice, expected one call (the first is at "), "site.lua:2)");
        assert!(line.starts_with(&start) && line.ends_with(end), "{line}");
    }
    all(&[
        ("rsp.on_request {}", "1: on_request: got a table, expected a function(req)"),
        ("rsp.on_request()", "1: on_request: got nothing (nil), expected a function(req)"),
        ("rsp.on_response 'web'", "1: on_response: got \"web\", expected a function(req, res)"),
    ]);
}

#[test]
fn a_fallback_must_exist_after_the_load() {
    for (value, message) in [
        ("'wbe'", "no pool is named \"wbe\", did you mean \"web\"?"),
        ("'static'", "no pool is named \"static\", expected one of \"web\""),
        ("5", "got 5, expected a pool or the name of one"),
        ("{ name = 'web' }", "got a table, expected a pool or the name of one"),
    ] {
        let text = format!(
            "{LISTEN}\nrsp.settings {{\n fallback = {value} }}\nrsp.pool {{ name = 'web', servers = {{ '127.0.0.1:1' }} }}"
        );
        assert_eq!(error(&text), format!("site.lua:3: fallback: {message}"));
    }
    let alone = format!("{LISTEN} rsp.settings {{ fallback = 'a' }} rsp.on_request(function() end)");
    assert_eq!(error(&alone), "site.lua:1: fallback: no pool is named \"a\", expected the name of a pool");
}

#[test]
fn missing_calls_are_named() {
    all(&[
        ("", "1: rsp.listen: missing, expected at least one, as in rsp.listen \"0.0.0.0:80\""),
        (POOL, "1: rsp.listen: missing, expected at least one, as in rsp.listen \"0.0.0.0:80\""),
        (
            LISTEN,
            "1: rsp.pool: missing, expected at least one, as in rsp.pool { servers = { \"127.0.0.1:8080\" } }",
        ),
        (
            &format!("{LISTEN}{POOL}{POOL}"),
            "1: rsp.on_request: missing, expected one that picks among the 2 pools",
        ),
    ]);
}

#[test]
fn classic_globals_must_be_complete_and_ports() {
    let port = "expected a port from 1 to 65535";
    all(&[
        (
            "listenPort = '8000'",
            "1: backendAddress: missing, expected a text as in backendAddress = \"127.0.0.1\"",
        ),
        (
            "listenPort = '8000'\nbackendAddress = 'localhost'",
            "1: backendPort: missing, expected a text as in backendPort = \"8888\"",
        ),
        ("backendPort = 1", "1: listenPort: missing, expected a text as in listenPort = \"8000\""),
        ("\nlistenPort = {}", "2: listenPort: got a table, expected a text as in listenPort = \"8000\""),
        (
            "\nlistenPort = 'x' backendAddress = 'localhost' backendPort = 1",
            &format!("2: listenPort: got \"x\", {port}"),
        ),
        (
            "listenPort = 1\nbackendAddress = 'localhost'\nbackendPort = 0",
            &format!("3: backendPort: got \"0\", {port}"),
        ),
        (
            "listenPort = 1\nbackendAddress = '1.2.3'\nbackendPort = 1",
            "2: backendAddress: bad IPv4 address in \"1.2.3:1\", expected four numbers from 0 to 255 and a port, such as 127.0.0.1:8080",
        ),
    ]);
}

#[test]
fn errors_of_lua_itself() {
    all(&[
        ("rsp.pool {\n servers = { '127.0.0.1:1' ", "2: '}' expected near <eof>"),
        (
            "rsp.pool {\n name = 'web'\n servers = { '127.0.0.1:1' } }",
            "3: '}' expected (to close '{' at line 1) near 'servers', missing comma?",
        ),
        (
            "rsp.pool { servers = { '127.0.0.1:1' '127.0.0.1:2' } }",
            "1: '}' expected near ''127.0.0.1:2'', missing comma?",
        ),
        ("\nlocal f = io.open('x')", "2: io is not available in rsp"),
        ("\ndebug.traceback()", "2: debug is not available in rsp"),
        (
            "\nlocal home = os.getenv('HOME')",
            "2: attempt to call a nil value (field 'getenv'); os.getenv is not available in rsp",
        ),
        ("\nrequire 'io'", "2: require \"io\": io is not available in rsp"),
        ("\nlocal x = nil .. 'a'", "2: attempt to concatenate a nil value"),
        ("\n\nerror 'mine'", "3: mine"),
        ("\nerror('a\\n b\\t', 0)", "2: a b"),
        ("\nnothing()", "2: attempt to call a nil value (global 'nothing')"),
    ]);
    let files = Files::new(&[]);
    files.write("site.lua", b"\x1bLua\x54\x00");
    assert_eq!(files.load().unwrap_err(), "site.lua:1: compiled Lua, expected Lua text");
}

#[test]
fn command_line_errors_name_the_option() {
    let line = |listens: &[&str], backends: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
        load(&mut Source::embedded(&texts(listens), &texts(backends))).unwrap_err()
    };
    let good = ["127.0.0.1:0"];
    let forms = "expected HOST:PORT or unix:PATH";
    assert_eq!(line(&good, &["127.0.0.1"]), format!("--backend 127.0.0.1: missing port, {forms}"));
    let url = format!("--backend http://b:1: URL scheme, {forms}");
    assert_eq!(line(&good, &["127.0.0.1:1", "http://b:1"]), url);
    assert_eq!(line(&["80"], &["127.0.0.1:1"]), format!("--listen 80: missing port, {forms}"));
    assert!(line(&["systemd:"], &["127.0.0.1:1"]).starts_with("--listen systemd:: missing name, expected "));
    assert_eq!(
        line(&good, &["127.0.0.1:0"]),
        "--backend 127.0.0.1:0: bad port, expected a port from 1 to 65535"
    );
    assert_eq!(
        line(&good, &["127.0.0.1:1", "127.0.0.1:1"]),
        "--backend 127.0.0.1:1: given twice, expected each address once"
    );
    assert_eq!(line(&good, &[]), "--backend: missing, expected at least one, as in --backend 127.0.0.1:8080");
    assert_eq!(
        line(&[], &["127.0.0.1:1"]),
        "--listen: missing, expected at least one, as in --listen 127.0.0.1:8080"
    );
}
