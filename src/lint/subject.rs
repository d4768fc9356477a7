//! What is judged: the files of one place, the certificates in them, and what is known beside. Public facts alone: of a
//! private key there is its public half, its label and the mode of its file.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;

use super::recognise::{Layout, What, role_of};
use crate::model::{ClusterName, Host, KeyUse, Keyset, Profile, Remedy, Span, State, Time};
use crate::pki::{Material, Seen, SeenKey, SeenName};

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A CA certificate, of a keyset if that is known.
    Authority(Option<Keyset>),
    /// A leaf of this profile.
    Leaf(Profile),
    /// kubeadm's super-admin.conf.
    SuperAdmin,
    /// A leaf that serves; nobody says as what.
    Server,
    /// A leaf that calls; nobody says as what.
    Client,
    /// A leaf that says nothing of its use.
    Unknown,
}

impl Role {
    /// Whether it is a CA certificate.
    pub fn is_authority(self) -> bool {
        matches!(self, Self::Authority(_))
    }

    /// Whether servers show it.
    pub fn serves(self) -> bool {
        match self {
            Self::Leaf(profile) => profile.key_use() != KeyUse::Client,
            role => role == Self::Server,
        }
    }

    /// Whether it does nothing but call.
    pub fn only_calls(self) -> bool {
        match self {
            Self::Leaf(profile) => profile.key_use() == KeyUse::Client,
            role => matches!(role, Self::Client | Self::SuperAdmin),
        }
    }

    /// Whether it is one of these profiles.
    pub fn is_any(self, profiles: &[Profile]) -> bool {
        matches!(self, Self::Leaf(profile) if profiles.contains(&profile))
    }
}

/// A certificate, where it was found.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The number of its file.
    pub file: usize,
    /// Which one of its file it is, where that has to be said.
    pub label: String,
    /// What it is for.
    pub role: Role,
    /// What it says.
    pub seen: Seen,
    /// The number of the CA certificate that issued it, if it is here.
    pub issuer: Option<usize>,
    /// Whether the very same certificate came before.
    pub repeated: bool,
    /// Where it stands in a rotation, if that is known.
    pub state: Option<State>,
    /// The longest life of what it issued here, in seconds.
    pub longest_leaf: i64,
}

impl Certificate {
    /// How long it lives, in seconds.
    pub fn life(&self) -> i64 {
        self.seen.not_after.since(self.seen.not_before)
    }
}

/// One cluster of a kubeconfig, and one user of it.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The URL of the API.
    pub server: String,
    /// Whether the server's certificate is not checked.
    pub skips_verification: bool,
    /// Whether certificates or keys are named as files.
    pub names_files: bool,
    /// The numbers of the CA certificates in it.
    pub authorities: Range<usize>,
    /// The number of the client certificate.
    pub client: Option<usize>,
    /// The key of the client certificate.
    pub key: Option<SeenKey>,
}

/// One provider of an EncryptionConfiguration.
#[derive(Debug, Clone)]
pub struct Provider {
    /// `identity`, `secretbox`, `aescbc`, `aesgcm` or `kms`.
    pub kind: String,
    /// Its keys: the name, and the length in octets if it is base64.
    pub keys: Vec<(String, Option<usize>)>,
}

/// One entry of an EncryptionConfiguration.
#[derive(Debug, Clone)]
pub struct Encrypted {
    /// What is encrypted.
    pub resources: Vec<String>,
    /// How; the first provider writes.
    pub providers: Vec<Provider>,
}

/// What a file is, beside certificates and keys.
#[derive(Debug, Clone, Default)]
pub enum Content {
    /// PEM or DER.
    #[default]
    Pem,
    /// A kubeconfig.
    Kubeconfig(Vec<Access>),
    /// An EncryptionConfiguration.
    Encryption(Vec<Encrypted>),
}

/// A file.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path, as it is shown.
    pub path: String,
    /// Its path in its layout, without `pki/`.
    pub place: String,
    /// What it is in its layout.
    pub what: What,
    /// The permission bits, if the file has some.
    pub mode: Option<u32>,
    /// What it is else.
    pub content: Content,
    /// The numbers of its certificates.
    pub certificates: Range<usize>,
    /// Its private keys.
    pub keys: Vec<SeenKey>,
    /// SubjectPublicKeyInfo of its public keys.
    pub public_keys: Vec<Vec<u8>>,
    /// What of it can't be read.
    pub unreadable: Vec<String>,
    /// Whether the system refused to open it.
    pub denied: bool,
    /// Whether a block has header lines.
    pub has_headers: bool,
    /// The node that it belongs to, if that is known.
    pub node: Option<String>,
    /// The command that makes it anew, if that is known.
    pub fix: Option<Remedy>,
}

