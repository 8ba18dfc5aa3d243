//! A script's failure as the one line that the log gets: always with file:line in front, never with a line end
//! or another control byte in it, never with a traceback.

/// Longer messages are cut: they come from scripts and may hold anything.
const LONGEST: usize = 1000;

/// The line for a message as Lua gave it. `origin` is where the handler was defined (`site.lua:12`): it stands
/// in front of messages that do not say where they come from.
pub fn line(message: &[u8], origin: &str) -> String {
    let message = String::from_utf8_lossy(&message[..message.len().min(16 * LONGEST)]);
    let message = message.split("\nstack traceback:").next().unwrap_or_default();
    let message = plainer(&folded(message.strip_prefix("runtime error: ").unwrap_or(message)));
    if has_position(&message, origin) { message } else { format!("{origin}: {message}") }
}

/// Globals of plain Lua that scripts of rsp do not have.
const ABSENT: [&str; 5] = ["debug", "dofile", "io", "loadfile", "warn"];

/// Functions of its libraries that they do not have.
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

/// A message of Lua's with what it leaves to be guessed: that a global of plain Lua is missing on purpose, that a comma
/// is missing in a table.
pub fn plainer(message: &str) -> String {
    let Some((place, what)) = message.split_once(": ") else { return message.to_owned() };
    if let Some(name) = ABSENT.into_iter().find(|name| what.ends_with(&format!("(global '{name}')")))
        && what.starts_with("attempt to ")
    {
        return format!("{place}: {name} is not available in rsp");
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

/// Whether plain Lua has a library or function of this name that is not here.
pub fn is_absent(name: &str) -> bool {
    ABSENT.contains(&name)
}

/// Line ends with the indentation behind them become one space, other control bytes a question mark.
pub fn folded(message: &str) -> String {
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

/// Whether the message begins with `file:line:`, the file being a Lua file, a chunk made by `load`, or the one
/// the handler stands in.
fn has_position(message: &str, origin: &str) -> bool {
    let own = origin.rsplit_once(':').map_or(origin, |(file, _)| file);
    positions(message).any(|position| {
        let file = position.rsplit_once(':').map_or(position, |(file, _)| file);
        file == own || file.ends_with(".lua") || file.starts_with("[string ")
    })
}

/// The `file:line` that a line begins with.
pub fn place(line: &str) -> &str {
    positions(line).next().unwrap_or_default()
}

/// Beginnings that look like `file:line` with a colon behind.
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
    fn a_message_keeps_its_position_and_gets_the_handlers_otherwise() {
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
        assert_eq!(place("lib/x.lua:30: no such: a:4: b"), "lib/x.lua:30");
        assert_eq!((place("nothing: here"), place("x:1")), ("", ""));
        assert_eq!(line(b"conf:9: no", "conf:12"), "conf:9: no");
    }

    #[test]
    fn what_rsp_leaves_out_of_lua_and_a_missing_comma_are_said_in_so_many_words() {
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
            let place = |text: &str| format!("site.lua:3: {text}");
            assert_eq!(plainer(&place(&message)), place(&shown));
        }
        assert_eq!(plainer("no place"), "no place");
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
