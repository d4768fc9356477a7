//! Hashes and key names: SHA-256 (lower-case hex), OpenPGP fingerprints (upper-case hex) and key ids, and
//! random ids of the repository and its clusters.

use std::fmt;

use sha2::Digest as _;

/// A SHA-256 hash. Text form: 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The SHA-256 of the parts, one after the other.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hash = sha2::Sha256::new();
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// Parses 64 lower-case hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = parse_hex(text)?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 16 hex digits, which name records, requests and old OpenPGP certificates.
    pub fn h16(&self) -> String {
        to_hex(&self.0[..8])
    }
}

/// An OpenPGP fingerprint: 40 (v4) or 64 (v6) upper-case hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Parses upper-case hex of 20 or 32 octets; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let hex =
            matches!(text.len(), 40 | 64) && text.bytes().all(|c| c.is_ascii_digit() || (b'A'..=b'F').contains(&c));
        hex.then(|| Self(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64-bit key id: the last 8 octets of a v4 fingerprint, the first 8 of a v6 one (RFC 9580, 5.5.4).
    pub fn key_id(&self) -> KeyId {
        let digits = if self.0.len() == 40 { &self.0[24..] } else { &self.0[..16] };
        KeyId(u64::from_str_radix(digits, 16).expect("a fingerprint is hex"))
    }
}

/// A 64-bit OpenPGP key id, as a PKESK v3 packet names its recipient. 0 is a hidden recipient.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u64);

/// A random identifier in lower-case hex: `N` octets. The repository has 32, a cluster and a nonce 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HexId<const N: usize>(pub [u8; N]);

impl<const N: usize> HexId<N> {
    /// Parses `2 * N` lower-case hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(parse_hex(text)?.try_into().ok()?))
    }
}

fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&to_hex(&self.0))
    }
}

impl<const N: usize> fmt::Display for HexId<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&to_hex(&self.0))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

/// Serialises as its text, and debugs as it too.
macro_rules! as_text {
    ($type:ty $(, $n:ident)?) => {
        impl$(<const $n: usize>)? fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl$(<const $n: usize>)? serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

as_text!(Digest);
as_text!(Fingerprint);
as_text!(KeyId);
as_text!(HexId<N>, N);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_lower_case_and_fingerprints_upper_case() {
        let hash = Digest::of(b"abc");
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Digest::parse(&hash.to_string()), Some(hash));
        assert_eq!(Digest::parse(&hash.to_string().to_uppercase()), None);
        assert_eq!(hash.h16(), "ba7816bf8f01cfea");
        assert!(Fingerprint::parse("289D02529EEB00AD739900D414ED8CD3C3AA6E31").is_some());
        assert!(Fingerprint::parse("289d02529eeb00ad739900d414ed8cd3c3aa6e31").is_none());
    }

    #[test]
    fn the_key_id_is_the_end_of_a_v4_fingerprint() {
        let fingerprint = Fingerprint::parse("289D02529EEB00AD739900D414ED8CD3C3AA6E31").unwrap();
        assert_eq!(fingerprint.key_id().to_string(), "14ED8CD3C3AA6E31");
    }
}
