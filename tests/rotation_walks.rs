//! Walks: random sequences of phases, `undo`, issuing, renewing, nodes and people that come and go, and time. After every step
//! a model of the phases that knows nothing of kluis's agrees, one generation of each keyset issues, and no certificate is of
//! a CA that is trusted no more; a refused step has changed nothing. What is exported says so to openssl, too: certificates of
//! every generation pass while their phase says that they do, and not a step longer.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod seat;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use ground::Ground;
use kluis::model::{Generation, Keyset, Place, Span, State};
use kluis::pki::Facts;
use kluis::trust::current::Vouch;
use kluis::trust::{Verified, keyset_of};
use proptest::prelude::*;
use seat::*;

const NEW: &str = "cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 --algorithm ecdsa-p256 \
    --node cp-1=10.0.0.11:control-plane,etcd --yes";
const KEYSETS: [Keyset; 5] =
    [Keyset::Kubernetes, Keyset::Etcd, Keyset::FrontProxy, Keyset::ServiceAccount, Keyset::Encryption];
const CAS: [(Keyset, &str, &str); 3] = [
    (Keyset::Kubernetes, "pki/ca.crt", "pki/apiserver.crt"),
    (Keyset::Etcd, "pki/etcd/ca.crt", "pki/etcd/server.crt"),
    (Keyset::FrontProxy, "pki/front-proxy-ca.crt", "pki/front-proxy-client.crt"),
];
/// All but that people have moved: then nobody's certificate is cut off, and no walk may come to that.
const CONFIRMED: &str = "--confirm nodes-have-bundle --confirm clients-have-bundle --confirm verifiers-have-key \
    --confirm nodes-have-leaves --confirm tokens-renewed --confirm secrets-rewritten";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Start,
    Trust,
    Promote,
    Distrust,
    Remove,
    Undo,
    Next,
}

#[derive(Debug, Clone)]
enum Step {
    /// A phase of these keysets; of all if there are none.
    Phase(Verb, Vec<Keyset>),
    IssueNode,
    IssueClient,
    Renew,
    AddNode,
    RemoveNode,
    AddPerson,
    RemovePerson,
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let verb = prop_oneof![
        2 => Just(Verb::Start),
        2 => Just(Verb::Trust),
        2 => Just(Verb::Promote),
        2 => Just(Verb::Distrust),
        1 => Just(Verb::Remove),
        2 => Just(Verb::Undo),
        4 => Just(Verb::Next),
    ];
    let some = prop::sample::subsequence(KEYSETS.to_vec(), 1..=2);
    let named = prop_oneof![2 => Just(Vec::new()), 1 => some];
    prop_oneof![
        12 => (verb, named).prop_map(|(verb, named)| Step::Phase(verb, named)),
        1 => Just(Step::IssueNode),
        1 => Just(Step::IssueClient),
        1 => Just(Step::Renew),
        1 => Just(Step::AddNode),
        1 => Just(Step::RemoveNode),
        1 => Just(Step::AddPerson),
        1 => Just(Step::RemovePerson),
        2 => (1_u32..72).prop_map(Step::Wait),
    ]
}

/// Where a keyset stands, as the table of docs/ROTATION.md has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Steady,
    Staged,
    Trusted,
    Promoted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Model {
    at: At,
    /// A generation is distrusted and not removed yet; a new rotation may have begun meanwhile.
    leaves_one: bool,
}

impl Model {
    fn word(self) -> &'static str {
        match (self.at, self.leaves_one) {
            (At::Steady, false) => "steady",
            (At::Steady, true) => "distrusted",
            (At::Staged, _) => "staged",
            (At::Trusted, _) => "trusted",
            (At::Promoted, _) => "promoted",
        }
    }

    /// Where a verb leads; `None` where it does not begin here.
    fn after(self, verb: Verb) -> Option<Self> {
        let to = |at| Some(Self { at, ..self });
        let gone = Some(Self { at: At::Steady, leaves_one: true });
        match (verb, self.at) {
            (Verb::Start, At::Steady) => to(At::Staged),
            (Verb::Trust | Verb::Next, At::Staged) => to(At::Trusted),
            (Verb::Promote | Verb::Next, At::Trusted) => to(At::Promoted),
            (Verb::Undo, At::Promoted) => to(At::Trusted),
            (Verb::Undo, At::Trusted) => to(At::Staged),
            (Verb::Distrust | Verb::Next, At::Promoted) | (Verb::Undo, At::Staged) => gone,
            (Verb::Remove, at) if self.leaves_one => Some(Self { at, leaves_one: false }),
            _ => None,
        }
    }
}

