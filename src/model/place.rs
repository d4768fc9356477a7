//! Places: every path of the managed trees as a value, and back (FORMAT 1). A path that is no place is
//! refused with the reason; nothing else in the program takes paths apart.

use std::fmt;

use super::{ClusterName, Generation, Keyset, NodeName, PersonName, Profile};

/// What a sealed file holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SealedName {
    /// One generation of a keyset: `ca.kubernetes.g1`, `sa.g1`, `encryption.g1`, `tokens.g1`.
    Keyset(Keyset, Generation),
    /// The leaf keys of one node: `node.cp-1`.
    Node(NodeName),
}

/// A place in the managed trees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// `trust/epoch/0001.toml`
    Epoch(u32),
    /// `trust/epoch/0001.alice.sig`; `old` for `0001.alice+old.sig`.
    EpochSignature {
        /// The epoch's number.
        number: u32,
        /// Who signed.
        person: PersonName,
        /// Whether it counts under the epoch before alone.
        old: bool,
    },
    /// `trust/log/2026-11/<h16>.toml`
    Record {
        /// The month, `2026-11`.
        month: String,
        /// The first 16 hex digits of its hash.
        h16: String,
    },
    /// `trust/log/2026-11/<h16>.alice.sig`
    RecordSignature {
        /// The month, `2026-11`.
        month: String,
        /// The first 16 hex digits of the record's hash.
        h16: String,
        /// Who signed.
        person: PersonName,
    },
    /// `pubkeys/alice.asc`
    PublicKey(PersonName),
    /// `pubkeys/old/<h16>.asc`
    OldPublicKey(String),
    /// `clusters/prod/cluster.toml`
    Config(ClusterName),
    /// `clusters/prod/ca/kubernetes.g1.crt`
    Ca(ClusterName, Keyset, Generation),
    /// `clusters/prod/sa/g1.pub`
    ServiceAccount(ClusterName, Generation),
    /// `clusters/prod/certs/node/cp-1/apiserver.crt`
    NodeCert(ClusterName, NodeName, Profile),
    /// `clusters/prod/certs/person/erin/client.crt`
    PersonCert(ClusterName, PersonName, Profile),
    /// `clusters/prod/requests/<h16>.toml`
    Request(ClusterName, String),
    /// `clusters/prod/requests/<h16>.erin.sig`
    RequestSignature(ClusterName, String, PersonName),
    /// `clusters/prod/sealed/ca.kubernetes.g1.asc`
    Sealed(ClusterName, SealedName),
}

/// Why a path is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceError {
    /// A name in it is no name (`bad-name`).
    Name,
    /// Nothing lies there (`unexpected-path`).
    Unexpected,
    /// A certificate whose profile does not exist or does not belong to its kind of owner (`bad-profile`).
    Profile,
}

fn is_h16(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

fn is_month(text: &str) -> bool {
    let b = text.as_bytes();
    b.len() == 7
        && b[4] == b'-'
        && b.iter().enumerate().all(|(i, c)| i == 4 || c.is_ascii_digit())
        && (1..=12).contains(&text[5..].parse::<u8>().unwrap_or(0))
}

/// `0001` to `9999`, then `10000` and on.
fn epoch_number(text: &str) -> Option<u32> {
    let digits = text.len() >= 4 && text.bytes().all(|c| c.is_ascii_digit());
    if !digits || (text.len() > 4 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok().filter(|number| *number >= 1)
}

fn person(text: &str) -> Result<PersonName, PlaceError> {
    PersonName::parse(text).map_err(|_| PlaceError::Name)
}

fn profile(text: &str, of_person: bool) -> Result<Profile, PlaceError> {
    let name = text.strip_suffix(".crt").ok_or(PlaceError::Unexpected)?;
    Profile::parse(name).filter(|p| p.is_person() == of_person).ok_or(PlaceError::Profile)
}

/// `<h16>.toml` or `<h16>.NAME.sig`.
fn statement(file: &str) -> Result<(String, Option<PersonName>), PlaceError> {
    if !file.is_char_boundary(16) || file.len() < 17 || !is_h16(&file[..16]) {
        return Err(PlaceError::Unexpected);
    }
    let h16 = file[..16].to_owned();
    match &file[16..] {
        ".toml" => Ok((h16, None)),
        rest => {
            let name = rest.strip_prefix('.').and_then(|rest| rest.strip_suffix(".sig"));
            Ok((h16, Some(person(name.ok_or(PlaceError::Unexpected)?)?)))
        }
    }
}

impl SealedName {
    /// Parses the file name without `.asc`.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        if let Some(node) = text.strip_prefix("node.") {
            return NodeName::parse(node).map(Self::Node).map_err(|_| PlaceError::Name);
        }
        let (name, generation) = text.rsplit_once('.').ok_or(PlaceError::Unexpected)?;
        let generation = Generation::parse(generation).ok_or(PlaceError::Unexpected)?;
        let keyset = match name.strip_prefix("ca.") {
            Some(ca) => Keyset::parse(ca).filter(|keyset| keyset.is_ca()),
            None if name == "sa" => Some(Keyset::ServiceAccount),
            None => Keyset::parse(name).filter(|keyset| keyset.is_symmetric()),
        };
        Ok(Self::Keyset(keyset.ok_or(PlaceError::Unexpected)?, generation))
    }

    /// The `name:` in the sealed header: `ca.kubernetes`, `sa`, `encryption`, `tokens`, `node.cp-1`.
    pub fn header_name(&self) -> String {
        match self {
            Self::Keyset(Keyset::ServiceAccount, _) => "sa".to_owned(),
            Self::Keyset(keyset, _) if keyset.is_ca() => format!("ca.{keyset}"),
            Self::Keyset(keyset, _) => keyset.to_string(),
            Self::Node(node) => format!("node.{node}"),
        }
    }

    /// The generation in the sealed header: 1 for a node's bundle, for ever.
    pub fn generation(&self) -> Generation {
        match self {
            Self::Keyset(_, generation) => *generation,
            Self::Node(_) => Generation::FIRST,
        }
    }
}

