//! Expiries and rotations over time: for trust and for each cluster bars of what lives (epochs, generations by phase) and
//! marks of what ends. Times are those that signers wrote.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::ends::{self, End, EndKind};
use crate::model::{ClusterName, Generation, Keyset, Span, State, Time};
use crate::trust::{Cluster, Verified};

/// How far back it looks.
const BACK: Span = Span::days(365);
/// How far ahead.
const AHEAD: Span = Span::days(730);

/// Trust and the clusters, over the same time.
#[derive(Debug, Serialize)]
pub struct Timeline {
    /// A year before now.
    pub from: Time,
    /// Two years from now.
    pub to: Time,
    /// Epochs and people's keys.
    pub trust: Chart,
    /// The clusters.
    pub clusters: Vec<Chart>,
}

/// What lives and ends in one place.
#[derive(Debug, Default, Serialize)]
pub struct Chart {
    /// The cluster; none for trust.
    pub cluster: Option<ClusterName>,
    /// What lives.
    pub bars: Vec<Bar>,
    /// What ends between `from` and `to`, by day and kind.
    pub marks: Vec<Mark>,
}

/// Something that lives: an epoch, or a generation of a keyset.
#[derive(Debug, Serialize)]
pub struct Bar {
    /// `epoch 3`, `kubernetes g1`.
    pub name: String,
    /// What it was, one after the other.
    pub stretches: Vec<Stretch>,
    /// When its certificate ends, of a CA.
    pub not_after: Option<Time>,
}

/// A time in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// A state of a generation, or `in-force`.
    pub state: &'static str,
    /// Since when.
    pub from: Time,
    /// Until when; none while it lasts and has no end.
    pub to: Option<Time>,
}

/// Things of one kind that end on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// The first of them.
    pub at: Time,
    /// Of which kind they are.
    pub kind: EndKind,
    /// How many.
    pub count: usize,
    /// What ends first.
    pub what: String,
}

/// The timeline of trust and these clusters.
pub fn of(verified: &Verified, clusters: &[ClusterName], now: Time) -> Timeline {
    let (from, to) = (now.minus(BACK), now.plus(AHEAD));
    let mut timeline = Timeline { from, to, trust: Chart::default(), clusters: Vec::new() };
    let Some(latest) = verified.chain.latest().map(|latest| &latest.epoch) else { return timeline };
    let is_shown = |bar: &Bar| bar.stretches.last().is_some_and(|last| last.to.is_none_or(|to| to > from));
    timeline.trust.bars = epochs(verified, latest.number).into_iter().filter(is_shown).collect();
    timeline.trust.marks = marks(ends::of_trust(verified, latest), (from, to));
    let steps = steps(verified);
    for (name, cluster) in clusters.iter().filter_map(|name| latest.clusters.get_key_value(name)) {
        let bars = generations(verified, (name, cluster), &steps);
        timeline.clusters.push(Chart {
            cluster: Some(name.clone()),
            bars: bars.into_iter().filter(is_shown).collect(),
            marks: marks(ends::of_cluster(verified, name, cluster), (from, to)),
        });
    }
    timeline
}

/// Each epoch from its drafting until the next one's, the latest until it expires.
fn epochs(verified: &Verified, latest: u32) -> Vec<Bar> {
    let all: Vec<_> =
        verified.chain.all().iter().map(|one| &one.epoch).filter(|epoch| epoch.number <= latest).collect();
    let next = all.iter().skip(1).map(|epoch| Some(epoch.created)).chain([None]);
    let bar = |(epoch, next): (&&crate::trust::Epoch, Option<Time>)| Bar {
        name: format!("epoch {}", epoch.number),
        stretches: vec![Stretch {
            state: "in-force",
            from: epoch.created,
            to: Some(next.map_or(epoch.expires, |next| next.max(epoch.created))),
        }],
        not_after: None,
    };
    all.iter().zip(next).map(bar).collect()
}

/// A generation of a keyset of a cluster.
type Key = (ClusterName, Keyset, Generation);

type Steps = BTreeMap<Key, Vec<(Time, State)>>;

/// The steps of each generation, in the order of the log.
fn steps(verified: &Verified) -> Steps {
    let mut steps = Steps::new();
    for (_, logged) in verified.log.counted() {
        for entry in &logged.record.phase {
            let key = (entry.cluster.clone(), entry.keyset, entry.generation);
            steps.entry(key).or_default().push((logged.record.time, entry.state));
        }
    }
    steps
}

fn generations(verified: &Verified, (name, cluster): (&ClusterName, &Cluster), steps: &Steps) -> Vec<Bar> {
    let ours = steps.iter().filter(|((at, ..), _)| at == name);
    let bar = |((_, keyset, generation), steps): (&Key, &Vec<(Time, State)>)| {
        let digest = cluster.keysets.get(keyset).and_then(|listed| listed.get(generation));
        let not_after = digest.and_then(|digest| verified.authorities.get(digest)).map(|facts| facts.not_after);
        Bar { name: format!("{keyset} {generation}"), stretches: stretches(steps, not_after), not_after }
    };
    ours.map(bar).collect()
}

/// One state until the next begins; a signer's clock that went back makes it short and not negative. What is distrusted
/// has ended.
fn stretches(steps: &[(Time, State)], not_after: Option<Time>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (time, state) in steps {
        let mut from = *time;
        if let Some(last) = stretches.last_mut() {
            from = from.max(last.from);
            last.to = Some(from);
        }
        let to = if *state == State::Distrusted { Some(from) } else { not_after };
        stretches.push(Stretch { state: state.as_str(), from, to });
    }
    stretches
}

fn marks(ends: Vec<End>, (from, to): (Time, Time)) -> Vec<Mark> {
    let mut ends: Vec<End> = ends.into_iter().filter(|end| (from..to).contains(&end.at)).collect();
    ends.sort();
    let mut marks: BTreeMap<(String, EndKind), Mark> = BTreeMap::new();
    for End { at, what, kind } in ends {
        let day = at.to_string()[..10].to_owned();
        marks.entry((day, kind)).or_insert(Mark { at, kind, count: 0, what }).count += 1;
    }
    marks.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_in_one_state_after_the_other_and_ends_when_it_is_distrusted() {
        let day = |day: u32| Time::parse("2026-01-01T00:00:00Z").unwrap().plus(Span::days(day));
        let steps = [(day(1), State::Staged), (day(5), State::Trusted), (day(4), State::Distrusted)];
        let stretch = |state, from, to| Stretch { state, from: day(from), to: Some(day(to)) };
        let expected = [stretch("staged", 1, 5), stretch("trusted", 5, 5), stretch("distrusted", 5, 5)];
        assert_eq!(stretches(&steps, Some(day(90))), expected);
        assert_eq!(stretches(&steps[..1], Some(day(90))), [stretch("staged", 1, 90)]);
        assert_eq!(stretches(&steps[..1], None)[0].to, None);
    }

    #[test]
    fn what_ends_on_one_day_is_one_mark() {
        let at = |text: &str| Time::parse(text).unwrap();
        let end = |text: &str, what: &str| End { at: at(text), what: what.to_owned(), kind: EndKind::Certificate };
        let ends =
            vec![end("2026-03-01T09:00:00Z", "b"), end("2026-03-01T08:00:00Z", "a"), end("2036-01-01T00:00:00Z", "c")];
        let found = marks(ends, (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z")));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].count, found[0].what.as_str()), (2, "a"));
    }
}
