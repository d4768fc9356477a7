//! What a stranger's certificate says, read with patience: where `facts` refuses, this notes. For judging files that
//! others made; nothing is issued or trusted on its word. Never panics, whatever the bytes.
//!
//! It also is the quick reader: one walk over the DER, no re-encoding, and no hash.

use x509_cert::certificate::Rfc5280;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{AnyRef, Decode as _, Tag, TagNumber, Tagged as _};
use x509_cert::ext::pkix::KeyUsage;
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Validity;

use super::constraints::SeenNameConstraints;
use super::kind::{KeyKind, SignatureKind};
use super::leaf::{
    AUTHORITY_KEY_ID, BASIC_CONSTRAINTS, CLIENT_AUTH, EXTENDED_KEY_USAGE, KEY_USAGE, SERVER_AUTH, SUBJECT_ALT_NAME,
    SUBJECT_KEY_ID,
};
use super::name::{self, COMMON_NAME, ORGANIZATION};
use super::signature::PublicKey;
use crate::model::{Time, displayed};

const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
const CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
const AUTHORITY_INFORMATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// The basic constraints of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenConstraints {
    /// Whether the extension is critical.
    pub critical: bool,
    /// Whether they say CA:TRUE.
    pub is_ca: bool,
    /// The path length.
    pub path_length: Option<u32>,
}

/// The key usage of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenKeyUsage {
    /// Whether the extension is critical.
    pub critical: bool,
    /// Bit 0 (the lowest) is digitalSignature, bit 8 decipherOnly (RFC 5280, 4.2.1.3).
    pub bits: u16,
}

impl SeenKeyUsage {
    /// Signatures other than on certificates.
    pub const DIGITAL_SIGNATURE: u16 = 1;
    /// Transport of keys by RSA.
    pub const KEY_ENCIPHERMENT: u16 = 1 << 2;
    /// Signatures on certificates.
    pub const CERT_SIGN: u16 = 1 << 5;
    /// Signatures on revocation lists.
    pub const CRL_SIGN: u16 = 1 << 6;

    /// Whether it allows `bit`.
    pub fn allows(self, bit: u16) -> bool {
        self.bits & bit != 0
    }
}

/// The extended key usage of a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SeenUsages {
    /// serverAuth.
    pub server: bool,
    /// clientAuth.
    pub client: bool,
    /// anyExtendedKeyUsage.
    pub any: bool,
}

/// One subject alternative name, or one subtree of name constraints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenName {
    /// A DNS name, as it is written.
    Dns(String),
    /// The octets of an address; of a constraint, with its mask.
    Ip(Vec<u8>),
    /// An e-mail address.
    Email(String),
    /// A URI.
    Uri(String),
    /// A name of another kind.
    Other,
}

/// What a certificate says.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The whole certificate.
    pub der: Vec<u8>,
    /// The content of its serial number, as it is encoded.
    pub serial: Vec<u8>,
    /// The DER of the subject.
    pub subject_dn: Vec<u8>,
    /// The DER of the issuer.
    pub issuer_dn: Vec<u8>,
    /// Every CN of the subject.
    pub common_names: Vec<String>,
    /// Every O of the subject.
    pub organizations: Vec<String>,
    /// The first second of its life.
    pub not_before: Time,
    /// The last second of its life.
    pub not_after: Time,
    /// SubjectPublicKeyInfo DER.
    pub spki: Vec<u8>,
    /// The kind of its key.
    pub key: KeyKind,
    /// The kind of its issuer's signature.
    pub signature: SignatureKind,
    /// Basic constraints.
    pub constraints: Option<SeenConstraints>,
    /// Key usage.
    pub key_usage: Option<SeenKeyUsage>,
    /// Extended key usage.
    pub usages: Option<SeenUsages>,
    /// Subject alternative names.
    pub sans: Vec<SeenName>,
    /// The subject key identifier.
    pub ski: Option<Vec<u8>>,
    /// The key identifier of the authority key identifier.
    pub aki: Option<Vec<u8>>,
    /// Name constraints.
    pub name_constraints: Option<SeenNameConstraints>,
    /// Whether it names places of revocation lists, OCSP responders or issuers' certificates.
    pub has_urls: bool,
    /// The first critical extension that Go's crypto/x509 does not know.
    pub unknown_critical: Option<String>,
}

/// Takes the next value off `rest`.
pub(super) fn next<'a>(rest: &mut &'a [u8]) -> Option<AnyRef<'a>> {
    let (value, after) = AnyRef::from_der_partial(rest).ok()?;
    *rest = after;
    Some(value)
}

/// Takes the next value off `rest`, with its header.
fn next_whole<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let before = *rest;
    next(rest)?;
    Some(&before[..before.len() - rest.len()])
}

pub(super) fn context(value: &AnyRef<'_>) -> Option<u32> {
    match value.tag() {
        Tag::ContextSpecific { number: TagNumber(number), .. } => Some(number),
        _ => None,
    }
}

