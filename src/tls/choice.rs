//! The certificates of a listener, and the one that a client gets: of its name (exact before wildcard, the default where
//! no name fits), that it can verify, valid before expired, and ECDSA before RSA as it costs less.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;

use super::{Certificate, Expiry};

/// They may be replaced while rsp runs; handshakes then use the new ones.
#[derive(Debug)]
pub struct Certificates {
    set: RwLock<Arc<Set>>,
    time: Arc<dyn TimeProvider>,
}

#[derive(Debug)]
struct Set {
    all: Vec<Certificate>,
    /// By name, wildcards as they are written.
    by_name: HashMap<String, Vec<usize>>,
}

impl Certificates {
    /// The first one is the default.
    pub(super) fn new(all: Vec<Certificate>, time: Arc<dyn TimeProvider>) -> Certificates {
        Certificates { set: RwLock::new(Arc::new(Set::new(all))), time }
    }

    /// New handshakes get these from now on.
    pub fn replace(&self, all: Vec<Certificate>) {
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Set::new(all));
    }

    /// When each ends, for logs and metrics.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.set().all.iter().map(Certificate::expiry).collect()
    }

    fn set(&self) -> Arc<Set> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = self.time.current_time().map_or(0, |now| now.as_secs());
        let fits = |one: &Certificate| one.certified.key.choose_scheme(hello.signature_schemes()).is_some();
        self.set().choose(hello.server_name(), now, fits).map(|one| one.shown_at(now).clone())
    }
}

impl Set {
    fn new(all: Vec<Certificate>) -> Set {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, certificate) in all.iter().enumerate() {
            for name in &certificate.names {
                by_name.entry(name.clone()).or_default().push(at);
            }
        }
        Set { all, by_name }
    }

    /// `fits`: the client can verify it.
    fn choose(
        &self,
        name: Option<&str>,
        now: u64,
        fits: impl Fn(&Certificate) -> bool,
    ) -> Option<&Certificate> {
        let lower = name.map(|name| without_dot(name).to_ascii_lowercase());
        let named = lower.as_deref().map(|name| self.named(name)).unwrap_or_default();
        let best = |groups: [&[usize]; 2]| {
            let ranked = groups.into_iter().enumerate();
            let ranked = ranked.flat_map(|(group, ats)| ats.iter().map(move |at| (group, &self.all[*at])));
            let able = ranked.filter(|(_, one)| fits(one));
            able.min_by_key(|(group, one)| (!one.is_valid_at(now), *group, one.rank())).map(|(_, one)| one)
        };
        let all: Vec<usize> = (0..self.all.len()).collect();
        // Better another name than no handshake: the client may not look at it.
        best(named).or_else(|| best([self.defaults(), &[]])).or_else(|| best([&all, &[]]))
    }

    /// Those of exactly this name, and those of the wildcard above it.
    fn named(&self, name: &str) -> [&[usize]; 2] {
        let wildcard = name.split_once('.').map(|(_, rest)| self.of(&format!("*.{rest}")));
        [self.of(name), wildcard.unwrap_or_default()]
    }

    fn of(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// The first certificate, and others of its name with another kind of key.
    fn defaults(&self) -> &[usize] {
        let first = self.all.first().and_then(|one| one.names.first());
        first.map_or(&[0], |name| self.of(name))
    }
}

/// A name with the root's dot at its end is the same name.
pub fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use rustls::SignatureScheme;

    use super::*;
    use crate::tls::tests::{Kind, made, made_between};

    /// The number of the certificate that a client with these abilities gets.
    fn chosen(set: &Set, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<usize> {
        let fits = |one: &Certificate| one.certified.key.choose_scheme(schemes).is_some();
        let print = set.choose(name, 1_800_000_000, fits)?.print;
        set.all.iter().position(|one| one.print == print)
    }

    const ANY: &[SignatureScheme] =
        &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ED25519];
    const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256];

    fn check(all: Vec<Certificate>, cases: &[(Option<&str>, &[SignatureScheme], Option<usize>)]) {
        let set = Set::new(all);
        for (name, schemes, wanted) in cases {
            assert_eq!(chosen(&set, *name, schemes), *wanted, "{name:?} {schemes:?}");
        }
    }

    #[test]
    fn the_name_decides_exact_before_wildcard_before_the_default() {
        let all = vec![
            made(&["default.example"], Kind::Ecdsa),
            made(&["*.a.example"], Kind::Ecdsa),
            made(&["b.a.example", "second.example"], Kind::Ecdsa),
        ];
        check(
            all,
            &[
                (None, ANY, Some(0)),
                (Some("other.example"), ANY, Some(0)),
                (Some("x.a.example"), ANY, Some(1)),
                (Some("B.A.example"), ANY, Some(2)),
                (Some("x.b.a.example"), ANY, Some(0)),
                (Some("a.example"), ANY, Some(0)),
                (Some("second.example"), ANY, Some(2)),
                (Some("second.example."), ANY, Some(2)),
                (Some("x.a.example."), ANY, Some(1)),
            ],
        );
    }

    #[test]
    fn the_kind_of_key_is_one_that_the_client_verifies_and_ecdsa_if_it_can() {
        let names = &["a.example"][..];
        let both = vec![made(names, Kind::Rsa), made(names, Kind::Ecdsa)];
        let ed = &[SignatureScheme::ED25519][..];
        check(
            both,
            &[
                (Some("a.example"), ANY, Some(1)),
                (Some("a.example"), RSA, Some(0)),
                (None, ANY, Some(1)),
                (None, RSA, Some(0)),
                (None, ed, None),
            ],
        );
        let mixed = vec![made(names, Kind::Ecdsa), made(&["b.example"], Kind::Rsa)];
        check(mixed, &[(Some("a.example"), RSA, Some(1))]);
    }

    #[test]
    fn a_valid_certificate_goes_before_an_expired_one() {
        let (before, after) = (1_700_000_000, 1_900_000_000);
        let expired = |names: &[&str]| made_between(names, Kind::Ecdsa, before, before + 1000);
        let valid = |names: &[&str], kind| made_between(names, kind, before, after);
        let names = &["a.example"][..];
        check(vec![expired(names), valid(names, Kind::Rsa)], &[(Some("a.example"), ANY, Some(1))]);
        let wildcard = vec![expired(names), valid(&["*.example"], Kind::Rsa)];
        check(wildcard, &[(Some("a.example"), ANY, Some(1))]);
        // Not before one of another name, also for a client that asks for none.
        let other = vec![valid(&["b.example"], Kind::Ecdsa), expired(names)];
        check(other, &[(Some("a.example"), ANY, Some(1))]);
        let default = vec![expired(names), valid(&["b.example"], Kind::Ecdsa), valid(names, Kind::Rsa)];
        check(default, &[(None, ANY, Some(2)), (Some("c.example"), ANY, Some(2))]);
        let alone = vec![expired(names), valid(&["b.example"], Kind::Ecdsa)];
        check(alone, &[(None, ANY, Some(0)), (Some("c.example"), ANY, Some(0))]);
    }
}
