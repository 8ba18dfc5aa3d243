//! Tokens of sticky sessions: a cookie's value stands for a server without naming it, and nobody without the pool's
//! secret can make one. The same secret gives the same tokens in every worker, process and machine.

use std::collections::HashMap;
use std::rc::Rc;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::worker_server::WorkerServer;

/// Bytes of the code that are used: enough that guessing one is hopeless.
const BYTES: usize = 16;

#[derive(Default)]
pub(super) struct Sessions {
    servers: HashMap<String, Rc<WorkerServer>>,
    tokens: HashMap<u64, String>,
}

impl Sessions {
    pub(super) fn new(secret: &str, servers: &[Rc<WorkerServer>]) -> Sessions {
        let mut sessions = Sessions::default();
        for server in servers {
            let token = token(secret, &server.to_string());
            sessions.tokens.insert(server.identity(), token.clone());
            sessions.servers.insert(token, server.clone());
        }
        sessions
    }

    pub(super) fn server(&self, token: &[u8]) -> Option<&Rc<WorkerServer>> {
        self.servers.get(std::str::from_utf8(token).ok()?)
    }

    pub(super) fn token(&self, server: &WorkerServer) -> Option<&str> {
        self.tokens.get(&server.identity()).map(String::as_str)
    }
}

/// Hexadecimal digits of the authentication code (RFC 2104, HMAC-SHA256) of the server's identity.
fn token(secret: &str, server: &str) -> String {
    // HMAC takes a key of any length.
    let Ok(mut code) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    code.update(server.as_bytes());
    code.finalize().into_bytes().iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_depends_on_secret_and_server_and_does_not_show_them() {
        let all = [token("a", "web/s1"), token("a", "web/s2"), token("b", "web/s1")];
        assert!(all.iter().all(|token| token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit())));
        assert!(all[0] != all[1] && all[0] != all[2]);
        assert_eq!(all[0], token("a", "web/s1"));
    }
}
