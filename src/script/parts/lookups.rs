//! The objects of `rsp.cidr` and `rsp.map`.

use std::net::IpAddr;
use std::sync::Arc;

use mlua::{Lua, Value};

use super::stores::object;
use super::{Outcome, part, text};
use crate::store::{Networks, WatchedMap};

pub(in crate::script) fn cidr_object(lua: &Lua, networks: Networks) -> mlua::Result<Value> {
    let has = move |lua: &Lua, address: Value| {
        let address = looked_up(lua, address, |text| std::str::from_utf8(text).ok()?.parse::<IpAddr>().ok())?;
        Ok(address.is_some_and(|address| networks.find(address).is_some()))
    };
    object(lua, "cidr", part(lua, has)?)
}

pub(in crate::script) fn map_object(lua: &Lua, file: Arc<WatchedMap>) -> mlua::Result<Value> {
    let get = move |lua: &Lua, key: Value| {
        let map = file.current();
        let found = looked_up(lua, key, |key| map.get(key).map(|value| lua.create_string(value)))?;
        Ok(found.transpose()?)
    };
    object(lua, "map", part(lua, get)?)
}

/// Nothing is found for nil: a header or a cookie that is not there.
fn looked_up<T>(lua: &Lua, key: Value, find: impl FnOnce(&[u8]) -> Option<T>) -> Outcome<Option<T>> {
    match key {
        Value::Nil => Ok(None),
        key => Ok(find(&text(lua, key, "key")?.as_bytes())),
    }
}
