//! Which servers a pool offers, and in which order.

use super::*;
use crate::balance::QueuedRequest;
use crate::balance::tests::{config, pool_of};
use crate::balance::{Administrative, ByHand};
use crate::config::Eject;

/// Returns one pool per worker, with shared servers of these limits.
fn of_workers(workers: usize, limits: &[Option<u32>]) -> Vec<Pool> {
    let state = pool_of(workers, limits);
    let config = config(&[limits.len()]).pools.remove(0);
    let pool = |worker| {
        let all = Rc::new(RefCell::new(WorkerServers::new(worker)));
        Pool::new(PoolId(0), config.clone(), state.clone(), &all)
    };
    (0..workers).map(pool).collect()
}

fn pool(servers: usize) -> Pool {
    of_workers(1, &vec![None; servers]).remove(0)
}

fn want(now: u64) -> Want {
    Want { now, key: None, may_probe: false, in_turn: false }
}

fn name(picked: Result<Picked, Unavailable>) -> String {
    picked.map_or_else(|why| format!("{why:?}"), |picked| picked.server.name().to_owned())
}

fn picks(pool: &Pool, tried: &Tried, now: u64, count: usize) -> Vec<String> {
    (0..count).map(|_| name(pool.pick(&want(now), tried))).collect()
}

fn server(pool: &Pool, at: usize) -> Rc<WorkerServer> {
    pool.servers(0)[at].clone()
}

fn eject(pool: &Pool, at: usize) {
    let server = server(pool, at);
    (0..3).for_each(|_| server.note_failure(&Eject::default(), &"a test", 0));
    assert_eq!(server.state(), ServerState::Ejected);
}

#[test]
fn round_robin_strictly_alternates() {
    assert_eq!(picks(&pool(3), &Tried::default(), 0, 7), ["s0", "s1", "s2", "s0", "s1", "s2", "s0"]);
    assert_eq!(picks(&pool(0), &Tried::default(), 0, 1), ["None"]);
}

#[test]
fn a_first_try_is_picked_at_once_only_if_any_server_may_take_it() {
    let any = |pool: &Pool| pool.pick_any(0).map(|server| server.name().to_owned());
    let (plain, tried) = (pool(3), Tried::default());
    assert_eq!([any(&plain), any(&plain)], [Some("s0".to_owned()), Some("s1".to_owned())]);
    assert_eq!(picks(&plain, &tried, 0, 2), ["s2", "s0"], "the rotation is the same");
    let waits = plain.state.queue.enter(QueuedRequest::default(), None, 1).unwrap();
    assert_eq!(any(&plain), None, "others wait");
    assert!(plain.state.queue.leave(waits.number, None) && any(&plain).is_some());
    eject(&plain, 0);
    assert_eq!(any(&plain), None, "the servers are not up to date");
    assert_eq!((picks(&plain, &tried, 0, 1).len(), any(&plain)), (1, None), "one is to be probed");
    let limited = of_workers(1, &[None, Some(9)]).remove(0);
    assert_eq!((picks(&limited, &tried, 0, 1).len(), any(&limited)), (1, None), "one needs a slot");
}

#[test]
fn an_ejected_server_is_the_last_resort_and_known_to_all_workers() {
    let pools = of_workers(2, &[None, None]);
    eject(&pools[0], 0);
    let mut tried = Tried::default();
    for pool in &pools {
        assert_eq!(picks(pool, &tried, 1, 3), ["s1"; 3]);
    }
    tried.add(server(&pools[1], 1));
    assert_eq!(picks(&pools[1], &tried, 1, 1), ["s0"]);
    tried.add(server(&pools[1], 0));
    assert_eq!(picks(&pools[1], &tried, 1, 1), ["None"]);
}

#[test]
fn one_request_that_can_be_sent_again_probes_an_ejected_server() {
    let pools = of_workers(2, &[None, None]);
    eject(&pools[0], 0);
    let probing = |now| Want { may_probe: true, ..want(now) };
    let tried = Tried::default();
    let picked = |worker: usize, now| pools[worker].pick(&probing(now), &tried).ok().unwrap();
    assert_eq!(picked(0, 999_999).server.name(), "s1", "its pause is not over");
    let probe = picked(0, 1_000_000);
    assert_eq!((probe.server.name(), probe.probe.is_some()), ("s0", true));
    assert_eq!(picked(1, 1_000_001).server.name(), "s1", "one at a time");
    probe.probe.unwrap().pass(1_000_002);
    let names: Vec<String> = picks(&pools[1], &tried, 1_000_003, 2);
    assert!(names.contains(&"s0".to_string()), "{names:?}");
}

