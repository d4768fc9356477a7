//! The files of an export as they are collected, each with its mode. Knows forms and modes, not layouts.

use crate::model::Digest;
use crate::pki;
use crate::secret::Secret;

use super::{ExportError, ExportFile};

/// Certificates and manifests: public.
const PUBLIC: u32 = 0o644;
/// Keys, kubeconfigs, encryption keys; and public keys, as kubeadm has them (kubernetes-pki A.0).
const PRIVATE: u32 = 0o600;

/// What the other files hash to, in the form of `sha256sum`.
const SUMS: &str = "SHA256SUMS";

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

    /// A secret file with the mode that its distribution gives it.
    pub(super) fn secret_of(&mut self, path: impl Into<String>, mode: u32, content: Secret) {
        self.add(path, mode, content);
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

    /// The files, sorted by path, and last a list of what all of them hash to: on the node it tells a key that is cut or
    /// left from another export, which no public hash tells.
    ///
    /// It gives no key away. Nobody finds 128 and more random bits by their SHA-256; and who reads the list, 0600 beside the
    /// keys, reads the keys. It does tell whether two exports have the same key, so it is no more to be published than they are.
    pub(super) fn finish_with_sums(self) -> Vec<ExportFile> {
        let mut files = self.finish();
        let line = |file: &ExportFile| format!("{}  {}\n", Digest::of(file.content.expose()), file.path);
        let sums: String = files.iter().map(line).collect();
        files.push(ExportFile { path: SUMS.to_owned(), mode: PRIVATE, content: Secret::new(sums.into_bytes()) });
        files
    }
}

/// Serialises `value` for the file `path`. `size` is what to reserve, so that the buffer does not grow and
/// leave a copy of a key behind; what the YAML library keeps of it while writing, the zeroing allocator wipes.
pub(super) fn yaml<T: serde::Serialize>(path: &str, value: &T, size: usize) -> Result<Secret, ExportError> {
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(size));
    serde_yaml_ng::to_writer(&mut *bytes, value).map_err(|_| ExportError::Yaml { path: path.to_owned() })?;
    Ok(Secret::from(bytes))
}
