//! Material of clusters that run already, read to be adopted: bytes of files in, and out what a cluster of the repository is
//! made from, with a line on every file and item. Pure: no disk, no clock, nothing is sealed or decided here.
//!
//! Every source is brought into one form, parts that say what they are for (`part`), by a reader of its own (`folder`,
//! `talos`, `kops`, `secrets`, `loose`); what belongs together is found in one place (`assemble`). What is half readable is
//! refused whole: a key that was passed over would be missing when somebody needs it.

mod archive;
mod assemble;
mod encryption;
mod error;
mod folder;
mod kops;
mod loose;
mod part;
mod secrets;
mod source;
mod surroundings;
mod talos;

use std::collections::BTreeMap;

use serde::Serialize;

pub use error::ImportError;

use crate::model::{Cidr, Distribution, Host, Keyset, KubernetesVersion, Profile, Time};
use crate::pki::PrivateKey;
use crate::secret::Secret;

/// The largest sum of files that is read, in bytes, and the largest document.
pub const LARGEST: usize = 32 << 20;

/// The most files that are looked at.
pub const MOST_FILES: usize = 4096;

/// A file that was read.
pub struct File {
    /// Its path below the folder that was named, with `/` between its parts; `stdin` for standard input.
    pub path: String,
    /// Its bytes.
    pub bytes: Secret,
}

/// All that was read.
#[derive(Default)]
pub struct Files {
    /// Regular files.
    pub files: Vec<File>,
    /// What is no regular file, in words: `a symbolic link`.
    pub others: Vec<(String, &'static str)>,
}

/// Where material comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// `/etc/kubernetes` of kubeadm, or its `pki`.
    Kubeadm,
    /// `server/tls` of k3s or RKE2.
    K3s,
    /// `/var/lib/k0s/pki`.
    K0s,
    /// Talos' `secrets.yaml`.
    TalosSecrets,
    /// A machine configuration of a Talos control-plane node.
    TalosConfig,
    /// A kops state store.
    Kops,
    /// Secrets of Cluster API.
    ClusterApi,
    /// PEM and DER files.
    Pem,
}

impl Source {
    /// What it is, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Kubeadm => "a kubeadm directory",
            Self::K3s => "server/tls of k3s or RKE2",
            Self::K0s => "pki of k0s",
            Self::TalosSecrets => "Talos' secrets.yaml",
            Self::TalosConfig => "a Talos machine configuration",
            Self::Kops => "a kops state store",
            Self::ClusterApi => "Secrets of Cluster API",
            Self::Pem => "PEM files",
        }
    }

    /// The tool that made it, for the reason on record.
    pub fn tool(self) -> &'static str {
        match self {
            Self::Kubeadm => "kubeadm",
            Self::K3s => "k3s or RKE2",
            Self::K0s => "k0s",
            Self::TalosSecrets | Self::TalosConfig => "Talos",
            Self::Kops => "kops",
            Self::ClusterApi => "Cluster API",
            Self::Pem => "plain PEM files",
        }
    }
}

/// What happened to a file or item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It becomes part of the repository.
    Taken,
    /// Something was learned from it.
    Derived,
    /// It stays where it is.
    Left,
}

impl Outcome {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Derived => "derived",
            Self::Left => "left alone",
        }
    }
}

/// One file or item, and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Item {
    /// What happened.
    pub outcome: Outcome,
    /// Its path, and behind `#` its name in there.
    pub name: String,
    /// What it is, or why it is left alone.
    pub what: String,
}

/// An authority.
pub struct Authority {
    /// Its certificate (DER).
    pub certificate: Vec<u8>,
    /// Its key; none where it is kept elsewhere.
    pub key: Option<PrivateKey>,
}

/// The key of service-account tokens.
pub struct ServiceAccount {
    /// Its public key (SPKI DER).
    pub public: Vec<u8>,
    /// Its private key; none where tokens are signed elsewhere.
    pub key: Option<PrivateKey>,
}

/// A leaf certificate of the node that the files are from, with its key.
pub struct Leaf {
    /// The certificate (DER).
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: PrivateKey,
    /// The names of the items that the certificate and the key are from.
    pub names: [String; 2],
}

/// What was learned of a cluster beside its keys. Nothing of it is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The URL of the API.
    pub endpoint: Option<String>,
    /// The version of Kubernetes.
    pub kubernetes: Option<KubernetesVersion>,
    /// The DNS domain of services.
    pub dns_domain: Option<Host>,
    /// The ranges of service addresses.
    pub service_cidrs: Vec<Cidr>,
    /// Names and addresses in the API server's certificate.
    pub served: Vec<Host>,
    /// The name of the node that the files are from.
    pub node: Option<String>,
}

/// What was found.
pub struct Found {
    /// Where.
    pub source: Source,
    /// The authorities.
    pub authorities: BTreeMap<Keyset, Authority>,
    /// The key of service-account tokens.
    pub service_account: Option<ServiceAccount>,
    /// The key of encryption at rest, 32 bytes.
    pub encryption: Option<Secret>,
    /// Join secrets, by name.
    pub tokens: BTreeMap<String, Secret>,
    /// Leaf certificates of the node.
    pub leaves: BTreeMap<Profile, Leaf>,
    /// What was learned beside.
    pub surroundings: Surroundings,
    /// Every file and item.
    pub items: Vec<Item>,
}

impl Found {
    /// Says that something is taken.
    pub(crate) fn taken(&mut self, name: &str, what: impl Into<String>) {
        self.say(Outcome::Taken, name, what);
    }

    /// Says that something is left alone, and why.
    pub(crate) fn left(&mut self, name: &str, why: impl Into<String>) {
        self.say(Outcome::Left, name, why);
    }

    /// Says what was learned beside the keys, and from what.
    pub(crate) fn derived(&mut self, name: &str, what: impl Into<String>) {
        self.say(Outcome::Derived, name, what);
        self.items.sort();
    }

    fn say(&mut self, outcome: Outcome, name: &str, what: impl Into<String>) {
        self.items.push(Item { outcome, name: name.to_owned(), what: what.into() });
    }

    /// Takes back that a leaf is taken, and says why.
    pub fn leave(&mut self, profile: Profile, why: String) {
        let Some(leaf) = self.leaves.remove(&profile) else { return };
        self.items.retain(|item| item.outcome != Outcome::Taken || !leaf.names.contains(&item.name));
        let [certificate, key] = &leaf.names;
        self.left(certificate, why);
        if key != certificate {
            self.left(key, format!("the key of {certificate}"));
        }
        self.items.sort();
    }
}

/// Reads material of a cluster of `distribution`. Fails whole on what is half readable, with the item and the reason.
pub fn read(files: Files, distribution: Distribution, now: Time) -> Result<Found, ImportError> {
    let parts = source::parts(files, distribution)?;
    let mut found = assemble::assemble(parts, now)?;
    // Half of a cluster's CAs is no cluster: what was cut off would be missed when it is needed, and can't be added later. An
    // etcd that is somebody else's, and no aggregation, are nothing unusual where leaves are made elsewhere.
    let needed = distribution.keysets().iter().filter(|keyset| keyset.is_ca());
    let needed = needed.filter(|keyset| distribution.makes_leaves() || **keyset == Keyset::Kubernetes);
    for keyset in needed {
        if !found.authorities.contains_key(keyset) {
            let what =
                format!("there is no certificate of the CA {keyset} in it, which every cluster of {distribution} has");
            return Err(ImportError::Nothing(what));
        }
    }
    found.items.sort();
    found.items.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests;
