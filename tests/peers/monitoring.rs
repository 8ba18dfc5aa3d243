//! What watches and steers haproxy watches and steers rsp: promtool reads its metrics and the examples, socat and hatop
//! talk to its control socket, bash completes its commands.

use std::path::Path;
use std::process::Command;

use crate::support::*;

fn start(origins: &[&Origin]) -> Rsp {
    let directory = Directory::new();
    let socket = directory.join("c.sock");
    let list: Vec<String> = origins
        .iter()
        .zip(["a", "b"])
        .map(|(origin, name)| format!("{{ '{}', name = '{name}' }}", origin.address))
        .collect();
    let config = on_any_port(&format!(
        "local web = rsp.pool {{ name = 'web', servers = {{ {} }} }}
         rsp.settings {{ workers = 2, control = '{}', admin = '127.0.0.1:0', metrics = {{ hosts = 5 }} }}
         rsp.on_request(function(req) return web end)",
        list.join(", "),
        socket.display()
    ));
    Rsp::start_in(directory, &config)
}

fn admin(rsp: &Rsp) -> String {
    rsp.wait_for_log("Admin address: ");
    let log = rsp.log();
    let line = log.lines().find_map(|line| line.split_once("Admin address: ")).expect("a line");
    line.1.trim().to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.args(arguments);
    command
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    if !have(&["promtool"]) {
        return;
    }
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rsp = start(&[&a, &b]);
    (0..5).for_each(|_| _ = get(rsp.address(), "/"));
    let metrics = get(&admin(&rsp), "/metrics");
    assert_eq!(metrics.get("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let checked = run_with_input(command("promtool", &["check", "metrics"]), metrics.text().as_bytes());
    assert_eq!((checked.code, checked.said().trim()), (Some(0), ""), "{checked:?}");
    rsp.stop();
}

#[test]
fn promtool_accepts_the_alerts_of_the_examples() {
    if !have(&["promtool"]) {
        return;
    }
    let folder = root().join("examples/prometheus");
    for (what, file) in [("rules", "rsp.rules.yml"), ("config", "prometheus.yml")] {
        let path = folder.join(file).display().to_string();
        let checked = run_with_input(command("promtool", &["check", what, &path]), b"");
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
}

#[test]
fn socat_talks_to_the_control_socket() {
    if !have(&["socat"]) {
        return;
    }
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rsp = start(&[&a, &b]);
    let socket = format!("UNIX-CONNECT:{}", rsp.directory().join("c.sock").display());
    let ask = |text: &str| {
        run_with_input(command("socat", &["-t", "10", "STDIO", &socket]), text.as_bytes()).stdout
    };
    assert_eq!(ask("set server web/a state drain\n"), "\n");
    assert_eq!(get(rsp.address(), "/").text(), "b");
    assert_eq!(ask("show backend; get weight web/b\n"), "# name\nweb\n\n1 (initial 1)\n\n");
    rsp.stop();
}

/// Runs hatop in a terminal of its own, waits until the screen has the words, presses keys, and waits again.
const HATOP: &str = r#"
import os, pty, select, sys, time
socket, steps = sys.argv[1], sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.environ.update(TERM="linux", LINES="40", COLUMNS="140")
    os.execvp("hatop", ["hatop", "-s", socket, "-i", "1"])
import fcntl, struct, termios
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
seen, deadline = b"", time.time() + 40
for step in steps:
    kind, text = step.split(":", 1)
    if kind == "key":
        os.write(fd, text.encode().decode("unicode_escape").encode("latin-1"))
        continue
    seen = b""
    while text.encode() not in seen:
        if time.time() > deadline:
            sys.stdout.write("missing %r in:\n%r\n" % (text, seen[-4000:]))
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            sys.exit(1)
        if select.select([fd], [], [], 0.2)[0]:
            try:
                seen += os.read(fd, 65536)
            except OSError:
                sys.stdout.write("hatop ended:\n%r\n" % seen[-4000:])
                os.waitpid(pid, 0)
                sys.exit(1)
os.kill(pid, 15)
os.waitpid(pid, 0)
"#;

fn hatop(rsp: &Rsp, steps: &[&str]) -> Finished {
    let socket = rsp.directory().join("c.sock").display().to_string();
    run_with_input(command("python3", &[&["-c", HATOP, &socket], steps].concat()), b"")
}

#[test]
fn hatop_shows_the_servers_and_takes_one_out_of_use() {
    if !have(&["hatop", "python3"]) {
        return;
    }
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rsp = start(&[&a, &b]);
    (0..5).for_each(|_| _ = get(rsp.address(), "/"));
    // Down to the first server, F10, and the next screen.
    let steps = [
        "see:BACKEND",
        "key:\\x1b[B",
        "key:\\x1b[B",
        "key:\\x1b[B",
        "key:\\x1b[B",
        "key:\\x1b[21~",
        "see:MAINT",
    ];
    let shown = hatop(&rsp, &steps);
    assert_eq!(shown.code, Some(0), "{}", shown.said());
    assert!(rsp.log().contains(": maint by hand"), "{}", rsp.log());
    rsp.stop();
}

#[test]
fn bash_completes_commands_and_the_names_of_servers() {
    if !have(&["bash"]) {
        return;
    }
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rsp = start(&[&a, &b]);
    let binary = rsp_command().get_program().to_string_lossy().into_owned();
    let folder = Path::new(&binary).parent().unwrap().display().to_string();
    let script = root().join("examples/completion/rsp.bash").display().to_string();
    let socket = rsp.directory().join("c.sock").display().to_string();
    let complete = |line: &str| {
        let text = format!(
            "PATH={folder}:$PATH; . {script}; COMP_LINE={line:?}; COMP_POINT=${{#COMP_LINE}}; _rsp; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        run_with_input(command("bash", &["-c", &text]), b"").stdout
    };
    assert_eq!(complete(&format!("rsp ctl {socket} set server ")), "web/a\nweb/b\n");
    assert_eq!(complete(&format!("rsp ctl {socket} set server web/a st")), "state\n");
    assert_eq!(complete(&format!("rsp ctl {socket} set server web/a state d")), "drain\n");
    assert_eq!(complete(&format!("rsp ctl {socket} show se")), "servers\nsess\n");
    assert!(complete("rsp ch").starts_with("check\n"));
    rsp.stop();
}

/// Runs a program with a terminal of its own, and prints what it wrote there.
const TERMINAL: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

#[test]
fn ctl_shows_tables_on_a_terminal() {
    if !have(&["python3"]) {
        return;
    }
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rsp = start(&[&a, &b]);
    (0..6).for_each(|_| _ = get(rsp.address(), "/"));
    let (binary, socket) = (rsp_command(), rsp.directory().join("c.sock").display().to_string());
    let binary = binary.get_program().to_string_lossy();
    let ctl = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        run_with_input(
            command("python3", &[&["-c", TERMINAL, &binary, "ctl", &socket], &words[..]].concat()),
            b"",
        )
    };
    let table = |words: &str| -> Vec<Vec<String>> {
        let shown = ctl(words);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        let lines: Vec<&str> = shown.stdout.lines().collect();
        // Every column begins where its name does.
        let head: Vec<&str> = lines[0].split_whitespace().collect();
        let begins =
            head.iter().map(|name| lines[0].find(&format!("{name} ")).or(lines[0].find(name)).unwrap());
        let begins: Vec<usize> = begins.collect();
        let row = |line: &&str| {
            let cell = |(at, begin): (usize, &usize)| {
                let end = begins.get(at + 1).copied().unwrap_or(line.len()).min(line.len());
                line.get(*begin..end).unwrap_or_default().trim().to_owned()
            };
            begins.iter().enumerate().map(cell).collect()
        };
        lines.iter().filter(|line| !line.is_empty()).map(row).collect()
    };
    let stat = table("show stat");
    let column = |name: &str| stat[0].iter().position(|of| of == name).expect("a column");
    let row = |name: &str| stat.iter().find(|row| row[column("svname")] == name).expect("a row");
    let of_a = a.request_count().to_string();
    assert_eq!((&row("a")[column("hrsp_2xx")], row("BACKEND")[column("stot")].as_str()), (&of_a, "6"));
    assert_eq!(row("b")[column("status")], "no check");
    let state = table("show servers state web");
    assert_eq!((state[0][1].as_str(), state[1][3].as_str(), state[2][3].as_str()), ("be_name", "a", "b"));
    let refused = ctl("set server web/z weight 1");
    assert_eq!((refused.code, refused.stdout.trim()), (Some(1), "No such server."));
    rsp.stop();
}
