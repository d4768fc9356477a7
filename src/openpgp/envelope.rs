//! The envelope of a sealed file (FORMAT 9), read without any key: to whom it says it is encrypted, and that
//! nothing else is in it.
//!
//! The key ids are claims: only opening proves them. What can be proven here is that no reader is hidden, that
//! no passphrase opens it, and that no second container waits behind the first.

use super::armor::{self, ArmorFault};
use super::packet::{self, tag};
use crate::model::{Code, KeyId};

pub(super) const LABEL: &str = "PGP MESSAGE";
/// The largest sealed file in octets (FORMAT 1).
pub(super) const LARGEST: usize = 256 * 1024;
/// Octets of an SEIPD v1 body at least: version, prefix of a block and two, MDC.
const SMALLEST_CONTAINER: usize = 1 + 18 + 22;

/// Who can open a sealed file, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The key ids in the order of the packets.
    pub recipients: Vec<KeyId>,
}

/// Why a file is not an envelope of FORMAT 9.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    /// The armor is not the strict one.
    #[error("{0}")]
    Armor(String),
    /// Something follows the armored block.
    #[error("{0}")]
    Trailing(String),
    /// Other packets than FORMAT 9 wants.
    #[error("{0}")]
    Container(String),
    /// A recipient hides behind key id 0.
    #[error("it is encrypted to a hidden recipient")]
    HiddenRecipient,
    /// A passphrase opens it.
    #[error("a passphrase opens it")]
    SymmetricRecipient,
    /// It is larger than a sealed file may be.
    #[error("it is larger than {LARGEST} bytes")]
    Limit,
}

impl EnvelopeFault {
    /// The finding's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Armor(_) => Code::BadArmor,
            Self::Trailing(_) => Code::TrailingData,
            Self::Container(_) => Code::BadContainer,
            Self::HiddenRecipient => Code::HiddenRecipient,
            Self::SymmetricRecipient => Code::SymmetricRecipient,
            Self::Limit => Code::Limit,
        }
    }
}

/// An envelope and its packets, for opening.
pub(super) struct Contents {
    pub envelope: Envelope,
    /// All octets, without armor.
    pub packets: Vec<u8>,
    /// Where the packet of each recipient lies in `packets`, in the order of `envelope`.
    pub wrapped: Vec<std::ops::Range<usize>>,
}

/// Reads who can open the sealed file `armored`, without any key.
///
/// # Errors
/// If it isn't exactly PKESK v3 packets and one SEIPD v1 packet in strict armor.
pub fn read_envelope(armored: &[u8]) -> Result<Envelope, EnvelopeFault> {
    read(armored).map(|contents| contents.envelope)
}

pub(super) fn read(armored: &[u8]) -> Result<Contents, EnvelopeFault> {
    if armored.len() > LARGEST {
        return Err(EnvelopeFault::Limit);
    }
    let bytes = armor::read(armored, LABEL).map_err(|fault| match fault {
        ArmorFault::Bad(why) => EnvelopeFault::Armor(why.to_owned()),
        ArmorFault::Trailing => EnvelopeFault::Trailing(fault.to_string()),
    })?;
    let container = |why: String| EnvelopeFault::Container(why);
    let packets = packet::split(&bytes).map_err(|fault| container(fault.to_string()))?;
    let (mut recipients, mut wrapped, mut at) = (Vec::new(), Vec::new(), 0);
    for (i, one) in packets.iter().enumerate() {
        let end = at + one.raw.len();
        match one.tag {
            tag::PKESK => {
                recipients.push(recipient(one)?);
                wrapped.push(at..end);
            }
            tag::SKESK => return Err(EnvelopeFault::SymmetricRecipient),
            tag::SEIPD if i + 1 == packets.len() => check_container(one)?,
            tag::SEIPD => return Err(container("something follows the encrypted data".to_owned())),
            other => return Err(container(format!("a packet of type {other} does not belong into a sealed file"))),
        }
        at = end;
    }
    if packets.last().is_none_or(|last| last.tag != tag::SEIPD) {
        return Err(container("there is no encrypted data".to_owned()));
    }
    if recipients.is_empty() {
        return Err(container("it is encrypted to nobody".to_owned()));
    }
    Ok(Contents { envelope: Envelope { recipients }, packets: bytes, wrapped })
}

