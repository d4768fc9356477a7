//! What files say by themselves: where they may lie, line endings, secrets in the clear. The first gate of
//! `verify`; looks at bytes and paths, at no statement.

use super::parallel;
use super::tree::{Entry, Tree};
use crate::model::{Code, Digest, Finding, Level, Place, PlaceError, Remedy, displayed};
use crate::{openpgp, pki};

/// At most this many files in the managed trees (FORMAT 1).
pub const MOST_FILES: usize = 200_000;

/// Checks that every entry is a regular file at a place, within its size, and no private key.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    if tree.overflow || tree.entries.len() > MOST_FILES {
        findings.push(Finding::new(Code::Limit, format!("there are more than {MOST_FILES} files")));
    }
    let entries: Vec<_> = tree.entries.iter().collect();
    let looked = parallel::map(&entries, |(path, entry)| {
        let secret = matches!(entry, Entry::File { bytes, .. } if holds_secret(bytes));
        (Place::parse(path).err(), secret)
    });
    for ((path, entry), (misplaced, secret)) in entries.into_iter().zip(looked) {
        if matches!(entry, Entry::File { .. }) && misplaced.is_none() && !secret {
            continue;
        }
        let shown = displayed(path);
        let mut fault = |code, why: String, fix: Option<Remedy>| {
            let finding = Finding::new(code, why).at(&shown);
            findings.push(match fix {
                Some(fix) => finding.fix(fix),
                None => finding.fix(Remedy::GitStatus),
            });
        };
        match entry {
            Entry::NotRegular(what) => {
                fault(Code::NotRegular, format!("it is {what}; only regular files are read"), None);
                continue;
            }
            Entry::TooLarge(size) => {
                fault(Code::Limit, format!("it has {size} bytes, more than such a file may have"), None);
                continue;
            }
            Entry::File { .. } => {}
        }
        match misplaced {
            None => {}
            Some(PlaceError::Name) => fault(Code::BadName, "a name in this path is no name".to_owned(), None),
            Some(PlaceError::Unexpected) => fault(Code::UnexpectedPath, "nothing lies here".to_owned(), None),
            Some(PlaceError::Profile) => {
                fault(Code::BadProfile, "there is no such certificate profile here".to_owned(), None)
            }
        }
        if secret {
            let why = "a private key in the clear: take it out, and treat it as known to everyone who could read it";
            fault(Code::SecretMaterial, why.to_owned(), Some(Remedy::Run(format!("git rm --cached -- {shown}"))));
        }
    }
    findings
}

/// Whether these bytes have a private key in the clear, in any PEM or DER form or as an OpenPGP secret key.
pub fn holds_secret(bytes: &[u8]) -> bool {
    openpgp::holds_secret_key(bytes) || pki::holds_private_key(bytes)
}

/// As `holds_secret`, for files outside the managed trees and in history: there a page or a test may quote the line with
/// which a key begins, so a block counts only with a body behind that line.
pub fn holds_whole_secret(bytes: &[u8]) -> bool {
    if !holds_secret(bytes) {
        return false;
    }
    let mut quoted = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = find(&bytes[at..], BEGIN) {
        let start = at + found;
        at = start + BEGIN.len();
        let Some(end) = find(&bytes[at..bytes.len().min(at + 80)], b"-----") else { continue };
        let label = &bytes[at..at + end];
        let is_key =
            [&b"PRIVATE KEY"[..], b"SECRET KEY", b"SYMMETRIC KEY"].iter().any(|key| find(label, key).is_some());
        if is_key && has_body(&bytes[at + end + 5..]) {
            return true;
        }
        if is_key {
            quoted[start..at].fill(b'.');
        }
    }
    // Keys in other forms stay what they are: DER, binary packets, base64 of a block.
    holds_secret(&quoted)
}

const BEGIN: &[u8] = b"-----BEGIN ";

/// The shortest key in base64 is a symmetric one of 32 octets: 44 digits. One of Ed25519 in PKCS#8 has 64.
const SHORTEST_BODY: usize = 44;