#[test]
fn the_limit_of_a_server_is_one_for_all_workers() {
    let pools = of_workers(2, &[Some(2), Some(1)]);
    let tried = Tried::default();
    let held: Vec<Picked> =
        (0..3).map(|n| pools[n % 2].pick(&want(0), &tried).unwrap_or_else(|why| panic!("{why:?}"))).collect();
    assert_eq!(picks(&pools[0], &tried, 0, 1), ["Full"]);
    assert!(pools[0].may_wait(&tried, 0));
    let of_second = held.iter().position(|picked| picked.server.name() == "s1").unwrap();
    drop(held.into_iter().nth(of_second));
    assert_eq!(pools.iter().map(|pool| pool.pick(&want(0), &tried).is_ok()).filter(|ok| *ok).count(), 2);
}

#[test]
fn requests_that_hold_no_slot_count_against_a_limit_that_came_later() {
    let pool = of_workers(1, &[Some(1), Some(2)]).remove(0);
    let servers = pool.servers(0).to_vec();
    servers.iter().for_each(|server| server.request_begins());
    let tried = Tried::default();
    assert!(!servers[0].has_room() && servers[1].has_room());
    let picked = pool.pick(&want(0), &tried).unwrap_or_else(|why| panic!("{why:?}"));
    picked.server.request_begins();
    assert_eq!((picked.server.name(), picks(&pool, &tried, 0, 1)), ("s1", vec!["Full".to_string()]));
}

#[test]
fn backups_are_used_while_no_other_server_is_up_or_left() {
    let (state, mut config) = (pool_of(1, &[None, None, None]), config(&[3]));
    let pool_config = Arc::make_mut(&mut config.pools[0]);
    pool_config.servers[2].backup = true;
    state.set_config(&config.pools[0], &|_, _| None);
    let all = Rc::new(RefCell::new(WorkerServers::new(0)));
    let pool = Pool::new(PoolId(0), config.pools[0].clone(), state, &all);
    let mut tried = Tried::default();
    assert_eq!(picks(&pool, &tried, 0, 4), ["s0", "s1", "s0", "s1"]);
    tried.add(server(&pool, 0));
    tried.add(server(&pool, 1));
    assert_eq!(picks(&pool, &tried, 0, 1), ["s2"]);
    eject(&pool, 0);
    let maint = ByHand { state: Some(Administrative::Maint), weight: None };
    pool.state.set_by_hand("s1", maint);
    assert_eq!(picks(&pool, &Tried::default(), 0, 2), ["s2", "s2"]);
}

#[test]
fn a_server_of_weight_0_gets_only_requests_that_name_it() {
    let (state, mut config) = (pool_of(1, &[None, None]), config(&[2]));
    let pool_config = Arc::make_mut(&mut config.pools[0]);
    pool_config.servers[0].weight = 0;
    state.set_config(&config.pools[0], &|_, _| None);
    let all = Rc::new(RefCell::new(WorkerServers::new(0)));
    let pool = Pool::new(PoolId(0), config.pools[0].clone(), state, &all);
    assert_eq!(picks(&pool, &Tried::default(), 0, 3), ["s1"; 3]);
    assert_eq!(name(take_named(&server(&pool, 0))), "s0");
    pool.state.set_by_hand("s0", ByHand { state: Some(Administrative::Maint), weight: None });
    assert_eq!(name(take_named(&server(&pool, 0))), "None");
}

#[test]
fn a_balance_function_sees_the_servers_that_may_take_the_request() {
    let pools = of_workers(2, &[None, None, None]);
    eject(&pools[0], 1);
    server(&pools[0], 2).request_begins();
    server(&pools[1], 2).request_begins();
    let mut tried = Tried::default();
    let servers = |tried: &Tried| pools[1].candidates(tried, 1).servers.clone();
    assert_eq!(servers(&tried), [ServerId(0), ServerId(2)]);
    assert_eq!(pools[1].candidates(&tried, 1).in_flight, [0, 0, 2]);
    assert_eq!(pools[1].candidates(&tried, 1).up, [true, false, true]);
    tried.add(server(&pools[1], 0));
    tried.add(server(&pools[1], 2));
    assert_eq!(servers(&tried), [ServerId(1)], "the ejected one is left");
}
