//! Files of others, read with patience: PEM blocks of any line length and line end, text around and between them, bundles,
//! DER. What can't be read is named, never a failure. Private keys leave only as their public half (`halves`); what was
//! decoded of them is wiped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::halves::{SeenKey, rsa_public};
use super::pem;
use super::seen::Seen;
use crate::model::displayed;

/// What a file has for a reader of certificates and keys, in its order.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// Certificates.
    pub certificates: Vec<Seen>,
    /// Private keys, without the keys.
    pub keys: Vec<SeenKey>,
    /// SubjectPublicKeyInfo DER of public keys.
    pub public_keys: Vec<Vec<u8>>,
    /// Blocks that can't be read, each with the reason, as clauses.
    pub unreadable: Vec<String>,
    /// How many blocks there are of other kinds: requests, parameters.
    pub others: usize,
    /// Whether a block has header lines inside (RFC 1421), as OpenSSL writes them above encrypted keys.
    pub has_headers: bool,
}

/// One block of a PEM file, well-formed as far as its lines go.
pub(super) struct Block {
    /// Which one of the file it is, from 1.
    pub number: usize,
    pub label: String,
    headers: Vec<String>,
    base64: Zeroizing<Vec<u8>>,
}

impl Block {
    /// Whether its content can't be read without a passphrase.
    pub(super) fn is_encrypted(&self) -> bool {
        self.label == "ENCRYPTED PRIVATE KEY" || self.headers.iter().any(|header| header.contains("ENCRYPTED"))
    }

    /// The content, if it is base64.
    pub(super) fn der(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut der = Zeroizing::new(vec![0; self.base64.len().div_ceil(4) * 3]);
        let length = STANDARD.decode_slice(self.base64.as_slice(), &mut der).ok()?;
        der.truncate(length);
        Some(der)
    }
}

/// Whether a file is one value in DER.
pub(super) fn is_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30) && !bytes.windows(11).any(|window| window == b"-----BEGIN ")
}

/// The blocks of a file, whatever is around them, and what is wrong with others, as clauses.
pub(super) fn blocks(bytes: &[u8]) -> (Vec<Block>, Vec<String>) {
    let (mut blocks, mut faults) = (Vec::new(), Vec::new());
    let mut open: Option<Block> = None;
    let mut number = 0;
    for line in bytes.split(|octet| *octet == b'\n') {
        let line = line.trim_ascii();
        if let Some(label) = marker(line, b"-----BEGIN ") {
            if let Some(block) = open.take() {
                faults.push(format!("block {number} ({}) has no end", block.label));
            }
            number += 1;
            // Large enough from the start: a buffer that grows leaves copies of a key behind.
            let base64 = Zeroizing::new(Vec::with_capacity(if label.ends_with("PRIVATE KEY") { 16_384 } else { 2048 }));
            open = Some(Block { number, label, headers: Vec::new(), base64 });
        } else if let Some(label) = marker(line, b"-----END ") {
            match open.take() {
                Some(block) if block.label == label => blocks.push(block),
                Some(block) => faults.push(format!("block {number} begins as {} and ends as {label}", block.label)),
                None => faults.push(format!("a block {label} ends that never began")),
            }
        } else if let Some(block) = &mut open {
            if line.contains(&b':') {
                block.headers.push(displayed(&String::from_utf8_lossy(line)));
            } else {
                block.base64.extend(line.iter().filter(|octet| !octet.is_ascii_whitespace()));
            }
        }
    }
    if let Some(block) = open {
        faults.push(format!("block {number} ({}) has no end", block.label));
    }
    (blocks, faults)
}

impl Material {
    /// Reads a file.
    pub fn read(bytes: &[u8]) -> Self {
        let mut material = Self::default();
        if is_der(bytes) {
            material.take_der(bytes);
            return material;
        }
        let (blocks, faults) = blocks(bytes);
        material.unreadable = faults;
        blocks.iter().for_each(|block| material.take(block));
        material
    }

