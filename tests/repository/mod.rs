//! A repository in memory, made with the public parts of kluis alone: people with fresh keys, signed epochs
//! and records, clusters with real authorities, sealed files, requests. Whatever a test wants wrong it makes
//! wrong itself.

#![allow(dead_code, reason = "each test program uses its own part of it")]

use std::collections::{BTreeMap, BTreeSet};

use kluis::env::Rng;
use kluis::model::{
    Algorithm, ClusterName, Code, Digest, Fingerprint, Generation, HexId, Host, Keyset, Level, PersonName, Place,
    Profile, SealedName, Span, State, Time,
};
use kluis::openpgp::{self, Certificate, Kind, SecretKeys};
use kluis::pki::{self, PrivateKey};
use kluis::secret::Secret;
use kluis::trust::anchor::{Anchor, PinLine};
use kluis::trust::record::{Config, Issued, Phase, PublicId, Recipient, Sealed};
use kluis::trust::{
    self, Closes, Cluster, Entry, Epoch, Former, FormerReason, Person, Policy, Record, Request, Thresholds, Tree,
    TrustRole, Verified,
};

/// Somebody's keys.
pub struct Identity {
    pub certificate: Certificate,
    pub stored: Vec<u8>,
    pub sign: Fingerprint,
    pub encrypt: Fingerprint,
    /// The secret keys, as a file has them.
    pub secret: Vec<u8>,
    keys: SecretKeys,
}

/// A certificate authority, or a service-account key.
pub struct Authority {
    pub key: PrivateKey,
    /// DER of the certificate; of the public key for service accounts.
    pub der: Vec<u8>,
}

pub struct Repository {
    pub tree: Tree,
    pub id: HexId<32>,
    /// By label: a person's name, or any other for keys that the person gets later.
    pub identities: BTreeMap<String, Identity>,
    pub epochs: Vec<(Epoch, Digest)>,
    /// Every record that was ever put, whether it is still in the tree or not.
    pub records: BTreeMap<Digest, Record>,
    pub authorities: BTreeMap<(String, Keyset, u32), Authority>,
    pub clock: Time,
    pub rng: Rng,
}

pub fn person(name: &str) -> PersonName {
    PersonName::parse(name).unwrap()
}

pub fn cluster(name: &str) -> ClusterName {
    ClusterName::parse(name).unwrap()
}

pub fn generation(number: u32) -> Generation {
    Generation::new(number).unwrap()
}

pub fn place(path: &str) -> Place {
    Place::parse(path).unwrap()
}

pub fn names(names: &[&str]) -> BTreeSet<PersonName> {
    names.iter().map(|name| person(name)).collect()
}

pub fn file(bytes: impl Into<Vec<u8>>) -> Entry {
    Entry::File { bytes: bytes.into(), executable: false }
}

/// The codes of all errors, each once, sorted by name.
pub fn errors(verified: &Verified) -> Vec<&'static str> {
    codes(verified, Level::Error)
}

pub fn codes(verified: &Verified, level: Level) -> Vec<&'static str> {
    let found = verified.findings.iter().filter(|finding| finding.level == level);
    found.map(|finding| finding.code.as_str()).collect::<BTreeSet<_>>().into_iter().collect()
}

pub fn fresh(name: &str, created: Time) -> Identity {
    let (certificate, secret) = openpgp::generate(&format!("{name} <{name}@example.org>"), created, None).unwrap();
    let usable = certificate.usable(created.plus(Span::days(1))).unwrap();
    let bytes = secret.expose().to_vec();
    let keys = SecretKeys::file(secret, &mut |_| None).unwrap();
    let (sign, encrypt) = (usable.sign[0].clone(), usable.encrypt[0].clone());
    Identity { stored: certificate.to_stored(), certificate, sign, encrypt, secret: bytes, keys }
}

impl Identity {
    pub fn as_person(&self, role: TrustRole) -> Person {
        Person {
            role,
            cert: self.certificate.fingerprint(),
            cert_sha256: Digest::of(&self.stored),
            sign: vec![self.sign.clone()],
            encrypt: vec![self.encrypt.clone()],
        }
    }

    pub fn signature(&mut self, data: &[u8], kind: Kind, time: Time) -> Vec<u8> {
        self.keys.sign(data, kind, &self.certificate, &self.sign, time).unwrap()
    }
}

