//! Parses the arguments into a command, or into the line that says what is wrong with them. Neighbours have other
//! habits: haproxy's `-c` checks, nginx's `-c` names the config and `-t` checks. Where a habit would do something
//! else here, it is refused with a hint.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use lexopt::Arg::{Long, Short, Value};

use super::explain::{self, Explain};
use super::hint;
use super::scripts::Wanted;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    Run(PathBuf),
    /// No file: the embedded config with these addresses.
    Balance {
        listen: Vec<String>,
        backends: Vec<String>,
    },
    Demo {
        listen: Option<String>,
    },
    Check {
        config: PathBuf,
        /// Warnings are failures.
        strict: bool,
    },
    Explain(Explain),
    /// Runs the tests of a config's script.
    Test {
        config: PathBuf,
        files: Vec<PathBuf>,
        wanted: Wanted,
    },
    /// What a new config changes for the requests of a log.
    Replay {
        old: PathBuf,
        new: PathBuf,
        log: PathBuf,
        json: bool,
    },
    /// A command to a running rsp, over its control socket.
    Ctl {
        socket: PathBuf,
        words: Vec<String>,
    },
    Types,
    Version,
    Build,
    Help,
    /// A chapter of the manual.
    Topic(String),
}

/// A usage error: exit code 2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Usage(pub String);

const COMMANDS: [&str; 9] = ["run", "check", "explain", "test", "replay", "ctl", "demo", "types", "help"];
const OPTIONS: [&str; 5] = ["listen", "backend", "strict", "help", "version"];

pub const SHORT: &str = "\
usage: rsp CONFIG.lua                          run with a config file
       rsp --listen ADDR --backend ADDR …      run without one
       rsp demo                                see it work, no config and no servers needed
       rsp --help                              everything else";

/// The arguments as given, before they are checked together.
#[derive(Default)]
struct Given {
    command: Option<String>,
    config: Option<PathBuf>,
    listen: Vec<String>,
    backends: Vec<String>,
    check: bool,
    strict: bool,
}

pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Usage> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut given = Given::default();
    while let Some(argument) = parser.next().map_err(wrong)? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('v') | Long("version") => return Ok(Command::Version),
            Short('V') => return Ok(Command::Build),
            Short('t') => given.check = true,
            Long("strict") => given.strict = true,
            Short('c') => return Err(dash_c()),
            Long("listen") => given.listen.push(text(parser.value().map_err(wrong)?)?),
            Long("backend") => given.backends.push(text(parser.value().map_err(wrong)?)?),
            Long(name) => return Err(unknown_option(name)),
            Short(letter) => {
                return Err(Usage(format!("rsp: unknown option -{letter} (rsp --help lists them)")));
            }
            Value(word) if word == "ctl" && given.is_empty() => {
                return ctl(parser.raw_args().map_err(wrong)?);
            }
            Value(word) if word == "explain" && given.is_empty() => {
                return explain::parse(&mut parser).map(Command::Explain);
            }
            Value(word) if word == "test" && given.is_empty() => return test(parser),
            Value(word) if word == "replay" && given.is_empty() => return replay(parser),
            Value(word) => given.word(word)?,
        }
    }
    given.command()
}

impl Given {
    fn is_empty(&self) -> bool {
        self.command.is_none() && self.config.is_none()
    }

    /// The first word is a command or a config, the second the command's config.
    fn word(&mut self, word: OsString) -> Result<(), Usage> {
        let first = self.is_empty();
        if let Some(name) = word.to_str().filter(|name| first && COMMANDS.contains(name)) {
            self.command = Some(name.to_string());
            return Ok(());
        }
        match self.config.replace(PathBuf::from(&word)) {
            Some(before) => Err(one_too_many(before.as_os_str(), &word)),
            None => Ok(()),
        }
    }

    fn command(self) -> Result<Command, Usage> {
        match self.command.as_deref() {
            Some("demo") => self.demo(),
            Some("types") => self.types(),
            Some("help") => self.help(),
            Some("check") => self.checked("check"),
            _ if self.check => self.checked("-t"),
            _ if self.strict => Err(Usage("usage: rsp check CONFIG.lua [--strict]".into())),
            _ => self.run(),
        }
    }

