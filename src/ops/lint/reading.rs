//! A file's bytes as what `lint` judges: this is where keys stay behind. What is neither PEM, DER, a kubeconfig nor an
//! EncryptionConfiguration is nothing.

use crate::export::outline::{self, Access, Encrypted, Provider};
use crate::lint::{self, Content, File, Role, Scene, What, role_of};
use crate::model::Keyset;
use crate::pki::Material;
use crate::secret::Secret;

/// The largest YAML that is read: no kubeconfig comes near it, and a reader of YAML needs a multiple of it.
const LARGEST_YAML: usize = 1 << 20;

/// Reads `bytes` into `scene` as `file`. Whether there was anything of interest in it.
pub(super) fn read(scene: &mut Scene, mut file: File, bytes: &Secret) -> bool {
    let has = |word: &str| bytes.expose().windows(word.len()).any(|window| window == word.as_bytes());
    let begins = bytes.expose().iter().take(4096).copied().collect::<Vec<u8>>();
    let is_pem = bytes.expose().first() == Some(&0x30) || begins.windows(11).any(|window| window == b"-----BEGIN ");
    if !is_pem && bytes.len() <= LARGEST_YAML {
        if has("clusters") && has("users") && has("server") {
            return read_kubeconfig(scene, file, bytes);
        }
        if has("EncryptionConfig") {
            match outline::encryption(bytes) {
                Ok(entries) => file.content = Content::Encryption(entries.into_iter().map(entry).collect()),
                Err(error) => file.unreadable.push(format!("it is no EncryptionConfiguration: {error}")),
            }
            scene.files.push(file);
            return true;
        }
    }
    let material = Material::read(bytes.expose());
    if material.is_empty() {
        return false;
    }
    scene.take(file, material);
    true
}

fn entry(one: Encrypted) -> lint::Encrypted {
    let provider = |one: Provider| lint::Provider { kind: one.kind, keys: one.keys };
    lint::Encrypted { resources: one.resources, providers: one.providers.into_iter().map(provider).collect() }
}

fn read_kubeconfig(scene: &mut Scene, mut file: File, bytes: &Secret) -> bool {
    let begin = scene.certificates.len();
    match outline::accesses(bytes) {
        Ok(accesses) => {
            let accesses = accesses.iter().map(|one| access(scene, &mut file, one)).collect();
            file.content = Content::Kubeconfig(accesses);
        }
        Err(error) => file.unreadable.push(format!("it is no kubeconfig: {error}")),
    }
    file.certificates = begin..scene.certificates.len();
    scene.files.push(file);
    true
}

fn access(scene: &mut Scene, file: &mut File, one: &Access) -> lint::Access {
    let mut material = |bytes: &[u8], field: &str| {
        let material = Material::read(bytes);
        file.unreadable.extend(material.unreadable.iter().map(|why| format!("{field}: {why}")));
        material
    };
    let authorities = material(&one.authorities, "certificate-authority-data").certificates;
    let first = scene.certificates.len();
    for seen in authorities {
        scene.add("certificate-authority-data: ".to_owned(), Role::Authority(Some(Keyset::Kubernetes)), seen);
    }
    let authorities = first..scene.certificates.len();
    let certificates = material(&one.certificate, "client-certificate-data").certificates;
    let client = certificates.into_iter().next().map(|seen| {
        let role = file.what.leaf().unwrap_or_else(|| role_of(&seen));
        scene.add("client-certificate-data: ".to_owned(), role, seen)
    });
    let key = one.key.as_ref().and_then(|key| Material::read(key.expose()).keys.into_iter().next());
    lint::Access {
        server: one.server.clone(),
        skips_verification: one.skips_verification,
        names_files: one.names_files,
        authorities,
        client,
        key,
    }
}

/// A file at a path that a person named, of which nothing is known but its name.
pub(super) fn loose(path: &str, mode: Option<u32>) -> File {
    File { mode, ..File::new(path, path, What::Other) }
}
