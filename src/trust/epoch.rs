//! Epochs: numbered full snapshots of who is trusted (FORMAT 4), as values and as canonical bytes.
//! Whether an epoch is valid is judged in `chain`.

use std::collections::{BTreeMap, BTreeSet};

use super::canonical::{self, Reader, StatementFault, Writer};
use crate::model::{
    ClusterName, Code, Digest, Fingerprint, Generation, HexId, Keyset, PersonName, Span, Time, check_group,
};

/// What a person may do about epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustRole {
    /// Signs epochs.
    Root,
    /// Signs epochs and may be nothing else.
    Recovery,
    /// Signs no epoch.
    Member,
}

impl TrustRole {
    /// The name in epochs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Recovery => "recovery",
            Self::Member => "member",
        }
    }

    /// Parses the name in epochs.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Root, Self::Recovery, Self::Member].into_iter().find(|one| one.as_str() == text)
    }

    /// Whether the signature of such a person counts towards `threshold.trust`.
    pub fn votes(self) -> bool {
        self != Self::Member
    }
}

impl std::str::FromStr for TrustRole {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| format!("{text:?} is no role; there are root, recovery and member"))
    }
}

impl std::fmt::Display for TrustRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How many distinct persons something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Persons who must sign the next epoch; at least 1.
    pub trust: u32,
    /// Issuers who must approve a break-glass certificate; at least 1.
    pub break_glass: u32,
}

/// Limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Longest life of a person's certificate.
    pub max_client: Span,
    /// Longest life of a break-glass certificate.
    pub max_break_glass: Span,
    /// A newest record older than this is `stale`.
    pub max_quiet: Span,
}

impl Default for Policy {
    /// The values of FORMAT 4.
    fn default() -> Self {
        Self { max_client: Span::days(90), max_break_glass: Span::hours(8), max_quiet: Span::days(90) }
    }
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// What they may do about epochs.
    pub role: TrustRole,
    /// The primary fingerprint of their OpenPGP certificate.
    pub cert: Fingerprint,
    /// Of the bytes of `pubkeys/NAME.asc`.
    pub cert_sha256: Digest,
    /// (Sub)keys whose signatures count.
    pub sign: Vec<Fingerprint>,
    /// (Sub)keys that are sealed to, in this order.
    pub encrypt: Vec<Fingerprint>,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Random; belongs to the name for ever.
    pub id: HexId<16>,
    /// The API endpoint, as in cluster.toml.
    pub api: String,
    /// To whom its secrets are sealed.
    pub keyholders: BTreeSet<PersonName>,
    /// Whose records may issue for it.
    pub issuers: BTreeSet<PersonName>,
    /// Nothing is issued any more, nothing is owed.
    pub retired: bool,
    /// Upper bound of the groups that a person may ask for; absent: may not ask.
    pub groups: BTreeMap<PersonName, BTreeSet<String>>,
    /// Hashes of CA certificates (DER) and service-account keys (SPKI DER), by keyset and generation.
    pub keysets: BTreeMap<Keyset, BTreeMap<Generation, Digest>>,
}

/// Why somebody's certificate is gone or another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of FORMAT 4")]
pub enum FormerReason {
    Left,
    Compromised,
    Replaced,
    Lost,
}

impl FormerReason {
    /// The name in epochs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Compromised => "compromised",
            Self::Replaced => "replaced",
            Self::Lost => "lost",
        }
    }

    /// Parses the name in epochs.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Left, Self::Compromised, Self::Replaced, Self::Lost].into_iter().find(|one| one.as_str() == text)
    }
}

/// Somebody whose certificate is gone, or another, since `epoch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Who.
    pub person: PersonName,
    /// The certificate that they had.
    pub cert: Fingerprint,
    /// The first epoch without it.
    pub epoch: u32,
    /// Why.
    pub reason: FormerReason,
}

/// An exposure or lint finding that the quorum decided to live with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waived {
    /// Where.
    pub cluster: ClusterName,
    /// `exposure:carol` or `lint:CODE:PATH`.
    pub what: String,
    /// Until when.
    pub until: Time,
    /// Why.
    pub reason: String,
}

/// The log when an epoch was drafted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closes {
    /// Its heads, in byte order.
    pub heads: Vec<Digest>,
    /// The number of records reachable from them, themselves included.
    pub count: u32,
}

/// An epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// The repository's random id.
    pub repo: HexId<32>,
    /// 1 and on, no gaps.
    pub number: u32,
    /// The hash of the epoch before; none in the first.
    pub previous: Option<Digest>,
    /// When it was drafted.
    pub created: Time,
    /// Afterwards: attention, and issuing asks for `--accept-stale`.
    pub expires: Time,
    /// Why.
    pub reason: String,
    /// Thresholds.
    pub threshold: Thresholds,
    /// Limits.
    pub policy: Policy,
    /// Persons by name.
    pub persons: BTreeMap<PersonName, Person>,
    /// Clusters by name.
    pub clusters: BTreeMap<ClusterName, Cluster>,
    /// Everyone whose certificate is gone or another.
    pub former: Vec<Former>,
    /// What the quorum decided to live with.
    pub waived: Vec<Waived>,
    /// The log when it was drafted; none in the first.
    pub closes: Option<Closes>,
}

