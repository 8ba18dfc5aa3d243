//! OCSP responses (RFC 6960): whether one is about a certificate, and how long it is of use. Its signature is the
//! client's to verify; a response for another certificate would make clients that look at it refuse the connection.

use x509_cert::der::Decode;
use x509_cert::serial_number::SerialNumber;
use x509_ocsp::{BasicOcspResponse, OcspResponse, OcspResponseStatus};

/// The second since 1970 after which it is of no use; the last one there is, if it does not say.
pub(super) fn until(der: &[u8], serial: &SerialNumber) -> Result<u64, &'static str> {
    const EXPECTED: &str = "no OCSP response, expected one in DER";
    let response = OcspResponse::from_der(der).map_err(|_| EXPECTED)?;
    if response.response_status != OcspResponseStatus::Successful {
        return Err("the authority refused to say anything, expected a successful OCSP response");
    }
    let bytes = response.response_bytes.ok_or(EXPECTED)?;
    let basic = BasicOcspResponse::from_der(bytes.response.as_bytes()).map_err(|_| EXPECTED)?;
    let about =
        basic.tbs_response_data.responses.into_iter().find(|one| one.cert_id.serial_number == *serial);
    let about = about.ok_or("about another certificate, expected a response about the first one of cert")?;
    Ok(about.next_update.map_or(u64::MAX, |time| time.0.to_unix_duration().as_secs()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use x509_cert::der::asn1::{BitString, GeneralizedTime, OctetString};
    use x509_cert::der::{Encode, oid::AssociatedOid};
    use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier};
    use x509_ocsp::{
        CertId, CertStatus, OcspGeneralizedTime, ResponderId, ResponseBytes, ResponseData, SingleResponse,
        Version,
    };

    use super::*;

    fn serial(number: u8) -> SerialNumber {
        SerialNumber::new(&[number]).unwrap()
    }

    /// A response about the certificate with this serial number, without a signature.
    fn response(number: u8, next_update: Option<u64>) -> OcspResponse {
        let time = |seconds| {
            OcspGeneralizedTime(GeneralizedTime::from_unix_duration(Duration::from_secs(seconds)).unwrap())
        };
        let bytes = || OctetString::new(vec![0; 20]).unwrap();
        let algorithm = || AlgorithmIdentifierOwned {
            oid: ObjectIdentifier::new_unwrap("1.3.14.3.2.26"),
            parameters: None,
        };
        let cert_id = CertId {
            hash_algorithm: algorithm(),
            issuer_name_hash: bytes(),
            issuer_key_hash: bytes(),
            serial_number: serial(number),
        };
        let one = SingleResponse {
            cert_id,
            cert_status: CertStatus::good(),
            this_update: time(1_700_000_000),
            next_update: next_update.map(time),
            single_extensions: None,
        };
        let tbs_response_data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByKey(bytes()),
            produced_at: time(1_700_000_000),
            responses: vec![one],
            response_extensions: None,
        };
        let signature = BitString::from_bytes(&[0]).unwrap();
        let basic =
            BasicOcspResponse { tbs_response_data, signature_algorithm: algorithm(), signature, certs: None };
        let response = OctetString::new(basic.to_der().unwrap()).unwrap();
        let bytes = ResponseBytes { response_type: BasicOcspResponse::OID, response };
        OcspResponse { response_status: OcspResponseStatus::Successful, response_bytes: Some(bytes) }
    }

    #[test]
    fn a_response_is_about_one_certificate_and_ends() {
        let read = |response: OcspResponse| until(&response.to_der().unwrap(), &serial(7));
        assert_eq!(read(response(7, Some(1_800_000_000))), Ok(1_800_000_000));
        assert_eq!(read(response(7, None)), Ok(u64::MAX));
        assert!(read(response(8, None)).unwrap_err().starts_with("about another certificate"));
        assert!(read(OcspResponse::try_later()).unwrap_err().starts_with("the authority refused"));
        let whole = response(7, None).to_der().unwrap();
        for length in 0..whole.len() {
            assert!(until(&whole[..length], &serial(7)).is_err(), "{length}");
        }
    }

    #[test]
    fn a_response_is_sent_until_it_ends() {
        let mut params = rcgen::CertificateParams::default();
        params.serial_number = Some(vec![7].into());
        let key = rcgen::KeyPair::generate().unwrap();
        let (cert, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        let der = response(7, Some(1_800_000_000)).to_der().unwrap();
        let one = crate::tls::Certificate::new(cert.as_bytes(), key.as_bytes(), Some(&der)).unwrap();
        assert_eq!(one.shown_at(1_800_000_000).ocsp.as_deref(), Some(&der[..]));
        assert_eq!(one.shown_at(1_800_000_001).ocsp, None);
        assert_eq!(one.expiry().staple_until, Some(1_800_000_000));
    }
}
