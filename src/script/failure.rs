//! A script's failure as the one line that the log gets: always with file:line in front, never with a line end
//! or another control byte in it, never with a traceback.

/// Longer messages are cut: they come from scripts and may hold anything.
const LONGEST: usize = 1000;

/// The line for a message as Lua gave it. `origin` is where the handler was defined (`site.lua:12`): it stands
/// in front of messages that do not say where they come from.
pub fn line(message: &[u8], origin: &str) -> String {
    let message = String::from_utf8_lossy(&message[..message.len().min(16 * LONGEST)]);
    let message = message.split("\nstack traceback:").next().unwrap_or_default();
    let message = folded(message.strip_prefix("runtime error: ").unwrap_or(message));
    if has_position(&message, origin) { message } else { format!("{origin}: {message}") }
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
    fn a_message_is_always_one_line_of_bounded_length_without_a_traceback() {
        let told = line(b"runtime error: site.lua:3: a\n\r\n  b\x07c\nstack traceback:\n\t[C]: in x", "o:1");
        assert_eq!(told, "site.lua:3: a b?c");
        assert_eq!(line(b"\xff\xfe", "o:1"), "o:1: \u{fffd}\u{fffd}");
        let long = line(&vec![b'x'; 1 << 20], "o:1");
        assert!(long.chars().count() < LONGEST + 10 && long.ends_with('…'));
    }
}
