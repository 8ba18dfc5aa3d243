//! The servers of the last rebuild. An algorithm that keeps something of each server by its index finds it again here
//! when the list changes.

use std::collections::HashMap;
use std::mem;

use super::Candidate;

#[derive(Default)]
pub struct Identities(Vec<u64>);

impl Identities {
    /// Takes the new list. Returns for each of its servers the index that it had before.
    pub fn renew<C: Candidate>(&mut self, servers: &[C]) -> Vec<Option<usize>> {
        let before = mem::replace(&mut self.0, servers.iter().map(Candidate::identity).collect());
        if before == self.0 {
            // Slow start changes weights every second, but not the list.
            return (0..before.len()).map(Some).collect();
        }
        let known: HashMap<u64, usize> = before.into_iter().zip(0..).collect();
        self.0.iter().map(|identity| known.get(identity).copied()).collect()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::server;
    use super::*;

    #[test]
    fn servers_are_known_again_wherever_they_are_in_the_list() {
        let mut identities = Identities::default();
        let list = |numbers: &[usize]| numbers.iter().map(|n| server(*n, 256)).collect::<Vec<_>>();
        assert_eq!(identities.renew(&list(&[0, 1, 2])), [None; 3]);
        assert_eq!(identities.renew(&list(&[0, 1, 2])), [Some(0), Some(1), Some(2)]);
        assert_eq!(identities.renew(&list(&[2, 5, 0])), [Some(2), None, Some(0)]);
        assert_eq!(identities.len(), 3);
    }
}
