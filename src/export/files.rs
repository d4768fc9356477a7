//! The files of an export as they are collected, each with its mode. Knows forms and modes, not layouts.

use crate::pki;
use crate::secret::Secret;

use super::{ExportError, ExportFile};

/// Certificates and manifests: public.
const PUBLIC: u32 = 0o644;
/// Keys, kubeconfigs, encryption keys; and public keys, as kubeadm has them (kubernetes-pki A.0).
const PRIVATE: u32 = 0o600;

#[derive(Default)]
pub(super) struct Files(Vec<ExportFile>);

impl Files {
    fn add(&mut self, path: impl Into<String>, mode: u32, content: Secret) {
        self.0.push(ExportFile { path: path.into(), mode, content });
    }

    /// A secret file.
    pub(super) fn secret(&mut self, path: impl Into<String>, content: Secret) {
        self.add(path, PRIVATE, content);
    }

    /// Certificates as PEM.
    pub(super) fn certificates(&mut self, path: impl Into<String>, pem: Vec<u8>) {
        self.add(path, PUBLIC, Secret::new(pem));
    }

    /// Public keys, one PEM block each in the given order.
    pub(super) fn public_keys(&mut self, path: impl Into<String>, spkis: &[Vec<u8>]) {
        let pem = spkis.iter().flat_map(|spki| pki::public_pem(spki)).collect();
        self.add(path, PRIVATE, Secret::new(pem));
    }

    /// A manifest without any secret.
    pub(super) fn manifest(&mut self, path: impl Into<String>, content: Secret) {
        self.add(path, PUBLIC, content);
    }

    /// The files, sorted by path.
    pub(super) fn finish(mut self) -> Vec<ExportFile> {
        self.0.sort_by(|a, b| a.path.cmp(&b.path));
        self.0
    }
}

/// Serialises `value` for the file `path`. `size` is what to reserve, so that the buffer does not grow and
/// leave a copy of a key behind; what the YAML library keeps of it while writing, the zeroing allocator wipes.
pub(super) fn yaml<T: serde::Serialize>(path: &str, value: &T, size: usize) -> Result<Secret, ExportError> {
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(size));
    serde_yaml_ng::to_writer(&mut *bytes, value).map_err(|_| ExportError::Yaml { path: path.to_owned() })?;
    Ok(Secret::from(bytes))
}
