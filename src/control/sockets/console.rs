//! The protocol of the control socket, that of haproxy's runtime API (haproxy 2.6, management.txt section 9.3): a line
//! is a list of commands separated by `;`, each answer ends with an empty line, and the connection ends after the line
//! unless `prompt` made it interactive.

use std::collections::VecDeque;

use super::commands::{self, Command, Parsed};
use crate::config::ControlLevel;

/// How an answer begins, if it is a message: `set severity-output`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum SeverityOutput {
    #[default]
    None,
    Number,
    Word,
}

/// As syslog numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    Error = 3,
    Info = 6,
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// `None`: data, not a message.
    pub severity: Option<Severity>,
    pub text: String,
}

impl Answer {
    pub fn data(text: impl Into<String>) -> Answer {
        Answer { severity: None, text: text.into() }
    }

    pub fn info(text: impl Into<String>) -> Answer {
        Answer { severity: Some(Severity::Info), text: text.into() }
    }

    pub fn error(text: impl Into<String>) -> Answer {
        Answer { severity: Some(Severity::Error), text: text.into() }
    }
}

/// What comes next on a connection.
#[derive(PartialEq, Eq, Debug)]
pub enum ConsoleStep {
    /// To be answered before the next.
    Command(Command),
    More,
    /// The client has to take its answers first.
    Full,
    Close,
}

/// The most bytes of answers that wait for the client.
const OUTPUT: usize = 64 << 10;

/// One connection's state.
#[derive(Default)]
pub struct Console {
    interactive: bool,
    severity: SeverityOutput,
    /// Commands of the line that is being executed.
    commands: VecDeque<String>,
    /// A line was executed.
    served: bool,
}

impl Console {
    /// Reads the next command. Answers of those that concern only the connection are written to `output`.
    pub fn next(
        &mut self,
        input: &mut Vec<u8>,
        is_whole: bool,
        level: ControlLevel,
        output: &mut Vec<u8>,
    ) -> ConsoleStep {
        loop {
            if output.len() > OUTPUT {
                return ConsoleStep::Full;
            }
            let Some(command) = self.commands.pop_front() else {
                match take_line(input, is_whole) {
                    Some(line) => {
                        self.served = true;
                        self.commands = split(&line);
                        if self.commands.is_empty() {
                            self.end_answer(output);
                        }
                        continue;
                    }
                    None if is_whole || self.served && !self.interactive => return ConsoleStep::Close,
                    None => return ConsoleStep::More,
                }
            };
            match self.obey(&command, level) {
                Obeyed::Answer(answer) => self.answer(&answer, output),
                Obeyed::Command(command) => return ConsoleStep::Command(command),
                Obeyed::Quit => return ConsoleStep::Close,
            }
        }
    }

    fn obey(&mut self, text: &str, level: ControlLevel) -> Obeyed {
        Obeyed::Answer(match commands::parse(text, level) {
            Parsed::Command(command) => return Obeyed::Command(command),
            Parsed::Quit => return Obeyed::Quit,
            Parsed::Wrong(answer) => answer,
            Parsed::Severity(words) => self.set_severity(&words),
            Parsed::Prompt => {
                self.interactive = !self.interactive;
                Answer::data("")
            }
            Parsed::Help => {
                let list = commands::help(level);
                Answer::data(format!("The following commands are valid at this level:\n{list}"))
            }
        })
    }

    fn set_severity(&mut self, arguments: &[String]) -> Answer {
        self.severity = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["none"] => SeverityOutput::None,
            ["number"] => SeverityOutput::Number,
            ["string"] => SeverityOutput::Word,
            _ => return Answer::error("one of 'none', 'number', 'string' is a required argument"),
        };
        Answer::data("")
    }

    /// Writes the answer to a command.
    pub fn answer(&mut self, answer: &Answer, output: &mut Vec<u8>) {
        let begin = match (answer.severity, self.severity) {
            (None, _) | (_, SeverityOutput::None) => String::new(),
            (Some(severity), SeverityOutput::Number) => format!("[{}]:", severity as u8),
            (Some(Severity::Error), SeverityOutput::Word) => "[error]:".into(),
            (Some(Severity::Info), SeverityOutput::Word) => "[info]:".into(),
        };
        output.extend_from_slice(begin.as_bytes());
        output.extend_from_slice(answer.text.as_bytes());
        if !answer.text.is_empty() && !answer.text.ends_with('\n') {
            output.push(b'\n');
        }
        self.end_answer(output);
    }

    fn end_answer(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(if self.interactive { b"\n> " } else { b"\n" });
    }
}

enum Obeyed {
    Answer(Answer),
    Command(Command),
    Quit,
}

