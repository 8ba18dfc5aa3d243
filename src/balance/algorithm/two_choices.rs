//! `random`: of two servers drawn in proportion to their weights, the one with fewer requests in progress for its
//! weight. It needs no order among the servers and no news from other workers, and yet the busiest server is hardly
//! busier than the average ("The Power of Two Choices in Randomized Load Balancing", Mitzenmacher 1996).

use super::alias::Alias;
use super::{Algorithm, Candidate, Pick, weight_of};

#[derive(Default)]
pub struct TwoChoices {
    alias: Alias,
}

impl Algorithm for TwoChoices {
    fn rebuild<C: Candidate>(&mut self, servers: &[C]) {
        self.alias.rebuild(servers);
    }

    fn pick<C: Candidate>(
        &mut self,
        servers: &[C],
        pick: &mut Pick,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if self.alias.len() != servers.len() {
            self.rebuild(servers);
        }
        match self.alias.draw_two(pick.random, &usable) {
            Some((first, Some(second))) if is_busier(&servers[first], &servers[second]) => Some(second),
            Some((first, _)) => Some(first),
            // Hardly any is usable.
            None => (0..servers.len())
                .filter(|at| usable(*at))
                .reduce(|best, at| if is_busier(&servers[best], &servers[at]) { at } else { best }),
        }
    }
}

/// Compares requests in progress by weight, as cross products.
pub fn is_busier<C: Candidate>(one: &C, other: &C) -> bool {
    let product = |load: &C, weight: &C| u64::from(load.in_flight()) * u64::from(weight_of(weight));
    product(one, other) > product(other, one)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use super::*;

    #[test]
    fn idle_servers_are_picked_in_proportion_to_their_weights() {
        Bench::new(TwoChoices::default(), &[256; 5]).assert_shares(50_000, &[0.2; 5], 0.03);
        let shares = [0.1, 0.2, 0.3, 0.4];
        Bench::new(TwoChoices::default(), &[100, 200, 300, 400]).assert_shares(50_000, &shares, 0.03);
    }

    #[test]
    fn the_busiest_of_many_servers_is_hardly_busier_than_the_average() {
        let mut bench = Bench::new(TwoChoices::default(), &[256; 1000]);
        (0..10_000).for_each(|_| bench.begin());
        let busiest = bench.loads().into_iter().max();
        assert!(busiest <= Some(14), "{busiest:?}, where plain chance has more than 20");
    }

    #[test]
    fn a_busy_server_is_never_picked_of_two() {
        let mut bench = Bench::new(TwoChoices::default(), &[256, 512]);
        bench.servers[1].in_flight.set(1);
        assert_eq!(bench.counts(100), [100, 0]);
        bench.servers[0].in_flight.set(1);
        assert_eq!(bench.counts(100), [0, 100], "as many requests, and twice the weight");
    }

    #[test]
    fn the_only_usable_server_of_many_is_found() {
        let mut bench = Bench::new(TwoChoices::default(), &[256; 1000]);
        assert_eq!(bench.pick_if(|at| at == 777), Some(777));
        assert_eq!(bench.pick_if(|_| false), None);
    }
}
