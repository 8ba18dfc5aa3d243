//! `rsp.sha256`, `rsp.hmac_sha256` and `rsp.equal`.

use hmac::{Hmac, Mac};
use mlua::{Lua, LuaString, Table, Value};
use sha2::{Digest, Sha256};

use super::meter::{Meter, PIECE};
use super::{Outcome, part, text, wrong};

pub(super) fn add(lua: &Lua, parts: &Table) -> mlua::Result<()> {
    parts.raw_set("sha256", part(lua, |lua, value| sha256(lua, &text(lua, value, "rsp.sha256")?))?)?;
    let hmac = |lua: &Lua, (key, value): (Value, Value)| {
        let (key, value) = (text(lua, key, "rsp.hmac_sha256: key")?, text(lua, value, "rsp.hmac_sha256")?);
        hmac_sha256(lua, &key, &value)
    };
    parts.raw_set("hmac_sha256", part(lua, hmac)?)?;
    let equal = |lua: &Lua, (a, b): (Value, Value)| {
        let (a, b) = (text(lua, a, "rsp.equal")?, text(lua, b, "rsp.equal")?);
        Ok(is_equal(&a.as_bytes(), &b.as_bytes()))
    };
    parts.raw_set("equal", part(lua, equal)?)
}

fn sha256(lua: &Lua, value: &LuaString) -> Outcome<String> {
    let (mut hash, meter) = (Sha256::new(), Meter::new(lua));
    for piece in value.as_bytes().chunks(PIECE) {
        hash.update(piece);
        meter.spend(piece.len())?;
    }
    Ok(hex(&hash.finalize()))
}

fn hmac_sha256(lua: &Lua, key: &LuaString, value: &LuaString) -> Outcome<String> {
    let meter = Meter::new(lua);
    meter.spend(key.as_bytes().len())?;
    let Ok(mut code) = Hmac::<Sha256>::new_from_slice(&key.as_bytes()) else {
        return wrong("rsp.hmac_sha256: this key cannot be used");
    };
    for piece in value.as_bytes().chunks(PIECE) {
        code.update(piece);
        meter.spend(piece.len())?;
    }
    Ok(hex(&code.finalize().into_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In a time that says nothing about where they differ, only whether they are equally long.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}
