//! Certificate requests (PKCS#10, RFC 2986): written by rcgen, read strictly, their proof of possession
//! checked. Of a request only its public key is ever used; nothing it asks for is copied.

use x509_cert::der::Encode as _;
use x509_cert::request::CertReq;

use super::authority::{Validity, params};
use super::error::PkiError;
use super::facts::strict;
use super::key::PrivateKey;
use super::name::{self, COMMON_NAME};
use super::pem;
use super::signature::PublicKey;
use super::signer::Signer;
use crate::env::Rng;
use crate::model::{Digest, Time};
use crate::secret::Secret;

/// What a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsrFacts {
    /// The CN, if the subject is exactly one CN as text and nothing else.
    pub common_name_only: Option<String>,
    /// The CN, if there is exactly one, as text.
    pub common_name: Option<String>,
    /// The subject, as RFC 4514 writes it: for people to see, never for a decision.
    pub subject: String,
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
    let mut names = rdns.iter().flatten().filter(|one| one.oid == COMMON_NAME);
    let common_name = names.next().filter(|_| names.next().is_none()).and_then(|one| one.text.clone());
    Ok(CsrFacts {
        common_name_only,
        common_name,
        subject: name::rfc4514(&rdns),
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

/// The DER of a request that a person hands in: DER, or one PEM block of either label that tools write (RFC 7468,
/// section 7), whatever is around it.
pub fn parse_given_csr(bytes: &[u8]) -> Result<Vec<u8>, PkiError> {
    const LABELS: [&str; 2] = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];
    let text = Secret::new(bytes.to_vec());
    if let Some(der) = LABELS.iter().find_map(|label| pem::read_lenient(&text, label)) {
        return Ok(der.expose().to_vec());
    }
    match parse(bytes) {
        Ok(_) => Ok(bytes.to_vec()),
        Err(_) => Err(PkiError::Pem { label: LABELS[0].to_owned(), why: "there is not exactly one such block" }),
    }
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
