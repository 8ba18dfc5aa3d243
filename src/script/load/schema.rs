//! The keys that a table of the config may have, as rows: a name and the function that reads its value. A new key is
//! one new row. Tables are read raw and must not have a metatable, which could
//! add unchecked keys.

use mlua::{Table, Value};

use super::error::{PathStep, ReadValue, ValueError, nearest, show};
use super::homes;

pub(super) struct KeyRow<T: 'static> {
    pub name: &'static str,
    take: Take<T>,
}

type Take<T> = fn(&Value, &mut T) -> ReadValue<()>;

pub(super) const fn row<T>(name: &'static str, take: Take<T>) -> KeyRow<T> {
    KeyRow { name, take }
}

/// The keys of one kind of table.
pub(super) struct Keys<T: 'static> {
    /// The noun for an unknown key: `unknown setting`.
    pub noun: &'static str,
    pub rows: &'static [KeyRow<T>],
    /// Number of values without a key that the table may hold; the caller reads them.
    pub items: usize,
}

impl<T> Keys<T> {
    /// Reads every key of the table into `into`. In the order of the rows, so that the same one of two errors is
    /// always reported: Lua's own order changes from run to run.
    pub(super) fn read(&self, table: &Table, into: &mut T) -> ReadValue<()> {
        plain(table)?;
        self.check_names(table)?;
        for row in self.rows {
            let value: Value = raw(table, row.name)?;
            if !value.is_nil() {
                (row.take)(&value, into).map_err(|error| error.key(row.name))?;
            }
        }
        Ok(())
    }

    /// The names of the supported keys.
    pub(super) fn taken(&self) -> impl Iterator<Item = &'static str> {
        self.rows.iter().map(|row| row.name)
    }

    fn check_names(&self, table: &Table) -> ReadValue<()> {
        let mut unknown: Vec<(String, ValueError)> = Vec::new();
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair.map_err(|error| ValueError::new(error.to_string()))?;
            if let Err(error) = self.check_name(&key, &value) {
                unknown.push((error.to_string(), error));
            }
        }
        unknown.sort_by(|a, b| a.0.cmp(&b.0));
        unknown.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    fn check_name(&self, key: &Value, value: &Value) -> ReadValue<()> {
        match key {
            Value::String(name) => self.check_word(&name.to_string_lossy()),
            Value::Integer(item) if (1..=self.items as i64).contains(item) => Ok(()),
            Value::Integer(item @ 1..) => {
                let expected = if self.items > 0 { "only one such value".to_owned() } else { self.list() };
                Err(ValueError::new(format!("{} without a key, expected {expected}", show(value)))
                    .item(usize::try_from(*item).unwrap_or(usize::MAX)))
            }
            other => Err(ValueError::new(format!("{} as a key, expected {}", show(other), self.list()))),
        }
    }

    fn check_word(&self, name: &str) -> ReadValue<()> {
        if self.rows.iter().any(|row| row.name == name) {
            return Ok(());
        }
        let elsewhere = homes::of(name).map(|home| format!("it belongs in {home}"));
        let hint = elsewhere.unwrap_or_else(|| self.hint(name));
        let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        Err(ValueError::new(format!("unknown {}, {hint}", self.noun)).key(name))
    }

    fn hint(&self, name: &str) -> String {
        match nearest(name, self.taken()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("expected {}", self.list()),
        }
    }

    fn list(&self) -> String {
        let names: Vec<&str> = self.taken().collect();
        match names[..] {
            [only] => only.to_owned(),
            _ => format!("one of {}", names.join(", ")),
        }
    }
}

pub(super) fn raw(table: &Table, key: impl mlua::IntoLua) -> ReadValue<Value> {
    table.raw_get(key).map_err(|error| ValueError::new(error.to_string()))
}

fn plain(table: &Table) -> ReadValue<()> {
    match table.metatable() {
        None => Ok(()),
        Some(_) => Err(ValueError::new("got a table with a metatable, expected a plain one")),
    }
}

