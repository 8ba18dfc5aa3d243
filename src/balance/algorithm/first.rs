//! `first`: the first usable server in the order of the list, so that few servers do the work and the others can be
//! switched off, or that each is a reserve for those before it.

use super::{Algorithm, Candidate, Pick};

#[derive(Default)]
pub struct First;

impl Algorithm for First {
    fn rebuild<C: Candidate>(&mut self, _: &[C]) {}

    fn pick<C: Candidate>(
        &mut self,
        servers: &[C],
        _: &mut Pick,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        (0..servers.len()).find(|at| usable(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use super::*;

    #[test]
    fn a_later_server_is_picked_only_while_the_earlier_ones_are_unusable() {
        let mut bench = Bench::new(First, &[256; 3]);
        assert_eq!(bench.picks(2), [0, 0]);
        assert_eq!(bench.pick_if(|at| at != 0), Some(1));
        assert_eq!(bench.pick_if(|at| at == 2), Some(2));
        assert_eq!(bench.picks(1), [0]);
    }

    #[test]
    fn load_weight_and_latency_do_not_matter() {
        let mut bench = Bench::new(First, &[1, 65_536]);
        bench.servers[0].latency.set(Some(60_000_000));
        (0..100).for_each(|_| bench.begin());
        assert_eq!(bench.loads(), [100, 0]);
    }
}
