//! Certificates for tests, made when they are needed; what clients say first is in `hello`.

mod hello;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};

use super::{Certificate, Problem};

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Ecdsa,
    Rsa,
}

/// PEM of a self-signed certificate and its key.
pub(crate) fn pem(names: &[&str], kind: Kind, dates: Option<(i64, i64)>) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    if let Some((from, to)) = dates {
        let at = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        (params.not_before, params.not_after) = (at(from), at(to));
    }
    let key = match kind {
        Kind::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        Kind::Rsa => KeyPair::generate_for(&PKCS_RSA_SHA256),
    };
    let key = key.unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

pub(crate) fn made(names: &[&str], kind: Kind) -> Certificate {
    let (cert, key) = pem(names, kind, None);
    Certificate::new(cert.as_bytes(), key.as_bytes(), None).unwrap()
}

pub(crate) fn made_between(names: &[&str], kind: Kind, from: u64, to: u64) -> Certificate {
    let (cert, key) = pem(names, kind, Some((from as i64, to as i64)));
    Certificate::new(cert.as_bytes(), key.as_bytes(), None).unwrap()
}

#[test]
fn a_certificate_says_its_names_and_dates() {
    let one = made_between(&["A.example", "*.b.example"], Kind::Ecdsa, 1_700_000_000, 1_800_000_000);
    assert_eq!(one.names, ["a.example", "*.b.example"]);
    assert_eq!((one.not_before, one.not_after, one.name()), (1_700_000_000, 1_800_000_000, "a.example"));
    assert!(one.is_valid_at(1_800_000_000) && !one.is_valid_at(1_800_000_001) && !one.is_valid_at(1));
}

#[test]
fn a_file_that_is_no_certificate_or_key_is_an_error_of_its_own() {
    let ((cert, key), (_, other)) = (pem(&["a"], Kind::Ecdsa, None), pem(&["a"], Kind::Ecdsa, None));
    let problem =
        |cert: &str, key: &str| Certificate::new(cert.as_bytes(), key.as_bytes(), None).unwrap_err();
    let said = |cert: &str, key: &str| {
        let problem = problem(cert, key);
        format!("{}: {}", problem.key, problem.text)
    };
    assert_eq!(said(&key, &key), "cert: no certificate in it, expected PEM (BEGIN CERTIFICATE)");
    assert_eq!(said(&cert, &cert), "key: no key in it, expected PEM (BEGIN PRIVATE KEY)");
    assert!(said(&cert, &other).starts_with("key: does not fit the first certificate of cert"));
    let broken = cert.replace("-----END", "====-----END");
    assert!(said(&broken, &key).starts_with("cert: "), "{}", said(&broken, &key));
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(said(&cert, &encrypted), "key: encrypted, expected a key without a password");
    let older = key.replace(
        "PRIVATE KEY-----\n",
        "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n",
    );
    assert_eq!(said(&cert, &older), "key: encrypted, expected a key without a password");
}

/// Every way in which a key file can be broken.
#[test]
fn nothing_of_a_key_is_in_a_message() {
    let (cert, key) = pem(&["a"], Kind::Ecdsa, None);
    let lines: Vec<&str> = key.lines().collect();
    let secret = lines[1];
    let broken = [
        lines[..lines.len() - 1].join("\n"),
        lines[..2].join("\n"),
        key.replace("-----END", "----END"),
        key.replace(secret, &format!("-----BEGIN {secret}")),
        key.replace(secret, &format!("{secret}*")),
        key.replace(secret, &format!("ü{secret}")),
        key.replace('\n', " "),
        key.replace("-----\n", "-----"),
        key.replace("BEGIN PRIVATE", "BEGIN EC PRIVATE"),
        key.replace(secret, &secret[4..]),
    ];
    let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
    for text in broken {
        let problem = Certificate::new(cert.as_bytes(), text.as_bytes(), None);
        let Err(Problem { text: said, .. }) = problem else { panic!("taken: {text}") };
        for at in 0..secret.len() - 8 {
            assert!(!said.contains(&secret[at..at + 8]), "{said}");
            assert!(!said.contains(&bytes[at..at + 4].join(", ")), "{said}");
        }
        // The same beside the certificate, in one file.
        let both = format!("{text}\n{cert}");
        if let Err(Problem { text: said, .. }) = Certificate::new(both.as_bytes(), both.as_bytes(), None) {
            assert!(!said.contains(&secret[..8]) && !said.contains(&bytes[..4].join(", ")), "{said}");
        }
    }
    let made = Certificate::new(cert.as_bytes(), key.as_bytes(), None).unwrap();
    assert_eq!(format!("{made:?}"), "tls::Certificate(a)");
}

#[test]
fn a_certificate_without_a_name_is_told_by_its_address_or_subject() {
    let named = |names: Vec<String>, subject: Option<&str>| {
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if let Some(subject) = subject {
            params.distinguished_name.push(DnType::CommonName, subject);
        }
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        let made = Certificate::new(cert.as_bytes(), key.serialize_pem().as_bytes(), None).unwrap();
        made.or_named("own.crt").name().to_owned()
    };
    assert_eq!(named(vec!["192.0.2.1".into()], Some("x")), "192.0.2.1");
    assert_eq!(named(vec!["2001:db8::1".into()], None), "2001:db8::1");
    assert_eq!(named(Vec::new(), Some("x")), "CN=x");
    assert_eq!(named(Vec::new(), None), "own.crt");
}
