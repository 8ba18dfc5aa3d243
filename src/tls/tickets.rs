//! Session tickets: sealed by one key, opened by several (`ticket_keys`), the same for all workers.
//!
//! A ticket is bound to what its listener demands of clients, so that one obtained without a client certificate does
//! not open a listener that requires one, and it ends with the certificate of its client.
//!
//! ```text
//! key name 16 │ seed 24 │ when it was sealed 8 │ session, AES-256-GCM │ tag 16
//! ```
//!
//! Each ticket has a key of its own, derived from the seed, so a key that is used for years repeats no nonce.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

use super::Fingerprint;
use super::clients::session_until;
use super::ticket_keys::{NAME, TicketKeys};

/// How long a ticket is of use, in seconds.
const LIFETIME: u32 = 12 * 60 * 60;
/// How far the clock of another machine may be ahead, in seconds.
const AHEAD: u64 = 5 * 60;

const SEED: usize = 24;
const HEAD: usize = NAME + SEED + 8;

/// Seconds since 1970.
pub type TicketTime = Arc<dyn TimeProvider>;

/// Seals and opens the tickets of one listener.
pub(super) struct Tickets {
    keys: TicketKeys,
    binding: Fingerprint,
    /// Sessions may have the certificate of a client.
    of_clients: bool,
    time: TicketTime,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// `binding`: what a session of another listener may not be resumed without. `of_clients`: clients have certificates.
    pub(super) fn new(keys: TicketKeys, binding: Fingerprint, of_clients: bool, time: TicketTime) -> Tickets {
        Tickets { keys, binding, of_clients, time }
    }

    fn now(&self) -> Option<u64> {
        self.time.current_time().map(|now| now.as_secs())
    }

    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let now = self.now()?;
        let mut ticket = Vec::with_capacity(HEAD + session.len() + AES_256_GCM.tag_len());
        self.keys.with(now, |keys| {
            let key = keys.first()?;
            ticket.extend_from_slice(&key.name);
            ticket.resize(NAME + SEED, 0);
            SystemRandom::new().fill(&mut ticket[NAME..]).ok()?;
            ticket.extend_from_slice(&now.to_be_bytes());
            let bound = self.bound(&ticket);
            let mut sealed = session.to_vec();
            let key = key.of_ticket(&ticket[NAME..NAME + SEED])?;
            key.seal_in_place_append_tag(once(), Aad::from(bound), &mut sealed).ok()?;
            ticket.extend_from_slice(&sealed);
            Some(ticket)
        })
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = self.now()?;
        let (head, sealed) = ticket.split_at_checked(HEAD)?;
        let (name, rest) = head.split_at_checked(NAME)?;
        let (seed, sealed_at) = rest.split_at_checked(SEED)?;
        let sealed_at = u64::from_be_bytes(sealed_at.try_into().ok()?);
        if sealed_at > now + AHEAD || now.saturating_sub(sealed_at) > u64::from(LIFETIME) {
            return None;
        }
        self.keys.with(now, |keys| {
            let key = keys.iter().find(|key| key.name == name)?.of_ticket(seed)?;
            let mut sealed = sealed.to_vec();
            let session = key.open_in_place(once(), Aad::from(self.bound(head)), &mut sealed).ok()?.len();
            sealed.truncate(session);
            Some(sealed)
        })
    }

    /// What is authenticated with the session.
    fn bound(&self, head: &[u8]) -> Vec<u8> {
        [head, &self.binding].concat()
    }
}

