//! Distinguished names: read attribute by attribute, shown as RFC 4514 has it.

use std::fmt::Write as _;

use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Encode as _, Tag, Tagged as _};
use x509_cert::name::Name;

use crate::model::check_text;

pub(super) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
pub(super) const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// The attribute types that RFC 4514, section 3, gives a short name.
const SHORT_NAMES: &[(ObjectIdentifier, &str)] = &[
    (COMMON_NAME, "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ORGANIZATION, "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "DC"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
];

/// One attribute of a distinguished name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) oid: ObjectIdentifier,
    /// The value, if it is a UTF8String, PrintableString or IA5String.
    pub(super) text: Option<String>,
    /// Whether it is a UTF8String or a PrintableString: what RFC 5280 (4.1.2.4) lets an authority write.
    pub(super) is_directory_string: bool,
    /// The DER of the value.
    pub(super) der: Vec<u8>,
}

/// The RDNs in the order of the DER, each with its attributes.
pub(super) fn read(name: &Name) -> Vec<Vec<Attribute>> {
    name.iter_rdn().map(|rdn| rdn.iter().map(attribute).collect()).collect()
}

fn attribute(attribute: &x509_cert::attr::AttributeTypeAndValue) -> Attribute {
    let value = &attribute.value;
    let text = match value.tag() {
        Tag::Utf8String => Utf8StringRef::try_from(value).ok().map(|text| text.as_str().to_owned()),
        Tag::PrintableString => PrintableStringRef::try_from(value).ok().map(|text| text.as_str().to_owned()),
        Tag::Ia5String => Ia5StringRef::try_from(value).ok().map(|text| text.as_str().to_owned()),
        _ => None,
    };
    let is_directory_string = text.is_some() && value.tag() != Tag::Ia5String;
    // To encode what was just decoded can't fail; an empty value would only show as "#".
    let der = value.to_der().unwrap_or_default();
    Attribute { oid: attribute.oid, text, is_directory_string, der }
}

/// The string form of RFC 4514: the RDNs of the DER in reverse, so that O=a, O=b, CN=erin is
/// `CN=erin,O=b,O=a`. Characters that could fool a terminal or a reviewer are hex pairs, which section 2.4
/// allows for every character.
pub(super) fn rfc4514(rdns: &[Vec<Attribute>]) -> String {
    let shown = |attribute: &Attribute| {
        let short = SHORT_NAMES.iter().find(|(oid, _)| *oid == attribute.oid);
        match (short, &attribute.text) {
            (Some((_, name)), Some(text)) => format!("{name}={}", escaped(text)),
            (Some((_, name)), None) => format!("{name}=#{}", hex(&attribute.der)),
            (None, _) => format!("{}=#{}", attribute.oid, hex(&attribute.der)),
        }
    };
    let rdns: Vec<String> = rdns.iter().rev().map(|rdn| rdn.iter().map(shown).collect::<Vec<_>>().join("+")).collect();
    rdns.join(",")
}

fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        let at_edge = (c == ' ' && (index == 0 || index == last)) || (c == '#' && index == 0);
        let mut buffer = [0; 4];
        let encoded = c.encode_utf8(&mut buffer);
        if at_edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            out.push('\\');
            out.push(c);
        } else if !check_text(encoded) {
            for octet in encoded.bytes() {
                let _ = write!(out, "\\{octet:02x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Lower-case hex, two digits an octet.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use x509_cert::der::Decode as _;

    use super::super::encode::{self, SEQUENCE, SET, tlv};
    use super::*;

    fn shown(rdns: &[Vec<u8>]) -> String {
        let parts: Vec<&[u8]> = rdns.iter().map(Vec::as_slice).collect();
        rfc4514(&read(&Name::from_der(&tlv(SEQUENCE, &parts)).unwrap()))
    }

    #[test]
    fn names_are_shown_from_the_last_to_the_first() {
        let rdns =
            [encode::rdn(&ORGANIZATION, "a"), encode::rdn(&ORGANIZATION, "b"), encode::rdn(&COMMON_NAME, "erin")];
        assert_eq!(shown(&rdns), "CN=erin,O=b,O=a");
        assert_eq!(shown(&[]), "");
    }

    #[test]
    fn what_could_be_misread_is_escaped() {
        let cn = |text| shown(&[encode::rdn(&COMMON_NAME, text)]);
        assert_eq!(cn("erin,O=dev"), "CN=erin\\,O=dev");
        assert_eq!(cn(" a+b; "), "CN=\\ a\\+b\\;\\ ");
        assert_eq!(cn("#1"), "CN=\\#1");
        assert_eq!(cn("a\0\u{202e}b"), "CN=a\\00\\e2\\80\\aeb");
        assert_eq!(cn("é=1"), "CN=é=1");
    }

    #[test]
    fn unknown_types_and_odd_strings_are_hex() {
        let email = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");
        assert_eq!(shown(&[encode::rdn(&email, "a")]), "1.2.840.113549.1.9.1=#0c0161");
        let bmp = tlv(SET, &[&tlv(SEQUENCE, &[&encode::oid(&COMMON_NAME), &[0x1e, 2, 0, 0x61]])]);
        assert_eq!(shown(&[bmp]), "CN=#1e020061");
    }
}
