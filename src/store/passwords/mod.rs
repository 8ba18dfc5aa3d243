//! A file of users and passwords, as `htpasswd` writes it, and checks against it. A check may take tenths of a second:
//! it runs on threads of its own, of which only so many checks may wait. Those who ask the same at one time share a
//! check, and what it found is known for a short while, by a keyed hash. A changed file makes nothing known that was not
//! checked against it.
//!
//! - `hash`  the kinds of hashes, and whether a password has one
//! - `users` the file
//! - `pool`  the threads

mod hash;
mod pool;
mod users;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use self::users::Users;
use super::file::WatchedFile;
use super::table::{Bounds, Change, Entry, Key, Table};
use super::{lock, seed};

/// How long the result of a check is known, in nanoseconds.
const KNOWN: u64 = 30_000_000_000;
/// Results that are known at one time.
const BOUNDS: Bounds = Bounds { entries: 10_000, memory: usize::MAX };

/// What a check has come to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Begun {
    /// It was checked a moment ago.
    Known(bool),
    /// `done` will be called, on another thread.
    Waits,
    /// Too many checks wait already; `done` is not called.
    Full,
}

type Done = Box<dyn FnOnce(bool) + Send>;

/// The users of one file.
pub struct BasicAuth {
    file: WatchedFile<Users>,
    known: Table<Checked>,
    /// Who waits for a check that runs.
    asking: Mutex<HashMap<[u64; 2], Vec<Done>>>,
}

struct Checked {
    is_right: bool,
    until: u64,
}

impl Entry for Checked {
    fn expires(&self) -> u64 {
        self.until
    }

    fn bytes(&self) -> usize {
        0
    }
}

impl BasicAuth {
    /// An error is `FILE:LINE: what is wrong`, or what the system says.
    pub fn open(path: &Path) -> Result<BasicAuth, String> {
        let file = WatchedFile::open(path, Box::new(Users::parse))?;
        Ok(BasicAuth { file, known: Table::new(BOUNDS.entries, seed()), asking: Mutex::default() })
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// See `WatchedFile`.
    pub fn refresh(&self) -> Result<bool, String> {
        self.file.refresh()
    }

    pub fn look(&self) -> Result<bool, String> {
        self.file.look()
    }

    /// Whether this is the user's password; it may take tenths of a second.
    pub fn is_right(&self, user: &[u8], password: &[u8]) -> bool {
        let users = self.file.current();
        users.of(user).is_some_and(|(hash, written)| hash.is_of(password) && !written.is_empty())
    }

    /// Whether this is the user's password, if that was checked a moment ago.
    pub fn known(&self, user: &[u8], password: &[u8], now: u64) -> Option<bool> {
        let users = self.file.current();
        let Some((_, written)) = users.of(user) else { return Some(false) };
        let key = self.key(user, written, password);
        self.known.peek(key, now, |known| known.map(|known| known.is_right))
    }

    fn key(&self, user: &[u8], written: &str, password: &[u8]) -> Key {
        // Lengths in front: no two triples are the same text.
        let lengths = [user.len(), written.len()].map(usize::to_le_bytes).concat();
        self.known.key(&[&lengths, user, written.as_bytes(), password].concat())
    }

    /// Whether this is the user's password: at once if that is known, else later by `done`. `clock`: nanoseconds, for
    /// when the check is over.
    pub fn check(
        self: &Arc<BasicAuth>,
        user: &[u8],
        password: &[u8],
        clock: fn() -> u64,
        done: impl FnOnce(bool) + Send + 'static,
    ) -> Begun {
        let users = self.file.current();
        let Some((hash, written)) = users.of(user) else { return Begun::Known(false) };
        let key = self.key(user, written, password);
        if let Some(is_right) = self.known.peek(key, clock(), |known| known.map(|known| known.is_right)) {
            return Begun::Known(is_right);
        }
        let mut asking = lock(&self.asking);
        if let Some(others) = asking.get_mut(&key.words()) {
            others.push(Box::new(done));
            return Begun::Waits;
        }
        let (own, password, exists) = (self.clone(), password.to_vec(), !written.is_empty());
        let work = move || own.finish(key, hash.is_of(&password) && exists, clock());
        if !pool::run(Box::new(work)) {
            return Begun::Full;
        }
        asking.insert(key.words(), vec![Box::new(done)]);
        Begun::Waits
    }

    fn finish(&self, key: Key, is_right: bool, now: u64) {
        let checked = Checked { is_right, until: now.saturating_add(KNOWN) };
        self.known.access(key, now, BOUNDS, |_| (Change::Put(checked), ()));
        let asking = lock(&self.asking).remove(&key.words());
        asking.into_iter().flatten().for_each(|done| done(is_right));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::hash::SECRET;
    use super::*;

    fn users(name: &str, hash: &str) -> (std::path::PathBuf, Arc<BasicAuth>) {
        let path = std::env::temp_dir().join(format!("rsp-users-{}-{name}", std::process::id()));
        std::fs::write(&path, format!("ada:{hash}\n")).unwrap();
        let auth = Arc::new(BasicAuth::open(&path).unwrap());
        (path, auth)
    }

    /// The result, and whether it had to be checked.
    fn check(auth: &Arc<BasicAuth>, user: &str, password: &str) -> (bool, bool) {
        let (told, result) = mpsc::channel();
        let done = move |is_right| told.send(is_right).unwrap();
        match auth.check(user.as_bytes(), password.as_bytes(), || 1000, done) {
            Begun::Known(is_right) => (is_right, false),
            Begun::Waits => (result.recv_timeout(Duration::from_secs(60)).unwrap(), true),
            Begun::Full => panic!("nobody else checks"),
        }
    }

    #[test]
    fn a_password_is_checked_once_and_known_for_a_while() {
        let (path, auth) = users("known", SECRET[0]);
        assert_eq!(
            [check(&auth, "ada", "secret"), check(&auth, "ada", "secret")],
            [(true, true), (true, false)]
        );
        assert_eq!(
            [check(&auth, "ada", "other"), check(&auth, "ada", "other")],
            [(false, true), (false, false)]
        );
        assert_eq!(check(&auth, "eve", "secret"), (false, true), "an unknown user takes as long");
        std::fs::write(&path, format!("ada:{}\n", SECRET[2])).unwrap();
        assert_eq!(auth.refresh(), Ok(true));
        assert_eq!(check(&auth, "ada", "secret"), (true, true), "against the new hash");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn those_who_ask_the_same_share_a_check() {
        let (path, auth) = users("shared", SECRET[0]);
        let (told, result) = mpsc::channel();
        for _ in 0..500 {
            let told = told.clone();
            let done = move |is_right| told.send(is_right).unwrap();
            match auth.check(b"ada", b"secret", || 1000, done.clone()) {
                Begun::Known(is_right) => done(is_right),
                Begun::Waits => {}
                Begun::Full => panic!("one check is not too many"),
            }
        }
        for _ in 0..500 {
            assert!(result.recv_timeout(Duration::from_secs(60)).unwrap());
        }
        std::fs::remove_file(path).unwrap();
    }
}
