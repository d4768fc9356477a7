//! How the list of denied certificates reads.

use std::io::{self, Write};

use serde_json::json;

use super::log::row;
use super::{Report, Value};
use crate::ops::audit::deny::Denied;

pub struct Page {
    pub denied: Vec<Denied>,
    pub ids_only: bool,
}

impl Report for Page {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.ids_only {
            return self.denied.iter().try_for_each(|one| writeln!(out, "{}", one.credential_id));
        }
        if self.denied.is_empty() {
            return writeln!(out, "no live certificate is denied");
        }
        for one in &self.denied {
            writeln!(out, "{} {}/{}  until {}", one.cluster, one.owner, one.profile, one.not_after)?;
            row(out, "id", &one.credential_id)?;
            if !one.groups.is_empty() {
                row(out, "groups", &one.groups.join(", "))?;
            }
            for reason in &one.reasons {
                let since = reason.since.map(|since| format!(" ({since})")).unwrap_or_default();
                row(out, "why", &format!("{}{since}", reason.why))?;
            }
            if one.only_rotation {
                row(out, "ROTATE", "it is system:masters: no binding takes that back, only a new CA does")?;
            }
        }
        writeln!(out, "Kubernetes has no revocation list: docs/AUDIT.md says what these ids are good for")
    }

    fn data(&self) -> Value {
        json!({ "denied": self.denied })
    }

    fn is_value(&self) -> bool {
        self.ids_only
    }
}
