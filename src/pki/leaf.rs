//! Leaf certificates, put together from DER: an authority's name is repeated byte for byte, whatever it
//! is, and each O is an RDN of its own. rcgen can do neither (see `pki`).

use x509_cert::der::oid::ObjectIdentifier;

use super::authority::{Validity, serial};
use super::constraints::SeenNameConstraints;
use super::encode::{self, BIT_STRING, INTEGER, OCTET_STRING, SEQUENCE, tlv};
use super::error::PkiError;
use super::facts::{Facts, KEY_CERT_SIGN};
use super::key::PrivateKey;
use super::name::{COMMON_NAME, ORGANIZATION};
use super::seen::SeenName;
use super::signature::{
    ECDSA_WITH_SHA256, ECDSA_WITH_SHA384, ED25519, PublicKey, SHA256_WITH_RSA, key_identifier, subject_public_key,
};
use crate::env::Rng;
use crate::model::{Algorithm, Host, KeyUse, Profile};

pub(super) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
pub(super) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
pub(super) const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
pub(super) const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
pub(super) const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
pub(super) const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const NAME_CONSTRAINTS: &str = "2.5.29.30";
pub(super) const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
pub(super) const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// What a leaf certificate says, beside its key and its issuer.
#[derive(Debug, Clone, Copy)]
pub struct LeafSpec<'a> {
    /// The profile, which decides CN, extended key usages and whether there are SANs.
    pub profile: Profile,
    /// The name of the node or person.
    pub owner: &'a str,
    /// The O's, in any order; each becomes an RDN of its own, in byte order.
    pub organizations: &'a [String],
    /// The SANs of a serving certificate; DNS names are sorted, addresses follow in this order.
    pub sans: &'a [Host],
    /// The wanted life; what lies outside the authority's is cut off.
    pub validity: Validity,
}

/// Issues a leaf certificate for the public key `spki` and returns its DER.
///
/// Refuses a weak key, a certificate that is no authority's, a private key that is not that authority's, an
/// authority whose life has nothing in common with the wanted one, SANs on a client's certificate and a
/// server's without any, and names that the authority's name constraints exclude.
pub fn issue_leaf(
    spki: &[u8],
    spec: &LeafSpec,
    ca_certificate: &[u8],
    ca_key: &PrivateKey,
    rng: &mut Rng,
) -> Result<Vec<u8>, PkiError> {
    let public = PublicKey::read(spki).map_err(PkiError::WeakKey)?;
    public.check_strength().map_err(PkiError::WeakKey)?;
    let ca = Facts::read(ca_certificate)?;
    // A certificate signed by another key than its issuer names would pass nowhere, and would be found only
    // when the node no longer starts: authorities of two generations can have one subject.
    if ca.spki != ca_key.spki() {
        return Err(PkiError::WrongAuthorityKey { subject: ca.subject });
    }
    if !ca.is_ca || ca.key_usage.is_some_and(|usage| usage & KEY_CERT_SIGN == 0) {
        return Err(PkiError::NotAnAuthority { subject: ca.subject });
    }
    check_names(spec.sans, &ca)?;
    let validity = clamp(spec.validity, &ca)?;
    let algorithm = algorithm_identifier(ca_key.algorithm());
    let not_before = encode::time(validity.not_before);
    let not_after = encode::time(validity.not_after);
    let certificate = tlv(
        SEQUENCE,
        &[
            &tlv(0xa0, &[&tlv(INTEGER, &[&[2]])]),
            &tlv(INTEGER, &[&serial(rng)]),
            &algorithm,
            &ca.subject_dn,
            &tlv(SEQUENCE, &[&not_before, &not_after]),
            &subject(spec),
            spki,
            &tlv(0xa3, &[&extensions(spec, spki, &public, &ca)?]),
        ],
    );
    let signature = ca_key.sign(&certificate, rng);
    Ok(tlv(SEQUENCE, &[&certificate, &algorithm, &tlv(BIT_STRING, &[&[0], &signature])]))
}

/// Refuses a name that the authority's name constraints exclude: found here, and not on the node.
pub fn check_names(sans: &[Host], ca: &Facts) -> Result<(), PkiError> {
    let constraints = ca.extensions.iter().find(|extension| extension.oid == NAME_CONSTRAINTS);
    let Some(constraints) = constraints.map(|of| SeenNameConstraints::of_extension(&of.value)) else { return Ok(()) };
    match sans.iter().find(|name| !constraints.permits(&SeenName::from(*name))) {
        None => Ok(()),
        Some(name) => Err(PkiError::NotPermitted { subject: ca.subject.clone(), name: name.to_string() }),
    }
}

