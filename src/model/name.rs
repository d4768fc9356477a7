//! Names of persons, clusters and nodes (FORMAT 1): what may stand in a path on every file system alike.

use std::fmt;

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or longer than the kind of name allows.
    #[error("{name:?} has {length} characters; 1 to {longest} are allowed")]
    Length {
        /// The refused name.
        name: String,
        /// Its length in characters.
        length: usize,
        /// The longest allowed.
        longest: usize,
    },
    /// A character outside `[a-z0-9.-]`, or one of `.-` at an end.
    #[error("{name:?} may have only a-z, 0-9, '.' and '-', and begins and ends with a letter or digit")]
    Characters {
        /// The refused name.
        name: String,
    },
    /// `..`, `.-` or `-.`: not a DNS name, and a traversal on the way.
    #[error("{name:?} has an empty or hyphenated label between dots")]
    Labels {
        /// The refused name.
        name: String,
    },
    /// A device name of Windows, which no checkout there could hold.
    #[error("{name:?} begins with a device name of Windows")]
    Device {
        /// The refused name.
        name: String,
    },
    /// A person named like a component, whose certificates they could then ask for.
    #[error("{name:?} is the name of a Kubernetes component or a generic one; persons have their own")]
    Reserved {
        /// The refused name.
        name: String,
    },
}

fn check(name: &str, longest: usize) -> Result<(), NameError> {
    let owned = || name.to_owned();
    let length = name.chars().count();
    if length == 0 || length > longest {
        return Err(NameError::Length { name: owned(), length, longest });
    }
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    if !bytes.iter().all(|&c| edge(c) || c == b'.' || c == b'-') || !edge(bytes[0]) || !edge(bytes[bytes.len() - 1]) {
        return Err(NameError::Characters { name: owned() });
    }
    if ["..", ".-", "-."].iter().any(|pair| name.contains(pair)) {
        return Err(NameError::Labels { name: owned() });
    }
    let first = name.split('.').next().unwrap_or(name);
    let numbered = |stem: &str| {
        first.strip_prefix(stem).is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    };
    if matches!(first, "con" | "prn" | "aux" | "nul") || numbered("com") || numbered("lpt") {
        return Err(NameError::Device { name: owned() });
    }
    Ok(())
}

/// CNs of components (FORMAT 6) and generic names that no person may have. A person's certificate has their
/// name as its CN, so such a name would be an impersonation.
const RESERVED: &[&str] = &[
    "kube-apiserver",
    "kube-apiserver-kubelet-client",
    "kube-apiserver-etcd-client",
    "front-proxy-client",
    "kubernetes-admin",
    "kube-etcd-healthcheck-client",
    "kubernetes-super-admin",
    "root",
    "admin",
];

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $longest:expr, $reserved:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// Parses a name. Fails with the first rule of FORMAT 1 that it breaks.
            pub fn parse(name: &str) -> Result<Self, NameError> {
                check(name, $longest)?;
                let reserved: &[&str] = $reserved;
                if reserved.contains(&name) {
                    return Err(NameError::Reserved { name: name.to_owned() });
                }
                Ok(Self(name.to_owned()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::parse(name)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A person's name: at most 63 characters, and no component's.
    PersonName, 63, RESERVED
);
name!(
    /// A cluster's name: at most 63 characters.
    ClusterName, 63, &[]
);
name!(
    /// A node's name, as its Node object has it: at most 128 characters.
    NodeName, 128, &[]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken() {
        for name in ["a", "alice", "bob-2", "cp-1.example.org", "0x", "community", "nul1", "com10", "lpt"] {
            assert_eq!(PersonName::parse(name).unwrap().as_str(), name);
        }
        assert!(NodeName::parse(&"a".repeat(128)).is_ok());
    }

    #[test]
    fn names_that_some_file_system_would_change_are_refused() {
        let long = "a".repeat(64);
        for name in [
            "",
            "..",
            ".",
            "a..b",
            "a.-b",
            "a-.b",
            "-a",
            "a-",
            ".a",
            "a.",
            "Prod",
            "pr\u{3bf}d",
            "a/b",
            "a\\b",
            "a b",
            "con",
            "aux.prod",
            "com1",
            "lpt9.x",
            "nul",
            "a\0",
            &long,
        ] {
            assert!(ClusterName::parse(name).is_err(), "{name:?}");
        }
        assert!(NodeName::parse(&"a".repeat(129)).is_err());
    }

    #[test]
    fn persons_are_not_named_like_components() {
        for name in RESERVED {
            assert!(matches!(PersonName::parse(name), Err(NameError::Reserved { .. })));
            assert!(ClusterName::parse(name).is_ok());
        }
    }
}
