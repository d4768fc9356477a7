//! Finding codes (docs/EXIT-CODES.md): stable names, in the order in which they win where two fit one fault.

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Exit 3, or 4 for the anchor.
    Error,
    /// Exit 5.
    Attention,
    /// Said, and no more.
    Note,
}

macro_rules! codes {
    ($($variant:ident $name:literal $level:ident,)*) => {
        /// A finding code. Ordered: of two that fit one fault, the lesser is reported.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
            /// A rule of `lint`, by its id (docs/LINT.md). The rules are registered there, so that one is one place.
            Rule(&'static str),
        }

        impl Code {
            /// All codes but the rules of lint, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Rule(id) => id,
                }
            }

            /// How much it weighs where the command that finds it does not say otherwise.
            pub fn level(self) -> Level {
                match self {
                    $(Self::$variant => Level::$level,)*
                    Self::Rule(_) => Level::Attention,
                }
            }
        }
    };
}

codes! {
    // paths and sizes
    Limit "limit" Error,
    NotRegular "not-regular" Error,
    BadName "bad-name" Error,
    UnexpectedPath "unexpected-path" Error,
    LineEndings "line-endings" Note,
    SecretMaterial "secret-material" Error,
    // statements
    NotCanonical "not-canonical" Error,
    BadText "bad-text" Error,
    RecordName "record-name" Error,
    WrongRepo "wrong-repo" Error,
    WrongClusterId "wrong-cluster-id" Error,
    ReasonMissing "reason-missing" Error,
    NewerFormat "newer-format" Error,
    // signatures
    BadArmor "bad-armor" Error,
    TrailingData "trailing-data" Error,
    SignatureType "signature-type" Error,
    WeakHash "weak-hash" Error,
    Notation "notation" Error,
    UnlistedSigner "unlisted-signer" Error,
    KeyExpired "key-expired" Error,
    SignatureTime "signature-time" Error,
    BadSignature "bad-signature" Error,
    Unsigned "unsigned" Error,
    // OpenPGP certificates
    CertFingerprint "cert-fingerprint" Error,
    CertHash "cert-hash" Error,
    BadKey "bad-key" Error,
    WeakKey "weak-key" Error,
    KeyReuse "key-reuse" Error,
    // epochs
    EpochNumber "epoch-number" Error,
    EpochChain "epoch-chain" Error,
    EpochTime "epoch-time" Error,
    Threshold "threshold" Error,
    NewThreshold "new-threshold" Error,
    NewAdminMustSign "new-admin-must-sign" Error,
    ThresholdUnreachable "threshold-unreachable" Error,
    RecoveryPower "recovery-power" Error,
    UnknownPerson "unknown-person" Error,
    BadGroup "bad-group" Error,
    NameReuse "name-reuse" Error,
    FormerMissing "former-missing" Error,
    ClusterId "cluster-id" Error,
    GenerationChanged "generation-changed" Error,
    BadClosing "bad-closing" Error,
    ClosedMissing "closed-missing" Error,
    // records
    UnknownEpoch "unknown-epoch" Error,
    DanglingParent "dangling-parent" Error,
    BadParents "bad-parents" Error,
    BadPath "bad-path" Error,
    MixedRecord "mixed-record" Error,
    NotAllowed "not-allowed" Error,
    UnknownCluster "unknown-cluster" Error,
    UnknownGeneration "unknown-generation" Error,
    RecipientNotAllowed "recipient-not-allowed" Error,
    StillListed "still-listed" Error,
    Retired "retired" Error,
    BadAdopt "bad-adopt" Error,
    BadRevocation "bad-revocation" Error,
    RevokedSigner "revoked-signer" Error,
    UnclosedOldEpoch "unclosed-old-epoch" Error,
    BadRevision "bad-revision" Error,
    BadPhase "bad-phase" Error,
    // current files
    ConflictingGenerations "conflicting-generations" Error,
    Superseded "superseded" Error,
    CiphertextHash "ciphertext-hash" Error,
    LeafHash "leaf-hash" Error,
    ConfigHash "config-hash" Error,
    MissingFile "missing-file" Error,
    RemovedFile "removed-file" Error,
    UnloggedCert "unlogged-cert" Error,
    CaHash "ca-hash" Error,
    CaSet "ca-set" Error,
    // sealed files
    BadContainer "bad-container" Error,
    HiddenRecipient "hidden-recipient" Error,
    SymmetricRecipient "symmetric-recipient" Error,
    RecipientSet "recipient-set" Error,
    SpkiMismatch "spki-mismatch" Error,
    ContextMismatch "context-mismatch" Error,
    // certificates
    CertFormat "cert-format" Error,
    BadProfile "bad-profile" Error,
    BadSubject "bad-subject" Error,
    LeafFacts "leaf-facts" Error,
    UnknownIssuer "unknown-issuer" Error,
    BadChain "bad-chain" Error,
    Lifetime "lifetime" Error,
    SerialReuse "serial-reuse" Error,
    NotARequester "not-a-requester" Error,
    GroupNotAllowed "group-not-allowed" Error,
    BreakGlassThreshold "break-glass-threshold" Error,
    // requests
    SubjectNotSigner "subject-not-signer" Error,
    CsrContent "csr-content" Error,
    CsrPop "csr-pop" Error,
    SpkiReuse "spki-reuse" Error,
    KeyRevoked "key-revoked" Error,
    RequestExpired "request-expired" Error,
    RequestUsed "request-used" Error,
    RequestDenied "request-denied" Error,
    RequestMissing "request-missing" Error,
    RequestMismatch "request-mismatch" Error,
    // cluster.toml
    BadConfig "bad-config" Error,
    ApiMismatch "api-mismatch" Error,
    // anchor, exit 4
    Unpinned "unpinned" Error,
    GenesisMismatch "genesis-mismatch" Error,
    Rollback "rollback" Error,
    Fork "fork" Error,
    HeadMissing "head-missing" Error,
    // `verify --base`
    RemovedInRange "removed-in-range" Error,
    ChangedInRange "changed-in-range" Error,
    // `review`
    AccessGained "access-gained" Note,
    AccessLost "access-lost" Note,
    Weaker "weaker" Attention,
    WouldVoid "would-void" Attention,
    BreakGlass "break-glass" Attention,
    NotVouched "not-vouched" Attention,
    // `audit`
    UnknownCredential "unknown-credential" Error,
    DeniedCredential "denied-credential" Error,
    UnreadableEvent "unreadable-event" Attention,
    // `rotate check`
    NodeFile "node-file" Error,
    // attention, exit 5
    EpochExpired "epoch-expired" Attention,
    Stale "stale" Attention,
    FutureTime "future-time" Attention,
    KeyExpiring "key-expiring" Attention,
    CertExpiring "cert-expiring" Attention,
    MissingRecipient "missing-recipient" Attention,
    ExtraRecipient "extra-recipient" Attention,
    ExcessCert "excess-cert" Attention,
    ExposureOpen "exposure-open" Attention,
    RequestDead "request-dead" Attention,
    Unconfirmed "unconfirmed" Attention,
    HistoryIncomplete "history-incomplete" Attention,
    SingleKey "single-key" Note,
}

impl Code {
    /// Whether it says that the anchor does not hold (exit 4).
    pub fn is_anchor(self) -> bool {
        matches!(self, Self::Unpinned | Self::GenesisMismatch | Self::Rollback | Self::Fork | Self::HeadMissing)
    }
}

impl Code {
    /// Whether it says that an epoch lacks signatures: of a draft, that is what it waits for.
    pub fn is_missing_signature(self) -> bool {
        matches!(self, Self::Threshold | Self::NewThreshold | Self::NewAdminMustSign)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renaming_a_code_is_a_reviewed_act() {
        let names: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        insta::assert_snapshot!(names.join("\n"));
    }
}