impl File {
    /// A file without anything in it yet.
    pub fn new(path: impl Into<String>, place: impl Into<String>, what: What) -> Self {
        Self {
            path: path.into(),
            place: place.into(),
            what,
            mode: None,
            content: Content::Pem,
            certificates: 0..0,
            keys: Vec::new(),
            public_keys: Vec::new(),
            unreadable: Vec::new(),
            denied: false,
            has_headers: false,
            node: None,
            fix: None,
        }
    }

    /// The accesses of a kubeconfig.
    pub fn accesses(&self) -> &[Access] {
        match &self.content {
            Content::Kubeconfig(accesses) => accesses,
            _ => &[],
        }
    }

    /// The path without its ending, by which a key belongs to its certificate.
    pub fn stem(&self) -> &str {
        let stem = self.path.rsplit_once('.').map_or(self.path.as_str(), |(stem, _)| stem);
        stem.strip_suffix("-key").unwrap_or(stem)
    }
}

/// What is known of a cluster beside its files. Nothing of it is needed.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The minor version of Kubernetes.
    pub minor: Option<u16>,
    /// The DNS domain of services.
    pub dns_domain: Option<String>,
    /// The API server's address in each range of services, in their order.
    pub service_addresses: Vec<IpAddr>,
    /// The host of the endpoint that clients call.
    pub endpoint: Option<Host>,
    /// The addresses of each node.
    pub nodes: HashMap<String, Vec<Host>>,
    /// What the API server takes for an address of its own.
    pub advertised: Vec<Host>,
    /// The CNs that aggregated API servers take for the front proxy's.
    pub proxy_names: Vec<String>,
    /// Whether the cluster is made without its CA keys.
    pub external_ca: bool,
}

/// How long certificates may live.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// CA certificates.
    pub authority: Span,
    /// Certificates of components.
    pub component: Span,
    /// Certificates of people and of admin.conf.
    pub admin: Span,
    /// Certificates that no binding takes back.
    pub break_glass: Span,
}

impl Default for Policy {
    /// Ten years, a year, a day, a day; each with room for backdating and leap days.
    fn default() -> Self {
        Self {
            authority: Span::days(3654),
            component: Span::days(367),
            admin: Span::hours(25),
            break_glass: Span::hours(25),
        }
    }
}

/// How many signatures are checked at most to tell CAs of one name apart. Attack: thousands of CAs of one name and leaves
/// of it, all without identifiers, are a check for every pair.
const MOST_SIGNATURES: usize = 4096;

/// The files of one place: a node's folder, a cluster of the repository, or what was named one by one.
#[derive(Debug)]
pub struct Scene {
    /// Its folder, as it is shown.
    pub root: String,
    /// The cluster of the repository.
    pub cluster: Option<ClusterName>,
    /// The layout of its files, if it is a known one.
    pub layout: Option<Layout>,
    /// Whether somebody else's oddities are borne with.
    pub imported: bool,
    /// The time that it is judged at.
    pub now: Time,
    /// What is known beside.
    pub known: Known,
    /// How long certificates may live.
    pub policy: Policy,
    /// The files.
    pub files: Vec<File>,
    /// All certificates of the files, file by file.
    pub certificates: Vec<Certificate>,
    /// The numbers of the CA certificates of each keyset, each once.
    authorities: HashMap<Keyset, Vec<usize>>,
    /// The number of the first file that is this in its layout.
    places: HashMap<What, usize>,
}

impl Scene {
    /// A place without files.
    pub fn new(root: impl Into<String>, layout: Option<Layout>, now: Time) -> Self {
        Self {
            root: root.into(),
            cluster: None,
            layout,
            imported: false,
            now,
            known: Known::default(),
            policy: Policy::default(),
            files: Vec::new(),
            certificates: Vec::new(),
            authorities: HashMap::new(),
            places: HashMap::new(),
        }
    }

    /// Takes a file of PEM blocks.
    pub fn take(&mut self, mut file: File, material: Material) {
        file.keys = material.keys;
        file.public_keys = material.public_keys;
        file.unreadable = material.unreadable;
        file.has_headers = material.has_headers;
        let first = file.what.leaf();
        let several = material.certificates.len() > 1;
        let begin = self.certificates.len();
        for (index, seen) in material.certificates.into_iter().enumerate() {
            let role = match (file.what.authority(), first) {
                // A leaf among CA certificates is CA016's, and judged as a leaf.
                (Some(_), _) if several && !seen.is_ca() => role_of(&seen),
                (Some(keyset), _) => Role::Authority(Some(keyset)),
                (None, Some(role)) if index == 0 => role,
                _ => role_of(&seen),
            };
            let label = if several { format!("certificate {}: ", index + 1) } else { String::new() };
            self.add(label, role, seen);
        }
        file.certificates = begin..self.certificates.len();
        self.files.push(file);
    }

    /// Takes a certificate of the file that is taken next; returns its number.
    pub fn add(&mut self, label: String, role: Role, seen: Seen) -> usize {
        let file = self.files.len();
        let (issuer, repeated, state, longest_leaf) = (None, false, None, 0);
        self.certificates.push(Certificate { file, label, role, seen, issuer, repeated, state, longest_leaf });
        self.certificates.len() - 1
    }

