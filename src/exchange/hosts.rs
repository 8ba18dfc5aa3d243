//! Which hosts are asked for most: a table of fixed size in each worker, that it writes and the control thread reads,
//! without a lock. Clients choose the names, so a table that kept the first ones, or all, would be theirs to fill.
//!
//! A host has eight places where it may stand. A request of one that stands in the table warms its place; one of another
//! host cools the coldest of its places, and takes it once that is cold. So a host stays as long as it has more requests
//! than its share of those that have no place, and names that are asked for once each pass by.
//!
//! A place goes on counting when its host changes: `before` says how much of it belongs to earlier ones.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::base::cells::{CLASSES, Classes, Count};

/// Longer names are no names (RFC 1035 section 2.3.4).
const LONGEST: usize = 255;
const WORDS: usize = LONGEST.div_ceil(8);
/// Where a host may stand.
const WAYS: usize = 8;
/// Places for each host that is to be told.
const PLACES: u32 = 8;
/// The largest heat of a place.
const WARMEST: u32 = 1 << 20;

type Counts = [u64; CLASSES];

pub struct HostTable {
    hasher: RandomState,
    places: Box<[Place]>,
    /// Requests of hosts without a place.
    others: Classes,
}

#[repr(align(128))]
struct Place {
    /// Odd while the name changes.
    version: AtomicU32,
    warmth: AtomicU32,
    /// Of the name; 0 for none.
    hash: AtomicU64,
    length: AtomicU32,
    name: [AtomicU64; WORDS],
    requests: Classes,
    before: [Count; CLASSES],
}

impl Default for Place {
    fn default() -> Place {
        Place {
            version: AtomicU32::new(0),
            warmth: AtomicU32::new(0),
            hash: AtomicU64::new(0),
            length: AtomicU32::new(0),
            name: std::array::from_fn(|_| AtomicU64::new(0)),
            requests: Classes::default(),
            before: Default::default(),
        }
    }
}

impl HostTable {
    /// For telling the busiest `most` hosts.
    pub fn new(most: u32) -> HostTable {
        let places = (most * PLACES).next_power_of_two().max(64) as usize;
        HostTable {
            hasher: RandomState::new(),
            places: (0..places).map(|_| Place::default()).collect(),
            others: Classes::default(),
        }
    }

    /// Counts a request. Only the table's worker calls this. `host`: without a port, in any case.
    pub fn count(&self, host: &[u8], status: u16) {
        let host = host.strip_suffix(b".").unwrap_or(host);
        if host.is_empty() || host.len() > LONGEST {
            return self.others.add(status);
        }
        let mut name = [0; LONGEST];
        let name = &mut name[..host.len()];
        name.copy_from_slice(host);
        name.make_ascii_lowercase();
        let hash = self.hasher.hash_one(&*name).max(1);
        let first = hash as usize & (self.places.len() - 1) & !(WAYS - 1);
        let set = &self.places[first..first + WAYS];
        match set.iter().find(|place| place.hash.load(Ordering::Relaxed) == hash) {
            Some(place) => place.ask(status),
            None => self.ask_new(set, name, hash, status),
        }
    }

    fn ask_new(&self, set: &[Place], name: &[u8], hash: u64, status: u16) {
        let coldest = set.iter().min_by_key(|place| place.warmth.load(Ordering::Relaxed));
        match coldest {
            Some(place) if place.cools() => {
                place.take(name, hash);
                place.ask(status);
            }
            _ => self.others.add(status),
        }
    }
}

impl Place {
    fn ask(&self, status: u16) {
        self.requests.add(status);
        let warmth = self.warmth.load(Ordering::Relaxed);
        self.warmth.store((warmth + 1).min(WARMEST), Ordering::Relaxed);
    }

    /// Whether it is free for another host.
    fn cools(&self) -> bool {
        let warmth = self.warmth.load(Ordering::Relaxed);
        self.warmth.store(warmth.saturating_sub(1), Ordering::Relaxed);
        warmth == 0
    }

