//! One file of the corpus: its sections, and how its readable text becomes bytes. The format is described in
//! `README.md` beside this file.

#![allow(dead_code, reason = "each test file compiles this module for itself and uses a part of it")]

use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
pub struct Case {
    pub path: PathBuf,
    pub rule: String,
    /// `None` for a request; otherwise the request that the response answers: GET, HEAD or UPGRADE.
    pub asked: Option<String>,
    /// A response parsed without leniency.
    pub strict: bool,
    pub bytes: Vec<u8>,
    pub events: Vec<String>,
    /// The forwarded bytes, if the case shows them.
    pub forwards: Option<Vec<u8>>,
    /// `peer: why it behaves differently`.
    pub peers: Vec<(String, String)>,
}

/// Every case of a folder, in order of names.
pub fn family(name: &str) -> Vec<Case> {
    let mut files: Vec<PathBuf> = entries(&root().join(name));
    files.sort();
    let cases: Vec<Case> = files.iter().map(|path| Case::read(path)).collect();
    assert!(!cases.is_empty(), "no case in {name}");
    cases
}

pub fn families() -> Vec<String> {
    let folders = entries(&root()).into_iter().filter(|path| path.is_dir());
    let mut names: Vec<String> =
        folders.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/h1")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

impl Case {
    fn read(path: &Path) -> Case {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Case::parse(path, &text).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()))
    }

    pub fn parse(path: &Path, text: &str) -> Result<Case, String> {
        let mut case = Case { path: path.to_path_buf(), ..Case::default() };
        let mut sections = text.split("\n--- ");
        for line in sections.next().unwrap_or_default().lines() {
            case.header(line)?;
        }
        for section in sections {
            let (title, body) = section.split_once('\n').ok_or("an empty section")?;
            case.section(title, body)?;
        }
        let whole = !(case.rule.is_empty() || case.events.is_empty());
        whole.then_some(case).ok_or_else(|| "rule, side, bytes and events are needed".to_string())
    }

    fn header(&mut self, line: &str) -> Result<(), String> {
        match line.split_once(": ") {
            Some(("rule", rule)) => self.rule = rule.to_string(),
            Some(("side", "request")) => self.asked = None,
            Some(("side", "response to GET")) => self.asked = Some("GET".into()),
            Some(("side", "response to HEAD")) => self.asked = Some("HEAD".into()),
            Some(("side", "response to UPGRADE")) => self.asked = Some("UPGRADE".into()),
            Some(("reader", "strict")) if self.asked.is_some() => self.strict = true,
            _ => return Err(format!("not a header line: {line:?}")),
        }
        Ok(())
    }

    fn section(&mut self, title: &str, body: &str) -> Result<(), String> {
        match title {
            "bytes" => self.bytes = unescape(body)?,
            "forwards" => self.forwards = Some(unescape(body)?),
            "events" => self.events = body.lines().map(str::to_string).collect(),
            "peers" => {
                let lines =
                    body.lines().map(|line| line.split_once(": ").ok_or(format!("no peer: {line:?}")));
                self.peers = lines
                    .map(|line| line.map(|(peer, why)| (peer.to_string(), why.to_string())))
                    .collect::<Result<_, _>>()?;
            }
            _ => return Err(format!("not a section: {title:?}")),
        }
        Ok(())
    }
}

/// Lines of readable text as bytes: the line ends themselves are ignored.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for line in text.lines() {
        if line.ends_with(' ') || !line.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(format!("write invisible bytes as escapes: {line:?}"));
        }
        unescape_line(line.as_bytes(), &mut bytes)?;
    }
    Ok(bytes)
}

fn unescape_line(mut rest: &[u8], bytes: &mut Vec<u8>) -> Result<(), String> {
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (escape, after) = rest.split_first().ok_or("a lone backslash")?;
        rest = after;
        match escape {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'0' => bytes.push(0),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                let digits = rest.get(..2).and_then(|d| str::from_utf8(d).ok());
                let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
                bytes.push(byte.ok_or("two hex digits must follow \\x")?);
                rest = &rest[2..];
            }
            b'(' => rest = repetition(rest, bytes)?,
            other => return Err(format!("not an escape: \\{}", char::from(*other))),
        }
    }
    Ok(())
}

/// `\(300*text)`: the text 300 times.
fn repetition<'a>(rest: &'a [u8], bytes: &mut Vec<u8>) -> Result<&'a [u8], String> {
    let end = rest.iter().position(|b| *b == b')').ok_or("no ) after \\(")?;
    let inside = String::from_utf8_lossy(&rest[..end]).into_owned();
    let (count, text) = inside.split_once('*').ok_or("no * inside \\(…)")?;
    let count: usize = count.parse().map_err(|_| "no number after \\(")?;
    let mut once = Vec::new();
    unescape_line(text.as_bytes(), &mut once)?;
    (0..count).for_each(|_| bytes.extend_from_slice(&once));
    Ok(&rest[end + 1..])
}

/// Escapes bytes beyond ASCII, and control bytes except tabs, as a case does.
pub fn ascii(text: &str) -> String {
    let shown = |c: char| {
        if c == '\t' || c.is_ascii() && !c.is_ascii_control() {
            c.to_string()
        } else {
            format!("\\x{:02x}", u32::from(c))
        }
    };
    text.chars().map(shown).collect()
}

/// An event may be given by its beginning.
pub fn is_event(seen: &str, told: &str) -> bool {
    told.strip_suffix("...").map_or(seen == told, |beginning| seen.starts_with(beginning))
}
