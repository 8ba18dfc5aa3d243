//! `rsp ctl SOCKET COMMAND…`: one command to a running rsp, over its control socket. What haproxy's programs read as CSV
//! or as columns is a table on a terminal; elsewhere it is as it came.

use std::io::{self, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Exit, complain, say};
use crate::base::os_error::os_error;
use crate::control::explain::{Explanation, Question};

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
        _ if io::stdout().is_terminal() => say(&for_people(text)),
        _ => say(text),
    }
}

/// Has the running rsp explain a request. An error is a line for people.
pub fn explain(socket: &Path, question: &Question) -> Result<Explanation, String> {
    let question = serde_json::to_string(question).map_err(|error| error.to_string())?;
    // One word, and one command.
    let word = question.replace(' ', "\\u0020").replace(';', "\\u003b");
    let answer = ask(socket, &format!("explain {word}"));
    let answer = answer.map_err(|error| {
        format!("rsp explain: {}: {}{}", socket.display(), os_error(&error), hint(&error))
    })?;
    match read(&answer) {
        (Some(..=ERROR), text) => Err(format!("rsp explain: {}", text.trim_end())),
        (_, text) => serde_json::from_str(text).map_err(|error| format!("rsp explain: {error}")),
    }
}

/// The columns of `show stat` that are worth their width.
const COLUMNS: [&str; 14] = [
    "pxname",
    "svname",
    "status",
    "weight",
    "qcur",
    "scur",
    "smax",
    "stot",
    "rate",
    "hrsp_2xx",
    "hrsp_4xx",
    "hrsp_5xx",
    "lastchg",
    "check_status",
];

/// A table, if it is one.
fn for_people(text: &str) -> String {
    if text.starts_with("# pxname,") {
        return csv_table(text);
    }
    let rows: Vec<Vec<String>> = text
        .lines()
        .skip_while(|line| *line == "1")
        .map(|line| line.trim_start_matches("# ").split(' ').map(str::to_owned).collect())
        .collect();
    if text.starts_with("1\n# be_id ") { table(&rows) } else { text.to_owned() }
}

fn csv_table(text: &str) -> String {
    let mut lines = text.lines().map(csv);
    let Some(head) = lines.next() else { return String::new() };
    let names: Vec<&str> = head.iter().map(|name| name.trim_start_matches("# ")).collect();
    let at: Vec<usize> =
        COLUMNS.iter().filter_map(|column| names.iter().position(|name| name == column)).collect();
    let pick = |row: &[String]| at.iter().map(|at| row.get(*at).cloned().unwrap_or_default()).collect();
    let mut rows: Vec<Vec<String>> = vec![at.iter().map(|at| names[*at].to_owned()).collect()];
    rows.extend(lines.filter(|row| row.len() > 1).map(|row| pick(&row)));
    table(&rows)
}

/// The fields of a line (RFC 4180).
fn csv(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

/// Columns as wide as what is in them; what others chose is shown without control bytes.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let shown = |cell: &String| -> String { cell.chars().filter(|c| !c.is_control()).collect() };
    let width =
        |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| shown(cell).chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", shown(cell)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().filter(|row| row.iter().any(|cell| !cell.is_empty())).map(line).collect()
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
    fn csv_and_columns_are_tables_for_people() {
        let csv = "# pxname,svname,qcur,odd,\nweb,a,7,x,\n\"long,\x1b name\",BACKEND,,y,\n\n";
        assert_eq!(
            for_people(csv),
            "pxname      svname   qcur\nweb         a        7\nlong, name  BACKEND\n"
        );
        let state = "1\n# be_id be_name\n12 web\n";
        assert_eq!(for_people(state), "be_id  be_name\n12     web\n");
        assert_eq!(for_people("Success=1\n"), "Success=1\n");
    }

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
