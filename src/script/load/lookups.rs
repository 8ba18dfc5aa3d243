//! `rsp.cidr`, `rsp.map` and `rsp.basic_auth`: what scripts look things up in, outside of their memory.

use mlua::Value;

use super::builder::{Builder, SetOnce};
use super::calls::Call;
use super::error::{ReadValue, ValueError};
use super::schema::{Keys, list, row, table};
use super::stores::failed;
use super::values::{network, one_of, text};
use crate::config::Part;
use crate::script::parts;
use crate::store::{MapKind, Networks};

pub(super) fn cidr(call: &Call, _: &mut Builder) -> ReadValue<Value> {
    let items = list(call.argument, "a list of networks such as { \"10.0.0.0/8\", \"::1\" }")?;
    let mut networks = Vec::new();
    for (number, item) in (1..).zip(&items) {
        networks.push((network(item).map_err(|error| error.item(number))?, 0));
    }
    parts::cidr_object(call.lua, Networks::new(networks.into_iter())).map_err(failed)
}

pub(super) const MAP: Keys<MapKind> = Keys {
    noun: "key of rsp.map",
    rows: &[row("kind", |value, kind| one_of(value, &MapKind::ALL).map(|given| *kind = given))],
    items: 0,
};

pub(super) fn map(call: &Call, builder: &mut Builder) -> ReadValue<Value> {
    let path = builder.source.path(&text(call.argument, "the path of a file")?);
    let mut kind = MapKind::Exact;
    if !call.second.is_nil() {
        MAP.read(table(call.second, "a table such as { kind = \"prefix\" } after the file")?, &mut kind)?;
    }
    let file = builder.source.map(&path, kind).map_err(ValueError::new)?;
    let name = MapKind::ALL.iter().find(|(_, one)| *one == kind).map_or("", |(name, _)| name);
    let part = Part::Map { path, kind: name };
    builder.parts.push(SetOnce { value: part, position: call.position.clone() });
    parts::map_object(call.lua, file).map_err(failed)
}

pub(super) fn basic_auth(call: &Call, builder: &mut Builder) -> ReadValue<Value> {
    let path =
        builder.source.path(&text(call.argument, "the path of a file of users, as htpasswd writes it")?);
    let users = builder.source.users(&path).map_err(ValueError::new)?;
    builder.parts.push(SetOnce { value: Part::Users { path }, position: call.position.clone() });
    parts::basic_auth_object(call.lua, users).map_err(failed)
}
