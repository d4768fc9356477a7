//! The text inside a sealed file (FORMAT 9): one way to write it, and a reader that takes nothing else.
//!
//! It can be read without kluis: `gpg -d FILE | openssl pkey` skips the header lines and finds the key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Header, KeyBody, OpenFault, SealFault, SealedKey};
use crate::model::{Digest, HexId};
use crate::secret::Secret;

const PRIVATE: &str = "PRIVATE KEY";
const SYMMETRIC: &str = "KLUIS SYMMETRIC KEY";
/// The columns of base64.
const COLUMNS: usize = 64;
/// The most keys in a file: a node's bundle has a dozen.
const MOST_KEYS: usize = 256;

/// Writes `keys` under `header`, by name.
///
/// # Errors
/// If there is no key, a name is there twice or can't stand in a line, or a private key is none.
pub fn write_plaintext(header: &Header, keys: &[SealedKey]) -> Result<Secret, SealFault> {
    let mut sorted: Vec<_> = keys.iter().collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    if keys.is_empty() {
        return Err(SealFault::Names(header.name.clone()));
    }
    if let Some(twice) = sorted.windows(2).find(|two| two[0].name == two[1].name) {
        return Err(SealFault::Names(twice[0].name.clone()));
    }
    if !is_name(&header.name) {
        return Err(SealFault::Name(header.name.clone()));
    }
    // The buffer is large enough from the start: growing would leave copies of keys behind.
    let room = keys.iter().map(|key| octets(&key.body).len() * 3 / 2 + key.name.len() + 512).sum::<usize>() + 512;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    text.extend_from_slice(header_lines(header).as_bytes());
    for key in sorted {
        if !is_name(&key.name) {
            return Err(SealFault::Name(key.name.clone()));
        }
        let id = key.id().ok_or_else(|| SealFault::NotAKey(key.name.clone()))?;
        text.extend_from_slice(format!("\nkey: {}\nid: {id}\n", key.name).as_bytes());
        let label = match &key.body {
            KeyBody::Pkcs8(_) => PRIVATE,
            KeyBody::Symmetric { salt, .. } => {
                text.extend_from_slice(format!("salt: {}\n", HexId(*salt)).as_bytes());
                SYMMETRIC
            }
        };
        block(&mut text, label, octets(&key.body));
    }
    Ok(Secret::from(text))
}

/// Reads a plaintext that must have the header `expected` and exactly the keys `ids`. The id that the file
/// declares, the one computed from the key, and the recorded one must all be the same: else somebody who could
/// write the file would choose which key is used under a public key that others trust.
///
/// # Errors
/// [`OpenFault::ContextMismatch`] for another form or header, [`OpenFault::SpkiMismatch`] for other keys.
pub fn read_plaintext(
    plain: &Secret,
    expected: &Header,
    ids: &[(String, Digest)],
) -> Result<Vec<SealedKey>, OpenFault> {
    let mut lines = Lines { rest: plain.expose() };
    check_header(&mut lines, expected)?;
    let mut keys: Vec<SealedKey> = Vec::new();
    while !lines.rest.is_empty() {
        let (key, declared) = read_key(&mut lines)?;
        let mismatch = |why: &str| Err(OpenFault::SpkiMismatch(format!("the key {} {why}", key.name)));
        if keys.len() >= MOST_KEYS || keys.last().is_some_and(|last| last.name >= key.name) {
            return Err(form("its keys are not in the order of their names"));
        }
        let Some((_, recorded)) = ids.iter().find(|(name, _)| *name == key.name) else {
            return mismatch("is not one that the record names");
        };
        match key.id() {
            None => return mismatch("is not a private key that kluis reads"),
            Some(id) if id != declared => return mismatch("is not the one that the file says it is"),
            Some(id) if id != *recorded => return mismatch("is not the one that the record names"),
            Some(_) => keys.push(key),
        }
    }
    if let Some((missing, _)) = ids.iter().find(|(name, _)| keys.iter().all(|key| key.name != *name)) {
        return Err(OpenFault::SpkiMismatch(format!("the key {missing} is missing")));
    }
    // One text for one meaning: written again, it is the same.
    match write_plaintext(expected, &keys) {
        Ok(again) if again.expose() == plain.expose() => Ok(keys),
        _ => Err(form("it is not written as FORMAT 9 says")),
    }
}

fn header_lines(header: &Header) -> String {
    let Header { repo, cluster, name, generation } = header;
    let number = generation.number();
    format!("kluis-secret: 1\nrepo: {repo}\ncluster: {cluster}\nname: {name}\ngeneration: {number}\n")
}