impl Seen {
    /// Reads a certificate, and nothing behind it. Fails with a clause where its frame is no certificate's; an extension
    /// that can't be read is as one that is not there.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let whole = AnyRef::from_der(der).map_err(|_| "it is no DER, or something follows it".to_owned())?;
        Self::walk(der, whole.value()).ok_or_else(|| "it has not the shape of an X.509 certificate".to_owned())
    }

    fn walk(der: &[u8], mut certificate: &[u8]) -> Option<Self> {
        let tbs = next(&mut certificate)?;
        let signature = SignatureKind::read(next_whole(&mut certificate)?);
        let mut rest = tbs.value();
        // Version 1 has no such member.
        if AnyRef::from_der_partial(rest).is_ok_and(|(first, _)| context(&first) == Some(0)) {
            next(&mut rest)?;
        }
        let serial = next(&mut rest).filter(|serial| serial.tag() == Tag::Integer)?.value().to_vec();
        next(&mut rest)?;
        let issuer_dn = next_whole(&mut rest)?.to_vec();
        let validity = Validity::<Rfc5280>::from_der(next_whole(&mut rest)?).ok()?;
        let subject_dn = next_whole(&mut rest)?.to_vec();
        let spki = next_whole(&mut rest)?.to_vec();
        let time = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).ok();
        let mut seen = Self {
            der: der.to_vec(),
            serial,
            common_names: attributes(&subject_dn, COMMON_NAME),
            organizations: attributes(&subject_dn, ORGANIZATION),
            subject_dn,
            issuer_dn,
            not_before: Time::from_unix(time(validity.not_before)?),
            not_after: Time::from_unix(time(validity.not_after)?),
            key: KeyKind::read(&spki),
            spki,
            signature,
            constraints: None,
            key_usage: None,
            usages: None,
            sans: Vec::new(),
            ski: None,
            aki: None,
            name_constraints: None,
            has_urls: false,
            unknown_critical: None,
        };
        while let Some(member) = next(&mut rest) {
            if context(&member) == Some(3) {
                let mut list = AnyRef::from_der(member.value()).ok()?.value();
                while let Some(extension) = next(&mut list) {
                    seen.read_extension(extension.value());
                }
            }
        }
        Some(seen)
    }

    fn read_extension(&mut self, mut members: &[u8]) -> Option<()> {
        let oid = next(&mut members)?.decode_as::<ObjectIdentifier>().ok()?;
        let mut value = next(&mut members)?;
        let critical = value.tag() == Tag::Boolean;
        if critical {
            value = next(&mut members)?;
        }
        let value = value.value();
        let mut inside = AnyRef::from_der(value).map_or(&[][..], |whole| whole.value());
        match oid {
            BASIC_CONSTRAINTS => self.constraints = Some(constraints(critical, inside)),
            KEY_USAGE => {
                let bits = KeyUsage::from_der(value).map_or(0, |usage| usage.0.bits());
                self.key_usage = Some(SeenKeyUsage { critical, bits });
            }
            EXTENDED_KEY_USAGE => self.usages = Some(usages(inside)),
            SUBJECT_ALT_NAME => self.sans = names(inside),
            SUBJECT_KEY_ID => self.ski = Some(inside.to_vec()),
            AUTHORITY_KEY_ID => {
                self.aki = next(&mut inside).filter(|id| context(id) == Some(0)).map(|id| id.value().to_vec())
            }
            NAME_CONSTRAINTS => self.name_constraints = Some(SeenNameConstraints::read(inside)),
            CRL_DISTRIBUTION_POINTS | AUTHORITY_INFORMATION => self.has_urls = true,
            CERTIFICATE_POLICIES => {}
            _ if critical => self.unknown_critical = self.unknown_critical.take().or(Some(oid.to_string())),
            _ => {}
        }
        Some(())
    }

    /// The subject as RFC 4514 has it, for display.
    pub fn subject(&self) -> String {
        Name::from_der(&self.subject_dn)
            .map_or_else(|_| "a subject that can't be read".to_owned(), |name| name::rfc4514(&name::read(&name)))
    }

    /// Whether it says that it is an authority's.
    pub fn is_ca(&self) -> bool {
        self.constraints.is_some_and(|constraints| constraints.is_ca)
    }

    /// Whether it names itself as its issuer.
    pub fn is_self_issued(&self) -> bool {
        self.subject_dn == self.issuer_dn
    }

    /// Whether `ca` issued it, by the names and key identifiers alone; `None` where they fit and there are no identifiers
    /// to tell two authorities of one name apart, so that the signature has to decide.
    pub fn names_issuer(&self, ca: &Self) -> Option<bool> {
        match (&self.aki, &ca.ski) {
            _ if self.issuer_dn != ca.subject_dn => Some(false),
            (Some(named), Some(own)) => Some(named == own),
            _ => None,
        }
    }

    /// Whether `ca` issued it. The signature is looked at only where nothing else decides: it costs fifty times the rest.
    pub fn is_issued_by(&self, ca: &Self) -> bool {
        self.names_issuer(ca).unwrap_or_else(|| self.is_signed_by(ca))
    }

    /// Whether its signature is of the key of `ca`.
    pub fn is_signed_by(&self, ca: &Self) -> bool {
        let Ok(key) = PublicKey::read(&ca.spki) else { return false };
        let parts = || {
            let mut rest = AnyRef::from_der(&self.der).ok()?.value();
            let tbs = next_whole(&mut rest)?;
            let algorithm = AlgorithmIdentifierOwned::from_der(next_whole(&mut rest)?).ok()?;
            let signature = next(&mut rest)?.value().get(1..)?;
            Some((tbs, algorithm, signature))
        };
        parts().is_some_and(|(tbs, algorithm, signature)| key.verify(&algorithm, tbs, signature).is_ok())
    }
}

