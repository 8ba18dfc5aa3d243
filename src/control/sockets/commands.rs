//! The commands of the control socket: their words, who may give them, and what follows the words.

use super::console::Answer;
use crate::balance::Administrative;
use crate::config::ControlLevel;
use crate::control::explain::{Question, header};
use crate::control::haproxy::format::Format;
use crate::control::haproxy::stat::Wanted;

/// A command that the process has to obey. Servers are as they were written: `POOL/SERVER`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    Reload,
    Show(Show),
    State(String, Administrative),
    Weight(String, Weight),
    GetWeight(String),
    AddServer(String, Vec<String>),
    DeleteServer(String),
    /// Also what is no maximum.
    ClearCounters {
        all: bool,
    },
    ShutdownSession(u128),
    /// What would become of a request.
    Explain {
        question: Box<Question>,
        json: bool,
    },
    /// `None`: says it.
    LogLevel(Option<log::LevelFilter>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Show {
    Info(Format),
    Stat(Wanted),
    ServersState(Option<String>),
    /// Of all connections, or of one.
    Sessions(Option<u128>),
    Backends,
    Errors,
    Pools,
    Changes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weight {
    Absolute(u32),
    /// Of the config's.
    Percent(u32),
}

/// What a command comes to on its connection.
pub enum Parsed {
    Command(Command),
    Help,
    Prompt,
    Quit,
    Severity(Vec<String>),
    Wrong(Answer),
}

/// What a command is, who may give it, and what `help` says of it.
struct Known {
    words: &'static [&'static str],
    level: ControlLevel,
    help: &'static str,
    parse: fn(&[&str]) -> Result<Parsed, String>,
}

const OBSERVE: ControlLevel = ControlLevel::Observe;
const ADMIN: ControlLevel = ControlLevel::Admin;

const fn known(
    words: &'static [&'static str],
    level: ControlLevel,
    help: &'static str,
    parse: fn(&[&str]) -> Result<Parsed, String>,
) -> Known {
    Known { words, level, help, parse }
}

