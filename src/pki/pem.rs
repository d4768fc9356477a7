//! PEM (RFC 7468), in the one form of FORMAT 1 for what we keep, and with more patience for keys that
//! other tools wrote. Buffers that hold a key in any form are wiped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::{AnyRef, Decode as _, Tag, Tagged as _};
use zeroize::Zeroizing;

use super::error::PkiError;
use super::signature;
use crate::secret::Secret;

const COLUMNS: usize = 64;

/// A public key as PEM: `PUBLIC KEY`.
pub fn public_pem(spki_der: &[u8]) -> Vec<u8> {
    write("PUBLIC KEY", spki_der).to_vec()
}

/// A certificate as PEM: `CERTIFICATE`, 64 columns, LF.
pub fn certificate_pem(der: &[u8]) -> Vec<u8> {
    write("CERTIFICATE", der).to_vec()
}

/// A secret as PEM. The base64 text in between is wiped.
pub(super) fn write_secret(label: &str, der: &[u8]) -> Secret {
    Secret::from(write(label, der))
}

fn write(label: &str, der: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut base64 = Zeroizing::new(vec![0; der.len().div_ceil(3) * 4]);
    let length = STANDARD.encode_slice(der, &mut base64).expect("base64 needs four octets for three");
    let lines = length.div_ceil(COLUMNS);
    // The exact size from the start: a vector that grows leaves copies of a key behind.
    let mut pem = Zeroizing::new(Vec::with_capacity(length + lines + 2 * label.len() + 32));
    pem.extend_from_slice(b"-----BEGIN ");
    pem.extend_from_slice(label.as_bytes());
    pem.extend_from_slice(b"-----\n");
    for line in base64[..length].chunks(COLUMNS) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(b"-----END ");
    pem.extend_from_slice(label.as_bytes());
    pem.extend_from_slice(b"-----\n");
    pem
}

/// The content of a file that is exactly one PEM block with `label` in the form of FORMAT 1: 64 columns,
/// LF, nothing before or after, one DER SEQUENCE inside (`cert-format`).
pub fn parse_pem(bytes: &[u8], label: &str) -> Result<Vec<u8>, PkiError> {
    parse(bytes, label).map(|der| der.to_vec())
}

/// The same for a secret, `PRIVATE KEY` as a rule; its copies are wiped.
pub fn parse_secret_pem(pem: &Secret, label: &str) -> Result<Secret, PkiError> {
    parse(pem.expose(), label).map(Secret::from)
}

fn parse(bytes: &[u8], label: &str) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let fault = |why| PkiError::Pem { label: label.to_owned(), why };
    let begin = format!("-----BEGIN {label}-----\n");
    let end = format!("-----END {label}-----\n");
    let body = bytes.strip_prefix(begin.as_bytes()).ok_or_else(|| fault("its first line is another"))?;
    let body = body.strip_suffix(end.as_bytes()).ok_or_else(|| fault("its last line is another"))?;
    let der = decode(body).ok_or_else(|| fault("its base64 is malformed"))?;
    // Written again it must be the same: one check for columns, line ends, padding and stray bits.
    if write(label, &der).as_slice() != bytes {
        return Err(fault("its lines are not of 64 columns, ended by LF"));
    }
    let is_sequence = AnyRef::from_der(&der).is_ok_and(|any| any.tag() == Tag::Sequence);
    if is_sequence { Ok(der) } else { Err(fault("inside is not one DER SEQUENCE")) }
}

/// Base64 without its line ends.
fn decode(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut base64 = Zeroizing::new(Vec::with_capacity(body.len()));
    base64.extend(body.iter().copied().filter(|octet| !matches!(octet, b'\n' | b'\r')));
    let mut der = Zeroizing::new(vec![0; base64.len().div_ceil(4) * 3]);
    let length = STANDARD.decode_slice(base64.as_slice(), &mut der).ok()?;
    der.truncate(length);
    Some(der)
}

/// The content of the only block with `label`, whatever is around it, in lines of any length.
pub(super) fn read_lenient(text: &Secret, label: &str) -> Option<Secret> {
    let bytes = text.expose();
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    if count_pem_blocks(bytes, label) != 1 {
        return None;
    }
    let from = find(bytes, begin.as_bytes())? + begin.len();
    let length = find(&bytes[from..], end.as_bytes())?;
    decode(&bytes[from..from + length]).map(Secret::from)
}

/// The contents of all blocks with `label`, in their order, whatever is around them; what is no base64 is left out.
pub fn pem_blocks(bytes: &[u8], label: &str) -> Vec<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let (mut blocks, mut rest) = (Vec::new(), bytes);
    while let Some(from) = find(rest, begin.as_bytes()) {
        rest = &rest[from + begin.len()..];
        let Some(length) = find(rest, end.as_bytes()) else { break };
        blocks.extend(decode(&rest[..length]).map(|der| der.to_vec()));
        rest = &rest[length..];
    }
    blocks
}

