//! The command line: commands, exit codes, and one clear line for every error.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::*;

/// Runs an invalid config and returns its one-line error.
fn complaint(config: &str) -> String {
    let directory = Directory::new();
    directory.write("site.lua", config);
    let run = run(directory.path(), &["site.lua"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert_eq!(run.stdout, "");
    assert_eq!(run.stderr.trim_end().lines().count(), 1, "not one line:\n{}", run.stderr);
    assert!(!run.stderr.contains("Listening"), "half started: {}", run.stderr);
    run.stderr.trim_end().to_string()
}

/// The same for an error in the config itself: prefixed like the original's, and `rsp check` prints it too.
fn config_complaint(config: &str) -> String {
    let line = complaint(config);
    let what =
        line.split_once("Error parsing config file: ").unwrap_or_else(|| panic!("{line}")).1.to_string();
    let directory = Directory::new();
    directory.write("site.lua", config);
    let check = run(directory.path(), &["check", "site.lua"]);
    assert_eq!(check.code, Some(1));
    assert_eq!(check.said().trim_end(), what, "run and check disagree");
    what
}

const POOL: &str = "rsp.pool { servers = { \"127.0.0.1:83\" } }\n";

#[test]
fn the_version_is_one_line_and_more_with_build_details() {
    let directory = Directory::new();
    let short = run(directory.path(), &["-v"]);
    assert_eq!((short.code, short.stdout.trim_end()), (Some(0), concat!("rsp ", env!("CARGO_PKG_VERSION"))));
    let long = run(directory.path(), &["-V"]);
    assert_eq!(long.code, Some(0));
    assert!(
        long.stdout.contains(env!("CARGO_PKG_VERSION")) && long.stdout.contains("Lua 5.4"),
        "{}",
        long.stdout
    );
}

#[test]
fn help_lists_commands_signals_and_exit_codes() {
    let directory = Directory::new();
    let help = run(directory.path(), &["--help"]);
    assert_eq!(help.code, Some(0));
    for word in
        ["demo", "check", "types", "--listen", "--backend", "signals", "TERM", "HUP", "exit codes", "70"]
    {
        assert!(help.stdout.to_lowercase().contains(&word.to_lowercase()), "no {word} in:\n{}", help.stdout);
    }
}

#[test]
fn check_says_ok_to_a_good_config_and_starts_nothing() {
    let directory = Directory::new();
    directory.write("site.lua", balanced(&["127.0.0.1:83"]));
    for arguments in [["check", "site.lua"], ["-t", "site.lua"]] {
        let check = run(directory.path(), &arguments);
        assert_eq!((check.code, check.said().trim_end()), (Some(0), "site.lua: ok"));
    }
}

#[test]
fn a_missing_config_is_a_one_line_error() {
    let directory = Directory::new();
    let run = run(directory.path(), &["nosuch.lua"]);
    assert_eq!(run.code, Some(1));
    let line = run.stderr.trim_end();
    assert!(
        line.ends_with("Error parsing config file: cannot open nosuch.lua: No such file or directory"),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn a_syntax_error_names_file_and_line() {
    let what = config_complaint("rsp.listen \"127.0.0.1:0\"\nrsp.pool { servers = \n");
    assert!(what.starts_with("site.lua:"), "{what}");
}

#[test]
fn an_unknown_key_names_file_line_and_the_nearest_known_one() {
    let what = config_complaint(&format!(
        "rsp.listen \"127.0.0.1:0\"\n{POOL}rsp.settings {{\n  acces_log = \"-\",\n}}\n"
    ));
    assert!(
        what.starts_with("site.lua:4: ") && what.contains("acces_log") && what.contains("access_log"),
        "{what}"
    );
    let what = config_complaint(
        "rsp.listen \"127.0.0.1:0\"\nrsp.pool { servers = { '127.0.0.1:1' }, balence = 'x' }\n",
    );
    assert!(what.starts_with("site.lua:2: ") && what.contains("balance"), "{what}");
}

#[test]
fn settings_without_effect_are_refused() {
    for (config, words) in [
        (
            "rsp.on_request = function(req) end",
            "rsp.on_request: cannot be assigned, expected a call: rsp.on_request(function(req) … end)",
        ),
        ("rsp.settings = {}", "rsp.settings: cannot be assigned, expected a call: rsp.settings { … }"),
        ("listenPort = '8000'", "listenPort: does nothing beside calls of rsp"),
        ("backendAddress = '127.0.0.1'", "backendAddress: does nothing beside calls of rsp"),
        ("backendPort = '8888'", "backendPort: does nothing beside calls of rsp"),
        ("rsp.fetch { pool = 'web' }", "rsp.fetch: pool: no pool is named"),
    ] {
        let what = config_complaint(&format!("rsp.listen \"127.0.0.1:0\"\n{POOL}{config}\n"));
        assert!(what.starts_with("site.lua:3: ") && what.contains(words), "{what}");
    }
}

#[test]
fn errors_of_a_config_have_hints() {
    for (config, words) in [
        ("local f = io.open('/etc/hosts')", "site.lua:3: io is not available in rsp"),
        ("rsp.settings { timeouts = { connect = '1s' } }", "it belongs in rsp.pool"),
        ("rsp.settings { via = 'a' access_log = '-' }", "'}' expected near 'access_log', missing comma?"),
    ] {
        let what = config_complaint(&format!("rsp.listen \"127.0.0.1:0\"\n{POOL}{config}\n"));
        assert!(what.starts_with("site.lua:3: ") && what.contains(words), "{what}");
    }
}

/// The output of rsp with a limit of 400 descriptors and one server.
fn said_with_few_descriptors(settings: &str) -> String {
    let directory = Directory::new();
    let path = directory.write("site.lua", format!("{}{settings}", balanced(&["127.0.0.1:83"])));
    let mut command = rsp_command();
    command.arg(path);
    let few = libc::rlimit { rlim_cur: 400, rlim_max: 400 };
    // SAFETY: between fork and exec only setrlimit(2) is called, with a pointer to a value of its own.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &few) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let rsp = Rsp::spawn(directory, command, 1);
    rsp.wait_for_log("open files");
    rsp.log()
}

#[test]
fn a_lowered_default_of_max_connections_is_no_warning() {
    let said = said_with_few_descriptors("");
    assert!(
        said.contains(" INFO room for 1") && said.contains(" clients with 400 open files (ulimit -Hn)"),
        "{said}"
    );
    assert!(!said.contains("WARN"), "{said}");
}

#[test]
fn a_lowered_setting_of_max_connections_is_a_warning() {
    let said = said_with_few_descriptors("rsp.settings { max_connections = 10000 }");
    assert!(said.contains(" WARN max_connections lowered from 10000 to 1"), "{said}");
}

#[test]
fn a_bad_address_says_what_was_expected() {
    for (written, line) in [
        ("rsp.listen \"127.0.0.1\"", 1),
        ("rsp.listen \"127.0.0.1:99999\"", 1),
        ("rsp.listen \"http://127.0.0.1:80\"", 1),
        ("rsp.listen \"127.0.0.1:0\"\nrsp.pool { servers = { \"127.0.0.1\" } }", 2),
        ("rsp.listen \"127.0.0.1:0\"\nrsp.pool { servers = { \"no..host:80\" } }", 2),
        ("rsp.listen \"no.such.host.invalid:80\"", 1),
    ] {
        let what = config_complaint(&format!("{written}\n{POOL}"));
        assert!(what.starts_with(&format!("site.lua:{line}: ")), "{what}");
    }
}

#[test]
fn errors_name_wrong_types_and_values() {
    for (config, word) in [
        ("rsp.settings { max_connections = 'many' }", "max_connections"),
        ("rsp.settings { drain_timeout = 'soon' }", "drain_timeout"),
        ("rsp.settings { trusted = { '10.0.0.0/99' } }", "trusted"),
        ("rsp.settings { fallback = 'nosuch' }", "fallback"),
        ("rsp.settings { access_log = { path = '-', format = 'fancy' } }", "format"),
        ("rsp.pool { servers = { '127.0.0.1:83' }, balance = 'busiest' }", "balance"),
        ("rsp.pool { servers = {} }", "servers"),
        ("rsp.pool { name = 'web' }", "servers"),
        ("rsp.pool { servers = { '127.0.0.1:83' }, timeouts = { conect = 1 } }", "connect"),
        ("rsp.lisen '127.0.0.1:0'", "listen"),
        ("rsp.on_request(5)", "on_request"),
        ("error('by hand')", "by hand"),
        ("nosuch.field = 1", "nosuch"),
    ] {
        let what = config_complaint(&format!("rsp.listen \"127.0.0.1:0\"\n{POOL}{config}\n"));
        assert!(what.starts_with("site.lua:3: ") && what.contains(word), "{config}: {what}");
    }
}

#[test]
fn a_repeated_call_is_an_error() {
    for twice in
        ["rsp.on_request(function() end)", "rsp.on_response(function() end)", "rsp.settings { via = 'x' }"]
    {
        let what = config_complaint(&format!("rsp.listen \"127.0.0.1:0\"\n{POOL}{twice}\n{twice}\n"));
        assert!(what.starts_with("site.lua:4: "), "{what}");
    }
}

#[test]
fn a_config_without_listener_or_pool_is_refused() {
    config_complaint(POOL);
    config_complaint("rsp.listen \"127.0.0.1:0\"\n");
    config_complaint("");
}

#[test]
fn a_missing_module_is_a_one_line_error() {
    let what = config_complaint(&format!("rsp.listen \"127.0.0.1:0\"\n{POOL}require 'nosuch'\n"));
    assert!(what.starts_with("site.lua:3: ") && what.contains("nosuch"), "{what}");
}

#[test]
fn an_error_in_a_module_names_the_modules_file_and_line() {
    let directory = Directory::new();
    directory.write("site.lua", format!("rsp.listen \"127.0.0.1:0\"\n{POOL}require 'rules'\n"));
    directory.write("rules.lua", "local a = 1\nlocal b = = 2\n");
    let run = run(directory.path(), &["check", "site.lua"]);
    assert_eq!(run.code, Some(1));
    assert!(run.said().contains("rules.lua:2:"), "{}", run.said());
}

#[test]
fn a_config_that_never_ends_is_stopped() {
    let what = config_complaint(&format!("rsp.listen \"127.0.0.1:0\"\n{POOL}while true do end\n"));
    assert!(what.starts_with("site.lua:3: "), "{what}");
}

#[test]
fn a_config_that_exceeds_the_memory_limit_is_stopped_with_the_limit_named() {
    let eater = "local t = {} while true do t[#t + 1] = ('x'):rep(20000) .. #t end";
    let what = config_complaint(&format!("rsp.listen \"127.0.0.1:0\"\n{POOL}{eater}\n"));
    assert!(what.starts_with("site.lua:") && what.contains("64 MiB"), "{what}");
}

#[test]
fn a_port_in_use_is_a_one_line_error_and_nothing_is_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let free = free_port();
    let line = complaint(&format!("rsp.listen \"127.0.0.1:{free}\"\nrsp.listen \"{address}\"\n{POOL}"));
    assert!(line.contains(&address) && line.contains("in use"), "{line}");
    assert!(Client::try_connect(&format!("127.0.0.1:{free}"), None).is_err());
}

#[test]
fn a_port_another_rsp_listens_on_is_noticed() {
    let origin = Origin::named("ok");
    let rsp = Rsp::over(&[&origin.address]);
    let line = complaint(&format!("rsp.listen \"{}\"\n{POOL}", rsp.address()));
    assert!(line.contains("in use"), "{line}");
}

#[test]
fn port_80_without_permission_is_an_error_with_a_hint() {
    let limit =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or("1024".into());
    if limit.trim().parse::<u32>().is_ok_and(|limit| limit <= 80) {
        // Any user may bind port 80 here: nothing is refused.
        return;
    }
    let directory = Directory::new();
    directory.write("site.lua", format!("rsp.listen \"127.0.0.1:80\"\n{POOL}"));
    let mut command = unprivileged(&directory);
    command.arg("site.lua").current_dir(directory.path());
    let run = run_with_input(command, b"");
    assert_eq!(run.code, Some(1), "{run:?}");
    let line = run.stderr.trim_end();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("127.0.0.1:80") && line.contains("ermission denied"), "{line}");
    assert!(line.contains("CAP_NET_BIND_SERVICE"), "it says what to do: {line}");
}

/// rsp as a user without privileges: nobody, if the tests run as root, from a copy of the binary.
fn unprivileged(directory: &Directory) -> Command {
    // SAFETY: getuid(2) has no arguments, touches no memory and cannot fail.
    if unsafe { libc::getuid() } != 0 {
        return rsp_command();
    }
    let copy = directory.join("rsp");
    // By another process: a child that a thread beside this one starts would have the copy open for writing, and the
    // kernel refuses to run a file that somebody may write (execve(2), ETXTBSY).
    let copied = Command::new("cp").arg(rsp_command().get_program()).arg(&copy).status().expect("cp");
    assert!(copied.success());
    let mut command = Command::new(copy);
    command.uid(65534).gid(65534);
    command
}

#[test]
fn an_access_log_that_cannot_be_opened_is_an_error_at_start() {
    let line = complaint(&format!(
        "rsp.listen \"127.0.0.1:0\"\n{POOL}rsp.settings {{ access_log = \"/nosuch/directory/access.log\" }}\n"
    ));
    assert!(line.contains("/nosuch/directory/access.log") && line.contains("does not exist"), "{line}");
}

#[test]
fn bad_usage_is_exit_2_with_a_hint() {
    let directory = Directory::new();
    for (arguments, word) in [
        (&[][..], "usage"),
        (&["-c", "site.lua"], "rsp check"),
        (&["--listne", "127.0.0.1:0"], "--listen"),
        (&["--listen", "127.0.0.1:0"], "--backend"),
        (&["--backend", "127.0.0.1:1"], "--listen"),
        (&["chekc", "site.lua"], "rsp: no command or file \"chekc\"; did you mean rsp check?"),
        (&["status"], "rsp: no command or file \"status\""),
        (&["run", "--strict", "site.lua"], "usage: rsp check CONFIG.lua [--strict]"),
        (&["help", "lau"], "rsp: no topic \"lau\"; did you mean rsp help lua?"),
        (&["a.lua", "b.lua"], "b.lua"),
    ] {
        let run = run(directory.path(), arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(word), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn listen_and_backend_run_without_a_file_round_robin() {
    let origins = ["a", "b"].map(Origin::named);
    let mut command = rsp_command();
    command.args(["--listen", "127.0.0.1:0"]);
    for origin in &origins {
        command.args(["--backend", &origin.address]);
    }
    let rsp = Rsp::spawn(Directory::new(), command, 1);
    let order: Vec<String> = (0..6).map(|_| get(rsp.address(), "/").text()).collect();
    assert!(order.windows(2).all(|two| two[0] != two[1]), "{order:?}");
    rsp.stop();
}

#[test]
fn a_bad_address_on_the_command_line_is_an_error() {
    let directory = Directory::new();
    let run = run(directory.path(), &["--listen", "nonsense", "--backend", "127.0.0.1:1"]);
    assert!(matches!(run.code, Some(1 | 2)), "{run:?}");
    assert!(run.stderr.contains("nonsense") && run.stderr.trim_end().lines().count() == 1, "{run:?}");
}

#[test]
fn run_is_the_same_as_no_command_and_the_start_is_announced() {
    let origin = Origin::named("ok");
    let directory = Directory::new();
    let mut command = rsp_command();
    command.arg("run").arg(directory.write("site.lua", balanced(&[&origin.address])));
    let rsp = Rsp::spawn(directory, command, 1);
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    rsp.wait_for_log("1 worker of ");
    rsp.stop();
}

#[test]
fn a_classic_config_runs() {
    let origin = Origin::named("classic");
    let (port, backend) = (free_port(), origin.address.rsplit(':').next().unwrap());
    let directory = Directory::new();
    let config =
        format!("listenPort = \"{port}\"\nbackendAddress = \"127.0.0.1\"\nbackendPort = \"{backend}\"\n");
    let mut command = rsp_command();
    command.arg(directory.write("sampleconfig.lua", config));
    let rsp = Rsp::spawn(directory, command, 1);
    rsp.wait_for_log(&format!("Started.  Listening on port {port}."));
    assert_eq!(get(rsp.address(), "/").text(), "classic");
    rsp.stop();
}

#[test]
fn the_demo_runs_its_own_servers_and_says_what_to_try() {
    let mut command = rsp_command();
    command.args(["demo", "--listen", "127.0.0.1:0"]);
    let rsp = Rsp::spawn_somewhere(Directory::new(), command);
    rsp.wait_for_output("curl");
    let bodies: Vec<String> = (0..6).map(|_| get(rsp.address(), "/").text()).collect();
    for three in bodies.windows(3) {
        assert!(three[0] != three[1] && three[1] != three[2] && three[0] != three[2], "{bodies:?}");
    }
    until("each request is a line", || rsp.output().matches("GET /").count() >= 6);
    rsp.stop();
}

#[test]
fn the_demo_reports_a_taken_port_in_one_line_with_a_hint() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = Directory::new();
    for (listen, words) in [(address.as_str(), "--listen 127.0.0.1:0"), ("127.0.0.1", "missing port")] {
        let demo = run(directory.path(), &["demo", "--listen", listen]);
        assert_eq!((demo.code, demo.stdout.as_str()), (Some(1), ""), "{demo:?}");
        assert!(demo.stderr.contains(words) && !demo.stderr.contains("config file"), "{demo:?}");
        assert_eq!(demo.stderr.trim_end().lines().count(), 1, "{demo:?}");
    }
}

#[test]
fn types_prints_definitions_of_everything_a_config_uses() {
    let directory = Directory::new();
    let types = run(directory.path(), &["types"]);
    assert_eq!(types.code, Some(0));
    assert!(types.stdout.starts_with("---@meta"), "{}", types.stdout);
    for name in [
        "listen",
        "pool",
        "on_request",
        "on_response",
        "settings",
        "respond",
        "redirect",
        "client_ip",
        "balance",
    ] {
        assert!(types.stdout.contains(name), "no {name}");
    }
}