const KNOWN: &[Known] = &[
    known(&["help"], OBSERVE, "help : this list", |_| Ok(Parsed::Help)),
    known(&["prompt"], OBSERVE, "prompt : toggle interactive mode with a prompt", |_| Ok(Parsed::Prompt)),
    known(&["quit"], OBSERVE, "quit : disconnect", |_| Ok(Parsed::Quit)),
    known(
        &["set", "severity-output"],
        OBSERVE,
        "set severity-output [none|number|string] : how messages begin",
        |rest| Ok(Parsed::Severity(rest.iter().map(|word| (*word).to_owned()).collect())),
    ),
    known(&["show", "info"], OBSERVE, "show info [typed|json] : the process", info),
    known(
        &["show", "stat"],
        OBSERVE,
        "show stat [POOL|ID|-1 KINDS SERVER] [typed|json] [up|no-maint] : counters of listeners, pools and servers, as CSV",
        stat,
    ),
    known(
        &["show", "servers", "state"],
        OBSERVE,
        "show servers state [POOL] : the state of servers",
        |rest| show(Show::ServersState(rest.first().map(|pool| (*pool).to_owned()))),
    ),
    known(
        &["show", "sess"],
        OBSERVE,
        "show sess [ID] : connections: what each waits for, since when, until when",
        sessions,
    ),
    known(&["show", "backend"], OBSERVE, "show backend : the names of pools", |_| show(Show::Backends)),
    known(&["show", "errors"], OBSERVE, "show errors : the last malformed messages", |_| show(Show::Errors)),
    known(&["show", "pools"], OBSERVE, "show pools : pools and servers as a table", |_| show(Show::Pools)),
    known(&["show", "changes"], OBSERVE, "show changes : what was set by hand, as config", |_| {
        show(Show::Changes)
    }),
    known(
        &["explain"],
        OBSERVE,
        "explain METHOD URL [-H NAME:VALUE]… [--from IP] : what a request would do, and why",
        explain,
    ),
    known(&["get", "weight"], OBSERVE, "get weight POOL/SERVER : the weight now and in the config", |rest| {
        Ok(Parsed::Command(Command::GetWeight(server(rest)?)))
    }),
    known(&["set", "weight"], ADMIN, "set weight POOL/SERVER N[%] : the weight", |rest| {
        weight(server(rest)?, rest.get(1))
    }),
    known(
        &["set", "server"],
        ADMIN,
        "set server POOL/SERVER state ready|drain|maint, weight N[%] : a server by hand",
        set_server,
    ),
    known(&["enable", "server"], ADMIN, "enable server POOL/SERVER : as state ready", |rest| {
        Ok(Parsed::Command(Command::State(server(rest)?, Administrative::Ready)))
    }),
    known(&["disable", "server"], ADMIN, "disable server POOL/SERVER : as state maint", |rest| {
        Ok(Parsed::Command(Command::State(server(rest)?, Administrative::Maint)))
    }),
    known(
        &["add", "server"],
        ADMIN,
        "add server POOL/SERVER ADDR [weight N] [maxconn N] [backup] [enabled] : a further server, in maint",
        |rest| {
            let options = rest.iter().skip(1).map(|word| (*word).to_owned()).collect();
            Ok(Parsed::Command(Command::AddServer(server(rest)?, options)))
        },
    ),
    known(&["del", "server"], ADMIN, "del server POOL/SERVER : removes a server in maint", |rest| {
        Ok(Parsed::Command(Command::DeleteServer(server(rest)?)))
    }),
    known(
        &["clear", "counters"],
        ADMIN,
        "clear counters [all] : the maxima (all counters) of show stat; never those of /metrics",
        |rest| match rest {
            [] => Ok(Parsed::Command(Command::ClearCounters { all: false })),
            ["all"] => Ok(Parsed::Command(Command::ClearCounters { all: true })),
            _ => Err("'clear counters' takes 'all' or nothing".into()),
        },
    ),
    known(
        &["shutdown", "session"],
        ADMIN,
        "shutdown session ID : closes the connection of a client",
        |rest| match rest.first().map(|id| session(id)) {
            Some(Some(id)) => Ok(Parsed::Command(Command::ShutdownSession(id))),
            Some(None) => Err("No such session (use 'show sess').".into()),
            None => Err("Session pointer expected (use 'show sess').".into()),
        },
    ),
    known(&["log", "level"], ADMIN, "log level [error|warn|info|debug] : of rsp's own log", log_level),
    known(&["reload"], ADMIN, "reload : load the config again", |rest| match rest {
        [] => Ok(Parsed::Command(Command::Reload)),
        _ => Err("'reload' takes no arguments".into()),
    }),
];

pub fn parse(text: &str, level: ControlLevel) -> Parsed {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let Some(known) = KNOWN.iter().find(|known| words.starts_with(known.words)) else {
        let word = shown(&words.iter().take(2).copied().collect::<Vec<_>>().join(" "));
        let list = help(level);
        return Parsed::Wrong(Answer::error(format!(
            "Unknown command: '{word}'. Please enter one of the following commands only:\n{list}"
        )));
    };
    if level < known.level {
        return Parsed::Wrong(Answer::error("Permission denied"));
    }
    (known.parse)(&words[known.words.len()..]).unwrap_or_else(|what| Parsed::Wrong(Answer::error(what)))
}

/// The commands of a level.
pub fn help(level: ControlLevel) -> String {
    let of_level = KNOWN.iter().filter(|known| known.level <= level);
    let line = |known: &Known| {
        let (usage, says) = known.help.split_once(" : ").unwrap_or((known.help, ""));
        format!("  {usage:<40} : {says}\n")
    };
    of_level.map(line).collect()
}

fn show(what: Show) -> Result<Parsed, String> {
    Ok(Parsed::Command(Command::Show(what)))
}

