//! How a pattern is matched from one byte of the text on: as `match` in `lstrlib.c`, with its recursion and its order.

use super::item::{self, Item};
use super::{BYTES_A_STEP, Capture, Clock, FINISHED, Fault, Found, Matcher, POSITION, UNFINISHED};

/// Bytes that a loop looks at between two counts.
const STRETCH: usize = 4096;

impl<C: Clock> Matcher<'_, C> {
    /// Matches the pattern from `p` with the text from `s`.
    pub(super) fn run(&mut self, s: usize, p: usize) -> Found {
        if self.depth == 0 {
            return self.fail_with("pattern too complex");
        }
        self.depth -= 1;
        let found = self.items(s, p);
        self.depth += 1;
        found
    }

    fn items(&mut self, mut s: usize, mut p: usize) -> Found {
        loop {
            if !self.step(1) {
                return Found::Failed;
            }
            let Some(&byte) = self.pattern.get(p) else { return Found::At(s) };
            match byte {
                b'(' if self.pattern_at(p + 1) == b')' => return self.open(s, p + 2, POSITION),
                b'(' => return self.open(s, p + 1, UNFINISHED),
                b')' => return self.close(s, p + 1),
                b'$' if p + 1 == self.pattern.len() => {
                    return if s == self.text.len() { Found::At(s) } else { Found::No };
                }
                b'%' if matches!(self.pattern_at(p + 1), b'b' | b'f' | b'0'..=b'9') => {
                    match self.escape(s, p + 1) {
                        Ok((next, after)) => (s, p) = (next, after),
                        Err(not) => return not,
                    }
                }
                _ => match self.repeated(s, p) {
                    Ok((next, after)) => (s, p) = (next, after),
                    Err(found) => return found,
                },
            }
        }
    }

    /// `%b`, `%f` and `%1`, `p` after the `%`: where text and pattern go on.
    fn escape(&mut self, s: usize, p: usize) -> Result<(usize, usize), Found> {
        let (found, after) = match self.pattern_at(p) {
            b'b' => (self.balanced(s, p + 1), p + 3),
            b'f' => {
                if self.pattern_at(p + 1) != b'[' {
                    return Err(self.fail_with("missing '[' after '%f' in pattern"));
                }
                let Some(end) = self.set_end(p + 1) else { return Err(Found::Failed) };
                let before = s.checked_sub(1).and_then(|at| self.text.get(at)).copied().unwrap_or(0);
                let here = self.text.get(s).copied().unwrap_or(0);
                let is_frontier = !self.in_set(before, p + 2, end - 1) && self.in_set(here, p + 2, end - 1);
                (if is_frontier { Found::At(s) } else { Found::No }, end)
            }
            digit => (self.captured_again(s, digit), p + 1),
        };
        match found {
            Found::At(next) => Ok((next, after)),
            not => Err(not),
        }
    }

    /// One item with what follows it: where text and pattern go on, or how it ends.
    fn repeated(&mut self, s: usize, p: usize) -> Result<(usize, usize), Found> {
        let Some((item, after)) = self.item(p) else { return Err(Found::Failed) };
        let suffix = self.pattern_at(after);
        if !self.is_at(item, s) {
            return match suffix {
                b'*' | b'?' | b'-' => Ok((s, after + 1)),
                _ => Err(Found::No),
            };
        }
        match suffix {
            b'?' => match self.run(s + 1, after + 1) {
                Found::No => Ok((s, after + 1)),
                found => Err(found),
            },
            b'+' => Err(self.longest(s + 1, item, after + 1)),
            b'*' => Err(self.longest(s, item, after + 1)),
            b'-' => Err(self.shortest(s, item, after + 1)),
            _ => Ok((s + 1, after)),
        }
    }

    /// The item at `p`, and the end of it.
    fn item(&mut self, p: usize) -> Option<(Item, usize)> {
        self.part(p, item::item_at(self.pattern, p), |(_, end)| *end)
    }

    /// The end of the set that begins at `p`.
    fn set_end(&mut self, p: usize) -> Option<usize> {
        self.part(p, item::set_end(self.pattern, p), |end| *end)
    }

    /// Counts what it took to read this part of the pattern.
    fn part<T>(&mut self, p: usize, read: Result<T, &'static str>, end: impl Fn(&T) -> usize) -> Option<T> {
        match read {
            Ok(part) => {
                self.steps -= ((end(&part) - p) / 2) as i64;
                Some(part)
            }
            Err(text) => {
                self.fail_with(text);
                None
            }
        }
    }

    fn is_at(&mut self, item: Item, s: usize) -> bool {
        match (self.text.get(s), item) {
            (None, _) => false,
            (_, Item::Any) => true,
            (Some(&byte), Item::Byte(wanted)) => byte == wanted,
            (Some(&byte), Item::Not(other)) => byte != other,
            (Some(&byte), Item::Class(class)) => class.has(byte),
            (Some(&byte), Item::Set(start, end)) => self.in_set(byte, start, end),
        }
    }

    /// Whether the set whose inside is `start..end` has this byte.
    fn in_set(&mut self, byte: u8, start: usize, end: usize) -> bool {
        let set = self.pattern.get(start..end).unwrap_or_default();
        self.steps -= (set.len() / 4) as i64;
        item::has(set, byte)
    }

    /// As many of the item as there are, then fewer and fewer.
    fn longest(&mut self, s: usize, item: Item, p: usize) -> Found {
        let mut end = match self.span(s, item) {
            Some(end) => end,
            None => return Found::Failed,
        };
        loop {
            match self.run(end, p) {
                Found::No if end > s => end -= 1,
                found => return found,
            }
        }
    }

    /// The end of as many of the item as there are.
    fn span(&mut self, mut s: usize, item: Item) -> Option<usize> {
        if let Item::Any = item {
            return Some(self.text.len());
        }
        loop {
            let stretch = self.text.get(s..).unwrap_or_default();
            let stretch = &stretch[..stretch.len().min(STRETCH)];
            let fits = match item {
                Item::Any => stretch.len(),
                Item::Byte(wanted) => count(stretch, |byte| byte == wanted),
                Item::Not(other) => count(stretch, |byte| byte != other),
                Item::Class(class) => count(stretch, |byte| class.has(byte)),
                Item::Set(start, end) => count(stretch, |byte| self.in_set(byte, start, end)),
            };
            s += fits;
            if !self.step((fits / 2) as i64) {
                return None;
            }
            if fits < STRETCH {
                return Some(s);
            }
        }
    }

    /// As few of the item as fit.
    fn shortest(&mut self, mut s: usize, item: Item, p: usize) -> Found {
        loop {
            match self.run(s, p) {
                Found::No if self.is_at(item, s) => s += 1,
                found => return found,
            }
        }
    }

    fn open(&mut self, s: usize, p: usize, len: usize) -> Found {
        let Some(capture) = self.captures.get_mut(self.level) else {
            return self.fail_with("too many captures");
        };
        *capture = Capture { start: s, len };
        self.level += 1;
        let found = self.run(s, p);
        if let Found::No = found {
            self.level -= 1;
        }
        found
    }

    fn close(&mut self, s: usize, p: usize) -> Found {
        let Some(open) = self.captures[..self.level].iter().rposition(|capture| capture.len == UNFINISHED)
        else {
            return self.fail_with("invalid pattern capture");
        };
        self.captures[open].len = s - self.captures[open].start + FINISHED;
        let found = self.run(s, p);
        if let Found::No = found {
            self.captures[open].len = UNFINISHED;
        }
        found
    }

    /// `%bxy`; `p` is at the x.
    fn balanced(&mut self, s: usize, p: usize) -> Found {
        let (Some(&opens), Some(&closes)) = (self.pattern.get(p), self.pattern.get(p + 1)) else {
            return self.fail_with("malformed pattern (missing arguments to '%b')");
        };
        if self.text.get(s) != Some(&opens) {
            return Found::No;
        }
        let (mut at, mut open) = (s + 1, 1_usize);
        while let Some(stretch) = self.text.get(at..).filter(|rest| !rest.is_empty()) {
            let stretch = &stretch[..stretch.len().min(STRETCH)];
            for (index, &byte) in stretch.iter().enumerate() {
                if byte == closes {
                    open -= 1;
                    if open == 0 {
                        self.steps -= (index / 2) as i64;
                        return Found::At(at + index + 1);
                    }
                } else if byte == opens {
                    open += 1;
                }
            }
            at += stretch.len();
            if !self.step((stretch.len() / 2) as i64) {
                return Found::Failed;
            }
        }
        Found::No
    }

    /// `%1`: the same text as the capture.
    fn captured_again(&mut self, s: usize, digit: u8) -> Found {
        let index = usize::from(digit).checked_sub(usize::from(b'1'));
        let capture = index.and_then(|index| self.captures[..self.level].get(index)).copied();
        let Some(capture) = capture.filter(|capture| capture.len != UNFINISHED) else {
            return self.fail(Fault::CaptureIndex(i32::from(digit) - i32::from(b'0')));
        };
        // A position equals nothing.
        let Some(len) = capture.len.checked_sub(FINISHED) else { return Found::No };
        let rest = self.text.get(s..).unwrap_or_default();
        self.steps -= (len / BYTES_A_STEP) as i64;
        if rest.starts_with(self.slice(capture.start, capture.start + len)) {
            Found::At(s + len)
        } else {
            Found::No
        }
    }
}

/// How many bytes at the start fit.
fn count(bytes: &[u8], mut fits: impl FnMut(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !fits(*byte)).unwrap_or(bytes.len())
}
