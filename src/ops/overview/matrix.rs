//! People x secrets: who can read which sealed file, who could and what is inside is in use, and what changed since an
//! epoch was drafted. From the log alone: `exposure` looks into git's history too.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::exposure::Left;
use crate::model::{ClusterName, PersonName, Place, SealedName, State, Time};
use crate::trust::current::{Vouch, Vouched};
use crate::trust::exposure::{self, Standing};
use crate::trust::{Cluster, TrustRole, Verified};

/// What somebody can do with a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// It is sealed to them.
    Reads,
    /// It is not sealed to them any more; they could read it, and what is inside is in use.
    CouldRead,
    /// As before, and the quorum decided to live with that for a time.
    Waived,
    /// Nothing: what they could read is out of use.
    Nothing,
}

/// What changed for them since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    /// It is sealed to them and was not.
    Gained,
    /// It was sealed to them and is not.
    Lost,
}

/// One person and one secret. Where there is none, they never had to do with each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What they can do with it.
    pub access: Access,
    /// What changed.
    pub change: Option<Turn>,
    /// Until when the quorum decided to live with what they know.
    pub waived_until: Option<Time>,
}

/// A sealed file.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What it holds: `ca.kubernetes.g1`, `node.cp-1`.
    pub secret: String,
    /// Its path.
    pub path: String,
    /// Whether it is a node's bundle.
    pub node: bool,
    /// The state of the generation.
    pub state: Option<State>,
    /// Those who have to do with it.
    pub cells: BTreeMap<PersonName, Cell>,
}

/// The sealed files of a cluster, by path.
#[derive(Debug, Serialize)]
pub struct Rows {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it is retired: then nothing is owed.
    pub retired: bool,
    /// To whom the latest epoch wants its secrets sealed.
    pub keyholders: BTreeSet<PersonName>,
    /// Whose records may issue for it.
    pub issuers: BTreeSet<PersonName>,
    /// The files.
    pub secrets: Vec<Row>,
}

/// A person.
#[derive(Debug, Serialize)]
pub struct Column {
    /// The name.
    pub person: PersonName,
    /// Their role in the latest epoch; none if it does not list them.
    pub role: Option<TrustRole>,
    /// Why they are gone.
    pub left: Option<Left>,
}

/// Everybody whom the latest epoch lists or who has to do with a secret, and every sealed file.
#[derive(Debug, Default, Serialize)]
pub struct Matrix {
    /// The people: first those who are listed.
    pub people: Vec<Column>,
    /// The files, by cluster.
    pub clusters: Vec<Rows>,
}

/// The matrix of these clusters, with what changed since the epoch `since` was drafted.
pub fn of(verified: &Verified, clusters: &[ClusterName], since: Option<u32>, now: Time) -> Matrix {
    let Some(latest) = verified.chain.latest().map(|latest| &latest.epoch) else { return Matrix::default() };
    let exposed = exposed(verified, now);
    let rows = |name: &ClusterName| {
        let cluster = latest.clusters.get(name)?;
        let looker = Looker { verified, exposed: &exposed, since };
        Some(looker.rows(name, cluster))
    };
    let clusters: Vec<Rows> = clusters.iter().filter_map(rows).collect();
    let concerned = clusters.iter().flat_map(|rows| &rows.secrets).flat_map(|row| row.cells.keys());
    let names: BTreeSet<&PersonName> = latest.persons.keys().chain(concerned).collect();
    let column = |name: &PersonName| {
        let role = latest.persons.get(name).map(|person| person.role);
        let former = latest.former.iter().rfind(|former| former.person == *name).filter(|_| role.is_none());
        let left = former.map(|former| Left { epoch: former.epoch, reason: former.reason.as_str() });
        Column { person: name.clone(), role, left }
    };
    let mut people: Vec<Column> = names.into_iter().map(column).collect();
    people.sort_by_key(|column| (column.role.is_none(), column.person.clone()));
    Matrix { people, clusters }
}

