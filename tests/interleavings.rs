//! Parallel work: pull requests that issue, add nodes, seal again, add and remove people, opened at one time and merged
//! in another order and in every style that git hosts have. Only epochs ever conflict; what was valid stays valid, and
//! what was not does not become so.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod ground;
mod seat;

use std::collections::BTreeSet;
use std::process::Command;

use ground::Ground;
use proptest::prelude::*;
use seat::*;

const CLUSTERS: [&str; 2] = ["north", "south"];

/// What a pull request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Issue { cluster: usize, node: u8, bob: bool },
    AddNode { cluster: usize },
    Reseal { cluster: usize },
    AddPerson,
    RemovePerson,
}

/// How a git host merges.
#[derive(Debug, Clone, Copy)]
enum Style {
    Merge,
    Squash,
    Rebase,
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        4 => (0..2_usize, 0..3_u8, any::<bool>()).prop_map(|(cluster, node, bob)| Work::Issue { cluster, node, bob }),
        2 => (0..2_usize).prop_map(|cluster| Work::AddNode { cluster }),
        2 => (0..2_usize).prop_map(|cluster| Work::Reseal { cluster }),
        1 => Just(Work::AddPerson),
        1 => Just(Work::RemovePerson),
    ]
}

fn style() -> impl Strategy<Value = Style> {
    prop_oneof![Just(Style::Merge), Just(Style::Squash), Just(Style::Rebase)]
}

/// A step: open this one, and then merge the open one at this position.
type Step = (Work, Option<(usize, Style)>);

/// What two pull requests may not both touch: the current files of a node or of a whole cluster.
fn touches(work: Work) -> BTreeSet<String> {
    let all = |cluster: usize| (0..9).map(move |node| format!("{cluster}/{node}"));
    match work {
        Work::Issue { cluster, node, .. } => BTreeSet::from([format!("{cluster}/{node}")]),
        Work::AddNode { cluster } => BTreeSet::from([format!("{cluster}/cluster.toml")]),
        Work::Reseal { cluster } => all(cluster).chain([format!("{cluster}/cluster.toml")]).collect(),
        Work::AddPerson | Work::RemovePerson => BTreeSet::new(),
    }
}

struct Open {
    branch: String,
    work: Work,
    touches: BTreeSet<String>,
    bob_was_in: bool,
    records: String,
}

struct Team {
    ground: Ground,
    open: Vec<Open>,
    opened: usize,
    nodes: usize,
    newcomers: usize,
}

impl Team {
    fn new() -> Self {
        let ground = Ground::new(&["alice", "bob"], 1, 1);
        ground.git("branch -M main");
        for cluster in CLUSTERS {
            let nodes: String = (0..3).map(|node| format!(" --node w-{node}=10.0.0.{}:worker", node + 1)).collect();
            let new = format!("cluster new {cluster} --endpoint https://{cluster}.example.org:6443 --kubernetes 1.36");
            ground.run("alice", &format!("{new}{nodes} --yes")).ends(0);
        }
        let parts: String = CLUSTERS.iter().map(|c| format!(" --keyholder {c} --issuer {c}")).collect();
        ground.run("alice", &format!("person update bob{parts}")).ends(0);
        ground.run("alice", "reseal").ends(0);
        Self { ground, open: Vec::new(), opened: 0, nodes: 0, newcomers: 0 }
    }

    fn bob_is_in(&self) -> bool {
        let verified = self.ground.verified();
        let latest = verified.chain.latest().unwrap();
        latest.epoch.persons.keys().any(|name| name.as_str() == "bob")
    }