impl Repository {
    /// One epoch with these people as roots, any one of whom can sign the next.
    pub fn of(people: &[&str]) -> Self {
        let mut rng = Rng::system();
        let mut repository = Self {
            tree: Tree::default(),
            id: HexId(rng.bytes()),
            identities: BTreeMap::new(),
            epochs: Vec::new(),
            records: BTreeMap::new(),
            authorities: BTreeMap::new(),
            clock: Time::parse("2026-11-01T00:00:00Z").unwrap(),
            rng,
        };
        let mut persons = BTreeMap::new();
        for name in people {
            persons.insert(person(name), repository.identity(name).as_person(TrustRole::Root));
        }
        let created = repository.tick();
        let epoch = Epoch {
            repo: repository.id,
            number: 1,
            previous: None,
            created,
            expires: created.plus(Span::days(365)),
            reason: "the first".to_owned(),
            threshold: Thresholds { trust: 1, break_glass: 1 },
            policy: Policy::default(),
            persons,
            clusters: BTreeMap::new(),
            former: Vec::new(),
            waived: Vec::new(),
            closes: None,
        };
        repository.publish(epoch, people);
        repository
    }

    /// alice and bob, two of whom sign epochs, erin, who may ask for the group dev, and the cluster prod.
    pub fn demo() -> Self {
        let mut repository = Self::of(&["alice", "bob", "erin"]);
        let mut epoch = repository.draft();
        epoch.threshold = Thresholds { trust: 2, break_glass: 2 };
        epoch.persons.get_mut(&person("erin")).unwrap().role = TrustRole::Member;
        repository.add_cluster(&mut epoch, "prod", &["alice", "bob"], &["alice", "bob"]);
        let groups = &mut epoch.clusters.get_mut(&cluster("prod")).unwrap().groups;
        groups.insert(person("erin"), BTreeSet::from(["dev".to_owned(), "ops".to_owned()]));
        repository.publish(epoch, &["alice", "bob"]);
        repository.populate("prod", "alice");
        repository
    }

    /// The identity with this label, made if it does not exist.
    pub fn identity(&mut self, label: &str) -> &mut Identity {
        let created = Time::parse("2026-01-01T00:00:00Z").unwrap();
        self.identities.entry(label.to_owned()).or_insert_with(|| fresh(label, created))
    }

    pub fn tick(&mut self) -> Time {
        self.clock = self.clock.plus(Span::minutes(1));
        self.clock
    }

    pub fn now(&self) -> Time {
        self.clock.plus(Span::minutes(1))
    }

    pub fn latest(&self) -> &Epoch {
        &self.epochs.last().unwrap().0
    }

    pub fn put_file(&mut self, path: impl ToString, bytes: impl Into<Vec<u8>>) {
        self.tree.entries.insert(path.to_string(), file(bytes));
    }

    pub fn bytes(&self, path: &str) -> Vec<u8> {
        self.tree.bytes(path).unwrap_or_else(|| panic!("{path} is there")).to_vec()
    }

    // -- epochs

    /// The next epoch: as the latest, and it closes all heads.
    pub fn draft(&mut self) -> Epoch {
        let created = self.tick();
        let heads = self.heads();
        let (latest, sha256) = self.epochs.last().unwrap();
        Epoch {
            number: latest.number + 1,
            previous: Some(*sha256),
            created,
            expires: created.plus(Span::days(365)),
            closes: Some(self.closes(&heads)),
            ..latest.clone()
        }
    }

    pub fn closes(&self, heads: &[Digest]) -> Closes {
        let mut heads = heads.to_vec();
        heads.sort();
        Closes { count: u32::try_from(self.reach(&heads).len()).unwrap(), heads }
    }

    /// Takes a person out of a draft.
    pub fn leave(&self, epoch: &mut Epoch, name: &str, reason: FormerReason) {
        let gone = epoch.persons.remove(&person(name)).unwrap();
        epoch.former.push(Former { person: person(name), cert: gone.cert, epoch: epoch.number, reason });
        for cluster in epoch.clusters.values_mut() {
            cluster.keyholders.remove(&person(name));
            cluster.issuers.remove(&person(name));
            cluster.groups.remove(&person(name));
        }
    }

    /// Writes an epoch, the certificates that it and those before it pin, and these persons' signatures.
    pub fn publish(&mut self, epoch: Epoch, signers: &[&str]) {
        let (number, text) = (epoch.number, epoch.write());
        self.put_file(Place::Epoch(number), text.clone());
        self.epochs.truncate(number as usize - 1);
        self.epochs.push((epoch, Digest::of(text.as_bytes())));
        self.pin_certificates();
        for name in signers {
            self.sign_epoch(number, name, name, false);
        }
    }

