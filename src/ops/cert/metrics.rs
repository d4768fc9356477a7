//! When certificates end, as figures that Prometheus reads through node_exporter's textfile collector: whoever has that is
//! warned without another program. The text format is
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use std::fmt::Write as _;

use super::expiry::{End, Expiry};
use crate::model::{Place, Time};

/// The figures. Every certificate of `expiry` has one, whose labels are its cluster and what it is; then how many are
/// unreadable, when the epoch ends (`None` where nothing was verified), and `now`, by which an alert sees that nobody has
/// asked for a while: a tree that is not valid gives no figures, so they stay as they were.
pub fn text(expiry: &Expiry, epoch_ends: Option<Time>, now: Time) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, samples: &[(String, i64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let ends: Vec<(String, i64)> = expiry.certificates.iter().map(|end| (labels(end), end.not_after.unix())).collect();
    let ends_help = "The last second of a certificate, in seconds since 1970.";
    family("kluis_certificate_not_after_timestamp_seconds", ends_help, &ends);
    let bare = |value: i64| [(String::new(), value)];
    let unreadable = i64::try_from(expiry.unreadable.len()).unwrap_or(i64::MAX);
    family("kluis_certificates_unreadable", "Files in places of certificates that hold none.", &bare(unreadable));
    if let Some(end) = epoch_ends {
        let help = "When the epoch ends, after which issuing asks for --accept-stale.";
        family("kluis_epoch_expires_timestamp_seconds", help, &bare(end.unix()));
    }
    let help = "Whether the repository was verified before its certificates were read.";
    family("kluis_verified", help, &bare(i64::from(expiry.verified)));
    family("kluis_written_timestamp_seconds", "When these figures were written.", &bare(now.unix()));
    text
}

/// `{cluster="prod",kind="node",name="cp-1",profile="apiserver"}`. No value can have a quote, backslash or line break in
/// it: names of clusters, nodes and people have none (FORMAT 1), and the others are of this program.
fn labels(end: &End) -> String {
    let pairs = match Place::parse(&end.path) {
        Ok(Place::Ca(cluster, keyset, generation)) => vec![
            ("cluster", cluster.to_string()),
            ("kind", "ca".to_owned()),
            ("name", keyset.to_string()),
            ("generation", generation.to_string()),
        ],
        Ok(Place::NodeCert(cluster, node, profile)) => vec![
            ("cluster", cluster.to_string()),
            ("kind", "node".to_owned()),
            ("name", node.to_string()),
            ("profile", profile.to_string()),
        ],
        Ok(Place::PersonCert(cluster, person, profile)) => vec![
            ("cluster", cluster.to_string()),
            ("kind", "person".to_owned()),
            ("name", person.to_string()),
            ("profile", profile.to_string()),
        ],
        _ => Vec::new(),
    };
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_labels() {
        let end = |path: &str| End { not_after: Time::from_unix(1_800_000_000), path: path.to_owned(), state: "later" };
        let certificates = vec![
            end("clusters/prod/ca/etcd.g2.crt"),
            end("clusters/prod/certs/node/cp-1/apiserver.crt"),
            end("clusters/prod/certs/person/erin/client.crt"),
        ];
        let expiry =
            Expiry { certificates, total: 3, ended: 0, soon: 0, unreadable: vec!["x".to_owned()], verified: true };
        let text = text(&expiry, Some(Time::from_unix(1_700_000_000)), Time::from_unix(1_600_000_000));
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "kluis_certificate_not_after_timestamp_seconds{cluster=\"prod\",kind=\"ca\",name=\"etcd\",generation=\"g2\"} 1800000000",
                "kluis_certificate_not_after_timestamp_seconds{cluster=\"prod\",kind=\"node\",name=\"cp-1\",profile=\"apiserver\"} 1800000000",
                "kluis_certificate_not_after_timestamp_seconds{cluster=\"prod\",kind=\"person\",name=\"erin\",profile=\"client\"} 1800000000",
                "kluis_certificates_unreadable 1",
                "kluis_epoch_expires_timestamp_seconds 1700000000",
                "kluis_verified 1",
                "kluis_written_timestamp_seconds 1600000000",
            ]
        );
        // Each family is announced once, before its samples.
        assert_eq!(text.matches("# TYPE ").count(), 5);
    }
}