/// Takes a whole line; what is left when the client has closed counts as one.
fn take_line(input: &mut Vec<u8>, is_whole: bool) -> Option<String> {
    let end = match memchr::memchr(b'\n', input) {
        Some(at) => at + 1,
        None if is_whole && !input.is_empty() => input.len(),
        None => return None,
    };
    let line: Vec<u8> = input.drain(..end).collect();
    Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

/// The commands of a line; `\;` is no separator.
fn split(line: &str) -> VecDeque<String> {
    let (mut commands, mut command) = (VecDeque::new(), String::new());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(';') => command.push(';'),
                other => command.extend(std::iter::once('\\').chain(other)),
            },
            ';' => commands.push_back(std::mem::take(&mut command)),
            c => command.push(c),
        }
    }
    commands.push_back(command);
    commands.retain(|command| !command.trim().is_empty());
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client that sends this and closes gets, where `reload` is answered at once.
    fn talk(text: &str, level: ControlLevel) -> String {
        let (mut console, mut input, mut output) = (Console::default(), text.as_bytes().to_vec(), Vec::new());
        loop {
            match console.next(&mut input, true, level, &mut output) {
                ConsoleStep::Command(Command::Reload) => {
                    console.answer(&Answer::info("Success=1"), &mut output)
                }
                ConsoleStep::Command(other) => panic!("{other:?}"),
                ConsoleStep::More | ConsoleStep::Full => panic!("the client has closed"),
                ConsoleStep::Close => return String::from_utf8(output).unwrap(),
            }
        }
    }

    #[test]
    fn a_line_is_a_list_of_commands_and_each_answer_ends_with_an_empty_line() {
        for (text, answer) in [
            ("reload\n", "Success=1\n\n"),
            ("reload", "Success=1\n\n"),
            (" reload ;; reload\r\n", "Success=1\n\nSuccess=1\n\n"),
            ("set severity-output number; reload\n", "\n[6]:Success=1\n\n"),
            (
                "set severity-output string; set severity-output odd\n",
                "\n[error]:one of 'none', 'number', 'string' is a required argument\n\n",
            ),
            ("quit; reload\n", ""),
            ("\n", "\n"),
            ("reload now\n", "'reload' takes no arguments\n\n"),
        ] {
            assert_eq!(talk(text, ControlLevel::Admin), answer, "{text:?}");
        }
        assert_eq!(talk("reload\n", ControlLevel::Observe), "Permission denied\n\n");
        assert!(talk("help\n", ControlLevel::Admin).contains("\n  reload "));
        assert!(!talk("help\n", ControlLevel::Observe).contains("\n  reload "));
        let unknown = talk("rel\x1b[1moad\n", ControlLevel::Admin);
        assert!(
            unknown.starts_with("Unknown command: 'rel[1moad'. Please enter one of the following"),
            "{unknown}"
        );
        let escaped = talk("set severity-output a\\;b\n", ControlLevel::Admin);
        assert!(escaped.starts_with("one of 'none'"), "{escaped}");
    }

    #[test]
    fn a_client_that_does_not_take_its_answers_gets_no_further_ones() {
        let (mut console, mut input, mut output) = (Console::default(), Vec::new(), Vec::new());
        input.extend_from_slice("?;".repeat(20_000).as_bytes());
        input.push(b'\n');
        let mut next = |output: &mut Vec<u8>| console.next(&mut input, false, ControlLevel::Admin, output);
        assert_eq!(next(&mut output), ConsoleStep::Full);
        let size = output.len();
        assert!(size < 2 * OUTPUT);
        assert_eq!((next(&mut output), output.len()), (ConsoleStep::Full, size));
        output.clear();
        assert_eq!(next(&mut output), ConsoleStep::Full, "it goes on");
    }

    #[test]
    fn a_prompt_keeps_the_connection_open() {
        let (mut console, mut output) = (Console::default(), Vec::new());
        let mut next = |console: &mut Console, text: &str| {
            let step = console.next(&mut text.as_bytes().to_vec(), false, ControlLevel::Admin, &mut output);
            (step, String::from_utf8(std::mem::take(&mut output)).unwrap())
        };
        assert_eq!(next(&mut console, "pro"), (ConsoleStep::More, "".into()));
        assert_eq!(next(&mut console, "prompt\n"), (ConsoleStep::More, "\n> ".into()));
        assert_eq!(next(&mut console, "\n"), (ConsoleStep::More, "\n> ".into()));
        assert_eq!(next(&mut console, "reload\n"), (ConsoleStep::Command(Command::Reload), "".into()));
        assert_eq!(next(&mut console, "prompt\n"), (ConsoleStep::Close, "\n".into()));
    }
}
