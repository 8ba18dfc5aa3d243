//! `rsp.shared`, `rsp.rate`, `rsp.concurrency` and `rsp.split`: what scripts share between workers. Each call gives an
//! object to the script and a `Part` to the config, by which a second run of it is compared.

use mlua::{Function, Value};

use super::builder::{Builder, SetOnce};
use super::calls::Call;
use super::error::{ReadValue, ValueError, quoted};
use super::schema::{Keys, list, row, table};
use super::values::{function, is_token, name, size, text, time, whole, yes_or_no};
use crate::config::{ConcurrencyConfig, Part, RateConfig, SharedConfig, SplitBy, SplitConfig};
use crate::script::parts;

const MOST_ENTRIES: i64 = 10_000_000;
/// So that the largest value and what it costs always fit.
const LEAST_MEMORY: u64 = 128 << 10;

pub(super) const SHARED: Keys<SharedConfig> = Keys {
    noun: "key of rsp.shared",
    rows: &[
        row("entries", |value, all| whole(value, 1..=MOST_ENTRIES).map(|most| all.entries = most as usize)),
        row("memory", |value, all| {
            size(value, LEAST_MEMORY..=1 << 40, "a size from \"128k\"").map(|most| all.memory = most as usize)
        }),
    ],
    items: 0,
};

pub(super) fn shared(call: &Call, builder: &mut Builder) -> ReadValue<Value> {
    let name = name(call.argument)?;
    let mut config = SharedConfig { name, entries: 10_000, memory: 16 << 20 };
    if !call.second.is_nil() {
        SHARED
            .read(table(call.second, "a table such as { entries = 10000 } after the name")?, &mut config)?;
    }
    note(Part::Shared(config.clone()), call, builder)?;
    let table = builder.source.store().shared(&config.name, config.entries, parts::now());
    parts::shared_object(call.lua, table, &config).map_err(failed)
}

pub(super) struct RateTable {
    name: Option<String>,
    rate: Option<i64>,
    per: u64,
    burst: Option<i64>,
    entries: usize,
    dry_run: bool,
}

/// Larger ones would be more than clocks can tell apart.
const MOST_RATE: i64 = 1_000_000;

pub(super) const RATE: Keys<RateTable> = Keys {
    noun: "key of rsp.rate",
    rows: &[
        row("name", |value, all| name(value).map(|name| all.name = Some(name))),
        row("rate", |value, all| whole(value, 1..=MOST_RATE).map(|rate| all.rate = Some(rate))),
        row("per", |value, all| time(value).map(|time| all.per = time.as_nanos() as u64)),
        row("burst", |value, all| whole(value, 1..=MOST_RATE).map(|burst| all.burst = Some(burst))),
        row("entries", |value, all| whole(value, 1..=MOST_ENTRIES).map(|most| all.entries = most as usize)),
        row("dry_run", |value, all| yes_or_no(value).map(|is| all.dry_run = is)),
    ],
    items: 0,
};

pub(super) fn rate(call: &Call, builder: &mut Builder) -> ReadValue<Value> {
    let mut all = RateTable {
        name: None,
        rate: None,
        per: 1_000_000_000,
        burst: None,
        entries: 100_000,
        dry_run: false,
    };
    RATE.read(
        table(call.argument, "a table such as { name = \"api\", rate = 10, per = \"1s\" }")?,
        &mut all,
    )?;
    let rate = all.rate.ok_or_else(|| ValueError::new("no rate, expected one as in rate = 10"))?;
    let config = RateConfig {
        name: all.name.unwrap_or_else(|| numbered("rate", builder)),
        interval: (all.per / rate as u64).max(1),
        burst: all.burst.unwrap_or(rate) as u64,
        entries: all.entries,
        dry_run: all.dry_run,
    };
    note(Part::Rate(config.clone()), call, builder)?;
    let limit = builder.source.store().rate(&config.name, config.entries, parts::now());
    parts::rate_object(call.lua, limit, &config).map_err(failed)
}

pub(super) struct ConcurrencyTable {
    name: Option<String>,
    most: Option<u32>,
}

pub(super) const CONCURRENCY: Keys<ConcurrencyTable> = Keys {
    noun: "key of rsp.concurrency",
    rows: &[
        row("name", |value, all| name(value).map(|name| all.name = Some(name))),
        row("most", |value, all| whole(value, 1..=1_000_000).map(|most| all.most = Some(most as u32))),
    ],
    items: 0,
};