struct Walk {
    ground: Ground,
    models: BTreeMap<Keyset, Model>,
    /// A certificate of each CA generation from the time when it issued.
    samples: BTreeMap<(Keyset, Generation), PathBuf>,
    nodes: Vec<String>,
    people: Vec<String>,
    made: usize,
    exports: usize,
}

impl Walk {
    fn new() -> Self {
        let ground = Ground::new(&["alice", "bob"], 1, 1);
        ground.run("alice", NEW).ends(0);
        ground.run("alice", "person update bob --keyholder prod --issuer prod").ends(0);
        ground.run("alice", "reseal").ends(0);
        let steady = Model { at: At::Steady, leaves_one: false };
        let mut walk = Self {
            ground,
            models: KEYSETS.map(|keyset| (keyset, steady)).into(),
            samples: BTreeMap::new(),
            nodes: Vec::new(),
            people: Vec::new(),
            made: 0,
            exports: 0,
        };
        walk.check_exported();
        walk
    }

    /// Runs a command; `true` if it did what it was asked. Refused, it has changed nothing and says what helps.
    fn runs(&self, who: &str, words: &str) -> bool {
        let before = (self.ground.git("rev-parse HEAD"), self.ground.git("status --porcelain -uall"));
        let answered = self.ground.run(who, words);
        if matches!(answered.exit, 0 | 5) {
            assert_eq!(self.ground.git("status --porcelain -uall"), "", "after {words}");
            return true;
        }
        let said = format!("{words}: {} {}{}", answered.exit, answered.out, answered.err);
        assert!(matches!(answered.exit, 2 | 3) && said.contains("help: "), "{said}");
        let after = (self.ground.git("rev-parse HEAD"), self.ground.git("status --porcelain -uall"));
        assert_eq!(after, before, "refused, and changed something: {said}");
        false
    }

    /// Runs a command that nothing stands in the way of.
    #[track_caller]
    fn does(&self, who: &str, words: &str) {
        let answered = self.ground.run(who, words);
        assert!(matches!(answered.exit, 0 | 5), "{words}: {} {}{}", answered.exit, answered.out, answered.err);
    }

    fn takes(&mut self, step: &Step) {
        match step {
            Step::Phase(verb, named) => self.phase(*verb, named),
            Step::IssueNode => self.does("bob", "cert issue apiserver -c prod --node cp-1 --yes"),
            Step::IssueClient => self.does("alice", "cert issue client -c prod --lifetime 12h --yes"),
            Step::Renew => self.does("bob", "cert renew -c prod --within 3650d --yes"),
            Step::AddNode => {
                self.made += 1;
                self.nodes.push(format!("w-{}", self.made));
                self.describe();
            }
            Step::RemoveNode => {
                if self.nodes.pop().is_some() {
                    self.describe();
                }
            }
            Step::AddPerson => {
                self.made += 1;
                let name = format!("new-{}", self.made);
                let file = newcomer(&mut self.ground, &name);
                self.does("alice", &format!("person add {name} --pgp {file} --keyholder prod --yes"));
                self.ground.run(&name, "trust sign --yes").ends(0);
                self.does("alice", "reseal");
                self.people.push(name);
            }
            Step::RemovePerson => {
                if let Some(name) = self.people.pop() {
                    self.does("bob", &format!("person remove {name} --reason left --yes"));
                    self.does("bob", "reseal");
                }
            }
            Step::Wait(hours) => self.ground.now = self.ground.now.plus(Span::hours(*hours)),
        }
        self.check_values();
    }

