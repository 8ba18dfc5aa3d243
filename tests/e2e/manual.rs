//! Checks the README and the manual: their configs pass `rsp check`, their commands exist, their links resolve, their
//! words are those of the log and the program. Their tables are checked in `manual_tables`.

use std::path::{Path, PathBuf};

use crate::support::*;
use rsp::exchange::record::{End, Phase};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// Name and text of each chapter, in the order of the names.
pub fn chapters() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(root().join("src/manual")).expect("src/manual");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let read = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".md")).map(str::to_owned);
        (name.expect("a chapter"), std::fs::read_to_string(&path).expect("a text"))
    };
    let mut chapters: Vec<_> = paths.map(read).collect();
    chapters.sort();
    assert!(chapters.len() >= 10, "{}", chapters.len());
    chapters
}

pub fn chapter(name: &str) -> String {
    std::fs::read_to_string(root().join(format!("src/manual/{name}.md"))).expect(name)
}

/// The path of each document, and its text.
fn documents() -> Vec<(PathBuf, String)> {
    let chapters = chapters().into_iter();
    let chapters = chapters.map(|(name, text)| (root().join(format!("src/manual/{name}.md")), text));
    std::iter::once((root().join("README.md"), readme())).chain(chapters).collect()
}

/// The code blocks in this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix("   ").unwrap_or(line)).collect();
    let text = lines.join("\n") + "\n";
    let pieces = text.split(&start).skip(1);
    pieces.map(|piece| piece.split("```").next().unwrap_or_default().to_string()).collect()
}

/// The text between backticks, outside blocks.
pub fn spans(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.trim().starts_with("```"));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_readme_is_short_and_no_line_of_prose_is_long() {
    let lines = readme().lines().count();
    assert!(lines < 200, "the README has {lines} lines");
    for (path, text) in documents() {
        let mut in_code = false;
        for line in text.lines() {
            in_code ^= line.trim().starts_with("```");
            let is_prose = !in_code && !line.starts_with('|');
            assert!(!is_prose || line.chars().count() <= 120, "{}: {line}", path.display());
        }
    }
}

#[test]
fn every_config_of_the_readme_and_the_manual_passes_check() {
    let (directory, authority) = secured();
    directory.write("clients.pem", &authority.pem);
    authority.issue_to("rsp").write(&directory, "own");
    let Pair { cert, key } = authority.issue(&["www.example.com"]);
    directory.write("certs/www.example.com.pem", cert + &key);
    let configs: Vec<String> = documents().iter().flat_map(|(_, text)| blocks(text, "lua")).collect();
    assert!(configs.len() >= 10, "{} configs", configs.len());
    for config in configs {
        directory.write("site.lua", &config);
        let check = run(directory.path(), &["check", "site.lua"]);
        assert_eq!((check.code, check.said().as_str()), (Some(0), "site.lua: ok\n"), "{config}");
    }
}

#[test]
fn every_test_of_the_manual_passes_on_the_config_before_it() {
    let mut count = 0;
    for (_, text) in documents() {
        for (at, _) in text.match_indices("```lua test\n") {
            let config = blocks(&text[..at], "lua").pop().expect("a config before the tests");
            let directory = Directory::new();
            directory.write("site.lua", config);
            directory.write("site_test.lua", &blocks(&text[at..], "lua test")[0]);
            let tested = run(directory.path(), &["test", "site.lua", "--coverage"]);
            assert_eq!(tested.code, Some(0), "{}{}", tested.stdout, tested.stderr);
            count += 1;
        }
    }
    assert!(count >= 2, "{count} files of tests");
}

#[test]
fn every_link_of_the_readme_and_the_manual_resolves() {
    let mut count = 0;
    for (path, text) in documents() {
        let targets =
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.starts_with("http")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.with_file_name("").join(file) };
            assert!(file.exists(), "{}: no file {target}", path.display());
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&file).expect("a text");
                let there =
                    text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading);
                assert!(there, "{}: no heading {target}", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 60, "{count} links");
}