    /// Signs an epoch as `name` with the keys of `label`.
    pub fn sign_epoch(&mut self, number: u32, name: &str, label: &str, old: bool) {
        let data = self.bytes(&Place::Epoch(number).to_string());
        let time = self.clock;
        let signature = self.identity(label).signature(&data, Kind::Epoch, time);
        self.put_file(Place::EpochSignature { number, person: person(name), old }, signature);
    }

    fn pin_certificates(&mut self) {
        let stored: BTreeMap<Digest, Vec<u8>> =
            self.identities.values().map(|one| (Digest::of(&one.stored), one.stored.clone())).collect();
        self.tree.entries.retain(|path, _| !path.starts_with("pubkeys/"));
        let latest = self.latest().persons.clone();
        for (name, person) in &latest {
            if let Some(bytes) = stored.get(&person.cert_sha256) {
                self.put_file(Place::PublicKey(name.clone()), bytes.clone());
            }
        }
        let today: BTreeSet<Digest> = latest.values().map(|person| person.cert_sha256).collect();
        let ever: BTreeSet<Digest> =
            self.epochs.iter().flat_map(|(epoch, _)| epoch.persons.values().map(|p| p.cert_sha256)).collect();
        for digest in ever.difference(&today) {
            if let Some(bytes) = stored.get(digest) {
                self.put_file(Place::OldPublicKey(digest.h16()), bytes.clone());
            }
        }
    }

    // -- records

    pub fn is_there(&self, record: &Digest) -> bool {
        self.records.get(record).is_some_and(|found| self.tree.entries.contains_key(&record_path(found, record)))
    }

    /// These records and all before them, as far as they are there.
    pub fn reach(&self, heads: &[Digest]) -> BTreeSet<Digest> {
        let (mut seen, mut rest) = (BTreeSet::new(), heads.to_vec());
        while let Some(digest) = rest.pop() {
            if self.is_there(&digest) && seen.insert(digest) {
                rest.extend(&self.records[&digest].parents);
            }
        }
        seen
    }

    pub fn heads(&self) -> Vec<Digest> {
        let there: Vec<&Digest> = self.records.keys().filter(|digest| self.is_there(digest)).collect();
        let named: BTreeSet<&Digest> = there.iter().flat_map(|digest| &self.records[*digest].parents).collect();
        there.into_iter().filter(|digest| !named.contains(digest)).copied().collect()
    }

    /// A record without entries that claims the latest epoch and has seen everything.
    pub fn blank(&mut self, actor: &str) -> Record {
        let time = self.tick();
        let (epoch, sha256) = self.epochs.last().unwrap();
        Record::new(self.id, (epoch.number, *sha256), person(actor), time, "test", self.heads())
    }

    pub fn put(&mut self, record: Record) -> Digest {
        let label = record.actor.to_string();
        self.put_as(record, &label)
    }

    /// Writes a record, signed with the keys of `label`.
    pub fn put_as(&mut self, mut record: Record, label: &str) -> Digest {
        record.sort();
        let text = record.write();
        let sha256 = Digest::of(text.as_bytes());
        let time = self.clock;
        let signature = self.identity(label).signature(text.as_bytes(), Kind::Record, time);
        self.put_file(record_path(&record, &sha256), text);
        self.put_file(signature_path(&record, &sha256), signature);
        self.records.insert(sha256, record);
        sha256
    }

    pub fn commit(&mut self, actor: &str, edit: impl FnOnce(&mut Record)) -> Digest {
        let mut record = self.blank(actor);
        edit(&mut record);
        self.put(record)
    }

    /// The path of a record that was put.
    pub fn path(&self, record: &Digest) -> String {
        record_path(&self.records[record], record)
    }

    pub fn drop_record(&mut self, record: &Digest) {
        let found = self.records[record].clone();
        self.tree.entries.remove(&record_path(&found, record));
        self.tree.entries.remove(&signature_path(&found, record));
    }

    // -- clusters