    fn git(&self, args: &[&str]) -> bool {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.ground.repo()).args(["-c", "user.name=t", "-c", "user.email=t@t"]).args(args);
        git.output().unwrap().status.success()
    }

    /// Makes the change on a branch of its own; `false` where there is nothing to do or it would touch what another
    /// open one touches.
    fn opens(&mut self, work: Work) -> bool {
        let touched = touches(work);
        if self.open.iter().any(|open| !open.touches.is_disjoint(&touched)) {
            return false;
        }
        self.opened += 1;
        let branch = format!("pr-{}", self.opened);
        assert!(self.git(&["checkout", "-q", "-b", &branch, "main"]));
        let (bob_is_in, records) = (self.bob_is_in(), self.ground.git("ls-files trust/log"));
        let run = |who: &str, words: &str| self.ground.run(who, words);
        let done = match work {
            Work::Issue { cluster, node, bob } => {
                let who = if bob && bob_is_in { "bob" } else { "alice" };
                run(who, &format!("cert issue -c {} --node w-{node} --yes", CLUSTERS[cluster])).exit
            }
            Work::AddNode { cluster } => {
                self.nodes += 1;
                let name = format!("x-{}", self.nodes);
                self.ground.edit(&format!("clusters/{}/cluster.toml", CLUSTERS[cluster]), |text| {
                    format!("{text}\n[[node]]\nname = \"{name}\"\nroles = [\"worker\"]\naddresses = [\"10.1.0.1\"]\n")
                });
                run("alice", &format!("cluster apply -c {} --yes", CLUSTERS[cluster])).exit
            }
            Work::Reseal { cluster } => run("alice", &format!("reseal -c {}", CLUSTERS[cluster])).exit,
            Work::AddPerson => {
                self.newcomers += 1;
                let name = format!("new-{}", self.newcomers);
                let file = newcomer(&mut self.ground, &name);
                let words = format!("person add {name} --pgp {file} --keyholder {}", CLUSTERS[self.newcomers % 2]);
                self.ground.run("alice", &words).ends(0);
                self.ground.run(&name, "trust sign --yes").exit
            }
            Work::RemovePerson if bob_is_in => run("alice", "person remove bob --reason left --yes").exit,
            Work::RemovePerson => 2,
        };
        let changed = self.ground.git("rev-parse HEAD") != self.ground.git("rev-parse main");
        assert!(done == 0 || !changed, "{work:?} ended {done} and changed something");
        assert!(self.git(&["checkout", "-q", "-f", "main"]));
        if changed {
            self.open.push(Open { branch, work, touches: touched, bob_was_in: bob_is_in, records });
        }
        changed
    }

    /// Merges an open one in a style. Only epochs may conflict; then it is closed unmerged.
    fn merges(&mut self, at: usize, style: Style) -> Result<(), TestCaseError> {
        let open = self.open.remove(at % self.open.len());
        let before = self.ground.git("rev-parse HEAD").trim().to_owned();
        let (bob_was_in, records) = (self.bob_is_in(), self.ground.git("ls-files trust/log"));
        let merged = match style {
            Style::Merge => self.git(&["merge", "-q", "--no-ff", "-m", "merged", &open.branch]),
            Style::Squash => {
                self.git(&["merge", "-q", "--squash", &open.branch]) && self.git(&["commit", "-qm", "squashed"])
            }
            Style::Rebase => self.git(&["cherry-pick", &format!("main..{}", open.branch)]),
        };
        if !merged {
            let status = self.ground.git("status --porcelain");
            let conflicts: Vec<&str> =
                status.lines().filter(|line| ["AA", "UU", "DU", "UD", "AU", "UA"].contains(&&line[..2])).collect();
            let only_epochs = conflicts.iter().all(|line| line[3..].starts_with("trust/epoch/"));
            let is_trust = matches!(open.work, Work::AddPerson | Work::RemovePerson);
            prop_assert!(is_trust && only_epochs, "{:?} conflicts: {status}", open.work);
            self.git(&["cherry-pick", "--abort"]);
            prop_assert!(self.git(&["reset", "-q", "--hard", &before]));
            return Ok(());
        }
        // Who is removed meanwhile must not get what a colleague's open change seals to him, nor issue by his own; and
        // an epoch that removes him must not leave such a change of its meantime out. Then, and only then, the result is
        // refused: its author makes the change anew.
        let removed_meanwhile = open.bob_was_in && !bob_was_in;
        let removes = open.work == Work::RemovePerson;
        let unclosed = removes && open.records != records;
        let errors = self.ground.errors();
        let seals = !matches!(open.work, Work::AddPerson | Work::RemovePerson);
        prop_assert!(!(removed_meanwhile && seals && errors.is_empty()), "{:?} sealed to who left", open.work);
        if (removed_meanwhile || unclosed) && !errors.is_empty() {
            let void = |error: &String| error.starts_with("unclosed-old-epoch");
            prop_assert!(errors.iter().all(void), "{:?}: {errors:?}", open.work);
            prop_assert!(self.git(&["reset", "-q", "--hard", &before]));
            prop_assert!(self.ground.errors().is_empty());
            return Ok(());
        }
        let errors = self.ground.errors();
        prop_assert!(errors.is_empty(), "after {:?} by {style:?}: {errors:?}", open.work);
        // Nothing that main had is gone.
        self.ground.run("alice", &format!("review {before}..HEAD")).ends(0);
        let base = self.ground.run("alice", &format!("verify --base {before}"));
        prop_assert!(matches!(base.exit, 0 | 5), "{}", base.out);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, failure_persistence: None, ..Default::default() })]

    #[test]
    fn pull_requests_merge_in_any_order_and_stay_valid(
        steps in prop::collection::vec((work(), prop::option::weighted(0.6, (0..8_usize, style()))), 8..16)
    ) {
        let steps: Vec<Step> = steps;
        let mut team = Team::new();
        for (work, merge) in steps {
            team.opens(work);
            if let (Some((at, style)), false) = (merge, team.open.is_empty()) {
                team.merges(at, style)?;
            }
        }
        while !team.open.is_empty() {
            team.merges(0, Style::Squash)?;
        }
        // A change that nobody signed is never one that counts, wherever it hides among the others.
        let files = team.ground.git("ls-files trust clusters pubkeys");
        let files: Vec<&str> = files.lines().collect();
        let path = files[files.len() / 2];
        let mut bytes = std::fs::read(team.ground.repo().join(path)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(team.ground.repo().join(path), bytes).unwrap();
        prop_assert!(!team.ground.errors().is_empty(), "{path} was changed and nobody saw");
    }
}

#[test]
fn two_colleagues_work_in_parallel_while_trust_changes() {
    for style in [Style::Squash, Style::Merge, Style::Rebase] {
        let mut team = Team::new();
        assert!(team.opens(Work::Issue { cluster: 0, node: 0, bob: true }));
        assert!(team.opens(Work::AddNode { cluster: 1 }));
        assert!(team.opens(Work::AddPerson));
        assert!(team.opens(Work::Issue { cluster: 0, node: 1, bob: false }));
        for at in [2, 1, 1, 0] {
            team.merges(at, style).unwrap();
        }
        team.ground.run("alice", "reseal").ends(0);
        assert_eq!((team.ground.errors(), team.ground.owed()), (Vec::new(), Vec::new()), "{style:?}");
    }
}