    fn demo(mut self) -> Result<Command, Usage> {
        if self.config.is_some() || self.check || !self.backends.is_empty() || self.listen.len() > 1 {
            return Err(Usage("usage: rsp demo [--listen ADDR]".into()));
        }
        Ok(Command::Demo { listen: self.listen.pop() })
    }

    fn types(self) -> Result<Command, Usage> {
        if self.config.is_some() || self.check || self.has_addresses() {
            return Err(Usage("usage: rsp types".into()));
        }
        Ok(Command::Types)
    }

    fn help(self) -> Result<Command, Usage> {
        if self.check || self.has_addresses() {
            return Err(Usage("usage: rsp help [TOPIC]".into()));
        }
        Ok(self.config.map_or(Command::Help, |topic| Command::Topic(topic.to_string_lossy().into_owned())))
    }

    fn checked(self, spelling: &str) -> Result<Command, Usage> {
        let (addresses, strict) = (self.has_addresses(), self.strict);
        match self.config {
            Some(config) if !addresses => Ok(Command::Check { config, strict }),
            _ => Err(Usage(format!("usage: rsp {spelling} CONFIG.lua [--strict]"))),
        }
    }

    fn run(self) -> Result<Command, Usage> {
        let addresses = self.has_addresses();
        match self.config {
            Some(_) if addresses => Err(Usage(
                "rsp: --listen and --backend run without a config file; with one, rsp.listen and rsp.pool say it".into(),
            )),
            Some(word) if self.command.is_none() && is_no_file(word.as_os_str()) => Err(no_such(word.as_os_str())),
            Some(config) => Ok(Command::Run(config)),
            None if !addresses && self.command.is_some() => Err(Usage("usage: rsp run CONFIG.lua".into())),
            None if !addresses => Err(Usage(SHORT.into())),
            None => balance(self.listen, self.backends),
        }
    }

    fn has_addresses(&self) -> bool {
        !self.listen.is_empty() || !self.backends.is_empty()
    }
}

/// The rest of the line is the command's, whatever it looks like.
fn ctl(mut rest: impl Iterator<Item = OsString>) -> Result<Command, Usage> {
    let socket = rest.next().unwrap_or_default();
    if socket == "--help" || socket == "-h" {
        return Ok(Command::Help);
    }
    let words: Vec<String> = rest.map(|word| word.to_string_lossy().into_owned()).collect();
    match socket.is_empty() || words.is_empty() {
        true => Err(Usage(
            "usage: rsp ctl SOCKET COMMAND…, for example rsp ctl /run/rsp/control.sock reload".into(),
        )),
        false => Ok(Command::Ctl { socket: socket.into(), words }),
    }
}

/// The rest of the line is about tests.
fn test(mut parser: lexopt::Parser) -> Result<Command, Usage> {
    let (mut words, mut wanted) = (Vec::new(), Wanted::default());
    while let Some(argument) = parser.next().map_err(wrong)? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("junit") => wanted.junit = Some(parser.value().map_err(wrong)?.into()),
            Long("coverage") => wanted.coverage = true,
            Long(name) => return Err(unknown_of("test", name, &["junit", "coverage"])),
            Short(letter) => return Err(Usage(format!("rsp test: unknown option -{letter} (rsp --help)"))),
            Value(word) => words.push(PathBuf::from(word)),
        }
    }
    if words.is_empty() {
        return Err(Usage("usage: rsp test CONFIG.lua [FILE…] [--junit FILE] [--coverage]".into()));
    }
    let config = words.remove(0);
    Ok(Command::Test { config, files: words, wanted })
}

/// The rest of the line is about two configs and a log.
fn replay(mut parser: lexopt::Parser) -> Result<Command, Usage> {
    let (mut words, mut json) = (Vec::new(), false);
    while let Some(argument) = parser.next().map_err(wrong)? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("json") => json = true,
            Long(name) => return Err(unknown_of("replay", name, &["json"])),
            Short(letter) => return Err(Usage(format!("rsp replay: unknown option -{letter} (rsp --help)"))),
            Value(word) => words.push(PathBuf::from(word)),
        }
    }
    match <[PathBuf; 3]>::try_from(words) {
        Ok([old, new, log]) => Ok(Command::Replay { old, new, log, json }),
        Err(_) => Err(Usage("usage: rsp replay OLD.lua NEW.lua ACCESS.log [--json]".into())),
    }
}

