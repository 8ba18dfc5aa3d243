//! What the next process gets at an upgrade: values and rate limits, as times that are left, with the secret seed of
//! each table, since keys are known only by their hashes. Of what is more than the channel should carry, the entries go
//! over that were used last. It is read leniently: the other side may be of another version.

use std::sync::Arc;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use super::rate::{FullAt, RateLimit};
use super::table::{Bounds, Change, Key, NEVER, Table};
use super::values::{Shared, SharedValue, Stored};

/// What goes over, of all tables together.
const MOST: Bounds = Bounds { entries: 100_000, memory: 8 << 20 };

#[derive(Serialize, Deserialize, Default, Debug)]
#[serde(default)]
pub struct HandedOver {
    shared: Vec<Values>,
    rates: Vec<Rates>,
}

/// One table of values.
#[derive(Serialize, Deserialize, Default, Debug)]
#[serde(default)]
pub(super) struct Values {
    name: String,
    seed: [u64; 2],
    /// Each by its key; how many nanoseconds it still lives, if it ends; the value.
    entries: Vec<(Key, Option<u64>, Value)>,
}

#[derive(Serialize, Deserialize, Debug)]
enum Value {
    /// In base64.
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
}

/// One table of rate limits.
#[derive(Serialize, Deserialize, Default, Debug)]
#[serde(default)]
pub(super) struct Rates {
    name: String,
    seed: [u64; 2],
    /// Each by its key, with the nanoseconds until its bucket is full.
    entries: Vec<(Key, u64)>,
}

impl HandedOver {
    pub(super) fn of(
        shared: &[(String, Arc<Shared>)],
        rates: &[(String, Arc<RateLimit>)],
        now: u64,
    ) -> HandedOver {
        let tables = (shared.len() + rates.len()).max(1);
        let most = Bounds { entries: MOST.entries / tables, memory: MOST.memory / tables };
        let values = |(name, table): &(String, Arc<Shared>)| Values {
            name: name.clone(),
            seed: table.seed(),
            entries: table
                .snapshot(most, |key, stored| Some((key, left(stored, now)?, copy(&stored.value)?))),
        };
        let buckets = |(name, limit): &(String, Arc<RateLimit>)| Rates {
            name: name.clone(),
            seed: limit.table().seed(),
            entries: limit.table().snapshot(most, |key, FullAt(at)| {
                let left = at.saturating_sub(now);
                (left > 0).then_some((key, left))
            }),
        };
        HandedOver { shared: shared.iter().map(values).collect(), rates: rates.iter().map(buckets).collect() }
    }

    pub(super) fn take_shared(&mut self, name: &str) -> Option<Values> {
        let at = self.shared.iter().position(|one| one.name == name)?;
        Some(self.shared.swap_remove(at))
    }

    pub(super) fn take_rate(&mut self, name: &str) -> Option<Rates> {
        let at = self.rates.iter().position(|one| one.name == name)?;
        Some(self.rates.swap_remove(at))
    }

    /// Reads what another version may have written; what is not understood is as if it were not there.
    pub fn read(text: serde_json::Value) -> HandedOver {
        serde_json::from_value(text).unwrap_or_default()
    }