/// The values of a list, in order. A gap or a named key is an error: both would lose values.
pub(super) fn list(value: &Value, expected: &str) -> ReadValue<Vec<Value>> {
    let Value::Table(table) = value else { return Err(ValueError::got(value, expected)) };
    plain(table)?;
    let mut items = Vec::new();
    for item in 1.. {
        match raw(table, item)? {
            Value::Nil => break,
            value => items.push(value),
        }
    }
    let odd =
        table.pairs::<Value, Value>().filter_map(Result::ok).find_map(|(key, _)| beyond(&key, items.len()));
    match odd {
        Some(PathStep::Item(_)) => {
            Err(ValueError::got(&Value::Nil, "no gap in the list").item(items.len() + 1))
        }
        Some(PathStep::Key(name)) => {
            Err(ValueError::new(format!("a named key in a list, expected {expected}")).key(name))
        }
        None => Ok(items),
    }
}

fn beyond(key: &Value, len: usize) -> Option<PathStep> {
    match key {
        Value::Integer(item) if (1..=len as i64).contains(item) => None,
        Value::Integer(_) => Some(PathStep::Item(0)),
        Value::String(name) => Some(PathStep::Key(name.to_string_lossy())),
        other => Some(PathStep::Key(show(other))),
    }
}

/// The table that is the value of a key.
pub(super) fn table<'a>(value: &'a Value, expected: &str) -> ReadValue<&'a Table> {
    value.as_table().ok_or_else(|| ValueError::got(value, expected))
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;

    const KEYS: Keys<Vec<String>> = Keys {
        noun: "setting",
        rows: &[
            row("via", |value, all| {
                all.push(show(value));
                Ok(())
            }),
            row("workers", |value, _| Err(ValueError::got(value, "1"))),
        ],
        items: 1,
    };

    fn read(text: &str) -> Result<Vec<String>, String> {
        let (lua, mut into) = (Lua::new(), Vec::new());
        let table: Table = lua.load(text).eval().unwrap();
        KEYS.read(&table, &mut into).map(|()| into).map_err(|error| error.line("call"))
    }

    #[test]
    fn known_keys_are_read() {
        assert_eq!(read("{ via = 'a', 'item' }"), Ok(vec!["\"a\"".to_owned()]));
        assert_eq!(read("{}"), Ok(vec![]));
    }

    #[test]
    fn unknown_keys_are_errors_with_a_hint() {
        for (text, message) in [
            ("{ vai = 1 }", "vai: unknown setting, did you mean via?"),
            ("{ colour = 1 }", "colour: unknown setting, expected one of via, workers"),
            ("{ workers = 2 }", "workers: got 2, expected 1"),
            ("{ 1, 2 }", "call[2]: 2 without a key, expected only one such value"),
            ("{ [true] = 2 }", "call: true as a key, expected one of via, workers"),
            ("{ zz = 1, yy = 1, workers = 3 }", "yy: unknown setting, expected one of via, workers"),
            (
                "setmetatable({}, { __index = { via = 1 } })",
                "call: got a table with a metatable, expected a plain one",
            ),
        ] {
            assert_eq!(read(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_list_has_neither_gaps_nor_names() {
        let lua = Lua::new();
        let items = |text: &str| {
            let value: Value = lua.load(text).eval().unwrap();
            list(&value, "things").map(|items| items.len()).map_err(|error| error.line("call"))
        };
        assert_eq!(items("{}"), Ok(0));
        assert_eq!(items("{ 'a', 'b' }"), Ok(2));
        for (text, message) in [
            ("{ 'a', nil, 'c' }", "call[2]: got nothing (nil), expected no gap in the list"),
            ("{ 'a', b = 1 }", "b: a named key in a list, expected things"),
            ("'a'", "call: got \"a\", expected things"),
            ("nil", "call: got nothing (nil), expected things"),
        ] {
            assert_eq!(items(text), Err(message.to_owned()), "{text}");
        }
    }
}
