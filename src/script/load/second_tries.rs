//! Keys of a pool about requests that are sent twice: `hedge` and `mirror`.

use mlua::Value;

use super::builder::Builder;
use super::error::{ReadValue, ValueError};
use super::find_pool;
use super::schema::{Keys, row, table};
use super::values::{number, time};
use crate::config::{Hedge, HedgeAfter, Mirror};

pub(super) const HEDGE: Keys<Hedge> = Keys {
    noun: "hedge key",
    rows: &[
        row("after", |value, all| after(value).map(|after| all.after = after)),
        row("budget", |value, all| share(value).map(|budget| all.budget = budget)),
    ],
    items: 0,
};

pub(super) fn hedge(value: &Value) -> ReadValue<Hedge> {
    let mut hedge = Hedge::default();
    HEDGE.read(table(value, "a table such as { after = \"p95\", budget = 0.02 }")?, &mut hedge)?;
    Ok(hedge)
}

fn after(value: &Value) -> ReadValue<HedgeAfter> {
    if value.as_string().is_some_and(|word| word.as_bytes() == *b"p95") {
        return Ok(HedgeAfter::P95);
    }
    const EXPECTED: &str = "\"p95\" or a time from 1ms to 24h";
    time(value).map(HedgeAfter::Time).map_err(|_| ValueError::got(value, EXPECTED))
}

/// More than nothing, at most all.
fn share(value: &Value) -> ReadValue<f64> {
    match number(value, 0.0..=1.0) {
        Ok(share) if share > 0.0 => Ok(share),
        _ => Err(ValueError::got(value, "a number above 0, at most 1")),
    }
}

/// `mirror` as it is written: its pool may be made later.
#[derive(Default)]
pub(super) struct MirrorTable {
    pool: Option<Value>,
    share: Option<f64>,
}

pub(super) const MIRROR: Keys<MirrorTable> = Keys {
    noun: "mirror key",
    rows: &[
        row("pool", |value, all| {
            all.pool = Some(value.clone());
            Ok(())
        }),
        row("share", |value, all| share(value).map(|share| all.share = Some(share))),
    ],
    items: 0,
};

pub(super) fn mirror(value: &Value) -> ReadValue<MirrorTable> {
    let mut written = MirrorTable::default();
    MIRROR.read(table(value, "a table such as { pool = \"shadow\", share = 0.1 }")?, &mut written)?;
    if written.pool.is_none() {
        return Err(ValueError::new("no pool, expected one, as in pool = \"shadow\""));
    }
    Ok(written)
}

/// Finds the pools that copies go to, once all are known.
pub(super) fn settle_mirrors(builder: &mut Builder) -> Result<(), String> {
    for at in 0..builder.pools.len() {
        let Some((written, position)) = &builder.pools[at].mirror else { continue };
        let Some(value) = &written.pool else { continue };
        let fault = |what: &str| format!("{position}: mirror.pool: {what}");
        let pool = find_pool(value, builder).map_err(|what| fault(&what))?;
        if pool.0 as usize == at {
            return Err(fault("it is this pool itself, expected another one"));
        }
        let share = written.share.unwrap_or(1.0);
        builder.pools[at].pool.mirror = Some(Mirror { pool, share });
    }
    Ok(())
}
