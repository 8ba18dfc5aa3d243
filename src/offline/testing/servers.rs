//! `t:server("web/a", { up = false })`: the state of a server, as checks, operators and traffic would make it.

use std::sync::Arc;

use mlua::{Table, Value};

use super::asking::check_keys;
use super::tester::time;
use super::values::show;
use crate::balance::{Administrative, PoolState, Server};
use crate::offline::OfflineSite;
use crate::script::nearest_hint;

const KEYS: [&str; 5] = ["up", "in_flight", "latency", "weight", "state"];

/// Sets what the table names.
pub fn set(site: &OfflineSite, name: &str, options: &Table) -> Result<(), String> {
    check_keys(options, &KEYS, "t:server")?;
    let (pool, server) = find(site, name)?;
    let field = |key: &str| options.raw_get::<Value>(key).unwrap_or(Value::Nil);
    let wrong = |key: &str, expected: &str| {
        format!("t:server: {key}: got {}, expected {expected}", show(&field(key)))
    };
    if !field("in_flight").is_nil() {
        let count = field("in_flight").as_u32().ok_or_else(|| wrong("in_flight", "a number"))?;
        server.set_in_flight(count);
    }
    if !field("latency").is_nil() {
        let latency = time(&field("latency")).ok_or_else(|| wrong("latency", "a time"))?;
        server.latency.set((latency * 1e6) as u64, site.now());
    }
    let mut by_hand = pool.by_hand(server.name());
    if !field("weight").is_nil() {
        let weight = field("weight").as_u32().filter(|weight| *weight <= 256);
        by_hand.weight = Some(weight.ok_or_else(|| wrong("weight", "a number from 0 to 256"))?);
    }
    if !field("state").is_nil() {
        let state = field("state").as_string().map(|state| state.to_string_lossy()).unwrap_or_default();
        let state = Administrative::from_text(&state);
        by_hand.state = Some(state.ok_or_else(|| wrong("state", "\"ready\", \"drain\" or \"maint\""))?);
    }
    // The algorithms look again, whatever was set.
    pool.set_by_hand(server.name(), by_hand);
    if !field("up").is_nil() {
        let up = field("up").as_boolean().ok_or_else(|| wrong("up", "true or false"))?;
        pool.set_up(server.name(), up);
    }
    Ok(())
}

/// The pool and the server of `POOL/SERVER`. A name that has several addresses stands for the first.
fn find<'a>(site: &'a OfflineSite, name: &str) -> Result<(&'a Arc<PoolState>, Arc<Server>), String> {
    let expected = "t:server: expected \"POOL/SERVER\" as the name of a server";
    let (pool, name) = name.split_once('/').ok_or(expected)?;
    let pools = &site.pools.pools;
    let pool = pools.iter().find(|found| found.name() == pool).ok_or_else(|| {
        let hint = nearest_hint(pool.as_bytes(), pools.iter().map(|pool| pool.name()));
        format!("t:server: no pool is named \"{pool}\", {hint}")
    })?;
    let members = pool.members();
    let server = members.iter().find(|server| server.name() == name || server.is_address_of(name));
    let server = server.cloned().ok_or_else(|| {
        let hint = nearest_hint(name.as_bytes(), members.iter().map(|server| server.name()));
        format!("t:server: pool \"{}\" has no server \"{name}\", {hint}", pool.name())
    })?;
    Ok((pool, server))
}