/// Whether base64 follows, as long as a key: on lines that may be indented, behind `\n` as JSON writes lines, quoted and
/// joined as programs write them, or marked as mail and comments do; armor headers are left out.
fn has_body(after: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&after[..after.len().min(4096)]).replace("\\n", "\n").replace("\\r", "");
    let mut digits = 0;
    let around = |c: char| c.is_whitespace() || "\"'`+,;\\>|#*".contains(c);
    // Base64 begins and ends a line with no sign but `+`, which is as rare as it is harmless to leave one out.
    for line in text.lines().map(|line| line.trim_matches(around)).filter(|line| !line.contains(": ")) {
        let base64 = line.chars().take_while(|c| c.is_ascii_alphanumeric() || "+/=".contains(*c)).count();
        digits += base64;
        if base64 < line.len() {
            break;
        }
    }
    digits >= SHORTEST_BODY
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn as_lf(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.windows(2).any(|pair| pair == b"\r\n") {
        return None;
    }
    let mut text = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            text.push(*byte);
        }
    }
    Some(text)
}

fn note(path: &str) -> Finding {
    let why = "with LF line endings the bytes would fit: something converted them to CRLF";
    let attributes = Remedy::Run("git check-attr text eol filter -- .".to_owned());
    Finding::new(Code::LineEndings, why).level(Level::Note).at(path).fix(attributes)
}

/// A note that `bytes` would have the hash `expected` with LF.
pub fn line_endings(bytes: &[u8], expected: &Digest, path: &str) -> Option<Finding> {
    as_lf(bytes).filter(|text| Digest::of(text) == *expected).map(|_| note(path))
}

/// A note that a statement would be canonical with LF: `parses` says whether bytes are.
pub fn line_endings_of_statement(bytes: &[u8], path: &str, parses: impl Fn(&[u8]) -> bool) -> Option<Finding> {
    as_lf(bytes).filter(|text| parses(text)).map(|_| note(path))
}

/// A note that `bytes` would fit the name `h16` with LF.
pub fn line_endings_by_name(bytes: &[u8], h16: &str, path: &str) -> Option<Finding> {
    as_lf(bytes).filter(|text| Digest::of(text).h16() == h16).map(|_| note(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_line_is_no_key_and_a_body_makes_one() {
        let body = "A".repeat(64);
        for text in [
            format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"),
            format!("key: |\n    -----BEGIN EC PRIVATE KEY-----\n    {body}\n    -----END EC PRIVATE KEY-----\n"),
            format!("{{\"key\": \"-----BEGIN RSA PRIVATE KEY-----\\n{body}\\n-----END RSA PRIVATE KEY-----\\n\"}}"),
            format!("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{body}\n"),
            format!(
                "-----BEGIN PGP PRIVATE KEY BLOCK-----\nComment: x\n\n{body}\n-----END PGP PRIVATE KEY BLOCK-----\n"
            ),
            format!("text\n-----BEGIN OPENSSH PRIVATE KEY-----\r\n{body}\r\n"),
            format!("key = \"-----BEGIN PRIVATE KEY-----\\n\" +\n  \"{body}\\n\" +\n"),
            format!("> -----BEGIN PRIVATE KEY-----\n> {body}\n"),
            format!("-----BEGIN KLUIS SYMMETRIC KEY-----\n{}\n", "A".repeat(44)),
        ] {
            assert!(holds_whole_secret(text.as_bytes()), "{text}");
        }
        for text in [
            "a line `-----BEGIN PRIVATE KEY-----` of prose, and more words than a key has digits, so many of them",
            "-----BEGIN PRIVATE KEY-----\n\u{2026}\n-----END PRIVATE KEY-----\n",
            "b\"-----BEGIN EC PRIVATE KEY-----\\nAAAA\\n-----END EC PRIVATE KEY-----\\n\".to_vec()",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
        ] {
            assert!(!holds_whole_secret(text.as_bytes()), "{text}");
        }
    }
}