    pub fn written(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// `None`: it has expired. `Some(None)`: it never does.
fn left(stored: &Stored, now: u64) -> Option<Option<u64>> {
    match stored.expires {
        NEVER => Some(None),
        at => at.checked_sub(now).filter(|left| *left > 0).map(Some),
    }
}

fn copy(value: &SharedValue) -> Option<Value> {
    Some(match value {
        SharedValue::Text(text) => Value::Text(Base64::encode_string(text)),
        SharedValue::Integer(number) => Value::Integer(*number),
        // JSON has no others.
        SharedValue::Number(number) if number.is_finite() => Value::Number(*number),
        SharedValue::Number(_) => return None,
        SharedValue::Boolean(is) => Value::Boolean(*is),
    })
}

impl Values {
    pub(super) fn table(self, entries: usize, now: u64) -> Shared {
        let table = Table::new(entries, self.seed);
        let read = |value| {
            Some(match value {
                Value::Text(text) => SharedValue::Text(Base64::decode_vec(&text).ok()?.into()),
                Value::Integer(number) => SharedValue::Integer(number),
                Value::Number(number) => SharedValue::Number(number),
                Value::Boolean(is) => SharedValue::Boolean(is),
            })
        };
        // The last used comes last, as it was.
        for (key, left, value) in self.entries.into_iter().rev() {
            let expires = left.map_or(NEVER, |left| now.saturating_add(left));
            if let Some(value) = read(value) {
                let stored = Stored { value, expires };
                table.access(key, now, MOST, |_| (Change::Put(stored), ()));
            }
        }
        table
    }
}

impl Rates {
    pub(super) fn table(self, entries: usize, now: u64) -> RateLimit {
        let limit = RateLimit::new(entries, self.seed);
        for (key, left) in self.entries.into_iter().rev() {
            let full_at = FullAt(now.saturating_add(left));
            limit.table().access(key, now, MOST, |_| (Change::Put(full_at), ()));
        }
        limit
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Limiter, Rate, Store, get, set};
    use super::*;

    const ACCESS: Access = Access { now: 1000, bounds: MOST };

    fn handed_on(store: &Store, now: u64) -> Store {
        let (line, new) = (store.hand_over(now).written().to_string(), Store::default());
        new.adopt(HandedOver::read(serde_json::from_str(&line).unwrap()));
        new
    }

    #[test]
    fn values_go_over_with_the_time_they_have_left() {
        let store = Store::default();
        let old = store.shared("s", 100, 1000);
        let put = |name: &str, value, ttl| set(&old, old.key(name.as_bytes()), value, ttl, ACCESS);
        put("text", SharedValue::Text((*b"\xff\0x").into()), None);
        put("number", SharedValue::Number(0.5), Some(500));
        put("count", SharedValue::Integer(i64::MIN), Some(10));
        put("yes", SharedValue::Boolean(true), None);
        put("odd", SharedValue::Number(f64::NAN), None);
        // The new process's clock may stand anywhere.
        let new = handed_on(&store, 1100).shared("s", 100, 5);
        let got = |name: &str, now| get(&new, new.key(name.as_bytes()), Access { now, ..ACCESS });
        assert_eq!(got("text", 5), Some(SharedValue::Text((*b"\xff\0x").into())));
        assert_eq!((got("number", 404), got("number", 405)), (Some(SharedValue::Number(0.5)), None));
        assert_eq!((got("count", 5), got("odd", 5)), (None, None));
        assert_eq!(got("yes", 5), Some(SharedValue::Boolean(true)));
    }

    #[test]
    fn buckets_go_over_as_they_are() {
        let (store, rate) = (Store::default(), Rate { interval: 100, burst: 2 });
        let limiter =
            |of: &Store, now| Limiter { limit: of.rate("r", 100, now), rate, bounds: MOST, dry_run: false };
        let old = limiter(&store, 0);
        assert_eq!([old.allow(b"k", 0), old.allow(b"k", 0), old.allow(b"k", 0)], [None, None, Some(100)]);
        let new = limiter(&handed_on(&store, 40), 7);
        assert_eq!(
            [new.allow(b"k", 7), new.allow(b"k", 67), new.allow(b"k", 67)],
            [Some(60), None, Some(100)]
        );
        assert_eq!(new.allow(b"other", 7), None);
    }

    #[test]
    fn what_is_not_understood_is_as_if_it_were_not_there() {
        for text in ["null", "[]", "{}", r#"{"shared": 3}"#, r#"{"rates": [{"name": "r", "entries": [1]}]}"#]
        {
            let store = Store::default();
            store.adopt(HandedOver::read(serde_json::from_str(text).unwrap()));
            assert_eq!(store.rate("r", 10, 0).entries(), 0, "{text}");
        }
    }

    #[test]
    fn only_so_much_goes_over() {
        let store = Store::default();
        let (old, wide) = (store.shared("s", 1 << 20, 0), Bounds { entries: 1 << 20, memory: 1 << 30 });
        for n in 0..200_000_u32 {
            let access = Access { now: 0, bounds: wide };
            set(&old, old.key(&n.to_le_bytes()), SharedValue::Integer(n.into()), None, access);
        }
        let new = handed_on(&store, 0).shared("s", 1 << 20, 0);
        assert!((50_000..=100_000).contains(&new.entries()), "{}", new.entries());
    }
}