/// The anchor that GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_example_is_in_the_readme_and_every_policy_in_the_manual() {
    for (folder, text) in [("examples", readme()), ("lua", chapter("lua"))] {
        for entry in std::fs::read_dir(root().join(folder)).expect(folder) {
            let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
            if name.ends_with("_test.lua") || name.ends_with(".map") {
                continue;
            }
            let word = if folder == "lua" { name.trim_end_matches(".lua") } else { &name };
            let shown = ["default", "types", "tests"].contains(&word) || text.contains(word);
            assert!(shown, "{folder}/{name} is in no index");
        }
    }
}

#[test]
fn the_manual_explains_every_end_and_phase_of_the_log() {
    let (logs, advice) = (chapter("logs"), chapter("troubleshooting"));
    for end in End::ALL {
        let word = format!("`{}`", end.text());
        assert!(logs.contains(&word), "{word} is not in the chapter on logs");
        assert!(end.is_normal() || advice.contains(&word), "{word} is not in the chapter on troubleshooting");
    }
    for phase in Phase::ALL {
        assert!(logs.contains(&format!("| `{}` |", phase.text())), "{}", phase.text());
    }
}

#[test]
fn the_manual_has_every_signal_exit_code_and_command_of_the_help() {
    let text = chapter("control");
    let help = run(root(), &["--help"]).stdout;
    let part = |from: &str, to: &str| {
        help.split(from).nth(1).and_then(|rest| rest.split(to).next()).expect(from).to_string()
    };
    let codes = part("exit codes:\n", "\n\n");
    let codes: Vec<&str> = codes.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(codes.len(), 4);
    for code in codes {
        assert!(text.contains(&format!("| {code} |")), "exit code {code} is not in the manual");
    }
    for signal in ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"] {
        assert!(help.contains(signal) && text.contains(signal), "{signal}");
    }
    for usage in part("usage:\n", "\n\n").lines() {
        let words: Vec<&str> = usage.split_whitespace().take(2).collect();
        assert!(text.contains(&words.join(" ")), "{words:?} is not in the manual");
    }
}

