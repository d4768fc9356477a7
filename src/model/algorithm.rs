//! The key algorithms of a cluster.

/// A key algorithm that every supported distribution can run with. Ed25519 is not one of them: kubeadm
/// does not load such a key, and as a service-account key the API server exits (kubernetes-pki A.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
}

impl Algorithm {
    /// All of them, in the order of FORMAT 8.
    pub const ALL: &'static [Self] = &[Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::EcdsaP256, Self::EcdsaP384];

    /// The name in cluster.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
        }
    }

    /// Whether its keys are RSA keys.
    pub fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Algorithm {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(found) = Self::ALL.iter().find(|one| one.as_str() == text) {
            return Ok(*found);
        }
        let known = Self::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
        Err(if text.to_ascii_lowercase().contains("ed25519") {
            format!(
                "ed25519 does not work: kubeadm loads no such key, and the API server exits when it is the \
                 service-account key; choose one of {known}"
            )
        } else {
            format!("{text:?} is no algorithm for a cluster; choose one of {known}")
        })
    }
}