impl Cluster {
    /// The CA and service-account generations of `keyset` that the epoch lists.
    pub fn generations(&self, keyset: Keyset) -> impl Iterator<Item = (Generation, Digest)> + '_ {
        self.keysets.get(&keyset).into_iter().flatten().map(|(generation, digest)| (*generation, *digest))
    }

    /// The keyset and generation of the CA certificate with this hash.
    pub fn authority(&self, sha256: &Digest) -> Option<(Keyset, Generation)> {
        let all = self.keysets.iter().filter(|(keyset, _)| keyset.is_ca());
        all.flat_map(|(keyset, generations)| generations.iter().map(move |(g, d)| (*keyset, *g, d)))
            .find(|(_, _, digest)| *digest == sha256)
            .map(|(keyset, generation, _)| (keyset, generation))
    }
}

impl Epoch {
    /// Parses canonical bytes. Fails with the first rule of FORMAT 2 and 4 that the bytes alone break.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementFault> {
        let mut top = canonical::parse(bytes, "epoch")?;
        let epoch = Self {
            repo: top.id("repo")?,
            number: top.number("number")?,
            previous: top.optional_digest("previous")?,
            created: top.time("created")?,
            expires: top.time("expires")?,
            reason: top.free_text("reason")?,
            threshold: parse_thresholds(top.table("threshold")?)?,
            policy: parse_policy(top.table("policy")?)?,
            persons: parse_persons(&mut top)?,
            clusters: parse_clusters(&mut top)?,
            former: top.elements("former")?.into_iter().map(parse_former).collect::<Result<_, _>>()?,
            waived: top.elements("waived")?.into_iter().map(parse_waived).collect::<Result<_, _>>()?,
            closes: top.optional_table("closes")?.map(parse_closes).transpose()?,
        };
        top.end()?;
        canonical::check_bytes(bytes, &epoch.write())?;
        Ok(epoch)
    }

    /// The canonical text.
    pub fn write(&self) -> String {
        let mut w = Writer::default();
        w.string("format", "kluis/epoch/1");
        w.string("repo", self.repo);
        w.plain("number", self.number);
        if let Some(previous) = &self.previous {
            w.string("previous", previous);
        }
        w.plain("created", self.created);
        w.plain("expires", self.expires);
        w.string("reason", &self.reason);
        w.table(&["threshold"]);
        w.plain("trust", self.threshold.trust);
        w.plain("break_glass", self.threshold.break_glass);
        w.table(&["policy"]);
        w.string("max_client", self.policy.max_client);
        w.string("max_break_glass", self.policy.max_break_glass);
        w.string("max_quiet", self.policy.max_quiet);
        for (name, person) in &self.persons {
            w.table(&["person", name.as_str()]);
            w.string("role", person.role);
            w.string("cert", &person.cert);
            w.string("cert_sha256", person.cert_sha256);
            w.list("sign", &person.sign);
            w.list("encrypt", &person.encrypt);
        }
        for (name, cluster) in &self.clusters {
            write_cluster(&mut w, name.as_str(), cluster);
        }
        for former in &self.former {
            w.element("former");
            w.string("person", &former.person);
            w.string("cert", &former.cert);
            w.plain("epoch", former.epoch);
            w.string("reason", former.reason.as_str());
        }
        for waived in &self.waived {
            w.element("waived");
            w.string("cluster", &waived.cluster);
            w.string("what", &waived.what);
            w.plain("until", waived.until);
            w.string("reason", &waived.reason);
        }
        if let Some(closes) = &self.closes {
            w.table(&["closes"]);
            w.list("heads", &closes.heads);
            w.plain("count", closes.count);
        }
        w.finish()
    }
}

fn write_cluster(w: &mut Writer, name: &str, cluster: &Cluster) {
    w.table(&["cluster", name]);
    w.string("id", cluster.id);
    w.string("api", &cluster.api);
    w.list("keyholders", &cluster.keyholders);
    w.list("issuers", &cluster.issuers);
    w.flag("retired", cluster.retired);
    w.table(&["cluster", name, "groups"]);
    for (person, groups) in &cluster.groups {
        w.list(person.as_str(), groups);
    }
    let by_name: BTreeMap<&str, _> = cluster.keysets.iter().map(|(keyset, g)| (keyset.as_str(), g)).collect();
    for (keyset, generations) in by_name {
        w.table(&["cluster", name, "keyset", keyset]);
        for (generation, digest) in generations {
            w.string(&generation.to_string(), digest);
        }
    }
}

fn parse_thresholds(mut table: Reader) -> Result<Thresholds, StatementFault> {
    let thresholds = Thresholds { trust: table.number("trust")?, break_glass: table.number("break_glass")? };
    table.end()?;
    if thresholds.trust == 0 || thresholds.break_glass == 0 {
        return Err(StatementFault::new(Code::ThresholdUnreachable, "a threshold is at least 1"));
    }
    Ok(thresholds)
}

