//! What ties requests to servers: the key that `hash` and `source_hash` balance by, and the cookie of a sticky session.

use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;

use super::Handlers;
use crate::balance::{Pool, WorkerServer};
use crate::config::{Balance, HashBy};
use crate::exchange::Exchange;
use crate::http::{Scheme, arguments, cookies, percent_decode, remove_cookie};
use crate::script::ScriptError;

/// The key by which the pool chooses a server; `None` if it does not, or if the request lacks what is hashed.
pub(super) fn key(
    pool: &Pool,
    x: &mut Exchange,
    handlers: &mut Handlers,
) -> Result<Option<u64>, ScriptError> {
    match (pool.config.balance, &pool.config.hash_by) {
        (Balance::SourceHash, _) => Ok(x.client.map(|client| {
            let mut hasher = DefaultHasher::new();
            std::hash::Hash::hash(&client.ip.to_canonical(), &mut hasher);
            hasher.finish()
        })),
        (Balance::Hash, Some(HashBy::Function)) => handlers.hash_by(pool, x),
        (Balance::Hash, Some(by)) => Ok(key_of_head(by, x)),
        _ => Ok(None),
    }
}

fn key_of_head(by: &HashBy, x: &Exchange) -> Option<u64> {
    let head = &x.head;
    match by {
        HashBy::Path => Some(hash(head.path())),
        HashBy::Header(name) => head.fields.get_by_name(name.as_bytes()).map(hash),
        HashBy::Cookie(name) => {
            let named = |(found, _): &(&[u8], &[u8])| *found == name.as_bytes();
            cookies(&head.fields).find(named).map(|(_, value)| hash(value))
        }
        HashBy::Query(name) => {
            let (mut scratch, query) = (Vec::new(), head.query().unwrap_or_default());
            arguments(query).find_map(|(found, value)| {
                percent_decode(found, &mut scratch);
                (scratch == name.as_bytes()).then(|| {
                    percent_decode(value, &mut scratch);
                    hash(&scratch)
                })
            })
        }
        HashBy::Function => None,
    }
}

/// The same in every worker and after a restart.
pub(super) fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

/// Takes the session's cookie off the request. Returns its server, if it is still one of the pool.
pub(super) fn take_session(pool: &Pool, x: &mut Exchange) -> Option<Rc<WorkerServer>> {
    let name = pool.config.sticky.as_ref()?.cookie.as_bytes();
    let found = cookies(&x.head.fields).find(|(found, _)| *found == name);
    let server = found.and_then(|(_, token)| pool.server_of_token(token));
    if found.is_some() {
        remove_cookie(&mut x.head.fields, name);
    }
    server
}

/// The value of `Set-Cookie` that ties the client to this server.
pub fn session_cookie(pool: &Pool, server: &Rc<WorkerServer>, scheme: Scheme) -> Option<String> {
    let sticky = pool.config.sticky.as_ref()?;
    let token = pool.token_of(server)?;
    let age = sticky.max_age.map(|age| format!("; Max-Age={}", age.as_secs())).unwrap_or_default();
    let secure = if scheme == Scheme::Https { "; Secure" } else { "" };
    Some(format!("{}={token}; Path=/{age}{secure}; HttpOnly; SameSite=Lax", sticky.cookie))
}
