//! Packet headers of RFC 9580, 4.2, read by ourselves and strictly: which packets a file has, and where they end.
//!
//! Libraries skip markers, padding and unknown packets and recover from errors; here every octet is accounted
//! for, so that what was checked is what is used. What is inside a packet is not this file's business.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Tags of RFC 9580, 5.
pub(super) mod tag {
    pub(crate) const PKESK: u8 = 1;
    pub(crate) const SIGNATURE: u8 = 2;
    pub(crate) const SKESK: u8 = 3;
    pub(crate) const SECRET_KEY: u8 = 5;
    pub(crate) const PUBLIC_KEY: u8 = 6;
    pub(crate) const SECRET_SUBKEY: u8 = 7;
    pub(crate) const MARKER: u8 = 10;
    pub(crate) const LITERAL: u8 = 11;
    pub(crate) const TRUST: u8 = 12;
    pub(crate) const USER_ID: u8 = 13;
    pub(crate) const PUBLIC_SUBKEY: u8 = 14;
    pub(crate) const USER_ATTRIBUTE: u8 = 17;
    pub(crate) const SEIPD: u8 = 18;
}

/// One packet of a file.
pub(super) struct Packet<'a> {
    /// The packet type.
    pub tag: u8,
    /// All octets, header included.
    pub raw: &'a [u8],
    /// The body; of a packet in parts the first part.
    pub body: &'a [u8],
    /// Octets of the body, over all parts.
    pub length: usize,
    /// Whether the body came in parts (partial body lengths).
    pub partial: bool,
}

/// How one packet's header went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderFault {
    /// The first octet doesn't begin a packet.
    #[error("octet {0} does not begin an OpenPGP packet")]
    NoPacket(usize),
    /// The packet is longer than the file.
    #[error("the packet at octet {0} is cut short")]
    Short(usize),
    /// The old form that lasts until the end of the file.
    #[error("the packet at octet {0} has no length")]
    Indeterminate(usize),
}

/// Splits `bytes` into packets, all of it.
///
/// # Errors
/// At the first header that is wrong, cut short or without a length.
pub(super) fn split(bytes: &[u8]) -> Result<Vec<Packet<'_>>, HeaderFault> {
    let mut packets = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let packet = next(bytes, at)?;
        at += packet.raw.len();
        packets.push(packet);
    }
    Ok(packets)
}

/// The packet that begins at `at`, which lies in `bytes`.
pub(super) fn next(bytes: &[u8], at: usize) -> Result<Packet<'_>, HeaderFault> {
    let short = HeaderFault::Short(at);
    let first = bytes[at];
    if first & 0x80 == 0 {
        return Err(HeaderFault::NoPacket(at));
    }
    let modern = first & 0x40 != 0;
    let tag = if modern { first & 0x3f } else { (first >> 2) & 0x0f };
    let rest = &bytes[at + 1..];
    let (mut header, length, mut partial) = if modern {
        new_length(rest).ok_or(short)?
    } else {
        let size = match first & 3 {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => return Err(HeaderFault::Indeterminate(at)),
        };
        (size, big_endian(rest.get(..size).ok_or(short)?), false)
    };
    let body = header.checked_add(length).and_then(|end| rest.get(header..end)).ok_or(short)?;
    let in_parts = partial;
    let mut total = length;
    header += length;
    while partial {
        let tail = rest.get(header..).ok_or(short)?;
        let (size, length, more) = new_length(tail).ok_or(short)?;
        header = size.checked_add(length).and_then(|step| header.checked_add(step)).ok_or(short)?;
        if header > rest.len() {
            return Err(short);
        }
        total += length;
        partial = more;
    }
    Ok(Packet { tag, raw: &bytes[at..=at + header], body, length: total, partial: in_parts })
}

/// The octets of a new-format length, the length, and whether more parts follow (RFC 9580, 4.2.1).
fn new_length(rest: &[u8]) -> Option<(usize, usize, bool)> {
    Some(match *rest.first()? {
        one @ 0..=191 => (1, usize::from(one), false),
        one @ 192..=223 => (2, ((usize::from(one) - 192) << 8) + usize::from(*rest.get(1)?) + 192, false),
        one @ 224..=254 => (1, 1 << (one & 0x1f), true),
        255 => (5, big_endian(rest.get(1..5)?), false),
    })
}