/// The part of the wanted life that the authority lives through.
fn clamp(wanted: Validity, ca: &Facts) -> Result<Validity, PkiError> {
    let not_before = wanted.not_before.max(ca.not_before);
    let not_after = wanted.not_after.min(ca.not_after);
    if not_before < not_after {
        Ok(Validity { not_before, not_after })
    } else {
        Err(PkiError::AuthorityEnded { from: ca.not_before, until: ca.not_after })
    }
}

/// RSA has NULL parameters (RFC 4055, 5), ECDSA (RFC 5758, 3.2) and Ed25519 (RFC 8410, 3) none.
fn algorithm_identifier(algorithm: Option<Algorithm>) -> Vec<u8> {
    const NULL: &[u8] = &[5, 0];
    let (oid, parameters) = match algorithm {
        Some(Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096) => (SHA256_WITH_RSA, NULL),
        Some(Algorithm::EcdsaP256) => (ECDSA_WITH_SHA256, &[][..]),
        Some(Algorithm::EcdsaP384) => (ECDSA_WITH_SHA384, &[][..]),
        None => (ED25519, &[][..]),
    };
    tlv(SEQUENCE, &[&encode::oid(&oid), parameters])
}

/// Each O an RDN of its own, first, in byte order; the CN last (FORMAT 5).
fn subject(spec: &LeafSpec) -> Vec<u8> {
    let organizations: std::collections::BTreeSet<&str> = spec.organizations.iter().map(String::as_str).collect();
    let mut rdns: Vec<u8> = organizations.iter().flat_map(|name| encode::rdn(&ORGANIZATION, name)).collect();
    rdns.extend(encode::rdn(&COMMON_NAME, &spec.profile.common_name(spec.owner)));
    tlv(SEQUENCE, &[&rdns])
}

fn extensions(spec: &LeafSpec, spki: &[u8], public: &PublicKey, ca: &Facts) -> Result<Vec<u8>, PkiError> {
    // A bit string: how many bits at the end are unused, then the bits. digitalSignature is the first,
    // keyEncipherment the third; on an EC key the latter means nothing, so it is left out.
    let usage: &[u8] = if public.is_rsa() { &[5, 0b1010_0000] } else { &[7, 0b1000_0000] };
    let purposes: Vec<u8> = purposes(spec.profile.key_use()).iter().flat_map(encode::oid).collect();
    let own_id = subject_public_key(spki).map(|bits| key_identifier(&bits)).unwrap_or_default();
    // An imported authority may have no identifier of its own; then nothing contradicts the computed one.
    let ca_id = ca.ski.clone().or_else(|| subject_public_key(&ca.spki).map(|bits| key_identifier(&bits)));
    let mut all = [
        encode::extension(&BASIC_CONSTRAINTS, true, &tlv(SEQUENCE, &[])),
        encode::extension(&KEY_USAGE, true, &tlv(BIT_STRING, &[usage])),
        encode::extension(&EXTENDED_KEY_USAGE, false, &tlv(SEQUENCE, &[&purposes])),
        encode::extension(&SUBJECT_KEY_ID, false, &tlv(OCTET_STRING, &[&own_id])),
        encode::extension(&AUTHORITY_KEY_ID, false, &tlv(SEQUENCE, &[&tlv(0x80, &[&ca_id.unwrap_or_default()])])),
    ]
    .concat();
    if let Some(names) = names(spec)? {
        all.extend(encode::extension(&SUBJECT_ALT_NAME, false, &names));
    }
    Ok(tlv(SEQUENCE, &[&all]))
}

pub(super) fn purposes(key_use: KeyUse) -> &'static [ObjectIdentifier] {
    match key_use {
        KeyUse::Client => &[CLIENT_AUTH],
        KeyUse::Server => &[SERVER_AUTH],
        KeyUse::Both => &[CLIENT_AUTH, SERVER_AUTH],
    }
}

/// The SANs: DNS names sorted, addresses behind them in the order given, nothing twice. `None` for a client.
fn names(spec: &LeafSpec) -> Result<Option<Vec<u8>>, PkiError> {
    let fault = |why| Err(PkiError::Profile { profile: spec.profile.as_str(), why });
    match (spec.profile.key_use(), spec.sans) {
        (KeyUse::Client, []) => return Ok(None),
        (KeyUse::Client, _) => return fault("has no subject alternative names"),
        (_, []) => return fault("needs a subject alternative name: clients look at nothing else"),
        _ => {}
    }
    let is_name = |host: &&Host| matches!(host, Host::Dns(_));
    let mut ordered: Vec<&Host> = spec.sans.iter().filter(is_name).collect();
    ordered.sort();
    ordered.dedup();
    for host in spec.sans.iter().filter(|host| !is_name(host)) {
        if !ordered.contains(&host) {
            ordered.push(host);
        }
    }
    let names: Vec<u8> = ordered.into_iter().flat_map(encode::general_name).collect();
    Ok(Some(tlv(SEQUENCE, &[&names])))
}