#[test]
fn the_messages_that_the_manual_explains_are_those_of_the_program() {
    let text = chapter("troubleshooting");
    let directory = Directory::new();
    let pool = "rsp.pool { servers = { '127.0.0.1:83' }";
    for config in [
        None,
        Some(format!("rsp.listen '127.0.0.1:0'\n{pool} }}\nrsp.settings {{ acces_log = '-' }}")),
        Some(format!("{pool} }}\nrsp.listen '127.0.0.1'")),
        Some(format!("n = 0 rsp.listen '127.0.0.1:0'\n{pool}, name = 'p' .. tostring({{}}):sub(8) }}")),
        Some(format!(
            "rsp.listen '127.0.0.1:0'\n{pool} }}\nrsp.settings {{ access_log = '/var/log/rsp/no/access.log' }}"
        )),
    ] {
        if let Some(config) = config {
            directory.write("site.lua", config);
        }
        let said = run(directory.path(), &["site.lua"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        let line =
            said.stderr.trim_end().split_once(" ERROR ").map_or(said.stderr.trim_end(), |(_, line)| line);
        let line = line.replace("/rsp/no/", "/rsp/");
        assert!(text.contains(&format!("```\n{line}\n```")), "not in the manual: {line}");
    }
}

/// Programs that command lines of the manual may begin with, beside rsp, the scripts and cargo.
const PROGRAMS: &[&str] = &[
    "apt-get",
    "certbot",
    "curl",
    "echo",
    "lego",
    "openssl",
    "socat",
    "varnishd",
    "ulimit",
    "install",
    "setcap",
    "systemctl",
    "systemd-analyze",
    "tar",
    "for",
    "exec",
    "less",
    "head",
];

#[test]
fn every_command_of_the_readme_and_the_manual_exists() {
    let mut count = 0;
    for (_, text) in documents() {
        let typed = blocks(&text, "console").join("\n");
        let typed = typed.lines().filter_map(|line| line.strip_prefix("$ ").map(str::to_owned));
        let lines = blocks(&text, "sh").join("\n");
        let lines = lines.lines().map(str::to_owned).chain(typed);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let line = line.split("  #").next().unwrap_or_default();
            for command in line.split("&&").flat_map(|part| part.split(['|', ';'])) {
                count += 1;
                check_command(command.split_whitespace().collect());
            }
        }
    }
    assert!(count > 30, "{count} commands");
}

fn check_command(mut words: Vec<&str>) {
    while matches!(words[..], ["sudo" | "do", ..] | ["exec", "setuidgid", ..] | ["www-data", ..]) {
        words.drain(..if words[0] == "exec" { 2 } else { 1 });
    }
    match words[..] {
        ["rsp" | "/usr/local/bin/rsp", ref rest @ ..] => check_rsp(rest),
        ["cargo", "build", "--release"] | ["done"] => {}
        ["cargo", "run", "--release", "--", ref rest @ ..] => check_rsp(rest),
        [script, ref rest @ ..] if script.starts_with("scripts/") => {
            let text = std::fs::read_to_string(root().join(script)).expect(script);
            let known = |word: &&str| text.contains(*word) || !word.starts_with("--");
            assert!(rest.iter().all(known), "{script}: {rest:?}");
        }
        _ => assert!(PROGRAMS.contains(&words[0]), "{words:?}"),
    }
}

/// Runs commands that end by themselves; for those that would serve, checks the config and looks up the options.
fn check_rsp(words: &[&str]) {
    let words: Vec<&str> = words.iter().copied().take_while(|word| *word != ">").collect();
    if words.contains(&"demo") || words.contains(&"--listen") {
        let help = run(root(), &["--help"]).stdout;
        assert!(words.iter().all(|word| help.contains(word) || word.contains(':')), "{words:?}");
        return;
    }
    if let ["ctl", "/run/rsp/control.sock", command @ ..] = &words[..] {
        return check_ctl(command);
    }
    let directory = Directory::new();
    for config in ["site.lua", "old.lua", "new.lua"] {
        directory.write(config, balanced(&["127.0.0.1:83"]));
    }
    for tests in ["site_test.lua", "rules_test.lua"] {
        directory.write(tests, "rsp.test('a request', function(t) t:ok(t:request('/').server) end)");
    }
    directory.write("access.log", "192.0.2.7 - - [-] \"GET / HTTP/1.1\" 200 0 \"-\" \"-\"\n");
    let word = |word: &&str| match *word {
        "/etc/rsp/site.lua" => "site.lua".to_owned(),
        "/var/log/rsp/access.log" => "access.log".to_owned(),
        word => word.to_owned(),
    };
    let mut words: Vec<String> = words.iter().map(word).collect();
    if words[0].ends_with(".lua") {
        words.insert(0, "check".into());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ended = run(directory.path(), &words);
    assert_eq!(ended.code, Some(0), "rsp {words:?}: {ended:?}");
}

/// Gives a running rsp the command.
fn check_ctl(command: &[&str]) {
    let directory = Directory::new();
    let socket = directory.join("c.sock");
    let settings = format!("rsp.settings {{ control = '{}' }}", socket.display());
    let rsp = Rsp::start_in(directory, &format!("{}{settings}", balanced(&["127.0.0.1:83"])));
    let ended = run(root(), &[&["ctl", &socket.display().to_string()], command].concat());
    assert_eq!(ended.code, Some(0), "rsp ctl {command:?}: {ended:?}");
    rsp.stop();
}

#[test]
fn every_command_of_rsp_named_in_the_text_exists() {
    let help = run(root(), &["--help"]).stdout;
    for (path, text) in documents() {
        let named = spans(&text).into_iter().filter_map(|span| span.strip_prefix("rsp "));
        for command in named {
            let word = command.split(' ').next().unwrap_or_default();
            let there =
                help.contains(&format!("rsp {word}")) || (word.starts_with('-') && help.contains(word));
            assert!(there || word.ends_with(".lua"), "{}: rsp {command}", path.display());
        }
    }
}
