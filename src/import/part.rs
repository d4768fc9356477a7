//! A part: bytes, where they are from, and what they are for. The one form into which every source is brought.

use super::{File, Item, Outcome, Source, Surroundings};
use crate::model::{Keyset, Profile};
use crate::secret::Secret;

/// What a part is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Certificates of an authority, all of them trusted; perhaps its key among them.
    Authority(Keyset),
    /// The one certificate of an authority that issues.
    Signing(Keyset),
    /// The key of an authority.
    AuthorityKey(Keyset),
    /// Private keys of service-account tokens, the one that signs first.
    ServiceAccountKey,
    /// Public keys of service-account tokens, bare or in certificates.
    ServiceAccountPublic,
    /// A leaf certificate, and perhaps its key.
    Leaf(Profile),
    /// The key of a leaf certificate.
    LeafKey(Profile),
    /// An EncryptionConfiguration.
    EncryptionConfig,
    /// 32 bytes that encrypt at rest.
    EncryptionKey,
    /// A join secret.
    Token(&'static str),
}

/// A part.
pub(super) struct Part {
    pub name: String,
    pub usage: Use,
    pub bytes: Secret,
}

/// All parts of a source.
pub(super) struct Parts {
    pub source: Source,
    pub parts: Vec<Part>,
    pub items: Vec<Item>,
    pub surroundings: Surroundings,
}

impl Parts {
    pub(super) fn new(source: Source) -> Self {
        Self { source, parts: Vec::new(), items: Vec::new(), surroundings: Surroundings::default() }
    }

    pub(super) fn add(&mut self, name: impl Into<String>, usage: Use, bytes: Secret) {
        self.parts.push(Part { name: name.into(), usage, bytes });
    }

    pub(super) fn left(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.items.push(Item { outcome: Outcome::Left, name: name.into(), what: why.into() });
    }

    pub(super) fn derived(&mut self, name: impl Into<String>, what: impl Into<String>) {
        self.items.push(Item { outcome: Outcome::Derived, name: name.into(), what: what.into() });
    }

    pub(super) fn file(&mut self, file: File, usage: Use) {
        self.add(file.path, usage, file.bytes);
    }
}