fn recipient(packet: &packet::Packet<'_>) -> Result<KeyId, EnvelopeFault> {
    let container = |why: &str| EnvelopeFault::Container(why.to_owned());
    if packet.partial {
        return Err(container("a recipient's packet comes in parts"));
    }
    match packet.body {
        [3, id @ ..] if id.len() > 9 => {
            let id = id.first_chunk().map(|id| u64::from_be_bytes(*id)).unwrap_or(0);
            // Whoever hides cannot be reviewed, and every reader's agent would be asked for every key.
            if id == 0 { Err(EnvelopeFault::HiddenRecipient) } else { Ok(KeyId(id)) }
        }
        [3, ..] => Err(container("a recipient's packet is too short")),
        _ => Err(container("a recipient's packet is not of version 3")),
    }
}

fn check_container(packet: &packet::Packet<'_>) -> Result<(), EnvelopeFault> {
    if packet.body.first() != Some(&1) {
        return Err(EnvelopeFault::Container("the encrypted data is not of version 1 (SEIPD v1)".to_owned()));
    }
    if packet.length < SMALLEST_CONTAINER {
        return Err(EnvelopeFault::Container("the encrypted data is too short".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pkesk(id: u64) -> Vec<u8> {
        let mut body = vec![3];
        body.extend(id.to_be_bytes());
        body.extend([1, 0, 8, 0xff]);
        packet(1, &body)
    }

    fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xc0 | tag, u8::try_from(body.len()).unwrap()];
        bytes.extend(body);
        bytes
    }

    fn seipd(version: u8) -> Vec<u8> {
        let mut body = vec![version];
        body.extend([0x55; 60]);
        packet(18, &body)
    }

    fn code(parts: &[Vec<u8>]) -> Option<Code> {
        read_envelope(&armor::write(&parts.concat(), LABEL)).err().map(|fault| fault.code())
    }

    #[test]
    fn recipients_are_listed_in_order() {
        let bytes = armor::write(&[pkesk(7), pkesk(5), seipd(1)].concat(), LABEL);
        assert_eq!(read_envelope(&bytes).unwrap().recipients, [KeyId(7), KeyId(5)]);
    }

    #[test]
    fn parts_are_allowed_in_the_container_alone() {
        let mut parts = vec![0xd2, 0xe6, 1];
        parts.extend([0x55; 63]);
        parts.extend([2, 9, 9]);
        assert_eq!(code(&[pkesk(7), parts]), None);
        let mut indeterminate = vec![0x80 | 9 << 2 | 3, 1];
        indeterminate.extend([0x55; 60]);
        assert_eq!(code(&[pkesk(7), indeterminate]), Some(Code::BadContainer));
    }

    #[test]
    fn whatever_else_could_open_or_follow_is_refused() {
        let v6 = packet(1, &[&[6, 21, 4][..], &[9; 30]].concat());
        for (parts, expected) in [
            (vec![pkesk(0), seipd(1)], Code::HiddenRecipient),
            (vec![pkesk(7), pkesk(0), seipd(1)], Code::HiddenRecipient),
            (vec![pkesk(7), packet(3, &[4, 9, 3, 8]), seipd(1)], Code::SymmetricRecipient),
            (vec![packet(3, &[4, 9, 3, 8]), seipd(1)], Code::SymmetricRecipient),
            (vec![v6, seipd(1)], Code::BadContainer),
            (vec![seipd(1)], Code::BadContainer),
            (vec![pkesk(7)], Code::BadContainer),
            (vec![pkesk(7), seipd(2)], Code::BadContainer),
            (vec![pkesk(7), seipd(1), seipd(1)], Code::BadContainer),
            (vec![pkesk(7), seipd(1), pkesk(8)], Code::BadContainer),
            (vec![packet(10, b"PGP"), pkesk(7), seipd(1)], Code::BadContainer),
            (vec![pkesk(7), packet(21, &[0; 9]), seipd(1)], Code::BadContainer),
            (vec![pkesk(7), packet(9, &[0x55; 60])], Code::BadContainer),
            (vec![pkesk(7), packet(20, &[1; 60])], Code::BadContainer),
            (vec![packet(8, &[1; 60])], Code::BadContainer),
            (vec![pkesk(7), packet(18, &[1; 9])], Code::BadContainer),
        ] {
            assert_eq!(code(&parts), Some(expected), "{parts:02x?}");
        }
        let whole = armor::write(&[pkesk(7), seipd(1)].concat(), LABEL);
        let twice = [&whole[..], &whole[..]].concat();
        assert_eq!(read_envelope(&twice).unwrap_err().code(), Code::TrailingData);
        assert_eq!(read_envelope(&whole[1..]).unwrap_err().code(), Code::BadArmor);
        assert_eq!(read_envelope(&vec![b'a'; LARGEST + 1]).unwrap_err().code(), Code::Limit);
    }
}