/// What was ever sealed to whom, and what has become of it.
type Exposed = BTreeMap<Place, BTreeMap<PersonName, Standing>>;

fn exposed(verified: &Verified, now: Time) -> Exposed {
    let everybody: BTreeSet<&PersonName> =
        verified.chain.all().iter().flat_map(|epoch| epoch.epoch.persons.keys()).collect();
    let mut exposed = Exposed::new();
    for person in everybody {
        for one in exposure::of(verified, person, now) {
            exposed.entry(one.place).or_default().insert(person.clone(), one.standing);
        }
    }
    exposed
}

struct Looker<'a> {
    verified: &'a Verified,
    exposed: &'a Exposed,
    since: Option<u32>,
}

impl Looker<'_> {
    fn rows(&self, name: &ClusterName, cluster: &Cluster) -> Rows {
        let here = self.verified.current.paths.iter().filter(|(place, _)| place.cluster() == Some(name));
        let secrets = here.filter_map(|(place, vouched)| self.row(place, vouched)).collect();
        let (keyholders, issuers) = (cluster.keyholders.clone(), cluster.issuers.clone());
        Rows { cluster: name.clone(), retired: cluster.retired, keyholders, issuers, secrets }
    }

    fn row(&self, place: &Place, vouched: &Vouched) -> Option<Row> {
        let (Place::Sealed(cluster, name), Vouch::Sealed(_)) = (place, &vouched.vouch) else { return None };
        let now = readers(vouched);
        let before = self.before(place);
        let known = self.exposed.get(place);
        let concerned = now.iter().chain(before.iter().flatten()).chain(known.into_iter().flat_map(BTreeMap::keys));
        let mut cells = BTreeMap::new();
        for person in concerned.collect::<BTreeSet<_>>() {
            let standing = known.and_then(|known| known.get(person));
            let change = before.as_ref().and_then(|before| match (before.contains(person), now.contains(person)) {
                (false, true) => Some(Turn::Gained),
                (true, false) => Some(Turn::Lost),
                _ => None,
            });
            let (access, waived_until) = match standing {
                _ if now.contains(person) => (Access::Reads, None),
                Some(Standing::Live) => (Access::CouldRead, None),
                Some(Standing::Waived(until)) => (Access::Waived, Some(*until)),
                _ => (Access::Nothing, None),
            };
            if access != Access::Nothing || change.is_some() {
                cells.insert(person.clone(), Cell { access, change, waived_until });
            }
        }
        let state = match name {
            SealedName::Keyset(keyset, generation) => {
                let states = self.verified.current.states.get(&(cluster.clone(), *keyset));
                states.and_then(|states| states.get(generation)?.iter().next().copied())
            }
            SealedName::Node(_) => None,
        };
        let node = matches!(name, SealedName::Node(_));
        Some(Row { secret: name.to_string(), path: place.to_string(), node, state, cells })
    }

    /// Who could read it when the epoch was drafted: by the last records among those that it closed. None where nothing
    /// is compared.
    fn before(&self, place: &Place) -> Option<BTreeSet<PersonName>> {
        let closed = self.verified.log.closed.get(usize::try_from(self.since?.checked_sub(1)?).ok()?)?;
        let said = self.verified.current.history.get(place).into_iter().flatten();
        let said: Vec<&Vouched> = said.filter(|vouched| closed.contains(vouched.record)).collect();
        let records: Vec<usize> = said.iter().map(|vouched| vouched.record).collect();
        let latest = self.verified.log.dag.latest(&records);
        Some(said.into_iter().filter(|vouched| latest.contains(&vouched.record)).flat_map(readers).collect())
    }
}

fn readers(vouched: &Vouched) -> BTreeSet<PersonName> {
    match &vouched.vouch {
        Vouch::Sealed(entry) => entry.recipients.iter().map(|recipient| recipient.person.clone()).collect(),
        _ => BTreeSet::new(),
    }
}
