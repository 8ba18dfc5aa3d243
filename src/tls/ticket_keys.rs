//! The keys of session tickets: random ones, which change by themselves and go over to the next process of an upgrade, or
//! those of a file that several machines share.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64ct::{Base64, Encoding};

use super::{Fingerprint, Hash};

/// How often random keys change, in seconds: what an older one sealed is still opened.
pub(super) const ROTATION: u64 = 6 * 60 * 60;
/// Random keys that are kept: as long as a ticket is of use.
const KEPT: usize = 3;

pub(super) const NAME: usize = 16;
/// The length of a random key.
const LENGTH: usize = 80;
/// The lengths of keys in a file, as nginx takes them.
const LENGTHS: [usize; 2] = [48, LENGTH];

/// The keys of a listener.
#[derive(Clone)]
pub enum TicketKeys {
    /// Random ones, common to all listeners, which live as long as the process.
    Random,
    /// Of a file.
    Given { keys: Arc<Vec<Key>>, print: Fingerprint },
}

impl TicketKeys {
    /// Reads a file: one key a line in base64, the first of which seals.
    pub fn read(text: &[u8]) -> Result<TicketKeys, String> {
        let print = Hash::new("ticket keys").and(text).finish();
        let text = std::str::from_utf8(text).map_err(|_| "not a text file, expected a base64 key a line")?;
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let keys: Result<Vec<Key>, String> = lines
            .filter(|(_, line)| !line.is_empty())
            .map(|(number, line)| Key::read(line, number))
            .collect();
        match keys? {
            keys if keys.is_empty() => {
                Err("no key in it, expected one of 48 or 80 bytes in base64, as from openssl rand -base64 48"
                    .into())
            }
            keys => Ok(TicketKeys::Given { keys: Arc::new(keys), print }),
        }
    }

    pub(super) fn print(&self) -> Fingerprint {
        match self {
            TicketKeys::Random => Hash::new("random ticket keys").finish(),
            TicketKeys::Given { print, .. } => *print,
        }
    }

    /// Runs `work` on the keys, the sealing one first.
    pub(super) fn with<T>(&self, now: u64, work: impl FnOnce(&[Key]) -> T) -> T {
        match self {
            TicketKeys::Given { keys, .. } => work(keys),
            TicketKeys::Random => {
                let lock = random_keys();
                if lock.read().unwrap_or_else(PoisonError::into_inner).next <= now {
                    lock.write().unwrap_or_else(PoisonError::into_inner).rotate(now);
                }
                work(&lock.read().unwrap_or_else(PoisonError::into_inner).keys)
            }
        }
    }
}

/// One key.
pub struct Key {
    pub(super) name: [u8; NAME],
    secret: hmac::Key,
}

impl Key {
    fn read(line: &str, number: usize) -> Result<Key, String> {
        let bytes = Base64::decode_vec(line).ok().filter(|bytes| LENGTHS.contains(&bytes.len()));
        let bytes =
            bytes.ok_or_else(|| format!("line {number} is no key, expected 48 or 80 bytes in base64"))?;
        Ok(Key::of(&bytes))
    }

    /// The first bytes name it, all of them are its secret.
    fn of(bytes: &[u8]) -> Key {
        let mut name = [0; NAME];
        name.copy_from_slice(&bytes[..NAME]);
        Key { name, secret: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }

    /// The key of the ticket with this seed.
    pub(super) fn of_ticket(&self, seed: &[u8]) -> Option<LessSafeKey> {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(b"rsp ticket 1");
        context.update(seed);
        UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).ok().map(LessSafeKey::new)
    }
}

/// Random keys, the newest first.
#[derive(Default)]
struct Rotating {
    keys: Vec<Key>,
    /// The same as bytes, for the next process.
    bytes: Vec<[u8; LENGTH]>,
    next: u64,
}

impl Rotating {
    /// Another worker may have done it already.
    fn rotate(&mut self, now: u64) {
        if self.next > now {
            return;
        }
        let mut bytes = [0; LENGTH];
        if SystemRandom::new().fill(&mut bytes).is_ok() {
            self.bytes.insert(0, bytes);
            self.bytes.truncate(KEPT);
            self.keys.insert(0, Key::of(&bytes));
            self.keys.truncate(KEPT);
            self.next = now + ROTATION;
        }
    }
}

/// Those of the process. They live through reloads, since a listener's configuration does not.
fn random_keys() -> &'static RwLock<Rotating> {
    static KEYS: OnceLock<RwLock<Rotating>> = OnceLock::new();
    KEYS.get_or_init(RwLock::default)
}

/// The random keys of a process in base64, the newest first, and when they change next. It cannot be printed.
pub struct RandomKeys {
    pub keys: Vec<String>,
    pub next: u64,
}

impl RandomKeys {
    /// Those of this process. `now`: seconds since 1970.
    pub fn of_process(now: u64) -> RandomKeys {
        let mut random = random_keys().write().unwrap_or_else(PoisonError::into_inner);
        random.rotate(now);
        RandomKeys {
            keys: random.bytes.iter().map(|key| Base64::encode_string(key)).collect(),
            next: random.next,
        }
    }

    /// Makes them those of this process, which must not have sealed anything yet. What is no key is left out.
    pub fn adopt(&self) {
        let bytes = self.keys.iter().filter_map(|key| Base64::decode_vec(key).ok()?.try_into().ok());
        let bytes: Vec<[u8; LENGTH]> = bytes.take(KEPT).collect();
        if !bytes.is_empty() {
            let keys = bytes.iter().map(|bytes| Key::of(bytes)).collect();
            let adopted = Rotating { keys, bytes, next: self.next };
            *random_keys().write().unwrap_or_else(PoisonError::into_inner) = adopted;
        }
    }
}
