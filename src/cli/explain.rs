//! `rsp explain CONFIG.lua METHOD URL …`: what this request would do and why. With `--socket` a running rsp says it, by the
//! state that its servers are in.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Arg::{Long, Short, Value};

use super::arguments::{Usage, wrong};
use super::{Exit, complain, ctl, hint, say};
use crate::control::explain::{Explanation, Question, header, offline};
use crate::script::LoadError;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explain {
    whom: Whom,
    question: Question,
    json: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Whom {
    Config(PathBuf),
    Socket(PathBuf),
}

const USAGE: &str = "usage: rsp explain CONFIG.lua METHOD URL [-H 'K: V']… [--body TEXT] [--from IP] [--fetch] [--json], \
     or --socket PATH in place of CONFIG.lua";
const OPTIONS: [&str; 6] = ["body", "from", "fetch", "json", "socket", "help"];

/// The arguments after `explain`.
pub fn parse(parser: &mut lexopt::Parser) -> Result<Explain, Usage> {
    let (mut question, mut socket, mut json) = (Question::default(), None, false);
    let mut words: Vec<OsString> = Vec::new();
    while let Some(argument) = parser.next().map_err(wrong)? {
        match argument {
            Short('H') | Long("header") => {
                let given = text(parser.value().map_err(wrong)?)?;
                let expected = || Usage(format!("rsp explain: -H {given}: expected 'NAME: VALUE'"));
                question.headers.push(header(&given).ok_or_else(expected)?);
            }
            Long("from") => question.from = Some(text(parser.value().map_err(wrong)?)?),
            Long("body") => question.body = Some(text(parser.value().map_err(wrong)?)?),
            Long("socket") => socket = Some(PathBuf::from(parser.value().map_err(wrong)?)),
            Long("fetch") => question.fetch = true,
            Long("json") => json = true,
            Short('h') | Long("help") => return Err(Usage(USAGE.into())),
            Long(name) => {
                let near = hint::nearest(name, &OPTIONS).map(|near| format!("; did you mean --{near}?"));
                let near = near.as_deref().unwrap_or_default();
                return Err(Usage(format!("rsp explain: unknown option --{name}{near}")));
            }
            Short(letter) => return Err(Usage(format!("rsp explain: unknown option -{letter}"))),
            Value(word) => words.push(word),
        }
    }
    let mut words = words.into_iter();
    let whom = match socket {
        Some(path) => Some(Whom::Socket(path)),
        None => words.next().map(|config| Whom::Config(config.into())),
    };
    let (Some(whom), Some(method), Some(url), None) = (whom, words.next(), words.next(), words.next()) else {
        return Err(Usage(USAGE.into()));
    };
    (question.method, question.url) = (text(method)?, text(url)?);
    Ok(Explain { whom, question, json })
}

fn text(value: OsString) -> Result<String, Usage> {
    value.into_string().map_err(|value| Usage(format!("rsp explain: not UTF-8: {}", value.to_string_lossy())))
}

pub fn run(what: &Explain) -> Exit {
    let explained: Result<Explanation, (Exit, String)> = match &what.whom {
        Whom::Config(config) => {
            let loaded = offline(config).map_err(|LoadError(line)| (Exit::Failed, line));
            let wrong = |line| (Exit::BadUsage, format!("rsp explain: {line}"));
            loaded.and_then(|mut explainer| explainer.explain(&what.question).map_err(wrong))
        }
        Whom::Socket(path) => ctl::explain(path, &what.question).map_err(|line| (Exit::Failed, line)),
    };
    match explained {
        Ok(report) => say(&shown(&report, what.json)),
        Err((exit, line)) => {
            complain(&line);
            exit
        }
    }
}

fn shown(report: &Explanation, json: bool) -> String {
    if json { report.json() } else { report.text() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Explain, Usage> {
        parse(&mut lexopt::Parser::from_args(line.split(' ').filter(|word| !word.is_empty())))
    }

    #[test]
    fn arguments_may_stand_in_any_order() {
        let wanted = Question {
            method: "GET".into(),
            url: "http://a/".into(),
            headers: vec![("X".into(), "1".into())],
            from: Some("::1".into()),
            ..Question::default()
        };
        let config = Whom::Config("site.lua".into());
        let explain = Explain { whom: config, question: wanted.clone(), json: true };
        assert_eq!(parsed("site.lua GET http://a/ -H X:1 --from ::1 --json").as_ref(), Ok(&explain));
        assert_eq!(parsed("--json -HX:1 site.lua --from=::1 GET http://a/").as_ref(), Ok(&explain));
        let live = Explain { whom: Whom::Socket("a.sock".into()), ..explain };
        assert_eq!(parsed("GET http://a/ --socket a.sock -H X:1 --from ::1 --json"), Ok(live));
    }

    #[test]
    fn usage_errors_say_what_is_expected() {
        for (line, wanted) in [
            ("", "usage: rsp explain CONFIG.lua METHOD URL"),
            ("site.lua GET", "usage: rsp explain"),
            ("site.lua GET / more", "usage: rsp explain"),
            ("--socket a GET", "usage: rsp explain"),
            ("site.lua GET / -H X", "expected 'NAME: VALUE'"),
            ("site.lua GET / --jsno", "did you mean --json?"),
            ("site.lua GET / -q", "unknown option -q"),
        ] {
            let Err(Usage(text)) = parsed(line) else { panic!("{line}") };
            assert!(text.contains(wanted), "{line}: {text}");
        }
    }
}
