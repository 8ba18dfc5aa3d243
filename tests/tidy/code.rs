//! A source file as the rules see it: code without comments and string contents, test code separated, functions with
//! their lengths. It is formatted by rustfmt, so indentation can be trusted.

#[derive(Clone)]
pub struct File {
    pub path: String,
    pub text: String,
    /// The text with comments, strings and characters blanked out; same lines, same columns.
    pub code: String,
    /// The same without `mod tests { … }`, and empty for a file that is all tests.
    pub shipped: String,
    /// How many lines `mod tests { … }` has.
    tests: usize,
}

pub struct Function<'a> {
    pub name: &'a str,
    pub line: usize,
    pub lines: usize,
}

impl File {
    pub fn new(path: &str, text: &str) -> File {
        let code = blanked(text);
        let (start, end) = test_module(&code).unwrap_or((code.len(), code.len()));
        let tests = code[start..end].matches('\n').count();
        let shipped = match path.starts_with("tests/") || path.contains("/tests/") {
            true => String::new(),
            false => format!("{}{}{}", &code[..start], "\n".repeat(tests), &code[end..]),
        };
        File { path: path.into(), text: text.into(), code, shipped, tests }
    }

    /// Lines outside `mod tests {`.
    pub fn lines(&self) -> usize {
        self.code.lines().count() - self.tests
    }

    pub fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// The lines of this code that contain the word.
    pub fn lines_with(part: &str, word: &str) -> Vec<usize> {
        let found = |(_, line): &(usize, &str)| has_word(line, word);
        part.lines().enumerate().filter(found).map(|(number, _)| number + 1).collect()
    }

    pub fn functions(&self) -> Vec<Function<'_>> {
        let lines: Vec<&str> = self.shipped.lines().collect();
        let function = |at: usize| {
            let name = function_name(lines[at])?;
            Some(Function { name, line: at + 1, lines: length(&lines[at..])? })
        };
        (0..lines.len()).filter_map(function).collect()
    }
}

/// The range of `#[cfg(test)] mod tests { … }`.
fn test_module(code: &str) -> Option<(usize, usize)> {
    let start = code.find("#[cfg(test)]\nmod tests {")?;
    let end = code[start..].find("\n}\n").map_or(code.len(), |at| start + at + 3);
    Some((start, end))
}

/// Whether the line contains `word`, not as a part of a longer one. A word that ends in a symbol needs no boundary
/// there.
pub fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let starts = !part_of_word(word.chars().next()) || !part_of_word(before.chars().next_back());
        let ends = !part_of_word(word.chars().next_back()) || !part_of_word(after.chars().next());
        starts && ends
    })
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    loop {
        if let Some(name) = rest.strip_prefix("fn ") {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
            return Some(&name[..end]);
        }
        let (word, more) = rest.split_once(' ')?;
        let known = ["pub", "const", "async", "unsafe", "default", "extern", "\"", "in"];
        let quoted = word.starts_with('"') || word.ends_with('"') || word.starts_with("pub(");
        if !quoted && !known.contains(&word) {
            return None;
        }
        rest = more.trim_start();
    }
}

/// From the line with `fn` to its closing brace, which has the same indentation; `None` for one without a body.
fn length(lines: &[&str]) -> Option<usize> {
    let indent = lines[0].len() - lines[0].trim_start().len();
    let closing = format!("{}}}", " ".repeat(indent));
    for (at, line) in lines.iter().enumerate() {
        let end = line.trim_end();
        if end == closing || (at == 0 && end.ends_with('}')) {
            return Some(at + 1);
        }
        let body = lines[..=at].iter().any(|line| line.contains('{'));
        if end.ends_with(';') && !body {
            return None;
        }
    }
    None
}

/// Blanks out what is not code; line ends stay.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kept, gone) = token(rest, out.chars().next_back(), first);
        out.push_str(&rest[..kept]);
        out.extend(rest[kept..kept + gone].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[kept + gone..];
    }
    out
}

/// How many bytes from here are code, and how many after them are not.
fn token(rest: &str, before: Option<char>, first: char) -> (usize, usize) {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return (0, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (0, rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    match first {
        '"' => (1, quoted(&rest[1..], '"')),
        'r' if !in_word || before == Some('b') => raw(rest).unwrap_or((1, 0)),
        '\'' => character(rest),
        _ => (first.len_utf8(), 0),
    }
}

/// Up to and including the closing quote; a backslash escapes the next character.
fn quoted(rest: &str, sign: char) -> usize {
    let mut hidden = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if hidden => hidden = false,
            '\\' => hidden = true,
            _ if c == sign => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"…"` and `r#"…"#`.
fn raw(rest: &str) -> Option<(usize, usize)> {
    let signs = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    let body = rest[1 + signs..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(signs));
    Some((2 + signs, body.find(&end).map_or(body.len(), |at| at + end.len())))
}

/// A character, or a lifetime, which is code.
fn character(rest: &str) -> (usize, usize) {
    let mut chars = rest[1..].chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => (1, quoted(&rest[1..], '\'')),
        (Some(c), Some('\'')) => (1, c.len_utf8() + 1),
        _ => (1, 0),
    }
}

#[test]
fn comments_strings_and_characters_are_not_code() {
    let shown = |text: &str| blanked(text).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(shown("a // unsafe\nb /* unsafe */ c"), "a b c");
    assert_eq!(shown(r#"f("unsafe \" unsafe") + 'u' + '\'' + b"x" + y"#), r#"f(" ) + ' + ' + b" + y"#);
    assert_eq!(shown("g(r#\"unsafe \" unsafe\"#, \"\") + h"), "g(r#\" , \" ) + h");
    assert_eq!(shown("fn f<'a>(x: &'a str) -> &'a str { x }"), "fn f<'a>(x: &'a str) -> &'a str { x }");
    assert_eq!(blanked("\"a\nb\"; c").lines().count(), 2);
}

#[test]
fn words_are_found_whole() {
    assert!(has_word("x = unsafe {", "unsafe") && !has_word("unsafe_code", "unsafe"));
    assert!(has_word("mio::Poll", "mio::") && !has_word("dynamio::x", "mio::"));
}

#[test]
fn functions_are_measured_from_their_line_to_their_brace() {
    let text = "trait T {\n    fn a(\n        &self,\n    );\n    fn b(&self) {}\n}\n\
                pub(crate) const unsafe extern \"C\" fn c<T>(\n    x: u8,\n) {\n    d();\n}\n\
                #[cfg(test)]\nmod tests {\n    fn e() {\n    }\n}\nfn f() {\n}\n";
    let file = File::new("src/x.rs", text);
    let found: Vec<_> =
        file.functions().iter().map(|f| format!("{} {} {}", f.name, f.line, f.lines)).collect();
    assert_eq!(found, ["b 5 1", "c 7 5", "f 17 2"]);
    assert_eq!(file.lines(), 13);
}
