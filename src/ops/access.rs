//! A person's own access to a cluster, as `kubeconfig` and `credential` see it: which certificate it is, whether it lives,
//! what to say near its end, and how to come by the next.

use super::failure::Failure;
use crate::model::{ClusterName, PersonName, Profile, Remedy, Span, Time};
use crate::pki::Facts;

/// One person's certificate of one kind for one cluster.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// Whose it is.
    pub person: &'a PersonName,
    /// `client` or `break-glass`.
    pub profile: Profile,
}

impl Access<'_> {
    /// The command that brings a certificate of this kind: the one place that says so.
    pub fn ask(&self) -> Remedy {
        let cluster = self.cluster;
        match self.profile {
            Profile::BreakGlass => Remedy::Kluis(format!("kubeconfig -c {cluster} --break-glass --reason TEXT")),
            _ => Remedy::Kluis(format!("request new -c {cluster}")),
        }
    }

    /// `client certificate of alice for cluster prod`.
    fn words(&self) -> String {
        format!("{} certificate of {} for cluster {}", self.profile, self.person, self.cluster)
    }

    /// There is no certificate.
    pub fn missing(&self) -> Failure {
        Failure::refused(format!("there is no {}", self.words())).help(self.ask())
    }

    /// The key is not on this machine.
    pub fn elsewhere(&self) -> Failure {
        let what = format!(
            "the key of the {} is not on this machine: it lies where it was made, sealed, and nowhere else; go on there, \
             or get another certificate here",
            self.words()
        );
        Failure::refused(what).help(self.ask())
    }

    /// Fails unless the certificate lives now.
    pub fn check_life(&self, facts: &Facts, now: Time) -> Result<(), Failure> {
        if now >= facts.not_after {
            let what = format!("the {} ended {}", self.words(), facts.not_after);
            return Err(Failure::refused(what).help(self.ask()));
        }
        if now < facts.not_before {
            let what = format!("the {} begins {}: this machine's clock is behind", self.words(), facts.not_before);
            return Err(Failure::refused(what).help(Remedy::Doctor));
        }
        Ok(())
    }

    /// Whether less than a quarter of its life is left, or less than an hour: that is all that break-glass has as a rule,
    /// so there the quarter alone decides.
    pub fn is_near_end(&self, facts: &Facts, now: Time) -> bool {
        let left = facts.not_after.since(now);
        let quarter = facts.not_after.since(facts.not_before) / 4;
        left < quarter || self.profile != Profile::BreakGlass && left < Span::hours(1).seconds()
    }

    /// What to say near its end.
    pub fn ending(&self, facts: &Facts, now: Time) -> Option<String> {
        let left = length(facts.not_after.since(now));
        self.is_near_end(facts, now).then(|| format!("the {} ends in {left}: {}", self.words(), self.ask()))
    }
}

fn length(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..=7_199 => (seconds / 60, "minute"),
        7_200..=172_799 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_said_in_the_unit_that_fits() {
        let said = [30, 60, 2_400, 7_199, 7_200, 172_799, 172_800].map(length);
        assert_eq!(said, ["0 minutes", "1 minute", "40 minutes", "119 minutes", "2 hours", "47 hours", "2 days"]);
    }
}
