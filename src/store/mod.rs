//! Floor 2: what scripts share between all workers, by name: values, rate limits, counts of running requests, turns.
//! Without Lua and without a clock: times are nanoseconds of the system's monotonic clock, given by the caller.
//!
//! A `Store` belongs to a process. It holds nothing alive by itself: what a config names lives as long as a script of
//! some config holds it, so that it is kept over a reload and gone when no config names it any more. Bounds and rates
//! come with each call: after a reload the new ones hold, for what is there already too.
//!
//! - `table`    the bounded hash table; `expiry` finds what has expired in it
//! - `values`   `rsp.shared`
//! - `rate`     `rsp.rate`
//! - `places`   `rsp.concurrency`
//! - `shares`   `rsp.split`
//! - `map`      `rsp.map`; `file` reads it again when it changes; `networks` finds addresses in it, and for `rsp.cidr`
//! - `passwords` `rsp.basic_auth`
//! - `handover` what the next process gets

mod expiry;
mod file;
mod handover;
mod map;
mod networks;
mod passwords;
mod places;
mod rate;
mod shares;
mod table;
mod values;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub use file::WatchedFile;
pub use handover::HandedOver;
pub use map::{Map, MapKind};
pub use networks::Networks;
pub use passwords::{BasicAuth, Begun};
pub use places::{Place, Places};
pub use rate::{FullAt, Left, Limiter, Rate, RateLimit};
pub use shares::Shares;
pub use table::{Bounds, Entry, Table};
pub use values::{Access, Shared, SharedValue, Stored, add, delete, get, increase, set};

/// What the scripts of one process share.
#[derive(Default)]
pub struct Store {
    shared: Names<Shared>,
    rates: Names<RateLimit>,
    places: Names<Places>,
    turns: Names<AtomicU64>,
    maps: Names<WatchedMap>,
    users: Names<BasicAuth>,
    /// What the process before this one knew, until a config names it.
    before: Mutex<HandedOver>,
}

impl Store {
    /// The values of this name; `entries`: how many are expected.
    pub fn shared(&self, name: &str, entries: usize, now: u64) -> Arc<Shared> {
        self.shared.open(name, || match lock(&self.before).take_shared(name) {
            Some(known) => known.table(entries, now),
            None => Shared::new(entries, seed()),
        })
    }

    pub fn rate(&self, name: &str, entries: usize, now: u64) -> Arc<RateLimit> {
        self.rates.open(name, || match lock(&self.before).take_rate(name) {
            Some(known) => known.table(entries, now),
            None => RateLimit::new(entries, seed()),
        })
    }

    pub fn places(&self, name: &str) -> Arc<Places> {
        self.places.open(name, || Places::new(seed()))
    }

    /// The number of turns of a split.
    pub fn turns(&self, name: &str) -> Arc<AtomicU64> {
        self.turns.open(name, AtomicU64::default)
    }

    /// A file of `rsp.map`, read again if it is there and has changed since it was looked at.
    pub fn map(&self, path: &Path, kind: MapKind) -> Result<Arc<WatchedMap>, String> {
        let name = format!("{kind:?} {}", path.display());
        if let Some(there) = self.maps.get(&name) {
            return there.refresh().map(|_| there);
        }
        let new = WatchedMap::open(path, kind)?;
        Ok(self.maps.open(&name, || new))
    }

    /// The same for a file of `rsp.basic_auth`.
    pub fn basic_auth(&self, path: &Path) -> Result<Arc<BasicAuth>, String> {
        let name = path.display().to_string();
        if let Some(there) = self.users.get(&name) {
            return there.refresh().map(|_| there);
        }
        let new = BasicAuth::open(path)?;
        Ok(self.users.open(&name, || new))
    }

    /// Reads files again that have changed. Returns a line for each that did, and what is wrong with others.
    pub fn look_at_files(&self) -> Vec<Result<String, String>> {
        let line = |(looked, path): (Result<bool, String>, &Path)| match looked {
            Ok(true) => Some(Ok(format!("{} is in use as it is now", path.display()))),
            Ok(false) => None,
            Err(why) => Some(Err(why)),
        };
        let (maps, users) = (self.maps.all(), self.users.all());
        let maps = maps.iter().map(|(_, file)| (file.look(), file.path()));
        let users = users.iter().map(|(_, file)| (file.look(), file.path()));
        maps.chain(users).filter_map(line).collect()
    }

