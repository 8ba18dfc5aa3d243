//! `rsp.shared`: values by key, which expire if they were given a time to live.

use std::sync::Arc;

use super::table::{Bounds, Change, Entry, Key, NEVER, Table};

#[derive(Clone, PartialEq, Debug)]
pub enum SharedValue {
    Text(Arc<[u8]>),
    Integer(i64),
    Number(f64),
    Boolean(bool),
}

pub struct Stored {
    pub value: SharedValue,
    pub expires: u64,
}

impl Entry for Stored {
    fn expires(&self) -> u64 {
        self.expires
    }

    fn bytes(&self) -> usize {
        match &self.value {
            // With its counters.
            SharedValue::Text(text) => text.len() + 16,
            SharedValue::Integer(_) | SharedValue::Number(_) | SharedValue::Boolean(_) => 0,
        }
    }
}

pub type Shared = Table<Stored>;

/// When, and within which bounds.
#[derive(Clone, Copy)]
pub struct Access {
    pub now: u64,
    pub bounds: Bounds,
}

impl Access {
    fn after(&self, ttl: Option<u64>) -> u64 {
        ttl.map_or(NEVER, |ttl| self.now.saturating_add(ttl))
    }
}

pub fn get(table: &Shared, key: Key, access: Access) -> Option<SharedValue> {
    table.access(key, access.now, access.bounds, |entry| {
        (Change::Keep, entry.map(|stored| stored.value.clone()))
    })
}

pub fn set(table: &Shared, key: Key, value: SharedValue, ttl: Option<u64>, access: Access) {
    let stored = Stored { value, expires: access.after(ttl) };
    table.access(key, access.now, access.bounds, |_| (Change::Put(stored), ()));
}

/// Sets a value where there is none. False: there is one.
pub fn add(table: &Shared, key: Key, value: SharedValue, ttl: Option<u64>, access: Access) -> bool {
    let stored = Stored { value, expires: access.after(ttl) };
    table.access(key, access.now, access.bounds, |entry| match entry {
        Some(_) => (Change::Keep, false),
        None => (Change::Put(stored), true),
    })
}

/// True: there was a value.
pub fn delete(table: &Shared, key: Key, access: Access) -> bool {
    table.access(key, access.now, access.bounds, |entry| (Change::Remove, entry.is_some()))
}

/// Adds to a number, or begins with it; the time to live counts from then. `None`: there is a value that is no number.
pub fn increase(
    table: &Shared,
    key: Key,
    by: &SharedValue,
    ttl: Option<u64>,
    access: Access,
) -> Option<SharedValue> {
    table.access(key, access.now, access.bounds, |entry| match entry {
        None => {
            let new = Stored { value: by.clone(), expires: access.after(ttl) };
            (Change::Put(new), Some(by.clone()))
        }
        Some(stored) => {
            let sum = sum(&stored.value, by);
            if let Some(sum) = &sum {
                stored.value = sum.clone();
            }
            (Change::Keep, sum)
        }
    })
}

/// As Lua adds.
fn sum(a: &SharedValue, b: &SharedValue) -> Option<SharedValue> {
    use SharedValue::{Integer, Number};
    Some(match (a, b) {
        (Integer(a), Integer(b)) => Integer(a.wrapping_add(*b)),
        (Integer(a), Number(b)) => Number(*a as f64 + b),
        (Number(a), Integer(b)) => Number(a + *b as f64),
        (Number(a), Number(b)) => Number(a + b),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::SharedValue::{Boolean, Integer, Number};
    use super::*;

    const ACCESS: Access = Access { now: 0, bounds: Bounds { entries: 100, memory: 1 << 20 } };

    fn at(now: u64) -> Access {
        Access { now, ..ACCESS }
    }

    #[test]
    fn values_live_as_long_as_they_were_given() {
        let table = Shared::new(100, [1, 2]);
        let key = table.key(b"k");
        set(&table, key, Boolean(true), Some(10), at(0));
        assert_eq!((get(&table, key, at(9)), get(&table, key, at(10))), (Some(Boolean(true)), None));
        set(&table, key, Integer(1), None, at(10));
        assert!(!add(&table, key, Integer(2), None, at(u64::MAX - 1)));
        assert_eq!(get(&table, key, at(11)), Some(Integer(1)));
        assert!(delete(&table, key, at(11)) && !delete(&table, key, at(11)));
        assert!(add(&table, key, Integer(2), Some(5), at(11)) && !add(&table, key, Integer(3), None, at(15)));
        assert!(add(&table, key, Integer(3), None, at(16)));
        set(&table, key, Integer(4), Some(5), at(20));
        assert_eq!((get(&table, key, at(24)), get(&table, key, at(25))), (Some(Integer(4)), None));
        assert_eq!(
            (table.entries(), table.memory()),
            (0, 0),
            "what has expired is gone once it is asked for"
        );
    }

    #[test]
    fn a_counter_keeps_the_kind_of_its_number_and_its_end() {
        let table = Shared::new(100, [1, 2]);
        let key = table.key(b"k");
        let increase = |by, ttl, now| super::increase(&table, key, &by, ttl, at(now));
        assert_eq!(increase(Integer(1), Some(10), 0), Some(Integer(1)));
        assert_eq!(increase(Integer(2), Some(10), 9), Some(Integer(3)));
        assert_eq!(increase(Integer(1), Some(10), 10), Some(Integer(1)), "a new one");
        assert_eq!(increase(Number(0.5), None, 11), Some(Number(1.5)));
        assert_eq!(increase(Integer(1), None, 12), Some(Number(2.5)));
        set(&table, key, Integer(i64::MAX), None, at(0));
        assert_eq!(increase(Integer(1), None, 1), Some(Integer(i64::MIN)));
        set(&table, key, SharedValue::Text((*b"text").into()), None, at(0));
        assert_eq!(increase(Integer(1), None, 1), None);
    }

    #[test]
    fn threads_together_count_exactly() {
        let table = Shared::new(10_000, [1, 2]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..5000_u32 {
                        let key = table.key(&[n as u8 % 3]);
                        super::increase(&table, key, &Integer(1), None, ACCESS);
                    }
                });
            }
        });
        let counts = (0..3).map(|n| get(&table, table.key(&[n]), ACCESS));
        let total: i64 = counts.map(|count| if let Some(Integer(n)) = count { n } else { 0 }).sum();
        assert_eq!(total, 20_000);
    }
}