    /// Adds a cluster with one generation of each keyset to a draft. Issuers may ask for `kluis:admins`.
    pub fn add_cluster(&mut self, epoch: &mut Epoch, name: &str, keyholders: &[&str], issuers: &[&str]) {
        let admins = || BTreeSet::from(["kluis:admins".to_owned()]);
        let entry = Cluster {
            id: HexId(self.rng.bytes()),
            api: format!("https://api.{name}.example.org:6443"),
            keyholders: names(keyholders),
            issuers: names(issuers),
            retired: false,
            groups: issuers.iter().map(|name| (person(name), admins())).collect(),
            keysets: BTreeMap::new(),
        };
        epoch.clusters.insert(cluster(name), entry);
        self.add_generation(epoch, name, Keyset::Kubernetes, 1);
        self.add_generation(epoch, name, Keyset::ServiceAccount, 1);
    }

    /// Makes a new generation of a keyset, lists it in a draft and writes its public file.
    pub fn add_generation(&mut self, epoch: &mut Epoch, name: &str, keyset: Keyset, number: u32) {
        let key = PrivateKey::generate(Algorithm::EcdsaP256, &mut self.rng);
        let (der, path) = if keyset == Keyset::ServiceAccount {
            let der = key.spki();
            self.put_file(Place::ServiceAccount(cluster(name), generation(number)), pki::public_pem(&der));
            (der, ())
        } else {
            let validity = pki::Validity {
                not_before: self.clock.minus(Span::minutes(5)),
                not_after: self.clock.plus(Span::days(3650)),
            };
            let common_name = format!("{keyset}-ca-g{number}");
            let spec = pki::CaSpec { common_name: &common_name, validity, name_constraints: None };
            let der = pki::issue_ca(&key, &spec, &mut self.rng);
            self.put_file(Place::Ca(cluster(name), keyset, generation(number)), pki::certificate_pem(&der));
            (der, ())
        };
        let () = path;
        let keysets = &mut epoch.clusters.get_mut(&cluster(name)).unwrap().keysets;
        keysets.entry(keyset).or_default().insert(generation(number), Digest::of(&der));
        self.authorities.insert((name.to_owned(), keyset, number), Authority { key, der });
    }

    /// Seals something to the keyholders of the latest epoch. Returns the entry and the bytes; writes nothing.
    pub fn seal(
        &mut self,
        name: &str,
        sealed: SealedName,
        revision: u32,
        public: &[(&str, Digest)],
    ) -> (Sealed, Vec<u8>) {
        let keyholders: Vec<String> = {
            let found = self.latest().clusters.get(&cluster(name)).unwrap();
            found.keyholders.iter().map(ToString::to_string).collect()
        };
        let keyholders: Vec<&str> = keyholders.iter().map(String::as_str).collect();
        self.seal_to(name, sealed, revision, public, &keyholders)
    }

    pub fn seal_to(
        &mut self,
        name: &str,
        sealed: SealedName,
        revision: u32,
        public: &[(&str, Digest)],
        to: &[&str],
    ) -> (Sealed, Vec<u8>) {
        for label in to {
            self.identity(label);
        }
        let recipients: Vec<_> =
            to.iter().map(|l| (&self.identities[*l].certificate, &self.identities[*l].encrypt)).collect();
        let bytes = openpgp::encrypt(&Secret::new(b"what nobody here opens".to_vec()), &recipients).unwrap();
        let entry = Sealed {
            cluster: cluster(name),
            name: sealed,
            revision,
            sha256: Digest::of(&bytes),
            imported: false,
            recipients: to
                .iter()
                .map(|label| Recipient { person: person(label), key: self.identities[*label].encrypt.clone() })
                .collect(),
            public: public.iter().map(|(name, id)| PublicId { name: (*name).to_owned(), id: *id }).collect(),
        };
        (entry, bytes)
    }

    /// Seals into the tree and into `record`.
    pub fn seal_in(
        &mut self,
        record: &mut Record,
        name: &str,
        sealed: SealedName,
        revision: u32,
        public: &[(&str, Digest)],
    ) {
        let (entry, bytes) = self.seal(name, sealed, revision, public);
        self.put_file(entry.place(), bytes);
        record.sealed.push(entry);
    }

    /// The name and id of the key of an authority, as its sealed file records them.
    pub fn authority_id(&self, name: &str, keyset: Keyset, number: u32) -> Digest {
        self.authorities[&(name.to_owned(), keyset, number)].key.spki_id()
    }