/// The texts of an attribute in a distinguished name, in their order.
fn attributes(dn: &[u8], wanted: ObjectIdentifier) -> Vec<String> {
    let (mut found, mut rdns) = (Vec::new(), AnyRef::from_der(dn).map_or(&[][..], |name| name.value()));
    while let Some(rdn) = next(&mut rdns) {
        let mut rdn = rdn.value();
        while let Some(attribute) = next(&mut rdn) {
            let mut members = attribute.value();
            let oid = next(&mut members).and_then(|oid| oid.decode_as::<ObjectIdentifier>().ok());
            if let (true, Some(value)) = (oid == Some(wanted), next(&mut members)) {
                found.push(displayed(&String::from_utf8_lossy(value.value())));
            }
        }
    }
    found
}

fn constraints(critical: bool, mut inside: &[u8]) -> SeenConstraints {
    let mut read = SeenConstraints { critical, is_ca: false, path_length: None };
    while let Some(member) = next(&mut inside) {
        match member.tag() {
            Tag::Boolean => read.is_ca = member.value() != [0],
            // Beyond what fits, no path is ever so long.
            Tag::Integer => read.path_length = Some(member.decode_as().unwrap_or(u32::MAX)),
            _ => {}
        }
    }
    read
}

fn usages(mut inside: &[u8]) -> SeenUsages {
    let mut read = SeenUsages::default();
    while let Some(usage) = next(&mut inside) {
        match usage.decode_as::<ObjectIdentifier>() {
            Ok(SERVER_AUTH) => read.server = true,
            Ok(CLIENT_AUTH) => read.client = true,
            Ok(ANY_USAGE) => read.any = true,
            _ => {}
        }
    }
    read
}

fn names(mut inside: &[u8]) -> Vec<SeenName> {
    let mut found = Vec::new();
    while let Some(name) = next(&mut inside) {
        found.push(general_name(&name));
    }
    found
}

pub(super) fn general_name(name: &AnyRef<'_>) -> SeenName {
    let text = || displayed(&String::from_utf8_lossy(name.value()));
    match context(name) {
        Some(1) => SeenName::Email(text()),
        Some(2) => SeenName::Dns(text()),
        Some(6) => SeenName::Uri(text()),
        Some(7) => SeenName::Ip(name.value().to_vec()),
        _ => SeenName::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Rng;
    use crate::model::{Algorithm, Span};
    use crate::pki::{CaSpec, Facts, PrivateKey, Validity, issue_ca};

    fn authority() -> Vec<u8> {
        let key = PrivateKey::generate(Algorithm::EcdsaP256, &mut Rng::seeded([4; 32]));
        let not_before = Time::parse("2026-11-20T18:00:00Z").unwrap();
        let validity = Validity { not_before, not_after: not_before.plus(Span::days(30)) };
        issue_ca(&key, &CaSpec { common_name: "a", validity, name_constraints: None }, &mut Rng::seeded([5; 32]))
    }

    #[test]
    fn both_readers_agree() {
        let der = authority();
        let (seen, facts) = (Seen::read(&der).unwrap(), Facts::read(&der).unwrap());
        assert_eq!(seen.subject(), facts.subject);
        assert_eq!((seen.not_before, seen.not_after), (facts.not_before, facts.not_after));
        assert_eq!((&seen.ski, &seen.aki, &seen.spki), (&facts.ski, &facts.aki, &facts.spki));
        assert_eq!(seen.key_usage.map(|usage| usage.bits), facts.key_usage);
        assert_eq!((seen.is_ca(), &seen.key), (true, &KeyKind::P256));
        assert!(seen.is_issued_by(&seen));
    }

    #[test]
    fn no_change_of_an_octet_panics() {
        let der = authority();
        for index in 0..der.len() {
            for change in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = der.clone();
                changed[index] ^= change;
                if let Ok(seen) = Seen::read(&changed) {
                    let _ = (seen.subject(), seen.is_issued_by(&seen));
                }
            }
            assert!(Seen::read(&der[..index]).is_err());
        }
        assert!(Seen::read(&[der.as_slice(), &[0]].concat()).is_err());
    }
}