fn check_header(lines: &mut Lines<'_>, expected: &Header) -> Result<(), OpenFault> {
    for wanted in header_lines(expected).lines() {
        let found = lines.next()?;
        if found != wanted.as_bytes() {
            let subject = wanted.split(':').next().unwrap_or(wanted);
            return Err(OpenFault::ContextMismatch(format!("its line {subject:?} is not the expected {wanted:?}")));
        }
    }
    Ok(())
}

fn read_key(lines: &mut Lines<'_>) -> Result<(SealedKey, Digest), OpenFault> {
    if !lines.next()?.is_empty() {
        return Err(form("an empty line is missing before a key"));
    }
    let name = lines.value("key")?.to_owned();
    let declared = Digest::parse(lines.value("id")?).ok_or_else(|| form("an id is not a hash"))?;
    let salt = match lines.rest.starts_with(b"salt: ") {
        true => Some(HexId::<32>::parse(lines.value("salt")?).ok_or_else(|| form("a salt is not 64 hex digits"))?),
        false => None,
    };
    let bytes = lines.block(if salt.is_some() { SYMMETRIC } else { PRIVATE })?;
    let body = match salt {
        Some(salt) => KeyBody::Symmetric { salt: salt.0, bytes },
        None => KeyBody::Pkcs8(bytes),
    };
    Ok((SealedKey::new(name, body), declared))
}

/// The lines that are left.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a [u8], OpenFault> {
        let end = self.rest.iter().position(|&c| c == b'\n').ok_or_else(|| form("it ends in the middle"))?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }

    fn value(&mut self, name: &str) -> Result<&'a str, OpenFault> {
        let line = std::str::from_utf8(self.next()?).ok();
        let value = line.and_then(|line| line.strip_prefix(name)).and_then(|rest| rest.strip_prefix(": "));
        value.ok_or_else(|| form(&format!("the line {name:?} is missing")))
    }

    fn block(&mut self, label: &str) -> Result<Secret, OpenFault> {
        if self.next()? != format!("-----BEGIN {label}-----").as_bytes() {
            return Err(form("a PEM block does not begin where it should"));
        }
        let end = format!("-----END {label}-----");
        let mut digits = Zeroizing::new(Vec::with_capacity(self.rest.len()));
        loop {
            match self.next()? {
                line if line == end.as_bytes() => break,
                line => digits.extend_from_slice(line),
            }
        }
        let mut bytes = Zeroizing::new(vec![0; digits.len()]);
        let length = STANDARD.decode_slice(&*digits, &mut bytes).map_err(|_| form("a PEM block is not base64"))?;
        bytes.truncate(length);
        Ok(Secret::from(bytes))
    }
}

/// A key's PEM block alone.
pub(super) fn pem(body: &KeyBody) -> Secret {
    let label = if matches!(body, KeyBody::Pkcs8(_)) { PRIVATE } else { SYMMETRIC };
    // Large enough from the start, as in `write_plaintext`.
    let mut text = Zeroizing::new(Vec::with_capacity(octets(body).len() * 3 / 2 + 128));
    block(&mut text, label, octets(body));
    Secret::from(text)
}

fn block(text: &mut Vec<u8>, label: &str, bytes: &[u8]) {
    text.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    let mut digits = Zeroizing::new(vec![0; bytes.len().div_ceil(3) * 4]);
    let length = STANDARD.encode_slice(bytes, &mut digits).expect("four digits for three octets are enough");
    for line in digits[..length].chunks(COLUMNS) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
}

fn octets(body: &KeyBody) -> &[u8] {
    match body {
        KeyBody::Pkcs8(der) => der.expose(),
        KeyBody::Symmetric { bytes, .. } => bytes.expose(),
    }
}

/// A name that stays in its line: no spaces, breaks or colons.
fn is_name(name: &str) -> bool {
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    (1..=160).contains(&name.len()) && name.bytes().all(known)
}

