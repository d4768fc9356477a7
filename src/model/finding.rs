//! A finding: one fault, its code, where it lies, whom it concerns, why, and what mends it.

use super::{ClusterName, Code, Level, PersonName, Remedy};

/// One fault (FORMAT 12). Renderings in any form are made from this value alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub code: Code,
    /// How much it weighs.
    pub level: Level,
    /// The path, relative to the repository's root; `None` where no one file is at fault.
    pub path: Option<String>,
    /// The cluster concerned.
    pub cluster: Option<ClusterName>,
    /// The person concerned.
    pub person: Option<PersonName>,
    /// Why, as a clause: lower case, no full stop.
    pub why: String,
    /// What mends it.
    pub fix: Option<Remedy>,
}

impl Finding {
    /// A finding of the code's own level, with no path, cluster, person or remedy yet.
    pub fn new(code: Code, why: impl Into<String>) -> Self {
        Self { code, level: code.level(), path: None, cluster: None, person: None, why: why.into(), fix: None }
    }

    /// Names the path; the cluster too, where the path lies in one.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        let path = path.into();
        if self.cluster.is_none() {
            let name = path.strip_prefix("clusters/").and_then(|rest| rest.split('/').next());
            self.cluster = name.and_then(|name| ClusterName::parse(name).ok());
        }
        self.path = Some(path);
        self
    }

    /// Names the cluster.
    #[must_use]
    pub fn in_cluster(mut self, cluster: &ClusterName) -> Self {
        self.cluster = Some(cluster.clone());
        self
    }

    /// Names the person.
    #[must_use]
    pub fn of(mut self, person: &PersonName) -> Self {
        self.person = Some(person.clone());
        self
    }

    /// Names the remedy.
    #[must_use]
    pub fn fix(mut self, remedy: Remedy) -> Self {
        self.fix = Some(remedy);
        self
    }

    /// Makes it weigh this much.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }
}

impl serde::Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut object = serializer.serialize_struct("Finding", 7)?;
        object.serialize_field("code", &self.code)?;
        object.serialize_field("level", &self.level)?;
        object.serialize_field("path", &self.path)?;
        object.serialize_field("cluster", &self.cluster)?;
        object.serialize_field("person", &self.person)?;
        object.serialize_field("why", &self.why)?;
        object.serialize_field("fix", &self.fix.as_ref().map(ToString::to_string))?;
        object.end()
    }
}