    /// Whether there is nothing in it, readable or not.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
            && self.keys.is_empty()
            && self.public_keys.is_empty()
            && self.unreadable.is_empty()
            && self.others == 0
    }

    fn take(&mut self, block: &Block) {
        let (label, number) = (block.label.as_str(), block.number);
        let is_certificate = is_certificate(label);
        let is_key = label.ends_with("PRIVATE KEY");
        if !is_certificate && !is_key && !matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY") {
            self.others += 1;
            return;
        }
        self.has_headers |= !block.headers.is_empty();
        let Some(der) = block.der() else {
            self.unreadable.push(format!("block {number} ({label}) is not base64"));
            return;
        };
        let der = der.as_slice();
        match label {
            _ if is_key => self.keys.push(SeenKey::read(label, block.is_encrypted(), der)),
            "PUBLIC KEY" => self.public_keys.push(der.to_vec()),
            "RSA PUBLIC KEY" => self.public_keys.push(rsa_public(der)),
            // OpenSSL's own form has what it is trusted for behind the certificate.
            "TRUSTED CERTIFICATE" => self.take_certificate(number, pem::first_value(der).unwrap_or(der)),
            _ => self.take_certificate(number, der),
        }
    }

    fn take_certificate(&mut self, number: usize, der: &[u8]) {
        match Seen::read(der) {
            Ok(seen) => self.certificates.push(seen),
            Err(why) => self.unreadable.push(format!("block {number} is no certificate: {why}")),
        }
    }

    fn take_der(&mut self, der: &[u8]) {
        if pem::is_private_der(der) {
            let label = if pem::is_pkcs8(der) { "PRIVATE KEY" } else { "RSA PRIVATE KEY" };
            let mut key = SeenKey::read(label, false, der);
            if key.spki.is_none() && label != "PRIVATE KEY" {
                key = SeenKey::read("EC PRIVATE KEY", false, der);
            }
            self.keys.push(key);
            return;
        }
        match Seen::read(der) {
            Ok(seen) => self.certificates.push(seen),
            Err(why) => self.unreadable.push(format!("it is DER, and no certificate: {why}")),
        }
    }
}

/// Whether blocks of this label hold a certificate; the last is OpenSSL's own form.
pub(super) fn is_certificate(label: &str) -> bool {
    matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE")
}

/// The label of a line that begins or ends a block.
fn marker(line: &[u8], word: &[u8]) -> Option<String> {
    let label = line.strip_prefix(word)?.strip_suffix(b"-----")?;
    Some(displayed(&String::from_utf8_lossy(label)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Rng;
    use crate::model::{Algorithm, Span, Time};
    use crate::pki::{CaSpec, PrivateKey, Validity, certificate_pem, issue_ca};

    fn certificate() -> String {
        let key = PrivateKey::generate(Algorithm::EcdsaP256, &mut Rng::seeded([4; 32]));
        let not_before = Time::parse("2026-11-20T18:00:00Z").unwrap();
        let validity = Validity { not_before, not_after: not_before.plus(Span::days(30)) };
        let spec = CaSpec { common_name: "a", validity, name_constraints: None };
        String::from_utf8(certificate_pem(&issue_ca(&key, &spec, &mut Rng::seeded([5; 32])))).unwrap()
    }

    #[test]
    fn certificates_are_found_in_every_dress() {
        let pem = certificate();
        for text in [
            pem.clone(),
            pem.replace('\n', "\r\n"),
            format!("depth=0 CN = a\n---\n{pem}---\nno client certificate"),
            pem.lines().map(|line| format!("    {line}  \n")).collect(),
            pem.replace("CERTIFICATE", "X509 CERTIFICATE"),
            pem.trim_end().to_owned(),
            format!("-----BEGIN EC PARAMETERS-----\nBggq\n-----END EC PARAMETERS-----\n{pem}"),
        ] {
            let material = Material::read(text.as_bytes());
            assert_eq!((material.certificates.len(), material.unreadable.as_slice()), (1, &[][..]), "{text}");
        }
        assert_eq!(Material::read(pem.repeat(3).as_bytes()).certificates.len(), 3);
    }

    #[test]
    fn what_can_not_be_read_is_named_and_the_rest_is_read() {
        let pem = certificate();
        let (begin, end) = ("-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n");
        for broken in [
            format!("{begin}MAA=\n{end}"),
            format!("{begin}!!!!\n{end}"),
            begin.to_owned(),
            end.to_owned(),
            format!("{begin}-----END PRIVATE KEY-----\n"),
        ] {
            let material = Material::read(format!("{broken}{pem}").as_bytes());
            assert_eq!((material.certificates.len(), material.unreadable.len()), (1, 1), "{broken}");
        }
        assert!(Material::read(b"hello").is_empty());
        assert!(!Material::read(&[0x30, 0]).is_empty());
    }

    #[test]
    fn keys_are_told_by_their_public_half_alone() {
        let key = PrivateKey::generate(Algorithm::EcdsaP256, &mut Rng::seeded([7; 32]));
        let seen = |bytes: &[u8]| Material::read(bytes).keys.remove(0);
        for bytes in [key.to_pkcs8_pem(), key.to_traditional_pem(), key.to_pkcs8()] {
            assert_eq!(seen(bytes.expose()).spki, Some(key.spki()));
        }
        let text = String::from_utf8(key.to_traditional_pem().expose().to_vec()).unwrap();
        let encrypted = text.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1);
        let material = Material::read(encrypted.as_bytes());
        assert!(material.has_headers && material.keys[0].encrypted && material.keys[0].spki.is_none());
    }
}