    fn take(&self, name: &[u8], hash: u64) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::SeqCst);
        self.hash.store(hash, Ordering::SeqCst);
        self.length.store(name.len() as u32, Ordering::SeqCst);
        for (word, bytes) in self.name.iter().zip(name.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(whole), Ordering::SeqCst);
        }
        self.before.iter().zip(self.requests.get()).for_each(|(before, count)| before.set(count));
        self.version.store(version.wrapping_add(2), Ordering::SeqCst);
    }

    /// `None` while its host changes.
    fn read(&self) -> Option<Reading> {
        let version = self.version.load(Ordering::SeqCst);
        let words = self.name.iter().flat_map(|word| word.load(Ordering::SeqCst).to_ne_bytes());
        let length = self.length.load(Ordering::SeqCst) as usize;
        let name: Vec<u8> = words.take(length.min(LONGEST)).collect();
        let (requests, before) = (self.requests.get(), std::array::from_fn(|class| self.before[class].get()));
        let whole = version.is_multiple_of(2) && self.version.load(Ordering::SeqCst) == version;
        whole.then(|| Reading {
            version,
            name: String::from_utf8_lossy(&name).into_owned(),
            requests,
            before,
        })
    }
}

struct Reading {
    version: u32,
    name: String,
    requests: Counts,
    before: Counts,
}

/// What is told of hosts: the busiest by name, and the others together. Counts never go back: a host that is told is
/// counted from then on, and what it has when it is not told any more is no longer told.
#[derive(Default)]
pub struct BusiestHosts {
    told: HashMap<String, Counts>,
    others: Counts,
    /// How busy hosts were recently, told or not.
    heat: HashMap<String, f64>,
    /// Of each worker and place: what was read last.
    seen: Vec<Vec<Seen>>,
    seen_others: Vec<Counts>,
}

#[derive(Clone, Default)]
struct Seen {
    version: u32,
    name: String,
    requests: Counts,
}

/// How much of its heat a host keeps from one reading to the next.
const KEEPS: f64 = 0.9;
/// A host takes the place of one that is told only if it is so much busier.
const BUSIER: f64 = 1.2;

impl BusiestHosts {
    /// Reads the tables of all workers, and tells `most` hosts.
    pub fn read<'a>(&mut self, tables: impl Iterator<Item = &'a HostTable>, most: usize) {
        let (mut came, mut others): (HashMap<String, Counts>, Counts) = Default::default();
        for (worker, table) in tables.enumerate() {
            if self.seen.len() <= worker {
                self.seen.push(vec![Seen::default(); table.places.len()]);
                self.seen_others.push(Counts::default());
            }
            let now = table.others.get();
            add(&mut others, &less(&now, &self.seen_others[worker]));
            self.seen_others[worker] = now;
            for (place, seen) in table.places.iter().zip(&mut self.seen[worker]) {
                if let Some(reading) = place.read() {
                    seen.compare(reading, &mut came, &mut others);
                }
            }
        }
        self.choose(&came, most);
        for (name, counts) in came {
            add(self.told.get_mut(&name).unwrap_or(&mut self.others), &counts);
        }
        add(&mut self.others, &others);
    }

    fn choose(&mut self, came: &HashMap<String, Counts>, most: usize) {
        self.heat.values_mut().for_each(|heat| *heat *= KEEPS);
        for (name, counts) in came {
            *self.heat.entry(name.clone()).or_default() += counts.iter().sum::<u64>() as f64;
        }
        let mut ranks: Vec<(bool, f64, String)> = self
            .heat
            .drain()
            .map(|(name, heat)| {
                let told = self.told.contains_key(&name);
                (told, if told { heat * BUSIER } else { heat }, name)
            })
            .collect();
        ranks.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.2.cmp(&b.2)));
        let names: Vec<&String> = ranks.iter().take(most).map(|(_, _, name)| name).collect();
        self.told.retain(|name, _| names.contains(&name));
        names.iter().for_each(|name| _ = self.told.entry((*name).clone()).or_default());
        let heat = |(told, heat, name): (bool, f64, String)| (name, if told { heat / BUSIER } else { heat });
        // Hosts with hardly any heat left are dropped.
        self.heat = ranks.into_iter().take(most * PLACES as usize).map(heat).collect();
    }

    /// The hosts by name, and the others.
    pub fn told(&self) -> (Vec<(&str, &Counts)>, &Counts) {
        let mut told: Vec<_> = self.told.iter().map(|(name, counts)| (name.as_str(), counts)).collect();
        told.sort_unstable_by_key(|(name, _)| *name);
        (told, &self.others)
    }
}

