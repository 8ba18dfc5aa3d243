//! The keys a table of the config may have, as rows: a name, and the function that takes its value. A new key is one
//! new row (and leaves the table of those that this version does not do, `config::later`). Tables are read raw and must
//! be plain: a metatable could add keys that nobody checked.

use mlua::{Table, Value};

use super::error::{Read, Step, Wrong, nearest, show};
use super::homes;
use crate::config::later::LATER;

pub(super) struct Row<T: 'static> {
    pub name: &'static str,
    take: Take<T>,
}

type Take<T> = fn(&Value, &mut T) -> Read<()>;

pub(super) const fn row<T>(name: &'static str, take: Take<T>) -> Row<T> {
    Row { name, take }
}

/// The keys of one kind of table.
pub(super) struct Keys<T: 'static> {
    /// What an unknown key is called: `unknown setting`.
    pub noun: &'static str,
    pub rows: &'static [Row<T>],
    /// Names that this version does not do.
    pub later: &'static [&'static str],
    /// Values without a key that the table may hold; whoever reads the table takes them.
    pub items: usize,
}

impl<T> Keys<T> {
    /// Takes every key of the table into `into`. In the order of the rows, so that of two errors always the same
    /// one is reported: Lua's own order changes from run to run.
    pub(super) fn read(&self, table: &Table, into: &mut T) -> Read<()> {
        plain(table)?;
        self.check_names(table)?;
        for row in self.rows {
            let value: Value = raw(table, row.name)?;
            if !value.is_nil() {
                (row.take)(&value, into).map_err(|wrong| wrong.key(row.name))?;
            }
        }
        Ok(())
    }

    /// The names of the keys that this version takes.
    pub(super) fn taken(&self) -> impl Iterator<Item = &'static str> {
        self.rows.iter().map(|row| row.name)
    }

    fn check_names(&self, table: &Table) -> Read<()> {
        let mut unknown: Vec<(String, Wrong)> = Vec::new();
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair.map_err(|error| Wrong::new(error.to_string()))?;
            if let Err(wrong) = self.check_name(&key, &value) {
                unknown.push((wrong.to_string(), wrong));
            }
        }
        unknown.sort_by(|a, b| a.0.cmp(&b.0));
        unknown.into_iter().next().map_or(Ok(()), |(_, wrong)| Err(wrong))
    }

    fn check_name(&self, key: &Value, value: &Value) -> Read<()> {
        match key {
            Value::String(name) => self.check_word(&name.to_string_lossy()),
            Value::Integer(item) if (1..=self.items as i64).contains(item) => Ok(()),
            Value::Integer(item @ 1..) => {
                let expected = if self.items > 0 { "only one such value".to_owned() } else { self.list() };
                Err(Wrong::new(format!("{} without a key, expected {expected}", show(value)))
                    .item(usize::try_from(*item).unwrap_or(usize::MAX)))
            }
            other => Err(Wrong::new(format!("{} as a key, expected {}", show(other), self.list()))),
        }
    }

    fn check_word(&self, name: &str) -> Read<()> {
        if self.rows.iter().any(|row| row.name == name) {
            return Ok(());
        }
        if self.later.contains(&name) {
            return Err(Wrong::new(LATER).key(name));
        }
        let elsewhere = homes::of(name).map(|home| format!("it belongs in {home}"));
        let hint = elsewhere.unwrap_or_else(|| self.hint(name));
        let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        Err(Wrong::new(format!("unknown {}, {hint}", self.noun)).key(name))
    }

    fn hint(&self, name: &str) -> String {
        match nearest(name, self.taken().chain(self.later.iter().copied())) {
            Some(near) if self.later.contains(&near) => format!("did you mean {near}, which is {LATER}?"),
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

pub(super) fn raw(table: &Table, key: impl mlua::IntoLua) -> Read<Value> {
    table.raw_get(key).map_err(|error| Wrong::new(error.to_string()))
}

fn plain(table: &Table) -> Read<()> {
    match table.metatable() {
        None => Ok(()),
        Some(_) => Err(Wrong::new("got a table with a metatable, expected a plain one")),
    }
}

/// The values of a list, in order. A hole or a named key is an error: both are values that would be lost.
pub(super) fn list(value: &Value, expected: &str) -> Read<Vec<Value>> {
    let Value::Table(table) = value else { return Err(Wrong::got(value, expected)) };
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
        Some(Step::Item(_)) => Err(Wrong::got(&Value::Nil, "no gap in the list").item(items.len() + 1)),
        Some(Step::Key(name)) => {
            Err(Wrong::new(format!("a named key in a list, expected {expected}")).key(name))
        }
        None => Ok(items),
    }
}

fn beyond(key: &Value, len: usize) -> Option<Step> {
    match key {
        Value::Integer(item) if (1..=len as i64).contains(item) => None,
        Value::Integer(_) => Some(Step::Item(0)),
        Value::String(name) => Some(Step::Key(name.to_string_lossy())),
        other => Some(Step::Key(show(other))),
    }
}

/// The table of a key that holds keys itself.
pub(super) fn table<'a>(value: &'a Value, expected: &str) -> Read<&'a Table> {
    value.as_table().ok_or_else(|| Wrong::got(value, expected))
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
            row("workers", |value, _| Err(Wrong::got(value, "1"))),
        ],
        later: &["health"],
        items: 1,
    };

    fn read(text: &str) -> Result<Vec<String>, String> {
        let (lua, mut into) = (Lua::new(), Vec::new());
        let table: Table = lua.load(text).eval().unwrap();
        KEYS.read(&table, &mut into).map(|()| into).map_err(|wrong| wrong.line("call"))
    }

    #[test]
    fn known_keys_reach_their_reader() {
        assert_eq!(read("{ via = 'a', 'item' }"), Ok(vec!["\"a\"".to_owned()]));
        assert_eq!(read("{}"), Ok(vec![]));
    }

    #[test]
    fn every_other_key_is_an_error_that_helps() {
        for (text, message) in [
            ("{ vai = 1 }", "vai: unknown setting, did you mean via?"),
            ("{ colour = 1 }", "colour: unknown setting, expected one of via, workers"),
            (
                "{ helth = 1 }",
                "helth: unknown setting, did you mean health, which is not supported by this version?",
            ),
            ("{ health = {} }", "health: not supported by this version"),
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
            list(&value, "things").map(|items| items.len()).map_err(|wrong| wrong.line("call"))
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
