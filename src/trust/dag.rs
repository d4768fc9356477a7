//! The log's shape: a graph of statements by hash, each naming those it saw. Answers who is an ancestor of
//! whom. Knows nothing of what the statements say.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Digest;

/// A set of records by index.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Set(Vec<u64>);

impl Set {
    fn insert(&mut self, index: usize) {
        if self.0.len() <= index / 64 {
            self.0.resize(index / 64 + 1, 0);
        }
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn union(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    /// Whether the record is in it.
    pub fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// Whether all of `other` is in it.
    pub fn includes(&self, other: &Self) -> bool {
        other.0.iter().enumerate().all(|(at, word)| word & !self.0.get(at).copied().unwrap_or(0) == 0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// The graph. Records are numbered so that each comes after all it saw.
///
/// Ancestry is one bit a pair: 5,000 records take 3 MB, 50,000 take 310 MB.
#[derive(Default)]
pub struct Dag {
    index: BTreeMap<Digest, usize>,
    parents: Vec<Vec<usize>>,
    ancestors: Vec<Set>,
    heads: Vec<usize>,
}

impl Dag {
    /// Builds the graph from each record's hash and the hashes it names. Parents that are not among them are
    /// left out here; whoever asks reports them. Returns the order too: `order[i]` is the position in
    /// `records` of the record with index `i`.
    pub fn build(records: &[(Digest, &[Digest])]) -> (Self, Vec<usize>) {
        let position: BTreeMap<Digest, usize> = records.iter().enumerate().map(|(at, (hash, _))| (*hash, at)).collect();
        let known = |at: usize| records[at].1.iter().filter_map(|parent| position.get(parent).copied());
        let mut waiting: Vec<usize> = (0..records.len()).map(|at| known(at).count()).collect();
        let mut children = vec![Vec::new(); records.len()];
        for at in 0..records.len() {
            known(at).for_each(|parent| children[parent].push(at));
        }
        // By hash among those that are ready, so that the order depends on the records alone.
        let mut ready: BTreeSet<(Digest, usize)> =
            (0..records.len()).filter(|at| waiting[*at] == 0).map(|at| (records[at].0, at)).collect();
        let mut order = Vec::with_capacity(records.len());
        let mut dag = Self::default();
        while let Some((hash, at)) = ready.pop_first() {
            let index = order.len();
            order.push(at);
            dag.index.insert(hash, index);
            let parents: Vec<usize> =
                known(at).filter_map(|parent| dag.index.get(&records[parent].0).copied()).collect();
            let mut ancestors = Set::default();
            for parent in &parents {
                ancestors.insert(*parent);
                ancestors.union(&dag.ancestors[*parent]);
            }
            dag.parents.push(parents);
            dag.ancestors.push(ancestors);
            for child in &children[at] {
                waiting[*child] -= 1;
                if waiting[*child] == 0 {
                    ready.insert((records[*child].0, *child));
                }
            }
        }
        let seen: BTreeSet<usize> = dag.parents.iter().flatten().copied().collect();
        dag.heads = (0..dag.parents.len()).filter(|index| !seen.contains(index)).collect();
        (dag, order)
    }

    /// The index of the record with this hash.
    pub fn find(&self, hash: &Digest) -> Option<usize> {
        self.index.get(hash).copied()
    }

    /// The records that it names and that are there.
    pub fn parents(&self, index: usize) -> &[usize] {
        &self.parents[index]
    }

    /// Everything before it, itself not included.
    pub fn before(&self, index: usize) -> &Set {
        &self.ancestors[index]
    }

    /// Whether `earlier` comes before `later`.
    pub fn is_before(&self, earlier: usize, later: usize) -> bool {
        self.ancestors[later].contains(earlier)
    }

    /// These records and everything before them.
    pub fn reach(&self, indices: impl IntoIterator<Item = usize>) -> Set {
        let mut reached = Set::default();
        for index in indices {
            reached.insert(index);
            reached.union(&self.ancestors[index]);
        }
        reached
    }

    /// Records that nobody names.
    pub fn heads(&self) -> &[usize] {
        &self.heads
    }

    /// Of these records, those that none of the others comes after.
    pub fn latest(&self, indices: &[usize]) -> Vec<usize> {
        // Each record comes after all it saw, so from the end on whoever is before nobody found so far is one of them:
        // what is before a record that itself is not latest is before a latest one too.
        let mut sorted = indices.to_vec();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let mut found: Vec<usize> = Vec::new();
        for index in sorted {
            if !found.iter().any(|later| *later == index || self.is_before(index, *later)) {
                found.push(index);
            }
        }
        indices.iter().copied().filter(|index| found.contains(index)).collect()
    }
}