/// `rsp explain --socket` sends the question as JSON, in one word, and gets JSON.
fn explain(rest: &[&str]) -> Result<Parsed, String> {
    let command =
        |question, json| Ok(Parsed::Command(Command::Explain { question: Box::new(question), json }));
    if let [json] = rest
        && json.starts_with('{')
    {
        let question = serde_json::from_str(json).map_err(|error| format!("explain: {error}"))?;
        return command(question, true);
    }
    let mut question = Question::default();
    let (mut words, mut rest) = (Vec::new(), rest.iter());
    while let Some(word) = rest.next() {
        match *word {
            "-H" => question.headers.extend(rest.next().and_then(|given| header(given))),
            "--from" => question.from = rest.next().map(|from| (*from).to_owned()),
            word => words.push(word.to_owned()),
        }
    }
    let [method, url] = <[String; 2]>::try_from(words).map_err(|_| "usage: explain METHOD URL".to_owned())?;
    command(Question { method, url, ..question }, false)
}

fn server(rest: &[&str]) -> Result<String, String> {
    match rest.first() {
        Some(path) if path.contains('/') => Ok((*path).to_owned()),
        _ => Err("Require 'backend/server'.".into()),
    }
}

fn weight(server: String, value: Option<&&str>) -> Result<Parsed, String> {
    let text = value.copied().unwrap_or_default();
    let weight = match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|percent| *percent <= 10_000).map(Weight::Percent),
        None => text.parse().ok().map(Weight::Absolute),
    };
    match weight {
        Some(weight) => Ok(Parsed::Command(Command::Weight(server, weight))),
        None => Err("Require <weight> or <weight%>.".into()),
    }
}

fn set_server(rest: &[&str]) -> Result<Parsed, String> {
    let server = server(rest)?;
    match rest.get(1..) {
        Some(["state", state]) => match Administrative::from_text(state) {
            Some(state) => Ok(Parsed::Command(Command::State(server, state))),
            None => Err("'set server <srv> state' expects 'ready', 'drain' and 'maint'.".into()),
        },
        Some(["weight", value]) => weight(server, Some(value)),
        _ => Err("usage: set server <backend>/<server> state | weight".into()),
    }
}

fn info(rest: &[&str]) -> Result<Parsed, String> {
    let format = match rest {
        [] => Some(Format::Plain),
        [word] => Format::from_word(word),
        _ => None,
    };
    show(Show::Info(format.ok_or("expected 'show info', 'show info typed' or 'show info json'")?))
}

/// As haproxy's: rows of frontends 1, backends 2, servers 4.
fn stat(rest: &[&str]) -> Result<Parsed, String> {
    const USAGE: &str = "expected 'show stat', then if wanted a pool or its number (-1: all), the kinds of rows and \
        a server (-1), then 'typed' or 'json', 'up' or 'no-maint'";
    let mut wanted = Wanted { kinds: u8::MAX, ..Wanted::default() };
    let options = match rest {
        [proxy, kinds, server, options @ ..] if kinds.parse::<i64>().is_ok() => {
            let (kinds, server): (i64, i64) =
                (kinds.parse().map_err(|_| USAGE)?, server.parse().map_err(|_| USAGE)?);
            wanted.proxy = Some((*proxy).to_owned()).filter(|proxy| proxy != "-1");
            wanted.kinds = if kinds < 0 { u8::MAX } else { kinds as u8 };
            wanted.server = u32::try_from(server).ok();
            options
        }
        options => options,
    };
    for option in options {
        match (*option, Format::from_word(option)) {
            (_, Some(format)) => wanted.format = format,
            ("up", _) => wanted.only_up = true,
            ("no-maint", _) => wanted.no_maint = true,
            _ => return Err(USAGE.into()),
        }
    }
    show(Show::Stat(wanted))
}

fn sessions(rest: &[&str]) -> Result<Parsed, String> {
    match rest {
        [] | ["all"] => show(Show::Sessions(None)),
        [id] => match session(id) {
            Some(id) => show(Show::Sessions(Some(id))),
            None => Err("No such session (use 'show sess').".into()),
        },
        _ => Err("expected 'show sess' or 'show sess ID'".into()),
    }
}

fn session(id: &str) -> Option<u128> {
    u128::from_str_radix(id.strip_prefix("0x")?, 16).ok()
}

