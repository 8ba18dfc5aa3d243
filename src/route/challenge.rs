//! Requests for the token of an ACME challenge (HTTP-01, RFC 8555 section 8.3), by which an authority finds out whether a
//! certificate may be issued. They are answered from `acme_challenge_dir` on listeners without TLS.

use std::path::Path;
use std::sync::Arc;

use crate::exchange::ListenerContext;
use crate::http::{Method, RequestHead};

const PREFIX: &[u8] = b"/.well-known/acme-challenge/";
const LONGEST: usize = 128;

/// A token that is asked for, and where its file would be.
pub struct Challenge {
    pub directory: Arc<Path>,
    /// Of letters, digits, `-` and `_`.
    pub token: String,
}

/// `None` if the request is any other.
pub(super) fn challenge(context: &ListenerContext, head: &RequestHead) -> Option<Challenge> {
    let directory = context.listener.challenges.as_ref()?;
    let token = head.path().strip_prefix(PREFIX)?;
    let fits = matches!(head.method, Method::Get | Method::Head)
        && (1..=LONGEST).contains(&token.len())
        && token.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let token = fits.then(|| String::from_utf8_lossy(token).into_owned())?;
    Some(Challenge { directory: directory.clone(), token })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, ListenerConfig};

    fn token(method: Method, target: &str) -> Option<String> {
        let address = Address::Ip("127.0.0.1:80".parse().unwrap());
        let challenges = Some(Path::new("/var/lib/rsp/acme").into());
        let listener = ListenerConfig { challenges, ..ListenerConfig::at(address) };
        let context = ListenerContext::of(&Arc::new(listener)).unwrap();
        let mut head = RequestHead { method, ..RequestHead::default() };
        head.target = head.fields.store(target.as_bytes());
        challenge(&context, &head).map(|found| found.token)
    }

    #[test]
    fn a_token_is_one_segment_of_its_own_letters() {
        let at = |token: &str| format!("/.well-known/acme-challenge/{token}");
        let longest = "a".repeat(LONGEST);
        for good in ["a", "A-z_09", &longest] {
            assert_eq!(token(Method::Get, &at(good)).as_deref(), Some(good));
            assert_eq!(token(Method::Head, &at(good)).as_deref(), Some(good));
            assert_eq!(token(Method::Post, &at(good)), None);
        }
        assert_eq!(token(Method::Get, &at("a?b")).as_deref(), Some("a"));
        for bad in ["", ".", "..", "a/b", "../a", "a.b", "%61", "a b", "ä", &format!("{longest}a")] {
            assert_eq!(token(Method::Get, &at(bad)), None, "{bad}");
        }
        assert_eq!(token(Method::Get, "/.well-known/acme-challengea"), None);
        assert_eq!(token(Method::Get, "/"), None);
    }
}