/// An option that a command does not have.
fn unknown_of(command: &str, name: &str, known: &[&str]) -> Usage {
    let nearest = hint::nearest(name, known).map(|option| format!("; did you mean --{option}?"));
    let nearest = nearest.as_deref().unwrap_or(" (rsp --help lists them)");
    Usage(format!("rsp {command}: unknown option --{name}{nearest}"))
}

fn balance(listen: Vec<String>, backends: Vec<String>) -> Result<Command, Usage> {
    if listen.is_empty() {
        return Err(Usage("rsp: --backend needs --listen ADDR, for example --listen 127.0.0.1:8080".into()));
    }
    if backends.is_empty() {
        return Err(Usage("rsp: --listen needs --backend ADDR, for example --backend 127.0.0.1:83".into()));
    }
    Ok(Command::Balance { listen, backends })
}

fn dash_c() -> Usage {
    Usage(
        "rsp: there is no -c: `rsp CONFIG.lua` runs a config, `rsp check CONFIG.lua` (or -t) checks it"
            .into(),
    )
}

fn unknown_option(name: &str) -> Usage {
    let nearest = hint::nearest(name, &OPTIONS).map(|option| format!("; did you mean --{option}?"));
    Usage(format!("rsp: unknown option --{name}{}", nearest.as_deref().unwrap_or(" (rsp --help lists them)")))
}

/// Whether a word was meant as a command: it does not look like a file name, and there is no such file.
fn is_no_file(word: &OsStr) -> bool {
    let plain = word.to_str().is_some_and(|word| !word.contains(['.', '/']));
    plain && !Path::new(word).exists()
}

fn no_such(word: &OsStr) -> Usage {
    let word = word.to_string_lossy();
    let nearest = hint::nearest(&word, &COMMANDS).map(|command| format!("; did you mean rsp {command}?"));
    let nearest = nearest.as_deref().unwrap_or(" (rsp --help lists the commands)");
    Usage(format!("rsp: no command or file {word:?}{nearest}"))
}

fn one_too_many(first: &OsStr, second: &OsStr) -> Usage {
    if is_no_file(first) {
        return no_such(first);
    }
    let (first, second) = (first.to_string_lossy(), second.to_string_lossy());
    Usage(format!("rsp: unexpected argument {second} after {first} (rsp --help)"))
}

fn text(value: OsString) -> Result<String, Usage> {
    value.into_string().map_err(|value| Usage(format!("rsp: not an address: {}", value.to_string_lossy())))
}

