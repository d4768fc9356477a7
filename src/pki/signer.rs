//! Lends our keys to rcgen, which so never sees a private key. `rcgen::KeyPair` does not wipe its own.

use std::cell::RefCell;

use super::key::PrivateKey;
use super::signature::{key_identifier, subject_public_key};
use crate::env::Rng;
use crate::model::Algorithm;

pub(super) struct Signer<'a> {
    key: &'a PrivateKey,
    bits: Vec<u8>,
    // rcgen signs through a shared reference, and our signing takes random numbers.
    rng: RefCell<&'a mut Rng>,
}

impl<'a> Signer<'a> {
    pub(super) fn new(key: &'a PrivateKey, rng: &'a mut Rng) -> Self {
        let bits = subject_public_key(&key.spki()).expect("our own SubjectPublicKeyInfo is well-formed");
        Self { key, bits, rng: RefCell::new(rng) }
    }

    pub(super) fn key_identifier(&self) -> Vec<u8> {
        key_identifier(&self.bits)
    }

    pub(super) fn sign_repeatably(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign_repeatably(message, &mut self.rng.borrow_mut())
    }
}

impl rcgen::PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.key.algorithm() {
            Some(Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096) => &rcgen::PKCS_RSA_SHA256,
            Some(Algorithm::EcdsaP256) => &rcgen::PKCS_ECDSA_P256_SHA256,
            Some(Algorithm::EcdsaP384) => &rcgen::PKCS_ECDSA_P384_SHA384,
            None => &rcgen::PKCS_ED25519,
        }
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign(message, &mut self.rng.borrow_mut()))
    }
}