    /// Finds out who issued what, and what is here twice. To be called once, when all files are there.
    pub fn arrange(&mut self) {
        let mut authorities: HashMap<&[u8], Vec<usize>> = HashMap::new();
        let mut known: HashSet<&[u8]> = HashSet::with_capacity(self.certificates.len());
        let mut repeated = Vec::with_capacity(self.certificates.len());
        for (index, certificate) in self.certificates.iter().enumerate() {
            let is_new = known.insert(&certificate.seen.der);
            repeated.push(!is_new);
            if is_new && (certificate.role.is_authority() || certificate.seen.is_ca()) {
                authorities.entry(&certificate.seen.subject_dn).or_default().push(index);
            }
        }
        let mut signatures = MOST_SIGNATURES;
        let issuer = |certificate: &Certificate| {
            let candidates = authorities.get(certificate.seen.issuer_dn.as_slice())?;
            candidates.iter().copied().find(|ca| {
                let ca = &self.certificates[*ca].seen;
                certificate.seen.names_issuer(ca).unwrap_or_else(|| {
                    signatures = signatures.saturating_sub(1);
                    signatures > 0 && certificate.seen.is_signed_by(ca)
                })
            })
        };
        let issuers: Vec<Option<usize>> = self.certificates.iter().map(issuer).collect();
        for ((certificate, issuer), repeated) in self.certificates.iter_mut().zip(issuers).zip(repeated) {
            (certificate.issuer, certificate.repeated) = (issuer, repeated);
        }
        for (index, file) in self.files.iter().enumerate() {
            self.places.entry(file.what).or_insert(index);
        }
        for index in 0..self.certificates.len() {
            let one = &self.certificates[index];
            let life = self.lifetime(one);
            match (one.role, one.issuer) {
                (Role::Authority(Some(keyset)), _) if !one.repeated => {
                    self.authorities.entry(keyset).or_default().push(index);
                }
                (Role::Authority(_), _) | (_, None) => {}
                (_, Some(issuer)) => {
                    let issuer = &mut self.certificates[issuer];
                    issuer.longest_leaf = issuer.longest_leaf.max(life);
                }
            }
        }
    }

    /// The certificate that issued this one, if it is here.
    pub fn issuer(&self, certificate: &Certificate) -> Option<&Certificate> {
        certificate.issuer.map(|index| &self.certificates[index])
    }

    /// Whether its beginning was copied from its CA, as kubeadm up to 1.30 did, and later in kubeconfigs. A leaf that was
    /// issued along with its CA begins with it too, and lives no longer than policy allows.
    pub fn copies_beginning(&self, one: &Certificate) -> bool {
        let begins_with = |issuer: &Certificate| issuer.seen.not_before == one.seen.not_before;
        self.issuer(one).is_some_and(begins_with) && one.life() > self.policy.component.seconds()
    }

    /// How long a leaf lives, in seconds; where its beginning was copied, how long it still does.
    pub fn lifetime(&self, one: &Certificate) -> i64 {
        if self.copies_beginning(one) { one.seen.not_after.since(self.now) } else { one.life() }
    }

    /// The CA certificates of a keyset, each once.
    pub fn authorities(&self, keyset: Keyset) -> impl Iterator<Item = &Certificate> {
        self.authorities.get(&keyset).into_iter().flatten().map(|index| &self.certificates[*index])
    }

    /// The keyset that signs certificates of `profile` here.
    pub fn keyset_of(&self, profile: Profile) -> Keyset {
        match self.authorities(profile.keyset()).next() {
            Some(_) => profile.keyset(),
            None => profile.fallback_keyset(),
        }
    }

    /// The file that is this in its layout.
    pub fn find(&self, what: What) -> Option<&File> {
        self.places.get(&what).map(|index| &self.files[*index])
    }

    /// The certificates of a file.
    pub fn of(&self, file: &File) -> &[Certificate] {
        &self.certificates[file.certificates.clone()]
    }

    /// Whether it is a part of kluis's own repository, which `verify` judges too.
    pub fn is_repository(&self) -> bool {
        self.cluster.is_some()
    }
}

/// Whether a certificate is for `host`.
pub fn has_host(seen: &Seen, host: &Host) -> bool {
    seen.sans.iter().any(|name| match (name, host) {
        (SeenName::Ip(octets), Host::Ip(IpAddr::V4(ip))) => octets.as_slice() == ip.octets(),
        (SeenName::Ip(octets), Host::Ip(IpAddr::V6(ip))) => octets.as_slice() == ip.octets(),
        (SeenName::Dns(name), Host::Dns(wanted)) => {
            let above = |name: &str| name.split_once('.').map(|(_, above)| above.to_owned());
            name.eq_ignore_ascii_case(wanted)
                || name.strip_prefix("*.").is_some_and(|name| above(wanted).as_deref() == Some(name))
        }
        _ => false,
    })
}