    /// Writes the nodes into cluster.toml, and applies it.
    fn describe(&self) {
        let node = |name: &String| {
            format!("\n[[node]]\nname = \"{name}\"\nroles = [\"worker\"]\naddresses = [\"10.0.1.1\"]\n")
        };
        self.ground.edit("clusters/prod/cluster.toml", |text| {
            let kept = text.split("\n[[node]]\nname = \"w-").next().unwrap().to_owned();
            kept + &self.nodes.iter().map(node).collect::<String>()
        });
        self.does("alice", "cluster apply -c prod --yes");
    }

    fn phase(&mut self, verb: Verb, named: &[Keyset]) {
        let mut words = format!("rotate {}", format!("{verb:?}").to_lowercase());
        named.iter().for_each(|keyset| words.push_str(&format!(" {keyset}")));
        words.push_str(" -c prod --yes");
        if !matches!(verb, Verb::Start | Verb::Remove) {
            words.push_str(&format!(" {CONFIRMED}"));
        }
        let about: Vec<Keyset> = if named.is_empty() { KEYSETS.to_vec() } else { named.to_vec() };
        let after = |keyset: &Keyset| self.models[keyset].after(verb).map(|to| (*keyset, to));
        let moves: BTreeMap<Keyset, Model> = about.iter().filter_map(after).collect();
        // These leave alone what stands elsewhere; the others refuse what was named.
        let misplaced = !named.is_empty() && moves.len() < about.len() && !matches!(verb, Verb::Start | Verb::Remove);
        // Where nothing stands where the step begins, what has not come there yet is no success.
        let waits: &[At] = match verb {
            Verb::Promote => &[At::Staged],
            Verb::Distrust => &[At::Staged, At::Trusted],
            _ => &[],
        };
        let unreached = moves.is_empty() && about.iter().any(|keyset| waits.contains(&self.models[keyset].at));
        let misplaced = misplaced || unreached;
        // The steps that take trust away, for which people's certificates matter.
        let cuts_off = moves.iter().any(|(keyset, to)| {
            let from = self.models[keyset].at;
            let takes = to.word() == "distrusted" && from == At::Promoted || verb == Verb::Undo && from != At::Promoted;
            keyset.is_ca() && takes
        });
        let head = self.ground.git("rev-parse HEAD");
        let done = self.runs("bob", &words);
        assert!(done || misplaced || cuts_off, "{words} is refused, though it begins at {:?}", self.models);
        assert!(!(done && misplaced), "{words} is done, though it does not begin at {:?}", self.models);
        if !done {
            return;
        }
        assert_eq!(
            self.ground.git("rev-parse HEAD") != head,
            !moves.is_empty(),
            "{words}: one commit if there is a step"
        );
        self.models.extend(&moves);
        if !moves.is_empty() {
            self.check_exported();
        }
    }

    /// The state of each generation, each of which there is one.
    fn states(&self, verified: &Verified, keyset: Keyset) -> BTreeMap<Generation, State> {
        let found = verified.current.states.iter().find(|((_, of), _)| *of == keyset).unwrap().1;
        let single = found.iter().map(|(generation, states)| {
            assert_eq!(states.len(), 1, "{keyset} {generation}: {states:?}");
            (*generation, *states.first().unwrap())
        });
        single.collect()
    }

