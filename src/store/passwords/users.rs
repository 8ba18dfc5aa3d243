//! The users of a file as `htpasswd` writes it: a line `user:hash` each.

use std::collections::HashMap;

use super::super::map::BadLine;
use super::hash::Hash;

pub(super) struct Users {
    hashes: HashMap<Vec<u8>, (Hash, String)>,
    /// What an unknown user's password is compared with, so that it takes as long.
    decoy: Option<Hash>,
}

impl Users {
    pub(super) fn parse(text: &[u8]) -> Result<Users, BadLine> {
        let mut users = Users { hashes: HashMap::new(), decoy: None };
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            let (user, hash) = entry(line).map_err(|why| (number, why.to_owned()))?;
            let written = String::from_utf8_lossy(&line[user.len()..]).into_owned();
            users.decoy.get_or_insert_with(|| hash.clone());
            if users.hashes.insert(user.to_vec(), (hash, written)).is_some() {
                return Err((number, "a user who stands there twice".into()));
            }
        }
        Ok(users)
    }

    /// The hash of a user, with how it is written; without one for an unknown user.
    pub(super) fn of(&self, user: &[u8]) -> Option<(Hash, &str)> {
        let known = self.hashes.get(user).map(|(hash, written)| (hash.clone(), written.as_str()));
        known.or_else(|| Some((self.decoy.clone()?, "")))
    }
}

fn entry(line: &[u8]) -> Result<(&[u8], Hash), &'static str> {
    let mut parts = line.split(|byte| *byte == b':');
    let (user, hash) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if user.is_empty() || hash.is_empty() {
        return Err("expected a user and a hash with a colon between them");
    }
    let hash = std::str::from_utf8(hash).ok().and_then(Hash::parse);
    let hash =
        hash.ok_or("a hash of another kind, expected bcrypt, apr1, {SHA} or crypt's SHA-256 or SHA-512");
    Ok((user, hash?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_hashes_and_strangers_a_decoy() {
        let users = Users::parse(b"# people\n\nada:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=:more\r\n").ok().unwrap();
        assert!(users.of(b"ada").is_some_and(|(hash, written)| hash.is_of(b"secret") && !written.is_empty()));
        assert!(users.of(b"eve").is_some_and(|(_, written)| written.is_empty()));
        assert!(Users::parse(b"").ok().unwrap().of(b"ada").is_none());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let sha = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
        for (text, line, why) in [
            ("ada".to_owned(), 1, "expected a user"),
            (format!("\n:{sha}"), 2, "expected a user"),
            ("ada:secret".to_owned(), 1, "a hash of another kind"),
            (format!("ada:{sha}\nada:{sha}"), 2, "a user who stands there twice"),
        ] {
            let (at, told) = Users::parse(text.as_bytes()).err().unwrap();
            assert!(at == line && told.starts_with(why), "{text}: {at}: {told}");
        }
    }
}