fn big_endian(octets: &[u8]) -> usize {
    octets.iter().fold(0, |number, &octet| (number << 8) | usize::from(octet))
}

/// Whether `bytes` hold an OpenPGP secret key, armored (whatever the label says) or binary.
///
/// Errs on the side of alarm: a block that is called a private key counts whatever is in it.
pub fn holds_secret_key(bytes: &[u8]) -> bool {
    if begins_with_secret(bytes) {
        return true;
    }
    let marker = b"-----BEGIN PGP ";
    let mut rest = bytes;
    while let Some(at) = rest.windows(marker.len()).position(|window| window == marker) {
        rest = &rest[at + marker.len()..];
        if rest.starts_with(b"PRIVATE KEY BLOCK") || rest.starts_with(b"SECRET KEY BLOCK") {
            return true;
        }
        if begins_with_secret(&lenient_base64(rest)) {
            return true;
        }
    }
    false
}

/// Whether any packet before the first broken one is a secret key.
fn begins_with_secret(bytes: &[u8]) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        let Ok(packet) = next(bytes, at) else {
            // A secret key that is cut short is one still: its first octets are the secret.
            let first = bytes[at];
            let tag = if first & 0x40 != 0 { first & 0x3f } else { (first >> 2) & 0x0f };
            return at > 0 && first & 0x80 != 0 && matches!(tag, tag::SECRET_KEY | tag::SECRET_SUBKEY);
        };
        let version = packet.body.first().copied().unwrap_or(0);
        if matches!(packet.tag, tag::SECRET_KEY | tag::SECRET_SUBKEY) && (2..=6).contains(&version) {
            return true;
        }
        at += packet.raw.len();
    }
    false
}

/// The octets of the base64 that follows an armor's BEGIN line, as far as it can be read.
pub(super) fn lenient_base64(after_begin: &[u8]) -> Vec<u8> {
    let mut digits = Vec::new();
    let mut in_body = false;
    for line in after_begin.split(|&c| c == b'\n').skip(1) {
        let line = line.trim_ascii();
        if line.starts_with(b"-----END") {
            break;
        }
        if line.is_empty() {
            in_body = true;
        } else if in_body && !line.starts_with(b"=") {
            digits.extend(line.iter().filter(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/')));
        }
    }
    digits.truncate(digits.len() / 4 * 4);
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&alphabet::STANDARD, config).decode(digits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_headers_and_parts_are_read() {
        let mut bytes = vec![0x84, 1, 9]; // old, tag 1, one octet
        bytes.extend([0xc2, 2, 7, 7]); // new, tag 2
        bytes.extend([0xd2, 0xe1, 1, 2, 0xe0, 3, 2, 4, 5]); // new, tag 18, parts of 2, 1 and 2
        let packets = split(&bytes).unwrap();
        let seen: Vec<_> = packets.iter().map(|p| (p.tag, p.raw.len(), p.length, p.partial)).collect();
        assert_eq!(seen, [(1, 3, 1, false), (2, 4, 2, false), (18, 9, 5, true)]);
    }

    #[test]
    fn broken_headers_are_refused() {
        for (bytes, fault) in [
            (&[0x41, 1][..], HeaderFault::NoPacket(0)),
            (&[0xc1, 5, 1], HeaderFault::Short(0)),
            (&[0xc1], HeaderFault::Short(0)),
            (&[0xc1, 255, 255, 255, 255, 255], HeaderFault::Short(0)),
            (&[0xd2, 0xe0, 1], HeaderFault::Short(0)),
            (&[0xd2, 0xfe, 1], HeaderFault::Short(0)),
            (&[0x87, 1], HeaderFault::Indeterminate(0)),
            (&[0xc1, 0, 0], HeaderFault::NoPacket(2)),
        ] {
            assert_eq!(split(bytes).err(), Some(fault), "{bytes:02x?}");
        }
    }
}
