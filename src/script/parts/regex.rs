//! `rsp.regex`: expressions of the regex crate, whose matching takes a time that is at most proportional to the text and
//! to the size of the compiled expression. Both are bounded, and their product is.

use mlua::{Function, IntoLua, Lua, LuaString, MultiValue, Table, Value};
use regex::bytes::{Captures, Regex, RegexBuilder};

use super::meter::Meter;
use super::stores::object;
use super::{Outcome, part, text, wrong};
use crate::script::ffi;

/// Sizes of a compiled expression that are tried, so that its size is known about; the last while a config is loaded.
const SIZES: [usize; 4] = [32 << 10, 128 << 10, 512 << 10, 2 << 20];
/// Those of a handler, which may compile one for every request.
const IN_HANDLERS: usize = 2;
const LONGEST_PATTERN: usize = 64 * 1024;
/// About the size of one state of the automaton.
const STATE: usize = 64;
/// States times bytes of one search at worst. Nearly all searches take a small part of that.
const MOST_WORK: usize = 200_000_000;

pub(super) fn add(lua: &Lua, parts: &Table) -> mlua::Result<()> {
    parts.raw_set("regex", part(lua, |lua, pattern: Value| regex(lua, pattern))?)
}

fn regex(lua: &Lua, pattern: Value) -> Outcome<Value> {
    let pattern = text(lua, pattern, "rsp.regex")?;
    let expression = Expression::new(lua, &pattern)?;
    let other = expression.clone();
    let found = part(lua, move |lua, given: Value| expression.find(lua, given))?;
    let replace =
        part(lua, move |lua, (given, by, most): (Value, Value, Value)| other.replace(lua, given, by, &most))?;
    let methods: (Function, Function) = (found, replace);
    Ok(object(lua, "regex", methods)?)
}

#[derive(Clone)]
struct Expression {
    regex: Regex,
    states: usize,
}

impl Expression {
    fn new(lua: &Lua, pattern: &LuaString) -> Outcome<Expression> {
        let Ok(pattern) = pattern.to_str() else { return wrong("rsp.regex: a pattern that is not UTF-8") };
        if pattern.len() > LONGEST_PATTERN {
            return wrong(format!("rsp.regex: a pattern of {} bytes is too long", pattern.len()));
        }
        let sizes = if ffi::is_loading(lua) { &SIZES[..] } else { &SIZES[..IN_HANDLERS] };
        for size in sizes {
            let built = RegexBuilder::new(&pattern).size_limit(*size).dfa_size_limit(2 * size).build();
            if let Some(why) = ffi::exhausted(lua) {
                return wrong(why);
            }
            match built {
                Ok(regex) => return Ok(Expression { regex, states: size / STATE }),
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => return wrong(format!("rsp.regex: {}", reason(&error))),
            }
        }
        wrong("rsp.regex: the pattern is too large once it is compiled")
    }

    fn check(&self, lua: &Lua, bytes: usize) -> Outcome<()> {
        match self.states.saturating_mul(bytes) > MOST_WORK {
            true => wrong(format!("a text of {bytes} bytes is too long for this pattern")),
            false => Meter::new(lua).spend(bytes),
        }
    }

    fn find(&self, lua: &Lua, given: Value) -> Outcome<MultiValue> {
        let given = text(lua, given, "text")?;
        let given = given.as_bytes();
        self.check(lua, given.len())?;
        let Some(found) = self.regex.captures(&given) else {
            return Ok(MultiValue::from_iter([Value::Nil]));
        };
        let first = usize::from(found.len() > 1);
        let groups = found.iter().skip(first);
        // A group that took no part is empty, not nil: the first result says whether anything matches.
        let groups = groups.map(|group| lua.create_string(group.map_or(&b""[..], |group| group.as_bytes())));
        let groups: Vec<LuaString> = groups.collect::<mlua::Result<_>>()?;
        Ok(groups.into_iter().map(Value::String).collect())
    }

    fn replace(&self, lua: &Lua, given: Value, by: Value, most: &Value) -> Outcome<(Value, usize)> {
        let (given, by) = (text(lua, given, "text")?, text(lua, by, "replacement")?);
        let (given, by) = (given.as_bytes(), by.as_bytes());
        let most = match most {
            Value::Nil => usize::MAX,
            other => match other.as_usize() {
                Some(most) => most,
                None => return wrong("expected a whole number of replacements at most"),
            },
        };
        self.check(lua, given.len())?;
        let pieces = pieces(&by, self.regex.captures_len())?;
        let (mut out, mut end, mut count) = (Vec::new(), 0, 0);
        let mut meter = Meter::new(lua);
        for found in self.regex.captures_iter(&given).take(most) {
            meter.count()?;
            meter.reserve(out.len())?;
            let whole = found.get_match();
            out.extend_from_slice(&given[end..whole.start()]);
            pieces.iter().for_each(|piece| piece.write(&found, &mut out));
            (end, count) = (whole.end(), count + 1);
        }
        out.extend_from_slice(&given[end..]);
        meter.reserve(out.len())?;
        Ok((lua.create_string(out)?.into_lua(lua)?, count))
    }
}

/// The last line says what is wrong; those before it draw where.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// A part of a replacement.
enum Piece<'a> {
    Text(&'a [u8]),
    Group(usize),
}

impl Piece<'_> {
    fn write(&self, found: &Captures<'_>, out: &mut Vec<u8>) {
        match self {
            Piece::Text(text) => out.extend_from_slice(text),
            Piece::Group(number) => {
                out.extend_from_slice(found.get(*number).map_or(b"", |group| group.as_bytes()));
            }
        }
    }
}

/// `%0` to `%9` and `%%`. As with `string.gsub`, `%1` is the whole match where the pattern has no groups.
fn pieces(by: &[u8], groups: usize) -> Outcome<Vec<Piece<'_>>> {
    let (mut pieces, mut rest) = (Vec::new(), by);
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        pieces.push(Piece::Text(&rest[..at]));
        pieces.push(match rest.get(at + 1) {
            Some(b'%') => Piece::Text(b"%"),
            Some(b'1') if groups == 1 => Piece::Group(0),
            Some(digit @ b'0'..=b'9') if usize::from(digit - b'0') < groups => {
                Piece::Group(usize::from(digit - b'0'))
            }
            Some(digit @ b'0'..=b'9') => {
                return wrong(format!(
                    "the replacement has %{}, the pattern has no such group",
                    digit - b'0'
                ));
            }
            _ => return wrong("a % in the replacement, expected %0 to %9 or %%"),
        });
        rest = &rest[at + 2..];
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}
