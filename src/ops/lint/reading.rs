//! A file's bytes as what `lint` judges: this is where keys stay behind, as soon as the file was read. What is neither PEM,
//! DER, a kubeconfig, an EncryptionConfiguration nor the manifest of an API server is nothing.

use crate::export::outline::{self, Access, Encrypted, Provider};
use crate::lint::{self, Content, File, Role, Scene, role_of};
use crate::model::Keyset;
use crate::pki::{Material, SeenKey};
use crate::secret::Secret;

/// The largest YAML that is read: no kubeconfig comes near it, and a reader of YAML needs a multiple of it.
const LARGEST_YAML: usize = 1 << 20;

/// What a file is, with nothing secret in it.
pub(super) enum Parsed {
    /// Certificates and keys.
    Material(Material),
    /// A kubeconfig, or why it is none.
    Kubeconfig(Result<Vec<ParsedAccess>, String>),
    /// An EncryptionConfiguration, or why it is none.
    Encryption(Result<Vec<lint::Encrypted>, String>),
    /// The manifest of an API server.
    Manifest(String),
    /// Nothing of interest.
    Nothing,
}

/// A cluster and a user of a kubeconfig.
pub(super) struct ParsedAccess {
    server: String,
    skips_verification: bool,
    names_files: bool,
    authorities: Material,
    client: Material,
    key: Option<SeenKey>,
}

impl Parsed {
    /// Parses a file.
    pub(super) fn of(bytes: &Secret) -> Self {
        let bytes_of = bytes.expose();
        let has = |word: &str| bytes_of.windows(word.len()).any(|window| window == word.as_bytes());
        let begin = &bytes_of[..bytes.len().min(4096)];
        let is_pem = begin.first() == Some(&0x30) || begin.windows(11).any(|window| window == b"-----BEGIN ");
        if !is_pem && bytes.len() <= LARGEST_YAML {
            if has("clusters") && has("users") && has("server") {
                let accesses = outline::accesses(bytes).map_err(|error| format!("it is no kubeconfig: {error}"));
                return Self::Kubeconfig(accesses.map(|all| all.iter().map(ParsedAccess::of).collect()));
            }
            if has("EncryptionConfig") {
                let entries = outline::encryption(bytes);
                let entries = entries.map_err(|error| format!("it is no EncryptionConfiguration: {error}"));
                return Self::Encryption(entries.map(|all| all.into_iter().map(entry).collect()));
            }
            if has("--service-cluster-ip-range=") || has("--advertise-address=") {
                return Self::Manifest(String::from_utf8_lossy(bytes_of).into_owned());
            }
        }
        let material = Material::read(bytes_of);
        if material.is_empty() { Self::Nothing } else { Self::Material(material) }
    }

    /// Whether it has a private key, so that it matters who may read the file.
    pub(super) fn has_key(&self) -> bool {
        match self {
            Self::Material(material) => !material.keys.is_empty(),
            Self::Kubeconfig(Ok(accesses)) => accesses.iter().any(|access| access.key.is_some()),
            _ => false,
        }
    }

    /// Puts it into `scene` as `file`.
    pub(super) fn place(self, scene: &mut Scene, mut file: File) {
        match self {
            Self::Material(material) => return scene.take(file, material),
            Self::Kubeconfig(Ok(accesses)) => {
                let begin = scene.certificates.len();
                let accesses = accesses.into_iter().map(|one| one.place(scene, &mut file)).collect();
                file.content = Content::Kubeconfig(accesses);
                file.certificates = begin..scene.certificates.len();
            }
            Self::Encryption(Ok(entries)) => file.content = Content::Encryption(entries),
            Self::Kubeconfig(Err(why)) | Self::Encryption(Err(why)) => file.unreadable.push(why),
            Self::Manifest(_) | Self::Nothing => return,
        }
        scene.files.push(file);
    }
}

fn entry(one: Encrypted) -> lint::Encrypted {
    let provider = |one: Provider| lint::Provider { kind: one.kind, keys: one.keys };
    lint::Encrypted { resources: one.resources, providers: one.providers.into_iter().map(provider).collect() }
}

impl ParsedAccess {
    fn of(one: &Access) -> Self {
        Self {
            server: one.server.clone(),
            skips_verification: one.skips_verification,
            names_files: one.names_files,
            authorities: Material::read(&one.authorities),
            client: Material::read(&one.certificate),
            key: one.key.as_ref().and_then(|key| Material::read(key.expose()).keys.into_iter().next()),
        }
    }

    fn place(self, scene: &mut Scene, file: &mut File) -> lint::Access {
        const AUTHORITIES: &str = "certificate-authority-data: ";
        const CLIENT: &str = "client-certificate-data: ";
        for (field, material) in [(AUTHORITIES, &self.authorities), (CLIENT, &self.client)] {
            file.unreadable.extend(material.unreadable.iter().map(|why| format!("{field}{why}")));
        }
        let first = scene.certificates.len();
        for seen in self.authorities.certificates {
            scene.add(AUTHORITIES.to_owned(), Role::Authority(Some(Keyset::Kubernetes)), seen);
        }
        let authorities = first..scene.certificates.len();
        let client = self.client.certificates.into_iter().next().map(|seen| {
            let role = file.what.leaf().unwrap_or_else(|| role_of(&seen));
            scene.add(CLIENT.to_owned(), role, seen)
        });
        lint::Access {
            server: self.server,
            skips_verification: self.skips_verification,
            names_files: self.names_files,
            authorities,
            client,
            key: self.key,
        }
    }
}