pub(super) fn wrong(error: lexopt::Error) -> Usage {
    Usage(format!("rsp: {error} (rsp --help)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Usage> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn balance(listen: &[&str], backends: &[&str]) -> Command {
        let owned = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
        Command::Balance { listen: owned(listen), backends: owned(backends) }
    }

    fn ctl(words: &[&str]) -> Command {
        Command::Ctl { socket: "a.sock".into(), words: words.iter().map(|word| word.to_string()).collect() }
    }

    fn check(strict: bool) -> Command {
        Command::Check { config: "site.lua".into(), strict }
    }

    /// With coverage, if there is a file for JUnit.
    fn tests(config: &str, files: &[&str], junit: Option<&str>) -> Command {
        let wanted = Wanted { junit: junit.map(PathBuf::from), coverage: junit.is_some() };
        Command::Test { config: config.into(), files: files.iter().map(PathBuf::from).collect(), wanted }
    }

    fn replay(json: bool) -> Command {
        Command::Replay { old: "a".into(), new: "b".into(), log: "c".into(), json }
    }

    #[test]
    fn arguments_become_commands() {
        for (line, command) in [
            ("site.lua", Command::Run("site.lua".into())),
            ("run site.lua", Command::Run("site.lua".into())),
            ("run run", Command::Run("run".into())),
            ("./run", Command::Run("./run".into())),
            ("-- -odd.lua", Command::Run("-odd.lua".into())),
            ("check site.lua", check(false)),
            ("check --strict site.lua", check(true)),
            ("-t site.lua", check(false)),
            ("site.lua -t --strict", check(true)),
            ("run site.lua -t", check(false)),
            ("check -t site.lua", check(false)),
            ("--listen :80 --backend a:1 --backend b:2", balance(&[":80"], &["a:1", "b:2"])),
            ("run --listen=:80 --listen :81 --backend=a:1", balance(&[":80", ":81"], &["a:1"])),
            ("demo", Command::Demo { listen: None }),
            ("demo --listen 127.0.0.1:0", Command::Demo { listen: Some("127.0.0.1:0".into()) }),
            ("--listen 127.0.0.1:0 demo", Command::Demo { listen: Some("127.0.0.1:0".into()) }),
            ("ctl a.sock reload", ctl(&["reload"])),
            ("ctl a.sock set weight web/a -1", ctl(&["set", "weight", "web/a", "-1"])),
            ("run ctl", Command::Run("ctl".into())),
            ("test a.lua b.lua c.lua --coverage --junit d", tests("a.lua", &["b.lua", "c.lua"], Some("d"))),
            ("test a.lua", tests("a.lua", &[], None)),
            ("replay a b c", replay(false)),
            ("replay a --json b c", replay(true)),
            ("run replay", Command::Run("replay".into())),
            ("types", Command::Types),
            ("-v", Command::Version),
            ("--version", Command::Version),
            ("-V", Command::Build),
            ("--help", Command::Help),
            ("-h", Command::Help),
            ("help", Command::Help),
            ("help lua", Command::Topic("lua".into())),
            ("help check", Command::Topic("check".into())),
            ("run status", Command::Run("status".into())),
            ("status.lua", Command::Run("status.lua".into())),
            ("check --help", Command::Help),
        ] {
            assert_eq!(parsed(line), Ok(command), "rsp {line}");
        }
    }

    #[test]
    fn usage_errors_are_one_line_with_a_hint() {
        for (line, wanted) in [
            ("", "usage: rsp CONFIG.lua"),
            ("run", "usage: rsp run CONFIG.lua"),
            ("check", "usage: rsp check CONFIG.lua"),
            ("-t", "usage: rsp -t CONFIG.lua"),
            ("check site.lua --listen :80", "usage: rsp check CONFIG.lua"),
            ("-c site.lua", "`rsp CONFIG.lua` runs a config, `rsp check CONFIG.lua` (or -t) checks it"),
            ("--listen :80", "--listen needs --backend ADDR"),
            ("--backend :80", "--backend needs --listen ADDR"),
            ("--listen", "missing argument for option '--listen'"),
            ("--listne :80", "unknown option --listne; did you mean --listen?"),
            ("--backends a:1", "did you mean --backend?"),
            ("--quux", "unknown option --quux (rsp --help lists them)"),
            ("-x", "unknown option -x"),
            ("chekc site.lua", "no command or file \"chekc\"; did you mean rsp check?"),
            ("chekc", "no command or file \"chekc\"; did you mean rsp check?"),
            ("status", "rsp: no command or file \"status\" (rsp --help lists the commands)"),
            ("status now", "rsp: no command or file \"status\" (rsp --help lists the commands)"),
            ("explian site.lua GET /", "did you mean rsp explain?"),
            ("run site.lua --strict", "usage: rsp check CONFIG.lua [--strict]"),
            ("help lua logs", "unexpected argument logs after lua"),
            ("help -t", "usage: rsp help [TOPIC]"),
            ("a.lua b.lua", "unexpected argument b.lua after a.lua"),
            ("site.lua check", "unexpected argument check after site.lua"),
            ("site.lua --listen :80", "--listen and --backend run without a config file"),
            ("demo site.lua", "usage: rsp demo [--listen ADDR]"),
            ("demo --backend a:1", "usage: rsp demo [--listen ADDR]"),
            ("types x", "usage: rsp types"),
            ("explain site.lua GET", "usage: rsp explain CONFIG.lua METHOD URL"),
            ("test", "usage: rsp test CONFIG.lua [FILE"),
            ("test site.lua --juint x", "rsp test: unknown option --juint; did you mean --junit?"),
            ("replay a b", "usage: rsp replay OLD.lua NEW.lua ACCESS.log"),
            ("replay a b c --xml", "rsp replay: unknown option --xml"),
            ("ctl sock", "usage: rsp ctl SOCKET COMMAND"),
            ("ctl", "usage: rsp ctl SOCKET COMMAND"),
        ] {
            let Err(Usage(text)) = parsed(line) else { panic!("rsp {line} was accepted") };
            assert!(text.contains(wanted), "rsp {line}: {text}");
        }
    }
}
