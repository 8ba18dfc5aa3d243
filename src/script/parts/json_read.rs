//! `rsp.json.decode`: serde_json reads, and each value becomes Lua's as it comes. Nested too deeply (128) is an error
//! of serde_json.

use std::cell::RefCell;
use std::fmt;

use mlua::{IntoLua, Lua, Table, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::meter::Meter;
use super::{OrReason, Outcome, Refusal, no};

/// The value that stands for JSON's null, and the metatable of lists.
#[derive(Clone)]
pub(super) struct Marks {
    pub null: Value,
    pub list: Table,
}

pub(super) fn decode(lua: &Lua, given: &[u8], marks: &Marks) -> Outcome<OrReason> {
    let (meter, refused) = (RefCell::new(Meter::new(lua)), RefCell::new(None));
    let mut reader = serde_json::Deserializer::from_slice(given);
    let seed = Seed { lua, marks, meter: &meter, refused: &refused };
    let read = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match (read, refused.into_inner()) {
        (_, Some(refusal)) => Err(refusal),
        (Ok(value), None) => Ok((value, None)),
        (Err(error), None) => Ok(no(error.to_string())),
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    lua: &'a Lua,
    marks: &'a Marks,
    meter: &'a RefCell<Meter<'a>>,
    /// What serde cannot carry.
    refused: &'a RefCell<Option<Refusal>>,
}

impl Seed<'_> {
    fn kept<T, E: Error>(&self, outcome: Result<T, impl Into<Refusal>>) -> Result<T, E> {
        outcome.map_err(|refusal| {
            *self.refused.borrow_mut() = Some(refusal.into());
            E::custom("refused")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        let counted = self.meter.borrow_mut().count();
        self.kept(counted)?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(self.marks.null.clone())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Number(value as f64), Value::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.kept(value.into_lua(self.lua))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let list = self.kept(self.lua.create_table())?;
        let mut at = 0_i64;
        while let Some(value) = items.next_element_seed(self)? {
            at += 1;
            self.kept(list.raw_set(at, value))?;
        }
        self.kept(list.set_metatable(Some(self.marks.list.clone())))?;
        Ok(Value::Table(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let object = self.kept(self.lua.create_table())?;
        while let Some(name) = fields.next_key_seed(self)? {
            let value = fields.next_value_seed(self)?;
            self.kept(object.raw_set(name, value))?;
        }
        Ok(Value::Table(object))
    }
}
