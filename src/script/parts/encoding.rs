//! `rsp.base64`, `rsp.hex` and `rsp.url`: bytes as text and back. Text that is none gives nil and a reason.

use base64ct::{Base64, Base64Unpadded, Base64UrlUnpadded, Encoding};
use mlua::{IntoLua, Lua, LuaString, Table, Value};

use super::meter::{Meter, PIECE};
use super::{OrReason, Outcome, no, part, text};

/// Turns one piece of a text into its other form.
type Step = fn(&[u8], &mut Vec<u8>);
/// Reads a whole text.
type Decode = fn(&Lua, &LuaString) -> Outcome<OrReason>;
/// Turns one piece of a text back, unless it is wrong.
type Checked = fn(&[u8]) -> Result<Vec<u8>, &'static str>;

pub(super) fn add(lua: &Lua, parts: &Table) -> mlua::Result<()> {
    let encoders: [(&'static str, usize, Step); 3] = [
        ("base64", 2, |piece, out| out.extend(Base64::encode_string(piece).into_bytes())),
        ("hex", 2, |piece, out| out.extend(piece.iter().flat_map(|byte| HEX[usize::from(*byte)]))),
        ("url", 3, |piece, out| piece.iter().for_each(|byte| url_byte(*byte, out))),
    ];
    for (name, growth, step) in encoders {
        let work = move |lua: &Lua, value: Value| {
            let given = text(lua, value, &format!("rsp.{name}.encode"))?;
            encode(lua, &given, growth, step)
        };
        parts.raw_set(format!("{name}_encode"), part(lua, work)?)?;
    }
    let decoders: [(&'static str, Decode); 3] =
        [("base64", base64_decode), ("hex", hex_decode), ("url", url_decode)];
    for (name, decode) in decoders {
        let work =
            move |lua: &Lua, value: Value| decode(lua, &text(lua, value, &format!("rsp.{name}.decode"))?);
        parts.raw_set(format!("{name}_decode"), part(lua, work)?)?;
    }
    Ok(())
}

const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
};

/// `growth`: how many times longer the result may be.
fn encode(lua: &Lua, given: &LuaString, growth: usize, step: Step) -> Outcome<LuaString> {
    let (given, meter) = (given.as_bytes(), Meter::new(lua));
    meter.reserve(given.len().saturating_mul(growth))?;
    let mut out = Vec::with_capacity(given.len() / 2 * 3);
    for piece in given.chunks(PIECE) {
        step(piece, &mut out);
        meter.spend(piece.len())?;
    }
    Ok(lua.create_string(out)?)
}

fn decode(lua: &Lua, given: &[u8], step: Checked) -> Outcome<OrReason> {
    let meter = Meter::new(lua);
    meter.reserve(given.len())?;
    let mut out = Vec::with_capacity(given.len());
    for piece in given.chunks(PIECE) {
        match step(piece) {
            Ok(bytes) => out.extend(bytes),
            Err(reason) => return Ok(no(reason)),
        }
        meter.spend(piece.len())?;
    }
    Ok((lua.create_string(out)?.into_lua(lua)?, None))
}

/// Both alphabets (`+/` and `-_`), with the padding or without it, as JSON Web Tokens have it.
fn base64_decode(lua: &Lua, given: &LuaString) -> Outcome<OrReason> {
    const WRONG: &str = "not base64";
    let given = given.as_bytes();
    let padding = given.iter().rev().take_while(|byte| **byte == b'=').count();
    if padding > 2 || (padding > 0 && !given.len().is_multiple_of(4)) {
        return Ok(no(WRONG));
    }
    let digits = &given[..given.len() - padding];
    let of_urls = digits.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let step: Checked = match of_urls {
        true => |piece| {
            let piece = std::str::from_utf8(piece).map_err(|_| WRONG)?;
            Base64UrlUnpadded::decode_vec(piece).map_err(|_| WRONG)
        },
        false => |piece| {
            let piece = std::str::from_utf8(piece).map_err(|_| WRONG)?;
            Base64Unpadded::decode_vec(piece).map_err(|_| WRONG)
        },
    };
    decode(lua, digits, step)
}

fn hex_decode(lua: &Lua, given: &LuaString) -> Outcome<OrReason> {
    let given = given.as_bytes();
    if !given.len().is_multiple_of(2) {
        return Ok(no("not hex: an odd number of digits"));
    }
    decode(lua, &given, |piece| {
        let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        piece.chunks_exact(2).map(byte).collect::<Option<_>>().ok_or("not hex")
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// RFC 3986: all but the unreserved characters as `%XX`.
fn url_byte(byte: u8, out: &mut Vec<u8>) {
    match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => out.push(byte),
        false => {
            let [high, low] = HEX[usize::from(byte)];
            out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
        }
    }
}

/// `+` stays: it is a blank only in forms, as which `req.args` reads it.
fn url_decode(lua: &Lua, given: &LuaString) -> Outcome<OrReason> {
    let (given, meter) = (given.as_bytes(), Meter::new(lua));
    meter.reserve(given.len())?;
    let mut out = Vec::with_capacity(given.len());
    let mut rest = &given[..];
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let byte = match (*first, after) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low)
            }
            (b'%', _) => None,
            (byte, _) => Some(byte),
        };
        let Some(byte) = byte else { return Ok(no("a % without two hex digits")) };
        out.push(byte);
        if out.len().is_multiple_of(PIECE) {
            meter.spend(PIECE)?;
        }
    }
    Ok((lua.create_string(out)?.into_lua(lua)?, None))
}