/// How many PEM blocks with `label` begin in `bytes`.
pub fn count_pem_blocks(bytes: &[u8], label: &str) -> usize {
    let begin = format!("-----BEGIN {label}-----");
    bytes.windows(begin.len()).filter(|window| *window == begin.as_bytes()).count()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The service-account public key of a `.pub` file: one strict `PUBLIC KEY` block with one strict
/// SubjectPublicKeyInfo of a known algorithm. Returns the DER.
pub fn service_account_public(bytes: &[u8]) -> Result<Vec<u8>, PkiError> {
    let der = parse_pem(bytes, "PUBLIC KEY")?;
    signature::PublicKey::read(&der).map_err(|why| PkiError::Der { what: "public key", why })?;
    Ok(der)
}

/// "-----BEGIN " in base64, as a kubeconfig embeds PEM.
const EMBEDDED_BEGIN: &[u8] = b"LS0tLS1CRUdJTi";

/// Whether `bytes` show a private key that is not OpenPGP's: a PEM block of any `… PRIVATE KEY` label,
/// encrypted or not, or of a symmetric one, anywhere; the same in base64, as kubeconfigs embed it; or DER
/// of PKCS#8, PKCS#1 or SEC1 as the whole file. An encrypted key counts: its passphrase is no recipient list.
pub fn holds_private_key(bytes: &[u8]) -> bool {
    holds_private_pem(bytes) || holds_embedded_pem(bytes) || is_private_der(bytes)
}

fn holds_private_pem(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut rest = bytes;
    while let Some(at) = find(rest, BEGIN) {
        rest = &rest[at + BEGIN.len()..];
        let line = &rest[..rest.len().min(80)];
        let label = find(line, b"-----").map_or(&[][..], |end| &line[..end]);
        if label.ends_with(b"PRIVATE KEY") || label == b"KLUIS SYMMETRIC KEY" {
            return true;
        }
    }
    false
}

fn holds_embedded_pem(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = find(rest, EMBEDDED_BEGIN) {
        let run = rest[at..].iter().take(80).take_while(|octet| octet.is_ascii_alphanumeric() || b"+/".contains(octet));
        let text: Vec<u8> = run.copied().collect();
        let whole = &text[..text.len() / 4 * 4];
        if STANDARD.decode(whole).is_ok_and(|decoded| holds_private_pem(&decoded)) {
            return true;
        }
        rest = &rest[at + EMBEDDED_BEGIN.len()..];
    }
    false
}

/// Looks at the first two members of an outer SEQUENCE, as strictly as needed to tell keys from anything
/// else: `0|1, SEQUENCE` is PKCS#8, `0, INTEGER` PKCS#1, `1, OCTET STRING` SEC1, `SEQUENCE, OCTET STRING`
/// encrypted PKCS#8 (a certificate or request goes on otherwise).
pub(super) fn is_private_der(bytes: &[u8]) -> bool {
    let Ok(outer) = AnyRef::from_der(bytes) else { return false };
    if outer.tag() != Tag::Sequence {
        return false;
    }
    let Ok((first, rest)) = AnyRef::from_der_partial(outer.value()) else { return false };
    let Ok((second, rest)) = AnyRef::from_der_partial(rest) else { return false };
    match (first.tag(), first.value(), second.tag()) {
        (Tag::Integer, [0 | 1], Tag::Sequence) => {
            AnyRef::from_der_partial(rest).is_ok_and(|(third, _)| third.tag() == Tag::OctetString)
        }
        (Tag::Integer, [0], Tag::Integer) => !rest.is_empty(),
        (Tag::Integer, [1], Tag::OctetString) => true,
        (Tag::Sequence, _, Tag::OctetString) => rest.is_empty(),
        _ => false,
    }
}

/// Whether `bytes` are PKCS#12 (RFC 7292, 4): version 3, then the content.
pub(super) fn is_pkcs12(bytes: &[u8]) -> bool {
    let Ok(outer) = AnyRef::from_der(bytes) else { return false };
    let Ok((version, rest)) = AnyRef::from_der_partial(outer.value()) else { return false };
    let content = AnyRef::from_der_partial(rest);
    version.tag() == Tag::Integer
        && version.value() == [3]
        && content.is_ok_and(|(content, _)| content.tag() == Tag::Sequence)
}

/// Whether what `is_private_der` takes for a key is one that a passphrase protects (RFC 5958, 3).
pub(super) fn is_encrypted_der(bytes: &[u8]) -> bool {
    let members = AnyRef::from_der(bytes).map_or(&[][..], |outer| outer.value());
    AnyRef::from_der_partial(members).is_ok_and(|(first, _)| first.tag() == Tag::Sequence)
}

/// Whether what `is_private_der` takes for a key is PKCS#8: an algorithm follows its version.
pub(super) fn is_pkcs8(bytes: &[u8]) -> bool {
    let members = AnyRef::from_der(bytes).map_or(&[][..], |outer| outer.value());
    let second = AnyRef::from_der_partial(members).and_then(|(_, rest)| AnyRef::from_der_partial(rest));
    second.is_ok_and(|(second, _)| second.tag() == Tag::Sequence)
}

/// The first value of `bytes`, with its header.
pub(super) fn first_value(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = AnyRef::from_der_partial(bytes).ok()?;
    Some(&bytes[..bytes.len() - rest.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Rng;
    use crate::model::Algorithm;
    use crate::pki::PrivateKey;

    fn sample() -> (Vec<u8>, String) {
        let der = [&[0x30, 99][..], &[7; 99]].concat();
        let pem = String::from_utf8(certificate_pem(&der)).unwrap();
        (der, pem)
    }

    #[test]
    fn a_block_has_one_form() {
        let (der, pem) = sample();
        assert_eq!(parse_pem(pem.as_bytes(), "CERTIFICATE").unwrap(), der);
        let joined = pem.replacen('\n', "\u{1}", 1).replacen("\n", "", 1).replacen('\u{1}', "\n", 1);
        for bad in [
            pem.replace('\n', "\r\n"),
            pem.trim_end().to_owned(),
            format!("{pem}\n"),
            format!("\n{pem}"),
            format!("subject=x\n{pem}"),
            pem.repeat(2),
            joined,
            pem.replace("CERTIFICATE", "X509 CERTIFICATE"),
            pem.replace("-----\n", "----- \n"),
            pem.replace('=', ""),
            format!("\u{feff}{pem}"),
            String::new(),
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
        ] {
            assert!(parse_pem(bad.as_bytes(), "CERTIFICATE").is_err(), "{bad}");
        }
        assert!(parse_pem(&certificate_pem(&[0x30, 1]), "CERTIFICATE").is_err(), "length beyond the end");
        assert!(parse_pem(&certificate_pem(&[0x30, 0, 0]), "CERTIFICATE").is_err(), "trailing octet");
        assert!(parse_pem(&certificate_pem(&[0x31, 0]), "CERTIFICATE").is_err(), "no SEQUENCE");
        assert_eq!(count_pem_blocks(pem.repeat(3).as_bytes(), "CERTIFICATE"), 3);
    }

    #[test]
    fn private_keys_are_seen_in_every_disguise() {
        for algorithm in [Algorithm::Rsa2048, Algorithm::EcdsaP256] {
            let key = PrivateKey::generate(algorithm, &mut Rng::seeded([2; 32]));
            let traditional = key.to_traditional_pem();
            let label = if algorithm == Algorithm::Rsa2048 { "RSA PRIVATE KEY" } else { "EC PRIVATE KEY" };
            assert!(holds_private_key(key.to_pkcs8().expose()));
            assert!(holds_private_key(parse_secret_pem(&traditional, label).unwrap().expose()));
            assert!(holds_private_key(key.to_pkcs8_pem().expose()));
            assert!(holds_private_key(traditional.expose()));
            let kubeconfig = format!("client-key-data: {}\n", STANDARD.encode(traditional.expose()));
            assert!(holds_private_key(kubeconfig.as_bytes()));
            assert!(!holds_private_key(&key.spki()));
            assert!(!holds_private_key(&public_pem(&key.spki())));
        }
        assert!(holds_private_key(b"x\n-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        assert!(holds_private_key(b"-----BEGIN KLUIS SYMMETRIC KEY-----\n"));
        for harmless in
            [&b""[..], b"-----BEGIN ", b"-----BEGIN PGP MESSAGE-----\n", b"LS0tLS1CRUdJTi", &[0x30, 0], &[0x30, 0x80]]
        {
            assert!(!holds_private_key(harmless));
        }
    }

    #[test]
    fn a_service_account_key_is_one_strict_public_key() {
        let key = PrivateKey::generate(Algorithm::EcdsaP256, &mut Rng::seeded([3; 32]));
        assert_eq!(service_account_public(&public_pem(&key.spki())).unwrap(), key.spki());
        let longer = [key.spki(), vec![0]].concat();
        assert!(service_account_public(&public_pem(&longer)).is_err());
        assert!(service_account_public(&public_pem(&key.spki()[2..])).is_err());
        assert!(service_account_public(key.to_pkcs8_pem().expose()).is_err());
    }
}