    /// What `trust` says, and `rotate status`.
    fn check_values(&self) {
        assert_eq!(self.ground.errors(), [""; 0]);
        let verified = self.ground.verified();
        let latest = &verified.chain.latest().unwrap().epoch;
        let (name, cluster) = latest.clusters.first_key_value().unwrap();
        // By the hashes of CA certificates: whose leaves are current, and whose may live.
        let (mut issuing, mut trusted) = (BTreeMap::new(), BTreeSet::new());
        for keyset in KEYSETS {
            let states = self.states(&verified, keyset);
            let issues: Vec<Generation> = states
                .iter()
                .filter(|(_, state)| **state == State::Issuing)
                .map(|(generation, _)| *generation)
                .collect();
            assert_eq!(issues.len(), 1, "{keyset}: {states:?}");
            for (generation, hash) in cluster.generations(keyset) {
                if !matches!(states[&generation], State::Staged | State::Distrusted) {
                    trusted.insert(hash);
                }
                if generation == issues[0] {
                    issuing.insert(keyset, hash);
                }
            }
            assert_eq!(issuing.contains_key(&keyset), !keyset.is_symmetric(), "{keyset}: what issues is listed");
        }
        for (place, said) in &verified.current.history {
            for vouched in said {
                let Vouch::Issued(entry) = &vouched.vouch else { continue };
                let current = verified.current.leaves.get(place).is_some_and(|facts| facts.sha256 == entry.sha256);
                match place {
                    Place::NodeCert(_, _, profile) if current => {
                        assert_eq!(entry.issuer, issuing[&keyset_of(cluster, *profile)], "{place} is of what issues");
                    }
                    // Replaced ones of nodes are gone from them: that is a gate. What people have, nobody takes away.
                    Place::PersonCert(..) if entry.not_after > self.ground.now => {
                        assert!(trusted.contains(&entry.issuer), "{place} lives and is trusted no more");
                    }
                    _ => {}
                }
            }
        }
        let status = data(&self.ground.run("alice", "rotate status -c prod -o json").ends(0), "rotate status");
        let found = status["clusters"][0]["keysets"].as_array().unwrap().clone();
        for one in found {
            let keyset = Keyset::parse(one["keyset"].as_str().unwrap()).unwrap();
            assert_eq!(one["phase"], self.models[&keyset].word(), "{name}/{keyset}: {:?}", one["states"]);
        }
    }

    /// What a node gets, looked at by openssl.
    fn check_exported(&mut self) {
        self.exports += 1;
        let out = self.ground.dir.path().join(format!("export-{}", self.exports));
        self.ground.run("alice", &format!("export kubeadm -c prod --node cp-1 --out {}", out.display())).ends(0);
        let verified = self.ground.verified();
        let cluster = verified.chain.latest().unwrap().epoch.clusters.first_key_value().unwrap().1;
        for (keyset, bundle, sample) in CAS {
            let states = self.states(&verified, keyset);
            let file =
                |generation: Generation| self.ground.read(&format!("clusters/prod/ca/{keyset}.{generation}.crt"));
            assert_eq!(read(&out, bundle), in_order(&states, file), "{bundle} in {states:?}");
            let (issuing, _) = states.iter().find(|(_, state)| **state == State::Issuing).unwrap();
            self.samples.entry((keyset, *issuing)).or_insert_with(|| out.join(sample));
            // The certificates of every node, as they lie in the repository, and this node's as exported.
            let mut good: Vec<PathBuf> = vec![out.join(sample)];
            let leaves = verified.current.leaves.keys();
            let of = leaves.filter(
                |place| matches!(place, Place::NodeCert(_, _, profile) if keyset_of(cluster, *profile) == keyset),
            );
            good.extend(of.map(|place| self.ground.repo().join(place.to_string())));
            let mut bad = Vec::new();
            for ((_, generation), path) in self.samples.iter().filter(|((of, _), _)| *of == keyset) {
                match states[generation] {
                    State::Staged | State::Distrusted => bad.push(path.clone()),
                    _ => good.push(path.clone()),
                }
            }
            for path in good {
                self.lives(&path);
                assert!(self.passes(&out.join(bundle), &path), "{} by {bundle} in {states:?}", path.display());
            }
            for path in bad {
                assert!(!self.passes(&out.join(bundle), &path), "{} still, by {bundle} in {states:?}", path.display());
            }
        }
        let states = self.states(&verified, Keyset::ServiceAccount);
        let file = |generation: Generation| self.ground.read(&format!("clusters/prod/sa/{generation}.pub"));
        assert_eq!(read(&out, "pki/sa.pub"), in_order(&states, file), "{states:?}");
        let states = self.states(&verified, Keyset::Encryption);
        let text = read(&out, "pki/encryption-config.yaml");
        let keys: String = text
            .lines()
            .filter(|line| line.contains("name: kluis-"))
            .map(|line| format!("{}\n", line.trim()))
            .collect();
        assert_eq!(keys, in_order(&states, |generation| format!("- name: kluis-{generation}\n")), "{states:?}");
    }

