//! Lua's text in tokens, each with its line: to find keys (`load/key_lines`) and for what `rsp check` warns of (`lint`).
//! Text that is no Lua gives some tokens all the same.

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum LuaToken<'a> {
    /// Also a keyword.
    Name(&'a [u8]),
    /// With its quotes or long brackets.
    Text(&'a [u8]),
    Number(&'a [u8]),
    Symbol(u8),
    /// An operator of two or three characters.
    Operator(&'a [u8]),
}

const OPERATORS: [&[u8]; 10] = [b"...", b"..", b"==", b"~=", b"<=", b">=", b"//", b"::", b"<<", b">>"];

pub(super) fn of(text: &[u8]) -> Vec<(LuaToken<'_>, usize)> {
    let (mut tokens, mut rest, mut line) = (Vec::new(), text, 1);
    if text.starts_with(b"#") {
        // A line for the shell; its end counts.
        rest = &rest[run(rest, |byte| byte != b'\n')..];
    }
    while let Some((token, len)) = next(rest) {
        tokens.extend(token.map(|token| (token, line)));
        let (this, after) = rest.split_at(len.clamp(1, rest.len()));
        line += this.iter().filter(|byte| **byte == b'\n').count();
        rest = after;
    }
    tokens
}

/// The first token of the text (none for blanks and comments) and its length.
fn next(text: &[u8]) -> Option<(Option<LuaToken<'_>>, usize)> {
    let first = *text.first()?;
    if text.starts_with(b"--") {
        return Some((None, comment(text)));
    }
    let number = |len| Some((Some(LuaToken::Number(text.get(..len)?)), len));
    let quoted = |len| Some((Some(LuaToken::Text(text.get(..len)?)), len));
    match first {
        b'"' | b'\'' => quoted(short_text(text, first)),
        b'[' if let Some(len) = long_text(text) => quoted(len),
        b'.' if text.get(1).is_some_and(u8::is_ascii_digit) => number(number_len(text)),
        _ if first.is_ascii_digit() => number(number_len(text)),
        _ if is_word(first) => {
            let len = run(text, is_word);
            Some((Some(LuaToken::Name(text.get(..len)?)), len))
        }
        _ if first.is_ascii_whitespace() => Some((None, 1)),
        _ => match OPERATORS.iter().find(|operator| text.starts_with(operator)) {
            Some(operator) => Some((Some(LuaToken::Operator(operator)), operator.len())),
            None => Some((Some(LuaToken::Symbol(first)), 1)),
        },
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn run(text: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|byte| !belongs(*byte)).unwrap_or(text.len())
}

/// As Lua reads one: words, dots, and a sign after an exponent. Two dots are an operator.
fn number_len(text: &[u8]) -> usize {
    let hex = text.len() > 1 && text[0] == b'0' && text[1].eq_ignore_ascii_case(&b'x');
    let exponent = if hex { b'p' } else { b'e' };
    let mut at = 0;
    while at < text.len() {
        let sign = matches!(text[at], b'+' | b'-') && at > 0 && text[at - 1].eq_ignore_ascii_case(&exponent);
        let dot = text[at] == b'.' && text.get(at + 1) != Some(&b'.');
        if !(is_word(text[at]) || dot || sign) {
            break;
        }
        at += 1;
    }
    at.max(1)
}

fn comment(text: &[u8]) -> usize {
    match text.get(2..).and_then(long_text) {
        Some(len) => len + 2,
        None => run(text, |byte| byte != b'\n'),
    }
}

fn short_text(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != quote {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// The length of `[[ … ]]` or `[==[ … ]==]`, if the text starts with one.
fn long_text(text: &[u8]) -> Option<usize> {
    let level = run(text.get(1..)?, |byte| byte == b'=');
    if text[0] != b'[' || text.get(level + 1) != Some(&b'[') {
        return None;
    }
    let close = [b"]".to_vec(), vec![b'='; level], b"]".to_vec()].concat();
    let body = text.get(level + 2..)?;
    let end = body.windows(close.len()).position(|window| window == close);
    Some(end.map_or(text.len(), |end| level + 2 + end + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_operators_are_tokens_of_their_own() {
        let text = b"#!lua\nx=1..2 0x1p-3 1e+5 .5 a...b c//d ::e:: \"--\" --[[\n]] [==[]]]==]";
        let shown: Vec<String> = of(text)
            .iter()
            .map(|(token, _)| match token {
                LuaToken::Symbol(byte) => (*byte as char).to_string(),
                LuaToken::Name(text) | LuaToken::Text(text) | LuaToken::Number(text) => {
                    String::from_utf8_lossy(text).into_owned()
                }
                LuaToken::Operator(text) => format!("<{}>", String::from_utf8_lossy(text)),
            })
            .collect();
        let wanted = "x = 1 <..> 2 0x1p-3 1e+5 .5 a <...> b c <//> d <::> e <::> \"--\" [==[]]]==]";
        assert_eq!(shown.join(" "), wanted);
        assert_eq!(of(text).last().unwrap().1, 3);
    }
}
