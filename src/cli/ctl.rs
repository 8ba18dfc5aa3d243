//! `rsp ctl SOCKET COMMAND…`: one command to a running rsp, over its control socket.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Exit, complain, say};
use crate::base::os_error::os_error;

/// A reload waits for names and for workers, but not longer than this.
const PATIENCE: Duration = Duration::from_secs(120);
/// Messages of this severity and below are errors, as syslog numbers them.
const ERROR: u8 = 3;

pub fn run(socket: &Path, words: &[String]) -> Exit {
    let answer = match ask(socket, &words.join(" ")) {
        Ok(answer) => answer,
        Err(error) => {
            complain(&format!("rsp ctl: {}: {}{}", socket.display(), os_error(&error), hint(&error)));
            return Exit::Failed;
        }
    };
    let (severity, text) = read(&answer);
    match severity {
        Some(..=ERROR) => {
            complain(text.trim_end());
            Exit::Failed
        }
        _ => say(text),
    }
}

/// Returns the answers as they came, to commands whose messages begin with their severity.
fn ask(socket: &Path, command: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("set severity-output number; {command}\n").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    // The first answer is an empty line; `quit` has none.
    if answer.len() < 2 && command != "quit" {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "rsp has ended without an answer"));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The severity of the answer, if it is a message, and its text. The first answer, to `set severity-output`, is empty.
fn read(answer: &str) -> (Option<u8>, &str) {
    let answer = answer.strip_prefix('\n').unwrap_or(answer);
    let answer = answer.strip_suffix('\n').unwrap_or(answer);
    let message = answer.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    match message.and_then(|(number, text)| Some((number.parse().ok()?, text))) {
        Some((severity, text)) => (Some(severity), text),
        None => (None, answer),
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => " (expected the socket that `control` in rsp.settings names)",
        io::ErrorKind::ConnectionRefused => " (no rsp runs there)",
        io::ErrorKind::PermissionDenied => " (see `mode` and `group` of `control`)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_severity_is_taken_off_an_answer() {
        for (answer, read_as) in [
            ("\n[6]:Success=1\n\n", (Some(6), "Success=1\n")),
            ("\n[3]:Permission denied\n\n", (Some(3), "Permission denied\n")),
            ("\n# name\nweb\n\n", (None, "# name\nweb\n")),
            ("\n[x]: odd\n\n", (None, "[x]: odd\n")),
            ("", (None, "")),
        ] {
            assert_eq!(read(answer), read_as, "{answer:?}");
        }
    }
}
