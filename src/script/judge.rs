//! What the return values of a script's functions mean.

use super::Verdict;
use super::answer;
use super::bodies::Bodies;
use super::directory::Directory;
use super::ffi::{Results, Returned};
use super::request::Offer;
use crate::config::{PoolId, ServerId};

/// Interprets the return values of `on_request`.
#[inline(always)]
pub(super) fn verdict(
    results: Results<'_>,
    names: &Directory,
    bodies: &mut Bodies,
) -> Result<Verdict, String> {
    match results.only_pool(names) {
        Some(pool) => Ok(Verdict::Pool(pool)),
        None => other_verdict(results.all(), names, bodies),
    }
}

#[inline(never)]
fn other_verdict(
    [first, second, third]: [Returned<'_>; 3],
    names: &Directory,
    bodies: &mut Bodies,
) -> Result<Verdict, String> {
    let pool = match first {
        Returned::Pool(pool) => pool,
        Returned::Text(name) => names.pool_named(name).map_err(|wrong| format!("on_request: {wrong}"))?,
        Returned::Nil if second == Returned::Nil => return only_pool(names.pools()),
        Returned::Answer(bytes) => {
            let answer = answer::decode(bytes, bodies).ok_or("internal fault of rsp")?;
            return Ok(if answer.status == 0 { Verdict::Abort } else { Verdict::Answer(Box::new(answer)) });
        }
        other => {
            return Err(format!(
                "on_request returned {}, expected a pool or its name, rsp.respond, rsp.redirect, rsp.abort or nil",
                shown(other)
            ));
        }
    };
    match second {
        Returned::Nil => Ok(Verdict::Pool(pool)),
        second => with_server(pool, [second, third], names, "on_request"),
    }
}

/// Interprets the return values of an `sni` function.
pub(super) fn by_name(results: Results<'_>, names: &Directory) -> Result<Option<Verdict>, String> {
    let [first, second, third] = results.all();
    let pool = match first {
        Returned::Pool(pool) => pool,
        Returned::Text(name) => names.pool_named(name).map_err(|wrong| format!("sni: {wrong}"))?,
        Returned::Nil if second == Returned::Nil => return Ok(None),
        other => return Err(format!("sni returned {}, expected a pool or its name, or nil", shown(other))),
    };
    match second {
        Returned::Nil => Ok(Some(Verdict::Pool(pool))),
        second => with_server(pool, [second, third], names, "sni").map(Some),
    }
}

/// A pool, and the server of it that follows.
fn with_server(
    pool: PoolId,
    [second, third]: [Returned<'_>; 2],
    names: &Directory,
    function: &str,
) -> Result<Verdict, String> {
    let server = server_of(pool, second, names, function)?;
    Ok(Verdict::Server { pool, server, preferred: preference(third, function)? })
}

/// `true` after a server: another one may be used if it fails.
fn preference(third: Returned<'_>, function: &str) -> Result<bool, String> {
    match third {
        Returned::Nil => Ok(false),
        Returned::Boolean(preferred) => Ok(preferred),
        other => Err(format!(
            "{function} returned a pool, a server and {}, expected true (the server is only preferred) or nothing as \
             third value",
            shown(other)
        )),
    }
}

pub(super) fn only_pool(pools: usize) -> Result<Verdict, String> {
    match pools {
        1 => Ok(Verdict::Pool(PoolId(0))),
        n => Err(format!("on_request returned nil, which stands for the only pool, but there are {n}")),
    }
}

fn server_of(
    pool: PoolId,
    value: Returned<'_>,
    names: &Directory,
    function: &str,
) -> Result<ServerId, String> {
    match value {
        Returned::Text(name) => {
            names.server_named(pool, name).map_err(|wrong| format!("{function}: {wrong}"))
        }
        Returned::Server(of, server) if of == pool => Ok(server),
        Returned::Server(of, _) => Err(format!(
            "{function} returned pool \"{}\" and a server of pool \"{}\"",
            names.pool_name(pool),
            names.pool_name(of)
        )),
        other => Err(format!(
            "{function} returned a pool and {}, expected a server or its name as second value",
            shown(other)
        )),
    }
}

/// Interprets the return value of a `balance` function.
pub(super) fn choice(value: Returned<'_>, offer: &Offer<'_>, names: &Directory) -> Result<ServerId, String> {
    match value {
        Returned::Server(of, server) if of == offer.pool && offer.candidates.contains(&server) => Ok(server),
        Returned::Server(of, server) => {
            let name = names.servers(of).get(server.0 as usize).map_or("?", |s| &s.name);
            Err(format!("balance returned server \"{name}\", which is not one of the servers it was given"))
        }
        other => Err(format!("balance returned {}, expected one of the servers it was given", shown(other))),
    }
}

pub(super) fn shown(value: Returned<'_>) -> String {
    match value {
        Returned::Nil => "nil".to_string(),
        Returned::Pool(_) => "a pool".to_string(),
        Returned::Text(_) => "a string".to_string(),
        Returned::Boolean(_) => "a boolean".to_string(),
        Returned::Server(..) => "a server".to_string(),
        Returned::Answer(_) => "an answer".to_string(),
        Returned::Other(kind) => format!("a {kind}"),
    }
}
