//! Free text and group names: what may stand in a statement, and how text from a file is shown.

/// Whether `text` may stand in a statement: none of the control and direction characters of FORMAT 2
/// (`bad-text`), which could make a terminal or a reviewer see something else than what was signed.
pub fn check_text(text: &str) -> bool {
    !text.chars().any(hostile)
}

fn hostile(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether `group` is a group that people may get: `[A-Za-z0-9][A-Za-z0-9:._/-]{0,127}`, never beginning
/// with `system:`, which Kubernetes gives a meaning of its own (`bad-group`).
pub fn check_group(group: &str) -> bool {
    let mut bytes = group.bytes();
    bytes.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && group.len() <= 128
        && bytes.all(|c| c.is_ascii_alphanumeric() || b":._/-".contains(&c))
        && !group.starts_with("system:")
}

/// Text from a file or a stranger, made inert for a terminal: hostile characters become `\u{…}`.
pub fn displayed(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if hostile(c) || c == '\u{feff}' || ('\u{200b}'..='\u{200d}').contains(&c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_refused_and_shown_escaped() {
        assert!(check_text("carol leaves — dave joins"));
        for text in ["a\nb", "a\u{1b}[2J", "\u{202e}gpj", "\u{7f}", "\u{85}", "\u{2066}"] {
            assert!(!check_text(text));
            assert!(displayed(text).contains("\\u{"));
        }
    }

    #[test]
    fn groups_of_the_system_are_never_asked_for() {
        for group in ["kluis:admins", "dev", "a/b_c.d-e", "systems:x"] {
            assert!(check_group(group), "{group}");
        }
        for group in ["", "system:masters", "system:", ":x", "a b", "é", &"a".repeat(129)] {
            assert!(!check_group(group), "{group}");
        }
    }
}
