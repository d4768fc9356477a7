//! The few DER shapes that leaves are put together from (X.690). Only writes; nothing here reads.

use x509_cert::der::oid::ObjectIdentifier;

use crate::model::{Host, Time};

pub(super) const BOOLEAN_TRUE: &[u8] = &[0x01, 0x01, 0xff];
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// One value: tag, definite length in its shortest form, the parts one after the other.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = vec![tag];
    if length < 0x80 {
        bytes.push(length.to_be_bytes()[size_of::<usize>() - 1]);
    } else {
        let big_endian = length.to_be_bytes();
        let first = big_endian.iter().position(|octet| *octet != 0).unwrap_or(0);
        let octets = &big_endian[first..];
        bytes.push(0x80 | octets.len().to_be_bytes()[size_of::<usize>() - 1]);
        bytes.extend_from_slice(octets);
    }
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

pub(super) fn oid(oid: &ObjectIdentifier) -> Vec<u8> {
    tlv(OID, &[oid.as_bytes()])
}

/// UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280, 4.1.2.5).
pub(super) fn time(time: Time) -> Vec<u8> {
    // "2026-11-20T18:00:00Z" without its punctuation is GeneralizedTime; without the century, UTCTime.
    let digits: String = time.to_string().chars().filter(|c| !matches!(c, '-' | ':' | 'T')).collect();
    if ("1950".."2050").contains(&&digits[..4]) {
        tlv(0x17, &[&digits.as_bytes()[2..]])
    } else {
        tlv(0x18, &[digits.as_bytes()])
    }
}

/// One relative distinguished name with one attribute, as a UTF8String (RFC 5280, 4.1.2.4).
pub(super) fn rdn(attribute: &ObjectIdentifier, value: &str) -> Vec<u8> {
    tlv(SET, &[&tlv(SEQUENCE, &[&oid(attribute), &tlv(UTF8_STRING, &[value.as_bytes()])])])
}

/// One extension (RFC 5280, 4.1.2.9).
pub(super) fn extension(id: &ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { BOOLEAN_TRUE } else { &[] };
    tlv(SEQUENCE, &[&oid(id), critical, &tlv(OCTET_STRING, &[value])])
}

/// One GeneralName: dNSName or iPAddress (RFC 5280, 4.2.1.6).
pub(super) fn general_name(host: &Host) -> Vec<u8> {
    match host {
        Host::Dns(name) => tlv(0x82, &[name.as_bytes()]),
        Host::Ip(std::net::IpAddr::V4(ip)) => tlv(0x87, &[&ip.octets()]),
        Host::Ip(std::net::IpAddr::V6(ip)) => tlv(0x87, &[&ip.octets()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_their_shortest_form() {
        assert_eq!(tlv(4, &[&[0; 127]])[..2], [4, 127]);
        assert_eq!(tlv(4, &[&[0; 128]])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(4, &[&[0; 200], &[0; 100]])[..4], [4, 0x82, 1, 44]);
    }

    #[test]
    fn times_change_their_form_with_the_year_2050() {
        let at = |text| time(Time::parse(text).unwrap());
        assert_eq!(at("2049-12-31T23:59:59Z"), b"\x17\x0d491231235959Z");
        assert_eq!(at("2050-01-01T00:00:00Z"), b"\x18\x0f20500101000000Z");
    }
}
