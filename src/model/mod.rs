//! Pure nouns: names, times, hashes, places in the repository, keysets, profiles, the desired state of a
//! cluster, finding codes and remedies. Text becomes one of these types once, at the edge, and is never
//! checked again. Nothing here touches a disk, a clock, a key or a terminal.

mod algorithm;
mod cluster;
mod code;
mod digest;
mod distribution;
mod finding;
mod group;
mod keyset;
mod name;
mod place;
mod profile;
mod remedy;
mod text;
mod time;

pub use algorithm::Algorithm;
pub use cluster::{Cidr, ClusterConfig, ConfigError, Endpoint, Host, KubernetesVersion, Lifetimes, Node, Role};
pub use code::{Code, Level};
pub use digest::{Digest, Fingerprint, HexId, KeyId};
pub use distribution::Distribution;
pub use finding::Finding;
pub use group::{current_group, group_generation, newest_group, split_group};
pub use keyset::{Generation, Keyset, State};
pub use name::{ClusterName, NameError, NodeName, PersonName};
pub use place::{Place, PlaceError, SealedName};
pub use profile::{KeyUse, Profile, Subject};
pub use remedy::Remedy;
pub use text::{check_group, check_text, displayed};
pub use time::{Span, Time};
