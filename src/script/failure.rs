//! A script's failure as one line for the log: always with file:line in front, never with a line end or control byte
//! in it, never with a traceback.

/// Longer messages are cut: they may contain anything.
const LONGEST: usize = 1000;

/// The line for a message of Lua. `origin` is where the handler was defined (`site.lua:12`); it is put in front of
/// messages without a position.
pub fn line(message: &[u8], origin: &str) -> String {
    let message = String::from_utf8_lossy(&message[..message.len().min(16 * LONGEST)]);
    let message = message.split("\nstack traceback:").next().unwrap_or_default();
    let message = with_hints(&single_line(message.strip_prefix("runtime error: ").unwrap_or(message)));
    if has_position(&message, origin) { message } else { format!("{origin}: {message}") }
}

/// Globals of plain Lua that are not available.
const ABSENT: [&str; 5] = ["debug", "dofile", "io", "loadfile", "warn"];

/// Library functions that are not available.
const ABSENT_FIELDS: [(&str, &str); 8] = [
    ("os", "execute"),
    ("os", "exit"),
    ("os", "getenv"),
    ("os", "remove"),
    ("os", "rename"),
    ("os", "setlocale"),
    ("os", "tmpname"),
    ("string", "dump"),
];

/// Adds hints to a message of Lua: that a global is missing on purpose, or that a comma is missing in a table.
pub fn with_hints(message: &str) -> String {
    let Some((position, what)) = message.split_once(": ") else { return message.to_owned() };
    if let Some(name) = ABSENT.into_iter().find(|name| what.ends_with(&format!("(global '{name}')")))
        && what.starts_with("attempt to ")
    {
        return format!("{position}: {name} is not available in rsp");
    }
    if let Some((library, name)) =
        ABSENT_FIELDS.into_iter().find(|(_, name)| what.ends_with(&format!("a nil value (field '{name}')")))
        && what.starts_with("attempt to call ")
    {
        return format!("{message}; {library}.{name} is not available in rsp");
    }
    match what.starts_with("'}' expected") && what.contains(" near ") && !what.ends_with("<eof>") {
        true => format!("{message}, missing comma?"),
        false => message.to_owned(),
    }
}

/// Whether a library or function of plain Lua is not available here.
pub fn is_absent(name: &str) -> bool {
    ABSENT.contains(&name)
}

/// Line ends and the indentation after them become one space, other control bytes a question mark.
pub fn single_line(message: &str) -> String {
    let mut line = String::new();
    for part in message.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(part.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }));
    }
    if let Some((cut, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

/// Whether the message begins with `file:line:`, where file is a Lua file, a chunk of `load`, or the file of the
/// handler.
fn has_position(message: &str, origin: &str) -> bool {
    let own = origin.rsplit_once(':').map_or(origin, |(file, _)| file);
    positions(message).any(|position| {
        let file = position.rsplit_once(':').map_or(position, |(file, _)| file);
        file == own || file.ends_with(".lua") || file.starts_with("[string ")
    })
}

/// The `file:line` at the start of a line.
pub fn position(line: &str) -> &str {
    positions(line).next().unwrap_or_default()
}

/// Prefixes that look like `file:line`, followed by a colon.
fn positions(message: &str) -> impl Iterator<Item = &str> {
    message.match_indices(':').filter_map(|(at, _)| {
        let digits = message[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let (position, rest) = message.split_at(at + 1 + digits);
        (digits > 0 && rest.starts_with(':')).then_some(position)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_its_position_or_gets_the_handlers() {
        for (message, shown) in [
            ("site.lua:3: no", "site.lua:3: no"),
            ("lib/x.lua:30: no", "lib/x.lua:30: no"),
            ("[string \"x\"]:1: no", "[string \"x\"]:1: no"),
            ("no", "site.lua:12: no"),
            ("not enough memory", "site.lua:12: not enough memory"),
            ("http://a:80: no", "site.lua:12: http://a:80: no"),
            ("", "site.lua:12: "),
        ] {
            assert_eq!(line(message.as_bytes(), "site.lua:12"), shown);
        }
        assert_eq!(position("lib/x.lua:30: no such: a:4: b"), "lib/x.lua:30");
        assert_eq!((position("nothing: here"), position("x:1")), ("", ""));
        assert_eq!(line(b"conf:9: no", "conf:12"), "conf:9: no");
    }

    #[test]
    fn missing_globals_and_commas_get_a_hint() {
        let nil = |what: &str| format!("attempt to index a nil value ({what})");
        for (message, shown) in [
            (nil("global 'io'"), "io is not available in rsp".to_owned()),
            (nil("global 'debug'"), "debug is not available in rsp".to_owned()),
            (nil("global 'ios'"), nil("global 'ios'")),
            (nil("local 'io'"), nil("local 'io'")),
            (
                "attempt to call a nil value (field 'getenv')".into(),
                "attempt to call a nil value (field 'getenv'); os.getenv is not available in rsp".into(),
            ),
            ("'}' expected near 'name'".into(), "'}' expected near 'name', missing comma?".into()),
            (
                "'}' expected (to close '{' at line 2) near '5'".into(),
                "'}' expected (to close '{' at line 2) near '5', missing comma?".into(),
            ),
            ("'}' expected near <eof>".into(), "'}' expected near <eof>".into()),
            ("what I say (global 'io')".into(), "what I say (global 'io')".into()),
        ] {
            let position = |text: &str| format!("site.lua:3: {text}");
            assert_eq!(with_hints(&position(&message)), position(&shown));
        }
        assert_eq!(with_hints("no position"), "no position");
    }

    #[test]
    fn a_message_is_always_one_line_of_bounded_length_without_a_traceback() {
        let told = line(b"runtime error: site.lua:3: a\n\r\n  b\x07c\nstack traceback:\n\t[C]: in x", "o:1");
        assert_eq!(told, "site.lua:3: a b?c");
        assert_eq!(line(b"\xff\xfe", "o:1"), "o:1: \u{fffd}\u{fffd}");
        let long = line(&vec![b'x'; 1 << 20], "o:1");
        assert!(long.chars().count() < LONGEST + 10 && long.ends_with('…'));
    }
}
