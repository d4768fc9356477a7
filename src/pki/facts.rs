//! What a certificate says, read strictly: DER in its only form, version 3, nothing twice. Judges nothing
//! beyond that; `check` does. Never panics, whatever the bytes.

use x509_cert::Certificate;
use x509_cert::certificate::Rfc5280;
use x509_cert::der::asn1::OctetString;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{AnyRef, Decode, Encode, Tag, TagNumber, Tagged as _};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Validity;

use super::error::PkiError;
use super::leaf::{
    AUTHORITY_KEY_ID, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE, SUBJECT_ALT_NAME, SUBJECT_KEY_ID,
};
use super::name::{self, Attribute};
use super::pem;
use crate::model::{Digest, Host, Time, displayed};

/// The bit of `Facts::key_usage` that lets a key sign certificates.
pub(super) const KEY_CERT_SIGN: u16 = 1 << 5;

/// One extension of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionFacts {
    /// Its type, as `2.5.29.15`.
    pub oid: String,
    /// Whether it is critical.
    pub critical: bool,
    /// The DER inside.
    pub value: Vec<u8>,
}

/// What a certificate says.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The SHA-256 of its DER: Kubernetes' `X509SHA256`.
    pub sha256: Digest,
    /// Lower-case hex, two digits an octet, no leading 00.
    pub serial: String,
    /// The subject as RFC 4514 has it, the last RDN first: `CN=erin,O=dev`.
    pub subject: String,
    /// The issuer in the same form.
    pub issuer: String,
    /// The DER of the subject.
    pub subject_dn: Vec<u8>,
    /// The DER of the issuer.
    pub issuer_dn: Vec<u8>,
    /// The first second of its life.
    pub not_before: Time,
    /// The last second of its life.
    pub not_after: Time,
    /// SubjectPublicKeyInfo DER.
    pub spki: Vec<u8>,
    /// The SHA-256 of `spki`.
    pub spki_id: Digest,
    /// Whether basic constraints say CA:TRUE.
    pub is_ca: bool,
    /// The path length of the basic constraints.
    pub path_length: Option<u8>,
    /// Key usage: bit 0 (the lowest) is digitalSignature, bit 8 decipherOnly (RFC 5280, 4.2.1.3).
    pub key_usage: Option<u16>,
    /// The extended key usages in their order, as `1.3.6.1.5.5.7.3.2`.
    pub extended_key_usages: Vec<String>,
    /// The DNS names and addresses among the SANs, in their order.
    pub sans: Vec<Host>,
    /// The other SANs, for display: e-mail addresses, URIs, and DNS names that no client would match.
    pub other_sans: Vec<String>,
    /// The subject key identifier.
    pub ski: Option<Vec<u8>>,
    /// The key identifier of the authority key identifier.
    pub aki: Option<Vec<u8>>,
    /// Every O of the subject, in the order of the DER.
    pub organizations: Vec<String>,
    /// The CN, if there is exactly one and it is text.
    pub common_name: Option<String>,
    /// All extensions, in their order.
    pub extensions: Vec<ExtensionFacts>,
    pub(super) rdns: Vec<Vec<Attribute>>,
    pub(super) tbs: Vec<u8>,
    pub(super) signature_algorithm: AlgorithmIdentifierOwned,
    pub(super) signature: Vec<u8>,
}

impl Facts {
    /// Reads a certificate. Fails unless it is exactly one, in strict DER that comes out the same when
    /// written again, version 3, with a positive serial of at most 20 octets, one signature algorithm, no
    /// unique identifiers, no extension twice, and well-formed extensions of the kinds that are read.
    pub fn read(der: &[u8]) -> Result<Self, PkiError> {
        read(der).map_err(|why| PkiError::Der { what: "X.509 certificate", why })
    }
}

/// The last second of a certificate in PEM, read from its DER and nothing else of it: for a look at very many.
/// `None` where the bytes are no certificate.
pub fn not_after(pem: &[u8]) -> Option<Time> {
    let der = pem::parse_pem(pem, "CERTIFICATE").ok()?;
    let certificate = AnyRef::from_der(&der).ok()?;
    let (tbs, _) = AnyRef::from_der_partial(certificate.value()).ok()?;
    let mut rest = tbs.value();
    // version, serialNumber, signature, issuer; then validity (RFC 5280, 4.1).
    for tag in
        [Tag::ContextSpecific { constructed: true, number: TagNumber(0) }, Tag::Integer, Tag::Sequence, Tag::Sequence]
    {
        let (part, after) = AnyRef::from_der_partial(rest).ok()?;
        if part.tag() != tag {
            return None;
        }
        rest = after;
    }
    let (validity, _) = Validity::<Rfc5280>::from_der_partial(rest).ok()?;
    time(validity.not_after).ok()
}

