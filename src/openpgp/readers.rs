//! To whom a file of any kind claims to be encrypted, read as leniently as the programs that would open it.
//!
//! `envelope` refuses whatever is not exactly a sealed file, which is right for what is in use. What lies in git's history
//! without a record was made by whoever wanted to: with gpg's other containers, with text before the armor, in binary. A
//! reader that is overlooked there is a person who can open a key and stands in no list (T56).

use super::packet::{self, tag};
use crate::model::KeyId;

const BEGIN: &[u8] = b"-----BEGIN PGP MESSAGE-----";
/// No honest message names more readers than this; a hostile one makes nobody hold more.
const MOST: usize = 4096;

/// The key ids of every OpenPGP message in `bytes`, armored or binary, in the order of the packets; 0 for a reader that
/// hides. `None` if there is no message that a key opens.
pub fn readers(bytes: &[u8]) -> Option<Vec<KeyId>> {
    let mut found = of_packets(bytes);
    // Each block ends where the next one begins, so that a file of nothing but BEGIN lines takes no longer than another.
    let mut rest = after(bytes);
    while let Some(block) = rest {
        rest = after(block);
        let end = rest.map_or(block.len(), |rest| block.len() - rest.len());
        found.extend(of_packets(&packet::lenient_base64(&block[..end])));
    }
    found.truncate(MOST);
    (!found.is_empty()).then_some(found)
}

/// What follows the first BEGIN line.
fn after(bytes: &[u8]) -> Option<&[u8]> {
    let at = bytes.windows(BEGIN.len()).position(|window| window == BEGIN)?;
    Some(&bytes[at + BEGIN.len()..])
}

/// The readers that stand at the beginning of `bytes`, up to the encrypted data or the first octet that is no packet's.
fn of_packets(bytes: &[u8]) -> Vec<KeyId> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() && found.len() < MOST {
        let Ok(packet) = packet::next(bytes, at) else { break };
        match packet.tag {
            tag::PKESK => found.extend(reader(packet.body)),
            tag::SKESK | tag::MARKER => {}
            _ => break,
        }
        at += packet.raw.len();
    }
    found
}

/// Whom a PKESK of version 3 or 6 names (RFC 9580, 5.1).
fn reader(body: &[u8]) -> Option<KeyId> {
    let id = |octets: &[u8]| octets.first_chunk().map(|id| KeyId(u64::from_be_bytes(*id)));
    match body {
        [3, rest @ ..] => id(rest),
        [6, 0, ..] => Some(KeyId(0)),
        [6, 21, 4, print @ ..] => id(print.get(12..20)?),
        [6, 33, 6, print @ ..] => id(print),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn message(container: u8) -> Vec<u8> {
        let mut bytes = vec![0xc0 | tag::MARKER, 3, b'P', b'G', b'P'];
        bytes.extend([0xc0 | tag::PKESK, 13, 3, 0, 0, 0, 0, 0, 0, 0, 7, 1, 0, 8, 0xff]);
        bytes.extend([0x84, 10, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0xc0 | tag::PKESK, 24, 6, 21, 4]);
        bytes.extend([9; 12]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 8, 1]);
        // Partial, of a length that never comes.
        bytes.extend([0xc0 | container, 0xff, 0, 0, 9, 9, 1]);
        bytes
    }

    #[test]
    fn readers_are_found_in_what_a_sealed_file_may_not_be() {
        let expected = Some(vec![KeyId(7), KeyId(0), KeyId(8)]);
        for container in [9, 18, 20] {
            let binary = message(container);
            assert_eq!(readers(&binary), expected, "{container}");
            let text = format!(
                "Dear all,\r\n-----BEGIN PGP MESSAGE-----\r\nVersion: x\r\n\r\n{}\r\n-----END PGP MESSAGE-----\r\n",
                STANDARD.encode(&binary)
            );
            assert_eq!(readers(text.as_bytes()), expected, "{container}");
        }
    }

    #[test]
    fn other_files_have_no_readers_and_none_breaks_it() {
        for bytes in
            [&b""[..], b"\x84", b"\xc1\x0d\x03", b"-----BEGIN PGP MESSAGE-----", b"key = \"value\"\n", b"\xff\xff"]
        {
            assert_eq!(readers(bytes), None);
        }
        let whole = message(18);
        for end in 0..whole.len() {
            let _ = readers(&whole[..end]);
        }
    }
}
