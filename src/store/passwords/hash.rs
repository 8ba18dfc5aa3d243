//! Whether a password has a given hash: those of `htpasswd` (bcrypt, Apache's MD5, SHA-1) and of crypt(3) with SHA-2.

use base64ct::{Base64, Encoding};
use md5::{Digest, Md5};
use sha_crypt::{Sha256Params, Sha512Params, sha256_crypt_b64, sha512_crypt_b64};
use sha1::Sha1;

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Hash {
    Bcrypt(String),
    Sha256(Crypt),
    Sha512(Crypt),
    /// `$apr1$SALT$…`: the salt, and all of it.
    Apr1 {
        salt: Vec<u8>,
        written: String,
    },
    Sha1(Vec<u8>),
}

/// `$5$rounds=5000$SALT$DIGEST`, where the rounds may be missing.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Crypt {
    rounds: usize,
    salt: String,
    digest: String,
}

impl Crypt {
    fn parse<'a>(mut parts: impl Iterator<Item = &'a str>, length: usize) -> Option<Crypt> {
        let first = parts.next()?;
        let (rounds, salt) = match first.strip_prefix("rounds=") {
            Some(rounds) => (rounds.parse().ok()?, parts.next()?),
            None => (sha_crypt::ROUNDS_DEFAULT, first),
        };
        let digest = parts.next()?;
        let is_whole = digest.len() == length && salt.len() <= 16 && parts.next().is_none();
        let rounds = Some(rounds).filter(|_| is_whole)?;
        Some(Crypt { rounds, salt: salt.to_owned(), digest: digest.to_owned() })
    }
}

impl Hash {
    /// `None`: not a kind of hash that is supported, or a damaged one.
    pub(super) fn parse(text: &str) -> Option<Hash> {
        if let Some(digest) = text.strip_prefix("{SHA}") {
            return Base64::decode_vec(digest).ok().filter(|digest| digest.len() == 20).map(Hash::Sha1);
        }
        let mut parts = text.strip_prefix('$')?.split('$');
        let own = || text.to_owned();
        match parts.next()? {
            "2a" | "2b" | "2y" => text.parse::<bcrypt::HashParts>().ok().map(|_| Hash::Bcrypt(own())),
            "5" => Crypt::parse(parts, 43).map(Hash::Sha256),
            "6" => Crypt::parse(parts, 86).map(Hash::Sha512),
            "apr1" => {
                let (salt, digest) = (parts.next()?, parts.next()?);
                let fits = salt.len() <= 8 && digest.len() == 22 && parts.next().is_none();
                fits.then(|| Hash::Apr1 { salt: salt.as_bytes().to_vec(), written: own() })
            }
            _ => None,
        }
    }

    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Hash::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Hash::Sha256(crypt) => {
                let made = Sha256Params::new(crypt.rounds)
                    .and_then(|rounds| sha256_crypt_b64(password, crypt.salt.as_bytes(), &rounds));
                made.is_ok_and(|made| is_equal(made.as_bytes(), crypt.digest.as_bytes()))
            }
            Hash::Sha512(crypt) => {
                let made = Sha512Params::new(crypt.rounds)
                    .and_then(|rounds| sha512_crypt_b64(password, crypt.salt.as_bytes(), &rounds));
                made.is_ok_and(|made| is_equal(made.as_bytes(), crypt.digest.as_bytes()))
            }
            Hash::Apr1 { salt, written } => is_equal(apr1(password, salt).as_bytes(), written.as_bytes()),
            Hash::Sha1(digest) => is_equal(&Sha1::digest(password), digest),
        }
    }
}

/// Without an end at the first difference.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// Apache's variant of the MD5 crypt of FreeBSD (apr_md5.c).
fn apr1(password: &[u8], salt: &[u8]) -> String {
    const MAGIC: &[u8] = b"$apr1$";
    let mut digest = Md5::new().chain_update(password).chain_update(MAGIC).chain_update(salt);
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    password.chunks(16).for_each(|piece| digest.update(&inner[..piece.len()]));
    let mut bits = password.len();
    while bits > 0 {
        // A zero byte, or the first byte of the password.
        digest.update(if bits & 1 == 1 { &[0] } else { &password[..1] });
        bits >>= 1;
    }
    let mut hash = digest.finalize();
    for round in 0..1000 {
        let mut digest = Md5::new();
        if round & 1 == 1 {
            digest.update(password)
        } else {
            digest.update(hash)
        }
        if round % 3 != 0 {
            digest.update(salt);
        }
        if round % 7 != 0 {
            digest.update(password);
        }
        if round & 1 == 1 {
            digest.update(hash)
        } else {
            digest.update(password)
        }
        hash = digest.finalize();
    }
    let salt = String::from_utf8_lossy(salt);
    format!("$apr1${salt}${}", apr1_text(&hash))
}

/// The digest in crypt's order and alphabet.
fn apr1_text(hash: &[u8]) -> String {
    const ALPHABET: &[u8] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut text = String::new();
    let mut write = |mut value: u32, count: usize| {
        for _ in 0..count {
            text.push(char::from(ALPHABET[value as usize & 63]));
            value >>= 6;
        }
    };
    for [a, b, c] in ORDER {
        write(u32::from(hash[a]) << 16 | u32::from(hash[b]) << 8 | u32::from(hash[c]), 4);
    }
    write(u32::from(hash[11]), 2);
    text
}

/// Each a hash of "secret", made by htpasswd and `openssl passwd`.
#[cfg(test)]
pub(super) const SECRET: [&str; 5] = [
    "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
    "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
    "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
    "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_hash_knows_its_password() {
        for written in SECRET {
            let hash = Hash::parse(written).unwrap_or_else(|| panic!("{written}"));
            assert!(hash.is_of(b"secret") && !hash.is_of(b"Secret") && !hash.is_of(b""), "{written}");
            assert!(!hash.is_of(&b"secret".repeat(100)) && !hash.is_of(b"\xff\0"), "{written}");
        }
        // Made by mkpasswd with another number of rounds.
        let hash =
            Hash::parse("$5$rounds=1234$abcdefgh$kTVqJqhTxJja37YYybK4z25xcKovYD6AZG90TrZhsA8").unwrap();
        assert!(hash.is_of(b"secret") && !hash.is_of(b"other"));
        // Of long passwords and empty ones.
        let long = b"0123456789abcdef0123456789abcdef!";
        assert_eq!(apr1(long, b"abcdefgh"), "$apr1$abcdefgh$aVC2Yb/aN6SNYHtqn29Da0");
        assert_eq!(apr1(b"", b"x"), "$apr1$x$tMwYqBfQwi3FYAr0aJc8M/");
    }

    #[test]
    fn other_texts_are_no_hashes() {
        for text in [
            "",
            "secret",
            "{SHA}x",
            "{PLAIN}secret",
            "rqXexS6ZhobKA",
            "$1$salt$x",
            "$2y$10$short",
            "$apr1$salt",
        ] {
            assert_eq!(Hash::parse(text), None, "{text}");
        }
    }
}