impl Seen {
    /// Adds what came since it was seen.
    fn compare(&mut self, reading: Reading, came: &mut HashMap<String, Counts>, others: &mut Counts) {
        let Reading { version, name, requests, before } = reading;
        let from = if version == self.version { self.requests } else { before };
        if version != self.version {
            let rest = less(&before, &self.requests);
            // Where its host has changed more than once, it is not known which of them that was.
            match self.version.wrapping_add(2) == version && !self.name.is_empty() {
                true => add(came.entry(std::mem::take(&mut self.name)).or_default(), &rest),
                false => add(others, &rest),
            }
        }
        let new = less(&requests, &from);
        if new.iter().any(|count| *count > 0) {
            add(came.entry(name.clone()).or_default(), &new);
        }
        *self = Seen { version, name, requests };
    }
}

fn add(sum: &mut Counts, more: &Counts) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

fn less(now: &Counts, before: &Counts) -> Counts {
    std::array::from_fn(|class| now[class].saturating_sub(before[class]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(counts: &Counts) -> u64 {
        counts.iter().sum()
    }

    /// Reads one table, and returns the requests of each host that is told and of the others.
    fn read(busiest: &mut BusiestHosts, table: &HostTable, most: usize) -> (Vec<(String, u64)>, u64) {
        busiest.read([table].into_iter(), most);
        let (told, others) = busiest.told();
        (told.into_iter().map(|(name, counts)| (name.to_owned(), sum(counts))).collect(), sum(others))
    }

    #[test]
    fn a_host_is_the_same_in_any_case_and_with_a_dot() {
        let (table, mut busiest) = (HostTable::new(20), BusiestHosts::default());
        for host in ["a.example", "A.Example", "a.example."] {
            table.count(host.as_bytes(), 200);
        }
        table.count(b"", 400);
        table.count(&[b'a'; 256], 200);
        assert_eq!(read(&mut busiest, &table, 20), (vec![("a.example".into(), 3)], 2));
        assert_eq!(busiest.told().0[0].1[2], 3, "by class");
    }

    #[test]
    fn names_that_are_asked_for_once_each_do_not_drive_out_busy_hosts() {
        let (table, mut busiest) = (HostTable::new(2), BusiestHosts::default());
        for number in 0..100_000 {
            table.count(if number % 2 == 0 { b"a.example" } else { b"b.example" }, 200);
            table.count(format!("{number}.example").as_bytes(), 404);
            if number % 1000 == 999 {
                read(&mut busiest, &table, 2);
            }
        }
        let (told, others) = read(&mut busiest, &table, 2);
        assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>() + others, 200_000, "none is lost");
        let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.example", "b.example"]);
        assert!(told.iter().all(|(_, count)| *count > 49_000), "{told:?}");
        assert!(busiest.heat.len() <= 2 * PLACES as usize);
    }

    #[test]
    fn a_host_that_becomes_busier_takes_a_place_and_counts_never_go_back() {
        let (table, mut busiest) = (HostTable::new(1), BusiestHosts::default());
        (0..10).for_each(|_| table.count(b"old", 200));
        (0..5).for_each(|_| table.count(b"new", 200));
        assert_eq!(read(&mut busiest, &table, 1), (vec![("old".into(), 10)], 5));
        (0..100).for_each(|_| table.count(b"new", 200));
        assert_eq!(read(&mut busiest, &table, 1), (vec![("new".into(), 100)], 5));
        table.count(b"old", 200);
        assert_eq!(read(&mut busiest, &table, 1), (vec![("new".into(), 100)], 6));
    }
}