pub(super) fn concurrency(call: &Call, builder: &mut Builder) -> ReadValue<Value> {
    let mut all = ConcurrencyTable { name: None, most: None };
    CONCURRENCY.read(table(call.argument, "a table such as { name = \"reports\", most = 10 }")?, &mut all)?;
    let most = all.most.ok_or_else(|| ValueError::new("no most, expected one as in most = 10"))?;
    let name = all.name.unwrap_or_else(|| numbered("concurrency", builder));
    let config = ConcurrencyConfig { name, most };
    note(Part::Concurrency(config.clone()), call, builder)?;
    let places = builder.source.store().places(&config.name);
    parts::concurrency_object(call.lua, places, &config).map_err(failed)
}

#[derive(Default)]
pub(super) struct SplitTable {
    name: Option<String>,
    by: Option<(SplitBy, Option<Function>)>,
}

pub(super) const SPLIT: Keys<SplitTable> = Keys {
    noun: "key of rsp.split",
    rows: &[
        row("name", |value, all| name(value).map(|name| all.name = Some(name))),
        row("by", |value, all| by(value).map(|by| all.by = Some(by))),
    ],
    items: 100,
};

pub(super) fn split(call: &Call, builder: &mut Builder) -> ReadValue<Value> {
    const EXPECTED: &str = "a table such as { { web, 95 }, { canary, 5 }, by = \"client_ip\" }";
    let given = table(call.argument, EXPECTED)?;
    let mut all = SplitTable::default();
    SPLIT.read(given, &mut all)?;
    let (mut values, mut weights) = (Vec::new(), Vec::new());
    for item in 1..=given.raw_len() {
        let value: Value = given.raw_get(item).map_err(failed)?;
        let (value, weight) = share(&value).map_err(|error| error.item(item))?;
        values.push(value);
        weights.push(weight);
    }
    if weights.iter().sum::<u64>() == 0 {
        return Err(ValueError::new(format!("no share, expected {EXPECTED}")));
    }
    let (by, function) = all.by.unzip();
    let name = all.name.unwrap_or_else(|| numbered("split", builder));
    let config = SplitConfig { name, weights, by };
    note(Part::Split(config.clone()), call, builder)?;
    let turns = builder.source.store().turns(&config.name);
    parts::split_object(call.lua, turns, &config, (values, function.flatten())).map_err(failed)
}

/// A pool or the name of one, and its weight.
fn share(value: &Value) -> ReadValue<(Value, u64)> {
    const EXPECTED: &str = "a pool and its weight, as in { web, 95 }";
    let plain = value.as_table().is_some_and(|table| table.metatable().is_none());
    let items = if plain { list(value, EXPECTED)? } else { Vec::new() };
    match &items[..] {
        [value @ (Value::Table(_) | Value::String(_)), weight] => {
            Ok((value.clone(), whole(weight, 0..=1_000_000).map_err(|error| error.item(2))? as u64))
        }
        _ => Err(ValueError::got(value, EXPECTED)),
    }
}

fn by(value: &Value) -> ReadValue<(SplitBy, Option<Function>)> {
    const EXPECTED: &str = "\"client_ip\", \"host\", \"path\", \"header:NAME\", \"cookie:NAME\", \"query:NAME\" or a \
                            function(req)";
    if let Value::Function(_) = value {
        return Ok((SplitBy::Function, Some(function(value, EXPECTED)?)));
    }
    let written = text(value, EXPECTED)?;
    let by = match written.split_once(':') {
        None => ["client_ip", "host", "path"].into_iter().find(|field| *field == written).map(SplitBy::Field),
        Some((_, "")) => None,
        Some(("header", name)) => is_token(name).then(|| SplitBy::Header(name.to_owned())),
        Some(("cookie", name)) => Some(SplitBy::Cookie(name.to_owned())),
        Some(("query", name)) => Some(SplitBy::Query(name.to_owned())),
        Some(_) => None,
    };
    by.map(|by| (by, None)).ok_or_else(|| ValueError::got(value, EXPECTED))
}

/// The name of one without a name: by its place among those of its kind.
fn numbered(kind: &str, builder: &Builder) -> String {
    let before = builder.parts.iter().filter(|part| part.value.identity().0 == kind).count();
    format!("{kind}{}", before + 1)
}

/// Adds a part to the config. The same may be said twice, in two modules; two that differ may not have one name.
pub(super) fn note(part: Part, call: &Call, builder: &mut Builder) -> ReadValue<()> {
    let before = builder.parts.iter().find(|before| before.value.identity() == part.identity());
    match before {
        Some(before) if before.value != part => Err(ValueError::new(format!(
            "{} is already the name of another one, at {}",
            quoted(part.identity().1),
            before.position
        ))),
        Some(_) => Ok(()),
        None => {
            builder.parts.push(SetOnce { value: part, position: call.position.clone() });
            Ok(())
        }
    }
}

pub(super) fn failed(error: mlua::Error) -> ValueError {
    ValueError::new(error.to_string())
}