fn log_level(rest: &[&str]) -> Result<Parsed, String> {
    let level = match rest {
        [] => None,
        ["error"] => Some(log::LevelFilter::Error),
        ["warn"] => Some(log::LevelFilter::Warn),
        ["info"] => Some(log::LevelFilter::Info),
        ["debug"] => Some(log::LevelFilter::Debug),
        _ => return Err("'log level' expects 'error', 'warn', 'info' or 'debug'".into()),
    };
    Ok(Parsed::Command(Command::LogLevel(level)))
}

/// What a client sent, safe for a terminal and not too long.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Result<Command, String> {
        match parse(text, ControlLevel::Admin) {
            Parsed::Command(command) => Ok(command),
            Parsed::Wrong(answer) => Err(answer.text),
            _ => Err("it concerns the connection".into()),
        }
    }

    #[test]
    fn commands_are_haproxys() {
        let a = || "web/a".to_owned();
        let stat_of_web = Wanted {
            proxy: Some("web".into()),
            kinds: 6,
            server: Some(2),
            only_up: true,
            format: Format::Json,
            ..Wanted::default()
        };
        for (text, expected) in [
            ("set server web/a state drain", Command::State(a(), Administrative::Drain)),
            ("set server web/a weight 5", Command::Weight(a(), Weight::Absolute(5))),
            ("set weight web/a 50%", Command::Weight(a(), Weight::Percent(50))),
            ("get weight web/a", Command::GetWeight(a())),
            ("enable server web/a", Command::State(a(), Administrative::Ready)),
            ("disable server web/a", Command::State(a(), Administrative::Maint)),
            ("del server web/a", Command::DeleteServer(a())),
            ("clear counters", Command::ClearCounters { all: false }),
            ("show sess 0x1f", Command::Show(Show::Sessions(Some(31)))),
            ("show stat -1 4 -1", Command::Show(Show::Stat(Wanted { kinds: 4, ..Wanted::default() }))),
            ("show stat web 6 2 json up", Command::Show(Show::Stat(stat_of_web))),
            ("show info typed", Command::Show(Show::Info(Format::Typed))),
            ("show  servers  state", Command::Show(Show::ServersState(None))),
        ] {
            assert_eq!(command(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_answered_as_haproxy_does() {
        for (text, message) in [
            ("set weight web 1", "Require 'backend/server'."),
            ("set weight web/a x", "Require <weight> or <weight%>."),
            ("set server web/a state x", "'set server <srv> state' expects 'ready', 'drain' and 'maint'."),
            ("shutdown session", "Session pointer expected (use 'show sess')."),
            ("shutdown session 7", "No such session (use 'show sess')."),
        ] {
            assert_eq!(command(text), Err(message.to_owned()), "{text}");
        }
        assert!(command("show").unwrap_err().starts_with("Unknown command: 'show'."));
    }

    #[test]
    fn explain_takes_a_question_as_words_and_as_json() {
        let asked = |text: &str| match command(text) {
            Ok(Command::Explain { question, json }) => (*question, json),
            other => panic!("{text}: {other:?}"),
        };
        let (question, json) = asked("explain GET http://a/ -H X:1 --from ::1");
        assert_eq!((question.method.as_str(), question.headers[0].1.as_str(), json), ("GET", "1", false));
        assert_eq!(question.from.as_deref(), Some("::1"));
        let (same, json) = asked(r#"explain {"method":"GET","url":"/","body":"a\u0020b"}"#);
        assert!(json && same.url == "/" && same.body.is_some());
        for bad in ["explain", "explain GET", "explain GET / more", "explain {", "explain {\"x\":1}"] {
            assert!(command(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn whoever_may_only_look_changes_nothing() {
        for words in KNOWN
            .iter()
            .map(|known| known.words)
            .filter(|words| !matches!(words[0], "show" | "get" | "explain" | "help" | "prompt" | "quit"))
        {
            if words == ["set", "severity-output"] {
                continue;
            }
            let text = words.join(" ");
            let parsed = parse(&text, ControlLevel::Observe);
            assert!(matches!(parsed, Parsed::Wrong(answer) if answer.text == "Permission denied"), "{text}");
            assert!(!help(ControlLevel::Observe).contains(&format!("  {text} ")), "{text}");
        }
    }
}
