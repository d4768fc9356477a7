//! What epochs tie together for ever: a cluster's name and its id, a generation and its hash. Each holds against every
//! earlier epoch and not only the one before, and within one epoch.

use kluis::model::{Code, HexId, Keyset};
use kluis::trust::Epoch;

use crate::repository::{Repository, cluster, generation, has};

/// A cluster `prod` in epoch 2 that is gone in epoch 3; then what `change` makes of epoch 4, which has it again.
fn returned(change: impl FnOnce(&mut Repository, &mut Epoch)) -> Vec<Code> {
    let mut made = Repository::demo();
    let prod = made.latest().clusters[&cluster("prod")].clone();
    let mut without = made.draft();
    without.clusters.clear();
    made.publish(without, &["alice", "bob"]);
    let mut with = made.draft();
    with.clusters.insert(cluster("prod"), prod);
    change(&mut made, &mut with);
    made.publish(with, &["alice", "bob"]);
    let verified = made.verify();
    let ties = [Code::ClusterId, Code::GenerationChanged, Code::KeyReuse];
    let found = ties.into_iter().filter(|code| has(&verified, *code, "trust/epoch/0004.toml"));
    let found: Vec<Code> = found.collect();
    let earlier = |code: &Code| (1..4).any(|number| has(&verified, *code, &format!("trust/epoch/000{number}.toml")));
    assert!(!ties.iter().any(earlier), "{:#?}", verified.findings);
    found
}

/// Lists a copy of `prod` under another name.
fn copy(epoch: &mut Epoch, change: impl FnOnce(&mut kluis::trust::Cluster)) {
    let mut other = epoch.clusters[&cluster("prod")].clone();
    change(&mut other);
    epoch.clusters.insert(cluster("other"), other);
}

#[test]
fn a_cluster_comes_back_as_what_it_was() {
    assert_eq!(returned(|_, _| {}), []);
}

#[test]
fn a_name_and_an_id_belong_together_for_ever() {
    let renamed = |_: &mut Repository, epoch: &mut Epoch| {
        let prod = epoch.clusters.remove(&cluster("prod")).unwrap();
        epoch.clusters.insert(cluster("other"), prod);
        epoch.clusters.get_mut(&cluster("other")).unwrap().keysets.clear();
    };
    assert_eq!(returned(renamed), [Code::ClusterId]);
    let another =
        |_: &mut Repository, epoch: &mut Epoch| epoch.clusters.get_mut(&cluster("prod")).unwrap().id = HexId([5; 16]);
    assert_eq!(returned(another), [Code::ClusterId]);
    let twice = |_: &mut Repository, epoch: &mut Epoch| copy(epoch, |other| other.keysets.clear());
    assert_eq!(returned(twice), [Code::ClusterId]);
}

#[test]
fn a_generation_keeps_its_hash_and_no_hash_stands_in_two_places() {
    let changed = |made: &mut Repository, epoch: &mut Epoch| made.add_generation(epoch, "prod", Keyset::Kubernetes, 1);
    assert_eq!(returned(changed), [Code::GenerationChanged]);
    let moved = |_: &mut Repository, epoch: &mut Epoch| {
        let keysets = &mut epoch.clusters.get_mut(&cluster("prod")).unwrap().keysets;
        let generations = keysets.get_mut(&Keyset::Kubernetes).unwrap();
        let hash = generations.remove(&generation(1)).unwrap();
        generations.insert(generation(2), hash);
    };
    assert_eq!(returned(moved), [Code::KeyReuse]);
    let shared = |_: &mut Repository, epoch: &mut Epoch| copy(epoch, |other| other.id = HexId([5; 16]));
    assert_eq!(returned(shared), [Code::KeyReuse]);
}
