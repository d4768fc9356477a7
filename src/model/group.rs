//! Groups of people and their generations. Kubernetes has no revocation list: a client certificate is good until it
//! ends, and what its groups may do is what RBAC binds to their names. So a group's name can carry a generation:
//! `developers` is the first, `developers:g2` the second. Once people may ask for the second alone and RBAC binds it
//! alone, every certificate with the first is cut off, without a new CA.

use std::collections::BTreeSet;

/// The name without its generation, and the generation: 1 where the name has none.
pub fn split_group(group: &str) -> (&str, u32) {
    let parsed = group.rsplit_once(":g").and_then(|(base, digits)| {
        let canonical = !digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit());
        let number = digits.parse().ok().filter(|number| canonical && *number >= 2)?;
        (!base.is_empty()).then_some((base, number))
    });
    parsed.unwrap_or((group, 1))
}

/// The name of a generation, from 1.
pub fn group_generation(base: &str, generation: u32) -> String {
    if generation < 2 { base.to_owned() } else { format!("{base}:g{generation}") }
}

/// What `group` means among `known`: itself if it is one of them, else, where it names no generation, the newest one
/// of that name. `None` if neither is known.
pub fn current_group<'a>(known: impl IntoIterator<Item = &'a String>, group: &str) -> Option<String> {
    let known: BTreeSet<&String> = known.into_iter().collect();
    if known.iter().any(|name| *name == group) {
        return Some(group.to_owned());
    }
    newest_group(known, group)
}

/// The newest generation of `base` among `known`. `None` if there is none, or `base` names a generation itself.
pub fn newest_group<'a>(known: impl IntoIterator<Item = &'a String>, base: &str) -> Option<String> {
    let alike = known.into_iter().filter(|name| split_group(name).0 == base);
    alike.max_by_key(|name| split_group(name).1).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_generation_is_the_first() {
        assert_eq!(split_group("developers"), ("developers", 1));
        assert_eq!(split_group("developers:g2"), ("developers", 2));
        assert_eq!(split_group("kluis:admins:g12"), ("kluis:admins", 12));
        for odd in ["kluis:g", "a:g1", "a:g02", "a:g+2", "a:gx", "a:g99999999999", ":g2", "a:g0"] {
            assert_eq!(split_group(odd), (odd, 1), "{odd}");
        }
    }

    #[test]
    fn generations_are_written_as_they_are_read() {
        for generation in [1, 2, 10, 9999] {
            let name = group_generation("kluis:admins", generation);
            assert_eq!(split_group(&name), ("kluis:admins", generation));
        }
    }

    #[test]
    fn a_name_means_its_newest_generation_unless_it_is_there_itself() {
        let known: Vec<String> = ["a:g2", "a:g10", "b", "b:g3"].map(str::to_owned).into();
        assert_eq!(current_group(&known, "a").as_deref(), Some("a:g10"));
        assert_eq!(current_group(&known, "a:g2").as_deref(), Some("a:g2"));
        assert_eq!(current_group(&known, "b").as_deref(), Some("b"));
        assert_eq!(current_group(&known, "c"), None);
        assert_eq!(current_group(&known, "a:g3"), None);
    }
}
