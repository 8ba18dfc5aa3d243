//! Lua's patterns, with a bound on the work: what `string.find`, `match`, `gmatch` and `gsub` do with a text, with the
//! meaning and the errors of Lua 5.4 (`lstrlib.c`), byte for byte.
//!
//! Lua's own matcher tries every way in which the repetitions of a pattern can share a text, which may take years, and
//! nothing looks at the clock meanwhile. This one counts its steps and asks the `Clock` every so many. It
//! recurses as deep as Lua's, at most `DEEPEST` levels, which is little.

use memchr::{memchr, memmem};

use super::pattern_class::{Class, class_of};

/// Repetitions and captures within each other, as in Lua.
const DEEPEST: u32 = 200;
pub const MOST_CAPTURES: usize = 32;

/// Lengths of captures that have none; others are two more than they are.
const UNFINISHED: usize = 0;
const POSITION: usize = 1;
const FINISHED: usize = 2;

/// Bytes that a loop looks at between two counts.
const STRETCH: usize = 4096;
/// Bytes that a vectorised search passes in one step.
const BYTES_A_STEP: usize = 32;

/// Says when to stop.
pub trait Clock {
    /// Called when the steps granted are used up: how many more, or `None` to stop.
    fn more(&mut self) -> Option<i64>;
}

/// Why there is no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The clock said so.
    Stopped,
    /// Lua's message.
    Text(&'static str),
    /// There is no such capture, counted from 1.
    CaptureIndex(i32),
}

/// A capture of a match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Captured<'t> {
    Text(&'t [u8]),
    /// `()`: a position, counted from 1.
    Position(i64),
}

/// A match, or part of one, that ends before this byte.
#[derive(Clone, Copy)]
enum Found {
    At(usize),
    No,
    /// `fault` says why.
    Failed,
}

#[derive(Clone, Copy)]
struct Capture {
    start: usize,
    /// See `FINISHED`.
    len: usize,
}

/// What one byte is compared with.
#[derive(Clone, Copy)]
enum Item {
    Any,
    Byte(u8),
    Not(u8),
    Class(Class),
    /// From after `[` to before `]`.
    Set(usize, usize),
}

/// A pattern on a text.
pub struct Matcher<'t, C> {
    text: &'t [u8],
    pattern: &'t [u8],
    anchored: bool,
    clock: C,
    /// Steps left until the clock is asked.
    steps: i64,
    depth: u32,
    level: usize,
    captures: [Capture; MOST_CAPTURES],
    fault: Fault,
    /// Every match begins with this byte.
    first: Option<u8>,
}