fn read(der: &[u8]) -> Result<Facts, String> {
    let certificate: Certificate = strict(der)?;
    let tbs = certificate.tbs_certificate();
    if tbs.version() != x509_cert::Version::V3 {
        return Err("its version is not 3".to_owned());
    }
    if tbs.signature() != certificate.signature_algorithm() {
        return Err("it names two signature algorithms".to_owned());
    }
    if tbs.issuer_unique_id().is_some() || tbs.subject_unique_id().is_some() {
        return Err("it has a unique identifier, which RFC 5280 (4.1.2.8) forbids".to_owned());
    }
    let encoded = |value: Result<Vec<u8>, x509_cert::der::Error>| value.map_err(|error| error.to_string());
    let rdns = name::read(tbs.subject());
    let spki = encoded(tbs.subject_public_key_info().to_der())?;
    let texts = |wanted: ObjectIdentifier| -> Vec<&Attribute> {
        rdns.iter().flatten().filter(|attribute| attribute.oid == wanted).collect()
    };
    let common_name = match texts(name::COMMON_NAME).as_slice() {
        [one] => one.text.clone(),
        _ => None,
    };
    let mut facts = Facts {
        sha256: Digest::of(der),
        serial: serial(tbs.serial_number().as_bytes())?,
        subject: name::rfc4514(&rdns),
        issuer: name::rfc4514(&name::read(tbs.issuer())),
        subject_dn: encoded(tbs.subject().to_der())?,
        issuer_dn: encoded(tbs.issuer().to_der())?,
        not_before: time(tbs.validity().not_before)?,
        not_after: time(tbs.validity().not_after)?,
        spki_id: Digest::of(&spki),
        spki,
        is_ca: false,
        path_length: None,
        key_usage: None,
        extended_key_usages: Vec::new(),
        sans: Vec::new(),
        other_sans: Vec::new(),
        ski: None,
        aki: None,
        organizations: texts(name::ORGANIZATION).into_iter().filter_map(|o| o.text.clone()).collect(),
        common_name,
        extensions: Vec::new(),
        tbs: encoded(tbs.to_der())?,
        signature_algorithm: certificate.signature_algorithm().clone(),
        signature: certificate.signature().as_bytes().ok_or("its signature is no whole octets")?.to_vec(),
        rdns,
    };
    for extension in tbs.extensions().into_iter().flatten() {
        facts.read_extension(extension)?;
    }
    Ok(facts)
}

/// Decodes DER that has only one form: what is written again must be the same bytes. The decoder lets
/// through, among others, an explicit DEFAULT and a SET out of order.
pub(super) fn strict<'a, T: Decode<'a> + Encode>(der: &'a [u8]) -> Result<T, String>
where
    T::Error: std::fmt::Display,
{
    let value = T::from_der(der).map_err(|error: T::Error| error.to_string())?;
    if value.to_der().ok().as_deref() == Some(der) { Ok(value) } else { Err("its DER is not the only one".to_owned()) }
}

/// FORMAT 2: lower-case hex, no leading 00, at most 20 octets; RFC 5280, 4.1.2.2: positive.
fn serial(bytes: &[u8]) -> Result<String, String> {
    let is_negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let leading = bytes.iter().take_while(|octet| **octet == 0).count();
    let value = &bytes[leading..];
    match value.len() {
        0 => Err("its serial is 0".to_owned()),
        1..=20 if !is_negative => Ok(name::hex(value)),
        1..=20 => Err("its serial is negative".to_owned()),
        _ => Err("its serial is longer than 20 octets".to_owned()),
    }
}

fn time(time: x509_cert::time::Time) -> Result<Time, String> {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).map_err(|_| "its dates are out of range")?;
    let read = Time::from_unix(seconds);
    if read.unix() == seconds { Ok(read) } else { Err("its dates are out of range".to_owned()) }
}

impl Facts {
    fn read_extension(&mut self, extension: &Extension) -> Result<(), String> {
        let oid = extension.extn_id.to_string();
        if self.extensions.iter().any(|known| known.oid == oid) {
            return Err(format!("it has the extension {oid} twice"));
        }
        let value = extension.extn_value.as_bytes();
        self.read_value(extension.extn_id, value).map_err(|why| format!("its extension {oid} is malformed: {why}"))?;
        self.extensions.push(ExtensionFacts { oid, critical: extension.critical, value: value.to_vec() });
        Ok(())
    }

    fn read_value(&mut self, oid: ObjectIdentifier, value: &[u8]) -> Result<(), String> {
        let octets = |id: OctetString| id.as_bytes().to_vec();
        match oid {
            BASIC_CONSTRAINTS => {
                let constraints: BasicConstraints = strict(value)?;
                self.is_ca = constraints.ca;
                self.path_length = constraints.path_len_constraint;
            }
            KEY_USAGE => self.key_usage = Some(strict::<KeyUsage>(value)?.0.bits()),
            EXTENDED_KEY_USAGE => {
                self.extended_key_usages =
                    strict::<ExtendedKeyUsage>(value)?.0.iter().map(ToString::to_string).collect();
            }
            SUBJECT_KEY_ID => self.ski = Some(octets(strict::<SubjectKeyIdentifier>(value)?.0)),
            AUTHORITY_KEY_ID => self.aki = strict::<AuthorityKeyIdentifier>(value)?.key_identifier.map(octets),
            SUBJECT_ALT_NAME => {
                for general in strict::<SubjectAltName>(value)?.0 {
                    match host(&general) {
                        Ok(host) => self.sans.push(host),
                        Err(shown) => self.other_sans.push(shown),
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The host that a general name means, or the name for display.
fn host(general: &GeneralName) -> Result<Host, String> {
    match general {
        GeneralName::DnsName(name) => match Host::parse(name.as_str()) {
            Ok(host @ Host::Dns(_)) => Ok(host),
            _ => Err(format!("DNS:{}", displayed(name.as_str()))),
        },
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(|octets| Host::Ip(octets.into()));
            let v6 = || <[u8; 16]>::try_from(octets).map(|octets| Host::Ip(octets.into()));
            v4.or_else(|_| v6()).map_err(|_| format!("IP:{}", name::hex(octets)))
        }
        GeneralName::Rfc822Name(name) => Err(format!("email:{}", displayed(name.as_str()))),
        GeneralName::UniformResourceIdentifier(name) => Err(format!("URI:{}", displayed(name.as_str()))),
        _ => Err("a name of another kind".to_owned()),
    }
}