impl fmt::Display for SealedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyset(_, generation) => write!(f, "{}.{generation}", self.header_name()),
            Self::Node(_) => f.write_str(&self.header_name()),
        }
    }
}

impl Place {
    /// Parses a path relative to the repository's root, with `/` between its parts.
    pub fn parse(path: &str) -> Result<Self, PlaceError> {
        let parts: Vec<&str> = path.split('/').collect();
        if parts.iter().any(|part| part.is_empty() || *part == "." || *part == ".." || part.contains(['\\', '\0'])) {
            return Err(PlaceError::Name);
        }
        match parts.as_slice() {
            ["trust", "epoch", file] => Self::parse_epoch(file),
            ["trust", "log", month, file] if is_month(month) => {
                let month = (*month).to_owned();
                Ok(match statement(file)? {
                    (h16, None) => Self::Record { month, h16 },
                    (h16, Some(person)) => Self::RecordSignature { month, h16, person },
                })
            }
            ["pubkeys", "old", file] => match file.strip_suffix(".asc") {
                Some(h16) if is_h16(h16) => Ok(Self::OldPublicKey(h16.to_owned())),
                _ => Err(PlaceError::Unexpected),
            },
            ["pubkeys", file] => person(file.strip_suffix(".asc").ok_or(PlaceError::Unexpected)?).map(Self::PublicKey),
            ["clusters", cluster, rest @ ..] if !rest.is_empty() => {
                let cluster = ClusterName::parse(cluster).map_err(|_| PlaceError::Name)?;
                Self::parse_in_cluster(cluster, rest)
            }
            _ => Err(PlaceError::Unexpected),
        }
    }

    fn parse_epoch(file: &str) -> Result<Self, PlaceError> {
        let (number, rest) = file.split_once('.').ok_or(PlaceError::Unexpected)?;
        let number = epoch_number(number).ok_or(PlaceError::Unexpected)?;
        if rest == "toml" {
            return Ok(Self::Epoch(number));
        }
        let name = rest.strip_suffix(".sig").ok_or(PlaceError::Unexpected)?;
        let (name, old) = name.strip_suffix("+old").map_or((name, false), |name| (name, true));
        Ok(Self::EpochSignature { number, person: person(name)?, old })
    }

    fn parse_in_cluster(cluster: ClusterName, rest: &[&str]) -> Result<Self, PlaceError> {
        match rest {
            ["cluster.toml"] => Ok(Self::Config(cluster)),
            ["ca", file] => {
                let name = file.strip_suffix(".crt").ok_or(PlaceError::Unexpected)?;
                let (keyset, generation) = name.rsplit_once('.').ok_or(PlaceError::Unexpected)?;
                let keyset = Keyset::parse(keyset).filter(|k| k.is_ca()).ok_or(PlaceError::Unexpected)?;
                let generation = Generation::parse(generation).ok_or(PlaceError::Unexpected)?;
                Ok(Self::Ca(cluster, keyset, generation))
            }
            ["sa", file] => {
                let name = file.strip_suffix(".pub").and_then(Generation::parse).ok_or(PlaceError::Unexpected)?;
                Ok(Self::ServiceAccount(cluster, name))
            }
            ["certs", "node", node, file] => {
                let node = NodeName::parse(node).map_err(|_| PlaceError::Name)?;
                Ok(Self::NodeCert(cluster, node, profile(file, false)?))
            }
            ["certs", "person", name, file] => Ok(Self::PersonCert(cluster, person(name)?, profile(file, true)?)),
            ["requests", file] => Ok(match statement(file)? {
                (h16, None) => Self::Request(cluster, h16),
                (h16, Some(person)) => Self::RequestSignature(cluster, h16, person),
            }),
            ["sealed", file] => {
                let name = file.strip_suffix(".asc").ok_or(PlaceError::Unexpected)?;
                SealedName::parse(name).map(|name| Self::Sealed(cluster, name))
            }
            _ => Err(PlaceError::Unexpected),
        }
    }

