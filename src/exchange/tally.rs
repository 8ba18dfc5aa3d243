//! How often each end came about, for reports: one tally a worker, written by it alone and read by anybody at any
//! time. Besides the ends of requests it counts connections that rsp closed without there being a request.

use std::sync::atomic::{AtomicU64, Ordering};

use super::end::End;

/// Why a connection without a request was closed by us, where that is not simply its idle time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Parting {
    /// No byte of a first request came in time.
    Silent,
    /// It went on sending after its last answer.
    Lingered,
    /// Its address has `max_connections_per_client` already.
    TooMany,
    /// Its address has had `new_connections_per_client` already.
    TooOften,
    /// The PROXY protocol was not kept to.
    Proxy,
    /// The kernel had no descriptor for it; it waits in the queue and may yet be served.
    AcceptFailed,
}

impl Parting {
    pub const ALL: [Parting; 6] = [
        Parting::Silent,
        Parting::Lingered,
        Parting::TooMany,
        Parting::TooOften,
        Parting::Proxy,
        Parting::AcceptFailed,
    ];

    pub fn text(self) -> &'static str {
        match self {
            Parting::Silent => "client-silent",
            Parting::Lingered => "client-lingered",
            Parting::TooMany => "client-too-many",
            Parting::TooOften => "client-too-often",
            Parting::Proxy => "proxy-refused",
            Parting::AcceptFailed => "accept-failed",
        }
    }
}

#[derive(Default)]
pub struct Tally {
    ends: [AtomicU64; End::ALL.len()],
    partings: [AtomicU64; Parting::ALL.len()],
}

impl Tally {
    pub fn ended(&self, end: End) {
        add_one(&self.ends[end as usize]);
    }

    pub fn parted(&self, parting: Parting) {
        add_one(&self.partings[parting as usize]);
    }

    /// The sums over several workers.
    pub fn total<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Tally {
        let sum = Tally::default();
        for tally in tallies {
            add(&sum.ends, &tally.ends);
            add(&sum.partings, &tally.partings);
        }
        sum
    }

    /// How often this end came about.
    pub fn of(&self, end: End) -> u64 {
        read(&self.ends[end as usize])
    }

    /// Every reason with its count, those that never came about included.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let ends = End::ALL.iter().map(|end| (end.text(), read(&self.ends[*end as usize])));
        let partings = Parting::ALL.iter().map(|p| (p.text(), read(&self.partings[*p as usize])));
        ends.chain(partings)
    }

    /// What did not go well, as one phrase: `2 client-cut-request, 1 server-closed`. Empty if all did.
    pub fn troubles(&self) -> String {
        let normal = [End::Complete, End::Answered].map(End::text);
        let told = self.all().filter(|(word, count)| *count > 0 && !normal.contains(word));
        told.map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }
}

fn add(sums: &[AtomicU64], counts: &[AtomicU64]) {
    for (sum, count) in sums.iter().zip(counts) {
        sum.store(read(sum) + read(count), Ordering::Relaxed);
    }
}

/// There is one writer, so nothing is lost without an atomic addition.
fn add_one(count: &AtomicU64) {
    count.store(read(count) + 1, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_well_is_counted_and_only_the_rest_is_a_trouble() {
        let tally = Tally::default();
        for end in [End::Complete, End::Complete, End::Answered] {
            tally.ended(end);
        }
        assert_eq!(tally.troubles(), "");
        tally.ended(End::ServerClosed);
        tally.ended(End::ClientCutRequest);
        tally.ended(End::ClientCutRequest);
        tally.parted(Parting::TooMany);
        assert_eq!(tally.troubles(), "2 client-cut-request, 1 server-closed, 1 client-too-many");
        assert_eq!((tally.of(End::ClientCutRequest), tally.of(End::Stopped)), (2, 0));
        assert!(tally.all().any(|count| count == ("complete", 2)));
    }

    #[test]
    fn several_tallies_are_added_up() {
        let tallies = [Tally::default(), Tally::default()];
        tallies.iter().for_each(|tally| tally.ended(End::ServerClosed));
        tallies[1].parted(Parting::Silent);
        assert_eq!(Tally::total(&tallies).troubles(), "2 server-closed, 1 client-silent");
    }

    #[test]
    fn every_parting_has_its_place() {
        for (i, parting) in Parting::ALL.iter().enumerate() {
            assert_eq!(*parting as usize, i);
        }
    }
}
