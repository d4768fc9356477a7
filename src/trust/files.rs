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

/// A note that `bytes` would fit the name `h16` with LF.
pub fn line_endings_by_name(bytes: &[u8], h16: &str, path: &str) -> Option<Finding> {
    as_lf(bytes).filter(|text| Digest::of(text).h16() == h16).map(|_| note(path))
}