    /// What the next process should know.
    pub fn hand_over(&self, now: u64) -> HandedOver {
        HandedOver::of(&self.shared.all(), &self.rates.all(), now)
    }

    /// Takes what the process before this one knew.
    pub fn adopt(&self, before: HandedOver) {
        *lock(&self.before) = before;
    }

    /// What is there, for metrics.
    pub fn counts(&self) -> Vec<StoreCounts> {
        let none = StoreCounts::default();
        let shared = self.shared.all().into_iter().map(|(name, table)| StoreCounts {
            kind: "shared",
            name,
            entries: table.entries(),
            evicted: table.evicted(),
            ..none.clone()
        });
        let rates = self.rates.all().into_iter().map(|(name, limit)| StoreCounts {
            kind: "rate",
            name,
            entries: limit.entries(),
            evicted: limit.evicted(),
            refused: limit.refused(),
            would_refuse: limit.would_refuse(),
        });
        let places = self.places.all().into_iter().map(|(name, places)| StoreCounts {
            kind: "concurrency",
            name,
            entries: places.keys(),
            refused: places.refused(),
            ..none.clone()
        });
        shared.chain(rates).chain(places).collect()
    }
}

/// A file of `rsp.map`.
pub struct WatchedMap {
    file: WatchedFile<Map>,
    kind: MapKind,
}

impl WatchedMap {
    fn open(path: &Path, kind: MapKind) -> Result<WatchedMap, String> {
        let file = WatchedFile::open(path, Box::new(move |text| Map::parse(text, kind)))?;
        Ok(WatchedMap { file, kind })
    }

    pub fn kind(&self) -> MapKind {
        self.kind
    }
}

impl std::ops::Deref for WatchedMap {
    type Target = WatchedFile<Map>;

    fn deref(&self) -> &WatchedFile<Map> {
        &self.file
    }
}

/// What one thing that scripts share has done.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StoreCounts {
    pub kind: &'static str,
    pub name: String,
    /// Keys that are known now.
    pub entries: usize,
    /// Those that went because it was full, before their time.
    pub evicted: u64,
    /// Requests over the limit.
    pub refused: u64,
    /// The same of a dry run.
    pub would_refuse: u64,
}

/// Things of one kind by name, as long as somebody uses them.
struct Names<T>(Mutex<BTreeMap<String, Weak<T>>>);

impl<T> Default for Names<T> {
    fn default() -> Names<T> {
        Names(Mutex::default())
    }
}

impl<T> Names<T> {
    fn open(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut names = lock(&self.0);
        if let Some(there) = names.get(name).and_then(Weak::upgrade) {
            return there;
        }
        names.retain(|_, one| one.strong_count() > 0);
        let new = Arc::new(make());
        names.insert(name.to_owned(), Arc::downgrade(&new));
        new
    }

    fn get(&self, name: &str) -> Option<Arc<T>> {
        lock(&self.0).get(name).and_then(Weak::upgrade)
    }

    fn all(&self) -> Vec<(String, Arc<T>)> {
        let names = lock(&self.0);
        names.iter().filter_map(|(name, one)| Some((name.clone(), one.upgrade()?))).collect()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A secret one, by std's own random keys.
fn seed() -> [u64; 2] {
    [(); 2].map(|()| RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_thing_as_long_as_somebody_uses_it() {
        let store = Store::default();
        let first = store.places("a");
        let place = first.enter(b"k", 1).unwrap();
        assert!(Arc::ptr_eq(&first, &store.places("a")) && !Arc::ptr_eq(&first, &store.places("b")));
        assert_eq!(store.counts().len(), 1);
        drop(first);
        assert!(store.places("a").enter(b"k", 1).is_none(), "its request still runs");
        drop(place);
        assert_eq!(store.counts(), []);
        assert!(store.places("a").enter(b"k", 1).is_some());
    }

    #[test]
    fn seeds_are_not_the_same() {
        assert_ne!(seed(), seed());
    }
}
