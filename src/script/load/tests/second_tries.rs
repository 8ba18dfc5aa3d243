//! `hedge` and `mirror`: their errors, and what they come to.

use super::load_text;
use super::messages::{LISTEN, all};
use crate::config::{HedgeAfter, Mirror, PoolId};

#[test]
fn second_tries_and_copies() {
    all(&[
        (
            "rsp.pool { hedge = { after = 'p99' } }",
            "1: hedge.after: got \"p99\", expected \"p95\" or a time from 1ms to 24h",
        ),
        (
            "rsp.pool {\n hedge = { budget = 0 } }",
            "2: hedge.budget: got 0, expected a number above 0, at most 1",
        ),
        (
            "rsp.pool { hedge = true }",
            "1: hedge: got true, expected a table such as { after = \"p95\", budget = 0.02 }",
        ),
        (
            "rsp.pool { mirror = { share = 0.5 } }",
            "1: mirror: no pool, expected one, as in pool = \"shadow\"",
        ),
        (
            "rsp.pool { mirror = { pool = 'a', share = 1.5 } }",
            "1: mirror.share: got 1.5, expected a number above 0, at most 1",
        ),
        (
            &format!(
                "{LISTEN}\nrsp.pool {{ name = 'a',\n servers = {{ '127.0.0.1:1' }}, mirror = {{ pool = 'b' }} }}"
            ),
            "3: mirror.pool: no pool is named \"b\", did you mean \"a\"?",
        ),
        (
            &format!(
                "{LISTEN}\nrsp.pool {{ name = 'a', servers = {{ '127.0.0.1:1' }},\n mirror = {{\n pool = 'a' }} }}"
            ),
            "4: mirror.pool: it is this pool itself, expected another one",
        ),
        (
            &format!("{LISTEN}\nrsp.pool {{ servers = {{ '127.0.0.1:1' }}, mirror = {{ pool = 7 }} }}"),
            "2: mirror.pool: got 7, expected a pool or the name of one",
        ),
    ]);
}

#[test]
fn a_mirror_may_name_a_pool_that_is_made_later_and_the_rest_has_defaults() {
    let text = "rsp.listen '127.0.0.1:0'
        rsp.pool { name = 'web', servers = { '127.0.0.1:1' }, hedge = {}, mirror = { pool = 'shadow' } }
        local shadow = rsp.pool { name = 'shadow', servers = { '127.0.0.1:2' } }
        rsp.pool { servers = { '127.0.0.1:3' }, mirror = { pool = shadow, share = 0.25 } }
        rsp.on_request(function() return shadow end)";
    let config = load_text(text).expect("a config");
    let hedge = config.pools[0].hedge.expect("a hedge");
    assert_eq!((hedge.after, hedge.budget), (HedgeAfter::P95, 0.02));
    let mirrors: Vec<_> = config.pools.iter().map(|pool| pool.mirror).collect();
    let to = |share| Some(Mirror { pool: PoolId(1), share });
    assert_eq!(mirrors, [to(1.0), None, to(0.25)]);
}