    /// Seals the key of a generation that `add_generation` made.
    pub fn seal_authority(&mut self, record: &mut Record, name: &str, keyset: Keyset, number: u32, revision: u32) {
        let id = self.authority_id(name, keyset, number);
        let sealed = SealedName::Keyset(keyset, generation(number));
        let key = sealed.header_name();
        self.seal_in(record, name, sealed, revision, &[(key.as_str(), id)]);
    }

    pub fn phase(&self, name: &str, keyset: Keyset, number: u32, state: State) -> Phase {
        Phase { cluster: cluster(name), keyset, generation: generation(number), state, gates: Vec::new() }
    }

    /// Issues a certificate for `spki` from generation `number` of the keyset kubernetes; writes nothing.
    pub fn issue(&mut self, at: &Place, spki: &[u8], groups: &[&str], number: u32, life: Span) -> (Issued, Vec<u8>) {
        let (name, profile, owner) = match at {
            Place::NodeCert(name, node, profile) => (name, *profile, node.as_str()),
            Place::PersonCert(name, person, profile) => (name, *profile, person.as_str()),
            other => panic!("{other} is no certificate's place"),
        };
        let organizations: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let not_before = self.clock.minus(Span::minutes(5));
        let validity = pki::Validity { not_before, not_after: self.clock.plus(life) };
        let sans = [Host::parse("cp-1.example.org").unwrap()];
        let serves = profile.key_use() != kluis::model::KeyUse::Client;
        let spec = pki::LeafSpec {
            profile,
            owner,
            organizations: &organizations,
            sans: if serves { &sans } else { &[] },
            validity,
        };
        let authority = &self.authorities[&(name.to_string(), Keyset::Kubernetes, number)];
        let der = pki::issue_leaf(spki, &spec, &authority.der, &authority.key, &mut self.rng).unwrap();
        let facts = pki::Facts::read(&der).unwrap();
        let entry = Issued {
            place: at.clone(),
            subject: facts.subject.clone(),
            serial: facts.serial.clone(),
            sha256: facts.sha256,
            spki: facts.spki_id,
            issuer: Digest::of(&authority.der),
            not_before: facts.not_before,
            not_after: facts.not_after,
            request: None,
        };
        (entry, pki::certificate_pem(&der))
    }

    pub fn issue_in(&mut self, record: &mut Record, at: &Place, spki: &[u8], groups: &[&str], number: u32) {
        let (entry, pem) = self.issue(at, spki, groups, number, Span::hours(8));
        self.put_file(at, pem);
        record.issued.push(entry);
    }

    pub fn key(&mut self) -> PrivateKey {
        PrivateKey::generate(Algorithm::EcdsaP256, &mut self.rng)
    }

    /// What `cluster new` writes: cluster.toml, sealed keys, a control-plane node's certificate and bundle, and
    /// the first phases. One record of `actor`'s.
    pub fn populate(&mut self, name: &str, actor: &str) -> Digest {
        let mut record = self.blank(actor);
        let config = config(&self.latest().clusters[&cluster(name)].api);
        record.config.push(Config { cluster: cluster(name), sha256: Digest::of(config.as_bytes()) });
        self.put_file(Place::Config(cluster(name)), config);
        for keyset in [Keyset::Kubernetes, Keyset::ServiceAccount] {
            self.seal_authority(&mut record, name, keyset, 1, 1);
            record.phase.push(self.phase(name, keyset, 1, State::Issuing));
        }
        let id = Digest::of(&self.rng.bytes::<32>());
        self.seal_in(
            &mut record,
            name,
            SealedName::Keyset(Keyset::Encryption, generation(1)),
            1,
            &[("encryption", id)],
        );
        record.phase.push(self.phase(name, Keyset::Encryption, 1, State::Issuing));
        let key = self.key();
        let bundle = place(&format!("clusters/{name}/sealed/node.cp-1.asc"));
        let Place::Sealed(_, sealed) = bundle else { unreachable!("it is a sealed file's") };
        self.seal_in(&mut record, name, sealed, 1, &[("apiserver", key.spki_id())]);
        let at = place(&format!("clusters/{name}/certs/node/cp-1/apiserver.crt"));
        let (entry, pem) = self.issue(&at, &key.spki(), &[], 1, Span::days(365));
        self.put_file(&at, pem);
        record.issued.push(entry);
        self.put(record)
    }

    // -- requests

