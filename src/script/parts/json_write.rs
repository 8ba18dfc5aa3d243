//! `rsp.json.encode`: Lua's values as JSON. A table with the keys 1 to n is a list, an empty one an object unless it
//! was made by `rsp.json.array`; the fields of an object are in the order of their names, so that equal tables give
//! equal text.

use std::io::Write;

use mlua::{Lua, LuaString, MetaMethod, Table, UserDataMethods, Value};

use super::json_read::{Marks, decode};
use super::meter::{Meter, PIECE};
use super::{Outcome, part, text, wrong};

/// As deep as `rsp.json.decode` reads.
const DEEPEST: usize = 127;

/// The value of `rsp.json.null`.
struct Null;

pub(super) fn add(lua: &Lua, parts: &Table) -> mlua::Result<()> {
    lua.register_userdata_type::<Null>(|null| {
        null.add_meta_method(MetaMethod::ToString, |_, _, ()| Ok("null"))
    })?;
    let marks = Marks { null: Value::UserData(lua.create_any_userdata(Null)?), list: lua.create_table()? };
    parts.raw_set("json_null", &marks.null)?;
    parts.raw_set("array_mark", &marks.list)?;
    let of_decode = marks.clone();
    let decode = move |lua: &Lua, given: Value| {
        decode(lua, &text(lua, given, "rsp.json.decode")?.as_bytes(), &of_decode)
    };
    parts.raw_set("json_decode", part(lua, decode)?)?;
    let encode = move |lua: &Lua, value: Value| -> Outcome<LuaString> {
        let mut writer = Writer { out: Vec::new(), meter: Meter::new(lua), marks: &marks, checked: 0 };
        writer.value(&value, 0)?;
        Ok(lua.create_string(writer.out)?)
    };
    parts.raw_set("json_encode", part(lua, encode)?)
}

struct Writer<'a> {
    out: Vec<u8>,
    meter: Meter<'a>,
    marks: &'a Marks,
    /// So many bytes of `out` have been charged.
    checked: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Outcome<()> {
        self.meter.count()?;
        if self.out.len() - self.checked >= PIECE {
            self.checked = self.out.len();
            self.meter.reserve(self.out.len() * 2)?;
            self.meter.spend(PIECE)?;
        }
        match value {
            Value::Boolean(value) => self.plain(format_args!("{value}")),
            Value::Integer(value) => self.plain(format_args!("{value}")),
            Value::Number(value) if !value.is_finite() => return wrong(not("a number that JSON has not")),
            // As JSON has one kind of numbers, the quotient of two integers is written as an integer.
            Value::Number(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
                self.plain(format_args!("{}", *value as i64));
            }
            Value::Number(value) => self.plain(format_args!("{value:?}")),
            Value::String(text) => return self.text(&text.as_bytes()),
            Value::Table(table) => return self.table(table, depth + 1),
            value if *value == self.marks.null => self.plain(format_args!("null")),
            Value::Nil => return wrong(not("nil: use rsp.json.null")),
            other => return wrong(not(&format!("a {}", other.type_name()))),
        }
        Ok(())
    }

    fn plain(&mut self, shown: std::fmt::Arguments<'_>) {
        // Writing to a Vec cannot fail.
        let _ = self.out.write_fmt(shown);
    }

    fn text(&mut self, text: &[u8]) -> Outcome<()> {
        let Ok(text) = std::str::from_utf8(text) else { return wrong(not("a string that is not UTF-8")) };
        self.meter.reserve(self.out.len() + text.len())?;
        // Writing to a Vec cannot fail.
        let _ = serde_json::to_writer(&mut self.out, text);
        self.meter.spend(text.len())
    }

    fn table(&mut self, table: &Table, depth: usize) -> Outcome<()> {
        if depth > DEEPEST {
            return wrong(not(&format!("tables within tables, more than {DEEPEST}")));
        }
        let length = table.raw_len();
        let mut names: Vec<String> = Vec::new();
        let mut items = 0;
        for pair in table.pairs::<Value, Value>() {
            self.meter.count()?;
            match pair?.0 {
                Value::String(name) => match name.to_str() {
                    Ok(name) => names.push(name.to_owned()),
                    Err(_) => return wrong(not("a name that is not UTF-8")),
                },
                Value::Integer(at) if (1..=length as i64).contains(&at) => items += 1,
                _ => return wrong(not("a key that is neither a string nor of a list without gaps")),
            }
        }
        let is_list = items > 0 || (names.is_empty() && table.metatable().as_ref() == Some(&self.marks.list));
        match is_list {
            true if !names.is_empty() => wrong(not("a table with both a list and names")),
            true if items != length => wrong(not("a list with gaps")),
            true => self.list(table, length, depth),
            false => self.object(table, names, depth),
        }
    }

    fn list(&mut self, table: &Table, length: usize, depth: usize) -> Outcome<()> {
        self.out.push(b'[');
        for at in 1..=length {
            if at > 1 {
                self.out.push(b',');
            }
            let value: Value = table.raw_get(at)?;
            self.value(&value, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, mut names: Vec<String>, depth: usize) -> Outcome<()> {
        self.meter.reserve(names.iter().map(String::len).sum())?;
        names.sort_unstable();
        self.out.push(b'{');
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.text(name.as_bytes())?;
            self.out.push(b':');
            let value: Value = table.raw_get(name.as_str())?;
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

fn not(what: &str) -> String {
    format!("rsp.json.encode: got {what}")
}
