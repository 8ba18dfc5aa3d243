//! The lines of a script that have something to run, for coverage: read from Lua's own bytecode, which says for each
//! instruction where it comes from. The layout is that of Lua 5.4's `ldump.c`; the bytecode is made here and never loaded.

use std::collections::BTreeSet;

use mlua::chunk::ChunkMode;

/// A line whose distance from the one before does not fit into a byte.
const ABSOLUTE: i8 = -128;
/// Signature, version, format, Lua's test bytes, the sizes of its types and two test numbers; and after these the number
/// of upvalues.
const HEADER: usize = 31 + 1;

/// The lines with instructions; none if the text is no Lua.
pub fn active_lines(text: &[u8]) -> BTreeSet<usize> {
    let lua = mlua::Lua::new();
    let chunk = lua.load(text).set_mode(ChunkMode::Text).into_function();
    let mut lines = BTreeSet::new();
    if let Ok(chunk) = chunk {
        let dump = chunk.dump(false);
        let mut reader = Reader { rest: dump.get(HEADER..).unwrap_or_default() };
        // What cannot be read has no lines.
        let _ = reader.function(&mut lines, 0);
    }
    lines
}

/// `3, 5-8`
pub fn ranges(lines: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *line => *last = *line,
            _ => ranges.push((*line, *line)),
        }
    }
    let shown = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

struct Reader<'a> {
    rest: &'a [u8],
}

/// Functions may stand within each other so deep (Lua: 200 levels of syntax).
const DEEPEST: usize = 250;

impl Reader<'_> {
    fn skip(&mut self, bytes: usize) -> Option<&[u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.skip(1).map(|bytes| bytes[0])
    }

    /// Seven bits a byte, the last one marked.
    fn number(&mut self) -> Option<usize> {
        let mut number = 0_usize;
        loop {
            let byte = self.byte()?;
            number = number.checked_mul(128)? | usize::from(byte & 0x7f);
            if byte & 0x80 != 0 {
                return Some(number);
            }
        }
    }

    fn text(&mut self) -> Option<()> {
        match self.number()? {
            0 => Some(()),
            length => self.skip(length - 1).map(|_| ()),
        }
    }

    fn constant(&mut self) -> Option<()> {
        match self.byte()? {
            0x03 | 0x13 => self.skip(8).map(|_| ()),
            0x04 | 0x14 => self.text(),
            _ => Some(()),
        }
    }

    fn function(&mut self, lines: &mut BTreeSet<usize>, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        self.text()?;
        let first = self.number()?;
        self.number()?;
        self.skip(1)?;
        let is_vararg = self.byte()? != 0;
        self.skip(1)?;
        let instructions = self.number()?;
        self.skip(instructions.checked_mul(4)?)?;
        for _ in 0..self.number()? {
            self.constant()?;
        }
        let upvalues = self.number()?;
        self.skip(upvalues.checked_mul(3)?)?;
        for _ in 0..self.number()? {
            self.function(lines, depth + 1)?;
        }
        self.lines(first, is_vararg, lines)?;
        for _ in 0..self.number()? {
            self.text()?;
            self.number()?;
            self.number()?;
        }
        for _ in 0..self.number()? {
            self.text()?;
        }
        Some(())
    }

    fn lines(&mut self, first: usize, is_vararg: bool, lines: &mut BTreeSet<usize>) -> Option<()> {
        let count = self.number()?;
        let steps: Vec<i8> = self.skip(count)?.iter().map(|byte| *byte as i8).collect();
        let mut absolute = Vec::new();
        for _ in 0..self.number()? {
            absolute.push((self.number()?, self.number()?));
        }
        let mut line = first;
        // The last instruction is the `return` that Lua adds at `end`, often where none can get.
        for (at, step) in steps.iter().enumerate().take(count.saturating_sub(1)) {
            line = match *step {
                ABSOLUTE => absolute.iter().find(|(pc, _)| *pc == at)?.1,
                step => line.checked_add_signed(step.into())?,
            };
            // The first instruction of a function with `...` prepares it, and belongs to no line of its own.
            if !(is_vararg && at == 0) {
                lines.insert(line);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        active_lines(text.as_bytes()).into_iter().collect()
    }

    #[test]
    fn lines_with_something_to_run_are_found_also_in_functions_that_never_run() {
        let text = "local a = 1\n\n-- a comment\nlocal function f(x)\n  if x then\n    return 2\n  end\n  return 3\nend\n\
                    return a\n";
        // The function is made where it ends.
        assert_eq!(lines(text), [1, 5, 6, 8, 9, 10]);
    }

    #[test]
    fn lines_far_apart_and_constants_of_all_kinds_are_read() {
        let text =
            format!("local a = 1.5{}local b = {{ 'x', 2, true, nil, 7 }}\nreturn f(a, b)", "\n".repeat(300));
        assert_eq!(lines(&text), [1, 301, 302]);
        let long = format!("return {:?}", "x".repeat(1000));
        assert_eq!(lines(&long), [1]);
    }

    #[test]
    fn what_is_no_lua_has_no_lines() {
        assert!(lines("return )").is_empty());
    }

    #[test]
    fn neighbouring_lines_are_one_range() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[3, 5, 6, 7, 9]), "3, 5-7, 9");
    }
}
