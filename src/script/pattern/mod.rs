//! Lua's patterns, with a bound on the work: what `string.find`, `match`, `gmatch` and `gsub` do with a text, with the
//! meaning and the errors of Lua 5.4 (`lstrlib.c`), byte for byte.
//!
//! Lua's own matcher tries every way in which the repetitions of a pattern can share a text, which may take years, and
//! nothing looks at the clock meanwhile. This one counts its steps and asks the `Clock` every so many. It
//! recurses as deep as Lua's, at most `DEEPEST` levels, which is little.

mod class;
mod item;
mod matching;
mod plain;

use memchr::memchr;

use self::plain::first_byte;
pub use self::plain::{find_plain, has_specials};

/// Repetitions and captures within each other, as in Lua.
const DEEPEST: u32 = 200;
pub const MOST_CAPTURES: usize = 32;

/// Lengths of captures that have none; others are two more than they are.
const UNFINISHED: usize = 0;
const POSITION: usize = 1;
const FINISHED: usize = 2;

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

    fn ask_clock(&mut self) -> bool {
        match self.clock.more() {
            Some(more) => self.steps = more,
            None => self.fault = Fault::Stopped,
        }
        self.steps >= 0
    }
}