    /// No test of a path is one of time: a sample is of the last year.
    fn lives(&self, path: &Path) {
        let pem = std::fs::read(path).unwrap();
        let facts = Facts::read(&kluis::pki::parse_pem(&pem, "CERTIFICATE").unwrap()).unwrap();
        assert!(facts.not_before <= self.ground.now && self.ground.now < facts.not_after, "{}", path.display());
    }

    fn passes(&self, bundle: &Path, leaf: &Path) -> bool {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "verify",
            "-x509_strict",
            "-purpose",
            "any",
            "-attime",
            &self.ground.now.unix().to_string(),
            "-CAfile",
        ]);
        openssl.args([bundle, leaf]).output().unwrap().status.success()
    }
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

/// What is trusted, the generation that issues first, the others by number.
fn in_order(states: &BTreeMap<Generation, State>, text: impl Fn(Generation) -> String) -> String {
    let trusted = states.iter().filter(|(_, state)| !matches!(state, State::Staged | State::Distrusted));
    let mut trusted: Vec<(&Generation, &State)> = trusted.collect();
    trusted.sort_by_key(|(generation, state)| (**state != State::Issuing, **generation));
    trusted.into_iter().map(|(generation, _)| text(*generation)).collect()
}

/// A walk takes seconds; whoever has time asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 20, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_happens_one_generation_issues_and_no_certificate_outlives_its_trust(
        steps in prop::collection::vec(step(), 8..16)
    ) {
        let mut walk = Walk::new();
        steps.iter().for_each(|step| walk.takes(step));
        walk.check_exported();
    }
}

/// The one walk that must not be left to chance: every phase there and back, with other work in each of them.
#[test]
fn every_phase_there_and_back_passes_openssl_as_it_says() {
    let mut walk = Walk::new();
    for verb in [
        Verb::Start,
        Verb::Trust,
        Verb::Undo,
        Verb::Undo,
        Verb::Start,
        Verb::Remove,
        Verb::Next,
        Verb::Promote,
        Verb::Undo,
        Verb::Promote,
        Verb::Distrust,
        Verb::Remove,
    ] {
        walk.takes(&Step::Phase(verb, Vec::new()));
        // A certificate that lives on would be a reason to refuse the next step.
        for step in [Step::IssueClient, Step::Wait(13), Step::IssueNode] {
            walk.takes(&step);
        }
        match verb {
            Verb::Trust => walk.takes(&Step::AddNode),
            Verb::Promote | Verb::Undo => walk.takes(&Step::Renew),
            _ => {}
        }
    }
    assert!(walk.models.values().all(|model| model.word() == "steady"), "{:?}", walk.models);
    assert_eq!(walk.samples.keys().filter(|(_, generation)| generation.number() > 1).count(), CAS.len());
}

/// What a walk must come to as well: a person whose certificate is of the CA that goes holds it up.
#[test]
fn a_walk_stops_before_somebody_is_cut_off() {
    let mut walk = Walk::new();
    let verbs = [Verb::Start, Verb::Trust, Verb::Promote, Verb::Distrust];
    walk.takes(&Step::IssueClient);
    verbs.iter().for_each(|verb| walk.takes(&Step::Phase(*verb, vec![Keyset::Kubernetes])));
    assert_eq!(walk.models[&Keyset::Kubernetes].word(), "promoted");
    walk.takes(&Step::Wait(13));
    walk.takes(&Step::Phase(Verb::Distrust, Vec::new()));
    assert_eq!(walk.models[&Keyset::Kubernetes].word(), "distrusted");
}
