//! Findings that the quorum decided to live with (FORMAT 4, `[[waived]]`): `lint:CODE:PATH`, until a time. They are notes
//! until then, never silence.

use crate::model::{Finding, Level, Time, displayed};
use crate::trust::Epoch;

/// Makes notes of what the epoch waives at `now`; how many there are.
pub(super) fn apply(findings: &mut [Finding], epoch: &Epoch, now: Time) -> usize {
    let mut count = 0;
    for finding in findings.iter_mut().filter(|finding| finding.level != Level::Note) {
        let what = format!("lint:{}:{}", finding.code, finding.path.as_deref().unwrap_or_default());
        let is_own = |cluster| finding.cluster.as_ref() == Some(cluster);
        let waived = epoch.waived.iter().find(|one| is_own(&one.cluster) && one.what == what && one.until > now);
        if let Some(waived) = waived {
            finding.level = Level::Note;
            finding.why = format!("{} (waived until {}: {})", finding.why, waived.until, displayed(&waived.reason));
            count += 1;
        }
    }
    crate::lint::sort(findings);
    count
}