/// The nonce of a key that is used once.
fn once() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        // Without the end of the client's certificate nobody could say when the ticket's is.
        let known = !self.of_clients || session_until(plain).is_some();
        if known { self.seal(plain) } else { None }
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let session = self.open(cipher)?;
        let ended = self.of_clients && session_until(&session)? < self.now()?;
        (!ended).then_some(session)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use base64ct::{Base64, Encoding};
    use rustls::pki_types::UnixTime;

    use super::*;
    use crate::tls::Hash;
    use crate::tls::ticket_keys::ROTATION;

    #[derive(Debug, Default)]
    struct Clock(AtomicU64);

    impl TimeProvider for Clock {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
        }
    }

    fn tickets(keys: TicketKeys, listener: &str, clock: &Arc<Clock>) -> Tickets {
        Tickets::new(keys, Hash::new(listener).finish(), false, clock.clone())
    }

    fn base64(bytes: &[u8]) -> String {
        Base64::encode_string(bytes)
    }

    #[test]
    fn the_first_key_of_a_file_seals_and_all_open() {
        let clock = Arc::<Clock>::default();
        clock.0.store(1_000_000, Ordering::Relaxed);
        let (one, two) = (base64(&[1; 80]), base64(&[2; 48]));
        let read = |text: &str| TicketKeys::read(text.as_bytes()).unwrap();
        let sealed_by = |text: &str| tickets(read(text), "a", &clock).seal(b"session").unwrap();
        let opens = |text: &str, ticket: &[u8]| tickets(read(text), "a", &clock).open(ticket);
        let ticket = sealed_by(&format!("{one}\n\n{two}\n"));
        assert_eq!(opens(&format!("{two}\n{one}\n"), &ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(opens(&one, &ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(opens(&two, &ticket), None);
    }

    #[test]
    fn a_file_without_keys_is_an_error_that_names_the_line() {
        let error = |text: &str| TicketKeys::read(text.as_bytes()).err().unwrap();
        assert!(error("").contains("openssl rand -base64 48"));
        assert_eq!(error("\nAAAA\n"), "line 2 is no key, expected 48 or 80 bytes in base64");
        let key = base64(&[1; 48]);
        for bad in [
            format!("{}={}", &key[..3], &key[4..]),
            base64(&[1; 80]).replace('=', ""),
            format!("{key} {key}"),
        ] {
            assert!(error(&bad).starts_with("line 1 is no key"), "{bad}");
        }
        assert!(TicketKeys::read(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn a_ticket_is_of_use_only_to_its_own_kind_of_listener_and_unchanged() {
        let clock = Arc::<Clock>::default();
        clock.0.store(1_000_000, Ordering::Relaxed);
        for keys in [TicketKeys::Random, TicketKeys::read(base64(&[7; 80]).as_bytes()).unwrap()] {
            let (a, b) = (tickets(keys.clone(), "a", &clock), tickets(keys, "b", &clock));
            let ticket = a.seal(b"session").unwrap();
            assert_eq!(a.open(&ticket).as_deref(), Some(&b"session"[..]));
            assert_eq!(b.open(&ticket), None);
            assert_ne!(a.seal(b"session").unwrap(), ticket);
            for at in 0..ticket.len() {
                let mut changed = ticket.clone();
                changed[at] ^= 1;
                assert_eq!(a.open(&changed), None, "byte {at}");
                assert_eq!(a.open(&ticket[..at]), None, "cut at {at}");
            }
        }
    }

    #[test]
    fn a_ticket_ends_with_its_lifetime_and_random_keys_change_before() {
        let clock = Arc::<Clock>::default();
        // Later than what other tests of these keys use.
        let start = 4_000_000_000;
        let at = |time: u64| clock.0.store(time, Ordering::Relaxed);
        at(start);
        let tickets = tickets(TicketKeys::Random, "a", &clock);
        let early = tickets.seal(b"early").unwrap();
        at(start + ROTATION + 1);
        let later = tickets.seal(b"later").unwrap();
        assert_ne!(early[..NAME], later[..NAME]);
        at(start + u64::from(LIFETIME));
        assert!(tickets.open(&early).is_some() && tickets.open(&later).is_some());
        at(start + u64::from(LIFETIME) + 1);
        assert!(tickets.open(&early).is_none() && tickets.open(&later).is_some());
        at(start - AHEAD - 1);
        assert!(tickets.open(&early).is_none(), "from the future");
    }
}