fn form(why: &str) -> OpenFault {
    OpenFault::ContextMismatch(format!("the plaintext is not one of kluis: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Rng;
    use crate::model::{Algorithm, Code, Generation};
    use crate::pki::PrivateKey;

    fn header() -> Header {
        Header {
            repo: HexId([0xab; 32]),
            cluster: HexId([2; 16]),
            name: "node.cp-1".to_owned(),
            generation: Generation::FIRST,
        }
    }

    fn keys() -> Vec<SealedKey> {
        let mut rng = Rng::system();
        let private = |name: &str, algorithm, rng: &mut Rng| {
            SealedKey::new(name, KeyBody::Pkcs8(PrivateKey::generate(algorithm, rng).to_pkcs8()))
        };
        let symmetric = KeyBody::Symmetric { salt: [7; 32], bytes: Secret::new(vec![9; 32]) };
        vec![
            private("etcd-server", Algorithm::EcdsaP256, &mut rng),
            private("apiserver", Algorithm::EcdsaP384, &mut rng),
            SealedKey::new("encryption", symmetric),
        ]
    }

    fn ids(keys: &[SealedKey]) -> Vec<(String, Digest)> {
        keys.iter().map(|key| (key.name.clone(), key.id().unwrap())).collect()
    }

    fn code(text: &str, ids: &[(String, Digest)]) -> Option<Code> {
        read_plaintext(&Secret::new(text.as_bytes().to_vec()), &header(), ids).err().and_then(|fault| fault.code())
    }

    #[test]
    fn keys_are_written_by_name_and_read_again() {
        let keys = keys();
        let plain = write_plaintext(&header(), &keys).unwrap();
        let text = String::from_utf8(plain.expose().to_vec()).unwrap();
        let head = format!(
            "kluis-secret: 1\nrepo: {}\ncluster: {}\nname: node.cp-1\ngeneration: 1\n\nkey: apiserver\nid: ",
            "ab".repeat(32),
            "02".repeat(16)
        );
        assert!(text.starts_with(&head), "{}", text.len());
        assert!(text.ends_with("-----END PRIVATE KEY-----\n"));
        assert!(text.contains(&format!("\nsalt: {}\n-----BEGIN KLUIS SYMMETRIC KEY-----\nCQkJ", "07".repeat(32))));
        let names: Vec<_> =
            read_plaintext(&plain, &header(), &ids(&keys)).unwrap().into_iter().map(|k| k.name).collect();
        assert_eq!(names, ["apiserver", "encryption", "etcd-server"]);
    }

    #[test]
    fn another_context_is_refused() {
        let keys = keys();
        let plain = write_plaintext(&header(), &keys).unwrap();
        let others = [
            Header { repo: HexId([1; 32]), ..header() },
            Header { cluster: HexId([1; 16]), ..header() },
            Header { name: "node.cp-2".to_owned(), ..header() },
            Header { generation: Generation::new(2).unwrap(), ..header() },
        ];
        for other in others {
            let fault = read_plaintext(&plain, &other, &ids(&keys)).err().unwrap();
            assert_eq!(fault.code(), Some(Code::ContextMismatch), "{other:?}");
        }
    }

    #[test]
    fn other_keys_than_the_recorded_are_refused() {
        let keys = keys();
        let recorded = ids(&keys);
        let text = String::from_utf8(write_plaintext(&header(), &keys).unwrap().expose().to_vec()).unwrap();
        let wrong = Some(Code::SpkiMismatch);
        assert_eq!(code(&text, &recorded), None);
        assert_eq!(code(&text, &recorded[1..]), wrong);
        let more = [&recorded[..], &[("scheduler".to_owned(), recorded[0].1)]].concat();
        assert_eq!(code(&text, &more), wrong);
        let mut exchanged = recorded.clone();
        exchanged[0].1 = recorded[1].1;
        assert_eq!(code(&text, &exchanged), wrong);
        let declared = text.replace(&recorded[0].1.to_string(), &recorded[1].1.to_string());
        assert_eq!(code(&declared, &recorded), wrong);
        assert_eq!(code(&text.replacen("07", "08", 1), &recorded), wrong);
    }

    #[test]
    fn there_is_one_way_to_write_it() {
        let keys = keys();
        let recorded = ids(&keys);
        let text = String::from_utf8(write_plaintext(&header(), &keys).unwrap().expose().to_vec()).unwrap();
        let joined = text.replacen("-----BEGIN PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----\n\n", 1);
        for other in [
            format!("{text}\n"),
            format!("\n{text}"),
            text.trim_end().to_owned(),
            text.replace('\n', "\r\n"),
            text.replace("\n\nkey", "\nkey"),
            text.replace("kluis-secret: 1", "kluis-secret: 2"),
            text.replace("generation: 1", "generation: 01"),
            text.replace("id: ", "id:  "),
            joined,
            text[..text.len() / 2].to_owned(),
            String::new(),
        ] {
            assert_eq!(code(&other, &recorded), Some(Code::ContextMismatch));
        }
    }

    #[test]
    fn names_that_would_break_a_line_are_not_written() {
        let body = || KeyBody::Symmetric { salt: [0; 32], bytes: Secret::new(vec![1]) };
        for name in ["", "a b", "a\nid: x", "a:b", "é"] {
            let keys = [SealedKey::new(name, body())];
            assert!(matches!(write_plaintext(&header(), &keys), Err(SealFault::Name(_))), "{name:?}");
        }
        let twice = [1, 2].map(|_| SealedKey::new("a", body()));
        assert!(matches!(write_plaintext(&header(), &twice), Err(SealFault::Names(_))));
        let none = [SealedKey::new("a", KeyBody::Pkcs8(Secret::new(vec![1, 2])))];
        assert!(matches!(write_plaintext(&header(), &none), Err(SealFault::NotAKey(_))));
        assert!(matches!(write_plaintext(&header(), &[]), Err(SealFault::Names(_))));
    }
}
