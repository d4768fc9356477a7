//! Certificate requests (PKCS#10, RFC 2986): written by rcgen, read strictly, their proof of possession
//! checked. Of a request only its public key is ever used; nothing it asks for is copied.

use x509_cert::der::Encode as _;
use x509_cert::request::CertReq;

use super::authority::{Validity, params};
use super::error::PkiError;
use super::facts::strict;
use super::key::PrivateKey;
use super::name::{self, COMMON_NAME};
use super::signature::PublicKey;
use super::signer::Signer;
use crate::env::Rng;
use crate::model::{Digest, Time};

/// What a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsrFacts {
    /// The CN, if the subject is exactly one CN as text and nothing else.
    pub common_name_only: Option<String>,
    /// Whether it asks for anything: attributes, of which extensions are one.
    pub has_extensions_or_attributes: bool,
    /// SubjectPublicKeyInfo DER.
    pub spki: Vec<u8>,
    /// The SHA-256 of `spki`.
    pub spki_id: Digest,
}

fn parse(der: &[u8]) -> Result<CertReq, String> {
    strict(der)
}

/// Reads a request in strict DER. Does not check its signature or the strength of its key.
pub fn read_csr(der: &[u8]) -> Result<CsrFacts, PkiError> {
    let fault = |why: String| PkiError::Der { what: "certificate request", why };
    let request = parse(der).map_err(fault)?;
    let spki = request.info.public_key.to_der().map_err(|error| fault(error.to_string()))?;
    let rdns = name::read(&request.info.subject);
    let common_name_only = match rdns.as_slice() {
        [rdn] => match rdn.as_slice() {
            [one] if one.oid == COMMON_NAME && one.is_directory_string => one.text.clone(),
            _ => None,
        },
        _ => None,
    };
    Ok(CsrFacts {
        common_name_only,
        has_extensions_or_attributes: !request.info.attributes.is_empty(),
        spki_id: Digest::of(&spki),
        spki,
    })
}

/// Checks that whoever made the request holds its private key: its signature, by the key inside it. The
/// kind of key is taken from the key; the label of the signature chooses only the hash. Fails with a clause.
pub fn check_csr_pop(der: &[u8]) -> Result<(), String> {
    let request = parse(der)?;
    let spki = request.info.public_key.to_der().map_err(|error| error.to_string())?;
    let message = request.info.to_der().map_err(|error| error.to_string())?;
    let signature = request.signature.as_bytes().ok_or("its signature is no whole octets")?;
    PublicKey::read(&spki)?.verify(&request.algorithm, &message, signature)
}

/// Makes a request for `common_name` alone, signed by `key`, and returns its DER.
pub fn build_csr(key: &PrivateKey, common_name: &str) -> Vec<u8> {
    // The numbers here blind a signature and decide nothing else, so no caller has to hand them in.
    let mut rng = Rng::system();
    let signer = Signer::new(key, &mut rng);
    // A request has no life; rcgen wants one and does not write it.
    let unused = Validity { not_before: Time::from_unix(0), not_after: Time::from_unix(0) };
    let request = params(common_name, unused, Vec::new()).serialize_request(&signer);
    request.expect("rcgen writes a request of one name").der().to_vec()
}
