//! `rsp help [TOPIC]`: the chapters of the manual, embedded so that they match the installed version. Without a
//! topic, and as `rsp --help`: commands, signals, exit codes and the topics.

use super::plain::plain;
use super::{Exit, complain, hint, say};

const HELP: &str = "\
rsp: an L7 load balancer configured by one Lua file

usage:
  rsp CONFIG.lua                            run (also: rsp run CONFIG.lua)
  rsp --listen ADDR --backend ADDR …        run without a file, round robin; both may be repeated
  rsp demo [--listen ADDR]                  three built-in servers to try it on, no config needed
  rsp ctl SOCKET COMMAND…                   give a running rsp a command: help lists them
  rsp check CONFIG.lua                      check a config and say what is wrong (also: -t)
  rsp check CONFIG.lua --strict             the same, and warnings are failures
  rsp explain CONFIG.lua METHOD URL         what a request would do, and why (in a running rsp: --socket)
  rsp test CONFIG.lua [FILE…]               run the tests of its script (*_test.lua), without sockets
  rsp replay OLD.lua NEW.lua LOG [--json]   what a new config changes for the requests of an access log
  rsp types                                 print the type definitions for Lua editors
  rsp help TOPIC                            print a chapter of the manual
  rsp -v | -V                               version | with build details
  rsp --help                                this text (also: rsp help)

Addresses are 127.0.0.1:8080, [::1]:8080 or unix:/path.
rsp runs in the foreground. Its log goes to stderr; RSP_LOG=debug (or warn, error …) sets the level.

signals:
  TERM INT QUIT   after drain_delay, finish what runs, up to drain_timeout, then exit 0; at once when repeated
  USR1            reopen the access log
  HUP             load the config again; if it is bad, the old one stays in use
  USR2            hand over to the new binary at the same path, finish what runs, exit 0

exit codes:
  0   fine
  1   bad config, failed check, or an address that cannot be listened on
  2   bad usage
  70  internal fault

topics:
";

/// Each chapter opens with `# Title: summary`, which is its line in the list of topics.
const CHAPTERS: &[(&str, &str)] = &[
    ("configuration", include_str!("../manual/configuration.md")),
    ("lua", include_str!("../manual/lua.md")),
    ("testing", include_str!("../manual/testing.md")),
    ("balancing", include_str!("../manual/balancing.md")),
    ("tls", include_str!("../manual/tls.md")),
    ("deploy", include_str!("../manual/deploy.md")),
    ("proxies", include_str!("../manual/proxies.md")),
    ("logs", include_str!("../manual/logs.md")),
    ("control", include_str!("../manual/control.md")),
    ("migrating", include_str!("../manual/migrating.md")),
    ("troubleshooting", include_str!("../manual/troubleshooting.md")),
    ("benchmarks", include_str!("../manual/benchmarks.md")),
];

pub fn run() -> Exit {
    say(&format!("{HELP}{}", topics()))
}

pub fn topic(name: &str) -> Exit {
    if let Some((_, text)) = CHAPTERS.iter().find(|(topic, _)| *topic == name) {
        return say(&plain(text));
    }
    let meant = nearest(name).map(|topic| format!("; did you mean rsp help {topic}?")).unwrap_or_default();
    complain(&format!("rsp: no topic {name:?}{meant}\ntopics:\n{}", topics().trim_end()));
    Exit::BadUsage
}

/// One line each.
fn topics() -> String {
    let about = |text: &'static str| text.lines().next()?.split_once(": ").map(|(_, about)| about);
    let line =
        |(name, text): &(&str, &'static str)| format!("  {name:<17}{}\n", about(text).unwrap_or_default());
    CHAPTERS.iter().map(line).collect()
}

/// The topic with a similar name, or the chapter that mentions the word: first in a heading, else as a key or a word
/// of its own.
fn nearest(name: &str) -> Option<&'static str> {
    let names: Vec<&str> = CHAPTERS.iter().map(|(topic, _)| *topic).collect();
    let word = name.to_lowercase();
    if word.is_empty() {
        return None;
    }
    let begins = || names.iter().copied().find(|topic| word.len() > 2 && topic.starts_with(&word));
    let heads = |text: &str| {
        let mut headings = text.lines().filter(|line| line.starts_with('#')).map(str::to_lowercase);
        headings.any(|heading| heading.split([' ', ',', ':', '.']).any(|part| part == word))
    };
    let chapter =
        |fits: &dyn Fn(&str) -> bool| CHAPTERS.iter().find(|(_, text)| fits(text)).map(|(topic, _)| *topic);
    hint::nearest(name, &names)
        .or_else(begins)
        .or_else(|| chapter(&heads))
        .or_else(|| chapter(&|text| text.contains(&format!("`{name}`"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_topic_finds_the_chapter_that_mentions_it() {
        for (word, topic) in [
            ("lau", Some("lua")),
            ("TLS", Some("tls")),
            ("config", Some("configuration")),
            ("timeouts", Some("configuration")),
            ("Varnish", Some("deploy")),
            ("signals", Some("control")),
            ("retries", Some("balancing")),
            ("max_head", Some("configuration")),
            ("server-gap-timeout", Some("logs")),
            ("weather", None),
            ("", None),
        ] {
            assert_eq!(nearest(word), topic, "{word}");
        }
    }

    #[test]
    fn every_topic_has_a_summary() {
        for line in topics().lines() {
            assert!(line.len() > 40 && line.chars().count() <= 100, "{line}");
        }
    }
}