fn parse_policy(mut table: Reader) -> Result<Policy, StatementFault> {
    let policy = Policy {
        max_client: table.span("max_client")?,
        max_break_glass: table.span("max_break_glass")?,
        max_quiet: table.span("max_quiet")?,
    };
    table.end()?;
    Ok(policy)
}

fn bad_name(error: &crate::model::NameError) -> StatementFault {
    StatementFault::new(Code::BadName, error.to_string())
}

fn parse_persons(top: &mut Reader) -> Result<BTreeMap<PersonName, Person>, StatementFault> {
    let mut persons = BTreeMap::new();
    let Some(tables) = top.optional_table("person")? else { return Ok(persons) };
    for (name, mut table) in tables.into_tables()? {
        let fingerprint = "a fingerprint in upper-case hex";
        let person = Person {
            role: table.parsed("role", "root, recovery or member", TrustRole::parse)?,
            cert: table.fingerprint("cert")?,
            cert_sha256: table.digest("cert_sha256")?,
            sign: table.parsed_list("sign", fingerprint, Fingerprint::parse)?,
            encrypt: table.parsed_list("encrypt", fingerprint, Fingerprint::parse)?,
        };
        table.end()?;
        persons.insert(PersonName::parse(&name).map_err(|e| bad_name(&e))?, person);
    }
    Ok(persons)
}

fn parse_clusters(top: &mut Reader) -> Result<BTreeMap<ClusterName, Cluster>, StatementFault> {
    let mut clusters = BTreeMap::new();
    let Some(tables) = top.optional_table("cluster")? else { return Ok(clusters) };
    for (name, mut table) in tables.into_tables()? {
        let cluster = Cluster {
            id: table.id("id")?,
            api: table.string("api")?,
            keyholders: table.names("keyholders")?.into_iter().collect(),
            issuers: table.names("issuers")?.into_iter().collect(),
            retired: table.flag("retired")?,
            groups: parse_groups(table.table("groups")?)?,
            keysets: parse_keysets(table.optional_table("keyset")?)?,
        };
        table.end()?;
        clusters.insert(ClusterName::parse(&name).map_err(|e| bad_name(&e))?, cluster);
    }
    Ok(clusters)
}

fn parse_groups(mut table: Reader) -> Result<BTreeMap<PersonName, BTreeSet<String>>, StatementFault> {
    let mut groups = BTreeMap::new();
    for key in table.keys() {
        let person = PersonName::parse(&key).map_err(|e| bad_name(&e))?;
        let names = table.sorted_list(&key)?;
        if let Some(bad) = names.iter().find(|group| !check_group(group)) {
            return Err(StatementFault::new(Code::BadGroup, format!("{bad:?} is no group that people may have")));
        }
        groups.insert(person, names.into_iter().collect());
    }
    Ok(groups)
}

fn parse_keysets(tables: Option<Reader>) -> Result<BTreeMap<Keyset, BTreeMap<Generation, Digest>>, StatementFault> {
    let mut keysets = BTreeMap::new();
    let Some(tables) = tables else { return Ok(keysets) };
    for (name, mut table) in tables.into_tables()? {
        let keyset = Keyset::parse(&name).filter(|keyset| !keyset.is_symmetric());
        let unknown = || StatementFault::new(Code::NotCanonical, format!("{name:?} is no keyset that an epoch lists"));
        let keyset = keyset.ok_or_else(unknown)?;
        let mut generations = BTreeMap::new();
        for key in table.keys() {
            let bad = || StatementFault::new(Code::NotCanonical, format!("{key:?} is no generation"));
            generations.insert(Generation::parse(&key).ok_or_else(bad)?, table.digest(&key)?);
        }
        keysets.insert(keyset, generations);
    }
    Ok(keysets)
}

fn parse_former(mut table: Reader) -> Result<Former, StatementFault> {
    let former = Former {
        person: table.name("person")?,
        cert: table.fingerprint("cert")?,
        epoch: table.number("epoch")?,
        reason: table.parsed("reason", "left, compromised, replaced or lost", FormerReason::parse)?,
    };
    table.end()?;
    Ok(former)
}

fn parse_waived(mut table: Reader) -> Result<Waived, StatementFault> {
    let waived = Waived {
        cluster: table.name("cluster")?,
        what: table.string("what")?,
        until: table.time("until")?,
        reason: table.free_text("reason")?,
    };
    table.end()?;
    Ok(waived)
}

fn parse_closes(mut table: Reader) -> Result<Closes, StatementFault> {
    let heads = table.sorted_list("heads")?;
    let heads = heads.iter().map(|head| Digest::parse(head)).collect::<Option<Vec<_>>>();
    let bad = || StatementFault::new(Code::NotCanonical, "closes: heads are SHA-256 hashes");
    let closes = Closes { heads: heads.ok_or_else(bad)?, count: table.number("count")? };
    table.end()?;
    Ok(closes)
}
