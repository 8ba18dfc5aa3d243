//! Floor 6: the command line. Arguments become a typed command, a command becomes an exit code; one file a command.
//! The work itself is done on the floors below.

mod arguments;
mod check;
mod ctl;
mod demo;
mod explain;
mod help;
mod hint;
mod plain;
mod replay;
mod run;
mod test;
mod version;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use arguments::{Command, Usage};

/// Exit codes; part of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Fine = 0,
    /// A bad config, a failed check, or a machine that does not allow what the config asks for.
    Failed = 1,
    BadUsage = 2,
    /// An internal fault.
    Fault = 70,
}

pub fn main() -> ExitCode {
    // std would exit with 101 after a panic; the contract says 70.
    let exit = catch_unwind(AssertUnwindSafe(|| match arguments::parse(std::env::args_os().skip(1)) {
        Ok(command) => obey(command),
        Err(Usage(line)) => {
            complain(&line);
            Exit::BadUsage
        }
    }));
    ExitCode::from(exit.unwrap_or(Exit::Fault) as u8)
}

fn obey(command: Command) -> Exit {
    match command {
        Command::Run(config) => run::config(&config),
        Command::Balance { listen, backends } => run::balance(&listen, &backends),
        Command::Demo { listen } => demo::run(listen.as_deref()),
        Command::Check { config, strict } => check::run(&config, strict),
        Command::Explain(what) => explain::run(&what),
        Command::Test { config, files, wanted } => test::run(&config, &files, &wanted),
        Command::Replay { old, new, log, json } => replay::run(&old, &new, &log, json),
        Command::Ctl { socket, words } => ctl::run(&socket, &words),
        Command::Types => say(crate::script::TYPES),
        Command::Version => version::short(),
        Command::Build => version::long(),
        Command::Help => help::run(),
        Command::Topic(name) => help::topic(&name),
    }
}

/// Prints requested output. A reader that closed early (`rsp --help | head -1`) is no failure.
fn say(text: &str) -> Exit {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(&format!("rsp: cannot write to stdout: {error}"));
            Exit::Failed
        }
        _ => Exit::Fine,
    }
}

/// Prints an error line on stderr; a failure of that is ignored.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
