//! Escapes what clients send for log lines: none of their bytes can end a line, close a quote or reach a terminal as
//! a control sequence. The notation is nginx's (`\x22`), so that its tools read our lines.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// For text between double quotes: `"`, `\`, control bytes and everything from 0x7f on become `\xHH`.
pub fn quoted(text: &[u8], out: &mut Vec<u8>) {
    escape(text, out, |byte| !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\');
}

/// The same, limited to `most` written bytes, with dots where it was cut.
pub fn shortened(text: &[u8], most: usize, out: &mut Vec<u8>) {
    let start = out.len();
    for byte in text {
        let before = out.len();
        quoted(&[*byte], out);
        if out.len() - start > most {
            out.truncate(before);
            return out.extend_from_slice(b"...");
        }
    }
}

/// For an unquoted word: spaces too.
pub fn word(text: &[u8], out: &mut Vec<u8>) {
    escape(text, out, |byte| !(0x21..0x7f).contains(&byte) || byte == b'"' || byte == b'\\');
}

/// For a message of ours that may quote others: escapes only unprintable text. UTF-8 stays, and tabs, with which a
/// script's `print` separates its arguments.
pub fn message(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            escape(c.encode_utf8(&mut [0; 4]).as_bytes(), out, |_| true);
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Runs of harmless bytes, the usual case, are copied at once.
fn escape(mut text: &[u8], out: &mut Vec<u8>, harmful: impl Fn(u8) -> bool) {
    while let Some(at) = text.iter().position(|byte| harmful(*byte)) {
        let byte = text[at];
        out.extend_from_slice(&text[..at]);
        out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(escape: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        escape(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quoted_text_escapes_as_nginx_does() {
        for (given, wanted) in [
            (&b"/plain?a=b c"[..], "/plain?a=b c"),
            (b"a\"b\\c", "a\\x22b\\x5Cc"),
            (b"\r\n\t\0\x1b[31m", "\\x0D\\x0A\\x09\\x00\\x1B[31m"),
            (b"\x7e\x7f\x80\xff", "~\\x7F\\x80\\xFF"),
            ("é".as_bytes(), "\\xC3\\xA9"),
            (b"", ""),
        ] {
            assert_eq!(text(|out| quoted(given, out)), wanted);
        }
    }

    #[test]
    fn shortening_counts_written_bytes_and_never_splits_an_escape() {
        for (given, wanted) in [
            (&b"abcdef"[..], "abcdef"),
            (b"abcdefg", "abcdef..."),
            (b"abc\xff", "abc..."),
            (b"ab\xff", "ab\\xFF"),
            (b"ab\xff\xff", "ab\\xFF..."),
            (b"", ""),
        ] {
            assert_eq!(text(|out| shortened(given, 6, out)), wanted);
        }
    }

    #[test]
    fn bytes_that_could_end_a_line_or_a_word_are_escaped() {
        let all: Vec<u8> = (0..=255).collect();
        let line = text(|out| quoted(&all, out));
        assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"'));
        assert!(!text(|out| word(&all, out)).contains(' '));
    }

    #[test]
    fn messages_keep_utf8_and_stay_on_one_line() {
        assert_eq!(text(|out| message("site.lua:4:\t\"größer\"\nnext\u{9b}1m", out)), {
            "site.lua:4:\t\"größer\"\\x0Anext\\xC2\\x9B1m"
        });
    }
}
