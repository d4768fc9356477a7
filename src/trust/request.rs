//! Requests: a person's signed wish for a certificate (FORMAT 7), as values and as canonical bytes.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::canonical::{self, StatementFault, Writer};
use crate::model::{Code, HexId, PersonName, Profile, Span, Time};

/// A person's wish for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the keys of FORMAT 7, where each has its sentence")]
pub struct Request {
    pub repo: HexId<32>,
    pub cluster: HexId<16>,
    pub person: PersonName,
    pub profile: Profile,
    pub groups: BTreeSet<String>,
    pub lifetime: Span,
    pub created: Time,
    pub expires: Time,
    pub nonce: HexId<16>,
    pub reason: String,
    /// DER; base64 in the file.
    pub csr: Vec<u8>,
}

impl Request {
    /// Parses canonical bytes. Fails with the first rule of FORMAT 2 and 7 that the bytes alone break.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementFault> {
        let mut top = canonical::parse(bytes, "request")?;
        let request = Self {
            repo: top.id("repo")?,
            cluster: top.id("cluster")?,
            person: top.name("person")?,
            profile: top.parsed("profile", "client or break-glass", |text| {
                Profile::parse(text).filter(|profile| profile.is_person())
            })?,
            groups: top.sorted_list("groups")?.into_iter().collect(),
            lifetime: top.span("lifetime")?,
            created: top.time("created")?,
            expires: top.time("expires")?,
            nonce: top.id("nonce")?,
            reason: top.free_text("reason")?,
            csr: top.parsed("csr", "DER in base64", |text| STANDARD.decode(text).ok())?,
        };
        top.end()?;
        canonical::check_bytes(bytes, &request.write())?;
        if request.profile == Profile::BreakGlass && request.reason.is_empty() {
            return Err(StatementFault::new(Code::ReasonMissing, "a break-glass request says why"));
        }
        Ok(request)
    }

    /// The canonical text.
    pub fn write(&self) -> String {
        let mut w = Writer::default();
        w.string("format", "kluis/request/1");
        w.string("repo", self.repo);
        w.string("cluster", self.cluster);
        w.string("person", &self.person);
        w.string("profile", self.profile);
        w.list("groups", &self.groups);
        w.string("lifetime", self.lifetime);
        w.plain("created", self.created);
        w.plain("expires", self.expires);
        w.string("nonce", self.nonce);
        w.string("reason", &self.reason);
        w.string("csr", STANDARD.encode(&self.csr));
        w.finish()
    }
}