    /// A request of `who` for prod with a fresh key: the value, and the key.
    pub fn request(&mut self, who: &str, profile: Profile, groups: &[&str]) -> (Request, PrivateKey) {
        let key = self.key();
        let created = self.tick();
        let request = Request {
            repo: self.id,
            cluster: self.latest().clusters[&cluster("prod")].id,
            person: person(who),
            profile,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            lifetime: Span::hours(8),
            created,
            expires: created.plus(Span::days(7)),
            nonce: HexId(self.rng.bytes()),
            reason: "because".to_owned(),
            csr: pki::build_csr(&key, who),
        };
        (request, key)
    }

    /// Writes a request with its person's signature, or that of `label`.
    pub fn file_request(&mut self, request: &Request, label: &str) -> Digest {
        let text = request.write();
        let sha256 = Digest::of(text.as_bytes());
        let time = self.clock;
        let signature = self.identity(label).signature(text.as_bytes(), Kind::Request, time);
        self.put_file(Place::Request(cluster("prod"), sha256.h16()), text);
        self.put_file(Place::RequestSignature(cluster("prod"), sha256.h16(), person(label)), signature);
        sha256
    }

    /// Puts a record of `actor` that grants a request.
    pub fn grant(&mut self, actor: &str, request: &Request, hash: Digest, key: &PrivateKey) -> Digest {
        let mut record = self.blank(actor);
        self.grant_in(&mut record, request, hash, key);
        self.put(record)
    }

    pub fn grant_in(&mut self, record: &mut Record, request: &Request, hash: Digest, key: &PrivateKey) {
        let at = Place::PersonCert(cluster("prod"), request.person.clone(), request.profile);
        let groups: Vec<&str> = request.groups.iter().map(String::as_str).collect();
        let (mut entry, pem) = self.issue(&at, &key.spki(), &groups, 1, request.lifetime);
        entry.request = Some(hash);
        if entry.is_break_glass() {
            record.reason = "an outage".to_owned();
        }
        self.put_file(&at, pem);
        record.issued.push(entry);
    }

    // -- verifying

    pub fn genesis(&self) -> Anchor {
        Anchor { repo: self.id, epochs: vec![(1, self.epochs[0].1)], heads: Vec::new() }
    }

    /// What `trust pin` would print now.
    pub fn pin(&self) -> Anchor {
        let (epoch, sha256) = self.epochs.last().unwrap();
        PinLine { repo: self.id, epoch: epoch.number, sha256: *sha256, heads: self.heads() }.anchor()
    }

    pub fn verify(&self) -> Verified {
        self.verify_with(&self.genesis())
    }

    pub fn verify_with(&self, anchor: &Anchor) -> Verified {
        trust::verify(self.tree.clone(), Some(anchor), self.now(), false)
    }

    /// Asserts that nothing is wrong or owed.
    #[track_caller]
    pub fn fine(&self) {
        let verified = self.verify_with(&self.pin());
        assert_eq!(verified.exit(), 0, "{:#?}", verified.findings);
    }

    /// Asserts that exactly these errors are found, and exit 3.
    #[track_caller]
    pub fn refused(&self, expected: &[&str]) {
        let verified = self.verify();
        assert_eq!((errors(&verified).as_slice(), verified.exit()), (expected, 3), "{:#?}", verified.findings);
    }

    /// Asserts that exactly these are owed, and exit 5.
    #[track_caller]
    pub fn owed(&self, expected: &[&str]) {
        let verified = self.verify();
        assert_eq!(
            (codes(&verified, Level::Attention).as_slice(), verified.exit()),
            (expected, 5),
            "{:#?}",
            verified.findings
        );
    }
}

pub fn config(api: &str) -> String {
    format!(
        "distribution = \"kubeadm\"\nkubernetes = \"1.36\"\nendpoint = \"{api}\"\n\n[[node]]\nname = \"cp-1\"\nroles = [\"control-plane\", \"etcd\"]\naddresses = [\"10.0.0.11\"]\n"
    )
}

pub fn record_path(record: &Record, sha256: &Digest) -> String {
    Place::Record { month: record.time.month(), h16: sha256.h16() }.to_string()
}

pub fn signature_path(record: &Record, sha256: &Digest) -> String {
    Place::RecordSignature { month: record.time.month(), h16: sha256.h16(), person: record.actor.clone() }.to_string()
}

/// Whether a finding with this code is at this path.
pub fn has(verified: &Verified, code: Code, path: &str) -> bool {
    verified.findings.iter().any(|finding| finding.code == code && finding.path.as_deref() == Some(path))
}
