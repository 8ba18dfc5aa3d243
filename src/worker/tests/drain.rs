//! When a drain closes connections that have nothing to finish.

use std::time::Duration;

use super::*;

const MILLISECOND: u64 = 1_000;

/// A core that drains within this time, with so many idle clients.
fn draining(idle: usize, within: Duration) -> Core<Net> {
    let mut core = over(Vec::new());
    (0..idle).for_each(|_| _ = core.accepted(Wire::new(&[]), None));
    core.turns();
    core.drain(within);
    core
}

/// How many clients are left at this time, in milliseconds.
fn left_at(core: &mut Core<Net>, at: u64) -> usize {
    core.set_clock(at * MILLISECOND, b"now");
    core.turns();
    core.expire();
    core.turns();
    core.counts().0
}

#[test]
fn idle_connections_are_closed_evenly_over_five_seconds_or_what_the_timeout_allows() {
    for (within, gap) in [(30, 1000), (600, 1000), (5, 800), (1, 160)] {
        let mut core = draining(5, Duration::from_secs(within));
        for closed in 1..=5 {
            let at = gap * (closed - 1);
            assert_eq!(left_at(&mut core, at), 5 - closed as usize, "{at} ms of {within} s");
            let before_next = at + gap - 1;
            assert_eq!(
                left_at(&mut core, before_next),
                5 - closed as usize,
                "{before_next} ms of {within} s"
            );
        }
        assert!(core.is_drained());
        assert_eq!(core.next_timer(), None);
    }
}

#[test]
fn a_drain_without_idle_connections_and_one_with_one_are_over_at_once() {
    for idle in [0, 1] {
        let mut core = draining(idle, Duration::from_secs(30));
        core.expire();
        assert!(core.is_drained());
    }
}

#[test]
fn a_request_that_is_not_reported_yet_is_served_at_its_connections_moment() {
    let mut core = over(vec![Wire::new(&[Came::Bytes(RESPONSE)])]);
    core.accepted(Wire::new(&[Came::Bytes(REQUEST)]), None);
    core.drain(Duration::from_secs(30));
    core.expire();
    core.turns();
    assert_eq!(core.counts(), (1, 1, 1), "it is on its way to a server");
    core.ready(core.network.tokens[0], BOTH);
    core.turns();
    assert_eq!(core.counts(), (1, 0, 0), "its client may still send");
    assert_eq!(left_at(&mut core, 2_100), 0);
}

#[test]
fn a_connection_whose_next_request_has_only_begun_is_looked_at_again() {
    let mut core = over(Vec::new());
    // Half of an empty line, which is nothing: its other half makes the connection idle again.
    let client = arrives_by(&mut core, Wire::new(&[Came::Bytes(b"\r"), Came::Nothing, Came::Bytes(b"\n")]));
    core.turns();
    core.drain(Duration::from_secs(30));
    assert_eq!(left_at(&mut core, 0), 1);
    core.ready(client.to_bits(), BOTH);
    assert_eq!(left_at(&mut core, 999), 1);
    assert_eq!(left_at(&mut core, 1_000), 0);
}
