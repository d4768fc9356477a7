//! S-expressions in the canonical form of libgcrypt, as far as gpg-agent speaks them: `(5:value3:abc)`.
//!
//! Reading is bounded in depth, and never looks past the octets that were sent.

use sequoia_openpgp as sq;
use sq::crypto::mem::Protected;
use sq::crypto::mpi::{Ciphertext, MPI, Signature};

/// How deep a list may lie in lists.
const DEEPEST: usize = 8;

enum Node<'a> {
    Atom(&'a [u8]),
    List(Vec<Node<'a>>),
}

/// A wrapped session key as PKDECRYPT wants it; `None` for algorithms that the agent doesn't know.
pub(super) fn ciphertext(of: &Ciphertext) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    match of {
        Ciphertext::RSA { c } => {
            text.extend_from_slice(b"(7:enc-val(3:rsa(1:a");
            atom(&mut text, c.value());
            text.extend_from_slice(b")))");
        }
        Ciphertext::ECDH { e, key } => {
            text.extend_from_slice(b"(7:enc-val(4:ecdh(1:s");
            atom(&mut text, key);
            text.extend_from_slice(b")(1:e");
            atom(&mut text, e.value());
            text.extend_from_slice(b")))");
        }
        _ => return None,
    }
    Some(text)
}

/// The number in PKDECRYPT's answer.
pub(super) fn value(answer: &[u8]) -> Option<Protected> {
    let node = parse(answer)?;
    match node.named(b"value")? {
        [Node::Atom(bytes)] => Some(Protected::from(*bytes)),
        _ => None,
    }
}

/// The signature in PKSIGN's answer.
pub(super) fn signature(answer: &[u8]) -> Option<Signature> {
    let node = parse(answer)?;
    let [inner @ Node::List(_)] = node.named(b"sig-val")? else { return None };
    let number = |list: &[Node<'_>], name: &[u8]| {
        list.iter().find_map(|one| match one.named(name)? {
            [Node::Atom(bytes)] => Some(MPI::new(bytes)),
            _ => None,
        })
    };
    if let Some(list) = inner.named(b"rsa") {
        return Some(Signature::RSA { s: number(list, b"s")? });
    }
    if let Some(list) = inner.named(b"eddsa") {
        return Some(Signature::EdDSA { r: number(list, b"r")?, s: number(list, b"s")? });
    }
    let list = inner.named(b"ecdsa")?;
    Some(Signature::ECDSA { r: number(list, b"r")?, s: number(list, b"s")? })
}

impl<'a> Node<'a> {
    /// What follows `name` in a list that begins with it.
    fn named(&self, name: &[u8]) -> Option<&[Node<'a>]> {
        match self {
            Self::List(nodes) => match &nodes[..] {
                [Self::Atom(first), rest @ ..] if *first == name => Some(rest),
                _ => None,
            },
            Self::Atom(_) => None,
        }
    }
}

fn atom(text: &mut Vec<u8>, bytes: &[u8]) {
    text.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    text.extend_from_slice(bytes);
}

/// One expression and nothing after it but the NUL that old agents append.
fn parse(bytes: &[u8]) -> Option<Node<'_>> {
    let mut rest = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    // The NUL may also be the last octet of the expression's own last atom; a list ends with a parenthesis.
    if rest.last() != Some(&b')') {
        rest = bytes;
    }
    let node = read(&mut rest, 0)?;
    rest.is_empty().then_some(node)
}

fn read<'a>(rest: &mut &'a [u8], depth: usize) -> Option<Node<'a>> {
    if depth > DEEPEST {
        return None;
    }
    if let Some(after) = rest.strip_prefix(b"(") {
        *rest = after;
        let mut nodes = Vec::new();
        loop {
            if let Some(after) = rest.strip_prefix(b")") {
                *rest = after;
                return Some(Node::List(nodes));
            }
            nodes.push(read(rest, depth + 1)?);
        }
    }
    let colon = rest.iter().take(6).position(|&c| c == b':')?;
    let digits = std::str::from_utf8(&rest[..colon]).ok()?;
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let length: usize = digits.parse().ok()?;
    let atom = rest.get(colon + 1..)?.get(..length)?;
    *rest = &rest[colon + 1 + length..];
    Some(Node::Atom(atom))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_agent_are_read() {
        assert_eq!(&value(b"(5:value3:abc)").unwrap()[..], b"abc");
        assert_eq!(&value(b"(5:value3:a)\0)\0").unwrap()[..], b"a)\0");
        assert!(matches!(signature(b"(7:sig-val(3:rsa(1:s2:ab)))"), Some(Signature::RSA { .. })));
        assert!(matches!(signature(b"(7:sig-val(5:eddsa(1:r1:a)(1:s1:b)))"), Some(Signature::EdDSA { .. })));
        assert!(matches!(signature(b"(7:sig-val(5:ecdsa(1:r1:a)(1:s1:b)))"), Some(Signature::ECDSA { .. })));
    }

    #[test]
    fn broken_answers_are_none() {
        for bytes in [
            &b""[..],
            b"(",
            b"(5:value",
            b"(5:value9:abc)",
            b"(5:value3:abc)x",
            b"(5:value3:abc",
            b"(-1:v)",
            b"(:v)",
            b"(99999999999999999999:v)",
            b"(5:value(3:abc))",
            b"(5:other3:abc)",
        ] {
            assert!(value(bytes).is_none() && signature(bytes).is_none(), "{bytes:?}");
        }
        assert!(parse(&b"(".repeat(100_000)).is_none());
    }
}