    /// The cluster whose folder it is in.
    pub fn cluster(&self) -> Option<&ClusterName> {
        match self {
            Self::Config(cluster)
            | Self::Ca(cluster, ..)
            | Self::ServiceAccount(cluster, _)
            | Self::NodeCert(cluster, ..)
            | Self::PersonCert(cluster, ..)
            | Self::Request(cluster, _)
            | Self::RequestSignature(cluster, ..)
            | Self::Sealed(cluster, _) => Some(cluster),
            _ => None,
        }
    }

    /// The largest file that may lie there, in bytes (FORMAT 1).
    pub fn largest(&self) -> u64 {
        match self {
            Self::Record { .. } => 8 << 20,
            Self::EpochSignature { .. } | Self::RecordSignature { .. } | Self::RequestSignature(..) => 4 << 10,
            Self::Ca(..) | Self::ServiceAccount(..) | Self::NodeCert(..) | Self::PersonCert(..) => 64 << 10,
            _ => 256 << 10,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch(number) => write!(f, "trust/epoch/{number:04}.toml"),
            Self::EpochSignature { number, person, old } => {
                write!(f, "trust/epoch/{number:04}.{person}{}.sig", if *old { "+old" } else { "" })
            }
            Self::Record { month, h16 } => write!(f, "trust/log/{month}/{h16}.toml"),
            Self::RecordSignature { month, h16, person } => write!(f, "trust/log/{month}/{h16}.{person}.sig"),
            Self::PublicKey(person) => write!(f, "pubkeys/{person}.asc"),
            Self::OldPublicKey(h16) => write!(f, "pubkeys/old/{h16}.asc"),
            Self::Config(cluster) => write!(f, "clusters/{cluster}/cluster.toml"),
            Self::Ca(cluster, keyset, generation) => write!(f, "clusters/{cluster}/ca/{keyset}.{generation}.crt"),
            Self::ServiceAccount(cluster, generation) => write!(f, "clusters/{cluster}/sa/{generation}.pub"),
            Self::NodeCert(cluster, node, profile) => write!(f, "clusters/{cluster}/certs/node/{node}/{profile}.crt"),
            Self::PersonCert(cluster, person, profile) => {
                write!(f, "clusters/{cluster}/certs/person/{person}/{profile}.crt")
            }
            Self::Request(cluster, h16) => write!(f, "clusters/{cluster}/requests/{h16}.toml"),
            Self::RequestSignature(cluster, h16, person) => {
                write!(f, "clusters/{cluster}/requests/{h16}.{person}.sig")
            }
            Self::Sealed(cluster, name) => write!(f, "clusters/{cluster}/sealed/{name}.asc"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_its_path() {
        for path in [
            "trust/epoch/0001.toml",
            "trust/epoch/10000.alice.sig",
            "trust/epoch/0004.bob+old.sig",
            "trust/log/2026-11/0123456789abcdef.toml",
            "trust/log/2026-11/0123456789abcdef.alice.sig",
            "pubkeys/alice.asc",
            "pubkeys/old/0123456789abcdef.asc",
            "clusters/prod/cluster.toml",
            "clusters/prod/ca/kubernetes-client.g12.crt",
            "clusters/prod/sa/g1.pub",
            "clusters/prod/certs/node/cp-1.example.org/apiserver.crt",
            "clusters/prod/certs/person/erin/break-glass.crt",
            "clusters/prod/requests/0123456789abcdef.toml",
            "clusters/prod/requests/0123456789abcdef.erin.sig",
            "clusters/prod/sealed/ca.front-proxy.g1.asc",
            "clusters/prod/sealed/sa.g1.asc",
            "clusters/prod/sealed/encryption.g2.asc",
            "clusters/prod/sealed/node.cp-1.example.org.asc",
        ] {
            assert_eq!(Place::parse(path).unwrap().to_string(), path);
        }
    }

    #[test]
    fn paths_that_are_no_place_say_why() {
        for path in [
            "clusters/Prod/cluster.toml",
            "clusters/../x",
            "pubkeys/Alice.asc",
            "clusters/prod/sealed/node.A.asc",
            "clusters/con/cluster.toml",
            "pubkeys/admin.asc",
            "a\\b/c",
        ] {
            assert_eq!(Place::parse(path), Err(PlaceError::Name), "{path}");
        }
        for path in [
            "trust/epoch/1.toml",
            "trust/epoch/00001.toml",
            "trust/epoch/0000.toml",
            "trust/log/2026-13/0123456789abcdef.toml",
            "trust/log/2026-11/0123456789ABCDEF.toml",
            "pubkeys/alice.pgp",
            "clusters/prod/ca/service-account.g1.crt",
            "clusters/prod/sealed/ca.encryption.g1.asc",
            "clusters/prod/sealed/service-account.g1.asc",
            "clusters/prod/ca.key",
            "trust",
            "clusters/prod",
            "trust/log/2026-11/éééééééé.toml",
        ] {
            assert_eq!(Place::parse(path), Err(PlaceError::Unexpected), "{path}");
        }
        for path in [
            "clusters/prod/certs/node/cp-1/client.crt",
            "clusters/prod/certs/person/erin/apiserver.crt",
            "clusters/prod/certs/node/cp-1/x.crt",
        ] {
            assert_eq!(Place::parse(path), Err(PlaceError::Profile), "{path}");
        }
    }
}