impl<'t, C: Clock> Matcher<'t, C> {
    /// `^` at the start of `pattern` means the start of a search (but to `gmatch`, see `unanchored`). `steps` are
    /// granted at first.
    pub fn new(text: &'t [u8], pattern: &'t [u8], steps: i64, clock: C) -> Matcher<'t, C> {
        match pattern.strip_prefix(b"^") {
            Some(rest) => Matcher::with(text, rest, true, steps, clock),
            None => Matcher::with(text, pattern, false, steps, clock),
        }
    }

    pub fn unanchored(text: &'t [u8], pattern: &'t [u8], steps: i64, clock: C) -> Matcher<'t, C> {
        Matcher::with(text, pattern, false, steps, clock)
    }

    fn with(text: &'t [u8], pattern: &'t [u8], anchored: bool, steps: i64, clock: C) -> Matcher<'t, C> {
        Matcher {
            text,
            pattern,
            anchored,
            clock,
            steps,
            depth: DEEPEST,
            level: 0,
            captures: [Capture { start: 0, len: UNFINISHED }; MOST_CAPTURES],
            fault: Fault::Stopped,
            first: if anchored { None } else { first_byte(pattern) },
        }
    }

    pub fn is_anchored(&self) -> bool {
        self.anchored
    }

    /// Steps left until the clock is asked next.
    pub fn steps_left(&self) -> i64 {
        self.steps
    }

    pub fn set_steps(&mut self, steps: i64) {
        self.steps = steps;
    }

    /// The first match that begins at `from` or later: start and end. If anchored only one that begins there.
    pub fn search(&mut self, mut from: usize) -> Result<Option<(usize, usize)>, Fault> {
        loop {
            if let Some(byte) = self.first {
                match self.text.get(from..).and_then(|rest| memchr(byte, rest)) {
                    Some(skipped) => {
                        self.steps -= (skipped / BYTES_A_STEP) as i64;
                        from += skipped;
                    }
                    None => {
                        self.steps -= (self.text.len().saturating_sub(from) / BYTES_A_STEP) as i64;
                        return Ok(None);
                    }
                }
            }
            if let Some(end) = self.matches_at(from)? {
                return Ok(Some((from, end)));
            }
            if from >= self.text.len() || self.anchored {
                return Ok(None);
            }
            from += 1;
        }
    }

    /// The end of the match that begins at `start`.
    fn matches_at(&mut self, start: usize) -> Result<Option<usize>, Fault> {
        (self.depth, self.level) = (DEEPEST, 0);
        match self.run(start, 0) {
            Found::At(end) => Ok(Some(end)),
            Found::No => Ok(None),
            Found::Failed => Err(self.fault),
        }
    }

    /// Number of captures of the last match.
    pub fn captures(&self) -> usize {
        self.level
    }

    /// A capture of the last match, which was `start..end`, counted from 0. The whole match is the first one if there
    /// is no other.
    pub fn capture(&self, index: usize, (start, end): (usize, usize)) -> Result<Captured<'t>, Fault> {
        if index >= self.level {
            return match index {
                0 => Ok(Captured::Text(self.slice(start, end))),
                _ => Err(Fault::CaptureIndex(index as i32 + 1)),
            };
        }
        let Capture { start, len } = self.captures[index];
        match len {
            UNFINISHED => Err(Fault::Text("unfinished capture")),
            POSITION => Ok(Captured::Position(start as i64 + 1)),
            len => Ok(Captured::Text(self.slice(start, start + len - FINISHED))),
        }
    }

    fn slice(&self, start: usize, end: usize) -> &'t [u8] {
        self.text.get(start..end).unwrap_or_default()
    }

    /// A byte of the pattern; after its end is a zero, as in C.
    fn pattern_at(&self, at: usize) -> u8 {
        self.pattern.get(at).copied().unwrap_or(0)
    }

    fn fail(&mut self, fault: Fault) -> Found {
        self.fault = fault;
        Found::Failed
    }

    fn fail_with(&mut self, text: &'static str) -> Found {
        self.fail(Fault::Text(text))
    }

    /// Counts steps. False if the clock says stop.
    fn step(&mut self, steps: i64) -> bool {
        self.steps -= steps;
        self.steps >= 0 || self.ask_clock()
    }

    #[cold]
    fn ask_clock(&mut self) -> bool {
        match self.clock.more() {
            Some(more) => self.steps = more,
            None => self.fault = Fault::Stopped,
        }
        self.steps >= 0
    }

    /// Matches the pattern from `p` with the text from `s`.
    fn run(&mut self, s: usize, p: usize) -> Found {
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
        match self.pattern_at(p) {
            b'.' => Some((Item::Any, p + 1)),
            b'%' => match self.pattern.get(p + 1) {
                Some(&letter) => Some((class_of(letter).map_or(Item::Byte(letter), Item::Class), p + 2)),
                None => {
                    self.fail_with("malformed pattern (ends with '%')");
                    None
                }
            },
            b'[' => self.set_end(p).map(|end| {
                let item = match self.pattern.get(p + 1..end - 1) {
                    Some([byte]) => Item::Byte(*byte),
                    Some([b'^', byte]) => Item::Not(*byte),
                    _ => Item::Set(p + 1, end - 1),
                };
                (item, end)
            }),
            byte => Some((Item::Byte(byte), p + 1)),
        }
    }

    /// The end of the set that begins at `p`.
    fn set_end(&mut self, mut p: usize) -> Option<usize> {
        let start = p;
        p += 1;
        if self.pattern_at(p) == b'^' {
            p += 1;
        }
        // The first byte is never the end.
        loop {
            let Some(&byte) = self.pattern.get(p) else {
                self.fail_with("malformed pattern (missing ']')");
                return None;
            };
            p += 1;
            if byte == b'%' && p < self.pattern.len() {
                p += 1;
            }
            if self.pattern_at(p) == b']' {
                self.steps -= ((p - start) / 2) as i64;
                return Some(p + 1);
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
        let (negated, set) = match set.split_first() {
            Some((b'^', rest)) => (true, rest),
            _ => (false, set),
        };
        has(set, byte) != negated
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

/// Whether a set, without its brackets and `^`, has this byte.
fn has(mut set: &[u8], byte: u8) -> bool {
    loop {
        set = match set {
            [] => return false,
            // A `%` just before the `]` escapes it.
            [b'%'] => return byte == b']',
            [b'%', letter, rest @ ..] => {
                if class_of(*letter).map_or(byte == *letter, |class| class.has(byte)) {
                    return true;
                }
                rest
            }
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                rest
            }
            [only, rest @ ..] => {
                if *only == byte {
                    return true;
                }
                rest
            }
        }
    }
}

/// The byte that every match of the pattern begins with, if that is plain to see.
fn first_byte(pattern: &[u8]) -> Option<u8> {
    // More captures than these may be too many.
    let mut rest = pattern;
    for _ in 0..8 {
        match rest {
            [b'(', b')', ..] => return None,
            [b'(', inside @ ..] => rest = inside,
            _ => break,
        }
    }
    let (byte, after) = match rest {
        [b'(' | b')' | b'$' | b'.' | b'[' | b'%'] | [b'(' | b')' | b'$' | b'.' | b'[', ..] => return None,
        [b'%', letter, ..] if letter.is_ascii_alphanumeric() => return None,
        [b'%', byte, after @ ..] | [byte, after @ ..] => (*byte, after),
        [] => return None,
    };
    match after.first() {
        Some(b'*' | b'?' | b'-') => None,
        _ => Some(byte),
    }
}

/// Whether `find` looks for more than these very bytes.
pub fn has_specials(pattern: &[u8]) -> bool {
    let is_special =
        |byte: &u8| matches!(byte, b'^' | b'$' | b'*' | b'+' | b'?' | b'.' | b'(' | b'[' | b'%' | b'-');
    pattern.iter().any(is_special)
}

/// The first place of `wanted` at `from` or later.
pub fn find_plain(text: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let Some(first) = wanted.first() else { return Some(from) };
    let mut at = from;
    // A searcher takes long to make, and pays only where the first byte is frequent.
    for _ in 0..ATTEMPTS {
        at += memchr(*first, text.get(at..)?)?;
        if text[at..].starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
    memmem::find(text.get(at..)?, wanted).map(|found| at + found)
}

/// Places that `find_plain` looks at one by one.
const ATTEMPTS: usize = 8;
